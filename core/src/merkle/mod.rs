//! The merkle trees of BitTorrent v2 (BEP 52, "pieces root", "piece layers", "hash request").
//!
//! Each file has a tree of its own: its 16 KiB blocks hashed with SHA2-256 are the leaves, and
//! hashes of zeros fill up the leaves to a power of two. Layers are counted from the leaves, which
//! are layer 0. [`TreeShape`] does the arithmetic, [`Accumulator`] and [`BlockHasher`] make roots
//! with memory for one hash a layer, [`HashTree`] keeps what it takes to answer hash requests, and
//! [`HashRange`] is what a hash request asks for and how an answer is checked.
//!
//! Nodes that cover nothing but filling are never stored: [`filling`] gives their hash.
//!
//! Not here: who asks whom, and where the layers lie in a torrent file (`metainfo`).

mod accumulator;
mod range;
mod shape;
mod tree;

use sha2::{Digest, Sha256};

use crate::piece::Sha256Hash;

pub use accumulator::{Accumulator, BlockHasher};
pub use range::{HashRange, MAX_ANSWER_LEN, MAX_HASHES, TreeNode};
pub use shape::TreeShape;
pub(crate) use shape::is_piece_len;
pub use tree::HashTree;

/// The hash of a block of up to 16 KiB: a leaf.
pub fn leaf(block: &[u8]) -> Sha256Hash {
    Sha256::digest(block).into()
}

/// The hash above two others.
pub fn parent(left: &Sha256Hash, right: &Sha256Hash) -> Sha256Hash {
    Sha256::new().chain_update(left).chain_update(right).finalize().into()
}

/// The hash of a node in this layer that has no block of the file below it. Takes time in
/// proportion to the layer, which for any file is less than 64.
pub fn filling(layer: u32) -> Sha256Hash {
    (0..layer).fold([0; 32], |hash, _| parent(&hash, &hash))
}

#[cfg(test)]
pub(crate) mod model;
