//! A tracker with addresses of both families is announced to from each of ours, with the same key
//! (BEP 7), over HTTP and UDP; peers known on one side only are found.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use bitswarm_core::action::{SocketKind, SocketSpec};
use bitswarm_core::config::Config;
use bitswarm_core::disk::DiskRequest;
use bitswarm_core::event::NetError;
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::notice::TorrentNotice;
use bitswarm_core::testing::{DiskResult, Environment, Flight, Loopback, NoFiles};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::tracker::packet::{RequestPacket, ResponsePacket};
use bitswarm_core::{Commands, ConnId, Engine, Instant, SocketId, UnixTime};
use bytes::BytesMut;

const V4: &str = "10.0.0.1";
const V6: &str = "fd00::1";

/// The leech's machine.
#[derive(Default)]
struct Machine {
    datagrams: Vec<Flight>,
}

impl Environment for Machine {
    fn disk(&mut self, request: DiskRequest) -> Option<DiskResult> {
        NoFiles.disk(request)
    }

    fn bind(&mut self, spec: &SocketSpec) -> Option<Result<SocketAddr, NetError>> {
        let mut addr = spec.addr;
        if addr.port() == 0 {
            addr.set_port(if addr.is_ipv4() { 4444 } else { 6666 });
        }
        assert_ne!(spec.kind, SocketKind::Multicast);
        Some(Ok(addr))
    }

    fn datagram_sent(&mut self, packet: &Flight) {
        self.datagrams.push(packet.clone());
    }
}

/// A leech that listens on some addresses, and the host that its tracker's name leads to.
struct Scene {
    host: Loopback<Machine>,
    dialled: BTreeMap<ConnId, SocketAddr>,
    /// The query strings that each address was asked with over HTTP, and on which connection.
    asked: Vec<(SocketAddr, ConnId, String)>,
    /// Announces over UDP that each address got, and from which of our sockets.
    packets: Vec<(SocketAddr, SocketId, RequestPacket)>,
}

impl Scene {
    fn new(listen: &[&str], tracker: &str, name: &[&str]) -> Self {
        let listen = listen.iter().map(|addr| addr.parse().expect("an address")).collect();
        let config = Config { listen, ..Config::default() };
        let engine = Engine::new(config, [1; 32], Instant::ZERO, UnixTime(1));
        let mut host = Loopback::alone(engine, Machine::default());
        // Addresses that the tracker's name has.
        let addresses = name.iter().map(|ip| ip.parse().expect("an address")).collect();
        host.names.insert("tracker.example".to_owned(), addresses);
        let metainfo = Creator::single_file("f", 70_000).finish_with_content(&[7; 70_000]);
        let mut add = AddTorrent::new(metainfo.expect("valid"), "/data");
        add.trackers = vec![tracker.to_owned()];
        host.nodes[0].engine.add_torrent(host.now, add).expect("new");
        let (dialled, asked, packets) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut scene = Scene { host, dialled, asked, packets };
        scene.run();
        scene
    }

    /// Those whose family we have are reached when they are dialled; the others are not. Who is asked
    /// over HTTP keeps the question.
    fn run(&mut self) {
        loop {
            self.host.settle();
            if let Some((conn, to)) = self.host.nodes[0].dialled.first().copied() {
                self.dial(conn, to);
            } else if !self.host.nodes[0].env.datagrams.is_empty() {
                let packet = self.host.nodes[0].env.datagrams.remove(0);
                self.take_datagram(packet);
            } else {
                return;
            }
        }
    }

    fn dial(&mut self, conn: ConnId, to: SocketAddr) {
        self.dialled.insert(conn, to);
        let mut sockets = self.host.nodes[0].sockets.values();
        if !sockets.any(|socket| socket.addr.is_ipv4() == to.is_ipv4()) {
            return self.host.end(0, conn, Some(NetError::Unreachable));
        }
        self.host.connected(0, conn);
        let data = self.host.sent(0, conn);
        if data.starts_with(b"GET") {
            let text = String::from_utf8_lossy(&data).into_owned();
            let target = text.split(' ').nth(1).expect("a target").to_owned();
            self.asked.push((to, conn, target));
        }
    }

    /// Answers connects, keeps announces.
    fn take_datagram(&mut self, Flight { socket, to, data, .. }: Flight) {
        match RequestPacket::parse(&data) {
            Some(RequestPacket::Connect { transaction }) => {
                let answer = ResponsePacket::Connect { transaction, connection: 7 };
                self.datagram(socket, to, answer);
            }
            Some(packet) => self.packets.push((to, socket, packet)),
            None => panic!("no tracker's packet"),
        }
    }

    fn datagram(&mut self, socket: SocketId, remote: SocketAddr, packet: ResponsePacket<'_>) {
        let mut data = BytesMut::new();
        packet.encode(&mut data);
        self.host.datagram(0, socket, remote, &data);
    }

    /// Answers over HTTP with these peers.
    fn answer(&mut self, conn: ConnId, key: &str, peers: &[u8]) {
        let mut body = format!("d8:intervali1800e{}:{key}{}:", key.len(), peers.len()).into_bytes();
        body.extend(peers);
        body.push(b'e');
        let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        self.host.receive(0, conn, &[head.as_bytes(), &body].concat());
        self.run();
    }

