//! Several messages hashed at once.
//!
//! A [`Stream`] is a message so far. [`feed_all`] takes bytes into any number of streams: as many as
//! the processor likes have a lane each, and a stream that is through leaves its lane to the next. What is
//! left of a message when a part of it does not end with a block is held back in its stream, so it
//! does not matter how messages are cut.

use std::mem;

use smallvec::SmallVec;

use super::block::{BLOCK_LEN, Block};
use super::function::{Function, LANES, lane_count};

/// A message that is being hashed.
#[derive(Clone, Debug)]
pub(super) struct Stream<F: Function> {
    state: F::State,
    /// Bytes taken so far.
    length: u64,
    /// The last of them, less than a block: the first `length % 64` are in use.
    rest: Block,
}

impl<F: Function> Default for Stream<F> {
    fn default() -> Self {
        Stream { state: F::INITIAL, length: 0, rest: [0; BLOCK_LEN] }
    }
}

impl<F: Function> Stream<F> {
    /// The hash of all bytes taken.
    pub(super) fn finish(mut self) -> F::Digest {
        let filled = self.filled();
        let mut end = [[0; BLOCK_LEN]; 2];
        end[0][..filled].copy_from_slice(&self.rest[..filled]);
        end[0][filled] = 0x80;
        let blocks = if filled < BLOCK_LEN - 8 { &mut end[..1] } else { &mut end[..] };
        if let Some(last) = blocks.last_mut() {
            last[BLOCK_LEN - 8..].copy_from_slice(&(self.length * 8).to_be_bytes());
        }
        F::compress(&mut self.state, blocks);
        F::digest(self.state)
    }

    /// Takes bytes up to the next end of a block, and what does not fill one at the end; the whole
    /// blocks between the two are still to be taken.
    fn begin<'a>(&mut self, mut part: &'a [u8]) -> &'a [Block] {
        let filled = self.filled();
        self.length += part.len() as u64;
        if filled > 0 {
            let (head, tail) = part.split_at(part.len().min(BLOCK_LEN - filled));
            self.rest[filled..filled + head.len()].copy_from_slice(head);
            if filled + head.len() < BLOCK_LEN {
                return &[];
            }
            F::compress(&mut self.state, &[self.rest]);
            part = tail;
        }
        let (blocks, rest) = part.as_chunks();
        self.rest[..rest.len()].copy_from_slice(rest);
        blocks
    }

    fn filled(&self) -> usize {
        (self.length % BLOCK_LEN as u64) as usize
    }
}

