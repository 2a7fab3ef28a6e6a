//! Which block to request next, of one torrent.
//!
//! A pure data structure: it is told what each peer has, what is wanted and what became of each
//! request, and answers with blocks. It knows no time, no connection and no content.
//!
//! A piece is had, unwanted, *held* (wanted, but not to be begun: it is not known what it must hash
//! to), *open* (wanted and not begun) or *in progress*. Invariants: open
//! pieces and only those are in `buckets`; pieces in progress and only those are in `partial`,
//! where each block is open, requested or received; a block is requested of two peers only in the
//! end game; no block is requested of a peer that lacks its piece. A piece of padding alone is never
//! begun: the caller verifies it and marks it as had.
//!
//! Which piece a peer gets next is decided in `choose`. Identity of peers is the caller's: a
//! [`PeerKey`] may be used again once all its requests were released and [`Picker::peer_gone`] was
//! called.
//!
//! ```
//! use bitswarm_core::bitfield::Bitfield;
//! use bitswarm_core::picker::{PeerKey, PickHints, Picker, Received};
//! use bitswarm_core::piece::Geometry;
//! use bitswarm_core::random::PolicyRng;
//!
//! let geometry = Geometry::new(100_000, 32_768).expect("4 pieces");
//! let mut picker = Picker::new(geometry, PolicyRng::from_seed([0; 32]));
//! let (peer, has) = (PeerKey(0), Bitfield::full(4));
//! picker.add_seed();
//!
//! let mut requests = Vec::new();
//! picker.pick(peer, &has, 100, PickHints::default(), &mut requests);
//! assert_eq!(requests.len(), 7);
//! for block in requests {
//!     if let Received::Accepted { piece_complete: true, .. } = picker.received(peer, block) {
//!         // Here the piece is hashed and written.
//!         picker.piece_passed(block.piece);
//!     }
//! }
//! assert!(picker.is_finished());
//! ```

mod buckets;
mod choose;
mod lacking;
mod only_at_seeds;
mod partial;
mod peer;
#[cfg(test)]
mod tests;

use smallvec::SmallVec;

use self::buckets::{Buckets, LANES};
use self::partial::Partials;
use crate::bitfield::Bitfield;
use crate::piece::{Block, Geometry, PieceIndex};
use crate::priority::{FilePriority, PieceOrder};
use crate::random::PolicyRng;

pub use peer::{MAX_REQUESTERS, Pace, PeerKey};

/// What the picker is told of one peer, for one choice.
#[derive(Clone, Copy, Debug, Default)]
pub struct PickHints<'a> {
    /// How fast it is.
    pub pace: Pace,
    /// If it chokes us, the pieces it sends all the same (BEP 6, "allowed fast"): only these.
    pub allowed: Option<&'a [PieceIndex]>,
    /// Pieces that it would like to send (BEP 6, "suggest piece"): new ones come from these first.
    pub suggested: &'a [PieceIndex],
}

/// What came of a block that a peer sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// It was missing: keep it.
    Accepted {
        /// It was the piece's last missing one. Check the piece, then call
        /// [`Picker::piece_passed`], [`Picker::piece_failed`] or [`Picker::blocks_failed`].
        piece_complete: bool,
        /// Others it was requested of: these requests are forgotten here; cancel them.
        also_requested_by: SmallVec<[PeerKey; 2]>,
    },
    /// It is here already: drop it.
    Duplicate,
    /// No block of the torrent, or its piece is neither wanted nor in progress: drop it.
    NotWanted,
}

/// Which blocks are missing, and whom to ask for them.
#[derive(Clone, Debug)]
pub struct Picker {
    geometry: Geometry,
    rng: PolicyRng,
    order: PieceOrder,
    have: Bitfield,
    /// Wanted and not had.
    missing: Bitfield,
    /// Missing, not in progress, not held and not padding alone.
    open: Bitfield,
    /// Not to be begun for now.
    held: Bitfield,
    /// Failed its check once: fetched from one peer at a time, so that a second failure tells who
    /// is to blame.
    failed: Bitfield,
    priority: Vec<FilePriority>,
    wanted: u32,
    buckets: Buckets,
    partials: Partials,
    /// Per peer.
    at_peers: Vec<AtPeer>,
    seeds: u32,
    peers: u32,
}

