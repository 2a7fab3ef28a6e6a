//! A torrent of which a part is wanted, as trackers and peers are told of it (BEP 21): `completed` once,
//! when the whole torrent is there; until then each announce of who fetches nothing more says
//! `paused`, and the extension handshake `upload_only`.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bitswarm_core::config::Config;
use bitswarm_core::disk::MemoryDisk;
use bitswarm_core::event::{Datagram, NetError};
use bitswarm_core::metainfo::create::{Creator, NewFile, Protocol};
use bitswarm_core::metainfo::{FileRanges, Magnet, Metainfo};
use bitswarm_core::torrent::{AddTorrent, FilePriority};
use bitswarm_core::tracker::packet::{RequestPacket, ResponsePacket};
use bitswarm_core::{
    Action, ConnId, Engine, Event, Instant, Notice, Segments, SocketId, TorrentNotice, UnixTime,
};
use bytes::BytesMut;

const SEED: &str = "10.0.0.1:6881";
const LEECH: &str = "10.0.0.2:6881";
const TRACKER: &str = "10.0.0.9:80";
const HTTP: &str = "http://10.0.0.9/announce";
const UDP: &str = "udp://10.0.0.9:80";

/// A seed, a leech and a tracker. Time stands still until nobody has anything to do.
struct Scene {
    nodes: [Node; 2],
    now: Instant,
    events: VecDeque<(usize, Event)>,
    /// What the tracker was told: the event's name, and what is left.
    told: Vec<(String, u64)>,
}

struct Node {
    engine: Engine,
    disk: MemoryDisk,
    wires: BTreeMap<ConnId, Option<ConnId>>,
    notices: Vec<Notice>,
    /// All that was sent to the other node.
    sent: Vec<u8>,
}

fn engine(seed: u8) -> Engine {
    let listen = vec![SocketAddr::from(([0, 0, 0, 0], 6881))];
    let config = Config { listen, ..Config::default() };
    Engine::new(config, [seed; 32], Instant::ZERO, UnixTime(1_700_000_000))
}

