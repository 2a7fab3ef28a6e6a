//! From bytes to [`Metainfo`]: which key becomes what, and which numbers are refused (defence 8).

use std::ops::Range;

use bytes::Bytes;
use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::error::MetainfoError;
use super::fields::{Content, attributes, raw_path};
use super::file::{Attributes, File};
use super::limits::{MAX_FILES, MAX_METAINFO_LEN, MAX_PATH_LEN};
use super::path::{self, PathRules};
use super::text::printable;
use super::{Metainfo, Outer, V2, hints, hybrid, layers, links, tiers, tree};
use crate::bencode::{Document, Limits, Value};
use crate::merkle::is_piece_len;
use crate::padding::Padding;
use crate::piece::{Geometry, InfoHash, InfoHashV2, MAX_PIECE_LEN, MAX_PIECES};

impl Metainfo {
    /// Reads a metainfo file, copying it once. Bytes after its end are ignored, as other clients
    /// do; [`Metainfo::to_bytes`] still has them.
    pub fn parse(bytes: &[u8]) -> Result<Self, MetainfoError> {
        Self::from_bytes(Bytes::copy_from_slice(bytes), PathRules::HOST)
    }

    /// Reads a metainfo file without copying it, for a file system with the given rules.
    pub fn from_bytes(bytes: Bytes, rules: PathRules) -> Result<Self, MetainfoError> {
        metainfo(bytes, rules, layers::Known::Wholly)
    }

    /// Reads what [`Metainfo::to_bytes`] gave of a torrent whose metadata came from peers: any part
    /// of its piece layers may be missing.
    pub fn from_kept(bytes: Bytes, rules: PathRules) -> Result<Self, MetainfoError> {
        metainfo(bytes, rules, layers::Known::Partly)
    }
}

/// Reads a metainfo file, of which so much of the piece layers must be known.
fn metainfo(
    bytes: Bytes,
    rules: PathRules,
    known: layers::Known,
) -> Result<Metainfo, MetainfoError> {
    if bytes.len() > MAX_METAINFO_LEN {
        return Err(MetainfoError::TooLong { len: bytes.len() });
    }
    let document = Document::parse_prefix(&bytes, Limits::METAINFO)?;
    let root = document.root();
    if root.as_dict().is_none() {
        return Err(MetainfoError::NotADictionary);
    }
    let info = root.get("info").ok_or(MetainfoError::Missing("info"))?;
    if info.as_dict().is_none() {
        return Err(MetainfoError::WrongType("info"));
    }
    let tree = v2_tree(info)?;
    if tree.is_some() && !has_plain_integers(info) {
        return Err(MetainfoError::PaddedInteger);
    }
    let v2_hash = tree.map(|_| InfoHashV2(Sha256::digest(info.raw()).into()));
    let (infohash, mut content) = match (tree, v2_hash) {
        (Some(tree), Some(v2)) if info.get("pieces").is_none() => {
            let infohash = v2.truncated();
            (infohash, v2_content(info, tree, name(info, infohash, rules)?, rules)?)
        }
        _ => {
            let infohash = InfoHash(Sha1::digest(info.raw()).into());
            (infohash, v1_content(info, name(info, infohash, rules)?, rules)?)
        }
    };
    if let (Some(tree), true) = (tree, content.piece_hashes.is_some()) {
        hybrid::check(info, tree, &mut content)?;
    }
    let v2 = match v2_hash {
        Some(infohash) => {
            let found = layers::attach(root, info, &mut content, known)?;
            Some(V2 { infohash, layers: found.range, has_all_layers: found.is_whole })
        }
        None => None,
    };
    let Content { name, geometry, piece_hashes, files, is_multi_file } = content;
    let lengths = files.iter().map(|file| (file.length, file.attributes.pad));
    Ok(Metainfo {
        info: info.span(),
        infohash,
        v2,
        name,
        geometry: geometry.with_padding(Padding::of_files(lengths)),
        piece_hashes,
        links: links::links(info, tree, &files, rules)?,
        files,
        is_multi_file,
        // BEP 27 says "private=1"; any other number than 0 is taken for the same wish.
        is_private: info.get("private").and_then(Value::as_int).is_some_and(|flag| flag != 0),
        source: text(info, "source"),
        similar: hints::similar(info, root),
        collections: hints::collections(info, root),
        outer: outer(root),
        bytes: bytes.clone(),
    })
}

