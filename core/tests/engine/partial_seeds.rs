//! A torrent of which a part is wanted, as trackers and peers are told of it (BEP 21): `completed` once,
//! when the whole torrent is there; until then each announce of who fetches nothing more says
//! `paused`, and the extension handshake `upload_only`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bitswarm_core::config::Config;
use bitswarm_core::disk::{DiskRequest, MemoryDisk};
use bitswarm_core::event::NetError;
use bitswarm_core::metainfo::create::{Creator, NewFile, Protocol};
use bitswarm_core::metainfo::{FileRanges, Magnet, Metainfo};
use bitswarm_core::testing::{DiskResult, Environment, Flight, Loopback, Node};
use bitswarm_core::torrent::{AddTorrent, FilePriority};
use bitswarm_core::tracker::packet::{RequestPacket, ResponsePacket};
use bitswarm_core::{Commands, ConnId, Engine, Instant, Notice, TorrentNotice, UnixTime};
use bytes::BytesMut;

const SEED: &str = "10.0.0.1:6881";
const LEECH: &str = "10.0.0.2:6881";
const TRACKER: &str = "10.0.0.9:80";
const HTTP: &str = "http://10.0.0.9/announce";
const UDP: &str = "udp://10.0.0.9:80";

/// A node's disk, and what it sends.
#[derive(Default)]
struct Machine {
    disk: MemoryDisk,
    /// All that was sent to the other node.
    sent: Vec<u8>,
    datagrams: Vec<Flight>,
}

impl Environment for Machine {
    fn disk(&mut self, request: DiskRequest) -> Option<DiskResult> {
        Some(self.disk.perform(request))
    }

    fn stream_sent(&mut self, _: ConnId, data: &mut BytesMut) {
        self.sent.extend_from_slice(data);
    }

    fn datagram_sent(&mut self, packet: &Flight) {
        self.datagrams.push(packet.clone());
    }
}

/// A seed, a leech and a tracker. Time stands still until nobody has anything to do.
struct Scene {
    net: Loopback<Machine>,
    /// Connections to the tracker, of which node.
    open: Vec<(usize, ConnId)>,
    /// What the tracker was told: the event's name, and what is left.
    told: Vec<(String, u64)>,
}

fn node(at: usize, disk: MemoryDisk) -> Node<Machine> {
    let listen = vec![SocketAddr::from(([0, 0, 0, 0], 6881))];
    let config = Config { listen, ..Config::default() };
    let seed = [at as u8 + 1; 32];
    let engine = Engine::new(config, seed, Instant::ZERO, UnixTime(1_700_000_000));
    let addr = [SEED, LEECH][at].parse().expect("an address");
    Node::new(engine, addr, Machine { disk, ..Machine::default() })
}

