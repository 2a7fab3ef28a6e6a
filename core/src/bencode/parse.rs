//! From bytes to items: one pass, no recursion, no allocation sized by a declared number.
//!
//! Which forms are read and which are refused is listed at [`Document`](super::Document).

use std::fmt;

use smallvec::SmallVec;

use super::item::{Item, Items, Shape};

/// How much structure is accepted. Past it, parsing fails; the input's length is for the caller to
/// bound, but never more than 4 GiB are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Lists and dictionaries in one another.
    pub depth: usize,
    /// Values and keys in all. Each takes 16 bytes of memory and at least 2 bytes of input.
    pub items: usize,
}

impl Limits {
    /// For metainfo files: what libtorrent accepts (defence 6).
    pub const METAINFO: Limits = Limits { depth: 100, items: 3_000_000 };

    /// For messages from peers, trackers and DHT nodes (chosen: a tracker's answer in the long
    /// form takes 7 items a peer).
    pub const MESSAGE: Limits = Limits { depth: 32, items: 100_000 };
}

/// Bytes that are not bencoding, or more than the limits allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Offset in the input where it shows, in bytes.
    pub offset: usize,
    /// What is wrong there.
    pub kind: ParseErrorKind,
}

/// What is wrong with bytes that are not bencoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParseErrorKind {
    /// The input ends inside a value.
    UnexpectedEnd,
    /// A byte with which no value begins.
    NotAValue,
    /// A byte that is not a digit where a number must go on.
    NotADigit,
    /// A string that is longer than what is left of the input.
    StringTooLong,
    /// A dictionary's key that is not a string.
    KeyNotAString,
    /// A dictionary that ends after a key.
    KeyWithoutValue,
    /// More in one another than [`Limits::depth`], which is this.
    TooDeep(usize),
    /// More values than [`Limits::items`], which is this.
    TooManyItems(usize),
    /// Bytes after the end of the value.
    TrailingBytes,
    /// More than 4 GiB of input.
    TooLong,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ParseErrorKind::UnexpectedEnd => "it ends inside a value (is it cut off?)",
            ParseErrorKind::NotAValue => "no value begins with this byte",
            ParseErrorKind::NotADigit => "a digit is missing",
            ParseErrorKind::StringTooLong => {
                "a string is longer than what is left (is it cut off?)"
            }
            ParseErrorKind::KeyNotAString => "a dictionary's key is not a string",
            ParseErrorKind::KeyWithoutValue => "a dictionary's key has no value",
            ParseErrorKind::TooDeep(most) => {
                let at = self.offset;
                return write!(
                    f,
                    "more than {most} lists and dictionaries in one another at byte {at}"
                );
            }
            ParseErrorKind::TooManyItems(most) => {
                return write!(f, "more than {most} values at byte {}", self.offset);
            }
            ParseErrorKind::TrailingBytes => "bytes follow the value",
            ParseErrorKind::TooLong => "longer than 4 GiB",
        };
        write!(f, "not bencoding at byte {}: {what}", self.offset)
    }
}

impl std::error::Error for ParseError {}

/// The items of the value at the start of `input`.
pub(super) fn items(input: &[u8], limits: Limits) -> Result<Items, ParseError> {
    let mut parser = Parser { input, at: 0, limits, items: Items::new(), open: SmallVec::new() };
    if u32::try_from(input.len()).is_err() {
        return Err(parser.error(ParseErrorKind::TooLong));
    }
    loop {
        parser.step()?;
        if parser.open.is_empty() {
            return Ok(parser.items);
        }
    }
}

/// Fails unless the input ends at `offset`.
pub(super) fn expect_end(input: &[u8], offset: usize) -> Result<(), ParseError> {
    if offset == input.len() {
        return Ok(());
    }
    Err(ParseError { offset, kind: ParseErrorKind::TrailingBytes })
}

/// The number that checked digits with an optional minus stand for, if it fits.
pub(super) fn int_value(digits: &[u8]) -> Option<i64> {
    let (digits, sign) = match digits.strip_prefix(b"-") {
        Some(digits) => (digits, -1),
        None => (digits, 1),
    };
    digits.iter().try_fold(0_i64, |value, digit| {
        value.checked_mul(10)?.checked_add(sign * i64::from(digit.wrapping_sub(b'0')))
    })
}

