//! Pieces in progress: which of their blocks are open, requested of whom, or here.
//!
//! This is the only per-block state, and it exists from a piece's first request until the piece is
//! verified or all of it is given up. Pieces with an open block ("loose") lie in front of those
//! without, so that looking for a block to request does not pass the others.
//!
//! Policy (which of them a peer should continue) is not here.

use std::ops::Range;

use smallvec::SmallVec;

use super::peer::{MAX_REQUESTERS, Pace, PeerKey};
use crate::piece::{Block, Geometry, PieceIndex};

/// Not in progress.
const NOWHERE: u32 = u32::MAX;

/// All pieces in progress.
#[derive(Clone, Debug)]
pub(super) struct Partials {
    /// Loose ones first.
    list: Vec<Partial>,
    loose: usize,
    /// Per piece, where in `list`.
    slot: Vec<u32>,
}

/// One piece in progress.
#[derive(Clone, Debug)]
pub(super) struct Partial {
    pub(super) piece: PieceIndex,
    /// Who fetches it, and how fast; whether it still does is for [`super::Picker`] to know.
    pub(super) owner: Option<(PeerKey, Pace)>,
    blocks: Box<[BlockState]>,
    /// Further requesters of a block, in the end game; sorted.
    doubles: Vec<(u32, PeerKey)>,
    /// No open block lies before this one.
    first_open: u32,
    open: u32,
    received: u32,
    /// Blocks of padding alone.
    padding: u32,
    /// Of an unwanted piece nothing more is requested.
    wanted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum BlockState {
    Open,
    Requested(PeerKey),
    Received,
    /// Nothing is transferred for it.
    Padding,
}

impl Partials {
    /// None of `pieces` is in progress.
    pub(super) fn new(pieces: u32) -> Self {
        Partials { list: Vec::new(), loose: 0, slot: vec![NOWHERE; pieces as usize] }
    }

    /// How many pieces are in progress.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Pieces in progress with a block to request.
    pub(super) fn loose(&self) -> &[Partial] {
        &self.list[..self.loose]
    }

    /// All pieces in progress, for changes that leave the number of open blocks as it is.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Partial> {
        self.list.iter_mut()
    }

    /// A peer goes on with none of them.
    pub(super) fn disown(&mut self, peer: PeerKey) {
        for partial in &mut self.list {
            if partial.owner.is_some_and(|(owner, _)| owner == peer) {
                partial.owner = None;
            }
        }
    }

    pub(super) fn get(&self, piece: PieceIndex) -> Option<&Partial> {
        self.list.get(*self.slot.get(piece.at())? as usize)
    }

    /// Changes a piece in progress; it finds its place among the loose again.
    pub(super) fn update<R>(
        &mut self,
        piece: PieceIndex,
        change: impl FnOnce(&mut Partial) -> R,
    ) -> Option<R> {
        let slot = *self.slot.get(piece.at())?;
        let result = change(self.list.get_mut(slot as usize)?);
        self.settle(slot as usize);
        Some(result)
    }

    /// A piece that is not in progress is now, with all its blocks open.
    pub(super) fn insert(&mut self, geometry: &Geometry, piece: PieceIndex) {
        debug_assert!(self.get(piece).is_none(), "a piece is in progress once");
        let slot = self.list.len();
        self.list.push(Partial::new(geometry, piece));
        self.slot[piece.at()] = slot as u32;
        self.settle(slot);
    }

    /// A piece is no longer in progress.
    pub(super) fn remove(&mut self, piece: PieceIndex) {
        self.update(piece, |partial| partial.wanted = false);
        let Some(slot) = self.slot.get_mut(piece.at()) else { return };
        let slot = std::mem::replace(slot, NOWHERE) as usize;
        if slot < self.list.len() {
            self.list.swap_remove(slot);
            if let Some(moved) = self.list.get(slot) {
                self.slot[moved.piece.at()] = slot as u32;
            }
        }
    }

