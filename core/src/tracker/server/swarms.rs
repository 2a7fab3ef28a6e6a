//! Who is in which swarm, and whom to name to whom.
//!
//! A peer is its address and port. Each swarm keeps its peers in four pools, by family and by
//! whether they are seeds, from which answers are drawn at random; and in the order in which they
//! will expire, which is the order of their last announces. Announcing, expiring and evicting are
//! O(log n), drawing k peers is O(k log k). An empty swarm is forgotten, with its count of
//! downloads.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::ServerConfig;
use crate::http::origin::is_global;
use crate::map::{HashKeys, Map};
use crate::piece::{InfoHash, PeerId};
use crate::random::PolicyRng;
use crate::time::{Duration, Instant};
use crate::tracker::announce::{AnnounceEvent, AnnounceRequest};
use crate::tracker::scrape::ScrapeEntry;

/// Peers named if a request does not say how many (BEP 3 leaves it open; chosen as most trackers).
const DEFAULT_NUMWANT: u32 = 50;

/// All swarms of a tracker.
#[derive(Debug)]
pub(super) struct Swarms {
    config: ServerConfig,
    rng: PolicyRng,
    keys: HashKeys,
    swarms: Map<InfoHash, Swarm>,
    /// Each swarm, by when its first peer expires.
    expiry: BTreeSet<(Instant, InfoHash)>,
    peers: usize,
    announces: u64,
}

/// The answer to an announce.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnnounceReply {
    /// Time to keep between announces.
    pub interval: Duration,
    /// Time not to go below.
    pub min_interval: Duration,
    /// Seeds in the swarm.
    pub complete: u32,
    /// Leeches in the swarm.
    pub incomplete: u32,
    /// How many became seeds in it.
    pub downloaded: u64,
    /// Some of its peers, those of the asker's family first; the asker is not among them.
    pub peers: Vec<ListedPeer>,
}

/// A peer as others are told of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListedPeer {
    /// Where it accepts connections.
    pub addr: SocketAddr,
    /// What it calls itself.
    pub peer_id: PeerId,
}

/// Why an announce is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// The tracker holds as many swarms as it may.
    Full,
}

/// How much a tracker holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Swarms.
    pub swarms: usize,
    /// Peers in them.
    pub peers: usize,
    /// Announces since it began.
    pub announces: u64,
}

#[derive(Debug)]
struct Swarm {
    members: Map<SocketAddr, Member>,
    /// In the order of [`pool_of`].
    pools: [Vec<ListedPeer>; 4],
    by_expiry: BTreeSet<(Instant, SocketAddr)>,
    downloaded: u64,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    expires: Instant,
    pool: Pool,
    /// Where it stands in its pool.
    position: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pool {
    SeedsV4,
    SeedsV6,
    LeechesV4,
    LeechesV6,
}

impl Swarms {
    pub(super) fn new(config: ServerConfig, rng: PolicyRng, keys: HashKeys) -> Self {
        Swarms {
            config,
            rng,
            keys,
            swarms: Map::with_hasher(keys),
            expiry: BTreeSet::new(),
            peers: 0,
            announces: 0,
        }
    }

    pub(super) fn announce(
        &mut self,
        now: Instant,
        from: SocketAddr,
        request: &AnnounceRequest,
    ) -> Result<AnnounceReply, Refusal> {
        self.expire(now);
        self.announces += 1;
        let addr = peer_address(from.ip(), request);
        let stopped = request.event == Some(AnnounceEvent::Stopped);
        if stopped {
            self.remove(request.infohash, addr);
        } else if addr.port() != 0 {
            self.insert(now, addr, request)?;
        }
        let wanted = if stopped { 0 } else { self.numwant(request) };
        Ok(self.reply(addr, request, wanted))
    }

    /// The numbers of a swarm, if it is known.
    pub(super) fn scrape(&self, infohash: InfoHash) -> Option<ScrapeEntry> {
        let swarm = self.swarms.get(&infohash)?;
        Some(ScrapeEntry {
            infohash,
            complete: swarm.seeds() as u64,
            incomplete: swarm.leeches() as u64,
            downloaded: swarm.downloaded,
        })
    }

    /// Forgets the peers that were silent for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.expiry.first().is_some_and(|(at, _)| *at <= now) {
            self.forget_oldest();
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.expiry.first().map(|(at, _)| *at)
    }

