//! The DHT as a network: 1,000 nodes of the machine itself, with nodes that vanish, loss, and
//! nodes that lie. The figures are a snapshot: a change of them is explained in its commit.

mod hostile;
mod network;

use std::net::SocketAddr;

use bitswarm_core::dht::krpc::Method;
use bitswarm_core::dht::{Announce, DhtRequest, DhtResult, NodeId, Stats};
use bitswarm_core::time::Duration;

use hostile::{Hostile, Trick, query};
use network::Network;

const NODES: usize = 1000;
const LOOKUPS: usize = 200;

fn announce(infohash: NodeId) -> DhtRequest {
    let announce = Some(Announce { port: Some(5000), seed: false });
    DhtRequest::Peers { infohash, no_seeds: false, announce, enough: None }
}

fn find(infohash: NodeId) -> DhtRequest {
    DhtRequest::Peers { infohash, no_seeds: false, announce: None, enough: None }
}

/// So many honest nodes that have joined one after the other.
fn grown(seed: u8, nodes: usize) -> Network {
    let mut network = Network::new(seed);
    for _ in 0..nodes {
        network.join();
        network.pass(Duration::from_millis(50));
    }
    network.pass(Duration::from_secs(60));
    network
}

/// What lookups came to.
#[derive(Default)]
struct Figures {
    found: usize,
    rounds: Vec<u64>,
    millis: Vec<u64>,
    asked: Vec<u64>,
}

impl Figures {
    fn add(&mut self, peer: SocketAddr, took: Duration, result: &DhtResult) {
        if result.peers.contains(&peer) {
            self.found += 1;
            self.rounds.push(u64::from(result.found_in_round.expect("it was found")));
        }
        self.millis.push(took.as_millis() as u64);
        self.asked.push(result.asked as u64);
    }

    fn text(&mut self) -> String {
        let spread = |values: &mut Vec<u64>| {
            values.sort_unstable();
            let at = |per_cent: usize| values[(values.len() - 1) * per_cent / 100];
            format!("{} / {} / {}", at(50), at(95), at(100))
        };
        format!(
            "found {} of {}; rounds {}; ms {}; nodes asked {}",
            self.found,
            self.millis.len(),
            spread(&mut self.rounds),
            spread(&mut self.millis),
            spread(&mut self.asked),
        )
    }

    fn median_rounds(&mut self) -> u64 {
        self.rounds.sort_unstable();
        self.rounds[self.rounds.len() / 2]
    }
}

/// Peers announce themselves, then some nodes vanish, then others look for the peers.
fn announce_vanish_look(network: &mut Network, vanish_per_cent: usize, lookups: usize) -> Figures {
    let mut announced = Vec::new();
    for _ in 0..lookups {
        let infohash = NodeId::random(&mut network.secret);
        let honest = network.honest();
        let index = honest[network.rng.index(honest.len())];
        let request = network.request(index, announce(infohash));
        announced.push((infohash, index, request));
        network.pass(Duration::from_millis(100));
    }
    for (_, index, request) in &announced {
        let (_, result) = network.result(*index, *request);
        assert!(result.stored > 0, "nobody took it: {result:?}");
    }
    for index in network.honest() {
        if network.rng.below(100) < vanish_per_cent as u64 {
            network.remove(index);
        }
    }
    let mut figures = Figures::default();
    for (infohash, announcer, _) in announced {
        let peer = SocketAddr::new(network.nodes[announcer].addr.ip(), 5000);
        let honest = network.honest();
        let index = honest[network.rng.index(honest.len())];
        let request = network.request(index, find(infohash));
        let (took, result) = network.result(index, request);
        figures.add(peer, took, &result);
    }
    figures
}

fn assert_bounded(stats: Stats) {
    assert!(stats.nodes <= 160 * 8 && stats.queries <= 1024, "{stats:?}");
    assert!(stats.peers <= 50_000 && stats.items <= 2000 && stats.swarms <= 5000, "{stats:?}");
    assert!(stats.remembered <= 2 * 4096 && stats.searches <= 40, "{stats:?}");
}

#[test]
fn lookups_find_the_stored_peer_though_a_fifth_of_the_nodes_is_gone() {
    let mut network = grown(1, NODES);
    let mut figures = announce_vanish_look(&mut network, 20, LOOKUPS);
    assert!(figures.found * 100 >= LOOKUPS * 99, "{}", figures.text());
    // log2(1000) / 2 + 2, rounded down.
    assert!(figures.median_rounds() <= 6, "{}", figures.text());
    assert_eq!(
        figures.text(),
        "found 200 of 200; rounds 2 / 4 / 6; ms 2477 / 4286 / 6000; nodes asked 17 / 23 / 30"
    );
}

#[test]
fn lookups_succeed_among_liars_and_memory_is_bounded() {
    let mut network = grown(2, 240);
    for n in 0..60 {
        let trick = [Trick::WrongId, Trick::DeadNodes, Trick::FalsePeers, Trick::Spoofer][n % 4];
        let rng = network.secret.fork();
        network.join_hostile(Hostile::new(trick, rng));
        network.pass(Duration::from_millis(50));
    }
    network.pass(Duration::from_secs(60));
    let mut figures = announce_vanish_look(&mut network, 0, 60);
    assert!(figures.found * 100 >= 60 * 95, "{}", figures.text());
    let now = network.now;
    for index in network.honest() {
        assert_bounded(network.dht(index).stats(now));
    }
    assert_eq!(
        figures.text(),
        "found 60 of 60; rounds 2 / 3 / 3; ms 1500 / 2119 / 2189; nodes asked 14 / 16 / 17"
    );
}

#[test]
fn a_flood_harms_neither_its_target_nor_those_in_whose_name_it_comes() {
    let mut network = grown(3, 60);
    network.loss_per_mille = 0;
    let target = network.nodes[5].addr;
    let infohash = NodeId::random(&mut network.secret);
    let mut asked = 0;
    for n in 0..20_000_u32 {
        let [_, b, c, d] = (n / 4).to_be_bytes();
        let victim = SocketAddr::from(([140, b, c, d], 53));
        let id = NodeId::random(&mut network.secret);
        let question =
            query(target, id, Method::GetPeers { infohash, no_seeds: false, scrape: true });
        asked += question.data.len();
        network.send(victim, question);
        if n % 100 == 0 {
            network.pass(Duration::from_millis(100));
        }
    }
    network.pass(Duration::from_secs(10));
    let reflected: usize = network.astray.values().sum();
    assert!(reflected <= asked, "{asked} bytes of questions brought {reflected} bytes");
    let now = network.now;
    assert_bounded(network.dht(5).stats(now));
    let request = network.request(9, announce(infohash));
    network.result(9, request);
    let request = network.request(5, find(infohash));
    let (_, result) = network.result(5, request);
    assert_eq!(result.peers.len(), 1);
}

#[test]
fn the_same_seed_gives_the_same_network() {
    let run = || {
        let mut network = grown(4, 60);
        let figures = announce_vanish_look(&mut network, 10, 10).text();
        (figures, network.sent)
    };
    assert_eq!(run(), run());
}
