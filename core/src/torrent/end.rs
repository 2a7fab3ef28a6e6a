//! Pause and resume, removal, the session's stop; and the way completions of the disk take.

use crate::disk::{DiskDone, DiskError, DiskRequest, FileIndex, StateName};
use crate::notice::TorrentNotice;
use crate::peer::PeerSlot;
use crate::session::Session;
use crate::session::op::TorrentOp;
use crate::torrent::peer_book::Ended;
use crate::torrent::{Phase, Removal, Torrent};

impl Torrent {
    /// Stops transfers and closes connections, until [`Torrent::unpause`].
    pub(crate) fn pause(&mut self, session: &mut Session) {
        if self.paused {
            return;
        }
        self.paused = true;
        self.drop_all_peers(session);
        self.stop_announcing(session);
        self.leave_dht(session);
        self.choke_at = None;
        session.notify(self.id, TorrentNotice::Paused);
    }

    /// Undoes [`Torrent::pause`].
    pub(crate) fn unpause(&mut self, session: &mut Session) {
        if !self.paused {
            return;
        }
        self.paused = false;
        session.notify(self.id, TorrentNotice::Resumed);
        match self.phase {
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
        if let Phase::Ending { remove: known, .. } = &mut self.phase {
            *known = remove.or(*known);
            return;
        }
        let was_running = self.phase == Phase::Running;
        if self.phase == Phase::Refused {
            self.trouble = None;
        }
        self.phase = Phase::Ending { remove, closing: false };
        self.checker.abandon();
        self.withdraw_files(session);
        self.metadata = None;
        self.drop_all_peers(session);
        self.stop_announcing(session);
        self.leave_dht(session);
        self.choke_at = None;
        if was_running && remove.is_none() && !self.is_as_saved() {
            self.saver.mark_dirty(session.now);
        }
        if remove.is_none() {
            self.keep_layers(session);
        }
        self.end_if_idle(session);
    }

    /// Closes all connections, for reasons that are no peer's.
    pub(super) fn drop_all_peers(&mut self, session: &mut Session) {
        let slots: Vec<PeerSlot> = self.peers.keys().collect();
        for slot in slots {
            self.drop_peer(session, slot, Ended::LetGo);
        }
    }

    /// Goes a step further with the farewell once the disk has nothing to do for this torrent.
    pub(super) fn end_if_idle(&mut self, session: &mut Session) {
        let Phase::Ending { remove, closing } = self.phase else { return };
        if self.disk_ops > 0 {
            return;
        }
        if closing {
            if !self.has_left_trackers() {
                return;
            }
            self.phase = Phase::Ended;
            self.withdraw_claims(session);
            session.assembly_bytes -= self.assembly.held_bytes();
            session.timers.unregister(self.timer);
            for (timer, _) in self.traffic.timers(session.now) {
                session.timers.unregister(timer);
            }
            if remove.is_some() {
                session.notify(self.id, TorrentNotice::Removed);
            }
            return;
        }
        // Now that no write is under way the last save counts everything in. What is complete but
        // could not be written is lost with the session, not the files.
        if remove.is_none() && self.trouble.is_none() && !self.saver.is_clean() {
            return self.begin_save(session);
        }
        self.phase = Phase::Ending { remove, closing: true };
        if let Some(removal) = remove
            && !self.identity.is_duplicate()
        {
            // Files that stay and are not whole may be known as ours by resume data alone: without it
            // the same torrent, added again, would take them for somebody else's.
            let leaves_ours =
                removal == Removal::KeepFiles && !self.ours.is_empty() && !self.has_everything();
            for infohash in self.infohashes() {
                self.forget(session, StateName::Metadata(infohash));
                if !leaves_ours {
                    self.forget(session, StateName::Resume(infohash));
                }
            }
        }
        let delete = (remove == Some(Removal::DeleteFiles)).then(|| self.files_to_delete());
        let request = DiskRequest::Close { store: self.store, delete };
        self.disk(session, TorrentOp::Close, request);
    }

    fn forget(&mut self, session: &mut Session, name: StateName) {
        self.disk(session, TorrentOp::Forget, DiskRequest::Forget { name });
    }

    /// The files that are the torrent's: those that we wrote, and those that have its content. What lies
    /// in the place of others is somebody else's.
    fn files_to_delete(&self) -> Vec<FileIndex> {
        let Some(content) = &self.content else { return Vec::new() };
        let have = self.picker.have();
        let has_content_of =
            |file: FileIndex| content.pieces_of(file).len() > 0 && content.has_file(have, file);
        let is_its_own = |file: &FileIndex| self.ours.has(*file) || has_content_of(*file);
        content.every_file().filter(is_its_own).collect()
    }

    /// A disk request of this torrent is done.
    pub(crate) fn disk_done(
        &mut self,
        session: &mut Session,
        op: TorrentOp,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        self.disk_ops -= 1;
        match op {
            TorrentOp::LoadMetadata(key) => self.metadata_loaded(session, key, result),
            TorrentOp::SaveMetadata => self.metadata_saved(session, result),
            TorrentOp::LoadResume(key) => self.resume_loaded(session, key, result),
            TorrentOp::Open => self.files_opened(session, result),
            TorrentOp::Reuse => self.files_reused(session, result),
            TorrentOp::Prepare => self.files_prepared(session, result),
            TorrentOp::Check(piece) => self.piece_checked(session, piece, result),
            TorrentOp::CheckLate(piece) => self.piece_checked_late(session, piece, result),
            TorrentOp::WritePiece(piece, len) => self.piece_written(session, piece, len, result),
            TorrentOp::WriteEarly { piece, len, attempt } => {
                session.backlog_done(len as usize);
                self.early_write_done(session, piece, attempt, result);
            }
            TorrentOp::HashPiece(piece) => self.piece_hashed(session, piece, result),
            TorrentOp::ReadForPeer(slot, run) => self.blocks_read(session, slot, run, result),
            TorrentOp::ReadFromOther => self.other_was_read(session, result),
            TorrentOp::ReadLeaves(length) => self.leaves_read(session, length, result),
            TorrentOp::ProbeRead => self.read_probed(session, result),
            TorrentOp::Look => self.looked_again(session, result),
            TorrentOp::Sync => self.synced(session, result),
            TorrentOp::SaveResume => self.resume_saved(session, result),
            TorrentOp::Forget | TorrentOp::Close => {}
        }
        self.end_if_idle(session);
    }

    /// Whether the check of this torrent has more to hash.
    pub(crate) fn is_checking(&self) -> bool {
        self.phase == Phase::Checking
    }
}
