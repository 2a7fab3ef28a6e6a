//! The hashes of one layer and all above it, to answer hash requests from.

use bytes::Bytes;

use super::{HashRange, TreeNode, TreeShape, filling, parent};
use crate::piece::Sha256Hash;

/// The upper part of a file's tree: a layer and everything above it.
///
/// Holds the layer as it was given and about as many bytes again; nothing for filling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HashTree {
    shape: TreeShape,
    layer: u32,
    base: Bytes,
    /// The layers above the base, lowest first, the root last; empty if the base is the root.
    above: Vec<Vec<Sha256Hash>>,
}

impl HashTree {
    /// From the hashes of one layer, one after the other without filling, as `piece layers` has
    /// them. `None` if they are not as many as the layer has.
    pub fn new(shape: TreeShape, layer: u32, hashes: Bytes) -> Option<Self> {
        let (base, rest) = hashes.as_chunks::<32>();
        let len = usize::try_from(shape.len(layer)).ok()?;
        if !rest.is_empty() || base.len() != len || len == 0 {
            return None;
        }
        let mut above: Vec<Vec<Sha256Hash>> = Vec::new();
        for layer in layer..shape.height() {
            let below = above.last().map_or(base, Vec::as_slice);
            above.push(parents(below, &filling(layer)));
        }
        Some(HashTree { shape, layer, base: hashes, above })
    }

    /// The shape of the whole tree.
    pub fn shape(&self) -> TreeShape {
        self.shape
    }

    /// The root.
    pub fn root(&self) -> Option<Sha256Hash> {
        self.node(TreeNode { layer: self.shape.height(), index: 0 })
    }

    /// The hash of a node; `None` if it is below the lowest layer held, or there is no such node.
    pub fn node(&self, node: TreeNode) -> Option<Sha256Hash> {
        if node.index >= self.shape.width(node.layer)? {
            return None;
        }
        let base = self.base.as_chunks::<32>().0;
        let layer = match node.layer.checked_sub(self.layer)?.checked_sub(1) {
            None => base,
            Some(above) => self.above.get(usize::try_from(above).ok()?)?.as_slice(),
        };
        let index = usize::try_from(node.index).ok()?;
        Some(layer.get(index).copied().unwrap_or_else(|| filling(node.layer)))
    }

    /// What a hash request is answered with: the run and its uncles. `None` if it is not allowed,
    /// or asks for a layer that is not held.
    pub fn answer(&self, range: &HashRange) -> Option<Vec<Sha256Hash>> {
        if !range.is_allowed(&self.shape) {
            return None;
        }
        let (layer, first) = (range.base_layer, u64::from(range.index));
        let run = (first..first + u64::from(range.length)).map(|index| TreeNode { layer, index });
        run.chain(range.uncles()).map(|node| self.node(node)).collect()
    }
}

/// The layer above some hashes, the last of which may have nothing but filling beside it.
fn parents(below: &[Sha256Hash], filling: &Sha256Hash) -> Vec<Sha256Hash> {
    let (pairs, odd) = below.as_chunks::<2>();
    let odd = odd.iter().map(|last| parent(last, filling));
    pairs.iter().map(|[left, right]| parent(left, right)).chain(odd).collect()
}

#[cfg(test)]
mod tests {
    use quickcheck::{TestResult, quickcheck};

    use super::*;
    use crate::merkle::{MAX_HASHES, leaf, model};

    /// A file of this many blocks, in pieces of `2^piece_layer` blocks: its shape and its leaves.
    fn file(blocks: u64, piece_layer: u32) -> (TreeShape, Vec<Sha256Hash>) {
        let shape = TreeShape::new(blocks * 16_384, 16_384 << piece_layer).unwrap();
        (shape, (0..blocks).map(|block| leaf(&block.to_be_bytes())).collect())
    }

    fn tree(blocks: u64, layer: u32) -> (HashTree, Vec<Vec<Sha256Hash>>) {
        let (shape, leaves) = file(blocks, layer);
        let layers = model::layers(&leaves, 0, shape.height());
        let len = usize::try_from(shape.len(layer)).unwrap();
        let base = layers[layer as usize][..len].as_flattened().to_vec();
        (HashTree::new(shape, layer, base.into()).unwrap(), layers)
    }

