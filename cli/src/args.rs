//! The command line's shape: commands, options, their help, and what a usage error looks like.
//!
//! Values are parsed here into the types that the commands use, so that a command never sees a
//! number it has to doubt. What depends on the torrent (does file 7 exist?) is for the command. Options
//! that several commands share stand once and are flattened into each: [`Network`], [`Driven`],
//! [`Reporting`].

mod dht;
mod network;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};

use crate::commands::config::ShowConfig;
use crate::commands::create::Create;
use crate::commands::diff::Diff;
use crate::commands::edit::Edit;
use crate::commands::forget::Forget;
use crate::commands::lint::Lint;
use crate::commands::replay::Replay;
use crate::commands::verify::Verify;
use crate::config::{Config, Refused};
use crate::exit::{Code, Failure};
use crate::fetch::Reach;
use crate::input;
use crate::manual;
use crate::output;
use crate::progress::Colour;
use crate::selection::Selection;
use crate::units::{parse_duration, parse_rate, parse_size, refuse_negative};

pub(crate) use dht::{Dht, DhtAsking, DhtCommand, DhtOptions, DhtPut, parse_hex};
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
    /// Play what --record has recorded, and say whether the engine does the same again
    Replay(Replay),
    /// Forget what is kept of torrents to resume them; data stays
    Forget(Forget),
    /// Show what is set by the environment and the configuration file, and where it comes from
    Config(ShowConfig),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Print a manual page (roff; try `bitswarm man | man -l -`)
    Man(Man),
}

impl Command {
    /// Whether `--json` was given.
    pub(crate) fn has_json(&self) -> bool {
        match self {
            Command::Info(args) => args.json,
            Command::Lint(args) => args.json,
            Command::Diff(args) => args.json,
            Command::Config(args) => args.json,
            Command::Forget(args) => args.json,
            _ => self.reporting().is_some_and(|reporting| reporting.json),
        }
    }

    /// How much is to be said, where that can be chosen.
    fn reporting(&self) -> Option<Reporting> {
        Some(match self {
            Command::Download(args) => args.transfer.reporting,
            Command::Seed(args) => args.transfer.reporting,
            Command::Create(args) => args.reporting,
            Command::Share(args) => args.transfer.reporting,
            Command::Metadata(args) => args.reporting,
            Command::Verify(args) => args.reporting,
            Command::Tracker(args) => args.reporting,
            Command::Scrape(args) => args.reporting,
            Command::Dht(args) => args.command.options().reporting,
            Command::Demo(args) => args.reporting,
            Command::Replay(args) => args.reporting,
            Command::Info(_)
            | Command::Magnet(_)
            | Command::Edit(_)
            | Command::Lint(_)
            | Command::Diff(_)
            | Command::Config(_)
            | Command::Forget(_)
            | Command::Completions(_)
            | Command::Man(_) => return None,
        })
    }

    /// How many times `--verbose` was given.
    pub(crate) fn verbosity(&self) -> u8 {
        self.reporting().map_or(0, |reporting| reporting.verbose)
    }

    /// Whether more may be said than errors and results.
    pub(crate) fn may_say_more(&self) -> bool {
        self.reporting().is_some_and(|reporting| !reporting.quiet)
    }
}

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

/// The torrents of a run.
#[derive(Args, Debug)]
pub(crate) struct Inputs {
    /// Torrents: files, http(s) addresses, magnet links, infohashes, or - for standard input
    #[arg(value_name = "INPUT", required_unless_present = "input_files")]
    inputs: Vec<PathBuf>,
    /// A file that has an input on each line; - is standard input (may be repeated)
    #[arg(short, long = "input-file", value_name = "FILE")]
    input_files: Vec<PathBuf>,
}

impl Inputs {
    /// All of them, those in files last.
    pub(crate) fn all(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut all = self.inputs.clone();
        all.extend(input::listed_in(&self.input_files)?);
        if all.is_empty() {
            let message = "the lists name no torrent; write an input on each line";
            return Err(Failure::new(Code::Usage, message));
        }
        Ok(all)
    }
}

