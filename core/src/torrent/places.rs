//! Places of a torrent's peers: who yields one to a newcomer, and how many incoming peers may take
//! (defence 41). Who of several yields is [`who_yields`]'s to decide.

use std::net::IpAddr;

use crate::choke::AddressGroup;
use crate::peer::{Peer, PeerSlot};
use crate::places::{Holder, Stage, who_yields};
use crate::session::Session;
use crate::time::Instant;
use crate::torrent::Torrent;

/// Of a download's places, one in so many is kept for peers that we dial (chosen).
const KEPT_FOR_DIALLED: usize = 4;

impl Torrent {
    /// Whether an incoming peer finds a place that nobody has.
    pub(super) fn has_place_for_incoming(&self, session: &Session) -> bool {
        let most = session.config.connections.torrent;
        let most_incoming = most - most / KEPT_FOR_DIALLED;
        if self.swarm.peers.len() < most_incoming || self.is_finished() {
            return self.swarm.peers.len() < most;
        }
        let incoming = self.swarm.peers.iter().filter(|(_, peer)| peer.wire.incoming).count();
        incoming < most_incoming && self.swarm.peers.len() < most
    }

    /// The peer whose place a newcomer from this address may have.
    pub(super) fn who_yields(&self, session: &Session, newcomer: IpAddr) -> Option<PeerSlot> {
        // What is kept for those that we dial is no incoming peer's.
        let keeps_some = !self.is_finished();
        let peers = self.swarm.peers.iter().filter(|(_, peer)| peer.wire.incoming || !keeps_some);
        let holders = peers.map(|(key, peer)| {
            let group = AddressGroup::of(peer.wire.remote.ip());
            Holder { key, group, stage: stage(peer) }
        });
        who_yields(&holders.collect::<Vec<_>>(), AddressGroup::of(newcomer), session.now)
    }
}

/// How far a peer has come, and since when it does nothing.
fn stage(peer: &Peer) -> Stage {
    if !peer.is_open() {
        return Stage::Handshake(peer.wire.connected_at);
    }
    let useful_at = peer.wire.useful_at;
    let unchoked_at = peer.upload.unchoked_at.unwrap_or(Instant::ZERO);
    if peer.upload.peer_interested && peer.upload.am_choking && unchoked_at <= useful_at {
        return Stage::Waits(useful_at);
    }
    Stage::Idle(useful_at.max(unchoked_at))
}
