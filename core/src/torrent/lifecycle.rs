//! How far a torrent's life has come: its phase, whether the user has paused it, and its farewell.

use crate::torrent::TorrentState;

/// How far a torrent's life has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Asking peers what it is. With `metadata_only`, that is known and no more is to be done.
    Metadata,
    /// Waiting for its resume data, or for what an earlier session knew of a magnet link.
    Loading,
    /// Waiting for its files' sizes.
    Opening,
    /// Hashing what is on disk.
    Checking,
    /// What is to be written may be: recording that, before anything is made.
    Claiming,
    /// Waiting for files that another torrent has, or may have.
    Reusing,
    /// A file that is to be written is another program's. Nothing is done until the user resumes it.
    Refused,
    /// Downloading or seeding, or paused.
    Running,
    /// Telling trackers, saving, closing files.
    Ending { remove: Option<Removal>, closing: bool },
    /// Nothing is under way any more.
    Ended,
}

/// What is to become of a removed torrent's files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Removal {
    KeepFiles,
    DeleteFiles,
}

/// The next step of a farewell.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Farewell {
    /// Something is still under way, or there is no farewell.
    Wait,
    /// Record what was written, now that no write is under way.
    Save,
    /// Close the files; of a removed torrent, delete what it says.
    Close(Option<Removal>),
    /// All is done.
    Ended { is_removed: bool },
}

/// Where a torrent is in its life.
#[derive(Debug)]
pub(super) struct Lifecycle {
    phase: Phase,
    paused: bool,
    /// Whether its check found it complete and it is to keep to itself then.
    is_idle: bool,
    /// Requests to the disk under way; the store is closed when there are none.
    disk_ops: usize,
}

impl Lifecycle {
    /// The life of a torrent that was just added.
    pub(super) fn new(paused: bool) -> Self {
        Lifecycle { phase: Phase::Loading, paused, is_idle: false, disk_ops: 0 }
    }

    /// How far it has come.
    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Goes on to the next phase.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// Whether it has come to running, paused or not.
    pub(super) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether pieces may go to and fro.
    pub(super) fn is_active(&self) -> bool {
        self.is_running() && !self.paused
    }

    /// Whether it is complete and keeps to itself.
    pub(super) fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// It is complete and is to keep to itself, or not.
    pub(super) fn keep_idle(&mut self, is_idle: bool) {
        self.is_idle = is_idle;
    }

    /// Whether it is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Pauses or resumes; whether that is news.
    pub(super) fn set_paused(&mut self, paused: bool) -> bool {
        std::mem::replace(&mut self.paused, paused) != paused
    }

    /// How that is shown. `is_failing`: the disk; `is_finished`: everything wanted is here.
    pub(super) fn state(&self, is_failing: bool, is_finished: bool) -> TorrentState {
        match self.phase {
            Phase::Ending { .. } | Phase::Ended => TorrentState::Stopping,
            _ if is_failing => TorrentState::DiskFailed,
            Phase::Metadata if self.paused => TorrentState::Paused,
            Phase::Metadata => TorrentState::Metadata,
            Phase::Loading | Phase::Opening | Phase::Checking => TorrentState::Checking,
            Phase::Claiming | Phase::Reusing => TorrentState::Checking,
            Phase::Refused => TorrentState::Paused,
            Phase::Running if self.paused => TorrentState::Paused,
            Phase::Running if is_finished => TorrentState::Seeding,
            Phase::Running => TorrentState::Downloading,
        }
    }

    /// A request to the disk is under way.
    pub(super) fn op_started(&mut self) {
        self.disk_ops += 1;
    }

    /// It is answered.
    pub(super) fn op_done(&mut self) {
        self.disk_ops -= 1;
    }

    /// The farewell begins, for the session or, with `remove`, for good. The phase that it ends; `None`
    /// if the farewell had begun: from then on it may only become one for good.
    pub(super) fn end(&mut self, remove: Option<Removal>) -> Option<Phase> {
        if let Phase::Ending { remove: known, .. } = &mut self.phase {
            *known = remove.or(*known);
            return None;
        }
        let ending = Phase::Ending { remove, closing: false };
        Some(std::mem::replace(&mut self.phase, ending))
    }

    /// What the farewell goes on with. Asked after each answer of the disk and of trackers.
    pub(super) fn farewell(&mut self, has_left_trackers: bool, is_unsaved: bool) -> Farewell {
        let Phase::Ending { remove, closing } = self.phase else { return Farewell::Wait };
        if self.disk_ops > 0 || (closing && !has_left_trackers) {
            return Farewell::Wait;
        }
        if closing {
            self.phase = Phase::Ended;
            return Farewell::Ended { is_removed: remove.is_some() };
        }
        if remove.is_none() && is_unsaved {
            return Farewell::Save;
        }
        self.phase = Phase::Ending { remove, closing: true };
        Farewell::Close(remove)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Lifecycle {
        let mut life = Lifecycle::new(false);
        life.enter(Phase::Running);
        life
    }

    #[test]
    fn a_stopped_torrent_saves_closes_and_waits_for_its_trackers() {
        let mut life = running();
        life.op_started();
        assert_eq!(life.farewell(true, true), Farewell::Wait, "nobody stops it");
        assert_eq!(life.end(None), Some(Phase::Running));
        assert_eq!(life.farewell(true, true), Farewell::Wait, "a write is under way");
        life.op_done();
        assert_eq!(life.farewell(true, true), Farewell::Save);
        assert_eq!(life.farewell(false, false), Farewell::Close(None));
        assert_eq!(life.farewell(false, false), Farewell::Wait, "trackers are not told yet");
        assert_eq!(life.farewell(true, false), Farewell::Ended { is_removed: false });
        assert_eq!(life.phase(), Phase::Ended);
    }

    #[test]
    fn a_removed_torrent_saves_nothing_and_a_stop_becomes_a_removal() {
        let mut life = running();
        assert_eq!(life.end(None), Some(Phase::Running));
        assert_eq!(life.end(Some(Removal::DeleteFiles)), None);
        assert_eq!(life.end(None), None, "a removal stays one");
        assert_eq!(life.farewell(true, true), Farewell::Close(Some(Removal::DeleteFiles)));
        assert_eq!(life.farewell(true, true), Farewell::Ended { is_removed: true });
    }

    #[test]
    fn a_disk_that_fails_shows_before_a_pause_but_not_after_the_end_has_begun() {
        let mut life = Lifecycle::new(true);
        assert_eq!(life.state(false, false), TorrentState::Checking, "a paused torrent is checked");
        life.enter(Phase::Running);
        assert_eq!(life.state(true, true), TorrentState::DiskFailed);
        assert_eq!(life.state(false, true), TorrentState::Paused);
        life.set_paused(false);
        assert_eq!(life.state(false, true), TorrentState::Seeding);
        assert_eq!(life.state(false, false), TorrentState::Downloading);
        life.end(None);
        assert_eq!(life.state(true, false), TorrentState::Stopping);
    }

    #[test]
    fn a_pause_is_news_once_and_stops_transfers_only() {
        let mut life = running();
        assert!(life.is_active() && life.set_paused(true) && !life.set_paused(true));
        assert!(life.is_running() && !life.is_active());
        assert!(life.set_paused(false) && life.is_active());
    }
}
