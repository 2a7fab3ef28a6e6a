//! Leaf hashes of pieces that failed (BEP 52): by them blame falls on the very block that is wrong,
//! and no other is fetched again.
//!
//! When a piece fails, two peers that have it are asked for its leaf hashes, in runs of up to 512,
//! each proven by the hash of the piece. Whoever sent a block that differs is banned at once; without
//! an answer it shows when the piece passes, as in v1 ([`SmartBan`](super::smart_ban)).
//!
//! Meanwhile the blocks are held ([`InDoubt`](super::in_doubt)), as long as they fit into the memory
//! for blocks: those that are right are kept. If nobody tells in time, all are fetched again.
//!
//! What peers ask of us is answered in `leaf_uploads`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use smallvec::SmallVec;

use crate::merkle::{HashRange, MAX_HASHES};
use crate::peer::{Peer, PeerSlot};
use crate::piece::{BLOCK_LEN, Block, PieceIndex, Sha256Hash};
use crate::piece_hash::{PieceHash, PieceRoot};
use crate::session::Session;
use crate::session::bans::BanReason;
use crate::time::Instant;
use crate::torrent::Torrent;
use crate::wire::{BlockData, HashRequest, Message};

/// Peers that are asked for each run of leaf hashes (chosen).
const ASKED: usize = 2;
/// Runs that are waited for at once (chosen: those of the longest piece, and some more).
const MOST_WAITING: usize = 48;

/// Leaf hashes that are waited for.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    waiting: BTreeMap<HashRequest, Waiting>,
}

/// Who was asked, and which pieces are proven by the answer: of files with one root several.
#[derive(Debug, Default)]
struct Waiting {
    pieces: SmallVec<[PieceIndex; 1]>,
    asked: SmallVec<[PeerSlot; ASKED]>,
}

impl Torrent {
    /// A piece failed whose blocks have these digests: holds them until it is known which are wrong.
    /// False: that will not be known.
    pub(super) fn hold_in_doubt(
        &mut self,
        session: &mut Session,
        piece: PieceIndex,
        digests: Vec<Sha256Hash>,
    ) -> bool {
        // Blocks that were written early are not here.
        let Some(content) = &self.content else { return false };
        let is_whole = digests.len() == content.geometry().blocks_of(piece) as usize;
        let fits = session.assembly_bytes <= session.config.bounds.assembly_bytes;
        let may_hold = is_whole && fits;
        // Whose fault it is may be known already.
        if !may_hold && !self.smart_ban.get().is_some_and(|ban| ban.has_failed(piece)) {
            return false;
        }
        let is_asked = self.ask_for_leaves(session, piece);
        if is_asked && may_hold {
            self.in_doubt.add(session.now, piece, digests);
        }
        is_asked && may_hold
    }

    /// Asks for the leaf hashes of a piece; whether there are answers to wait for.
    fn ask_for_leaves(&mut self, session: &mut Session, piece: PieceIndex) -> bool {
        let Some(root) = self.piece_root(piece) else { return false };
        let requests = self.leaf_requests(piece, &root);
        if self.leaves.waiting.len() + requests.len() > MOST_WAITING {
            // Who never answers must not use up the places: what passed needs no answer any more.
            let (ban, in_doubt) = (self.smart_ban.get(), &self.in_doubt);
            let has_failed = |piece| ban.is_some_and(|ban| ban.has_failed(piece));
            let is_open = |piece: &PieceIndex| has_failed(*piece) || in_doubt.contains(*piece);
            self.leaves.waiting.retain(|_, waiting| waiting.pieces.iter().any(is_open));
        }
        if self.leaves.waiting.len() + requests.len() > MOST_WAITING {
            return false;
        }
        let knows = |peer: &Peer| peer.is_open() && peer.wire.of_v2 && peer.download.has.has(piece);
        let peers = self.peers.iter().filter(|(_, peer)| knows(peer));
        let peers: Vec<PeerSlot> = peers.map(|(slot, _)| slot).collect();
        let mut all_asked = !requests.is_empty();
        for request in requests {
            let waiting = self.leaves.waiting.entry(request).or_default();
            if !waiting.pieces.contains(&piece) {
                waiting.pieces.push(piece);
            }
            // Who owes them already is not asked again.
            let fresh = peers.iter().filter(|slot| !waiting.asked.contains(slot)).take(ASKED);
            let fresh: SmallVec<[PeerSlot; ASKED]> = fresh.copied().collect();
            for slot in &fresh {
                if let Some(peer) = self.peers.get_mut(*slot) {
                    peer.send(Message::HashRequest(request));
                    session.ask_send(peer.wire.conn);
                }
            }
            waiting.asked.extend(fresh);
            if waiting.asked.is_empty() {
                self.leaves.waiting.remove(&request);
                all_asked = false;
            }
        }
        all_asked
    }

