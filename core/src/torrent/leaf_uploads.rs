//! Peers ask for leaf hashes (BEP 52): those of single blocks, of a piece that we have.
//!
//! We do not keep them: the piece is read, in parts of [`READ_LEN`] bytes, one piece of a torrent at a
//! time, and hashed here; then all requests for it are answered, with hashes from the piece and, where
//! more proof is asked for, from the layers above ([`HashTrees`](super::hash_trees)). What is on disk is
//! compared with the piece's hash first, so that no answer is wrong.
//!
//! A run is given that lies within one piece, whatever its length; all else is rejected. How much is
//! read in a minute is bounded, for each peer and in all, and so is how many requests wait. That bounds
//! the answers, too, to some KiB a second: no other limit holds them up.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::disk::{DiskDone, DiskError, DiskRequest};
use crate::merkle::{HashRange, HashTree, Node, TreeShape, leaf};
use crate::peer::PeerSlot;
use crate::piece::{BLOCK_LEN, Block, PieceIndex, Sha256Hash};
use crate::piece_hash::PieceRoot;
use crate::rate::Allowance;
use crate::session::Session;
use crate::session::op::TorrentOp;
use crate::torrent::Torrent;
use crate::wire::{HashRequest, Message};

/// Bytes that are read at once (chosen: they are hashed here and now).
const READ_LEN: u32 = 1024 * 1024;
/// Bytes that are read for one peer in a minute (chosen), and for all; of long pieces, two and four.
const READ_FOR_PEER: u64 = 64 * 1024 * 1024;
const READ_FOR_ALL: u64 = 256 * 1024 * 1024;
/// Requests of one peer that wait (chosen: those of the longest piece), and of all.
const WAITING_OF_PEER: usize = 32;
const WAITING: usize = 128;

/// Requests for leaf hashes, and the piece that is read for them.
#[derive(Debug, Default)]
pub(super) struct LeafUploads {
    waiting: VecDeque<Request>,
    reading: Option<Reading>,
    allowance: Allowance,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    of: PeerSlot,
    piece: PieceIndex,
    request: HashRequest,
}

/// A piece of which a part is read.
#[derive(Debug)]
struct Reading {
    piece: PieceIndex,
    root: PieceRoot,
    leaves: Vec<Sha256Hash>,
}

impl Torrent {
    /// A peer asks for leaf hashes; whether they are read for it.
    pub(super) fn leaves_requested(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        request: &HashRequest,
    ) -> bool {
        let Some((piece, root)) = self.piece_of_leaves(request) else { return false };
        if !self.may_read_leaves(piece) || !self.leaf_uploads.make().has_room_for(slot) {
            return false;
        }
        // Of a piece that is read anyway it costs next to nothing.
        let bytes = match self.leaf_uploads.make().waiting.iter().any(|other| other.piece == piece)
        {
            true => u64::from(request.range.length) * u64::from(BLOCK_LEN),
            false => root.length.into(),
        };
        let (now, longest) = (session.now, u64::from(self.geometry.piece_len()));
        let Some(peer) = self.peers.get_mut(slot) else { return false };
        if !peer.hash_uploads.read_leaves(now, bytes, READ_FOR_PEER.max(2 * longest))
            || !self.leaf_uploads.make().allowance.take(now, bytes, READ_FOR_ALL.max(4 * longest))
        {
            return false;
        }
        self.leaf_uploads.make().waiting.push_back(Request { of: slot, piece, request: *request });
        self.read_next_leaves(session);
        true
    }

    fn may_read_leaves(&self, piece: PieceIndex) -> bool {
        self.is_active() && !self.cannot_read() && self.picker.have().has(piece)
    }

    /// The piece in which a run of leaf hashes lies, if it lies in one.
    fn piece_of_leaves(&mut self, request: &HashRequest) -> Option<(PieceIndex, PieceRoot)> {
        let HashRange { base_layer, index, length, .. } = request.range;
        let metainfo = self.metainfo.as_deref()?;
        let file = self.hash_trees.make().file_with(metainfo, &request.root)?;
        let shape = metainfo.tree_shape(file)?;
        let width = 1_u32.checked_shl(shape.top_of_piece())?;
        let number = index / width;
        if base_layer != 0
            || length > width
            || number >= shape.pieces()
            || !request.range.is_allowed(&shape)
        {
            return None;
        }
        let first = metainfo.files().get(file)?.offset() / u64::from(self.geometry.piece_len());
        let piece = PieceIndex(u32::try_from(first).ok()?.checked_add(number)?);
        Some((piece, self.piece_root(piece)?))
    }

    /// Begins with the next piece.
    fn read_next_leaves(&mut self, session: &mut Session) {
        while let uploads = self.leaf_uploads.make()
            && uploads.reading.is_none()
            && let Some(Request { piece, .. }) = uploads.waiting.front().copied()
        {
            match self.piece_root(piece).filter(|_| self.may_read_leaves(piece)) {
                Some(root) => {
                    let reading = Reading { piece, root, leaves: Vec::new() };
                    self.leaf_uploads.make().reading = Some(reading);
                    self.read_more_leaves(session);
                }
                None => self.answer_leaves(session, piece, None),
            }
        }
    }

