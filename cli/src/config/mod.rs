//! Settings that are not given on the command line: variables of the environment and a file.
//!
//! A setting is an option under its long name: `down = "2MiB"` in the file, `BITSWARM_DOWN=2MiB` in
//! the environment. What the command line says outranks a variable, that outranks the file, and that
//! outranks the built-in default. A setting holds for every command that has the option and runs or
//! checks a torrent; what only one command has, or what means something else in others, stands in a
//! table of that command's name.
//!
//! - `setting`: one of them; `options`: which options there are, and of which commands a setting holds;
//! - `file`: the file's form; `apply`: settings as defaults of the parser.

mod apply;
mod file;
mod options;
mod setting;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::args;
use crate::exit::{Code, Failure};

pub(crate) use apply::Refused;
pub(crate) use options::{Options, Place};
pub(crate) use setting::{Setting, Source, variable};

/// All settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    /// Where the file lies, if it is known where that would be.
    pub(crate) path: Option<PathBuf>,
    /// The permissions of the file, if it is there and the system has such.
    pub(crate) mode: Option<u32>,
    pub(crate) settings: Vec<Setting>,
}

impl Config {
    /// Reads the file and the environment.
    pub(crate) fn load() -> Result<Self, Failure> {
        let options = Options::of(&args::command());
        let mut config = Config { path: path(), ..Config::default() };
        if let Some(path) = config.path.clone() {
            config.read(&path, &options)?;
        }
        for (name, _) in env::vars_os().filter(|(_, value)| !value.is_empty()) {
            options.find_variable(&name.to_string_lossy()).map_err(|why| {
                Failure::new(Code::Usage, format!("{why}; unset {}", name.display()))
            })?;
        }
        config.settings.extend(
            options
                .general()
                .filter_map(|option| {
                    let text =
                        env::var_os(variable(&option.long)).filter(|text| !text.is_empty())?;
                    Some(from_variable(option, &text))
                })
                .collect::<Result<Vec<_>, _>>()?,
        );
        config.check(&options)?;
        Ok(config)
    }

    fn read(&mut self, path: &Path, options: &Options) -> Result<(), Failure> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            // A home that is none, or that may not be searched, has no settings for us.
            Err(_) if fs::metadata(path).is_err() => return Ok(()),
            Err(error) => return Err(Failure::file("cannot read", path, &error)),
        };
        self.mode = mode(path);
        let wrong = |why| Failure::new(Code::Usage, format!("{}: {why}", path.display()));
        self.settings = file::parse(&text, options).map_err(wrong)?;
        Ok(())
    }

    /// Whether each value is one that its option takes.
    fn check(&self, options: &Options) -> Result<(), Failure> {
        self.settings.iter().try_for_each(|setting| {
            options.check(setting).map_err(|why| {
                Failure::new(Code::Usage, format!("{}: {why}", self.origin(setting)))
            })
        })
    }

    /// Where a setting stands, and its name there.
    fn origin(&self, setting: &Setting) -> String {
        let name = setting.name();
        match (setting.source, &self.path) {
            (Source::File, Some(path)) => format!("{}: {name}", path.display()),
            _ => name,
        }
    }

    /// What is to be said when others may read what is secret.
    pub(crate) fn warning(&self) -> Option<String> {
        let in_file = |setting: &&Setting| setting.source == Source::File;
        let is_secret = self.settings.iter().filter(in_file).any(Setting::is_secret);
        is_secret.then(|| self.exposure()).flatten()
    }

    /// Whether others may read the file, in words.
    pub(crate) fn exposure(&self) -> Option<String> {
        let (path, mode) = (self.path.as_ref()?, self.mode?);
        (mode & 0o044 != 0).then(|| {
            let path = path.display();
            format!(
                "others may read {path} (mode {:o}); chmod 600 it, if it holds keys",
                mode & 0o777
            )
        })
    }

    /// The setting that counts for an option of a command.
    pub(crate) fn setting(&self, place: &Place<'_>) -> Option<&Setting> {
        let holds = |setting: &&Setting| {
            setting.key == place.long
                && match &setting.table {
                    Some(table) => table == place.command,
                    None => place.is_general,
                }
        };
        // A variable outranks the file, and in the file a command's own table the rest.
        self.settings
            .iter()
            .filter(holds)
            .max_by_key(|setting| (setting.source, setting.table.is_some()))
    }
}

fn from_variable(option: &options::Opt, text: &OsString) -> Result<Setting, Failure> {
    let name = variable(&option.long);
    let text = text.to_str().ok_or_else(|| {
        Failure::new(Code::Usage, format!("{name} is not Unicode; set it anew or unset it"))
    })?;
    let values = match option.is_repeated {
        true => text.split_whitespace().map(str::to_owned).collect(),
        false if option.is_flag => vec![flag(text).to_owned()],
        false => vec![text.to_owned()],
    };
    Ok(Setting { table: None, key: option.long.clone(), values, source: Source::Variable })
}

/// What variables say that are on or off, in the words of the file.
fn flag(text: &str) -> &str {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => "true",
        "0" | "false" | "no" | "off" => "false",
        _ => text,
    }
}

/// `$XDG_CONFIG_HOME/bitswarm/config.toml`; relative directories are ignored, as XDG has it.
fn path() -> Option<PathBuf> {
    let dir = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = dir("XDG_CONFIG_HOME").or_else(|| dir("HOME").map(|home| home.join(".config")))?;
    Some(base.join("bitswarm").join("config.toml"))
}

#[cfg(unix)]
fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).ok().map(|metadata| metadata.mode())
}

#[cfg(not(unix))]
fn mode(_: &Path) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(table: Option<&str>, key: &str, value: &str, source: Source) -> Setting {
        let table = table.map(str::to_owned);
        Setting { table, key: key.to_owned(), values: vec![value.to_owned()], source }
    }

    #[test]
    fn variables_outrank_the_file_and_tables_its_other_lines() {
        let settings = vec![
            setting(None, "down", "1", Source::File),
            setting(Some("seed"), "down", "2", Source::File),
            setting(None, "up", "3", Source::File),
            setting(None, "up", "4", Source::Variable),
        ];
        let config = Config { settings, ..Config::default() };
        let value = |command, long, is_general| {
            let place = Place { command, long, is_general };
            config.setting(&place).map(|setting| setting.values[0].clone())
        };
        assert_eq!(value("download", "down", true).as_deref(), Some("1"));
        assert_eq!(value("seed", "down", true).as_deref(), Some("2"));
        assert_eq!(value("seed", "up", true).as_deref(), Some("4"));
        assert_eq!(value("create", "up", false), None);
        assert_eq!(value("seed", "port", true), None);
    }
}
