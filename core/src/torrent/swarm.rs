//! Peers come and go: connecting, handshakes, what they have, interest, and their farewell.

use std::net::SocketAddr;

use bytes::BytesMut;

use crate::action::Close;
use crate::bitfield::Bitfield;
use crate::event::NetError;
use crate::extension::dont_have;
use crate::id::ConnId;
use crate::notice::TorrentNotice;
use crate::peer::early::EarlyPieces;
use crate::peer::{Peer, PeerSlot, Phase};
use crate::piece::PieceIndex;
use crate::session::bans::BanReason;
use crate::session::conn::{ReadPause, Role};
use crate::session::{AFTER_TIMEOUT, Session};
use crate::time::Instant;
use crate::torrent::Torrent;
use crate::torrent::peer_book::{Ended, PeerSource};
use crate::wire::allowed_fast::{ALLOWED_FAST_PIECES, allowed_fast_set};
use crate::wire::extension::{Extension, ExtensionHandshake, ExtensionIds};
use crate::wire::handshake::{Handshake, HandshakeDecoder, Reserved};
use crate::wire::message::id;
use crate::wire::{Message, Violation};

/// What we offer.
const OURS: Reserved = Reserved::NONE.with_fast().with_extension();
/// Messages waiting for a peer that does not read, in bytes: from here on we do not read from it
/// either (chosen).
const OUTBOX_FULL: usize = 256 * 1024;
/// From here on it is dropped (chosen).
const OUTBOX_STUCK: usize = 4 * 1024 * 1024;
/// Bytes of blocks nobody asked for after which a peer is dropped (chosen).
pub(super) const UNASKED_LIMIT: u64 = 4 * 1024 * 1024;

impl Torrent {
    // Connecting.

    /// Peers are welcome from now on.
    pub(super) fn open_for_peers(&mut self, session: &mut Session) {
        self.start_announcing(session);
        session.queue_connects(self.id);
    }

    /// Whether more peers would help.
    fn wants_peers(&self, session: &Session) -> bool {
        self.welcomes_peers() && self.peers.len() < session.config.connections.torrent
    }

    /// When the next known peer is due to be tried. Never while this torrent waits in the line for
    /// connections: its turn comes when one is free.
    pub(super) fn connect_due_at(&self, session: &Session) -> Option<Instant> {
        let waits = session.connect_queued.contains(&self.id);
        if self.wants_peers(session) && !waits { self.book.next_at() } else { None }
    }

