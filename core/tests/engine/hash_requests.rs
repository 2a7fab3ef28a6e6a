//! A seed of a torrent of v2 is asked for hashes (BEP 52), by peers that keep to the rules and by
//! one that does not.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bitswarm_core::config::RateLimits;
use bitswarm_core::disk::{DiskRequest, MemoryDisk};
use bitswarm_core::merkle::{HashRange, TreeShape, leaf};
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::{Creator, Protocol};
use bitswarm_core::piece::{Block, InfoHash, PieceIndex};
use bitswarm_core::segments::Segments;
use bitswarm_core::testing::{DiskResult, Environment, Loopback};
use bitswarm_core::time::Duration;
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::wire::{Decoder, HandshakeDecoder, HashRequest, Message};
use bitswarm_core::{Commands, Config, ConnId, Engine, Event, Instant, UnixTime};
use bytes::BytesMut;

/// Nine pieces of two blocks: layers 0 to 5, of which that of the pieces is layer 1.
const LENGTH: usize = 9 << 15;
const PAIR: HashRange = HashRange { base_layer: 1, index: 8, length: 2, proof_layers: 3 };

/// A seed.
struct Scene {
    net: Loopback<Disk>,
    metainfo: Metainfo,
    peers: u8,
}

/// A disk that answers at once, unless it is slow at reading.
struct Disk {
    files: MemoryDisk,
    /// What is to be read, where it is slow: the first of it was asked for first.
    reading: Option<VecDeque<DiskRequest>>,
}

impl Environment for Disk {
    fn disk(&mut self, request: DiskRequest) -> Option<DiskResult> {
        match &mut self.reading {
            Some(reading) if matches!(request, DiskRequest::Read { .. }) => {
                reading.push_back(request);
                None
            }
            _ => Some(self.files.perform(request)),
        }
    }
}

/// What a peer hears.
struct Ear {
    conn: ConnId,
    handshake: HandshakeDecoder,
    decoder: Decoder,
}

impl Scene {
    fn new(protocol: Protocol) -> Self {
        Self::of(protocol, LENGTH, 1 << 15)
    }

    /// No two blocks of the file are alike.
    fn of(protocol: Protocol, length: usize, piece_length: u32) -> Self {
        Self::with(Config::default(), protocol, length, piece_length)
    }

    fn with(config: Config, protocol: Protocol, length: usize, piece_length: u32) -> Self {
        let content: Vec<u8> = (0..length).map(|at| (at >> 13) as u8 ^ (at >> 21) as u8).collect();
        let mut creator = Creator::single_file("file", length as u64).with_protocol(protocol);
        creator.piece_length = piece_length;
        let metainfo = creator.finish_with_content(&content).expect("valid");
        let listen = vec![SocketAddr::from(([0, 0, 0, 0], 6881))];
        let config = Config { listen, ..config };
        let mut engine = Engine::new(config, [1; 32], Instant::ZERO, UnixTime(1));
        engine.add_torrent(Instant::ZERO, AddTorrent::new(metainfo.clone(), "/data")).expect("new");
        let mut files = MemoryDisk::new();
        files.insert("/data/file", content);
        let mut net = Loopback::alone(engine, Disk { files, reading: None });
        net.settle();
        Scene { net, metainfo, peers: 0 }
    }

    fn disk(&mut self) -> &mut Disk {
        &mut self.net.nodes[0].env
    }

    fn closed(&self) -> &[ConnId] {
        &self.net.nodes[0].closed
    }

    /// A peer without extensions that knows the torrent by this infohash.
    fn peer(&mut self, infohash: InfoHash) -> Ear {
        self.peers += 1;
        let from = SocketAddr::from(([50, 0, 0, self.peers], 1));
        let conn = self.net.accept(0, from).expect("welcome");
        let mut hello = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec();
        hello.extend(infohash.0);
        hello.extend([self.peers; 20]);
        self.receive(conn, &hello);
        let mut ear = Ear { conn, handshake: HandshakeDecoder::new(), decoder: Decoder::new() };
        let said = self.heard(&mut ear);
        assert!(matches!(said[..], [Message::Bitfield(_)]), "{said:?}");
        ear
    }

