//! A torrent makes itself known, and hears of peers: by trackers, by the DHT, by names.
//!
//! When and to whom is decided by [`Trackers`] and [`DhtLookups`]; here the numbers are filled in, and
//! answers become known peers and notices.

pub(super) mod dht;
pub(super) mod trackers;

use std::net::{IpAddr, SocketAddr};

use crate::dht::{Announce, DhtRequest, DhtRequestId, DhtResult, NodeId};
use crate::event::ResolveError;
use crate::family::Family;
use crate::notice::TorrentNotice;
use crate::peer_source::PeerSource;
use crate::piece::{BLOCK_LEN, InfoHash};
use crate::random::PolicyRng;
use crate::reach::{Namer, may_dial, may_name};
use crate::session::Session;
use crate::session::asks::Ask;
use crate::session::op::{NamedPeer, OpOwner};
use crate::time::Instant;
use crate::torrent::Torrent;
use crate::torrent::announcing::dht::{DhtLookups, nodes_to_meet};
use crate::torrent::announcing::trackers::{Answer, Trackers, names_to_look_up};
use crate::torrent::swarm::peer_list::Added;
use crate::tracker::AnnounceRequest;
use crate::tracker::announce_job::{AnnounceJob, AnnounceResult};
use crate::tracker::list::TrackerKey;

/// Where a torrent is made known.
#[derive(Debug)]
pub(super) struct Announcing {
    pub(super) trackers: Trackers,
    pub(super) dht: DhtLookups,
}

impl Announcing {
    /// Nowhere yet.
    pub(super) fn new(rng: PolicyRng) -> Self {
        Announcing { trackers: Trackers::new(rng), dht: DhtLookups::default() }
    }
}

impl Torrent {
    // Trackers.

    /// Leaves trackers and the DHT, until it is active again.
    pub(super) fn stop_announcing(&mut self, session: &mut Session) {
        if self.announcing.trackers.stop(session.now) {
            session.asks.push(self.id, Ask::EndAnnounces);
        }
        self.leave_dht(session);
    }

    /// When the next announce is due. None is before it is known where peers reach us.
    pub(super) fn announce_due_at(&self, session: &Session) -> Option<Instant> {
        session.sockets.are_listeners_known().then(|| self.announcing.trackers.due_at())?
    }

    /// The next announce that is due.
    pub(crate) fn next_announce(&mut self, session: &mut Session) -> Option<AnnounceJob> {
        if let Some(second) = self.announcing.trackers.take_second() {
            return Some(second);
        }
        self.announce_due_at(session).filter(|&at| at <= session.now)?;
        let standing = trackers::Standing {
            fetches: self.is_downloading() || self.is_fetching_metadata(),
            peers: self.swarm.peers.len(),
            is_partial_seed: self.is_partial_seed(),
            families: session.sockets.families(),
            other: self.identity.other(),
        };
        let totals = self.traffic.totals();
        let (content, have) = (&self.content, self.download.picker.have());
        self.announcing.trackers.next(session.now, standing, |announce| AnnounceRequest {
            infohash: self.identity.primary(),
            peer_id: session.own.peer_id,
            port: session.sockets.listen_port(announce.family).unwrap_or(0),
            uploaded: totals.uploaded,
            downloaded: totals.downloaded,
            // Not known, but not 0: that would be a seed.
            left: content.as_ref().map_or(BLOCK_LEN.into(), |content| content.bytes_missing(have)),
            event: None,
            numwant: None,
            key: session.own.announce_key,
            tracker_id: None,
            ip: None,
            compact: true,
        })
    }

    /// An announce, with either infohash, is on its way to this tracker.
    pub(crate) fn announce_sent(&mut self, tracker: TrackerKey) {
        self.announcing.trackers.sent(tracker);
    }

