//! What was written is flushed and recorded; a disk that fails is tried again.

use crate::bitfield::Bitfield;
use crate::disk::{DiskDone, DiskError, DiskErrorKind, DiskRequest, StateName};
use crate::id::StoreId;
use crate::notice::TorrentNotice;
use crate::piece::{InfoHash, PieceIndex};
use crate::session::op::TorrentOp;
use crate::storage::resume::Resume;
use crate::time::{Instant, UnixTime};
use crate::torrent::content::Content;
use crate::torrent::disk::Files;
use crate::torrent::disk::retry::Probe;
use crate::torrent::disk::saving::{AfterSave, Saving};
use crate::torrent::lifecycle::{Phase, Removal};
use crate::torrent::step::{DiskResult, PieceStep, Step};
use crate::torrent::traffic::Totals;

/// What is recorded beside what the files' machines know.
#[derive(Clone, Copy, Debug)]
pub(in crate::torrent) struct Record {
    pub(in crate::torrent) phase: Phase,
    pub(in crate::torrent) is_finished: bool,
    pub(in crate::torrent) totals: Totals,
    pub(in crate::torrent) wall: UnixTime,
    /// Under which infohash.
    pub(in crate::torrent) key: InfoHash,
}

impl Files {
    // Saving.

    /// Flushes what was written; the save follows.
    pub(in crate::torrent) fn save(&mut self, store: StoreId, have: &Bitfield) -> Step {
        self.saving.begin(have);
        Step::Disk(TorrentOp::Sync, DiskRequest::Sync { store })
    }

    /// What was written is flushed: claim it.
    pub(in crate::torrent) fn synced(
        &mut self,
        now: Instant,
        content: Option<&Content>,
        record: Record,
        result: DiskResult,
    ) -> Option<Step> {
        let files = match result {
            Ok(DiskDone::Files(files)) => files,
            Ok(_) => Vec::new(),
            Err(error) => {
                self.saving.failed(now);
                return Some(Step::Failed(*error));
            }
        };
        let (have, content) = (self.saving.synced()?, content?);
        let is_done = record.is_finished && !self.claims.is_preparing();
        let resume = Resume {
            pieces: have,
            files,
            ours: self.claims.ours().clone(),
            links: content.links_to_make(),
            uploaded_bytes: record.totals.all_uploaded(),
            downloaded_bytes: record.totals.all_downloaded(),
            priorities: content.files.clone(),
            saved_at: record.wall,
            stopped_cleanly: Saving::is_last(record.phase, is_done),
            was_complete: self.saving.was_complete(),
        };
        self.saving.records(&resume);
        let (name, data) = (StateName::Resume(record.key), resume.encode(record.key));
        Some(Step::Disk(TorrentOp::SaveResume, DiskRequest::Save { name, data }))
    }

    /// The resume data is written, or could not be.
    pub(in crate::torrent) fn saved(
        &mut self,
        now: Instant,
        phase: Phase,
        store: StoreId,
        result: DiskResult,
    ) -> Vec<Step> {
        if let Err(error) = result {
            self.saving.failed(now);
            return vec![Step::Failed(*error)];
        }
        match self.saving.saved(phase) {
            AfterSave::Write => vec![Step::Works, Step::MayWrite],
            AfterSave::Look => vec![Step::Disk(TorrentOp::Look, DiskRequest::Look { store })],
            AfterSave::Nothing => Vec::new(),
        }
    }

    /// Everything is recorded, and the files were looked at once more: what was changed meanwhile is
    /// hashed again, else all is said to be complete.
    pub(in crate::torrent) fn looked(
        &mut self,
        now: Instant,
        phase: Phase,
        content: Option<&Content>,
        result: DiskResult,
    ) -> Option<Step> {
        if !self.saving.awaits_look(phase) {
            return None;
        }
        let stats = match result {
            Ok(DiskDone::Files(stats)) => stats,
            Ok(_) => Vec::new(),
            Err(error) => {
                self.saving.mark_dirty(now);
                return Some(Step::Failed(*error));
            }
        };
        match self.saving.looked(content?, &stats)? {
            true => Some(Step::Notify(TorrentNotice::Saved)),
            false => Some(Step::CheckAgain(stats)),
        }
    }

