//! Requests for leaf hashes (BEP 52): those of single blocks, of pieces that we have.
//!
//! We do not keep them: the pieces of a run are read, in parts of [`READ_LEN`] bytes, one run of a
//! torrent at a time, and hashed here; then all requests for these pieces are answered, with hashes
//! from them and, where more proof is asked for, from the layers above
//! ([`HashTrees`](super::HashTrees)). What is on disk is compared with the pieces' hashes first, so
//! that no answer is wrong. What is being read counts in the session's read-ahead budget, and waits for
//! it, but not for long.
//!
//! How much is read in a minute is bounded, for each peer and in all: as much as is uploaded and some
//! more. That bounds the answers, too: no other limit holds them up. What is beyond it is rejected, but
//! for requests that follow one for a block of their run: these wait ("MUST NOT reject").

use std::collections::VecDeque;

use crate::merkle::{HashRange, HashTree, TreeNode, TreeShape, filling, leaf};
use crate::metainfo::Metainfo;
use crate::peer::PeerSlot;
use crate::peer::hash_uploads::HashUploads;
use crate::piece::{BLOCK_LEN, Block, Geometry, PieceIndex, Sha256Hash};
use crate::piece_hash::PieceRoot;
use crate::rate::Allowance;
use crate::time::{Duration, Instant};
use crate::torrent::upload::HashTrees;
use crate::wire::HashRequest;

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
pub(in crate::torrent) struct LeafHashes {
    waiting: VecDeque<Request>,
    reading: Option<Reading>,
    allowance: Allowance,
    /// When what may not be read yet is tried again.
    retry_at: Option<Instant>,
}

/// A peer's request.
#[derive(Clone, Copy, Debug)]
pub(in crate::torrent) struct Request {
    pub(in crate::torrent) of: PeerSlot,
    pub(in crate::torrent) pieces: PieceRun,
    pub(in crate::torrent) request: HashRequest,
    /// Whether it must not be rejected.
    pub(in crate::torrent) is_owed: bool,
    /// Whether the pieces may be read for it.
    is_allowed: bool,
}

/// Pieces of one file, in which a run of leaf hashes lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::torrent) struct PieceRun {
    first: PieceIndex,
    count: u32,
    /// The place of the first among the pieces of its file.
    number: u32,
}

/// What is uploaded, in bytes per second: so much more may be read.
#[derive(Clone, Copy, Debug)]
pub(in crate::torrent) struct ReadBudget {
    pub(in crate::torrent) to_peer: u64,
    pub(in crate::torrent) to_all: u64,
}

/// A run of pieces, part of which is read.
#[derive(Debug)]
pub(in crate::torrent) struct Reading {
    pieces: PieceRun,
    /// Of those that are read.
    trees: Vec<HashTree>,
    /// Of the one that is being read, with its leaves so far.
    root: PieceRoot,
    leaves: Vec<Sha256Hash>,
}

impl Request {
    /// A request for leaf hashes that lie in these pieces.
    pub(in crate::torrent) fn new(
        of: PeerSlot,
        pieces: PieceRun,
        request: HashRequest,
        is_owed: bool,
    ) -> Self {
        Request { of, pieces, request, is_owed, is_allowed: false }
    }
}

impl LeafHashes {
    /// A peer asks for leaf hashes; whether it will get them. What is owed to it, it gets later if not
    /// now. `allows` is asked last, and takes so much of what is for the peer's address.
    pub(in crate::torrent) fn admit(
        &mut self,
        now: Instant,
        request: Request,
        uploads: &mut HashUploads,
        geometry: &Geometry,
        budget: ReadBudget,
        allows: impl FnOnce() -> bool,
    ) -> bool {
        let has_room = uploads.leaves_waiting < WAITING_OF_PEER && self.waiting.len() < WAITING;
        if !(request.is_owed || has_room) {
            return false;
        }
        let is_allowed = self.allows(now, &request, uploads, geometry, budget, allows);
        if !is_allowed && !request.is_owed {
            return false;
        }
        uploads.leaves_waiting += 1;
        self.waiting.push_back(Request { is_allowed, ..request });
        if !is_allowed {
            self.wait(now);
        }
        true
    }

