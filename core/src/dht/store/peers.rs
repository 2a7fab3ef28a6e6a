//! The peers that others have announced here (BEP 5, BEP 33, BEP 51).
//!
//! A peer is an IP address with one port and whether it is a seed; on loopback, where all share
//! an address, the port belongs to its name. Bounded in swarms, in peers of a swarm, in all and by
//! address. Past a bound, the group of addresses that has most entries, in all or in the swarm that is full,
//! yields to one that has fewer ([`Entries`], defence 41); else an announce is refused. All is O(log n), but
//! for what is counted once when a swarm becomes full.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::bloom::Bloom;
use crate::dht::group::{group_of, host};
use crate::dht::node_id::NodeId;
use crate::places::Entries;
use crate::random::SecretRng;
use crate::time::{Duration, Instant};

/// Most swarms kept (chosen).
pub const MAX_SWARMS: usize = 5000;
/// Most peers kept of a swarm (chosen; BEP 33 wants fewer than 6,000).
pub const MAX_PEERS_OF_SWARM: usize = 2000;
/// Most peers kept in all (chosen: some 10 MB).
pub const MAX_PEERS: usize = 50_000;
/// Most swarms that one address is kept in (chosen).
pub const MAX_SWARMS_OF_ADDRESS: usize = 300;
/// How long a peer is kept unless it announces again (chosen: clients do so every 15 minutes).
const LIFETIME: Duration = Duration::from_secs(45 * 60);
/// Who has not announced for so long yields in a full swarm (chosen: clients do so every 15 minutes).
const PATIENCE: Duration = Duration::from_secs(20 * 60);
/// Entries that yield to one announce at most (chosen).
const MOST_YIELDING: usize = 64;
/// How long filters are used that count peers which have gone since (chosen).
const FILTERS_LAST: Duration = Duration::from_secs(60);
/// How long the same infohashes are given out (BEP 51: up to six hours).
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Infohashes given out at once (chosen: with contacts they fit one datagram).
const SAMPLE_LEN: usize = 20;

/// What others have announced.
#[derive(Debug, Default)]
pub struct PeerStore {
    swarms: BTreeMap<NodeId, StoredSwarm>,
    expiry: BTreeSet<(Instant, NodeId, SocketAddr)>,
    entries: Entries<(NodeId, SocketAddr)>,
    samples: Vec<NodeId>,
    sampled_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct StoredSwarm {
    peers: BTreeMap<SocketAddr, Peer>,
    /// Whose the peers are, from when the swarm is full until it is half empty.
    entries: Option<Box<Entries<SocketAddr>>>,
    filters: Option<(Instant, Box<(Bloom, Bloom)>)>,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    port: u16,
    seed: bool,
    expires_at: Instant,
}

impl PeerStore {
    /// How many peers there are in all swarms.
    pub fn len(&self) -> usize {
        self.expiry.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.expiry.is_empty()
    }

    /// How many swarms there are.
    pub fn swarms(&self) -> usize {
        self.swarms.len()
    }

    /// Whether an announce would be taken; if not, no token is to be given (BEP 33).
    pub fn has_room(&self, now: Instant, infohash: &NodeId, addr: SocketAddr) -> bool {
        // BEP 33: "sets of unique IPs".
        let key = host(addr);
        let swarm = self.swarms.get(infohash);
        if swarm.is_some_and(|swarm| swarm.peers.contains_key(&key)) {
            return true;
        }
        let is_within = self.len() < MAX_PEERS
            && match swarm {
                Some(swarm) => swarm.peers.len() < MAX_PEERS_OF_SWARM,
                None => self.swarms.len() < MAX_SWARMS,
            };
        let has_few = self.entries.len_of(group_of(key)) < MAX_SWARMS_OF_ADDRESS;
        has_few && (is_within || self.who_yields(now, infohash, key).is_some())
    }

    /// The entry that yields to one of this address in this swarm.
    fn who_yields(
        &self,
        now: Instant,
        infohash: &NodeId,
        newcomer: SocketAddr,
    ) -> Option<(NodeId, SocketAddr)> {
        match self.swarms.get(infohash) {
            Some(swarm) if swarm.peers.len() >= MAX_PEERS_OF_SWARM => {
                let entries = swarm.entries.as_ref()?;
                let yields = entries.who_yields(group_of(newcomer), now, PATIENCE);
                yields.map(|addr| (*infohash, addr))
            }
            _ => self.entries.who_yields(group_of(newcomer), now, PATIENCE),
        }
    }

