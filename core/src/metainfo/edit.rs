//! Changing the trackers of a metainfo file, leaving every other byte alone.

use std::ops::Range;

use bytes::Bytes;

use super::{Metainfo, Outer, V2};
use crate::bencode::{DictWriter, Document, Limits, Value, encode_dict};

/// See [`Metainfo::with_trackers`].
pub(super) fn with_trackers(metainfo: &Metainfo, tiers: &[Vec<String>]) -> Metainfo {
    let trackers = super::tiers(tiers.iter().map(|tier| tier.iter().map(String::as_str)));
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
            .map(|v2| V2 { layers: v2.layers.clone().map(moved_layers), infohash: v2.infohash }),
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
    let parsed = |bytes| {
        Document::parse_prefix(bytes, Limits::METAINFO)
            .expect("a Metainfo holds what was parsed with these limits, and so few trackers fit")
    };
    let fresh = encode_dict(|root| write_trackers(root, tiers));
    let (original, fresh) = (parsed(original), parsed(&fresh));
    let mut fresh = entries(fresh.root()).peekable();
    let mut out = b"d".to_vec();
    let (mut info, mut layers) = (None, None);
    for entry in entries(original.root()) {
        if entry.key == b"announce" || entry.key == b"announce-list" {
            continue;
        }
        while let Some(fresh) = fresh.next_if(|fresh| fresh.key < entry.key) {
            out.extend_from_slice(fresh.raw);
        }
        out.extend_from_slice(entry.raw);
        let start = out.len() - entry.value.raw().len();
        match entry.key {
            b"info" => info = info.or(Some(start)),
            b"piece layers" => layers = layers.or(Some(start)),
            _ => {}
        }
    }
    fresh.for_each(|fresh| out.extend_from_slice(fresh.raw));
    out.push(b'e');
    Rewritten {
        bytes: out,
        info: info.expect("a Metainfo has an info dictionary"),
        layers: layers.unwrap_or_default(),
    }
}

/// An entry of a dictionary with the bytes that encode it, key and value.
struct Entry<'a> {
    key: &'a [u8],
    value: Value<'a>,
    raw: &'a [u8],
}

fn entries<'a>(dict: Value<'a>) -> impl Iterator<Item = Entry<'a>> {
    // After the `d`; from there, entries follow each other without a gap.
    let mut start = 1;
    dict.as_dict().into_iter().flatten().map(move |(key, value)| {
        let end = value.span().end - dict.span().start;
        let raw = &dict.raw()[start..end];
        start = end;
        Entry { key, value, raw }
    })
}
