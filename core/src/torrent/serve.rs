//! What peers request of us, between the [`Upload`](super::upload), the disk and the wire: requests
//! come in, blocks are read and go out, peers are choked and unchoked, hashes are answered (BEP 52).
//!
//! Every hash request is answered, with hashes or a reject: whether the peer is choked or not, and
//! whatever pieces we have, since the layers are part of what we know of the torrent. These answers
//! are held up by the upload limits like blocks, and by [`HashUploads`](crate::peer::hash_uploads).
//! What [`HashTrees`](super::upload::HashTrees) does not hold is rejected, but for leaf hashes, which
//! are computed. No limit has those rejected that are asked for right after a block of theirs, so that
//! a peer can check each block that it fetches. They are rejected where they cannot be proven: by a
//! hybrid from a magnet link that has no piece layers, and, where pieces are single blocks, while
//! trees were built too often.

use bytes::Bytes;

use crate::choke;
use crate::disk::{DiskDone, DiskError, DiskErrorKind, DiskRequest};
use crate::merkle::HashTree;
use crate::peer::{Peer, PeerSlot};
use crate::piece::{BLOCK_LEN, Block, BlockRun};
use crate::segments::Segments;
use crate::session::Session;
use crate::session::op::TorrentOp;
use crate::session::shares::Taken;
use crate::torrent::Torrent;
use crate::torrent::content::Content;
use crate::torrent::metadata::serve::gather_metadata;
use crate::torrent::step::MetadataStep;
use crate::torrent::upload::{
    self, LeafHashes, PieceRun, READ_AHEAD_CHOKED, READ_AHEAD_PER_PEER, ReadBudget, Request,
    Situation, leaf_hashes,
};
use crate::transport::ReadPause;
use crate::wire::message::{encode_block, encode_request, id};
use crate::wire::{HashRequest, Message, Violation};

/// Bytes whose leaf hashes the peers of one address may ask for in a minute, beyond what they are owed
/// (chosen: some homes, each as much as is read for one peer).
const LEAVES_OF_ADDRESS: u64 = 256 << 20;

impl Torrent {
    // Requests.

