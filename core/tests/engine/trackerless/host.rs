//! Engines on one small network with datagrams, and what they have sent.

use std::net::SocketAddr;

use bitswarm_core::config::DhtConfig;
use bitswarm_core::disk::{DiskDone, DiskRequest, MemoryDisk, StateName};
use bitswarm_core::record::{Recorder, replay};
use bitswarm_core::testing::{DiskResult, Environment, Flight, Loopback};
use bitswarm_core::{Config, ConnId, Duration, Instant, UnixTime};
use bytes::BytesMut;

/// A node's disk, and what it sent.
#[derive(Default)]
pub(crate) struct Machine {
    pub(crate) disk: MemoryDisk,
    /// Everything that was sent over streams.
    pub(crate) said: Vec<u8>,
    /// Everything that was sent in datagrams.
    pub(crate) sent: Vec<Flight>,
}

impl Environment for Machine {
    fn disk(&mut self, request: DiskRequest) -> Option<DiskResult> {
        Some(self.disk.perform(request))
    }

    fn stream_sent(&mut self, _: ConnId, data: &mut BytesMut) {
        self.said.extend_from_slice(data);
    }

    fn datagram_sent(&mut self, packet: &Flight) {
        self.sent.push(packet.clone());
    }
}

impl Machine {
    pub(crate) fn has_saved(&mut self, name: StateName) -> Option<bytes::Bytes> {
        match self.disk.perform(DiskRequest::Load { name }) {
            Ok(DiskDone::Loaded(data)) => data,
            other => panic!("{other:?}"),
        }
    }
}

/// How they are to find each other.
#[derive(Clone, Copy)]
pub(crate) enum Means {
    Dht,
    /// The same, and the last node has two addresses.
    MultihomedDht,
    LocalDiscovery,
}

pub(crate) type Node = bitswarm_core::testing::Node<Machine>;
pub(crate) type Net = Loopback<Machine>;

pub(crate) fn addr(at: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1 + at as u8], 6881))
}

/// The other address of a node that has two.
pub(crate) fn other_addr(at: usize) -> SocketAddr {
    SocketAddr::from(([10, 1, 0, 1 + at as u8], 6881))
}

/// A node whose engine is recorded.
pub(crate) fn node(at: usize, means: Means, disk: MemoryDisk, now: Instant) -> Node {
    let mut addrs = vec![addr(at)];
    if matches!(means, Means::MultihomedDht) && at == 2 {
        addrs.push(other_addr(at));
    }
    let mut config = Config { listen: addrs.clone(), ..Config::default() };
    match means {
        Means::Dht | Means::MultihomedDht => {
            let bootstrap = vec![("10.0.0.1".to_owned(), 6881)];
            config.dht = Some(DhtConfig { bootstrap, ..DhtConfig::default() });
        }
        Means::LocalDiscovery => config.local_discovery = true,
    }
    let engine = Recorder::recording(config, [at as u8 + 1; 32], now, UnixTime(1_700_000_000));
    let mut node = Node::recorded(engine, addr(at), Machine { disk, ..Machine::default() });
    node.addrs = addrs;
    node
}

pub(crate) fn net(nodes: usize, means: Means) -> Net {
    let node = |at| node(at, means, MemoryDisk::new(), Instant::ZERO);
    let mut net = Loopback::new((0..nodes).map(node));
    net.refuses_strangers = true;
    net
}

/// A fresh engine that is fed the recording does the same.
pub(crate) fn replays(node: &mut Node) {
    node.engine.checkpoint();
    let log = node.engine.take_log();
    let replayed = replay(&log).expect("replays");
    assert_eq!(Some(replayed.fingerprint), node.engine.fingerprint());
}

/// Whether it was done within so many seconds.
pub(crate) fn within(net: &mut Net, secs: u64, done: impl Fn(&Net) -> bool) -> bool {
    net.run_until(Duration::from_secs(secs), done)
}
