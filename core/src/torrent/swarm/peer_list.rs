//! Addresses of a torrent's peers, and whom to connect to next.
//!
//! Every address that a source names is here once, connected or not; what is known of one, how long
//! it waits and how it ranks is its [`KnownPeer`]. A failed address waits also when it was evicted
//! meanwhile (defence 39), and one held back for another reason than a failure is recalled when the
//! reason ends. Everything is in ordered indexes: no operation scans all peers, but for the two that
//! re-order them.
//!
//! Invariants: at most `capacity` addresses, and of each source at most its share; addresses that no
//! peer can have, that the IP filter refuses, and those that answered with our own peer id, are never in it;
//! what is connecting or connected is no candidate and is not evicted; an address named by the user is not evicted. Bans
//! are the session's: the list asks. How many connections there may be is the caller's to know.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use crate::ip_filter::IpFilter;
use crate::peer::DialEncryption;
use crate::peer_source::PeerSource;
use crate::random::PolicyRng;
use crate::reach::is_dialable;
use crate::time::{Duration, Instant};
use crate::torrent::swarm::failed_dials::{FailedDials, Failure};
use crate::torrent::swarm::known_peer::{
    EVICT_LAST, Ended, EvictRank, KnownPeer, ReadyRank, Standing, hour_of,
};
use crate::torrent::swarm::peer_priority::peer_priority;

/// What became of an address that was added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::torrent) enum Added {
    /// It is new.
    New,
    /// It was known.
    Known,
    /// No peer can be reached there: port 0, a port of the system, or not a unicast address.
    Invalid,
    /// It is our own.
    Own,
    /// The IP filter refuses it.
    Filtered,
    /// There is no room, and everything in the list is more promising.
    Full,
}

/// Between two times that addresses which could not be reached are recalled (chosen).
const RECALL_INTERVAL: Duration = Duration::from_secs(30);
/// Addresses of one host, apart from what the user names (chosen: some homes behind one address).
const MOST_OF_HOST: usize = 32;
/// Own addresses remembered (chosen: some interfaces, and mistakes of NATs).
const OWN_ADDRESSES: usize = 32;
/// How many sources of addresses there are.
const SOURCE_COUNT: usize = PeerSource::Incoming as usize + 1;

/// The known addresses of one torrent.
#[derive(Debug)]
pub(in crate::torrent) struct PeerList {
    peers: BTreeMap<SocketAddr, KnownPeer>,
    /// Candidates to connect to now, the best first.
    ready: BTreeSet<(ReadyRank, SocketAddr)>,
    /// Candidates for later.
    waiting: BTreeSet<(Instant, SocketAddr)>,
    /// What may be evicted, by source, the least promising last.
    evictable: BTreeSet<(PeerSource, EvictRank, SocketAddr)>,
    /// Addresses per source.
    counts: [u32; SOURCE_COUNT],
    capacity: usize,
    /// At most [`OWN_ADDRESSES`]; mostly one, and every torrent knows it.
    own: Vec<SocketAddr>,
    external: Vec<SocketAddr>,
    filter: Option<Arc<IpFilter>>,
    /// Candidates for later that wait for something which may come about before their time.
    held_back: BTreeSet<(Ended, SocketAddr)>,
    /// When those that could not be reached were last recalled.
    recalled_at: Option<Instant>,
    /// What failed and was evicted, once something was.
    failed: Option<Box<FailedDials>>,
    seeding: bool,
    rng: PolicyRng,
}

impl PeerList {
    /// A list for at most `capacity` addresses (`Bounds::known_peers`).
    pub(in crate::torrent) fn new(capacity: usize, rng: PolicyRng) -> Self {
        PeerList {
            peers: BTreeMap::new(),
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            evictable: BTreeSet::new(),
            counts: [0; SOURCE_COUNT],
            capacity,
            own: Vec::new(),
            external: Vec::new(),
            filter: None,
            held_back: BTreeSet::new(),
            recalled_at: None,
            failed: None,
            seeding: false,
            rng,
        }
    }

    /// How many addresses are known.
    pub(in crate::torrent) fn len(&self) -> usize {
        self.peers.len()
    }

    /// By which source we know an address.
    pub(in crate::torrent) fn source(&self, addr: SocketAddr) -> Option<PeerSource> {
        self.peers.get(&canonical(addr)).map(|peer| peer.source)
    }

