//! A parsed message, and cursors into it.
//!
//! The items of the input lie in one vector in the order in which they begin; a list or dictionary
//! knows where its contents end, so that stepping over a value costs the same whatever is in it.
//! Looking up a key scans the dictionary's own entries; iterating over everything is linear.

use std::fmt;
use std::ops::Range;

use super::item::{Item, Items, Shape};
use super::parse::{self, Limits, ParseError};

/// A bencoded value and everything in it, read from borrowed bytes.
///
/// The forms that BEP 3 forbids or leaves open are treated thus:
///
/// | form | here |
/// |---|---|
/// | keys not sorted | read; [`Value::get`] finds them all the same |
/// | a key twice | read; [`Value::get`] finds the first |
/// | integer with leading zeros, `i03e` | read as the number |
/// | `i-0e` | read as 0 |
/// | integer beyond 64 bits | read (BEP 3: "integers have no size limitation"); [`Value::as_int`] is `None` |
/// | string length with leading zeros, `03:abc` | read as the number |
/// | `ie`, `i-e`, `i+1e`, a digit missing anywhere | refused |
/// | key that is no string, key without a value | refused |
/// | bytes after the value | refused by [`Document::parse`], left over by [`Document::parse_prefix`] |
#[derive(Clone)]
pub struct Document<'a> {
    input: &'a [u8],
    items: Items,
}

impl<'a> Document<'a> {
    /// Reads one value that is the whole input.
    pub fn parse(input: &'a [u8], limits: Limits) -> Result<Self, ParseError> {
        let document = Self::parse_prefix(input, limits)?;
        parse::expect_end(input, document.consumed())?;
        Ok(document)
    }

    /// Reads one value at the start of the input; [`Document::consumed`] says where it ends.
    /// For messages in which other bytes follow (BEP 9, "data").
    pub fn parse_prefix(input: &'a [u8], limits: Limits) -> Result<Self, ParseError> {
        Ok(Document { input, items: parse::items(input, limits)? })
    }

    /// The outermost value.
    pub fn root(&self) -> Value<'_> {
        Value { input: self.input, items: &self.items, at: 0 }
    }

    /// How many bytes of the input the value takes.
    pub fn consumed(&self) -> usize {
        self.root().span().end
    }
}

impl fmt::Debug for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes, {} items)", self.consumed(), self.items.len())
    }
}

/// One value in a [`Document`]; cheap to copy. What it is not is `None`, never an error.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    input: &'a [u8],
    items: &'a [Item],
    at: usize,
}

impl<'a> Value<'a> {
    /// The bytes that encode the value, as they were received.
    pub fn raw(self) -> &'a [u8] {
        self.input.get(self.span()).unwrap_or_default()
    }

    /// Where in the input [`Value::raw`] lies.
    pub fn span(self) -> Range<usize> {
        self.item().map_or(0..0, |item| item.start as usize..item.end as usize)
    }

    /// The content of a string.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        let item = self.item()?;
        match item.shape {
            Shape::Bytes { content } => self.input.get(content as usize..item.end as usize),
            _ => None,
        }
    }

    /// The content of a string that is UTF-8.
    pub fn as_str(self) -> Option<&'a str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// An integer that fits 64 bits.
    pub fn as_int(self) -> Option<i64> {
        let item = self.item()?;
        matches!(item.shape, Shape::Int).then_some(())?;
        // Between the `i` and the `e`.
        let digits = self.raw().get(1..)?.strip_suffix(b"e")?;
        parse::int_value(digits)
    }

    /// An integer that fits 64 bits and is not negative.
    pub fn as_uint(self) -> Option<u64> {
        u64::try_from(self.as_int()?).ok()
    }

    /// The elements of a list, in order.
    pub fn as_list(self) -> Option<impl Iterator<Item = Value<'a>> + Clone> {
        match self.item()?.shape {
            Shape::List { next } => Some(self.children(next)),
            _ => None,
        }
    }

    /// The entries of a dictionary, in the order in which they were received.
    pub fn as_dict(self) -> Option<impl Iterator<Item = (&'a [u8], Value<'a>)> + Clone> {
        match self.item()?.shape {
            Shape::Dict { next } => {
                let mut children = self.children(next);
                Some(std::iter::from_fn(move || {
                    let key = children.next()?.as_bytes()?;
                    Some((key, children.next()?))
                }))
            }
            _ => None,
        }
    }

    /// The value under `key`, if this is a dictionary that has it. Takes time linear in the
    /// entries: to look up many keys, iterate over [`Value::as_dict`] once.
    pub fn get(self, key: impl AsRef<[u8]>) -> Option<Value<'a>> {
        let key = key.as_ref();
        self.as_dict()?.find_map(|(name, value)| (name == key).then_some(value))
    }

    fn item(self) -> Option<Item> {
        self.items.get(self.at).copied()
    }

    fn children(self, end: u32) -> Children<'a> {
        Children { next: Value { at: self.at + 1, ..self }, end: end as usize }
    }
}

