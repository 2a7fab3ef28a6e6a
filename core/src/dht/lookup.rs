//! One iterative lookup in one address family: which nodes to ask, and when that is enough
//! (BEP 5, "overview").
//!
//! Candidates are ordered by their distance to the target. The closest that was not asked is asked
//! next, a few at once; a slow one makes room for another. It is over when the [`K`] closest nodes
//! that are alive have answered. Against nodes that lie: ids that are not bound to their address do
//! not count among the K (BEP 42); one candidate an address and a network; a node that names
//! several of which none answers is not believed any more; candidates and queries are bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::group::host;
use super::krpc::Contact;
use super::node_id::{Distance, NodeId};
use super::table::{K, network};

/// Nodes asked at once (Kademlia: alpha, 3; chosen: one more).
pub(super) const ALPHA: usize = 4;

/// Candidates remembered; past it, the farthest are forgotten (chosen).
const MOST_CANDIDATES: usize = 128;

/// Nodes asked in all; past it, the lookup ends with what it has (chosen: four times what one in
/// a network of ten million nodes takes).
const MOST_ASKED: usize = 200;

/// Named nodes that do not answer before their namer's others are not asked, if none does
/// (chosen).
const MOST_DUDS: u8 = 3;

/// The state of one lookup.
#[derive(Debug)]
pub(super) struct Lookup {
    target: NodeId,
    candidates: BTreeMap<Distance, Candidate>,
    /// Addresses to begin with whose ids are not known.
    strangers: Vec<SocketAddr>,
    strangers_asked: usize,
    hosts: BTreeSet<SocketAddr>,
    networks: BTreeMap<[u8; 8], u8>,
    namers: BTreeMap<Distance, Namer>,
    /// Queries that hold a place: neither answered, nor lost, nor slow.
    waiting: usize,
    asked: usize,
    answered: usize,
}

#[derive(Debug)]
struct Candidate {
    contact: Contact,
    /// Rounds until it was named: 1 for those that we began with.
    round: u32,
    namer: Option<Distance>,
    state: State,
    token: Option<Box<[u8]>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    New,
    Waiting,
    Slow,
    Answered,
    Failed,
}

/// What came of the nodes that a node named.
#[derive(Clone, Copy, Default, Debug)]
struct Namer {
    answered: u8,
    failed: u8,
}

/// Candidates of one network (chosen: two, since the nearest node may have an honest neighbour).
const MOST_OF_NETWORK: u8 = 2;

/// Whom to ask next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    /// A node.
    Node(Contact),
    /// A node whose id is not known, at this address.
    Stranger(SocketAddr),
}

/// A node that has answered, for storing something there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answered {
    /// Who it is.
    pub(super) contact: Contact,
    /// What it needs to be shown.
    pub(super) token: Option<Box<[u8]>>,
}

impl Lookup {
    /// A lookup that begins with these nodes and addresses.
    pub(super) fn new(target: NodeId, nodes: &[Contact], strangers: Vec<SocketAddr>) -> Self {
        let mut lookup = Lookup {
            target,
            candidates: BTreeMap::new(),
            strangers,
            strangers_asked: 0,
            hosts: BTreeSet::new(),
            networks: BTreeMap::new(),
            namers: BTreeMap::new(),
            waiting: 0,
            asked: 0,
            answered: 0,
        };
        for contact in nodes {
            lookup.add(*contact, None, 1);
        }
        lookup
    }

    /// What is looked for.
    pub(super) fn target(&self) -> NodeId {
        self.target
    }

    /// How many nodes were asked.
    pub(super) fn asked(&self) -> usize {
        self.asked
    }

    /// How many of them answered.
    pub(super) fn answered(&self) -> usize {
        self.answered
    }

    /// Whom to ask now. To be called until there is nobody.
    pub(super) fn next(&mut self) -> Option<Ask> {
        if self.waiting >= ALPHA || self.asked >= MOST_ASKED {
            return None;
        }
        if let Some(distance) = self.next_candidate() {
            let candidate = self.candidates.get_mut(&distance)?;
            candidate.state = State::Waiting;
            self.waiting += 1;
            self.asked += 1;
            return Some(Ask::Node(candidate.contact));
        }
        // Nodes whose ids are known come first; bare addresses are asked when none of them is left.
        if self.answered >= K {
            return None;
        }
        let stranger = self.strangers.get(self.strangers_asked).copied()?;
        self.strangers_asked += 1;
        self.waiting += 1;
        self.asked += 1;
        Some(Ask::Stranger(stranger))
    }

