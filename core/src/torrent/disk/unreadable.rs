//! Pieces that we have and that could not be read (defence 47).
//!
//! Such a piece is refused to peers until it was read again; the rest of the torrent is uploaded as ever.
//! When several pieces in a row could not be read, no other between them, the disk is taken to be gone,
//! and no peer is let download. The pieces are tried again in turn; once one can be read they are all
//! believed to be readable again, until the next that is not.

use std::collections::BTreeSet;

use crate::piece::PieceIndex;

/// Pieces in a row after which nothing is read any more (chosen: one bad file or sector is less).
const DISK_GONE: u8 = 3;
/// Pieces remembered (chosen; of more the disk is gone in any case).
const MOST: usize = 4096;

/// What could not be read.
#[derive(Debug, Default)]
pub(crate) struct Unreadable {
    pieces: BTreeSet<PieceIndex>,
    /// Pieces that failed since one was read.
    in_a_row: u8,
    /// The one that was tried again last.
    tried: Option<PieceIndex>,
}

impl Unreadable {
    /// A piece could not be read for a peer.
    pub(crate) fn failed(&mut self, piece: PieceIndex) {
        if self.pieces.insert(piece) {
            self.in_a_row = self.in_a_row.saturating_add(1);
        }
        if self.pieces.len() > MOST {
            self.pieces.pop_first();
        }
    }

    /// Another piece was read for a peer.
    pub(crate) fn other_was_read(&mut self) {
        self.in_a_row = 0;
    }

    /// Whether a piece is refused.
    pub(crate) fn refuses(&self, piece: PieceIndex) -> bool {
        self.is_whole() || self.pieces.contains(&piece)
    }

    /// Whether nothing is read.
    pub(crate) fn is_whole(&self) -> bool {
        self.in_a_row >= DISK_GONE
    }

    /// The piece to try again, each in turn.
    pub(crate) fn next_to_try(&mut self) -> Option<PieceIndex> {
        let after =
            |last: PieceIndex| self.pieces.range(PieceIndex(last.0.saturating_add(1))..).next();
        let next = self.tried.and_then(after).or_else(|| self.pieces.first()).copied();
        self.tried = next;
        next
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    #[test]
    fn one_piece_is_refused_and_the_others_are_not() {
        let mut unreadable = Unreadable::default();
        (0..5).for_each(|_| unreadable.failed(PieceIndex(7)));
        assert!(unreadable.refuses(PieceIndex(7)) && !unreadable.refuses(PieceIndex(8)));
        unreadable.failed(PieceIndex(8));
        unreadable.other_was_read();
        unreadable.failed(PieceIndex(9));
        assert!(!unreadable.is_whole() && !unreadable.refuses(PieceIndex(1)));
    }

    #[test]
    fn disk_is_gone_when_pieces_fail_in_a_row() {
        let mut unreadable = Unreadable::default();
        (0..3).for_each(|piece| unreadable.failed(PieceIndex(piece)));
        assert!(unreadable.is_whole() && unreadable.refuses(PieceIndex(100)));
    }

    quickcheck! {
        fn each_piece_has_its_turn(pieces: BTreeSet<u16>) -> bool {
            let mut unreadable = Unreadable::default();
            pieces.iter().for_each(|piece| unreadable.failed(PieceIndex((*piece).into())));
            let round: BTreeSet<u16> =
                pieces.iter().filter_map(|_| unreadable.next_to_try()).map(|p| p.0 as u16).collect();
            round == pieces
        }
    }
}
