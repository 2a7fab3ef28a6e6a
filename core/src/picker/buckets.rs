//! The order in which pieces would be begun: by priority, then by how few peers have them.
//!
//! One lane for each priority holds the *open* pieces (wanted, not had, not in progress) sorted by
//! availability. Pieces of equal availability lie together as a bucket, in no particular order, so
//! a piece moves to the neighbouring bucket by one swap across their border: O(1) for each have.
//! Entering and leaving a lane passes one piece across each border behind it: O(buckets), which
//! happens a few times in a piece's life.
//!
//! Seeds are not counted here: they have every piece and change no order. Of a seed that lost pieces
//! those are noted ([`Lacking`]): they are that much rarer. So that no bucket lies below the first, all
//! pieces lie as many buckets further up as the piece that most seeds lack is lacked by.

use std::ops::Range;

use super::lacking::Lacking;
use crate::bitfield::Bitfield;
use crate::piece::PieceIndex;
use crate::work;

/// Lanes, the most wanted first: high, normal and low priority.
pub(super) const LANES: usize = 3;

/// Not in any lane.
const NOWHERE: u32 = u32::MAX;

/// Every piece's availability, and the open pieces in order.
#[derive(Clone, Debug)]
pub(super) struct Buckets {
    lanes: [Lane; LANES],
    /// Per piece, peers that have it, seeds not counted. Sticks at the ends of `u16`: with more
    /// peers than that the order is less exact, nothing else.
    availability: Vec<u16>,
    /// Pieces that no peer has but for seeds.
    unspread: u32,
    /// Per piece, where in its lane's `order`.
    position: Vec<u32>,
    /// What seeds lack, while any lacks something.
    lacking: Option<Box<Lacking>>,
    /// Pieces looked at or moved, to be compared with the input's length.
    #[cfg(test)]
    pub(super) touched: usize,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    order: Vec<PieceIndex>,
    /// End of each availability's bucket in `order`, which begins where the one before ends.
    ends: Vec<u32>,
}

impl Buckets {
    /// No piece open, no peer has any.
    pub(super) fn new(pieces: u32) -> Self {
        Buckets {
            lanes: Default::default(),
            availability: vec![0; pieces as usize],
            unspread: pieces,
            position: vec![NOWHERE; pieces as usize],
            lacking: None,
            #[cfg(test)]
            touched: 0,
        }
    }

    /// Peers that have the piece, seeds not counted.
    pub(super) fn availability(&self, piece: PieceIndex) -> u16 {
        self.availability.get(piece.at()).copied().unwrap_or(0)
    }

    /// How many seeds lack the piece.
    pub(super) fn lacking(&self, piece: PieceIndex) -> usize {
        self.lacking.as_ref().map_or(0, |lacking| lacking.of(piece))
    }

    /// Whether any seed lacks a piece.
    pub(super) fn seeds_lack_some(&self) -> bool {
        self.lacking.is_some()
    }

    /// Where the piece lies in a lane: the more peers have it, the further up.
    pub(super) fn bucket_of(&self, piece: PieceIndex) -> usize {
        let peers = usize::from(self.availability(piece));
        match &self.lacking {
            None => peers,
            Some(lacking) => peers + lacking.most() - lacking.of(piece),
        }
    }

    /// How many pieces no peer has but for seeds.
    pub(super) fn unspread(&self) -> u32 {
        self.unspread
    }

    /// Whether the piece is in a lane.
    pub(super) fn contains(&self, piece: PieceIndex) -> bool {
        self.position.get(piece.at()).is_some_and(|at| *at != NOWHERE)
    }

    /// How many pieces are in a lane.
    pub(super) fn lane_len(&self, lane: usize) -> usize {
        self.lanes[lane].order.len()
    }

    /// How many pieces are open that no peer has, of so many seeds neither.
    pub(super) fn unavailable(&self, seeds: u32) -> usize {
        let most = self.lacking.as_ref().map_or(0, |lacking| lacking.most());
        let Some(bucket) = most.checked_sub(seeds as usize) else { return 0 };
        self.lanes.iter().map(|lane| lane.bucket(bucket).len()).sum()
    }

    /// Puts a piece that is in no lane into one.
    pub(super) fn insert(&mut self, lane: usize, piece: PieceIndex) {
        debug_assert!(!self.contains(piece), "an open piece is in one lane, once");
        let bucket = self.bucket_of(piece);
        let lane = &mut self.lanes[lane];
        lane.grow(bucket);
        lane.order.push(piece);
        let mut hole = lane.order.len() - 1;
        for later in (bucket + 1..lane.ends.len()).rev() {
            let first = lane.ends[later - 1] as usize;
            lane.ends[later] += 1;
            if first != hole {
                let moved = lane.order[first];
                lane.order[hole] = moved;
                self.position[moved.at()] = hole as u32;
                hole = first;
            }
        }
        lane.ends[bucket] += 1;
        lane.order[hole] = piece;
        self.position[piece.at()] = hole as u32;
    }