    pub(super) fn stats(&self) -> Stats {
        Stats { swarms: self.swarms.len(), peers: self.peers, announces: self.announces }
    }

    fn numwant(&self, request: &AnnounceRequest) -> usize {
        let wanted = request.numwant.unwrap_or(DEFAULT_NUMWANT).min(self.config.max_numwant);
        usize::try_from(wanted).unwrap_or(usize::MAX)
    }

    fn reply(
        &mut self,
        addr: SocketAddr,
        request: &AnnounceRequest,
        wanted: usize,
    ) -> AnnounceReply {
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let swarm = self.swarms.get(&request.infohash);
        AnnounceReply {
            interval: self.config.interval,
            min_interval: self.config.min_interval,
            complete: swarm.map_or(0, |swarm| count(swarm.seeds())),
            incomplete: swarm.map_or(0, |swarm| count(swarm.leeches())),
            downloaded: swarm.map_or(0, |swarm| swarm.downloaded),
            peers: swarm.map_or_else(Vec::new, |swarm| {
                swarm.draw(&mut self.rng, addr, request.left == 0, wanted)
            }),
        }
    }

    fn insert(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        request: &AnnounceRequest,
    ) -> Result<(), Refusal> {
        let infohash = request.infohash;
        let known = self.swarms.contains_key(&infohash);
        if !known && self.swarms.len() >= self.config.max_swarms {
            return Err(Refusal::Full);
        }
        self.make_room(infohash, addr);
        let keys = self.keys;
        let expires = now + self.config.interval * 2;
        let swarm = self.swarms.entry(infohash).or_insert_with(|| Swarm::new(keys));
        let head = swarm.head();
        let before = swarm.members.len();
        swarm.insert(addr, expires, request);
        self.peers = self.peers + swarm.members.len() - before;
        let new_head = swarm.head();
        self.move_head(infohash, head, new_head);
        Ok(())
    }

    /// Sees to it that one more peer is within the bounds.
    fn make_room(&mut self, infohash: InfoHash, addr: SocketAddr) {
        let swarm = self.swarms.get(&infohash);
        if swarm.is_some_and(|swarm| swarm.members.contains_key(&addr)) {
            return;
        }
        let full = swarm.filter(|swarm| swarm.members.len() >= self.config.max_peers_per_swarm);
        match full.and_then(Swarm::head) {
            Some((_, oldest)) => self.remove(infohash, oldest),
            None if self.peers >= self.config.max_peers => self.forget_oldest(),
            None => {}
        }
    }

    /// Forgets the peer that was silent for longest.
    fn forget_oldest(&mut self) {
        let Some((at, infohash)) = self.expiry.first().copied() else { return };
        match self.swarms.get(&infohash).and_then(Swarm::head) {
            Some((_, addr)) => self.remove(infohash, addr),
            // Cannot happen; but this must not go on forever.
            None => {
                debug_assert!(false, "a swarm is listed as expiring that has no peers");
                self.expiry.remove(&(at, infohash));
            }
        }
    }

    fn remove(&mut self, infohash: InfoHash, addr: SocketAddr) {
        let Some(swarm) = self.swarms.get_mut(&infohash) else { return };
        let head = swarm.head();
        if !swarm.remove(addr) {
            return;
        }
        self.peers -= 1;
        let new_head = swarm.head();
        if new_head.is_none() {
            self.swarms.remove(&infohash);
        }
        self.move_head(infohash, head, new_head);
    }

    /// The first peer to expire of a swarm is another one now.
    fn move_head(
        &mut self,
        infohash: InfoHash,
        before: Option<(Instant, SocketAddr)>,
        after: Option<(Instant, SocketAddr)>,
    ) {
        if let Some((at, _)) = before {
            self.expiry.remove(&(at, infohash));
        }
        if let Some((at, _)) = after {
            self.expiry.insert((at, infohash));
        }
    }
}

impl Swarm {
    fn new(keys: HashKeys) -> Self {
        Swarm {
            members: Map::with_hasher(keys),
            pools: Default::default(),
            by_expiry: BTreeSet::new(),
            downloaded: 0,
        }
    }

    /// The first peer to expire, and when.
    fn head(&self) -> Option<(Instant, SocketAddr)> {
        self.by_expiry.first().copied()
    }

    fn seeds(&self) -> usize {
        self.pool(Pool::SeedsV4).len() + self.pool(Pool::SeedsV6).len()
    }

