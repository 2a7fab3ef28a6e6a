//! Downloading: requests go out, blocks come in, pieces are verified, written and announced.

use crate::disk::{DiskDone, DiskError, DiskRequest, WriteRequest};
use crate::notice::TorrentNotice;
use crate::peer::pipeline::{Overdue, Standing};
use crate::peer::{Peer, PeerSlot};
use crate::picker::{Pace, PeerKey, PickHints, Received};
use crate::piece::{BLOCK_LEN, Block, PieceIndex};
use crate::session::Session;
use crate::session::bans::BanReason;
use crate::session::op::TorrentOp;
use crate::torrent::content::Content;
use crate::torrent::take_back::{take_back_unsent, void_requests};
use crate::torrent::{Torrent, leaves};
use crate::wire::{BlockData, Message, Violation};

/// Seconds of a rate limit's worth that may be requested ahead (chosen: keeps the kernel's buffers
/// from holding more than the limit lets through soon).
const REQUEST_AHEAD_S: u64 = 3;

/// Requests outstanding at one peer up to which it joins the end game (chosen).
const END_GAME_REQUESTS: usize = 8;
/// Requests outstanding at one that wastes what others would not (chosen).
const WASTEFUL_REQUESTS: usize = 1;
/// A peer that sends less than this part of the torrent's rate is slow (chosen).
const SLOW_PART: u64 = 32;
/// One that sends at least this part of it is fast (chosen).
const FAST_PART: u64 = 4;

impl Torrent {
    // Requests.

    /// Requests as many blocks of a peer as its pipeline wants.
    pub(super) fn request_blocks(&mut self, session: &mut Session, slot: PeerSlot) {
        if !self.is_downloading() {
            return;
        }
        let limit = self.request_limit(session);
        let gives_way = self.gives_way(slot);
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if !peer.is_open() || !peer.download.can_request() {
            self.hungry.remove(&slot);
            return;
        }
        // In the end game whoever is idle asks for a few blocks that others owe us, no more: what
        // crosses a cancel is sent for nothing.
        let limit = if self.picker.is_end_game() { limit.min(END_GAME_REQUESTS) } else { limit };
        let limit = if gives_way { limit.min(WASTEFUL_REQUESTS) } else { limit };
        let want = peer
            .download
            .pipeline
            .want(session.now)
            .min(limit.saturating_sub(peer.download.pipeline.len()));
        if want == 0 {
            return;
        }
        let down = self.traffic.down_rate(session.now);
        let hints = PickHints {
            pace: match gives_way {
                true => Pace::Slow,
                false => pace(peer.download.pipeline.rate_bytes_per_s(session.now), down),
            },
            allowed: peer.download.peer_choking.then_some(peer.download.allowed_to_us.as_slice()),
            suggested: &peer.download.suggested,
        };
        let mut picked = Vec::with_capacity(want);
        let mut given_up = Vec::new();
        let mut sent = 0;
        loop {
            self.picker.pick(slot.key(), &peer.download.has, want - sent, hints, &mut picked);
            let last_round = picked.is_empty() || !peer.download.pipeline.has_given_up();
            for block in picked.drain(..) {
                // What it is late with it is not asked for twice.
                if !last_round && peer.download.pipeline.contains(block) {
                    given_up.push(block);
                    continue;
                }
                peer.download.pipeline.queued(block, session.now);
                peer.download.asking.push(block);
                sent += 1;
            }
            if last_round || sent == want {
                break;
            }
        }
        for block in given_up {
            if sent > 0 {
                self.picker.put_back(slot.key(), block);
            } else {
                self.picker.release(slot.key(), block);
            }
        }
        if sent < want {
            self.hungry.insert(slot);
        } else {
            self.hungry.remove(&slot);
        }
        if sent > 0 {
            let (conn, deadline) = (peer.wire.conn, peer.download.pipeline.deadline());
            session.ask_send(conn);
            if let Some(deadline) = deadline {
                session.set_deadline_sooner(conn, deadline);
            }
        }
    }

