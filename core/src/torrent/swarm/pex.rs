//! Peer exchange (BEP 11): peers are told which others we are connected to, and tell us.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::extension::pex::{PexFlags, PexMessage, PexSwarm};
use crate::id::ConnId;
use crate::peer::{Peer, PeerSlot};
use crate::time::{Duration, Instant};
use crate::torrent::peer_book::{Added, PeerSource};
use crate::torrent::swarm::Swarm;
use crate::wire::extension::Extension;
use crate::wire::{Message, Violation};

/// Wait before news is sent: peers that come at the same time are told of together (chosen).
const GATHER: Duration = Duration::from_secs(1);

/// What is news to peers.
#[derive(Debug, Default)]
pub(super) struct Pex {
    /// When peers are told of each other next, if there is news.
    at: Option<Instant>,
    swarm: PexSwarm,
}

impl Pex {
    /// Nothing is told any more.
    pub(super) fn stop(&mut self) {
        self.at = None;
    }
}

impl Swarm {
    /// When peers are to be told next.
    pub(in crate::torrent) fn pex_at(&self) -> Option<Instant> {
        self.pex.at
    }

    /// A peer came or went that others may be told of.
    pub(in crate::torrent) fn send_pex_soon(&mut self, now: Instant) {
        self.pex.at.get_or_insert(now + GATHER);
    }

    /// We left a peer, since neither side had anything for the other: others may have use for it.
    pub(in crate::torrent) fn left_useless(&mut self, now: Instant, peer: &Peer) {
        if let Some(addr) = peer.wire.listens_at {
            self.pex.swarm.left(now, addr, flags(peer));
        }
    }

    /// Queues for every peer what is news to it, if it may be told already; nothing at all unless
    /// `exchanges`. `sends` is told the connections.
    pub(in crate::torrent) fn send_pex(
        &mut self,
        now: Instant,
        exchanges: bool,
        mut sends: impl FnMut(ConnId),
    ) {
        self.pex.at = None;
        if !exchanges {
            return;
        }
        self.pex.swarm.connected = self.dialable_peers();
        let swarm = &self.pex.swarm;
        for (_, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.is_open()) {
            let Some(id) = peer.wire.extensions.get(Extension::PeerExchange) else { continue };
            // Its own address, so that it is not told of itself.
            let to = peer.wire.listens_at.unwrap_or(peer.wire.remote);
            if let Some(message) = peer.gossip.pex_out.message(now, swarm, to) {
                peer.send(Message::Extended { id, payload: message.encode() });
                sends(peer.wire.conn);
            }
            if peer.gossip.pex_out.is_behind(now, swarm, to) {
                let at = peer.gossip.pex_out.ready_at().max(now + GATHER);
                self.pex.at = Some(self.pex.at.map_or(at, |soonest| soonest.min(at)));
            }
        }
    }

    /// Where the connected peers can be dialled, as far as that is known.
    fn dialable_peers(&self) -> BTreeMap<SocketAddr, PexFlags> {
        let open = self.peers.iter().map(|(_, peer)| peer).filter(|peer| peer.is_open());
        open.filter_map(|peer| Some((peer.wire.listens_at?, flags(peer)))).collect()
    }

    /// A peer tells which others it is connected to; whether it may tell now.
    pub(in crate::torrent) fn handle_pex(
        &mut self,
        now: Instant,
        slot: PeerSlot,
        payload: &[u8],
    ) -> Result<bool, Violation> {
        let Some(peer) = self.peers.get_mut(slot) else { return Ok(false) };
        if !peer.gossip.pex_in.admit(now)? {
            return Ok(false);
        }
        let message = PexMessage::decode(payload)?;
        let book = &mut self.book;
        peer.gossip.pex_in.take(peer.wire.remote.ip(), &message, |addr, flags| {
            let added = book.add(addr, PeerSource::Pex, now);
            if flags.is_seed() && book.source(addr) == Some(PeerSource::Pex) {
                book.set_seed(addr, true);
            }
            added == Added::New
        });
        Ok(true)
    }
}

fn flags(peer: &Peer) -> PexFlags {
    let seed = if peer.is_seed() { PexFlags::SEED } else { 0 };
    let reachable = if peer.wire.incoming { 0 } else { PexFlags::REACHABLE };
    PexFlags(seed | reachable)
}