    /// Sees to it that there is room for one more, if somebody yields.
    fn make_room(&mut self, now: Instant, infohash: &NodeId, newcomer: SocketAddr) -> bool {
        let is_new = !self.swarms.contains_key(infohash);
        for _ in 0..MOST_YIELDING {
            let of_swarm = self.swarms.get(infohash).map_or(0, |swarm| swarm.peers.len());
            let is_full = self.len() >= MAX_PEERS
                || of_swarm >= MAX_PEERS_OF_SWARM
                || is_new && self.swarms.len() >= MAX_SWARMS;
            if !is_full {
                return true;
            }
            let Some((infohash, addr)) = self.who_yields(now, infohash, newcomer) else {
                return false;
            };
            self.remove(infohash, addr);
        }
        false
    }

    /// A peer announces itself. Whether it is kept.
    pub fn announce(
        &mut self,
        now: Instant,
        infohash: NodeId,
        addr: SocketAddr,
        seed: bool,
    ) -> bool {
        self.expire(now);
        // BEP 33: "sets of unique IPs".
        let key = host(addr);
        if !self.has_room(now, &infohash, addr) {
            return false;
        }
        let known = self.swarms.get(&infohash).is_some_and(|swarm| swarm.peers.contains_key(&key));
        if known {
            self.remove(infohash, key);
        } else if !self.make_room(now, &infohash, key) {
            return false;
        }
        let expires_at = now + LIFETIME;
        let swarm = self.swarms.entry(infohash).or_default();
        let peer = Peer { port: addr.port(), seed, expires_at };
        swarm.insert(key, peer);
        self.expiry.insert((expires_at, infohash, key));
        self.entries.insert(group_of(key), now, (infohash, key));
        if let Some((_, filters)) = &mut swarm.filters {
            let filter = if seed { &mut filters.0 } else { &mut filters.1 };
            filter.insert(addr.ip());
        }
        true
    }

    /// Up to `most` peers of a swarm in one address family, a different lot each time.
    pub fn peers(
        &self,
        infohash: &NodeId,
        v6: bool,
        no_seeds: bool,
        most: usize,
        rng: &mut SecretRng,
    ) -> Vec<SocketAddr> {
        let Some(swarm) = self.swarms.get(infohash) else { return Vec::new() };
        let first = |ip: IpAddr| SocketAddr::new(ip, 0);
        let (low, high, from) = if v6 {
            let from = Ipv6Addr::from(rng.bytes::<16>());
            (first(Ipv6Addr::UNSPECIFIED.into()), None, first(from.into()))
        } else {
            let from = Ipv4Addr::from(rng.bytes::<4>());
            let end = first(Ipv6Addr::UNSPECIFIED.into());
            (first(Ipv4Addr::UNSPECIFIED.into()), Some(end), first(from.into()))
        };
        let until = |addr: &SocketAddr| high.is_none_or(|high| *addr < high);
        let rest = swarm.peers.range(from..).take_while(|(addr, _)| until(addr));
        let start = swarm.peers.range(low..from);
        rest.chain(start)
            .filter(|(_, peer)| !(no_seeds && peer.seed))
            .map(|(addr, peer)| SocketAddr::new(addr.ip(), peer.port))
            .take(most)
            .collect()
    }

    /// Filters with the seeds and with the other peers of a swarm (BEP 33).
    pub fn filters(&mut self, now: Instant, infohash: &NodeId) -> Option<Box<(Bloom, Bloom)>> {
        let swarm = self.swarms.get_mut(infohash)?;
        if let Some((made_at, filters)) = &swarm.filters
            && now < *made_at + FILTERS_LAST
        {
            return Some(filters.clone());
        }
        let mut filters = Box::<(Bloom, Bloom)>::default();
        for (addr, peer) in &swarm.peers {
            let filter = if peer.seed { &mut filters.0 } else { &mut filters.1 };
            filter.insert(addr.ip());
        }
        swarm.filters = Some((now, filters.clone()));
        Some(filters)
    }

    /// Some infohashes, and how many there are; others after [`SAMPLE_INTERVAL`].
    pub fn samples(&mut self, now: Instant, rng: &mut SecretRng) -> (&[NodeId], usize) {
        if self.sampled_at.is_none_or(|at| now >= at + SAMPLE_INTERVAL) {
            self.sampled_at = Some(now);
            let from = NodeId::random(rng);
            let all = self.swarms.range(from..).chain(self.swarms.range(..from));
            self.samples = all.map(|(infohash, _)| *infohash).take(SAMPLE_LEN).collect();
        }
        (&self.samples, self.swarms.len())
    }