    /// A piece as a node of a merkle tree, if it is one of v2.
    pub(super) fn piece_root(&self, piece: PieceIndex) -> Option<PieceRoot> {
        match self.piece_hash(piece)? {
            PieceHash::V1(_) => None,
            PieceHash::V2(root) | PieceHash::Both(_, root) => Some(root),
        }
    }

    /// How to ask for all leaf hashes of a piece, and what lies between them and the node above them
    /// all. Nothing if it is a single block.
    fn leaf_requests(&self, piece: PieceIndex, root: &PieceRoot) -> Vec<HashRequest> {
        let place = self.metainfo().and_then(|metainfo| {
            let (file, number) = metainfo.file_of_piece(piece)?;
            let first = number.checked_mul(1_u32.checked_shl(root.layer)?)?;
            Some((metainfo.pieces_root(file)?, metainfo.tree_shape(file)?, first))
        });
        let Some((file_root, shape, first)) = place else { return Vec::new() };
        let length = 1_u32.checked_shl(root.layer).unwrap_or(MAX_HASHES).min(MAX_HASHES);
        let runs = root.length.div_ceil(BLOCK_LEN).div_ceil(length);
        let range = |run: u32| HashRange {
            base_layer: 0,
            index: first.saturating_add(run * length),
            length,
            proof_layers: root.layer.saturating_sub(1),
        };
        let ranges = (0..runs).map(range).filter(|range| range.is_allowed(&shape));
        ranges.map(|range| HashRequest { root: file_root, range }).collect()
    }

    /// A peer sent hashes. False: they are no leaf hashes that it was asked for.
    pub(super) fn leaves_arrived(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        request: &HashRequest,
        hashes: &[u8],
    ) -> bool {
        let Some(pieces) = self.leaves.answered(slot, request) else { return false };
        let answer = hashes.as_chunks::<32>().0;
        let proven = request.range.climb(answer);
        for piece in pieces {
            let Some(root) = self.piece_root(piece) else { continue };
            if proven != Some(root.hash) {
                self.ban_peer(session, slot, BanReason::WrongData);
                break;
            }
            let leaves = answer.get(..request.range.length as usize).unwrap_or_default();
            for liar in self.leaves_known(piece, &root, request.range.index, leaves) {
                self.ban(session, liar, BanReason::WrongData);
            }
        }
        self.settle_doubts(session);
        true
    }

    /// The leaf hashes of a piece from that of the file's block `index` on: judges what came of it.
    /// Who sent something else.
    fn leaves_known(
        &mut self,
        piece: PieceIndex,
        root: &PieceRoot,
        index: u32,
        leaves: &[Sha256Hash],
    ) -> Vec<SocketAddr> {
        let first = index % (1 << root.layer);
        let blocks = root.length.div_ceil(BLOCK_LEN).saturating_sub(first) as usize;
        let judged = leaves.get(..blocks).unwrap_or(leaves);
        self.in_doubt.judge(piece, first, judged);
        self.smart_ban.make().judged(piece, first, judged)
    }

    /// A peer does not give leaf hashes.
    pub(super) fn leaves_rejected(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        request: &HashRequest,
    ) {
        if self.leaves.answered(slot, request).is_some() {
            self.settle_doubts(session);
        }
    }