    fn peer_of_v2(&mut self) -> Ear {
        self.peer(self.metainfo.infohash_v2().expect("of v2").truncated())
    }

    fn request(&self, range: HashRange) -> HashRequest {
        HashRequest { root: self.metainfo.pieces_root(0).expect("of v2"), range }
    }

    fn say(&mut self, ear: &Ear, message: Message) {
        let mut out = Segments::new();
        message.encode(&mut out);
        self.receive(ear.conn, &out.take_all());
    }

    fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        self.net.receive(0, conn, bytes);
        self.net.settle();
    }

    /// All that a peer has been sent since.
    fn heard(&mut self, ear: &mut Ear) -> Vec<Message> {
        let mut data = BytesMut::from(&*self.net.sent(0, ear.conn));
        if ear.handshake.handshake().is_none() {
            ear.handshake.push(&mut data).expect("a handshake");
        }
        ear.decoder.push(data.freeze());
        let next = || ear.decoder.next_message().expect("valid");
        std::iter::from_fn(next).collect()
    }

    /// How long the reads are that are under way.
    fn reading_now(&self) -> Vec<u32> {
        let length = |request: &DiskRequest| match request {
            DiskRequest::Read { spans, .. } => spans.iter().map(|span| span.length).sum(),
            other => unreachable!("{other:?}"),
        };
        self.net.nodes[0].env.reading.iter().flatten().map(length).collect()
    }

    /// The slow disk does the first of what it was asked; whether there was something.
    fn read_one(&mut self) -> bool {
        let node = &mut self.net.nodes[0];
        let Some(request) = node.env.reading.as_mut().and_then(VecDeque::pop_front) else {
            return false;
        };
        let result = node.env.files.perform(request);
        let op = node.unanswered.pop_front().expect("it was not answered");
        self.net.happen(0, Event::Disk { op, result });
        true
    }

    /// The slow disk does what it was asked so far.
    fn read(&mut self) {
        while self.read_one() {}
        self.net.settle();
    }
}

#[test]
fn hashes_of_the_piece_layer_are_given_to_a_choked_peer_with_their_proof() {
    for protocol in [Protocol::V2, Protocol::Hybrid] {
        let mut scene = Scene::new(protocol);
        let mut peer = scene.peer_of_v2();
        let request = scene.request(PAIR);
        scene.say(&peer, Message::HashRequest(request));
        let heard = scene.heard(&mut peer);
        let [Message::Hashes { request: answered, hashes }] = &heard[..] else {
            panic!("{heard:?}");
        };
        assert_eq!(*answered, request);
        assert_eq!(PAIR.climb(hashes.as_chunks().0), Some(request.root));
        let layer = scene.metainfo.piece_layer(0).expect("nine pieces");
        assert_eq!(hashes[..32], layer[8 * 32..]);
    }
}

#[test]
fn what_is_not_held_is_rejected() {
    let mut scene = Scene::new(Protocol::V2);
    let mut peer = scene.peer_of_v2();
    // Filling alone, nothing that there is, and what is no run.
    let leaves = HashRange { base_layer: 0, index: 20, length: 4, proof_layers: 4 };
    let unknown = HashRequest { root: [7; 32], range: PAIR };
    let odd = HashRange { index: 7, ..PAIR };
    for request in [scene.request(leaves), unknown, scene.request(odd)] {
        scene.say(&peer, Message::HashRequest(request));
        assert_eq!(scene.heard(&mut peer), [Message::HashReject(request)]);
    }
    assert!(scene.closed().is_empty());
}

/// The leaves from `index` on with so many layers of proof; what is above them all.
fn leaf_range(index: u32, length: u32, proof_layers: u32) -> HashRange {
    HashRange { base_layer: 0, index, length, proof_layers }
}

