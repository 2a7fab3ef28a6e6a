//! What is around a node of the DHT under a fuzzer, and what is checked of everything it does.
//!
//! The world knows which queries of the node are open, which tokens it gave to whom, and so which
//! addresses have proven that they receive what is sent to them. Checked are: an answer goes to the node
//! that asked, one a query, and to an address that has proven nothing no more than three times what it
//! sent; nobody is asked who cannot be; nothing is kept without a token, and no more than the bounds
//! say; each request ends once; time moves on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use bitswarm_core::Instant;
use bitswarm_core::dht::krpc::{self, Body, Contact, Message, Method, Query, Want, write_contacts};
use bitswarm_core::dht::store::items::{MAX_ITEMS, MAX_ITEMS_OF_ADDRESS};
use bitswarm_core::dht::store::peers::{MAX_PEERS, MAX_SWARMS, MAX_SWARMS_OF_ADDRESS};
use bitswarm_core::dht::{
    AMPLIFICATION, Dht, DhtRequest, DhtRequestId, NodeId, Output, Saved, Settings,
};
use bitswarm_core::random::SecretRng;

use crate::sim::bencode::Value as Strict;

/// When the world begins.
const BEGAN: Instant = Instant::from_secs(1000);
/// Longest answer, and longest datagram of all.
const LONGEST_ANSWER: usize = 1400;
const LONGEST: usize = 1500;
/// Datagrams that one event may cause: all lookups that run at once go on, each with a few queries.
const MOST_SENT: usize = 500;
/// Bytes of answers to addresses that have proven nothing: at once, and in a second.
const UNPROVEN_BURST: u64 = 256 << 10;
const UNPROVEN_PER_S: u64 = 64 << 10;
/// Searches: those of requests, and those of upkeep besides.
const MOST_SEARCHES: usize = 24 + 64;
/// Peers that come of one request, of both families.
const MOST_PEERS: usize = 2 * 2000;

/// The nodes there are, each in a network of its own, with ids as their addresses demand.
static NODES: LazyLock<Vec<Contact>> = LazyLock::new(|| {
    let mut rng = SecretRng::from_seed([1; 32]);
    let addr = |n: u8| match n {
        0..24 => SocketAddr::from(([20 + n, 7, n, 1], 6881)),
        _ => SocketAddr::from(([0x2001, u16::from(n), 7, 0, 0, 0, 0, 1], 6881)),
    };
    (0..32)
        .map(addr)
        .map(|addr| Contact { id: NodeId::bound_to(addr.ip(), &mut rng), addr })
        .collect()
});

pub(super) struct World {
    dht: Dht,
    settings: Settings,
    now: Instant,
    /// Queries of the node that have no answer.
    open: Vec<(SocketAddr, Vec<u8>)>,
    tokens: BTreeMap<IpAddr, BTreeSet<Vec<u8>>>,
    proven: BTreeSet<SocketAddr>,
    /// Who asks or answers now, and with how many bytes.
    event: Option<(SocketAddr, usize)>,
    unproven_bytes: u64,
    requests: BTreeMap<DhtRequestId, usize>,
    /// What was asked to be stored with a token that is, or was, good: items and peers.
    stored: [BTreeMap<IpAddr, usize>; 2],
}

impl World {
    pub(super) fn new(settings: Settings, is_known: bool) -> Self {
        let now = BEGAN;
        let mut dht = Dht::new(settings, SecretRng::from_seed([3; 32]), now);
        if is_known {
            dht.load(now, Saved { ids: [None, None], contacts: NODES[8..].to_vec() });
        }
        dht.begin(now, NODES[..2].iter().map(|node| node.addr).collect());
        let mut world = World {
            dht,
            settings,
            now,
            open: Vec::new(),
            tokens: BTreeMap::new(),
            proven: BTreeSet::new(),
            event: None,
            unproven_bytes: 0,
            requests: BTreeMap::new(),
            stored: Default::default(),
        };
        world.drain();
        world
    }

    // What the program asks about.

