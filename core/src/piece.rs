//! Names for the parts of a torrent: piece, block, infohash, peer id, and the arithmetic between
//! them.
//!
//! A torrent's content is one run of bytes cut into pieces of equal length (the last may be
//! shorter); a piece is hashed as a whole and transferred in blocks of 16 KiB. [`Geometry`] is the
//! only place that multiplies these, so it is the only place that can overflow: it cannot be built
//! from numbers that do not fit.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Length of a block in bytes, the unit of requests. BEP 3: "All current implementations use 2^14".
pub const BLOCK_LEN: u32 = 16 * 1024;

/// Longest piece accepted, in bytes (chosen; as large as any client makes them).
pub const MAX_PIECE_LEN: u32 = 256 * 1024 * 1024;

/// Most pieces accepted in a torrent (chosen: 20 bytes of hash each make a 40 MiB metainfo).
pub const MAX_PIECES: u32 = 2 * 1024 * 1024;

/// Which piece, from 0.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct PieceIndex(pub u32);

impl PieceIndex {
    /// As an array index.
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

/// Where a block lies: what request, piece, cancel and reject name (BEP 3, "peer messages").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Block {
    /// The piece it is part of.
    pub piece: PieceIndex,
    /// Offset in the piece, in bytes.
    pub begin: u32,
    /// Length in bytes.
    pub length: u32,
}

impl Block {
    /// Which block of its piece this is, if it starts on a 16 KiB boundary.
    pub const fn number(self) -> u32 {
        self.begin / BLOCK_LEN
    }
}

/// A 20-byte SHA-1 digest.
pub type Sha1Hash = [u8; 20];

/// The SHA-1 of the info dictionary, by which a v1 swarm is known (BEP 3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InfoHash(pub [u8; 20]);

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A 32-byte SHA2-256 digest.
pub type Sha256Hash = [u8; 32];

/// The SHA2-256 of the info dictionary, by which a v2 swarm is known (BEP 52, "infohash").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InfoHashV2(pub Sha256Hash);

impl InfoHashV2 {
    /// Its first 20 bytes: what handshakes, trackers and the DHT have room for.
    pub fn truncated(&self) -> InfoHash {
        let mut short = [0; 20];
        short.iter_mut().zip(self.0).for_each(|(short, byte)| *short = byte);
        InfoHash(short)
    }
}

impl fmt::Display for InfoHashV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for InfoHashV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a client calls itself in handshakes and announces (BEP 3, BEP 20).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerId(pub [u8; 20]);

impl fmt::Display for PeerId {
    /// Printable characters as they are, all others as a dot.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| {
            let shown = if byte.is_ascii_graphic() { char::from(byte) } else { '.' };
            write!(f, "{shown}")
        })
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a torrent's content is cut into pieces and blocks.
///
/// Pieces that end in padding (BEP 47, BEP 52) are transferred without it: their blocks end where
/// the data ends, see [`Geometry::with_padding`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Geometry {
    total_len: u64,
    piece_len: u32,
    pieces: u32,
    tails: Option<Arc<Tails>>,
}

/// The pieces that end in padding.
#[derive(PartialEq, Eq, Debug)]
struct Tails {
    /// Each with the bytes that are transferred, in order.
    pieces: Vec<(PieceIndex, u32)>,
    padding: Padding,
}

/// What is known of padding by those who ask for blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Padding {
    /// v1: padding is content of which nothing need be asked for, but a block that has any data is
    /// asked for whole.
    Content,
    /// v2: there is none, a piece ends where its file does.
    Unknown,
}

impl Geometry {
    /// Of no content at all: no pieces.
    pub const NOTHING: Geometry =
        Geometry { total_len: 0, piece_len: BLOCK_LEN, pieces: 0, tails: None };

    /// `total_len` bytes in pieces of `piece_len`; `None` if a number is 0 or past the limits
    /// ([`MAX_PIECE_LEN`], [`MAX_PIECES`]). Content of no bytes has no pieces.
    pub fn new(total_len: u64, piece_len: u32) -> Option<Self> {
        if piece_len == 0 || piece_len > MAX_PIECE_LEN {
            return None;
        }
        let pieces = u32::try_from(total_len.div_ceil(u64::from(piece_len))).ok()?;
        (pieces <= MAX_PIECES).then_some(Geometry { total_len, piece_len, pieces, tails: None })
    }