/// The leaf hashes of the file that are asked for, filling included.
fn leaves_of(scene: &Scene, range: &HashRange) -> Vec<[u8; 32]> {
    let mut leaves: Vec<[u8; 32]> = scene.net.nodes[0]
        .env
        .files
        .file("/data/file")
        .expect("there")
        .chunks(16 << 10)
        .map(leaf)
        .collect();
    leaves.resize(leaves.len().max((range.index + range.length) as usize), [0; 32]);
    leaves[range.index as usize..][..range.length as usize].to_vec()
}

#[test]
fn leaf_hashes_of_a_run_are_given_with_as_much_proof_as_is_asked_for() {
    // Pieces of two blocks, one and several of them; one of three; one of 8 MiB and a bit of another,
    // so in several reads; more of 1 MiB than one run may have.
    for (length, piece_length, runs) in [
        (LENGTH, 1 << 15, vec![(0, 2, 0), (16, 2, 0), (16, 2, 4), (4, 2, 2)]),
        (LENGTH, 1 << 15, vec![(0, 4, 1), (4, 4, 4), (16, 4, 4), (16, 16, 4), (0, 32, 4)]),
        (LENGTH - 5, 1 << 14, vec![(0, 2, 4), (8, 4, 4), (16, 2, 4), (16, 16, 3), (0, 32, 0)]),
        ((9 << 20) + 1, 1 << 20, vec![(0, 512, 9), (512, 512, 9), (512, 128, 8), (576, 64, 9)]),
        (40_000, 1 << 16, vec![(0, 4, 1), (2, 2, 0), (2, 2, 1)]),
        (40_000, 1 << 24, vec![(0, 4, 1), (0, 2, 1)]),
        ((8 << 20) + 1, 8 << 20, vec![(0, 512, 8), (0, 512, 9), (256, 256, 9), (512, 512, 9)]),
    ] {
        for protocol in [Protocol::V2, Protocol::Hybrid] {
            let mut scene = Scene::of(protocol, length, piece_length);
            let mut peer = scene.peer_of_v2();
            let shape = TreeShape::new(length as u64, piece_length).expect("valid");
            for (index, count, proof_layers) in &runs {
                let range = leaf_range(*index, *count, *proof_layers);
                assert!(range.is_allowed(&shape), "{range:?}");
                let request = scene.request(range);
                scene.say(&peer, Message::HashRequest(request));
                let heard = scene.heard(&mut peer);
                let [Message::Hashes { request: answered, hashes }] = &heard[..] else {
                    panic!("{protocol:?} {range:?}: {heard:?}");
                };
                assert_eq!(*answered, request);
                let hashes = hashes.as_chunks::<32>().0;
                assert_eq!(hashes[..*count as usize], leaves_of(&scene, &range));
                let top = range.climb(hashes).expect("as many as there must be");
                if range.top().layer == shape.height() {
                    assert_eq!(top, request.root, "{range:?}");
                }
            }
        }
    }
}

#[test]
fn leaf_hashes_of_what_is_not_what_it_should_be_are_rejected() {
    let mut scene = Scene::of(Protocol::V2, LENGTH, 1 << 15);
    let mut peer = scene.peer_of_v2();
    scene.disk().files.insert("/data/file", vec![9; LENGTH]);
    let wrong = scene.request(leaf_range(0, 2, 0));
    scene.say(&peer, Message::HashRequest(wrong));
    assert_eq!(scene.heard(&mut peer), [Message::HashReject(wrong)]);
    scene.disk().files.insert("/data/file", vec![9; 5]);
    scene.say(&peer, Message::HashRequest(wrong));
    assert_eq!(scene.heard(&mut peer), [Message::HashReject(wrong)]);
}