    /// A complete piece was verified and written, or is wrong, or could not be written. `is_here`: it
    /// was before.
    pub(in crate::torrent) fn piece_written(
        &mut self,
        piece: PieceIndex,
        is_here: bool,
        result: DiskResult,
    ) -> Vec<Step> {
        match result {
            Ok(DiskDone::HashMismatch) => vec![Step::Piece(piece, PieceStep::Wrong)],
            Ok(_) => {
                self.retry.written(piece);
                vec![Step::Piece(piece, PieceStep::Passed), Step::Works]
            }
            Err(error) => {
                // A second try may fail after the first, late, has succeeded.
                if !is_here {
                    self.retry.write_failed(piece);
                }
                vec![Step::Failed(*error)]
            }
        }
    }

    // The farewell.

    /// A removed torrent: forgets what was kept of it, but for what says which files are ours, if those
    /// stay and are not whole. They may be known as ours by resume data alone: without it the same
    /// torrent, added again, would take them for another program's.
    pub(in crate::torrent) fn forget(
        &self,
        infohashes: impl Iterator<Item = InfoHash>,
        removal: Option<Removal>,
        is_whole: bool,
    ) -> Vec<Step> {
        let keeps_files = removal == Some(Removal::KeepFiles);
        let leaves_ours = keeps_files && !self.claims.ours().is_empty() && !is_whole;
        let kept = |infohash| {
            let resume = Some(StateName::Resume(infohash)).filter(|_| !leaves_ours);
            [StateName::Metadata(infohash)].into_iter().chain(resume)
        };
        let forget = |name| Step::Disk(TorrentOp::Forget, DiskRequest::Forget { name });
        infohashes.flat_map(kept).map(forget).collect()
    }

    /// Closes the files, and deletes those that a removal says.
    pub(in crate::torrent) fn close(
        &self,
        store: StoreId,
        content: Option<&Content>,
        have: &Bitfield,
        removal: Option<Removal>,
    ) -> Step {
        let files = |content| self.claims.files_to_delete(content, have);
        let delete =
            (removal == Some(Removal::DeleteFiles)).then(|| content.map_or_else(Vec::new, files));
        Step::Disk(TorrentOp::Close, DiskRequest::Close { store, delete })
    }

    // A disk that fails.

    /// The disk failed: say so, stop fetching, try again by and by.
    pub(in crate::torrent) fn failed(
        &mut self,
        now: Instant,
        is_running: bool,
        content: Option<&Content>,
        error: DiskError,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        if !is_running {
            // It may take long to learn which are whole, and others may wait for that.
            steps.push(Step::SettleShared);
        } else if error.kind == DiskErrorKind::Foreign {
            return self.stranger_appeared(now, content, error);
        }
        if self.retry.failed(error.clone(), now) {
            steps.push(Step::Notify(TorrentNotice::DiskFailed { error }));
            steps.push(Step::ChokeSoon);
        }
        steps
    }

    /// While we looked away, another program made a file that we were about to make: it is not ours.
    fn stranger_appeared(
        &mut self,
        now: Instant,
        content: Option<&Content>,
        error: DiskError,
    ) -> Vec<Step> {
        if let Some(content) = content {
            self.claims.stranger_appeared(content, &error.path);
        }
        self.saving.save_soon(now);
        let given_up = self
            .retry
            .give_up_writes()
            .into_iter()
            .map(|piece| Step::Piece(piece, PieceStep::Forget));
        given_up.chain([Step::Refuse(error)]).collect()
    }