    /// A node answered and named others. Returns in which round it was asked; `None` if it was
    /// not.
    pub(super) fn handle_answer(
        &mut self,
        asked: Ask,
        was_slow: bool,
        from: Contact,
        token: Option<&[u8]>,
        named: &[Contact],
    ) -> Option<u32> {
        let distance = from.id.distance(&self.target);
        let was_stranger = matches!(asked, Ask::Stranger(_));
        if was_stranger {
            self.waiting = self.waiting.saturating_sub(usize::from(!was_slow));
            if self.candidates.contains_key(&distance) {
                return None;
            }
            self.insert(distance, from, None, 1);
        }
        let candidate = self.candidates.get_mut(&distance)?;
        match candidate.state {
            State::Waiting => self.waiting = self.waiting.saturating_sub(1),
            State::Slow => {}
            State::New if was_stranger => {}
            State::New | State::Answered | State::Failed => return None,
        }
        candidate.state = State::Answered;
        candidate.token = token.map(Box::from);
        let (round, namer) = (candidate.round, candidate.namer);
        self.answered += 1;
        if let Some(namer) = namer {
            let namer = self.namers.entry(namer).or_default();
            namer.answered = namer.answered.saturating_add(1);
        }
        for contact in named.iter().take(K) {
            self.add(*contact, Some(distance), round + 1);
        }
        Some(round)
    }

    /// A node has not answered for a while: its place is free, its answer still welcome.
    pub(super) fn handle_slow(&mut self, asked: Ask) {
        match asked {
            Ask::Stranger(_) => self.waiting = self.waiting.saturating_sub(1),
            Ask::Node(contact) => self.give_up(contact, State::Slow),
        }
    }

    /// A node will not answer, or answered nonsense.
    pub(super) fn handle_failed(&mut self, asked: Ask, was_slow: bool) {
        match asked {
            Ask::Stranger(_) if was_slow => {}
            Ask::Stranger(_) => self.waiting = self.waiting.saturating_sub(1),
            Ask::Node(contact) => self.give_up(contact, State::Failed),
        }
    }

    /// Whether nothing more is to come.
    pub(super) fn is_done(&self) -> bool {
        if self.asked >= MOST_ASKED {
            return self.waiting == 0;
        }
        let strangers_left = self.strangers_asked < self.strangers.len() && self.answered < K;
        if strangers_left || self.next_candidate().is_some() {
            return false;
        }
        // Those farther than the K closest are not waited for.
        let mut found = 0;
        for candidate in self.candidates.values() {
            match candidate.state {
                State::Waiting => return false,
                State::Answered if candidate.counts() => found += 1,
                _ => {}
            }
            if found >= K {
                return true;
            }
        }
        self.waiting == 0
    }

    /// The closest nodes that answered: [`K`] whose ids are bound to their addresses, and those in
    /// between whose are not.
    pub(super) fn closest(&self) -> Vec<Answered> {
        let mut closest = Vec::new();
        let mut found = 0;
        for candidate in self.candidates.values() {
            if candidate.state == State::Answered && closest.len() < 2 * K {
                found += usize::from(candidate.counts());
                closest
                    .push(Answered { contact: candidate.contact, token: candidate.token.clone() });
            }
            if found >= K {
                break;
            }
        }
        closest
    }

    /// The closest candidate that is to be asked, unless the [`K`] closest have answered.
    fn next_candidate(&self) -> Option<Distance> {
        let mut found = 0;
        for (distance, candidate) in &self.candidates {
            match candidate.state {
                State::New if self.is_believed(candidate.namer) => return Some(*distance),
                State::Answered if candidate.counts() => found += 1,
                _ => {}
            }
            if found >= K {
                return None;
            }
        }
        None
    }

    fn is_believed(&self, namer: Option<Distance>) -> bool {
        let record = namer.and_then(|namer| self.namers.get(&namer));
        record.is_none_or(|namer| namer.answered > 0 || namer.failed < MOST_DUDS)
    }

    fn give_up(&mut self, contact: Contact, state: State) {
        let distance = contact.id.distance(&self.target);
        let Some(candidate) = self.candidates.get_mut(&distance) else { return };
        let before = std::mem::replace(&mut candidate.state, state);
        if before == State::Waiting {
            self.waiting = self.waiting.saturating_sub(1);
            if let Some(namer) = candidate.namer {
                let namer = self.namers.entry(namer).or_default();
                namer.failed = namer.failed.saturating_add(1);
            }
        }
    }