    /// One of the nodes, or a stranger.
    pub(super) fn remote(&self, which: u8) -> SocketAddr {
        match NODES.get(usize::from(which)) {
            Some(node) => node.addr,
            None => SocketAddr::from(([198, 51, which & 15, 7], 1000 + u16::from(which >> 6))),
        }
    }

    /// The last token that an address got; none if it got none.
    pub(super) fn token(&self, from: SocketAddr) -> Vec<u8> {
        let tokens = self.tokens.get(&from.ip());
        tokens.and_then(|tokens| tokens.last()).cloned().unwrap_or_default()
    }

    /// Contacts as an answer has them, from one of the nodes on; some that cannot be.
    pub(super) fn contacts(&self, first: u8, count: u8) -> Vec<u8> {
        let nodes = NODES[..24].iter().cycle().skip(usize::from(first) % 24);
        let mut contacts: Vec<Contact> = nodes.take(usize::from(count)).copied().collect();
        if first & 0x80 != 0 {
            for addr in ["127.0.0.1:5", "224.0.0.1:5", "192.168.1.1:5", "9.9.9.9:0", "0.0.0.0:1"] {
                let addr = addr.parse().expect("it is an address");
                contacts.push(Contact { id: NodeId([first; 20]), addr });
            }
        }
        write_contacts(&contacts)
    }

    // What happens.

    pub(super) fn datagram(&mut self, from: SocketAddr, data: &[u8]) {
        self.note(from, data);
        self.event = Some((from, data.len()));
        let is_ours = self.dht.handle_datagram(self.now, from, data);
        assert_eq!(is_ours, data.first() == Some(&b'd'));
        self.drain();
        self.event = None;
    }

    /// What a datagram proves, and may have stored.
    fn note(&mut self, from: SocketAddr, data: &[u8]) {
        let (open, tokens) = (&mut self.open, &self.tokens);
        let has_token =
            |token: &[u8]| tokens.get(&from.ip()).is_some_and(|tokens| tokens.contains(token));
        let (proves, stores) = krpc::parse(data, |message| match message {
            Ok(Message { body: Body::Query(query), .. }) => match query.method {
                Method::AnnouncePeer { token, .. } if has_token(token) => (true, Some(1)),
                Method::Put { token, .. } if has_token(token) => (true, Some(0)),
                _ => (false, None),
            },
            Ok(message) => {
                let of_it = |(to, transaction): &(SocketAddr, Vec<u8>)| {
                    *to == from && *transaction == message.transaction
                };
                let at = open.iter().position(of_it);
                (at.map(|at| open.remove(at)).is_some(), None)
            }
            Err(_) => (false, None),
        });
        if proves {
            self.proven.insert(from);
        }
        if let Some(what) = stores {
            let counts: &mut BTreeMap<IpAddr, usize> = &mut self.stored[what];
            *counts.entry(from.ip()).or_default() += 1;
        }
    }

    pub(super) fn query(
        &mut self,
        from: SocketAddr,
        method: Method<'_>,
        want: Option<Want>,
        read_only: bool,
    ) {
        let id = self.id_of(from);
        let message = Message {
            transaction: b"tt",
            version: None,
            read_only,
            your_addr: None,
            body: Body::Query(Query { id, want, method }),
        };
        self.datagram(from, &message.encode());
    }

    fn id_of(&self, addr: SocketAddr) -> NodeId {
        let node = NODES.iter().find(|node| node.addr == addr);
        node.map_or(NodeId([0x5a; 20]), |node| node.id)
    }

    /// An answer to an open query with these fields in `r`, and whatever else follows.
    pub(super) fn answer_with(&mut self, which: u8, body: &[u8]) {
        let Some((from, transaction)) = self.open(which) else { return };
        let id = self.id_of(from).0;
        let frame = [b"d1:rd2:id20:", &id[..], body, b"e1:t4:", &transaction, b"1:y1:re"].concat();
        self.datagram(from, &frame);
    }