    /// The same where these pieces, in order, end in padding after so many bytes. What says
    /// nothing is left out: bytes of none, or of all the piece.
    pub fn with_padding(
        self,
        padding: Padding,
        data: impl IntoIterator<Item = (PieceIndex, u32)>,
    ) -> Self {
        let transferred = |bytes: u32| match padding {
            Padding::Content => bytes.next_multiple_of(BLOCK_LEN),
            Padding::Unknown => bytes,
        };
        let pieces: Vec<_> = data
            .into_iter()
            .filter(|&(piece, bytes)| bytes > 0 && bytes <= self.len_of(piece))
            .map(|(piece, bytes)| (piece, transferred(bytes)))
            .filter(|&(piece, bytes)| bytes < self.len_of(piece))
            .collect();
        let tails = (!pieces.is_empty()).then(|| Arc::new(Tails { pieces, padding }));
        Geometry { tails, ..self }
    }

    /// Length of the content in bytes, padding included.
    pub const fn total_len(&self) -> u64 {
        self.total_len
    }

    /// Length in bytes of every piece but the last.
    pub const fn piece_len(&self) -> u32 {
        self.piece_len
    }

    /// How many pieces there are.
    pub const fn pieces(&self) -> u32 {
        self.pieces
    }

    /// Whether there is such a piece.
    pub const fn contains(&self, piece: PieceIndex) -> bool {
        piece.0 < self.pieces
    }

    /// Every piece in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = PieceIndex> + use<> {
        (0..self.pieces).map(PieceIndex)
    }

    /// Offset of a piece in the content, in bytes.
    pub const fn offset_of(&self, piece: PieceIndex) -> u64 {
        piece.0 as u64 * self.piece_len as u64
    }

    /// Length of a piece in bytes, padding included; 0 for one that does not exist.
    pub fn len_of(&self, piece: PieceIndex) -> u32 {
        let left = self.total_len.saturating_sub(self.offset_of(piece));
        u32::try_from(left).unwrap_or(u32::MAX).min(self.piece_len)
    }

    /// Bytes of a piece that are transferred: all but the padding at its end.
    pub fn data_len_of(&self, piece: PieceIndex) -> u32 {
        self.tail_of(piece).unwrap_or_else(|| self.len_of(piece))
    }

    /// Bytes to transfer in all.
    pub fn data_len(&self) -> u64 {
        self.data_len_of_all(self.pieces, |_| true)
    }

    /// Bytes to transfer for `count` pieces, which are those for which `contains` says so. Looks
    /// at those only that are not as long as the others.
    pub fn data_len_of_all(&self, count: u32, contains: impl Fn(PieceIndex) -> bool) -> u64 {
        let tails = self.tails.as_ref().map_or(&[][..], |tails| &tails.pieces);
        let last = self.pieces.checked_sub(1).map(PieceIndex);
        let last = last.filter(|last| tails.last().is_none_or(|(tail, _)| tail != last));
        let missing = tails
            .iter()
            .copied()
            .chain(last.map(|last| (last, self.len_of(last))))
            .filter(|(piece, _)| contains(*piece))
            .map(|(_, bytes)| u64::from(self.piece_len - bytes))
            .sum();
        (u64::from(count) * u64::from(self.piece_len)).saturating_sub(missing)
    }

    fn tail_of(&self, piece: PieceIndex) -> Option<u32> {
        let pieces = &self.tails.as_ref()?.pieces;
        let at = pieces.binary_search_by_key(&piece, |(piece, _)| *piece).ok()?;
        pieces.get(at).map(|(_, bytes)| *bytes)
    }

    /// How many blocks a piece has.
    pub fn blocks_of(&self, piece: PieceIndex) -> u32 {
        self.data_len_of(piece).div_ceil(BLOCK_LEN)
    }

    /// The `number`th block of a piece.
    pub fn block(&self, piece: PieceIndex, number: u32) -> Block {
        let begin = number * BLOCK_LEN;
        let length = self.data_len_of(piece).saturating_sub(begin).min(BLOCK_LEN);
        Block { piece, begin, length }
    }

    /// Whether the block is exactly one that [`Geometry::block`] gives: what we ask for.
    pub fn is_block(&self, block: Block) -> bool {
        let left = |len: u32| len.saturating_sub(block.begin).min(BLOCK_LEN);
        self.contains(block.piece)
            && block.begin.is_multiple_of(BLOCK_LEN)
            && block.length > 0
            && block.length == left(self.data_len_of(block.piece))
    }

    /// Whether the range lies inside its piece, padding included, and is not empty.
    pub fn contains_range(&self, block: Block) -> bool {
        self.contains(block.piece) && ends_within(block, self.len_of(block.piece))
    }

    /// Whether the range is one that we may be asked for: padding only where it is content.
    pub fn may_be_requested(&self, block: Block) -> bool {
        let is_content = self.tails.as_ref().is_none_or(|tails| tails.padding == Padding::Content);
        self.contains_range(block)
            && (is_content || ends_within(block, self.data_len_of(block.piece)))
    }
}

