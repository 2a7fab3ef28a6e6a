//! Names for the parts of a torrent: piece, block, infohash, peer id, and the arithmetic between
//! them.
//!
//! A torrent's content is one run of bytes cut into pieces of equal length (the last may be
//! shorter); a piece is hashed as a whole and transferred in blocks of 16 KiB. [`Geometry`] is the
//! only place that multiplies these, so it is the only place that can overflow: it cannot be built
//! from numbers that do not fit.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::padding::Padding;

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
/// Padding (BEP 47, BEP 52) is not transferred: a block is what is left of its 16 KiB without the
/// padding at their beginning and end. Of some nothing is left; those are no blocks. Padding amid a block
/// is transferred with it, since a request is one run of bytes, and not counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Geometry {
    total_len: u64,
    piece_len: u32,
    pieces: u32,
    padding: Option<Arc<Padding>>,
}

impl Geometry {
    /// Of no content at all: no pieces.
    pub const NOTHING: Geometry =
        Geometry { total_len: 0, piece_len: BLOCK_LEN, pieces: 0, padding: None };

    /// `total_len` bytes in pieces of `piece_len`; `None` if a number is 0 or past the limits
    /// ([`MAX_PIECE_LEN`], [`MAX_PIECES`]). Content of no bytes has no pieces.
    pub fn new(total_len: u64, piece_len: u32) -> Option<Self> {
        if piece_len == 0 || piece_len > MAX_PIECE_LEN {
            return None;
        }
        let pieces = u32::try_from(total_len.div_ceil(u64::from(piece_len))).ok()?;
        (pieces <= MAX_PIECES).then_some(Geometry { total_len, piece_len, pieces, padding: None })
    }

    /// The same where this much of the content is padding.
    pub fn with_padding(self, padding: Option<Padding>) -> Self {
        Geometry { padding: padding.map(Arc::new), ..self }
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

    /// Length of a piece in bytes without its padding.
    pub fn data_len_of(&self, piece: PieceIndex) -> u32 {
        let whole = Block { piece, begin: 0, length: self.len_of(piece) };
        whole.length - self.padding_in(whole)
    }

    /// Length of the content in bytes without padding.
    pub fn data_len(&self) -> u64 {
        let padding = self.padding.as_ref().map_or(0, |padding| padding.total());
        self.total_len.saturating_sub(padding)
    }

    /// The same of `count` pieces, which are those for which `contains` says so. Looks at those only
    /// that have padding, and at the last.
    pub fn data_len_of_all(&self, count: u32, contains: impl Fn(PieceIndex) -> bool) -> u64 {
        let last = self.pieces.checked_sub(1).map(PieceIndex).filter(|last| contains(*last));
        let short = last.map_or(0, |last| u64::from(self.piece_len - self.len_of(last)));
        let runs = self.padding.iter().flat_map(|padding| padding.runs());
        let padding: u64 = runs
            .flat_map(|run| {
                self.pieces_of(&run).map(move |piece| {
                    let start = self.offset_of(piece);
                    let end = start + u64::from(self.piece_len);
                    (piece, run.end.min(end) - run.start.max(start))
                })
            })
            .filter(|(piece, _)| contains(*piece))
            .map(|(_, bytes)| bytes)
            .sum();
        (u64::from(count) * u64::from(self.piece_len)).saturating_sub(short + padding)
    }

    /// The pieces that have bytes of a range of the content, which is not empty.
    fn pieces_of(&self, range: &Range<u64>) -> impl Iterator<Item = PieceIndex> + use<> {
        let piece_len = u64::from(self.piece_len);
        // The content has no more pieces than that.
        let at = |offset: u64| (offset / piece_len) as u32;
        (at(range.start)..at(range.end - 1) + 1).map(PieceIndex)
    }

    /// How many bytes of a range inside a piece are padding.
    pub fn padding_in(&self, range: Block) -> u32 {
        let Some(padding) = &self.padding else { return 0 };
        // No more than the range has.
        padding.bytes_in(self.place_of(range)) as u32
    }

    /// Where a range inside a piece lies in the content.
    fn place_of(&self, range: Block) -> Range<u64> {
        let start = self.offset_of(range.piece) + u64::from(range.begin);
        start..start + u64::from(range.length)
    }

    /// Whether a piece consists of padding alone. It is not transferred: it is there as soon as it is
    /// verified.
    pub fn is_padding(&self, piece: PieceIndex) -> bool {
        self.padding.is_some() && self.contains(piece) && self.data_len_of(piece) == 0
    }

    /// The pieces that consist of padding alone, in order.
    pub fn padding_pieces(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        let long = |run: &Range<u64>| run.end - run.start >= u64::from(self.len_of(self.last()));
        let runs = self.padding.iter().flat_map(|padding| padding.runs()).filter(long);
        runs.flat_map(|run| self.pieces_of(&run)).filter(|piece| self.is_padding(*piece))
    }

    fn last(&self) -> PieceIndex {
        PieceIndex(self.pieces.saturating_sub(1))
    }

    /// How many blocks a piece has, those of padding alone among them that others follow.
    pub fn blocks_of(&self, piece: PieceIndex) -> u32 {
        let whole = Block { piece, begin: 0, length: self.len_of(piece) };
        let data = self.trim(whole);
        if data.length == 0 { 0 } else { (data.begin + data.length).div_ceil(BLOCK_LEN) }
    }

    /// The numbers of those blocks of a piece that consist of padding alone: nothing is transferred
    /// for them.
    pub fn padding_blocks(&self, piece: PieceIndex) -> impl Iterator<Item = u32> + '_ {
        let blocks = if self.padding.is_some() { self.blocks_of(piece) } else { 0 };
        let before_the_end = Block {
            piece,
            begin: 0,
            length: blocks.saturating_mul(BLOCK_LEN).min(self.len_of(piece)),
        };
        let may_be = self.padding_in(before_the_end) >= BLOCK_LEN;
        let numbers = if may_be { 0..blocks } else { 0..0 };
        numbers.filter(move |number| self.block(piece, *number).length == 0)
    }