#[test]
fn requests_for_the_leaves_of_one_piece_wait_for_one_reading_of_it() {
    // 32 MiB: four runs, 32 parts.
    let mut scene = Scene::of(Protocol::V2, 32 << 20, 32 << 20);
    let mut peers = [scene.peer_of_v2(), scene.peer_of_v2()];
    scene.disk().reading = Some(VecDeque::new());
    for peer in &peers {
        for run in 0..4 {
            scene.say(peer, Message::HashRequest(scene.request(leaf_range(run * 512, 512, 10))));
        }
    }
    let mut parts = 0;
    while !scene.reading_now().is_empty() {
        assert_eq!(scene.reading_now(), [1 << 20], "one at a time");
        parts += 1;
        scene.read();
    }
    assert_eq!(parts, 32);
    for peer in &mut peers {
        let heard = scene.heard(peer);
        assert_eq!(heard.len(), 4);
        for message in heard {
            let Message::Hashes { request, hashes } = message else { panic!("{message:?}") };
            assert_eq!(request.range.climb(hashes.as_chunks::<32>().0), Some(request.root));
        }
    }
}

#[test]
fn a_flood_of_requests_for_leaves_is_answered_in_full_but_mostly_with_rejects() {
    let mut scene = Scene::of(Protocol::V2, 32 << 20, 1 << 20);
    let mut peer = scene.peer_of_v2();
    let mut hashes = 0;
    for run in 0..1000 {
        let request = scene.request(leaf_range(run % 32 * 64, 64, 5));
        scene.say(&peer, Message::HashRequest(request));
        match &scene.heard(&mut peer)[..] {
            [Message::Hashes { .. }] => hashes += 1,
            [Message::HashReject(rejected)] => assert_eq!(*rejected, request),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(hashes, 64, "64 MiB are read for it in a minute");
    // Others get theirs all the same.
    let mut other = scene.peer_of_v2();
    scene.say(&other, Message::HashRequest(scene.request(leaf_range(0, 64, 5))));
    assert!(matches!(scene.heard(&mut other)[..], [Message::Hashes { .. }]));
    // While the disk is slow, no more than so many wait.
    scene.disk().reading = Some(VecDeque::new());
    let mut third = scene.peer_of_v2();
    for run in 0..64 {
        scene.say(&third, Message::HashRequest(scene.request(leaf_range(run % 2 * 64, 64, 5))));
    }
    assert_eq!(scene.heard(&mut third).len(), 32, "as many as may wait");
    assert!(scene.closed().is_empty());
}

/// Asks for a block, then for leaf hashes.
fn ask_for_block_and_leaves(scene: &mut Scene, peer: &Ear, block: Block, range: HashRange) {
    let request = scene.request(range);
    let mut out = Segments::new();
    Message::Request(block).encode(&mut out);
    Message::HashRequest(request).encode(&mut out);
    scene.receive(peer.conn, &out.take_all());
}

#[test]
fn leaf_hashes_asked_for_after_one_of_their_blocks_come_whatever_else_was_asked() {
    // 16 pieces of 1 MiB; of blocks, so that leaves are pieces.
    for piece_length in [1 << 20, 1 << 14] {
        let mut scene = Scene::of(Protocol::V2, 16 << 20, piece_length);
        let mut peer = scene.peer_of_v2();
        scene.say(&peer, Message::Interested);
        assert_eq!(scene.heard(&mut peer), [Message::Unchoke]);
        // Of all pieces, and in vain a few times more: all that may be read in a minute.
        let whole = |half: u32| leaf_range(half * 512, 512, 9);
        let mut given = 0;
        for at in 0..1000 {
            scene.say(&peer, Message::HashRequest(scene.request(whole(at % 2))));
            let heard = scene.heard(&mut peer);
            given += u32::from(matches!(heard[..], [Message::Hashes { .. }]));
        }
        assert!((8..40).contains(&given), "{given}");
        let (mut blocks, mut hashes) = (0, 0);
        for at in 0..100_u32 {
            let place = u64::from(at) * 163_840;
            let (piece, begin) = (place / u64::from(piece_length), place % u64::from(piece_length));
            let piece = PieceIndex(u32::try_from(piece).expect("small"));
            let begin = u32::try_from(begin).expect("small");
            let block = Block { piece, begin, length: 1 << 14 };
            ask_for_block_and_leaves(&mut scene, &peer, block, whole(at * 10 / 512));
            for message in scene.heard(&mut peer) {
                match message {
                    Message::Piece { .. } => blocks += 1,
                    Message::Hashes { .. } => hashes += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(blocks, 100);
        // Nothing of it is lost: in time all come.
        for _ in 0..100 {
            scene.net.pass(Duration::from_secs(10));
            scene.say(&peer, Message::KeepAlive);
            for message in scene.heard(&mut peer) {
                match message {
                    Message::Hashes { request, hashes: run } => {
                        let top = request.range.climb(run.as_chunks::<32>().0);
                        assert_eq!(top, Some(request.root));
                        hashes += 1;
                    }
                    Message::KeepAlive => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(hashes, 100, "pieces of {piece_length} bytes");
        assert!(scene.closed().is_empty());
    }
}

/// A disk that is slow, a budget for one read at a time.
#[test]
fn reading_for_leaf_hashes_shares_the_read_ahead_budget() {
    let mut config = Config::default();
    config.bounds.read_ahead_bytes = 1;
    let mut scene = Scene::with(config, Protocol::V2, LENGTH, 1 << 15);
    let (mut asker, gone) = (scene.peer_of_v2(), scene.peer_of_v2());
    let mut other = scene.peer_of_v2();
    scene.say(&asker, Message::Interested);
    assert_eq!(scene.heard(&mut asker), [Message::Unchoke]);
    scene.disk().reading = Some(VecDeque::new());
    let block = |piece| Block { piece: PieceIndex(piece), begin: 0, length: 1 << 14 };
    scene.say(&asker, Message::Request(block(1)));
    let leaves = scene.request(leaf_range(4, 2, 4));
    for ear in [&gone, &other] {
        scene.say(ear, Message::HashRequest(leaves));
    }
    assert_eq!(scene.reading_now(), [1 << 14]);
    scene.read();
    assert_eq!(scene.reading_now(), [0; 0], "the block was not sent yet");
    scene.net.end(0, gone.conn, None);
    scene.net.settle();
    assert!(matches!(scene.heard(&mut asker)[..], [Message::Piece { .. }]));
    assert_eq!(scene.reading_now(), [1 << 15], "though who was first in line is gone");
    scene.say(&asker, Message::Request(block(2)));
    assert_eq!(scene.reading_now(), [1 << 15]);
    scene.read();
    assert!(matches!(scene.heard(&mut other)[..], [Message::Hashes { .. }]));
    assert_eq!(scene.reading_now(), [1 << 14]);
    scene.read();
    // The block is not taken, but that holds up nobody's hashes for long.
    let leaves = scene.request(leaf_range(8, 2, 4));
    scene.say(&other, Message::HashRequest(leaves));
    assert_eq!(scene.reading_now(), [0; 0]);
    scene.net.pass(Duration::from_secs(5));
    assert_eq!(scene.reading_now(), [1 << 15]);
    scene.read();
    assert!(matches!(scene.heard(&mut other)[..], [Message::Hashes { .. }]));
    assert!(matches!(scene.heard(&mut asker)[..], [Message::Piece { .. }]));
}

#[test]
fn leaf_hashes_are_owed_once_for_a_block_and_for_its_own_run_only() {
    let mut scene = Scene::of(Protocol::V2, 24 << 20, 4 << 20);
    let mut peer = scene.peer_of_v2();
    scene.say(&peer, Message::Interested);
    scene.heard(&mut peer);
    let run = |piece: u32| leaf_range(piece * 256, 256, 10);
    // All that may be read, but for what the few blocks are worth.
    while {
        scene.say(&peer, Message::HashRequest(scene.request(run(0))));
        matches!(scene.heard(&mut peer)[..], [Message::Hashes { .. }])
    } {}
    let block = |piece| Block { piece: PieceIndex(piece), begin: 1 << 14, length: 1 << 14 };
    for (piece, asked, is_owed) in [(3, 3, true), (3, 4, false), (4, 3, false), (4, 4, true)] {
        ask_for_block_and_leaves(&mut scene, &peer, block(piece), run(asked));
        let heard = scene.heard(&mut peer);
        let is_rejected = |message: &Message| matches!(message, Message::HashReject(_));
        assert_eq!(heard.iter().any(is_rejected), !is_owed, "{piece} {asked}: {heard:?}");
        let again = scene.request(run(asked));
        scene.say(&peer, Message::HashRequest(again));
        assert_eq!(scene.heard(&mut peer), [Message::HashReject(again)]);
    }
}

#[test]
fn a_flood_of_requests_is_answered_in_full_but_mostly_with_rejects() {
    let mut scene = Scene::new(Protocol::V2);
    let mut peer = scene.peer_of_v2();
    let whole = HashRange { index: 0, length: 16, ..PAIR };
    let request = scene.request(whole);
    (0..1000).for_each(|_| scene.say(&peer, Message::HashRequest(request)));
    let (mut hashes, mut rejects) = (0, 0);
    for message in scene.heard(&mut peer) {
        match message {
            Message::Hashes { .. } => hashes += 1,
            Message::HashReject(_) => rejects += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((hashes, rejects), (64, 936), "as many as may wait");
    // In small portions it gets 4096 hashes a minute.
    for _ in 0..1000 {
        scene.say(&peer, Message::HashRequest(request));
        let heard = scene.heard(&mut peer);
        hashes += u32::from(matches!(heard[..], [Message::Hashes { .. }]));
    }
    assert_eq!(hashes, 4096 / 16);
    assert!(scene.closed().is_empty());
}

#[test]
fn hashes_wait_for_the_upload_limit() {
    let mut scene = Scene::new(Protocol::V2);
    let limits = RateLimits { up_bytes_per_s: Some(0), down_bytes_per_s: None };
    scene.net.nodes[0].engine.set_limits(Instant::ZERO, limits);
    let mut peer = scene.peer_of_v2();
    scene.say(&peer, Message::HashRequest(scene.request(PAIR)));
    assert_eq!(scene.heard(&mut peer), []);
    scene.net.nodes[0].engine.set_limits(Instant::ZERO, RateLimits::default());
    scene.net.settle();
    assert!(matches!(scene.heard(&mut peer)[..], [Message::Hashes { .. }]));
}

#[test]
fn a_connection_of_v1_is_closed_when_it_speaks_of_hashes() {
    let said = |request| {
        let hashes = Message::Hashes { request, hashes: vec![1; 64].into() };
        [Message::HashRequest(request), hashes, Message::HashReject(request)]
    };
    for at in 0..3 {
        let mut scene = Scene::new(Protocol::Hybrid);
        let peer = scene.peer(scene.metainfo.infohash());
        let message = said(scene.request(PAIR))[at].clone();
        scene.say(&peer, message);
        assert_eq!(scene.closed(), [peer.conn]);
    }
}

#[test]
fn hashes_nobody_asked_for_are_dropped_until_they_are_a_flood() {
    let mut scene = Scene::new(Protocol::V2);
    let peer = scene.peer_of_v2();
    let request = scene.request(PAIR);
    scene.say(&peer, Message::HashReject(request));
    let hashes = Message::Hashes { request, hashes: vec![1; 512 * 32].into() };
    for _ in 0..256 {
        scene.say(&peer, hashes.clone());
    }
    assert!(scene.closed().is_empty(), "4 MiB");
    scene.say(&peer, hashes);
    assert_eq!(scene.closed(), [peer.conn]);
}
