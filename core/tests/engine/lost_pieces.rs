//! A peer loses a piece that we are about to ask it for (BEP 54), says that it has others than it said,
//! or answers before it is asked.

use std::net::SocketAddr;

use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::testing::{Loopback, NoFiles};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{Commands, Config, ConnId, Engine, Instant, UnixTime};

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

/// The connection of an engine that fetches two pieces of a block each from one peer.
struct Scene {
    host: Loopback<NoFiles>,
    peer: ConnId,
}

impl Scene {
    /// With the fast extension (BEP 6) or without.
    fn new(fast: bool) -> Self {
        let engine = Engine::new(Config::default(), [1; 32], Instant::ZERO, UnixTime(1));
        let mut host = Loopback::alone(engine, NoFiles);
        let mut creator = Creator::single_file("file", 32_768);
        creator.piece_length = 16_384;
        let metainfo = creator.finish_with_content(&[7; 32_768]).expect("valid");
        let infohash = metainfo.infohash();
        let mut add = AddTorrent::new(metainfo, "/data");
        add.peers = vec![SocketAddr::from(([50, 0, 0, 1], 1))];
        host.nodes[0].engine.add_torrent(Instant::ZERO, add).expect("new");
        host.settle();
        let peer = host.nodes[0].dialled.first().expect("dialled").0;
        host.connected(0, peer);
        let mut handshake = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0".to_vec();
        handshake.push(if fast { 4 } else { 0 });
        handshake.extend(infohash.0);
        handshake.extend([b'p'; 20]);
        handshake.extend(BITFIELD);
        host.receive(0, peer, &handshake);
        host.sent(0, peer);
        Scene { host, peer }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.host.receive(0, self.peer, bytes);
    }

    /// All that the engine has to send now.
    fn sent(&mut self) -> Vec<u8> {
        self.host.sent(0, self.peer)
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
    let mut scene = Scene::new(fast);
    scene.receive(UNCHOKE);
    scene.receive(says);
    let mut pieces = requested(&scene.sent());
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
