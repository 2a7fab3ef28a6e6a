//! The routing table of one address family (BEP 5, "routing table").
//!
//! Bucket `n` holds nodes whose ids share exactly `n` leading bits with our own; the last bucket
//! holds the rest, our own place among it, and is the only one that splits. A node gets in by
//! answering a query of ours; one that we have only heard of waits in the bucket's replacement cache
//! until pinging shows that a place is free. Every method that may free a place returns whom to
//! ping next.
//!
//! Invariants: at most [`K`] nodes and [`K`] candidates a bucket, at most 160 buckets; one node an
//! IP address in the table and one a /24 (IPv6: /64) in a bucket, so that one network cannot fill
//! it (defence 26), except for local addresses; a good node is replaced only by one whose id is
//! bound to its address, if its own is not (BEP 42).

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use super::group::host;
use super::krpc::Contact;
use super::node_id::{ID_BITS, NodeId, is_exempt};
use crate::random::SecretRng;
use crate::time::{Duration, Instant};

/// Nodes a bucket holds (BEP 5: "K nodes, currently eight").
pub const K: usize = 8;

/// How long a node stays good without a sign of life, and a bucket fresh (BEP 5).
const FRESH: Duration = Duration::from_secs(15 * 60);

/// Queries in a row that a node may leave unanswered before it is bad (BEP 5: "it is suggested to
/// try once more").
const MAX_FAILS: u8 = 2;

/// Known nodes, ordered by how much of our id they share.
#[derive(Debug)]
pub struct Table {
    own: NodeId,
    buckets: Vec<Bucket>,
    /// Which node is at an address; loopback ports are addresses of their own.
    by_host: BTreeMap<SocketAddr, NodeId>,
    /// The bucket that is looked after next.
    cursor: usize,
}

#[derive(Debug)]
struct Bucket {
    nodes: Vec<Node>,
    /// Replacement cache, the oldest first.
    candidates: VecDeque<Contact>,
    changed_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    contact: Contact,
    replied_at: Instant,
    queried_at: Option<Instant>,
    /// Queries in a row without an answer.
    fails: u8,
}

/// How much a node is to be relied upon (BEP 5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Standing {
    /// It answered, or asked after it once answered, in the last 15 minutes.
    Good,
    /// It has been silent for longer.
    Questionable,
    /// It left several queries in a row unanswered.
    Bad,
}

impl Node {
    fn standing(&self, now: Instant) -> Standing {
        if self.fails >= MAX_FAILS {
            return Standing::Bad;
        }
        if self.fails == 0 && now < self.seen_at() + FRESH {
            return Standing::Good;
        }
        Standing::Questionable
    }

    fn seen_at(&self) -> Instant {
        self.queried_at.map_or(self.replied_at, |at| at.max(self.replied_at))
    }

    fn is_bound(&self) -> bool {
        self.contact.id.is_bound_to(self.contact.addr.ip())
    }
}

impl Table {
    /// An empty table around our own id.
    pub fn new(own: NodeId, now: Instant) -> Self {
        Table { own, buckets: vec![Bucket::new(now)], by_host: BTreeMap::new(), cursor: 0 }
    }

    /// Our own id.
    pub fn own(&self) -> NodeId {
        self.own
    }

    /// How many nodes it holds.
    pub fn len(&self) -> usize {
        self.by_host.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.by_host.is_empty()
    }

    /// How many nodes are good.
    pub fn good(&self, now: Instant) -> usize {
        self.nodes().filter(|node| node.standing(now) == Standing::Good).count()
    }