    /// Opens one connection, to the best peer that is due; whether there was one.
    pub(crate) fn connect_next(&mut self, session: &mut Session) -> bool {
        if !self.wants_peers(session) {
            return false;
        }
        let bans = &session.bans;
        let next = self.book.next_to_connect(session.now, |ip| bans.is_banned(ip));
        let Some(remote) = next else { return false };
        if session.is_banned(remote) {
            self.book.forget(remote);
            return true;
        }
        if session.conns_of_address(remote.ip()) >= session.config.connections.per_address {
            self.book.ended(remote, session.now, Ended::Failed);
            return true;
        }
        let now = session.now;
        let pieces = self.metainfo.is_some().then(|| self.geometry.pieces());
        let id = self.id;
        let config = &session.config;
        let placeholder = crate::id::Id::new(u32::MAX, u32::MAX);
        let slot = self.peers.insert(Peer::new(
            placeholder,
            remote,
            false,
            Phase::Connecting,
            pieces,
            now,
            config,
        ));
        let deadline = now + config.timeouts.connect;
        let conn = session.connect(remote, Role::Peer(id, slot));
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.conn = conn;
        }
        session.set_deadline(conn, deadline);
        true
    }

    /// A connection we opened is established.
    pub(crate) fn peer_connected(&mut self, session: &mut Session, slot: PeerSlot) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.phase = Phase::Handshaking(HandshakeDecoder::new());
        let conn = peer.conn;
        session.set_deadline(conn, session.now + session.config.timeouts.handshake);
        self.send_handshake(session, slot);
    }

    /// Somebody dialled in and named this torrent. Whether they are welcome.
    pub(crate) fn peer_arrived(
        &mut self,
        session: &mut Session,
        conn: ConnId,
        remote: SocketAddr,
        handshake: HandshakeDecoder,
    ) -> Option<PeerSlot> {
        if !self.welcomes_peers() || session.is_banned(remote) {
            return None;
        }
        if !self.wants_peers(session) {
            let useless = self.useless_peer(session)?;
            self.drop_peer(session, useless, Ended::Useless);
        }
        let peer = Peer::new(
            conn,
            remote,
            true,
            Phase::Handshaking(handshake),
            self.metainfo.is_some().then(|| self.geometry.pieces()),
            session.now,
            &session.config,
        );
        let slot = self.peers.insert(peer);
        session.assign(conn, Role::Peer(self.id, slot));
        self.send_handshake(session, slot);
        Some(slot)
    }

    /// A peer that neither side has wanted anything of for a while: its place is better used by
    /// somebody new.
    fn useless_peer(&self, session: &Session) -> Option<PeerSlot> {
        let patience = session.config.timeouts.useless;
        let is_useless = |peer: &Peer| {
            !peer.am_interested
                && !peer.peer_interested
                && session.now - peer.connected_at >= patience
        };
        self.peers.iter().find(|(_, peer)| is_useless(peer)).map(|(slot, _)| slot)
    }

    fn send_handshake(&mut self, session: &mut Session, slot: PeerSlot) {
        let has_node = self.told_dht_port(session).is_some();
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let handshake = Handshake {
            reserved: if has_node { OURS.with_dht() } else { OURS },
            infohash: self.infohash,
            peer_id: session.peer_id,
        };
        peer.outbox.put(&handshake.encode());
        session.ask_send(peer.conn);
    }

    /// The user names peers.
    pub(crate) fn add_user_peers(&mut self, session: &mut Session, peers: &[SocketAddr]) {
        for &peer in peers {
            self.book.add(peer, PeerSource::User, session.now);
        }
        session.queue_connects(self.id);
    }

    // Bytes come in.

    /// Bytes of a peer have come.
    pub(crate) fn peer_received(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        mut data: BytesMut,
    ) {
        let now = session.now;
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.last_heard = now;
        peer.pipeline.set_reading(true, now);
        let conn = peer.conn;
        let len = data.len();
        if let Phase::Handshaking(decoder) = &mut peer.phase {
            if let Err(violation) = decoder.push(&mut data) {
                return self.violated(session, slot, violation);
            }
            let Some(handshake) = decoder.handshake() else { return };
            if !self.shake_hands(session, slot, handshake) {
                return;
            }
        }
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.decoder.push(data.freeze());
        }
        while let Some(peer) = self.peers.get_mut(slot) {
            let outcome = match peer.decoder.next_message() {
                Ok(Some(message)) => self.handle_message(session, slot, message),
                Ok(None) => break,
                Err(violation) => Err(violation),
            };
            if let Err(violation) = outcome {
                return self.violated(session, slot, violation);
            }
        }
        self.charge_download(session, conn, len);
        session.hold_for_disk(conn);
        self.after_input(session, slot);
    }

    /// Counts received bytes against the limits, and stops reading where one is used up.
    fn charge_download(&mut self, session: &mut Session, conn: ConnId, bytes: usize) {
        let now = session.now;
        session.download.bucket().take(now, bytes);
        if session.download.is_used_up(now) {
            session.download.wait(conn);
            session.pause_reading(conn, ReadPause::Rate);
            session.arm(session.download.timer, session.download.next_at(now));
        }
        let Some(gates) = &mut self.gates else { return };
        gates.down.bucket().take(now, bytes);
        if gates.down.is_used_up(now) {
            gates.down.wait(conn);
            session.pause_reading(conn, ReadPause::TorrentRate);
            session.arm(gates.down.timer, gates.down.next_at(now));
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
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let conn = peer.conn;
        if peer.outbox.len() > OUTBOX_STUCK {
            return self.drop_peer(session, slot, Ended::Useless);
        }
        if peer.outbox.len() > OUTBOX_FULL {
            session.pause_reading(conn, ReadPause::Output);
        }
        if peer.has_to_send() {
            session.ask_send(conn);
        }
    }

    // Handshake.

    /// A peer's handshake is complete; whether the connection goes on.
    fn shake_hands(&mut self, session: &mut Session, slot: PeerSlot, theirs: Handshake) -> bool {
        let now = session.now;
        let Some(peer) = self.peers.get_mut(slot) else { return false };
        let (conn, remote, incoming) = (peer.conn, peer.remote, peer.incoming);
        if theirs.infohash != self.infohash {
            self.drop_peer(session, slot, Ended::Failed);
            return false;
        }
        if theirs.peer_id == session.peer_id {
            // The end that connected closes: it knows then which address is our own. The other
            // must live until its handshake has told that.
            if !incoming {
                self.book.add_own(remote);
                self.drop_peer(session, slot, Ended::Failed);
            }
            return false;
        }
        let twin = self.peers.iter().find(|(other, peer)| {
            *other != slot && peer.id == Some(theirs.peer_id) && peer.remote.ip() == remote.ip()
        });
        if let Some((other, twin)) = twin {
            // Both sides must drop the same one of two connections that crossed: the one that the
            // peer with the larger id opened. Of two in one direction the older stays.
            let we_are_smaller = session.peer_id.0 < theirs.peer_id.0;
            let new_stays = twin.incoming != incoming && incoming != we_are_smaller;
            let loser = if new_stays { other } else { slot };
            self.drop_peer(session, loser, Ended::Useless);
            if loser == slot {
                return false;
            }
        }
        let Some(peer) = self.peers.get_mut(slot) else { return false };
        peer.phase = Phase::Open;
        peer.id = Some(theirs.peer_id);
        let both = theirs.reserved.both(OURS);
        peer.fast = both.fast();
        peer.extended = both.extension();
        self.picker.add_peer_bitfield(&peer.has);
        if let Some(addr) = peer.listens_at {
            self.book.connected(addr, now);
        }
        self.tell_pieces(slot);
        self.tell_extensions(session, slot);
        if theirs.reserved.dht()
            && let Some(port) = self.told_dht_port(session)
            && let Some(peer) = self.peers.get_mut(slot)
        {
            peer.send(Message::Port(port));
        }
        session.set_deadline(conn, now + session.config.timeouts.keep_alive);
        true
    }

    /// The first message after the handshake says what we have (BEP 3, BEP 6).
    fn tell_pieces(&mut self, slot: PeerSlot) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let have = self.picker.have();
        if self.metainfo.is_none() {
            if peer.fast {
                peer.send(Message::HaveNone);
            }
        } else if peer.fast && have.is_all() {
            peer.send(Message::HaveAll);
        } else if peer.fast && have.is_none() {
            peer.send(Message::HaveNone);
        } else if !have.is_none() {
            peer.send(Message::bitfield(have));
        }
    }

    pub(super) fn tell_extensions(&mut self, session: &Session, slot: PeerSlot) {
        let (upload_only, ids) = (self.is_finished(), self.our_extensions(session));
        let Some(peer) = self.peers.get_mut(slot).filter(|peer| peer.extended) else { return };
        let info = self.metainfo.as_ref().map(|metainfo| metainfo.info_bytes().len());
        let ours = ExtensionHandshake {
            ids,
            metadata_size: info.and_then(|len| u32::try_from(len).ok()),
            client: Some(session.config.client_name.clone()),
            port: (session.listen_port != 0).then_some(session.listen_port),
            max_requests: u32::try_from(session.config.bounds.peer_requests).ok(),
            your_ip: Some(peer.remote.ip()),
            upload_only: Some(upload_only),
            ..ExtensionHandshake::default()
        };
        peer.send(Message::Extended { id: ExtensionHandshake::ID, payload: ours.encode() });
    }

    /// What we understand. What is off is named too: it may have been on before.
    fn our_extensions(&self, session: &Session) -> ExtensionIds {
        let mut ids = ExtensionIds::ours(&Extension::ALL);
        if !self.exchanges_peers(session) {
            ids.turn_off(Extension::PeerExchange);
        }
        ids
    }

    // Messages.

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
                self.unchoked_by(slot);
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
            Message::Bitfield(bytes) if self.metainfo.is_none() => {
                self.early(slot, |early| early.bitfield(&bytes))
            }
            Message::Bitfield(bytes) => {
                let field = Bitfield::from_bytes(&bytes, self.geometry.pieces())
                    .map_err(|_| Violation::BadBitfield)?;
                self.peer_pieces(session, slot, field)
            }
            Message::HaveAll => {
                self.require_fast(slot, id::HAVE_ALL)?;
                if self.metainfo.is_none() {
                    return self.early(slot, |early| {
                        early.all();
                        Ok(())
                    });
                }
                self.peer_pieces(session, slot, Bitfield::full(self.geometry.pieces()))
            }
            Message::HaveNone => {
                self.require_fast(slot, id::HAVE_NONE)?;
                if self.metainfo.is_none() {
                    return self.early(slot, |early| {
                        early.none();
                        Ok(())
                    });
                }
                self.peer_pieces(session, slot, Bitfield::new(self.geometry.pieces()))
            }
            Message::Request(block) => self.requested(session, slot, block),
            Message::Cancel(block) => {
                self.cancelled(session, slot, block);
                Ok(())
            }
            Message::Piece { piece, begin, data } => {
                self.block_arrived(session, slot, piece, begin, data)
            }
            Message::Reject(block) => {
                self.require_fast(slot, id::REJECT)?;
                self.rejected(session, slot, block);
                Ok(())
            }
            Message::AllowedFast(piece) => {
                self.require_fast(slot, id::ALLOWED_FAST)?;
                if let Some(peer) = self.peers.get_mut(slot)
                    && (self.metainfo.is_none() || self.geometry.contains(piece))
                {
                    peer.allow(piece);
                }
                Ok(())
            }
            Message::Suggest(piece) => {
                self.require_fast(slot, id::SUGGEST)?;
                if let Some(peer) = self.peers.get_mut(slot)
                    && self.geometry.contains(piece)
                {
                    peer.suggest(piece);
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
                self.peers_told(session, slot, &payload)
            }
            Message::Port(port) => {
                if let Some(peer) = self.peers.get(slot) {
                    self.peer_has_node(session, peer.remote, port);
                }
                Ok(())
            }
            // An extension we did not offer, a message from the future.
            Message::Extended { .. } | Message::Unknown { .. } => Ok(()),
        }
    }

    fn require_fast(&self, slot: PeerSlot, id: u8) -> Result<(), Violation> {
        match self.peers.get(slot) {
            Some(peer) if !peer.fast => Err(Violation::FastNotNegotiated { id }),
            _ => Ok(()),
        }
    }

    fn extended(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        payload: &[u8],
    ) -> Result<(), Violation> {
        let Some(peer) = self.peers.get_mut(slot) else { return Ok(()) };
        let theirs = ExtensionHandshake::decode(payload)?;
        peer.extensions.update(&theirs.ids);
        if let Some(most) = theirs.max_requests {
            peer.pipeline.set_reqq(most as usize);
        }
        if theirs.client.is_some() {
            peer.client = theirs.client;
        }
        peer.upload_only = theirs.upload_only.unwrap_or(peer.upload_only);
        if peer.incoming
            && let Some(port) = theirs.port
        {
            // Now it is known where this peer can be reached by others and after a break.
            let addr = SocketAddr::new(peer.remote.ip(), port);
            peer.listens_at = Some(addr);
            self.book.connected(addr, session.now);
        }
        self.metadata_offered(session, slot, theirs.metadata_size);
        self.tell_peers_soon(session);
        self.part_if_both_seed(session, slot);
        Ok(())
    }

    // What the peer has.

    /// What a peer says to have is kept until it is known how many pieces there are.
    fn early(
        &mut self,
        slot: PeerSlot,
        note: impl FnOnce(&mut EarlyPieces) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        self.peers.get_mut(slot).map_or(Ok(()), |peer| note(&mut peer.early))
    }

    fn peer_has(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        piece: PieceIndex,
    ) -> Result<(), Violation> {
        if self.metainfo.is_none() {
            return self.early(slot, |early| early.have(piece));
        }
        if !self.geometry.contains(piece) {
            return Err(Violation::PieceOutOfRange { id: id::HAVE, piece });
        }
        let Some(peer) = self.peers.get_mut(slot) else { return Ok(()) };
        peer.told_pieces = true;
        if !peer.has.set(piece) {
            return Ok(());
        }
        peer.allowed_by_us.retain(|allowed| *allowed != piece);
        self.picker.peer_has(piece);
        if self.picker.is_interesting(piece) {
            peer.interesting += 1;
            self.hungry.insert(slot);
        }
        let everything = peer.has.is_all();
        let addr = peer.listens_at;
        self.mind_interest(slot);
        self.suggest(slot);
        if everything {
            if let Some(addr) = addr {
                self.book.set_seed(addr, true);
            }
            self.part_if_both_seed(session, slot);
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
        if self.metainfo.is_none() {
            return self.early(slot, |early| {
                early.lost(piece);
                Ok(())
            });
        }
        if !self.geometry.contains(piece) {
            return Err(Violation::PieceOutOfRange { id: id::EXTENDED, piece });
        }
        let Some(peer) = self.peers.get_mut(slot) else { return Ok(()) };
        if !peer.has.has(piece) {
            return Ok(());
        }
        if std::mem::take(&mut peer.counted_as_seed) {
            self.picker.remove_seed();
            self.picker.add_peer_bitfield(&peer.has);
        }
        let was_seed = peer.has.is_all();
        peer.has.clear(piece);
        peer.allowed_to_us.retain(|allowed| *allowed != piece);
        peer.suggested.retain(|suggested| *suggested != piece);
        self.picker.peer_lost(piece);
        if self.picker.is_interesting(piece) {
            peer.interesting = peer.interesting.saturating_sub(1);
        }
        if was_seed && let Some(addr) = peer.listens_at {
            self.book.set_seed(addr, false);
        }
        // With the fast extension each request is answered; without it they are void, "just like
        // when receiving a Choke message".
        let mut released = false;
        if !peer.fast {
            for block in peer.pipeline.blocks_of(piece) {
                if peer.pipeline.cancelled(block, false).is_some() {
                    self.picker.release(slot.key(), block);
                    self.late.remove(block, slot);
                    released = true;
                }
            }
        }
        self.mind_interest(slot);
        if released {
            self.feed_hungry(session);
        }
        Ok(())
    }

    pub(super) fn peer_pieces(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        field: Bitfield,
    ) -> Result<(), Violation> {
        let Some(peer) = self.peers.get_mut(slot) else { return Ok(()) };
        // BEP 3 has it only as the first message; aria2 sends another instead of many haves.
        let is_news = !std::mem::replace(&mut peer.told_pieces, true);
        if std::mem::replace(&mut peer.counted_as_seed, field.is_all()) {
            self.picker.remove_seed();
        } else {
            self.picker.remove_peer_bitfield(&peer.has);
        }
        if peer.counted_as_seed {
            self.picker.add_seed();
            if let Some(addr) = peer.listens_at {
                self.book.set_seed(addr, true);
            }
        } else {
            self.picker.add_peer_bitfield(&field);
        }
        peer.interesting = self.picker.interesting_count(&field);
        peer.has = field;
        self.mind_interest(slot);
        if is_news {
            self.offer_allowed_fast(slot);
        }
        self.hungry.insert(slot);
        self.part_if_both_seed(session, slot);
        Ok(())
    }

    /// Newcomers get a few pieces they may fetch while choked (BEP 6); not of a seed that has better
    /// to do than to send the same pieces to everybody.
    fn offer_allowed_fast(&mut self, slot: PeerSlot) {
        self.begin_spread();
        if self.spread.is_some() {
            return;
        }
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if !peer.fast || peer.has.count() >= ALLOWED_FAST_PIECES {
            return;
        }
        let (infohash, pieces) = (self.infohash, self.geometry.pieces());
        let ip = peer.remote.ip();
        for piece in allowed_fast_set(ip, infohash, pieces, ALLOWED_FAST_PIECES) {
            if self.picker.have().has(piece) && !peer.has.has(piece) {
                peer.allowed_by_us.push(piece);
                peer.send(Message::AllowedFast(piece));
            }
        }
    }

    /// Tells a peer whether we want what it has, if that is news.
    pub(super) fn mind_interest(&mut self, slot: PeerSlot) {
        let wanting = self.is_active() && !self.is_finished();
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.set_interest(wanting && peer.interesting > 0);
        }
    }

    /// Two that have everything have nothing to say to each other.
    pub(super) fn part_if_both_seed(&mut self, session: &mut Session, slot: PeerSlot) {
        if self.is_finished() && self.peers.get(slot).is_some_and(Peer::is_seed) {
            self.drop_peer(session, slot, Ended::Useless);
        }
    }

    // Farewell.

    /// A peer broke the protocol.
    pub(super) fn violated(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        _violation: Violation,
    ) {
        self.drop_peer(session, slot, Ended::Misbehaved);
    }

    /// A peer is banned: it, and its address, for the rest of the session.
    pub(super) fn ban(&mut self, session: &mut Session, remote: SocketAddr, why: BanReason) {
        if session.is_banned(remote) {
            return;
        }
        session.ban(remote, why);
        self.book.forget(remote);
        session.notify(self.id, TorrentNotice::PeerBanned { addr: remote, why });
        let slots: Vec<PeerSlot> = self
            .peers
            .iter()
            .filter(|(_, peer)| session.is_banned(peer.remote))
            .map(|(slot, _)| slot)
            .collect();
        for slot in slots {
            self.drop_peer(session, slot, Ended::Misbehaved);
        }
    }

    /// Closes the connection to a peer.
    pub(super) fn drop_peer(&mut self, session: &mut Session, slot: PeerSlot, why: Ended) {
        if let Some(peer) = self.peers.get(slot) {
            session.close(peer.conn, Close::Abort);
            self.remove_peer(session, slot, why);
        }
    }

    /// The connection to a peer is closed.
    pub(crate) fn peer_closed(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        why: Option<NetError>,
    ) {
        let worked = self.peers.get(slot).is_some_and(Peer::is_open);
        // Out of descriptors is our fault, not the peer's.
        let excused = why == Some(NetError::TooManyOpen);
        let how = if worked || excused { Ended::Normal } else { Ended::Failed };
        self.remove_peer(session, slot, how);
    }

    /// Takes a peer out of the books and gives back everything it held.
    fn remove_peer(&mut self, session: &mut Session, slot: PeerSlot, why: Ended) {
        let Some(mut peer) = self.peers.remove(slot) else { return };
        self.metadata_source_gone(session, &peer);
        if peer.is_open() {
            self.tell_that_peer_left(session, &peer, why == Ended::Useless);
        }
        self.hungry.remove(&slot);
        if let Some(spread) = &mut self.spread {
            spread.take_back(slot, |_| false);
        }
        let released = self.release_requests(slot, &mut peer);
        if peer.counted_as_seed {
            self.picker.remove_seed();
        } else if peer.is_open() {
            self.picker.remove_peer_bitfield(&peer.has);
        }
        let left_a_piece = self.picker.peer_gone(slot.key());
        session.read_ahead -= peer.uploads.held_bytes();
        if let Some(addr) = peer.listens_at {
            self.book.ended(addr, session.now, why);
        }
        if !peer.am_choking {
            self.unchoke_waiting(session);
        }
        if released || left_a_piece {
            self.feed_hungry(session);
        }
        session.queue_connects(self.id);
    }

    /// A connection's timer went off.
    pub(crate) fn peer_timeout(&mut self, session: &mut Session, slot: PeerSlot) {
        let (now, timeouts) = (session.now, session.config.timeouts);
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let conn = peer.conn;
        let (reading, sending) = match session.conns.get(conn) {
            Some(conn) => (conn.is_reading(), conn.in_flight > 0),
            None => (true, false),
        };
        if !peer.is_open() {
            return self.drop_peer(session, slot, Ended::Failed);
        }
        let silent_since =
            if sending { peer.last_heard.min(peer.last_spoke) } else { peer.last_heard };
        if reading && now >= silent_since + timeouts.silence {
            return self.drop_peer(session, slot, Ended::Normal);
        }
        if now >= peer.last_spoke + timeouts.keep_alive && !sending {
            peer.send(Message::KeepAlive);
            peer.last_spoke = now;
            session.ask_send(conn);
        }
        self.mind_late_requests(session, slot, reading);
        let Some(peer) = self.peers.get(slot) else { return };
        let keep_alive_at = peer.last_spoke + timeouts.keep_alive;
        let silent_at = silent_since + timeouts.silence;
        let late_at = peer.pipeline.deadline().unwrap_or(Instant::FAR_FUTURE);
        let at = keep_alive_at.min(silent_at).min(late_at);
        session.set_deadline(conn, at.max(now + AFTER_TIMEOUT));
    }
}
