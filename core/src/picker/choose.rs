//! The picker's policy: which piece a peer gets its next blocks from.
//!
//! First the piece that the peer is at: one peer tends to send whole pieces. Then, for each priority
//! from high to low (a seed among leeches is first asked for what none of those has: `only_at_seeds`):
//! 1. a piece in progress that nobody goes on with, the one with the fewest missing blocks first;
//! 2. if the peer is slow, if pieces in progress are many, or if the order is sequential: a piece
//!    of another peer that is no faster;
//! 3. a new piece: the rarest that the peer has, by chance among equals; the first few of a torrent
//!    entirely by chance, to have something to trade soon; or the next one in sequence;
//! 4. a piece of another peer, last of all of a faster one.
//!
//! A piece that failed its check is its owner's alone, however idle the others are: only so a second
//! failure tells who lied, and a torrent of one piece ends among peers that corrupt.
//!
//! When every missing block that can be had is requested, the end game begins: a block may then be
//! requested of [`MAX_REQUESTERS`] peers. Where it is, a peer that has sent us blocks takes the place of
//! one that has not, which may never (defence 42).
//!
//! A new piece is found by walking the buckets from the rarest piece, which ends soon for a peer
//! that has much; after as many steps as its bitfield has words, by reading that.

use std::cmp::Reverse;

use super::buckets::LANES;
use super::partial::Partial;
use super::{MAX_REQUESTERS, Pace, PeerKey, PickHints, Picker, lane};
use crate::bitfield::Bitfield;
use crate::piece::{Block, PieceIndex};
use crate::priority::PieceOrder;
use crate::work;

/// How many pieces are begun by chance rather than by rarity (chosen, as is the field's custom).
const RANDOM_FIRST: usize = 4;

/// Unfinished pieces with open blocks for each peer, past which they are continued before new ones
/// are begun (chosen: each peer is at one, and as many may be left behind).
const LOOSE_PER_PEER: usize = 2;

/// What a walk over the buckets found.
pub(super) enum Walk {
    Found(PieceIndex),
    Nothing,
    GaveUp,
}

impl Picker {
    /// Appends up to `count` blocks to request of this peer, which has the pieces `has`, and marks
    /// them as requested. They come from as few pieces as possible.
    ///
    /// Each must come back through [`Picker::received`] or [`Picker::release`].
    ///
    /// Returns requests that others gave up for these, in the end game: they are forgotten here;
    /// cancel them.
    pub fn pick(
        &mut self,
        peer: PeerKey,
        has: &Bitfield,
        count: usize,
        hints: PickHints<'_>,
        out: &mut Vec<Block>,
    ) -> Vec<(PeerKey, Block)> {
        let mut yielded = Vec::new();
        let end = out.len().saturating_add(count);
        while out.len() < end {
            let Some(piece) = self.choose(peer, has, hints) else { break };
            self.begin(piece);
            self.join(peer, hints.pace, piece);
            let left = end - out.len();
            let geometry = &self.geometry;
            self.partials.update(piece, |partial| partial.request(geometry, peer, left, out));
        }
        if out.len() < end && self.is_end_game() {
            self.pick_again(peer, has, end, hints, out);
            if out.len() < end {
                self.pick_instead(peer, has, end, hints, out, &mut yielded);
            }
        }
        yielded
    }

    /// Whether every missing block that some peer has is requested.
    pub fn is_end_game(&self) -> bool {
        let hopeless = self.buckets.unavailable(self.seeds);
        self.open.count() as usize == hopeless
            && !self.holds_something()
            && self.partials.loose().iter().all(|partial| {
                self.availability(partial.piece) == 0 || self.reserved_for(partial).is_some()
            })
    }

    /// The only peer that may fetch this piece in progress: it failed before, and that peer took
    /// it on since.
    pub(super) fn reserved_for(&self, partial: &Partial) -> Option<PeerKey> {
        reserved_for(&self.failed, partial)
    }

    pub(super) fn may_fetch(&self, peer: PeerKey, partial: &Partial) -> bool {
        self.reserved_for(partial).is_none_or(|owner| owner == peer)
    }

    /// The next piece to take blocks from; it has open ones.
    fn choose(
        &mut self,
        peer: PeerKey,
        has: &Bitfield,
        hints: PickHints<'_>,
    ) -> Option<PieceIndex> {
        if let Some(allowed) = hints.allowed {
            return self.choose_allowed(peer, has, allowed);
        }
        if let Some(current) = self.current(peer)
            && has.has(current)
            && self
                .partials
                .get(current)
                .is_some_and(|partial| partial.open() > 0 && self.may_fetch(peer, partial))
        {
            return Some(current);
        }
        (0..LANES).find_map(|lane| self.choose_in_lane(lane, peer, has, hints))
    }

