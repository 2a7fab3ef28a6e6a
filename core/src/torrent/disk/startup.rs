//! The way of a torrent to running: resume data, the files' sizes, the check, what may be written.

use crate::bitfield::Bitfield;
use crate::disk::{DiskDone, DiskError, DiskRequest, FileStat, StateName};
use crate::notice::TorrentNotice;
use crate::piece::{InfoHash, PieceIndex};
use crate::session::Session;
use crate::session::op::TorrentOp;
use crate::torrent::Torrent;
use crate::torrent::disk::checker::{Checker, is_absence};
use crate::torrent::disk::claims::Verdict;
use crate::torrent::disk::padding_pieces;
use crate::torrent::lifecycle::Phase;

impl Torrent {
    // Resume data.

    /// Goes on with resume data. Also where everything is to be hashed it tells whose the files are.
    pub(in crate::torrent) fn find_resume_data(&mut self, session: &mut Session) {
        self.life.enter(Phase::Loading);
        self.announce_files(session);
        self.load_resume_data(session, self.identity.resume_key());
    }

    fn load_resume_data(&mut self, session: &mut Session, key: InfoHash) {
        let name = StateName::Resume(key);
        self.disk(session, TorrentOp::LoadResume(key), DiskRequest::Load { name });
    }

    /// Resume data is here, or there is none.
    pub(super) fn resume_loaded(
        &mut self,
        session: &mut Session,
        key: InfoHash,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        if self.life.phase() != Phase::Loading {
            return;
        }
        if let (Ok(DiskDone::Loaded(None)), Some(other)) =
            (&result, self.identity.infohashes().v2_short())
            && other != key
        {
            // Earlier versions kept that of a hybrid which began with a link to v2 there.
            return self.load_resume_data(session, other);
        }
        if let (Ok(DiskDone::Loaded(Some(data))), Some(content)) = (result, &self.content) {
            self.files.saving.recall(&data, key, content);
        }
        self.files.saving.distrust_the_future(session.wall());
        if let Some(resume) = self.files.saving.recorded() {
            self.traffic.recall(resume.uploaded_bytes, resume.downloaded_bytes);
            self.files.claims.recall(&resume.ours);
        }
        self.open_files(session);
    }

    // The check.

    /// Has the files looked at.
    pub(super) fn open_files(&mut self, session: &mut Session) {
        let Some(content) = &self.content else { return };
        self.life.enter(Phase::Opening);
        let request = DiskRequest::Open { store: self.store, spec: content.spec.clone() };
        self.disk(session, TorrentOp::Open, request);
    }

    /// The files' sizes are known: decide what has to be hashed.
    pub(super) fn files_opened(
        &mut self,
        session: &mut Session,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        if self.life.phase() != Phase::Opening {
            return;
        }
        let stats = match result {
            Ok(DiskDone::Files(stats)) => stats,
            Ok(_) => Vec::new(),
            Err(error) => {
                // Without its files' sizes nothing can be claimed; the error shows, and each
                // retry of the disk looks again.
                self.disk_failed(session, *error);
                return;
            }
        };
        self.files.retry.clear();
        self.begin_check(session, stats);
    }

    /// The files are as they are: hashes what has to be hashed.
    pub(super) fn begin_check(&mut self, session: &mut Session, stats: Vec<Option<FileStat>>) {
        let Some(content) = &self.content else { return };
        let mut trust = self.files.saving.trust(content, &stats);
        let resume = self.files.saving.recorded();
        self.files.claims.found(content, stats, resume);
        // Whatever the resume data says.
        self.files.claims.skip_short(content, &mut trust.have);
        self.files.claims.distrust(content, &mut trust);
        let lost: Vec<PieceIndex> =
            self.download.picker.have().iter().filter(|piece| !trust.have.has(*piece)).collect();
        lost.into_iter().for_each(|piece| self.download.picker.unmark_have(piece));
        for piece in trust.have.iter() {
            self.download.picker.mark_have(piece);
        }
        self.hash_pieces(session, trust.check);
    }

    /// Hashes these pieces, as far as they may be there.
    fn hash_pieces(&mut self, session: &mut Session, mut check: Bitfield) {
        let Some(content) = &self.content else { return };
        self.files.claims.skip_short(content, &mut check);
        self.check_without_hashes(&mut check);
        let Some(content) = &self.content else { return };
        padding_pieces::leave_samples(content, self.download.picker.have(), &mut check);
        self.files.checker = Checker::new(&check);
        self.life.enter(Phase::Checking);
        if self.files.checker.is_done() {
            self.check_done(session);
        } else {
            session.queues.checks.push_back(self.id);
        }
    }