    /// Moves the piece in this slot to the side of the border that it belongs to.
    fn settle(&mut self, slot: usize) {
        let is_loose = self.list[slot].open() > 0;
        let was_loose = slot < self.loose;
        if is_loose && !was_loose {
            self.swap(slot, self.loose);
            self.loose += 1;
        } else if !is_loose && was_loose {
            self.loose -= 1;
            self.swap(slot, self.loose);
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.list.swap(a, b);
        self.slot[self.list[a].piece.at()] = a as u32;
        self.slot[self.list[b].piece.at()] = b as u32;
    }
}

impl Partial {
    fn new(geometry: &Geometry, piece: PieceIndex) -> Self {
        let count = geometry.blocks_of(piece);
        let mut blocks = vec![BlockState::Open; count as usize];
        let mut padding = 0;
        for number in geometry.padding_blocks(piece) {
            if let Some(state) = blocks.get_mut(number as usize) {
                *state = BlockState::Padding;
                padding += 1;
            }
        }
        Partial {
            piece,
            owner: None,
            blocks: blocks.into(),
            doubles: Vec::new(),
            first_open: 0,
            open: count - padding,
            received: 0,
            padding,
            wanted: true,
        }
    }

    /// Blocks that could be requested now.
    pub(super) fn open(&self) -> u32 {
        if self.wanted { self.open } else { 0 }
    }

    /// Blocks not received.
    pub(super) fn missing(&self) -> u32 {
        self.blocks.len() as u32 - self.received - self.padding
    }

    /// Whether nobody was asked for anything of it and nothing of it is here.
    pub(super) fn is_untouched(&self) -> bool {
        (self.open + self.padding) as usize == self.blocks.len()
    }

    pub(super) fn set_wanted(&mut self, wanted: bool) {
        self.wanted = wanted;
    }

    /// Marks up to `count` open blocks as requested, in order.
    pub(super) fn request(
        &mut self,
        geometry: &Geometry,
        peer: PeerKey,
        count: usize,
        out: &mut Vec<Block>,
    ) {
        let end = out.len() + count.min(self.open() as usize);
        while out.len() < end {
            let number = self.first_open;
            let state = &mut self.blocks[number as usize];
            if *state == BlockState::Open {
                *state = BlockState::Requested(peer);
                self.open -= 1;
                out.push(geometry.block(self.piece, number));
            }
            self.first_open += 1;
        }
    }

    /// Marks up to `count` blocks that are requested of others as requested of this peer too,
    /// as long as a block has fewer than `most` requesters; in order.
    pub(super) fn request_again(
        &mut self,
        geometry: &Geometry,
        peer: PeerKey,
        count: usize,
        most: usize,
        out: &mut Vec<Block>,
    ) {
        let requested = self.blocks.len() - (self.open + self.received + self.padding) as usize;
        if self.doubles.len() >= requested * (most - 1) {
            return;
        }
        let end = out.len() + count;
        for number in 0..self.blocks.len() as u32 {
            if out.len() >= end {
                return;
            }
            let Some(BlockState::Requested(first)) = self.blocks.get(number as usize) else {
                continue;
            };
            let Err(at) = self.doubles.binary_search(&(number, peer)) else { continue };
            if *first != peer && self.doubles_of(number).len() + 1 < most {
                self.doubles.insert(at, (number, peer));
                out.push(geometry.block(self.piece, number));
            }
        }
    }

    /// Takes up to `count` blocks, in order, from requesters that yield, where there are as many as
    /// there may be: they are requested of this peer instead. Appends who yielded what.
    pub(super) fn request_instead(
        &mut self,
        geometry: &Geometry,
        peer: PeerKey,
        count: usize,
        yields: impl Fn(PeerKey) -> bool,
        out: &mut Vec<Block>,
        yielded: &mut Vec<(PeerKey, Block)>,
    ) {
        let end = out.len() + count;
        for number in 0..self.blocks.len() as u32 {
            if out.len() >= end {
                return;
            }
            let doubles = self.doubles_of(number);
            let Some(BlockState::Requested(first)) = self.blocks.get_mut(number as usize) else {
                continue;
            };
            let others = self.doubles.get(doubles.clone()).unwrap_or_default();
            let is_asked = *first == peer || others.iter().any(|(_, other)| *other == peer);
            if is_asked || others.len() + 1 < MAX_REQUESTERS {
                continue;
            }
            let who = if let Some(at) = others.iter().position(|(_, other)| yields(*other)) {
                let place = &mut self.doubles[doubles.start + at];
                let (_, who) = std::mem::replace(place, (number, peer));
                self.doubles[doubles].sort_unstable();
                who
            } else if yields(*first) {
                std::mem::replace(first, peer)
            } else {
                continue;
            };
            let block = geometry.block(self.piece, number);
            out.push(block);
            yielded.push((who, block));
        }
    }