    /// A peer leaves.
    pub(super) fn leaf_source_gone(&mut self, session: &mut Session, slot: PeerSlot) {
        self.leaves.waiting.retain(|_, waiting| {
            waiting.asked.retain(|asked| *asked != slot);
            !waiting.asked.is_empty()
        });
        self.settle_doubts(session);
    }

    // What becomes of the blocks.

    /// When blocks have been held for too long.
    pub(super) fn doubts_due_at(&self) -> Option<Instant> {
        self.in_doubt.due_at()
    }

    /// Goes on with pieces in doubt of which is known what can be known.
    pub(super) fn settle_doubts(&mut self, session: &mut Session) {
        let waiting = &self.leaves.waiting;
        let is_awaited = |piece| waiting.values().any(|waiting| waiting.pieces.contains(&piece));
        let given_up = self.in_doubt.iter().filter(|piece| !is_awaited(*piece));
        let settled: Vec<PieceIndex> = self.in_doubt.ripe(session.now).chain(given_up).collect();
        if settled.is_empty() {
            return;
        }
        for piece in settled {
            self.settle_doubt(session, piece);
        }
        self.feed_hungry(session);
    }

    /// Memory is short: gives up a piece in doubt. False: there is none.
    pub(super) fn give_up_doubt(&mut self, session: &mut Session) -> bool {
        let piece = self.in_doubt.iter().next();
        piece.inspect(|piece| self.settle_doubt(session, *piece)).is_some()
    }

    /// Drops those blocks of a piece in doubt that are not known to be right; they are fetched again.
    fn settle_doubt(&mut self, session: &mut Session, piece: PieceIndex) {
        let Some(again) = self.in_doubt.settle(piece) else { return };
        let Some(geometry) = self.content.as_ref().map(|known| known.geometry()) else { return };
        // That none is wrong is said of a hybrid whose hashes of v1 and v2 contradict each other.
        if again.is_empty() || again.len() == geometry.blocks_of(piece) as usize {
            return self.piece_lost(session, piece);
        }
        let blocks = again.iter().map(|number| geometry.block(piece, *number));
        let blocks: Vec<Block> = blocks.collect();
        self.traffic.failed(blocks.iter().map(|block| u64::from(block.length)).sum());
        let held = self.assembly.held_bytes();
        self.assembly.drop_blocks(piece, &again);
        session.assembly_bytes -= held - self.assembly.held_bytes();
        self.picker.blocks_failed(piece, &blocks);
    }
}

impl Leaves {
    /// Takes a peer off those who were asked; the pieces, if it was.
    fn answered(
        &mut self,
        slot: PeerSlot,
        request: &HashRequest,
    ) -> Option<SmallVec<[PieceIndex; 1]>> {
        let waiting = self.waiting.get_mut(request)?;
        let at = waiting.asked.iter().position(|asked| *asked == slot)?;
        waiting.asked.remove(at);
        match waiting.asked.is_empty() {
            true => self.waiting.remove(request).map(|waiting| waiting.pieces),
            false => Some(waiting.pieces.clone()),
        }
    }
}

/// The digests of blocks, in their order.
pub(super) fn digests<'a>(blocks: impl Iterator<Item = &'a BlockData>) -> Vec<Sha256Hash> {
    blocks.map(|data| super::smart_ban::digest(data.chunks().iter().map(AsRef::as_ref))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;

    /// Found by the simulator's seed 300788.
    #[test]
    fn the_answer_that_comes_second_was_asked_for_too() {
        let range = HashRange { base_layer: 0, index: 0, length: 2, proof_layers: 0 };
        let request = HashRequest { root: [1; 32], range };
        let (first, second) = (PeerSlot::new(0, 0), PeerSlot::new(1, 0));
        let piece = PieceIndex(3);
        let waiting =
            Waiting { pieces: SmallVec::from([piece]), asked: SmallVec::from([first, second]) };
        let mut leaves = Leaves { waiting: BTreeMap::from([(request, waiting)]) };
        for slot in [first, second] {
            assert_eq!(leaves.answered(slot, &request).as_deref(), Some(&[piece][..]));
            assert_eq!(leaves.answered(slot, &request), None, "it owes no other");
        }
    }
}
