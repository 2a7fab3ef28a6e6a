//! Between a torrent's machines and the disk: requests go out, every completion comes in here and goes
//! to the machine that it concerns, and the [`Step`]s that the torrent's machines answer with are carried out.
//! Beside them the farewell, and what is read from files of other torrents.

use crate::disk::{DiskDone, DiskRequest, StateName};
use crate::notice::{BanReason, TorrentNotice};
use crate::piece::{InfoHash, PieceIndex};
use crate::session::Session;
use crate::session::op::{OpOwner, TorrentOp};
use crate::torrent::Torrent;
use crate::torrent::disk::Record;
use crate::torrent::download::{Download, LocalBlocks, Source};
use crate::torrent::lifecycle::{Farewell, Phase};
use crate::torrent::similar::{Reuse, SharedFiles};
use crate::torrent::step::{DiskResult, MetadataStep, PieceStep, Step};

impl Torrent {
    /// Starts a disk request of this torrent.
    pub(super) fn disk(&mut self, session: &mut Session, op: TorrentOp, request: DiskRequest) {
        self.life.op_started();
        session.budgets.begin(op.held());
        session.disk(OpOwner::Torrent(self.id, op), request);
    }

    /// A disk request of this torrent is done.
    pub(crate) fn disk_done(&mut self, session: &mut Session, op: TorrentOp, result: DiskResult) {
        self.life.op_done();
        session.release(op.held());
        let (now, phase) = (session.now, self.life.phase());
        let content = self.content.as_deref();
        match op {
            TorrentOp::LoadMetadata(key) => self.metadata_loaded(session, key, result),
            TorrentOp::SaveMetadata => {
                // What is not saved is requested again after a restart, nothing worse.
                if let Err(error) = result {
                    session.notify(self.id, TorrentNotice::DiskFailed { error: *error });
                }
            }
            TorrentOp::LoadResume(key) => self.resume_loaded(session, key, result),
            TorrentOp::Open => {
                let steps = self.files.opened(phase, result);
                self.perform(session, steps);
            }
            TorrentOp::Reuse => {
                if let Some(content) = content {
                    let have = self.download.have();
                    let steps = self.files.reused(phase, content, have, result);
                    self.perform(session, steps);
                }
            }
            TorrentOp::Prepare => {
                let steps = self.files.prepared(now, result);
                self.perform(session, steps);
            }
            TorrentOp::Check(piece) => {
                if let Some(content) = content {
                    let steps = self.files.piece_checked(phase, content, piece, result);
                    self.perform(session, steps);
                }
            }
            TorrentOp::CheckLate(piece) => {
                self.acquisition.late.make().finish_one();
                if let Some(content) = self.content.as_deref().filter(|_| self.life.is_running()) {
                    self.download.let_go(piece);
                    let steps = self.files.piece_checked_late(content, piece, result);
                    self.perform(session, steps);
                }
            }
            TorrentOp::WritePiece(piece, _) => {
                let is_here = self.download.have().has(piece);
                let steps = self.files.piece_written(piece, is_here, result);
                self.perform(session, steps);
            }
            TorrentOp::WriteEarly { piece, attempt, .. } => {
                let steps = self.download.early_written(piece, attempt, result);
                self.perform(session, steps);
            }
            TorrentOp::HashPiece(piece) => {
                self.perform(session, Download::hashed_on_disk(piece, result));
            }
            TorrentOp::ReadForPeer(slot, run) => self.blocks_read(session, slot, run, result),
            TorrentOp::ReadFromOther => self.local_read(session, result),
            TorrentOp::ReadLeaves(_) => self.leaves_read(session, result),
            TorrentOp::ProbeRead => {
                let step = self.files.read_probed(now, result);
                self.perform(session, step);
            }
            TorrentOp::Look => {
                let step = self.files.looked(now, phase, content, result);
                self.perform(session, step);
            }
            TorrentOp::Sync => {
                let record = Record {
                    phase,
                    is_finished: self.is_finished(),
                    totals: self.traffic.totals(),
                    wall: session.wall(),
                    key: self.identity.resume_key(),
                };
                let step = self.files.synced(now, content, record, result);
                self.perform(session, step);
            }
            TorrentOp::SaveResume => {
                let steps = self.files.saved(now, phase, self.store, result);
                self.perform(session, steps);
            }
            TorrentOp::Forget | TorrentOp::Close => {}
        }
        self.end_if_idle(session);
    }

