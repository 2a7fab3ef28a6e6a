//! Pause and resume, removal, the session's stop.

use crate::notice::TorrentNotice;
use crate::session::Session;
use crate::torrent::Torrent;
use crate::torrent::lifecycle::{Phase, Removal};
use crate::torrent::peer_book::Ended;

impl Torrent {
    /// Stops transfers and closes connections, until [`Torrent::unpause`].
    pub(crate) fn pause(&mut self, session: &mut Session) {
        if !self.life.set_paused(true) {
            return;
        }
        self.fall_silent(session);
        self.upload.choking.stop();
        session.notify(self.id, TorrentNotice::Paused);
    }

    /// Undoes [`Torrent::pause`].
    pub(crate) fn unpause(&mut self, session: &mut Session) {
        if !self.life.set_paused(false) {
            return;
        }
        session.notify(self.id, TorrentNotice::Resumed);
        match self.life.phase() {
            Phase::Running => {
                self.open_for_peers(session);
                self.files_found(session);
            }
            // What was learnt while it was to learn no more than the metadata.
            Phase::Metadata if self.is_fetching_metadata() => self.open_for_peers(session),
            Phase::Metadata if self.content.is_some() => self.find_resume_data(session),
            Phase::Refused => self.look_again(session),
            _ => {}
        }
    }

    /// Takes the torrent out of the session for good.
    pub(crate) fn remove(&mut self, session: &mut Session, delete_files: bool) {
        let removal = if delete_files { Removal::DeleteFiles } else { Removal::KeepFiles };
        self.end(session, Some(removal));
    }

    /// The session stops: the torrent is kept for the next.
    pub(crate) fn stop(&mut self, session: &mut Session) {
        self.end(session, None);
    }

    fn end(&mut self, session: &mut Session, remove: Option<Removal>) {
        let Some(phase) = self.life.end(remove) else { return };
        if phase == Phase::Refused {
            self.files.retry.clear();
        }
        self.files.checker.abandon();
        self.withdraw_files(session);
        self.acquisition.stop();
        self.fall_silent(session);
        self.upload.choking.stop();
        let is_as_saved = self.files.saving.is_as_saved(!self.traffic.is_none());
        if phase == Phase::Running && remove.is_none() && !is_as_saved {
            self.files.saving.mark_dirty(session.now);
        }
        if remove.is_none() {
            self.keep_layers(session);
        }
        self.end_if_idle(session);
    }

    /// Closes all connections, for reasons that are no peer's.
    pub(super) fn drop_all_peers(&mut self, session: &mut Session) {
        for slot in self.swarm.slots() {
            self.drop_peer(session, slot, Ended::LetGo);
        }
    }

    /// Leaves everybody who knows of it: peers, trackers, the DHT.
    pub(super) fn fall_silent(&mut self, session: &mut Session) {
        self.drop_all_peers(session);
        self.stop_announcing(session);
    }

    /// Whether the check of this torrent has more to hash.
    pub(crate) fn is_checking(&self) -> bool {
        self.life.phase() == Phase::Checking
    }
}
