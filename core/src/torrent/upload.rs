//! Uploading: requests come in, blocks are read and go out; choking.

use crate::choke::{self, AddressGroup, Decision, Mode, PeerSnapshot, State};
use crate::disk::{DiskDone, DiskError, DiskErrorKind, DiskRequest};
use crate::peer::{Peer, PeerSlot};
use crate::piece::{Block, BlockRun};
use crate::segments::Segments;
use crate::session::Session;
use crate::session::op::TorrentOp;
use crate::time::Duration;
use crate::torrent::Torrent;
use crate::torrent::content::Content;
use crate::torrent::hashes::answer;
use crate::torrent::metadata::serve::gather_metadata;
use crate::transport::ReadPause;
use crate::wire::message::id;
use crate::wire::{Message, Violation};

/// Longest request served, in bytes (BEP 3: clients "close connections which request an amount
/// greater than 2^17").
const LONGEST_REQUEST: u32 = 128 * 1024;
/// Bytes read ahead for one peer (chosen: two runs, one being sent while the other is read).
const READ_AHEAD_PER_PEER: usize = 512 * 1024;
/// Wait before a decision that an event asks for (chosen: bounds the work of flapping peers).
const CHOKE_SOON: Duration = Duration::from_secs(1);

impl Torrent {
    // Requests.

    /// A peer asks for a block.
    pub(super) fn requested(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        block: Block,
    ) -> Result<(), Violation> {
        let violation = match &self.content {
            // There is nothing that it could have been offered.
            None => Some(Violation::RequestForMissing(block)),
            Some(content) if !content.geometry().contains_range(block) => {
                Some(Violation::BlockOutOfRange { id: id::REQUEST, block })
            }
            _ if block.length > LONGEST_REQUEST => Some(Violation::RequestTooLong(block)),
            _ => None,
        };
        if let Some(violation) = violation {
            if let Some(peer) = self.peers.get_mut(slot).filter(|peer| peer.wire.fast) {
                peer.send(Message::Reject(block));
            }
            return Err(violation);
        }
        let has =
            self.download.picker.have().has(block.piece) && self.is_active() && !self.cannot_read();
        let bound = session.config.bounds.peer_requests;
        let Some(peer) = self.peers.get_mut(slot) else { return Ok(()) };
        let allowed = !peer.upload.am_choking || peer.upload.allowed_by_us.contains(&block.piece);
        // Hashes that are owed with blocks may wait longer than these.
        let has_room = peer.upload.uploads.len() < bound && peer.upload.hash_uploads.len() < bound;
        if has && allowed && has_room {
            peer.upload.uploads.push(block);
        } else if peer.wire.fast {
            peer.send(Message::Reject(block));
        }
        Ok(())
    }