    /// Carries out what the machines say, one step after the other.
    pub(super) fn perform(&mut self, session: &mut Session, steps: impl IntoIterator<Item = Step>) {
        for step in steps {
            self.perform_step(session, step);
        }
    }

    fn perform_step(&mut self, session: &mut Session, step: Step) {
        let (now, id, store) = (session.now, self.id, self.store);
        let picker = self.download.picker();
        match step {
            Step::Enter(phase) => self.life.enter(phase),
            Step::Notify(notice) => session.notify(id, notice),
            Step::Disk(op, request) => self.disk(session, op, request),
            Step::Open => {
                let Some(content) = &self.content else { return };
                let request = DiskRequest::Open { store, spec: content.spec.clone() };
                self.life.enter(Phase::Opening);
                self.disk(session, TorrentOp::Open, request);
            }
            Step::Check(stats) => {
                let Some(content) = &self.content else { return };
                let trust = self.files.found(content, stats);
                self.download.set_have(&trust.have);
                self.perform_step(session, Step::Hash(trust.check));
            }
            Step::Hash(check) => {
                let Some(content) = &self.content else { return };
                let acquisition = &mut self.acquisition;
                let without_hash = |check: &mut _| acquisition.leave_out(&content.metainfo, check);
                let steps = self.files.hash(content, picker.have(), check, without_hash);
                self.perform(session, steps);
            }
            Step::QueueCheck => session.queues.checks.push_back(id),
            Step::Have(pieces) => self.download.mark_have(pieces),
            Step::Checked => {
                let (have, pieces) = (picker.have().count(), self.pieces());
                let from_resume = self.files.claims.hashed() == 0;
                session.notify(id, TorrentNotice::Checked { have, pieces, from_resume });
            }
            Step::Judge => {
                let Some(content) = &self.content else { return };
                let is_duplicate = self.identity.is_duplicate();
                let writers = &session.files.writers;
                let steps = self.files.judge(
                    content,
                    is_duplicate,
                    |piece| picker.is_interesting(piece),
                    |path| writers.of(path).is_some_and(|other| other != id),
                );
                self.perform(session, steps);
            }
            Step::Claim(places) => {
                places.into_iter().for_each(|path| session.files.writers.add(path, id));
            }
            Step::MayWrite => {
                if !self.reuse_files(session) {
                    self.begin_running(session);
                }
            }
            Step::Refuse(error) => {
                self.life.enter(Phase::Refused);
                self.withdraw_files(session);
                self.fall_silent(session);
                self.life.set_paused(true);
                self.files.retry.refused(error.clone());
                session.notify(id, TorrentNotice::DiskFailed { error });
            }
            Step::Run => self.begin_running(session),
            Step::Prepare => {
                let Some(content) = &self.content else { return };
                let step = self.files.preparation(store, content, picker.have());
                self.perform_step(session, step);
            }
            Step::Finish => {
                if self.is_finished() {
                    self.finished(session);
                }
            }
            Step::Save => {
                let step = self.files.save(store, picker.have());
                self.perform_step(session, step);
            }
            Step::CheckAgain(stats) => {
                self.swarm.addresses.set_seeding(false, now);
                self.withdraw_files(session);
                self.fall_silent(session);
                self.upload.choking.stop();
                self.perform_step(session, Step::Check(stats));
            }
            Step::Failed(error) => {
                let (runs, content) = (self.life.is_running(), self.content.as_deref());
                let steps = self.files.failed(now, runs, content, error);
                self.perform(session, steps);
            }
            Step::Works => {
                let steps = self.files.works(now, self.life.phase());
                self.perform(session, steps);
            }
            Step::Piece(piece, step) => self.perform_piece_step(session, piece, step),
            Step::Freed(bytes) => session.budgets.assembly.free(bytes),
            Step::Ban(liar) => self.ban(session, liar, BanReason::WrongData),
            Step::Metadata(step) => self.perform_metadata_step(session, step),
            Step::NextLocal => {
                if let Some(content) = self.content.as_deref().filter(|_| self.is_downloading()) {
                    let step = self.download.next_local(content);
                    self.perform(session, step);
                }
            }
            Step::ReadLocal => {
                let step =
                    self.content.as_deref().and_then(|known| self.download.read_local(known));
                self.perform(session, step);
            }
            Step::SettleShared => {
                let asks = self.shared_files().settle(&mut session.files.similar);
                session.asks.extend(asks);
            }
            Step::ChokeSoon => self.upload.choking.soon(now),
            Step::Request => {
                for slot in self.swarm.slots() {
                    self.request_blocks(session, slot);
                }
            }
            Step::Fill => self.fill_pipelines(session, None),
        }
    }

