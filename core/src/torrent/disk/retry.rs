//! A disk that fails: the torrent waits, says why, and tries again by itself.
//!
//! Nothing is fetched anew because of it: what is verified stays in memory until it can be written.
//! Each failed probe doubles the wait. It is tried with what failed, so that an answer says something.

use std::collections::BTreeSet;

use crate::disk::DiskError;
use crate::piece::PieceIndex;
use crate::time::{Duration, Instant};
use crate::torrent::disk::unreadable::Unreadable;
use crate::torrent::lifecycle::Phase;

/// First wait before the disk is tried again (chosen).
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Longest wait (chosen: a freed disk is noticed within this).
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What failed on disk, and when it is tried again.
#[derive(Debug, Default)]
pub(crate) struct Retry {
    failure: Option<Box<Failure>>,
    /// Verified pieces whose write failed: they wait in memory for the disk to recover.
    failed_writes: BTreeSet<PieceIndex>,
    /// Pieces that could not be read for a peer: the disk works again when they can.
    failed_reads: Option<Box<Unreadable>>,
}

#[derive(Debug)]
struct Failure {
    error: DiskError,
    wait: Duration,
    /// `None` while a probe is under way, or if only the user can help.
    retry_at: Option<Instant>,
    /// Whether nothing is fetched meanwhile: more than some pieces is concerned.
    stops_all: bool,
}

/// With what a failing disk is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Probe {
    /// Looking at the files.
    Open,
    /// Going on with the check.
    Check,
    /// Recording which files are ours.
    Save,
    /// Writing a piece that could not be written.
    Write(PieceIndex),
    /// Reading a piece that could not be read.
    Read(PieceIndex),
    /// Making the files.
    Prepare,
}

impl Retry {
    /// The disk failed; whether it worked until now.
    pub(crate) fn failed(&mut self, error: DiskError, now: Instant) -> bool {
        let is_new = self.part_failed(error, now);
        if let Some(failure) = &mut self.failure {
            failure.stops_all = true;
        }
        is_new
    }

    /// Some pieces could not be read, and the rest goes on; whether the disk worked until now.
    pub(crate) fn part_failed(&mut self, error: DiskError, now: Instant) -> bool {
        if let Some(failure) = &mut self.failure {
            failure.error = error;
            if failure.retry_at.is_none() {
                failure.wait = (failure.wait * 2).min(LONGEST_WAIT);
                failure.retry_at = Some(now + failure.wait);
            }
            return false;
        }
        let retry_at = Some(now + FIRST_WAIT);
        let stops_all = false;
        self.failure = Some(Box::new(Failure { error, wait: FIRST_WAIT, retry_at, stops_all }));
        true
    }

    /// Only the user can help: it is not tried again.
    pub(crate) fn refused(&mut self, error: DiskError) {
        let (retry_at, stops_all) = (None, true);
        self.failure = Some(Box::new(Failure { error, wait: FIRST_WAIT, retry_at, stops_all }));
    }

    /// The files are looked at anew: nothing is known to fail.
    pub(crate) fn clear(&mut self) {
        self.failure = None;
    }

    /// What fails, while it does.
    pub(crate) fn error(&self) -> Option<&DiskError> {
        self.failure.as_ref().map(|failure| &failure.error)
    }

    /// Whether something fails.
    pub(crate) fn is_failing(&self) -> bool {
        self.failure.is_some()
    }