    #[cfg(test)]
    /// Whether the address is connected.
    pub(in crate::torrent) fn is_connected(&self, addr: SocketAddr) -> bool {
        let peer = self.peers.get(&canonical(addr));
        peer.is_some_and(|peer| peer.standing == Standing::Connected)
    }

    #[cfg(test)]
    /// Whether the address is known to be a seed's.
    pub(in crate::torrent) fn is_seed(&self, addr: SocketAddr) -> bool {
        self.peers.get(&canonical(addr)).is_some_and(|peer| peer.is_seed)
    }

    /// Makes an address known. What the user names is a candidate at once, whatever it was before;
    /// from other sources, naming an address again does not shorten its wait.
    pub(in crate::torrent) fn add(
        &mut self,
        addr: SocketAddr,
        source: PeerSource,
        now: Instant,
    ) -> Added {
        let addr = canonical(addr);
        if !is_dialable(addr, source.may_name_system_ports()) {
            return Added::Invalid;
        }
        if self.own.contains(&addr) {
            return Added::Own;
        }
        if self.is_filtered(addr) {
            return Added::Filtered;
        }
        if self.peers.contains_key(&addr) {
            self.seen_again(addr, source, now);
            return Added::Known;
        }
        let lot = self.rng.next_u64() as u32;
        // The user knows better than what was before.
        let known = self.failed.as_mut().and_then(|failed| failed.take(addr));
        let failure = known.filter(|_| source != PeerSource::User);
        let failures = failure.map_or(0, |failure| failure.failures);
        let retry_at = failure.map_or(now, |failure| failure.retry_at.max(now));
        let priority = self.priority_of(addr).unwrap_or(lot);
        let peer = KnownPeer { failures, priority, retry_at, ..KnownPeer::new(source, lot, now) };
        if !self.make_room_at_host(addr, &peer) || !self.make_room_for(&peer) {
            if let (Some(failed), Some(failure)) = (&mut self.failed, failure) {
                failed.keep(now, addr, failure);
            }
            return Added::Full;
        }
        self.insert(addr, peer);
        Added::New
    }

    /// The best candidate, which counts as connecting from now on: `connected` or `ended` must
    /// follow. Addresses that turn out to be banned are forgotten on the way.
    pub(in crate::torrent) fn next_to_connect(
        &mut self,
        now: Instant,
        is_banned: impl Fn(SocketAddr) -> bool,
    ) -> Option<SocketAddr> {
        while let Some(&(at, addr)) = self.waiting.first()
            && at <= now
        {
            self.waiting.pop_first();
            if let Some(peer) = self.peers.get(&addr) {
                self.ready.insert((peer.ready_rank(), addr));
            }
        }
        while let Some(&(_, addr)) = self.ready.first() {
            if !is_banned(addr) {
                self.update(addr, |peer| peer.standing = Standing::Connecting);
                return Some(addr);
            }
            self.forget(addr);
        }
        None
    }

    /// When there will be a candidate: in the past if there is one, `None` if there will be none.
    pub(in crate::torrent) fn next_at(&self) -> Option<Instant> {
        if !self.ready.is_empty() {
            return Some(Instant::ZERO);
        }
        self.waiting.first().map(|(at, _)| *at)
    }

    /// A connection with this address is established, by either side. For an incoming one the
    /// address has the port that the peer listens on; if it is new, it is added.
    pub(in crate::torrent) fn connected(&mut self, addr: SocketAddr, now: Instant) {
        let addr = canonical(addr);
        self.add(addr, PeerSource::Incoming, now);
        self.update(addr, |peer| peer.connected(now));
    }

    /// The connection, or the attempt at one, is over.
    pub(in crate::torrent) fn ended(&mut self, addr: SocketAddr, now: Instant, how: Ended) {
        let jitter = self.rng.below(KnownPeer::JITTER);
        let addr = canonical(addr);
        self.update(addr, |peer| peer.ended(now, how, jitter as u32));
    }

    /// A peer says that it listens elsewhere than at this address, which nobody is connected at now. What
    /// only the peer itself had named is forgotten.
    pub(in crate::torrent) fn renamed(&mut self, addr: SocketAddr, now: Instant) {
        let addr = canonical(addr);
        if self.source(addr) == Some(PeerSource::Incoming) {
            self.keep_failure(addr, now);
            self.forget(addr);
        } else {
            self.ended(addr, now, Ended::Normal);
        }
    }