/// How things stand with a peer.
#[derive(Clone, Copy, Debug, Default)]
struct AtPeer {
    /// The piece that it goes on with.
    current: Option<PieceIndex>,
    /// Whether it rejects what it is asked for.
    refuses: bool,
}

impl Picker {
    /// Everything wanted, nothing had, no peers.
    pub fn new(geometry: Geometry, rng: PolicyRng) -> Self {
        let pieces = geometry.pieces();
        let mut buckets = Buckets::new(pieces);
        let mut open = Bitfield::full(pieces);
        for piece in geometry.padding_pieces() {
            open.clear(piece);
        }
        open.iter().for_each(|piece| buckets.insert(lane(FilePriority::Normal), piece));
        Picker {
            geometry,
            rng,
            order: PieceOrder::default(),
            have: Bitfield::new(pieces),
            missing: Bitfield::full(pieces),
            open,
            held: Bitfield::new(pieces),
            failed: Bitfield::new(pieces),
            priority: vec![FilePriority::Normal; pieces as usize],
            wanted: pieces,
            buckets,
            partials: Partials::new(pieces),
            at_peers: Vec::new(),
            seeds: 0,
            peers: 0,
        }
    }
}

/// What peers have. Every peer that is picked for must be counted here, once.
impl Picker {
    /// A peer that has these pieces joined. O(pieces it has).
    pub fn add_peer_bitfield(&mut self, has: &Bitfield) {
        self.peers += 1;
        if self.is_bulk(has) {
            self.buckets.raise_all(has);
        } else if !has.is_none() {
            has.iter().for_each(|piece| self.peer_has(piece));
        }
    }

    /// A peer that has these pieces left: as many as were counted for it. O(pieces it has).
    pub fn remove_peer_bitfield(&mut self, has: &Bitfield) {
        self.peers = self.peers.saturating_sub(1);
        if self.is_bulk(has) {
            self.buckets.lower_all(has);
        } else if !has.is_none() {
            has.iter().for_each(|piece| self.peer_lost(piece));
        }
    }

    /// Whether going through all open pieces is cheaper than through these (measured).
    fn is_bulk(&self, has: &Bitfield) -> bool {
        has.count() > self.open.count() / 4
    }

    /// A counted peer has one piece more. O(1).
    pub fn peer_has(&mut self, piece: PieceIndex) {
        if self.geometry.contains(piece) {
            self.buckets.raise(lane(self.priority(piece)), piece);
        }
    }

    /// A counted peer has one piece less (BEP 54, or it lied): [`Picker::peer_gone`] too. O(1).
    pub fn peer_lost(&mut self, piece: PieceIndex) {
        if self.geometry.contains(piece) {
            self.buckets.lower(lane(self.priority(piece)), piece);
        }
    }

    /// A peer that has everything joined. Cheaper than its bitfield: O(1).
    pub fn add_seed(&mut self) {
        self.seeds += 1;
    }

    /// A peer that was counted as a seed left, and has these: all, but for what was
    /// [lost](Picker::seed_lost). O(pieces / 64 + pieces lost).
    pub fn remove_seed(&mut self, has: &Bitfield) {
        self.seeds = self.seeds.saturating_sub(1);
        if self.buckets.seeds_lack_some() && !has.is_all() {
            has.iter_missing().for_each(|piece| self.seed_has(piece));
        }
    }

    /// A peer that is counted as a seed lost a piece (BEP 54): it is one that has all but some from
    /// now on. [`Picker::peer_gone`] too. O(log pieces lost).
    pub fn seed_lost(&mut self, piece: PieceIndex) {
        if self.geometry.contains(piece) {
            self.buckets.add_lacking(lane(self.priority(piece)), piece);
        }
    }