fn ends_within(range: Block, len: u32) -> bool {
    range.length > 0 && u64::from(range.begin) + u64::from(range.length) <= u64::from(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_and_the_last_block_are_what_is_left() {
        let g = Geometry::new(100_000, 32_768).unwrap();
        assert_eq!(g.pieces(), 4);
        assert_eq!(g.len_of(PieceIndex(3)), 1_696);
        assert_eq!(g.len_of(PieceIndex(4)), 0);
        assert_eq!(g.blocks_of(PieceIndex(0)), 2);
        assert_eq!(g.block(PieceIndex(3), 0).length, 1_696);
        assert!(g.is_block(Block { piece: PieceIndex(3), begin: 0, length: 1_696 }));
        assert!(!g.is_block(Block { piece: PieceIndex(3), begin: 0, length: 16_384 }));
        assert!(!g.is_block(Block { piece: PieceIndex(0), begin: 1, length: 16_384 }));
        assert!(!g.contains_range(Block { piece: PieceIndex(0), begin: u32::MAX, length: 2 }));
        assert!(!g.contains_range(Block { piece: PieceIndex(0), begin: 0, length: 0 }));
    }

    /// Four pieces of four blocks each but the last, of which two end in padding.
    fn padded(padding: Padding) -> Geometry {
        let tails = [(0, 20_000), (1, 65_536), (2, 16_384), (3, 0)];
        let tails = tails.map(|(piece, bytes)| (PieceIndex(piece), bytes));
        Geometry::new(4 * 65_536 - 100, 65_536).unwrap().with_padding(padding, tails)
    }

    #[test]
    fn padding_is_not_asked_for_and_of_v2_not_even_beside_data() {
        let lengths = |g: &Geometry| {
            g.iter()
                .map(|piece| (0..g.blocks_of(piece)).map(|n| g.block(piece, n).length).collect())
                .collect::<Vec<Vec<u32>>>()
        };
        let whole = vec![16_384; 4];
        let last = vec![16_384, 16_384, 16_384, 16_284];
        let v1 = padded(Padding::Content);
        assert_eq!(lengths(&v1), [vec![16_384; 2], whole.clone(), vec![16_384], last.clone()]);
        assert_eq!(v1.data_len(), 32_768 + 65_536 + 16_384 + 65_436);
        let v2 = padded(Padding::Unknown);
        assert_eq!(lengths(&v2), [vec![16_384, 3_616], whole, vec![16_384], last]);
        assert_eq!(v2.data_len(), 20_000 + 65_536 + 16_384 + 65_436);
        let both = |piece: PieceIndex| piece.0 > 1;
        assert_eq!(v2.data_len_of_all(2, both), 16_384 + 65_436);
        for g in [v1, v2] {
            assert_eq!(g.len_of(PieceIndex(0)), 65_536, "as it is hashed by v1");
            assert!(!g.is_block(Block { piece: PieceIndex(0), begin: 32_768, length: 16_384 }));
        }
    }

    #[test]
    fn padding_may_be_asked_of_us_where_it_is_content() {
        let beyond = Block { piece: PieceIndex(2), begin: 16_384, length: 16_384 };
        assert!(padded(Padding::Content).may_be_requested(beyond));
        assert!(!padded(Padding::Unknown).may_be_requested(beyond));
        assert!(padded(Padding::Unknown).may_be_requested(Block { begin: 0, ..beyond }));
    }

    #[test]
    fn numbers_past_the_limits_make_no_geometry() {
        assert_eq!(Geometry::new(1, 0), None);
        assert_eq!(Geometry::new(1, MAX_PIECE_LEN + 1), None);
        assert_eq!(Geometry::new(u64::MAX, 1), None);
        assert_eq!(Geometry::new(0, 16_384).unwrap().pieces(), 0);
    }
}
