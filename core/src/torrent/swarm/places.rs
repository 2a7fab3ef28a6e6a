//! Places of a torrent's peers: how many incoming peers may take, and which peer yields its place to a
//! newcomer (defence 41). Which of several yields, [`who_yields`] decides.

use std::net::IpAddr;

use crate::choke::AddressGroup;
use crate::id::ConnId;
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
        self.peers.len() < most && self.may_have_more_incoming(most, is_finished)
    }

    /// Whether one more incoming peer, in the place of one that we dialled, leaves those enough.
    pub(in crate::torrent) fn may_have_more_incoming(
        &self,
        most: usize,
        is_finished: bool,
    ) -> bool {
        let most_incoming = most - most / KEPT_FOR_DIALLED;
        if self.peers.len() < most_incoming || is_finished {
            return true;
        }
        let incoming = self.peers.iter().filter(|(_, peer)| peer.wire.incoming).count();
        incoming < most_incoming
    }

    /// The peer whose place a newcomer from this address may have. `is_held_up` says of a connection whether
    /// a limit of ours keeps it waiting.
    pub(in crate::torrent) fn yields_to(
        &self,
        now: Instant,
        newcomer: IpAddr,
        is_finished: bool,
        is_held_up: impl Fn(ConnId) -> bool,
    ) -> Option<PeerSlot> {
        let newcomer = AddressGroup::of(newcomer);
        let is_known_idler = self.history.of(newcomer).idled > 0;
        // What is kept for those that we dial is no incoming peer's.
        let may_yield = |peer: &Peer| peer.wire.incoming || is_finished;
        let peers = self.peers.iter().filter(|(_, peer)| may_yield(peer));
        let holders = peers.map(|(key, peer)| {
            let group = AddressGroup::of(peer.wire.remote.ip());
            let stage = match stage(peer, &is_held_up) {
                // It has shown what it does with a slot, and the newcomer has not.
                Stage::Idle(_) if peer.upload.left_idle > 0 && !is_known_idler => {
                    Stage::Idle(Instant::ZERO)
                }
                stage => stage,
            };
            Holder { key, group, stage }
        });
        who_yields(&holders.collect::<Vec<_>>(), newcomer, now)
    }
}

/// How far a peer has come, and since when it does nothing.
fn stage(peer: &Peer, is_held_up: impl Fn(ConnId) -> bool) -> Stage {
    if !peer.is_open() {
        return Stage::Handshake(peer.wire.connected_at);
    }
    let (upload, useful_at) = (&peer.upload, peer.wire.useful_at);
    // Who does not even take our choke does not wait for us, nor who had its turn and took nothing.
    let has_had_turn = upload.idle_since.is_some() || upload.left_idle > 0;
    let for_turn =
        upload.peer_interested && upload.am_choking && !upload.choke_waits && !has_had_turn;
    let is_ours = !upload.uploads.is_ready() || is_held_up(peer.wire.conn);
    let for_blocks = !upload.am_choking && upload.uploads.len() > 0 && is_ours;
    if for_turn || for_blocks {
        return Stage::Waits(useful_at);
    }
    Stage::Idle(useful_at.max(upload.idle_since.unwrap_or(Instant::ZERO)))
}