    /// A part could not be read: say so, refuse it, and try it again by and by. The rest goes on, unless
    /// nothing can be read.
    pub(in crate::torrent) fn part_unreadable(
        &mut self,
        now: Instant,
        error: DiskError,
    ) -> Option<Step> {
        if error.kind == DiskErrorKind::Foreign || self.retry.cannot_read() {
            return Some(Step::Failed(error));
        }
        let is_news = self.retry.part_failed(error.clone(), now);
        is_news.then_some(Step::Notify(TorrentNotice::DiskFailed { error }))
    }

    /// Tries whether the disk works again, with what failed.
    pub(in crate::torrent) fn probe(&mut self, phase: Phase) -> Option<Step> {
        Some(match self.retry.probe(phase)? {
            Probe::Open => Step::Open,
            Probe::Check => Step::QueueCheck,
            Probe::Save => Step::Save,
            Probe::Write(piece) => Step::Piece(piece, PieceStep::Write),
            Probe::Read(piece) => Step::Piece(piece, PieceStep::Verify(TorrentOp::ProbeRead)),
            Probe::Prepare => Step::Prepare,
        })
    }

    /// A piece that could not be read was read again.
    pub(in crate::torrent) fn read_probed(
        &mut self,
        now: Instant,
        result: DiskResult,
    ) -> Option<Step> {
        match result {
            Ok(DiskDone::Done) => {
                self.retry.read();
                Some(Step::Works)
            }
            Ok(_) => {
                let error = self.retry.error().cloned()?;
                self.part_unreadable(now, error)
            }
            Err(error) => self.part_unreadable(now, *error),
        }
    }

