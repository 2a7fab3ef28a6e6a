//! Changing what a metainfo file says beside its content, leaving every other byte alone.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::error::MetainfoError;
use super::limits::MAX_METAINFO_LEN;
use super::magnet::Magnet;
use super::path::PathRules;
use super::{Metainfo, Outer, V2, hints, tiers};
use crate::bencode::{DictWriter, Document, Limits, Value, encode_dict};
use crate::piece::{InfoHash, Sha256Hash};

/// What to change; what is `None` stays as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Edit {
    /// Trackers in tiers; no tiers, no trackers.
    pub trackers: Option<Vec<Vec<String>>>,
    /// HTTP seeds.
    pub web_seeds: Option<Vec<String>>,
    /// DHT nodes, as host and port.
    pub nodes: Option<Vec<(String, u16)>>,
    /// The comment, or none.
    pub comment: Option<Option<String>>,
    /// The program that made it, or none.
    pub created_by: Option<Option<String>>,
    /// When it was made, in seconds since 1970, or never.
    pub creation_date: Option<Option<i64>>,
    /// Torrents that may have files of this one (BEP 38), beside `info`: what is named in there
    /// counts too, and stays.
    pub similar: Option<Vec<InfoHash>>,
    /// Collections that it belongs to (BEP 38), likewise.
    pub collections: Option<Vec<String>>,
    /// What sets it apart from the same content elsewhere. Part of the infohash.
    pub source: Option<Option<String>>,
    /// Whether peers may come from the trackers only. Part of the infohash.
    pub private: Option<bool>,
}

impl Edit {
    /// Whether the edited torrent has another infohash: it is another swarm then.
    pub fn changes_infohash(&self, metainfo: &Metainfo) -> bool {
        let source = self.source.as_ref().is_some_and(|to| to.as_deref() != metainfo.source());
        source || self.private.is_some_and(|to| to != metainfo.is_private())
    }

