//! Settings as defaults of the parser: what the command line says outranks them by itself.

use std::any::TypeId;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

use clap::builder::{StringValueParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use super::{Config, Place, Setting};
use crate::args::{Given, PeerName};
use crate::exit::{Code, Failure};

/// Settings that do not count in this run, by command and option.
type Without = BTreeSet<(String, String)>;

impl Config {
    /// Parses a command line. A setting that excludes something which is given there does not count.
    pub(crate) fn parse(
        &self,
        definition: &Command,
        args: &[OsString],
    ) -> Result<ArgMatches, Refused> {
        let mut without = Without::new();
        loop {
            let mut command = self.applied(definition.clone(), &without);
            let matches = command
                .try_get_matches_from_mut(args)
                .map_err(|error| Refused::Line(error.into()))?;
            let excluded = self.excluded(&command, &matches).map_err(Refused::Settings)?;
            let before = without.len();
            without.extend(excluded);
            if without.len() == before {
                return Ok(matches);
            }
        }
    }

    fn applied(&self, definition: Command, without: &Without) -> Command {
        let commands: Vec<String> =
            definition.get_subcommands().map(|command| command.get_name().to_owned()).collect();
        commands.into_iter().fold(definition, |definition, name| {
            definition.mut_subcommand(&name, |command| self.applied_to(command, &name, without))
        })
    }

    /// With the settings for the command `top` at the top, of which this is one or below one.
    fn applied_to(&self, command: Command, top: &str, without: &Without) -> Command {
        let below: Vec<String> =
            command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
        let command = below.into_iter().fold(command, |command, name| {
            command.mut_subcommand(&name, |below| self.applied_to(below, top, without))
        });
        command.mut_args(|arg| {
            let Some(long) = arg.get_long().map(str::to_owned) else { return arg };
            let long = &long;
            let is_out = without.contains(&(top.to_owned(), long.clone()));
            match self.setting(&Place::new(top, long)).filter(|_| !is_out) {
                Some(setting) => {
                    let takes_values = arg.get_action().takes_values();
                    let arg = self.traced(arg, long.as_str(), setting);
                    let arg = arg.default_values(setting.values.clone()).required(false);
                    // Help shows what everybody may see.
                    if takes_values { arg.hide_default_value(true) } else { arg }
                }
                None => arg,
            }
        })
    }

    /// Has an option whose bad values are left out say of those of a setting where they stand.
    fn traced(&self, arg: Arg, long: &str, setting: &Setting) -> Arg {
        let (option, origin) = (format!("--{long}"), self.origin(setting));
        let kind = arg.get_value_parser().type_id();
        if kind == TypeId::of::<Given<PeerName>>() {
            arg.value_parser(Traced { option, origin, parse: Given::peer })
        } else if kind == TypeId::of::<Given<String>>() {
            arg.value_parser(Traced { option, origin, parse: Given::tracker })
        } else {
            arg
        }
    }

    /// Settings that exclude what the command line says, or what a setting of more weight says.
    fn excluded(
        &self,
        command: &Command,
        matches: &ArgMatches,
    ) -> Result<Vec<(String, String)>, Failure> {
        let Some((top, matches)) = matches.subcommand() else { return Ok(Vec::new()) };
        let Some(mut command) = command.find_subcommand(top) else { return Ok(Vec::new()) };
        let mut matches = matches;
        while let Some((name, below)) = matches.subcommand()
            && let Some(found) = command.find_subcommand(name)
        {
            (command, matches) = (found, below);
        }
        let setting = |long: &str| {
            let setting = self.setting(&Place::new(top, long));
            setting.filter(|setting| is_on(setting))
        };
        let mut excluded = Vec::new();
        for arg in command.get_arguments() {
            let Some(long) = arg.get_long() else { continue };
            let is_given = matches.value_source(arg.get_id().as_str());
            if is_given == Some(ValueSource::CommandLine) {
                continue;
            }
            let Some(own) = setting(long) else { continue };
            for other in command.get_arg_conflicts_with(arg) {
                let Some(other_long) = other.get_long() else { continue };
                let id = other.get_id().as_str();
                if matches.value_source(id) == Some(ValueSource::CommandLine) {
                    excluded.push((top.to_owned(), long.to_owned()));
                } else if let Some(other) = setting(other_long) {
                    if other.source == own.source {
                        let message =
                            format!("{} and {} exclude each other", own.name(), other.name());
                        return Err(Failure::new(Code::Usage, message));
                    }
                    if other.source > own.source {
                        excluded.push((top.to_owned(), long.to_owned()));
                    }
                }
            }
        }
        Ok(excluded)
    }
}

/// Parses a value by the name of where it stands.
#[derive(Clone)]
struct Traced<T> {
    option: String,
    /// Where the setting stands, which is the parser's default.
    origin: String,
    parse: fn(&str, &str) -> Given<T>,
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Traced<T> {
    type Value = Given<T>;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Given<T>, clap::Error> {
        self.parse_ref_(command, arg, value, ValueSource::CommandLine)
    }

    fn parse_ref_(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<Given<T>, clap::Error> {
        let text = StringValueParser::new().parse_ref(command, arg, value)?;
        let name = match source {
            ValueSource::DefaultValue => &self.origin,
            _ => &self.option,
        };
        Ok((self.parse)(name, &text))
    }
}

/// Why a command line could not be parsed.
#[derive(Debug)]
pub(crate) enum Refused {
    /// By itself, or because help was asked for.
    Line(Box<clap::Error>),
    /// Because of settings.
    Settings(Failure),
}

/// Whether it says more than that something is off.
fn is_on(setting: &Setting) -> bool {
    !matches!(setting.values.as_slice(), [value] if value == "false" || value == "0")
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;
    use crate::args::{self, Cli, Command as Ours, DhtCommand, Version};
    use crate::config::Source;

    fn config(settings: &[(Option<&str>, &str, &[&str], Source)]) -> Config {
        let settings = settings.iter().map(|(table, key, values, source)| Setting {
            table: table.map(str::to_owned),
            key: (*key).to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
            source: *source,
        });
        Config { settings: settings.collect(), ..Config::default() }
    }

    fn parsed(config: &Config, line: &str) -> Ours {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let matches = config.parse(&args::command(), &args).unwrap();
        Cli::from_arg_matches(&matches).unwrap().command
    }

    #[test]
    fn the_command_line_outranks_settings_and_those_the_defaults() {
        let config = config(&[
            (None, "down", &["2MiB"], Source::File),
            (None, "output", &["/here"], Source::File),
            (None, "no-dht", &["true"], Source::File),
            (None, "no-lsd", &["true"], Source::File),
            (None, "no-lsd", &["false"], Source::Variable),
            (None, "peer", &["a:1", "b:2"], Source::File),
            (Some("create"), "protocol", &["v1"], Source::File),
        ]);
        let Ours::Download(args) = parsed(&config, "bitswarm download x") else { panic!() };
        assert_eq!(args.down, Some(2 << 20));
        assert_eq!(args.output.to_str(), Some("/here"));
        assert!(args.transfer.network.no_dht && !args.transfer.no_lsd);
        assert_eq!(args.transfer.network.peers().len(), 2);
        let line = "bitswarm download x --down 1K -o . --peer c:3";
        let Ours::Download(args) = parsed(&config, line) else { panic!() };
        assert_eq!(args.down, Some(1024));
        assert_eq!(args.output.to_str(), Some("."));
        assert_eq!(args.transfer.network.peers().len(), 1, "what is given replaces");
        let Ours::Create(args) = parsed(&config, "bitswarm create x") else { panic!() };
        assert_eq!(args.protocol, Version::V1);
        assert_eq!(args.output, None);
    }

    #[test]
    fn a_setting_gives_way_to_what_it_excludes() {
        let quiet = config(&[(None, "quiet", &["true"], Source::File)]);
        let Ours::Download(args) = parsed(&quiet, "bitswarm download x") else { panic!() };
        assert!(args.transfer.reporting.quiet);
        let Ours::Download(args) = parsed(&quiet, "bitswarm download x -v") else { panic!() };
        assert_eq!((args.transfer.reporting.quiet, args.transfer.reporting.verbose), (false, 1));
        let both = config(&[
            (None, "quiet", &["true"], Source::File),
            (None, "verbose", &["1"], Source::Variable),
        ]);
        let Ours::Download(args) = parsed(&both, "bitswarm download x") else { panic!() };
        assert_eq!((args.transfer.reporting.quiet, args.transfer.reporting.verbose), (false, 1));
        let equal = config(&[
            (None, "quiet", &["true"], Source::File),
            (None, "verbose", &["1"], Source::File),
        ]);
        let args = ["bitswarm", "download", "x"].map(OsString::from);
        let refused = equal.parse(&args::command(), &args).unwrap_err();
        assert!(matches!(refused, Refused::Settings(_)), "{refused:?}");
    }

    #[test]
    fn a_value_that_is_left_out_is_told_with_where_it_stands_whatever_its_text() {
        let config = config(&[(None, "peer", &["nonsense"], Source::Variable)]);
        let told = |line: &str| {
            let Ours::Download(args) = parsed(&config, line) else { panic!() };
            let failures: Vec<String> =
                args.transfer.network.failures().map(|failure| failure.to_string()).collect();
            failures.concat()
        };
        assert!(told("bitswarm download x").starts_with("BITSWARM_PEER"));
        assert!(told("bitswarm download x --peer nonsense").starts_with("--peer \"nonsense\""));
    }

    #[test]
    fn commands_below_a_command_have_its_settings() {
        let config = config(&[(Some("dht"), "timeout", &["5s"], Source::File)]);
        let Ours::Dht(args) = parsed(&config, "bitswarm dht lookup x") else { panic!() };
        let DhtCommand::Lookup { asking, .. } = args.command else { panic!() };
        assert_eq!(asking.timeout, std::time::Duration::from_secs(5));
    }
}
