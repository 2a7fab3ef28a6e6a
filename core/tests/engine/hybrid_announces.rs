//! A hybrid is announced by both of its infohashes (BEP 52), once each, and those who know it by one
//! are dialled with that.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bitswarm_core::action::{SocketKind, SocketSpec};
use bitswarm_core::disk::DiskRequest;
use bitswarm_core::event::NetError;
use bitswarm_core::infohashes::InfoHashes;
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::{Creator, Protocol};
use bitswarm_core::piece::InfoHash;
use bitswarm_core::testing::{DiskResult, Environment, Flight, Loopback, NoFiles};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{Commands, Config, ConnId, Engine, Instant, UnixTime};
use bytes::BytesMut;

const TRACKER: &str = "10.0.0.1:80";
const OF_V1: [u8; 6] = [10, 0, 1, 1, 0x1a, 0xe1];
const OF_V2: [u8; 6] = [10, 0, 1, 2, 0x1a, 0xe1];

/// The leech's machine.
#[derive(Default)]
struct Machine {
    multicast: Vec<BytesMut>,
}

impl Environment for Machine {
    fn disk(&mut self, request: DiskRequest) -> Option<DiskResult> {
        NoFiles.disk(request)
    }

    fn bind(&mut self, spec: &SocketSpec) -> Option<Result<SocketAddr, NetError>> {
        // What is of no use here is not there.
        let is_used = matches!(spec.kind, SocketKind::TcpListener | SocketKind::Multicast);
        Some(if is_used { Ok(spec.addr) } else { Err(NetError::Denied) })
    }

    fn datagram_sent(&mut self, packet: &Flight) {
        self.multicast.push(packet.data.clone());
    }
}

/// A leech, and what it sends.
struct Scene {
    host: Loopback<Machine>,
    tracker: SocketAddr,
    dialled: BTreeMap<ConnId, SocketAddr>,
    sent: Vec<(ConnId, Vec<u8>)>,
}

fn torrent(protocol: Protocol) -> Metainfo {
    let creator = Creator::single_file("f", 70_000).with_protocol(protocol);
    creator.finish_with_content(&[7; 70_000]).expect("valid")
}

impl Scene {
    fn new(metainfo: &Metainfo) -> Self {
        let config = Config { local_discovery: true, ..Config::default() };
        let engine = Engine::new(config, [1; 32], Instant::ZERO, UnixTime(1));
        let mut host = Loopback::alone(engine, Machine::default());
        let mut add = AddTorrent::new(metainfo.clone(), "/data");
        add.trackers = vec![format!("http://{TRACKER}/announce")];
        host.nodes[0].engine.add_torrent(host.now, add).expect("new");
        let tracker = TRACKER.parse().expect("an address");
        let mut scene = Scene { host, tracker, dialled: BTreeMap::new(), sent: Vec::new() };
        scene.run();
        scene
    }

    /// Everybody who is dialled is there, and takes what is sent.
    fn run(&mut self) {
        self.host.settle();
        while let Some((conn, to)) = self.host.nodes[0].dialled.first().copied() {
            self.dialled.insert(conn, to);
            self.host.connected(0, conn);
        }
        for conn in self.dialled.keys().copied() {
            let data = self.host.sent(0, conn);
            if !data.is_empty() {
                self.sent.push((conn, data));
            }
        }
    }

    /// What the tracker was asked since, each with whose question it is.
    fn questions(&mut self) -> Vec<(ConnId, InfoHash)> {
        let to_tracker = |conn: &ConnId| self.dialled.get(conn) == Some(&self.tracker);
        let sent = std::mem::take(&mut self.sent).into_iter();
        let asked = sent.filter(|(conn, data)| to_tracker(conn) && data.starts_with(b"GET"));
        asked.map(|(conn, data)| (conn, info_hash(&data))).collect()
    }

    fn answer(&mut self, conn: ConnId, peer: [u8; 6]) {
        let mut body = b"d8:intervali1800e5:peers6:".to_vec();
        body.extend(peer);
        body.push(b'e');
        let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        self.host.receive(0, conn, &[head.as_bytes(), &body].concat());
        self.run();
    }
}

/// The value of `info_hash` in a request.
fn info_hash(request: &[u8]) -> InfoHash {
    let text = String::from_utf8_lossy(request);
    let value = text.split("info_hash=").nth(1).expect("named").split(['&', ' ']).next();
    let mut rest = value.expect("a value").as_bytes();
    let mut hash = Vec::new();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first == b'%' {
            let (hex, tail) = rest.split_at(2);
            let hex = std::str::from_utf8(hex).expect("hexadecimal");
            hash.push(u8::from_str_radix(hex, 16).expect("hexadecimal"));
            rest = tail;
        } else {
            hash.push(first);
        }
    }
    InfoHash(hash.try_into().expect("twenty bytes"))
}

#[test]
fn a_hybrid_is_announced_by_both_hashes_and_its_peers_dialled_with_theirs() {
    let metainfo = torrent(Protocol::Hybrid);
    let names = InfoHashes::of(&metainfo);
    let (v1, v2) = (names.v1.expect("a hybrid"), names.v2_short().expect("a hybrid"));
    let mut scene = Scene::new(&metainfo);
    let asked = scene.questions();
    assert_eq!(asked.iter().map(|(_, hash)| *hash).collect::<Vec<_>>(), [v1, v2]);
    scene.answer(asked[0].0, OF_V1);
    scene.answer(asked[1].0, OF_V2);
    let dialled: Vec<(SocketAddr, InfoHash)> = std::mem::take(&mut scene.sent)
        .into_iter()
        .filter(|(_, data)| data.starts_with(b"\x13BitTorrent"))
        .map(|(conn, data)| (scene.dialled[&conn], InfoHash(data[28..48].try_into().expect("20"))))
        .collect();
    let expected = [([10, 0, 1, 1], v1), ([10, 0, 1, 2], v2)];
    assert_eq!(dialled, expected.map(|(ip, hash)| (SocketAddr::from((ip, 6881)), hash)));
    // A little later the local network hears of both.
    while scene.host.wait(Instant::from_secs(2)) {
        scene.run();
    }
    assert_eq!(scene.questions(), [], "each once");
    let group = scene.host.nodes[0]
        .env
        .multicast
        .iter()
        .map(|data| String::from_utf8_lossy(data).into_owned());
    let group: Vec<String> = group.collect();
    let told = |hash: InfoHash| group.iter().any(|text| text.contains(&hash.to_string()));
    assert!(told(v1) && told(v2), "{group:?}");
}

#[test]
fn a_torrent_of_one_version_is_announced_once() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let metainfo = torrent(protocol);
        let asked = Scene::new(&metainfo).questions();
        let hashes: Vec<InfoHash> = asked.into_iter().map(|(_, hash)| hash).collect();
        assert_eq!(hashes, [metainfo.infohash()]);
    }
}
