//! Who is in which swarm, and whom to name to whom.
//!
//! A peer is its address and port; a host that announces with one peer id and key from an address of
//! each family counts once, and is not named to itself (BEP 7, `hosts`). Each swarm keeps its peers in four pools, by family and by
//! whether they are seeds, from which answers are drawn at random; and in the order in which they
//! will expire, which is the order of their last announces. Announcing, expiring and evicting are
//! O(log n), drawing k peers is O(k log k). An empty swarm is forgotten, with its count of
//! downloads. Who yields when there are too many: `room`.

mod room;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::config::ServerConfig;
use super::heard::HeardAnnounce;
use super::hosts::{HostId, Hosts};
use super::reply::{AnnounceReply, ListedPeer, Refusal};
use crate::family::Family;
use crate::http::origin::is_global;
use crate::map::{HashKeys, Map};
use crate::piece::InfoHash;
use crate::random::PolicyRng;
use crate::time::Instant;
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
    swarms: Map<InfoHash, ServedSwarm>,
    /// All of them in no particular order, to draw some at random.
    order: Vec<InfoHash>,
    /// Each swarm, by when its first peer expires.
    expiry: BTreeSet<(Instant, InfoHash)>,
    peers: usize,
    announces: u64,
    /// The announces since they were asked for, if they are noted.
    log: Option<Vec<HeardAnnounce>>,
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
struct ServedSwarm {
    members: Map<SocketAddr, Member>,
    /// In the order of [`pool_of`].
    pools: [Vec<PoolPeer>; 4],
    hosts: Hosts,
    by_expiry: BTreeSet<(Instant, SocketAddr)>,
    downloaded: u64,
    /// Where it stands in [`Swarms::order`].
    position: usize,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    expires: Instant,
    pool: Pool,
    /// Where it stands in its pool.
    position: usize,
}

/// A peer as a pool has it.
#[derive(Clone, Copy, Debug)]
struct PoolPeer {
    listed: ListedPeer,
    key: u32,
}

