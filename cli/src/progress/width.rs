//! Columns that text takes on a terminal: measured, cut and padded by grapheme clusters, so that
//! wide characters (CJK, emoji), combining marks and joined emoji keep lines aligned.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

/// Marks where text was cut.
const CUT: char = '…';

/// First strong isolate (UAX #9): what follows has a direction of its own.
const ISOLATE: char = '\u{2068}';
/// Pop directional isolate: the end of that.
const END_OF_ISOLATE: char = '\u{2069}';

/// Columns that the text takes.
pub(crate) fn columns(text: &str) -> usize {
    text.graphemes(true).map(grapheme_columns).sum()
}

/// No cluster takes more than two columns, whatever it is joined of.
fn grapheme_columns(grapheme: &str) -> usize {
    grapheme.width().min(2)
}

/// The text in at most this many columns; what had to be cut ends in `…`.
pub(crate) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if columns(text) <= most {
        return Cow::Borrowed(text);
    }
    let mut kept = String::new();
    let mut room = match most.checked_sub(1) {
        Some(room) => room,
        None => return Cow::Borrowed(""),
    };
    for grapheme in text.graphemes(true) {
        let Some(left) = room.checked_sub(grapheme_columns(grapheme)) else { break };
        room = left;
        kept.push_str(grapheme);
    }
    kept.push(CUT);
    Cow::Owned(kept)
}

/// Spaces that fill `text` up to `to` columns.
pub(crate) fn padding(text: &str, to: usize) -> String {
    " ".repeat(to.saturating_sub(columns(text)))
}

/// The text kept from changing the order of what stands beside it: a name written from right to
/// left would otherwise take the figures after it along.
pub(crate) fn isolated(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_right_to_left) {
        Cow::Owned(format!("{ISOLATE}{text}{END_OF_ISOLATE}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Whether the character belongs to a script that is written from right to left (the blocks that
/// Unicode reserves for those).
fn is_right_to_left(c: char) -> bool {
    matches!(
        c,
        '\u{590}'..='\u{8ff}'
            | '\u{fb1d}'..='\u{fdff}'
            | '\u{fe70}'..='\u{feff}'
            | '\u{10800}'..='\u{10fff}'
            | '\u{1e800}'..='\u{1efff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_the_clusters() {
        for (text, expected) in [
            ("", 0),
            ("plain", 5),
            ("文件", 4),
            ("e\u{301}", 1),
            ("🎬", 2),
            ("👩\u{200d}🚀", 2),
            ("👨\u{200d}👩\u{200d}👧\u{200d}👦", 2),
            ("🇯🇵", 2),
            ("👍🏽", 2),
            ("שלום", 4),
            ("ｶﾞ", 2),
            ("한글", 4),
        ] {
            assert_eq!(columns(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_cut_is_marked_and_no_cluster_is_split() {
        assert_eq!(cut("plain", 5), "plain");
        assert_eq!(cut("plain", 4), "pla…");
        assert_eq!(cut("文件名", 6), "文件名");
        assert_eq!(cut("文件名", 5), "文件…");
        assert_eq!(cut("文件名", 4), "文…", "half of a wide character is none");
        assert_eq!(cut("ae\u{301}b", 2), "a…");
        assert_eq!(cut("👩\u{200d}🚀xyz", 3), "👩\u{200d}🚀…");
        assert_eq!(cut("ab", 1), "…");
        assert_eq!(cut("ab", 0), "");
    }

    #[test]
    fn a_cut_is_never_wider_than_it_may_be() {
        let names = ["文件名字很长", "a👩\u{200d}🚀b🎬c", "e\u{301}e\u{301}e\u{301}", "שלום עולם"];
        for name in names {
            for most in 0..20 {
                assert!(columns(&cut(name, most)) <= most, "{name} in {most}");
            }
        }
    }

    #[test]
    fn names_from_right_to_left_are_isolated() {
        assert_eq!(isolated("plain"), "plain");
        assert_eq!(isolated("שלום"), "\u{2068}שלום\u{2069}");
        assert_eq!(columns(&isolated("سلام")), 4);
    }
}