    fn add(&mut self, contact: Contact, namer: Option<Distance>, round: u32) {
        let distance = contact.id.distance(&self.target);
        if self.candidates.contains_key(&distance) || self.hosts.contains(&host(contact.addr)) {
            return;
        }
        if let Some(network) = network(contact.addr.ip()) {
            let count = self.networks.entry(network).or_default();
            if *count >= MOST_OF_NETWORK {
                return;
            }
            *count += 1;
        }
        self.insert(distance, contact, namer, round);
    }

    fn insert(
        &mut self,
        distance: Distance,
        contact: Contact,
        namer: Option<Distance>,
        round: u32,
    ) {
        self.hosts.insert(host(contact.addr));
        let state = State::New;
        self.candidates.insert(distance, Candidate { contact, round, namer, state, token: None });
        if self.candidates.len() > MOST_CANDIDATES {
            let farthest = self.candidates.iter().rev().find(|(_, c)| c.state == State::New);
            let farthest = farthest.map(|(distance, candidate)| (*distance, candidate.contact));
            if let Some((distance, contact)) = farthest {
                self.candidates.remove(&distance);
                self.hosts.remove(&host(contact.addr));
                if let Some(count) =
                    network(contact.addr.ip()).and_then(|net| self.networks.get_mut(&net))
                {
                    *count = count.saturating_sub(1);
                }
            }
        }
    }
}

