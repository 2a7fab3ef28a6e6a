//! Peers that are given by a name: by a magnet link (`x.pe`), or by a tracker that lists them (BEP 3).
//! Each name is looked up, and every address of it is a peer.

use std::net::{IpAddr, SocketAddr};

use crate::event::ResolveError;
use crate::piece::InfoHash;
use crate::session::Session;
use crate::session::op::{NamedPeer, OpOwner};
use crate::torrent::Torrent;
use crate::torrent::peer_book::PeerSource;

/// Names of one tracker's answer that are looked up (chosen: names are rare, and a hostile tracker
/// must not have us ask for thousands). Of more, each time others.
const NAMES_OF_ANSWER: usize = 32;

impl Torrent {
    /// A peer is given by its name and port.
    pub(super) fn look_up_peer(
        &self,
        session: &mut Session,
        source: PeerSource,
        infohash: InfoHash,
        (host, port): (&str, u16),
    ) {
        let peer = NamedPeer { port, source, infohash };
        session.resolve(OpOwner::Peer(self.id, peer), host);
    }

    /// A tracker lists peers by their names.
    pub(super) fn look_up_listed_peers(
        &mut self,
        session: &mut Session,
        infohash: InfoHash,
        mut names: Vec<(String, u16)>,
    ) {
        if !self.welcomes_peers() {
            return;
        }
        self.policy.shuffle(&mut names);
        for (host, port) in names.iter().take(NAMES_OF_ANSWER) {
            self.look_up_peer(session, PeerSource::Tracker, infohash, (host, *port));
        }
    }

    /// A peer's name was looked up.
    pub(crate) fn peer_resolved(
        &mut self,
        session: &mut Session,
        peer: NamedPeer,
        result: Result<Vec<IpAddr>, ResolveError>,
    ) {
        let NamedPeer { port, source, infohash } = peer;
        let addrs = result.unwrap_or_default().into_iter();
        let peers: Vec<SocketAddr> = addrs.map(|ip| SocketAddr::new(ip, port)).collect();
        self.found_peers(session, infohash, source, &peers);
    }
}
