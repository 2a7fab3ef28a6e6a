//! Bencoding: the format of metainfo files, tracker answers, extension and DHT messages
//! (BEP 3, "bencoding").
//!
//! [`Document::parse`] reads untrusted bytes into a flat list of items, without recursion and
//! without copying; [`Value`] walks it. Every value knows the bytes it was read from
//! ([`Value::raw`]), so that an infohash is the hash of what was received and never of a
//! re-encoding (defence 7). [`encode_list`] and [`encode_dict`] write canonical bencoding only.
//!
//! What BEP 3 forbids but libtorrent reads is read here too: old tools and trackers write it, and
//! since hashes are taken over raw spans nothing depends on its being canonical. [`Document`] lists
//! each case. Depth and number of items are bounded by
//! [`Limits`]; no allocation is sized by a number that the input declares.

mod document;
mod item;
mod parse;
mod write;

pub use document::{Document, Value};
pub use parse::{Limits, ParseError, ParseErrorKind};
pub use write::{DictWriter, ListWriter, encode_dict, encode_list};