    fn leeches(&self) -> usize {
        self.pool(Pool::LeechesV4).len() + self.pool(Pool::LeechesV6).len()
    }

    fn pool(&self, pool: Pool) -> &[ListedPeer] {
        &self.pools[pool as usize]
    }

    fn insert(&mut self, addr: SocketAddr, expires: Instant, request: &AnnounceRequest) {
        let seed = request.left == 0;
        let was = self.members.get(&addr).map(|member| member.pool);
        let leeched = matches!(was, Some(Pool::LeechesV4 | Pool::LeechesV6));
        if leeched && seed && request.event == Some(AnnounceEvent::Completed) {
            self.downloaded += 1;
        }
        self.remove(addr);
        let pool = pool_of(addr, seed);
        let peers = &mut self.pools[pool as usize];
        self.members.insert(addr, Member { expires, pool, position: peers.len() });
        peers.push(ListedPeer { addr, peer_id: request.peer_id });
        self.by_expiry.insert((expires, addr));
    }

    fn remove(&mut self, addr: SocketAddr) -> bool {
        let Some(Member { expires, pool, position }) = self.members.remove(&addr) else {
            return false;
        };
        self.by_expiry.remove(&(expires, addr));
        let peers = &mut self.pools[pool as usize];
        peers.swap_remove(position);
        if let Some(moved) = peers.get(position)
            && let Some(member) = self.members.get_mut(&moved.addr)
        {
            member.position = position;
        }
        true
    }

    /// Up to `wanted` peers at random, for the one at `asker`: of its family first, and no seeds
    /// for a seed.
    fn draw(
        &self,
        rng: &mut PolicyRng,
        asker: SocketAddr,
        is_seed: bool,
        wanted: usize,
    ) -> Vec<ListedPeer> {
        let v4 = [self.pool(Pool::LeechesV4), self.pool(Pool::SeedsV4)];
        let v6 = [self.pool(Pool::LeechesV6), self.pool(Pool::SeedsV6)];
        let families = if asker.is_ipv4() { [v4, v6] } else { [v6, v4] };
        let mut peers = Vec::new();
        for [leeches, seeds] in families {
            let seeds = if is_seed { &[] } else { seeds };
            let left = wanted - peers.len();
            // One more, in case the asker is among them.
            let drawn = draw_indices(rng, leeches.len() + seeds.len(), left.saturating_add(1));
            let at = |index: usize| leeches.get(index).or_else(|| seeds.get(index - leeches.len()));
            let others = drawn.into_iter().filter_map(at).filter(|peer| peer.addr != asker);
            peers.extend(others.copied().take(left));
        }
        peers
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Full => f.write_str("the tracker is full; try another one"),
        }
    }
}

fn pool_of(addr: SocketAddr, seed: bool) -> Pool {
    match (addr, seed) {
        (SocketAddr::V4(_), true) => Pool::SeedsV4,
        (SocketAddr::V6(_), true) => Pool::SeedsV6,
        (SocketAddr::V4(_), false) => Pool::LeechesV4,
        (SocketAddr::V6(_), false) => Pool::LeechesV6,
    }
}

/// Where the peer accepts connections. Only from a private network is the address taken that it
/// gives: others could name a victim (BEP 7).
fn peer_address(from: IpAddr, request: &AnnounceRequest) -> SocketAddr {
    let from = from.to_canonical();
    let ip = request.ip.filter(|_| !is_global(from)).map_or(from, |ip| ip.to_canonical());
    let possible = !ip.is_unspecified() && !ip.is_multicast();
    SocketAddr::new(if possible { ip } else { from }, request.port)
}

