//! Between a torrent's machines and the wire of a peer: bytes come in, and each message goes to the
//! machine that it concerns; handshakes (BEP 3, BEP 10), and what peers have.
//!
//! A hybrid torrent has two infohashes (BEP 52, "upgrade path"). We dial with that of v1 and say
//! that we know v2 as well; a peer that we dial answers with that of v2 if both know it. Peers that
//! are known to be in the swarm of v2 are dialled with its infohash; a peer that hangs up on one is
//! tried with the other, since a magnet link may have told it no more than that.

use std::net::SocketAddr;

use bytes::BytesMut;

use crate::bitfield::Bitfield;
use crate::encryption::Encryption;
use crate::extension::dont_have;
use crate::family::Family;
use crate::id::ConnId;
use crate::notice::{PeerTransport, TorrentNotice};
use crate::peer::claims::WholeClaim;
use crate::peer::{Backlog, Peer, PeerSlot, WireState};
use crate::piece::PieceIndex;
use crate::reach::{Namer, may_dial};
use crate::session::Session;
use crate::session::asks::Ask;
use crate::session::shares::Taken;
use crate::torrent::Torrent;
use crate::torrent::swarm::Ended;
use crate::transport::ReadPause;
use crate::wire::extension::{Extension, ExtensionHandshake, ExtensionIds};
use crate::wire::handshake::{Handshake, Reserved};
use crate::wire::message::id;
use crate::wire::{Message, Violation};

/// What we offer.
const OURS: Reserved = Reserved::NONE.with_fast().with_extension();