    /// The `number`th block of a piece; one of no length if it consists of padding alone.
    pub fn block(&self, piece: PieceIndex, number: u32) -> Block {
        let begin = number.saturating_mul(BLOCK_LEN);
        let length = self.len_of(piece).saturating_sub(begin).min(BLOCK_LEN);
        self.trim(Block { piece, begin, length })
    }

    /// What is left of a range inside a piece without the padding at its beginning and its end.
    fn trim(&self, range: Block) -> Block {
        let Some(padding) = &self.padding else { return range };
        let whole = self.place_of(range);
        let data = padding.trim(whole.clone());
        if data.is_empty() {
            return Block { length: 0, ..range };
        }
        // No more than the range has.
        let begin = range.begin + (data.start - whole.start) as u32;
        Block { begin, length: (data.end - data.start) as u32, ..range }
    }

    /// Whether the block is exactly one that [`Geometry::block`] gives: what we ask for.
    pub fn is_block(&self, block: Block) -> bool {
        self.contains(block.piece)
            && block.length > 0
            && block == self.block(block.piece, block.number())
    }

    /// Whether the range lies inside its piece, padding included, and is not empty: what we may be
    /// asked for. Padding reads as zeros (BEP 47: clients "must service such requests").
    pub fn contains_range(&self, block: Block) -> bool {
        let end = u64::from(block.begin) + u64::from(block.length);
        let is_inside = end <= u64::from(self.len_of(block.piece));
        self.contains(block.piece) && block.length > 0 && is_inside
    }
}

/// Adjacent blocks of a piece, which are read at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockRun {
    pub(crate) piece: PieceIndex,
    pub(crate) begin: u32,
    pub(crate) length: u32,
}

impl BlockRun {
    /// The run as one long block.
    pub(crate) fn as_block(self) -> Block {
        Block { piece: self.piece, begin: self.begin, length: self.length }
    }

    /// Whether the block is part of it.
    pub(crate) fn covers(self, block: Block) -> bool {
        block.piece == self.piece
            && block.begin >= self.begin
            && block.begin - self.begin + block.length <= self.length
    }
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

