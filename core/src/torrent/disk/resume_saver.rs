//! When to flush and to write resume data: nothing is claimed that was not flushed first.
//!
//! Dirty pieces gather for an interval, then one flush makes them durable, then one save records
//! what was written before that flush began. One of each is under way at most.

use crate::bitfield::Bitfield;
use crate::time::{Duration, Instant};

/// The rhythm of flushing and saving of one torrent.
#[derive(Debug)]
pub(crate) struct ResumeSaver {
    flush: Flush,
    /// When something not yet saved was first written.
    dirty_since: Option<Instant>,
    /// Whether to save as soon as possible.
    urgent: bool,
    /// Not before this, after a failure.
    not_before: Instant,
}

#[derive(Debug)]
enum Flush {
    Idle,
    /// A flush is under way; pieces verified and written before it began.
    Syncing(Bitfield),
    /// The save of that set is under way.
    Saving,
}

/// Wait after a failed flush or save (chosen).
const RETRY: Duration = Duration::from_secs(10);

impl ResumeSaver {
    pub(crate) fn new() -> Self {
        ResumeSaver {
            flush: Flush::Idle,
            dirty_since: None,
            urgent: false,
            not_before: Instant::ZERO,
        }
    }

    /// Something worth saving has changed.
    pub(crate) fn mark_dirty(&mut self, now: Instant) {
        self.dirty_since.get_or_insert(now);
    }

    /// Save without waiting for the interval.
    pub(crate) fn hurry(&mut self) {
        self.urgent = true;
    }

    /// When to begin, if nothing is under way.
    pub(crate) fn due_at(&self, interval: Duration) -> Option<Instant> {
        let since = self.dirty_since?;
        if !matches!(self.flush, Flush::Idle) {
            return None;
        }
        let due = if self.urgent { since } else { since + interval };
        Some(due.max(self.not_before))
    }

    /// A flush begins; `have` is what is written at this moment.
    pub(crate) fn begin(&mut self, have: &Bitfield) {
        self.dirty_since = None;
        self.urgent = false;
        self.flush = Flush::Syncing(have.clone());
    }

    /// The flush is done: the pieces to record. A save must follow.
    pub(crate) fn synced(&mut self) -> Option<Bitfield> {
        match std::mem::replace(&mut self.flush, Flush::Saving) {
            Flush::Syncing(have) => Some(have),
            other => {
                self.flush = other;
                None
            }
        }
    }

    /// The save is done.
    pub(crate) fn saved(&mut self) {
        self.flush = Flush::Idle;
    }

    /// The flush or save failed; it will be tried again.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.flush = Flush::Idle;
        self.dirty_since.get_or_insert(now);
        self.not_before = now + RETRY;
    }

    /// Whether nothing is waiting or under way.
    pub(crate) fn is_clean(&self) -> bool {
        self.dirty_since.is_none() && matches!(self.flush, Flush::Idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::piece::PieceIndex;

    #[test]
    fn a_piece_written_during_a_flush_waits_for_the_next() {
        let mut saver = ResumeSaver::new();
        let mut have = Bitfield::new(2);
        have.set(PieceIndex(0));
        saver.mark_dirty(Instant::from_secs(1));
        assert_eq!(saver.due_at(Duration::from_secs(2)), Some(Instant::from_secs(3)));
        saver.begin(&have);
        have.set(PieceIndex(1));
        saver.mark_dirty(Instant::from_secs(4));
        assert_eq!(saver.due_at(Duration::from_secs(2)), None, "one at a time");
        assert_eq!(saver.synced().unwrap().count(), 1);
        saver.saved();
        assert_eq!(saver.due_at(Duration::from_secs(2)), Some(Instant::from_secs(6)));
        assert!(!saver.is_clean());
    }
}