    /// A peer asks for a block.
    pub(super) fn requested(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        block: Block,
    ) -> Result<(), Violation> {
        let geometry = self.content.as_ref().map(|content| content.geometry());
        let checked = upload::check_request(geometry, block);
        let is_refused = self.files.retry.refuses(block.piece);
        let has = self.download.have().has(block.piece) && self.life.is_active() && !is_refused;
        let bound = session.config.bounds.peer_requests;
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return checked };
        let may_be_read = !peer.upload.am_choking || session.budgets.has_room_for_choked();
        let is_served = checked.is_ok() && has && may_be_read;
        let is_queued = is_served && upload::queue_request(&mut peer.upload, block, bound);
        if !is_queued && peer.wire.fast {
            peer.send(Message::Reject(block));
        }
        checked
    }

    /// A peer no longer wants a block. With the fast extension it gets a reject (BEP 6: every
    /// request is answered).
    pub(super) fn cancelled(&mut self, session: &mut Session, slot: PeerSlot, block: Block) {
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
        let held = peer.upload.uploads.ready_bytes();
        if peer.upload.uploads.cancel(block) && peer.wire.fast {
            peer.send(Message::Reject(block));
        }
        session.budgets.reads.free(held - peer.upload.uploads.ready_bytes());
    }

    // Reads.

    /// Starts reading what a peer asked for, as far ahead as the budgets allow.
    pub(crate) fn read_for(&mut self, session: &mut Session, slot: PeerSlot) {
        loop {
            let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
            if !session.budgets.reads.has_room() {
                if peer.upload.uploads.has_waiting() {
                    self.wait_to_read(session, slot);
                }
                return;
            }
            let ahead =
                if peer.upload.am_choking { READ_AHEAD_CHOKED } else { READ_AHEAD_PER_PEER };
            let Some(run) = peer.upload.uploads.next_run(ahead) else { return };
            let Some(content) = &self.content else { return };
            let spans = content.layout.spans(run.as_block());
            let request = DiskRequest::Read { store: self.store, spans };
            self.disk(session, TorrentOp::ReadForPeer(slot, run), request);
        }
    }

    /// Has a peer, for which something is to be read, wait in line for the read-ahead budget.
    pub(super) fn wait_to_read(&mut self, session: &mut Session, slot: PeerSlot) {
        if let Some(peer) = self.swarm.peers.get_mut(slot)
            && !std::mem::replace(&mut peer.upload.waits_to_read, true)
        {
            session.queues.reads.push_back((self.id, slot));
        }
    }

    /// The read-ahead budget has room again, and it is this peer's turn.
    pub(crate) fn read_for_waiting(&mut self, session: &mut Session, slot: PeerSlot) {
        if let Some(peer) = self.swarm.peers.get_mut(slot) {
            peer.upload.waits_to_read = false;
        }
        // It may be gone, and another waits for the same reading of leaves.
        if self.upload.leaf_hashes.get().is_some() {
            self.read_next_leaves(session, true);
        }
        self.read_for(session, slot);
    }

    /// Blocks for a peer were read, or could not be.
    pub(super) fn blocks_read(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        run: BlockRun,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        match result {
            Ok(DiskDone::Read(data)) if data.len() == run.length as usize => {
                self.files.retry.other_was_read();
                if let Some(peer) = self.swarm.peers.get_mut(slot) {
                    let held = peer.upload.uploads.ready_bytes();
                    peer.upload.uploads.run_read(run, &data);
                    session.budgets.reads.add(peer.upload.uploads.ready_bytes() - held);
                    if peer.upload.uploads.is_ready() {
                        session.transport().ask_send(peer.wire.conn);
                    }
                }
            }
            failed => {
                if let Some(peer) = self.swarm.peers.get_mut(slot) {
                    peer.read_failed(run);
                }
                self.flush_outbox(session, slot);
                if let Err(error) = failed
                    && error.kind != DiskErrorKind::UnknownStore
                {
                    self.files.retry.read_failed(run.piece);
                    let step = self.files.part_unreadable(session.now, *error);
                    self.perform(session, step);
                }
            }
        }
    }

    // Sending.

    /// Hands out what a peer is to be sent: messages first, then metadata, hashes and blocks as the
    /// limits allow.
    pub(crate) fn gather(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        limit: usize,
        out: &mut Segments,
    ) {
        let now = session.now;
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
        let before = out.len();
        let conn = peer.wire.conn;
        // Over uTP Transmission 3.00 leaves what comes in one packet with our handshake in its buffer, unread,
        // until another packet comes (`tr_peerIoTryRead` looks there again for TCP alone). So the handshake goes
        // alone; what follows is in a packet of its own, since of short ones only one is under way.
        let is_greeting = peer.wire.outbox.take(|| session.streams.is_utp(conn), out);
        // These are sent in any case; what they are counts all the same, in bounds.
        let words = out.len() - before;
        session.upload.charge_words(now, self.id, words);
        self.traffic.charge_words(now, self.id, words);
        if is_greeting {
            peer.wire.last_spoke = now;
            return;
        }
        peer.upload.choke_waits = false;
        for block in peer.download.asking.drain(..) {
            encode_request(block, out);
        }
        peer.download.pipeline.gathered(now);
        if let Some(deadline) = peer.download.pipeline.deadline() {
            session.transport().set_deadline_sooner(conn, deadline);
        }
        let held = peer.upload.uploads.ready_bytes();
        let (mut payload, mut padding) = (0, 0);
        let metainfo = self.content.as_ref().map(|content| &*content.metainfo);
        while out.len() - before < limit && peer.has_uploads() {
            let gate = match self.traffic.upload_brake(now) {
                None => Some(&mut session.upload).filter(|gate| gate.is_used_up(now)),
                own => own,
            };
            if let Some(gate) = gate {
                if session.streams.pause_sending(conn) {
                    gate.wait(self.id, conn);
                }
                let (timer, at) = (gate.timer, gate.next_at(now));
                session.arm(timer, at);
                break;
            }
            let len = if let Some(len) = gather_metadata(peer, metainfo, out) {
                len
            } else if let Some(message) = peer.upload.hash_uploads.pop_made() {
                let len = message.encoded_len();
                message.encode(out);
                len
            } else if let Some(request) = peer.upload.hash_uploads.pop() {
                let message = self.upload.hashes(now, metainfo, request);
                let len = message.encoded_len();
                message.encode(out);
                len
            } else {
                let Some((block, data)) = peer.upload.uploads.pop_ready() else { break };
                let len = data.len();
                let inside = |content: &Content| u64::from(content.geometry().padding_in(block));
                padding += self.content.as_deref().map_or(0, inside);
                encode_block(block, data, out);
                payload += len as u64;
                len
            };
            peer.wire.useful_at = now;
            session.upload.charge(now, self.id, len);
            self.traffic.charge_upload(now, self.id, len);
        }
        session.budgets.reads.free(held - peer.upload.uploads.ready_bytes());
        if out.len() > before {
            peer.wire.last_spoke = now;
        }
        if payload > 0 {
            peer.upload.up.add(now, payload);
            peer.upload.idle_since = None;
            peer.upload.uploaded += payload;
            peer.upload.uploaded_since_unchoke += payload;
            // The peer took all of it; what the torrent counts is content.
            self.traffic.sent(now, payload - padding);
            self.read_for(session, slot);
        }
        session.transport().resume_reading(conn, ReadPause::Output);
    }

    /// All that was gathered is sent: more, if there is more.
    pub(crate) fn peer_sent(&mut self, session: &mut Session, slot: PeerSlot, all: bool) {
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
        peer.wire.last_spoke = session.now;
        let waits = session.streams.is_send_paused(peer.wire.conn);
        let uploads = peer.has_uploads() && !waits;
        if all && (peer.has_words() || uploads) {
            session.transport().ask_send(peer.wire.conn);
        }
    }

    // Choking.

    /// A peer wants something of us, or nothing any more.
    pub(super) fn peer_interest(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        interested: bool,
    ) {
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
        if peer.upload.peer_interested == interested {
            return;
        }
        peer.upload.peer_interested = interested;
        if interested {
            if peer.upload.am_choking {
                // At once if a slot is free: nothing waits for a tick.
                let most = session.config.choking.slots;
                let gives = self.life.is_active() && !self.files.retry.cannot_read();
                if gives
                    && choke::may_unchoke_at_once(self.swarm.slots_used(), most)
                    && self.swarm.peers.get(slot).is_some_and(Peer::may_be_unchoked)
                {
                    self.unchoke(session, slot);
                }
            } else if self.swarm.slots_used() > session.config.choking.slots {
                // Its slot went to another while it wanted nothing.
                self.choke(session, slot);
            }
            self.upload.choking.interested(session.now, &session.config.choking);
        } else if !peer.upload.am_choking {
            self.upload.choking.soon(session.now);
        }
    }

    fn unchoke(&mut self, session: &mut Session, slot: PeerSlot) {
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
        peer.unchoke(session.now);
        session.transport().ask_send(peer.wire.conn);
        self.upload.choking.unchoked(session.now);
        let (is_seed, picker) = (self.is_finished(), self.download.picker());
        self.upload.begin_suggesting(is_seed, picker, &mut self.policy);
        if let Some(peer) = self.swarm.peers.get_mut(slot) {
            self.upload.suggest(slot, peer, picker);
        }
    }

    fn choke(&mut self, session: &mut Session, slot: PeerSlot) {
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
        self.upload.choked(slot, peer, self.download.picker());
        let held = peer.upload.uploads.ready_bytes();
        peer.choke();
        session.budgets.reads.free(held - peer.upload.uploads.ready_bytes());
        session.transport().ask_send(peer.wire.conn);
    }

    /// Decides which peers may download from now on.
    pub(super) fn decide_chokes(&mut self, session: &mut Session) {
        let now = session.now;
        if !self.life.is_active() {
            return self.upload.choking.stop();
        }
        let snapshot = self.swarm.choke_snapshots(now);
        let situation = Situation {
            is_seeding: self.is_finished(),
            cannot_read: self.files.retry.cannot_read(),
            piece_len: self.content.as_ref().map_or(0, |known| known.geometry().piece_len()),
            is_any_interested: self.swarm.is_any_interested(),
        };
        let (config, rng) = (&session.config.choking, &mut self.policy);
        let decision = self.upload.choking.decide(now, config, &snapshot, situation, rng);
        for &slot in &decision.choke {
            self.choke(session, slot);
        }
        for &slot in &decision.unchoke {
            self.unchoke(session, slot);
        }
        for (slot, peer) in self.swarm.peers.iter_mut() {
            peer.upload.optimistic = decision.optimistic.binary_search(&slot).is_ok();
        }
    }

    // Hashes.

    /// A peer asks for hashes.
    pub(super) fn hashes_requested(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        request: HashRequest,
    ) -> Result<(), Violation> {
        self.swarm.require_v2(slot, id::HASH_REQUEST)?;
        let HashRequest { root, range } = &request;
        let content = self.content.as_ref();
        let trees = self.upload.hash_trees.make();
        let total = content.and_then(|content| trees.holds(&content.metainfo, root, range));
        let pieces =
            content.and_then(|known| leaf_hashes::pieces_of(&known.metainfo, trees, &request));
        let piece_len = content.map_or(0, |known| known.geometry().piece_len());
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return Ok(()) };
        let (now, id, by) = (session.now, self.id, peer.wire.remote.ip());
        let is_owed = pieces.is_some_and(|pieces| {
            peer.upload.uploads.owes_leaves(|block| pieces.has_leaf_of(block, range, piece_len))
        });
        let uploads = &mut peer.upload.hash_uploads;
        let admitted = total.is_some_and(|total| {
            uploads.request(now, request, total, is_owed, |hashes, most| {
                session.quotas.shares.take(now, (Taken::Hashes, id), by, hashes, most)
            })
        }) || pieces.is_some_and(|pieces| {
            self.leaves_requested(session, Request::new(slot, pieces, request, is_owed))
        });
        if !admitted && let Some(peer) = self.swarm.peers.get_mut(slot) {
            peer.send(Message::HashReject(request));
        }
        Ok(())
    }

    /// A peer does not give hashes.
    pub(super) fn hashes_rejected(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        request: &HashRequest,
    ) -> Result<(), Violation> {
        self.swarm.require_v2(slot, id::HASH_REJECT)?;
        if self.download.leaves_answered(slot.into(), request).is_some() {
            self.resolve_suspects(session);
        }
        if let (Some(layers), Some(content)) = (&mut self.acquisition.layers, &self.content) {
            layers.rejected(session.now, &content.metainfo, slot, request);
            self.perform_metadata_step(session, MetadataStep::Ask);
        }
        Ok(())
    }

    /// A peer sends hashes. What we did not request is dropped.
    pub(super) fn hashes_arrived(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        request: &HashRequest,
        hashes: &[u8],
    ) -> Result<(), Violation> {
        self.swarm.require_v2(slot, id::HASHES)?;
        if self.leaves_arrived(session, slot, request, hashes)
            || self.layer_arrived(session, slot, request, hashes)
        {
            return Ok(());
        }
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return Ok(()) };
        peer.download.unasked_bytes += hashes.len() as u64;
        match self.swarm.wastes_too_much(slot) {
            true => Err(Violation::Flood { id: id::HASHES }),
            false => Ok(()),
        }
    }

    // Leaf hashes.

    /// A peer asks for leaf hashes; whether it will get them.
    fn leaves_requested(&mut self, session: &mut Session, request: Request) -> bool {
        if !self.may_read_leaves(request.pieces) {
            return false;
        }
        let Some(peer) = self.swarm.peers.get_mut(request.of) else { return false };
        let (now, geometry) = (session.now, self.download.picker().geometry());
        let (of, by) = ((Taken::Leaves, self.id), peer.wire.remote.ip());
        let bytes = u64::from(request.request.range.length) * u64::from(BLOCK_LEN);
        let (is_owed, shares) = (request.is_owed, &mut session.quotas.shares);
        let allows = || is_owed || shares.take(now, of, by, bytes, LEAVES_OF_ADDRESS);
        let budget =
            ReadBudget { to_peer: peer.upload.up.rate(now), to_all: self.traffic.up_rate(now) };
        let uploads = &mut peer.upload.hash_uploads;
        let leaves = self.upload.leaf_hashes.make();
        if !leaves.admit(now, request, uploads, geometry, budget, allows) {
            return false;
        }
        self.read_next_leaves(session, true);
        true
    }

    fn may_read_leaves(&self, pieces: PieceRun) -> bool {
        let have = self.download.have();
        let gives = |piece| have.has(piece) && !self.files.retry.refuses(piece);
        self.life.is_active() && pieces.iter().all(gives)
    }

    /// Tries again what could not be read yet.
    pub(super) fn retry_leaves(&mut self, session: &mut Session) {
        let now = session.now;
        let (leaves, geometry) =
            (self.upload.leaf_hashes.make(), self.download.picker().geometry());
        for request in leaves.take_waiting() {
            let to_all = self.traffic.up_rate(now);
            let peer = self.swarm.peers.get_mut(request.of).map(|peer| {
                let budget = ReadBudget { to_peer: peer.upload.up.rate(now), to_all };
                (&mut peer.upload.hash_uploads, budget)
            });
            leaves.try_again(now, request, geometry, peer);
        }
        leaves.tried(now);
        // The budget may be full of what a peer does not take.
        self.read_next_leaves(session, false);
    }

    /// Begins with the next pieces: as soon as the read-ahead budget has room, if it is `bound` by that.
    fn read_next_leaves(&mut self, session: &mut Session, bound: bool) {
        while let leaves = self.upload.leaf_hashes.make()
            && let Some((pieces, of)) = leaves.next()
        {
            if bound && !session.budgets.reads.has_room() {
                leaves.wait(session.now);
                return self.wait_to_read(session, of);
            }
            let first = pieces.iter().next().filter(|_| self.may_read_leaves(pieces));
            match first.and_then(|first| self.piece_hash(first)?.root()) {
                Some(root) => {
                    self.upload.leaf_hashes.make().begin(pieces, root);
                    self.read_more_leaves(session);
                }
                None => self.answer_leaves(session, pieces, &[]),
            }
        }
    }

    /// Reads the next part.
    fn read_more_leaves(&mut self, session: &mut Session) {
        let part = self.upload.leaf_hashes.get().and_then(LeafHashes::next_part);
        let (Some(part), Some(content)) = (part, &self.content) else { return };
        let spans = content.layout.spans(part);
        let read = DiskRequest::Read { store: self.store, spans };
        self.disk(session, TorrentOp::ReadLeaves(part.length), read);
    }

    /// A part of a piece was read for its leaf hashes.
    pub(super) fn leaves_read(
        &mut self,
        session: &mut Session,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        let leaves = self.upload.leaf_hashes.make();
        let Some(mut reading) = leaves.take_reading() else { return };
        let pieces = reading.pieces();
        let is_right = matches!(result, Ok(DiskDone::Read(data)) if reading.take(&data));
        let is_wanted = leaves.is_wanted(pieces);
        let may_go_on = is_right && is_wanted && self.may_read_leaves(pieces);
        if let Some(root) = reading.piece().and_then(|piece| self.piece_hash(piece)?.root()) {
            reading.expect(root);
        }
        if may_go_on && !reading.is_complete() {
            self.upload.leaf_hashes.make().go_on(reading);
            return self.read_more_leaves(session);
        }
        let is_whole = is_right && reading.is_complete();
        self.answer_leaves(session, pieces, if is_whole { reading.trees() } else { &[] });
        self.read_next_leaves(session, true);
    }

    /// Answers all requests for leaf hashes of these pieces.
    fn answer_leaves(&mut self, session: &mut Session, pieces: PieceRun, trees: &[HashTree]) {
        for request in self.upload.leaf_hashes.make().take_for(pieces) {
            let layers = self.upload.hash_trees.make();
            let metainfo = self.content.as_ref().map(|content| &*content.metainfo);
            let from = (pieces, trees);
            let hashes = leaf_hashes::answer(session.now, metainfo, layers, from, &request.request);
            if hashes.is_none() && request.is_owed && !trees.is_empty() {
                // The layers above may not be computed so often.
                self.upload.leaf_hashes.make().postpone(session.now, request);
                continue;
            }
            let Request { of, request, .. } = request;
            let Some(peer) = self.swarm.peers.get_mut(of).filter(|peer| peer.is_open()) else {
                continue;
            };
            peer.upload.hash_uploads.leaves_waiting -= 1;
            match hashes.map(Bytes::from) {
                Some(hashes) => {
                    peer.upload.hash_uploads.made(Message::Hashes { request, hashes });
                    session.transport().ask_send(peer.wire.conn);
                }
                None => {
                    peer.send(Message::HashReject(request));
                    self.flush_outbox(session, of);
                }
            }
        }
    }
}