    /// A tracker answered, or did not. What it says of the other infohash brings peers and changes
    /// nothing else.
    pub(crate) fn announced(
        &mut self,
        session: &mut Session,
        tracker: TrackerKey,
        infohash: InfoHash,
        result: AnnounceResult,
    ) {
        if infohash != self.identity.primary() {
            if let Ok(answer) = result {
                let tracker_ip = answer.answered_by;
                self.found_peers(session, infohash, PeerSource::Tracker, &answer.peers);
                self.look_up_listed_peers(session, infohash, answer.named_peers, tracker_ip);
            }
            return;
        }
        let answered = self.announcing.trackers.answered(session.now, tracker, &result);
        match (answered, result) {
            (Answer::Late, _) => return,
            (Answer::Heard { url }, Ok(answer)) => {
                let tracker_ip = answer.answered_by;
                self.swarm.addresses.recall_unreachable(session.now);
                self.found_peers(session, infohash, PeerSource::Tracker, &answer.peers);
                if let Some(ip) = answer.external_ip {
                    self.learn_address(session, ip);
                }
                let peers = answer.peers.len() + answer.named_peers.len();
                self.look_up_listed_peers(session, infohash, answer.named_peers, tracker_ip);
                let warning = answer.warning;
                session.notify(self.id, TorrentNotice::TrackerAnswered { url, peers, warning });
            }
            (Answer::Failed { url, why }, _) => {
                session.notify(self.id, TorrentNotice::TrackerFailed { url, why });
            }
            (Answer::Heard { .. } | Answer::OtherFamilyLeft, _) => {}
        }
        self.end_if_idle(session);
    }

    /// A tracker told us our address as it sees it: canonical priorities depend on it (BEP 40).
    pub(crate) fn learn_address(&mut self, session: &mut Session, ip: IpAddr) {
        if session.own.learn_address(ip) {
            session.notify(self.id, TorrentNotice::ExternalAddress { ip });
        }
        let ours = session.own.external().map(|ip| {
            let port = session.sockets.listen_port(Family::of(ip)).unwrap_or(0);
            SocketAddr::new(ip, port)
        });
        let ours: Vec<SocketAddr> = ours.collect();
        self.swarm.addresses.set_external(&ours);
    }

    // Peers that are found.

    /// Peers were found that know the torrent by this infohash.
    pub(super) fn found_peers(
        &mut self,
        session: &mut Session,
        infohash: InfoHash,
        source: PeerSource,
        peers: &[SocketAddr],
    ) {
        let of_v2 = self.identity.is_hybrid() && self.identity.is_v2(infohash);
        for &peer in peers {
            // A peer that knows both is dialled with that of v1, and tells (BEP 52, "upgrade path").
            if self.swarm.addresses.add(peer, source, session.now) == Added::New {
                self.swarm.addresses.set_of_v2(peer, of_v2);
            }
        }
        session.queues.push_connects(self.id);
    }

    /// A peer is given by its name and port: by a magnet link (`x.pe`), or by a tracker that lists it
    /// (BEP 3). Every address of the name is a peer.
    pub(super) fn look_up_peer(
        &self,
        session: &mut Session,
        (source, namer): (PeerSource, Namer),
        infohash: InfoHash,
        (host, port): (&str, u16),
    ) {
        let peer = NamedPeer { port, source, namer, infohash };
        session.resolve(OpOwner::Peer(self.id, peer), host);
    }

    fn look_up_listed_peers(
        &mut self,
        session: &mut Session,
        infohash: InfoHash,
        names: Vec<(String, u16)>,
        tracker: Option<IpAddr>,
    ) {
        if !self.welcomes_peers() {
            return;
        }
        let by = (PeerSource::Tracker, tracker.map_or(Namer::Torrent, Namer::Tracker));
        for (host, port) in names_to_look_up(names, &mut self.policy) {
            self.look_up_peer(session, by, infohash, (&host, port));
        }
    }

    /// A peer's name was looked up.
    pub(crate) fn peer_resolved(
        &mut self,
        session: &mut Session,
        peer: NamedPeer,
        result: Result<Vec<IpAddr>, ResolveError>,
    ) {
        let NamedPeer { port, source, namer, infohash } = peer;
        let addrs = result.unwrap_or_default().into_iter().filter(|ip| may_name(*ip, namer));
        let peers: Vec<SocketAddr> = addrs.map(|ip| SocketAddr::new(ip, port)).collect();
        self.found_peers(session, infohash, source, &peers);
    }

