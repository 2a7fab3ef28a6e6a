//! Blocks and pieces between peers, files and the [`Download`](super::download): requests go out,
//! blocks come in, pieces are verified, written and announced.
//!
//! What to request and what becomes of a block is decided there; here it is sent, written and counted
//! in the session's budgets.

use crate::notice::{BanReason, TorrentNotice};
use crate::peer::PeerSlot;
use crate::piece::{Block, PieceIndex, Sha256Hash};
use crate::session::Session;
use crate::torrent::Torrent;
use crate::torrent::content::Content;
use crate::torrent::download::{Arrival, Kept, Share, Source, Terms, leaf_hashes};
use crate::torrent::step::{PieceStep, Step};
use crate::wire::{BlockData, HashRequest, Message, Violation};

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
        let Some(content) = self.content.as_deref() else { return };
        let steps = if kept.completes_piece {
            self.download.completed(self.store, content, block.piece)
        } else if session.budgets.assembly.is_exceeded() {
            self.download.relieve(self.store, content)
        } else {
            return;
        };
        self.perform(session, steps);
    }

    // Pieces.

    /// A piece is verified and on disk: it is ours, and peers may know.
    pub(super) fn piece_passed(&mut self, session: &mut Session, piece: PieceIndex) {
        let Some(passed) = self.download.passed(piece) else { return };
        session.budgets.assembly.free(passed.freed);
        self.files.saving.mark_dirty(session.now);
        let wanting = self.wants_pieces();
        self.swarm.announce_have(piece, wanting, |conn| session.transport().ask_send(conn));
        for liar in passed.liars {
            self.ban(session, liar, BanReason::WrongData);
        }
        if self.is_finished() {
            self.finished(session);
        } else {
            let asks = self.shared_files().offer_file_of(&mut session.files.similar, piece);
            session.asks.extend(asks);
        }
        self.perform(session, [Step::Piece(piece, PieceStep::Settled)]);
    }

    /// A piece is wrong, and its blocks have these digests: has peers asked for its leaf hashes, and holds
    /// the blocks meanwhile if that is possible.
    pub(super) fn suspect_piece(
        &mut self,
        session: &mut Session,
        piece: PieceIndex,
        digests: Vec<Sha256Hash>,
    ) {
        let fits = !session.budgets.assembly.is_exceeded();
        let root = self.piece_hash(piece).and_then(|hash| hash.root()).zip(self.metainfo());
        let requests = root.map(|(root, info)| leaf_hashes::requests(info, piece, &root));
        let sources: Vec<Source> = match &requests {
            Some(_) => self.swarm.with_leaves(piece).map(Source::from).collect(),
            None => Vec::new(),
        };
        let sources = leaf_hashes::at_random(sources, &mut self.policy);
        let leaves = (requests.unwrap_or_default(), sources.as_slice());
        let suspected = self.download.suspect(session.now, piece, digests, fits, leaves);
        let requests = suspected.ask.into_iter().map(|(source, what)| (source.index(), what));
        self.swarm.ask_for_leaves(requests, |conn| session.transport().ask_send(conn));
        let becomes = if suspected.is_held { PieceStep::Settled } else { PieceStep::Lost };
        self.perform(session, [Step::Piece(piece, becomes), Step::Fill]);
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
                self.perform(session, self.swarm.remote_of(slot).map(Step::Ban));
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
        let steps = self.download.resolve_due(session.now);
        self.perform(session, steps);
    }
}
