//! Bytes of a peer come in: each message goes to the part of the torrent that it concerns.

use bytes::BytesMut;

use crate::bitfield::Bitfield;
use crate::extension::dont_have;
use crate::id::ConnId;
use crate::peer::claims::WholeClaim;
use crate::peer::{Backlog, PeerSlot, Phase};
use crate::session::Session;
use crate::torrent::Torrent;
use crate::torrent::swarm::Ended;
use crate::transport::ReadPause;
use crate::wire::extension::{Extension, ExtensionHandshake};
use crate::wire::{Message, Violation};

impl Torrent {
    /// Bytes of a peer have come.
    pub(crate) fn peer_received(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        mut data: BytesMut,
    ) {
        let now = session.now;
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
        peer.wire.last_heard = now;
        peer.download.pipeline.set_reading(true, now);
        let conn = peer.wire.conn;
        let len = data.len();
        if let Phase::Handshaking(decoder) = &mut peer.wire.phase {
            if let Err(violation) = decoder.push(&mut data) {
                return self.violated(session, slot, violation);
            }
            let Some(handshake) = decoder.handshake() else { return };
            if !self.shake_hands(session, slot, handshake) {
                return;
            }
        }
        if let Some(peer) = self.swarm.peers.get_mut(slot) {
            peer.wire.decoder.push(data.freeze());
        }
        while let Some(peer) = self.swarm.peers.get_mut(slot) {
            let message = match peer.wire.decoder.next_message() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(violation) => return self.violated(session, slot, violation),
            };
            if let Err(violation) = self.handle_message(session, slot, message)
                && !self.forgives(session, slot, violation)
            {
                return self.violated(session, slot, violation);
            }
        }
        let half_messages = &mut session.budgets.half_messages;
        if let Some(largest) = self.swarm.count_half_message(slot, half_messages) {
            self.drop_peer(session, largest, Ended::Misbehaved);
        }
        self.charge_download(session, conn, len);
        session.hold_for_disk(conn);
        self.after_input(session, slot);
    }

    /// Counts received bytes against the limits, and stops reading where one is used up.
    fn charge_download(&mut self, session: &mut Session, conn: ConnId, bytes: usize) {
        let now = session.now;
        session.download.charge(now, self.id, bytes);
        if session.download.is_used_up(now) {
            session.download.wait(self.id, conn);
            session.transport().pause_reading(conn, ReadPause::Rate);
            session.arm(session.download.timer, session.download.next_at(now));
        }
        if let Some((timer, at)) = self.traffic.charge_read(now, (self.id, conn), bytes) {
            session.transport().pause_reading(conn, ReadPause::TorrentRate);
            session.arm(timer, at);
        }
    }

    /// What follows once all messages of an input are handled: requests, reads, sending.
    pub(super) fn after_input(&mut self, session: &mut Session, slot: PeerSlot) {
        self.request_blocks(session, slot);
        self.read_for(session, slot);
        self.flush_outbox(session, slot);
    }

    /// Has waiting messages sent, and minds the bounds of a peer that does not read.
    pub(super) fn flush_outbox(&mut self, session: &mut Session, slot: PeerSlot) {
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
        let conn = peer.wire.conn;
        match peer.wire.backlog() {
            Backlog::Fits => {}
            Backlog::Full => session.transport().pause_reading(conn, ReadPause::Output),
            Backlog::Stuck => return self.drop_peer(session, slot, Ended::Useless),
        }
        if peer.has_to_send() {
            session.transport().ask_send(conn);
        }
    }

    fn handle_message(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        message: Message,
    ) -> Result<(), Violation> {
        match message {
            Message::KeepAlive => Ok(()),
            Message::Choke => {
                self.choked_by(session, slot);
                Ok(())
            }
            Message::Unchoke => {
                if let Some(peer) = self.swarm.peers.get_mut(slot) {
                    self.download.unchoked(slot.into(), &mut peer.download);
                }
                Ok(())
            }
            Message::Interested => {
                self.peer_interest(session, slot, true);
                Ok(())
            }
            Message::NotInterested => {
                self.peer_interest(session, slot, false);
                Ok(())
            }
            Message::Have(piece) => self.peer_has(session, slot, piece),
            Message::Bitfield(bytes) if self.content.is_none() => {
                self.early(slot, |early| early.bitfield(&bytes))
            }
            Message::Bitfield(bytes) => {
                let field = Bitfield::from_bytes(&bytes, self.pieces())
                    .map_err(|_| Violation::BadBitfield)?;
                self.peer_pieces(session, slot, field)
            }
            // The messages of BEP 6 mean what they say from those who did not offer it, too: a seed that
            // says `have all` all the same may be the only one.
            Message::HaveAll => self.peer_has_whole(session, slot, WholeClaim::All),
            Message::HaveNone => self.peer_has_whole(session, slot, WholeClaim::None),
            Message::Request(block) => self.requested(session, slot, block),
            Message::Cancel(block) => {
                self.cancelled(session, slot, block);
                Ok(())
            }
            Message::Piece { piece, begin, data } => {
                self.block_arrived(session, slot, piece, begin, data)
            }
            Message::Reject(block) => {
                self.rejected(session, slot, block);
                Ok(())
            }
            Message::AllowedFast(piece) => {
                let pieces = self.content.is_some().then(|| self.pieces());
                if let Some(peer) = self.swarm.peers.get_mut(slot)
                    && peer.wire.fast
                    && pieces.is_none_or(|pieces| piece.0 < pieces)
                {
                    peer.download.allow(piece);
                }
                Ok(())
            }
            Message::Suggest(piece) => {
                let pieces = self.pieces();
                if let Some(peer) = self.swarm.peers.get_mut(slot)
                    && piece.0 < pieces
                {
                    peer.download.suggest(piece);
                }
                Ok(())
            }
            Message::Extended { id: ExtensionHandshake::ID, payload } => {
                self.extended(session, slot, &payload)
            }
            Message::Extended { id, payload } if id == Extension::Metadata.our_id() => {
                self.metadata_message(session, slot, &payload)
            }
            Message::Extended { id, payload } if id == Extension::DontHave.our_id() => {
                self.peer_lost(session, slot, dont_have::decode(&payload)?)
            }
            Message::Extended { id, payload } if id == Extension::PeerExchange.our_id() => {
                self.handle_pex(session, slot, &payload)
            }
            Message::Port(port) => {
                if let Some(peer) = self.swarm.peers.get(slot) {
                    self.peer_has_node(session, peer.wire.remote, port);
                }
                Ok(())
            }
            Message::HashRequest(request) => self.hashes_requested(session, slot, request),
            Message::Hashes { request, hashes } => {
                self.hashes_arrived(session, slot, &request, &hashes)
            }
            Message::HashReject(request) => self.hashes_rejected(session, slot, &request),
            // An extension we did not offer, a message from the future.
            Message::Extended { .. } | Message::Unknown { .. } => Ok(()),
        }
    }

    /// That a connection is of v2, on which alone there are messages about hashes.
    pub(super) fn require_v2(&self, slot: PeerSlot, id: u8) -> Result<(), Violation> {
        match self.swarm.peers.get(slot) {
            Some(peer) if !peer.wire.of_v2 => Err(Violation::V2NotNegotiated { id }),
            _ => Ok(()),
        }
    }

    /// Whether a message is left out and the peer stays.
    fn forgives(&mut self, session: &mut Session, slot: PeerSlot, violation: Violation) -> bool {
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return false };
        let forgives = peer.wire.offences.forgives(violation);
        if forgives && peer.wire.offences.is_first() {
            session.notify_violation(self.id, peer.wire.remote, violation, false);
        }
        forgives
    }
}