struct Parser<'a> {
    input: &'a [u8],
    at: usize,
    limits: Limits,
    items: Items,
    /// The lists and dictionaries that are not closed yet, outermost first.
    open: SmallVec<[Open; 16]>,
}

/// A list or dictionary that is not closed yet.
struct Open {
    /// Index of its item.
    item: usize,
    place: Place,
}

/// What comes next in an open list or dictionary.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Element,
    Key,
    ValueOfKey,
}

impl Parser<'_> {
    /// Reads one string or integer, or opens or closes one list or dictionary.
    fn step(&mut self) -> Result<(), ParseError> {
        let place = self.open.last().map(|open| open.place);
        match (self.peek()?, place) {
            (b'e', Some(Place::Element | Place::Key)) => self.close(),
            (b'e', Some(Place::ValueOfKey)) => Err(self.error(ParseErrorKind::KeyWithoutValue)),
            (b'0'..=b'9', _) => self.string(),
            (b'i' | b'l' | b'd', Some(Place::Key)) => {
                Err(self.error(ParseErrorKind::KeyNotAString))
            }
            (b'i', _) => self.integer(),
            (b'l', _) => self.open(Place::Element),
            (b'd', _) => self.open(Place::Key),
            _ => Err(self.error(ParseErrorKind::NotAValue)),
        }
    }

    fn string(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        let mut len = 0_usize;
        loop {
            match self.peek()? {
                digit @ b'0'..=b'9' => {
                    // Saturated, it is longer than any input.
                    len = len.saturating_mul(10).saturating_add(usize::from(digit - b'0'));
                    self.at += 1;
                }
                b':' => break,
                _ => return Err(self.error(ParseErrorKind::NotADigit)),
            }
        }
        let content = self.at + 1;
        if len > self.input.len() - content {
            return Err(ParseError { offset: start, kind: ParseErrorKind::StringTooLong });
        }
        self.at = content + len;
        self.push(start, Shape::Bytes { content: small(content) })
    }

    fn integer(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        self.at += 1;
        if self.peek()? == b'-' {
            self.at += 1;
        }
        let digits = self.at;
        while self.peek()?.is_ascii_digit() {
            self.at += 1;
        }
        if self.peek()? != b'e' || self.at == digits {
            return Err(self.error(ParseErrorKind::NotADigit));
        }
        self.at += 1;
        self.push(start, Shape::Int)
    }

    fn open(&mut self, place: Place) -> Result<(), ParseError> {
        if self.open.len() >= self.limits.depth {
            return Err(self.error(ParseErrorKind::TooDeep(self.limits.depth)));
        }
        let item = self.items.len();
        let start = self.at;
        self.at += 1;
        // Where it ends is filled in when it is closed.
        self.push(
            start,
            if place == Place::Key { Shape::Dict { next: 0 } } else { Shape::List { next: 0 } },
        )?;
        self.open.push(Open { item, place });
        Ok(())
    }

    fn close(&mut self) -> Result<(), ParseError> {
        self.at += 1;
        let next = small(self.items.len());
        if let Some(open) = self.open.pop()
            && let Some(item) = self.items.get_mut(open.item)
        {
            item.end = small(self.at);
            match &mut item.shape {
                Shape::List { next: end } | Shape::Dict { next: end } => *end = next,
                Shape::Bytes { .. } | Shape::Int => debug_assert!(false, "only these are opened"),
            }
        }
        Ok(())
    }

    /// Adds the item that began at `start` and ends here, and moves its parent on.
    fn push(&mut self, start: usize, shape: Shape) -> Result<(), ParseError> {
        if self.items.len() >= self.limits.items {
            return Err(ParseError {
                offset: start,
                kind: ParseErrorKind::TooManyItems(self.limits.items),
            });
        }
        self.items.push(Item { start: small(start), end: small(self.at), shape });
        if let Some(parent) = self.open.last_mut() {
            parent.place = match parent.place {
                Place::Element => Place::Element,
                Place::Key => Place::ValueOfKey,
                Place::ValueOfKey => Place::Key,
            };
        }
        Ok(())
    }

    fn peek(&self) -> Result<u8, ParseError> {
        self.input.get(self.at).copied().ok_or(self.error(ParseErrorKind::UnexpectedEnd))
    }

    fn error(&self, kind: ParseErrorKind) -> ParseError {
        ParseError { offset: self.at, kind }
    }
}

