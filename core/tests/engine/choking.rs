//! Slots, seen from the wire: a choke that waits for a connection that takes nothing (found by the
//! simulator's seeds 8362, 16091 and 3437), and peers that want nothing for a while (15952).

use std::net::SocketAddr;

use bitswarm_core::disk::{DiskDone, DiskRequest, FileStat};
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::testing::{DiskResult, Environment, Loopback};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{Commands, Config, ConnId, Duration, Engine, Instant, UnixTime};
use bytes::Bytes;

const CHOKE: &[u8] = &[0, 0, 0, 1, 0];
const UNCHOKE: &[u8] = &[0, 0, 0, 1, 1];
const INTERESTED: &[u8] = &[0, 0, 0, 1, 2];
const NOT_INTERESTED: &[u8] = &[0, 0, 0, 1, 3];
/// For the first block.
const REQUEST: &[u8] = &[0, 0, 0, 13, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0];
/// Of the same.
const REJECT: &[u8] = &[0, 0, 0, 13, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0];
const HAVE_NONE: &[u8] = &[0, 0, 0, 1, 15];
const CONTENT: &[u8] = &[7; 32_768];

/// A disk that has the file, and counts how often it is read.
#[derive(Default)]
struct Disk {
    reads: usize,
}

impl Environment for Disk {
    fn disk(&mut self, request: DiskRequest) -> Option<DiskResult> {
        Some(Ok(match request {
            DiskRequest::Load { .. } => DiskDone::Loaded(None),
            DiskRequest::Open { .. } => {
                let length = CONTENT.len() as u64;
                DiskDone::Files(vec![Some(FileStat::new(length, 0))])
            }
            DiskRequest::Read { .. } => {
                self.reads += 1;
                DiskDone::Read(Bytes::from_static(&CONTENT[..16_384]))
            }
            _ => DiskDone::Done,
        }))
    }
}

/// A seed with one slot.
struct Scene {
    net: Loopback<Disk>,
    infohash: [u8; 20],
    leeches: Vec<ConnId>,
    /// Connections that take nothing.
    clogged: Vec<ConnId>,
    sent: Vec<(ConnId, Vec<u8>)>,
}

impl Scene {
    fn new() -> Self {
        let mut config = Config::default();
        config.choking.slots = 1;
        config.listen = vec![SocketAddr::from(([0, 0, 0, 0], 6881))];
        let mut engine = Engine::new(config, [1; 32], Instant::ZERO, UnixTime(1));
        let mut creator = Creator::single_file("file", CONTENT.len() as u64);
        creator.piece_length = 16_384;
        let metainfo = creator.finish_with_content(CONTENT).expect("valid");
        let infohash = metainfo.infohash().0;
        engine.add_torrent(Instant::ZERO, AddTorrent::new(metainfo, "/data")).expect("new");
        let mut net = Loopback::alone(engine, Disk::default());
        net.settle();
        Scene { net, infohash, leeches: Vec::new(), clogged: Vec::new(), sent: Vec::new() }
    }

    /// A leech with nothing.
    fn leech(&mut self, number: u8, fast: bool) -> ConnId {
        let from = SocketAddr::from(([50, 0, 0, number], 1));
        let conn = self.net.accept(0, from).expect("welcome");
        self.leeches.push(conn);
        let mut handshake = b"\x13BitTorrent protocol\0\0\0\0\0\0\0".to_vec();
        handshake.push(if fast { 4 } else { 0 });
        handshake.extend(self.infohash);
        handshake.extend([number; 20]);
        self.receive(conn, &handshake);
        if fast {
            self.receive(conn, HAVE_NONE);
        }
        self.receive(conn, INTERESTED);
        conn
    }

    fn leave(&mut self, conn: ConnId) {
        self.net.end(0, conn, None);
        self.run();
    }

    fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        self.net.receive(0, conn, bytes);
        self.run();
    }

    /// Lets time pass until the engine has choked and unchoked as often as it does.
    fn pass(&mut self, seconds: u64) {
        let until = self.net.now + Duration::from_secs(seconds);
        while self.net.wait(until) {
            self.run();
        }
        self.net.now = until;
    }

    /// What happens now; connections take what there is for them, unless they are clogged.
    fn run(&mut self) {
        self.net.settle();
        for &conn in self.leeches.iter().filter(|conn| !self.clogged.contains(conn)) {
            let bytes = self.net.sent(0, conn);
            self.sent.push((conn, bytes));
        }
    }

    fn reads(&self) -> usize {
        self.net.nodes[0].env.reads
    }

    /// How often this was sent on a connection, after the handshake.
    fn heard(&self, by: ConnId, what: &[u8]) -> usize {
        let heard: Vec<u8> =
            self.sent.iter().filter(|(conn, _)| *conn == by).flat_map(|(_, b)| b.clone()).collect();
        let mut rest = &heard[68..];
        let mut count = 0;
        while let Some((length, _)) = rest.split_first_chunk() {
            let (message, after) = rest.split_at(4 + u32::from_be_bytes(*length) as usize);
            count += usize::from(message == what);
            rest = after;
        }
        count
    }
}

#[test]
fn a_request_that_a_waiting_choke_will_drop_is_not_served_and_no_unchoke_follows_at_once() {
    for fast in [false, true] {
        let mut scene = Scene::new();
        let (first, second) = (scene.leech(1, fast), scene.leech(2, fast));
        assert_eq!((scene.heard(first, UNCHOKE), scene.heard(second, UNCHOKE)), (1, 0));
        scene.clogged = vec![first];
        // Its turn ends; the other has its own, and leaves.
        for _ in 0..60 {
            scene.pass(10);
            if scene.heard(second, UNCHOKE) > 0 {
                break;
            }
        }
        assert_eq!(scene.heard(second, UNCHOKE), 1, "nobody's turn ends");
        scene.leave(second);
        scene.pass(20);
        scene.receive(first, REQUEST);
        assert_eq!(scene.reads(), 0);
        scene.clogged.clear();
        scene.run();
        assert_eq!((scene.heard(first, CHOKE), scene.heard(first, UNCHOKE)), (1, 1));
        // BEP 6: what a choke drops is rejected.
        assert_eq!(scene.heard(first, REJECT), usize::from(fast));
        // To what comes now the choke has been said.
        scene.pass(10);
        assert_eq!(scene.heard(first, UNCHOKE), 2);
        scene.receive(first, REQUEST);
        assert_eq!(scene.reads(), 1);
    }
}

#[test]
fn a_peer_whose_slot_went_to_another_while_it_wanted_nothing_is_choked_when_it_wants_again() {
    let mut scene = Scene::new();
    let first = scene.leech(1, false);
    scene.receive(first, NOT_INTERESTED);
    let second = scene.leech(2, false);
    assert_eq!((scene.heard(first, UNCHOKE), scene.heard(second, UNCHOKE)), (1, 1));
    assert_eq!(scene.heard(first, CHOKE), 0);
    scene.receive(first, INTERESTED);
    assert_eq!((scene.heard(first, CHOKE), scene.heard(second, CHOKE)), (1, 0));
}

#[test]
fn a_peer_that_wants_nothing_for_a_moment_keeps_a_slot_that_nobody_else_wants() {
    let mut scene = Scene::new();
    let first = scene.leech(1, false);
    scene.receive(first, NOT_INTERESTED);
    scene.receive(first, INTERESTED);
    assert_eq!((scene.heard(first, CHOKE), scene.heard(first, UNCHOKE)), (0, 1));
}
