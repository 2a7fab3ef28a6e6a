//! Places of a torrent's peers: how many incoming peers may take, and which peer yields its place to a
//! newcomer (defence 41). Which of several yields, [`who_yields`] decides.

use std::net::IpAddr;

use crate::choke::AddressGroup;
use crate::peer::{Peer, PeerSlot};
use crate::places::{Holder, Stage, who_yields};
use crate::time::Instant;
use crate::torrent::swarm::Swarm;

/// Of a download's places, one in so many is kept for peers that we dial (chosen).
const KEPT_FOR_DIALLED: usize = 4;

impl Swarm {
    /// Whether an incoming peer finds a place that no other has, of `most` places. `is_finished`: we
    /// fetch nothing, and so dial none.
    pub(in crate::torrent) fn has_place_for_incoming(
        &self,
        most: usize,
        is_finished: bool,
    ) -> bool {
        let most_incoming = most - most / KEPT_FOR_DIALLED;
        if self.peers.len() < most_incoming || is_finished {
            return self.peers.len() < most;
        }
        let incoming = self.peers.iter().filter(|(_, peer)| peer.wire.incoming).count();
        incoming < most_incoming && self.peers.len() < most
    }

    /// The peer whose place a newcomer from this address may have.
    pub(in crate::torrent) fn yields_to(
        &self,
        now: Instant,
        newcomer: IpAddr,
        is_finished: bool,
    ) -> Option<PeerSlot> {
        // What is kept for those that we dial is no incoming peer's.
        let may_yield = |peer: &Peer| peer.wire.incoming || is_finished;
        let peers = self.peers.iter().filter(|(_, peer)| may_yield(peer));
        let holders = peers.map(|(key, peer)| {
            let group = AddressGroup::of(peer.wire.remote.ip());
            Holder { key, group, stage: stage(peer) }
        });
        who_yields(&holders.collect::<Vec<_>>(), AddressGroup::of(newcomer), now)
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
