//! Metadata for peers that ask for it (BEP 9).

use crate::extension::metadata::{METADATA_PIECE_LEN, MetadataMessage, piece_len};
use crate::metainfo::Metainfo;
use crate::peer::Peer;
use crate::segments::Segments;
use crate::time::Instant;
use crate::wire::Message;
use crate::wire::extension::Extension;

/// How often the peers of one address may together fetch all of the metadata in a minute (chosen: one may
/// three times; some homes behind one address).
const FACTOR_OF_GROUP: u64 = 10;

/// A peer asks for a piece of the metadata, which is sent in its turn, or rejected. `allows` is asked for
/// the address's share, of so many pieces: that is bounded however often it connects.
pub(in crate::torrent) fn requested(
    peer: &mut Peer,
    now: Instant,
    metainfo: Option<&Metainfo>,
    piece: u32,
    allows: impl FnOnce(u64) -> bool,
) {
    let len = metainfo.map_or(0, |metainfo| metainfo.info_bytes().len());
    let pieces = u32::try_from(len).unwrap_or(0).div_ceil(METADATA_PIECE_LEN);
    // What is refused to the peer alone costs the others of its address nothing.
    let allows = || allows(u64::from(pieces) * FACTOR_OF_GROUP);
    if !peer.gossip.metadata_uploads.request(now, piece, pieces, allows) {
        send(peer, &MetadataMessage::Reject { piece });
    }
}

/// Hands out a piece of the metadata that a peer is to get; how many bytes, if there is one.
pub(in crate::torrent) fn gather_metadata(
    peer: &mut Peer,
    metainfo: Option<&Metainfo>,
    out: &mut Segments,
) -> Option<usize> {
    let before = out.len();
    while let Some(piece) = peer.gossip.metadata_uploads.pop() {
        let id = peer.wire.extensions.get(Extension::Metadata);
        let (Some(id), Some(metainfo)) = (id, metainfo) else { continue };
        let info = metainfo.info_bytes();
        let size = u32::try_from(info.len()).unwrap_or(u32::MAX);
        let Some(len) = piece_len(size, piece) else { continue };
        let start = (piece * METADATA_PIECE_LEN) as usize;
        let data = info.slice(start..start + len as usize);
        let message = MetadataMessage::Data { piece, total_size: Some(size), data };
        Message::Extended { id, payload: message.encode() }.encode(out);
        return Some(out.len() - before);
    }
    None
}

/// Queues a message, if the peer understands it.
pub(in crate::torrent) fn send(peer: &mut Peer, message: &MetadataMessage) {
    if let Some(id) = peer.wire.extensions.get(Extension::Metadata) {
        peer.send(Message::Extended { id, payload: message.encode() });
    }
}
