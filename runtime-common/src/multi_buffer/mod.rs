//! The hashes of several pieces at once.
//!
//! Processors have instructions for SHA-1 and SHA-256 that one message alone keeps busy for half of
//! the time at most, so several are hashed side by side: pieces for v1, the 16 KiB blocks of pieces
//! for v2 (BEP 3, BEP 52). [`PieceHashing`] is a piece so far, and [`update_all`] takes bytes of many.
//!
//! Below: `stream` deals the messages out, `function` says what the two functions are, `x86` has their
//! rounds for processors that know them. Elsewhere messages are hashed one by one, by the crates
//! `sha1` and `sha2`.

mod block;
mod function;
mod stream;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::mem;

use bitswarm_core::merkle::Accumulator;
use bitswarm_core::piece::{BLOCK_LEN, Sha1Hash, Sha256Hash};
use bitswarm_core::piece_hash::PieceHash;
use smallvec::SmallVec;

use function::{Sha1, Sha256, lane_count};
use stream::{Stream, feed_all};

/// How many pieces are hashed at once for the least work. 1: it makes no difference.
pub fn pieces_at_once() -> usize {
    lane_count()
}

/// A piece whose bytes are being hashed, from first to last.
#[derive(Clone, Debug)]
pub struct PieceHashing {
    v1: Option<Stream<Sha1>>,
    v2: Option<Blocks>,
}

impl PieceHashing {
    /// For the SHA-1 of all of it, if `v1`; and for the merkle node above its first `v2` bytes, if
    /// that is given: those that are not padding.
    pub fn new(v1: bool, v2: Option<usize>) -> Self {
        PieceHashing { v1: v1.then(Stream::default), v2: v2.map(Blocks::new) }
    }

    /// For the hashes that this wants.
    pub fn for_hash(expected: &PieceHash) -> Self {
        match expected {
            PieceHash::V1(_) => Self::new(true, None),
            PieceHash::V2(root) => Self::new(false, Some(root.length as usize)),
            PieceHash::Both(_, root) => Self::new(true, Some(root.length as usize)),
        }
    }

    /// Whether it is the piece that has this hash.
    pub fn is(self, expected: &PieceHash) -> bool {
        match expected {
            PieceHash::V1(v1) => self.finish(None).0 == Some(*v1),
            PieceHash::V2(root) => self.finish(Some(root.layer)).1 == Some(root.hash),
            PieceHash::Both(v1, root) => {
                self.finish(Some(root.layer)) == (Some(*v1), Some(root.hash))
            }
        }
    }

    /// The hashes that were wanted: the SHA-1, and the merkle node of layer `node`. There is no such
    /// node if the layer is not given, cannot cover the piece, or bytes are missing.
    pub fn finish(self, node: Option<u32>) -> (Option<Sha1Hash>, Option<Sha256Hash>) {
        let v2 = self.v2.zip(node).and_then(|(blocks, layer)| blocks.finish(layer));
        (self.v1.map(Stream::finish), v2)
    }
}

