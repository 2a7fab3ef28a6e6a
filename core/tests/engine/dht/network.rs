//! A network of DHT nodes on a virtual clock: latency, loss, nodes that vanish, and hostile ones.
//!
//! Every node is the machine itself with a public address of its own; each pair of nodes has a
//! latency of its own. A run is a function of its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bitswarm_core::dht::{Dht, DhtRequest, DhtRequestId, DhtResult, NodeId, Output, Settings};
use bitswarm_core::packet::Packet;
use bitswarm_core::random::{PolicyRng, SecretRng};
use bitswarm_core::time::{Duration, Instant};

use super::hostile::Hostile;

/// One-way latency in milliseconds: at least, and how much more at most.
const LATENCY_MS: (u64, u64) = (10, 140);

/// Nodes that a newcomer is told of.
const ROUTERS: usize = 3;

pub(crate) struct Network {
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    by_addr: BTreeMap<SocketAddr, usize>,
    packets: BTreeMap<(Instant, u64), (SocketAddr, Packet)>,
    timers: BTreeSet<(Instant, usize)>,
    pub(crate) rng: PolicyRng,
    pub(crate) secret: SecretRng,
    pub(crate) loss_per_mille: u64,
    pub(crate) sent: u64,
    /// Bytes that arrived where nobody is, by address: what spoofing brings its victims.
    pub(crate) astray: BTreeMap<SocketAddr, usize>,
    done: BTreeMap<(usize, DhtRequestId), (Instant, DhtResult)>,
}

pub(crate) struct Node {
    pub(crate) addr: SocketAddr,
    pub(crate) kind: Kind,
    armed: Option<Instant>,
}

pub(crate) enum Kind {
    Honest(Box<Dht>),
    Hostile(Box<Hostile>),
    Gone,
}

impl Network {
    pub(crate) fn new(seed: u8) -> Self {
        let mut secret = SecretRng::from_seed([seed; 32]);
        Network {
            now: Instant::from_secs(1),
            nodes: Vec::new(),
            by_addr: BTreeMap::new(),
            packets: BTreeMap::new(),
            timers: BTreeSet::new(),
            rng: secret.fork_policy(),
            secret,
            loss_per_mille: 50,
            sent: 0,
            astray: BTreeMap::new(),
            done: BTreeMap::new(),
        }
    }

    /// A public address in a network where nobody is yet.
    fn new_addr(&mut self) -> SocketAddr {
        loop {
            let octet = |rng: &mut PolicyRng, from, to| (from + rng.below(to - from)) as u8;
            let rng = &mut self.rng;
            let ip =
                [octet(rng, 20, 100), octet(rng, 0, 256), octet(rng, 0, 256), octet(rng, 1, 255)];
            let addr = SocketAddr::from((ip, 6881));
            if !self.by_addr.contains_key(&addr) {
                return addr;
            }
        }
    }

    fn push(&mut self, addr: SocketAddr, kind: Kind) -> usize {
        let index = self.nodes.len();
        self.nodes.push(Node { addr, kind, armed: None });
        self.by_addr.insert(addr, index);
        index
    }

    /// An honest node joins through some that are there.
    pub(crate) fn join(&mut self) -> usize {
        let addr = self.new_addr();
        let settings = Settings { v4: true, v6: false, read_only: false, version: *b"bs00" };
        let mut dht = Dht::new(settings, self.secret.fork(), self.now);
        dht.set_id(self.now, false, NodeId::bound_to(addr.ip(), &mut self.secret));
        // With one router only, early loss can split the network in two that never meet.
        let count = self.nodes.len();
        let routers = (0..ROUTERS.min(count)).map(|_| self.nodes[self.rng.index(count)].addr);
        let routers: Vec<SocketAddr> = routers.collect();
        dht.begin(self.now, routers);
        let index = self.push(addr, Kind::Honest(Box::new(dht)));
        self.drain(index);
        index
    }

    /// A hostile node makes itself known to an honest one.
    pub(crate) fn join_hostile(&mut self, mut hostile: Hostile) -> usize {
        let addr = self.new_addr();
        let known = self.nodes[self.rng.index(self.nodes.len())].addr;
        let hello = hostile.hello(known);
        let index = self.push(addr, Kind::Hostile(Box::new(hostile)));
        self.send(addr, hello);
        index
    }

    /// A node vanishes without a word.
    pub(crate) fn remove(&mut self, index: usize) {
        self.nodes[index].kind = Kind::Gone;
    }

