//! Peer exchange (BEP 11): peers are told which others we are connected to, and tell us.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::encryption::Encryption;
use crate::extension::pex::{PexFlags, PexMessage, PexSwarm};
use crate::id::{ConnId, Slab};
use crate::peer::{Peer, PeerSlot};
use crate::peer_source::PeerSource;
use crate::time::{Duration, Instant};
use crate::torrent::swarm::peer_list::{Added, PeerList};
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
    /// When peers are to be told next.
    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// A peer came or went that others may be told of.
    pub(super) fn send_soon(&mut self, now: Instant) {
        self.at.get_or_insert(now + GATHER);
    }

    /// No peer is told of others any more.
    pub(super) fn stop(&mut self) {
        self.at = None;
    }

    /// We left a peer, since neither side had anything for the other: others may have use for it.
    pub(super) fn left_useless(&mut self, now: Instant, peer: &Peer) {
        if let Some(addr) = peer.wire.listens_at {
            self.swarm.left(now, addr, flags(peer));
        }
    }

    /// Queues for every peer what is news to it, if it may be told already. `sends` is told the
    /// connections.
    pub(super) fn send(
        &mut self,
        now: Instant,
        peers: &mut Slab<PeerSlot, Peer>,
        mut sends: impl FnMut(ConnId),
    ) {
        self.at = None;
        self.swarm.connected = dialable(peers);
        let swarm = &self.swarm;
        for (_, peer) in peers.iter_mut().filter(|(_, peer)| peer.is_open()) {
            let Some(id) = peer.wire.extensions.get(Extension::PeerExchange) else { continue };
            // Its own address, so that it is not told of itself.
            let to = peer.wire.listens_at.unwrap_or(peer.wire.remote);
            if let Some(message) = peer.gossip.pex_out.message(now, swarm, to) {
                peer.send(Message::Extended { id, payload: message.encode() });
                sends(peer.wire.conn);
            }
            if peer.gossip.pex_out.is_behind(now, swarm, to) {
                let at = peer.gossip.pex_out.ready_at().max(now + GATHER);
                self.at = Some(self.at.map_or(at, |soonest| soonest.min(at)));
            }
        }
    }
}

/// A peer tells which others it is connected to; whether it may tell now. `may_name` is asked for the share of
/// its address, for each that is new.
pub(super) fn handle(
    now: Instant,
    peer: &mut Peer,
    addresses: &mut PeerList,
    payload: &[u8],
    mut may_name: impl FnMut(IpAddr) -> bool,
) -> Result<bool, Violation> {
    if !peer.gossip.pex_in.admit(now)? {
        return Ok(false);
    }
    let message = PexMessage::decode(payload)?;
    let by = peer.wire.remote.ip();
    peer.gossip.pex_in.take(by, &message, |addr, flags| {
        if addresses.source(addr).is_none() && !may_name(by) {
            return false;
        }
        let added = addresses.add(addr, PeerSource::Pex, now);
        if flags.is_seed() && addresses.source(addr) == Some(PeerSource::Pex) {
            addresses.set_seed(addr, true);
        }
        if flags.prefers_encryption()
            && let Some(known) = addresses.encryption(addr)
        {
            known.is_said_to_prefer();
        }
        added == Added::New
    });
    Ok(true)
}

/// Where the connected peers can be dialled, as far as that is known.
fn dialable(peers: &Slab<PeerSlot, Peer>) -> BTreeMap<SocketAddr, PexFlags> {
    let open = peers.iter().map(|(_, peer)| peer).filter(|peer| peer.is_open());
    open.filter_map(|peer| Some((peer.wire.listens_at?, flags(peer)))).collect()
}

fn flags(peer: &Peer) -> PexFlags {
    let seed = if peer.is_seed() { PexFlags::SEED } else { 0 };
    let reachable = if peer.wire.incoming { 0 } else { PexFlags::REACHABLE };
    // Who dials with it or says so prefers it.
    let dials_with_it = peer.wire.incoming && peer.encryption != Encryption::None;
    let prefers = dials_with_it || peer.prefers_encryption;
    let encryption = if prefers { PexFlags::ENCRYPTION } else { 0 };
    PexFlags(seed | reachable | encryption)
}