    /// All nodes, the buckets far from us first.
    pub fn contacts(&self) -> impl Iterator<Item = Contact> + '_ {
        self.nodes().map(|node| node.contact)
    }

    /// Gives us another id; the nodes are ordered anew.
    pub fn move_to(&mut self, own: NodeId, now: Instant) {
        let nodes: Vec<Node> = self.nodes().copied().collect();
        *self = Table::new(own, now);
        for node in nodes {
            self.insert(now, node);
        }
    }

    /// A node answered a query of ours. Returns whom to ping, if a candidate waits.
    pub fn replied(&mut self, now: Instant, contact: Contact) -> Option<Contact> {
        let at = self.bucket_of(&contact.id);
        let bucket = self.buckets.get_mut(at)?;
        if let Some(node) = bucket.nodes.iter_mut().find(|node| node.contact == contact) {
            node.replied_at = now;
            node.fails = 0;
            bucket.changed_at = now;
            return self.next_to_ping(at, now);
        }
        self.forget_other_id(contact);
        self.insert(now, Node { contact, replied_at: now, queried_at: None, fails: 0 })
    }

    /// A node asked us something, or another node named it. Returns whom to ping, if it could
    /// get in.
    pub fn heard_of(&mut self, now: Instant, contact: Contact, asked: bool) -> Option<Contact> {
        if contact.id == self.own {
            return None;
        }
        let at = self.bucket_of(&contact.id);
        let bucket = self.buckets.get_mut(at)?;
        if let Some(node) = bucket.nodes.iter_mut().find(|node| node.contact.id == contact.id) {
            if asked && node.contact.addr == contact.addr {
                node.queried_at = Some(now);
            }
            return None;
        }
        if self.by_host.contains_key(&host(contact.addr)) {
            return None;
        }
        let is_last = at + 1 == self.buckets.len();
        let bucket = self.buckets.get_mut(at)?;
        let takes = bucket.nodes.len() < K || is_last || bucket.has_bad(now);
        if takes && !bucket.has_neighbour(contact, None) {
            return Some(contact);
        }
        bucket.wait(contact);
        self.next_to_ping(at, now)
    }

    /// A node left a query unanswered. Returns whom to ping instead.
    pub fn failed(&mut self, now: Instant, contact: Contact) -> Option<Contact> {
        let at = self.bucket_of(&contact.id);
        let bucket = self.buckets.get_mut(at)?;
        bucket.candidates.retain(|candidate| *candidate != contact);
        let node = bucket.nodes.iter_mut().find(|node| node.contact == contact)?;
        node.fails = node.fails.saturating_add(1);
        if node.fails < MAX_FAILS && !bucket.candidates.is_empty() {
            return Some(contact);
        }
        self.next_to_ping(at, now)
    }

    /// Takes out a node that proved to be no node: it answers under another id.
    pub fn remove(&mut self, contact: Contact) {
        let at = self.bucket_of(&contact.id);
        if let Some(bucket) = self.buckets.get_mut(at)
            && let Some(index) = bucket.nodes.iter().position(|node| node.contact == contact)
        {
            bucket.nodes.swap_remove(index);
            self.by_host.remove(&host(contact.addr));
        }
    }

    /// Takes out all nodes and candidates at these addresses.
    pub fn forget(&mut self, is_meant: impl Fn(IpAddr) -> bool) {
        for bucket in &mut self.buckets {
            bucket.nodes.retain(|node| !is_meant(node.contact.addr.ip()));
            bucket.candidates.retain(|contact| !is_meant(contact.addr.ip()));
        }
        self.by_host.retain(|addr, _| !is_meant(addr.ip()));
    }

    /// Up to `count` nodes that are closest to `target`, the closest first. Bad ones only if
    /// there is nothing else.
    pub fn closest(&self, target: &NodeId, count: usize, now: Instant) -> Vec<Contact> {
        let usable = |node: &&Node| node.standing(now) != Standing::Bad;
        let found = self.closest_where(target, count, usable);
        if found.is_empty() { self.closest_where(target, count, |_| true) } else { found }
    }

    fn closest_where(
        &self,
        target: &NodeId,
        count: usize,
        mut filter: impl FnMut(&&Node) -> bool,
    ) -> Vec<Contact> {
        let mut found: Vec<Contact> = Vec::new();
        let mut take = |bucket: &Bucket| {
            found.extend(bucket.nodes.iter().filter(&mut filter).map(|node| node.contact));
            found.len()
        };
        // The bucket of the target is closer to it than those behind, which are all equally far,
        // and these are closer than those before.
        let at = self.bucket_of(target);
        let mut enough = self.buckets.get(at).map_or(0, &mut take) >= count;
        if !enough {
            for bucket in self.buckets.iter().skip(at + 1) {
                enough = take(bucket) >= count;
            }
        }
        for bucket in self.buckets.iter().take(at).rev() {
            if enough {
                break;
            }
            enough = take(bucket) >= count;
        }
        found.sort_by_key(|contact| contact.id.distance(target));
        found.truncate(count);
        found
    }

    /// Looks after one bucket, each time the next: whom to ping because it has been silent, and
    /// the place to look up if the bucket has not changed for long.
    pub fn look_after(
        &mut self,
        now: Instant,
        rng: &mut SecretRng,
    ) -> (Option<Contact>, Option<NodeId>) {
        self.cursor = (self.cursor + 1) % self.buckets.len().max(1);
        let Some(bucket) = self.buckets.get_mut(self.cursor) else { return (None, None) };
        let ping = bucket.stalest(now).map(|node| node.contact);
        let mut refresh = None;
        if now >= bucket.changed_at + FRESH {
            bucket.changed_at = now;
            refresh = Some(self.own.random_beside(self.cursor.min(ID_BITS - 1), rng));
        }
        (ping, refresh)
    }

    /// How many buckets there are.
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.buckets.iter().flat_map(|bucket| &bucket.nodes)
    }

    fn bucket_of(&self, id: &NodeId) -> usize {
        self.own.common_bits(id).min(self.buckets.len().saturating_sub(1))
    }

    /// Puts in a node that has answered, if there is a place. Returns whom to ping if there may
    /// be one later.
    fn insert(&mut self, now: Instant, node: Node) -> Option<Contact> {
        let contact = node.contact;
        if contact.id == self.own || self.by_host.contains_key(&host(contact.addr)) {
            return None;
        }
        loop {
            let at = self.bucket_of(&contact.id);
            let may_split = at + 1 == self.buckets.len() && self.buckets.len() < ID_BITS;
            let bucket = self.buckets.get_mut(at)?;
            let replaced = bucket.place_for(&node, now);
            if let Some(place) = replaced {
                bucket.candidates.retain(|candidate| *candidate != contact);
                bucket.changed_at = now;
                if let Some(old) = bucket.put(place, node) {
                    self.by_host.remove(&host(old.contact.addr));
                }
                self.by_host.insert(host(contact.addr), contact.id);
                return None;
            }
            if may_split && bucket.nodes.len() >= K {
                self.split(now);
                continue;
            }
            if bucket.nodes.len() >= K {
                bucket.wait(contact);
            }
            return self.next_to_ping(at, now);
        }
    }

    /// Splits the last bucket: what shares no further bit with our id stays.
    fn split(&mut self, now: Instant) {
        let bits = self.buckets.len() - 1;
        let own = self.own;
        let Some(last) = self.buckets.last_mut() else { return };
        let mut next = Bucket::new(now);
        let (stay, go): (Vec<Node>, Vec<Node>) = std::mem::take(&mut last.nodes)
            .into_iter()
            .partition(|node| own.common_bits(&node.contact.id) == bits);
        last.nodes = stay;
        next.nodes = go;
        let (stay, go) = std::mem::take(&mut last.candidates)
            .into_iter()
            .partition(|candidate| own.common_bits(&candidate.id) == bits);
        last.candidates = stay;
        next.candidates = go;
        self.buckets.push(next);
    }

    /// A node that answers under a new id has lost its old one.
    fn forget_other_id(&mut self, contact: Contact) {
        let host = host(contact.addr);
        let Some(&id) = self.by_host.get(&host).filter(|id| **id != contact.id) else { return };
        let at = self.bucket_of(&id);
        let Some(bucket) = self.buckets.get_mut(at) else { return };
        let same = |node: &Node| node.contact.id == id && node.contact.addr == contact.addr;
        if let Some(index) = bucket.nodes.iter().position(same) {
            bucket.nodes.swap_remove(index);
            self.by_host.remove(&host);
        }
    }

    /// If candidates wait: the newest of them if there is a place, else the node that has been
    /// silent for longest.
    fn next_to_ping(&mut self, at: usize, now: Instant) -> Option<Contact> {
        let bucket = self.buckets.get_mut(at)?;
        bucket.candidates.back()?;
        if bucket.nodes.len() < K || bucket.has_bad(now) {
            return bucket.candidates.pop_back();
        }
        bucket.stalest(now).map(|node| node.contact)
    }
}

