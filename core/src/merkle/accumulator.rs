//! Roots from left to right, keeping one hash a layer.

use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use super::{filling, leaf, parent};
use crate::piece::{BLOCK_LEN, Sha256Hash};

/// Takes the hashes of one layer from left to right and gives the hash above them all.
#[derive(Clone, Debug)]
pub struct Accumulator {
    /// The layer of the hashes taken.
    layer: u32,
    count: u64,
    /// The roots of the complete subtrees so far, largest first: one for each bit of `count`.
    roots: SmallVec<[Sha256Hash; 16]>,
}

impl Accumulator {
    /// For hashes of this layer.
    pub fn new(layer: u32) -> Self {
        Accumulator { layer, count: 0, roots: SmallVec::new() }
    }

    /// The next hash.
    pub fn push(&mut self, mut hash: Sha256Hash) {
        let mut complete = self.count;
        while complete & 1 == 1
            && let Some(left) = self.roots.pop()
        {
            hash = parent(&left, &hash);
            complete >>= 1;
        }
        self.roots.push(hash);
        self.count += 1;
    }

    /// The node of layer `top` that has all hashes taken below it, filled up to its right. `None`
    /// if there is no such node: they are more than it covers.
    pub fn finish(mut self, top: u32) -> Option<Sha256Hash> {
        let width = 1_u64.checked_shl(top.checked_sub(self.layer)?)?;
        let last = match self.count {
            0 => return Some(filling(top)),
            count if count > width => return None,
            count => count - 1,
        };
        let mut hash = self.roots.pop()?;
        for above in self.count.trailing_zeros()..top - self.layer {
            hash = match (last >> above) & 1 {
                1 => parent(&self.roots.pop()?, &hash),
                _ => parent(&hash, &filling(self.layer + above)),
            };
        }
        Some(hash)
    }
}

/// Takes the bytes of a file, or of a piece, from first to last and gives the hash above them.
#[derive(Clone, Debug)]
pub struct BlockHasher {
    block: Sha256,
    /// Bytes in `block`: always less than a whole one.
    filled: usize,
    leaves: Accumulator,
}

impl Default for BlockHasher {
    fn default() -> Self {
        BlockHasher { block: Sha256::new(), filled: 0, leaves: Accumulator::new(0) }
    }
}

impl BlockHasher {
    /// The next bytes, any number.
    pub fn update(&mut self, mut bytes: &[u8]) {
        const BLOCK: usize = BLOCK_LEN as usize;
        while let Some((head, tail)) = bytes.split_at_checked(BLOCK - self.filled) {
            self.leaves.push(match self.filled {
                0 => leaf(head),
                _ => std::mem::take(&mut self.block).chain_update(head).finalize().into(),
            });
            self.filled = 0;
            bytes = tail;
        }
        if !bytes.is_empty() {
            self.block.update(bytes);
            self.filled += bytes.len();
        }
    }

    /// The node of layer `top` above all bytes given; `None` if they are more than it covers.
    pub fn finish(mut self, top: u32) -> Option<Sha256Hash> {
        if self.filled > 0 {
            self.leaves.push(self.block.finalize().into());
        }
        self.leaves.finish(top)
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;
    use crate::merkle::model;

    quickcheck! {
        fn the_root_is_that_of_the_whole_tree(count: u8, spare: u8, layer: u8) -> bool {
            let (count, layer) = (u64::from(count % 70), u32::from(layer % 4));
            let least = count.next_power_of_two().trailing_zeros();
            let height = least + u32::from(spare % 3);
            let hashes: Vec<_> = (0..count).map(|n| leaf(&n.to_be_bytes())).collect();
            let mut accumulator = Accumulator::new(layer);
            hashes.iter().for_each(|hash| accumulator.push(*hash));
            let refused = least > 0 && accumulator.clone().finish(layer + least - 1).is_some();
            !refused && accumulator.finish(layer + height) == Some(model::root(&hashes, layer, height))
        }

        fn bytes_hash_the_same_however_they_are_cut(blocks: u8, odd: u16, cuts: Vec<u16>) -> bool {
            let len = usize::from(blocks % 9) * 16_384 + usize::from(odd) % 16_384;
            let data: Vec<u8> = (0..len).map(|n| (n / 7 % 251) as u8).collect();
            let mut hasher = BlockHasher::default();
            let mut rest = &data[..];
            for cut in cuts {
                let (head, tail) = rest.split_at(usize::from(cut).min(rest.len()));
                hasher.update(head);
                rest = tail;
            }
            hasher.update(rest);
            let leaves: Vec<_> = data.chunks(16_384).map(leaf).collect();
            hasher.finish(4) == Some(model::root(&leaves, 0, 4))
        }
    }

    #[test]
    fn a_layer_below_the_hashes_has_no_node_above_them() {
        let mut accumulator = Accumulator::new(3);
        accumulator.push([1; 32]);
        assert_eq!(accumulator.clone().finish(2), None);
        assert_eq!(accumulator.finish(3), Some([1; 32]));
        assert_eq!(Accumulator::new(0).finish(64), None);
    }
}