    fn choose_in_lane(
        &mut self,
        lane: usize,
        peer: PeerKey,
        has: &Bitfield,
        hints: PickHints<'_>,
    ) -> Option<PieceIndex> {
        let peers = (self.peers + self.seeds) as usize;
        let crowded = self.partials.loose().len() > peers * LOOSE_PER_PEER;
        let sequential = self.order == PieceOrder::Sequential;
        let only_at_seeds = self.choose_only_at_seeds(lane, peer, has, crowded, hints);
        if only_at_seeds.is_some() {
            return only_at_seeds;
        }
        let abandoned = self.best_loose(lane, peer, has, |owner| owner.is_none());
        if abandoned.is_some() {
            return abandoned;
        }
        if crowded || sequential || hints.pace == Pace::Slow {
            let shared = self.best_shared(lane, peer, has, hints.pace);
            if shared.is_some() {
                return shared;
            }
        }
        self.choose_new(lane, has, hints.suggested)
            .or_else(|| self.best_shared(lane, peer, has, hints.pace))
            .or_else(|| self.best_loose(lane, peer, has, |_| true))
    }

    /// The best piece in progress of another peer that is at most this fast.
    fn best_shared(
        &self,
        lane: usize,
        peer: PeerKey,
        has: &Bitfield,
        pace: Pace,
    ) -> Option<PieceIndex> {
        self.best_loose(lane, peer, has, |owner| {
            owner.is_some_and(|(owner, its_pace)| owner != peer && its_pace <= pace)
        })
    }

    /// The piece in progress that is nearest to its end (or the torrent's beginning, if the order
    /// is sequential) among those whose owner suits.
    fn best_loose(
        &self,
        wanted_lane: usize,
        peer: PeerKey,
        has: &Bitfield,
        suits: impl Fn(Option<(PeerKey, Pace)>) -> bool,
    ) -> Option<PieceIndex> {
        let candidates = self.partials.loose().iter().filter(|partial| {
            lane(self.priority(partial.piece)) == wanted_lane
                && suits(self.owner(partial))
                && has.has(partial.piece)
                && self.may_fetch(peer, partial)
        });
        let best = match self.order {
            PieceOrder::RarestFirst => candidates.min_by_key(|p| (p.missing(), p.piece)),
            PieceOrder::Sequential => candidates.min_by_key(|p| p.piece),
        };
        best.map(|partial| partial.piece)
    }

    /// The peer that began or took over a piece and still gets requests for it.
    pub(super) fn owner(&self, partial: &Partial) -> Option<(PeerKey, Pace)> {
        partial.owner.filter(|(owner, _)| self.current(*owner) == Some(partial.piece))
    }

    /// The peer goes on with this piece, as its owner if nobody else is.
    fn join(&mut self, peer: PeerKey, pace: Pace, piece: PieceIndex) {
        let owner = self.partials.get(piece).and_then(|partial| self.owner(partial));
        if owner.is_none_or(|(owner, _)| owner == peer) {
            self.partials.update(piece, |partial| partial.owner = Some((peer, pace)));
        }
        self.set_current(peer, piece);
    }

    /// Of the pieces that a choking peer sends all the same: one in progress, else the rarest.
    fn choose_allowed(
        &self,
        peer: PeerKey,
        has: &Bitfield,
        allowed: &[PieceIndex],
    ) -> Option<PieceIndex> {
        let candidates = || allowed.iter().copied().filter(|piece| has.has(*piece));
        let in_progress = candidates()
            .filter_map(|piece| self.partials.get(piece))
            .filter(|partial| partial.open() > 0 && self.may_fetch(peer, partial))
            .min_by_key(|partial| (Reverse(self.priority(partial.piece)), partial.missing()))
            .map(|partial| partial.piece);
        in_progress.or_else(|| {
            candidates()
                .filter(|piece| self.open.has(*piece))
                .min_by_key(|piece| (Reverse(self.priority(*piece)), self.availability(*piece)))
        })
    }

    /// An open piece of this lane that the peer has.
    fn choose_new(
        &mut self,
        wanted_lane: usize,
        has: &Bitfield,
        suggested: &[PieceIndex],
    ) -> Option<PieceIndex> {
        if self.buckets.lane_len(wanted_lane) == 0 {
            return None;
        }
        if self.order == PieceOrder::Sequential {
            return self.first(wanted_lane, has, 0, 0);
        }
        let suits = |piece: &PieceIndex| {
            self.open.has(*piece) && has.has(*piece) && lane(self.priority(*piece)) == wanted_lane
        };
        if let Some(piece) = suggested.iter().copied().find(suits) {
            return Some(piece);
        }
        if self.begins_by_chance() {
            let (word, bit) = self.random_start();
            return self.first(wanted_lane, has, word, bit);
        }
        let patience = self.open.word_count().max(64);
        match self.walk(wanted_lane, has, patience) {
            Walk::Found(piece) => Some(piece),
            Walk::Nothing => None,
            Walk::GaveUp => self.rarest(wanted_lane, has),
        }
    }

