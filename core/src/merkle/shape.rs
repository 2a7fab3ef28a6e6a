//! How many layers a file's tree has, and how many hashes each.

use crate::piece::{BLOCK_LEN, MAX_PIECE_LEN};

/// The shape of the merkle tree of one file in a torrent with a certain piece length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeShape {
    blocks: u64,
    height: u32,
    piece_layer: u32,
    pieces: u32,
}

impl TreeShape {
    /// The tree of a file of `file_len` bytes. `None` if the file is empty (it has no tree), if
    /// the piece length is not a power of two from 16 KiB to [`MAX_PIECE_LEN`], or if the pieces
    /// are 2^32 or more.
    pub fn new(file_len: u64, piece_len: u32) -> Option<Self> {
        let is_allowed = is_piece_len(piece_len.into());
        let pieces = u32::try_from(file_len.div_ceil(u64::from(piece_len.max(1)))).ok()?;
        if !is_allowed || file_len == 0 {
            return None;
        }
        let blocks = file_len.div_ceil(u64::from(BLOCK_LEN));
        let height = blocks.checked_next_power_of_two()?.trailing_zeros();
        let piece_layer = (piece_len / BLOCK_LEN).trailing_zeros();
        Some(TreeShape { blocks, height, piece_layer, pieces })
    }

    /// The tree below one node of this layer, that of a piece, with so many bytes of the file. `None`
    /// if there are none, or more than it covers.
    pub(crate) fn below(layer: u32, length: u32) -> Option<Self> {
        let blocks = u64::from(length.div_ceil(BLOCK_LEN));
        let fits = blocks > 0 && blocks <= 1_u64.checked_shl(layer)?;
        fits.then_some(TreeShape { blocks, height: layer, piece_layer: layer, pieces: 1 })
    }

    /// Blocks of the file: leaves that are not filling.
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Pieces of the file.
    pub const fn pieces(&self) -> u32 {
        self.pieces
    }

    /// The layer of the root. 0 for a file of one block, whose only hash is leaf and root.
    pub const fn height(&self) -> u32 {
        self.height
    }

    /// The layer in which one hash covers one piece; above the root if the piece is larger than
    /// the tree.
    pub const fn piece_layer(&self) -> u32 {
        self.piece_layer
    }

    /// Whether the file has more than one piece, so that `piece layers` has an entry for it.
    pub const fn has_piece_layer(&self) -> bool {
        self.pieces > 1
    }

    /// The layer of the node that a piece's hash is: the piece layer, or the root of a file that
    /// is no longer than a piece.
    pub fn top_of_piece(&self) -> u32 {
        self.piece_layer.min(self.height)
    }

    /// Hashes in a layer, filling included: a power of two. `None` above the root.
    pub fn width(&self, layer: u32) -> Option<u64> {
        1_u64.checked_shl(self.height.checked_sub(layer)?)
    }

    /// Hashes in a layer that are not filling; at least the root. 0 above it.
    pub fn len(&self, layer: u32) -> u64 {
        match self.width(layer) {
            Some(_) => self.blocks.div_ceil(1 << layer),
            None => 0,
        }
    }
}

/// Whether v2 allows a piece length: "a power of two and at least 16KiB".
pub(crate) fn is_piece_len(len: u64) -> bool {
    len.is_power_of_two() && (u64::from(BLOCK_LEN)..=u64::from(MAX_PIECE_LEN)).contains(&len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_as_high_as_its_blocks_need() {
        let shape = |blocks: u64| TreeShape::new(blocks * 16_384, 32_768).unwrap();
        assert_eq!([1, 2, 3, 4, 5].map(|blocks| shape(blocks).height()), [0, 1, 2, 2, 3]);
        assert_eq!([1, 2, 3, 4, 5].map(|blocks| shape(blocks).pieces()), [1, 1, 2, 2, 3]);
        assert_eq!([1, 2, 3].map(|blocks| shape(blocks).top_of_piece()), [0, 1, 1]);
        let five = shape(5);
        assert_eq!([0, 1, 2, 3, 4].map(|layer| five.len(layer)), [5, 3, 2, 1, 0]);
        assert_eq!([0, 3, 4].map(|layer| five.width(layer)), [Some(8), Some(1), None]);
        assert_eq!(TreeShape::new(16_385, 16_384).unwrap().blocks(), 2);
    }

    #[test]
    fn what_has_no_tree_has_no_shape() {
        assert_eq!(TreeShape::new(0, 16_384), None);
        for piece_len in [0, 1, 8192, 16_383, 49_152, MAX_PIECE_LEN + 1, 1 << 29] {
            assert_eq!(TreeShape::new(1, piece_len), None, "{piece_len}");
        }
        assert_eq!(TreeShape::new(u64::MAX, 16_384), None);
        assert!(TreeShape::new(1 << 47, MAX_PIECE_LEN).is_some());
    }
}
