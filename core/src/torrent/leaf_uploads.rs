//! Peers ask for leaf hashes (BEP 52): those of single blocks, of pieces that we have.
//!
//! We do not keep them: the pieces of a run are read, in parts of [`READ_LEN`] bytes, one run of a
//! torrent at a time, and hashed here; then all requests for these pieces are answered, with hashes
//! from them and, where more proof is asked for, from the layers above
//! ([`HashTrees`](super::hash_trees)). What is on disk is compared with the pieces' hashes first, so
//! that no answer is wrong. What is being read counts in the session's read-ahead budget, and waits for it,
//! but not for long.
//!
//! How much is read in a minute is bounded, for each peer and in all: as much as is uploaded and some
//! more. That bounds the answers, too: no other limit holds them up. What is beyond it is rejected, but
//! for requests that follow one for a block of their run: these wait ("MUST NOT reject").

use std::collections::VecDeque;

use bytes::Bytes;

use crate::disk::{DiskDone, DiskError, DiskRequest};
use crate::merkle::{HashRange, HashTree, Node, TreeShape, filling, leaf};
use crate::peer::PeerSlot;
use crate::piece::{BLOCK_LEN, Block, PieceIndex, Sha256Hash};
use crate::piece_hash::PieceRoot;
use crate::rate::Allowance;
use crate::session::Session;
use crate::session::op::TorrentOp;
use crate::time::{Duration, Instant};
use crate::torrent::Torrent;
use crate::wire::{HashRequest, Message};

/// Bytes that are read at once (chosen: they are hashed here and now).
const READ_LEN: u32 = 1024 * 1024;
/// Bytes that are read for one peer in a minute (chosen), and for all; of long pieces, two and four.
/// What is uploaded in a minute comes on top.
const READ_FOR_PEER: u64 = 64 * 1024 * 1024;
const READ_FOR_ALL: u64 = 256 * 1024 * 1024;
/// Requests of one peer that wait (chosen: those of the longest piece), and of all. Those that are
/// owed come on top: of a peer about as many as it may ask for blocks.
const WAITING_OF_PEER: usize = 32;
const WAITING: usize = 128;
/// What may not be read yet is tried again after this time (chosen).
const RETRY: Duration = Duration::from_secs(5);

/// Requests for leaf hashes, and the pieces that are read for them.
#[derive(Debug, Default)]
pub(super) struct LeafUploads {
    waiting: VecDeque<Request>,
    reading: Option<Reading>,
    allowance: Allowance,
    /// When what may not be read yet is tried again.
    retry_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    of: PeerSlot,
    pieces: PieceRun,
    request: HashRequest,
    /// Whether it must not be rejected.
    is_owed: bool,
    /// Whether the pieces may be read for it.
    is_allowed: bool,
}

/// Pieces of one file, in which a run of leaf hashes lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PieceRun {
    first: PieceIndex,
    count: u32,
    /// The place of the first among the pieces of its file.
    number: u32,
}

/// A run of pieces, part of which is read.
#[derive(Debug)]
struct Reading {
    pieces: PieceRun,
    /// Of those that are read.
    trees: Vec<HashTree>,
    /// Of the one that is being read, with its leaves so far.
    root: PieceRoot,
    leaves: Vec<Sha256Hash>,
}

impl Torrent {
    /// A peer asks for leaf hashes that lie in these pieces; whether it will get them. What is owed to
    /// it, it gets later if not now.
    pub(super) fn leaves_requested(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        request: &HashRequest,
        pieces: PieceRun,
        is_owed: bool,
    ) -> bool {
        if !self.may_read_leaves(pieces) || !(is_owed || self.has_room_for_leaves(slot)) {
            return false;
        }
        let request = Request { of: slot, pieces, request: *request, is_owed, is_allowed: false };
        let is_allowed = self.allow_leaves(session.now, &request);
        if !is_allowed && !is_owed {
            return false;
        }
        let Some(peer) = self.peers.get_mut(slot) else { return false };
        peer.upload.hash_uploads.leaves_waiting += 1;
        let uploads = self.leaf_uploads.make();
        uploads.waiting.push_back(Request { is_allowed, ..request });
        if !is_allowed {
            uploads.retry_at.get_or_insert(session.now + RETRY);
        }
        self.read_next_leaves(session);
        true
    }

