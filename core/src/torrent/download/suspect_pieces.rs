//! v2 pieces that failed verification (BEP 52): their blocks are kept until leaf hashes show which are
//! bad, and only those are fetched again.
//!
//! Here are the digests of the held blocks and what became of them, no data. A piece is suspect from
//! its failure until all its blocks are judged, no source is left that could send their leaf hashes,
//! or its deadline passed; then it is [resolved](SuspectPieces::resolve). A block that is not judged
//! counts as bad.

use std::collections::BTreeMap;

use crate::piece::{PieceIndex, Sha256Hash};
use crate::time::{Duration, Instant};

/// How long the blocks of a failed piece are held (chosen: they are fetched again meanwhile if memory
/// runs short; a peer that is asked has to read the piece).
const HOLD_TIMEOUT: Duration = Duration::from_secs(5);

/// The suspect pieces.
#[derive(Debug, Default)]
pub(super) struct SuspectPieces {
    pieces: BTreeMap<PieceIndex, SuspectPiece>,
}

#[derive(Debug)]
struct SuspectPiece {
    /// Of each block, what it hashes to and whether that is right.
    blocks: Vec<(Sha256Hash, Verdict)>,
    until: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Unknown,
    Right,
    Wrong,
}

impl SuspectPieces {
    /// A piece failed whose blocks have these leaf hashes.
    pub(super) fn add(&mut self, now: Instant, piece: PieceIndex, digests: Vec<Sha256Hash>) {
        let blocks = digests.into_iter().map(|digest| (digest, Verdict::Unknown)).collect();
        self.pieces.insert(piece, SuspectPiece { blocks, until: now + HOLD_TIMEOUT });
    }

    /// The leaf hashes of a piece from its `first`th block on are known.
    pub(super) fn judge(&mut self, piece: PieceIndex, first: u32, leaves: &[Sha256Hash]) {
        let Some(suspect) = self.pieces.get_mut(&piece) else { return };
        let blocks = suspect.blocks.get_mut(first as usize..).unwrap_or_default();
        for ((digest, verdict), leaf) in blocks.iter_mut().zip(leaves) {
            *verdict = if digest == leaf { Verdict::Right } else { Verdict::Wrong };
        }
    }

    /// Pieces whose blocks are all judged, or whose deadline passed.
    pub(super) fn resolved(&self, now: Instant) -> impl Iterator<Item = PieceIndex> + '_ {
        let is_resolved = move |suspect: &SuspectPiece| suspect.until <= now || suspect.is_judged();
        self.iter().filter(move |piece| self.pieces.get(piece).is_some_and(is_resolved))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.pieces.keys().copied()
    }

    /// Whether a piece is suspect.
    pub(super) fn contains(&self, piece: PieceIndex) -> bool {
        self.pieces.contains_key(&piece)
    }

    /// Ends the suspicion: the numbers of the blocks to fetch again. `None` if the piece was not
    /// suspect.
    pub(super) fn resolve(&mut self, piece: PieceIndex) -> Option<Vec<u32>> {
        let suspect = self.pieces.remove(&piece)?;
        let again =
            (0..).zip(&suspect.blocks).filter(|(_, (_, verdict))| *verdict != Verdict::Right);
        Some(again.map(|(number, _)| number).collect())
    }

    /// When the first deadline passes.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.pieces.values().map(|suspect| suspect.until).min()
    }
}

impl SuspectPiece {
    fn is_judged(&self) -> bool {
        self.blocks.iter().all(|(_, verdict)| *verdict != Verdict::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: PieceIndex = PieceIndex(3);

    fn digests(blocks: &[u8]) -> Vec<Sha256Hash> {
        blocks.iter().map(|block| [*block; 32]).collect()
    }

    fn suspect(blocks: &[u8]) -> SuspectPieces {
        let mut pieces = SuspectPieces::default();
        pieces.add(Instant::ZERO, PIECE, digests(blocks));
        pieces
    }

    fn resolved(pieces: &SuspectPieces, seconds: u64) -> Vec<PieceIndex> {
        pieces.resolved(Instant::from_secs(seconds)).collect()
    }

    #[test]
    fn judged_in_parts_only_the_wrong_blocks_are_fetched_again() {
        let mut pieces = suspect(b"1X34Y");
        pieces.judge(PIECE, 0, &digests(b"12"));
        assert_eq!(resolved(&pieces, 0), []);
        pieces.judge(PIECE, 2, &digests(b"345 "));
        assert_eq!(resolved(&pieces, 0), [PIECE]);
        assert_eq!(pieces.resolve(PIECE), Some(vec![1, 4]));
        assert_eq!(pieces.resolve(PIECE), None);
        assert_eq!(pieces.due_at(), None);
    }

    #[test]
    fn what_is_not_judged_in_time_counts_as_wrong() {
        let mut pieces = suspect(b"1X3");
        pieces.judge(PIECE, 2, &digests(b"3"));
        let due = pieces.due_at().expect("suspect");
        assert_eq!(pieces.resolved(due).collect::<Vec<_>>(), [PIECE]);
        assert_eq!(pieces.resolve(PIECE), Some(vec![0, 1]));
    }

    #[test]
    fn judgements_of_other_pieces_and_beyond_the_end_change_nothing() {
        let mut pieces = suspect(b"1X");
        pieces.judge(PieceIndex(4), 0, &digests(b"12"));
        pieces.judge(PIECE, 7, &digests(b"12"));
        assert_eq!(resolved(&pieces, 0), []);
        assert_eq!(pieces.resolve(PIECE), Some(vec![0, 1]));
    }
}
