//! A session with the least there can be around it: no sockets, no files, and trackers and peers
//! that say what is put into their mouths. For what a session of many torrents or peers costs.

use std::net::{Ipv4Addr, SocketAddr};

use bitswarm_core::disk::{DiskDone, DiskRequest, FileStat};
use bitswarm_core::metainfo::{Creator, Metainfo};
use bitswarm_core::piece::PeerId;
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::wire::handshake::{Handshake, Reserved};
use bitswarm_core::{
    Action, Config, ConnId, Engine, Event, Instant, Segments, SocketId, TorrentId, UnixTime,
};
use bytes::BytesMut;

/// Length of a piece of every torrent here.
const PIECE_LEN: u32 = 16 << 10;

/// What every tracker answers: no peers, come again in half an hour.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 29\r\nConnection: close\r\n\r\n\
    d8:intervali1800e5:peers0:e\r\n";

/// Whether a torrent's content is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// All of it.
    Whole,
    /// Nothing of it.
    Missing,
}

/// An engine and its surroundings.
#[derive(Debug)]
pub struct Session {
    engine: Engine,
    now: Instant,
    listener: Option<SocketId>,
    content: Content,
    peers: u32,
    announces: u64,
}

impl Session {
    /// A session without torrents; of those to come, the content is as said.
    pub fn new(content: Content) -> Self {
        let mut config =
            Config { listen: vec![SocketAddr::from(([0, 0, 0, 0], 6881))], ..Config::default() };
        config.connections.session = 4096;
        config.connections.torrent = 4096;
        config.connections.handshaking = 4096;
        let engine = Engine::new(config, [7; 32], Instant::ZERO, UnixTime(1_780_000_000));
        let now = Instant::ZERO;
        let mut session = Session { engine, now, listener: None, content, peers: 0, announces: 0 };
        session.perform();
        session
    }

    /// Adds a torrent.
    pub fn add(&mut self, metainfo: Metainfo) -> TorrentId {
        let add = AddTorrent::new(metainfo, "/data");
        let id = self.engine.add_torrent(self.now, add).expect("it is new");
        self.perform();
        id
    }

    /// A peer connects and says which torrent it wants.
    pub fn connect(&mut self, metainfo: &Metainfo) -> ConnId {
        self.peers += 1;
        let from = SocketAddr::from((Ipv4Addr::from_bits(0x3200_0000 + self.peers), 5000));
        let listener = self.listener.expect("the engine has bound its listener");
        let conn = self.engine.accept(self.now, listener, from).expect("there is room");
        let mut peer_id = [b'x'; 20];
        peer_id[16..].copy_from_slice(&self.peers.to_be_bytes());
        let hello = Handshake {
            reserved: Reserved::NONE,
            infohash: metainfo.infohash(),
            peer_id: PeerId(peer_id),
        };
        self.receive(conn, &hello.encode());
        conn
    }

    /// Something comes from a peer.
    pub fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        self.handle(Event::Received { conn, data: BytesMut::from(bytes) });
        self.perform();
    }

    /// A peer is gone.
    pub fn hang_up(&mut self, conn: ConnId) {
        self.handle(Event::Closed { conn, why: None });
        self.perform();
    }

    /// Lets time go by; how many timeouts there were.
    pub fn run_until(&mut self, end: Instant) -> u64 {
        let mut timeouts = 0;
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= end) {
            self.now = at;
            self.handle(Event::Timeout);
            self.perform();
            timeouts += 1;
        }
        self.now = end;
        timeouts
    }

    /// A look that finds nothing to do.
    pub fn look(&mut self) {
        self.handle(Event::Timeout);
        self.perform();
    }

    /// Announces that trackers have answered.
    pub fn announces(&self) -> u64 {
        self.announces
    }

    fn handle(&mut self, event: Event) {
        self.engine.handle(self.now, event);
    }

    fn perform(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Bind { socket, spec } => {
                    self.listener.get_or_insert(socket);
                    self.handle(Event::Bound { socket, result: Ok(spec.addr) });
                }
                Action::Disk { op, request } => {
                    let done = self.disk(&request);
                    self.handle(Event::Disk { op, result: Ok(done) });
                }
                // Only trackers are connected to: nobody tells of peers.
                Action::Connect { conn, to, .. } => {
                    self.handle(Event::Connected { conn, local: to });
                }
                Action::Send { conn } => self.send(conn),
                _ => {}
            }
        }
    }

    fn send(&mut self, conn: ConnId) {
        let mut out = Segments::new();
        self.engine.gather(self.now, conn, 1 << 20, &mut out);
        let bytes = out.len();
        let is_announce = out.take_all().starts_with(b"GET ");
        if bytes > 0 {
            self.handle(Event::Sent { conn, bytes });
        }
        if is_announce {
            self.announces += 1;
            self.handle(Event::Received { conn, data: BytesMut::from(ANSWER) });
            self.handle(Event::Closed { conn, why: None });
        }
    }

    fn disk(&self, request: &DiskRequest) -> DiskDone {
        match request {
            DiskRequest::Load { .. } => DiskDone::Loaded(None),
            DiskRequest::Open { spec, .. } => DiskDone::Files(
                spec.files
                    .iter()
                    .map(|file| FileStat::new(file.length, 1))
                    .map(|stat| (self.content == Content::Whole).then_some(stat))
                    .collect(),
            ),
            DiskRequest::Sync { .. } | DiskRequest::Look { .. } => DiskDone::Files(vec![None]),
            _ => DiskDone::Done,
        }
    }
}

/// Torrent `number`, with the hash that every piece has here; announced to `tracker`, if any. Parsed
/// anew, as from a file.
pub fn metainfo(number: u32, pieces: u32, tracker: Option<&str>) -> Metainfo {
    let length = u64::from(pieces) * u64::from(PIECE_LEN);
    let mut creator = Creator::single_file(format!("torrent-{number:05}.bin"), length);
    creator.piece_length = PIECE_LEN;
    creator.trackers = tracker.map(|url| vec![vec![url.to_owned()]]).unwrap_or_default();
    let hashes = vec![9; 20 * pieces as usize];
    let metainfo = creator.finish(&hashes).expect("as many hashes as pieces");
    Metainfo::parse(&metainfo.to_bytes()).expect("just made")
}
