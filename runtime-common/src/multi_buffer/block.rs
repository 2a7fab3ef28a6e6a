//! What the hash functions take at once.

/// What both functions take at once, in bytes.
pub(super) const BLOCK_LEN: usize = 64;

/// The bytes of a block.
pub(super) type Block = [u8; BLOCK_LEN];