impl Candidate {
    /// Whether it counts among the closest (BEP 42, "enforcement").
    fn counts(&self) -> bool {
        self.contact.id.is_bound_to(self.contact.addr.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SecretRng;

    const TARGET: NodeId = NodeId([0; 20]);

    /// A node on loopback, where ids are not bound.
    fn node(first: u8, n: u16) -> Contact {
        let mut id = [0; 20];
        id[0] = first;
        id[1..3].copy_from_slice(&n.to_be_bytes());
        id[19] = 1;
        let port = 1000 + u16::from(first) * 200 + n;
        Contact { id: NodeId(id), addr: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    fn drain(lookup: &mut Lookup) -> Vec<Ask> {
        std::iter::from_fn(|| lookup.next()).collect()
    }

    #[test]
    fn the_closest_are_asked_a_few_at_once_until_eight_have_answered() {
        let nodes: Vec<Contact> = (1..=20).map(|n| node(n, 0)).collect();
        let mut lookup = Lookup::new(TARGET, &nodes, Vec::new());
        let mut asked = Vec::new();
        while !lookup.is_done() {
            let batch = drain(&mut lookup);
            assert!(batch.len() <= ALPHA && !batch.is_empty());
            for ask in batch {
                let Ask::Node(contact) = ask else { panic!() };
                asked.push(contact);
                assert_eq!(
                    lookup.handle_answer(Ask::Node(contact), false, contact, Some(b"t"), &[]),
                    Some(1)
                );
            }
        }
        assert_eq!(asked, nodes[..8]);
        let closest: Vec<Contact> = lookup.closest().iter().map(|found| found.contact).collect();
        assert_eq!(closest, nodes[..8]);
    }

    #[test]
    fn what_is_named_closer_is_asked_before_and_a_round_later() {
        let mut lookup = Lookup::new(TARGET, &[node(200, 0)], Vec::new());
        drain(&mut lookup);
        assert_eq!(
            lookup.handle_answer(Ask::Node(node(200, 0)), false, node(200, 0), None, &[node(9, 0)]),
            Some(1)
        );
        assert_eq!(drain(&mut lookup), [Ask::Node(node(9, 0))]);
        assert_eq!(
            lookup.handle_answer(Ask::Node(node(9, 0)), false, node(9, 0), None, &[]),
            Some(2)
        );
        assert!(lookup.is_done());
    }

    #[test]
    fn a_slow_node_makes_room_and_may_still_answer() {
        let nodes: Vec<Contact> = (1..=6).map(|n| node(n, 0)).collect();
        let mut lookup = Lookup::new(TARGET, &nodes, Vec::new());
        assert_eq!(drain(&mut lookup).len(), ALPHA);
        lookup.handle_slow(Ask::Node(nodes[0]));
        assert_eq!(drain(&mut lookup), [Ask::Node(nodes[4])]);
        assert_eq!(lookup.handle_answer(Ask::Node(nodes[0]), false, nodes[0], None, &[]), Some(1));
        assert_eq!(
            lookup.handle_answer(Ask::Node(nodes[0]), false, nodes[0], None, &[]),
            None,
            "once"
        );
        assert_eq!(drain(&mut lookup), [], "it holds no place that it could free");
    }

    #[test]
    fn a_node_that_names_only_dead_nodes_is_not_believed() {
        let mut lookup = Lookup::new(TARGET, &[node(200, 0)], Vec::new());
        drain(&mut lookup);
        let fakes: Vec<Contact> = (0..8).map(|n| node(0, n)).collect();
        lookup.handle_answer(Ask::Node(node(200, 0)), false, node(200, 0), None, &fakes);
        let mut asked = 0;
        while !lookup.is_done() {
            for ask in drain(&mut lookup) {
                asked += 1;
                lookup.handle_slow(ask);
            }
        }
        assert!(asked <= ALPHA + usize::from(MOST_DUDS), "{asked}");
        assert_eq!(lookup.closest().len(), 1);
    }

    #[test]
    fn a_chain_of_ever_closer_nodes_ends() {
        let mut lookup = Lookup::new(TARGET, &[node(255, 0)], Vec::new());
        let mut rng = SecretRng::from_seed([1; 32]);
        let mut n = 0_u32;
        while !lookup.is_done() {
            for ask in drain(&mut lookup) {
                let Ask::Node(contact) = ask else { panic!() };
                let named: Vec<Contact> = (0..8)
                    .map(|_| {
                        n += 1;
                        let mut id = contact.id.0;
                        let at = (n / 64 % 18) as usize;
                        id[at] = id[at].saturating_sub(1);
                        id[18] = rng.bytes::<1>()[0];
                        let addr = SocketAddr::from((n.to_be_bytes(), 1));
                        Contact { id: NodeId(id), addr }
                    })
                    .collect();
                lookup.handle_answer(Ask::Node(contact), false, contact, None, &named);
            }
        }
        assert!(lookup.asked() <= MOST_ASKED && lookup.candidates.len() <= MOST_CANDIDATES + 1);
    }

    #[test]
    fn ids_that_are_not_bound_do_not_end_a_lookup() {
        let unbound =
            |n: u8| Contact { id: NodeId([n; 20]), addr: SocketAddr::from(([60, n, 1, 1], 1)) };
        let nodes: Vec<Contact> = (1..=20).map(unbound).collect();
        assert!(nodes.iter().all(|node| !node.id.is_bound_to(node.addr.ip())));
        let mut lookup = Lookup::new(TARGET, &nodes, Vec::new());
        while !lookup.is_done() {
            for ask in drain(&mut lookup) {
                let Ask::Node(contact) = ask else { panic!() };
                lookup.handle_answer(Ask::Node(contact), false, contact, None, &[]);
            }
        }
        assert_eq!(lookup.asked(), 20, "all were asked, for none counts");
        assert_eq!(lookup.closest().len(), 16);
    }

    #[test]
    fn strangers_are_asked_only_while_too_few_nodes_are_known() {
        let router: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let mut lookup = Lookup::new(TARGET, &[], vec![router]);
        assert!(!lookup.is_done());
        assert_eq!(drain(&mut lookup), [Ask::Stranger(router)]);
        let known = Contact { addr: router, ..node(9, 0) };
        assert_eq!(
            lookup.handle_answer(Ask::Stranger(router), false, known, None, &[node(5, 0)]),
            Some(1)
        );
        assert_eq!(drain(&mut lookup), [Ask::Node(node(5, 0))]);
        lookup.handle_failed(Ask::Node(node(5, 0)), false);
        assert!(lookup.is_done());
        let nodes: Vec<Contact> = (1..=9).map(|n| node(n, 0)).collect();
        let mut lookup = Lookup::new(TARGET, &nodes, vec![router]);
        while !lookup.is_done() {
            for ask in drain(&mut lookup) {
                let Ask::Node(contact) = ask else { panic!("{ask:?}") };
                lookup.handle_answer(Ask::Node(contact), false, contact, None, &[]);
            }
        }
    }

    #[test]
    fn nothing_to_begin_with_is_done_at_once() {
        assert!(Lookup::new(TARGET, &[], Vec::new()).is_done());
    }
}