    /// Marks a block as received; who else was asked for it, or `None` if it was here.
    pub(super) fn receive(
        &mut self,
        block: Block,
        peer: PeerKey,
    ) -> Option<SmallVec<[PeerKey; 2]>> {
        let number = block.number();
        let doubles = self.doubles_of(number);
        let state = self.blocks.get_mut(number as usize)?;
        let first = match *state {
            BlockState::Received | BlockState::Padding => return None,
            BlockState::Requested(first) => Some(first),
            BlockState::Open => {
                self.open -= 1;
                None
            }
        };
        *state = BlockState::Received;
        self.received += 1;
        let doubles = self.doubles.drain(doubles).map(|(_, double)| double);
        Some(first.into_iter().chain(doubles).filter(|other| *other != peer).collect())
    }

    /// Takes a request back; whether there was one.
    pub(super) fn release(&mut self, block: Block, peer: PeerKey) -> bool {
        let number = block.number();
        if let Ok(at) = self.doubles.binary_search(&(number, peer)) {
            self.doubles.remove(at);
            return true;
        }
        let doubles = self.doubles_of(number);
        let Some(state) = self.blocks.get_mut(number as usize) else { return false };
        if *state != BlockState::Requested(peer) {
            return false;
        }
        if doubles.is_empty() {
            *state = BlockState::Open;
            self.open += 1;
            self.first_open = self.first_open.min(number);
        } else {
            *state = BlockState::Requested(self.doubles.remove(doubles.start).1);
        }
        true
    }

    /// Blocks turned out wrong: they are open again.
    pub(super) fn reopen(&mut self, numbers: impl Iterator<Item = u32>) {
        for number in numbers {
            if let Some(state @ BlockState::Received) = self.blocks.get_mut(number as usize) {
                *state = BlockState::Open;
                self.open += 1;
                self.received -= 1;
                self.first_open = self.first_open.min(number);
            }
        }
    }

    /// Nothing of it is here any more.
    pub(super) fn reopen_all(&mut self) {
        self.reopen(0..self.blocks.len() as u32);
    }

    /// Where a block's further requesters lie.
    fn doubles_of(&self, number: u32) -> Range<usize> {
        let start = self.doubles.partition_point(|(double, _)| *double < number);
        let end = self.doubles.partition_point(|(double, _)| *double <= number);
        start..end
    }
}

#[cfg(test)]
impl Partials {
    /// Compares every index and count with what it stands for.
    pub(super) fn check(&self) {
        for (slot, partial) in self.list.iter().enumerate() {
            assert_eq!(self.slot[partial.piece.at()], slot as u32);
            assert_eq!(slot < self.loose, partial.open() > 0);
            let count = |wanted: BlockState| {
                partial.blocks.iter().filter(|state| **state == wanted).count() as u32
            };
            assert_eq!(partial.open, count(BlockState::Open));
            assert_eq!(partial.received, count(BlockState::Received));
            assert_eq!(partial.padding, count(BlockState::Padding));
            let first_open = partial.blocks.iter().position(|state| *state == BlockState::Open);
            assert!(first_open.is_none_or(|first| first as u32 >= partial.first_open));
            assert!(!partial.is_untouched());
            assert!(partial.doubles.is_sorted());
            for (number, _) in &partial.doubles {
                let state = partial.blocks[*number as usize];
                assert!(matches!(state, BlockState::Requested(_)), "{number} is {state:?}");
            }
        }
        let listed = self.slot.iter().filter(|slot| **slot != NOWHERE).count();
        assert_eq!(listed, self.list.len());
    }
}