    /// Whether nothing is to be fetched because of it.
    pub(crate) fn stops_all(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| failure.stops_all)
    }

    /// When the disk is to be tried.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.failure.as_ref()?.retry_at
    }

    /// What to try it with, in this phase; `None` if nothing fails.
    pub(crate) fn probe(&mut self, phase: Phase) -> Option<Probe> {
        self.failure.as_mut()?.retry_at = None;
        Some(match phase {
            Phase::Opening => Probe::Open,
            Phase::Checking => Probe::Check,
            Phase::Claiming => Probe::Save,
            _ => match (self.failed_writes.first(), &mut self.failed_reads) {
                (Some(&piece), _) => Probe::Write(piece),
                (None, Some(reads)) => reads.next_to_try().map_or(Probe::Prepare, Probe::Read),
                (None, None) => Probe::Prepare,
            },
        })
    }

    /// Something that failed has worked. What waits to be written, if everything works again.
    pub(crate) fn worked(&mut self, now: Instant) -> Option<Vec<PieceIndex>> {
        let failure = self.failure.as_mut()?;
        if let Some(reads) = &self.failed_reads {
            // It can be written to; whether it can be read is to be tried as well.
            failure.retry_at.get_or_insert(now + FIRST_WAIT);
            failure.stops_all = reads.is_whole();
            return None;
        }
        self.failure = None;
        Some(self.failed_writes.iter().copied().collect())
    }

    /// A verified piece could not be written.
    pub(crate) fn write_failed(&mut self, piece: PieceIndex) {
        self.failed_writes.insert(piece);
    }

    /// A piece was written.
    pub(crate) fn written(&mut self, piece: PieceIndex) {
        self.failed_writes.remove(&piece);
    }

    /// Whether verified pieces wait to be written.
    pub(crate) fn has_failed_writes(&self) -> bool {
        !self.failed_writes.is_empty()
    }

    /// Gives up the pieces that wait to be written.
    pub(crate) fn give_up_writes(&mut self) -> BTreeSet<PieceIndex> {
        std::mem::take(&mut self.failed_writes)
    }

    /// A piece could not be read for a peer.
    pub(crate) fn read_failed(&mut self, piece: PieceIndex) {
        self.failed_reads.get_or_insert_default().failed(piece);
    }

    /// One of those could be read again.
    pub(crate) fn read(&mut self) {
        self.failed_reads = None;
    }

    /// Another piece was read for a peer.
    pub(crate) fn other_was_read(&mut self) {
        if let Some(reads) = &mut self.failed_reads {
            reads.other_was_read();
        }
    }

    /// Whether the disk gives nothing of what we have.
    pub(crate) fn cannot_read(&self) -> bool {
        self.failed_reads.as_ref().is_some_and(|reads| reads.is_whole())
    }

    /// Whether the disk does not give this piece.
    pub(crate) fn refuses(&self, piece: PieceIndex) -> bool {
        self.failed_reads.as_ref().is_some_and(|reads| reads.refuses(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::DiskErrorKind;

    fn full() -> DiskError {
        DiskError { kind: DiskErrorKind::Full, path: "file".into(), cause: String::new() }
    }

    #[test]
    fn each_failed_probe_doubles_the_wait_up_to_the_longest() {
        let mut now = Instant::from_secs(10);
        let mut retry = Retry::default();
        assert!(retry.failed(full(), now));
        let mut waits = Vec::new();
        for _ in 0..6 {
            let at = retry.due_at().expect("waits");
            waits.push((at - now).as_secs());
            now = at;
            assert_eq!(retry.probe(Phase::Running), Some(Probe::Prepare));
            assert_eq!(retry.due_at(), None, "one probe at a time");
            assert!(!retry.failed(full(), now));
        }
        assert_eq!(waits, [2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn failures_while_waiting_do_not_lengthen_the_wait() {
        let mut retry = Retry::default();
        retry.failed(full(), Instant::ZERO);
        retry.failed(full(), Instant::from_secs(1));
        assert_eq!(retry.due_at(), Some(Instant::ZERO + FIRST_WAIT));
    }

    #[test]
    fn it_is_tried_with_what_failed_and_writes_come_before_reads() {
        let mut retry = Retry::default();
        assert_eq!(retry.probe(Phase::Running), None, "nothing fails");
        retry.failed(full(), Instant::ZERO);
        let before = [Phase::Opening, Phase::Checking, Phase::Claiming];
        let probes = before.map(|phase| retry.probe(phase));
        assert_eq!(probes, [Some(Probe::Open), Some(Probe::Check), Some(Probe::Save)]);
        retry.read_failed(PieceIndex(3));
        assert_eq!(retry.probe(Phase::Running), Some(Probe::Read(PieceIndex(3))));
        retry.write_failed(PieceIndex(7));
        retry.write_failed(PieceIndex(5));
        assert_eq!(retry.probe(Phase::Running), Some(Probe::Write(PieceIndex(5))));
    }

    #[test]
    fn what_waits_is_written_once_the_disk_can_be_read_too() {
        let mut retry = Retry::default();
        assert_eq!(retry.worked(Instant::ZERO), None, "it worked all the time");
        retry.failed(full(), Instant::ZERO);
        retry.write_failed(PieceIndex(1));
        retry.read_failed(PieceIndex(2));
        retry.probe(Phase::Running);
        assert_eq!(retry.worked(Instant::from_secs(5)), None);
        assert_eq!(retry.due_at(), Some(Instant::from_secs(7)), "reading is tried next");
        retry.read();
        assert_eq!(retry.worked(Instant::from_secs(7)), Some(vec![PieceIndex(1)]));
        assert!(!retry.is_failing() && retry.has_failed_writes());
        retry.written(PieceIndex(1));
        assert!(!retry.has_failed_writes());
    }

    #[test]
    fn pieces_that_cannot_be_read_stop_nothing_else_until_they_are_many() {
        let mut retry = Retry::default();
        retry.read_failed(PieceIndex(2));
        assert!(retry.part_failed(full(), Instant::ZERO));
        assert!(retry.is_failing() && !retry.stops_all() && !retry.cannot_read());
        assert!(retry.refuses(PieceIndex(2)) && !retry.refuses(PieceIndex(3)));
        assert!(!retry.failed(full(), Instant::ZERO));
        assert!(retry.stops_all(), "something could not be written");
        retry.probe(Phase::Running);
        assert_eq!(retry.worked(Instant::ZERO), None);
        assert!(!retry.stops_all() && retry.is_failing());
        (3..5).for_each(|piece| retry.read_failed(PieceIndex(piece)));
        assert!(retry.cannot_read() && retry.refuses(PieceIndex(9)));
    }

    #[test]
    fn what_only_the_user_can_help_with_is_not_tried_again() {
        let mut retry = Retry::default();
        retry.refused(full());
        assert!(retry.is_failing() && retry.due_at().is_none());
        retry.clear();
        assert!(!retry.is_failing());
    }
}