    fn perform_piece_step(&mut self, session: &mut Session, piece: PieceIndex, step: PieceStep) {
        match step {
            PieceStep::Write => {
                let hash = self.piece_hash(piece);
                let (Some(expect), Some(content)) = (hash, &self.content) else { return };
                let step = self.download.write(self.store, content, piece, expect);
                self.perform_step(session, step);
            }
            PieceStep::Verify(op) => self.verify_piece(session, piece, op),
            PieceStep::Passed => self.piece_passed(session, piece),
            PieceStep::Wrong => {
                let steps = self.download.wrong(piece, self.piece_hash(piece).as_ref());
                self.perform(session, steps);
            }
            PieceStep::Suspect(digests) => self.suspect_piece(session, piece, digests),
            PieceStep::Resolve => {
                let Some(resolved) = self.download.resolve(piece) else { return };
                self.traffic.failed(resolved.failed_bytes);
                session.budgets.assembly.free(resolved.freed);
                if resolved.starts_anew {
                    self.perform_piece_step(session, piece, PieceStep::Settled);
                }
            }
            PieceStep::Lost => {
                let content = self.content.as_ref();
                let len = content.map_or(0, |known| known.geometry().data_len_of(piece));
                self.traffic.failed(len.into());
                self.perform_piece_step(session, piece, PieceStep::Forget);
            }
            PieceStep::Forget => {
                session.budgets.assembly.free(self.download.forget(piece));
                self.perform_piece_step(session, piece, PieceStep::Settled);
            }
            PieceStep::Settled => {
                let step = self.download.local_settled(piece);
                self.perform(session, step);
            }
        }
    }

    // The way to running.

    /// Goes on with resume data. Also where everything is to be hashed it tells whose the files are.
    pub(super) fn find_resume_data(&mut self, session: &mut Session) {
        self.life.enter(Phase::Loading);
        self.shared_files().expect(&mut session.files.similar);
        let key = self.identity.resume_key();
        let request = DiskRequest::Load { name: StateName::Resume(key) };
        self.disk(session, TorrentOp::LoadResume(key), request);
    }

    /// Resume data is here, or there is none.
    fn resume_loaded(&mut self, session: &mut Session, key: InfoHash, result: DiskResult) {
        if self.life.phase() != Phase::Loading {
            return;
        }
        if let (Ok(DiskDone::Loaded(None)), Some(other)) =
            (&result, self.identity.infohashes().v2_short())
            && other != key
        {
            // Earlier versions kept that of a hybrid which began with a link to v2 there.
            let request = DiskRequest::Load { name: StateName::Resume(other) };
            return self.disk(session, TorrentOp::LoadResume(other), request);
        }
        if let (Ok(DiskDone::Loaded(Some(data))), Some(content)) = (result, &self.content) {
            self.files.saving.recall(&data, key, content);
        }
        self.files.saving.distrust_the_future(session.wall());
        if let Some(resume) = self.files.saving.recorded() {
            self.traffic.recall(resume.uploaded_bytes, resume.downloaded_bytes);
            self.files.claims.recall(&resume.ours);
        }
        self.perform_step(session, Step::Open);
    }

    /// Starts hashing the next piece; whether more are waiting.
    pub(crate) fn check_next(&mut self, session: &mut Session) -> bool {
        let (next, has_more) = self.files.check_next();
        if let Some(piece) = next {
            self.verify_piece(session, piece, TorrentOp::Check(piece));
        }
        has_more
    }

