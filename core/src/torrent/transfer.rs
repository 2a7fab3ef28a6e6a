//! Blocks and pieces between peers, files and the [`Download`](super::download): requests go out,
//! blocks come in, pieces are verified, written and announced.
//!
//! What to request and what becomes of a block is decided there; here it is sent, written and counted
//! in the session's budgets.

use crate::disk::{DiskDone, DiskError, DiskRequest, WriteRequest};
use crate::notice::BanReason;
use crate::notice::TorrentNotice;
use crate::peer::PeerSlot;
use crate::piece::{Block, PieceIndex};
use crate::session::Session;
use crate::session::op::TorrentOp;
use crate::torrent::Torrent;
use crate::torrent::content::Content;
use crate::torrent::disk::Step;
use crate::torrent::download::leaf_hashes;
use crate::torrent::download::{Arrival, Kept, Share, Source, Terms};
use crate::wire::{BlockData, HashRequest, Message, Violation};

/// What is said of a hybrid whose two kinds of hashes no content has.
const CONTRADICTION: &str =
    "its hashes of v1 and of v2 are of different content; nobody can have it";

impl Torrent {
    // Requests.

    /// Requests as many blocks of a peer as its pipeline wants.
    pub(super) fn request_blocks(&mut self, session: &mut Session, slot: PeerSlot) {
        if !self.is_downloading() {
            return;
        }
        let limit = match (self.traffic.down_limit(), session.download.limit()) {
            (Some(own), Some(all)) => Some(own.min(all)),
            (own, all) => own.or(all),
        };
        let share = Share { limit, of: self.swarm.peers.len() };
        let terms = Terms::new(share, self.swarm.gives_way(slot));
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
        let (now, traffic) = (session.now, &self.traffic);
        let rate = || traffic.down_rate(now);
        let (source, mut yielded) = (&mut peer.download, Vec::new());
        if self.download.want(now, slot.into(), source, terms, rate, &mut yielded) > 0 {
            let (conn, deadline) = (peer.wire.conn, peer.download.pipeline.deadline());
            session.transport().ask_send(conn);
            if let Some(deadline) = deadline {
                session.transport().set_deadline_sooner(conn, deadline);
            }
        }
        for (source, block) in yielded {
            self.cancel_request(session, source, block);
        }
    }

    /// Another source sends a block, or has sent it: the request for it ends.
    fn cancel_request(&mut self, session: &mut Session, source: Source, block: Block) {
        if let Some(slot) = self.swarm.peers.key_at(source.index())
            && let Some(peer) = self.swarm.peers.get_mut(slot)
            && self.download.cancel(source, &mut peer.download, block, peer.wire.fast)
        {
            peer.send(Message::Cancel(block));
            session.transport().ask_send(peer.wire.conn);
        }
    }

    /// Something can be picked again: requests it of the peers that had nothing to give, but for the
    /// one that is being handled: its turn comes when all of its messages are.
    pub(super) fn fill_pipelines(&mut self, session: &mut Session, but: Option<PeerSlot>) {
        if !self.is_downloading() {
            return;
        }
        for source in self.download.underfilled(but.map(Source::from)) {
            if let Some(slot) = self.swarm.peers.key_at(source.index()) {
                self.request_blocks(session, slot);
            }
        }
    }