    pub(super) fn answer_fields(
        &mut self,
        which: u8,
        outer: &[(&str, Vec<u8>)],
        inner: &[(&str, Vec<u8>)],
    ) {
        let Some((from, transaction)) = self.open(which) else { return };
        let entries = |fields: &[(&str, Vec<u8>)]| -> Vec<u8> {
            let entry = |(key, value): &(&str, Vec<u8>)| {
                [format!("{}:{key}", key.len()).as_bytes(), value].concat()
            };
            fields.iter().flat_map(entry).collect()
        };
        let id = self.id_of(from).0;
        let (outer, inner) = (entries(outer), entries(inner));
        let values = [b"1:rd2:id20:", &id[..], &inner, b"e"].concat();
        let frame = [b"d", &outer[..], &values, b"1:t4:", &transaction, b"1:y1:re"].concat();
        self.datagram(from, &frame);
    }

    pub(super) fn answer_error(&mut self, which: u8, code: u16) {
        let Some((from, transaction)) = self.open(which) else { return };
        let code = format!("d1:eli{code}e2:noe1:t4:");
        self.datagram(from, &[code.as_bytes(), &transaction, b"1:y1:ee"].concat());
    }

    /// Everybody who was asked answers, and names others.
    pub(super) fn answer_all(&mut self) {
        for n in 0..self.open.len().min(64) as u8 {
            let contacts = self.contacts(n.wrapping_mul(5) & 0x7f, 8);
            let nodes = [format!("{}:", contacts.len()).as_bytes(), &contacts].concat();
            self.answer_fields(0, &[], &[("nodes", nodes), ("token", b"2:tk".to_vec())]);
        }
    }

    fn open(&self, which: u8) -> Option<(SocketAddr, Vec<u8>)> {
        self.open.get(usize::from(which) % self.open.len().max(1)).cloned()
    }

    pub(super) fn request(&mut self, request: DhtRequest) {
        if let Some(id) = self.dht.request(self.now, request) {
            assert!(self.requests.insert(id, 0).is_none(), "{id:?} is given out while it lives");
        }
        self.drain();
    }

    pub(super) fn forget(&mut self, which: u8) {
        let id = self.requests.keys().nth(usize::from(which) % self.requests.len().max(1)).copied();
        if let Some(id) = id {
            // What came out before is still told.
            self.drain();
            self.dht.forget(id);
            self.requests.remove(&id);
        }
        self.drain();
    }

    pub(super) fn meet(&mut self, addr: SocketAddr) {
        self.dht.meet(self.now, addr);
        self.drain();
    }

    // Time.

