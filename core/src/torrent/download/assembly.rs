//! Blocks of incomplete pieces, held by reference until their piece is verified and written.
//!
//! Memory is counted. When it runs past the session's budget, the piece that holds most is written
//! through before it is complete (unverified and unclaimed), and is hashed from disk at its end.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::piece::{BLOCK_LEN, Block, Geometry, PieceIndex};
use crate::wire::BlockData;

/// Padding.
static ZEROS: [u8; BLOCK_LEN as usize] = [0; BLOCK_LEN as usize];

/// The blocks of a torrent's incomplete pieces.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    pieces: BTreeMap<PieceIndex, PieceBlocks>,
    held: usize,
    /// Pieces begun so far.
    attempts: u32,
}

#[derive(Debug)]
struct PieceBlocks {
    blocks: Vec<Slot>,
    held: usize,
    missing: u32,
    /// Writes of single blocks that have not completed.
    early_writes: u32,
    /// Whether a block of it went to disk before the piece was complete.
    written_early: bool,
    /// Tells this attempt at the piece from earlier ones.
    attempt: u32,
}

#[derive(Debug, Clone)]
enum Slot {
    Empty,
    /// In memory; no bytes of a block of padding alone.
    Held(BlockData),
    /// On disk, not verified.
    Written,
}

/// Consecutive blocks taken out to be written early.
#[derive(Debug)]
pub(in crate::torrent) struct EarlyRun {
    /// Where they lie; `length` spans them all.
    pub(in crate::torrent) range: Block,
    /// Which attempt at the piece they are part of.
    pub(in crate::torrent) attempt: u32,
    /// Their bytes.
    pub(in crate::torrent) data: Vec<Bytes>,
}

impl Assembly {
    /// Bytes held in all.
    pub(super) fn held_bytes(&self) -> usize {
        self.held
    }

    /// Keeps a block; the caller knows that it was wanted and not there yet.
    pub(super) fn insert(&mut self, geometry: &Geometry, block: Block, data: BlockData) {
        let attempts = &mut self.attempts;
        let piece = self.pieces.entry(block.piece).or_insert_with(|| {
            *attempts = attempts.wrapping_add(1);
            let count = geometry.blocks_of(block.piece);
            let mut blocks = vec![Slot::Empty; count as usize];
            let mut missing = count;
            for number in geometry.padding_blocks(block.piece) {
                if let Some(slot) = blocks.get_mut(number as usize) {
                    *slot = Slot::Held(BlockData::new());
                    missing -= 1;
                }
            }
            PieceBlocks {
                blocks,
                held: 0,
                missing,
                early_writes: 0,
                written_early: false,
                attempt: *attempts,
            }
        });
        let Some(slot @ Slot::Empty) = piece.blocks.get_mut(block.number() as usize) else {
            return;
        };
        *slot = Slot::Held(data);
        piece.held += block.length as usize;
        piece.missing -= 1;
        self.held += block.length as usize;
    }

    /// Whether every block of a piece is here and no early write is under way.
    pub(super) fn is_settled(&self, piece: PieceIndex) -> bool {
        self.pieces.get(&piece).is_some_and(|piece| piece.missing == 0 && piece.early_writes == 0)
    }

    /// Whether a part of the piece went to disk before it was complete.
    pub(super) fn was_written_early(&self, piece: PieceIndex) -> bool {
        self.pieces.get(&piece).is_some_and(|piece| piece.written_early)
    }

    /// The bytes of a complete piece in order, by reference; they stay here until
    /// [`Assembly::remove`], since a failed write is tried again and a failed hash is investigated.
    /// With zeros for the padding, which is not transferred.
    pub(super) fn bytes_of(&self, geometry: &Geometry, index: PieceIndex) -> Vec<Bytes> {
        let Some(piece) = self.pieces.get(&index) else { return Vec::new() };
        let mut data = Vec::with_capacity(piece.blocks.len() + piece.blocks.len() / 8);
        let mut end = 0;
        for (number, slot) in (0..).zip(&piece.blocks) {
            let at = geometry.block(index, number);
            if let Slot::Held(block) = slot
                && at.length > 0
            {
                push_zeros(&mut data, at.begin.saturating_sub(end));
                data.extend(block.chunks().iter().cloned());
                end = at.begin + at.length;
            }
        }
        push_zeros(&mut data, geometry.len_of(index).saturating_sub(end));
        data
    }