    /// A peer that is counted as a seed has a piece again that it had lost. O(log pieces lost).
    pub fn seed_has(&mut self, piece: PieceIndex) {
        if self.geometry.contains(piece) {
            self.buckets.remove_lacking(lane(self.priority(piece)), piece);
        }
    }

    /// A peer is gone, or chokes us: it goes on with no piece, and others may; whether it was at
    /// one. Its requests are [released](Picker::release) one by one, its pieces uncounted, by the
    /// caller.
    pub fn peer_gone(&mut self, peer: PeerKey) -> bool {
        if !self.failed.is_none() {
            self.partials.disown(peer);
        }
        let at_peer = self.at_peers.get_mut(peer.0 as usize);
        at_peer.and_then(|at_peer| at_peer.current.take()).is_some()
    }

    /// A peer rejects what it is asked for, again and again: until it sends a block others may have its
    /// place in the end game.
    pub fn peer_refuses(&mut self, peer: PeerKey) {
        self.at_peer(peer).refuses = true;
    }

    /// A peer has left: its key may be another's from now on.
    pub fn forget_peer(&mut self, peer: PeerKey) {
        if let Some(at_peer) = self.at_peers.get_mut(peer.0 as usize) {
            *at_peer = AtPeer::default();
        }
    }
}

/// What we want and have.
impl Picker {
    /// How much a piece is wanted. One in progress that is skipped asks for no further blocks, and
    /// is had nonetheless if it completes.
    pub fn set_priority(&mut self, piece: PieceIndex, priority: FilePriority) {
        if self.geometry.contains(piece) && self.priority(piece) != priority {
            self.unlist(piece);
            let old = std::mem::replace(&mut self.priority[piece.at()], priority);
            self.wanted -= u32::from(old != FilePriority::Skip);
            self.wanted += u32::from(priority != FilePriority::Skip);
            self.list(piece);
        }
    }

    /// A piece that is not in progress is not to be begun until [`Picker::let_go`].
    pub fn hold(&mut self, piece: PieceIndex) {
        if self.geometry.contains(piece) && self.partials.get(piece).is_none() {
            self.unlist(piece);
            self.held.set(piece);
            self.list(piece);
        }
    }

    /// A piece may be begun from now on.
    pub fn let_go(&mut self, piece: PieceIndex) {
        if self.held.clear(piece) {
            self.list(piece);
        }
    }

    /// Whether a piece is held.
    pub fn is_held(&self, piece: PieceIndex) -> bool {
        self.held.has(piece)
    }

    /// Whether a piece that is wanted is held. O(pieces / 64) while any is.
    pub(super) fn holds_something(&self) -> bool {
        let both = || self.held.words().iter().zip(self.missing.words());
        !self.held.is_none() && both().any(|(held, missing)| held & missing != 0)
    }

    /// In which order pieces are begun.
    pub fn set_order(&mut self, order: PieceOrder) {
        self.order = order;
    }

    /// A piece is verified and on disk. Requests for its blocks, if any, are forgotten here.
    pub fn mark_have(&mut self, piece: PieceIndex) {
        self.unlist(piece);
        self.partials.remove(piece);
        self.failed.clear(piece);
        self.have.set(piece);
    }

    /// A piece is no longer on disk.
    pub fn unmark_have(&mut self, piece: PieceIndex) {
        if self.have.clear(piece) {
            self.list(piece);
        }
    }

    /// Takes a piece out of the sets of what is to be fetched.
    fn unlist(&mut self, piece: PieceIndex) {
        self.missing.clear(piece);
        if self.open.clear(piece) {
            self.buckets.remove(lane(self.priority(piece)), piece);
        }
    }

