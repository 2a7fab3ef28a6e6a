//! The form of the settings' file: TOML, with a key for each option and a table for each command
//! that is to have its own.

use toml::{Table, Value};

use super::options::Options;
use super::setting::{Setting, Source};

/// The settings of a file, or what is wrong with it and where.
pub(super) fn parse(text: &str, options: &Options) -> Result<Vec<Setting>, String> {
    let table: Table = text.parse().map_err(|error| in_line(text, &error))?;
    let mut settings = Vec::new();
    for (key, value) in &table {
        match value {
            Value::Table(of_command) => {
                options.find_command(key)?;
                for (key_in, value) in of_command {
                    options.find_in(key, key_in)?;
                    settings.push(setting(Some(key), key_in, value)?);
                }
            }
            _ => {
                options.find_general(key)?;
                settings.push(setting(None, key, value)?);
            }
        }
    }
    Ok(settings)
}

fn setting(table: Option<&str>, key: &str, value: &Value) -> Result<Setting, String> {
    let values = match value {
        Value::Array(values) => values.iter().map(text).collect::<Option<_>>(),
        value => text(value).map(|value| vec![value]),
    };
    let values = values.ok_or_else(|| {
        format!("{key}: write a text in quotes, a number, true or false, or a list of those")
    })?;
    let table = table.map(str::to_owned);
    Ok(Setting { table, key: key.to_owned(), values, source: Source::File })
}

/// The value as it would be given on the command line.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Array(_) | Value::Table(_) | Value::Datetime(_) => None,
    }
}

/// What is wrong with it as TOML, in one line.
fn in_line(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', " ");
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    fn parsed(text: &str) -> Result<Vec<Setting>, String> {
        parse(text, &Options::of(&args::command()))
    }

    #[test]
    fn keys_are_options_and_tables_are_commands() {
        let text = "down = \"2MiB\"\nport = 7000\nseed-ratio = 1.5\nno-dht = true\n\
                    peer = [\"a:1\", \"b:2\"]\n[create]\nprotocol = \"v1\"\n[dht]\ntimeout = \"5s\"";
        let settings = parsed(text).unwrap();
        let found: Vec<(Option<&str>, &str, String)> = settings
            .iter()
            .map(|s| (s.table.as_deref(), s.key.as_str(), s.values.join(" ")))
            .collect();
        let expected = [
            (None, "down", "2MiB"),
            (None, "port", "7000"),
            (None, "seed-ratio", "1.5"),
            (None, "no-dht", "true"),
            (None, "peer", "a:1 b:2"),
            (Some("create"), "protocol", "v1"),
            (Some("dht"), "timeout", "5s"),
        ];
        for (table, key, value) in expected {
            assert!(found.contains(&(table, key, value.to_owned())), "{key}: {found:?}");
        }
        assert_eq!(found.len(), expected.len());
    }

    #[test]
    fn what_is_not_known_names_the_nearest() {
        let error = |text: &str| parsed(text).unwrap_err();
        assert_eq!(error("dwon = 1"), "there is no option dwon; the nearest is down");
        assert_eq!(error("DOWN = 1"), "there is no option DOWN; the nearest is down");
        assert_eq!(error("no_dht = true"), "there is no option no_dht; the nearest is no-dht");
        assert_eq!(
            error("[donwload]\nup = 1"),
            "there is no command donwload; the nearest is download"
        );
        assert_eq!(
            error("[create]\npeice-length = 1"),
            "create has no option peice-length; the nearest is piece-length"
        );
        assert!(error("piece-length = 1").contains("[create]"), "{}", error("piece-length = 1"));
    }

    #[test]
    fn what_is_no_toml_is_said_with_its_line() {
        let error = parsed("down = 1\nup == 2").unwrap_err();
        assert!(error.starts_with("line 2: "), "{error}");
        assert!(!error.contains('\n'), "{error}");
        assert!(parsed("down = 2020-01-01").unwrap_err().starts_with("down: "));
    }
}
