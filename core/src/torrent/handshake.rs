//! Handshakes: the first bytes of a connection (BEP 3), and the extension handshake after them
//! (BEP 10).
//!
//! A hybrid torrent has two infohashes (BEP 52, "upgrade path"). We dial with that of v1 and say
//! that we know v2 as well; whoever is dialled answers with that of v2 if both know it. Peers that
//! are known to be in the swarm of v2 are dialled with its infohash; whoever hangs up on one is tried
//! with the other, since a magnet link may have told it no more than that.

use std::net::SocketAddr;

use crate::family::Family;
use crate::peer::{PeerSlot, Phase};
use crate::session::Session;
use crate::torrent::Torrent;
use crate::torrent::swarm::Ended;
use crate::wire::extension::{Extension, ExtensionHandshake, ExtensionIds};
use crate::wire::handshake::{Handshake, Reserved};
use crate::wire::{Message, Violation};

/// What we offer.
const OURS: Reserved = Reserved::NONE.with_fast().with_extension();

impl Torrent {
    /// Says who we are, to a peer whose first bytes, if it dialled us, are known.
    pub(super) fn send_handshake(&mut self, session: &mut Session, slot: PeerSlot) {
        let mut reserved = OURS;
        if self.tells_dht_port(session) {
            reserved = reserved.with_dht();
        }
        if self.identity.offers_v2(self.content.is_some()) {
            reserved = reserved.with_v2();
        }
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
        let head = match &peer.wire.phase {
            Phase::Handshaking(theirs) => theirs.head(),
            _ => None,
        };
        let by_v2 = match head {
            Some((theirs, infohash)) => theirs.v2() || self.identity.is_v2(infohash),
            None => self.swarm.addresses.is_of_v2(peer.wire.remote),
        };
        let infohash = self.identity.for_handshake(by_v2);
        peer.wire.of_v2 = self.identity.is_v2(infohash);
        let handshake = Handshake { reserved, infohash, peer_id: session.own.peer_id };
        peer.wire.outbox.put(&handshake.encode());
        session.transport().ask_send(peer.wire.conn);
    }

    /// A peer's handshake is complete; whether the connection goes on.
    pub(super) fn shake_hands(
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
        peer.wire.phase = Phase::Open;
        peer.wire.of_v2 |= of_v2;
        peer.wire.id = Some(theirs.peer_id);
        let both = theirs.reserved.both(OURS);
        peer.wire.fast = both.fast();
        peer.wire.extended = both.extension();
        self.download.source_here(&peer.download);
        self.swarm.opened(slot, now);
        self.tell_pieces(slot);
        self.tell_extensions(session, slot);
        if theirs.reserved.dht()
            && let Some(port) = self.told_dht_port(session, remote)
            && let Some(peer) = self.swarm.peers.get_mut(slot)
        {
            peer.send(Message::Port(port));
        }
        let deadline = now + session.config.timeouts.keep_alive;
        session.transport().set_deadline(conn, deadline);
        true
    }

    /// The first message after the handshake says what we have (BEP 3, BEP 6).
    fn tell_pieces(&mut self, slot: PeerSlot) {
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
        let have = self.download.picker.have();
        if self.content.is_none() {
            if peer.wire.fast {
                peer.send(Message::HaveNone);
            }
        } else if peer.wire.fast && have.is_all() {
            peer.send(Message::HaveAll);
        } else if peer.wire.fast && have.is_none() {
            peer.send(Message::HaveNone);
        } else if !have.is_none() {
            peer.send(Message::bitfield(have));
        }
    }

    pub(super) fn tell_extensions(&mut self, session: &Session, slot: PeerSlot) {
        let (upload_only, ids) = (self.is_finished(), self.our_extensions(session));
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

    pub(super) fn extended(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        payload: &[u8],
    ) -> Result<(), Violation> {
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return Ok(()) };
        let theirs = ExtensionHandshake::decode(payload)?;
        peer.wire.extensions.update(&theirs.ids);
        if let Some(most) = theirs.max_requests {
            peer.download.pipeline.set_reqq(most as usize);
        }
        if theirs.client.is_some() {
            peer.wire.client = theirs.client;
        }
        peer.wire.upload_only = theirs.upload_only.unwrap_or(peer.wire.upload_only);
        if peer.wire.incoming
            && let Some(port) = theirs.port
        {
            // Now it is known where this peer can be reached by others and after a break.
            let addr = SocketAddr::new(peer.wire.remote.ip(), port);
            peer.wire.listens_at = Some(addr);
            self.swarm.addresses.connected(addr, session.now);
        }
        peer.gossip.has_metadata |= theirs.metadata_size.is_some();
        self.metadata_offered(session, slot, theirs.metadata_size);
        self.layers_offered(session, slot);
        self.send_pex_soon(session);
        self.part_if_both_seed(session, slot);
        Ok(())
    }
}
