//! When all that was written is recorded, and whether a torrent may be said to be complete.
//!
//! A torrent is said to be finished when its last piece is written, and saved when that is recorded and
//! a last look finds the files as they were recorded: what was changed meanwhile is hashed again.

use crate::bitfield::Bitfield;
use crate::disk::FileStat;
use crate::piece::InfoHash;
use crate::storage::resume::{Resume, Trust};
use crate::time::{Duration, Instant, UnixTime};
use crate::torrent::content::Content;
use crate::torrent::disk::resume_saver::ResumeSaver;
use crate::torrent::lifecycle::Phase;

/// What is recorded of a torrent, and what is to be.
#[derive(Debug)]
pub(crate) struct Saving {
    saver: ResumeSaver,
    /// What was recorded last, while it is compared with the files.
    recorded: Option<Box<Resume>>,
    /// Whether everything is hashed at the next check, even if resume data would answer.
    is_all_hashed: bool,
    /// Whether `Finished` was told for what is wanted now.
    finished_notified: bool,
    /// Whether it was once complete, in this session or an earlier one: trackers were told then, and
    /// hear of it once.
    was_complete: bool,
    /// Whether `Saved` is still to be told.
    saved_pending: bool,
    /// Whether nothing was left to do at its check, and nothing had to be hashed for that.
    resumed_complete: bool,
}

/// What follows when resume data is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AfterSave {
    /// Our files are named in it: they may be made.
    Write,
    /// Everything is recorded: a last look at the files.
    Look,
    Nothing,
}

impl Saving {
    /// Of a torrent of which nothing is recorded.
    pub(crate) fn new(is_all_hashed: bool) -> Self {
        Saving {
            saver: ResumeSaver::new(),
            recorded: None,
            is_all_hashed,
            finished_notified: false,
            was_complete: false,
            saved_pending: false,
            resumed_complete: false,
        }
    }

    // What an earlier session has recorded.

    /// Resume data is here. A file that is broken or not ours means a full check, nothing worse.
    pub(crate) fn recall(&mut self, data: &[u8], key: InfoHash, content: &Content) {
        self.recorded = Resume::decode(data, key)
            .ok()
            .filter(|resume| resume.pieces.len() == content.geometry().pieces())
            .filter(|resume| resume.files.len() == content.spec.files.len())
            .map(Box::new);
        if let Some(resume) = &self.recorded {
            self.was_complete = resume.was_complete || resume.pieces.is_all();
        }
    }

    /// What was recorded later than now means a check of all; whose the files are, it tells all the same.
    pub(crate) fn distrust_the_future(&mut self, now: UnixTime) {
        let recorded = self.recorded.as_ref();
        self.is_all_hashed |= recorded.is_some_and(|resume| resume.is_from_the_future(now));
    }

    /// What was recorded last, while it is compared with the files.
    pub(crate) fn recorded(&self) -> Option<&Resume> {
        self.recorded.as_deref()
    }

    /// It was compared.
    pub(crate) fn forget_recorded(&mut self) {
        self.recorded = None;
    }

    /// What is there without hashing, and what is to be hashed.
    pub(crate) fn trust(&mut self, content: &Content, stats: &[Option<FileStat>]) -> Trust {
        let (pieces, layout) = (content.geometry().pieces(), &content.layout);
        let pieces_of =
            |file| layout.file_of_store(file).map_or(0..0, |file| layout.pieces_of_file(file));
        let is_all_hashed = std::mem::take(&mut self.is_all_hashed);
        match &self.recorded {
            Some(resume) if !is_all_hashed => resume.trust(stats, pieces, pieces_of),
            _ => Trust::check_all(stats, pieces, pieces_of),
        }
    }

    // Recording.

    /// Something worth recording has changed.
    pub(crate) fn mark_dirty(&mut self, now: Instant) {
        self.saver.mark_dirty(now);
    }

    /// The same, and it does not wait for the interval.
    pub(crate) fn save_soon(&mut self, now: Instant) {
        self.saver.mark_dirty(now);
        self.saver.hurry();
    }

    /// When to flush and record next.
    pub(crate) fn due_at(&self, phase: Phase, interval: Duration) -> Option<Instant> {
        match phase {
            Phase::Running | Phase::Refused | Phase::Ending { closing: false, .. } => {
                self.saver.due_at(interval)
            }
            _ => None,
        }
    }

    /// A flush begins; `have` is what is written at this moment.
    pub(crate) fn begin(&mut self, have: &Bitfield) {
        self.saver.begin(have);
    }

