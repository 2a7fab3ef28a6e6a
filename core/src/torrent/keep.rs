//! Keeping what was downloaded: flushing, resume data, a last look before it is said to be complete,
//! and a disk that fails for a while.

use crate::disk::{
    DiskDone, DiskError, DiskErrorKind, DiskRequest, FileIndex, FileStat, StateName,
};
use crate::notice::TorrentNotice;
use crate::piece::PieceIndex;
use crate::session::Session;
use crate::session::op::TorrentOp;
use crate::storage::resume::Resume;
use crate::time::Instant;
use crate::torrent::disk_trouble::DiskTrouble;
use crate::torrent::{Phase, Torrent};

impl Torrent {
    // Saving.

    /// When to flush and save next.
    pub(super) fn save_due_at(&self, session: &Session) -> Option<Instant> {
        match self.phase {
            Phase::Running | Phase::Refused | Phase::Ending { closing: false, .. } => {
                self.saver.due_at(session.config.resume_interval)
            }
            _ => None,
        }
    }

    /// Flushes what was written; the save follows.
    pub(super) fn begin_save(&mut self, session: &mut Session) {
        self.saver.begin(self.picker.have());
        self.disk(session, TorrentOp::Sync, DiskRequest::Sync { store: self.store });
    }

    /// What was written is flushed: claim it.
    pub(super) fn synced(
        &mut self,
        session: &mut Session,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        let files = match result {
            Ok(DiskDone::Files(files)) => files,
            Ok(_) => Vec::new(),
            Err(error) => {
                self.saver.failed(session.now);
                return self.disk_failed(session, *error);
            }
        };
        let (Some(have), Some(content)) = (self.saver.synced(), &self.content) else { return };
        let resume = Resume {
            pieces: have,
            files,
            ours: self.ours.clone(),
            links: content.links_to_make(),
            uploaded_bytes: self.traffic.totals().all_uploaded(),
            downloaded_bytes: self.traffic.totals().all_downloaded(),
            priorities: content.files.clone(),
            saved_at: session.wall(),
            stopped_cleanly: self.is_done_writing(),
            was_complete: self.was_complete,
        };
        if self.saved_due {
            // To be compared with the files before they are said to be complete.
            self.resume = Some(Box::new(Resume { stopped_cleanly: true, ..resume.clone() }));
        }
        let infohash = self.identity.resume_key();
        let request =
            DiskRequest::Save { name: StateName::Resume(infohash), data: resume.encode(infohash) };
        self.disk(session, TorrentOp::SaveResume, request);
    }

    /// Whether nothing is written after what is recorded now.
    fn is_done_writing(&self) -> bool {
        match self.phase {
            Phase::Ending { .. } => true,
            Phase::Running => self.is_finished() && self.preparation.is_none(),
            _ => false,
        }
    }

    /// The resume data is written, or could not be.
    pub(super) fn resume_saved(
        &mut self,
        session: &mut Session,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        match result {
            Ok(_) => {
                self.saver.saved();
                if self.phase == Phase::Claiming {
                    self.disk_works(session);
                    return self.may_write(session);
                }
                if self.saved_due && self.saver.is_clean() && self.phase == Phase::Running {
                    let request = DiskRequest::Look { store: self.store };
                    self.disk(session, TorrentOp::Look, request);
                }
            }
            Err(error) => {
                self.saver.failed(session.now);
                self.disk_failed(session, *error);
            }
        }
    }

