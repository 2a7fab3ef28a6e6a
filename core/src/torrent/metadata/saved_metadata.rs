//! What is kept over a restart of a torrent whose metadata came from peers: its metainfo, and, while
//! piece layers of v2 are missing, the hashes that are known of them.
//!
//! That is a metainfo file with one more entry: under [`KEY`], the messages in which peers would send
//! these hashes (BEP 52, "hashes"), each with its proof. So nothing that is read here is believed.

use bytes::Bytes;

use crate::bencode::{Document, Limits, encode_dict};
use crate::metainfo::{MAX_METAINFO_LEN, Metainfo};
use crate::segments::Segments;
use crate::wire::{Decoder, HashRequest, Message};

/// The entry, which no other program knows.
const KEY: &[u8] = b"bitswarm hashes";

/// What to keep: a metainfo and these answers. Without them if it would be too long to be read.
pub(super) fn with_answers(
    metainfo: &Metainfo,
    answers: impl Iterator<Item = (HashRequest, Bytes)>,
) -> Bytes {
    let bytes = metainfo.to_bytes();
    let mut messages = Segments::new();
    answers.for_each(|(request, hashes)| {
        Message::Hashes { request, hashes }.encode(&mut messages);
    });
    let Ok(document) = Document::parse_prefix(&bytes, Limits::METAINFO) else { return bytes };
    let kept = with_entry(&document, Some(&messages.take_all()));
    if kept.len() > MAX_METAINFO_LEN { bytes } else { kept.into() }
}

/// What was kept, in its two parts: what a metainfo may be read from, and messages for [`answers`].
pub(super) fn parts(kept: Bytes) -> (Bytes, Bytes) {
    let Ok(document) = Document::parse_prefix(&kept, Limits::METAINFO) else {
        return (kept, Bytes::new());
    };
    let Some(messages) = document.root().get(KEY) else { return (kept, Bytes::new()) };
    let messages = Bytes::copy_from_slice(messages.as_bytes().unwrap_or_default());
    (with_entry(&document, None).into(), messages)
}

/// The answers in some messages, up to the first that is none.
pub(super) fn answers(messages: &Bytes) -> impl Iterator<Item = (HashRequest, Bytes)> + use<> {
    let mut decoder = Decoder::new();
    decoder.push(messages.clone());
    std::iter::from_fn(move || match decoder.next_message() {
        Ok(Some(Message::Hashes { request, hashes })) => Some((request, hashes)),
        _ => None,
    })
}

/// The file with this entry, or without it, all else as it was.
fn with_entry(document: &Document<'_>, messages: Option<&[u8]>) -> Vec<u8> {
    encode_dict(|root| {
        for (key, value) in document.root().as_dict().into_iter().flatten() {
            if key != KEY {
                root.raw(key, value.raw());
            }
        }
        if let Some(messages) = messages {
            root.bytes(KEY, messages);
        }
    })
}
