//! What the disk has answered, and where it goes: the switchboard of all completions, then recording
//! what was written, a disk that fails, and the farewell.

use crate::disk::{DiskDone, DiskError, DiskErrorKind, DiskRequest, StateName};
use crate::notice::TorrentNotice;
use crate::piece::PieceIndex;
use crate::session::Session;
use crate::session::op::{OpOwner, TorrentOp};
use crate::storage::resume::Resume;
use crate::time::Instant;
use crate::torrent::Torrent;
use crate::torrent::disk::retry::Probe;
use crate::torrent::disk::saving::{AfterSave, Saving};
use crate::torrent::lifecycle::{Farewell, Phase, Removal};

impl Torrent {
    /// Starts a disk request of this torrent.
    pub(in crate::torrent) fn disk(
        &mut self,
        session: &mut Session,
        op: TorrentOp,
        request: DiskRequest,
    ) {
        self.life.op_started();
        session.disk(OpOwner::Torrent(self.id, op), request);
    }

    /// A disk request of this torrent is done.
    pub(crate) fn disk_done(
        &mut self,
        session: &mut Session,
        op: TorrentOp,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        self.life.op_done();
        match op {
            TorrentOp::LoadMetadata(key) => self.metadata_loaded(session, key, result),
            TorrentOp::SaveMetadata => {
                // What is not saved is asked for again after a restart, nothing worse.
                if let Err(error) = result {
                    session.notify(self.id, TorrentNotice::DiskFailed { error: *error });
                }
            }
            TorrentOp::LoadResume(key) => self.resume_loaded(session, key, result),
            TorrentOp::Open => self.files_opened(session, result),
            TorrentOp::Reuse => self.files_reused(session, result),
            TorrentOp::Prepare => self.files_prepared(session, result),
            TorrentOp::Check(piece) => self.piece_checked(session, piece, result),
            TorrentOp::CheckLate(piece) => self.piece_checked_late(session, piece, result),
            TorrentOp::WritePiece(piece, len) => self.piece_written(session, piece, len, result),
            TorrentOp::WriteEarly { piece, len, attempt } => {
                session.end_write(len as usize);
                self.early_write_done(session, piece, attempt, result);
            }
            TorrentOp::HashPiece(piece) => self.piece_hashed(session, piece, result),
            TorrentOp::ReadForPeer(slot, run) => self.blocks_read(session, slot, run, result),
            TorrentOp::ReadFromOther => self.local_read(session, result),
            TorrentOp::ReadLeaves(length) => self.leaves_read(session, length, result),
            TorrentOp::ProbeRead => self.read_probed(session, result),
            TorrentOp::Look => self.looked_again(session, result),
            TorrentOp::Sync => self.synced(session, result),
            TorrentOp::SaveResume => self.resume_saved(session, result),
            TorrentOp::Forget | TorrentOp::Close => {}
        }
        self.end_if_idle(session);
    }

    // Saving.

    /// When to flush and save next.
    pub(in crate::torrent) fn save_due_at(&self, session: &Session) -> Option<Instant> {
        self.files.saving.due_at(self.life.phase(), session.config.resume_interval)
    }

    /// Flushes what was written; the save follows.
    pub(in crate::torrent) fn begin_save(&mut self, session: &mut Session) {
        self.files.saving.begin(self.download.picker.have());
        self.disk(session, TorrentOp::Sync, DiskRequest::Sync { store: self.store });
    }

