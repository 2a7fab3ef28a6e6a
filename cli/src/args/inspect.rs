//! The options of the commands that look at torrents and data: info, magnet, verify, lint and diff.

use std::path::PathBuf;

use clap::Args;

use super::reporting::{Painting, Reporting};
use super::values::{PeerName, Version};

/// `bitswarm info`
#[derive(Args, Debug)]
pub(crate) struct Info {
    /// A torrent: a file, an http(s) address, a magnet link, an infohash, or - for standard input
    pub(crate) input: PathBuf,
    /// Write one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `bitswarm magnet`
#[derive(Args, Debug)]
pub(crate) struct Magnet {
    /// A torrent: a file, an http(s) address, an infohash, or - for standard input
    pub(crate) torrent: PathBuf,
    /// A peer to name in the link (may be repeated)
    #[arg(long = "peer", value_name = "HOST:PORT", value_parser = PeerName::parse)]
    pub(crate) peers: Vec<PeerName>,
}

/// `bitswarm verify`
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// A torrent: a file, an http(s) address, or - for standard input
    pub(crate) torrent: PathBuf,
    /// Directory that contains the torrent's file or folder, or that folder itself
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(crate) data: PathBuf,
    /// With whose hashes to compare [default: all that the torrent has]
    #[arg(long, value_enum)]
    pub(crate) protocol: Option<Version>,
    /// Where download and seed keep what is needed to resume, which is told what is wrong
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
    #[command(flatten)]
    pub(crate) painting: Painting,
}

/// `bitswarm lint`
#[derive(Args, Debug)]
pub(crate) struct Lint {
    /// Torrents: files, http(s) addresses, or - for standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) torrents: Vec<PathBuf>,
    /// Write one JSON object a torrent
    #[arg(long)]
    pub(crate) json: bool,
}

/// `bitswarm diff`
#[derive(Args, Debug)]
pub(crate) struct Diff {
    /// A torrent: a file, an http(s) address, or - for standard input
    pub(crate) a: PathBuf,
    /// Another
    pub(crate) b: PathBuf,
    /// Write one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