/// Takes the parts of each message into its stream.
pub(super) fn feed_all<'s, 'a, F, Parts>(
    messages: impl IntoIterator<Item = (&'s mut Stream<F>, Parts)>,
) where
    F: Function + 's,
    Parts: Iterator<Item = &'a [u8]>,
{
    let lane_count = lane_count();
    let mut waiting = messages.into_iter();
    let mut lanes: SmallVec<[Lane<'s, 'a, F, Parts>; LANES]> = SmallVec::new();
    loop {
        lanes.retain(Lane::advance);
        while lanes.len() < lane_count
            && let Some((stream, parts)) = waiting.next()
        {
            let mut lane = Lane { stream, parts, blocks: &[] };
            if lane.advance() {
                lanes.push(lane);
            }
        }
        let Some(count) = lanes.iter().map(|lane| lane.blocks.len()).min() else { return };
        match &mut lanes[..] {
            [one] => F::compress(&mut one.stream.state, mem::take(&mut one.blocks)),
            [a, b] => compress_all([a, b], count),
            [a, b, c] => compress_all([a, b, c], count),
            [a, b, c, d] => compress_all([a, b, c, d], count),
            _ => unreachable!("there are at most LANES"),
        }
    }
}

/// A message whose bytes are being taken.
struct Lane<'s, 'a, F: Function, Parts> {
    stream: &'s mut Stream<F>,
    parts: Parts,
    /// Of the part before `parts`, those not yet taken.
    blocks: &'a [Block],
}

impl<'a, F: Function, Parts: Iterator<Item = &'a [u8]>> Lane<'_, 'a, F, Parts> {
    /// Sees to it that there are blocks to take; `false`: the message has no more.
    fn advance(&mut self) -> bool {
        while self.blocks.is_empty() {
            let Some(part) = self.parts.next() else { return false };
            self.blocks = self.stream.begin(part);
        }
        true
    }
}

/// Takes the next blocks of each lane.
fn compress_all<F: Function, Parts, const N: usize>(
    lanes: [&mut Lane<'_, '_, F, Parts>; N],
    count: usize,
) {
    let mut blocks = [&[][..]; N];
    let mut index = 0;
    let states = lanes.map(|lane| {
        (blocks[index], lane.blocks) = lane.blocks.split_at(count);
        index += 1;
        &mut lane.stream.state
    });
    F::compress_all(states, blocks);
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;
    use sha1::Digest;

    use super::super::function::{Sha1, Sha256};
    use super::*;

    /// Messages of these lengths, and where to cut each.
    type Messages = Vec<(u16, Vec<u16>)>;

    fn content(length: u16, salt: usize) -> Vec<u8> {
        (0..usize::from(length)).map(|n| (n * 31 + salt * 7 + n / 251) as u8).collect()
    }

    /// The hashes of the messages, each taken in two goes and cut where it says.
    fn digests<F: Function>(messages: &Messages, contents: &[Vec<u8>]) -> Vec<F::Digest> {
        let mut streams: Vec<Stream<F>> = contents.iter().map(|_| Stream::default()).collect();
        let halves = |first: bool| {
            contents.iter().zip(messages).map(move |(content, (length, cuts))| {
                let (before, after) = content.split_at(usize::from(*length) / 3);
                let mut half = if first { before } else { after };
                let mut parts = Vec::new();
                for cut in cuts {
                    let (part, tail) = half.split_at(usize::from(*cut).min(half.len()));
                    parts.push(part);
                    half = tail;
                }
                parts.push(half);
                parts.into_iter()
            })
        };
        feed_all(streams.iter_mut().zip(halves(true)));
        feed_all(streams.iter_mut().zip(halves(false)));
        streams.into_iter().map(Stream::finish).collect()
    }

    quickcheck! {
        fn any_number_of_messages_cut_anywhere_have_the_hashes_of_each_alone(messages: Messages) -> bool {
            let contents: Vec<_> =
                messages.iter().enumerate().map(|(n, (length, _))| content(*length, n)).collect();
            let sha1: Vec<[u8; 20]> = contents.iter().map(|c| sha1::Sha1::digest(c).into()).collect();
            let sha256: Vec<[u8; 32]> =
                contents.iter().map(|c| sha2::Sha256::digest(c).into()).collect();
            digests::<Sha1>(&messages, &contents) == sha1
                && digests::<Sha256>(&messages, &contents) == sha256
        }
    }

    #[test]
    fn padding_takes_a_block_of_its_own_where_it_must() {
        for length in 0..=130 {
            let message = content(length, 3);
            let mut stream = Stream::<Sha1>::default();
            feed_all([(&mut stream, std::iter::once(&message[..]))]);
            assert_eq!(stream.finish(), <[u8; 20]>::from(sha1::Sha1::digest(&message)), "{length}");
        }
    }

    #[test]
    fn any_number_of_lanes_gives_the_same() {
        fn check<F: Function<Digest: PartialEq + std::fmt::Debug>, const N: usize>() {
            let contents: [Vec<u8>; N] = std::array::from_fn(|n| content(640, n));
            let blocks: [&[Block]; N] = std::array::from_fn(|n| contents[n].as_chunks().0);
            let mut states = [F::INITIAL; N];
            F::compress_all(states.each_mut(), blocks);
            let alone = blocks.map(|blocks| {
                let mut state = F::INITIAL;
                F::compress(&mut state, blocks);
                state
            });
            assert_eq!(states.map(F::digest), alone.map(F::digest), "{N} lanes");
        }
        check::<Sha1, 1>();
        check::<Sha1, 2>();
        check::<Sha1, 3>();
        check::<Sha1, 4>();
        check::<Sha256, 1>();
        check::<Sha256, 2>();
        check::<Sha256, 3>();
        check::<Sha256, 4>();
    }
}