/// DHT nodes of one address that are met in a minute, as its peers name them (chosen: some homes behind one
/// address).
const NODES_OF_ADDRESS: u64 = 8;

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
        if let WireState::Handshaking(decoder) = &mut peer.wire.state {
            if let Err(violation) = decoder.push(&mut data) {
                return self.disconnect_for(session, slot, violation);
            }
            let Some(handshake) = decoder.handshake() else { return };
            if !self.handle_handshake(session, slot, handshake) {
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
                Err(violation) => return self.disconnect_for(session, slot, violation),
            };
            if let Err(violation) = self.handle_message(session, slot, message) {
                let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
                if !peer.wire.offences.forgives(violation) {
                    return self.disconnect_for(session, slot, violation);
                }
                if peer.wire.offences.is_first() {
                    session.notify_violation(self.id, peer.wire.remote, violation, false);
                }
            }
        }
        let half_messages = &mut session.budgets.half_messages;
        if self.swarm.count_half_message(slot, half_messages) {
            session.asks.push(self.id, Ask::FreeHalfMessages);
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

    /// Has waiting messages sent, within the bounds of a peer that does not read.
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
                if let Some(peer) = self.swarm.peers.get_mut(slot)
                    && self.download.choked(slot.into(), &mut peer.download, peer.wire.fast)
                {
                    self.fill_pipelines(session, None);
                }
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
                self.swarm.early(slot, |early| early.bitfield(&bytes))
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
                self.handle_extended_handshake(session, slot, &payload)
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
                    let node = SocketAddr::new(peer.wire.remote.ip(), port);
                    let (now, of) = (session.now, (Taken::Nodes, self.id));
                    let shares = &mut session.quotas.shares;
                    // Each is asked whether it is there: a peer has one.
                    if self.discovery_allowed()
                        && may_dial(node, Namer::Itself)
                        && shares.take(now, of, node.ip(), 1, NODES_OF_ADDRESS)
                    {
                        session.asks.push(self.id, Ask::MeetNode(Box::new(node)));
                    }
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

    // Handshakes.

    /// Says who we are, to a peer whose first bytes, if it dialled us, are known.
    pub(super) fn send_handshake(&mut self, session: &mut Session, slot: PeerSlot) {
        let mut reserved = OURS;
        if self.discovery_allowed() && session.offers_dht_node() {
            reserved = reserved.with_dht();
        }
        if self.identity.offers_v2(self.content.is_some()) {
            reserved = reserved.with_v2();
        }
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
        let head = match &peer.wire.state {
            WireState::Handshaking(theirs) => theirs.head(),
            _ => None,
        };
        let by_v2 = match head {
            Some((theirs, infohash)) => theirs.v2() || self.identity.is_v2(infohash),
            None => self.swarm.addresses.is_of_v2(peer.wire.remote),
        };
        let infohash = self.identity.for_handshake(by_v2);
        peer.wire.of_v2 = self.identity.is_v2(infohash);
        let handshake = Handshake { reserved, infohash, peer_id: session.own.peer_id };
        peer.wire.outbox.greet(&handshake.encode());
        session.transport().ask_send(peer.wire.conn);
    }

    /// A peer's handshake is complete; whether the connection goes on.
    fn handle_handshake(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        theirs: Handshake,
    ) -> bool {
        let now = session.now;
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return false };
        let (conn, remote, incoming) = (peer.wire.conn, peer.wire.remote, peer.wire.incoming);
        let of_v2 = self.identity.is_v2(theirs.infohash);
        if !self.identity.matches(theirs.infohash) {
            if !incoming {
                self.identity.answered_by_another();
            }
            self.drop_peer(session, slot, Ended::Failed);
            return false;
        }
        if theirs.peer_id == session.own.peer_id {
            // The end that connected closes: it knows then which address is our own. The other
            // must live until its handshake has told that.
            if !incoming {
                self.swarm.addresses.add_own(remote);
                self.drop_peer(session, slot, Ended::Failed);
            }
            return false;
        }
        if let Some(crossed) = self.swarm.crossed(slot, theirs.peer_id, session.own.peer_id, now) {
            let listens_at =
                self.swarm.peers.get(crossed.loser).and_then(|peer| peer.wire.listens_at);
            self.drop_peer(session, crossed.loser, Ended::Useless);
            self.swarm.stays(crossed.winner, listens_at, now);
            if crossed.loser == slot {
                return false;
            }
        }
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return false };
        let encryption = session.streams.encryption(conn);
        if !incoming && let Some(known) = self.swarm.addresses.encryption(remote) {
            known.worked(peer.attempt);
        }
        // Some that are dialled take the torrent from MSE, and do not upgrade (BEP 52) as they do without it.
        let could_upgrade = encryption != Encryption::None && self.identity.could_upgrade(&theirs);
        if !incoming && could_upgrade && self.swarm.addresses.upgrade(remote) {
            self.drop_peer(session, slot, Ended::LetGo);
            return false;
        }
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return false };
        peer.wire.of_v2 |= of_v2;
        peer.handle_handshake(&theirs, OURS);
        peer.encryption = encryption;
        let transport = match session.streams.is_utp(conn) {
            true => PeerTransport::Utp,
            false => PeerTransport::Tcp,
        };
        let what = TorrentNotice::PeerConnected { addr: remote, incoming, transport, encryption };
        session.notify(self.id, what);
        let have = self.content.is_some().then(|| self.download.have());
        peer.send_bitfield(have);
        self.download.source_here(&peer.download);
        self.swarm.opened(slot, now);
        self.send_extended_handshake(session, slot);
        if theirs.reserved.dht()
            && self.discovery_allowed()
            && session.offers_dht_node()
            && let Some(port) = session.sockets.listen_port(Family::of(remote.ip()))
            && let Some(peer) = self.swarm.peers.get_mut(slot)
        {
            peer.send(Message::Port(port));
        }
        let deadline = now + session.config.timeouts.keep_alive;
        session.transport().set_deadline(conn, deadline);
        true
    }

    /// Sends what we understand, and what is to be known of us (BEP 10).
    pub(super) fn send_extended_handshake(&mut self, session: &Session, slot: PeerSlot) {
        let mut ids = ExtensionIds::ours(&Extension::ALL);
        if !self.exchanges_peers(session) {
            // What is off is named too: it may have been on before.
            ids.turn_off(Extension::PeerExchange);
        }
        let upload_only = self.is_finished();
        let info = self.metainfo().map(|metainfo| metainfo.info_bytes().len());
        let Some(peer) = self.swarm.peers.get_mut(slot).filter(|peer| peer.wire.extended) else {
            return;
        };
        let ours = ExtensionHandshake {
            ids,
            metadata_size: info.and_then(|len| u32::try_from(len).ok()),
            client: Some(session.config.client_name.clone()),
            port: session.sockets.listen_port(Family::of(peer.wire.remote.ip())),
            max_requests: u32::try_from(session.config.bounds.peer_requests).ok(),
            your_ip: Some(peer.wire.remote.ip()),
            upload_only: Some(upload_only),
            prefers_encryption: session.config.encryption.is_preferred().then_some(true),
            ..ExtensionHandshake::default()
        };
        peer.send(Message::Extended { id: ExtensionHandshake::ID, payload: ours.encode() });
    }

    /// A peer says what it understands (BEP 10).
    fn handle_extended_handshake(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        payload: &[u8],
    ) -> Result<(), Violation> {
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return Ok(()) };
        let theirs = ExtensionHandshake::decode(payload)?;
        let metadata_size = theirs.metadata_size;
        let before = peer.wire.listens_at;
        if peer.handle_extended_handshake(theirs).is_some() {
            self.swarm.listens(slot, before, session.now);
        }
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return Ok(()) };
        if let Some(bytes) = metadata_size.filter(|_| peer.understands_metadata()) {
            let limit = session.config.bounds.metadata_bytes;
            let (remote, is_too_long) = (peer.wire.remote, &mut peer.gossip.is_metadata_too_long);
            let steps = self.acquisition.offered(remote, bytes, limit, is_too_long);
            self.perform(session, steps);
        }
        self.layers_offered(session, slot);
        self.send_pex_soon(session);
        self.disconnect_if_both_seeds(session, slot);
        Ok(())
    }

    // What a peer has, and whether that interests us.

    fn peer_has(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        piece: PieceIndex,
    ) -> Result<(), Violation> {
        let Some(content) = &self.content else {
            return self.swarm.early(slot, |early| early.have(piece));
        };
        if !content.geometry().contains(piece) {
            return Err(Violation::PieceOutOfRange { id: id::HAVE, piece });
        }
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return Ok(()) };
        if !self.download.has_piece(slot.into(), &mut peer.download, piece) {
            return Ok(());
        }
        peer.upload.allowed_by_us.retain(|allowed| *allowed != piece);
        let everything = peer.download.has.is_all();
        let addr = peer.wire.listens_at;
        self.swarm.update_interest(slot, self.wants_pieces());
        if let Some(peer) = self.swarm.peers.get_mut(slot) {
            self.upload.suggest(slot, peer, self.download.picker());
        }
        self.layers_offered(session, slot);
        if everything {
            if let Some(addr) = addr {
                self.swarm.addresses.set_seed(addr, true);
            }
            self.disconnect_if_both_seeds(session, slot);
        }
        Ok(())
    }

    /// A peer no longer has a piece (BEP 54).
    fn peer_lost(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        piece: PieceIndex,
    ) -> Result<(), Violation> {
        let Some(content) = &self.content else {
            return self.swarm.early(slot, |early| {
                early.lost(piece);
                Ok(())
            });
        };
        if !content.geometry().contains(piece) {
            return Err(Violation::PieceOutOfRange { id: id::EXTENDED, piece });
        }
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return Ok(()) };
        if !peer.download.has.has(piece) {
            return Ok(());
        }
        if peer.download.has.is_all()
            && let Some(addr) = peer.wire.listens_at
        {
            self.swarm.addresses.set_seed(addr, false);
        }
        let answers_all = peer.wire.fast;
        let free = self.download.lost_piece(slot.into(), &mut peer.download, piece, answers_all);
        self.swarm.update_interest(slot, self.wants_pieces());
        if free {
            self.fill_pipelines(session, Some(slot));
        }
        Ok(())
    }

    /// A peer has everything, or nothing.
    fn peer_has_whole(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        claim: WholeClaim,
    ) -> Result<(), Violation> {
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return Ok(()) };
        if !peer.download.whole_claims.make(claim) {
            return Ok(());
        }
        if self.content.is_none() {
            match claim {
                WholeClaim::All => peer.download.early.all(),
                WholeClaim::None => peer.download.early.none(),
            }
            return Ok(());
        }
        let pieces = self.pieces();
        let has = match claim {
            WholeClaim::All => Bitfield::full(pieces),
            WholeClaim::None => Bitfield::new(pieces),
        };
        self.peer_pieces(session, slot, has)
    }

    pub(super) fn peer_pieces(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        field: Bitfield,
    ) -> Result<(), Violation> {
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return Ok(()) };
        // BEP 3 has it only as the first message; aria2 sends another instead of many haves.
        let is_news = !peer.download.has_announced;
        if field.is_all()
            && let Some(addr) = peer.wire.listens_at
        {
            self.swarm.addresses.set_seed(addr, true);
        }
        let free = self.download.has_pieces(slot.into(), &mut peer.download, field);
        self.swarm.update_interest(slot, self.wants_pieces());
        if is_news {
            let (is_seed, picker) = (self.is_finished(), self.download.picker());
            self.upload.begin_suggesting(is_seed, picker, &mut self.policy);
            // A lone seed has better to do than to send the same pieces to every newcomer.
            if !self.upload.suggestions.has_some()
                && let Some(peer) = self.swarm.peers.get_mut(slot)
            {
                peer.offer_allowed_fast(self.identity.primary(), self.download.have());
            }
        }
        self.layers_offered(session, slot);
        if free {
            self.fill_pipelines(session, Some(slot));
        }
        self.disconnect_if_both_seeds(session, slot);
        Ok(())
    }

    /// Two that have everything have nothing to say to each other.
    pub(super) fn disconnect_if_both_seeds(&mut self, session: &mut Session, slot: PeerSlot) {
        if self.is_finished() && self.swarm.peers.get(slot).is_some_and(Peer::is_seed) {
            self.drop_peer(session, slot, Ended::Useless);
        }
    }
}
