//! One torrent and the DHT: when its peers are looked for there, and what is found.
//!
//! It is looked for and announced when it starts, then every quarter of an hour, sooner while it
//! has few peers, and when the network grows from very small; a hybrid by one infohash and then by
//! the other (BEP 52). Private torrents are kept out of it by [`Torrent::discovery_allowed`], which
//! everything that concerns the DHT asks.

use std::net::SocketAddr;

use crate::dht::{Announce, NodeId, Outcome, Wish, WishId};
use crate::family::Family;
use crate::notice::TorrentNotice;
use crate::piece::InfoHash;
use crate::session::Session;
use crate::time::{Duration, Instant};
use crate::torrent::Torrent;
use crate::torrent::peer_book::PeerSource;

/// Between two announces (BEP 5: nodes forget peers; others announce as often).
const INTERVAL: Duration = Duration::from_secs(15 * 60);
/// First wait while there are few peers; doubled each time (chosen).
const FIRST_RETRY: Duration = Duration::from_secs(15);
/// With fewer peers than this a torrent looks again early (chosen).
const FEW_PEERS: usize = 5;
/// Wait when too much is looked for already (chosen).
const BUSY_WAIT: Duration = Duration::from_secs(60);
/// Wait after a lookup when the network has grown (chosen).
const GROWN_WAIT: Duration = Duration::from_secs(2);

/// What a torrent remembers of its lookups.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DhtLookups {
    wish: Option<WishId>,
    /// Whether the present lookup, or the next, is that of a hybrid's other infohash.
    is_second: bool,
    /// When the last one ended; `None`: there was none since it started.
    last_at: Option<Instant>,
    wait: Duration,
    tries: u32,
    /// How large the network was at the last one.
    growth: usize,
    /// Peers that the present one has found, with that of the other infohash.
    found: usize,
    /// Nodes that the first of the two was stored at.
    stored: usize,
}

impl Torrent {
    /// Has the nodes met that the metainfo names (BEP 5, "torrent file extensions").
    pub(super) fn meet_named_nodes(&mut self, session: &mut Session) {
        if self.discovery_allowed() {
            let named = self.metainfo().into_iter().flat_map(|metainfo| metainfo.nodes());
            let mut named: Vec<_> = named.cloned().collect();
            // Of too many, each time others.
            self.policy.shuffle(&mut named);
            session.dht.hosts.extend(named.into_iter().take(NAMED_NODES));
        }
    }

    /// A peer says that it has a node (BEP 5, `port` message).
    pub(super) fn peer_has_node(&self, session: &mut Session, remote: SocketAddr, port: u16) {
        if self.discovery_allowed() && port != 0 {
            session.dht.met.push(SocketAddr::new(remote.ip(), port));
        }
    }

    /// The port to tell a peer who has a node too.
    pub(super) fn told_dht_port(&self, session: &Session, remote: SocketAddr) -> Option<u16> {
        let port = session.listen_port(Family::of(remote.ip()));
        port.filter(|_| self.tells_dht_port(session))
    }

    /// Whether peers are told that we have a node.
    pub(super) fn tells_dht_port(&self, session: &Session) -> bool {
        session.dht.told && self.discovery_allowed() && session.any_listen_port().is_some()
    }

    /// When it is to be looked for again.
    pub(super) fn dht_due_at(&self, session: &Session) -> Option<Instant> {
        let usable = session.dht.ready && self.discovery_allowed() && self.welcomes_peers();
        if !usable || self.dht.wish.is_some() {
            return None;
        }
        let Some(last_at) = self.dht.last_at else { return Some(session.now) };
        if self.dht.is_second {
            return Some(last_at);
        }
        let has_grown = session.dht.growth > self.dht.growth;
        Some(last_at + if has_grown { GROWN_WAIT.min(self.dht.wait) } else { self.dht.wait })
    }

    /// What to look for, if that is due.
    pub(crate) fn next_dht_wish(&mut self, session: &Session) -> Option<Wish> {
        self.dht_due_at(session).filter(|at| *at <= session.now)?;
        // Who wants nothing more looks for nobody who does not either; but it is no seed.
        let (done, seed) = (self.is_finished(), self.has_everything());
        // Where the families have different ports, each is that of our datagrams there.
        let port = session.any_listen_port().filter(|_| session.has_one_port());
        Some(Wish::Peers {
            infohash: NodeId::from(self.looked_for()),
            no_seeds: done,
            announce: Some(Announce { port, seed }),
            enough: None,
        })
    }

    /// By which infohash it is looked for.
    fn looked_for(&self) -> InfoHash {
        let other = self.identity.other().filter(|_| self.dht.is_second);
        other.unwrap_or(self.identity.primary())
    }

    /// The lookup is under way; or it is not, since there are too many.
    pub(crate) fn dht_wished(&mut self, session: &Session, wish: Option<WishId>) {
        self.dht.growth = session.dht.growth;
        self.dht.wish = wish;
        if !self.dht.is_second {
            self.dht.found = 0;
        }
        if wish.is_none() {
            self.dht.is_second = false;
            self.dht.last_at = Some(session.now);
            self.dht.wait = BUSY_WAIT;
        }
    }

    /// The DHT knows peers.
    pub(crate) fn dht_peers(&mut self, session: &mut Session, peers: &[SocketAddr]) {
        self.dht.found += peers.len();
        self.found_peers(session, self.looked_for(), PeerSource::Dht, peers);
    }

    /// The lookup is done.
    pub(crate) fn dht_done(&mut self, session: &mut Session, outcome: &Outcome) {
        if self.dht.wish.take().is_none() {
            return;
        }
        let is_first = !std::mem::take(&mut self.dht.is_second);
        if is_first && self.identity.other().is_some() {
            self.dht.is_second = true;
            self.dht.stored = outcome.stored;
            self.dht.last_at = Some(session.now);
            return;
        }
        let few = self.peers.len() < FEW_PEERS;
        self.dht.wait = match few && !self.is_finished() {
            true => (FIRST_RETRY * 2_u32.saturating_pow(self.dht.tries.min(10))).min(INTERVAL),
            false => INTERVAL,
        };
        self.dht.tries = if few { self.dht.tries.saturating_add(1) } else { 0 };
        // Up to an eighth more: torrents that started together do not stay together.
        let jitter = self.policy.below(128);
        self.dht.wait += self.dht.wait * u32::try_from(jitter).unwrap_or(0) / 1024;
        self.dht.last_at = Some(session.now);
        let (peers, stored) = (self.dht.found, self.dht.stored + outcome.stored);
        self.dht.stored = 0;
        session.notify(self.id, TorrentNotice::DhtAnswered { peers, stored });
    }

    /// It is not to be looked for any more, until it is active again.
    pub(super) fn leave_dht(&mut self, session: &mut Session) {
        session.dht.forgotten.extend(self.dht.wish);
        self.dht = DhtLookups::default();
    }
}

/// Nodes that are met, at random, of those that a metainfo names (chosen: it names 8 or so).
const NAMED_NODES: usize = 64;
