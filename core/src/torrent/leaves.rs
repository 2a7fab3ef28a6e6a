//! Leaf hashes: those of single blocks (BEP 52), by which blame for a wrong piece falls on the very
//! block.
//!
//! When a piece fails and several peers sent its blocks, two peers that have it are asked for its
//! leaf hashes, proven by the hash of the piece. Whoever sent a block that differs is banned at once;
//! without an answer it shows when the piece passes, as in v1 ([`SmartBan`](super::smart_ban)).
//!
//! Peers that ask us get the leaf hashes of a whole piece that we have, computed from what is on disk:
//! one piece of a torrent at a time, of no more than [`LONGEST`] bytes, so many bytes a minute. All
//! else is rejected. That bounds the answers, too, to a few KiB a second: no other limit holds them up.

use std::collections::BTreeMap;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::disk::{DiskDone, DiskError, DiskRequest};
use crate::merkle::{Accumulator, HashRange, leaf};
use crate::peer::{Peer, PeerSlot};
use crate::piece::{BLOCK_LEN, PieceIndex, Sha256Hash};
use crate::piece_hash::{PieceHash, PieceRoot};
use crate::rate::Allowance;
use crate::session::Session;
use crate::session::bans::BanReason;
use crate::session::op::TorrentOp;
use crate::torrent::Torrent;
use crate::wire::{HashRequest, Message};

/// Peers that are asked for the leaf hashes of one piece (chosen).
const ASKED: usize = 2;
/// Pieces whose leaf hashes are waited for at once (chosen).
const MOST_WAITING: usize = 32;
/// Longest piece whose leaf hashes are given, in bytes (chosen: it is hashed here and now).
const LONGEST: u32 = 1024 * 1024;
/// Bytes that are read and hashed for such requests in a minute (chosen).
const READ_PER_MINUTE: u64 = 64 * 1024 * 1024;

/// Leaf hashes that are waited for, and those that are given.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    waiting: BTreeMap<HashRequest, (PieceIndex, SmallVec<[PeerSlot; ASKED]>)>,
    reading: bool,
    allowance: Allowance,
}

impl Torrent {
    // We ask.

    /// A piece failed, and it is not known whose fault that is.
    pub(super) fn ask_for_leaves(&mut self, session: &mut Session, piece: PieceIndex) {
        if self.leaves.waiting.len() >= MOST_WAITING {
            // Who never answers must not use up the places: what passed needs no answer any more.
            let ban = &self.smart_ban;
            self.leaves.waiting.retain(|_, (piece, _)| ban.has_failed(*piece));
        }
        if self.leaves.waiting.len() >= MOST_WAITING || !self.smart_ban.has_failed(piece) {
            return;
        }
        let Some((request, _)) = self.leaf_request(piece) else { return };
        // Who owes them already is not asked again.
        let owing = self.leaves.waiting.get(&request).map(|(_, slots)| &slots[..]);
        let owing = owing.unwrap_or_default();
        let knows = |peer: &Peer| peer.is_open() && peer.of_v2 && peer.has.has(piece);
        let slots = self.peers.iter().filter(|(_, peer)| knows(peer)).map(|(slot, _)| slot);
        let slots = slots.filter(|slot| !owing.contains(slot)).take(ASKED);
        let slots: SmallVec<[PeerSlot; ASKED]> = slots.collect();
        for slot in &slots {
            if let Some(peer) = self.peers.get_mut(*slot) {
                peer.send(Message::HashRequest(request));
                session.ask_send(peer.conn);
            }
        }
        if !slots.is_empty() {
            let waiting = self.leaves.waiting.entry(request);
            waiting.or_insert_with(|| (piece, SmallVec::new())).1.extend(slots);
        }
    }

    /// How to ask for all leaf hashes of a piece, and the node above them. `None` if it is not of
    /// v2, a single block, or too long for one request.
    fn leaf_request(&self, piece: PieceIndex) -> Option<(HashRequest, PieceRoot)> {
        let root = match self.piece_hash(piece)? {
            PieceHash::V1(_) => return None,
            PieceHash::V2(root) | PieceHash::Both(_, root) => root,
        };
        let metainfo = self.metainfo.as_ref()?;
        let (file, number) = metainfo.file_of_piece(piece)?;
        let length = 1_u32.checked_shl(root.layer)?;
        let range = HashRange {
            base_layer: 0,
            index: number.checked_mul(length)?,
            length,
            proof_layers: root.layer.checked_sub(1)?,
        };
        let is_allowed = range.is_allowed(&metainfo.tree_shape(file)?);
        let request = HashRequest { root: metainfo.pieces_root(file)?, range };
        is_allowed.then_some((request, root))
    }