    /// What was written is flushed: the pieces to record.
    pub(crate) fn synced(&mut self) -> Option<Bitfield> {
        self.saver.synced()
    }

    /// Whether nothing is written after what is recorded now; `is_done`: everything wanted is written
    /// and made.
    pub(crate) fn is_last(phase: Phase, is_done: bool) -> bool {
        match phase {
            Phase::Ending { .. } => true,
            Phase::Running => is_done,
            _ => false,
        }
    }

    /// This is being recorded. It is kept if it is to be compared with the files once more.
    pub(crate) fn records(&mut self, resume: &Resume) {
        if self.saved_pending {
            self.recorded = Some(Box::new(Resume { stopped_cleanly: true, ..resume.clone() }));
        }
    }

    /// Flushing or recording failed; it is tried again.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.saver.failed(now);
    }

    /// It is recorded.
    pub(crate) fn saved(&mut self, phase: Phase) -> AfterSave {
        self.saver.saved();
        match phase {
            Phase::Claiming => AfterSave::Write,
            _ if self.awaits_look(phase) => AfterSave::Look,
            _ => AfterSave::Nothing,
        }
    }

    /// Whether nothing waits to be recorded.
    pub(crate) fn is_clean(&self) -> bool {
        self.saver.is_clean()
    }

    // Complete.

    /// Whether it was once complete.
    pub(crate) fn was_complete(&self) -> bool {
        self.was_complete
    }

    /// The check is done and its files are made, or are to be.
    pub(crate) fn resumed(&mut self, is_complete: bool, is_hashed: bool) {
        self.resumed_complete = is_complete && !is_hashed;
    }

    /// Whether the resume data of an earlier session says all there is to say: a session of thousands
    /// of torrents that are only there writes nothing when it starts and when it ends.
    pub(crate) fn is_as_saved(&self, has_moved: bool) -> bool {
        self.resumed_complete && !has_moved && self.saver.is_clean()
    }

    /// Everything wanted is here; whether that is news.
    pub(crate) fn finished(&mut self) -> bool {
        !std::mem::replace(&mut self.finished_notified, true)
    }

    /// Every piece is here; whether that was never so before.
    pub(crate) fn completed(&mut self) -> bool {
        !std::mem::replace(&mut self.was_complete, true)
    }

    /// Everything wanted is here: it is recorded at once, unless it is already.
    pub(crate) fn save_finished(&mut self, now: Instant, has_moved: bool) -> bool {
        if self.is_as_saved(has_moved) {
            return true;
        }
        self.saved_pending = true;
        self.save_soon(now);
        false
    }

    /// Whether a last look at the files is due or under way. If something is being recorded meanwhile,
    /// another look follows.
    pub(crate) fn awaits_look(&self, phase: Phase) -> bool {
        self.saved_pending && phase == Phase::Running && self.saver.is_clean()
    }

    /// The files were looked at once more; whether they are as they were recorded. If not, they are
    /// hashed again, and it is not finished until then.
    pub(crate) fn looked(&mut self, content: &Content, stats: &[Option<FileStat>]) -> Option<bool> {
        let is_as_recorded = is_as_recorded(self.recorded.as_deref()?, content, stats);
        self.saved_pending = false;
        if is_as_recorded {
            self.recorded = None;
        } else {
            self.finished_notified = false;
        }
        Some(is_as_recorded)
    }
}