impl fmt::Debug for Value<'_> {
    /// The encoding, with unprintable bytes escaped, cut short.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 100;
        let raw = self.raw();
        write!(f, "{}", raw.get(..SHOWN).unwrap_or(raw).escape_ascii())?;
        if raw.len() > SHOWN { write!(f, "...") } else { Ok(()) }
    }
}

/// What lies directly in a list or dictionary: keys and values alike.
#[derive(Clone)]
struct Children<'a> {
    next: Value<'a>,
    end: usize,
}

impl<'a> Iterator for Children<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        if self.next.at >= self.end {
            return None;
        }
        let value = self.next;
        self.next.at = match value.item()?.shape {
            Shape::Bytes { .. } | Shape::Int => value.at + 1,
            Shape::List { next } | Shape::Dict { next } => next as usize,
        };
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &[u8]) -> Document<'_> {
        Document::parse(input, Limits::METAINFO).unwrap()
    }

    #[test]
    fn values_are_what_they_are_and_nothing_else() {
        let document = parse(b"d4:dictde3:inti-7e4:listl1:a0:e4:text5:hallo4:utf82:\xc3\x28e");
        let root = document.root();
        assert_eq!(root.get("int").unwrap().as_int(), Some(-7));
        assert_eq!(root.get("int").unwrap().as_uint(), None);
        assert_eq!(root.get("int").unwrap().as_bytes(), None);
        assert_eq!(root.get("text").unwrap().as_str(), Some("hallo"));
        assert_eq!(root.get("text").unwrap().as_int(), None);
        assert_eq!(root.get("utf8").unwrap().as_bytes(), Some(&b"\xc3\x28"[..]));
        assert_eq!(root.get("utf8").unwrap().as_str(), None);
        assert_eq!(root.get("dict").unwrap().as_dict().unwrap().count(), 0);
        assert!(root.get("dict").unwrap().as_list().is_none());
        assert!(root.get("absent").is_none());
        assert!(root.get("text").unwrap().get("x").is_none());
        let list: Vec<_> =
            root.get("list").unwrap().as_list().unwrap().map(|v| v.as_bytes().unwrap()).collect();
        assert_eq!(list, [&b"a"[..], b""]);
    }

    #[test]
    fn raw_is_the_span_as_received() {
        let input = b"d4:infod1:bi01e1:ai-0ee1:z0:e";
        let document = parse(input);
        let info = document.root().get("info").unwrap();
        assert_eq!(info.raw(), b"d1:bi01e1:ai-0ee");
        assert_eq!(&input[info.span()], info.raw());
    }

    #[test]
    fn stepping_over_a_value_ignores_what_is_in_it() {
        let document = parse(b"ll1:aed1:xl1:xeei1ee");
        let kinds: Vec<_> = document.root().as_list().unwrap().map(Value::raw).collect();
        assert_eq!(kinds, [&b"l1:ae"[..], b"d1:xl1:xee", b"i1e"]);
        assert!(document.root().as_list().unwrap().nth(1).unwrap().get("x").is_some());
    }

    #[test]
    fn unsorted_keys_are_found() {
        let document = parse(b"d1:bi1e1:ai2ee");
        assert_eq!(document.root().get("a").unwrap().as_int(), Some(2));
        assert_eq!(document.root().get("b").unwrap().as_int(), Some(1));
    }

    #[test]
    fn of_a_key_given_twice_the_first_counts() {
        let document = parse(b"d1:ai1e1:ai2ee");
        assert_eq!(document.root().get("a").unwrap().as_int(), Some(1));
        assert_eq!(document.root().as_dict().unwrap().count(), 2);
    }

    #[test]
    fn integers_that_bep_3_forbids_are_read_as_their_number() {
        assert_eq!(parse(b"i03e").root().as_int(), Some(3));
        assert_eq!(parse(b"i-0e").root().as_int(), Some(0));
        assert_eq!(parse(b"i-007e").root().as_int(), Some(-7));
        assert_eq!(parse(b"i00000000000000000000000000001e").root().as_int(), Some(1));
    }

    #[test]
    fn integers_beyond_64_bits_are_values_without_a_number() {
        assert_eq!(parse(b"i9223372036854775807e").root().as_int(), Some(i64::MAX));
        assert_eq!(parse(b"i-9223372036854775808e").root().as_int(), Some(i64::MIN));
        assert_eq!(parse(b"i9223372036854775808e").root().as_int(), None);
        assert_eq!(parse(b"i-9223372036854775809e").root().as_int(), None);
        assert_eq!(parse(b"i99999999999999999999999999e").root().as_int(), None);
    }

    #[test]
    fn a_prefix_leaves_the_rest() {
        let input = b"d8:msg_typei1ee<payload>";
        let document = Document::parse_prefix(input, Limits::MESSAGE).unwrap();
        assert_eq!(&input[document.consumed()..], b"<payload>");
    }
}