/// Where a node goes.
enum Place {
    Free,
    /// Instead of the one at this index.
    Of(usize),
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Bucket { nodes: Vec::new(), candidates: VecDeque::new(), changed_at: now }
    }

    fn has_bad(&self, now: Instant) -> bool {
        self.nodes.iter().any(|node| node.standing(now) == Standing::Bad)
    }

    /// The questionable node that has been silent for longest.
    fn stalest(&self, now: Instant) -> Option<&Node> {
        let questionable = |node: &&Node| node.standing(now) == Standing::Questionable;
        self.nodes
            .iter()
            .filter(questionable)
            .min_by_key(|node| (node.seen_at(), Reverse(node.fails)))
    }

    /// Whether a node of the same network is here, other than the one at this index.
    fn has_neighbour(&self, contact: Contact, but: Option<usize>) -> bool {
        let Some(network) = network(contact.addr.ip()) else { return false };
        self.nodes.iter().enumerate().any(|(at, node)| {
            Some(at) != but && self::network(node.contact.addr.ip()) == Some(network)
        })
    }

    fn place_for(&self, node: &Node, now: Instant) -> Option<Place> {
        if self.nodes.len() < K {
            return (!self.has_neighbour(node.contact, None)).then_some(Place::Free);
        }
        let worse = |other: &Node| {
            other.standing(now) == Standing::Bad || (node.is_bound() && !other.is_bound())
        };
        let at = self.nodes.iter().position(worse)?;
        (!self.has_neighbour(node.contact, Some(at))).then_some(Place::Of(at))
    }

    /// Puts a node in its place; returns the one that was there.
    fn put(&mut self, place: Place, node: Node) -> Option<Node> {
        match place {
            Place::Free => {
                self.nodes.push(node);
                None
            }
            Place::Of(at) => self.nodes.get_mut(at).map(|old| std::mem::replace(old, node)),
        }
    }

    /// Keeps a contact for when there is a place.
    fn wait(&mut self, contact: Contact) {
        // One of each network here too, the latest: many of one do not crowd out the others.
        let network = network(contact.addr.ip());
        let is_neighbour =
            |other: &Contact| network.is_some() && self::network(other.addr.ip()) == network;
        self.candidates.retain(|other| {
            other.id != contact.id && other.addr != contact.addr && !is_neighbour(other)
        });
        if self.candidates.len() >= K {
            self.candidates.pop_front();
        }
        self.candidates.push_back(contact);
    }
}

