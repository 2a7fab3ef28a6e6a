//! Failed pieces of v2 whose blocks are held until their leaf hashes tell which of them are wrong
//! (BEP 52): only those are fetched again.
//!
//! Here are the digests of the held blocks and what became of them, no data. A piece is in doubt from
//! its failure until all its blocks are judged, nobody is left who could judge them, or too much time
//! has passed; then it is [settled](InDoubt::settle). A block that is not judged counts as wrong.

use std::collections::BTreeMap;

use crate::piece::{PieceIndex, Sha256Hash};
use crate::time::{Duration, Instant};

/// How long the blocks of a failed piece are held (chosen: they are fetched again meanwhile if memory
/// runs short; who is asked has to read the piece).
const PATIENCE: Duration = Duration::from_secs(5);

/// The pieces in doubt.
#[derive(Debug, Default)]
pub(super) struct InDoubt {
    pieces: BTreeMap<PieceIndex, Doubted>,
}

#[derive(Debug)]
struct Doubted {
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

impl InDoubt {
    /// A piece failed whose blocks have these leaf hashes.
    pub(super) fn add(&mut self, now: Instant, piece: PieceIndex, digests: Vec<Sha256Hash>) {
        let blocks = digests.into_iter().map(|digest| (digest, Verdict::Unknown)).collect();
        self.pieces.insert(piece, Doubted { blocks, until: now + PATIENCE });
    }

    /// The leaf hashes of a piece from its `first`th block on are known.
    pub(super) fn judge(&mut self, piece: PieceIndex, first: u32, leaves: &[Sha256Hash]) {
        let Some(doubted) = self.pieces.get_mut(&piece) else { return };
        let blocks = doubted.blocks.get_mut(first as usize..).unwrap_or_default();
        for ((digest, verdict), leaf) in blocks.iter_mut().zip(leaves) {
            *verdict = if digest == leaf { Verdict::Right } else { Verdict::Wrong };
        }
    }

    /// Those that need not be waited for any longer: judged, or too long in doubt.
    pub(super) fn ripe(&self, now: Instant) -> impl Iterator<Item = PieceIndex> + '_ {
        let is_ripe = move |doubted: &Doubted| doubted.until <= now || doubted.is_judged();
        self.iter().filter(move |piece| self.pieces.get(piece).is_some_and(is_ripe))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.pieces.keys().copied()
    }

    /// Whether a piece is in doubt.
    pub(super) fn contains(&self, piece: PieceIndex) -> bool {
        self.pieces.contains_key(&piece)
    }

    /// Ends the doubt: the numbers of the blocks to fetch again. `None` if the piece was not in doubt.
    pub(super) fn settle(&mut self, piece: PieceIndex) -> Option<Vec<u32>> {
        let doubted = self.pieces.remove(&piece)?;
        let again =
            (0..).zip(&doubted.blocks).filter(|(_, (_, verdict))| *verdict != Verdict::Right);
        Some(again.map(|(number, _)| number).collect())
    }

    /// When one of them has been in doubt for too long.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.pieces.values().map(|doubted| doubted.until).min()
    }
}

impl Doubted {
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

    fn in_doubt(blocks: &[u8]) -> InDoubt {
        let mut pieces = InDoubt::default();
        pieces.add(Instant::ZERO, PIECE, digests(blocks));
        pieces
    }

    fn ripe(pieces: &InDoubt, seconds: u64) -> Vec<PieceIndex> {
        pieces.ripe(Instant::from_secs(seconds)).collect()
    }

    #[test]
    fn judged_in_parts_only_the_wrong_blocks_are_fetched_again() {
        let mut pieces = in_doubt(b"1X34Y");
        pieces.judge(PIECE, 0, &digests(b"12"));
        assert_eq!(ripe(&pieces, 0), []);
        pieces.judge(PIECE, 2, &digests(b"345 "));
        assert_eq!(ripe(&pieces, 0), [PIECE]);
        assert_eq!(pieces.settle(PIECE), Some(vec![1, 4]));
        assert_eq!(pieces.settle(PIECE), None);
        assert_eq!(pieces.due_at(), None);
    }

    #[test]
    fn what_is_not_judged_in_time_counts_as_wrong() {
        let mut pieces = in_doubt(b"1X3");
        pieces.judge(PIECE, 2, &digests(b"3"));
        let due = pieces.due_at().expect("in doubt");
        assert_eq!(pieces.ripe(due).collect::<Vec<_>>(), [PIECE]);
        assert_eq!(pieces.settle(PIECE), Some(vec![0, 1]));
    }

    #[test]
    fn judgements_of_other_pieces_and_beyond_the_end_change_nothing() {
        let mut pieces = in_doubt(b"1X");
        pieces.judge(PieceIndex(4), 0, &digests(b"12"));
        pieces.judge(PIECE, 7, &digests(b"12"));
        assert_eq!(ripe(&pieces, 0), []);
        assert_eq!(pieces.settle(PIECE), Some(vec![0, 1]));
    }
}