    pub(super) fn pass_millis(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        while let Some(at) = self.dht.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.timeout();
        }
        self.now = until;
    }

    pub(super) fn pass_to_timeout(&mut self) {
        if let Some(at) = self.dht.poll_timeout() {
            self.now = self.now.max(at);
            self.timeout();
        }
    }

    fn timeout(&mut self) {
        self.dht.handle_timeout(self.now);
        let next = self.dht.poll_timeout();
        assert!(next.is_none_or(|at| at > self.now), "spins: {next:?} after {:?}", self.now);
        self.drain();
    }

    /// Nobody says anything any more: every request ends, and what is saved is read again.
    pub(super) fn finish(&mut self) {
        let until = self.now + Duration::from_secs(4 * 3600);
        while !self.requests.is_empty() && self.now < until {
            assert!(self.dht.poll_timeout().is_some(), "a request waits for nothing");
            self.pass_to_timeout();
        }
        assert!(self.requests.is_empty(), "{:?} do not end", self.requests);
        let saved = self.dht.save();
        assert_eq!(Saved::decode(&saved.encode()), saved);
    }

    // What the node does.

    fn drain(&mut self) {
        let (mut sent, mut answers) = (0, 0);
        while let Some(datagram) = self.dht.poll_transmit() {
            sent += 1;
            assert!(sent <= MOST_SENT, "one event causes no end of datagrams");
            answers += usize::from(self.check_sent(datagram.remote, &datagram.data));
        }
        assert!(answers <= 1, "one question has one answer");
        while let Some(output) = self.dht.poll_output() {
            self.check_output(output);
        }
        self.check_stats();
    }

    /// Looks at a datagram; whether it is an answer.
    fn check_sent(&mut self, to: SocketAddr, data: &[u8]) -> bool {
        assert!(data.len() <= LONGEST);
        Strict::parse(data).expect("what is sent is strict bencoding");
        let is_answer = krpc::parse(data, |message| {
            let message = message.expect("what is sent is a message");
            match message.body {
                Body::Query(query) => {
                    assert_eq!(Some(query.id), self.dht.id(to.is_ipv6()));
                    assert_eq!(message.read_only, self.settings.read_only);
                    self.open.push((to, message.transaction.to_vec()));
                    false
                }
                Body::Response(response) => {
                    if let Some(token) = response.token {
                        self.tokens.entry(to.ip()).or_default().insert(token.to_vec());
                    }
                    assert!(response.nodes.iter().all(|contact| contact.addr != to));
                    true
                }
                Body::Error(_) => true,
            }
        });
        match is_answer {
            true => self.check_answer(to, data.len()),
            false => check_asked(to),
        }
        is_answer
    }

    fn check_answer(&mut self, to: SocketAddr, len: usize) {
        let (from, asked) = self.event.expect("answers follow questions");
        assert!(to == from && !self.settings.read_only && len <= LONGEST_ANSWER);
        if !self.proven.contains(&to) {
            assert!(len <= AMPLIFICATION * asked, "{len} bytes for {asked}");
            self.unproven_bytes += len as u64;
            let seconds = (self.now - BEGAN).as_secs();
            assert!(self.unproven_bytes <= UNPROVEN_BURST + UNPROVEN_PER_S * (seconds + 1));
        }
    }

    fn check_output(&mut self, output: Output) {
        match output {
            Output::Peers { request, peers } => {
                let told = self.requests.get_mut(&request).expect("it is asked for");
                *told += peers.len();
                assert!(!peers.is_empty() && *told <= MOST_PEERS);
                let can_be = |peer: &SocketAddr| peer.port() != 0 && !peer.ip().is_multicast();
                assert!(peers.iter().all(can_be), "{peers:?}");
            }
            Output::Done { request, result } => {
                assert!(self.requests.remove(&request).is_some(), "a request ends once");
                assert!(result.peers.len() <= MOST_PEERS && result.samples.is_sorted());
                assert!(result.answered <= result.asked, "{result:?}");
            }
            Output::ExternalAddress(ip) => assert!(!ip.is_unspecified()),
            Output::Ready { .. } | Output::SaveDue => {}
        }
    }

    fn check_stats(&self) {
        let stats = self.dht.stats(self.now);
        let [items, peers] = &self.stored;
        let most = |counts: &BTreeMap<IpAddr, usize>, of_one: usize| -> usize {
            counts.values().map(|count| *count.min(&of_one)).sum()
        };
        assert!(stats.items <= MAX_ITEMS.min(most(items, MAX_ITEMS_OF_ADDRESS)), "{stats:?}");
        assert!(stats.peers <= MAX_PEERS.min(most(peers, usize::MAX)), "{stats:?}");
        assert!(stats.swarms <= MAX_SWARMS.min(most(peers, MAX_SWARMS_OF_ADDRESS)), "{stats:?}");
        assert!(
            stats.requests == self.requests.len() && stats.searches <= MOST_SEARCHES,
            "{stats:?}"
        );
        assert!(stats.queries <= 1024 && stats.remembered <= 2 * 4096, "{stats:?}");
        assert!(stats.good_nodes <= stats.nodes && stats.nodes == self.dht.nodes());
    }
}

/// Nobody is asked where no node can be, or where only this machine or network is.
fn check_asked(to: SocketAddr) {
    let is_local = match to.ip() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_unspecified() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_unique_local(),
    };
    assert!(to.port() != 0 && !is_local, "{to} is asked");
    assert!(!to.ip().is_loopback() && !to.ip().is_multicast(), "{to} is asked");
}
