//! The options of the commands that transfer: download, seed and share.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::network::{Driven, Network};
use super::reporting::{Painting, Reporting};
use super::values::{parse_host, parse_ratio};
use crate::selection::Selection;
use crate::units::{parse_duration, parse_rate};

/// `bitswarm download`
#[derive(Args, Debug)]
pub(crate) struct Download {
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    /// Directory to save in; made if it is missing
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(crate) output: PathBuf,
    /// Go on sharing after the download, until stopped or until a goal below is reached
    #[arg(long)]
    pub(crate) seed: bool,
    /// Share until this many times the content was uploaded, that of the chosen files (0 stops at once)
    #[arg(long, value_name = "RATIO", value_parser = parse_ratio)]
    pub(crate) seed_ratio: Option<f64>,
    /// Share for this long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) seed_time: Option<Duration>,
    /// Write over files that are not known to be the torrent's
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Only these files, numbered as --list shows them, such as 1,3-5 or 4-
    #[arg(long, value_name = "NUMBERS", value_parser = Selection::parse)]
    pub(crate) files: Option<Selection>,
    /// List the files of the torrents and exit
    #[arg(long)]
    pub(crate) list: bool,
    /// Fetch pieces from first to last instead of rarest first
    #[arg(long)]
    pub(crate) sequential: bool,
    /// Most bytes per second to receive, such as 500K, 2MiB or 1.5MB
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) down: Option<u64>,
    /// Reserve the space on disk at the start
    #[arg(long)]
    pub(crate) preallocate: bool,
    #[command(flatten)]
    pub(crate) transfer: Transfer,
}

/// `bitswarm seed`
#[derive(Args, Debug)]
pub(crate) struct Seed {
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    /// Directory that contains each torrent's file or folder, or that folder itself
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(crate) data: PathBuf,
    /// List the files of the torrents and exit
    #[arg(long)]
    pub(crate) list: bool,
    #[command(flatten)]
    pub(crate) transfer: Transfer,
}

/// `bitswarm share`
#[derive(Args, Debug)]
pub(crate) struct Share {
    /// The file or directory to share
    pub(crate) path: PathBuf,
    /// Let peers be found by the trackers only
    #[arg(long)]
    pub(crate) private: bool,
    #[command(flatten)]
    pub(crate) transfer: Transfer,
}

/// The torrents of a run.
#[derive(Args, Debug)]
pub(crate) struct Inputs {
    /// Torrents: files, http(s) addresses, magnet links, infohashes, or - for standard input
    #[arg(value_name = "INPUT", required_unless_present = "input_files")]
    pub(crate) inputs: Vec<PathBuf>,
    /// A file that has an input on each line; - is standard input (may be repeated)
    #[arg(short, long = "input-file", value_name = "FILE")]
    pub(crate) input_files: Vec<PathBuf>,
}

/// Options of download, seed and share.
#[derive(Args, Debug)]
pub(crate) struct Transfer {
    #[command(flatten)]
    pub(crate) network: Network,
    /// An HTTPS tracker's host whose certificate is not to be checked (may be repeated)
    #[arg(long = "tracker-insecure", value_name = "HOST", value_parser = parse_host)]
    pub(crate) insecure_trackers: Vec<String>,
    /// Most bytes per second to send, such as 500K, 2MiB or 1.5MB
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) up: Option<u64>,
    /// Most peers to be connected to at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_peers: Option<u32>,
    /// Exit (code 8) when no content has moved for this long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) stall_timeout: Option<Duration>,
    /// Hash everything that is on disk, whatever is known of it (finds changes that keep size and times)
    #[arg(long)]
    pub(crate) check: bool,
    /// Where to keep what is needed to resume [default: bitswarm in the XDG state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Record everything the engine is told into this file, to be replayed
    #[arg(long, value_name = "LOG")]
    pub(crate) record: Option<PathBuf>,
    /// Replace the recording if it exists
    #[arg(long, requires = "record")]
    pub(crate) force: bool,
    /// Do not look for peers on the local network
    #[arg(long)]
    pub(crate) no_lsd: bool,
    /// Do not exchange peers with peers
    #[arg(long)]
    pub(crate) no_pex: bool,
    #[command(flatten)]
    pub(crate) driven: Driven,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
    #[command(flatten)]
    pub(crate) painting: Painting,
}
