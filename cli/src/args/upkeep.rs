//! The options of the commands about bitswarm itself: replay, forget, config, completions and man.

use std::path::PathBuf;

use clap::Args;

use super::reporting::{Painting, Reporting};

/// `bitswarm replay`
#[derive(Args, Debug)]
pub(crate) struct Replay {
    /// A file that --record wrote
    pub(crate) log: PathBuf,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
    #[command(flatten)]
    pub(crate) painting: Painting,
}

/// `bitswarm forget`
#[derive(Args, Debug)]
pub(crate) struct Forget {
    /// Torrents: files, http(s) addresses, magnet links, infohashes, or - for standard input
    #[arg(value_name = "INPUT", required_unless_present = "all")]
    pub(crate) inputs: Vec<PathBuf>,
    /// All that is kept for this directory, the DHT's nodes included
    #[arg(long, conflicts_with = "inputs")]
    pub(crate) all: bool,
    /// Directory that the torrents were downloaded into or shared from
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(crate) data: PathBuf,
    /// Where what is needed to resume is kept [default: bitswarm in the XDG state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Write one JSON object a torrent
    #[arg(long)]
    pub(crate) json: bool,
}

/// `bitswarm config`
#[derive(Args, Debug)]
pub(crate) struct ShowConfig {
    /// Write one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `bitswarm completions`
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// Which shell
    pub(crate) shell: clap_complete::Shell,
}

/// `bitswarm man`
#[derive(Args, Debug)]
pub(crate) struct Man {
    /// The page of one command, such as download or dht lookup, instead of the overview
    pub(crate) command: Vec<String>,
}