    /// Whatever is to be written may be: goes on with peers.
    fn begin_running(&mut self, session: &mut Session) {
        self.life.enter(Phase::Running);
        let waited_for_hashes = self.files.claims.begin_running();
        if !waited_for_hashes {
            self.perform_step(session, Step::Checked);
            self.files.saving.forget_recorded();
        }
        if let Some(content) = self.content.as_ref().filter(|_| !self.identity.is_duplicate()) {
            let (is_finished, picker) = (self.is_finished(), self.download.picker());
            let lacks = |piece| picker.is_interesting(piece);
            let step = self.files.prepare(session.now, content, lacks, is_finished);
            self.perform(session, step);
        }
        if waited_for_hashes {
            self.perform(session, [Step::Fill, Step::Request]);
            return self.files_found(session);
        }
        self.download.forget_senders();
        let asks = self.shared_files().offer(&mut session.files.similar);
        session.asks.extend(asks);
        self.perform(session, [Step::Finish, Step::Metadata(MetadataStep::CheckLate)]);
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
            self.shared_files().want(&mut session.files.similar);
            self.files_found(session);
        }
    }

    /// It writes no more: others may.
    pub(super) fn withdraw_claims(&mut self, session: &mut Session) {
        let Some(content) = &self.content else { return };
        for path in self.files.claims.release(content) {
            session.files.writers.remove(&path, self.id);
        }
    }

    // The farewell.

    /// Goes a step further with the farewell once the disk has nothing to do for this torrent.
    pub(super) fn end_if_idle(&mut self, session: &mut Session) {
        // What is complete but could not be written is lost with the session, not the files. Of files that
        // could not be made it is recorded all the same that they are not there.
        let can_save = !self.files.retry.is_failing() || self.files.claims.is_preparing();
        let is_unsaved = can_save && !self.files.saving.is_clean();
        match self.life.farewell(self.announcing.trackers.has_left(), is_unsaved) {
            Farewell::Wait => {}
            Farewell::Save => {
                self.files.claims.give_up_preparing();
                self.perform_step(session, Step::Save);
            }
            Farewell::Close(remove) => {
                let (is_removed, is_whole) = (remove.is_some(), self.has_everything());
                if is_removed && !self.identity.is_duplicate() {
                    let infohashes = self.identity.infohashes().short();
                    let steps = self.files.forget(infohashes, remove, is_whole);
                    self.perform(session, steps);
                }
                let (content, have) = (self.content.as_deref(), self.download.have());
                let step = self.files.close(self.store, content, have, remove);
                self.perform_step(session, step);
            }
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

    // Files that other torrents have.

    /// Its files as the other torrents of the session see them.
    pub(super) fn shared_files(&self) -> SharedFiles<'_> {
        let (content, have) = (self.content.as_deref(), self.download.have());
        SharedFiles { id: self.id, store: self.store, content, have }
    }

    /// Lets no torrent find its files any more, nor finds theirs.
    pub(super) fn withdraw_files(&mut self, session: &mut Session) {
        let asks = self.shared_files().withdraw(&mut session.files.similar);
        session.asks.extend(asks);
        self.download.forget_local();
    }

    /// Starts to copy what is missing and is to be found elsewhere in the session, or to wait for it;
    /// whether there is something.
    fn reuse_files(&mut self, session: &mut Session) -> bool {
        let claims = &self.files.claims;
        let reuse =
            self.shared_files().reuse(&session.files.similar, |file| claims.is_missing(file));
        if reuse == Reuse::Nothing {
            return false;
        }
        self.life.enter(Phase::Reusing);
        match reuse {
            Reuse::Nothing => {}
            Reuse::Copy => self.copy_files(session),
            Reuse::Wait(store) => {
                // Who waits is not waited for.
                let asks = self.shared_files().offer(&mut session.files.similar);
                session.asks.extend(asks);
                session.files.similar.wait(store, self.id);
            }
        }
        true
    }

    /// Copies what is found elsewhere, if that is what it waits for.
    pub(crate) fn copy_files(&mut self, session: &mut Session) {
        if self.life.phase() == Phase::Reusing && self.content.is_some() {
            let files = self.shared_files().found_to_copy(&session.files.similar);
            self.disk(session, TorrentOp::Reuse, DiskRequest::Reuse { store: self.store, files });
        }
    }

    /// Another torrent may have a file that is missing here.
    pub(crate) fn files_found(&mut self, session: &mut Session) {
        if !self.is_downloading() {
            return;
        }
        let local = self.download.local.get();
        let is_new = |file| !local.is_some_and(|local| local.knows(file));
        let found = self.shared_files().found(&session.files.similar, is_new);
        if !found.is_empty() {
            self.download.local.make().add(found);
        }
        self.perform_step(session, Step::NextLocal);
    }

    /// A part of a piece was read from the other torrent's file: its blocks are taken as if they had come
    /// from a peer.
    fn local_read(&mut self, session: &mut Session, result: DiskResult) {
        let Some(content) = self.content.as_deref() else { return };
        let LocalBlocks { part, blocks } = match self.download.local_read(content, result) {
            Ok(read) => read,
            Err(step) => return self.perform(session, step),
        };
        if self.is_downloading() {
            for (block, bytes) in blocks {
                if let Some(kept) = self.download.keep(Source::LOCAL, None, block, bytes.into()) {
                    self.block_kept(session, block, kept);
                }
            }
        }
        let step = self.download.local_part_taken(part, self.is_downloading());
        self.perform(session, step);
    }
}