    /// Starts hashing the next piece; whether more are waiting.
    pub(crate) fn check_next(&mut self, session: &mut Session) -> bool {
        if self.files.retry.due_at().is_some() {
            return false;
        }
        if let Some(piece) = self.files.checker.start_next() {
            session.budgets.checks.add(1);
            self.verify_piece(session, piece, TorrentOp::Check(piece));
        }
        self.files.checker.has_more()
    }

    /// A piece was hashed, or is not there; one that the disk does not give is tried again.
    pub(super) fn piece_checked(
        &mut self,
        session: &mut Session,
        piece: PieceIndex,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        session.budgets.checks.free(1);
        match &result {
            Err(error) if self.life.phase() == Phase::Checking && !is_absence(error.kind) => {
                self.files.checker.put_back(piece);
                return self.disk_failed(session, error.as_ref().clone());
            }
            Ok(_) => self.disk_works(session),
            Err(_) => {}
        }
        self.files.checker.finish_one();
        let Some(content) = &self.content else { return };
        if let Ok(done) = &result {
            self.files.claims.count(content, piece, Some(done));
        }
        if let Ok(DiskDone::Done | DiskDone::Zeros { is_right: true }) = result {
            self.download.picker.mark_have(piece);
            for same in padding_pieces::same_as(content, piece) {
                self.download.picker.mark_have(same);
            }
        }
        if self.life.phase() == Phase::Checking && self.files.checker.is_done() {
            self.check_done(session);
        }
    }

    fn check_done(&mut self, session: &mut Session) {
        let (hashed, _) = self.files.checker.progress();
        match self.files.claims.checked(hashed) {
            Some(true) => self.begin_running(session),
            Some(false) => self.ask_to_write(session),
            None => {}
        }
    }

    /// It is known what is here.
    fn notify_checked(&self, session: &mut Session) {
        let (have, pieces) = (self.download.picker.have().count(), self.pieces());
        let from_resume = self.files.claims.hashed() == 0;
        session.notify(self.id, TorrentNotice::Checked { have, pieces, from_resume });
    }

    // What may be written.

    /// The check is done: judges what is to be written, and goes on if it may be.
    fn ask_to_write(&mut self, session: &mut Session) {
        if self.identity.is_duplicate() {
            self.files.claims.leave_to_other();
            return self.begin_running(session);
        }
        let Some(content) = &self.content else { return };
        let (writers, id, picker) = (&session.files.writers, self.id, &self.download.picker);
        let verdict = self.files.claims.judge(
            content,
            |piece| picker.is_interesting(piece),
            |path| writers.of(path).is_some_and(|other| other != id),
        );
        match verdict {
            None => {}
            Some(Verdict::Undecided) => self.begin_running(session),
            Some(Verdict::Refused { error, is_late }) => {
                if !is_late {
                    self.notify_checked(session);
                }
                self.refuse(session, error);
            }
            Some(Verdict::Allowed { places, is_news }) => {
                for path in places {
                    session.files.writers.add(path, self.id);
                }
                if is_news {
                    // Named in resume data before they are made.
                    self.life.enter(Phase::Claiming);
                    self.begin_save(session);
                } else {
                    self.may_write(session);
                }
            }
        }
    }

    /// More pieces were hashed late: decides, if all are that may be in files to be written.
    pub(in crate::torrent) fn decide_late(&mut self, session: &mut Session) {
        let Some(content) = &self.content else { return };
        if self.files.claims.can_decide(content) {
            self.life.enter(Phase::Checking);
            self.ask_to_write(session);
        }
    }

    /// Something that is to be written is somebody else's: nothing is done.
    fn refuse(&mut self, session: &mut Session, error: DiskError) {
        self.life.enter(Phase::Refused);
        self.withdraw_files(session);
        self.fall_silent(session);
        self.life.set_paused(true);
        self.files.retry.refused(error.clone());
        session.notify(self.id, TorrentNotice::DiskFailed { error });
    }

    /// While we looked away, somebody made a file that we were about to make: it is not ours.
    pub(super) fn stranger_appeared(&mut self, session: &mut Session, error: DiskError) {
        if let Some(content) = &self.content {
            self.files.claims.stranger_appeared(content, &error.path);
        }
        for piece in self.files.retry.give_up_writes() {
            self.forget_piece(session, piece);
        }
        self.refuse(session, error);
        self.files.saving.save_soon(session.now);
    }