    /// All blocks of a piece in order; none if a part of it was written early.
    pub(super) fn blocks_of(&self, piece: PieceIndex) -> impl Iterator<Item = &BlockData> {
        let whole = self.pieces.get(&piece).filter(|piece| !piece.written_early);
        let blocks = whole.map_or(&[][..], |piece| &piece.blocks);
        blocks.iter().filter_map(|slot| match slot {
            Slot::Held(block) => Some(block),
            _ => None,
        })
    }

    /// Drops blocks of a piece that are wrong; the others stay.
    pub(super) fn drop_blocks(&mut self, index: PieceIndex, numbers: &[u32]) {
        let Some(piece) = self.pieces.get_mut(&index) else { return };
        for number in numbers {
            if let Some(slot @ Slot::Held(_)) = piece.blocks.get_mut(*number as usize)
                && let Slot::Held(block) = std::mem::replace(slot, Slot::Empty)
            {
                piece.missing += 1;
                piece.held -= block.len();
                self.held -= block.len();
            }
        }
    }

    /// Drops a piece: it is written, or it was wrong.
    pub(super) fn remove(&mut self, piece: PieceIndex) {
        if let Some(piece) = self.pieces.remove(&piece) {
            self.held -= piece.held;
        }
    }

    /// The piece that holds the most bytes, other than `but`.
    pub(super) fn largest(&self, but: Option<PieceIndex>) -> Option<PieceIndex> {
        let held = |piece: &PieceBlocks| if piece.missing == 0 { 0 } else { piece.held };
        let others = self.pieces.iter().filter(|(index, _)| Some(**index) != but);
        let (&index, piece) = others.max_by_key(|(_, piece)| held(piece))?;
        (held(piece) > 0).then_some(index)
    }

    /// The first piece of which blocks are held that is like this.
    pub(super) fn first(&self, is: impl Fn(PieceIndex) -> bool) -> Option<PieceIndex> {
        self.pieces.keys().copied().filter(|&index| is(index)).min()
    }

    /// Takes the held blocks of a piece out, in runs of consecutive ones, to be written early.
    pub(super) fn take_for_early_write(
        &mut self,
        geometry: &Geometry,
        index: PieceIndex,
    ) -> Vec<EarlyRun> {
        let mut runs: Vec<EarlyRun> = Vec::new();
        let Some(piece) = self.pieces.get_mut(&index) else { return runs };
        for (number, slot) in (0..).zip(&mut piece.blocks) {
            if !matches!(slot, Slot::Held(_)) {
                continue;
            }
            let Slot::Held(block) = std::mem::replace(slot, Slot::Written) else { continue };
            let at = geometry.block(index, number);
            match runs.last_mut() {
                // Padding is not written.
                _ if at.length == 0 => {}
                Some(run) if run.range.begin + run.range.length == at.begin => {
                    run.range.length += at.length;
                    run.data.extend(block.chunks().iter().cloned());
                }
                _ => runs.push(EarlyRun {
                    range: at,
                    attempt: piece.attempt,
                    data: block.chunks().to_vec(),
                }),
            }
        }
        self.held -= piece.held;
        piece.held = 0;
        piece.early_writes += runs.len() as u32;
        piece.written_early |= !runs.is_empty();
        runs
    }

    /// An early write is done; whether it was one of the present attempt at the piece.
    pub(super) fn early_write_done(&mut self, index: PieceIndex, attempt: u32) -> bool {
        let piece = self.pieces.get_mut(&index).filter(|piece| piece.attempt == attempt);
        piece.is_some_and(|piece| {
            piece.early_writes -= 1;
            true
        })
    }
}