    /// Pieces of four blocks; negative lengths are padding.
    fn padded(files: &[i64]) -> Geometry {
        let files = files.iter().map(|length| (length.unsigned_abs(), *length < 0));
        let total = files.clone().map(|(length, _)| length).sum();
        Geometry::new(total, 65_536).unwrap().with_padding(Padding::of_files(files))
    }

    /// Where the blocks of a piece begin and how long they are.
    fn blocks(g: &Geometry, piece: u32) -> Vec<(u32, u32)> {
        let block = |number| g.block(PieceIndex(piece), number);
        let blocks = (0..g.blocks_of(PieceIndex(piece))).map(block);
        blocks.map(|block| (block.begin, block.length)).collect()
    }

    #[test]
    fn a_file_ends_where_its_last_block_ends() {
        let g = padded(&[20_000, -45_536, 65_536, 16_384, -49_152, 65_436, -100]);
        assert_eq!(blocks(&g, 0), [(0, 16_384), (16_384, 3_616)]);
        assert_eq!(blocks(&g, 1).len(), 4);
        assert_eq!(blocks(&g, 2), [(0, 16_384)]);
        assert_eq!(blocks(&g, 3)[3], (49_152, 16_284));
        assert_eq!(g.data_len(), 20_000 + 65_536 + 16_384 + 65_436);
        assert_eq!(g.len_of(PieceIndex(0)), 65_536, "as it is hashed by v1");
        let is_block = |begin, length| g.is_block(Block { piece: PieceIndex(0), begin, length });
        assert!(is_block(16_384, 3_616));
        assert!(!is_block(16_384, 16_384) && !is_block(32_768, 16_384));
        let two = |piece: PieceIndex| [0, 3].contains(&piece.0);
        assert_eq!(g.data_len_of_all(2, two), 20_000 + 65_436);
    }

    #[test]
    fn padding_before_and_behind_is_cut_off_and_padding_within_is_not() {
        let g = padded(&[100, -200, 16_000, -100, 16_384, -16_484, 1, -16_267]);
        assert_eq!(blocks(&g, 0), [(0, 16_300), (16_400, 16_368), (32_768, 16), (49_268, 1)]);
        assert_eq!(blocks(&g, 1), [], "the content ends here");
        let first = g.block(PieceIndex(0), 0);
        assert_eq!(first.length - g.padding_in(first), 16_100);
        assert_eq!(g.data_len(), 32_485);
    }

    #[test]
    fn of_blocks_of_padding_alone_nothing_is_transferred() {
        let g = padded(&[10, -40_000, 25_526, -65_536, -65_536, 7, -100_000]);
        assert_eq!(blocks(&g, 0), [(0, 10), (16_384, 0), (40_010, 9_142), (49_152, 16_384)]);
        assert_eq!(g.padding_blocks(PieceIndex(0)).collect::<Vec<_>>(), [1]);
        assert_eq!(blocks(&g, 3), [(0, 7)]);
        assert_eq!(g.padding_blocks(PieceIndex(3)).count(), 0, "behind its end there are none");
        let pieces: Vec<u32> = g.padding_pieces().map(|piece| piece.0).collect();
        assert_eq!(pieces, [1, 2, 4]);
        assert!(pieces.iter().all(|piece| g.blocks_of(PieceIndex(*piece)) == 0));
        assert_eq!(
            (g.data_len_of(PieceIndex(1)), g.data_len_of_all(g.pieces(), |_| true)),
            (0, 25_543)
        );
    }

    #[test]
    fn padding_may_be_asked_of_us() {
        let g = padded(&[20_000, -45_536, 5]);
        assert!(g.contains_range(Block { piece: PieceIndex(0), begin: 49_152, length: 16_384 }));
        assert!(!g.contains_range(Block { piece: PieceIndex(1), begin: 0, length: 6 }));
    }

    #[test]
    fn numbers_past_the_limits_make_no_geometry() {
        assert_eq!(Geometry::new(1, 0), None);
        assert_eq!(Geometry::new(1, MAX_PIECE_LEN + 1), None);
        assert_eq!(Geometry::new(u64::MAX, 1), None);
        assert_eq!(Geometry::new(0, 16_384).unwrap().pieces(), 0);
    }
}
