//! Changing the trackers of a metainfo file, leaving every other byte alone.

use bytes::Bytes;

use super::{Metainfo, Outer};
use crate::bencode::{Document, Limits, encode_list};

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

/// The file with other trackers, and where the value of `info` begins in it.
fn rewritten(original: &Bytes, tiers: &[Vec<String>]) -> (Vec<u8>, usize) {
    let document = Document::parse_prefix(original, Limits::METAINFO)
        .expect("a Metainfo holds what was parsed with these limits");
    let root = document.root();
    let mut fresh = tracker_entries(tiers).into_iter().peekable();
    let mut out = b"d".to_vec();
    let mut info_start = None;
    let mut entry_start = root.span().start + 1;
    for (key, value) in root.as_dict().into_iter().flatten() {
        let entry = entry_start..value.span().end;
        entry_start = entry.end;
        if key == b"announce" || key == b"announce-list" {
            continue;
        }
        while let Some((_, encoded)) = fresh.next_if(|(name, _)| *name < key) {
            out.extend_from_slice(&encoded);
        }
        if key == b"info" && info_start.is_none() {
            info_start = Some(out.len() + value.span().start - entry.start);
        }
        out.extend_from_slice(&original[entry]);
    }
    fresh.for_each(|(_, encoded)| out.extend_from_slice(&encoded));
    out.push(b'e');
    (out, info_start.expect("a Metainfo has an info dictionary"))
}

/// The entries that name the trackers, by their keys: `announce` for clients without BEP 12, and a
/// list if there is more to say.
fn tracker_entries(tiers: &[Vec<String>]) -> Vec<(&'static [u8], Vec<u8>)> {
    let Some(first) = tiers.iter().flatten().next() else { return Vec::new() };
    let announce = format!("8:announce{}:{first}", first.len()).into_bytes();
    let mut entries = vec![(&b"announce"[..], announce)];
    if tiers.iter().flatten().count() > 1 {
        let list = encode_list(|list| {
            tiers.iter().for_each(|tier| {
                list.list(|list| tier.iter().for_each(|url| list.bytes(url)));
            });
        });
        entries.push((b"announce-list", [&b"13:announce-list"[..], &list].concat()));
    }
    entries
}
