use std::collections::BTreeMap;

use super::krpc::{Body, ErrorCode, RawItem, Response, parse};
use super::store::item::Item;
use super::*;
use crate::time::Duration;

const SETTINGS: Settings = Settings { v4: true, v6: false, read_only: false, version: *b"bs00" };

/// Nodes on loopback and a network without delay or loss.
struct World {
    now: Instant,
    nodes: BTreeMap<SocketAddr, Dht>,
    /// Datagrams to addresses where nobody is.
    stray: Vec<(SocketAddr, Packet)>,
    /// Every datagram: from, to, length.
    sent: Vec<(SocketAddr, SocketAddr, usize)>,
    outputs: Vec<(SocketAddr, Output)>,
}

fn at(n: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1000 + n))
}

impl World {
    fn new() -> Self {
        World {
            now: Instant::ZERO,
            nodes: BTreeMap::new(),
            stray: Vec::new(),
            sent: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// So many nodes; all know the first.
    fn of(count: u16) -> Self {
        let mut world = World::new();
        for n in 0..count {
            world.add(n, SETTINGS);
            let routers = if n == 0 { vec![] } else { vec![at(0)] };
            world.with(n, |dht, now| dht.begin(now, routers));
        }
        world.pass(60);
        world.outputs.clear();
        world
    }

    fn add(&mut self, n: u16, settings: Settings) {
        let [a, b] = n.to_be_bytes();
        let mut seed = [7; 32];
        (seed[0], seed[1]) = (a, b);
        let dht = Dht::new(settings, SecretRng::from_seed(seed), self.now);
        self.nodes.insert(at(n), dht);
    }

    fn with<R>(&mut self, n: u16, run: impl FnOnce(&mut Dht, Instant) -> R) -> R {
        let now = self.now;
        let result = run(self.nodes.get_mut(&at(n)).unwrap(), now);
        self.settle();
        result
    }

    fn settle(&mut self) {
        loop {
            let mut moving = Vec::new();
            for (addr, dht) in &mut self.nodes {
                while let Some(datagram) = dht.poll_transmit() {
                    moving.push((*addr, datagram));
                }
                while let Some(output) = dht.poll_output() {
                    self.outputs.push((*addr, output));
                }
            }
            if moving.is_empty() {
                return;
            }
            for (from, datagram) in moving {
                self.sent.push((from, datagram.remote, datagram.data.len()));
                match self.nodes.get_mut(&datagram.remote) {
                    Some(dht) => {
                        dht.handle_datagram(self.now, from, &datagram.data);
                    }
                    None => self.stray.push((from, datagram)),
                }
            }
        }
    }

    fn pass(&mut self, secs: u64) {
        let until = self.now + Duration::from_secs(secs);
        loop {
            let next = self.nodes.values().filter_map(Dht::poll_timeout).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            for dht in self.nodes.values_mut() {
                if dht.poll_timeout().is_some_and(|at| at <= next) {
                    dht.handle_timeout(next);
                    assert!(dht.poll_timeout().is_none_or(|at| at > next), "it would spin");
                }
            }
            self.settle();
        }
        self.now = until;
    }

    /// What comes of a request.
    fn fulfil(&mut self, n: u16, request: DhtRequest) -> DhtResult {
        let id = self.with(n, |dht, now| dht.request(now, request)).unwrap();
        self.pass(10);
        let done = |(addr, output): &(SocketAddr, Output)| match output {
            Output::Done { request, result } if *addr == at(n) && *request == id => {
                Some(*result.clone())
            }
            _ => None,
        };
        self.outputs.iter().find_map(done).expect("it is done in time")
    }

    /// Hands a datagram in as if it came from an address where nobody is; the answers to it.
    fn say(&mut self, n: u16, from: SocketAddr, data: &[u8]) -> Vec<Packet> {
        self.stray.clear();
        self.with(n, |dht, now| dht.handle_datagram(now, from, data));
        std::mem::take(&mut self.stray).into_iter().map(|(_, datagram)| datagram).collect()
    }
}

fn query(method: Method<'_>) -> bytes::BytesMut {
    let query = Query { id: NodeId([0x55; 20]), want: None, method };
    message(Body::Query(query)).encode()
}

fn message(body: Body<'_>) -> Message<'_> {
    Message { transaction: b"tt", version: None, read_only: true, your_addr: None, body }
}

fn peers_request(infohash: NodeId, announce: Option<Announce>) -> DhtRequest {
    DhtRequest::Peers { infohash, no_seeds: false, announce, enough: None }
}

const INFOHASH: NodeId = NodeId([0x3c; 20]);

#[test]
fn an_announced_peer_is_found_by_another_node() {
    let mut world = World::of(40);
    let announce = Announce { port: Some(7777), seed: false };
    let result = world.fulfil(3, peers_request(INFOHASH, Some(announce)));
    assert_eq!((result.stored, result.refused), (8, None));
    let result = world.fulfil(17, peers_request(INFOHASH, None));
    assert_eq!(result.peers, ["127.0.0.1:7777".parse().unwrap()]);
    assert!(result.found_in_round.is_some_and(|round| round <= 3), "{result:?}");
}

#[test]
fn two_nodes_are_a_network() {
    let mut world = World::of(2);
    let announce = Announce { port: None, seed: true };
    assert_eq!(world.fulfil(1, peers_request(INFOHASH, Some(announce))).stored, 1);
    assert_eq!(world.fulfil(0, peers_request(INFOHASH, None)).peers, [at(1)], "it keeps it itself");
    world.add(2, SETTINGS);
    world.with(2, |dht, now| dht.begin(now, vec![at(0)]));
    assert_eq!(world.fulfil(2, peers_request(INFOHASH, None)).peers, [at(1)], "the implied port");
}

#[test]
fn a_swarm_is_counted() {
    let mut world = World::of(20);
    for n in 1..=10 {
        let announce = Announce { port: Some(n), seed: n <= 4 };
        world.fulfil(n, peers_request(INFOHASH, Some(announce)));
    }
    // On loopback all have one address, which counts once.
    assert_eq!(world.fulfil(15, DhtRequest::Scrape { infohash: INFOHASH }).swarm, Some((1, 1)));
}

/// Nobody asks it anything, so nobody ever gets to know it.
#[test]
fn a_read_only_node_is_told_what_is_long_too() {
    let mut world = World::of(20);
    for (n, seed) in [(1_u16, true), (2, false)] {
        world.fulfil(n, peers_request(INFOHASH, Some(Announce { port: Some(n), seed })));
    }
    let long = Item::mutable(&[1; 32], &b""[..], 1, [&b"996:"[..], &[7; 996]].concat()).unwrap();
    assert_eq!(world.fulfil(3, DhtRequest::Put { item: (&long).into(), cas: None }).stored, 8);
    world.add(20, Settings { read_only: true, ..SETTINGS });
    world.with(20, |dht, now| dht.begin(now, vec![at(0)]));
    assert_eq!(world.fulfil(20, DhtRequest::Scrape { infohash: INFOHASH }).swarm, Some((1, 1)));
    let get = DhtRequest::Get { target: long.target(), salt: Vec::new() };
    assert_eq!(world.fulfil(20, get).item, Some(long));
}

#[test]
fn items_are_put_and_got() {
    let mut world = World::of(20);
    let put = |item: &Item, cas| DhtRequest::Put { item: item.into(), cas };
    let immutable = Item::immutable(&b"5:hello"[..]).unwrap();
    assert_eq!(world.fulfil(1, put(&immutable, None)).stored, 8);
    let get =
        |item: &Item, salt: &[u8]| DhtRequest::Get { target: item.target(), salt: salt.to_vec() };
    assert_eq!(world.fulfil(9, get(&immutable, b"")).item, Some(immutable));

    let mutable = |seq, value: &'static [u8]| Item::mutable(&[1; 32], &b"salt"[..], seq, value);
    let (one, two) = (mutable(1, b"3:one").unwrap(), mutable(2, b"3:two").unwrap());
    assert_eq!(world.fulfil(1, put(&one, None)).stored, 8);
    assert_eq!(world.fulfil(2, put(&two, Some(1))).stored, 8);
    assert_eq!(world.fulfil(9, get(&one, b"salt")).item, Some(two.clone()));
    assert_eq!(world.fulfil(9, get(&one, b"other")).item, None, "the salt belongs to the place");
    let stale = world.fulfil(3, put(&one, None));
    assert_eq!((stale.stored, stale.refused), (0, Some(ErrorCode::SequenceTooLow)));
    let late = world.fulfil(3, put(&mutable(3, b"1:x").unwrap(), Some(1)));
    assert_eq!((late.stored, late.refused), (0, Some(ErrorCode::CasMismatch)));
}

#[test]
fn infohashes_are_sampled() {
    let mut world = World::of(5);
    for n in 1..=4_u8 {
        let announce = Announce { port: Some(1), seed: false };
        world.fulfil(0, peers_request(NodeId([n; 20]), Some(announce)));
    }
    let result = world.fulfil(3, DhtRequest::Sample { target: INFOHASH });
    assert_eq!(result.samples, [1, 2, 3, 4].map(|n| NodeId([n; 20])));
}

#[test]
fn a_node_whose_router_is_away_tries_again_and_is_silent_in_between() {
    let mut world = World::new();
    world.add(1, SETTINGS);
    world.with(1, |dht, now| dht.begin(now, vec![at(0)]));
    world.pass(600);
    let tries = world.stray.len();
    assert!((5..20).contains(&tries), "{tries}");
    world.add(0, SETTINGS);
    world.with(0, |dht, now| dht.begin(now, vec![]));
    world.pass(300);
    assert_eq!(world.nodes[&at(1)].stats(world.now).nodes, 1);
}

#[test]
fn requests_wait_until_somebody_is_known_and_fail_if_nobody_is() {
    let mut world = World::new();
    world.add(1, SETTINGS);
    world.with(1, |dht, now| dht.request(now, peers_request(INFOHASH, None))).unwrap();
    world.pass(5);
    assert!(world.outputs.is_empty());
    world.with(1, |dht, now| dht.begin(now, vec![]));
    let said: Vec<_> = world.outputs.iter().map(|(_, output)| output).collect();
    assert!(
        matches!(said[..], [Output::Ready { nodes: 0 }, Output::Done { result, .. }] if result.asked == 0),
        "{said:?}"
    );
}

#[test]
fn a_forgotten_request_is_never_heard_of_again() {
    let mut world = World::of(10);
    let id = world.nodes.get_mut(&at(1)).unwrap().request(world.now, peers_request(INFOHASH, None));
    world.nodes.get_mut(&at(1)).unwrap().forget(id.unwrap());
    world.pass(20);
    assert!(world.outputs.is_empty());
    assert_eq!(world.nodes[&at(1)].stats(world.now).requests, 0);
}

#[test]
fn a_read_only_node_asks_and_is_not_asked() {
    let mut world = World::of(10);
    world.add(50, Settings { read_only: true, ..SETTINGS });
    world.with(50, |dht, now| dht.begin(now, vec![at(0)]));
    let announce = Announce { port: Some(5), seed: false };
    assert_eq!(world.fulfil(50, peers_request(INFOHASH, Some(announce))).stored, 8);
    let asked = |world: &World| {
        let known = |dht: &Dht| {
            dht.tables[0].as_ref().is_some_and(|t| t.contacts().any(|c| c.addr == at(50)))
        };
        world.nodes.values().filter(|dht| known(dht)).count()
    };
    assert_eq!(asked(&world), 0);
    let stranger: SocketAddr = "127.0.0.1:9".parse().unwrap();
    assert_eq!(world.say(50, stranger, &query(Method::Ping)), []);
    assert_eq!(world.say(1, stranger, &query(Method::Ping)).len(), 1);
}

#[test]
fn an_answer_to_a_stranger_is_never_much_longer_than_the_question() {
    let mut world = World::of(30);
    for n in 1..20 {
        let announce = Announce { port: Some(n), seed: n <= 4 };
        world.fulfil(n, peers_request(INFOHASH, Some(announce)));
    }
    let item = Item::immutable([b"900:".to_vec(), vec![b'x'; 900]].concat()).unwrap();
    world.fulfil(1, DhtRequest::Put { item: (&item).into(), cas: None });
    let questions = [
        Method::Ping,
        Method::FindNode { target: INFOHASH },
        Method::GetPeers { infohash: INFOHASH, no_seeds: false, scrape: false },
        Method::GetPeers { infohash: INFOHASH, no_seeds: false, scrape: true },
        Method::Get { target: item.target(), seq: None },
        Method::SampleInfohashes { target: INFOHASH },
        Method::Unknown { target: Some(INFOHASH) },
        Method::Unknown { target: None },
        Method::AnnouncePeer { infohash: INFOHASH, port: Some(5), seed: false, token: b"wrong" },
    ];
    let mut port = 20_000;
    for method in questions {
        for n in 0..30 {
            port += 1;
            let from = SocketAddr::from(([127, 0, 0, 1], port));
            let question = query(method);
            for answer in world.say(n, from, &question) {
                let (short, long) = (question.len(), answer.data.len());
                assert!(long <= AMPLIFICATION * short, "{short} bytes brought {long}: {method:?}");
            }
        }
    }
}

#[test]
fn an_error_to_a_stranger_is_never_much_longer_than_the_question() {
    let mut world = World::of(2);
    let stranger: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let mut answered = 0;
    for pad in 0..60 {
        let question = format!("d1:t1:x1:x{pad}:{}1:y1:qe", "p".repeat(pad));
        for answer in world.say(1, stranger, question.as_bytes()) {
            answered += 1;
            assert!(answer.data.len() <= AMPLIFICATION * question.len(), "{pad}");
        }
    }
    assert!(answered > 0, "a long question has an answer");
}

#[test]
fn nothing_is_stored_without_a_token_of_ones_own() {
    let mut world = World::of(3);
    let (thief, owner) = (at(700), "127.0.0.2:5".parse().unwrap());
    let asked = query(Method::GetPeers { infohash: INFOHASH, no_seeds: false, scrape: false });
    let answers = world.say(1, owner, &asked);
    let token = parse(&answers[0].data, |message| match message.unwrap().body {
        Body::Response(response) => response.token.unwrap().to_vec(),
        other => panic!("{other:?}"),
    });
    let announce = query(Method::AnnouncePeer {
        infohash: INFOHASH,
        port: Some(80),
        seed: false,
        token: &token,
    });
    let refused = world.say(1, thief, &announce);
    parse(&refused[0].data, |message| {
        assert_eq!(message.unwrap().body, Body::Error(ErrorCode::Protocol));
    });
    assert_eq!(world.nodes[&at(1)].stats(world.now).peers, 0);
    world.say(1, owner, &announce);
    assert_eq!(world.nodes[&at(1)].stats(world.now).peers, 1);
    let put = Method::Put { item: RawItem { value: b"1:x", signed: None }, cas: None, token: b"" };
    world.say(1, owner, &query(put));
    assert_eq!(world.nodes[&at(1)].stats(world.now).items, 0);
}

#[test]
fn a_flood_is_answered_only_so_often() {
    let mut world = World::of(3);
    let from = at(700);
    let answers: usize = (0..1000).map(|_| world.say(1, from, &query(Method::Ping)).len()).sum();
    assert_eq!(answers, 50);
}

#[test]
fn answers_nobody_asked_for_change_nothing() {
    let mut world = World::of(3);
    let before = world.nodes[&at(1)].stats(world.now);
    for n in 0..200_u8 {
        let response = Response {
            nodes: vec![Contact { id: NodeId([n; 20]), addr: at(9) }],
            ..Response::new(NodeId([n; 20]))
        };
        let data = message(Body::Response(Box::new(response))).encode();
        assert_eq!(world.say(1, at(800 + u16::from(n)), &data), []);
    }
    assert_eq!(world.nodes[&at(1)].stats(world.now), before);
}

#[test]
fn our_own_id_mirrored_back_is_not_believed() {
    let mut world = World::of(3);
    let own = world.nodes[&at(1)].id(false).unwrap();
    let body = Body::Query(Query { id: own, want: None, method: Method::Ping });
    assert_eq!(world.say(1, at(700), &message(body).encode()), []);
    world.with(1, |dht, now| dht.meet(now, at(701)));
    let (_, question) = world.stray.pop().unwrap();
    let transaction = parse(&question.data, |message| message.unwrap().transaction.to_vec());
    let answer = Message {
        transaction: &transaction,
        ..message(Body::Response(Box::new(Response::new(own))))
    };
    world.say(1, at(701), &answer.encode());
    assert_eq!(world.nodes[&at(1)].stats(world.now).nodes, 2);
}

#[test]
fn most_voters_decide_what_our_address_is_and_our_id_follows() {
    let now = Instant::ZERO;
    let mut dht = Dht::new(SETTINGS, SecretRng::from_seed([1; 32]), now);
    dht.begin(now, vec![]);
    while dht.poll_output().is_some() {}
    let ours: SocketAddr = "9.9.9.9:6881".parse().unwrap();
    for n in 0..20_u8 {
        let voter = SocketAddr::from(([50, n, 1, 1], 6881));
        dht.meet(now, voter);
        let question = std::iter::from_fn(|| dht.poll_transmit()).find(|d| d.remote == voter);
        let question = question.unwrap().data;
        let transaction = parse(&question, |message| message.unwrap().transaction.to_vec());
        let body = Body::Response(Box::new(Response::new(NodeId([n + 1; 20]))));
        let answer = Message { transaction: &transaction, your_addr: Some(ours), ..message(body) };
        dht.handle_datagram(now, voter, &answer.encode());
    }
    assert_eq!(dht.poll_output(), Some(Output::ExternalAddress(ours.ip())));
    assert_eq!(dht.poll_output(), None);
    assert!(dht.id(false).unwrap().is_bound_to(ours.ip()));
    assert!(dht.stats(now).nodes >= 8);
}

#[test]
fn a_saved_table_is_where_the_next_session_begins() {
    let mut world = World::of(20);
    let saved = Saved::decode(&world.nodes[&at(4)].save().encode());
    assert!(saved.contacts.len() > 8);
    let id = world.nodes[&at(4)].id(false);
    world.add(4, SETTINGS);
    world.with(4, |dht, now| {
        dht.load(now, saved.clone());
        dht.begin(now, vec![]);
    });
    world.pass(10);
    assert_eq!(world.nodes[&at(4)].id(false), id);
    assert!(world.nodes[&at(4)].stats(world.now).good_nodes > 8);
    let unreached = Dht::new(SETTINGS, SecretRng::from_seed([9; 32]), world.now);
    let mut unreached = unreached;
    unreached.load(world.now, saved.clone());
    assert_eq!(unreached.save().contacts, saved.contacts, "nothing known is lost");
}

#[test]
fn both_families_are_searched() {
    let six = |n: u16| SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], n));
    let mut world = World::new();
    for n in 0..10 {
        let seed = [n as u8 + 1; 32];
        let settings = Settings { v4: false, v6: true, ..SETTINGS };
        world.nodes.insert(six(n + 1), Dht::new(settings, SecretRng::from_seed(seed), world.now));
        world.add(n, SETTINGS);
    }
    for (addr, dht) in &mut world.nodes {
        dht.begin(world.now, vec![if addr.is_ipv6() { six(1) } else { at(0) }]);
    }
    world.pass(10);
    for (addr, dht) in &mut world.nodes {
        if *addr == six(3) || *addr == at(3) {
            let announce = Announce { port: Some(99), seed: false };
            dht.request(world.now, peers_request(INFOHASH, Some(announce)));
        }
    }
    world.pass(10);
    // A node of both: on this network it has one address for each.
    let mut both =
        Dht::new(Settings { v6: true, ..SETTINGS }, SecretRng::from_seed([99; 32]), world.now);
    both.begin(world.now, vec![at(0), six(1)]);
    both.request(world.now, peers_request(INFOHASH, None));
    let mut peers = Vec::new();
    for _ in 0..100 {
        while let Some(datagram) = both.poll_transmit() {
            let from = if datagram.remote.is_ipv6() { six(500) } else { at(500) };
            let remote = datagram.remote;
            if let Some(dht) = world.nodes.get_mut(&remote) {
                dht.handle_datagram(world.now, from, &datagram.data);
                while let Some(answer) = dht.poll_transmit() {
                    if answer.remote == from {
                        both.handle_datagram(world.now, remote, &answer.data);
                    }
                }
            }
        }
        while let Some(output) = both.poll_output() {
            if let Output::Done { result, .. } = output {
                peers = result.peers;
            }
        }
    }
    peers.sort();
    assert_eq!(peers, ["127.0.0.1:99".parse().unwrap(), "[::1]:99".parse().unwrap()]);
}

quickcheck::quickcheck! {
    fn no_datagram_makes_it_panic(data: Vec<u8>, at: usize, to: u8) -> bool {
        let now = Instant::from_secs(1);
        let mut dht = Dht::new(SETTINGS, SecretRng::from_seed([1; 32]), now);
        dht.begin(now, vec![]);
        let from: SocketAddr = "8.8.8.8:53".parse().unwrap();
        dht.handle_datagram(now, from, &data);
        let mut known = query(Method::FindNode { target: INFOHASH });
        let at = at % known.len();
        known[at] = to;
        dht.handle_datagram(now, from, &known);
        dht.stats(now).nodes == 0
    }
}
