//! Peer exchange: peers are told whom we are connected to, and tell us (BEP 11); and peers in the same
//! network (BEP 14). Nothing of it for a private torrent ([`Torrent::discovery_allowed`]).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::extension::pex::{PexFlags, PexMessage};
use crate::peer::{Peer, PeerSlot};
use crate::piece::InfoHash;
use crate::session::Session;
use crate::time::{Duration, Instant};
use crate::torrent::Torrent;
use crate::torrent::peer_book::{Added, Ended, PeerSource};
use crate::wire::extension::Extension;
use crate::wire::{Message, Violation};

/// Wait before news is told: those who come at the same time are told of together (chosen).
const GATHER: Duration = Duration::from_secs(1);

impl Torrent {
    /// Whether peers are exchanged.
    pub(super) fn exchanges_peers(&self, session: &Session) -> bool {
        session.config.peer_exchange && self.discovery_allowed()
    }

    /// A peer came or went that others may be told of.
    pub(super) fn tell_peers_soon(&mut self, session: &Session) {
        if self.exchanges_peers(session) {
            self.pex_at.get_or_insert(session.now + GATHER);
        }
    }

    /// A peer is gone that others may have been told of; `useless`: we left it, since neither side
    /// had anything for the other.
    pub(super) fn tell_that_peer_left(&mut self, session: &Session, peer: &Peer, useless: bool) {
        if useless && let Some(addr) = peer.wire.listens_at {
            self.pex_swarm.left(session.now, addr, flags(peer));
        }
        self.tell_peers_soon(session);
    }

    /// When peers are to be told next.
    pub(super) fn pex_due_at(&self) -> Option<Instant> {
        self.pex_at
    }

    /// Tells every peer what is news to it, if it may be told already.
    pub(super) fn tell_peers(&mut self, session: &mut Session) {
        self.pex_at = None;
        if !self.exchanges_peers(session) {
            return;
        }
        let now = session.now;
        self.pex_swarm.connected = self.connected_peers();
        let swarm = &self.pex_swarm;
        for (_, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.is_open()) {
            let Some(id) = peer.wire.extensions.get(Extension::PeerExchange) else { continue };
            // Its own address, so that it is not told of itself.
            let to = peer.wire.listens_at.unwrap_or(peer.wire.remote);
            if let Some(message) = peer.gossip.pex_out.message(now, swarm, to) {
                peer.send(Message::Extended { id, payload: message.encode() });
                session.ask_send(peer.wire.conn);
            }
            if peer.gossip.pex_out.is_behind(now, swarm, to) {
                let at = peer.gossip.pex_out.ready_at().max(now + GATHER);
                self.pex_at = Some(self.pex_at.map_or(at, |soonest| soonest.min(at)));
            }
        }
    }

    /// Where the connected peers can be dialled, as far as that is known.
    fn connected_peers(&self) -> BTreeMap<SocketAddr, PexFlags> {
        let open = self.peers.iter().map(|(_, peer)| peer).filter(|peer| peer.is_open());
        open.filter_map(|peer| Some((peer.wire.listens_at?, flags(peer)))).collect()
    }

    /// A peer tells whom it is connected to.
    pub(super) fn peers_told(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        payload: &[u8],
    ) -> Result<(), Violation> {
        if !self.exchanges_peers(session) {
            return Ok(());
        }
        let Some(peer) = self.peers.get_mut(slot) else { return Ok(()) };
        if !peer.gossip.pex_in.admit(session.now)? {
            return Ok(());
        }
        let message = PexMessage::decode(payload)?;
        let (book, now) = (&mut self.book, session.now);
        peer.gossip.pex_in.take(peer.wire.remote.ip(), &message, |addr, flags| {
            let added = book.add(addr, PeerSource::Pex, now);
            if flags.is_seed() && book.source(addr) == Some(PeerSource::Pex) {
                book.set_seed(addr, true);
            }
            added == Added::New
        });
        session.queue_connects(self.id);
        Ok(())
    }

    /// Whether peers in the same network are told of it, and those heard of are welcome.
    fn looks_for_local_peers(&self) -> bool {
        self.welcomes_peers() && self.discovery_allowed()
    }

    /// Whether they are to be looked for, if that is news.
    pub(crate) fn local_discovery_news(&mut self) -> Option<bool> {
        let looks = self.looks_for_local_peers();
        let is_news = std::mem::replace(&mut self.is_local, looks) != looks;
        (is_news || (looks && self.identity.has_news())).then_some(looks)
    }

    /// A peer in the same network takes part, under this infohash.
    pub(crate) fn local_peer(
        &mut self,
        session: &mut Session,
        infohash: InfoHash,
        peer: SocketAddr,
    ) {
        if self.looks_for_local_peers() {
            self.found_peers(session, infohash, PeerSource::Lsd, &[peer]);
        }
    }

    /// The torrent turned out to be private when its metadata came: whoever was found otherwise
    /// than by trackers and the user is forgotten (BEP 27).
    pub(super) fn leave_discovered_peers(&mut self, session: &mut Session) {
        if self.discovery_allowed() {
            return;
        }
        let found = |peer: &Peer| {
            let source = peer.wire.listens_at.and_then(|addr| self.book.source(addr));
            !peer.wire.incoming && source.is_none_or(PeerSource::is_discovery)
        };
        let strangers: Vec<PeerSlot> =
            self.peers.iter().filter(|(_, peer)| found(peer)).map(|(slot, _)| slot).collect();
        for slot in strangers {
            self.drop_peer(session, slot, Ended::Normal);
        }
        self.leave_dht(session);
        self.book.forget_discovered();
        self.pex_at = None;
    }
}

fn flags(peer: &Peer) -> PexFlags {
    let seed = if peer.is_seed() { PexFlags::SEED } else { 0 };
    let reachable = if peer.wire.incoming { 0 } else { PexFlags::REACHABLE };
    PexFlags(seed | reachable)
}
