//! One setting: an option's value, where it stands, and the name that the user gave it there.

use bitswarm_core::http::Url;

/// Before the name of an option, in the environment.
pub(super) const PREFIX: &str = "BITSWARM_";

/// An option's value that is not given on the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Setting {
    /// The command whose table it stands in; `None` holds for all.
    pub(crate) table: Option<String>,
    /// The option's long name.
    pub(crate) key: String,
    /// One value, or those of an option that may be repeated.
    pub(crate) values: Vec<String>,
    pub(crate) source: Source,
}

/// Where a setting comes from. A greater one outranks a lesser one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Source {
    File,
    Variable,
}

impl Setting {
    /// Whether it has something that is not to be shown: a password, or what may be a passkey.
    pub(crate) fn is_secret(&self) -> bool {
        self.values.iter().any(|value| holds_credentials(value))
    }

    /// The name that the user gave it.
    pub(crate) fn name(&self) -> String {
        match (self.source, &self.table) {
            (Source::Variable, _) => variable(&self.key),
            (Source::File, Some(table)) => format!("{table}.{}", self.key),
            (Source::File, None) => self.key.clone(),
        }
    }
}

/// The variable of an option.
pub(crate) fn variable(long: &str) -> String {
    format!("{PREFIX}{}", long.to_ascii_uppercase().replace('-', "_"))
}

/// Whether a value is a URL of which a part must not be shown.
fn holds_credentials(value: &str) -> bool {
    let is_hidden = |url: Url| url.authorization().is_some() || url.to_string().contains("***");
    Url::parse(value).is_ok_and(is_hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_passkeys_are_credentials() {
        assert!(holds_credentials("http://me:pw@t.example/announce"));
        assert!(holds_credentials("http://t.example/announce?passkey=1"));
        assert!(holds_credentials("https://t.example/0123456789abcdef0123/announce"));
        assert!(!holds_credentials("udp://t.example:80"));
        assert!(!holds_credentials("http://t.example/announce"));
        assert!(!holds_credentials("2MiB"));
    }
}
