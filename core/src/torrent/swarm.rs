//! Peers come and go: connecting, silence, farewell.

use std::net::SocketAddr;

use crate::action::Close;
use crate::choke::AddressGroup;
use crate::event::NetError;
use crate::id::ConnId;
use crate::notice::TorrentNotice;
use crate::peer::{Peer, PeerSlot, PeerWire, Phase};
use crate::session::Session;
use crate::session::bans::BanReason;
use crate::time::Instant;
use crate::torrent::Torrent;
use crate::torrent::peer_book::{Ended, PeerSource};
use crate::torrent::rare::Rare;
use crate::transport::{AFTER_TIMEOUT, Role};
use crate::wire::handshake::HandshakeDecoder;
use crate::wire::{Message, Violation};

impl Torrent {
    // Connecting.

    /// Peers are welcome from now on.
    pub(super) fn open_for_peers(&mut self, session: &mut Session) {
        if self.life.is_idle() {
            return;
        }
        self.announcing.trackers.start(session.now);
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
        if session.streams.is_full_at(remote.ip()) {
            self.book.ended(remote, session.now, Ended::Busy);
            return true;
        }
        let now = session.now;
        let pieces = self.content.is_some().then(|| self.pieces());
        let id = self.id;
        let config = &session.config;
        let placeholder = crate::id::Id::new(u32::MAX, u32::MAX);
        let wire = PeerWire::new(placeholder, remote, false, Phase::Connecting, pieces, now);
        let peer = Peer::new(wire, pieces, config);
        let before = self.accounts.of(AddressGroup::of(remote.ip()));
        let slot = self.peers.insert(peer.resuming(before));
        let deadline = now + config.timeouts.connect;
        let conn = session.transport().connect(remote, None, Role::Peer(id, slot));
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.wire.conn = conn;
        }
        session.set_deadline(conn, deadline);
        true
    }

    /// A connection we opened is established.
    pub(crate) fn peer_connected(&mut self, session: &mut Session, slot: PeerSlot) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.wire.phase = Phase::Handshaking(HandshakeDecoder::new());
        let conn = peer.wire.conn;
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
        let pieces = self.content.is_some().then(|| self.pieces());
        let phase = Phase::Handshaking(handshake);
        let wire = PeerWire::new(conn, remote, true, phase, pieces, session.now);
        let peer = Peer::new(wire, pieces, &session.config);
        let before = self.accounts.of(AddressGroup::of(remote.ip()));
        let slot = self.peers.insert(peer.resuming(before));
        session.transport().assign(conn, Role::Peer(self.id, slot));
        self.send_handshake(session, slot);
        Some(slot)
    }

    /// A peer that neither side has wanted anything of for a while: its place is better used by
    /// somebody new.
    fn useless_peer(&self, session: &Session) -> Option<PeerSlot> {
        let patience = session.config.timeouts.useless;
        let is_useless = |peer: &Peer| {
            !peer.download.am_interested
                && !peer.upload.peer_interested
                && session.now - peer.wire.connected_at >= patience
        };
        let useless = self.peers.iter().find(|(_, peer)| is_useless(peer)).map(|(slot, _)| slot);
        useless.or_else(|| self.peers.keys().find(|slot| self.gives_way(*slot)))
    }

    // Waste.

    /// Whether a peer has sent more that nobody asked for than is borne of it.
    pub(super) fn wastes_too_much(&self, slot: PeerSlot) -> bool {
        let Some(waste) = self.peers.get(slot).map(Peer::waste) else { return false };
        waste.is_too_much(true) || (waste.is_too_much(false) && self.has_other_source(slot))
    }

    /// Whether a peer wastes what it sends, and others would send the same.
    pub(super) fn gives_way(&self, slot: PeerSlot) -> bool {
        let is_wasteful = self.peers.get(slot).is_some_and(|peer| peer.waste().is_wasteful());
        is_wasteful && self.has_other_source(slot)
    }

    /// Whether what we want could be had without this peer, of one that is not wasteful.
    fn has_other_source(&self, slot: PeerSlot) -> bool {
        let is_other = |(other, peer): (PeerSlot, &Peer)| {
            other != slot && peer.is_source() && !peer.waste().is_wasteful()
        };
        self.peers.iter().any(is_other)
    }

    /// The user names peers.
    pub(crate) fn add_user_peers(&mut self, session: &mut Session, peers: &[SocketAddr]) {
        for &peer in peers {
            self.book.add(peer, PeerSource::User, session.now);
        }
        session.queue_connects(self.id);
    }

    // Farewell.

    /// A peer broke the protocol.
    pub(super) fn violated(&mut self, session: &mut Session, slot: PeerSlot, violation: Violation) {
        let how = match violation {
            Violation::UnrequestedBlock(_) => Ended::Wasteful,
            _ => Ended::Misbehaved,
        };
        self.drop_peer(session, slot, how);
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
            .filter(|(_, peer)| session.is_banned(peer.wire.remote))
            .map(|(slot, _)| slot)
            .collect();
        for slot in slots {
            self.drop_peer(session, slot, Ended::Misbehaved);
        }
    }

    /// Bans a connected peer.
    pub(super) fn ban_peer(&mut self, session: &mut Session, slot: PeerSlot, why: BanReason) {
        if let Some(remote) = self.peers.get(slot).map(|peer| peer.wire.remote) {
            self.ban(session, remote, why);
        }
    }

    /// Closes the connection to a peer.
    pub(super) fn drop_peer(&mut self, session: &mut Session, slot: PeerSlot, why: Ended) {
        if let Some(peer) = self.peers.get(slot) {
            session.close(peer.wire.conn, Close::Abort);
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
        let how = match why {
            _ if worked => Ended::Normal,
            // Out of descriptors is our fault, not the peer's.
            Some(NetError::TooManyOpen) => Ended::Normal,
            Some(NetError::Unreachable | NetError::AddrNotAvailable) => Ended::Unreachable,
            _ => Ended::Failed,
        };
        self.remove_peer(session, slot, how);
    }

    /// Takes a peer out of the books and gives back everything it held.
    fn remove_peer(&mut self, session: &mut Session, slot: PeerSlot, why: Ended) {
        let Some(mut peer) = self.peers.remove(slot) else { return };
        self.acquisition.source_gone(slot, peer.wire.remote);
        match self.acquisition.layers {
            Some(_) => self.poll_acquisition(session),
            None => self.ask_peers(session),
        }
        self.leaf_reader_gone(slot);
        self.download.leaf_source_gone(slot.into());
        self.resolve_suspects(session);
        self.try_other_infohash(&peer);
        if self.peers.is_empty() {
            self.hash_trees = Rare::default();
        }
        if peer.is_open() {
            self.tell_that_peer_left(session, &peer, why == Ended::Useless);
        }
        if let Some(spread) = &mut self.spread {
            spread.take_back(slot, |_| false);
        }
        let was_open = peer.is_open();
        let free = self.download.source_gone(slot.into(), &mut peer.download, was_open);
        session.read_ahead -= peer.upload.uploads.ready_bytes();
        if let Some(addr) = peer.wire.listens_at {
            self.book.ended(addr, session.now, why);
        }
        self.book.recall_busy(peer.wire.remote.ip(), session.now);
        let is_alone = || !self.peers.iter().any(|(_, peer)| peer.is_source());
        if self.book.has_wasteful() && why != Ended::Wasteful && is_alone() {
            self.book.recall_wasteful(session.now);
        }
        self.accounts.add(AddressGroup::of(peer.wire.remote.ip()), peer.account());
        if !peer.upload.am_choking {
            self.unchoke_waiting(session);
        }
        if free {
            self.fill_pipelines(session, None);
        }
        session.queue_connects(self.id);
    }

    /// A connection's timer went off.
    pub(crate) fn peer_timeout(&mut self, session: &mut Session, slot: PeerSlot) {
        let (now, timeouts) = (session.now, session.config.timeouts);
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let conn = peer.wire.conn;
        let (reading, sending) =
            (session.streams.is_reading(conn), session.streams.is_sending(conn));
        if !peer.is_open() {
            return self.drop_peer(session, slot, Ended::Failed);
        }
        let silent_since = if sending {
            peer.wire.last_heard.min(peer.wire.last_spoke)
        } else {
            peer.wire.last_heard
        };
        if reading && now >= silent_since + timeouts.silence {
            return self.drop_peer(session, slot, Ended::Normal);
        }
        if now >= peer.wire.last_spoke + timeouts.keep_alive && !sending {
            peer.send(Message::KeepAlive);
            peer.wire.last_spoke = now;
            session.ask_send(conn);
        }
        self.handle_late_requests(session, slot, reading);
        let Some(peer) = self.peers.get(slot) else { return };
        let keep_alive_at = peer.wire.last_spoke + timeouts.keep_alive;
        let silent_at = silent_since + timeouts.silence;
        let late_at = peer.download.pipeline.deadline().unwrap_or(Instant::FAR_FUTURE);
        let at = keep_alive_at.min(silent_at).min(late_at);
        session.set_deadline(conn, at.max(now + AFTER_TIMEOUT));
    }
}
