//! A peer loses a piece that we are about to ask it for (BEP 54), says that it has others than it said,
//! or answers before it is asked.

use std::net::SocketAddr;

use bitswarm_core::disk::{DiskDone, DiskRequest};
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::segments::Segments;
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{Action, Config, ConnId, Engine, Event, Instant, UnixTime};

const UNCHOKE: &[u8] = &[0, 0, 0, 1, 1];
/// Both pieces.
const BITFIELD: &[u8] = &[0, 0, 0, 2, 5, 0b1100_0000];
/// The first, as if both had not been said.
const FIRST: &[u8] = &[0, 0, 0, 2, 5, 0b1000_0000];
const HAVE_NONE: &[u8] = &[0, 0, 0, 1, 15];

/// `lt_donthave` under the id that we give it.
fn lost(piece: u8) -> [u8; 10] {
    [0, 0, 0, 6, 20, 3, 0, 0, 0, piece]
}

/// An engine that fetches two pieces of a block each from one peer.
struct Scene {
    engine: Engine,
    peer: Option<ConnId>,
}

impl Scene {
    /// With the fast extension (BEP 6) or without.
    fn new(fast: bool) -> (Self, ConnId) {
        let mut engine = Engine::new(Config::default(), [1; 32], Instant::ZERO, UnixTime(1));
        let mut creator = Creator::single_file("file", 32_768);
        creator.piece_length = 16_384;
        let metainfo = creator.finish_with_content(&[7; 32_768]).expect("valid");
        let infohash = metainfo.infohash();
        let mut add = AddTorrent::new(metainfo, "/data");
        add.peers = vec![SocketAddr::from(([50, 0, 0, 1], 1))];
        engine.add_torrent(Instant::ZERO, add).expect("new");
        let mut scene = Scene { engine, peer: None };
        scene.run();
        let peer = scene.peer.expect("dialled");
        let local = SocketAddr::from(([50, 0, 0, 9], 9));
        scene.handle(Event::Connected { conn: peer, local });
        let mut handshake = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0".to_vec();
        handshake.push(if fast { 4 } else { 0 });
        handshake.extend(infohash.0);
        handshake.extend([b'p'; 20]);
        handshake.extend(BITFIELD);
        scene.receive(peer, &handshake);
        scene.sent(peer);
        (scene, peer)
    }

    fn handle(&mut self, event: Event) {
        self.engine.handle(Instant::ZERO, event);
        self.run();
    }

    fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        self.handle(Event::Received { conn, data: bytes.into() });
    }

    /// All that the engine has to send now.
    fn sent(&mut self, conn: ConnId) -> Vec<u8> {
        let mut out = Segments::default();
        self.engine.gather(Instant::ZERO, conn, usize::MAX / 2, &mut out);
        let bytes = out.take_all().to_vec();
        self.handle(Event::Sent { conn, bytes: bytes.len() });
        bytes
    }

    /// The disk answers at once; nothing is sent.
    fn run(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Connect { conn, .. } => self.peer = Some(conn),
                Action::Disk { op, request } => {
                    let done = match request {
                        DiskRequest::Load { .. } => DiskDone::Loaded(None),
                        DiskRequest::Open { .. } => DiskDone::Files(vec![None]),
                        _ => DiskDone::Done,
                    };
                    self.engine.handle(Instant::ZERO, Event::Disk { op, result: Ok(done) });
                }
                _ => {}
            }
        }
    }
}

/// The pieces that are requested.
fn requested(bytes: &[u8]) -> Vec<u8> {
    const REQUEST: &[u8] = &[0, 0, 0, 13, 6, 0, 0, 0];
    let starts = |at: &usize| bytes[*at..].starts_with(REQUEST);
    (0..bytes.len()).filter(starts).map(|at| bytes[at + REQUEST.len()]).collect()
}

/// What is requested of a peer that says this before anything is sent to it.
fn requested_after(fast: bool, says: &[u8]) -> Vec<u8> {
    let (mut scene, peer) = Scene::new(fast);
    scene.receive(peer, UNCHOKE);
    scene.receive(peer, says);
    let mut pieces = requested(&scene.sent(peer));
    pieces.sort();
    pieces
}

#[test]
fn a_piece_lost_before_its_request_is_sent_is_not_requested() {
    for fast in [false, true] {
        assert_eq!(requested_after(fast, &lost(1)), [0], "fast: {fast}");
    }
}

#[test]
fn a_piece_that_another_bitfield_lacks_is_not_requested() {
    for fast in [false, true] {
        assert_eq!(requested_after(fast, FIRST), [0], "fast: {fast}");
    }
    assert_eq!(requested_after(true, HAVE_NONE), []);
}

#[test]
fn a_piece_that_was_not_lost_is_requested() {
    for fast in [false, true] {
        assert_eq!(requested_after(fast, &[]), [0, 1], "fast: {fast}");
    }
}

#[test]
fn a_block_that_comes_before_its_request_is_sent_is_not_requested() {
    let mut first = [0, 0, 0x40, 9, 7, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
    first.extend([7; 16_384]);
    for fast in [false, true] {
        assert_eq!(requested_after(fast, &first), [1], "fast: {fast}");
    }
}

#[test]
fn a_block_that_is_rejected_before_its_request_is_sent_is_requested_once() {
    let reject = [0, 0, 0, 13, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0];
    assert_eq!(requested_after(true, &reject), [0, 1]);
}