    /// No peer is left that sends what we want: those that wasted too much are candidates at once.
    pub(in crate::torrent) fn recall_wasteful(&mut self, now: Instant) {
        self.recall(now, Ended::Wasteful, ADDR_FIRST, ADDR_LAST.into());
    }

    /// Whether there are any.
    pub(in crate::torrent) fn has_wasteful(&self) -> bool {
        let wasteful = (Ended::Wasteful, ADDR_FIRST)..=(Ended::Wasteful, ADDR_LAST.into());
        self.held_back.range(wasteful).next().is_some()
    }

    /// A connection with this address has ended: what waited for that is a candidate at once.
    pub(in crate::torrent) fn recall_busy(&mut self, ip: IpAddr, now: Instant) {
        let ip = ip.to_canonical();
        let (first, last) = (SocketAddr::new(ip, 0), SocketAddr::new(ip, u16::MAX));
        self.recall(now, Ended::Busy, first, last);
    }

    /// The network is there: what could not be reached is a candidate at once.
    pub(in crate::torrent) fn recall_unreachable(&mut self, now: Instant) {
        if self.recalled_at.is_none_or(|at| now >= at + RECALL_INTERVAL) {
            self.recalled_at = Some(now);
            self.recall(now, Ended::Unreachable, ADDR_FIRST, ADDR_LAST.into());
        }
    }

    /// Those that were held back because of this are candidates at once, from the first address to the
    /// last. O(log n) for each.
    fn recall(&mut self, now: Instant, how: Ended, first: SocketAddr, last: SocketAddr) {
        let meant = self.held_back.range((how, first)..=(how, last));
        let meant: Vec<SocketAddr> = meant.map(|(_, addr)| *addr).collect();
        for addr in meant {
            self.update(addr, |peer| {
                peer.held_back = None;
                peer.retry_at = peer.retry_at.min(now);
            });
        }
    }

    /// Whether the address is a seed's, which is no candidate while we are one too.
    pub(in crate::torrent) fn set_seed(&mut self, addr: SocketAddr, is_seed: bool) {
        self.update(canonical(addr), |peer| peer.is_seed = is_seed);
    }

    /// Whether a hybrid is better known there by its infohash of v2 (BEP 52).
    pub(in crate::torrent) fn set_of_v2(&mut self, addr: SocketAddr, of_v2: bool) {
        if let Some(peer) = self.peers.get_mut(&canonical(addr)) {
            peer.of_v2 = of_v2;
        }
    }

    /// A peer that knows a hybrid by both infohashes is held to that of v1, by which it was dialled: it is
    /// dialled with that of v2 from now on. False if it was before, or is not known.
    pub(in crate::torrent) fn upgrade(&mut self, addr: SocketAddr) -> bool {
        let Some(peer) = self.peers.get_mut(&canonical(addr)) else { return false };
        peer.of_v2 |= !peer.was_upgraded;
        !std::mem::replace(&mut peer.was_upgraded, true)
    }

    /// What is known of an address about encryption.
    pub(in crate::torrent) fn encryption(
        &mut self,
        addr: SocketAddr,
    ) -> Option<&mut DialEncryption> {
        self.peers.get_mut(&canonical(addr)).map(|peer| &mut peer.encryption)
    }

    /// Whether the address is to be dialled with the infohash of v2.
    pub(in crate::torrent) fn is_of_v2(&self, addr: SocketAddr) -> bool {
        self.peers.get(&canonical(addr)).is_some_and(|peer| peer.of_v2)
    }

    /// Whether we are a seed. If we are none any more, those that were of no use to one are candidates at
    /// once. Goes through all addresses if that changes.
    pub(in crate::torrent) fn set_seeding(&mut self, seeding: bool, now: Instant) {
        if self.seeding != seeding {
            self.seeding = seeding;
            self.reindex();
            if !seeding {
                self.recall(now, Ended::Useless, ADDR_FIRST, ADDR_LAST.into());
            }
        }
    }

