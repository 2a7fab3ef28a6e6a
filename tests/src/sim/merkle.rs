//! Merkle trees of files, and hash requests about them, written from BEP 52 without the core: what
//! scripted peers answer with, and what the checker holds the engine's answers against.
//!
//! All nodes are kept, filling included, since simulated files are small. Layers are counted from
//! the leaves, which are layer 0, as BEP 52 counts them in "hash request".

use sha2::{Digest, Sha256};

use super::peer_wire::HashRun;

/// A node of a tree.
pub type Hash = [u8; 32];

/// Bytes below a leaf (BEP 52: "16KiB blocks").
const LEAF_LEN: usize = 16 << 10;

/// Most hashes of a request (BEP 52: "Length SHOULD NOT be greater than 512").
const MOST_HASHES: u32 = 512;

/// The tree of one file.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Lowest first; each is half as long as the one below it.
    layers: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree over a file, which has some bytes.
    pub fn new(data: &[u8]) -> Self {
        let mut leaves: Vec<Hash> =
            data.chunks(LEAF_LEN).map(|block| Sha256::digest(block).into()).collect();
        // BEP 52: "The remaining leaf hashes ... are set to zero."
        leaves.resize(leaves.len().next_power_of_two(), [0; 32]);
        let mut layers = vec![leaves];
        while let Some(below) = layers.last().filter(|layer| layer.len() > 1) {
            let above = below.chunks(2).map(|pair| above(&pair[0], &pair[1])).collect();
            layers.push(above);
        }
        Tree { layers }
    }

    /// The pieces root.
    pub fn root(&self) -> Hash {
        self.layers[self.height() as usize][0]
    }

    /// The layer of the root.
    pub fn height(&self) -> u32 {
        self.layers.len() as u32 - 1
    }

    /// A layer with its filling; empty if there is none.
    pub fn layer(&self, layer: u32) -> &[Hash] {
        self.layers.get(layer as usize).map_or(&[], Vec::as_slice)
    }

    /// Whether this may be asked about the tree: what BEP 52 demands of index and length, inside of
    /// the tree, and no proof layer above those that the root is made of.
    pub fn may_be_asked(&self, run: &HashRun) -> bool {
        let width = self.layer(run.base_layer).len() as u64;
        run.length.is_power_of_two()
            && (2..=MOST_HASHES).contains(&run.length)
            && run.index.is_multiple_of(run.length)
            && u64::from(run.index) + u64::from(run.length) <= width
            && u64::from(run.base_layer) + u64::from(run.proof_layers) < u64::from(self.height())
    }

    /// Whether a leaf is among those that are asked for, which may be asked for.
    pub fn has_leaf(&self, run: &HashRun, leaf: u32) -> bool {
        let is_of_leaves = run.pieces_root == self.root() && run.base_layer == 0;
        is_of_leaves
            && self.may_be_asked(run)
            && (run.index..run.index + run.length).contains(&leaf)
    }

    /// The true answer to a request that may be asked: the hashes, and the uncle of each proof layer
    /// that is not omitted (BEP 52: "the first log2(length)-1 proof layers are omitted").
    pub fn answer(&self, run: &HashRun) -> Option<Vec<u8>> {
        if !self.may_be_asked(run) {
            return None;
        }
        let first = run.index as usize;
        let mut hashes = self.layer(run.base_layer)[first..first + run.length as usize].to_vec();
        for proof in run.length.ilog2()..=run.proof_layers {
            let uncle = (first >> proof) ^ 1;
            hashes.push(self.layer(run.base_layer + proof)[uncle]);
        }
        Some(hashes.into_flattened())
    }

    /// The requests of so many hashes each, proven up to the root, that together fetch this many
    /// nodes of a layer.
    pub fn runs(&self, layer: u32, nodes: usize, length: u32) -> Vec<HashRun> {
        let length = length.min(self.layer(layer).len() as u32);
        if length < 2 {
            return Vec::new();
        }
        let proof_layers = self.height() - layer - 1;
        let count = nodes.div_ceil(length as usize) as u32;
        let run = |number: u32| HashRun {
            pieces_root: self.root(),
            base_layer: layer,
            index: number * length,
            length,
            proof_layers,
        };
        (0..count).map(run).collect()
    }
}

fn above(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use bitswarm_core::merkle::HashRange;
    use quickcheck::quickcheck;

    use super::*;

    #[test]
    fn a_tree_of_three_blocks_has_the_hashes_of_the_bep() {
        let data: Vec<u8> = (0..40_000_u32).map(|byte| byte as u8).collect();
        let tree = Tree::new(&data);
        let leaf = |from: usize, to: usize| Hash::from(Sha256::digest(&data[from..to]));
        let left = above(&leaf(0, 16_384), &leaf(16_384, 32_768));
        let right = above(&leaf(32_768, 40_000), &[0; 32]);
        assert_eq!(tree.layer(1), [left, right]);
        assert_eq!((tree.root(), tree.height()), (above(&left, &right), 2));
        let run = HashRun {
            pieces_root: tree.root(),
            base_layer: 0,
            index: 2,
            length: 2,
            proof_layers: 1,
        };
        let answer = [leaf(32_768, 40_000), [0; 32], left].concat();
        assert_eq!(tree.answer(&run), Some(answer));
        let bad = [
            HashRun { index: 1, ..run },
            HashRun { index: 4, ..run },
            HashRun { length: 3, ..run },
            HashRun { length: 1, ..run },
            HashRun { proof_layers: 2, ..run },
            HashRun { base_layer: 3, ..run },
            HashRun { base_layer: u32::MAX, ..run },
        ];
        assert!(bad.iter().all(|run| tree.answer(run).is_none()));
    }

    quickcheck! {
        // Two that were written apart agree.
        fn every_answer_proves_its_root_to_the_core(blocks: u8, layer: u8, log2: u8) -> bool {
            let tree = Tree::new(&vec![blocks; (usize::from(blocks) + 2) * 16_384 - 5]);
            let layer = u32::from(layer) % (tree.height() + 1);
            let length = 2 << (log2 % 9);
            tree.runs(layer, tree.layer(layer).len(), length).iter().all(|run| {
                let hashes = tree.answer(run).expect("may be asked");
                let HashRun { base_layer, index, length, proof_layers, .. } = *run;
                let range = HashRange { base_layer, index, length, proof_layers };
                range.climb(hashes.as_chunks::<32>().0) == Some(tree.root())
            })
        }
    }
}
