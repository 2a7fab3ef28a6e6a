//! The process's arguments and settings, parsed together, and what a usage error looks like.

use std::ffi::OsString;

use clap::FromArgMatches as _;
use clap::error::ErrorKind;

use crate::args::{Cli, Command, command, in_one_line};
use crate::config::{Config, Refused};
use crate::exit::{Code, Failure};
use crate::output::written;
use crate::report;

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
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match written(error.print()) {
            Ok(()) => std::process::exit(0),
            Err(failure) => failure,
        },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
        _ => {
            // What makes no sense as a whole still says in which form to tell so.
            report::set_json(args.iter().any(|arg| arg == "--json"));
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::args::{PeerName, Runtime};

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
            --up 2MiB --max-peers 9 --record log --no-dht --no-lsd --no-pex --encryption require --runtime mio \
            --preallocate --stall-timeout 10 --json -v --state-dir s";
        let Ok(Command::Download(d)) = parsed(&line.replace("             ", " ")) else {
            panic!("refused");
        };
        assert_eq!(d.inputs.inputs.len(), 2);
        assert_eq!(d.seed_ratio, Some(1.5));
        assert_eq!(d.down, Some(512_000));
        assert_eq!(d.transfer.network.peers()[1], PeerName { host: "::1".to_owned(), port: 2 });
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
            "tracker --color never",
            "scrape x --color never",
            "dht lookup x --color never",
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
        let files = parsed("bitswarm download x --files -2").unwrap_err().to_string();
        assert!(files.contains("write file numbers"), "{files}");
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