    // The DHT.

    /// Has the nodes met that the metainfo names (BEP 5, "torrent file extensions").
    pub(super) fn meet_named_nodes(&mut self, session: &mut Session) {
        if let Some(content) = self.content.as_ref().filter(|_| self.discovery_allowed()) {
            let nodes = nodes_to_meet(content.metainfo.nodes(), &mut self.policy);
            for node in nodes {
                session.asks.push(self.id, Ask::LookUpNode(Box::new(node)));
            }
        }
    }

    /// A peer says that it has a node (BEP 5, `port` message).
    pub(super) fn peer_has_node(&self, session: &mut Session, remote: SocketAddr, port: u16) {
        let addr = SocketAddr::new(remote.ip(), port);
        if self.discovery_allowed() && may_dial(addr, Namer::Itself) {
            session.asks.push(self.id, Ask::MeetNode(Box::new(addr)));
        }
    }

    /// The port to tell a peer who has a node too.
    pub(super) fn told_dht_port(&self, session: &Session, remote: SocketAddr) -> Option<u16> {
        let port = session.sockets.listen_port(Family::of(remote.ip()));
        port.filter(|_| self.tells_dht_port(session))
    }

    /// Whether peers are told that we have a node.
    pub(super) fn tells_dht_port(&self, session: &Session) -> bool {
        session.dht.is_announced
            && self.discovery_allowed()
            && session.sockets.any_listen_port().is_some()
    }

    /// When it is to be looked for again.
    pub(super) fn dht_due_at(&self, session: &Session) -> Option<Instant> {
        let usable = session.dht.ready && self.discovery_allowed() && self.welcomes_peers();
        if usable { self.announcing.dht.due_at(session.now, session.dht.growth) } else { None }
    }

    /// What to look for, if that is due.
    pub(crate) fn next_dht_request(&mut self, session: &Session) -> Option<DhtRequest> {
        self.dht_due_at(session).filter(|at| *at <= session.now)?;
        // Who wants nothing more looks for nobody who does not either; but it is no seed.
        let (done, seed) = (self.is_finished(), self.has_everything());
        // Where the families have different ports, each is that of our datagrams there.
        let port = session.sockets.any_listen_port().filter(|_| session.sockets.has_one_port());
        Some(DhtRequest::Peers {
            infohash: NodeId::from(self.looked_for()),
            no_seeds: done,
            announce: Some(Announce { port, seed }),
            enough: None,
        })
    }

    /// By which infohash it is looked for.
    fn looked_for(&self) -> InfoHash {
        let other = self.identity.other().filter(|_| self.announcing.dht.is_second());
        other.unwrap_or(self.identity.primary())
    }

    /// The lookup is under way; or it is not, since there are too many.
    pub(crate) fn dht_requested(&mut self, session: &Session, request: Option<DhtRequestId>) {
        self.announcing.dht.began(session.now, session.dht.growth, request);
    }

    /// The DHT knows peers.
    pub(crate) fn dht_peers(&mut self, session: &mut Session, peers: &[SocketAddr]) {
        self.announcing.dht.found(peers.len());
        self.found_peers(session, self.looked_for(), PeerSource::Dht, peers);
    }

    /// The lookup is done.
    pub(crate) fn dht_done(&mut self, session: &mut Session, result: &DhtResult) {
        let standing = dht::Standing {
            is_hybrid: self.identity.other().is_some(),
            peers: self.swarm.peers.len(),
            is_finished: self.is_finished(),
        };
        let (now, rng) = (session.now, &mut self.policy);
        if let Some(found) = self.announcing.dht.done(now, result.stored, standing, rng) {
            let dht::Found { peers, stored } = found;
            session.notify(self.id, TorrentNotice::DhtAnswered { peers, stored });
        }
    }

    /// It is not to be looked for any more, until it is active again.
    pub(super) fn leave_dht(&mut self, session: &mut Session) {
        if let Some(request) = self.announcing.dht.leave() {
            session.asks.push(self.id, Ask::EndRequest(request));
        }
    }
}