    /// The pieces in which a run of leaf hashes lies, if there is such a run.
    pub(super) fn pieces_of_leaves(&mut self, request: &HashRequest) -> Option<PieceRun> {
        let HashRange { base_layer: 0, index, length, .. } = request.range else { return None };
        let content = self.content.as_deref()?;
        let metainfo = &content.metainfo;
        let file = self.hash_trees.make().file_with(metainfo, &request.root)?;
        let shape = metainfo.tree_shape(file)?;
        if !request.range.is_allowed(&shape) {
            return None;
        }
        let width = 1_u32.checked_shl(shape.top_of_piece())?;
        let number = index / width;
        // Beyond the last piece there is only filling.
        let count = shape.pieces().checked_sub(number)?.min(length.div_ceil(width));
        let first =
            metainfo.files().get(file)?.offset() / u64::from(content.geometry().piece_len());
        let first = PieceIndex(u32::try_from(first).ok()?.checked_add(number)?);
        (count > 0).then_some(PieceRun { first, count, number })
    }

    fn may_read_leaves(&self, pieces: PieceRun) -> bool {
        let have = self.download.picker.have();
        self.is_active() && !self.cannot_read() && pieces.iter().all(|piece| have.has(piece))
    }

    fn has_room_for_leaves(&mut self, slot: PeerSlot) -> bool {
        let of_peer =
            self.peers.get(slot).map_or(0, |peer| peer.upload.hash_uploads.leaves_waiting);
        of_peer < WAITING_OF_PEER && self.leaf_uploads.make().waiting.len() < WAITING
    }

    /// Whether the pieces may be read now for a request.
    fn allow_leaves(&mut self, now: Instant, request: &Request) -> bool {
        let Request { of, pieces, request: HashRequest { range, .. }, .. } = *request;
        let Some(content) = &self.content else { return false };
        let uploads = self.leaf_uploads.make();
        // Of pieces that are read anyway it costs next to nothing.
        let is_shared = |other: &Request| other.is_allowed && other.pieces == pieces;
        let bytes = match uploads.waiting.iter().any(is_shared) {
            true => u64::from(range.length) * u64::from(BLOCK_LEN),
            false => {
                let len = |piece| u64::from(content.geometry().data_len_of(piece));
                pieces.iter().map(len).sum()
            }
        };
        let longest = u64::from(content.geometry().piece_len());
        let Some(peer) = self.peers.get_mut(of) else { return false };
        let a_minute = |rate: u64| rate.saturating_mul(60);
        let for_peer =
            READ_FOR_PEER.max(2 * longest).saturating_add(a_minute(peer.upload.up.rate(now)));
        let up = self.traffic.up_rate(now);
        let for_all = READ_FOR_ALL.max(4 * longest).saturating_add(a_minute(up));
        peer.upload.hash_uploads.read_leaves(now, bytes, for_peer)
            && uploads.allowance.take(now, bytes, for_all)
    }

    /// When requests that may not be read for are tried again.
    pub(super) fn leaves_due_at(&self) -> Option<Instant> {
        self.leaf_uploads.get().and_then(|uploads| uploads.retry_at)
    }

    /// Tries them again.
    pub(super) fn retry_leaves(&mut self, session: &mut Session) {
        let now = session.now;
        let waiting = std::mem::take(&mut self.leaf_uploads.make().waiting);
        for request in waiting {
            let is_allowed = request.is_allowed || self.allow_leaves(now, &request);
            self.leaf_uploads.make().waiting.push_back(Request { is_allowed, ..request });
        }
        let uploads = self.leaf_uploads.make();
        let is_left = uploads.waiting.iter().any(|request| !request.is_allowed);
        uploads.retry_at = is_left.then_some(now + RETRY);
        // The budget may be full of what a peer does not take.
        self.begin_leaves(session, false);
    }

