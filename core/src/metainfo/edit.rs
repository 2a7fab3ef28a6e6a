//! Changing the trackers of a metainfo file, leaving every other byte alone.

use bytes::Bytes;

use super::{Metainfo, Outer};
use crate::bencode::{DictWriter, Document, Limits, Value, encode_dict};

/// See [`Metainfo::with_trackers`].
pub(super) fn with_trackers(metainfo: &Metainfo, tiers: &[Vec<String>]) -> Metainfo {
    let trackers = super::tiers(tiers.iter().map(|tier| tier.iter().map(String::as_str)));
    let (bytes, info_start) = rewritten(&metainfo.bytes, &trackers);
    let moved = |at: usize| at - metainfo.info.start + info_start;
    let (info, hashes) = (metainfo.info.clone(), metainfo.piece_hashes.clone());
    Metainfo {
        bytes: Bytes::from(bytes),
        info: moved(info.start)..moved(info.end),
        piece_hashes: moved(hashes.start)..moved(hashes.end),
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

/// The file with other trackers, and where the value of `info` begins in it.
fn rewritten(original: &[u8], tiers: &[Vec<String>]) -> (Vec<u8>, usize) {
    let parsed = |bytes| {
        Document::parse_prefix(bytes, Limits::METAINFO)
            .expect("a Metainfo holds what was parsed with these limits, and so few trackers fit")
    };
    let fresh = encode_dict(|root| write_trackers(root, tiers));
    let (original, fresh) = (parsed(original), parsed(&fresh));
    let mut fresh = entries(fresh.root()).peekable();
    let mut out = b"d".to_vec();
    let mut info_start = None;
    for entry in entries(original.root()) {
        if entry.key == b"announce" || entry.key == b"announce-list" {
            continue;
        }
        while let Some(fresh) = fresh.next_if(|fresh| fresh.key < entry.key) {
            out.extend_from_slice(fresh.raw);
        }
        out.extend_from_slice(entry.raw);
        if entry.key == b"info" && info_start.is_none() {
            info_start = Some(out.len() - entry.value.raw().len());
        }
    }
    fresh.for_each(|fresh| out.extend_from_slice(fresh.raw));
    out.push(b'e');
    (out, info_start.expect("a Metainfo has an info dictionary"))
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
