//! A seed of a torrent of v2 is asked for hashes (BEP 52), by peers that keep to the rules and by
//! one that does not.

use std::net::SocketAddr;

use bitswarm_core::action::{Action, SocketKind};
use bitswarm_core::config::RateLimits;
use bitswarm_core::disk::{DiskDone, DiskRequest, FileStat};
use bitswarm_core::id::SocketId;
use bitswarm_core::merkle::HashRange;
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::{Creator, Protocol};
use bitswarm_core::piece::InfoHash;
use bitswarm_core::segments::Segments;
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::wire::{Decoder, HandshakeDecoder, HashRequest, Message};
use bitswarm_core::{Config, ConnId, Engine, Event, Instant, UnixTime};

/// Nine pieces of two blocks: layers 0 to 5, of which that of the pieces is layer 1.
const LENGTH: usize = 9 << 15;
const PAIR: HashRange = HashRange { base_layer: 1, index: 8, length: 2, proof_layers: 3 };

/// A seed.
struct Scene {
    engine: Engine,
    metainfo: Metainfo,
    listener: Option<SocketId>,
    closed: Vec<ConnId>,
    /// Connections that have something to send.
    sending: Vec<ConnId>,
}

/// What a peer hears.
struct Ear {
    conn: ConnId,
    handshake: HandshakeDecoder,
    decoder: Decoder,
}

impl Scene {
    fn new(protocol: Protocol) -> Self {
        let content: Vec<u8> = (0..LENGTH).map(|at| (at >> 13) as u8).collect();
        let mut creator = Creator::single_file("file", LENGTH as u64).with_protocol(protocol);
        creator.piece_length = 1 << 15;
        let metainfo = creator.finish_with_content(&content).expect("valid");
        let listen = vec![SocketAddr::from(([0, 0, 0, 0], 6881))];
        let config = Config { listen, ..Config::default() };
        let mut engine = Engine::new(config, [1; 32], Instant::ZERO, UnixTime(1));
        engine.add_torrent(Instant::ZERO, AddTorrent::new(metainfo.clone(), "/data")).expect("new");
        let (closed, sending) = (Vec::new(), Vec::new());
        let mut scene = Scene { engine, metainfo, listener: None, closed, sending };
        scene.run();
        scene
    }

    /// A peer without extensions that knows the torrent by this infohash.
    fn peer(&mut self, infohash: InfoHash) -> Ear {
        let from = SocketAddr::from(([50, 0, 0, 1], 1));
        let listener = self.listener.expect("bound");
        let conn = self.engine.accept(Instant::ZERO, listener, from).expect("welcome");
        let mut hello = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec();
        hello.extend(infohash.0);
        hello.extend([b'p'; 20]);
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
        self.engine.handle(Instant::ZERO, Event::Received { conn, data: bytes.into() });
        self.run();
    }

    /// All that a peer has been sent since.
    fn heard(&mut self, ear: &mut Ear) -> Vec<Message> {
        while let Some(at) = self.sending.iter().position(|conn| *conn == ear.conn) {
            self.sending.remove(at);
            let mut out = Segments::default();
            self.engine.gather(Instant::ZERO, ear.conn, 1 << 16, &mut out);
            let mut data = out.take_all();
            let sent = Event::Sent { conn: ear.conn, bytes: data.len() };
            if ear.handshake.handshake().is_none() {
                ear.handshake.push(&mut data).expect("a handshake");
            }
            ear.decoder.push(data.freeze());
            self.engine.handle(Instant::ZERO, sent);
            self.run();
        }
        let next = || ear.decoder.next_message().expect("valid");
        std::iter::from_fn(next).collect()
    }

    /// The disk answers at once.
    fn run(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Bind { socket, spec } if spec.kind == SocketKind::TcpListener => {
                    self.listener = Some(socket);
                    let bound = Event::Bound { socket, result: Ok(spec.addr) };
                    self.engine.handle(Instant::ZERO, bound);
                }
                Action::Send { conn } => self.sending.push(conn),
                Action::Close { conn, .. } => self.closed.push(conn),
                Action::Disk { op, request } => {
                    let done = match request {
                        DiskRequest::Load { .. } => DiskDone::Loaded(None),
                        DiskRequest::Open { .. } => {
                            let stat = FileStat { length: LENGTH as u64, modified_ns: 0 };
                            DiskDone::Files(vec![Some(stat)])
                        }
                        _ => DiskDone::Done,
                    };
                    self.engine.handle(Instant::ZERO, Event::Disk { op, result: Ok(done) });
                }
                _ => {}
            }
        }
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
    let leaves = HashRange { base_layer: 0, index: 16, ..PAIR };
    let unknown = HashRequest { root: [7; 32], range: PAIR };
    let odd = HashRange { index: 7, ..PAIR };
    for request in [scene.request(leaves), unknown, scene.request(odd)] {
        scene.say(&peer, Message::HashRequest(request));
        assert_eq!(scene.heard(&mut peer), [Message::HashReject(request)]);
    }
    assert!(scene.closed.is_empty());
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
    assert!(scene.closed.is_empty());
}

#[test]
fn hashes_wait_for_the_upload_limit() {
    let mut scene = Scene::new(Protocol::V2);
    let limits = RateLimits { up_bytes_per_s: Some(0), down_bytes_per_s: None };
    scene.engine.set_limits(Instant::ZERO, limits);
    let mut peer = scene.peer_of_v2();
    scene.say(&peer, Message::HashRequest(scene.request(PAIR)));
    assert_eq!(scene.heard(&mut peer), []);
    scene.engine.set_limits(Instant::ZERO, RateLimits::default());
    scene.run();
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
        assert_eq!(scene.closed, [peer.conn]);
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
    assert!(scene.closed.is_empty(), "4 MiB");
    scene.say(&peer, hashes);
    assert_eq!(scene.closed, [peer.conn]);
}