    /// Begins with the next pieces, as soon as the read-ahead budget has room, or a while later.
    pub(super) fn read_next_leaves(&mut self, session: &mut Session) {
        self.begin_leaves(session, true);
    }

    fn begin_leaves(&mut self, session: &mut Session, minds_budget: bool) {
        while let uploads = self.leaf_uploads.make()
            && uploads.reading.is_none()
            && let Some(next) = uploads.waiting.iter().find(|request| request.is_allowed)
        {
            let (pieces, of) = (next.pieces, next.of);
            if minds_budget && !session.may_read_ahead() {
                uploads.retry_at.get_or_insert(session.now + RETRY);
                return self.wait_to_read(session, of);
            }
            match self.piece_root(pieces.first).filter(|_| self.may_read_leaves(pieces)) {
                Some(root) => {
                    let (trees, leaves) = (Vec::new(), Vec::new());
                    let reading = Reading { pieces, trees, root, leaves };
                    self.leaf_uploads.make().reading = Some(reading);
                    self.read_more_leaves(session);
                }
                None => self.answer_leaves(session, pieces, &[]),
            }
        }
    }

    /// Reads the next part.
    fn read_more_leaves(&mut self, session: &mut Session) {
        let uploads = self.leaf_uploads.get();
        let reading = uploads.and_then(|uploads| uploads.reading.as_ref());
        let Some(part) = reading.and_then(Reading::next_part) else { return };
        let Some(content) = &self.content else { return };
        let spans = content.layout.spans(part);
        let read = DiskRequest::Read { store: self.store, spans };
        session.read_ahead += part.length as usize;
        self.disk(session, TorrentOp::ReadLeaves(part.length), read);
    }

    /// A part of a piece was read for its leaf hashes.
    pub(super) fn leaves_read(
        &mut self,
        session: &mut Session,
        length: u32,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        session.read_ahead -= length as usize;
        let uploads = self.leaf_uploads.make();
        let Some(mut reading) = uploads.reading.take() else { return };
        let pieces = reading.pieces;
        let is_right = matches!(result, Ok(DiskDone::Read(data)) if reading.take(&data));
        // Those who asked may be gone.
        let is_wanted = uploads.waiting.iter().any(|request| request.pieces == pieces);
        let may_go_on = is_right && is_wanted && self.may_read_leaves(pieces);
        if let Some(root) = reading.piece().and_then(|piece| self.piece_root(piece)) {
            reading.root = root;
        }
        if may_go_on && !reading.is_complete() {
            self.leaf_uploads.make().reading = Some(reading);
            return self.read_more_leaves(session);
        }
        let is_whole = is_right && reading.is_complete();
        self.answer_leaves(session, pieces, if is_whole { &reading.trees } else { &[] });
        self.read_next_leaves(session);
    }

    /// Answers all requests for leaf hashes of these pieces.
    fn answer_leaves(&mut self, session: &mut Session, pieces: PieceRun, trees: &[HashTree]) {
        let uploads = self.leaf_uploads.make();
        let all = std::mem::take(&mut uploads.waiting);
        let (answered, rest): (VecDeque<_>, _) =
            all.into_iter().partition(|request| request.pieces == pieces);
        uploads.waiting = rest;
        for Request { of, request, is_owed, .. } in answered {
            let hashes = self.leaf_answer(session, pieces, trees, &request);
            if hashes.is_none() && is_owed && !trees.is_empty() {
                // The layers above may not be computed so often.
                let uploads = self.leaf_uploads.make();
                uploads.waiting.push_back(Request {
                    of,
                    pieces,
                    request,
                    is_owed,
                    is_allowed: false,
                });
                uploads.retry_at.get_or_insert(session.now + RETRY);
                continue;
            }
            let Some(peer) = self.peers.get_mut(of).filter(|peer| peer.is_open()) else { continue };
            peer.upload.hash_uploads.leaves_waiting -= 1;
            peer.send(match hashes {
                Some(hashes) => Message::Hashes { request, hashes },
                None => Message::HashReject(request),
            });
            self.flush_outbox(session, of);
        }
    }