/// Takes the next bytes of each piece, cut anywhere.
pub fn update_all<'p, 'a, Parts>(pieces: impl IntoIterator<Item = (&'p mut PieceHashing, Parts)>)
where
    Parts: Iterator<Item = &'a [u8]> + Clone,
{
    let mut whole = Vec::new();
    let mut cut = Vec::new();
    for (piece, parts) in pieces {
        whole.extend(piece.v1.as_mut().map(|stream| (stream, parts.clone())));
        cut.extend(piece.v2.as_mut().map(|blocks| blocks.cut(parts)));
    }
    feed_all(whole);
    feed_all(cut.iter_mut().flat_map(|(_, blocks)| {
        blocks.iter_mut().map(|block| (&mut block.hash, mem::take(&mut block.parts).into_iter()))
    }));
    cut.into_iter().for_each(|(piece, blocks)| piece.keep(blocks));
}

/// The blocks of a piece, hashed one by one.
#[derive(Clone, Debug)]
struct Blocks {
    /// Bytes that are still to come before the padding.
    left: usize,
    /// The block that has only a part of its bytes yet, and how many.
    begun: Stream<Sha256>,
    filled: usize,
    above: Accumulator,
}

/// A block, and bytes for it.
struct BlockParts<'a> {
    hash: Stream<Sha256>,
    /// Its length with these bytes.
    length: usize,
    parts: SmallVec<[&'a [u8]; 2]>,
}

impl Blocks {
    fn new(length: usize) -> Self {
        Blocks { left: length, begun: Stream::default(), filled: 0, above: Accumulator::new(0) }
    }

    /// The next bytes, dealt out to their blocks.
    fn cut<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> (&mut Self, Vec<BlockParts<'a>>) {
        let mut blocks = vec![BlockParts {
            hash: mem::take(&mut self.begun),
            length: mem::take(&mut self.filled),
            parts: SmallVec::new(),
        }];
        for part in parts {
            let mut part = &part[..part.len().min(self.left)];
            self.left -= part.len();
            while !part.is_empty()
                && let Some(block) = blocks.last_mut()
            {
                let (head, tail) = part.split_at(part.len().min(BLOCK_LEN as usize - block.length));
                block.length += head.len();
                block.parts.push(head);
                part = tail;
                if block.length == BLOCK_LEN as usize {
                    let (hash, parts) = Default::default();
                    blocks.push(BlockParts { hash, length: 0, parts });
                }
            }
        }
        (self, blocks)
    }

    /// Takes the blocks back, hashed as far as they go: all are whole but the last.
    fn keep(&mut self, mut blocks: Vec<BlockParts<'_>>) {
        if let Some(last) = blocks.pop() {
            (self.begun, self.filled) = (last.hash, last.length);
        }
        blocks.into_iter().for_each(|block| self.above.push(block.hash.finish()));
    }

    fn finish(mut self, layer: u32) -> Option<Sha256Hash> {
        if self.filled > 0 {
            self.above.push(self.begun.finish());
        }
        if self.left > 0 { None } else { self.above.finish(layer) }
    }
}

#[cfg(test)]
mod tests {
    use bitswarm_core::merkle::BlockHasher;
    use bitswarm_core::piece_hash::PieceRoot;
    use quickcheck::quickcheck;
    use sha1::Digest;

    use super::*;

    /// A piece: its blocks, how many bytes of the last are missing, padding after it, where it is cut.
    type Piece = (u8, u16, u16, Vec<u16>);

    fn content(&(blocks, missing, padding, _): &Piece, salt: usize) -> (Vec<u8>, usize) {
        let length =
            (usize::from(blocks % 6) * 16_384).saturating_sub(usize::from(missing % 16_384));
        let mut data: Vec<u8> = (0..length).map(|n| (n * 13 + salt + n / 256) as u8).collect();
        data.resize(length + usize::from(padding), 0);
        (data, length)
    }

    fn expected(data: &[u8], length: usize, kind: usize) -> PieceHash {
        let mut blocks = BlockHasher::default();
        blocks.update(&data[..length]);
        let hash = blocks.finish(5).expect("32 blocks cover it");
        let root = PieceRoot { hash, layer: 5, length: length as u32 };
        let v1 = sha1::Sha1::digest(data).into();
        [PieceHash::V1(v1), PieceHash::V2(root), PieceHash::Both(v1, root)][kind % 3]
    }

    fn parts<'a>(data: &'a [u8], cuts: &[u16]) -> Vec<&'a [u8]> {
        let mut rest = data;
        let mut parts = Vec::new();
        for cut in cuts {
            let (part, tail) = rest.split_at(usize::from(*cut).min(rest.len()));
            parts.push(part);
            rest = tail;
        }
        parts.push(rest);
        parts
    }

    fn are(contents: &[Vec<u8>], pieces: &[Piece], expected: &[PieceHash]) -> Vec<bool> {
        let mut hashings: Vec<_> = expected.iter().map(PieceHashing::for_hash).collect();
        let parts: Vec<_> =
            contents.iter().zip(pieces).map(|(data, piece)| parts(data, &piece.3)).collect();
        // In two goes: first the first part of each, then the others.
        for range in [0..1, 1..usize::MAX] {
            update_all(hashings.iter_mut().zip(parts.iter().map(|parts| {
                parts[range.start.min(parts.len())..range.end.min(parts.len())].iter().copied()
            })));
        }
        hashings.into_iter().zip(expected).map(|(hashing, expected)| hashing.is(expected)).collect()
    }

    quickcheck! {
        fn pieces_of_any_kind_cut_anywhere_have_their_hashes_and_no_others(
            pieces: Vec<Piece>,
            wrong: usize
        ) -> bool {
            let (mut contents, lengths): (Vec<_>, Vec<_>) =
                pieces.iter().enumerate().map(|(n, piece)| content(piece, n)).unzip();
            let hashes: Vec<_> = contents.iter().zip(lengths).enumerate()
                .map(|(n, (data, length))| expected(data, length, n)).collect();
            let right = are(&contents, &pieces, &hashes).into_iter().all(|right| right);
            if pieces.is_empty() {
                return right;
            }
            let wrong = wrong % pieces.len();
            let Some(byte) = contents[wrong].first_mut() else { return right };
            *byte ^= 1;
            // The padding is no part of the hash of v2.
            let differs = !matches!(hashes[wrong], PieceHash::V2(root) if root.length == 0);
            let after = are(&contents, &pieces, &hashes);
            right && after.iter().enumerate().all(|(n, &right)| right != (n == wrong && differs))
        }
    }

    #[test]
    fn a_piece_that_ends_early_has_no_hash() {
        let data = vec![7; 40_000];
        for kind in 0..3 {
            let hash = expected(&data, 40_000, kind);
            let mut hashing = PieceHashing::for_hash(&hash);
            update_all([(&mut hashing, std::iter::once(&data[..39_999]))]);
            assert!(!hashing.is(&hash), "{hash:?}");
        }
    }
}
