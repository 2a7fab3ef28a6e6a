//! Hash requests (BEP 52): whatever is asked of any tree is answered in full or not at all, with no
//! more than is allowed; an answer proves its top, and one that was changed proves nothing.

use bitswarm_core::merkle::{HashRange, HashTree, MAX_HASHES, TreeShape};

use super::input::Input;

/// Most blocks of a file here: enough for several requests of the greatest length.
const MAX_BLOCKS: u64 = 3000;

/// See the module.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let blocks = u64::from(input.u16()) % MAX_BLOCKS + 1;
    let piece_len = 16_384 << input.below(6);
    let shape = TreeShape::new(blocks * 16_384, piece_len).expect("an allowed length");
    let layer = if input.flag() { 0 } else { shape.top_of_piece() };
    let hashes = u16::try_from(shape.len(layer)).expect("few blocks");
    let base: Vec<u8> = (0..hashes).flat_map(|n| [n as u8 ^ (n >> 8) as u8; 32]).collect();
    let tree = HashTree::new(shape, layer, base.into()).expect("as many as the layer has");
    while !input.is_empty() {
        let exact = input.flag();
        let mut number =
            |most: u32| if exact { u32::from(input.u16()) % most } else { input.u32() };
        let range = HashRange {
            base_layer: number(14),
            index: number(4096),
            length: if exact { 1 << number(11) } else { number(1) },
            proof_layers: number(14),
        };
        check(&tree, &range, usize::from(input.u16()));
    }
}

fn check(tree: &HashTree, range: &HashRange, flip: usize) {
    let (top, len) = (range.top(), range.answer_len());
    let Some(mut answer) = tree.answer(range) else {
        let is_held = range.base_layer >= 14 || tree.node(bottom(range)).is_some();
        assert!(!range.is_allowed(&tree.shape()) || !is_held, "{range:?} is not answered");
        return;
    };
    assert!(range.is_allowed(&tree.shape()));
    assert!(answer.len() == len && len <= MAX_HASHES as usize + 64);
    assert_eq!(range.climb(&answer), tree.node(top));
    let changed = flip % answer.len();
    answer[changed][flip % 32] ^= 1;
    assert_ne!(range.climb(&answer), tree.node(top));
    answer.pop();
    assert_eq!(range.climb(&answer), None);
}

/// The first node that is asked for.
fn bottom(range: &HashRange) -> bitswarm_core::merkle::TreeNode {
    bitswarm_core::merkle::TreeNode { layer: range.base_layer, index: range.index.into() }
}