    /// Something that failed has worked: go on with what waited.
    pub(in crate::torrent) fn works(&mut self, now: Instant, phase: Phase) -> Vec<Step> {
        let Some(waiting) = self.retry.worked(now) else { return Vec::new() };
        let mut steps = vec![Step::Notify(TorrentNotice::DiskRecovered)];
        if phase == Phase::Checking {
            steps.push(Step::QueueCheck);
        }
        if self.claims.is_to_prepare() {
            steps.push(Step::Prepare);
        }
        steps.extend(waiting.into_iter().map(|piece| Step::Piece(piece, PieceStep::Write)));
        steps.extend([Step::ChokeSoon, Step::Request]);
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FileIndex;
    use crate::id::Id as _;
    use crate::time::Duration;
    use crate::torrent::content;

    const NOW: Instant = Instant::from_secs(100);

    fn full() -> DiskError {
        DiskError {
            kind: DiskErrorKind::Full,
            path: "name".into(),
            cause: "no space left".to_owned(),
        }
    }

    #[test]
    fn a_disk_that_fails_is_told_once_and_what_waited_is_written_when_it_works() {
        let mut files = Files::new(false);
        files.retry.write_failed(PieceIndex(3));
        let steps = files.failed(NOW, true, None, full());
        assert!(matches!(steps[..], [Step::Notify(_), Step::ChokeSoon]), "{steps:?}");
        assert!(files.failed(NOW, true, None, full()).is_empty(), "that is known");
        let due = files.retry.due_at().expect("it is tried again");
        assert!(due > NOW);
        let probe = files.probe(Phase::Running);
        assert!(matches!(probe, Some(Step::Piece(PieceIndex(3), PieceStep::Write))), "{probe:?}");
        files.retry.written(PieceIndex(3));
        let steps = files.works(due, Phase::Running);
        let [Step::Notify(recovered), .., Step::ChokeSoon, Step::Request] = &steps[..] else {
            panic!("{steps:?}");
        };
        assert_eq!(*recovered, TorrentNotice::DiskRecovered);
        assert!(files.works(due + Duration::from_secs(1), Phase::Running).is_empty());
    }

    #[test]
    fn a_failure_before_it_runs_lets_others_go_on_and_a_strangers_file_is_refused() {
        let mut files = Files::new(false);
        let steps = files.failed(NOW, false, None, full());
        assert!(matches!(steps[0], Step::SettleShared), "{steps:?}");
        let foreign = DiskError {
            kind: DiskErrorKind::Foreign,
            path: "name".into(),
            cause: "it is not ours".to_owned(),
        };
        files.retry.write_failed(PieceIndex(1));
        let steps = files.failed(NOW, true, None, foreign);
        assert!(
            matches!(steps[..], [Step::Piece(PieceIndex(1), PieceStep::Forget), Step::Refuse(_)]),
            "{steps:?}"
        );
    }

    #[test]
    fn of_a_removed_torrent_all_that_was_kept_is_forgotten_but_which_unfinished_files_are_ours() {
        let content = content::tests::content();
        let mut files = Files::new(false);
        files.claims.recall(&[FileIndex(0)].into_iter().collect());
        let infohashes = || [InfoHash([1; 20]), InfoHash([2; 20])].into_iter();
        let forgotten =
            |removal, is_whole| files.forget(infohashes(), Some(removal), is_whole).len();
        assert_eq!(forgotten(Removal::KeepFiles, false), 2, "of metadata alone");
        assert_eq!(forgotten(Removal::KeepFiles, true), 4);
        assert_eq!(forgotten(Removal::DeleteFiles, false), 4);
        let (store, have) = (StoreId::new(0, 0), Bitfield::new(content.geometry().pieces()));
        let closed = |removal| match files.close(store, Some(&content), &have, removal) {
            Step::Disk(TorrentOp::Close, DiskRequest::Close { delete, .. }) => delete,
            step => panic!("{step:?}"),
        };
        assert_eq!(closed(None), None);
        assert_eq!(closed(Some(Removal::KeepFiles)), None);
        assert!(closed(Some(Removal::DeleteFiles)).is_some());
    }

    #[test]
    fn what_was_flushed_is_recorded_and_a_failed_save_is_tried_again() {
        let content = content::tests::content();
        let mut files = Files::new(false);
        let mut have = Bitfield::new(content.geometry().pieces());
        have.set(PieceIndex(0));
        let store = StoreId::new(0, 0);
        let key = InfoHash([1; 20]);
        let wall = UnixTime(1_780_000_000);
        let totals = Totals::default();
        let record = Record { phase: Phase::Running, is_finished: false, totals, wall, key };
        let step = files.save(store, &have);
        assert!(matches!(step, Step::Disk(TorrentOp::Sync, _)), "{step:?}");
        let flushed = Ok(DiskDone::Files(vec![None; 3]));
        let step = files.synced(NOW, Some(&content), record, flushed);
        let Some(Step::Disk(TorrentOp::SaveResume, DiskRequest::Save { name, .. })) = &step else {
            panic!("{step:?}");
        };
        assert_eq!(*name, StateName::Resume(key));
        let steps = files.saved(NOW, Phase::Running, store, Err(Box::new(full())));
        assert!(matches!(steps[..], [Step::Failed(_)]), "{steps:?}");
        assert!(files.saving.due_at(Phase::Running, Duration::from_secs(2)).is_some());
    }

    #[test]
    fn a_piece_that_cannot_be_written_waits_unless_it_is_here_by_now() {
        const PIECE: PieceIndex = PieceIndex(3);
        for (is_here, waits) in [(false, true), (true, false)] {
            let mut files = Files::new(false);
            let steps = files.piece_written(PIECE, is_here, Err(Box::new(full())));
            assert!(matches!(steps[..], [Step::Failed(_)]), "{steps:?}");
            assert_eq!(files.retry.has_failed_writes(), waits);
        }
        let mut files = Files::new(false);
        files.piece_written(PIECE, false, Err(Box::new(full())));
        let steps = files.piece_written(PIECE, false, Ok(DiskDone::Done));
        assert!(matches!(steps[..], [Step::Piece(PIECE, PieceStep::Passed), Step::Works]));
        assert!(!files.retry.has_failed_writes());
        let steps = files.piece_written(PIECE, false, Ok(DiskDone::HashMismatch));
        assert!(matches!(steps[..], [Step::Piece(PIECE, PieceStep::Wrong)]), "{steps:?}");
    }
}