    /// Forgets what has expired.
    pub fn expire(&mut self, now: Instant) {
        while let Some(&(at, infohash, key)) = self.expiry.first()
            && at <= now
        {
            self.remove(infohash, key);
            self.expiry.remove(&(at, infohash, key));
        }
    }

    fn remove(&mut self, infohash: NodeId, key: SocketAddr) {
        let Some(swarm) = self.swarms.get_mut(&infohash) else { return };
        let Some(peer) = swarm.remove(key) else { return };
        if swarm.peers.is_empty() {
            self.swarms.remove(&infohash);
        }
        self.expiry.remove(&(peer.expires_at, infohash, key));
        self.entries.remove(group_of(key), peer.announced_at(), (infohash, key));
    }
}

impl StoredSwarm {
    fn insert(&mut self, key: SocketAddr, peer: Peer) {
        self.peers.insert(key, peer);
        match &mut self.entries {
            Some(entries) => entries.insert(group_of(key), peer.announced_at(), key),
            None if self.peers.len() >= MAX_PEERS_OF_SWARM => {
                let entries = self.entries.insert(Box::default());
                for (&key, peer) in &self.peers {
                    entries.insert(group_of(key), peer.announced_at(), key);
                }
            }
            None => {}
        }
    }

    fn remove(&mut self, key: SocketAddr) -> Option<Peer> {
        let peer = self.peers.remove(&key)?;
        if self.peers.len() < MAX_PEERS_OF_SWARM / 2 {
            self.entries = None;
        }
        if let Some(entries) = &mut self.entries {
            entries.remove(group_of(key), peer.announced_at(), key);
        }
        Some(peer)
    }
}

impl Peer {
    fn announced_at(&self) -> Instant {
        self.expires_at.saturating_sub(LIFETIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWARM: NodeId = NodeId([1; 20]);

    fn secs(secs: u64) -> Instant {
        Instant::from_secs(secs)
    }

    fn addr(n: u32) -> SocketAddr {
        SocketAddr::from(((0x3000_0000 + n).to_be_bytes(), 1000))
    }

    fn swarm(n: usize) -> NodeId {
        let mut id = [0; 20];
        id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        NodeId(id)
    }

    fn rng() -> SecretRng {
        SecretRng::from_seed([1; 32])
    }

    #[test]
    fn a_peer_is_kept_once_with_what_it_said_last() {
        let mut store = PeerStore::default();
        assert!(store.announce(secs(0), SWARM, addr(1), false));
        let moved = SocketAddr::new(addr(1).ip(), 7);
        assert!(store.announce(secs(1), SWARM, moved, true));
        assert_eq!(store.peers(&SWARM, false, false, 50, &mut rng()), [moved]);
        assert_eq!(store.peers(&SWARM, false, true, 50, &mut rng()), [], "it is a seed");
        assert_eq!(store.peers(&SWARM, true, false, 50, &mut rng()), [], "of the other family");
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        store.announce(secs(1), SWARM, local(1), false);
        store.announce(secs(1), SWARM, local(2), false);
        assert_eq!(store.len(), 3, "ports tell loopback peers apart");
    }

    #[test]
    fn a_peer_that_is_not_heard_of_again_is_forgotten() {
        let mut store = PeerStore::default();
        store.announce(secs(0), SWARM, addr(1), false);
        store.announce(secs(60), SWARM, addr(2), false);
        store.expire(secs(45 * 60));
        assert_eq!(store.peers(&SWARM, false, false, 50, &mut rng()), [addr(2)]);
        store.expire(secs(46 * 60));
        assert!(store.is_empty() && store.swarms() == 0 && store.entries.is_empty());
    }

    #[test]
    fn every_bound_holds() {
        let mut store = PeerStore::default();
        let taken = (0..3000).filter(|n| store.announce(secs(0), SWARM, addr(*n), false)).count();
        assert_eq!(taken, MAX_PEERS_OF_SWARM);
        let taken =
            (2..1000).filter(|n| store.announce(secs(0), swarm(*n), addr(1), false)).count();
        assert_eq!(taken, MAX_SWARMS_OF_ADDRESS - 1);
        for n in 0..20_000 {
            let other = addr(10_000 + n as u32 / 200);
            store.announce(secs(0), swarm(n), other, false);
        }
        assert_eq!(store.swarms(), MAX_SWARMS);
        assert!(store.has_room(secs(0), &swarm(99_999), addr(5)), "others have more");
        assert!(!store.has_room(secs(0), &swarm(99_999), addr(10_000)), "it has most");
        assert!(!store.has_room(secs(0), &SWARM, addr(5000)), "all have announced just now");
        assert!(store.has_room(secs(1200), &SWARM, addr(5000)));
        assert!(store.has_room(secs(0), &SWARM, addr(5)), "it is there already");
        assert!(store.len() <= MAX_PEERS);
    }

    #[test]
    fn few_addresses_that_fill_the_store_keep_nobody_out() {
        let mut store = PeerStore::default();
        // Each in as many swarms as it may, pairs of them in the same.
        for n in 0..2 * MAX_SWARMS {
            let by = addr(20_000 + (n / 300) as u32);
            store.announce(secs(0), swarm(n / 2), by, false);
        }
        for n in 0..200 {
            assert!(store.announce(secs(1), swarm(90_000 + n), addr(n as u32), false), "{n}");
        }
        let kept = (0..200).filter(|n| store.swarms.contains_key(&swarm(90_000 + n)));
        assert_eq!(kept.count(), 200);
        assert!(store.swarms() <= MAX_SWARMS);
        assert_eq!(store.entries.len(), store.expiry.len());
    }

    #[test]
    fn few_addresses_that_fill_a_swarm_keep_nobody_out() {
        let mut store = PeerStore::default();
        let crowd = |n: u128| {
            let ip = Ipv6Addr::from_bits((0x2a00 << 112) | ((n % 8) << 64) | n);
            SocketAddr::new(ip.into(), 1000)
        };
        let most = MAX_PEERS_OF_SWARM as u128;
        let taken = (0..most + 100).filter(|n| store.announce(secs(0), SWARM, crowd(*n), false));
        assert_eq!(taken.count(), MAX_PEERS_OF_SWARM, "eight networks");
        for n in 0..300 {
            assert!(store.announce(secs(1), SWARM, addr(n), false), "{n}");
        }
        let held =
            |store: &PeerStore| store.swarms.get(&SWARM).map_or(0, |swarm| swarm.peers.len());
        assert_eq!(held(&store), MAX_PEERS_OF_SWARM);
        let kept = store.peers(&SWARM, false, false, 1000, &mut rng());
        assert_eq!(kept.len(), 300, "no newcomer yields to the crowd");
        assert!(!store.announce(secs(2), SWARM, crowd(most + 1), false));
        store.expire(secs(46 * 60));
        assert!(store.is_empty() && store.entries.is_empty());
    }

    #[test]
    fn a_large_swarm_shows_different_peers_each_time() {
        let mut store = PeerStore::default();
        let mut rng = rng();
        for _ in 0..500 {
            let ip = Ipv4Addr::from(rng.bytes::<4>());
            store.announce(secs(0), SWARM, SocketAddr::new(ip.into(), 5), false);
        }
        let one = store.peers(&SWARM, false, false, 50, &mut rng);
        let two = store.peers(&SWARM, false, false, 50, &mut rng);
        assert_eq!((one.len(), two.len()), (50, 50));
        assert_ne!(one, two);
    }

    #[test]
    fn filters_tell_seeds_from_others_and_follow_announces() {
        let mut store = PeerStore::default();
        assert_eq!(store.filters(secs(0), &SWARM), None);
        (0..40).for_each(|n| assert!(store.announce(secs(0), SWARM, addr(n), n % 4 == 0)));
        let counts = |store: &mut PeerStore, now| {
            let filters = store.filters(now, &SWARM).unwrap();
            (filters.0.estimate().round(), filters.1.estimate().round())
        };
        assert_eq!(counts(&mut store, secs(1)), (10.0, 30.0));
        store.announce(secs(2), SWARM, addr(99), true);
        assert_eq!(counts(&mut store, secs(2)), (11.0, 30.0));
        store.announce(secs(3), SWARM, addr(99), false);
        assert_eq!(counts(&mut store, secs(62)), (10.0, 31.0), "made anew after a minute");
    }

    #[test]
    fn samples_stay_the_same_for_their_interval() {
        let mut store = PeerStore::default();
        let mut rng = rng();
        let announce = |store: &mut PeerStore, n: usize| {
            store.announce(secs(0), NodeId([n as u8; 20]), addr(n as u32), false)
        };
        (0..5).for_each(|n| assert!(announce(&mut store, n)));
        assert_eq!(store.samples(secs(0), &mut rng).0.len(), 5);
        (0..200).for_each(|n| assert!(announce(&mut store, n)));
        let (samples, all) = store.samples(secs(599), &mut rng);
        assert_eq!((samples.len(), all), (5, 200));
        assert_eq!(store.samples(secs(600), &mut rng).0.len(), SAMPLE_LEN);
    }
}
