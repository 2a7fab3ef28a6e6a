//! Which other torrents may have files of this one (BEP 38): `similar` and `collections`.
//!
//! Either may stand in `info` or beside it; both places count. What is malformed is left out.

use std::collections::BTreeSet;

use super::error::MetainfoError;
use super::limits::MAX_HINTS;
use super::text::printable;
use crate::bencode::Value;
use crate::piece::{InfoHash, InfoHashV2};

/// Whether so many entries of a key, as they are to be written, are all read again.
pub(super) fn writable(key: &'static str, entries: usize) -> Result<(), MetainfoError> {
    match entries {
        0..=MAX_HINTS => Ok(()),
        entries => Err(MetainfoError::TooManyHints { key, entries }),
    }
}

/// Infohashes of torrents that may share files. One of v2 counts as its first 20 bytes.
pub(super) fn similar(info: Value<'_>, root: Value<'_>) -> Vec<InfoHash> {
    entries(info, root, "similar", |raw| match raw.len() {
        20 => raw.try_into().ok().map(InfoHash),
        32 => raw.try_into().ok().map(|hash| InfoHashV2(hash).truncated()),
        _ => None,
    })
}

/// Names of the collections that it belongs to, fit to print.
pub(super) fn collections(info: Value<'_>, root: Value<'_>) -> Vec<String> {
    entries(info, root, "collections", |raw| Some(printable(raw)).filter(|name| !name.is_empty()))
}

fn entries<T: Ord + Clone>(
    info: Value<'_>,
    root: Value<'_>,
    key: &str,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Vec<T> {
    let lists = [info, root].into_iter().filter_map(|dict| dict.get(key)?.as_list());
    let mut seen = BTreeSet::new();
    lists
        .flatten()
        .filter_map(|value| read(value.as_bytes()?))
        .filter(|entry| seen.insert(entry.clone()))
        .take(MAX_HINTS)
        .collect()
}
