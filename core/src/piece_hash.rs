//! What a piece must hash to: by v1 (BEP 3), by v2 (BEP 52), or, in a hybrid, by both.
//!
//! v1 hashes a piece from first to last byte, padding included. v2 knows no padding: there a piece
//! is a node of its file's merkle tree, over what the piece has of the file. The host that reads or
//! writes the data runs a [`PieceHasher`] over it.

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::merkle::BlockHasher;
use crate::piece::{Sha1Hash, Sha256Hash};

/// The hash or hashes of a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PieceHash {
    /// Of a torrent of v1.
    V1(Sha1Hash),
    /// Of a torrent of v2.
    V2(PieceRoot),
    /// Of a hybrid: data must have both.
    Both(Sha1Hash, PieceRoot),
}

/// A piece as a node of a merkle tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PieceRoot {
    /// The node's hash.
    pub hash: Sha256Hash,
    /// Its layer, counted from the leaves.
    pub layer: u32,
    /// Bytes of the piece that are below it; what follows is padding.
    pub length: u32,
}

impl PieceHash {
    /// The piece as a node of a merkle tree, if it is one of v2.
    pub fn root(&self) -> Option<PieceRoot> {
        match *self {
            PieceHash::V1(_) => None,
            PieceHash::V2(root) | PieceHash::Both(_, root) => Some(root),
        }
    }

    /// What tells whether data has this hash.
    pub fn hasher(&self) -> PieceHasher {
        let (v1, v2) = match *self {
            PieceHash::V1(v1) => (Some(v1), None),
            PieceHash::V2(v2) => (None, Some(v2)),
            PieceHash::Both(v1, v2) => (Some(v1), Some(v2)),
        };
        PieceHasher {
            v1: v1.map(|hash| (hash, Sha1::new())),
            v2: v2.map(|root| (root, BlockHasher::default(), root.length as usize)),
        }
    }

    /// Whether data proves that the two hashes of a hybrid's piece are of different content: it has one
    /// of them and not the other.
    pub fn is_contradicted_by<'a>(&self, data: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let PieceHash::Both(..) = self else { return false };
        let mut hasher = self.hasher();
        data.into_iter().for_each(|part| hasher.update(part));
        let (v1, v2) = hasher.verdicts();
        v1 != v2
    }

    /// Whether data, cut anywhere, has this hash.
    pub fn is_of<'a>(&self, data: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut hasher = self.hasher();
        data.into_iter().for_each(|part| hasher.update(part));
        hasher.matches()
    }
}

/// Takes the bytes of a piece, padding included, from first to last.
#[derive(Clone, Debug)]
pub struct PieceHasher {
    v1: Option<(Sha1Hash, Sha1)>,
    /// With the bytes that are still to come before the padding.
    v2: Option<(PieceRoot, BlockHasher, usize)>,
}

impl PieceHasher {
    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some((_, sha1)) = &mut self.v1 {
            sha1.update(bytes);
        }
        if let Some((_, blocks, left)) = &mut self.v2 {
            let ours = bytes.get(..*left).unwrap_or(bytes);
            blocks.update(ours);
            *left -= ours.len();
        }
    }

    /// Whether it was the piece.
    pub fn matches(self) -> bool {
        let (v1, v2) = self.verdicts();
        v1 && v2
    }

    /// Whether it was the piece of v1, and that of v2, as far as it is one.
    fn verdicts(self) -> (bool, bool) {
        let v1 = self.v1.is_none_or(|(hash, sha1)| hash == <Sha1Hash>::from(sha1.finalize()));
        let v2 = self.v2.is_none_or(|(root, blocks, left)| {
            left == 0 && blocks.finish(root.layer) == Some(root.hash)
        });
        (v1, v2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A piece of two blocks and a bit of a third, padded to four.
    fn piece() -> (Vec<u8>, Sha1Hash, PieceRoot) {
        let mut data: Vec<u8> = (0..40_000_u32).map(|n| (n % 251) as u8).collect();
        let mut blocks = BlockHasher::default();
        blocks.update(&data);
        let hash = blocks.finish(2).expect("four blocks cover it");
        let root = PieceRoot { hash, layer: 2, length: 40_000 };
        data.resize(65_536, 0);
        let sha1 = Sha1::digest(&data).into();
        (data, sha1, root)
    }

    #[test]
    fn data_with_its_padding_has_the_hashes_of_both_kinds_however_it_is_cut() {
        let (data, sha1, root) = piece();
        for hash in [PieceHash::V1(sha1), PieceHash::V2(root), PieceHash::Both(sha1, root)] {
            for cut in [1_000, 16_384, 39_999, 40_000, 65_536] {
                assert!(hash.is_of(data.chunks(cut)), "{hash:?} in parts of {cut}");
            }
        }
        assert!(PieceHash::V2(root).is_of([&data[..40_000]]), "v2 does not need the padding");
    }

    #[test]
    fn only_data_that_has_one_hash_of_two_contradicts_them() {
        let (data, sha1, root) = piece();
        let (other_sha1, other_root) = ([7; 20], PieceRoot { hash: [7; 32], ..root });
        let contradicts = |hash: PieceHash| hash.is_contradicted_by(data.chunks(9_999));
        assert!(contradicts(PieceHash::Both(sha1, other_root)));
        assert!(contradicts(PieceHash::Both(other_sha1, root)));
        assert!(!contradicts(PieceHash::Both(sha1, root)));
        assert!(
            !contradicts(PieceHash::Both(other_sha1, other_root)),
            "it may be the sender's fault"
        );
        assert!(!contradicts(PieceHash::V1(other_sha1)) && !contradicts(PieceHash::V2(other_root)));
    }

    #[test]
    fn data_that_differs_or_ends_early_has_not() {
        let (data, sha1, root) = piece();
        let mut wrong = data.clone();
        wrong[39_999] ^= 1;
        for hash in [PieceHash::V1(sha1), PieceHash::V2(root), PieceHash::Both(sha1, root)] {
            assert!(!hash.is_of([&wrong[..]]), "{hash:?}");
            assert!(!hash.is_of([&data[..39_999]]), "{hash:?}");
            assert!(!hash.is_of([]), "{hash:?}");
        }
    }

    #[test]
    fn data_of_a_hybrid_must_have_both() {
        let (data, sha1, root) = piece();
        let other = PieceRoot { hash: [1; 32], ..root };
        assert!(!PieceHash::Both(sha1, other).is_of([&data[..]]));
        assert!(!PieceHash::Both([1; 20], root).is_of([&data[..]]));
    }
}