/// The file tree, if this is a torrent of v2. BEP 52 wants `meta version` to be looked at first.
fn v2_tree(info: Value<'_>) -> Result<Option<Value<'_>>, MetainfoError> {
    match info.get("meta version").map(Value::as_int) {
        None | Some(Some(..=1)) => Ok(None),
        Some(None) => Err(MetainfoError::WrongType("info.meta version")),
        Some(Some(2)) => match info.get("file tree") {
            Some(tree) => Ok(Some(tree)),
            None => Err(MetainfoError::Missing("info.file tree")),
        },
        Some(Some(version)) => Err(MetainfoError::UnknownVersion(version)),
    }
}

/// Whether each integer is written as BEP 52 wants it. Of v1 that is not asked: torrents are in use
/// that have others.
fn has_plain_integers(root: Value<'_>) -> bool {
    let mut waiting = vec![root];
    while let Some(value) = waiting.pop() {
        if let Some(entries) = value.as_dict() {
            waiting.extend(entries.map(|(_, value)| value));
        } else if let Some(list) = value.as_list() {
            waiting.extend(list);
        } else if value.raw().first() == Some(&b'i') {
            let digits = value.raw().get(1..).unwrap_or_default();
            if matches!(digits, [b'0', b'0'..=b'9', ..] | [b'-', b'0', ..]) {
                return false;
            }
        }
    }
    true
}

fn v1_content(info: Value<'_>, name: String, rules: PathRules) -> Result<Content, MetainfoError> {
    let (files, is_multi_file) = files(info, &name, rules)?;
    let (geometry, hashes) = pieces(info, &files)?;
    Ok(Content { name, geometry, piece_hashes: Some(hashes), files, is_multi_file })
}

fn v2_content(
    info: Value<'_>,
    tree: Value<'_>,
    name: String,
    rules: PathRules,
) -> Result<Content, MetainfoError> {
    let piece_len = piece_len(info)?;
    let is_allowed = u64::try_from(piece_len).is_ok_and(is_piece_len);
    if !is_allowed {
        return Err(MetainfoError::PieceLengthV2(piece_len));
    }
    let (files, is_multi_file) = tree::files(info, tree, piece_len.unsigned_abs(), &name, rules)?;
    let total_len = files.last().map_or(0, |last| last.offset + last.length);
    let geometry = geometry(total_len, piece_len)?;
    Ok(Content { name, geometry, piece_hashes: None, files, is_multi_file })
}

fn name(info: Value<'_>, infohash: InfoHash, rules: PathRules) -> Result<String, MetainfoError> {
    let raw = match info.get("name.utf-8").and_then(Value::as_bytes) {
        Some(raw) => raw,
        None => {
            let name = info.get("name").ok_or(MetainfoError::Missing("info.name"))?;
            name.as_bytes().ok_or(MetainfoError::WrongType("info.name"))?
        }
    };
    let name = path::component(raw, rules);
    // Two torrents that both come to nothing must not share a folder.
    Ok(if name == "_" { infohash.to_string() } else { name })
}

/// The files with safe paths, and whether there may be many.
fn files(
    info: Value<'_>,
    name: &str,
    rules: PathRules,
) -> Result<(Vec<File>, bool), MetainfoError> {
    match (info.get("length"), info.get("files")) {
        (Some(length), None) => Ok((vec![single_file(info, length, name)?], false)),
        (None, Some(list)) => Ok((listed_files(list, rules)?, true)),
        _ => Err(MetainfoError::LengthOrFiles),
    }
}

fn single_file(info: Value<'_>, length: Value<'_>, name: &str) -> Result<File, MetainfoError> {
    let length = length.as_uint().ok_or(MetainfoError::FileLength { file: 0 })?;
    // Neither padding nor a link makes sense where there is nothing else.
    let attributes = Attributes { pad: false, symlink: false, ..attributes(info) };
    Ok(File { path: name.to_owned(), length, offset: 0, attributes, root: None, layer: None })
}

fn listed_files(list: Value<'_>, rules: PathRules) -> Result<Vec<File>, MetainfoError> {
    let list = list.as_list().ok_or(MetainfoError::WrongType("info.files"))?;
    let mut files = Vec::new();
    let mut offset = 0_u64;
    for (index, entry) in list.enumerate() {
        if index >= MAX_FILES {
            return Err(MetainfoError::TooManyFiles);
        }
        let file = listed_file(entry, index, offset, rules)?;
        offset = offset
            .checked_add(file.length)
            .filter(|&total| i64::try_from(total).is_ok())
            .ok_or(MetainfoError::TotalOverflow)?;
        files.push(file);
    }
    if files.is_empty() {
        return Err(MetainfoError::NoFiles);
    }
    path::make_distinct(files.iter_mut().filter(|f| f.is_stored()).map(|f| &mut f.path));
    Ok(files)
}

fn listed_file(
    entry: Value<'_>,
    index: usize,
    offset: u64,
    rules: PathRules,
) -> Result<File, MetainfoError> {
    let attributes = attributes(entry);
    // BEP 47: the length of a link is always zero and may be missing.
    let length = if attributes.symlink {
        0
    } else {
        let length = entry.get("length").and_then(Value::as_uint);
        length.ok_or(MetainfoError::FileLength { file: index })?
    };
    let path = match listed_path(entry, index, rules) {
        // BEP 47: the path of a pad file may be missing.
        Err(MetainfoError::FilePath { .. }) if attributes.pad => format!(".pad/{length}"),
        path => path?,
    };
    Ok(File { path, length, offset, attributes, root: None, layer: None })
}

fn listed_path(entry: Value<'_>, file: usize, rules: PathRules) -> Result<String, MetainfoError> {
    let list = raw_path(entry).and_then(Value::as_list);
    let mut path = String::new();
    for raw in list.ok_or(MetainfoError::FilePath { file })? {
        let raw = raw.as_bytes().ok_or(MetainfoError::FilePath { file })?;
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(&path::component(raw, rules));
        if path.len() > MAX_PATH_LEN {
            return Err(MetainfoError::PathTooLong { file });
        }
    }
    if path.is_empty() { Err(MetainfoError::FilePath { file }) } else { Ok(path) }
}

/// How the content is cut, and where the hashes of the pieces lie.
fn pieces(info: Value<'_>, files: &[File]) -> Result<(Geometry, Range<usize>), MetainfoError> {
    let piece_len = piece_len(info)?;
    let hashes = info.get("pieces").ok_or(MetainfoError::Missing("info.pieces"))?;
    let len = hashes.as_bytes().ok_or(MetainfoError::WrongType("info.pieces"))?.len();
    if !len.is_multiple_of(20) {
        return Err(MetainfoError::PieceHashes { len });
    }
    let total_len = files.last().map_or(0, |last| last.offset + last.length);
    let geometry = geometry(total_len, piece_len)?;
    if len / 20 != geometry.pieces() as usize {
        return Err(MetainfoError::PieceCount { hashes: len / 20, pieces: geometry.pieces() });
    }
    // A string's content is the end of its encoding.
    let end = hashes.span().end;
    Ok((geometry, end - len..end))
}

fn piece_len(info: Value<'_>) -> Result<i64, MetainfoError> {
    let piece_len = info.get("piece length").ok_or(MetainfoError::Missing("info.piece length"))?;
    piece_len.as_int().ok_or(MetainfoError::WrongType("info.piece length"))
}

fn geometry(total_len: u64, piece_len: i64) -> Result<Geometry, MetainfoError> {
    let len = u32::try_from(piece_len).ok().filter(|len| (1..=MAX_PIECE_LEN).contains(len));
    let len = len.ok_or(MetainfoError::PieceLength(piece_len))?;
    let pieces = total_len.div_ceil(u64::from(len));
    if pieces > u64::from(MAX_PIECES) {
        return Err(MetainfoError::TooManyPieces { pieces });
    }
    Geometry::new(total_len, len).ok_or(MetainfoError::TooManyPieces { pieces })
}

/// What stands beside `info`. None of it is needed, so what is malformed is left out.
fn outer(root: Value<'_>) -> Outer {
    Outer {
        trackers: trackers(root),
        web_seeds: web_seeds(root),
        nodes: nodes(root),
        comment: text(root, "comment"),
        created_by: text(root, "created by"),
        creation_date: root.get("creation date").and_then(Value::as_int),
    }
}

/// The text under `key`, of which `key.utf-8` is the better version if it exists.
fn text(dict: Value<'_>, key: &str) -> Option<String> {
    let better = dict.get(format!("{key}.utf-8")).and_then(Value::as_bytes);
    better.or_else(|| dict.get(key).and_then(Value::as_bytes)).map(printable)
}

fn trackers(root: Value<'_>) -> Vec<Vec<String>> {
    let list = root.get("announce-list").and_then(Value::as_list).into_iter().flatten();
    let tiers = tiers::used(list.map(|tier| match tier.as_list() {
        Some(urls) => urls.filter_map(Value::as_str).collect(),
        // Some write a list of URLs instead of a list of tiers: each is a tier.
        None => tier.as_str().into_iter().collect::<Vec<_>>(),
    }));
    if !tiers.is_empty() {
        return tiers;
    }
    // BEP 12: `announce` counts only without a list.
    tiers::used(root.get("announce").and_then(Value::as_str).map(|url| [url]))
}

fn url(value: Value<'_>) -> Option<&str> {
    value.as_str().map(str::trim).filter(|url| !url.is_empty())
}

/// BEP 19: one URL or a list of them.
fn web_seeds(root: Value<'_>) -> Vec<String> {
    let Some(value) = root.get("url-list") else { return Vec::new() };
    match value.as_list() {
        Some(urls) => urls.filter_map(url).map(str::to_owned).collect(),
        None => url(value).map(str::to_owned).into_iter().collect(),
    }
}

fn nodes(root: Value<'_>) -> Vec<(String, u16)> {
    let list = root.get("nodes").and_then(Value::as_list).into_iter().flatten();
    list.filter_map(|node| {
        let mut pair = node.as_list()?;
        let host = pair.next()?.as_str().filter(|host| !host.is_empty())?;
        let port = u16::try_from(pair.next()?.as_int()?).ok().filter(|&port| port > 0)?;
        Some((host.to_owned(), port))
    })
    .collect()
}