/// Options of download, seed and share.
#[derive(Args, Debug)]
pub(crate) struct Transfer {
    #[command(flatten)]
    pub(crate) network: Network,
    /// An HTTPS tracker's host whose certificate is not to be checked (may be repeated)
    #[arg(long = "tracker-insecure", value_name = "HOST", value_parser = network::parse_host)]
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
}

impl Transfer {
    /// How torrents on the web are got.
    pub(crate) fn reach(&self) -> Reach {
        Reach { bind: self.network.bind.clone(), insecure: self.insecure_trackers.clone() }
    }
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
    /// Write progress in colour
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Colour::Auto)]
    pub(crate) color: Colour,
}

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
}

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

/// Addresses that one argument names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ListenAt(pub(crate) Vec<SocketAddr>);

/// `ADDR:PORT`, or `:PORT`, which is every address of both families.
fn parse_listen(text: &str) -> Result<ListenAt, String> {
    let everywhere = text.strip_prefix(':').or_else(|| text.strip_prefix("*:")).unwrap_or(text);
    if let Ok(port) = everywhere.parse::<u16>() {
        let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        return Ok(ListenAt(any.map(|ip| SocketAddr::new(ip, port)).to_vec()));
    }
    match text.parse() {
        Ok(addr) => Ok(ListenAt(vec![addr])),
        Err(_) => Err("write ADDR:PORT with an address of this machine such as 192.0.2.1:6969 or \
                       [2001:db8::1]:6969, or :6969 for all of them"
            .to_owned()),
    }
}

/// `bitswarm scrape`
#[derive(Args, Debug)]
pub(crate) struct Scrape {
    /// The torrent: a file, an http(s) address, a magnet link, - for standard input, or its infohash
    /// with --tracker
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

/// The process's arguments with its settings, or how to end: with help, or with a usage error in one
/// line. Help needs no settings, nor does what packagers run.
pub(crate) fn parse(
    args: impl IntoIterator<Item = OsString>,
    load: impl FnOnce() -> Result<Config, Failure>,
) -> Result<(Cli, Config), Failure> {
    let args: Vec<OsString> = args.into_iter().collect();
    let alone = Config::default();
    let needs_none = match parse_with(&args, &alone) {
        Ok(cli) => matches!(cli.command, Command::Completions(_) | Command::Man(_)),
        // A setting may give what is missing.
        Err(_) => false,
    };
    let config = if needs_none { alone } else { load()? };
    Ok((parse_with(&args, &config)?, config))
}

fn parse_with(args: &[OsString], config: &Config) -> Result<Cli, Failure> {
    let line = |error: &clap::Error| match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
        _ => {
            // What makes no sense as a whole still says in which form to tell so.
            output::set_json(args.iter().any(|arg| arg == "--json"));
            usage_error(error)
        }
    };
    let matches = config.parse(&command(), args).map_err(|refused| match refused {
        Refused::Line(error) => line(&error),
        Refused::Settings(failure) => failure,
    })?;
    Cli::from_arg_matches(&matches).map_err(|error| line(&error))
}

fn usage_error(error: &clap::Error) -> Failure {
    Failure::new(Code::Usage, format!("{}; see --help", in_one_line(error)))
}

/// The parser's words joined to one line, without its usage summary.
pub(crate) fn in_one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let summary = text.find("\nUsage:").or_else(|| text.find("\nFor more information"));
    let words: Vec<&str> = text[..summary.unwrap_or(text.len())]
        .lines()
        .map(|line| line.trim().trim_start_matches("error: "))
        .filter(|line| !line.is_empty())
        .collect();
    words.join(" ").replace(" tip: ", "; ")
}

/// The whole command, for manual pages and completions too.
pub(crate) fn command() -> clap::Command {
    let pages = manual::names(&Cli::command());
    with_hints(Cli::command()).mut_subcommand("man", |man| {
        man.mut_arg("command", |arg| arg.value_parser(PossibleValuesParser::new(pages)))
    })
}