    /// Reads the next part.
    fn read_more_leaves(&mut self, session: &mut Session) {
        let uploads = self.leaf_uploads.get();
        let Some(reading) = uploads.and_then(|uploads| uploads.reading.as_ref()) else { return };
        let spans = self.layout.spans(reading.next_part());
        let read = DiskRequest::Read { store: self.store, spans };
        self.disk(session, TorrentOp::ReadLeaves, read);
    }

    /// A part of a piece was read for its leaf hashes.
    pub(super) fn leaves_read(
        &mut self,
        session: &mut Session,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        let uploads = self.leaf_uploads.make();
        let Some(mut reading) = uploads.reading.take() else { return };
        let piece = reading.piece;
        let is_right = match result {
            Ok(DiskDone::Read(data)) => reading.take(&data),
            _ => false,
        };
        // Those who asked may be gone.
        let is_wanted = uploads.waiting.iter().any(|waiting| waiting.piece == piece);
        if is_right && is_wanted && self.may_read_leaves(piece) && !reading.is_complete() {
            self.leaf_uploads.make().reading = Some(reading);
            return self.read_more_leaves(session);
        }
        let tree = if is_right { reading.tree() } else { None };
        self.answer_leaves(session, piece, tree.as_ref());
        self.read_next_leaves(session);
    }

    /// Answers all requests for leaf hashes of a piece.
    fn answer_leaves(&mut self, session: &mut Session, piece: PieceIndex, tree: Option<&HashTree>) {
        let uploads = self.leaf_uploads.make();
        let all = std::mem::take(&mut uploads.waiting);
        let of_piece = |waiting: &Request| waiting.piece == piece;
        let (answered, rest): (VecDeque<_>, _) = all.into_iter().partition(of_piece);
        uploads.waiting = rest;
        for Request { of, request, .. } in answered {
            let hashes = tree.and_then(|tree| self.leaf_answer(session, tree, &request));
            let Some(peer) = self.peers.get_mut(of).filter(|peer| peer.is_open()) else { continue };
            peer.send(match hashes {
                Some(hashes) => Message::Hashes { request, hashes },
                None => Message::HashReject(request),
            });
            self.flush_outbox(session, of);
        }
    }

    /// A run and its uncles, as far as they lie in the piece from the piece's own tree.
    fn leaf_answer(
        &mut self,
        session: &Session,
        tree: &HashTree,
        request: &HashRequest,
    ) -> Option<Bytes> {
        let HashRequest { root, range } = request;
        let top = tree.shape().height();
        let first = u64::from(range.index) >> top << top;
        let within = |node: Node| {
            let index = node.index.checked_sub(first >> node.layer)?;
            tree.node(Node { index, ..node })
        };
        let run = (0..range.length).map(|at| Node { layer: 0, index: u64::from(range.index + at) });
        let (below, above): (Vec<Node>, Vec<Node>) = range.uncles().partition(|u| u.layer < top);
        let mut hashes: Vec<Sha256Hash> = run.chain(below).map(within).collect::<Option<_>>()?;
        if !above.is_empty() {
            let metainfo = self.metainfo.as_deref()?;
            hashes.extend(self.hash_trees.make().nodes(session.now, metainfo, root, &above)?);
        }
        Some(hashes.into_flattened().into())
    }

    /// A peer leaves.
    pub(super) fn leaf_reader_gone(&mut self, slot: PeerSlot) {
        if let Some(uploads) = self.leaf_uploads.get_mut() {
            uploads.waiting.retain(|waiting| waiting.of != slot);
        }
    }
}

impl LeafUploads {
    fn has_room_for(&self, slot: PeerSlot) -> bool {
        let of_peer = self.waiting.iter().filter(|waiting| waiting.of == slot).count();
        self.waiting.len() < WAITING && of_peer < WAITING_OF_PEER
    }
}

impl Reading {
    /// Bytes that are hashed.
    fn done(&self) -> u32 {
        let bytes = self.leaves.len() as u64 * u64::from(BLOCK_LEN);
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.root.length)
    }

    fn is_complete(&self) -> bool {
        self.done() == self.root.length
    }

    fn next_part(&self) -> Block {
        let begin = self.done();
        Block { piece: self.piece, begin, length: (self.root.length - begin).min(READ_LEN) }
    }

    /// Takes the part that was read; false if it is not all of it.
    fn take(&mut self, data: &[u8]) -> bool {
        let is_whole = data.len() == self.next_part().length as usize;
        self.leaves.extend(data.chunks(BLOCK_LEN as usize).map(leaf));
        is_whole
    }

    /// The tree of the piece; `None` if what was read is not what it should be.
    fn tree(self) -> Option<HashTree> {
        let shape = TreeShape::below(self.root.layer, self.root.length)?;
        let tree = HashTree::new(shape, 0, self.leaves.into_flattened().into())?;
        (tree.root()? == self.root.hash).then_some(tree)
    }
}