    /// Puts a piece into the sets that it belongs to.
    fn list(&mut self, piece: PieceIndex) {
        let wanted = self.priority(piece) != FilePriority::Skip && !self.have.has(piece);
        if wanted {
            self.missing.set(piece);
        }
        let in_progress = self.partials.update(piece, |p| p.set_wanted(wanted)).is_some();
        let may_begin = !in_progress && !self.held.has(piece) && !self.geometry.is_padding(piece);
        if wanted && may_begin && self.open.set(piece) {
            self.buckets.insert(lane(self.priority(piece)), piece);
        }
    }

    /// An open piece is in progress from now on.
    fn begin(&mut self, piece: PieceIndex) {
        if self.open.clear(piece) {
            self.buckets.remove(lane(self.priority(piece)), piece);
            self.partials.insert(&self.geometry, piece);
        }
    }
}

/// How things stand.
impl Picker {
    /// How the torrent is cut into pieces.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The pieces that are verified and on disk.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// How many pieces are wanted and not had.
    pub fn wanted_left(&self) -> u32 {
        self.missing.count()
    }

    /// Bytes of the pieces that are wanted, had or not.
    pub fn wanted_bytes(&self) -> u64 {
        let is_wanted = |piece| self.priority(piece) != FilePriority::Skip;
        self.geometry.data_len_of_all(self.wanted, is_wanted)
    }

    /// Bytes of the pieces that are wanted and not had.
    pub fn missing_bytes(&self) -> u64 {
        self.geometry.data_len_of_all(self.missing.count(), |piece| self.missing.has(piece))
    }

    /// Whether everything wanted is had.
    pub fn is_finished(&self) -> bool {
        self.missing.is_none()
    }

    /// Whether a piece is wanted and not had.
    pub fn is_interesting(&self, piece: PieceIndex) -> bool {
        self.missing.has(piece)
    }

    /// How many of these pieces are wanted and not had. O(pieces / 64).
    pub fn interesting_count(&self, has: &Bitfield) -> u32 {
        let both = self.missing.words().iter().zip(has.words());
        both.map(|(missing, has)| (missing & has).count_ones()).sum()
    }

    /// How many peers have a piece, seeds among them.
    pub fn availability(&self, piece: PieceIndex) -> u32 {
        let all = u32::from(self.buckets.availability(piece)) + self.seeds;
        all.saturating_sub(self.buckets.lacking(piece) as u32)
    }

    /// Whether no peer but seeds has a piece.
    pub fn is_only_at_seeds(&self, piece: PieceIndex) -> bool {
        self.buckets.availability(piece) == 0
    }

    /// How many pieces no peer but seeds has. O(1).
    pub fn num_only_at_seeds(&self) -> u32 {
        self.buckets.unspread()
    }

    /// How much a piece is wanted; one that does not exist, not at all.
    pub fn priority(&self, piece: PieceIndex) -> FilePriority {
        self.priority.get(piece.at()).copied().unwrap_or(FilePriority::Skip)
    }

    /// Whether a piece failed its check and did not pass since.
    pub fn has_failed(&self, piece: PieceIndex) -> bool {
        self.failed.has(piece)
    }

    /// How many pieces are in progress, those being verified among them.
    pub fn num_in_progress(&self) -> usize {
        self.partials.len()
    }

    /// How many blocks of a piece are neither received nor had.
    pub fn blocks_left(&self, piece: PieceIndex) -> u32 {
        match self.partials.get(piece) {
            Some(partial) => partial.missing(),
            None if self.have.has(piece) => 0,
            None => {
                let padding = self.geometry.padding_blocks(piece).count();
                self.geometry.blocks_of(piece) - padding as u32
            }
        }
    }

    /// Whether all blocks of a piece are here and its verdict is awaited.
    pub fn is_verifying(&self, piece: PieceIndex) -> bool {
        self.partials.get(piece).is_some_and(|partial| partial.missing() == 0)
    }
}