    /// Most requests outstanding at one peer under the rate limits in force.
    fn request_limit(&self, session: &Session) -> usize {
        let own = self.traffic.down_limit();
        let limit = [own, session.download.limit()].into_iter().flatten().min();
        limit.map_or(usize::MAX, |limit| {
            let blocks = limit.saturating_mul(REQUEST_AHEAD_S) / u64::from(BLOCK_LEN);
            usize::try_from(blocks / self.peers.len().max(1) as u64).unwrap_or(usize::MAX).max(1)
        })
    }

    /// Something can be picked again: asks those peers for it that had nothing to give.
    pub(super) fn feed_hungry(&mut self, session: &mut Session) {
        if self.hungry.is_empty() || !self.is_downloading() {
            return;
        }
        let hungry: Vec<PeerSlot> = self.hungry.iter().copied().collect();
        for slot in hungry {
            self.request_blocks(session, slot);
        }
    }

    /// Gives back what was requested of a peer; whether there was anything.
    pub(super) fn release_requests(&mut self, slot: PeerSlot, peer: &mut Peer) -> bool {
        void_requests(&mut self.picker, &mut self.late, slot, peer)
    }

    /// The peer serves us no longer. Without the fast extension that drops all requests (BEP 3);
    /// with it each is answered (BEP 6).
    pub(super) fn choked_by(&mut self, session: &mut Session, slot: PeerSlot) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.download.peer_choking = true;
        let mut something = self.picker.peer_gone(slot.key());
        let stands =
            |peer: &Peer, piece| peer.wire.fast && peer.download.allowed_to_us.contains(&piece);
        something |= take_back_unsent(&mut self.picker, &mut self.late, slot, peer, stands);
        if !peer.wire.fast {
            something |= void_requests(&mut self.picker, &mut self.late, slot, peer);
        }
        if something {
            self.feed_hungry(session);
        }
    }

    /// The peer serves us from now on.
    pub(super) fn unchoked_by(&mut self, slot: PeerSlot) {
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.download.peer_choking = false;
            self.hungry.insert(slot);
        }
    }

    /// The peer will not serve a request.
    pub(super) fn rejected(&mut self, session: &mut Session, slot: PeerSlot, block: Block) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let standing = peer.download.pipeline.rejected(block);
        peer.download.request_ended(block);
        peer.download.allowed_to_us.retain(|piece| *piece != block.piece);
        if standing != Some(Standing::Awaited) {
            return self.late.remove(block, slot);
        }
        self.picker.release(slot.key(), block);
        self.hungry.insert(slot);
        self.feed_hungry_but(session, slot);
    }

    /// As [`Torrent::feed_hungry`], leaving out the one that is being handled: its turn comes when
    /// all of its messages are.
    pub(super) fn feed_hungry_but(&mut self, session: &mut Session, but: PeerSlot) {
        if !self.is_downloading() {
            return;
        }
        let hungry: Vec<PeerSlot> =
            self.hungry.iter().copied().filter(|&slot| slot != but).collect();
        for slot in hungry {
            self.request_blocks(session, slot);
        }
    }

    /// Requests that a peer is too late with go to others.
    pub(super) fn mind_late_requests(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        reading: bool,
    ) {
        let now = session.now;
        let Some(peer) = self.peers.get_mut(slot) else { return };
        // While we do not read, what it sent may be waiting in the kernel because of us.
        peer.download.pipeline.set_reading(reading, now);
        let mut any = false;
        while let Some(overdue) = peer.download.pipeline.pop_overdue(now) {
            match overdue {
                Overdue::Late(block) => {
                    self.picker.release(slot.key(), block);
                    self.late.add(block, slot);
                    any = true;
                }
                Overdue::Forgotten(block) => self.late.remove(block, slot),
            }
        }
        if !any {
            return;
        }
        self.hungry.insert(slot);
        self.feed_hungry(session);
    }

    // Blocks.

    /// A block has come.
    pub(super) fn block_arrived(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        piece: PieceIndex,
        begin: u32,
        data: BlockData,
    ) -> Result<(), Violation> {
        let now = session.now;
        let len = data.len() as u64;
        let block = Block { piece, begin, length: data.len() as u32 };
        // Padding amid a block comes with it, and is not counted.
        let padding = |content: &Content| u64::from(content.geometry().padding_in(block));
        let counted = len - self.content.as_deref().map_or(0, padding);
        self.traffic.arrived(counted);
        let Some(peer) = self.peers.get_mut(slot) else { return Ok(()) };
        let standing = peer.download.pipeline.received(block, now);
        peer.download.request_ended(block);
        if standing == Some(Standing::Late) {
            self.late.remove(block, slot);
        }
        if standing.is_none() {
            peer.download.unasked_bytes += len;
            self.traffic.was_redundant(counted);
            return match self.wastes_too_much(slot) {
                true => Err(Violation::UnrequestedBlock(block)),
                false => Ok(()),
            };
        }
        peer.download.down.add(now, counted);
        peer.download.downloaded += counted;
        let remote = peer.wire.remote;
        self.traffic.received(now, counted);
        match self.picker.received(slot.key(), block) {
            Received::Accepted { piece_complete, also_requested_by } => {
                let smart_ban = self.smart_ban.make();
                smart_ban.received(piece, block.number(), remote);
                if piece_complete && let Some(content) = &self.content {
                    // Blocks of padding alone are nobody's, and no reason to doubt who sent the rest.
                    let padding = content.geometry().padding_blocks(piece);
                    padding.for_each(|number| smart_ban.received(piece, number, remote));
                }
                self.keep_block(session, block, data, &also_requested_by, piece_complete);
            }
            Received::Duplicate | Received::NotWanted => self.traffic.was_redundant(counted),
        }
        Ok(())
    }

    /// Keeps a block that was missing, and asks nobody else for it any more.
    pub(super) fn keep_block(
        &mut self,
        session: &mut Session,
        block: Block,
        data: BlockData,
        also_requested_by: &[PeerKey],
        piece_complete: bool,
    ) {
        let Some(content) = &self.content else { return };
        let held = self.assembly.held_bytes();
        self.assembly.insert(content.geometry(), block, data);
        session.assembly_bytes += self.assembly.held_bytes() - held;
        for other in also_requested_by {
            if let Some(slot) = self.peers.key_at(other.0) {
                self.cancel_request(session, slot, block);
            }
        }
        for late in self.late.take(block) {
            self.cancel_request(session, late, block);
        }
        if piece_complete {
            self.piece_complete(session, block.piece);
        } else if session.assembly_bytes > session.config.bounds.assembly_bytes {
            self.write_early(session);
        }
    }

    /// A block has come from somebody else.
    fn cancel_request(&mut self, session: &mut Session, slot: PeerSlot, block: Block) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if peer.download.unask(block) {
            peer.download.pipeline.cancelled(block, false);
            self.hungry.insert(slot);
        } else if peer.download.pipeline.cancelled(block, peer.wire.fast).is_some() {
            peer.send(Message::Cancel(block));
            let conn = peer.wire.conn;
            session.ask_send(conn);
            self.hungry.insert(slot);
        }
    }

    // Pieces.

    /// All blocks of a piece are here: have it verified and written, in one go.
    fn piece_complete(&mut self, session: &mut Session, piece: PieceIndex) {
        if self.assembly.was_written_early(piece) {
            return self.write_rest(session, piece);
        }
        self.write_piece(session, piece);
    }

    /// Has a complete piece verified and written.
    pub(super) fn write_piece(&mut self, session: &mut Session, piece: PieceIndex) {
        let (Some(expect), Some(content)) = (self.piece_hash(piece), &self.content) else { return };
        // Padding takes no memory.
        let len = content.geometry().data_len_of(piece);
        session.write_backlog += len as usize;
        let request = WriteRequest {
            store: self.store,
            spans: content.layout.piece_spans(piece),
            data: self.assembly.bytes_of(content.geometry(), piece),
            expect: Some(expect),
        };
        self.disk(
            session,
            TorrentOp::WritePiece(piece, len),
            DiskRequest::Write(Box::new(request)),
        );
    }

    /// Memory is short: writes the blocks of the piece that holds most.
    fn write_early(&mut self, session: &mut Session) {
        // A piece that failed is checked in memory the next time, one at a time: what comes back
        // from a disk is no proof against a peer.
        let kept = self.assembly.first(|piece| self.picker.has_failed(piece));
        match self.assembly.largest(kept) {
            Some(piece) => self.write_blocks(session, piece),
            None => {
                self.give_up_doubt(session);
            }
        }
    }

    /// A piece of which a part is on disk already is complete: writes the rest, then hashes it.
    fn write_rest(&mut self, session: &mut Session, piece: PieceIndex) {
        self.write_blocks(session, piece);
        self.hash_if_settled(session, piece);
    }

    fn write_blocks(&mut self, session: &mut Session, piece: PieceIndex) {
        let Some(content) = &self.content else { return };
        let held = self.assembly.held_bytes();
        let runs = self.assembly.take_for_early_write(content.geometry(), piece);
        session.assembly_bytes -= held - self.assembly.held_bytes();
        for run in runs {
            let Some(content) = &self.content else { return };
            let len = run.range.length;
            session.write_backlog += len as usize;
            let request = WriteRequest {
                store: self.store,
                spans: content.layout.spans(run.range),
                data: run.data,
                expect: None,
            };
            self.disk(
                session,
                TorrentOp::WriteEarly { piece, len, attempt: run.attempt },
                DiskRequest::Write(Box::new(request)),
            );
        }
    }

    fn hash_if_settled(&mut self, session: &mut Session, piece: PieceIndex) {
        if self.assembly.is_settled(piece) && self.assembly.was_written_early(piece) {
            self.verify_piece(session, piece, TorrentOp::HashPiece(piece));
        }
    }

    /// An early write is done, or failed.
    pub(super) fn early_write_done(
        &mut self,
        session: &mut Session,
        piece: PieceIndex,
        attempt: u32,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        if !self.assembly.early_write_done(piece, attempt) {
            return;
        }
        match result {
            Ok(_) => self.hash_if_settled(session, piece),
            Err(error) => {
                // Its bytes are gone from memory: the piece is fetched again once the disk works.
                self.disk_failed(session, *error);
                self.forget_piece(session, piece);
            }
        }
    }

    /// A piece written early was hashed.
    pub(super) fn piece_hashed(
        &mut self,
        session: &mut Session,
        piece: PieceIndex,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        match result {
            Ok(DiskDone::Done) => {
                self.piece_passed(session, piece);
            }
            Ok(_) => {
                // Its sender may have lied, or the disk does: nobody is blamed yet.
                self.piece_lost(session, piece);
                self.feed_hungry(session);
            }
            Err(error) => {
                self.disk_failed(session, *error);
                self.forget_piece(session, piece);
            }
        }
    }

    /// A complete piece was verified and written, or is wrong, or could not be written.
    pub(super) fn piece_written(
        &mut self,
        session: &mut Session,
        piece: PieceIndex,
        len: u32,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        session.backlog_done(len as usize);
        match result {
            Ok(DiskDone::HashMismatch) => self.piece_failed(session, piece),
            Ok(_) => {
                self.files.retry.written(piece);
                self.piece_passed(session, piece);
                self.disk_works(session);
            }
            Err(error) => {
                // A second try may fail after the first, late, has succeeded.
                if !self.picker.have().has(piece) {
                    self.files.retry.write_failed(piece);
                }
                self.disk_failed(session, *error);
            }
        }
    }

    /// A piece is verified and on disk: it is ours, and everybody may know.
    pub(super) fn piece_passed(&mut self, session: &mut Session, piece: PieceIndex) {
        if self.picker.have().has(piece) {
            // A write tried again while the first was still under way.
            return;
        }
        let blocks = self.assembly.blocks_of(piece);
        let liars = self
            .smart_ban
            .make()
            .passed(piece, blocks.map(|data| data.chunks().iter().map(AsRef::as_ref)));
        self.drop_blocks(session, piece);
        self.picker.piece_passed(piece);
        self.files.saving.mark_dirty(session.now);
        self.announce_have(session, piece);
        for liar in liars {
            self.ban(session, liar, BanReason::WrongData);
        }
        if self.is_finished() {
            self.finished(session);
        } else {
            self.offer_file_of(session, piece);
        }
        self.copied_piece_settled(session, piece);
    }

    /// A piece does not have its hash: its blocks are fetched again, as soon as it is known which or
    /// that this will not be known; and whoever is proved to have sent a wrong one is banned, nobody
    /// else.
    fn piece_failed(&mut self, session: &mut Session, piece: PieceIndex) {
        let digests = leaves::digests(self.assembly.blocks_of(piece));
        if let Some(liar) = self.smart_ban.make().failed(piece, &digests) {
            self.ban(session, liar, BanReason::WrongData);
        }
        if !self.hold_in_doubt(session, piece, digests) {
            self.piece_lost(session, piece);
        }
        self.copied_piece_settled(session, piece);
        self.feed_hungry(session);
    }

    /// A piece is wrong, and nobody knows where.
    pub(super) fn piece_lost(&mut self, session: &mut Session, piece: PieceIndex) {
        let len = self.content.as_ref().map_or(0, |known| known.geometry().data_len_of(piece));
        self.traffic.failed(len.into());
        self.forget_piece(session, piece);
    }

    /// Starts a piece anew.
    pub(super) fn forget_piece(&mut self, session: &mut Session, piece: PieceIndex) {
        self.drop_blocks(session, piece);
        if let Some(ban) = self.smart_ban.get_mut() {
            ban.abandoned(piece);
        }
        self.picker.piece_failed(piece);
        self.copied_piece_settled(session, piece);
    }

    fn drop_blocks(&mut self, session: &mut Session, piece: PieceIndex) {
        let held = self.assembly.held_bytes();
        self.assembly.remove(piece);
        session.assembly_bytes -= held - self.assembly.held_bytes();
    }

    /// Tells all who lack it that we have a piece, and those who suggest pieces, since they count
    /// who has what; minds who has lost interest for us by it.
    fn announce_have(&mut self, session: &mut Session, piece: PieceIndex) {
        let wanting = self.is_active() && !self.is_finished();
        for (_, peer) in self.peers.iter_mut() {
            if !peer.is_open() {
                continue;
            }
            if peer.download.has.has(piece) {
                peer.download.interesting = peer.download.interesting.saturating_sub(1);
                peer.set_interest(wanting && peer.download.interesting > 0);
            }
            if peer.download.suggests || !peer.download.has.has(piece) {
                peer.send(Message::Have(piece));
            }
            if !peer.wire.outbox.is_empty() {
                session.ask_send(peer.wire.conn);
            }
        }
    }

    /// Everything wanted is here.
    pub(super) fn finished(&mut self, session: &mut Session) {
        // What has no content may still be made: empty files, links.
        let may_finish = self.life.is_running() && !self.files.claims.is_preparing();
        if !may_finish || !self.files.saving.finished() {
            return;
        }
        self.book.set_seeding(true, session.now);
        self.want_no_files(session);
        self.offer_files(session);
        self.hungry.clear();
        session.notify(self.id, TorrentNotice::Finished);
        if self.has_everything() {
            let is_news = self.files.saving.completed();
            if self.traffic.totals().downloaded > 0 && is_news {
                self.announce_completed(session);
            }
        }
        if self.files.saving.save_finished(session.now, !self.traffic.is_none()) {
            session.notify(self.id, TorrentNotice::Saved);
        }
        let slots: Vec<PeerSlot> = self.peers.keys().collect();
        for slot in slots {
            self.part_if_both_seed(session, slot);
            // BEP 21: now we only upload.
            self.tell_extensions(session, slot);
            self.flush_outbox(session, slot);
        }
        self.choke_soon(session);
    }
}

/// A peer's pace: what it would take to send the torrent's whole rate alone.
fn pace(peer_bytes_per_s: u64, torrent_bytes_per_s: u64) -> Pace {
    if peer_bytes_per_s == 0 {
        Pace::Medium
    } else if peer_bytes_per_s.saturating_mul(SLOW_PART) < torrent_bytes_per_s {
        Pace::Slow
    } else if peer_bytes_per_s.saturating_mul(FAST_PART) >= torrent_bytes_per_s {
        Pace::Fast
    } else {
        Pace::Medium
    }
}
