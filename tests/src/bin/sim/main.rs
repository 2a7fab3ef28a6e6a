//! The simulator on the command line: one seed to look at, many to search, a failure to shrink.
//!
//! A failure ends in the one command that reproduces it. Exit codes: 0 all is well, 2 wrong
//! arguments, 3 the engine panicked, 4 an invariant was broken (safety), 5 what must come did not
//! come in time (liveness), 6 the same seed gave two different runs.

/// Prints a line. Nobody may be left to read it, as behind `| head`: then it is lost, no more.
macro_rules! say {
    ($($what:tt)*) => {{
        let mut out = std::io::stdout().lock();
        drop(std::io::Write::write_fmt(&mut out, format_args!($($what)*)));
        drop(std::io::Write::write_all(&mut out, b"\n"));
    }};
}

mod many;
mod one;
mod swarm;

use std::path::PathBuf;
use std::process::ExitCode;

use bitswarm_tests::sim::storm::Options;
use bitswarm_tests::sim::world::{Failure, Kind};
use clap::{Parser, Subcommand};

/// Runs a swarm in which everything may go wrong at once, drawn from one seed.
#[derive(Debug, Parser)]
#[command(name = "sim", after_help = after_help())]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// The seed to run.
    #[arg(long, required_unless_present = "seeds", conflicts_with = "seeds")]
    seed: Option<u64>,

    /// Runs all seeds from A up to, but not including, B, on all cores.
    #[arg(long, value_name = "A..B", value_parser = parse_range)]
    seeds: Option<(u64, u64)>,

    /// Threads for `--seeds`; as many as there are cores if not given.
    #[arg(long, value_name = "N", requires = "seeds")]
    jobs: Option<usize>,

    /// Ends `--seeds` at the first failure.
    #[arg(long, requires = "seeds")]
    fail_fast: bool,

    /// Writes a line for each seed of `--seeds` that ended well: the seed, the hash of its trace, and
    /// the hash of what the engines did to the world. To compare two versions.
    #[arg(long, value_name = "FILE", requires = "seeds")]
    fingerprints: Option<PathBuf>,

    /// Sets an option to something else than the seed draws.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
    set: Vec<(String, u64)>,

    /// Switches an option off.
    #[arg(long, value_name = "NAME")]
    without: Vec<String>,

    /// Writes a readable trace of all that happened to this file.
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    log: Option<PathBuf>,

    /// If the run fails, looks for a smaller one that fails in the same way.
    #[arg(long, conflicts_with = "seeds")]
    shrink: bool,
}

/// What else there is to run.
#[derive(Debug, Subcommand)]
enum Command {
    /// Runs an orderly swarm and reports its figures.
    Swarm(swarm::Args),
}

/// What is done to the options that a seed draws.
#[derive(Debug, Clone, Default)]
struct Changes(Vec<(String, u64)>);

impl Changes {
    fn options(&self, seed: u64) -> Result<Options, String> {
        let mut options = Options::draw(seed);
        self.0.iter().try_for_each(|(name, value)| options.set(name, *value))?;
        Ok(options)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::Swarm(swarm)) = arguments.command {
        return swarm::run(&swarm);
    }
    let off = arguments.without.into_iter().map(|name| (name, 0));
    let changes = Changes(arguments.set.into_iter().chain(off).collect());
    if let Err(why) = changes.options(0) {
        eprintln!("{why}; `sim --help` lists all options");
        return ExitCode::from(2);
    }
    match (arguments.seed, arguments.seeds) {
        (Some(seed), _) => one::run(seed, &changes, arguments.log, arguments.shrink),
        (None, Some((from, to))) => {
            let (jobs, file) = (arguments.jobs, arguments.fingerprints.as_deref());
            many::run(from..to, &changes, jobs, arguments.fail_fast, file)
        }
        (None, None) => unreachable!("clap asks for one of them"),
    }
}

/// The command that runs these options again.
fn command(options: &Options) -> String {
    format!("cargo run --release -p bitswarm-tests --bin sim -- {}", options.arguments())
}

fn code(failure: &Failure) -> u8 {
    match failure.kind {
        Kind::Crash => 3,
        Kind::Safety => 4,
        Kind::Liveness => 5,
        Kind::Determinism => 6,
    }
}

fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("{text:?} is no range of seeds: it looks like 0..1000");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let range = (from.parse().map_err(|_| wrong())?, to.parse().map_err(|_| wrong())?);
    if range.0 < range.1 { Ok(range) } else { Err(format!("{text} holds no seed")) }
}

fn parse_setting(text: &str) -> Result<(String, u64), String> {
    let wrong = || format!("{text:?} is no setting: it looks like leechers=3");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    Ok((name.to_owned(), value.parse().map_err(|_| wrong())?))
}

fn after_help() -> String {
    let mut text = String::from("Options that a seed draws, for --set and --without:\n");
    for (name, _, about) in Options::NAMES {
        text += &format!("  {name:<15} {}\n", about.trim());
    }
    text + "\nExit codes: 3 crash, 4 safety, 5 liveness, 6 two runs of one seed differ."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_settings_are_read_and_nonsense_is_refused() {
        assert_eq!(parse_range("3..9"), Ok((3, 9)));
        assert!(parse_range("9..3").is_err() && parse_range("9").is_err());
        assert_eq!(parse_setting("leechers=3"), Ok(("leechers".to_owned(), 3)));
        assert!(parse_setting("leechers").is_err() && parse_setting("a=b").is_err());
    }

    #[test]
    fn swarms_that_cannot_be_are_refused() {
        let read = |text: &str| Arguments::try_parse_from(text.split(' '));
        assert!(read("sim swarm --peers 3 --seeds 2 --piece 16KiB --size 100000").is_ok());
        for wrong in ["--peers 0", "--seeds 0", "--peers 70000", "--piece 48KiB", "--piece 8KiB"] {
            assert!(read(&format!("sim swarm {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_option_is_listed_in_the_help() {
        let help = after_help();
        assert!(Options::NAMES.iter().all(|(name, _, _)| help.contains(name)));
    }
}
