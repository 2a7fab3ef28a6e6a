//! Parts of a metainfo file that are read in several places.

use std::ops::Range;

use super::file::{Attributes, File};
use crate::bencode::Value;
use crate::piece::Geometry;

/// What a torrent's content is, according to its v1 or its v2 part.
pub(super) struct Content {
    pub(super) name: String,
    pub(super) geometry: Geometry,
    /// Those of v1.
    pub(super) piece_hashes: Option<Range<usize>>,
    pub(super) files: Vec<File>,
    pub(super) is_multi_file: bool,
}

/// The list of components that counts as the path of a file of v1.
pub(super) fn raw_path(entry: Value<'_>) -> Option<Value<'_>> {
    let list = entry.get("path.utf-8").filter(|path| path.as_list().is_some());
    list.or_else(|| entry.get("path"))
}

/// What `attr` says of a file (BEP 47).
pub(super) fn attributes(entry: Value<'_>) -> Attributes {
    entry.get("attr").and_then(Value::as_bytes).map(Attributes::from_letters).unwrap_or_default()
}