    /// Takes a piece out of its lane.
    pub(super) fn remove(&mut self, lane: usize, piece: PieceIndex) {
        debug_assert!(self.contains(piece), "only what is in the lane is taken out");
        let bucket = self.bucket_of(piece);
        let lane = &mut self.lanes[lane];
        let mut hole = std::mem::replace(&mut self.position[piece.at()], NOWHERE) as usize;
        for end in &mut lane.ends[bucket..] {
            *end -= 1;
            let last = *end as usize;
            if last != hole {
                let moved = lane.order[last];
                lane.order[hole] = moved;
                self.position[moved.at()] = hole as u32;
                hole = last;
            }
        }
        lane.order.pop();
        lane.trim();
    }

    /// One more peer has the piece, which is in this lane, if in any.
    pub(super) fn raise(&mut self, lane: usize, piece: PieceIndex) {
        let bucket = self.bucket_of(piece);
        let count = &mut self.availability[piece.at()];
        if *count == u16::MAX {
            return;
        }
        *count += 1;
        self.unspread -= u32::from(*count == 1);
        self.move_up(lane, piece, bucket);
    }

    /// One peer less has the piece, which is in this lane, if in any.
    pub(super) fn lower(&mut self, lane: usize, piece: PieceIndex) {
        let bucket = self.bucket_of(piece);
        let count = &mut self.availability[piece.at()];
        let Some(less) = count.checked_sub(1) else { return };
        *count = less;
        self.unspread += u32::from(less == 0);
        self.move_down(lane, piece, bucket);
    }

    /// One more seed lacks the piece, which is in this lane, if in any. O(1), and O(buckets) if no
    /// piece was lacked by so many.
    pub(super) fn add_lacking(&mut self, lane: usize, piece: PieceIndex) {
        let lacking = self.lacking.get_or_insert_default();
        if lacking.add(piece) {
            // One bucket more beneath the others, which this piece is moved into.
            self.lanes.iter_mut().for_each(|lane| lane.ends.insert(0, 0));
        }
        self.move_down(lane, piece, self.bucket_of(piece) + 1);
    }

    /// One seed less lacks the piece, which is in this lane, if in any.
    pub(super) fn remove_lacking(&mut self, lane: usize, piece: PieceIndex) {
        let Some(lacking) = &mut self.lacking else { return };
        if !lacking.remove(piece) {
            return;
        }
        self.move_up(lane, piece, self.bucket_of(piece) - 1);
        if let Some(lacking) = self.lacking.take_if(|lacking| lacking.is_empty()) {
            for lane in &mut self.lanes {
                lane.ends.drain(..lacking.most().min(lane.ends.len()));
            }
        }
    }

    /// Moves a piece of a lane out of this bucket into the next one.
    fn move_up(&mut self, lane: usize, piece: PieceIndex, bucket: usize) {
        if !self.contains(piece) {
            return;
        }
        self.lanes[lane].grow(bucket + 1);
        self.lanes[lane].ends[bucket] -= 1;
        let last = self.lanes[lane].ends[bucket];
        self.swap(lane, self.position[piece.at()], last);
    }

    /// Moves a piece of a lane out of this bucket into the one before.
    fn move_down(&mut self, lane: usize, piece: PieceIndex, bucket: usize) {
        if !self.contains(piece) {
            return;
        }
        let first = self.lanes[lane].ends[bucket - 1];
        self.swap(lane, self.position[piece.at()], first);
        self.lanes[lane].ends[bucket - 1] += 1;
        self.lanes[lane].trim();
    }

    /// One more peer has all of these. For many pieces this is cheaper than one by one: each
    /// bucket is parted in one pass.
    pub(super) fn raise_all(&mut self, has: &Bitfield) {
        self.touch_all();
        let availability = &self.availability;
        let stays = |p: PieceIndex| !has.has(p) || availability[p.at()] == u16::MAX;
        for lane in &mut self.lanes {
            let top = lane.ends.len();
            lane.grow(top);
            // From the top, so that what moved up is not met again.
            for bucket in (0..top).rev() {
                let range = lane.bucket(bucket);
                let end = part(&mut lane.order, &mut self.position, range, stays);
                lane.ends[bucket] = end as u32;
            }
            lane.trim();
        }
        for piece in has.iter() {
            if let Some(count) = self.availability.get_mut(piece.at()) {
                self.unspread -= u32::from(*count == 0);
                *count = count.saturating_add(1);
            }
        }
    }