    /// A peer no longer wants a block. With the fast extension it gets a reject (BEP 6: every
    /// request is answered).
    pub(super) fn cancelled(&mut self, session: &mut Session, slot: PeerSlot, block: Block) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let held = peer.upload.uploads.ready_bytes();
        if peer.upload.uploads.cancel(block) && peer.wire.fast {
            peer.send(Message::Reject(block));
        }
        session.read_ahead -= held - peer.upload.uploads.ready_bytes();
    }

    // Reads.

    /// Starts reading what a peer asked for, as far ahead as the budgets allow.
    pub(crate) fn read_for(&mut self, session: &mut Session, slot: PeerSlot) {
        loop {
            let Some(peer) = self.peers.get_mut(slot) else { return };
            if !session.may_read_ahead() {
                if peer.upload.uploads.has_waiting() {
                    self.wait_to_read(session, slot);
                }
                return;
            }
            let Some(run) = peer.upload.uploads.next_run(READ_AHEAD_PER_PEER) else { return };
            let Some(content) = &self.content else { return };
            session.read_ahead += run.length as usize;
            let spans = content.layout.spans(run.as_block());
            let request = DiskRequest::Read { store: self.store, spans };
            self.disk(session, TorrentOp::ReadForPeer(slot, run), request);
        }
    }

    /// Has a peer, for which something is to be read, wait in line for the read-ahead budget.
    pub(super) fn wait_to_read(&mut self, session: &mut Session, slot: PeerSlot) {
        if let Some(peer) = self.peers.get_mut(slot)
            && !std::mem::replace(&mut peer.upload.waits_to_read, true)
        {
            session.read_waiters.push_back((self.id, slot));
        }
    }

    /// The read-ahead budget has room again, and it is this peer's turn.
    pub(crate) fn read_for_waiting(&mut self, session: &mut Session, slot: PeerSlot) {
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.upload.waits_to_read = false;
        }
        // It may be gone, and another waits for the same reading of leaves.
        if self.leaf_uploads.get().is_some() {
            self.read_next_leaves(session);
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
        session.read_ahead -= run.length as usize;
        match result {
            Ok(DiskDone::Read(data)) if data.len() == run.length as usize => {
                if let Some(peer) = self.peers.get_mut(slot) {
                    let held = peer.upload.uploads.ready_bytes();
                    peer.upload.uploads.run_read(run, &data);
                    session.read_ahead += peer.upload.uploads.ready_bytes() - held;
                    if peer.upload.uploads.is_ready() {
                        session.ask_send(peer.wire.conn);
                    }
                }
            }
            Ok(_) => self.read_failed(session, slot, run),
            Err(error) => {
                self.read_failed(session, slot, run);
                if error.kind != DiskErrorKind::UnknownStore {
                    self.files.retry.read_failed(run.piece);
                    self.disk_failed(session, *error);
                }
            }
        }
    }

    fn read_failed(&mut self, session: &mut Session, slot: PeerSlot, run: BlockRun) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        for block in peer.upload.uploads.run_failed(run) {
            if peer.wire.fast {
                peer.send(Message::Reject(block));
            }
        }
        self.flush_outbox(session, slot);
    }

    // Sending.

    /// Hands out what a peer is to be sent: messages first, then hashes and blocks as the limits
    /// allow.
    pub(crate) fn gather(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        limit: usize,
        out: &mut Segments,
    ) {
        let now = session.now;
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let before = out.len();
        let conn = peer.wire.conn;
        out.append(&mut peer.wire.outbox);
        peer.upload.choke_waits = false;
        for block in peer.download.asking.drain(..) {
            Message::Request(block).encode(out);
        }
        peer.download.pipeline.gathered(now);
        if let Some(deadline) = peer.download.pipeline.deadline() {
            session.set_deadline_sooner(conn, deadline);
        }
        let held = peer.upload.uploads.ready_bytes();
        let (mut payload, mut padding) = (0, 0);
        if let Some(content) = &self.content {
            let sent = gather_metadata(peer, &content.metainfo, before + limit, out);
            session.upload.charge(now, self.id, sent);
        }
        while out.len() - before < limit && peer.upload.has_uploads() {
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
            let len = if let Some(request) = peer.upload.hash_uploads.pop() {
                let metainfo = self.content.as_ref().map(|content| &*content.metainfo);
                let message = answer(self.hash_trees.make(), now, metainfo, request);
                let len = message.encoded_len();
                message.encode(out);
                len
            } else {
                let Some((block, data)) = peer.upload.uploads.pop_ready() else { break };
                let len = data.len();
                let inside = |content: &Content| u64::from(content.geometry().padding_in(block));
                padding += self.content.as_deref().map_or(0, inside);
                Message::Piece { piece: block.piece, begin: block.begin, data: data.into() }
                    .encode(out);
                payload += len as u64;
                len
            };
            session.upload.charge(now, self.id, len);
            self.traffic.charge_upload(now, self.id, len);
        }
        session.read_ahead -= held - peer.upload.uploads.ready_bytes();
        if out.len() > before {
            peer.wire.last_spoke = now;
        }
        if payload > 0 {
            peer.upload.up.add(now, payload);
            peer.upload.uploaded += payload;
            peer.upload.uploaded_since_unchoke += payload;
            // The peer took all of it; what the torrent counts is content.
            self.traffic.sent(now, payload - padding);
            self.read_for(session, slot);
        }
        session.resume_reading(conn, ReadPause::Output);
    }

    /// All that was gathered is sent: more, if there is more.
    pub(crate) fn peer_sent(&mut self, session: &mut Session, slot: PeerSlot, all: bool) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.wire.last_spoke = session.now;
        let waits = session.streams.is_send_paused(peer.wire.conn);
        let uploads = peer.upload.has_uploads() && !waits;
        if all && (peer.has_words() || peer.gossip.metadata_uploads.is_ready() || uploads) {
            session.ask_send(peer.wire.conn);
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
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if peer.upload.peer_interested == interested {
            return;
        }
        peer.upload.peer_interested = interested;
        if interested {
            if peer.upload.am_choking {
                self.unchoke_if_free(session, slot);
            } else if self.slots_used() > session.config.choking.slots {
                // Its slot went to another while it wanted nothing.
                self.choke(session, slot);
            }
            let rhythm = session.now + session.config.choking.interval;
            self.choke_at.get_or_insert(rhythm);
        } else if !peer.upload.am_choking {
            self.choke_soon(session);
        }
    }

    /// Slots in use: peers that we let download and that want to.
    fn slots_used(&self) -> usize {
        self.peers
            .iter()
            .filter(|(_, peer)| !peer.upload.am_choking && peer.upload.peer_interested)
            .count()
    }

    /// Unchokes a peer at once if a slot is free: nothing waits for a tick.
    fn unchoke_if_free(&mut self, session: &mut Session, slot: PeerSlot) {
        if !self.is_active()
            || self.cannot_read()
            || !choke::may_unchoke_at_once(self.slots_used(), session.config.choking.slots)
        {
            return;
        }
        if self.peers.get(slot).is_some_and(may_be_unchoked) {
            self.unchoke(session, slot);
        }
    }

    fn unchoke(&mut self, session: &mut Session, slot: PeerSlot) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.unchoke(session.now);
        session.ask_send(peer.wire.conn);
        self.begin_spread();
        self.suggest(slot);
    }

    fn choke(&mut self, session: &mut Session, slot: PeerSlot) {
        self.let_finish(slot);
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let held = peer.upload.uploads.ready_bytes();
        peer.choke();
        session.read_ahead -= held - peer.upload.uploads.ready_bytes();
        session.ask_send(peer.wire.conn);
    }

    /// A slot is free: whoever waits for one is chosen soon.
    pub(super) fn unchoke_waiting(&mut self, session: &mut Session) {
        let waiting = self
            .peers
            .iter()
            .any(|(_, peer)| peer.upload.am_choking && peer.upload.peer_interested);
        if waiting {
            self.choke_soon(session);
        }
    }

    pub(super) fn choke_soon(&mut self, session: &Session) {
        let soon = session.now + CHOKE_SOON;
        self.choke_at = Some(self.choke_at.map_or(soon, |at| at.min(soon)));
    }

    /// Decides who may download from now on.
    pub(super) fn decide_chokes(&mut self, session: &mut Session) {
        let now = session.now;
        self.choke_at = None;
        if !self.is_active() {
            return;
        }
        let rotate = now >= self.optimistic_at;
        if rotate {
            self.optimistic_at = now + session.config.choking.optimistic_interval;
        }
        let snapshot: Vec<PeerSnapshot<PeerSlot>> = self.choke_snapshot(session);
        let state = State {
            now,
            mode: if self.is_finished() { Mode::Seeding } else { Mode::Leeching },
            slots: if self.cannot_read() { 0 } else { session.config.choking.slots },
            rotate_optimistic: rotate,
            piece_len: self.content.as_ref().map_or(0, |known| known.geometry().piece_len()),
        };
        let decision = choke::decide(&snapshot, &state, &mut self.policy);
        self.apply_chokes(session, &decision);
        if self.peers.iter().any(|(_, peer)| peer.upload.peer_interested) {
            self.choke_at = Some(now + session.config.choking.interval);
        }
    }

    fn choke_snapshot(&self, session: &Session) -> Vec<PeerSnapshot<PeerSlot>> {
        let now = session.now;
        let candidates = self.peers.iter().filter(|(_, peer)| may_be_unchoked(peer));
        let snapshot = |(slot, peer): (PeerSlot, &Peer)| {
            let account = peer.upload.before.plus(peer.account());
            PeerSnapshot {
                key: slot,
                interested: peer.upload.peer_interested,
                am_choking: peer.upload.am_choking,
                optimistic: peer.upload.optimistic,
                snubs_us: peer.download.pipeline.is_snubbed(),
                down_bytes_per_s: peer.download.down.rate(now),
                up_bytes_per_s: peer.upload.up.rate(now),
                connected_at: peer.wire.connected_at,
                unchoked_at: peer.upload.unchoked_at,
                uploaded_since_unchoke: peer.upload.uploaded_since_unchoke,
                uploaded: account.uploaded,
                downloaded: account.downloaded,
                group: AddressGroup::of(peer.wire.remote.ip()),
            }
        };
        candidates.map(snapshot).collect()
    }

    fn apply_chokes(&mut self, session: &mut Session, decision: &Decision<PeerSlot>) {
        for &slot in &decision.choke {
            self.choke(session, slot);
        }
        for &slot in &decision.unchoke {
            self.unchoke(session, slot);
        }
        for (slot, peer) in self.peers.iter_mut() {
            peer.upload.optimistic = decision.optimistic.binary_search(&slot).is_ok();
        }
    }

    /// Whether the disk does not give what we have.
    pub(super) fn cannot_read(&self) -> bool {
        self.files.retry.cannot_read()
    }
}

/// Whether a peer can be given a slot, or have one. One that has not taken its last choke yet
/// cannot: to it, what it asks meanwhile is dropped by that choke (BEP 3), and its connection takes
/// nothing anyway.
fn may_be_unchoked(peer: &Peer) -> bool {
    peer.is_open() && !peer.upload.choke_waits
}
