//! What is on disk: which pieces to hash when a torrent starts, and how far that has come.
//!
//! Resume data answers for pieces whose files did not change since; the others are hashed, as many
//! at once as the session allows. A piece that touches a file which is missing or too short cannot
//! be there and is not read.

use std::collections::VecDeque;

use crate::bitfield::Bitfield;
use crate::disk::DiskErrorKind;
use crate::piece::{Geometry, PieceIndex};

/// The check of one torrent.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    queue: VecDeque<PieceIndex>,
    running: u32,
    done: u32,
    total: u32,
}

impl Checker {
    /// A check of these pieces.
    pub(crate) fn new(pieces: &Bitfield) -> Self {
        let queue: VecDeque<_> = pieces.iter().collect();
        Checker { running: 0, done: 0, total: queue.len() as u32, queue }
    }

    /// The next piece to hash.
    pub(crate) fn start_next(&mut self) -> Option<PieceIndex> {
        let piece = self.queue.pop_front()?;
        self.running += 1;
        Some(piece)
    }

    /// A piece was hashed, or could not be read.
    pub(crate) fn finish_one(&mut self) {
        self.running = self.running.saturating_sub(1);
        self.done += 1;
    }

    /// A piece could not be read: it is tried again, after the others.
    pub(crate) fn put_back(&mut self, piece: PieceIndex) {
        self.running = self.running.saturating_sub(1);
        self.queue.push_back(piece);
    }

    /// Whether pieces wait to be hashed.
    pub(crate) fn has_more(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether all is hashed.
    pub(crate) fn is_done(&self) -> bool {
        self.queue.is_empty() && self.running == 0
    }

    /// Pieces hashed, and pieces to hash in all.
    pub(crate) fn progress(&self) -> (u32, u32) {
        (self.done, self.total)
    }

    /// Bytes of content whose pieces are hashed or need no hashing, of which `have` are here. For who
    /// watches the check.
    pub(crate) fn bytes_checked(&self, geometry: &Geometry, have: u32) -> u64 {
        let trusted = u64::from(have.saturating_sub(self.done));
        let checked = u64::from(self.done) + if self.total == 0 { 0 } else { trusted };
        let pieces = u128::from(geometry.pieces().max(1));
        let bytes = u128::from(geometry.data_len()) * u128::from(checked) / pieces;
        u64::try_from(bytes).unwrap_or(u64::MAX).min(geometry.data_len())
    }

    /// Gives up what has not begun.
    pub(crate) fn abandon(&mut self) {
        self.queue.clear();
    }
}

/// Whether a file that cannot be read is simply not there, or not all of it: so is the piece then. What
/// else the disk fails with says nothing of the piece, which is tried again.
pub(crate) fn is_absence(kind: DiskErrorKind) -> bool {
    matches!(kind, DiskErrorKind::NotFound | DiskErrorKind::Short | DiskErrorKind::InTheWay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_is_done_when_nothing_waits_and_nothing_runs() {
        let mut pieces = Bitfield::new(5);
        pieces.set(PieceIndex(1));
        pieces.set(PieceIndex(4));
        let mut checker = Checker::new(&pieces);
        assert_eq!(checker.start_next(), Some(PieceIndex(1)));
        assert_eq!(checker.start_next(), Some(PieceIndex(4)));
        assert_eq!(checker.start_next(), None);
        assert!(!checker.has_more() && !checker.is_done());
        checker.finish_one();
        checker.finish_one();
        assert!(checker.is_done());
        assert_eq!(checker.progress(), (2, 2));
    }

    #[test]
    fn pieces_that_need_no_hashing_count_as_checked() {
        let geometry = Geometry::new(10 * 16_384, 16_384).expect("valid");
        assert_eq!(Checker::default().bytes_checked(&geometry, 10), 0, "there is no check");
        let mut pieces = Bitfield::new(10);
        for piece in 0..5 {
            pieces.set(PieceIndex(piece));
        }
        let mut checker = Checker::new(&pieces);
        assert_eq!(checker.bytes_checked(&geometry, 3), 3 * 16_384);
        checker.start_next();
        checker.finish_one();
        assert_eq!(checker.bytes_checked(&geometry, 4), 4 * 16_384, "it was right");
        assert_eq!(checker.bytes_checked(&geometry, u32::MAX), 10 * 16_384, "never too many");
    }
}