    /// Nodes that are honest and there.
    pub(crate) fn honest(&self) -> Vec<usize> {
        let is_honest = |node: &Node| matches!(node.kind, Kind::Honest(_));
        (0..self.nodes.len()).filter(|at| is_honest(&self.nodes[*at])).collect()
    }

    pub(crate) fn dht(&mut self, index: usize) -> &mut Dht {
        match &mut self.nodes[index].kind {
            Kind::Honest(dht) => dht,
            _ => panic!("node {index} is not honest"),
        }
    }

    /// Has a node request something.
    pub(crate) fn request(&mut self, index: usize, request: DhtRequest) -> DhtRequestId {
        let now = self.now;
        let id = self.dht(index).request(now, request).expect("there is room");
        self.drain(index);
        id
    }

    /// Runs until a request is done; how long that took and what came of it.
    pub(crate) fn result(&mut self, index: usize, request: DhtRequestId) -> (Duration, DhtResult) {
        let from = self.now;
        while !self.done.contains_key(&(index, request)) {
            assert!(self.now < from + Duration::from_secs(120), "a lookup does not end");
            self.step();
        }
        let (at, result) = self.done.remove(&(index, request)).expect("it is done");
        (at - from, result)
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.next_at().is_some_and(|at| at <= until) {
            self.step();
        }
        self.now = until;
    }

    /// Sends a datagram, from whatever address is claimed.
    pub(crate) fn send(&mut self, from: SocketAddr, datagram: Packet) {
        self.sent += 1;
        if self.rng.below(1000) < self.loss_per_mille {
            return;
        }
        let at = self.now + latency(from, datagram.remote);
        self.packets.insert((at, self.sent), (from, datagram));
    }

    fn next_at(&self) -> Option<Instant> {
        let packet = self.packets.first_key_value().map(|((at, _), _)| *at);
        let timer = self.timers.first().map(|(at, _)| *at);
        packet.into_iter().chain(timer).min()
    }

    fn step(&mut self) {
        let Some(at) = self.next_at() else { panic!("nothing will ever happen") };
        self.now = self.now.max(at);
        if let Some((_, index)) = self.timers.first().copied().filter(|(due, _)| *due == at) {
            self.timers.pop_first();
            self.nodes[index].armed = None;
            let now = self.now;
            if let Kind::Honest(dht) = &mut self.nodes[index].kind {
                dht.handle_timeout(now);
                assert!(dht.poll_timeout().is_none_or(|at| at > now), "it would spin");
                self.drain(index);
            }
            return;
        }
        let Some((_, (from, datagram))) = self.packets.pop_first() else { return };
        self.deliver(from, datagram);
    }

    fn deliver(&mut self, from: SocketAddr, datagram: Packet) {
        let Some(&index) = self.by_addr.get(&datagram.remote) else {
            *self.astray.entry(datagram.remote).or_default() += datagram.data.len();
            return;
        };
        let now = self.now;
        let addr = self.nodes[index].addr;
        match &mut self.nodes[index].kind {
            Kind::Honest(dht) => {
                dht.handle_datagram(now, from, &datagram.data);
                self.drain(index);
            }
            Kind::Hostile(hostile) => {
                let answers = hostile.answer(from, &datagram.data);
                for (claimed, answer) in answers {
                    self.send(claimed.unwrap_or(addr), answer);
                }
            }
            Kind::Gone => {}
        }
    }

    fn drain(&mut self, index: usize) {
        let now = self.now;
        let addr = self.nodes[index].addr;
        let dht = self.dht(index);
        let due = dht.poll_timeout();
        let datagrams: Vec<Packet> = std::iter::from_fn(|| dht.poll_transmit()).collect();
        let outputs: Vec<Output> = std::iter::from_fn(|| dht.poll_output()).collect();
        for output in outputs {
            if let Output::Done { request, result } = output {
                self.done.insert((index, request), (now, *result));
            }
        }
        for datagram in datagrams {
            self.send(addr, datagram);
        }
        let node = &mut self.nodes[index];
        if node.armed != due {
            if let Some(at) = node.armed {
                self.timers.remove(&(at, index));
            }
            node.armed = due;
            self.timers.extend(due.map(|at| (at, index)));
        }
    }
}

/// The same both ways, and different for each pair.
fn latency(a: SocketAddr, b: SocketAddr) -> Duration {
    let number = |addr: SocketAddr| match addr {
        SocketAddr::V4(addr) => u64::from(u32::from(*addr.ip())),
        SocketAddr::V6(_) => 0,
    };
    let mixed = (number(a) ^ number(b)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let (least, more) = LATENCY_MS;
    // Microseconds tell packets of one millisecond apart.
    Duration::from_micros((least * 1000) + mixed % (more * 1000))
}
