//! The options of the commands that serve or ask without a transfer of the user's: tracker, scrape,
//! metadata and demo.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::network::{Driven, Network};
use super::reporting::{Painting, Reporting};
use super::values::{Given, ListenAt, parse_demo_size, parse_host, parse_listen, tracker};
use crate::units::parse_duration;

/// `bitswarm tracker`
#[derive(Args, Debug)]
pub(crate) struct Tracker {
    /// Where to listen: ADDR:PORT, or :PORT for all addresses (may be repeated); port 0 lets the
    /// system choose
    #[arg(long, value_name = "[ADDR]:PORT", default_value = ":6969", value_parser = parse_listen)]
    pub(crate) listen: Vec<ListenAt>,
    #[command(flatten)]
    pub(crate) driven: Driven,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// `bitswarm scrape`
#[derive(Args, Debug)]
pub(crate) struct Scrape {
    /// The torrent: a file, an http(s) address, a magnet link, - for standard input, or its infohash
    /// with --tracker
    pub(crate) torrent: PathBuf,
    /// A further tracker to ask (may be repeated)
    #[arg(long = "tracker", value_name = "URL", value_parser = tracker)]
    pub(crate) trackers: Vec<Given<String>>,
    /// An HTTPS tracker's host whose certificate is not to be checked (may be repeated)
    #[arg(long = "tracker-insecure", value_name = "HOST", value_parser = parse_host)]
    pub(crate) insecure_trackers: Vec<String>,
    /// Local address to use [default: all]
    #[arg(long, value_name = "ADDR")]
    pub(crate) bind: Option<IpAddr>,
    /// Longest time to wait for answers
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) driven: Driven,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// `bitswarm metadata`
#[derive(Args, Debug)]
pub(crate) struct Metadata {
    /// A magnet link or an infohash
    #[arg(value_name = "MAGNET")]
    pub(crate) torrent: PathBuf,
    /// Where to write the torrent; - is stdout
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Replace that file if it exists
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) network: Network,
    /// Give up (code 6 or 8) after this long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) driven: Driven,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
    #[command(flatten)]
    pub(crate) painting: Painting,
}

/// `bitswarm demo`
#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// How much to transfer
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_demo_size)]
    pub(crate) size: u64,
    /// How many downloaders
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) peers: u32,
    /// Work in this directory and leave the files there [default: a temporary one, removed]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) driven: Driven,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
    #[command(flatten)]
    pub(crate) painting: Painting,
}