/// What the kinds of values have in common, by their names in the help.
///
/// Numbers may begin with a minus, as far as the parser is concerned: that a rate of `-1M` is less
/// than nothing is said better by who reads it than by "unexpected argument". Directories are
/// completed as such.
fn with_hints(command: clap::Command) -> clap::Command {
    const NUMBERS: [&str; 7] = ["N", "PORT", "RATE", "RATIO", "SIZE", "TIME", "UNIX"];
    let with_hint = |arg: clap::Arg| {
        let names = arg.get_value_names().unwrap_or_default();
        match names.first().map(clap::builder::Str::as_str) {
            Some(name) if NUMBERS.contains(&name) => arg.allow_hyphen_values(true),
            Some("DIR") => arg.value_hint(ValueHint::DirPath),
            _ => arg,
        }
    };
    command.mut_args(with_hint).mut_subcommands(with_hints)
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    refuse_negative(text)?;
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
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        parse_with(&args, &Config::default()).map(|cli| cli.command)
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
        assert_eq!(d.inputs.inputs.len(), 2);
        assert_eq!(d.seed_ratio, Some(1.5));
        assert_eq!(d.down, Some(512_000));
        assert_eq!(d.transfer.network.peers[1], PeerName { host: "::1".to_owned(), port: 2 });
        assert_eq!(d.transfer.stall_timeout, Some(Duration::from_secs(10)));
    }

    #[test]
    fn what_a_command_would_ignore_it_does_not_take() {
        let lines = [
            "seed x --data d --files 1",
            "seed x --data d --sequential",
            "seed x --data d --preallocate",
            "seed x --data d --down 1M",
            "seed x --data d --seed-time 1h",
            "share x --files 1",
            "share x --list",
            "share x --sequential",
            "share x --preallocate",
            "share x --down 1M",
            "dht node --timeout 1m",
        ];
        for line in lines {
            let failure = parsed(&format!("bitswarm {line}")).unwrap_err();
            assert!(failure.to_string().contains("unexpected argument"), "{line}: {failure}");
        }
    }

    #[test]
    fn a_tracker_listens_on_both_families_unless_one_address_is_named() {
        let listen = |line: &str| match parsed(line) {
            Ok(Command::Tracker(args)) => {
                args.listen.iter().flat_map(|at| at.0.clone()).map(|a| a.to_string()).collect()
            }
            _ => Vec::new(),
        };
        assert_eq!(listen("bitswarm tracker"), ["0.0.0.0:6969", "[::]:6969"]);
        for everywhere in [":6975", "6975", "*:6975"] {
            let line = format!("bitswarm tracker --listen {everywhere}");
            assert_eq!(listen(&line), ["0.0.0.0:6975", "[::]:6975"]);
        }
        let named = "bitswarm tracker --listen 127.0.0.1:1 --listen [::1]:2";
        assert_eq!(listen(named), ["127.0.0.1:1", "[::1]:2"]);
        for wrong in ["localhost", "::1", ":70000", ":", "127.0.0.1", "http://x:1"] {
            assert!(parsed(&format!("bitswarm tracker --listen {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_below_zero_are_told_to_be_wrong_and_not_to_be_options() {
        let lines = [
            "download x --down -1M",
            "download x --up -500K/s",
            "download x --stall-timeout -5",
            "download x --seed-time -1h",
            "download x --seed-ratio -1",
            "create x -l -16KiB",
            "create x --date -1",
            "metadata magnet:x -o t --timeout -1s",
            "scrape x --timeout -1",
            "dht lookup x --timeout -2m",
            "demo --size -64MiB",
        ];
        for line in lines {
            let failure = parsed(&format!("bitswarm {line}")).unwrap_err();
            assert_eq!(failure.code, Code::Usage, "{line}");
            assert!(failure.to_string().contains("less than nothing"), "{line}: {failure}");
        }
        // These have a range, which says as much.
        for line in ["download x --port -1", "download x --max-peers -3", "demo --peers -1"] {
            let failure = parsed(&format!("bitswarm {line}")).unwrap_err().to_string();
            assert!(failure.contains("is not in"), "{line}: {failure}");
        }
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
            "bitswarm seed",
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
