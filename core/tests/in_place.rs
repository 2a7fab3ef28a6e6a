//! Uploads of what the host leaves in its files: cut and cancelled as bytes are, and a file that
//! cannot be read when its turn has come.

use std::net::SocketAddr;

use bitswarm_core::action::{Action, SocketKind};
use bitswarm_core::disk::{
    DiskDone, DiskError, DiskErrorKind, DiskRequest, FileHandle, FileIndex, FilePart, FileStat,
};
use bitswarm_core::event::Event;
use bitswarm_core::id::SocketId;
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::segments::{Segment, Segments};
use bitswarm_core::torrent::{AddTorrent, TorrentState};
use bitswarm_core::{Config, ConnId, Engine, Instant, Notice, TorrentId, TorrentNotice, UnixTime};

const PIECE: u32 = 65_536;
const BLOCK: u32 = 16_384;
const LENGTH: u32 = 3 * PIECE;

/// A seed whose host answers each read with where the bytes lie, and a leech at it.
struct Scene {
    engine: Engine,
    id: TorrentId,
    listener: Option<SocketId>,
    infohash: [u8; 20],
    conn: Option<ConnId>,
    reads: Vec<(u64, u32)>,
    verified: usize,
    sent: Vec<Segment>,
    notices: Vec<TorrentNotice>,
}

impl Scene {
    fn new() -> Self {
        let config =
            Config { listen: vec![SocketAddr::from(([0, 0, 0, 0], 6881))], ..Config::default() };
        let mut engine = Engine::new(config, [1; 32], Instant::ZERO, UnixTime(1));
        let content = vec![7; LENGTH as usize];
        let mut creator = Creator::single_file("file", LENGTH.into());
        creator.piece_length = PIECE;
        let metainfo = creator.finish_with_content(&content).expect("valid");
        let infohash = metainfo.infohash().0;
        let add = AddTorrent::new(metainfo, "/data");
        let id = engine.add_torrent(Instant::ZERO, add).expect("new");
        let mut scene = Scene {
            engine,
            id,
            listener: None,
            infohash,
            conn: None,
            reads: Vec::new(),
            verified: 0,
            sent: Vec::new(),
            notices: Vec::new(),
        };
        scene.run(true);
        scene.connect();
        scene
    }

    fn connect(&mut self) {
        let from = SocketAddr::from(([50, 0, 0, 1], 1));
        let listener = self.listener.expect("bound");
        let conn = self.engine.accept(Instant::ZERO, listener, from).expect("welcome");
        self.conn = Some(conn);
        let mut hello = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec();
        hello.extend(self.infohash);
        hello.extend([2; 20]);
        hello.extend([0, 0, 0, 1, 2]);
        self.receive(&hello, true);
    }

    fn receive(&mut self, bytes: &[u8], takes: bool) {
        let conn = self.conn.expect("connected");
        self.engine.handle(Instant::ZERO, Event::Received { conn, data: bytes.into() });
        self.run(takes);
    }

    fn request(&mut self, piece: u32, blocks: std::ops::Range<u32>, takes: bool) {
        let requests =
            blocks.flat_map(|block| message(6, piece, block * BLOCK)).collect::<Vec<_>>();
        self.receive(&requests, takes);
    }

    /// Performs actions; with `takes`, the connection takes what there is for it.
    fn run(&mut self, takes: bool) {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Bind { socket, spec } => {
                    if spec.kind == SocketKind::TcpListener {
                        self.listener = Some(socket);
                    }
                    let event = Event::Bound { socket, result: Ok(spec.addr) };
                    self.engine.handle(Instant::ZERO, event);
                }
                Action::Disk { op, request } => {
                    let result = Ok(self.disk(request));
                    self.engine.handle(Instant::ZERO, Event::Disk { op, result });
                }
                Action::Send { conn } if takes => self.gather(conn),
                Action::Notify(notice) => {
                    if let Notice::Torrent { what, .. } = *notice {
                        self.notices.push(what);
                    }
                }
                Action::Close { conn, .. } => panic!("{conn:?} is closed"),
                _ => {}
            }
        }
    }

    fn gather(&mut self, conn: ConnId) {
        let mut out = Segments::new();
        self.engine.gather(Instant::ZERO, conn, usize::MAX / 2, &mut out);
        let bytes = out.len();
        self.sent.extend(out.drain());
        self.engine.handle(Instant::ZERO, Event::Sent { conn, bytes });
    }

    fn disk(&mut self, request: DiskRequest) -> DiskDone {
        match request {
            DiskRequest::Load { .. } => DiskDone::Loaded(None),
            DiskRequest::Open { .. } => {
                DiskDone::Files(vec![Some(FileStat { length: LENGTH.into(), modified_ns: 0 })])
            }
            DiskRequest::Read { store, spans, in_place: true } => {
                let (file, span) = (spans[0].file.expect("a file"), spans[0]);
                self.reads.push((span.offset, span.length));
                let (offset, length) = (span.offset, span.length);
                let handle = FileHandle::default();
                DiskDone::InPlace(FilePart { store, file, offset, length, handle })
            }
            DiskRequest::Read { .. } => panic!("what is uploaded may lie anywhere"),
            DiskRequest::Verify(_) => {
                self.verified += 1;
                DiskDone::Done
            }
            _ => DiskDone::Done,
        }
    }

    /// Where the blocks lie that were sent, each behind its header.
    fn blocks_sent(&self) -> Vec<(u64, u32)> {
        let place = |segment: &Segment| match segment {
            Segment::File(part) => Some((part.offset, part.length)),
            Segment::Bytes(_) => None,
        };
        self.sent.iter().filter_map(place).collect()
    }
}