    /// The user resumes a torrent that was refused: looks again.
    pub(in crate::torrent) fn look_again(&mut self, session: &mut Session) {
        self.files.retry.clear();
        self.life.enter(Phase::Opening);
        self.announce_files(session);
        self.disk(session, TorrentOp::Open, DiskRequest::Look { store: self.store });
    }

    /// Whatever is to be written may be, and is named in resume data.
    pub(super) fn may_write(&mut self, session: &mut Session) {
        if !self.reuse_files(session) {
            self.begin_running(session);
        }
    }

    /// What could be copied from other torrents is.
    pub(super) fn files_reused(
        &mut self,
        session: &mut Session,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        if self.life.phase() != Phase::Reusing {
            return;
        }
        match (result, &self.content) {
            (Ok(DiskDone::Files(stats)), Some(content)) => {
                let check = self.files.claims.copied(content, self.download.picker.have(), stats);
                self.hash_pieces(session, check);
            }
            // What could be copied is not known: it is fetched.
            _ => self.begin_running(session),
        }
    }

    /// It writes no more: others may.
    pub(in crate::torrent) fn withdraw_claims(&mut self, session: &mut Session) {
        let Some(content) = &self.content else { return };
        for path in self.files.claims.release(content) {
            session.files.writers.remove(&path, self.id);
        }
    }

    // Running.

    /// Whatever is to be written may be: goes on with peers.
    fn begin_running(&mut self, session: &mut Session) {
        self.life.enter(Phase::Running);
        if self.files.claims.begin_running() {
            // It waited for hashes to be decided what may be written.
            self.prepare(session);
            self.fill_pipelines(session, None);
            for slot in self.swarm.slots() {
                self.request_blocks(session, slot);
            }
            return self.files_found(session);
        }
        self.notify_checked(session);
        self.files.saving.forget_recorded();
        self.prepare(session);
        self.download.forget_senders();
        self.offer_files(session);
        if self.is_finished() {
            self.finished(session);
        }
        self.check_late(session);
        let may_idle = self.content.as_ref().is_some_and(|content| content.idle_if_complete);
        self.life.keep_idle(may_idle && self.is_finished());
        if self.life.is_idle() {
            // Of a magnet link, trackers and peers know already.
            self.fall_silent(session);
        } else if !self.life.is_paused() {
            self.open_for_peers(session);
            self.go_on_with_peers(session);
        }
        if !self.is_finished() {
            self.want_files(session);
        }
    }

    /// Makes what is to be made, unless it is not known yet whether it may be.
    fn prepare(&mut self, session: &mut Session) {
        if self.files.claims.is_undecided() || self.identity.is_duplicate() {
            return;
        }
        let Some(content) = &self.content else { return };
        let picker = &self.download.picker;
        let hashed = self.files.claims.prepare(content, |piece| picker.is_interesting(piece));
        if hashed > 0 {
            self.files.saving.mark_dirty(session.now);
        }
        let is_preparing = self.files.claims.is_preparing();
        self.files.saving.resumed(self.is_finished() && !is_preparing, hashed > 0);
        if is_preparing {
            self.prepare_files(session);
        }
    }

    /// Has made what is to be made.
    pub(super) fn prepare_files(&mut self, session: &mut Session) {
        let Some(content) = &self.content else { return };
        let (files, links) =
            self.files.claims.next_preparation(content, self.download.picker.have());
        let (store, allocation) = (self.store, content.allocation);
        let request = DiskRequest::Prepare { store, files, allocation, links };
        self.disk(session, TorrentOp::Prepare, request);
    }

    /// The wanted files are made, or could not be.
    pub(super) fn files_prepared(
        &mut self,
        session: &mut Session,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        match result {
            Ok(_) => {
                if self.files.claims.prepared() {
                    self.files.saving.mark_dirty(session.now);
                }
                if !self.files.retry.has_failed_writes() {
                    self.disk_works(session);
                }
                if self.is_finished() {
                    self.finished(session);
                }
            }
            Err(error) => {
                self.files.claims.preparation_failed();
                // Resume data names files that were not made: what comes to lie there is not ours.
                self.files.saving.mark_dirty(session.now);
                self.disk_failed(session, *error);
            }
        }
    }
}
