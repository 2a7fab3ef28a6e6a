//! A session with the least there can be around it: no sockets, no files, and trackers and peers
//! that say what is put into their mouths. For what a session of many torrents or peers costs.

use std::net::{Ipv4Addr, SocketAddr};

use bitswarm_core::disk::{DiskDone, DiskRequest, FileStat};
use bitswarm_core::metainfo::{Creator, Metainfo};
use bitswarm_core::piece::PeerId;
use bitswarm_core::testing::{DiskResult, Environment, Loopback};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::wire::handshake::{Handshake, Reserved};
use bitswarm_core::{Commands, Config, ConnId, Engine, Event, Instant, TorrentId, UnixTime};

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
    host: Loopback<Content>,
    peers: u32,
    announces: u64,
}

impl Environment for Content {
    fn disk(&mut self, request: DiskRequest) -> Option<DiskResult> {
        Some(Ok(match request {
            DiskRequest::Load { .. } => DiskDone::Loaded(None),
            DiskRequest::Open { spec, .. } => DiskDone::Files(
                spec.files
                    .iter()
                    .map(|file| FileStat::new(file.length, 1))
                    .map(|stat| (*self == Content::Whole).then_some(stat))
                    .collect(),
            ),
            DiskRequest::Sync { .. } | DiskRequest::Look { .. } => DiskDone::Files(vec![None]),
            _ => DiskDone::Done,
        }))
    }
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
        let mut host = Loopback::alone(engine, content);
        host.settle();
        Session { host, peers: 0, announces: 0 }
    }

    /// Adds a torrent.
    pub fn add(&mut self, metainfo: Metainfo) -> TorrentId {
        let add = AddTorrent::new(metainfo, "/data");
        let id = self.host.nodes[0].engine.add_torrent(self.host.now, add).expect("it is new");
        self.perform();
        id
    }

    /// A peer connects and says which torrent it wants.
    pub fn connect(&mut self, metainfo: &Metainfo) -> ConnId {
        self.peers += 1;
        let from = SocketAddr::from((Ipv4Addr::from_bits(0x3200_0000 + self.peers), 5000));
        let conn = self.host.accept(0, from).expect("there is room");
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

    /// Something comes from a peer, which takes what is sent to it.
    pub fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        self.host.receive(0, conn, bytes);
        self.host.sent(0, conn);
        self.perform();
    }

    /// A peer is gone.
    pub fn hang_up(&mut self, conn: ConnId) {
        self.host.end(0, conn, None);
        self.perform();
    }

    /// Lets time go by; how many timeouts there were.
    pub fn run_until(&mut self, end: Instant) -> u64 {
        let mut timeouts = 0;
        while self.host.wait(end) {
            self.perform();
            timeouts += 1;
        }
        self.host.now = end;
        timeouts
    }

    /// A look that finds nothing to do.
    pub fn look(&mut self) {
        self.host.happen(0, Event::Timeout);
        self.perform();
    }

    /// Announces that trackers have answered.
    pub fn announces(&self) -> u64 {
        self.announces
    }

    /// Lets happen what is to happen now. Nothing of it is kept.
    fn perform(&mut self) {
        self.host.settle();
        // Only trackers are connected to: nobody tells of peers.
        while let Some((conn, _)) = self.host.nodes[0].dialled.last().copied() {
            self.host.connected(0, conn);
            if self.host.sent(0, conn).starts_with(b"GET ") {
                self.announces += 1;
                self.host.receive(0, conn, ANSWER);
                self.host.end(0, conn, None);
            }
            self.host.settle();
        }
        self.host.nodes[0].notices.clear();
        self.host.nodes[0].closed.clear();
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
