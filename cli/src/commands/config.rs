//! `config`: shows each setting, its value and where that comes from.

use crate::args::{ShowConfig, command};
use crate::config::{Config, Options, Place, Setting, Source, variable};
use crate::exit::Failure;
use crate::output::{Object, print};

/// One option as it stands.
struct Row {
    key: String,
    /// `None`: it has none.
    value: Option<String>,
    /// Its value is not shown.
    is_secret: bool,
    source: String,
}

/// Prints a line an option. Settings in tables come last.
pub(crate) fn run(args: &ShowConfig, config: &Config) -> Result<(), Failure> {
    let rows = rows(config);
    let path = config.path.as_ref().map(|path| path.display().to_string());
    if args.json {
        let values = rows.iter().map(|row| {
            serde_json::json!({
                "key": row.key,
                "value": row.value.as_ref().filter(|_| !row.is_secret),
                "secret": row.is_secret,
                "source": row.source,
            })
        });
        return Object::new()
            .with("file", path)
            .with("file_is_there", config.mode.is_some())
            .with("warning", config.exposure())
            .with("values", values.collect::<Vec<_>>())
            .print();
    }
    for row in &rows {
        let value = match (&row.value, row.is_secret) {
            (Some(_), true) => "set (not shown)",
            (Some(value), false) => value,
            (None, _) => "-",
        };
        print(&format!("{:<20} {value:<24} {}", row.key, row.source))?;
    }
    let there = if config.mode.is_some() { "" } else { " (not there)" };
    print(&format!("file: {}{there}", path.unwrap_or_else(|| "none: HOME is not set".to_owned())))?;
    match config.exposure() {
        Some(warning) => print(&format!("warning: {warning}")),
        None => Ok(()),
    }
}

fn rows(config: &Config) -> Vec<Row> {
    let options = Options::of(&command());
    let general = options.general().map(|option| {
        let place = Place { command: "", long: &option.long, is_general: true };
        match config.setting(&place) {
            Some(setting) => row(config, setting),
            None => Row {
                key: option.long.clone(),
                value: Some(option.default.clone()).filter(|value| !value.is_empty()),
                is_secret: false,
                source: "default".to_owned(),
            },
        }
    });
    let tables = config.settings.iter().filter(|setting| setting.table.is_some());
    general.chain(tables.map(|setting| row(config, setting))).collect()
}

fn row(config: &Config, setting: &Setting) -> Row {
    let source = match (setting.source, &config.path) {
        (Source::Variable, _) => variable(&setting.key),
        (Source::File, Some(path)) => path.display().to_string(),
        (Source::File, None) => "file".to_owned(),
    };
    let key = match &setting.table {
        Some(table) => format!("{table}.{}", setting.key),
        None => setting.key.clone(),
    };
    Row { key, value: Some(setting.values.join(" ")), is_secret: setting.is_secret(), source }
}