    fn has_dialled(&self, peer: &str) -> bool {
        let peer: SocketAddr = peer.parse().expect("an address");
        self.dialled.values().any(|to| *to == peer)
    }
}

fn value<'a>(target: &'a str, name: &str) -> &'a str {
    let (_, query) = target.split_once('?').expect("a query");
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
}

#[test]
fn an_http_tracker_is_told_from_both_families_with_one_key_and_each_sides_peers_are_found() {
    // Of the names that a host has, those of one family come first here, and the other's there.
    for name in [[V4, V6], [V6, V4]] {
        let listen = ["0.0.0.0:0", "[::]:0"];
        let mut scene = Scene::new(&listen, "http://tracker.example:80/announce", &name);
        let asked = std::mem::take(&mut scene.asked);
        let hosts: Vec<IpAddr> = asked.iter().map(|(to, ..)| to.ip()).collect();
        assert_eq!(hosts, [V4, V6].map(|ip| ip.parse::<IpAddr>().expect("an address")));
        for (to, _, target) in &asked {
            assert_eq!(value(target, "event"), "started");
            let port = if to.is_ipv4() { "4444" } else { "6666" };
            assert_eq!(value(target, "port"), port, "where we are reached in that family");
            for same in ["key", "peer_id", "info_hash"] {
                assert_eq!(value(target, same), value(&asked[0].2, same));
                assert!(!value(target, same).is_empty());
            }
        }
        scene.answer(asked[0].1, "peers", &[10, 0, 1, 1, 0, 80]);
        let v6: Vec<u8> =
            [&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9][..], &[0, 80]].concat();
        scene.answer(asked[1].1, "peers6", &v6);
        assert!(scene.has_dialled("10.0.1.1:80") && scene.has_dialled("[fd00::9]:80"));
        let answers = scene.host.nodes[0].torrent_notices();
        let answers = answers.filter(|n| matches!(n, TorrentNotice::TrackerAnswered { .. }));
        assert_eq!(answers.count(), 2);
    }
}

#[test]
fn a_udp_tracker_is_told_from_both_families_with_one_key_and_each_sides_peers_are_found() {
    let listen = ["0.0.0.0:0", "[::]:0"];
    let mut scene = Scene::new(&listen, "udp://tracker.example:80", &[V6, V4]);
    let packets = std::mem::take(&mut scene.packets);
    assert_eq!(packets.len(), 2);
    let mut keys = Vec::new();
    for (to, socket, packet) in packets {
        let RequestPacket::Announce { transaction, request, .. } = packet else { panic!() };
        assert_eq!(scene.host.nodes[0].sockets[&socket].addr.is_ipv4(), to.is_ipv4());
        assert_eq!(request.port, if to.is_ipv4() { 4444 } else { 6666 });
        keys.push((request.key, request.peer_id));
        let peers: Vec<u8> = match to.is_ipv4() {
            true => vec![10, 0, 1, 1, 0, 80],
            false => [&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9][..], &[0, 80]].concat(),
        };
        let (interval, leechers, seeders) = (1800, 1, 1);
        let peers = &peers[..];
        let answer = ResponsePacket::Announce { transaction, interval, leechers, seeders, peers };
        scene.datagram(socket, to, answer);
        scene.run();
    }
    assert_eq!(keys[0], keys[1]);
    assert!(scene.has_dialled("10.0.1.1:80") && scene.has_dialled("[fd00::9]:80"));
}

#[test]
fn a_family_that_is_not_listened_on_is_not_announced_from() {
    for (listen, ip) in [("10.0.0.9:5", V4), ("[fd00::5]:5", V6)] {
        let listen = [listen];
        let scene = Scene::new(&listen, "http://tracker.example:80/announce", &[V4, V6]);
        let hosts: Vec<String> = scene.asked.iter().map(|(to, ..)| to.ip().to_string()).collect();
        assert_eq!(hosts, [ip]);
    }
    // Without a listener it is asked all the same, wherever it is.
    for ip in [V4, V6] {
        let scene = Scene::new(&[], "http://tracker.example:80/announce", &[ip]);
        assert_eq!(scene.asked.len(), 1);
        let scene = Scene::new(&[], "udp://tracker.example:80", &[ip]);
        assert_eq!(scene.packets.len(), 1);
    }
}

#[test]
fn a_family_that_the_trackers_name_lacks_is_told_to_nobody() {
    for ip in [V4, V6] {
        let listen = ["0.0.0.0:0", "[::]:0"];
        let mut scene = Scene::new(&listen, "http://tracker.example:80/announce", &[ip]);
        let [(_, conn, _)] = &scene.asked[..] else { panic!("asked once") };
        let conn = *conn;
        scene.answer(conn, "peers", &[]);
        let failures = scene.host.nodes[0].torrent_notices();
        let failures = failures.filter(|n| matches!(n, TorrentNotice::TrackerFailed { .. }));
        assert_eq!(failures.count(), 0);
    }
}
