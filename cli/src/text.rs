//! Text that others wrote, made safe for a terminal.
//!
//! Names in torrents, tracker messages and client names are chosen by strangers. Escape sequences
//! in them could move the cursor or rewrite the screen, and bidirectional marks could make one name
//! look like another (defence 4). Everything of that kind is shown as a visible escape, never raw.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with each unsafe character as `\u{..}`; what is safe passes as it is.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// The text as one word of a shell's command line, quoted if it needs to be: for commands that are shown to
/// be run.
pub(crate) fn shell_word(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:=@%".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("'{}'", text.replace('\'', r"'\''"))),
    }
}

/// JSON with each unsafe character escaped as JSON does, so that it is safe on a terminal and
/// means the same to a parser.
///
/// Such characters occur only inside strings: JSON's own syntax is ASCII, and a serializer escapes
/// the ASCII control characters by itself.
pub(crate) fn clean_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Control characters, marks that change the direction of text, and characters without a width,
/// except the joiners U+200C and U+200D: Persian and emoji are spelt with them.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_command_are_quoted_where_a_shell_would_read_them_otherwise() {
        for plain in ["a.torrent", "/home/me/x-1", "https://h:1/a=b", "文件"] {
            assert_eq!(shell_word(plain), plain);
        }
        assert_eq!(shell_word("my album"), "'my album'");
        assert_eq!(shell_word("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("magnet:?xt=a&dn=b"), "'magnet:?xt=a&dn=b'");
    }

    #[test]
    fn ordinary_names_pass_as_they_are() {
        for name in ["plain.txt", "Ünïcödé 文件 ファイル 🎬 👩\u{200d}🚀", "a b/c-d"]
        {
            assert_eq!(clean(name), name);
            assert_eq!(clean_json(name), name);
        }
    }

    #[test]
    fn escapes_controls_and_direction_marks_become_visible() {
        assert_eq!(clean("\x1b[2Jx\r\n"), "\\u{1b}[2Jx\\u{d}\\u{a}");
        assert_eq!(clean("a\u{202e}gpj.exe"), "a\\u{202e}gpj.exe");
        assert_eq!(clean("\u{9b}31m"), "\\u{9b}31m");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let name = "a\u{202e}b\u{9b}\u{e0041}\x1b\n";
        let shown = clean_json(&serde_json::to_string(name).unwrap()).into_owned();
        assert!(shown.is_ascii(), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), name);
    }
}