fn is_as_recorded(resume: &Resume, content: &Content, stats: &[Option<FileStat>]) -> bool {
    let files = content.every_file().zip(&content.spec.files);
    // We never make a file longer than it should be.
    let mut too_long = files.zip(stats).filter(|((file, listed), now)| {
        now.is_some_and(|now| now.length > listed.length) && content.is_wanted(*file)
    });
    let mut each = stats.iter().enumerate().map(|(at, now)| {
        match (resume.files.get(at).copied().flatten(), now) {
            (Some(recorded), Some(now)) => now.is_as(&recorded),
            (recorded, now) => recorded.is_some() == now.is_some(),
        }
    });
    too_long.next().is_none() && each.all(|is_same| is_same)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::piece::PieceIndex;
    use crate::storage::file_set::FileSet;
    use crate::torrent::content::tests::content;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn stats() -> Vec<Option<FileStat>> {
        [20_000, 10_000, 30_000].map(|length| Some(FileStat::new(length, 7))).to_vec()
    }

    fn resume() -> Resume {
        Resume {
            pieces: Bitfield::full(4),
            files: stats(),
            ours: FileSet::all(3),
            links: Vec::new(),
            uploaded_bytes: 1,
            downloaded_bytes: 2,
            priorities: Vec::new(),
            saved_at: UnixTime(100),
            stopped_cleanly: true,
            was_complete: false,
        }
    }

    /// Everything was written and is recorded.
    fn recorded() -> Saving {
        let mut saving = Saving::new(false);
        assert!(saving.finished() && !saving.finished(), "that is news once");
        assert!(!saving.save_finished(Instant::from_secs(5), true));
        let due = saving.due_at(Phase::Running, INTERVAL);
        assert_eq!(due, Some(Instant::from_secs(5)), "it does not wait for the interval");
        saving.begin(&Bitfield::full(4));
        assert!(!saving.awaits_look(Phase::Running));
        assert!(saving.synced().is_some_and(|have| have.is_all()));
        saving.records(&resume());
        assert_eq!(saving.saved(Phase::Running), AfterSave::Look);
        saving
    }

    #[test]
    fn what_is_finished_is_recorded_at_once_and_looked_at_once_more() {
        let mut saving = recorded();
        assert!(saving.awaits_look(Phase::Running));
        assert_eq!(saving.looked(&content(), &stats()), Some(true));
        assert!(!saving.awaits_look(Phase::Running) && saving.recorded().is_none());
        assert!(!saving.finished(), "it stays finished");
    }

    #[test]
    fn files_that_were_changed_after_the_last_write_are_not_finished() {
        let gone = |stats: &mut Vec<Option<FileStat>>| stats[1] = None;
        let written = |stats: &mut Vec<Option<FileStat>>| stats[1] = Some(FileStat::new(10_000, 9));
        for change in [gone, written] {
            let (mut saving, mut stats) = (recorded(), stats());
            change(&mut stats);
            assert_eq!(saving.looked(&content(), &stats), Some(false));
            assert!(saving.recorded().is_some(), "it tells what is to be hashed");
            assert!(saving.finished(), "it can be finished again");
        }
    }

    #[test]
    fn a_file_that_is_too_long_is_not_as_recorded_even_if_it_was_so_when_recorded() {
        let mut saving = recorded();
        let mut long = stats();
        long[0] = Some(FileStat::new(20_001, 7));
        saving.records(&Resume { files: long.clone(), ..resume() });
        assert_eq!(saving.looked(&content(), &long), Some(false));
    }

    #[test]
    fn resume_data_answers_for_unchanged_files_unless_all_is_to_be_hashed() {
        let key = InfoHash([3; 20]);
        let data = resume().encode(key);
        for is_all_hashed in [false, true] {
            let mut saving = Saving::new(is_all_hashed);
            saving.recall(&data, key, &content());
            assert!(saving.was_complete() && !saving.completed());
            assert_eq!(saving.trust(&content(), &stats()).check.is_none(), !is_all_hashed);
            assert!(saving.trust(&content(), &stats()).have.has(PieceIndex(0)), "the next time");
        }
        let mut saving = Saving::new(false);
        saving.recall(&data, InfoHash([4; 20]), &content());
        assert!(saving.recorded().is_none(), "that is another torrent's");
    }

    #[test]
    fn a_torrent_that_was_complete_and_moved_nothing_has_nothing_to_save() {
        let mut saving = Saving::new(false);
        saving.resumed(true, false);
        assert!(saving.is_as_saved(false) && !saving.is_as_saved(true));
        assert!(saving.save_finished(Instant::ZERO, false));
        assert_eq!(saving.due_at(Phase::Running, INTERVAL), None);
        saving.resumed(true, true);
        assert!(!saving.is_as_saved(false), "its check hashed something");
    }

    #[test]
    fn resume_data_says_whether_more_may_have_been_written_since() {
        assert!(!Saving::is_last(Phase::Running, false) && Saving::is_last(Phase::Running, true));
        assert!(!Saving::is_last(Phase::Claiming, true), "files are about to be made");
        assert!(Saving::is_last(Phase::Ending { remove: None, closing: false }, false));
    }

    #[test]
    fn nothing_is_saved_before_it_is_known_what_is_there() {
        let mut saving = Saving::new(false);
        saving.mark_dirty(Instant::ZERO);
        assert_eq!(saving.due_at(Phase::Checking, INTERVAL), None);
        let closing = |closing| Phase::Ending { remove: None, closing };
        assert_eq!(saving.due_at(closing(true), INTERVAL), None);
        assert!(saving.due_at(closing(false), INTERVAL).is_some());
        saving.begin(&Bitfield::full(4));
        assert!(saving.synced().is_some());
        assert_eq!(saving.saved(Phase::Claiming), AfterSave::Write);
    }
}