fn content() -> Vec<u8> {
    (0..200_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Two files of 100,000 bytes.
fn metainfo() -> Arc<Metainfo> {
    let files = ["a", "b"].map(|name| NewFile::new([name], 100_000));
    let mut creator = Creator::folder("t", files).with_protocol(Protocol::V1);
    creator.piece_length = 16 << 10;
    Arc::new(creator.finish_with_content(&content()).expect("makes a torrent"))
}

impl Scene {
    /// A seed that has all; the leech has what is on its disk.
    fn new(disk: MemoryDisk) -> Self {
        let mut full = MemoryDisk::new();
        let content = content();
        full.insert("/t/a", &content[..100_000]);
        full.insert("/t/b", &content[100_000..]);
        let net = Loopback::new([node(0, full), node(1, disk)]);
        let mut scene = Scene { net, open: Vec::new(), told: Vec::new() };
        let seed = AddTorrent::new(metainfo(), Path::new("/"));
        scene.net.nodes[0].engine.add_torrent(scene.net.now, seed).expect("adds");
        scene.run_until(|scene| scene.heard(0, &TorrentNotice::Finished));
        scene
    }

    fn add(&mut self, change: impl FnOnce(&mut AddTorrent), tracker: &str) {
        let mut leech = AddTorrent::new(metainfo(), Path::new("/"));
        leech.peers.push(SEED.parse().expect("an address"));
        leech.trackers = vec![tracker.to_owned()];
        change(&mut leech);
        self.net.nodes[1].engine.add_torrent(self.net.now, leech).expect("adds");
    }

    /// Ends the leech's session; its disk.
    fn stop(mut self) -> (MemoryDisk, Vec<(String, u64)>) {
        self.net.nodes[1].engine.stop(self.net.now);
        self.run_until(|scene| scene.net.nodes[1].notices.contains(&Notice::Stopped));
        let leech = self.net.nodes.pop().expect("the leech");
        (leech.env.disk, self.told)
    }

    /// The tracker takes a connection or answers a question, if there is one.
    fn serve(&mut self) -> bool {
        let tracker = TRACKER.parse().expect("an address");
        for at in [0, 1] {
            if let Some(conn) = self.net.take_dialled(at, tracker) {
                self.open.push((at, conn));
                self.net.connected(at, conn);
                return true;
            }
            if let Some((conn, _)) = self.net.nodes[at].dialled.first().copied() {
                self.net.end(at, conn, Some(NetError::Refused));
                return true;
            }
            if !self.net.nodes[at].env.datagrams.is_empty() {
                let packet = self.net.nodes[at].env.datagrams.remove(0);
                self.answer_datagram(at, &packet);
                return true;
            }
        }
        self.open.clone().into_iter().any(|(at, conn)| self.answer(at, conn))
    }

    fn answer(&mut self, at: usize, conn: ConnId) -> bool {
        let data = self.net.sent_so_far(at, conn);
        if data.is_empty() {
            return false;
        }
        let text = String::from_utf8_lossy(&data).into_owned();
        let value = |name: &str| {
            let at = text.find(name).map(|at| at + name.len());
            at.map_or("", |at| text[at..].split(['&', ' ']).next().unwrap_or_default())
        };
        let event = value("&event=").to_owned();
        self.told.push((event, value("&left=").parse().expect("a number")));
        let body = "d8:intervali60e12:min intervali5ee";
        let answer = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.net.receive(at, conn, answer.as_bytes());
        true
    }

    fn answer_datagram(&mut self, at: usize, packet: &Flight) {
        let mut data = BytesMut::new();
        match RequestPacket::parse(&packet.data) {
            Some(RequestPacket::Connect { transaction }) => {
                ResponsePacket::Connect { transaction, connection: 7 }.encode(&mut data);
            }
            Some(RequestPacket::Announce { transaction, request, .. }) => {
                let event = request.event.map_or("", |event| event.name());
                self.told.push((event.to_owned(), request.left));
                let (interval, leechers, seeders) = (60, 1, 1);
                let peers = &[];
                ResponsePacket::Announce { transaction, interval, leechers, seeders, peers }
                    .encode(&mut data);
            }
            _ => panic!("neither connect nor announce"),
        }
        self.net.datagram(at, packet.socket, packet.to, &data);
    }

    fn run_until(&mut self, done: impl Fn(&Scene) -> bool) {
        let end = Instant::from_secs(36_000);
        self.net.step();
        while !done(self) {
            let goes_on = self.serve() || self.net.step() || self.net.wait(end);
            assert!(goes_on, "not done in ten hours");
        }
    }

    /// Until the tracker was told so many times.
    fn until_told(&mut self, times: usize) {
        self.run_until(|scene| scene.told.len() >= times);
    }

    fn heard(&self, at: usize, what: &TorrentNotice) -> bool {
        self.net.nodes[at].has_noticed(what)
    }

    /// How often the leech said that it is `upload_only`, or not.
    fn said_upload_only(&self, value: u8) -> usize {
        let wanted = format!("11:upload_onlyi{value}e").into_bytes();
        self.net.nodes[1].env.sent.windows(wanted.len()).filter(|part| *part == wanted).count()
    }
}

fn first_file(add: &mut AddTorrent) {
    add.files = vec![FilePriority::Normal, FilePriority::Skip];
}

fn first_file_of_link(add: &mut AddTorrent) {
    let mut magnet = Magnet::of(&metainfo());
    magnet.select = FileRanges::new([0..=0]).ok();
    add.source = magnet.into();
}

fn events(told: &[(String, u64)]) -> Vec<&str> {
    told.iter().map(|(event, _)| &**event).collect()
}

#[test]
fn a_partial_seed_says_so_at_each_announce_but_the_last_and_to_peers() {
    let selections: [fn(&mut AddTorrent); 2] = [first_file, first_file_of_link];
    for select in selections {
        let mut scene = Scene::new(MemoryDisk::new());
        scene.add(select, HTTP);
        scene.run_until(|scene| scene.heard(1, &TorrentNotice::Finished));
        let before = scene.told.len();
        assert!(!events(&scene.told).contains(&"paused"), "{:?}", scene.told);
        assert!(scene.said_upload_only(0) > 0 && scene.said_upload_only(1) == 0);
        // Who comes now hears it in the handshake.
        let of_seed = scene.net.nodes[0].engine.engine().torrents().next().expect("one");
        let leech = [LEECH.parse().expect("an address")];
        scene.net.nodes[0].engine.add_peers(scene.net.now, of_seed, &leech).expect("it is there");
        scene.run_until(|scene| scene.said_upload_only(1) > 0);
        scene.until_told(before + 3);
        let (_, told) = scene.stop();
        assert!(told.iter().all(|(_, left)| *left > 0), "{told:?}");
        let (last, after) = told[before..].split_last().expect("told since");
        assert_eq!(last.0, "stopped");
        assert!(after.len() >= 3 && after.iter().all(|(event, _)| event == "paused"), "{after:?}");
    }
}

#[test]
fn what_udp_trackers_cannot_be_told_they_are_not_told_otherwise() {
    let mut scene = Scene::new(MemoryDisk::new());
    scene.add(first_file, UDP);
    scene.run_until(|scene| scene.heard(1, &TorrentNotice::Finished));
    scene.until_told(3);
    let (_, told) = scene.stop();
    assert_eq!(events(&told), ["started", "", "", "stopped"]);
    assert!(told.iter().all(|(_, left)| *left > 0), "{told:?}");
}

#[test]
fn completed_is_told_once_when_the_whole_torrent_is_there() {
    for tracker in [HTTP, UDP] {
        let mut scene = Scene::new(MemoryDisk::new());
        scene.add(first_file, tracker);
        scene.run_until(|scene| scene.heard(1, &TorrentNotice::Saved));
        let (disk, told) = scene.stop();
        assert!(!events(&told).contains(&"completed"), "{told:?}");

        // A seed of that part says from the first what it is.
        let mut scene = Scene::new(disk);
        scene.add(first_file, tracker);
        scene.until_told(2);
        assert!(!events(&scene.told).contains(&"completed"), "{:?}", scene.told);
        if tracker == HTTP {
            assert_eq!(events(&scene.told), ["paused", "paused"]);
        }
        let (disk, _) = scene.stop();

        // The selection grows.
        let mut scene = Scene::new(disk);
        scene.add(|_| {}, tracker);
        scene.run_until(|scene| scene.heard(1, &TorrentNotice::Saved));
        scene.until_told(3);
        let (mut disk, told) = scene.stop();
        assert_eq!(events(&told), ["started", "completed", "", "stopped"], "{tracker}");
        assert_eq!(told[1].1, 0, "nothing is left");

        // It was told, whatever comes later.
        for damage in [false, true] {
            if damage {
                disk.insert("/t/b", [&content()[100_000..199_999], &[0][..]].concat());
            }
            for recheck in [false, true] {
                let mut scene = Scene::new(disk.clone());
                scene.add(|add| add.recheck = recheck, tracker);
                scene.run_until(|scene| scene.heard(1, &TorrentNotice::Saved));
                scene.until_told(3);
                let (_, told) = scene.stop();
                assert_eq!(events(&told), ["started", "", "", "stopped"], "{tracker} {damage}");
            }
        }
    }
}