fn node(seed: u8, disk: MemoryDisk) -> Node {
    let (wires, notices, sent) = (BTreeMap::new(), Vec::new(), Vec::new());
    Node { engine: engine(seed), disk, wires, notices, sent }
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
        let nodes = [node(1, full), node(2, disk)];
        let mut scene =
            Scene { nodes, now: Instant::ZERO, events: VecDeque::new(), told: Vec::new() };
        let seed = AddTorrent::new(metainfo(), Path::new("/"));
        scene.nodes[0].engine.add_torrent(scene.now, seed).expect("adds");
        scene.run_until(|scene| scene.heard(0, &TorrentNotice::Finished));
        scene
    }

    fn add(&mut self, change: impl FnOnce(&mut AddTorrent), tracker: &str) {
        let mut leech = AddTorrent::new(metainfo(), Path::new("/"));
        leech.peers.push(SEED.parse().expect("an address"));
        leech.trackers = vec![tracker.to_owned()];
        change(&mut leech);
        self.nodes[1].engine.add_torrent(self.now, leech).expect("adds");
    }

    /// Ends the leech's session; its disk.
    fn stop(mut self) -> (MemoryDisk, Vec<(String, u64)>) {
        self.nodes[1].engine.stop(self.now);
        self.run_until(|scene| scene.nodes[1].notices.contains(&Notice::Stopped));
        let [_, leech] = self.nodes;
        (leech.disk, self.told)
    }

    fn perform(&mut self, at: usize, action: Action) {
        match action {
            Action::Bind { socket, spec } => {
                self.events.push_back((at, Event::Bound { socket, result: Ok(spec.addr) }));
            }
            Action::Connect { conn, to, .. } if to == TRACKER.parse().expect("an address") => {
                self.nodes[at].wires.insert(conn, None);
                let local = LEECH.parse().expect("an address");
                self.events.push_back((at, Event::Connected { conn, local }));
            }
            Action::Connect { conn, to, .. } => {
                let addrs = [SEED, LEECH].map(|addr| addr.parse::<SocketAddr>().expect("valid"));
                let other = 1 - at;
                let listener = bitswarm_core::id::Id::new(0, 0);
                let accepted = (to == addrs[other])
                    .then(|| self.nodes[other].engine.accept(self.now, listener, addrs[at]))
                    .flatten();
                let Some(theirs) = accepted else {
                    let why = Some(NetError::Refused);
                    return self.events.push_back((at, Event::Closed { conn, why }));
                };
                self.nodes[at].wires.insert(conn, Some(theirs));
                self.nodes[other].wires.insert(theirs, Some(conn));
                self.events.push_back((at, Event::Connected { conn, local: addrs[at] }));
            }
            Action::Send { conn } => self.send(at, conn),
            Action::SendDatagrams { socket } => self.datagrams(at, socket),
            Action::Close { conn, .. } => {
                if let Some(Some(theirs)) = self.nodes[at].wires.remove(&conn) {
                    self.nodes[1 - at].wires.remove(&theirs);
                    self.events.push_back((1 - at, Event::Closed { conn: theirs, why: None }));
                }
            }
            Action::Disk { op, request } => {
                let result = self.nodes[at].disk.perform(request);
                self.events.push_back((at, Event::Disk { op, result }));
            }
            Action::Notify(notice) => self.nodes[at].notices.push(*notice),
            _ => {}
        }
    }

    fn send(&mut self, at: usize, conn: ConnId) {
        let mut out = Segments::new();
        self.nodes[at].engine.gather(self.now, conn, 1 << 18, &mut out);
        let data: BytesMut = out.take_all();
        if data.is_empty() {
            return;
        }
        self.events.push_back((at, Event::Sent { conn, bytes: data.len() }));
        match self.nodes[at].wires.get(&conn) {
            Some(Some(theirs)) => {
                let conn = *theirs;
                self.nodes[at].sent.extend(&data);
                self.events.push_back((1 - at, Event::Received { conn, data }));
            }
            Some(None) => {
                let text = String::from_utf8_lossy(&data).into_owned();
                let value = |name: &str| {
                    let at = text.find(name).map(|at| at + name.len());
                    at.map_or("", |at| text[at..].split(['&', ' ']).next().unwrap_or_default())
                };
                let event = value("&event=").to_owned();
                self.told.push((event, value("&left=").parse().expect("a number")));
                let body = "d8:intervali60e12:min intervali5ee";
                let answer =
                    format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                let data = BytesMut::from(answer.as_bytes());
                self.events.push_back((at, Event::Received { conn, data }));
            }
            None => {}
        }
    }

    fn datagrams(&mut self, at: usize, socket: SocketId) {
        while let Some(datagram) = self.nodes[at].engine.gather_datagram(self.now, socket) {
            let mut data = BytesMut::new();
            match RequestPacket::parse(&datagram.data) {
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
            let batch = vec![Datagram { remote: datagram.remote, data }];
            self.events.push_back((at, Event::Datagrams { socket, batch }));
        }
    }

    fn run_until(&mut self, done: impl Fn(&Scene) -> bool) {
        while self.now < Instant::from_secs(36_000) {
            for at in [0, 1] {
                while let Some(action) = self.nodes[at].engine.poll_action() {
                    self.perform(at, action);
                }
            }
            if done(self) {
                return;
            }
            if let Some((at, event)) = self.events.pop_front() {
                self.nodes[at].engine.handle(self.now, event);
                continue;
            }
            let next = [0, 1].map(|at| (self.nodes[at].engine.poll_timeout(), at));
            let next = next.into_iter().filter_map(|(deadline, at)| Some((deadline?, at))).min();
            let (deadline, at) = next.expect("somebody waits for something");
            self.now = self.now.max(deadline);
            self.nodes[at].engine.handle(self.now, Event::Timeout);
        }
        panic!("not done in ten hours");
    }

    /// Until the tracker was told so many times.
    fn until_told(&mut self, times: usize) {
        self.run_until(|scene| scene.told.len() >= times);
    }

    fn heard(&self, at: usize, what: &TorrentNotice) -> bool {
        let is_it =
            |notice: &Notice| matches!(notice, Notice::Torrent { what: w, .. } if w == what);
        self.nodes[at].notices.iter().any(is_it)
    }

    /// How often the leech said that it is `upload_only`, or not.
    fn said_upload_only(&self, value: u8) -> usize {
        let wanted = format!("11:upload_onlyi{value}e").into_bytes();
        self.nodes[1].sent.windows(wanted.len()).filter(|part| *part == wanted).count()
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
        let of_seed = scene.nodes[0].engine.torrents().next().expect("one");
        let leech = [LEECH.parse().expect("an address")];
        scene.nodes[0].engine.add_peers(scene.now, of_seed, &leech).expect("it is there");
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