    /// Whether the next new piece is one of the first, which are begun by chance.
    pub(super) fn begins_by_chance(&self) -> bool {
        self.have.count() as usize + self.partials.len() < RANDOM_FIRST
    }

    /// The rarest, looked for from the rarest upwards, by chance among equals; looks at no more
    /// than `budget` pieces.
    pub(super) fn walk(&mut self, lane: usize, has: &Bitfield, mut budget: usize) -> Walk {
        let order = self.buckets.order(lane);
        // Whatever a peer has is counted, so none but a seed has what nobody has. One that counts as
        // a seed may have lost pieces.
        let may_be_seed = has.is_all() || self.buckets.seeds_lack_some();
        let least = usize::from(!may_be_seed);
        for range in self.buckets.ranges(lane, least) {
            let bucket = order.get(range).unwrap_or_default();
            let (before, after) = bucket.split_at(self.rng.index(bucket.len()));
            for piece in after.iter().chain(before) {
                work::touch(1);
                if has.has(*piece) {
                    return Walk::Found(*piece);
                }
                budget -= 1;
                if budget == 0 {
                    return Walk::GaveUp;
                }
            }
        }
        Walk::Nothing
    }

    /// The rarest, looked for by reading the peer's bitfield, by chance among equals.
    pub(super) fn rarest(&mut self, wanted_lane: usize, has: &Bitfield) -> Option<PieceIndex> {
        let (word, bit) = self.random_start();
        self.candidates(has, word, bit)
            .filter(|piece| lane(self.priority(*piece)) == wanted_lane)
            .min_by_key(|piece| self.buckets.bucket_of(*piece))
    }

    /// The first at or after this place, and then from the beginning.
    fn first(
        &self,
        wanted_lane: usize,
        has: &Bitfield,
        word: usize,
        bit: u32,
    ) -> Option<PieceIndex> {
        self.candidates(has, word, bit).find(|piece| lane(self.priority(*piece)) == wanted_lane)
    }

    /// Open pieces that the peer has: word by word from `word`, in each from `bit`, all around.
    fn candidates<'a>(
        &'a self,
        has: &'a Bitfield,
        word: usize,
        bit: u32,
    ) -> impl Iterator<Item = PieceIndex> + 'a {
        let both = || self.open.iter_words().zip(has.iter_words()).enumerate();
        both().skip(word).chain(both().take(word)).flat_map(move |(at, (open, has))| {
            let mut left = (open & has).rotate_right(bit);
            std::iter::from_fn(move || {
                let next = left.trailing_zeros();
                (next < 64).then(|| {
                    left &= left - 1;
                    PieceIndex(at as u32 * 64 + (next + bit) % 64)
                })
            })
        })
    }

    fn random_start(&mut self) -> (usize, u32) {
        (self.rng.index(self.open.word_count()), self.rng.below(64) as u32)
    }

    /// End game: blocks that others were asked for, those asked of the fewest first.
    fn pick_again(
        &mut self,
        peer: PeerKey,
        has: &Bitfield,
        end: usize,
        hints: PickHints<'_>,
        out: &mut Vec<Block>,
    ) {
        for most in 2..=MAX_REQUESTERS {
            for partial in self.partials.iter_mut() {
                if out.len() == end {
                    return;
                }
                let may = hints.allowed.is_none_or(|allowed| allowed.contains(&partial.piece))
                    && reserved_for(&self.failed, partial).is_none_or(|owner| owner == peer);
                if may && has.has(partial.piece) && self.missing.has(partial.piece) {
                    let left = end - out.len();
                    partial.request_again(&self.geometry, peer, left, most, out);
                }
            }
        }
    }
}

impl Picker {
    /// End game: blocks of which as many peers as may be were asked, one of which only rejects, for a
    /// peer that does not.
    fn pick_instead(
        &mut self,
        peer: PeerKey,
        has: &Bitfield,
        end: usize,
        hints: PickHints<'_>,
        out: &mut Vec<Block>,
        yielded: &mut Vec<(PeerKey, Block)>,
    ) {
        let at_peers = &self.at_peers;
        let refuses = |peer: PeerKey| at_peers.get(peer.0 as usize).is_some_and(|at| at.refuses);
        let is_any = at_peers.iter().any(|at| at.refuses);
        if !is_any || refuses(peer) || hints.allowed.is_some() {
            return;
        }
        for partial in self.partials.iter_mut() {
            let may = reserved_for(&self.failed, partial).is_none_or(|owner| owner == peer)
                && has.has(partial.piece)
                && self.missing.has(partial.piece);
            let left = end - out.len();
            if may && left > 0 {
                partial.request_instead(&self.geometry, peer, left, refuses, out, yielded);
            }
        }
    }
}

fn reserved_for(failed: &Bitfield, partial: &Partial) -> Option<PeerKey> {
    partial.owner.filter(|_| failed.has(partial.piece)).map(|(owner, _)| owner)
}
