//! Metadata for peers that ask for it (BEP 9).

use crate::extension::metadata::{METADATA_PIECE_LEN, MetadataMessage, piece_len};
use crate::metainfo::Metainfo;
use crate::peer::Peer;
use crate::segments::Segments;
use crate::time::Instant;
use crate::wire::Message;
use crate::wire::extension::Extension;

/// A peer asks for a piece of the metadata, which is sent in its turn, or rejected.
pub(super) fn requested(peer: &mut Peer, now: Instant, metainfo: Option<&Metainfo>, piece: u32) {
    let len = metainfo.map_or(0, |metainfo| metainfo.info_bytes().len());
    let pieces = u32::try_from(len).unwrap_or(0).div_ceil(METADATA_PIECE_LEN);
    if !peer.gossip.metadata_uploads.request(now, piece, pieces) {
        send(peer, &MetadataMessage::Reject { piece });
    }
}

/// Hands out the metadata that a peer is to get, until `out` is `limit` bytes long; how many bytes.
pub(in crate::torrent) fn gather_metadata(
    peer: &mut Peer,
    metainfo: &Metainfo,
    limit: usize,
    out: &mut Segments,
) -> usize {
    let before = out.len();
    let Some(id) = peer.wire.extensions.get(Extension::Metadata) else { return 0 };
    let info = metainfo.info_bytes();
    let size = u32::try_from(info.len()).unwrap_or(u32::MAX);
    while out.len() < limit
        && let Some(piece) = peer.gossip.metadata_uploads.pop()
    {
        let Some(len) = piece_len(size, piece) else { continue };
        let start = (piece * METADATA_PIECE_LEN) as usize;
        let data = info.slice(start..start + len as usize);
        let message = MetadataMessage::Data { piece, total_size: Some(size), data };
        Message::Extended { id, payload: message.encode() }.encode(out);
    }
    out.len() - before
}

/// Queues a message, if the peer understands it.
pub(super) fn send(peer: &mut Peer, message: &MetadataMessage) {
    if let Some(id) = peer.wire.extensions.get(Extension::Metadata) {
        peer.send(Message::Extended { id, payload: message.encode() });
    }
}
