//! The upload of a torrent: which requests are served, when it is decided which peers to unchoke, what
//! a lone seed suggests, and the hashes that peers ask for.
//!
//! Which peers are unchoked is decided in [`choke`](crate::choke), from what is passed in of each; what
//! a peer requested and got is its [`PeerUpload`], which the torrent keeps and passes in.

mod choking;
mod hash_trees;
pub(super) mod leaf_hashes;
mod suggestions;

use bytes::Bytes;

use crate::metainfo::Metainfo;
use crate::peer::{Peer, PeerSlot, PeerUpload};
use crate::picker::Picker;
use crate::piece::{Block, Geometry, PieceIndex};
use crate::random::PolicyRng;
use crate::time::Instant;
use crate::torrent::lazy::Lazy;
use crate::wire::message::id;
use crate::wire::{HashRequest, Message, Violation};

pub(super) use choking::{Choking, Situation};
pub(super) use hash_trees::HashTrees;
pub(super) use leaf_hashes::{LeafHashes, PieceRun, ReadBudget, Request};
pub(super) use suggestions::Suggestions;

/// Longest request served, in bytes (BEP 3: clients "close connections which request an amount
/// greater than 2^17").
const LONGEST_REQUEST: u32 = 128 * 1024;
/// Bytes read ahead for one peer (chosen: two runs, one being sent while the other is read).
pub(super) const READ_AHEAD_PER_PEER: usize = 512 * 1024;
/// The same for one that we choke (chosen: two blocks).
pub(super) const READ_AHEAD_CHOKED: usize = 32 * 1024;

/// The upload of one torrent.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) choking: Choking,
    /// What a lone seed suggests to which peer.
    pub(super) suggestions: Suggestions,
    /// The hashes that peers may ask for; empty while there are no peers.
    pub(super) hash_trees: Lazy<HashTrees>,
    /// Requests for hashes of single blocks.
    pub(super) leaf_hashes: Lazy<LeafHashes>,
}

impl Upload {
    /// No peer is unchoked yet.
    pub(super) fn new(now: Instant) -> Self {
        Upload {
            choking: Choking::new(now),
            suggestions: Suggestions::default(),
            hash_trees: Lazy::default(),
            leaf_hashes: Lazy::default(),
        }
    }

    /// A seed begins to suggest what no leech has, if there is any of that.
    pub(super) fn begin_suggesting(&mut self, is_seed: bool, picker: &Picker, rng: &mut PolicyRng) {
        let begins = is_seed && !self.suggestions.has_some();
        if begins && picker.num_only_at_seeds() > 0 {
            let lacking =
                |piece: &PieceIndex| picker.have().has(*piece) && picker.is_only_at_seeds(*piece);
            self.suggestions.begin(picker.geometry().iter().filter(lacking), rng);
        }
    }

    /// Suggests to a peer what it may go on with.
    pub(super) fn suggest(&mut self, slot: PeerSlot, peer: &mut Peer, picker: &Picker) {
        let is_out = |piece| !picker.is_only_at_seeds(piece);
        let (fast, wire, state) = (peer.wire.fast, &mut peer.wire, &peer.upload);
        let send = |piece| wire.send(Message::Suggest(piece));
        self.suggestions.of_peer(slot, state, fast, is_out, send);
    }

    /// A peer is about to be choked: it may finish the pieces that it has begun and no leech has.
    pub(super) fn choked(&mut self, slot: PeerSlot, peer: &mut Peer, picker: &Picker) {
        let is_only_here = |piece| picker.is_only_at_seeds(piece);
        let (fast, state) = (peer.wire.fast, &mut peer.upload);
        for piece in self.suggestions.choked(slot, state, fast, is_only_here) {
            peer.send(Message::AllowedFast(piece));
        }
    }

    /// No peer is left that could ask for hashes, or the layers they are computed from have changed.
    pub(super) fn drop_trees(&mut self) {
        self.hash_trees = Lazy::default();
    }

    /// The answer to a hash request that was admitted.
    pub(super) fn hashes(
        &mut self,
        now: Instant,
        metainfo: Option<&Metainfo>,
        request: HashRequest,
    ) -> Message {
        let HashRequest { root, range } = &request;
        let trees = self.hash_trees.make();
        match metainfo.and_then(|known| trees.answer(now, known, root, range)) {
            Some(hashes) => Message::Hashes { request, hashes: Bytes::from(hashes) },
            None => Message::HashReject(request),
        }
    }
}

/// Whether a request for a block makes sense, of a torrent that is cut like this; `None` while that is
/// not known.
pub(super) fn check_request(geometry: Option<&Geometry>, block: Block) -> Result<(), Violation> {
    match geometry {
        // There is nothing that the peer could have been offered.
        None => Err(Violation::RequestForMissing(block)),
        Some(geometry) if !geometry.contains_range(block) => {
            Err(Violation::BlockOutOfRange { id: id::REQUEST, block })
        }
        _ if block.length > LONGEST_REQUEST => Err(Violation::RequestTooLong(block)),
        _ => Ok(()),
    }
}

/// Queues a request of a peer for a block that we have, if the peer may download it and has at most
/// `bound` requests; whether it was queued.
pub(super) fn queue_request(peer: &mut PeerUpload, block: Block, bound: usize) -> bool {
    let is_allowed = !peer.am_choking || peer.allowed_by_us.contains(&block.piece);
    // Hashes that are owed with blocks may wait longer than these.
    let has_room = peer.uploads.len() < bound && peer.hash_uploads.len() < bound;
    if is_allowed && has_room {
        peer.uploads.push(block);
    }
    is_allowed && has_room
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::piece::{BLOCK_LEN, PieceIndex};

    const fn block(piece: u32, length: u32) -> Block {
        Block { piece: PieceIndex(piece), begin: 0, length }
    }

    #[test]
    fn requests_out_of_range_too_long_or_too_early_are_violations() {
        let geometry = Geometry::new(1 << 20, 1 << 18).expect("within limits");
        assert_eq!(check_request(Some(&geometry), block(3, BLOCK_LEN)), Ok(()));
        assert_eq!(
            check_request(None, block(0, BLOCK_LEN)),
            Err(Violation::RequestForMissing(block(0, BLOCK_LEN)))
        );
        assert!(matches!(
            check_request(Some(&geometry), block(4, BLOCK_LEN)),
            Err(Violation::BlockOutOfRange { .. })
        ));
        let long = block(0, LONGEST_REQUEST + 1);
        assert_eq!(check_request(Some(&geometry), long), Err(Violation::RequestTooLong(long)));
    }

    #[test]
    fn choked_peer_is_served_allowed_pieces_only_and_the_queue_is_bounded() {
        let mut peer = PeerUpload::new();
        peer.allowed_by_us.push(PieceIndex(1));
        assert!(!queue_request(&mut peer, block(0, BLOCK_LEN), 2));
        assert!(queue_request(&mut peer, block(1, BLOCK_LEN), 2));
        assert!(peer.unchoke(Instant::ZERO));
        assert!(queue_request(&mut peer, block(0, BLOCK_LEN), 2));
        assert!(!queue_request(&mut peer, block(0, BLOCK_LEN), 2), "two wait");
    }
}
