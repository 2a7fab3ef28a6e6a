//! The command line's shape: commands, options, their help, and what a usage error looks like.
//!
//! Values are parsed below into the types that the commands use. What depends on the torrent (does file 7
//! exist?) is for the command. Options that several commands share stand once and are flattened into
//! each: `Network`, `Driven`, [`Reporting`].

mod create;
mod dht;
mod inspect;
mod network;
mod pages;
mod reporting;
mod services;
mod transfer;
mod upkeep;
mod values;

use clap::builder::PossibleValuesParser;
use clap::{CommandFactory, Parser, Subcommand, ValueHint};

pub(crate) use create::{Create, Edit};
pub(crate) use dht::{Dht, DhtAsking, DhtCommand, DhtOptions, DhtPut};
pub(crate) use inspect::{Diff, Info, Lint, Magnet, Verify};
pub(crate) use network::{Runtime, dht_config, listen_at, to_connect_from};
pub(crate) use pages::below;
#[cfg(test)]
pub(crate) use pages::page_names;
pub(crate) use reporting::{Colour, Painting, Reporting};
pub(crate) use services::{Demo, Metadata, Scrape, Tracker};
pub(crate) use transfer::{Download, Inputs, Seed, Share, Transfer};
pub(crate) use upkeep::{Completions, Forget, Man, Replay, ShowConfig};
pub(crate) use values::{CreationDate, Given, PeerName, Tier, Version, parse_hex};

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
    let pages = pages::page_words(&Cli::command());
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
    const NUMBERS: [&str; 8] = ["N", "NUMBERS", "PORT", "RATE", "RATIO", "SIZE", "TIME", "UNIX"];
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
