//! Text from strangers, made fit to be shown (defence 4).

/// What to do with a character that may be in a name or a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Harm {
    /// It is an ordinary one.
    None,
    /// A control character or line separator, which could steer a terminal.
    Control,
    /// It shows nothing and serves to make one text look like another: bidirectional controls,
    /// zero-width spaces. The joiners U+200C and U+200D are not among them: Persian and emoji are
    /// spelt with them.
    Invisible,
}

/// Of which kind a character is.
pub(super) fn harm(c: char) -> Harm {
    match c {
        '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' => Harm::Invisible,
        '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => Harm::Invisible,
        '\u{2028}' | '\u{2029}' => Harm::Control,
        _ if c.is_control() => Harm::Control,
        _ => Harm::None,
    }
}

/// Whether a character changes the direction of the text around it, so that a name can pass for
/// another: `exe.gpj` for what ends in `.exe`.
pub(super) fn turns_text(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// `raw` as text that can be printed: bytes that are not UTF-8 and control characters become
/// U+FFFD, invisible controls are dropped, line feeds and tabs stay.
pub fn printable(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    text.chars()
        .filter_map(|c| match harm(c) {
            Harm::Invisible => None,
            Harm::Control if c != '\n' && c != '\t' => Some('\u{fffd}'),
            Harm::Control | Harm::None => Some(c),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_taken_out_and_the_rest_stays() {
        assert_eq!(printable(b"two\nlines\tgr\xc3\xbc\xc3\x9fe"), "two\nlines\tgrüße");
        assert_eq!(printable(b"\x1b[31mred\x07\x9b\r"), "\u{fffd}[31mred\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(printable("a\u{202e}b\u{200b}c\u{9b}d".as_bytes()), "abc\u{fffd}d");
        assert_eq!(printable("👩\u{200d}🚀".as_bytes()), "👩\u{200d}🚀");
    }
}
