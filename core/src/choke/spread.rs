//! Which pieces a seed suggests to whom, so that it sends each piece once (BEP 6, "suggest piece").
//!
//! As long as a swarm of leeches lacks pieces, it goes no faster than its seed sends them, and what
//! the seed sends twice is lost to all. Leeches that choose by themselves choose the same by chance.
//! So a seed that is alone with leeches suggests to each peer that it serves a few pieces that no
//! leech has, and each piece to one peer only. Unlike super-seeding (BEP 16) this hides nothing, and
//! a peer that does not care loses nothing by it.
//!
//! Invariants: a piece is suggested to one peer at a time; what somebody has is not suggested; what
//! was suggested to one who is choked or gone is suggested again. Amortised O(1) for each piece.

use crate::piece::PieceIndex;
use crate::random::PolicyRng;

/// Pieces suggested to a peer ahead (chosen: one that it fetches, one to go on with).
const AHEAD: usize = 2;

/// The pieces that are still to be spread.
#[derive(Debug)]
pub struct Spread<K> {
    /// Suggested to nobody, in random order.
    left: Vec<PieceIndex>,
    /// Suggested, and to whom.
    given: Vec<(K, PieceIndex)>,
}

impl<K: Copy + Eq> Spread<K> {
    /// Spreads these pieces.
    pub fn new(pieces: impl Iterator<Item = PieceIndex>, rng: &mut PolicyRng) -> Self {
        let mut left: Vec<_> = pieces.collect();
        rng.shuffle(&mut left);
        Spread { left, given: Vec::new() }
    }

    /// Whether nothing is left to be spread.
    pub fn is_done(&self) -> bool {
        self.left.is_empty() && self.given.is_empty()
    }

    /// The next piece to suggest to a peer that is served, if it is to get one now. `is_out` says
    /// whether a leech has a piece. To be called until there is none, when the peer begins to be
    /// served and whenever it has a piece more.
    pub fn next(&mut self, peer: K, is_out: impl Fn(PieceIndex) -> bool) -> Option<PieceIndex> {
        self.given.retain(|(_, piece)| !is_out(*piece));
        if self.given.iter().filter(|(holder, _)| *holder == peer).count() >= AHEAD {
            return None;
        }
        while let Some(piece) = self.left.pop() {
            if !is_out(piece) {
                self.given.push((peer, piece));
                return Some(piece);
            }
        }
        None
    }

    /// A peer is served no longer. It goes on with the pieces that it `keeps`; the others go to
    /// somebody else.
    pub fn take_back(&mut self, peer: K, keeps: impl Fn(PieceIndex) -> bool) {
        let left = &mut self.left;
        self.given.retain(|&(holder, piece)| {
            let stays = holder != peer || keeps(piece);
            if !stays {
                left.push(piece);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(pieces: u32) -> Spread<u8> {
        Spread::new((0..pieces).map(PieceIndex), &mut PolicyRng::from_seed([1; 32]))
    }

    #[test]
    fn each_piece_is_suggested_to_one_peer_and_few_at_once() {
        let mut spread = spread(5);
        let mut given = Vec::new();
        for peer in 0..4 {
            let all: Vec<_> = std::iter::from_fn(|| spread.next(peer, |_| false)).collect();
            given.push(all.len());
        }
        assert_eq!(given, [AHEAD, AHEAD, 1, 0]);
        let mut pieces: Vec<_> = spread.given.iter().map(|(_, piece)| piece.0).collect();
        pieces.sort_unstable();
        assert_eq!(pieces, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_piece_that_is_out_makes_room_for_the_next_and_is_not_suggested_again() {
        let mut spread = spread(3);
        let first = spread.next(0, |_| false).unwrap();
        let second = spread.next(0, |_| false).unwrap();
        assert_eq!(spread.next(0, |_| false), None);
        let third = spread.next(0, |piece| piece == first).unwrap();
        assert!(third != first && third != second);
        assert_eq!(spread.next(0, |_| true), None);
        assert!(spread.is_done());
    }

    #[test]
    fn what_a_choked_peer_does_not_keep_is_suggested_to_another() {
        let mut spread = spread(2);
        let kept = spread.next(0, |_| false).unwrap();
        let lost = spread.next(0, |_| false).unwrap();
        spread.take_back(0, |piece| piece == kept);
        assert_eq!(spread.next(1, |_| false), Some(lost));
        assert_eq!(spread.next(1, |_| false), None, "the first goes on with the other");
    }
}