    /// Our addresses as others see them, with the port we listen on, at most one of each family:
    /// what BEP 40's priorities depend on. They may be wrong, and are dialled like any other: what is
    /// ourselves, our peer id tells alone (defence 44). Goes through all addresses if that changes.
    pub(in crate::torrent) fn set_external(&mut self, external: &[SocketAddr]) {
        if self.external != external {
            self.external = external.to_vec();
            self.reindex();
        }
    }

    /// Remembers an address as our own, which it is if our own peer id answers there.
    pub(in crate::torrent) fn add_own(&mut self, addr: SocketAddr) {
        let addr = canonical(addr);
        self.forget(addr);
        if self.own.len() < OWN_ADDRESSES && !self.own.contains(&addr) {
            self.own.reserve_exact(1);
            self.own.push(addr);
        }
    }

    /// Forgets an address; a connection with it is not known any more.
    pub(in crate::torrent) fn forget(&mut self, addr: SocketAddr) {
        self.remove(canonical(addr));
    }

    /// Forgets the addresses that a private torrent may not know. Goes through all addresses.
    pub(in crate::torrent) fn forget_discovered(&mut self) {
        let found = |(_, peer): &(&SocketAddr, &KnownPeer)| peer.source.is_discovery();
        let addrs: Vec<SocketAddr> =
            self.peers.iter().filter(found).map(|(&addr, _)| addr).collect();
        addrs.into_iter().for_each(|addr| self.forget(addr));
    }

    /// Has another IP filter, and forgets what it refuses. Goes through all addresses.
    pub(in crate::torrent) fn set_filter(&mut self, filter: Option<Arc<IpFilter>>) {
        self.filter = filter;
        let refused = self.peers.keys().filter(|addr| self.is_filtered(**addr));
        let refused: Vec<SocketAddr> = refused.copied().collect();
        refused.into_iter().for_each(|addr| self.forget(addr));
    }

    fn is_filtered(&self, addr: SocketAddr) -> bool {
        self.filter.as_ref().is_some_and(|filter| filter.refuses(addr.ip()))
    }

    /// The priority of a connection with an address (BEP 40), higher is better. `None` if our own
    /// address is not known.
    fn priority_of(&self, addr: SocketAddr) -> Option<u32> {
        self.external.iter().find_map(|&own| peer_priority(own, addr))
    }