    /// One peer less has all of these.
    pub(super) fn lower_all(&mut self, has: &Bitfield) {
        self.touch_all();
        let availability = &self.availability;
        let moves = |p: PieceIndex| has.has(p) && availability[p.at()] > 0;
        for lane in &mut self.lanes {
            for bucket in 1..lane.ends.len() {
                let range = lane.bucket(bucket);
                let end = part(&mut lane.order, &mut self.position, range, moves);
                lane.ends[bucket - 1] = end as u32;
            }
            lane.trim();
        }
        for piece in has.iter() {
            if let Some(count) = self.availability.get_mut(piece.at()) {
                self.unspread += u32::from(*count == 1);
                *count = count.saturating_sub(1);
            }
        }
    }

    /// A lane's pieces, the rarest first.
    pub(super) fn order(&self, lane: usize) -> &[PieceIndex] {
        &self.lanes[lane].order
    }

    /// The ranges of a lane's order that are equally available, from the rarest, without those
    /// below `least`.
    pub(super) fn ranges(&self, lane: usize, least: usize) -> impl Iterator<Item = Range<usize>> {
        let lane = &self.lanes[lane];
        (least..lane.ends.len()).map(|bucket| lane.bucket(bucket)).filter(|range| !range.is_empty())
    }

    fn touch_all(&mut self) {
        work::touch(self.position.len());
        #[cfg(test)]
        {
            self.touched += self.position.len();
        }
    }

    fn swap(&mut self, lane: usize, a: u32, b: u32) {
        #[cfg(test)]
        {
            self.touched += 2;
        }
        let order = &mut self.lanes[lane].order;
        order.swap(a as usize, b as usize);
        self.position[order[a as usize].at()] = a;
        self.position[order[b as usize].at()] = b;
    }
}

impl Lane {
    fn bucket(&self, availability: usize) -> Range<usize> {
        let end = |bucket: usize| self.ends.get(bucket).map_or(self.order.len(), |e| *e as usize);
        let start = availability.checked_sub(1).map_or(0, end);
        start..end(availability)
    }

    /// Makes room for buckets up to this one.
    fn grow(&mut self, bucket: usize) {
        if self.ends.len() <= bucket {
            self.ends.resize(bucket + 1, self.order.len() as u32);
        }
    }

    /// Drops empty buckets at the end.
    fn trim(&mut self) {
        while let [.., before, last] = self.ends[..]
            && before == last
        {
            self.ends.pop();
        }
    }
}

/// Moves the pieces of a range that go first before those that do not; where the latter begin.
fn part(
    order: &mut [PieceIndex],
    position: &mut [u32],
    range: Range<usize>,
    goes_first: impl Fn(PieceIndex) -> bool,
) -> usize {
    let (mut low, mut high) = (range.start, range.end);
    while low < high {
        if goes_first(order[low]) {
            low += 1;
        } else if !goes_first(order[high - 1]) {
            high -= 1;
        } else {
            high -= 1;
            order.swap(low, high);
            position[order[low].at()] = low as u32;
            position[order[high].at()] = high as u32;
            low += 1;
        }
    }
    low
}

#[cfg(test)]
impl Buckets {
    /// Compares every index with what it is an index of; the pieces in each lane.
    pub(super) fn check(&self) -> [Vec<PieceIndex>; LANES] {
        let mut listed = 0;
        for lane in &self.lanes {
            for (at, piece) in lane.order.iter().enumerate() {
                assert_eq!(self.position[piece.at()], at as u32);
                let bucket = lane.bucket(self.bucket_of(*piece));
                assert!(bucket.contains(&at), "{piece:?} at {at} is not in {bucket:?}");
            }
            assert_eq!(lane.ends.last().map_or(0, |end| *end as usize), lane.order.len());
            listed += lane.order.len();
        }
        let unspread = self.availability.iter().filter(|peers| **peers == 0).count();
        assert_eq!(self.unspread as usize, unspread);
        assert_eq!(listed, self.position.iter().filter(|at| **at != NOWHERE).count());
        std::array::from_fn(|lane| {
            let mut pieces = self.lanes[lane].order.clone();
            pieces.sort();
            pieces
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn availability_sticks_at_its_largest_value_and_the_order_holds() {
        let mut buckets = Buckets::new(3);
        (0..3).for_each(|piece| buckets.insert(1, PieceIndex(piece)));
        for _ in 0..=u16::MAX {
            buckets.raise(1, PieceIndex(0));
        }
        let all = Bitfield::full(3);
        buckets.raise_all(&all);
        buckets.raise_all(&all);
        buckets.check();
        assert_eq!(buckets.availability(PieceIndex(0)), u16::MAX);
        assert_eq!(buckets.availability(PieceIndex(1)), 2);
        buckets.remove(1, PieceIndex(0));
        buckets.insert(1, PieceIndex(0));
        (0..3).for_each(|_| buckets.lower_all(&all));
        buckets.check();
        assert_eq!(buckets.availability(PieceIndex(1)), 0);
        assert_eq!(buckets.order(1).last(), Some(&PieceIndex(0)));
    }
}