    /// Everything is recorded, and the files were looked at once more: what was changed meanwhile is
    /// hashed again, else all is told to be complete.
    pub(super) fn looked_again(
        &mut self,
        session: &mut Session,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        if !self.saved_due || self.phase != Phase::Running || !self.saver.is_clean() {
            // Another save is under way, and another look follows it.
            return;
        }
        let stats = match result {
            Ok(DiskDone::Files(stats)) => stats,
            Ok(_) => Vec::new(),
            Err(error) => {
                self.saver.mark_dirty(session.now);
                return self.disk_failed(session, *error);
            }
        };
        let (Some(resume), Some(content)) = (&self.resume, &self.content) else { return };
        let is_as_recorded = |(index, now): (u32, &Option<FileStat>)| {
            let recorded = resume.files.get(index as usize).copied().flatten();
            match (recorded, now) {
                (Some(recorded), Some(now)) => now.is_as(&recorded),
                (recorded, now) => recorded.is_some() == now.is_some(),
            }
        };
        self.saved_due = false;
        // We never make a file longer than it should be.
        let is_too_long = |(file, now): (FileIndex, &Option<FileStat>)| {
            let listed = content.spec.files.get(file.0 as usize);
            let is_longer =
                listed.zip(*now).is_some_and(|(listed, now)| now.length > listed.length);
            is_longer && content.is_wanted(file)
        };
        let none_is_too_long = !(0..).map(FileIndex).zip(&stats).any(is_too_long);
        if none_is_too_long && (0..).zip(&stats).all(is_as_recorded) {
            self.resume = None;
            session.notify(self.id, TorrentNotice::Saved);
            return;
        }
        self.told_finished = false;
        self.book.set_seeding(false, session.now);
        self.withdraw_files(session);
        self.drop_all_peers(session);
        self.stop_announcing(session);
        self.leave_dht(session);
        self.choke_at = None;
        self.begin_check(session, stats);
    }

    // A disk that fails.

    /// The disk failed: say so, stop fetching, try again by and by.
    pub(super) fn disk_failed(&mut self, session: &mut Session, error: DiskError) {
        if self.phase != Phase::Running {
            // It may take long to learn which are whole, and others may wait for that.
            self.settle_files(session);
        }
        if error.kind == DiskErrorKind::Foreign && self.phase == Phase::Running {
            return self.stranger_appeared(session, error);
        }
        match &mut self.trouble {
            Some(trouble) => trouble.failed_again(error, session.now),
            None => {
                session.notify(self.id, TorrentNotice::DiskFailed { error: error.clone() });
                self.trouble = Some(Box::new(DiskTrouble::new(error, session.now)));
                self.choke_soon(session);
            }
        }
    }

    /// Tries whether the disk works again, with what failed.
    pub(super) fn probe_disk(&mut self, session: &mut Session) {
        let Some(trouble) = &mut self.trouble else { return };
        trouble.probe();
        if self.phase == Phase::Opening {
            self.open_files(session);
        } else if self.phase == Phase::Checking {
            session.check_queue.push_back(self.id);
        } else if self.phase == Phase::Claiming {
            self.begin_save(session);
        } else if let Some(&piece) = self.unwritten.first() {
            self.write_piece(session, piece);
        } else if let Some(piece) = self.unreadable {
            self.verify_piece(session, piece, TorrentOp::ProbeRead);
        } else {
            self.prepare_files(session);
        }
    }

    /// A piece that could not be read was read again.
    pub(super) fn read_probed(
        &mut self,
        session: &mut Session,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        match result {
            Ok(DiskDone::Done) => {
                self.unreadable = None;
                self.disk_works(session);
            }
            Ok(_) => {
                let error = self.trouble.as_ref().map(|trouble| trouble.error().clone());
                if let Some(error) = error {
                    self.disk_failed(session, error);
                }
            }
            Err(error) => self.disk_failed(session, *error),
        }
    }

    /// Something that failed has worked: go on with what waited.
    pub(super) fn disk_works(&mut self, session: &mut Session) {
        let Some(trouble) = &mut self.trouble else { return };
        if self.unreadable.is_some() {
            // It can be written to; whether it can be read is to be tried as well.
            return trouble.probe_next(session.now);
        }
        self.trouble = None;
        session.notify(self.id, TorrentNotice::DiskRecovered);
        if self.phase == Phase::Checking {
            session.check_queue.push_back(self.id);
        }
        if self.preparation.as_ref().is_some_and(|preparation| !preparation.is_under_way) {
            self.prepare_files(session);
        }
        let waiting: Vec<PieceIndex> = self.unwritten.iter().copied().collect();
        for piece in waiting {
            self.write_piece(session, piece);
        }
        self.choke_soon(session);
        let slots: Vec<_> = self.peers.keys().collect();
        for slot in slots {
            self.request_blocks(session, slot);
        }
    }
}