fn message(id: u8, piece: u32, begin: u32) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 13, id];
    [piece, begin, BLOCK].iter().for_each(|number| bytes.extend(number.to_be_bytes()));
    bytes
}

#[test]
fn what_lies_in_a_file_is_sent_block_by_block_behind_its_headers() {
    let mut scene = Scene::new();
    scene.sent.clear();
    scene.request(1, 0..3, true);
    assert_eq!(scene.reads, [(65_536, 3 * BLOCK)], "requests are joined");
    assert_eq!(scene.blocks_sent(), [(65_536, BLOCK), (81_920, BLOCK), (98_304, BLOCK)]);
    let headers: Vec<&Segment> =
        scene.sent.iter().filter(|segment| matches!(segment, Segment::Bytes(_))).collect();
    assert_eq!(headers.len(), 3);
    for (number, header) in headers.into_iter().enumerate() {
        let Segment::Bytes(header) = header else { unreachable!() };
        let mut expected = vec![0, 0, 0x40, 9, 7];
        expected.extend([0, 0, 0, 1]);
        expected.extend((number as u32 * BLOCK).to_be_bytes());
        assert_eq!(header[..], expected);
    }
    let status = scene.engine.status(Instant::ZERO, scene.id).expect("there");
    assert_eq!(status.uploaded_bytes, u64::from(3 * BLOCK));
}

#[test]
fn what_lies_in_a_file_can_be_cancelled_until_it_is_gathered() {
    let mut scene = Scene::new();
    scene.request(0, 0..3, false);
    scene.receive(&message(8, 0, BLOCK), false);
    let conn = scene.conn.expect("connected");
    scene.gather(conn);
    assert_eq!(scene.blocks_sent(), [(0, BLOCK), (2 * u64::from(BLOCK), BLOCK)]);
}

#[test]
fn a_file_that_cannot_be_read_when_it_is_sent_is_told_as_a_failed_read() {
    let mut scene = Scene::new();
    scene.request(2, 0..1, true);
    let conn = scene.conn.take().expect("connected");
    let error =
        DiskError { kind: DiskErrorKind::Short, path: "/data/file".into(), cause: "".into() };
    let lost = Event::Unreadable {
        conn,
        file: FileIndex(0),
        offset: u64::from(2 * PIECE) + 100,
        error: Box::new(error.clone()),
    };
    scene.engine.handle(Instant::ZERO, lost);
    scene.run(true);
    let told = scene.notices.iter().filter(|what| matches!(what, TorrentNotice::DiskFailed { .. }));
    assert_eq!(told.collect::<Vec<_>>(), [&TorrentNotice::DiskFailed { error }]);
    let status = scene.engine.status(Instant::ZERO, scene.id).expect("there");
    assert_eq!((status.state, status.peers), (TorrentState::DiskFailed, 0));
    // Nobody is served until it was read again.
    scene.connect();
    let (before, verified) = (scene.reads.len(), scene.verified);
    scene.request(0, 0..1, true);
    assert_eq!(scene.reads.len(), before);
    let mut at = Instant::ZERO;
    while scene.verified == verified {
        at = scene.engine.poll_timeout().expect("it tries again");
        assert!(at < Instant::from_secs(5), "it does not try soon");
        scene.engine.handle(at, Event::Timeout);
        scene.run(true);
    }
    assert_eq!(scene.verified, verified + 1);
    assert!(scene.notices.contains(&TorrentNotice::DiskRecovered));
    assert_eq!(scene.engine.status(at, scene.id).expect("there").state, TorrentState::Seeding);
    // An event for who is gone is harmless.
    let error = DiskError { kind: DiskErrorKind::Io, path: "/data/file".into(), cause: "".into() };
    let lost = Event::Unreadable { conn, file: FileIndex(0), offset: 0, error: Box::new(error) };
    scene.engine.handle(at, lost);
    assert_eq!(scene.engine.status(at, scene.id).expect("there").state, TorrentState::Seeding);
}
