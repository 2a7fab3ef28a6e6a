//! The command line's shape: commands, options, their help, and what a usage error looks like.
//!
//! Values are parsed here into the types that the commands use, so that a command never sees a
//! number it has to doubt. What depends on the torrent (does file 7 exist?) is for the command. Options
//! that several commands share stand once and are flattened into each: [`Network`], [`Driven`],
//! [`Reporting`].

mod dht;
mod network;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};

use crate::commands::create::Create;
use crate::commands::diff::Diff;
use crate::commands::edit::Edit;
use crate::commands::lint::Lint;
use crate::commands::verify::Verify;
use crate::exit::{Code, Failure};
use crate::selection::Selection;
use crate::units::{parse_duration, parse_rate, parse_size};

pub(crate) use dht::{Dht, DhtCommand, DhtOptions, DhtPut, parse_hex};
pub(crate) use network::{Driven, Network, PeerName, Runtime, parse_tracker};

/// A BitTorrent client.
#[derive(Parser, Debug)]
#[command(name = "bitswarm", version, about, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 unknown error, 2 usage, 4 bad input, 6 no peers or \
    network down, 7 interrupted, 8 stalled, 9 disk full, 11 file error, 13 data does not match, \
    15 cannot listen.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Download torrents; stops when they are complete, unless told to go on seeding
    Download(Download),
    /// Share data that is already here, until stopped
    Seed(Seed),
    /// Make a torrent of a file or a directory
    Create(Create),
    /// Make a torrent of a file or a directory in memory, print its magnet link and share it
    Share(Share),
    /// Show what is in a torrent, or what a magnet link says
    Info(Info),
    /// Print the magnet link of a torrent
    Magnet(Magnet),
    /// Make a torrent file of a magnet link, asking peers
    Metadata(Metadata),
    /// Compare data on disk with a torrent
    Verify(Verify),
    /// Change what a torrent file says beside its content
    Edit(Edit),
    /// Say what is unusual or harmful in a torrent file
    Lint(Lint),
    /// Say in what two torrent files differ
    Diff(Diff),
    /// Run a tracker, over HTTP and UDP on the same port
    Tracker(Tracker),
    /// Ask a torrent's trackers how many peers it has
    Scrape(Scrape),
    /// Ask the distributed hash table, store in it, or run a node of it
    Dht(Dht),
    /// Show it all at work on this machine: a tracker, a seeder and downloaders on loopback
    Demo(Demo),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Print a manual page (roff; try `bitswarm man | man -l -`)
    Man(Man),
}

impl Command {
    /// How many times `--verbose` was given.
    pub(crate) fn verbosity(&self) -> u8 {
        match self {
            Command::Download(args) => args.transfer.reporting.verbose,
            Command::Seed(args) => args.transfer.reporting.verbose,
            Command::Create(args) => args.reporting.verbose,
            Command::Share(args) => args.transfer.reporting.verbose,
            Command::Metadata(args) => args.reporting.verbose,
            Command::Verify(args) => args.reporting.verbose,
            Command::Tracker(args) => args.reporting.verbose,
            Command::Scrape(args) => args.reporting.verbose,
            Command::Dht(args) => args.command.options().reporting.verbose,
            Command::Demo(args) => args.reporting.verbose,
            Command::Info(_)
            | Command::Magnet(_)
            | Command::Edit(_)
            | Command::Lint(_)
            | Command::Diff(_)
            | Command::Completions(_)
            | Command::Man(_) => 0,
        }
    }
}

/// `bitswarm download`
#[derive(Args, Debug)]
pub(crate) struct Download {
    /// Torrent files or magnet links
    #[arg(value_name = "INPUT", required = true)]
    pub(crate) inputs: Vec<PathBuf>,
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
    #[command(flatten)]
    pub(crate) transfer: Transfer,
}

/// `bitswarm seed`
#[derive(Args, Debug)]
pub(crate) struct Seed {
    /// Torrent files
    #[arg(value_name = "INPUT", required = true)]
    pub(crate) inputs: Vec<PathBuf>,
    /// Directory that contains each torrent's file or folder, under the torrent's name
    #[arg(short, long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) transfer: Transfer,
}

/// Options of download and seed.
#[derive(Args, Debug)]
pub(crate) struct Transfer {
    #[command(flatten)]
    pub(crate) network: Network,
    /// An HTTPS tracker's host whose certificate is not to be checked (may be repeated)
    #[arg(long = "tracker-insecure", value_name = "HOST", value_parser = network::parse_host)]
    pub(crate) insecure_trackers: Vec<String>,
    /// Only these files, numbered as --list shows them, such as 1,3-5
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
    /// Most bytes per second to send
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) up: Option<u64>,
    /// Most peers to be connected to at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_peers: Option<u32>,
    /// Exit (code 8) when no content has moved for this long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) stall_timeout: Option<Duration>,
    /// Reserve the space on disk at the start
    #[arg(long)]
    pub(crate) preallocate: bool,
    /// Where to keep what is needed to resume [default: bitswarm in the XDG state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Record everything the engine is told into this file, to be replayed
    #[arg(long, value_name = "LOG")]
    pub(crate) record: Option<PathBuf>,
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
}