    quickcheck! {
        fn nodes_are_those_of_the_whole_tree(blocks: u8, layer: u8) -> bool {
            let blocks = u64::from(blocks % 80) + 1;
            let height = blocks.next_power_of_two().trailing_zeros();
            let layer = u32::from(layer) % (height + 1);
            let (tree, layers) = tree(blocks, layer);
            (0..).zip(&layers).all(|(at, nodes)| {
                let has = |index: usize| tree.node(TreeNode { layer: at, index: index as u64 });
                has(nodes.len()).is_none() && (0..nodes.len()).all(|index| {
                    has(index) == (at >= layer).then(|| nodes[index])
                })
            }) && tree.root() == Some(layers[height as usize][0])
        }

        fn an_answer_proves_its_run_and_nothing_else(
            blocks: u8, base: u8, length: u8, index: u8, proof: u8, flip: u16
        ) -> TestResult {
            let (tree, layers) = tree(u64::from(blocks % 80) + 2, 0);
            let height = tree.shape().height();
            let base_layer = u32::from(base) % height;
            let length = 2 << (u32::from(length) % (height - base_layer));
            let count = (1 << (height - base_layer)) / length;
            let range = HashRange {
                base_layer,
                length,
                index: u32::from(index) % count * length,
                proof_layers: u32::from(proof) % (height - base_layer),
            };
            let Some(mut answer) = tree.answer(&range) else { return TestResult::failed() };
            let top = range.top();
            let expected = layers[top.layer as usize][top.index as usize];
            if answer.len() != range.answer_len() || range.climb(&answer) != Some(expected) {
                return TestResult::failed();
            }
            let at = usize::from(flip) % (answer.len() * 256);
            answer[at / 256][at % 256 / 8] ^= 1 << (at % 8);
            TestResult::from_bool(range.climb(&answer) != Some(expected)
                && range.climb(&answer[1..]).is_none())
        }

        fn whatever_is_asked_is_answered_in_full_or_not_at_all(
            blocks: u16, base_layer: u32, index: u32, length: u32, proof_layers: u32, small: bool
        ) -> bool {
            let (shape, leaves) = file(u64::from(blocks % 600) + 1, 0);
            let tree = HashTree::new(shape, 0, leaves.as_flattened().to_vec().into()).unwrap();
            let cut = |number: u32, most: u32| if small { number % most } else { number };
            let range = HashRange {
                base_layer: cut(base_layer, 12),
                index: cut(index, 600),
                length: if small { 1 << (length % 11) } else { length },
                proof_layers: cut(proof_layers, 12),
            };
            let (_, _) = (range.top(), range.answer_len());
            match tree.answer(&range) {
                None => !range.is_allowed(&shape),
                Some(answer) => {
                    let node = range.top();
                    answer.len() <= MAX_HASHES as usize + 64
                        && tree.node(node) == range.climb(&answer)
                }
            }
        }
    }

    #[test]
    fn a_run_proven_to_the_root_ends_there() {
        let (tree, layers) = tree(13, 0);
        let range = HashRange::to_root(&tree.shape(), 0, 8, 4).unwrap();
        // Of three proof layers the first has no uncle: the run has both its nodes.
        assert_eq!((range.proof_layers, range.answer_len()), (3, 4 + 2));
        assert_eq!(range.top(), TreeNode { layer: 4, index: 0 });
        assert_eq!(range.climb(&tree.answer(&range).unwrap()), Some(layers[4][0]));
        let uncles: Vec<_> = range.uncles().collect();
        assert_eq!(uncles, [TreeNode { layer: 2, index: 3 }, TreeNode { layer: 3, index: 0 }]);
    }

    #[test]
    fn what_bep_52_forbids_to_ask_is_not_answered() {
        let (tree, _) = tree(13, 0);
        let allowed = HashRange { base_layer: 0, index: 4, length: 4, proof_layers: 3 };
        assert!(tree.answer(&allowed).is_some());
        for range in [
            HashRange { index: 2, ..allowed },
            HashRange { index: 16, ..allowed },
            HashRange { index: u32::MAX - 3, ..allowed },
            HashRange { length: 0, ..allowed },
            HashRange { length: 1, ..allowed },
            HashRange { length: 3, index: 3, ..allowed },
            HashRange { length: 1024, index: 0, ..allowed },
            HashRange { proof_layers: 4, ..allowed },
            HashRange { base_layer: 5, ..allowed },
            HashRange { base_layer: u32::MAX, ..allowed },
        ] {
            assert_eq!(tree.answer(&range), None, "{range:?}");
        }
    }

    #[test]
    fn a_layer_of_the_wrong_length_makes_no_tree() {
        let (shape, leaves) = file(5, 1);
        let hashes = |count: usize| Bytes::from(vec![1; count * 32]);
        assert!(HashTree::new(shape, 1, hashes(3)).is_some());
        for (layer, hashes) in [(1, hashes(2)), (1, hashes(4)), (0, hashes(3)), (9, hashes(0))] {
            assert_eq!(HashTree::new(shape, layer, hashes), None);
        }
        assert_eq!(HashTree::new(shape, 0, vec![0; leaves.len() * 32 + 1].into()), None);
    }

    #[test]
    fn a_file_of_one_block_is_its_own_root() {
        let (tree, layers) = tree(1, 0);
        assert_eq!(tree.root(), Some(layers[0][0]));
        assert_eq!(HashRange::to_root(&tree.shape(), 0, 0, 2), None);
    }
}