    /// What was written is flushed: claim it.
    fn synced(&mut self, session: &mut Session, result: Result<DiskDone, Box<DiskError>>) {
        let files = match result {
            Ok(DiskDone::Files(files)) => files,
            Ok(_) => Vec::new(),
            Err(error) => {
                self.files.saving.failed(session.now);
                return self.disk_failed(session, *error);
            }
        };
        let (Some(have), Some(content)) = (self.files.saving.synced(), &self.content) else {
            return;
        };
        let is_done = self.is_finished() && !self.files.claims.is_preparing();
        let stopped_cleanly = Saving::is_last(self.life.phase(), is_done);
        let totals = self.traffic.totals();
        let resume = Resume {
            pieces: have,
            files,
            ours: self.files.claims.ours().clone(),
            links: content.links_to_make(),
            uploaded_bytes: totals.all_uploaded(),
            downloaded_bytes: totals.all_downloaded(),
            priorities: content.files.clone(),
            saved_at: session.wall(),
            stopped_cleanly,
            was_complete: self.files.saving.was_complete(),
        };
        self.files.saving.records(&resume);
        let infohash = self.identity.resume_key();
        let request =
            DiskRequest::Save { name: StateName::Resume(infohash), data: resume.encode(infohash) };
        self.disk(session, TorrentOp::SaveResume, request);
    }

    /// The resume data is written, or could not be.
    fn resume_saved(&mut self, session: &mut Session, result: Result<DiskDone, Box<DiskError>>) {
        if let Err(error) = result {
            self.files.saving.failed(session.now);
            return self.disk_failed(session, *error);
        }
        match self.files.saving.saved(self.life.phase()) {
            AfterSave::Write => {
                self.disk_works(session);
                self.may_write(session);
            }
            AfterSave::Look => {
                let request = DiskRequest::Look { store: self.store };
                self.disk(session, TorrentOp::Look, request);
            }
            AfterSave::Nothing => {}
        }
    }

    /// Everything is recorded, and the files were looked at once more: what was changed meanwhile is
    /// hashed again, else all is told to be complete.
    fn looked_again(&mut self, session: &mut Session, result: Result<DiskDone, Box<DiskError>>) {
        if !self.files.saving.awaits_look(self.life.phase()) {
            return;
        }
        let stats = match result {
            Ok(DiskDone::Files(stats)) => stats,
            Ok(_) => Vec::new(),
            Err(error) => {
                self.files.saving.mark_dirty(session.now);
                return self.disk_failed(session, *error);
            }
        };
        let Some(content) = &self.content else { return };
        match self.files.saving.looked(content, &stats) {
            None => {}
            Some(true) => session.notify(self.id, TorrentNotice::Saved),
            Some(false) => {
                self.swarm.addresses.set_seeding(false, session.now);
                self.withdraw_files(session);
                self.fall_silent(session);
                self.upload.choking.stop();
                self.begin_check(session, stats);
            }
        }
    }

    // A disk that fails.

    /// The disk failed: say so, stop fetching, try again by and by.
    pub(in crate::torrent) fn disk_failed(&mut self, session: &mut Session, error: DiskError) {
        if !self.life.is_running() {
            // It may take long to learn which are whole, and others may wait for that.
            self.settle_files(session);
        } else if error.kind == DiskErrorKind::Foreign {
            return self.stranger_appeared(session, error);
        }
        if self.files.retry.failed(error.clone(), session.now) {
            session.notify(self.id, TorrentNotice::DiskFailed { error });
            self.upload.choking.soon(session.now);
        }
    }

    /// A piece could not be read for a peer: say so, refuse it, and try it again by and by. The rest
    /// goes on, unless nothing can be read.
    pub(in crate::torrent) fn piece_unreadable(
        &mut self,
        session: &mut Session,
        piece: PieceIndex,
        error: DiskError,
    ) {
        self.files.retry.read_failed(piece);
        self.part_unreadable(session, error);
    }

    fn part_unreadable(&mut self, session: &mut Session, error: DiskError) {
        if error.kind == DiskErrorKind::Foreign || self.files.retry.cannot_read() {
            return self.disk_failed(session, error);
        }
        if self.files.retry.part_failed(error.clone(), session.now) {
            session.notify(self.id, TorrentNotice::DiskFailed { error });
        }
    }