    /// The keys beside `info` that are replaced, and their new entries.
    fn outer(&self, root: &mut DictWriter<'_>) -> Vec<&'static [u8]> {
        let mut replaced: Vec<&[u8]> = Vec::new();
        if let Some(tiers) = &self.trackers {
            replaced.extend([&b"announce"[..], b"announce-list"]);
            let used = tiers::used(tiers.iter().map(|tier| tier.iter().map(String::as_str)));
            write_trackers(root, &used);
        }
        if let Some(urls) = &self.web_seeds {
            replaced.push(b"url-list");
            write_web_seeds(root, urls);
        }
        if let Some(nodes) = &self.nodes {
            replaced.push(b"nodes");
            write_nodes(root, nodes);
        }
        if let Some(comment) = &self.comment {
            replaced.extend([&b"comment"[..], b"comment.utf-8"]);
            write_text(root, "comment", comment.as_deref());
        }
        if let Some(program) = &self.created_by {
            replaced.extend([&b"created by"[..], b"created by.utf-8"]);
            write_text(root, "created by", program.as_deref());
        }
        if let Some(similar) = &self.similar {
            replaced.push(b"similar");
            write_hints(root, similar, &[]);
        }
        if let Some(collections) = &self.collections {
            replaced.push(b"collections");
            write_hints(root, &[], collections);
        }
        if let Some(date) = self.creation_date {
            replaced.push(b"creation date");
            if let Some(date) = date {
                root.int("creation date", date);
            }
        }
        replaced
    }

    /// The keys in `info` that are replaced, and their new entries.
    fn inner(&self, metainfo: &Metainfo, info: &mut DictWriter<'_>) -> Vec<&'static [u8]> {
        let mut replaced: Vec<&[u8]> = Vec::new();
        if let Some(source) = self.source.as_ref().filter(|to| to.as_deref() != metainfo.source()) {
            replaced.extend([&b"source"[..], b"source.utf-8"]);
            write_text(info, "source", source.as_deref());
        }
        if let Some(private) = self.private.filter(|&to| to != metainfo.is_private()) {
            replaced.push(b"private");
            if private {
                info.int("private", 1);
            }
        }
        replaced
    }
}

impl Metainfo {
    /// A torrent of an info dictionary that peers gave (BEP 9), with the trackers and web seeds of
    /// its magnet link. That it has the link's infohash is for the caller to have seen. It has no
    /// piece layers: [`Metainfo::with_layers`].
    ///
    /// # Errors
    ///
    /// As [`Metainfo::parse`]; and if with its piece layers it would be longer than
    /// [`MAX_METAINFO_LEN`].
    pub fn from_info(info: Bytes, magnet: &Magnet) -> Result<Self, MetainfoError> {
        let tiers: Vec<Vec<String>> = magnet.trackers.iter().map(|url| vec![url.clone()]).collect();
        let bytes = encode_dict(|root| {
            write_trackers(root, &tiers);
            root.raw("info", &info);
            if !magnet.web_seeds.is_empty() {
                root.list("url-list", |list| {
                    magnet.web_seeds.iter().for_each(|url| list.bytes(url));
                });
            }
        });
        let len = bytes.len();
        let metainfo = Self::from_kept(bytes.into(), PathRules::HOST)?;
        if metainfo.has_piece_layers() {
            // BEP 52: "a torrent is not valid if this field is absent", though nothing belongs in it.
            return metainfo.with_layers([]);
        }
        let pieces = metainfo.geometry.pieces() as usize;
        let len = len.saturating_add(pieces.saturating_mul(32));
        match metainfo.has_v2() && len > MAX_METAINFO_LEN {
            true => Err(MetainfoError::TooLong { len }),
            false => Ok(metainfo),
        }
    }

    /// The same torrent with further piece layers, each under its file's root and cut anywhere.
    /// They are checked against their roots.
    pub fn with_layers<'a>(
        &self,
        layers: impl IntoIterator<Item = (Sha256Hash, Vec<&'a [u8]>)>,
    ) -> Result<Self, MetainfoError> {
        with_layers(self, layers)
    }

    /// The same torrent with other trackers, in tiers (BEP 12); no tiers, no trackers. All other
    /// keys keep their bytes and their order; what followed the end of the file is dropped.
    pub fn with_trackers(&self, tiers: &[Vec<String>]) -> Self {
        with_trackers(self, tiers)
    }

    /// The same torrent with some of it changed; what the edit does not name keeps its bytes and
    /// its order. Only what stands in `info` changes the infohash: [`Edit::changes_infohash`].
    pub fn edited(&self, edit: &Edit) -> Result<Self, MetainfoError> {
        edited(self, edit)
    }
}

/// See [`Metainfo::edited`].
fn edited(metainfo: &Metainfo, edit: &Edit) -> Result<Metainfo, MetainfoError> {
    edit.trackers.as_deref().map(tiers::writable).transpose()?;
    hints::writable("similar", edit.similar.as_ref().map_or(0, Vec::len))?;
    hints::writable("collections", edit.collections.as_ref().map_or(0, Vec::len))?;
    let document = parsed(&metainfo.bytes);
    let mut replaced = Vec::new();
    let fresh = encode_dict(|root| {
        replaced = edit.outer(root);
        if let (Some(info), true) = (document.root().get("info"), edit.changes_infohash(metainfo)) {
            let mut inner = Vec::new();
            let fresh = encode_dict(|info| inner = edit.inner(metainfo, info));
            replaced.push(b"info");
            root.raw("info", &spliced(info, &inner, &fresh));
        }
    });
    let bytes = spliced(document.root(), &replaced, &fresh);
    Metainfo::from_bytes(bytes.into(), PathRules::HOST)
}

/// See [`Metainfo::with_layers`].
fn with_layers<'a>(
    metainfo: &Metainfo,
    learnt: impl IntoIterator<Item = (Sha256Hash, Vec<&'a [u8]>)>,
) -> Result<Metainfo, MetainfoError> {
    let mut layers: BTreeMap<Sha256Hash, Vec<u8>> = BTreeMap::new();
    for file in 0..metainfo.files.len() {
        if let (Some(root), Some(layer)) = (metainfo.pieces_root(file), metainfo.piece_layer(file))
        {
            layers.entry(root).or_insert_with(|| layer.to_vec());
        }
    }
    layers.extend(learnt.into_iter().map(|(root, parts)| (root, parts.concat())));
    let fresh = encode_dict(|root| {
        root.dict("piece layers", |dict| {
            layers.iter().for_each(|(root, layer)| dict.bytes(root, layer));
        });
    });
    let bytes = spliced(parsed(&metainfo.bytes).root(), &[b"piece layers"], &fresh);
    Metainfo::from_kept(bytes.into(), PathRules::HOST)
}

/// See [`Metainfo::with_trackers`].
fn with_trackers(metainfo: &Metainfo, tiers: &[Vec<String>]) -> Metainfo {
    let trackers = tiers::used(tiers.iter().map(|tier| tier.iter().map(String::as_str)));
    let Rewritten { bytes, info, layers } = rewritten(&metainfo.bytes, &trackers);
    let in_info = |at: usize| at - metainfo.info.start + info;
    let moved = |range: Range<usize>| in_info(range.start)..in_info(range.end);
    let moved_layers = |range: Range<usize>| layers..layers + range.len();
    Metainfo {
        bytes: Bytes::from(bytes),
        info: moved(metainfo.info.clone()),
        piece_hashes: metainfo.piece_hashes.clone().map(moved),
        v2: metainfo
            .v2
            .as_ref()
            .map(|v2| V2 { layers: v2.layers.clone().map(moved_layers), ..v2.clone() }),
        outer: Outer { trackers, ..metainfo.outer.clone() },
        ..metainfo.clone()
    }
}

/// Names the trackers: `announce` for clients without BEP 12, and a list if there is more to say.
pub(super) fn write_trackers(root: &mut DictWriter<'_>, tiers: &[Vec<String>]) {
    let mut urls = tiers.iter().flatten();
    if let Some(first) = urls.next() {
        root.bytes("announce", first);
    }
    if urls.next().is_some() {
        root.list("announce-list", |list| {
            tiers.iter().for_each(|tier| {
                list.list(|list| tier.iter().for_each(|url| list.bytes(url)));
            });
        });
    }
}

/// DHT nodes (BEP 5).
pub(super) fn write_nodes(root: &mut DictWriter<'_>, nodes: &[(String, u16)]) {
    if nodes.is_empty() {
        return;
    }
    root.list("nodes", |list| {
        for (host, port) in nodes {
            list.list(|node| {
                node.bytes(host);
                node.int((*port).into());
            });
        }
    });
}

/// HTTP seeds (BEP 19): one URL, or a list of them.
pub(super) fn write_web_seeds(root: &mut DictWriter<'_>, urls: &[String]) {
    match urls {
        [] => {}
        [url] => root.bytes("url-list", url),
        urls => root.list("url-list", |list| urls.iter().for_each(|url| list.bytes(url))),
    }
}

/// Hints at torrents that may share files (BEP 38), if there are any.
pub(super) fn write_hints(dict: &mut DictWriter<'_>, similar: &[InfoHash], collections: &[String]) {
    if !similar.is_empty() {
        dict.list("similar", |list| similar.iter().for_each(|hash| list.bytes(hash.0)));
    }
    if !collections.is_empty() {
        dict.list("collections", |list| collections.iter().for_each(|name| list.bytes(name)));
    }
}

/// A text, if there is one.
pub(super) fn write_text(dict: &mut DictWriter<'_>, key: &str, text: Option<&str>) {
    if let Some(text) = text {
        dict.bytes(key, text);
    }
}

/// The file with other trackers.
struct Rewritten {
    bytes: Vec<u8>,
    /// Where the value of `info` begins in it.
    info: usize,
    /// Where the value of `piece layers` begins in it; 0 if there is none.
    layers: usize,
}

fn rewritten(original: &[u8], tiers: &[Vec<String>]) -> Rewritten {
    let fresh = encode_dict(|root| write_trackers(root, tiers));
    let bytes = spliced(parsed(original).root(), &[b"announce", b"announce-list"], &fresh);
    let document = parsed(&bytes);
    let start = |key: &str| document.root().get(key).map(|value| value.span().start);
    let info = start("info").expect("a Metainfo has an info dictionary");
    let layers = start("piece layers").unwrap_or_default();
    Rewritten { info, layers, bytes }
}

fn parsed(bytes: &[u8]) -> Document<'_> {
    // Room for what an edit adds: no more than the trackers, or what the user wrote down.
    let limits = Limits { items: usize::MAX, ..Limits::METAINFO };
    Document::parse_prefix(bytes, limits)
        .expect("a Metainfo holds what could be parsed, and what is added is canonical")
}

/// A dictionary without some keys, and with the entries of another, which is sorted.
fn spliced(original: Value<'_>, without: &[&[u8]], fresh: &[u8]) -> Vec<u8> {
    let fresh = parsed(fresh);
    let mut fresh = entries(fresh.root()).peekable();
    let mut out = b"d".to_vec();
    for entry in entries(original).filter(|entry| !without.contains(&entry.key)) {
        while let Some(fresh) = fresh.next_if(|fresh| fresh.key < entry.key) {
            out.extend_from_slice(fresh.raw);
        }
        out.extend_from_slice(entry.raw);
    }
    fresh.for_each(|fresh| out.extend_from_slice(fresh.raw));
    out.push(b'e');
    out
}

/// An entry of a dictionary: its key, and the bytes that encode it with its value.
struct Entry<'a> {
    key: &'a [u8],
    raw: &'a [u8],
}

