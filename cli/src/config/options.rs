//! Which options there are, and of which commands a setting holds.

use clap::error::ErrorKind;
use clap::{ArgAction, Command};

use super::setting::{PREFIX, Setting, variable};
use crate::args;

/// Commands that transfer or check torrents: a setting without a table holds for them.
const GENERAL: [&str; 8] =
    ["download", "seed", "share", "metadata", "verify", "scrape", "dht", "tracker"];

/// What holds for all commands: how and how much they say, and what drives them.
const OF_ALL: [&str; 5] = ["json", "quiet", "verbose", "color", "runtime"];

/// What means one thing in one command and another in others, or belongs to one run.
const OF_ONE: [(&str, &str); 7] = [
    ("metadata", "output"),
    ("verify", "protocol"),
    ("dht", "bencoded"),
    ("dht", "key"),
    ("dht", "salt"),
    ("dht", "secret"),
    ("dht", "seq"),
];

/// Variables of this project's own tests, which run the binary: whole names, and beginnings.
const OF_TESTS: [(&str, bool); 5] = [
    ("BITSWARM_BIN", true),
    ("BITSWARM_PEERS", true),
    ("BITSWARM_INTEROP", false),
    ("BITSWARM_CONFORMANCE_", false),
    ("BITSWARM_TEST_", false),
];

/// What only ever is meant for one run. A table can have it, if somebody insists.
const OF_ONE_RUN: [&str; 3] = ["input-file", "list", "private"];

/// An option of a command.
#[derive(Clone, Debug)]
pub(crate) struct Opt {
    /// The command at the top.
    pub(crate) command: String,
    /// The command with those below it that have the option.
    path: Vec<String>,
    /// Its long name.
    pub(crate) long: String,
    pub(crate) is_repeated: bool,
    pub(super) is_flag: bool,
    /// The value without which it does.
    pub(crate) default: String,
}

/// Where an option stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The command at the top.
    pub(crate) command: &'a str,
    pub(crate) long: &'a str,
    /// Whether settings without a table hold for it.
    pub(crate) is_general: bool,
}

/// The options of all commands.
#[derive(Clone, Debug)]
pub(crate) struct Options(Vec<Opt>);

impl<'a> Place<'a> {
    pub(crate) fn new(command: &'a str, long: &'a str) -> Self {
        let is_general = OF_ALL.contains(&long)
            || (GENERAL.contains(&command)
                && !OF_ONE.contains(&(command, long))
                && !OF_ONE_RUN.contains(&long));
        Place { command, long, is_general }
    }
}

impl Options {
    /// Those of this definition.
    pub(crate) fn of(definition: &Command) -> Self {
        let mut all = Vec::new();
        for command in definition.get_subcommands() {
            collect(command, &mut vec![command.get_name().to_owned()], &mut all);
        }
        Options(all)
    }

    /// Those that a setting without a table may name, each once, by name.
    pub(crate) fn general(&self) -> impl Iterator<Item = &Opt> {
        let is_general = |opt: &&Opt| Place::new(&opt.command, &opt.long).is_general;
        let mut general: Vec<&Opt> = self.0.iter().filter(is_general).collect();
        general.sort_by(|a, b| a.long.cmp(&b.long));
        general.dedup_by(|a, b| a.long == b.long);
        general.into_iter()
    }

    /// Whether there is such a command.
    pub(super) fn find_command(&self, name: &str) -> Result<(), String> {
        if self.0.iter().any(|opt| opt.command == name) {
            return Ok(());
        }
        let nearest = nearest(name, self.0.iter().map(|opt| &*opt.command));
        Err(format!("there is no command {name}; the nearest is {nearest}"))
    }

    /// Whether a command has such an option.
    pub(super) fn find_in(&self, command: &str, long: &str) -> Result<(), String> {
        let mut own = self.0.iter().filter(|opt| opt.command == command);
        if own.any(|opt| opt.long == long) {
            return Ok(());
        }
        let own = self.0.iter().filter(|opt| opt.command == command);
        let nearest = nearest(long, own.map(|opt| &*opt.long));
        Err(format!("{command} has no option {long}; the nearest is {nearest}"))
    }

    /// Whether a setting without a table may name it.
    pub(super) fn find_general(&self, long: &str) -> Result<(), String> {
        if self.general().any(|opt| opt.long == long) {
            return Ok(());
        }
        if let Some(owner) = self.0.iter().find(|opt| opt.long == long) {
            let table = &owner.command;
            return Err(format!("{long} is an option of {table}; write it below [{table}]"));
        }
        let nearest = nearest(long, self.general().map(|opt| &*opt.long));
        Err(format!("there is no option {long}; the nearest is {nearest}"))
    }