    /// Whether the pieces may be read now for a request.
    fn allows(
        &mut self,
        now: Instant,
        request: &Request,
        uploads: &mut HashUploads,
        geometry: &Geometry,
        budget: ReadBudget,
        allows: impl FnOnce() -> bool,
    ) -> bool {
        let pieces = request.pieces;
        // Of pieces that are read anyway it costs next to nothing.
        let is_shared = |other: &Request| other.is_allowed && other.pieces == pieces;
        let bytes = match self.waiting.iter().any(is_shared) {
            true => u64::from(request.request.range.length) * u64::from(BLOCK_LEN),
            false => pieces.iter().map(|piece| u64::from(geometry.data_len_of(piece))).sum(),
        };
        let longest = u64::from(geometry.piece_len());
        let a_minute = |rate: u64| rate.saturating_mul(60);
        let for_peer = READ_FOR_PEER.max(2 * longest).saturating_add(a_minute(budget.to_peer));
        let for_all = READ_FOR_ALL.max(4 * longest).saturating_add(a_minute(budget.to_all));
        // Nothing is taken of any allowance unless there is enough of each.
        let is_enough = uploads.may_read_leaves(now, bytes, for_peer)
            && self.allowance.allows(now, bytes, for_all)
            && allows();
        is_enough
            && uploads.read_leaves(now, bytes, for_peer)
            && self.allowance.take(now, bytes, for_all)
    }

    /// When requests that may not be read for are tried again.
    pub(in crate::torrent) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Takes out all requests, to [try](Self::try_again) each again.
    pub(in crate::torrent) fn take_waiting(&mut self) -> VecDeque<Request> {
        std::mem::take(&mut self.waiting)
    }

    /// Puts a request back, and tries again whether the pieces may be read for it, if its peer is there.
    pub(in crate::torrent) fn try_again(
        &mut self,
        now: Instant,
        request: Request,
        geometry: &Geometry,
        peer: Option<(&mut HashUploads, ReadBudget)>,
    ) {
        let is_allowed = request.is_allowed
            || peer.is_some_and(|(uploads, budget)| {
                self.allows(now, &request, uploads, geometry, budget, || true)
            });
        self.waiting.push_back(Request { is_allowed, ..request });
    }

    /// All were tried again: those that may still not be read for wait once more.
    pub(in crate::torrent) fn tried(&mut self, now: Instant) {
        let is_left = self.waiting.iter().any(|request| !request.is_allowed);
        self.retry_at = is_left.then_some(now + RETRY);
    }

    /// Something may not be read yet: tries again later.
    pub(in crate::torrent) fn wait(&mut self, now: Instant) {
        self.retry_at.get_or_insert(now + RETRY);
    }

    /// The pieces to read next, if none are read, and a peer that waits for them.
    pub(in crate::torrent) fn next(&self) -> Option<(PieceRun, PeerSlot)> {
        let mut waiting = self.waiting.iter().filter(|_| self.reading.is_none());
        waiting.find(|request| request.is_allowed).map(|request| (request.pieces, request.of))
    }

    /// Begins to read pieces, the first of which must hash to `root`.
    pub(in crate::torrent) fn begin(&mut self, pieces: PieceRun, root: PieceRoot) {
        let (trees, leaves) = (Vec::new(), Vec::new());
        self.reading = Some(Reading { pieces, trees, root, leaves });
    }

    /// What to read now.
    pub(in crate::torrent) fn next_part(&self) -> Option<Block> {
        self.reading.as_ref().and_then(Reading::next_part)
    }

    /// The pieces of which a part was read.
    pub(in crate::torrent) fn take_reading(&mut self) -> Option<Reading> {
        self.reading.take()
    }

    /// Goes on reading.
    pub(in crate::torrent) fn go_on(&mut self, reading: Reading) {
        self.reading = Some(reading);
    }

    /// Whether any request is for these pieces: the peers that asked may be gone.
    pub(in crate::torrent) fn is_wanted(&self, pieces: PieceRun) -> bool {
        self.waiting.iter().any(|request| request.pieces == pieces)
    }

    /// Takes out all requests for these pieces, to answer them.
    pub(in crate::torrent) fn take_for(&mut self, pieces: PieceRun) -> VecDeque<Request> {
        let all = std::mem::take(&mut self.waiting);
        let (taken, rest): (VecDeque<_>, _) =
            all.into_iter().partition(|request| request.pieces == pieces);
        self.waiting = rest;
        taken
    }