/// What became of requests.
impl Picker {
    /// A peer sent a block that it was asked for at some time.
    ///
    /// One that was given up since is as welcome as any.
    pub fn received(&mut self, peer: PeerKey, block: Block) -> Received {
        if !self.geometry.is_block(block) {
            return Received::NotWanted;
        }
        if self.have.has(block.piece) {
            return Received::Duplicate;
        }
        self.begin(block.piece);
        let received = self.partials.update(block.piece, |partial| {
            let also_requested_by = partial.receive(block, peer)?;
            let piece_complete = partial.missing() == 0;
            Some(Received::Accepted { piece_complete, also_requested_by })
        });
        match received {
            Some(Some(accepted)) => {
                if let Some(at_peer) = self.at_peers.get_mut(peer.0 as usize) {
                    at_peer.refuses = false;
                }
                accepted
            }
            Some(None) => Received::Duplicate,
            None => Received::NotWanted,
        }
    }

    /// A request is given up: choked, rejected, timed out, or the peer is gone. Others may take the
    /// piece over.
    pub fn release(&mut self, peer: PeerKey, block: Block) {
        let piece = block.piece;
        self.partials.update(piece, |partial| {
            if partial.owner.is_some_and(|(owner, _)| owner == peer) {
                partial.owner = None;
            }
        });
        if self.current(peer) == Some(piece) {
            self.at_peer(peer).current = None;
        }
        self.put_back(peer, block);
    }

    /// A picked block is not requested after all; the peer goes on with its piece.
    pub fn put_back(&mut self, peer: PeerKey, block: Block) {
        let untouched = self.partials.update(block.piece, |partial| {
            partial.release(block, peer);
            partial.is_untouched()
        });
        if untouched == Some(true) {
            self.give_up(block.piece);
        }
    }

    /// A complete piece is verified: it is had from now on.
    pub fn piece_passed(&mut self, piece: PieceIndex) {
        self.mark_have(piece);
    }

    /// A piece failed its check, or what was here of it is lost: that is fetched again, from one peer
    /// at a time. Requests for the rest stand.
    pub fn piece_failed(&mut self, piece: PieceIndex) {
        self.failed.set(piece);
        let untouched = self.partials.update(piece, |partial| {
            partial.owner = None;
            partial.reopen_all();
            partial.is_untouched()
        });
        if untouched != Some(false) {
            self.give_up(piece);
        }
    }

    /// Some blocks of a complete piece are known to be wrong: these are fetched again.
    pub fn blocks_failed(&mut self, piece: PieceIndex, blocks: &[Block]) {
        self.failed.set(piece);
        let untouched = self.partials.update(piece, |partial| {
            partial.owner = None;
            partial.reopen(blocks.iter().filter(|b| b.piece == piece).map(|b| b.number()));
            partial.is_untouched()
        });
        if untouched == Some(true) {
            self.give_up(piece);
        }
    }

    /// A piece is no longer in progress, whatever there was of it.
    fn give_up(&mut self, piece: PieceIndex) {
        self.partials.remove(piece);
        self.list(piece);
    }

    /// The piece that a peer goes on with.
    fn current(&self, peer: PeerKey) -> Option<PieceIndex> {
        self.at_peers.get(peer.0 as usize).and_then(|at_peer| at_peer.current)
    }

    fn at_peer(&mut self, peer: PeerKey) -> &mut AtPeer {
        let at = peer.0 as usize;
        if self.at_peers.len() <= at {
            self.at_peers.resize(at + 1, AtPeer::default());
        }
        &mut self.at_peers[at]
    }

    fn set_current(&mut self, peer: PeerKey, piece: PieceIndex) {
        self.at_peer(peer).current = Some(piece);
    }
}

/// In which lane of the buckets pieces of a priority are.
const fn lane(priority: FilePriority) -> usize {
    match priority {
        FilePriority::High => 0,
        FilePriority::Normal => 1,
        FilePriority::Low | FilePriority::Skip => LANES - 1,
    }
}
