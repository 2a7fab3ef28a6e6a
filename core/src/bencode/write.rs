//! Canonical bencoding: keys sorted and unique, numbers without leading zeros, by construction.
//!
//! Nothing is built up in between: each value is appended to the output as it is named. Entries of
//! a dictionary may be named in any order; they are sorted when the dictionary ends.

use std::io::Write as _;
use std::ops::Range;

use smallvec::SmallVec;

/// The encoding of a dictionary that `fill` fills.
///
/// ```
/// let bytes = bitswarm_core::bencode::encode_dict(|dict| {
///     dict.int("interval", 1800);
///     dict.bytes("peers", b"");
/// });
/// assert_eq!(bytes, b"d8:intervali1800e5:peers0:e");
/// ```
pub fn encode_dict(fill: impl FnOnce(&mut DictWriter<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write_dict(&mut out, fill);
    out
}

/// The encoding of a list that `fill` fills.
pub fn encode_list(fill: impl FnOnce(&mut ListWriter<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write_list(&mut out, fill);
    out
}

/// Writes the elements of a list.
#[derive(Debug)]
pub struct ListWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl ListWriter<'_> {
    /// Adds an integer.
    pub fn int(&mut self, value: i64) {
        write_int(self.out, value);
    }

    /// Adds a string.
    pub fn bytes(&mut self, value: impl AsRef<[u8]>) {
        write_bytes(self.out, value.as_ref());
    }

    /// Adds a list.
    pub fn list(&mut self, fill: impl FnOnce(&mut ListWriter<'_>)) {
        write_list(self.out, fill);
    }

    /// Adds a dictionary.
    pub fn dict(&mut self, fill: impl FnOnce(&mut DictWriter<'_>)) {
        write_dict(self.out, fill);
    }

    /// Adds a value that is encoded already; that it is one is for the caller to know.
    pub fn raw(&mut self, encoded: &[u8]) {
        self.out.extend_from_slice(encoded);
    }
}

/// Writes the entries of a dictionary, in any order. Of a key given twice the last value counts.
#[derive(Debug)]
pub struct DictWriter<'a> {
    out: &'a mut Vec<u8>,
    entries: SmallVec<[Entry; 8]>,
    /// Whether each key came after the one before it.
    sorted: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    /// Where the key's content lies in the output.
    key: Range<usize>,
    /// Where the whole entry begins.
    start: usize,
}

impl DictWriter<'_> {
    /// Adds an integer.
    pub fn int(&mut self, key: impl AsRef<[u8]>, value: i64) {
        self.key(key.as_ref());
        write_int(self.out, value);
    }

    /// Adds a string.
    pub fn bytes(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.key(key.as_ref());
        write_bytes(self.out, value.as_ref());
    }

    /// Adds a list.
    pub fn list(&mut self, key: impl AsRef<[u8]>, fill: impl FnOnce(&mut ListWriter<'_>)) {
        self.key(key.as_ref());
        write_list(self.out, fill);
    }

    /// Adds a dictionary.
    pub fn dict(&mut self, key: impl AsRef<[u8]>, fill: impl FnOnce(&mut DictWriter<'_>)) {
        self.key(key.as_ref());
        write_dict(self.out, fill);
    }

    /// Adds a value that is encoded already; that it is one is for the caller to know.
    pub fn raw(&mut self, key: impl AsRef<[u8]>, encoded: &[u8]) {
        self.key(key.as_ref());
        self.out.extend_from_slice(encoded);
    }

    fn key(&mut self, key: &[u8]) {
        if let Some(last) = self.entries.last() {
            self.sorted &= self.out[last.key.clone()] < *key;
        }
        let start = self.out.len();
        write_bytes(self.out, key);
        self.entries.push(Entry { key: self.out.len() - key.len()..self.out.len(), start });
    }

    /// Puts the entries into the order of their keys.
    fn sort(&mut self) {
        let Some(first) = self.entries.first() else { return };
        let start = first.start;
        let ends: Vec<usize> =
            self.entries.iter().skip(1).map(|entry| entry.start).chain([self.out.len()]).collect();
        let mut order: Vec<(&[u8], Range<usize>)> = self
            .entries
            .iter()
            .zip(ends)
            .map(|(entry, end)| (&self.out[entry.key.clone()], entry.start..end))
            .collect();
        // Stable, so that of equal keys the last given is last.
        order.sort_by_key(|(key, _)| *key);
        let mut body = Vec::with_capacity(self.out.len() - start);
        for (at, (key, entry)) in order.iter().enumerate() {
            if order.get(at + 1).is_none_or(|(next, _)| next != key) {
                body.extend_from_slice(&self.out[entry.clone()]);
            }
        }
        self.out.truncate(start);
        self.out.append(&mut body);
    }
}

fn write_int(out: &mut Vec<u8>, value: i64) {
    write!(out, "i{value}e").expect("writing to a vector does not fail");
}

fn write_bytes(out: &mut Vec<u8>, value: &[u8]) {
    write!(out, "{}:", value.len()).expect("writing to a vector does not fail");
    out.extend_from_slice(value);
}

fn write_list(out: &mut Vec<u8>, fill: impl FnOnce(&mut ListWriter<'_>)) {
    out.push(b'l');
    fill(&mut ListWriter { out });
    out.push(b'e');
}

fn write_dict(out: &mut Vec<u8>, fill: impl FnOnce(&mut DictWriter<'_>)) {
    out.push(b'd');
    let mut dict = DictWriter { out, entries: SmallVec::new(), sorted: true };
    fill(&mut dict);
    if !dict.sorted {
        dict.sort();
    }
    out.push(b'e');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use quickcheck::{Arbitrary, Gen, quickcheck};

    use super::super::{Document, Limits, Value};
    use super::*;

    #[test]
    fn keys_are_sorted_as_raw_strings_whatever_the_order_they_came_in() {
        let bytes = encode_dict(|dict| {
            dict.int("b", 1);
            dict.dict("a", |inner| {
                inner.bytes("y", "1");
                inner.bytes("x", "2");
            });
            dict.list("B", |list| list.int(-3));
            dict.raw("ab", b"i0e");
        });
        assert_eq!(bytes, b"d1:Bli-3ee1:ad1:x1:21:y1:1e2:abi0e1:bi1ee");
    }

    #[test]
    fn of_a_key_given_twice_the_last_value_counts() {
        let bytes = encode_dict(|dict| {
            dict.int("a", 1);
            dict.int("a", 2);
        });
        assert_eq!(bytes, b"d1:ai2ee");
    }

    #[derive(Clone, Debug, PartialEq)]
    enum Tree {
        Int(i64),
        Bytes(Vec<u8>),
        List(Vec<Tree>),
        Dict(BTreeMap<Vec<u8>, Tree>),
    }

    impl Arbitrary for Tree {
        fn arbitrary(g: &mut Gen) -> Self {
            let mut inner = Gen::new(g.size() / 3);
            match u8::arbitrary(g) % if g.size() < 2 { 2 } else { 4 } {
                0 => Tree::Int(i64::arbitrary(g)),
                1 => Tree::Bytes(Vec::arbitrary(g)),
                2 => Tree::List(Vec::arbitrary(&mut inner)),
                _ => Tree::Dict(BTreeMap::arbitrary(&mut inner)),
            }
        }
    }

    fn write(tree: &Tree, list: &mut ListWriter<'_>) {
        match tree {
            Tree::Int(value) => list.int(*value),
            Tree::Bytes(value) => list.bytes(value),
            Tree::List(elements) => {
                list.list(|list| elements.iter().for_each(|e| write(e, list)));
            }
            Tree::Dict(entries) => list.dict(|dict| {
                for (key, value) in entries.iter().rev() {
                    let list = encode_list(|list| write(value, list));
                    dict.raw(key, &list[1..list.len() - 1]);
                }
            }),
        }
    }

    fn read(value: Value<'_>) -> Tree {
        if let Some(entries) = value.as_dict() {
            Tree::Dict(entries.map(|(key, value)| (key.to_vec(), read(value))).collect())
        } else if let Some(elements) = value.as_list() {
            Tree::List(elements.map(read).collect())
        } else if let Some(bytes) = value.as_bytes() {
            Tree::Bytes(bytes.to_vec())
        } else {
            Tree::Int(value.as_int().unwrap())
        }
    }

    quickcheck! {
        fn what_is_written_is_read_back(trees: Vec<Tree>) -> bool {
            let bytes = encode_list(|list| trees.iter().for_each(|tree| write(tree, list)));
            let document = Document::parse(&bytes, Limits::METAINFO).unwrap();
            document.root().raw() == bytes && read(document.root()) == Tree::List(trees)
        }

        fn no_cut_of_a_message_is_a_message(tree: Tree) -> bool {
            let bytes = encode_list(|list| write(&tree, list));
            (0..bytes.len()).all(|len| Document::parse(&bytes[..len], Limits::METAINFO).is_err())
        }

        fn no_bytes_make_it_panic_and_spans_stay_inside(bytes: Vec<u8>) -> bool {
            // Mostly bytes that mean something, so that it gets deep.
            let bytes: Vec<u8> = bytes.iter().map(|b| b"ildde0123:-"[usize::from(*b) % 11]).collect();
            match Document::parse_prefix(&bytes, Limits { depth: 8, items: 50 }) {
                Ok(document) => read_all(document.root()) <= bytes.len(),
                Err(error) => error.offset <= bytes.len(),
            }
        }
    }

    /// Walks everything; the bytes of all leaves.
    fn read_all(value: Value<'_>) -> usize {
        if let Some(entries) = value.as_dict() {
            entries.map(|(key, value)| key.len() + read_all(value)).sum()
        } else if let Some(elements) = value.as_list() {
            elements.map(read_all).sum()
        } else {
            value.as_int();
            value.raw().len()
        }
    }
}