    /// A request that is owed cannot be answered yet.
    pub(in crate::torrent) fn postpone(&mut self, now: Instant, request: Request) {
        self.waiting.push_back(Request { is_allowed: false, ..request });
        self.wait(now);
    }

    /// A peer is gone.
    pub(in crate::torrent) fn peer_gone(&mut self, peer: PeerSlot) {
        self.waiting.retain(|request| request.of != peer);
    }
}

/// A run and its uncles, as far as they lie in the pieces from the pieces' own trees, and the others
/// from the layers above.
pub(in crate::torrent) fn answer(
    now: Instant,
    metainfo: Option<&Metainfo>,
    layers: &mut HashTrees,
    (pieces, trees): (PieceRun, &[HashTree]),
    request: &HashRequest,
) -> Option<Vec<u8>> {
    let HashRequest { root, range } = request;
    let top = trees.first()?.shape().height();
    let within = |TreeNode { layer, index }: TreeNode| {
        let up = top - layer;
        let number = (index >> up).checked_sub(pieces.number.into())?;
        match trees.get(usize::try_from(number).ok()?) {
            Some(tree) => tree.node(TreeNode { layer, index: index - (index >> up << up) }),
            // Nothing of the file is there.
            None => Some(filling(layer)),
        }
    };
    let run = (0..range.length).map(|at| TreeNode { layer: 0, index: u64::from(range.index + at) });
    let (below, above): (Vec<TreeNode>, Vec<TreeNode>) =
        range.uncles().partition(|u| u.layer < top);
    let mut hashes: Vec<Sha256Hash> = run.chain(below).map(within).collect::<Option<_>>()?;
    if !above.is_empty() {
        hashes.extend(layers.nodes(now, metainfo?, root, &above)?);
    }
    Some(hashes.into_flattened())
}

/// The pieces in which a run of leaf hashes lies, if there is such a run.
pub(in crate::torrent) fn pieces_of(
    metainfo: &Metainfo,
    trees: &mut HashTrees,
    request: &HashRequest,
) -> Option<PieceRun> {
    let HashRange { base_layer: 0, index, length, .. } = request.range else { return None };
    let file = trees.file_with(metainfo, &request.root)?;
    let shape = metainfo.tree_shape(file)?;
    if !request.range.is_allowed(&shape) {
        return None;
    }
    let width = 1_u32.checked_shl(shape.top_of_piece())?;
    let number = index / width;
    // Beyond the last piece there is only filling.
    let count = shape.pieces().checked_sub(number)?.min(length.div_ceil(width));
    let piece_len = u64::from(metainfo.geometry().piece_len());
    let first = metainfo.files().get(file)?.offset() / piece_len;
    let first = PieceIndex(u32::try_from(first).ok()?.checked_add(number)?);
    (count > 0).then_some(PieceRun { first, count, number })
}

impl PieceRun {
    pub(in crate::torrent) fn iter(self) -> impl Iterator<Item = PieceIndex> {
        let PieceIndex(first) = self.first;
        (first..first.saturating_add(self.count)).map(PieceIndex)
    }

    /// Whether a block lies in a run of leaf hashes of these pieces.
    pub(in crate::torrent) fn has_leaf_of(
        self,
        block: Block,
        range: &HashRange,
        piece_len: u32,
    ) -> bool {
        let Some(at) = block.piece.0.checked_sub(self.first.0) else { return false };
        let piece = u64::from(self.number) + u64::from(at);
        let leaf = (piece * u64::from(piece_len) + u64::from(block.begin)) / u64::from(BLOCK_LEN);
        let first = u64::from(range.index);
        (first..first + u64::from(range.length)).contains(&leaf)
    }
}

impl Reading {
    /// The pieces that are read.
    pub(in crate::torrent) fn pieces(&self) -> PieceRun {
        self.pieces
    }

    /// Of the pieces that were read, all of them right.
    pub(in crate::torrent) fn trees(&self) -> &[HashTree] {
        &self.trees
    }

    /// What the piece that is being read must hash to.
    pub(in crate::torrent) fn expect(&mut self, root: PieceRoot) {
        self.root = root;
    }