    /// A peer sent hashes. False: they are no leaf hashes that it was asked for.
    pub(super) fn leaves_arrived(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        request: &HashRequest,
        hashes: &[u8],
    ) -> bool {
        let Some(piece) = self.leaves.answered(slot, request) else { return false };
        let Some((_, root)) = self.leaf_request(piece) else { return true };
        let leaves = hashes.as_chunks::<32>().0;
        if request.range.climb(leaves) != Some(root.hash) {
            self.ban_peer(session, slot, BanReason::WrongData);
            return true;
        }
        let whole = (root.length / BLOCK_LEN) as usize;
        // In v1 the last block has padding, which is no part of its leaf.
        let is_hybrid = self.metainfo.as_ref().is_some_and(|metainfo| metainfo.has_v1());
        let judged = if is_hybrid { whole } else { root.length.div_ceil(BLOCK_LEN) as usize };
        let known = leaves.get(..judged).unwrap_or_default();
        for liar in self.smart_ban.judged(piece, known) {
            self.ban(session, liar, BanReason::WrongData);
        }
        true
    }

    /// A peer does not give leaf hashes.
    pub(super) fn leaves_rejected(&mut self, slot: PeerSlot, request: &HashRequest) {
        self.leaves.answered(slot, request);
    }

    /// A peer leaves.
    pub(super) fn leaf_source_gone(&mut self, slot: PeerSlot) {
        self.leaves.waiting.retain(|_, (_, slots)| {
            slots.retain(|asked| *asked != slot);
            !slots.is_empty()
        });
    }

    // Peers ask us.

    /// A peer asks for leaf hashes; whether they are read for it.
    pub(super) fn read_leaves(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        request: &HashRequest,
    ) -> bool {
        let Some(piece) = self.piece_of_leaves(request) else { return false };
        let length = self.geometry.len_of(piece);
        let may_read = self.is_active() && !self.cannot_read() && self.picker.have().has(piece);
        if !may_read || self.leaves.reading || length > LONGEST {
            return false;
        }
        if !self.leaves.allowance.take(session.now, length.into(), READ_PER_MINUTE) {
            return false;
        }
        self.leaves.reading = true;
        let spans = self.layout.piece_spans(piece);
        let read = DiskRequest::Read { store: self.store, spans };
        self.disk(session, TorrentOp::ReadLeaves(slot, *request), read);
        true
    }

    /// The piece of which a request wants all leaf hashes, and no more.
    fn piece_of_leaves(&mut self, request: &HashRequest) -> Option<PieceIndex> {
        let HashRange { base_layer, index, length, .. } = request.range;
        let metainfo = self.metainfo.as_deref()?;
        let file = self.hash_trees.file_with(metainfo, &request.root)?;
        let piece_len = self.geometry.piece_len();
        let first = u64::from(index) * u64::from(BLOCK_LEN) + metainfo.files().get(file)?.offset();
        let piece = PieceIndex(u32::try_from(first / u64::from(piece_len)).ok()?);
        let (known, _) = self.leaf_request(piece)?;
        let same = known.range.index == index && known.range.length == length;
        let needs_no_more = request.range.answer_len() == length as usize;
        (base_layer == 0 && known.root == request.root && same && needs_no_more).then_some(piece)
    }

    /// A piece was read for its leaf hashes.
    pub(super) fn leaves_read(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        request: HashRequest,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        self.leaves.reading = false;
        let piece = self.piece_of_leaves(&request);
        let root = piece.and_then(|piece| Some(self.leaf_request(piece)?.1));
        let Some(peer) = self.peers.get_mut(slot).filter(|peer| peer.is_open()) else { return };
        let hashes = match (result, root) {
            (Ok(DiskDone::Read(data)), Some(root)) => leaves_of(&data, &root),
            _ => None,
        };
        peer.send(match hashes {
            Some(hashes) => Message::Hashes { request, hashes },
            None => Message::HashReject(request),
        });
        session.ask_send(peer.conn);
    }
}

impl Leaves {
    /// Takes a peer off those who were asked; the piece, if it was.
    fn answered(&mut self, slot: PeerSlot, request: &HashRequest) -> Option<PieceIndex> {
        let (piece, slots) = self.waiting.get_mut(request)?;
        let (piece, before) = (*piece, slots.len());
        slots.retain(|asked| *asked != slot);
        let was_asked = slots.len() < before;
        if slots.is_empty() {
            self.waiting.remove(request);
        }
        was_asked.then_some(piece)
    }
}

/// The leaf hashes of a piece with their filling, if its data is what it should be.
fn leaves_of(data: &Bytes, root: &PieceRoot) -> Option<Bytes> {
    let data = data.get(..root.length as usize)?;
    let mut leaves: Vec<Sha256Hash> = data.chunks(BLOCK_LEN as usize).map(leaf).collect();
    let mut above = Accumulator::new(0);
    leaves.iter().for_each(|leaf| above.push(*leaf));
    if above.finish(root.layer)? != root.hash {
        return None;
    }
    leaves.resize(1 << root.layer, [0; 32]);
    Some(leaves.into_flattened().into())
}
