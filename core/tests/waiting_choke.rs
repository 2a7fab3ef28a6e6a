//! A choke waits for a connection that takes nothing, and an unchoke follows it. Found by the
//! simulator's seeds 8362 and 16091.

use std::net::SocketAddr;
use std::time::Duration;

use bitswarm_core::action::{Action, SocketKind};
use bitswarm_core::disk::{DiskDone, DiskRequest, FileStat};
use bitswarm_core::id::SocketId;
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::segments::Segments;
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{Config, ConnId, Engine, Event, Instant, UnixTime};
use bytes::Bytes;

const CHOKE: &[u8] = &[0, 0, 0, 1, 0];
const UNCHOKE: &[u8] = &[0, 0, 0, 1, 1];
const INTERESTED: &[u8] = &[0, 0, 0, 1, 2];
/// For the first block.
const REQUEST: &[u8] = &[0, 0, 0, 13, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0];
const CONTENT: &[u8] = &[7; 32_768];

/// A seed with one slot.
struct Scene {
    engine: Engine,
    now: Instant,
    listener: Option<SocketId>,
    infohash: [u8; 20],
    reads: usize,
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
        let mut scene = Scene {
            engine,
            now: Instant::ZERO,
            listener: None,
            infohash,
            reads: 0,
            clogged: Vec::new(),
            sent: Vec::new(),
        };
        scene.run();
        scene
    }

    /// A leech without the fast extension, and with nothing.
    fn leech(&mut self, number: u8) -> ConnId {
        let from = SocketAddr::from(([50, 0, 0, number], 1));
        let listener = self.listener.expect("bound");
        let conn = self.engine.accept(self.now, listener, from).expect("welcome");
        let mut handshake = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec();
        handshake.extend(self.infohash);
        handshake.extend([number; 20]);
        self.receive(conn, &handshake);
        self.receive(conn, INTERESTED);
        conn
    }

    fn handle(&mut self, event: Event) {
        self.engine.handle(self.now, event);
        self.run();
    }

    fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        self.handle(Event::Received { conn, data: bytes.into() });
    }

    /// Lets time pass until the engine has choked and unchoked as often as it does.
    fn pass(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.handle(Event::Timeout);
        }
        self.now = until;
    }

    fn gather(&mut self, conn: ConnId) {
        let mut out = Segments::default();
        self.engine.gather(self.now, conn, usize::MAX / 2, &mut out);
        let bytes = out.take_all().to_vec();
        let event = Event::Sent { conn, bytes: bytes.len() };
        self.sent.push((conn, bytes));
        self.engine.handle(self.now, event);
    }

    /// The disk answers at once.
    fn run(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Bind { socket, spec } if spec.kind == SocketKind::TcpListener => {
                    self.listener = Some(socket);
                    let bound = Event::Bound { socket, result: Ok(spec.addr) };
                    self.engine.handle(self.now, bound);
                }
                Action::Send { conn } if !self.clogged.contains(&conn) => self.gather(conn),
                Action::Disk { op, request } => {
                    let done = self.perform(request);
                    self.engine.handle(self.now, Event::Disk { op, result: Ok(done) });
                }
                _ => {}
            }
        }
    }

    fn perform(&mut self, request: DiskRequest) -> DiskDone {
        match request {
            DiskRequest::Load { .. } => DiskDone::Loaded(None),
            DiskRequest::Open { .. } => {
                let length = CONTENT.len() as u64;
                DiskDone::Files(vec![Some(FileStat { length, modified_ns: 0 })])
            }
            DiskRequest::Read { .. } => {
                self.reads += 1;
                DiskDone::Read(Bytes::from_static(&CONTENT[..16_384]))
            }
            _ => DiskDone::Done,
        }
    }

    fn heard(&self, by: ConnId, what: &[u8]) -> usize {
        let heard: Vec<u8> =
            self.sent.iter().filter(|(conn, _)| *conn == by).flat_map(|(_, b)| b.clone()).collect();
        heard.windows(what.len()).filter(|window| *window == what).count()
    }
}

#[test]
fn a_request_that_a_waiting_choke_will_drop_is_not_served_though_an_unchoke_waits_too() {
    let mut scene = Scene::new();
    let (first, second) = (scene.leech(1), scene.leech(2));
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
    scene.handle(Event::Closed { conn: second, why: None });
    scene.pass(20);
    scene.receive(first, REQUEST);
    assert_eq!(scene.reads, 0);
    scene.clogged.clear();
    scene.gather(first);
    scene.run();
    assert_eq!((scene.heard(first, CHOKE), scene.heard(first, UNCHOKE)), (1, 2));
    // To what comes now the choke has been said.
    scene.receive(first, REQUEST);
    assert_eq!(scene.reads, 1);
}
