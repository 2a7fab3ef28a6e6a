//! Pieces that peers counted as seeds lack after all (BEP 54, "lt_donthave").
//!
//! A seed is one number, however many pieces there are. One that loses a piece stays counted as a seed
//! "of all but these", so that the message costs one entry here rather than a pass over all pieces
//! (defence 40). There are at most as many entries as such messages came from peers that are connected.

use std::collections::BTreeMap;

use crate::piece::PieceIndex;

/// Per piece, how many of the peers that count as seeds lack it.
#[derive(Clone, Debug, Default)]
pub(super) struct Lacking {
    seeds: BTreeMap<PieceIndex, u32>,
    most: usize,
}

impl Lacking {
    /// How many seeds lack the piece.
    pub(super) fn of(&self, piece: PieceIndex) -> usize {
        self.seeds.get(&piece).map_or(0, |seeds| *seeds as usize)
    }

    /// The most that any piece was lacked by since the last time none was.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    pub(super) fn is_empty(&self) -> bool {
        self.seeds.is_empty()
    }

    /// One seed more lacks the piece; whether [`Lacking::most`] grew by one with it.
    pub(super) fn add(&mut self, piece: PieceIndex) -> bool {
        let seeds = self.seeds.entry(piece).or_default();
        *seeds += 1;
        let is_record = *seeds as usize > self.most;
        self.most += usize::from(is_record);
        is_record
    }

    /// One seed less lacks the piece; whether one did.
    pub(super) fn remove(&mut self, piece: PieceIndex) -> bool {
        let Some(seeds) = self.seeds.get_mut(&piece) else { return false };
        *seeds -= 1;
        if *seeds == 0 {
            self.seeds.remove(&piece);
        }
        true
    }
}
