//! A tracker with addresses of both families is announced to from each of ours, with the same key
//! (BEP 7), over HTTP and UDP; peers known on one side only are found.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use bitswarm_core::action::SocketKind;
use bitswarm_core::config::Config;
use bitswarm_core::disk::{DiskDone, DiskRequest};
use bitswarm_core::event::{Datagram, NetError};
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::notice::{Notice, TorrentNotice};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::tracker::packet::{RequestPacket, ResponsePacket};
use bitswarm_core::{Action, ConnId, Engine, Event, Instant, Segments, SocketId, UnixTime};
use bytes::BytesMut;

const V4: &str = "10.0.0.1";
const V6: &str = "fd00::1";

/// A leech that listens on some addresses, and the host that its tracker's name leads to.
struct Scene {
    engine: Engine,
    now: Instant,
    /// Addresses that the tracker's name has.
    name: Vec<IpAddr>,
    sockets: BTreeMap<SocketId, SocketAddr>,
    dialled: BTreeMap<ConnId, SocketAddr>,
    /// The query strings that each address was asked with over HTTP, and on which connection.
    asked: Vec<(SocketAddr, ConnId, String)>,
    /// Announces over UDP that each address got, and from which of our sockets.
    packets: Vec<(SocketAddr, SocketId, RequestPacket)>,
    notices: Vec<TorrentNotice>,
}

impl Scene {
    fn new(listen: &[&str], tracker: &str, name: &[&str]) -> Self {
        let now = Instant::ZERO;
        let listen = listen.iter().map(|addr| addr.parse().expect("an address")).collect();
        let config = Config { listen, ..Config::default() };
        let mut engine = Engine::new(config, [1; 32], now, UnixTime(1));
        let metainfo = Creator::single_file("f", 70_000).finish_with_content(&[7; 70_000]);
        let mut add = AddTorrent::new(metainfo.expect("valid"), "/data");
        add.trackers = vec![tracker.to_owned()];
        engine.add_torrent(now, add).expect("new");
        let mut scene = Scene {
            engine,
            now,
            name: name.iter().map(|ip| ip.parse().expect("an address")).collect(),
            sockets: BTreeMap::new(),
            dialled: BTreeMap::new(),
            asked: Vec::new(),
            packets: Vec::new(),
            notices: Vec::new(),
        };
        scene.run();
        scene
    }

    fn handle(&mut self, event: Event) {
        self.engine.handle(self.now, event);
        self.run();
    }

    fn run(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            let event = match action {
                Action::Bind { socket, spec } => {
                    let mut addr = spec.addr;
                    if addr.port() == 0 {
                        addr.set_port(if addr.is_ipv4() { 4444 } else { 6666 });
                    }
                    self.sockets.insert(socket, addr);
                    assert_ne!(spec.kind, SocketKind::Multicast);
                    Event::Bound { socket, result: Ok(addr) }
                }
                Action::Resolve { op, .. } => Event::Resolved { op, result: Ok(self.name.clone()) },
                Action::Connect { conn, to, .. } => {
                    self.dialled.insert(conn, to);
                    let has = |family: bool| self.sockets.values().any(|a| a.is_ipv4() == family);
                    match has(to.is_ipv4()) {
                        true => Event::Connected { conn, local: ([10, 0, 0, 9], 1).into() },
                        false => Event::Closed { conn, why: Some(NetError::Unreachable) },
                    }
                }
                Action::Send { conn } => {
                    let mut out = Segments::new();
                    self.engine.gather(self.now, conn, 1 << 16, &mut out);
                    let data = out.take_all();
                    if data.starts_with(b"GET") {
                        let text = String::from_utf8_lossy(&data).into_owned();
                        let target = text.split(' ').nth(1).expect("a target").to_owned();
                        self.asked.push((self.dialled[&conn], conn, target));
                    }
                    Event::Sent { conn, bytes: data.len() }
                }
                Action::SendDatagrams { socket } => {
                    self.exchange_datagrams(socket);
                    continue;
                }
                Action::Disk { op, request } => {
                    let done = match request {
                        DiskRequest::Load { .. } => DiskDone::Loaded(None),
                        DiskRequest::Open { .. } => DiskDone::Files(vec![None]),
                        _ => DiskDone::Done,
                    };
                    Event::Disk { op, result: Ok(done) }
                }
                Action::Notify(notice) => {
                    if let Notice::Torrent { what, .. } = *notice {
                        self.notices.push(what);
                    }
                    continue;
                }
                _ => continue,
            };
            self.engine.handle(self.now, event);
        }
    }

    /// Answers connects, keeps announces.
    fn exchange_datagrams(&mut self, socket: SocketId) {
        while let Some(datagram) = self.engine.gather_datagram(self.now, socket) {
            let to = datagram.remote;
            match RequestPacket::parse(&datagram.data) {
                Some(RequestPacket::Connect { transaction }) => {
                    let answer = ResponsePacket::Connect { transaction, connection: 7 };
                    self.datagram(socket, to, answer);
                }
                Some(packet) => self.packets.push((to, socket, packet)),
                None => panic!("no tracker's packet"),
            }
        }
    }

    fn datagram(&mut self, socket: SocketId, remote: SocketAddr, packet: ResponsePacket<'_>) {
        let mut data = BytesMut::new();
        packet.encode(&mut data);
        let batch = vec![Datagram { remote, data }];
        self.engine.handle(self.now, Event::Datagrams { socket, batch });
    }

    /// Answers over HTTP with these peers.
    fn answer(&mut self, conn: ConnId, key: &str, peers: &[u8]) {
        let mut body = format!("d8:intervali1800e{}:{key}{}:", key.len(), peers.len()).into_bytes();
        body.extend(peers);
        body.push(b'e');
        let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut data = BytesMut::from(head.as_bytes());
        data.extend_from_slice(&body);
        self.handle(Event::Received { conn, data });
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
        let answers = scene.notices.iter();
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
        assert_eq!(scene.sockets[&socket].is_ipv4(), to.is_ipv4());
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
        let failures = scene.notices.iter();
        let failures = failures.filter(|n| matches!(n, TorrentNotice::TrackerFailed { .. }));
        assert_eq!(failures.count(), 0);
    }
}