fn entries<'a>(dict: Value<'a>) -> impl Iterator<Item = Entry<'a>> {
    // After the `d`; from there, entries follow each other without a gap.
    let mut start = 1;
    dict.as_dict().into_iter().flatten().map(move |(key, value)| {
        let end = value.span().end - dict.span().start;
        let raw = &dict.raw()[start..end];
        start = end;
        Entry { key, raw }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::create::{Creator, NewFile, Protocol};

    fn torrent() -> Metainfo {
        let files = [NewFile::new(["a"], 40_000), NewFile::new(["b"], 7)];
        let mut creator = Creator::folder("top", files).with_protocol(Protocol::Hybrid);
        creator.trackers = vec![vec!["http://old/".into()]];
        creator.comment = Some("old".into());
        creator.creation_date = Some(7);
        creator.source = Some("here".into());
        creator.similar = vec![InfoHash([6; 20])];
        creator.finish_with_content(&[5; 40_007]).unwrap()
    }

    #[test]
    fn what_stands_beside_info_changes_without_the_infohash() {
        let torrent = torrent();
        let edit = Edit {
            trackers: Some(vec![vec!["http://new/".into(), "udp://b:1".into()]]),
            web_seeds: Some(vec!["http://seed/".into()]),
            nodes: Some(vec![("node".into(), 1)]),
            comment: Some(Some("new".into())),
            created_by: Some(Some("me".into())),
            creation_date: Some(None),
            similar: Some(vec![InfoHash([7; 20])]),
            collections: Some(vec!["c".into()]),
            ..Edit::default()
        };
        assert!(!edit.changes_infohash(&torrent));
        let edited = torrent.edited(&edit).unwrap();
        assert_eq!(edited.info_bytes(), torrent.info_bytes());
        assert_eq!(edited.piece_layer(0), torrent.piece_layer(0));
        assert_eq!(edited.trackers(), [["http://new/", "udp://b:1"]]);
        assert_eq!(edited.web_seeds(), ["http://seed/"]);
        assert_eq!(edited.nodes(), [("node".to_owned(), 1)]);
        assert_eq!((edited.comment(), edited.created_by()), (Some("new"), Some("me")));
        assert_eq!(edited.creation_date(), None);
        assert_eq!(edited.similar(), [InfoHash([6; 20]), InfoHash([7; 20])]);
        assert_eq!(edited.collections(), ["c"]);
        assert_eq!(edited.lint(), [], "still canonical");
        let nothing = Edit {
            trackers: Some(vec![]),
            web_seeds: Some(vec![]),
            nodes: Some(vec![]),
            comment: Some(None),
            created_by: Some(None),
            similar: Some(vec![]),
            collections: Some(vec![]),
            ..Edit::default()
        };
        let bare = edited.edited(&nothing).unwrap();
        let text = String::from_utf8_lossy(&bare.to_bytes()).into_owned();
        assert!(text.starts_with("d4:info") && !text.contains("5:nodes"), "{text}");
        assert_eq!(bare.similar(), [InfoHash([6; 20])], "what stands in info");
        assert!(bare.collections().is_empty());
    }

    #[test]
    fn source_and_private_make_another_torrent_unless_they_are_what_they_were() {
        let torrent = torrent();
        let same =
            Edit { source: Some(Some("here".into())), private: Some(false), ..Edit::default() };
        assert!(!same.changes_infohash(&torrent));
        assert_eq!(torrent.edited(&same).unwrap(), torrent);
        let other = Edit { source: Some(None), private: Some(true), ..Edit::default() };
        assert!(other.changes_infohash(&torrent));
        let edited = torrent.edited(&other).unwrap();
        assert_ne!(edited.infohash(), torrent.infohash());
        assert!(edited.is_private() && edited.source().is_none());
        assert_eq!(edited.piece_layer(0), torrent.piece_layer(0));
        let back =
            Edit { source: Some(Some("here".into())), private: Some(false), ..Edit::default() };
        assert_eq!(edited.edited(&back).unwrap(), torrent);
    }
}