/// `count` different numbers below `len` in no particular order (Floyd's algorithm), or all.
fn draw_indices(rng: &mut PolicyRng, len: usize, count: usize) -> Vec<usize> {
    if count >= len {
        return (0..len).collect();
    }
    let mut seen = BTreeSet::new();
    let mut drawn = Vec::with_capacity(count);
    for last in len - count..len {
        let index = rng.index(last + 1);
        let index = if seen.insert(index) { index } else { last };
        seen.insert(index);
        drawn.push(index);
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SecretRng;
    use quickcheck::quickcheck;

    const HASH: InfoHash = InfoHash([1; 20]);

    fn swarms(config: ServerConfig) -> Swarms {
        let mut rng = SecretRng::from_seed([1; 32]);
        let keys = HashKeys::draw(&mut rng);
        Swarms::new(config, rng.fork_policy(), keys)
    }

    fn request(port: u16, left: u64, event: Option<AnnounceEvent>) -> AnnounceRequest {
        AnnounceRequest {
            infohash: HASH,
            peer_id: PeerId([2; 20]),
            port,
            uploaded: 0,
            downloaded: 0,
            left,
            event,
            numwant: None,
            key: 0,
            tracker_id: None,
            ip: None,
            compact: true,
        }
    }

    fn leech(port: u16) -> AnnounceRequest {
        request(port, 1, None)
    }

    fn seed(port: u16) -> AnnounceRequest {
        request(port, 0, None)
    }

    fn announce(
        swarms: &mut Swarms,
        at: u64,
        ip: &str,
        request: &AnnounceRequest,
    ) -> AnnounceReply {
        let from = SocketAddr::new(ip.parse().unwrap(), 40_000);
        swarms.announce(Instant::from_secs(at), from, request).unwrap()
    }

    fn named(reply: &AnnounceReply) -> Vec<String> {
        let mut peers: Vec<_> = reply.peers.iter().map(|peer| peer.addr.to_string()).collect();
        peers.sort();
        peers
    }

    #[test]
    fn peers_hear_of_each_other_but_not_of_themselves() {
        let mut swarms = swarms(ServerConfig::default());
        assert!(named(&announce(&mut swarms, 0, "1.1.1.1", &leech(1))).is_empty());
        let second = announce(&mut swarms, 0, "1.1.1.2", &leech(2));
        assert_eq!(named(&second), ["1.1.1.1:1"]);
        assert_eq!((second.complete, second.incomplete), (0, 2));
        let first = announce(&mut swarms, 1, "1.1.1.1", &leech(1));
        assert_eq!(named(&first), ["1.1.1.2:2"]);
        assert_eq!(first.interval, Duration::from_secs(1800));
    }

    #[test]
    fn seeds_are_not_named_to_seeds() {
        let mut swarms = swarms(ServerConfig::default());
        announce(&mut swarms, 0, "1.1.1.1", &seed(1));
        announce(&mut swarms, 0, "1.1.1.3", &leech(3));
        let reply = announce(&mut swarms, 0, "1.1.1.2", &seed(2));
        assert_eq!(named(&reply), ["1.1.1.3:3"]);
        let reply = announce(&mut swarms, 0, "1.1.1.3", &leech(3));
        assert_eq!(named(&reply), ["1.1.1.1:1", "1.1.1.2:2"]);
    }

    #[test]
    fn completed_moves_a_leech_to_the_seeds_and_counts_once() {
        let mut swarms = swarms(ServerConfig::default());
        announce(&mut swarms, 0, "1.1.1.1", &leech(1));
        for _ in 0..2 {
            let completed = request(1, 0, Some(AnnounceEvent::Completed));
            let reply = announce(&mut swarms, 1, "1.1.1.1", &completed);
            assert_eq!((reply.complete, reply.incomplete, reply.downloaded), (1, 0, 1));
        }
        let forged = request(9, 0, Some(AnnounceEvent::Completed));
        assert_eq!(announce(&mut swarms, 1, "1.1.1.9", &forged).downloaded, 1);
    }

    #[test]
    fn stopped_removes_the_peer_and_the_empty_swarm() {
        let mut swarms = swarms(ServerConfig::default());
        announce(&mut swarms, 0, "1.1.1.1", &leech(1));
        announce(&mut swarms, 0, "1.1.1.2", &leech(2));
        let stopped = request(1, 1, Some(AnnounceEvent::Stopped));
        let reply = announce(&mut swarms, 1, "1.1.1.1", &stopped);
        assert!(reply.peers.is_empty());
        assert_eq!(reply.incomplete, 1);
        let stopped = request(2, 1, Some(AnnounceEvent::Stopped));
        announce(&mut swarms, 1, "1.1.1.2", &stopped);
        assert_eq!((swarms.stats().swarms, swarms.stats().peers), (0, 0));
        assert_eq!(swarms.poll_timeout(), None);
        announce(&mut swarms, 1, "1.1.1.2", &stopped);
    }

    #[test]
    fn silent_peers_expire_after_two_intervals() {
        let mut swarms = swarms(ServerConfig::default());
        announce(&mut swarms, 0, "1.1.1.1", &leech(1));
        announce(&mut swarms, 100, "1.1.1.2", &leech(2));
        announce(&mut swarms, 200, "1.1.1.1", &leech(1));
        assert_eq!(swarms.poll_timeout(), Some(Instant::from_secs(3700)));
        swarms.expire(Instant::from_secs(3699));
        assert_eq!(swarms.stats().peers, 2);
        swarms.expire(Instant::from_secs(3700));
        assert_eq!(swarms.stats().peers, 1);
        assert_eq!(swarms.poll_timeout(), Some(Instant::from_secs(3800)));
        swarms.expire(Instant::from_secs(3800));
        assert_eq!(swarms.stats().swarms, 0);
    }

    #[test]
    fn full_swarm_forgets_its_oldest_and_a_full_tracker_the_oldest_of_all() {
        let config =
            ServerConfig { max_peers_per_swarm: 2, max_peers: 3, ..ServerConfig::default() };
        let mut swarms = swarms(config);
        let other = AnnounceRequest { infohash: InfoHash([9; 20]), ..leech(7) };
        announce(&mut swarms, 0, "1.1.1.7", &other);
        for port in 1..=3 {
            announce(&mut swarms, port.into(), "1.1.1.1", &leech(port));
        }
        let reply = announce(&mut swarms, 3, "1.1.1.1", &leech(3));
        assert_eq!(named(&reply), ["1.1.1.1:2"]);
        assert_eq!(swarms.stats().peers, 3);
        let third = AnnounceRequest { infohash: InfoHash([8; 20]), ..leech(8) };
        announce(&mut swarms, 4, "1.1.1.8", &third);
        assert_eq!(swarms.stats(), Stats { swarms: 2, peers: 3, announces: 6 });
        assert_eq!(swarms.scrape(InfoHash([9; 20])), None);
    }

    #[test]
    fn swarms_past_the_bound_are_refused_and_known_ones_are_not() {
        let mut swarms = swarms(ServerConfig { max_swarms: 1, ..ServerConfig::default() });
        announce(&mut swarms, 0, "1.1.1.1", &leech(1));
        let other = AnnounceRequest { infohash: InfoHash([9; 20]), ..leech(7) };
        let from = "1.1.1.1:9".parse().unwrap();
        assert_eq!(swarms.announce(Instant::ZERO, from, &other), Err(Refusal::Full));
        announce(&mut swarms, 0, "1.1.1.2", &leech(1));
    }

    #[test]
    fn peer_that_accepts_no_connections_is_answered_but_not_listed() {
        let mut swarms = swarms(ServerConfig::default());
        announce(&mut swarms, 0, "1.1.1.1", &leech(1));
        assert_eq!(named(&announce(&mut swarms, 0, "1.1.1.2", &leech(0))), ["1.1.1.1:1"]);
        assert_eq!(swarms.stats().peers, 1);
    }

    #[test]
    fn ip_parameter_counts_only_from_a_private_network() {
        let mut swarms = swarms(ServerConfig::default());
        let spoofed = AnnounceRequest { ip: Some("8.8.8.8".parse().unwrap()), ..leech(1) };
        announce(&mut swarms, 0, "1.1.1.1", &spoofed);
        announce(&mut swarms, 0, "::ffff:127.0.0.1", &spoofed);
        let bad = AnnounceRequest { ip: Some("0.0.0.0".parse().unwrap()), ..leech(2) };
        announce(&mut swarms, 0, "10.0.0.1", &bad);
        let reply = announce(&mut swarms, 0, "1.1.1.9", &leech(9));
        assert_eq!(named(&reply), ["1.1.1.1:1", "10.0.0.1:2", "8.8.8.8:1"]);
    }

    #[test]
    fn own_family_comes_first_and_numwant_is_kept() {
        let mut swarms = swarms(ServerConfig { max_numwant: 8, ..ServerConfig::default() });
        for port in 1..=5 {
            announce(&mut swarms, 0, "1.1.1.1", &leech(port));
            announce(&mut swarms, 0, "2606:4700::1", &seed(port));
        }
        let want = |numwant| AnnounceRequest { numwant: Some(numwant), ..leech(9) };
        let five = announce(&mut swarms, 0, "2606:4700::9", &want(5));
        assert!(five.peers.len() == 5 && five.peers.iter().all(|peer| peer.addr.is_ipv6()));
        let five = announce(&mut swarms, 0, "1.1.1.9", &want(5));
        assert!(five.peers.len() == 5 && five.peers.iter().all(|peer| peer.addr.is_ipv4()));
        let most = announce(&mut swarms, 0, "1.1.1.9", &want(1_000_000));
        assert_eq!(most.peers.len(), 8);
        assert!(announce(&mut swarms, 0, "1.1.1.9", &want(0)).peers.is_empty());
    }

    #[test]
    fn every_peer_is_named_to_someone() {
        let mut swarms = swarms(ServerConfig { max_numwant: 10, ..ServerConfig::default() });
        for port in 1..=200 {
            announce(&mut swarms, 0, "1.1.1.1", &leech(port));
        }
        let mut heard = BTreeSet::new();
        for _ in 0..200 {
            let reply = announce(&mut swarms, 0, "1.1.1.2", &leech(1));
            assert_eq!(reply.peers.len(), 10);
            heard.extend(reply.peers.iter().map(|peer| peer.addr));
        }
        assert_eq!(heard.len(), 200);
    }

    quickcheck! {
        fn indices_drawn_are_different_and_in_range(len: u8, count: u8) -> bool {
            let (len, count) = (usize::from(len), usize::from(count));
            let drawn = draw_indices(&mut PolicyRng::from_seed([1; 32]), len, count);
            let set: BTreeSet<_> = drawn.iter().copied().collect();
            set.len() == drawn.len() && drawn.len() == count.min(len) && set.iter().all(|i| *i < len)
        }

        /// Against a naive model: a list of (peer, swarm, seed, expiry).
        fn counts_are_those_of_a_naive_model(steps: Vec<(u8, u8, u8, u8)>) -> bool {
            let config = ServerConfig {
                max_swarms: 3, max_peers_per_swarm: 4, max_peers: 8,
                interval: Duration::from_secs(50), ..ServerConfig::default()
            };
            let mut swarms = swarms(config);
            let mut model: Vec<(u16, u8, bool, u64)> = Vec::new();
            let mut now = 0;
            for (port, swarm, kind, wait) in steps {
                now += u64::from(wait % 16);
                let (port, swarm) = (u16::from(port % 6) + 1, swarm % 5);
                let (stopped, is_seed) = (kind % 5 == 0, kind % 2 == 0);
                let event = stopped.then_some(AnnounceEvent::Stopped);
                let infohash = InfoHash([swarm; 20]);
                let asked = AnnounceRequest { infohash, ..request(port, u64::from(!is_seed), event) };
                let from = "1.1.1.1:9".parse().unwrap();
                let result = swarms.announce(Instant::from_secs(now), from, &asked);

                model.retain(|peer| peer.3 > now);
                let mut ids: Vec<u8> = model.iter().map(|peer| peer.1).collect();
                ids.sort_unstable();
                ids.dedup();
                if !stopped && !ids.contains(&swarm) && ids.len() >= 3 {
                    assert_eq!(result, Err(Refusal::Full));
                    continue;
                }
                let known = model.iter().position(|peer| (peer.0, peer.1) == (port, swarm));
                if let Some(known) = known {
                    model.remove(known);
                } else if !stopped {
                    let mut of_swarm = (0..model.len()).filter(|at| model[*at].1 == swarm);
                    let oldest = of_swarm.clone().min_by_key(|at| (model[*at].3, model[*at].0));
                    if of_swarm.by_ref().count() >= 4 {
                        model.remove(oldest.unwrap());
                    } else if model.len() >= 8 {
                        let oldest = (0..model.len())
                            .min_by_key(|at| (model[*at].3, model[*at].1, model[*at].0));
                        model.remove(oldest.unwrap());
                    }
                }
                if !stopped {
                    model.push((port, swarm, is_seed, now + 100));
                }
                let reply = result.unwrap();
                let of_swarm = model.iter().filter(|peer| peer.1 == swarm);
                let seeds = of_swarm.clone().filter(|peer| peer.2).count();
                assert_eq!(reply.complete as usize, seeds);
                assert_eq!(reply.incomplete as usize, of_swarm.count() - seeds);
                assert_eq!(swarms.stats().peers, model.len());
                assert_eq!(swarms.expiry.len(), swarms.swarms.len());
            }
            true
        }
    }
}