    /// A run and its uncles, as far as they lie in the pieces from the pieces' own trees.
    fn leaf_answer(
        &mut self,
        session: &Session,
        pieces: PieceRun,
        trees: &[HashTree],
        request: &HashRequest,
    ) -> Option<Bytes> {
        let HashRequest { root, range } = request;
        let top = trees.first()?.shape().height();
        let within = |Node { layer, index }: Node| {
            let up = top - layer;
            let number = (index >> up).checked_sub(pieces.number.into())?;
            match trees.get(usize::try_from(number).ok()?) {
                Some(tree) => tree.node(Node { layer, index: index - (index >> up << up) }),
                // Nothing of the file is there.
                None => Some(filling(layer)),
            }
        };
        let run = (0..range.length).map(|at| Node { layer: 0, index: u64::from(range.index + at) });
        let (below, above): (Vec<Node>, Vec<Node>) = range.uncles().partition(|u| u.layer < top);
        let mut hashes: Vec<Sha256Hash> = run.chain(below).map(within).collect::<Option<_>>()?;
        if !above.is_empty() {
            let metainfo = &self.content.as_ref()?.metainfo;
            hashes.extend(self.hash_trees.make().nodes(session.now, metainfo, root, &above)?);
        }
        Some(hashes.into_flattened().into())
    }

    /// A peer leaves.
    pub(super) fn leaf_reader_gone(&mut self, slot: PeerSlot) {
        if let Some(uploads) = self.leaf_uploads.get_mut() {
            uploads.waiting.retain(|request| request.of != slot);
        }
    }
}

impl PieceRun {
    fn iter(self) -> impl Iterator<Item = PieceIndex> {
        let PieceIndex(first) = self.first;
        (first..first.saturating_add(self.count)).map(PieceIndex)
    }

    /// Whether a block lies in a run of leaf hashes of these pieces.
    pub(super) fn has_leaf_of(self, block: Block, range: &HashRange, piece_len: u32) -> bool {
        let Some(at) = block.piece.0.checked_sub(self.first.0) else { return false };
        let piece = u64::from(self.number) + u64::from(at);
        let leaf = (piece * u64::from(piece_len) + u64::from(block.begin)) / u64::from(BLOCK_LEN);
        let first = u64::from(range.index);
        (first..first + u64::from(range.length)).contains(&leaf)
    }
}

impl Reading {
    /// The piece that is being read; `None` if all are.
    fn piece(&self) -> Option<PieceIndex> {
        self.pieces.iter().nth(self.trees.len())
    }

    fn is_complete(&self) -> bool {
        self.piece().is_none()
    }

    /// Bytes of the piece that are hashed.
    fn done(&self) -> u32 {
        let bytes = self.leaves.len() as u64 * u64::from(BLOCK_LEN);
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.root.length)
    }

    fn next_part(&self) -> Option<Block> {
        let begin = self.done();
        let length = (self.root.length - begin).min(READ_LEN);
        Some(Block { piece: self.piece()?, begin, length })
    }

    /// Takes the part that was read; false if it is not what it should be.
    fn take(&mut self, data: &[u8]) -> bool {
        if self.next_part().is_none_or(|part| data.len() != part.length as usize) {
            return false;
        }
        self.leaves.extend(data.chunks(BLOCK_LEN as usize).map(leaf));
        if self.done() < self.root.length {
            return true;
        }
        let leaves = std::mem::take(&mut self.leaves).into_flattened();
        let shape = TreeShape::below(self.root.layer, self.root.length);
        let tree = shape.and_then(|shape| HashTree::new(shape, 0, leaves.into()));
        let tree = tree.filter(|tree| tree.root() == Some(self.root.hash));
        let is_right = tree.is_some();
        self.trees.extend(tree);
        is_right
    }
}