/// The /24 or /64 that an address belongs to; `None` for local addresses, whose networks are
/// small and trusted.
pub(super) fn network(ip: IpAddr) -> Option<[u8; 8]> {
    if is_exempt(ip) {
        return None;
    }
    Some(match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            [0, 0, 0, 4, 0, a, b, c]
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h, ..] = ip.octets();
            [a, b, c, d, e, f, g, h]
        }
    })
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    fn secs(secs: u64) -> Instant {
        Instant::from_secs(secs)
    }

    const OWN: NodeId = NodeId([0; 20]);

    /// A contact that shares `bits` bits with our id, number `n` of its kind, with a bound id or
    /// not.
    fn far(bits: usize, n: u8) -> Contact {
        let mut id = [0; 20];
        id[bits / 8] = 0x80 >> (bits % 8);
        id[18] = n;
        Contact { id: NodeId(id), addr: SocketAddr::from(([44, n, bits as u8, 1], 6881)) }
    }

    fn full() -> Table {
        let mut table = Table::new(OWN, secs(0));
        for n in 0..8 {
            table.replied(secs(u64::from(n)), far(0, n));
            table.replied(secs(u64::from(n)), far(3, n));
        }
        table
    }

    #[test]
    fn only_our_own_bucket_splits() {
        let mut table = full();
        assert_eq!((table.len(), table.buckets()), (16, 2));
        table.replied(secs(9), far(0, 9));
        assert_eq!((table.len(), table.buckets()), (16, 2), "full of good nodes");
        table.replied(secs(9), far(5, 1));
        assert_eq!((table.len(), table.buckets()), (17, 5), "split until there is a place");
    }

    #[test]
    fn nodes_and_candidates_at_an_address_are_forgotten_together() {
        let mut table = full();
        assert_eq!(table.heard_of(secs(905), far(0, 10), true), Some(far(0, 0)));
        let is_meant = |ip: IpAddr| [far(0, 0), far(0, 10)].map(|c| c.addr.ip()).contains(&ip);
        table.forget(is_meant);
        assert_eq!(table.len(), 15);
        assert!(table.contacts().all(|contact| !is_meant(contact.addr.ip())));
        table.replied(secs(906), far(0, 11));
        assert_eq!(table.len(), 16, "there is a place");
    }

    #[test]
    fn a_newcomer_is_pinged_where_there_is_a_place_and_waits_where_there_is_none() {
        let mut table = full();
        assert_eq!(table.heard_of(secs(9), far(9, 1), true), Some(far(9, 1)));
        assert_eq!(table.heard_of(secs(9), far(0, 9), true), None, "all are good");
        // After a quarter of an hour of silence the oldest is asked first.
        assert_eq!(table.heard_of(secs(905), far(0, 10), true), Some(far(0, 0)));
        assert_eq!(table.failed(secs(906), far(0, 0)), Some(far(0, 0)), "it is asked twice");
        assert_eq!(table.failed(secs(907), far(0, 0)), Some(far(0, 10)), "then the newcomer is");
        table.replied(secs(908), far(0, 10));
        assert!(table.contacts().any(|c| c == far(0, 10)));
        assert!(!table.contacts().any(|c| c == far(0, 0)));
        assert_eq!(table.len(), 16);
    }

    #[test]
    fn a_questionable_node_that_answers_keeps_its_place() {
        let mut table = full();
        assert_eq!(table.heard_of(secs(905), far(0, 10), false), Some(far(0, 0)));
        assert_eq!(table.replied(secs(906), far(0, 0)), Some(far(0, 1)), "the next one is asked");
        assert!(!table.contacts().any(|c| c == far(0, 10)));
    }

    #[test]
    fn a_node_that_asks_us_stays_good() {
        let mut table = full();
        table.heard_of(secs(800), far(0, 0), true);
        assert_eq!(table.good(secs(1000)), 1);
        table.heard_of(secs(800), Contact { addr: far(7, 7).addr, ..far(0, 1) }, true);
        assert_eq!(table.good(secs(1000)), 1, "another's word does not count");
    }

    #[test]
    fn one_network_gets_one_place_in_a_bucket_and_one_address_one_in_the_table() {
        let mut table = Table::new(OWN, secs(0));
        let neighbour = |c: Contact, last: u8| {
            let SocketAddr::V4(addr) = c.addr else { unreachable!() };
            let [a, b, c_, _] = addr.ip().octets();
            Contact { addr: SocketAddr::from(([a, b, c_, last], 1)), ..c }
        };
        table.replied(secs(0), far(0, 1));
        table.replied(secs(0), Contact { id: far(0, 2).id, ..neighbour(far(0, 1), 9) });
        assert_eq!(table.len(), 1, "the same /24");
        table.replied(secs(0), Contact { addr: far(0, 1).addr, ..far(4, 1) });
        assert_eq!(
            table.contacts().collect::<Vec<_>>(),
            [Contact { addr: far(0, 1).addr, ..far(4, 1) }],
            "a node that changes its id has one place"
        );
        for n in 0..5 {
            let addr = SocketAddr::from(([127, 0, 0, 1], 5000 + u16::from(n)));
            table.replied(secs(0), Contact { addr, ..far(0, n) });
        }
        assert_eq!(table.len(), 6, "loopback is exempt");
    }

    #[test]
    fn a_silent_bucket_is_refreshed_once() {
        let mut table = full();
        let mut rng = SecretRng::from_seed([1; 32]);
        let due: Vec<_> = (0..4).filter_map(|_| table.look_after(secs(920), &mut rng).1).collect();
        assert_eq!(due.len(), 2);
        assert!(due.iter().any(|target| target.common_bits(&OWN) == 0));
    }

    #[test]
    fn nodes_stay_when_our_id_changes() {
        let mut table = full();
        table.move_to(NodeId([0xff; 20]), secs(20));
        assert_eq!(table.own(), NodeId([0xff; 20]));
        assert_eq!(table.len(), 16);
    }

    quickcheck! {
        fn the_closest_are_those_that_a_full_sort_finds(seed: u8, count: u8) -> bool {
            let mut rng = SecretRng::from_seed([seed; 32]);
            let mut table = Table::new(NodeId::random(&mut rng), secs(0));
            for n in 0..300_u32 {
                let [_, a, b, c] = n.wrapping_mul(77_777).to_be_bytes();
                let addr = SocketAddr::from(([50 + a % 90, b, c, 1], 1));
                let id = NodeId::random(&mut rng).random_beside(0, &mut rng);
                let id = if n % 3 == 0 { table.own().random_beside(n as usize / 10, &mut rng) } else { id };
                table.replied(secs(1), Contact { id, addr });
            }
            let target = if seed.is_multiple_of(2) {
                NodeId::random(&mut rng)
            } else {
                table.own().random_beside(usize::from(seed) / 4, &mut rng)
            };
            let count = usize::from(count % 20) + 1;
            let mut all: Vec<Contact> = table.contacts().collect();
            all.sort_by_key(|contact| contact.id.distance(&target));
            all.truncate(count);
            table.closest(&target, count, secs(2)) == all
        }

        fn whatever_answers_the_bounds_hold(seed: u8, ops: Vec<(u8, u8, u8)>) -> bool {
            let mut rng = SecretRng::from_seed([seed; 32]);
            let mut table = Table::new(OWN, secs(0));
            for (at, (bits, n, what)) in ops.into_iter().enumerate() {
                let now = secs(at as u64 * 60);
                let contact = far(usize::from(bits % 20), n % 16);
                match what % 4 {
                    0 | 1 => { table.replied(now, contact); }
                    2 => { table.heard_of(now, contact, true); }
                    _ => { table.failed(now, contact); }
                }
                table.look_after(now, &mut rng);
            }
            let held: usize = table.buckets.iter().map(|bucket| bucket.nodes.len()).sum();
            held == table.by_host.len()
                && table.buckets.iter().all(|b| b.nodes.len() <= K && b.candidates.len() <= K)
        }
    }
}