    /// The peer will not serve a request.
    pub(super) fn rejected(&mut self, session: &mut Session, slot: PeerSlot, block: Block) {
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
        let free = self.download.rejected(session.now, slot.into(), &mut peer.download, block);
        if let Some(at) = peer.download.refusals.waits_until(session.now) {
            session.transport().set_deadline_sooner(peer.wire.conn, at);
        }
        if free {
            self.fill_pipelines(session, Some(slot));
        }
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
        let block = Block { piece, begin, length: data.len() as u32 };
        // Padding amid a block comes with it, and is not counted.
        let padding = |content: &Content| u64::from(content.geometry().padding_in(block));
        let counted = data.len() as u64 - self.content.as_deref().map_or(0, padding);
        self.traffic.arrived(counted);
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return Ok(()) };
        let (sender, source) = (peer.wire.remote, &mut peer.download);
        let arrival = self.download.block(now, slot.into(), sender, source, (block, counted), data);
        if !matches!(arrival, Arrival::Unrequested) {
            self.traffic.received(now, counted);
            peer.wire.useful_at = now;
        }
        match arrival {
            Arrival::Kept(kept) => self.block_kept(session, block, kept),
            Arrival::Redundant => self.traffic.was_redundant(counted),
            Arrival::Unrequested => {
                self.traffic.was_redundant(counted);
                if self.swarm.wastes_too_much(slot) {
                    return Err(Violation::UnrequestedBlock(block));
                }
            }
        }
        Ok(())
    }

    /// A block that was missing is held: no other source needs to send it any more.
    pub(super) fn block_kept(&mut self, session: &mut Session, block: Block, kept: Kept) {
        session.budgets.assembly.add(kept.added);
        for source in kept.cancel {
            self.cancel_request(session, source, block);
        }
        if kept.completes_piece {
            self.piece_complete(session, block.piece);
        } else if session.budgets.assembly.is_exceeded() {
            self.write_early(session);
        }
    }

    // Pieces.

    /// All blocks of a piece are here: has it verified and written, in one go. If a part of it is on
    /// disk already, the rest is written, then it is hashed there.
    fn piece_complete(&mut self, session: &mut Session, piece: PieceIndex) {
        if !self.download.was_written_early(piece) {
            return self.write_piece(session, piece);
        }
        self.write_blocks(session, piece);
        self.hash_if_settled(session, piece);
    }

    /// Has a complete piece verified and written.
    pub(super) fn write_piece(&mut self, session: &mut Session, piece: PieceIndex) {
        let (Some(expect), Some(content)) = (self.piece_hash(piece), &self.content) else { return };
        // Padding takes no memory.
        let len = content.geometry().data_len_of(piece);
        session.budgets.begin_write(len as usize);
        let request = WriteRequest {
            store: self.store,
            spans: content.layout.piece_spans(piece),
            data: self.download.bytes_of(piece),
            expect: Some(expect),
        };
        self.disk(
            session,
            TorrentOp::WritePiece(piece, len),
            DiskRequest::Write(Box::new(request)),
        );
    }

    /// Memory is short: writes the blocks of the piece that holds most, or gives up a suspect piece.
    fn write_early(&mut self, session: &mut Session) {
        match self.download.largest_piece() {
            Some(piece) => self.write_blocks(session, piece),
            None => {
                if let Some(piece) = self.download.first_suspect() {
                    self.resolve_suspect(session, piece);
                }
            }
        }
    }

    fn write_blocks(&mut self, session: &mut Session, piece: PieceIndex) {
        let (runs, freed) = self.download.take_early(piece);
        session.budgets.assembly.free(freed);
        for run in runs {
            let Some(content) = &self.content else { return };
            let len = run.range.length;
            session.budgets.begin_write(len as usize);
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
        if self.download.is_to_be_hashed(piece) {
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
        if !self.download.early_write_done(piece, attempt) {
            return;
        }
        match result {
            Ok(_) => self.hash_if_settled(session, piece),
            Err(error) => {
                // Its bytes are gone from memory: the piece is fetched again once the disk works.
                self.perform(session, [Step::Failed(*error)]);
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
                // Its sender may have lied, or the disk does: no peer is blamed yet.
                self.piece_lost(session, piece);
                self.fill_pipelines(session, None);
            }
            Err(error) => {
                self.perform(session, [Step::Failed(*error)]);
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
        session.end_write(len as usize);
        match result {
            Ok(DiskDone::HashMismatch) => self.piece_failed(session, piece),
            Ok(_) => {
                self.files.retry.written(piece);
                self.piece_passed(session, piece);
                self.perform(session, [Step::Works]);
            }
            Err(error) => {
                // A second try may fail after the first, late, has succeeded.
                if !self.download.have().has(piece) {
                    self.files.retry.write_failed(piece);
                }
                self.perform(session, [Step::Failed(*error)]);
            }
        }
    }

    /// A piece is verified and on disk: it is ours, and peers may know.
    pub(super) fn piece_passed(&mut self, session: &mut Session, piece: PieceIndex) {
        let Some(passed) = self.download.passed(piece) else { return };
        session.budgets.assembly.free(passed.freed);
        self.files.saving.mark_dirty(session.now);
        self.announce_have(session, piece);
        for liar in passed.liars {
            self.ban(session, liar, BanReason::WrongData);
        }
        if self.is_finished() {
            self.finished(session);
        } else {
            let asks = self.shared_files().offer_file_of(&mut session.files.similar, piece);
            session.asks.extend(asks);
        }
        self.local_piece_settled(session, piece);
    }

    /// A piece does not have its hash: its blocks are fetched again, as soon as it is known which or
    /// that this will not be known; a peer that is proven to have sent a wrong one is banned, no
    /// other.
    fn piece_failed(&mut self, session: &mut Session, piece: PieceIndex) {
        let hash = self.piece_hash(piece);
        let data = self.download.bytes_of(piece);
        if hash.is_some_and(|hash| hash.is_contradicted_by(data.iter().map(AsRef::as_ref))) {
            // No peer can send what has both hashes: the fault is in the torrent.
            self.piece_lost(session, piece);
            let why = format!("{CONTRADICTION} (piece {})", piece.0);
            return self.metadata_unusable(session, why);
        }
        let failed = self.download.failed(piece);
        if let Some(liar) = failed.liar {
            self.ban(session, liar, BanReason::WrongData);
        }
        let fits = !session.budgets.assembly.is_exceeded();
        let root = hash.and_then(|hash| hash.root()).zip(self.metainfo());
        let requests = root.map(|(root, info)| leaf_hashes::requests(info, piece, &root));
        let sources: Vec<Source> = match &requests {
            Some(_) => self.swarm.with_leaves(piece).map(Source::from).collect(),
            None => Vec::new(),
        };
        let leaves = (requests.unwrap_or_default(), sources.as_slice());
        let suspected = self.download.suspect(session.now, piece, failed, fits, leaves);
        for (source, request) in suspected.ask {
            if let Some(slot) = self.swarm.peers.key_at(source.index())
                && let Some(peer) = self.swarm.peers.get_mut(slot)
            {
                peer.send(Message::HashRequest(request));
                session.transport().ask_send(peer.wire.conn);
            }
        }
        if !suspected.is_held {
            self.piece_lost(session, piece);
        }
        self.local_piece_settled(session, piece);
        self.fill_pipelines(session, None);
    }

    /// A piece is wrong, and it is not known where.
    fn piece_lost(&mut self, session: &mut Session, piece: PieceIndex) {
        let len = self.content.as_ref().map_or(0, |known| known.geometry().data_len_of(piece));
        self.traffic.failed(len.into());
        self.forget_piece(session, piece);
    }

    /// Starts a piece anew.
    pub(super) fn forget_piece(&mut self, session: &mut Session, piece: PieceIndex) {
        session.budgets.assembly.free(self.download.forget(piece));
        self.local_piece_settled(session, piece);
    }

    /// Tells all who lack it that we have a piece, and those that suggest pieces, since they count
    /// which peer has what; updates our interest in those that have it.
    fn announce_have(&mut self, session: &mut Session, piece: PieceIndex) {
        let wanting = self.wants_pieces();
        for (_, peer) in self.swarm.peers.iter_mut() {
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
                session.transport().ask_send(peer.wire.conn);
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
        self.swarm.addresses.set_seeding(true, session.now);
        self.shared_files().want_none(&mut session.files.similar);
        self.download.forget_local();
        let asks = self.shared_files().offer(&mut session.files.similar);
        session.asks.extend(asks);
        self.download.finished();
        session.notify(self.id, TorrentNotice::Finished);
        if self.has_everything() {
            let is_news = self.files.saving.completed();
            if self.traffic.totals().downloaded > 0 && is_news {
                self.announcing.trackers.complete(session.now);
            }
        }
        if self.files.saving.save_finished(session.now, !self.traffic.is_none()) {
            session.notify(self.id, TorrentNotice::Saved);
        }
        for slot in self.swarm.slots() {
            self.disconnect_if_both_seeds(session, slot);
            // BEP 21: now we only upload.
            self.send_extended_handshake(session, slot);
            self.flush_outbox(session, slot);
        }
        self.upload.choking.soon(session.now);
    }

    // Leaf hashes.

    /// A peer sent hashes. False: they are no leaf hashes that were requested of it.
    pub(super) fn leaves_arrived(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        request: &HashRequest,
        hashes: &[u8],
    ) -> bool {
        let pieces = self.download.leaves_answered(slot.into(), request);
        let Some(pieces) = pieces else { return false };
        let answer = hashes.as_chunks::<32>().0;
        let proven = request.range.climb(answer);
        for piece in pieces {
            let Some(root) = self.piece_hash(piece).and_then(|hash| hash.root()) else { continue };
            if proven != Some(root.hash) {
                self.ban_peer(session, slot, BanReason::WrongData);
                break;
            }
            let leaves = answer.get(..request.range.length as usize).unwrap_or_default();
            for liar in self.download.judge(piece, &root, request.range.index, leaves) {
                self.ban(session, liar, BanReason::WrongData);
            }
        }
        self.resolve_suspects(session);
        true
    }

    /// Goes on with suspect pieces of which is known what can be known.
    pub(super) fn resolve_suspects(&mut self, session: &mut Session) {
        let resolved = self.download.resolved(session.now);
        if resolved.is_empty() {
            return;
        }
        for piece in resolved {
            self.resolve_suspect(session, piece);
        }
        self.fill_pipelines(session, None);
    }

    fn resolve_suspect(&mut self, session: &mut Session, piece: PieceIndex) {
        let Some(resolved) = self.download.resolve(piece) else { return };
        self.traffic.failed(resolved.failed_bytes);
        session.budgets.assembly.free(resolved.freed);
        if resolved.starts_anew {
            self.local_piece_settled(session, piece);
        }
    }
}