impl PoolPeer {
    fn host(&self) -> Option<HostId> {
        HostId::of(self.listed.peer_id, self.key)
    }
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
            order: Vec::new(),
            expiry: BTreeSet::new(),
            peers: 0,
            announces: 0,
            log: None,
        }
    }

    pub(super) fn set_log(&mut self, on: bool) {
        self.log = on.then(Vec::new);
    }

    pub(super) fn take_log(&mut self) -> Vec<HeardAnnounce> {
        self.log.as_mut().map(std::mem::take).unwrap_or_default()
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
        let answer = self.admit(now, addr, request);
        if let Some(log) = &mut self.log {
            log.push(HeardAnnounce::new(addr, request, &answer));
        }
        answer
    }

    fn admit(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        request: &AnnounceRequest,
    ) -> Result<AnnounceReply, Refusal> {
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
            complete: swarm.hosts.seeds() as u64,
            incomplete: swarm.hosts.leeches() as u64,
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
            complete: swarm.map_or(0, |swarm| count(swarm.hosts.seeds())),
            incomplete: swarm.map_or(0, |swarm| count(swarm.hosts.leeches())),
            downloaded: swarm.map_or(0, |swarm| swarm.downloaded),
            peers: swarm
                .map_or_else(Vec::new, |swarm| swarm.draw(&mut self.rng, addr, request, wanted)),
        }
    }

    fn insert(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        request: &AnnounceRequest,
    ) -> Result<(), Refusal> {
        let infohash = request.infohash;
        if !self.swarms.contains_key(&infohash) && !self.make_room_for_swarm(addr) {
            return Err(Refusal::Full);
        }
        self.make_room(infohash, addr);
        let (keys, order) = (self.keys, &mut self.order);
        let expires = now + self.config.interval * 2;
        let swarm = self.swarms.entry(infohash).or_insert_with(|| {
            order.push(infohash);
            ServedSwarm::new(keys, order.len() - 1)
        });
        let head = swarm.head();
        let before = swarm.members.len();
        swarm.insert(addr, expires, request);
        self.peers = self.peers + swarm.members.len() - before;
        let new_head = swarm.head();
        self.move_head(infohash, head, new_head);
        Ok(())
    }

    /// Forgets the peer that was silent for longest.
    fn forget_oldest(&mut self) {
        let Some((at, infohash)) = self.expiry.first().copied() else { return };
        match self.swarms.get(&infohash).and_then(ServedSwarm::head) {
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
            self.remove_empty(infohash);
        }
        self.move_head(infohash, head, new_head);
    }

    fn remove_empty(&mut self, infohash: InfoHash) {
        let Some(ServedSwarm { position, .. }) = self.swarms.remove(&infohash) else { return };
        self.order.swap_remove(position);
        if let Some(moved) = self.order.get(position)
            && let Some(swarm) = self.swarms.get_mut(moved)
        {
            swarm.position = position;
        }
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

impl ServedSwarm {
    fn new(keys: HashKeys, position: usize) -> Self {
        ServedSwarm {
            members: Map::with_hasher(keys),
            pools: Default::default(),
            hosts: Hosts::new(keys),
            by_expiry: BTreeSet::new(),
            downloaded: 0,
            position,
        }
    }

    /// The first peer to expire, and when.
    fn head(&self) -> Option<(Instant, SocketAddr)> {
        self.by_expiry.first().copied()
    }

    fn pool(&self, pool: Pool) -> &[PoolPeer] {
        &self.pools[pool as usize]
    }

    fn insert(&mut self, addr: SocketAddr, expires: Instant, request: &AnnounceRequest) {
        let seed = request.left == 0;
        let was = self.members.get(&addr).map(|member| member.pool);
        let leeched = matches!(was, Some(Pool::LeechesV4 | Pool::LeechesV6));
        self.remove(addr);
        let peer =
            PoolPeer { listed: ListedPeer { addr, peer_id: request.peer_id }, key: request.key };
        let is_known = peer.host().is_some_and(|host| self.hosts.is_seed(host));
        if leeched && seed && !is_known && request.event == Some(AnnounceEvent::Completed) {
            self.downloaded += 1;
        }
        let pool = pool_of(addr, seed);
        let peers = &mut self.pools[pool as usize];
        self.members.insert(addr, Member { expires, pool, position: peers.len() });
        peers.push(peer);
        self.hosts.add(peer.host(), Family::of(addr.ip()), seed);
        self.by_expiry.insert((expires, addr));
    }

    fn remove(&mut self, addr: SocketAddr) -> bool {
        let Some(Member { expires, pool, position }) = self.members.remove(&addr) else {
            return false;
        };
        self.by_expiry.remove(&(expires, addr));
        let peers = &mut self.pools[pool as usize];
        let gone = peers.swap_remove(position);
        let is_seed = matches!(pool, Pool::SeedsV4 | Pool::SeedsV6);
        self.hosts.remove(gone.host(), Family::of(addr.ip()), is_seed);
        if let Some(moved) = peers.get(position)
            && let Some(member) = self.members.get_mut(&moved.listed.addr)
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
        request: &AnnounceRequest,
        wanted: usize,
    ) -> Vec<ListedPeer> {
        let v4 = [self.pool(Pool::LeechesV4), self.pool(Pool::SeedsV4)];
        let v6 = [self.pool(Pool::LeechesV6), self.pool(Pool::SeedsV6)];
        let families = if asker.is_ipv4() { [v4, v6] } else { [v6, v4] };
        let host = HostId::of(request.peer_id, request.key);
        let is_asker = |peer: &PoolPeer| {
            let is_its_other = peer.listed.addr.is_ipv4() != asker.is_ipv4();
            peer.listed.addr == asker || (is_its_other && host.is_some() && peer.host() == host)
        };
        let mut peers = Vec::new();
        for [leeches, seeds] in families {
            let seeds = if request.left == 0 { &[] } else { seeds };
            let left = wanted - peers.len();
            // One more, in case the asker is among them.
            let drawn = draw_indices(rng, leeches.len() + seeds.len(), left.saturating_add(1));
            let at = |index: usize| leeches.get(index).or_else(|| seeds.get(index - leeches.len()));
            let others = drawn.into_iter().filter_map(at).filter(|peer| !is_asker(peer));
            peers.extend(others.map(|peer| peer.listed).take(left));
        }
        peers
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
mod tests;
