//! What a hash request asks for, and what its answer proves (BEP 52, "hash request").

use super::{TreeShape, parent};
use crate::piece::Sha256Hash;

/// Most hashes of one request that are answered (BEP 52: "SHOULD NOT be greater than 512").
pub const MAX_HASHES: u32 = 512;

/// Most hashes of one answer: those asked for and one a layer, of which no tree has more.
pub const MAX_ANSWER_LEN: u32 = MAX_HASHES + 64;

/// A run of hashes of one layer, with the hashes beside their ancestors.
///
/// Two hashes of layer 1, the four leaves below them being known by nobody, with as many proof
/// layers as there are:
///
/// ```text
///            root                    layer 3
///       o            uncle           layer 2: proof layer 1
///    asked asked   .     .           layer 1: base
///    .  .  .  .   . .   . .          layer 0
/// ```
///
/// The first `log2(length) - 1` proof layers have no uncle, because the run contains both nodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HashRange {
    /// The layer of the hashes asked for.
    pub base_layer: u32,
    /// The first of them, counted from the left.
    pub index: u32,
    /// How many: a power of two, at least 2.
    pub length: u32,
    /// How many layers above the base layer are to be proven.
    pub proof_layers: u32,
}

/// A place in a tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TreeNode {
    /// Counted from the leaves.
    pub layer: u32,
    /// Counted from the left.
    pub index: u64,
}

impl HashRange {
    /// Whether the tree has such a run and BEP 52 allows to ask for it.
    pub fn is_allowed(&self, shape: &TreeShape) -> bool {
        let length = self.length;
        let Some(width) = shape.width(self.base_layer) else { return false };
        length.is_power_of_two()
            && (2..=MAX_HASHES).contains(&length)
            && self.index.is_multiple_of(length)
            && u64::from(self.index) + u64::from(length) <= width
            && self.proof_layers < shape.height().saturating_sub(self.base_layer)
    }

    /// The run that ends in the root: all proof layers that there are.
    pub fn to_root(shape: &TreeShape, base_layer: u32, index: u32, length: u32) -> Option<Self> {
        let proof_layers = shape.height().checked_sub(base_layer)?.checked_sub(1)?;
        let range = HashRange { base_layer, index, length, proof_layers };
        range.is_allowed(shape).then_some(range)
    }

    /// The nodes beside the ancestors of the run, lowest first.
    pub fn uncles(&self) -> impl Iterator<Item = TreeNode> + use<> {
        let (base, index) = (self.base_layer, u64::from(self.index));
        let first = self.length.max(1).ilog2();
        (first..first.max(self.proof_layers.saturating_add(1).min(64))).map(move |above| TreeNode {
            layer: base.saturating_add(above),
            index: index.checked_shr(above).unwrap_or_default() ^ 1,
        })
    }

    /// How many hashes an answer has: at most [`MAX_ANSWER_LEN`] if the run is allowed.
    pub fn answer_len(&self) -> usize {
        self.length as usize + self.uncles().count()
    }

    /// The node that an answer proves to be above the run; the root if it is to be proven whole.
    pub fn top(&self) -> TreeNode {
        let lowest = self.length.max(1).ilog2();
        let above = match self.uncles().last() {
            Some(uncle) => uncle.layer.saturating_sub(self.base_layer).saturating_add(1),
            None => lowest,
        };
        let index = u64::from(self.index).checked_shr(above).unwrap_or_default();
        TreeNode { layer: self.base_layer.saturating_add(above), index }
    }

    /// The hash that [`HashRange::top`] must have if these hashes, the run and its uncles as an
    /// answer has them, are right. `None` if they are not as many as they must be.
    pub fn climb(&self, answer: &[Sha256Hash]) -> Option<Sha256Hash> {
        if answer.len() != self.answer_len() || !self.length.is_power_of_two() {
            return None;
        }
        let (run, uncles) = answer.split_at_checked(self.length as usize)?;
        let mut accumulator = super::Accumulator::new(0);
        run.iter().for_each(|hash| accumulator.push(*hash));
        let mut hash = accumulator.finish(self.length.ilog2())?;
        for (uncle, node) in uncles.iter().zip(self.uncles()) {
            // An uncle with an even index is to the left.
            let (left, right) = if node.index & 1 == 0 { (uncle, &hash) } else { (&hash, uncle) };
            hash = parent(left, right);
        }
        Some(hash)
    }
}