    /// Whether a variable of the environment is a setting, or none of ours.
    pub(super) fn find_variable(&self, name: &str) -> Result<(), String> {
        let is_of_tests = |&(begin, is_whole): &(&str, bool)| match is_whole {
            true => name == begin,
            false => name.starts_with(begin),
        };
        if !name.starts_with(PREFIX) || OF_TESTS.iter().any(is_of_tests) {
            return Ok(());
        }
        if self.general().any(|opt| variable(&opt.long) == name) {
            return Ok(());
        }
        if let Some(owner) = self.0.iter().find(|opt| variable(&opt.long) == name) {
            let (long, table) = (&owner.long, &owner.command);
            return Err(format!(
                "{name} sets nothing: {long} is an option of {table}; write it below [{table}] in \
                 the file, see bitswarm config"
            ));
        }
        let variables: Vec<String> = self.general().map(|opt| variable(&opt.long)).collect();
        let nearest = nearest(name, variables.iter().map(String::as_str));
        Err(format!("{name} sets nothing: there is no such option; the nearest is {nearest}"))
    }

    /// Whether the option takes the value: what the parser would say of it.
    pub(super) fn check(&self, setting: &Setting) -> Result<(), String> {
        let is_meant = |opt: &&Opt| {
            opt.long == setting.key
                && match &setting.table {
                    Some(table) => *table == opt.command,
                    None => Place::new(&opt.command, &opt.long).is_general,
                }
        };
        self.0.iter().filter(is_meant).try_for_each(|opt| opt.check(&setting.values))
    }
}

impl Opt {
    fn check(&self, values: &[String]) -> Result<(), String> {
        match values {
            [value] if self.is_flag => {
                let is_flag = matches!(value.as_str(), "true" | "false");
                return is_flag
                    .then_some(())
                    .ok_or_else(|| format!("{value:?}: write true or false"));
            }
            [value] if self.long == "verbose" => {
                let is_count = value.parse::<u8>().is_ok();
                return is_count.then_some(()).ok_or_else(|| format!("{value:?}: write 0, 1 or 2"));
            }
            [_] => {}
            _ if !self.is_repeated => return Err("write one value".to_owned()),
            _ => {}
        }
        values.iter().try_for_each(|value| {
            let argument = format!("--{}={value}", self.long);
            let line = self.path.iter().cloned().chain([argument]);
            let parsed = args::command().no_binary_name(true).try_get_matches_from(line);
            match parsed {
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::InvalidValue | ErrorKind::ValueValidation
                    ) =>
                {
                    Err(args::in_one_line(&error))
                }
                // That something else is missing is no fault of this one.
                _ => Ok(()),
            }
        })
    }
}

fn collect(command: &Command, path: &mut Vec<String>, all: &mut Vec<Opt>) {
    for below in command.get_subcommands() {
        path.push(below.get_name().to_owned());
        collect(below, path, all);
        path.pop();
    }
    for arg in command.get_arguments() {
        let Some(long) = arg.get_long().filter(|long| !matches!(*long, "help" | "version")) else {
            continue;
        };
        let action = arg.get_action();
        let defaults = arg.get_default_values().iter().map(|value| value.to_string_lossy());
        all.push(Opt {
            command: path.first().cloned().unwrap_or_default(),
            path: path.clone(),
            long: long.to_owned(),
            is_repeated: matches!(action, ArgAction::Append),
            is_flag: matches!(action, ArgAction::SetTrue),
            default: defaults.collect::<Vec<_>>().join(" "),
        });
    }
}

/// The name that is most like this one, in whatever case it is written.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> &'a str {
    let name = name.to_lowercase();
    let distance = |other: &&str| strsim::damerau_levenshtein(&name, &other.to_lowercase());
    names.min_by_key(distance).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_holds_where_it_means_the_same() {
        let general = |command, long| Place::new(command, long).is_general;
        assert!(general("download", "down") && general("seed", "tracker"));
        assert!(general("download", "output") && !general("metadata", "output"));
        assert!(!general("create", "tracker"), "trackers of ours do not belong into a torrent");
        assert!(!general("create", "output"));
        assert!(general("create", "color") && general("info", "json"));
        assert!(!general("demo", "peers"));
        assert!(!general("download", "list"));
    }

    #[test]
    fn the_options_are_those_of_the_command_line() {
        let options = Options::of(&args::command());
        let general: Vec<&str> = options.general().map(|opt| &*opt.long).collect();
        for long in ["down", "no-dht", "bind", "color", "output", "seed-ratio", "listen", "data"] {
            assert!(general.contains(&long), "{long}: {general:?}");
        }
        assert!(!general.contains(&"help") && !general.contains(&"piece-length"));
    }
}