    /// Tries whether the disk works again, with what failed.
    pub(in crate::torrent) fn probe_disk(&mut self, session: &mut Session) {
        match self.files.retry.probe(self.life.phase()) {
            Some(Probe::Open) => self.open_files(session),
            Some(Probe::Check) => session.queues.checks.push_back(self.id),
            Some(Probe::Save) => self.begin_save(session),
            Some(Probe::Write(piece)) => self.write_piece(session, piece),
            Some(Probe::Read(piece)) => self.verify_piece(session, piece, TorrentOp::ProbeRead),
            Some(Probe::Prepare) => self.prepare_files(session),
            None => {}
        }
    }

    /// A piece that could not be read was read again.
    fn read_probed(&mut self, session: &mut Session, result: Result<DiskDone, Box<DiskError>>) {
        match result {
            Ok(DiskDone::Done) => {
                self.files.retry.read();
                self.disk_works(session);
            }
            Ok(_) => {
                if let Some(error) = self.files.retry.error().cloned() {
                    self.part_unreadable(session, error);
                }
            }
            Err(error) => self.part_unreadable(session, *error),
        }
    }

    /// Something that failed has worked: go on with what waited.
    pub(in crate::torrent) fn disk_works(&mut self, session: &mut Session) {
        let Some(waiting) = self.files.retry.worked(session.now) else { return };
        session.notify(self.id, TorrentNotice::DiskRecovered);
        if self.life.phase() == Phase::Checking {
            session.queues.checks.push_back(self.id);
        }
        if self.files.claims.is_to_prepare() {
            self.prepare_files(session);
        }
        for piece in waiting {
            self.write_piece(session, piece);
        }
        self.upload.choking.soon(session.now);
        for slot in self.swarm.slots() {
            self.request_blocks(session, slot);
        }
    }

    // The farewell.

    /// Goes a step further with the farewell once the disk has nothing to do for this torrent.
    pub(in crate::torrent) fn end_if_idle(&mut self, session: &mut Session) {
        // What is complete but could not be written is lost with the session, not the files. Of files that
        // could not be made it is recorded all the same that they are not there.
        let can_save = !self.files.retry.is_failing() || self.files.claims.is_preparing();
        let is_unsaved = can_save && !self.files.saving.is_clean();
        match self.life.farewell(self.announcing.trackers.has_left(), is_unsaved) {
            Farewell::Wait => {}
            Farewell::Save => {
                self.files.claims.give_up_preparing();
                self.begin_save(session);
            }
            Farewell::Close(remove) => self.close_files(session, remove),
            Farewell::Ended { is_removed } => {
                self.withdraw_claims(session);
                session.budgets.assembly.free(self.download.held_bytes());
                session.timers.unregister(self.timer);
                for (timer, _) in self.traffic.timers(session.now) {
                    session.timers.unregister(timer);
                }
                if is_removed {
                    session.notify(self.id, TorrentNotice::Removed);
                }
            }
        }
    }

    /// Closes the files; of a removed torrent, forgets what was kept of it and deletes what it says.
    fn close_files(&mut self, session: &mut Session, remove: Option<Removal>) {
        if let Some(removal) = remove
            && !self.identity.is_duplicate()
        {
            // Files that stay and are not whole may be known as ours by resume data alone: without it
            // the same torrent, added again, would take them for somebody else's.
            let leaves_ours = removal == Removal::KeepFiles
                && !self.files.claims.ours().is_empty()
                && !self.has_everything();
            for infohash in self.infohashes() {
                self.forget(session, StateName::Metadata(infohash));
                if !leaves_ours {
                    self.forget(session, StateName::Resume(infohash));
                }
            }
        }
        let delete = (remove == Some(Removal::DeleteFiles)).then(|| {
            let (claims, have) = (&self.files.claims, self.download.picker.have());
            let content = self.content.as_ref();
            content.map_or_else(Vec::new, |content| claims.files_to_delete(content, have))
        });
        let request = DiskRequest::Close { store: self.store, delete };
        self.disk(session, TorrentOp::Close, request);
    }

    fn forget(&mut self, session: &mut Session, name: StateName) {
        self.disk(session, TorrentOp::Forget, DiskRequest::Forget { name });
    }
}