    fn seen_again(&mut self, addr: SocketAddr, source: PeerSource, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&addr)
            && source != PeerSource::User
            && source >= peer.source
            && hour_of(peer.seen_at) == hour_of(now)
        {
            // Peers name each other all the time, and no index depends on more than the hour.
            peer.seen_at = now;
            return;
        }
        let Some(mut peer) = self.remove(addr) else { return };
        peer.seen_at = now;
        peer.source = peer.source.min(source);
        if source == PeerSource::User {
            peer.failures = 0;
            peer.retry_at = now;
        }
        self.insert(addr, peer);
    }

    /// The same among the addresses of its host: who has many ports does not fill the book (defence 41).
    fn make_room_at_host(&mut self, addr: SocketAddr, new: &KnownPeer) -> bool {
        let ip = addr.ip();
        if new.source == PeerSource::User || ip.is_loopback() {
            return true;
        }
        let of_host = SocketAddr::new(ip, 0)..=SocketAddr::new(ip, u16::MAX);
        let of_host = self.peers.range(of_host).filter(|(addr, _)| addr.ip() == ip);
        if of_host.clone().count() < MOST_OF_HOST {
            return true;
        }
        let may_go =
            |peer: &KnownPeer| peer.standing == Standing::Idle && peer.source != PeerSource::User;
        let idle = of_host.filter(|(_, peer)| may_go(peer));
        let worst = idle.map(|(addr, peer)| (peer.evict_rank(), *addr)).max();
        self.evict_for(new, worst)
    }

    /// Evicts what is less promising than a new peer, if there is no room for that.
    fn make_room_for(&mut self, new: &KnownPeer) -> bool {
        let share = self.share_of(new.source);
        if self.counts[new.source as usize] as usize >= share {
            let worst = self.worst_of(new.source);
            return self.evict_for(new, worst);
        }
        if self.peers.len() >= self.capacity {
            let sources = [
                PeerSource::Link,
                PeerSource::Lsd,
                PeerSource::Tracker,
                PeerSource::Dht,
                PeerSource::Pex,
                PeerSource::Incoming,
            ];
            let worst = sources.into_iter().filter_map(|source| self.worst_of(source)).max();
            return self.evict_for(new, worst);
        }
        true
    }

    fn evict_for(&mut self, new: &KnownPeer, worst: Option<(EvictRank, SocketAddr)>) -> bool {
        match worst {
            Some((rank, addr)) if new.source == PeerSource::User || rank > new.evict_rank() => {
                if !self.keep_failure(addr, new.seen_at) && new.source != PeerSource::User {
                    return false;
                }
                self.forget(addr);
                true
            }
            _ => false,
        }
    }

    /// Remembers how an address has failed that is about to be evicted; false if that is not to be.
    fn keep_failure(&mut self, addr: SocketAddr, now: Instant) -> bool {
        let Some(peer) = self.peers.get(&addr).filter(|peer| peer.failures > 0) else {
            return true;
        };
        let failure = Failure { failures: peer.failures, retry_at: peer.retry_at };
        let capacity = self.capacity;
        let failed = self.failed.get_or_insert_with(|| FailedDials::new(capacity).into());
        failed.keep(now, addr, failure)
    }

    /// The least promising idle address of a source.
    fn worst_of(&self, source: PeerSource) -> Option<(EvictRank, SocketAddr)> {
        let below = self.evictable.range(..=(source, EVICT_LAST, SocketAddr::V6(ADDR_LAST)));
        let (found, rank, addr) = below.last()?;
        (*found == source).then_some((*rank, *addr))
    }

    /// How many addresses a source may fill the list with (chosen).
    fn share_of(&self, source: PeerSource) -> usize {
        match source {
            PeerSource::User => self.capacity,
            PeerSource::Tracker | PeerSource::Dht => self.capacity / 2,
            PeerSource::Pex | PeerSource::Incoming => self.capacity / 4,
            PeerSource::Link | PeerSource::Lsd => self.capacity / 8,
        }
    }

    fn update(&mut self, addr: SocketAddr, change: impl FnOnce(&mut KnownPeer)) {
        if let Some(mut peer) = self.remove(addr) {
            change(&mut peer);
            self.insert(addr, peer);
        }
    }

    fn insert(&mut self, addr: SocketAddr, peer: KnownPeer) {
        self.counts[peer.source as usize] += 1;
        if peer.standing == Standing::Idle {
            if !(peer.is_seed && self.seeding) {
                self.waiting.insert((peer.retry_at, addr));
            }
            self.held_back.extend(peer.held_back.map(|how| (how, addr)));
            if peer.source != PeerSource::User {
                self.evictable.insert((peer.source, peer.evict_rank(), addr));
            }
        }
        self.peers.insert(addr, peer);
    }

    fn remove(&mut self, addr: SocketAddr) -> Option<KnownPeer> {
        let peer = self.peers.remove(&addr)?;
        self.counts[peer.source as usize] -= 1;
        if peer.standing == Standing::Idle {
            self.ready.remove(&(peer.ready_rank(), addr));
            self.waiting.remove(&(peer.retry_at, addr));
            if let Some(how) = peer.held_back {
                self.held_back.remove(&(how, addr));
            }
            self.evictable.remove(&(peer.source, peer.evict_rank(), addr));
        }
        Some(peer)
    }

    fn reindex(&mut self) {
        self.ready.clear();
        self.waiting.clear();
        self.evictable.clear();
        self.held_back.clear();
        self.counts = [0; SOURCE_COUNT];
        for (addr, mut peer) in std::mem::take(&mut self.peers) {
            peer.priority = self.priority_of(addr).unwrap_or(peer.lot);
            self.insert(addr, peer);
        }
    }
}

/// Before every address there can be.
const ADDR_FIRST: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
const ADDR_LAST: SocketAddrV6 =
    SocketAddrV6::new(Ipv6Addr::from_bits(u128::MAX), u16::MAX, u32::MAX, u32::MAX);

/// One form for each address: IPv4 as IPv4, and no flow label.
fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(v6) => match v6.ip().to_canonical() {
            ip @ IpAddr::V4(_) => SocketAddr::new(ip, v6.port()),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, v6.port(), 0, v6.scope_id()).into(),
        },
    }
}

#[cfg(test)]
mod tests;