/// An offset in the input or an index of an item. There are fewer items than bytes, and `items`
/// has checked that the input is no longer than this.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Document;
    use super::ParseErrorKind::*;
    use super::*;

    fn error(input: &[u8]) -> (usize, ParseErrorKind) {
        let error = Document::parse(input, Limits::METAINFO).unwrap_err();
        (error.offset, error.kind)
    }

    #[test]
    fn what_is_cut_off_says_where_it_ends() {
        for input in [&b""[..], b"i", b"i-", b"i5", b"l", b"d", b"d1:a", b"li1e", b"5", b"l5"] {
            assert_eq!(error(input), (input.len(), UnexpectedEnd), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn integers_without_digits_or_with_others_are_refused() {
        assert_eq!(error(b"ie"), (1, NotADigit));
        assert_eq!(error(b"i-e"), (2, NotADigit));
        assert_eq!(error(b"i+1e"), (1, NotADigit));
        assert_eq!(error(b"i--1e"), (2, NotADigit));
        assert_eq!(error(b"i1.5e"), (2, NotADigit));
        assert_eq!(error(b"i 1e"), (1, NotADigit));
    }

    #[test]
    fn string_lengths_are_digits_and_fit_the_input() {
        assert_eq!(error(b"5:four"), (0, StringTooLong));
        assert_eq!(error(b"1:"), (0, StringTooLong));
        assert_eq!(error(b"4294967296:x"), (0, StringTooLong));
        assert_eq!(error(b"99999999999999999999999999999999:x"), (0, StringTooLong));
        assert_eq!(error(b"1x:a"), (1, NotADigit));
        assert_eq!(error(b"-1:a"), (0, NotAValue));
        let document = Document::parse(b"003:abc", Limits::METAINFO).unwrap();
        assert_eq!(document.root().as_bytes(), Some(&b"abc"[..]));
    }

    #[test]
    fn dictionaries_have_string_keys_with_values() {
        assert_eq!(error(b"di1ei2ee"), (1, KeyNotAString));
        assert_eq!(error(b"dlei2ee"), (1, KeyNotAString));
        assert_eq!(error(b"ddei2ee"), (1, KeyNotAString));
        assert_eq!(error(b"d1:ae"), (4, KeyWithoutValue));
        assert_eq!(error(b"e"), (0, NotAValue));
        assert_eq!(error(b"x"), (0, NotAValue));
    }

    #[test]
    fn bytes_after_the_whole_are_refused() {
        assert_eq!(error(b"i1e\n"), (3, TrailingBytes));
        assert_eq!(error(b"dee"), (2, TrailingBytes));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| [b"l".repeat(depth), b"e".repeat(depth)].concat();
        assert!(Document::parse(&nested(100), Limits::METAINFO).is_ok());
        assert_eq!(error(&nested(101)), (100, TooDeep(100)));
        assert_eq!(error(&b"l".repeat(10_000_000)), (100, TooDeep(100)));
        assert_eq!(error(&b"d1:a".repeat(1_000_000)), (400, TooDeep(100)));
    }

    #[test]
    fn items_are_bounded() {
        let limits = Limits { depth: 2, items: 4 };
        assert!(Document::parse(b"li1ei2ei3ee", limits).is_ok());
        let error = Document::parse(b"li1ei2ei3ei4ee", limits).unwrap_err();
        assert_eq!(error, ParseError { offset: 10, kind: TooManyItems(4) });
    }

    #[test]
    fn an_error_says_what_and_where() {
        let error = Document::parse(b"d4:spam", Limits::MESSAGE).unwrap_err();
        assert_eq!(
            error.to_string(),
            "not bencoding at byte 7: it ends inside a value (is it cut off?)"
        );
    }
}
