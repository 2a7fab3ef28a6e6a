//! Peers ask for hashes of a file's merkle tree, with proof (BEP 52, "hash request"): those who
//! have the metadata from a magnet link lack the piece layers.
//!
//! Every request is answered, with hashes or a reject: whether the peer is choked or not, and
//! whatever pieces we have, since the layers are part of what we know of the torrent. These answers
//! are held up by the upload limits like blocks, and by [`HashUploads`](crate::peer::hash_uploads).
//!
//! What [`HashTrees`] does not hold is rejected, but for leaf hashes: these are computed
//! (`leaf_uploads`). No limit has those rejected that are asked for right after a block of theirs, so
//! that whoever fetches blocks can check each of them. They are rejected where they cannot be proven: by a
//! hybrid from a magnet link that has no piece layers, and, where pieces are single blocks, while trees
//! were built too often.
//!
//! On a connection that is not of v2 the messages are a violation, as they are to libtorrent.
//!
//! What we ask for ourselves, `layers` and `leaves` know.

use bytes::Bytes;

use crate::metainfo::Metainfo;
use crate::peer::PeerSlot;
use crate::session::Session;
use crate::time::Instant;
use crate::torrent::Torrent;
use crate::torrent::hash_trees::HashTrees;
use crate::wire::message::id;
use crate::wire::{HashRequest, Message, Violation};

impl Torrent {
    /// A peer asks for hashes.
    pub(super) fn hashes_requested(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        request: HashRequest,
    ) -> Result<(), Violation> {
        self.require_v2(slot, id::HASH_REQUEST)?;
        let HashRequest { root, range } = &request;
        let total = self
            .content
            .as_ref()
            .and_then(|content| self.hash_trees.make().holds(&content.metainfo, root, range));
        let pieces = self.pieces_of_leaves(&request);
        let piece_len = self.content.as_ref().map_or(0, |known| known.geometry().piece_len());
        let Some(peer) = self.peers.get_mut(slot) else { return Ok(()) };
        let is_owed = pieces.is_some_and(|pieces| {
            peer.upload.uploads.owes_leaves(|block| pieces.has_leaf_of(block, range, piece_len))
        });
        let uploads = &mut peer.upload.hash_uploads;
        let admitted = total
            .is_some_and(|total| uploads.request(session.now, request, total, is_owed))
            || pieces.is_some_and(|pieces| {
                self.leaves_requested(session, slot, &request, pieces, is_owed)
            });
        if !admitted && let Some(peer) = self.peers.get_mut(slot) {
            peer.send(Message::HashReject(request));
        }
        Ok(())
    }

    /// A peer does not give hashes.
    pub(super) fn hashes_rejected(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        request: &HashRequest,
    ) -> Result<(), Violation> {
        self.require_v2(slot, id::HASH_REJECT)?;
        self.leaves_rejected(session, slot, request);
        self.layer_rejected(session, slot, request);
        Ok(())
    }

    /// A peer sends hashes. What nobody asked for is dropped.
    pub(super) fn hashes_arrived(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        request: &HashRequest,
        hashes: &[u8],
    ) -> Result<(), Violation> {
        self.require_v2(slot, id::HASHES)?;
        if self.leaves_arrived(session, slot, request, hashes)
            || self.layer_arrived(session, slot, request, hashes)
        {
            return Ok(());
        }
        let Some(peer) = self.peers.get_mut(slot) else { return Ok(()) };
        peer.download.unasked_bytes += hashes.len() as u64;
        match self.wastes_too_much(slot) {
            true => Err(Violation::Flood { id: id::HASHES }),
            false => Ok(()),
        }
    }
}

/// The answer to a request that was admitted.
pub(super) fn answer(
    trees: &mut HashTrees,
    now: Instant,
    metainfo: Option<&Metainfo>,
    request: HashRequest,
) -> Message {
    let HashRequest { root, range } = &request;
    match metainfo.and_then(|known| trees.answer(now, known, root, range)) {
        Some(hashes) => Message::Hashes { request, hashes: Bytes::from(hashes) },
        None => Message::HashReject(request),
    }
}
