//! Patterns by which files are chosen: `*.flac`, `disc1/**`, `extras`.
//!
//! They are matched against paths below the torrent's folder, with `/`. A pattern without `/`
//! matches a name at any depth. What matches a folder matches all that is in it. `*` and `?` match
//! no `/`, `**` matches any number of folders, `[a-z]` and `{a,b}` are as in a shell.

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::exit::{Code, Failure};

/// One pattern: of the thing itself, and of what is in it.
#[derive(Clone, Debug)]
pub(crate) struct Pattern([Glob; 2]);

/// A pattern as the user writes it.
pub(crate) fn parse(text: &str) -> Result<Pattern, String> {
    let text = text.trim_end_matches('/');
    let anchored = match text.strip_prefix('/') {
        Some(from_root) => from_root.to_owned(),
        None if text.contains('/') => text.to_owned(),
        None => format!("**/{text}"),
    };
    if anchored.is_empty() || text.is_empty() {
        return Err("write a pattern such as *.flac or disc1/**".to_owned());
    }
    let glob = |pattern: &str| {
        let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
        glob.map_err(|error| error.kind().to_string())
    };
    Ok(Pattern([glob(&anchored)?, glob(&format!("{anchored}/**"))?]))
}

/// All of them together.
pub(crate) fn set(patterns: &[Pattern]) -> Result<GlobSet, Failure> {
    let mut builder = GlobSetBuilder::new();
    for glob in patterns.iter().flat_map(|pattern| &pattern.0) {
        builder.add(glob.clone());
    }
    builder.build().map_err(|error| {
        Failure::new(Code::Usage, format!("the patterns are too large together: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        set(&[parse(pattern).unwrap()]).unwrap().is_match(path)
    }

    #[test]
    fn a_pattern_without_a_slash_is_a_name_anywhere() {
        assert!(matches("*.flac", "a.flac") && matches("*.flac", "disc/one/a.flac"));
        assert!(!matches("*.flac", "a.flac.txt"));
        assert!(matches("extras", "extras/a") && matches("extras/", "x/extras/y/a"));
        assert!(!matches("extras", "my extras/a"));
    }

    #[test]
    fn a_pattern_with_a_slash_begins_at_the_folder() {
        assert!(matches("disc1/*.flac", "disc1/a.flac"));
        assert!(!matches("disc1/*.flac", "disc1/x/a.flac"));
        assert!(matches("disc1/**", "disc1/x/a.flac"));
        assert!(matches("/a", "a") && !matches("/a", "b/a"));
        assert!(matches("disc[12]/{a,b}", "disc2/b"));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_words() {
        for text in ["", "/", "[a", "{a"] {
            assert!(!parse(text).unwrap_err().is_empty(), "{text}");
        }
    }
}