/// How much is said, and in which form.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Reporting {
    /// Write results to stdout as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Say nothing but errors and results
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more on stderr; twice for still more
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// `bitswarm info`
#[derive(Args, Debug)]
pub(crate) struct Info {
    /// A torrent file or a magnet link
    pub(crate) input: PathBuf,
    /// Write one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `bitswarm magnet`
#[derive(Args, Debug)]
pub(crate) struct Magnet {
    /// A torrent file
    pub(crate) torrent: PathBuf,
    /// A peer to name in the link (may be repeated)
    #[arg(long = "peer", value_name = "HOST:PORT", value_parser = PeerName::parse)]
    pub(crate) peers: Vec<PeerName>,
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

/// `bitswarm metadata`
#[derive(Args, Debug)]
pub(crate) struct Metadata {
    /// A magnet link
    pub(crate) magnet: String,
    /// Where to write the torrent
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) network: Network,
    /// Give up (code 6 or 8) after this long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) driven: Driven,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// `bitswarm tracker`
#[derive(Args, Debug)]
pub(crate) struct Tracker {
    /// Address and port to listen on (may be repeated); port 0 lets the system choose [default:
    /// port 6969 at all addresses, IPv4 and IPv6]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Vec<SocketAddr>,
    #[command(flatten)]
    pub(crate) driven: Driven,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// `bitswarm scrape`
#[derive(Args, Debug)]
pub(crate) struct Scrape {
    /// The torrent: a torrent file, a magnet link, or its infohash with --tracker
    pub(crate) torrent: PathBuf,
    /// A further tracker to ask (may be repeated)
    #[arg(long = "tracker", value_name = "URL", value_parser = parse_tracker)]
    pub(crate) trackers: Vec<String>,
    /// An HTTPS tracker's host whose certificate is not to be checked (may be repeated)
    #[arg(long = "tracker-insecure", value_name = "HOST", value_parser = network::parse_host)]
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
    /// The page of one command instead of the overview
    pub(crate) command: Option<String>,
}

/// The process's arguments, or how to end: with help, or with a usage error in one line.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Failure> {
    Cli::try_parse_from(args).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
        _ => usage_error(&error),
    })
}

/// The parser's words joined to one line, without its usage summary.
fn usage_error(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let summary = text.find("\nUsage:").or_else(|| text.find("\nFor more information"));
    let words: Vec<&str> = text[..summary.unwrap_or(text.len())]
        .lines()
        .map(|line| line.trim().trim_start_matches("error: "))
        .filter(|line| !line.is_empty())
        .collect();
    let sentence = words.join(" ").replace(" tip: ", "; ");
    Failure::new(Code::Usage, format!("{sentence}; see --help"))
}

/// The whole command, for manual pages and completions.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(ratio) if ratio.is_finite() && ratio >= 0.0 => Ok(ratio),
        _ => Err("write a ratio such as 1, 1.5 or 0".to_owned()),
    }
}

fn parse_demo_size(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        size @ 1..=0x100_0000_0000 => Ok(size),
        _ => Err("write a size from 1 byte to 1TiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, Failure> {
        parse(line.split(' ').map(OsString::from)).map(|cli| cli.command)
    }

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn download_takes_every_option_of_the_contract() {
        let line = "bitswarm download a.torrent b.torrent -o out --seed --seed-ratio 1.5 \
            --seed-time 1h30m --port 7000 --bind ::1 --peer localhost:1 \
            --peer [::1]:2 --tracker udp://t:3 --files 1,3-5 --list --sequential --down 500K \
            --up 2MiB --max-peers 9 --record log --no-dht --no-lsd --no-pex --runtime mio \
            --preallocate --stall-timeout 10 --json -v --state-dir s";
        let Ok(Command::Download(d)) = parsed(&line.replace("             ", " ")) else {
            panic!("refused");
        };
        assert_eq!(d.inputs.len(), 2);
        assert_eq!(d.seed_ratio, Some(1.5));
        assert_eq!(d.transfer.down, Some(512_000));
        assert_eq!(d.transfer.network.peers[1], PeerName { host: "::1".to_owned(), port: 2 });
        assert_eq!(d.transfer.stall_timeout, Some(Duration::from_secs(10)));
    }

    #[test]
    fn every_command_that_runs_an_engine_lets_its_runtime_be_chosen() {
        for line in ["download x", "seed x --data d", "tracker", "demo"] {
            for (name, runtime) in [("mio", Runtime::Mio), ("async-std", Runtime::AsyncStd)] {
                let driven = match parsed(&format!("bitswarm {line} --runtime {name}")) {
                    Ok(Command::Download(args)) => args.transfer.driven,
                    Ok(Command::Seed(args)) => args.transfer.driven,
                    Ok(Command::Tracker(args)) => args.driven,
                    Ok(Command::Demo(args)) => args.driven,
                    refused => panic!("{refused:?}"),
                };
                assert_eq!(driven.runtime, runtime, "{line}");
            }
        }
    }

    #[test]
    fn a_usage_error_is_one_line() {
        for line in [
            "bitswarm download",
            "bitswarm download x --down fast",
            "bitswarm nonsense",
            "bitswarm seed x",
            "bitswarm download x --peer nowhere",
            "bitswarm download x --peer ::1:5",
            "bitswarm download x --tracker ftp://x",
            "bitswarm download x --seed-ratio -1",
            "bitswarm create x -o y --piece-length 1000",
            "bitswarm download x -q -v",
            "bitswarm tracker --listen here",
        ] {
            let failure = parsed(line).expect_err(line);
            assert_eq!(failure.code, Code::Usage, "{line}");
            let text = failure.to_string();
            assert!(!text.contains('\n') && !text.contains("Usage") && text.len() > 20, "{text}");
        }
    }
}