    /// The piece that is being read; `None` if all are.
    pub(in crate::torrent) fn piece(&self) -> Option<PieceIndex> {
        self.pieces.iter().nth(self.trees.len())
    }

    pub(in crate::torrent) fn is_complete(&self) -> bool {
        self.piece().is_none()
    }

    /// Bytes of the piece that are hashed.
    fn done(&self) -> u32 {
        let bytes = self.leaves.len() as u64 * u64::from(BLOCK_LEN);
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.root.length)
    }

    pub(in crate::torrent) fn next_part(&self) -> Option<Block> {
        let begin = self.done();
        let length = (self.root.length - begin).min(READ_LEN);
        Some(Block { piece: self.piece()?, begin, length })
    }

    /// Takes the part that was read; false if it is not what it should be.
    pub(in crate::torrent) fn take(&mut self, data: &[u8]) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;

    const NOW: Instant = Instant::from_secs(100);
    const NO_UPLOAD: ReadBudget = ReadBudget { to_peer: 0, to_all: 0 };

    fn geometry() -> Geometry {
        Geometry::new(1 << 33, 1 << 24).expect("within limits")
    }

    fn request(peer: u32, piece: u32, is_owed: bool) -> Request {
        let pieces = PieceRun { first: PieceIndex(piece), count: 1, number: piece };
        let range = HashRange { base_layer: 0, index: 0, length: 2, proof_layers: 0 };
        let request = HashRequest { root: [1; 32], range };
        Request::new(PeerSlot::new(peer, 0), pieces, request, is_owed)
    }

    fn admit(leaves: &mut LeafHashes, uploads: &mut HashUploads, request: Request) -> bool {
        leaves.admit(NOW, request, uploads, &geometry(), NO_UPLOAD, || true)
    }

    #[test]
    fn beyond_what_may_be_read_requests_are_rejected_unless_they_are_owed() {
        let (mut leaves, mut uploads) = (LeafHashes::default(), HashUploads::default());
        let admitted = (0..10).filter(|n| admit(&mut leaves, &mut uploads, request(0, *n, false)));
        assert_eq!(admitted.count(), 4, "64 MiB in pieces of 16");
        assert_eq!(leaves.retry_at(), None);
        assert!(admit(&mut leaves, &mut uploads, request(0, 10, true)), "it waits");
        assert_eq!(leaves.retry_at(), Some(NOW + RETRY));
        assert!(admit(&mut leaves, &mut HashUploads::default(), request(1, 11, false)));
        assert_eq!(uploads.leaves_waiting, 5);
    }

    #[test]
    fn requests_for_pieces_that_are_read_anyway_are_answered_together() {
        let (mut leaves, mut uploads) = (LeafHashes::default(), HashUploads::default());
        for peer in [0, 1] {
            assert!(admit(&mut leaves, &mut uploads, request(peer, 3, false)));
        }
        assert!(admit(&mut leaves, &mut uploads, request(0, 4, false)));
        let (pieces, of) = leaves.next().expect("allowed");
        assert_eq!((pieces.first, of), (PieceIndex(3), PeerSlot::new(0, 0)));
        leaves.begin(pieces, PieceRoot { hash: [0; 32], layer: 10, length: 1 << 24 });
        assert!(leaves.next().is_none(), "one run at a time");
        assert_eq!(leaves.next_part().map(|part| part.length), Some(READ_LEN));
        assert_eq!(leaves.take_for(pieces).len(), 2);
        assert!(!leaves.is_wanted(pieces));
    }

    #[test]
    fn what_waits_is_tried_again_and_forgotten_with_its_peer() {
        let (mut leaves, mut uploads) = (LeafHashes::default(), HashUploads::default());
        let most = (0..5).map(|n| request(0, n, true));
        most.for_each(|request| assert!(admit(&mut leaves, &mut uploads, request)));
        let later = NOW + Duration::from_secs(60);
        for request in leaves.take_waiting() {
            leaves.try_again(later, request, &geometry(), Some((&mut uploads, NO_UPLOAD)));
        }
        leaves.tried(later);
        assert_eq!(leaves.retry_at(), None, "a minute later there is room");
        leaves.peer_gone(PeerSlot::new(0, 0));
        assert!(leaves.next().is_none());
    }
}