/// Appends padding.
fn push_zeros(data: &mut Vec<Bytes>, mut count: u32) {
    while count > 0 {
        let part = count.min(BLOCK_LEN);
        data.push(Bytes::from_static(ZEROS.get(..part as usize).unwrap_or_default()));
        count -= part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::padding::Padding;

    fn geometry() -> Geometry {
        Geometry::new(200_000, 65_536).expect("within limits")
    }

    fn fill(assembly: &mut Assembly, piece: u32, numbers: &[u32]) {
        let geometry = geometry();
        for &number in numbers {
            let block = geometry.block(PieceIndex(piece), number);
            let bytes = Bytes::from(vec![number as u8; block.length as usize]);
            assembly.insert(&geometry, block, bytes.into());
        }
    }

    #[test]
    fn bytes_are_counted_until_the_piece_is_dropped() {
        let mut assembly = Assembly::default();
        fill(&mut assembly, 0, &[1, 0, 1]);
        assert_eq!(assembly.held_bytes(), 32_768, "the second block 1 was there already");
        assert!(!assembly.is_settled(PieceIndex(0)));
        fill(&mut assembly, 0, &[3, 2]);
        assert!(assembly.is_settled(PieceIndex(0)));
        let bytes = assembly.bytes_of(&geometry(), PieceIndex(0)).concat();
        assert_eq!((bytes.len(), bytes[0], bytes[65_535]), (65_536, 0, 3));
        assembly.remove(PieceIndex(0));
        assert_eq!(assembly.held_bytes(), 0);
    }

    #[test]
    fn blocks_that_were_wrong_may_come_again_and_the_others_stay() {
        let mut assembly = Assembly::default();
        fill(&mut assembly, 0, &[0, 1, 2, 3]);
        assembly.drop_blocks(PieceIndex(0), &[1, 3, 3, 9]);
        assert_eq!(assembly.held_bytes(), 32_768);
        assert!(!assembly.is_settled(PieceIndex(0)));
        let geometry = geometry();
        for number in [1, 3] {
            let block = geometry.block(PieceIndex(0), number);
            assembly.insert(&geometry, block, Bytes::from(vec![7; 16_384]).into());
        }
        let bytes = assembly.bytes_of(&geometry, PieceIndex(0)).concat();
        let firsts: Vec<u8> = bytes.chunks(16_384).map(|block| block[0]).collect();
        assert_eq!((firsts, assembly.held_bytes()), (vec![0, 7, 2, 7], 65_536));
    }

    /// 10 bytes, padding up to the middle of the third block, and the rest.
    fn padded() -> Geometry {
        let files = [(10, false), (40_000, true), (25_526, false), (8, true)];
        let geometry = Geometry::new(65_544, 65_536).expect("within limits");
        geometry.with_padding(Padding::of_files(files))
    }

    #[test]
    fn padding_of_a_piece_is_zeros_that_nobody_sent() {
        let (mut assembly, geometry, piece) = (Assembly::default(), padded(), PieceIndex(0));
        for number in [3, 0, 2] {
            assert!(!assembly.is_settled(piece));
            let block = geometry.block(piece, number);
            let data = Bytes::from(vec![7; block.length as usize]);
            assembly.insert(&geometry, block, data.into());
        }
        assert!(assembly.is_settled(piece));
        assert_eq!(assembly.held_bytes(), 10 + 25_526);
        let bytes = assembly.bytes_of(&geometry, piece).concat();
        let expected = [vec![7; 10], vec![0; 40_000], vec![7; 25_526]].concat();
        assert!(bytes == expected, "zeros where the padding is");
        let numbered = assembly.blocks_of(piece).map(BlockData::len).collect::<Vec<_>>();
        assert_eq!(numbered, [10, 0, 9_142, 16_384], "each block at its number");
        let runs = assembly.take_for_early_write(&geometry, piece);
        let ranges: Vec<_> = runs.iter().map(|run| (run.range.begin, run.range.length)).collect();
        assert_eq!(ranges, [(0, 10), (40_010, 25_526)], "padding is not written");
    }

    #[test]
    fn early_write_takes_runs_of_consecutive_blocks_of_the_largest_piece() {
        let mut assembly = Assembly::default();
        fill(&mut assembly, 0, &[0]);
        fill(&mut assembly, 1, &[0, 1, 3]);
        assert_eq!(assembly.largest(None), Some(PieceIndex(1)));
        let runs = assembly.take_for_early_write(&geometry(), PieceIndex(1));
        let ranges: Vec<_> = runs.iter().map(|run| (run.range.begin, run.range.length)).collect();
        assert_eq!(ranges, [(0, 32_768), (49_152, 16_384)]);
        assert_eq!(assembly.held_bytes(), 16_384);
        fill(&mut assembly, 1, &[2]);
        assert!(!assembly.is_settled(PieceIndex(1)), "its early writes are under way");
        assert!(assembly.early_write_done(PieceIndex(1), runs[0].attempt));
        assert!(assembly.early_write_done(PieceIndex(1), runs[1].attempt));
        assert!(assembly.is_settled(PieceIndex(1)) && assembly.was_written_early(PieceIndex(1)));
        assert_eq!(assembly.blocks_of(PieceIndex(1)).count(), 0, "no evidence of a part");
    }

    #[test]
    fn early_write_of_an_earlier_attempt_does_not_count() {
        let mut assembly = Assembly::default();
        fill(&mut assembly, 0, &[0]);
        let runs = assembly.take_for_early_write(&geometry(), PieceIndex(0));
        assembly.remove(PieceIndex(0));
        fill(&mut assembly, 0, &[1]);
        assert!(!assembly.early_write_done(PieceIndex(0), runs[0].attempt));
    }
}
