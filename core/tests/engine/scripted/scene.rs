//! One engine with one torrent, files in memory, and peers and trackers that a test plays by hand.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bitswarm_core::disk::MemoryDisk;
use bitswarm_core::event::NetError;
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::{Creator, NewFile, Protocol};
use bitswarm_core::piece::{Block, InfoHash, PieceIndex};
use bitswarm_core::record::Recorder;
use bitswarm_core::segments::Segments;
use bitswarm_core::testing::Loopback;
use bitswarm_core::time::Duration;
use bitswarm_core::torrent::{AddTorrent, TorrentStatus};
use bitswarm_core::wire::{BlockData, Decoder, HandshakeDecoder, Message};
use bitswarm_core::{
    Commands, Config, ConnId, Engine, Instant, Notice, TorrentId, TorrentNotice, UnixTime,
};

/// A file of a test's torrent: its length, and whether it is padding.
pub(crate) type Part = (usize, bool);

/// A torrent with its bytes, padding included.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) metainfo: Metainfo,
    pub(crate) bytes: Vec<u8>,
    /// The bytes of the files that are stored, in order.
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

impl Sample {
    /// A folder `t` of files `000`, `001`, ... Padding of v1 is where `parts` has it; v2 and hybrids
    /// have their own.
    pub(crate) fn new(protocol: Protocol, piece_length: u32, parts: &[Part]) -> Self {
        let (mut listed, mut given, mut files) = (Vec::new(), Vec::new(), Vec::new());
        for (number, &(length, pad)) in parts.iter().enumerate() {
            let name = format!("{number:03}");
            listed.push(NewFile { pad, ..NewFile::new([name.clone()], length as u64) });
            let random = |at: usize| (at.wrapping_mul(2_654_435_761) >> 11) as u8 | 1;
            let bytes: Vec<u8> =
                (0..length).map(|at| if pad { 0 } else { random(at + number) }).collect();
            given.extend_from_slice(&bytes);
            if !pad {
                files.push((format!("/data/t/{name}"), bytes));
            }
        }
        let mut creator = Creator::folder_in_order("t", listed).with_protocol(protocol);
        creator.piece_length = piece_length;
        let metainfo = creator.finish_with_content(&given).expect("a valid torrent");
        let mut bytes = vec![0; metainfo.total_len() as usize];
        let stored = metainfo.files().iter().filter(|file| !file.attributes().pad);
        for (file, (_, data)) in stored.zip(&files) {
            bytes[file.offset() as usize..][..data.len()].copy_from_slice(data);
        }
        Sample { metainfo, bytes, files }
    }

    /// One file of v1 in pieces of two blocks.
    pub(crate) fn plain(length: usize) -> Self {
        Self::new(Protocol::V1, 1 << 15, &[(length, false)])
    }

    pub(crate) fn add(&self) -> AddTorrent {
        AddTorrent::new(self.metainfo.clone(), "/data")
    }

    /// How many bytes its files have together.
    pub(crate) fn stored_len(&self) -> u64 {
        self.files.iter().map(|(_, data)| data.len() as u64).sum()
    }

    pub(crate) fn infohash(&self) -> InfoHash {
        self.metainfo.infohash()
    }

    fn place(&self, block: Block) -> std::ops::Range<usize> {
        let at = self.metainfo.geometry().offset_of(block.piece) as usize + block.begin as usize;
        at..at + block.length as usize
    }

    /// The message that a request is answered with.
    pub(crate) fn piece(&self, block: Block) -> Message {
        let bytes = self.bytes[self.place(block)].to_vec();
        let data = BlockData::from(bytes::Bytes::from(bytes));
        Message::Piece { piece: block.piece, begin: block.begin, data }
    }

    /// Whether the byte at a place of the content is stored.
    pub(crate) fn is_stored(&self, piece: PieceIndex, begin: u32) -> bool {
        let at = self.metainfo.geometry().offset_of(piece) + u64::from(begin);
        let has_it = |file: &&bitswarm_core::metainfo::File| {
            file.offset() <= at && at < file.offset() + file.length()
        };
        self.metainfo.files().iter().find(has_it).is_some_and(|file| !file.attributes().pad)
    }
}

/// The engine, and how its remotes understand it.
pub(crate) struct Scene {
    host: Loopback<MemoryDisk>,
    pub(crate) id: TorrentId,
    remotes: BTreeMap<ConnId, Remote>,
}

/// How a remote understands the engine.
struct Remote {
    handshake: HandshakeDecoder,
    decoder: Decoder,
    heard: Vec<Message>,
}

pub(crate) const PEER: &str = "50.0.0.1:1000";

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

impl Scene {
    /// An engine that is given this torrent, on this disk.
    pub(crate) fn new(add: AddTorrent, disk: MemoryDisk) -> Self {
        Self::with(Config::default(), add, disk)
    }

    pub(crate) fn with(config: Config, add: AddTorrent, disk: MemoryDisk) -> Self {
        let listen = vec![SocketAddr::from(([0, 0, 0, 0], 6881))];
        let config = Config { listen, ..config };
        let mut engine = Engine::new(config, [1; 32], Instant::ZERO, UnixTime(1));
        let id = engine.add_torrent(Instant::ZERO, add).expect("new");
        let mut host = Loopback::alone(engine, disk);
        host.settle();
        Scene { host, id, remotes: BTreeMap::new() }
    }

    /// One that knows a peer at [`PEER`].
    pub(crate) fn leech(sample: &Sample) -> Self {
        let mut add = sample.add();
        add.peers = vec![addr(PEER)];
        Self::new(add, MemoryDisk::new())
    }

    /// One that has everything.
    pub(crate) fn seed(sample: &Sample) -> Self {
        Self::new(sample.add(), full_disk(sample))
    }

    /// The user asks for something.
    pub(crate) fn ask<T>(&mut self, ask: impl FnOnce(&mut Recorder, Instant, TorrentId) -> T) -> T {
        let answer = ask(&mut self.host.nodes[0].engine, self.host.now, self.id);
        self.host.settle();
        answer
    }

    pub(crate) fn disk(&self) -> &MemoryDisk {
        &self.host.nodes[0].env
    }

    pub(crate) fn disk_mut(&mut self) -> &mut MemoryDisk {
        &mut self.host.nodes[0].env
    }

    pub(crate) fn into_disk(mut self) -> MemoryDisk {
        std::mem::take(&mut self.host.nodes[0].env)
    }

    /// Connections that the engine has begun, and what became of none of them yet.
    pub(crate) fn dialled(&self) -> &[(ConnId, SocketAddr)] {
        &self.host.nodes[0].dialled
    }

    pub(crate) fn notices(&self) -> Vec<&TorrentNotice> {
        self.host.nodes[0].torrent_notices().collect()
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.host.nodes[0].notices.contains(&Notice::Stopped)
    }

    pub(crate) fn status(&self) -> TorrentStatus {
        self.host.nodes[0].engine.engine().status(self.host.now, self.id).expect("it is there")
    }

    pub(crate) fn has_finished(&self) -> bool {
        self.host.nodes[0].has_noticed(&TorrentNotice::Finished)
    }

    /// Lets time pass: the engine is woken whenever it wants to be.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.host.pass(time);
    }

    /// The connection that the engine has begun to this address, if it has.
    pub(crate) fn take_dialled(&mut self, to: &str) -> Option<ConnId> {
        self.host.take_dialled(0, addr(to))
    }

    /// How long it takes, in whole milliseconds, until the engine dials this address.
    pub(crate) fn dialled_after_ms(&mut self, to: &str, at_most: Duration) -> Option<u128> {
        let began = self.host.now;
        while !self.dialled().iter().any(|(_, dialled)| *dialled == addr(to)) {
            if !self.host.wait(began + at_most) {
                return None;
            }
            self.host.settle();
        }
        Some((self.host.now - began).as_millis())
    }

    pub(crate) fn ended(&mut self, conn: ConnId, why: Option<NetError>) {
        self.host.end(0, conn, why);
        self.host.settle();
    }

    /// A connection that the engine began is established, and nothing is said yet.
    pub(crate) fn connected(&mut self, conn: ConnId) {
        let remote = Remote {
            handshake: HandshakeDecoder::new(),
            decoder: Decoder::new(),
            heard: Vec::new(),
        };
        self.remotes.insert(conn, remote);
        self.host.connected(0, conn);
        self.host.settle();
    }

    pub(crate) fn refused(&mut self, conn: ConnId) {
        self.ended(conn, Some(NetError::Refused));
    }

    /// The peer at this address is dialled and greets, with or without the fast extension.
    pub(crate) fn greet(&mut self, sample: &Sample, to: &str, fast: bool) -> ConnId {
        let conn = self.take_dialled(to).expect("the engine dials");
        self.connected(conn);
        self.receive(conn, &hello(sample.infohash(), peer_id(to), fast));
        conn
    }

    /// The same of a seed that lets us download.
    pub(crate) fn greet_seed(&mut self, sample: &Sample, to: &str, fast: bool) -> ConnId {
        let conn = self.greet(sample, to, fast);
        let pieces = sample.metainfo.geometry().pieces();
        let all = bitswarm_core::bitfield::Bitfield::full(pieces).to_bytes();
        self.say(conn, if fast { Message::HaveAll } else { Message::Bitfield(all.into()) });
        self.say(conn, Message::Unchoke);
        conn
    }

    /// A peer dials the engine and greets.
    pub(crate) fn arrive(&mut self, sample: &Sample, from: &str, fast: bool) -> Option<ConnId> {
        let conn = self.accept(from)?;
        self.receive(conn, &hello(sample.infohash(), peer_id(from), fast));
        Some(conn)
    }

    /// The peer that listens at `peer` dials the engine from another port.
    pub(crate) fn arrive_as(&mut self, sample: &Sample, from: &str, peer: &str) -> Option<ConnId> {
        let conn = self.accept(from)?;
        self.receive(conn, &hello(sample.infohash(), peer_id(peer), true));
        Some(conn)
    }

    /// A peer dials the engine and says nothing yet.
    pub(crate) fn connect_in(&mut self, from: &str) -> Option<ConnId> {
        self.accept(from)
    }

    fn accept(&mut self, from: &str) -> Option<ConnId> {
        let conn = self.host.accept(0, addr(from))?;
        let remote = Remote {
            handshake: HandshakeDecoder::new(),
            decoder: Decoder::new(),
            heard: Vec::new(),
        };
        self.remotes.insert(conn, remote);
        Some(conn)
    }

    pub(crate) fn is_closed(&self, conn: ConnId) -> bool {
        self.host.nodes[0].closed.contains(&conn)
    }

    pub(crate) fn say(&mut self, conn: ConnId, message: Message) {
        let mut out = Segments::new();
        message.encode(&mut out);
        self.receive(conn, &out.take_all());
    }

    pub(crate) fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        if !self.is_closed(conn) {
            self.host.receive(0, conn, bytes);
            self.host.settle();
        }
    }

    /// All that the engine has sent on a connection since, as bytes.
    pub(crate) fn sent(&mut self, conn: ConnId) -> Vec<u8> {
        self.host.sent(0, conn)
    }

    /// All that a peer has heard since.
    pub(crate) fn heard(&mut self, conn: ConnId) -> Vec<Message> {
        let sent = self.sent(conn);
        let remote = self.remotes.get_mut(&conn).expect("connected");
        let mut data = bytes::BytesMut::from(&sent[..]);
        if remote.handshake.handshake().is_none() {
            remote.handshake.push(&mut data).expect("a handshake");
        }
        remote.decoder.push(data.freeze());
        while let Some(message) = remote.decoder.next_message().expect("a message") {
            remote.heard.push(message);
        }
        std::mem::take(&mut remote.heard)
    }

    /// The blocks that a peer has been asked for since.
    pub(crate) fn requests(&mut self, conn: ConnId) -> Vec<Block> {
        let asked = |message| match message {
            Message::Request(block) => Some(block),
            _ => None,
        };
        self.heard(conn).into_iter().filter_map(asked).collect()
    }

    /// Answers all requests of the engine on a connection, until it has no more; what was asked for.
    pub(crate) fn serve(&mut self, sample: &Sample, conn: ConnId) -> Vec<Block> {
        let mut served = Vec::new();
        loop {
            let asked = self.requests(conn);
            if asked.is_empty() || self.is_closed(conn) {
                return served;
            }
            for block in asked {
                self.say(conn, sample.piece(block));
                served.push(block);
            }
        }
    }

    /// What the engine asks a tracker whose connection it has begun, and the tracker's answer.
    pub(crate) fn announce(&mut self, tracker: &str, body: &[u8]) -> String {
        let conn = self.take_dialled(tracker).expect("the engine announces");
        self.connected(conn);
        let asked = String::from_utf8_lossy(&self.sent(conn)).into_owned();
        let head = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.receive(conn, &[head.as_bytes(), body].concat());
        asked
    }
}

/// A disk that has all of a torrent.
pub(crate) fn full_disk(sample: &Sample) -> MemoryDisk {
    let mut disk = MemoryDisk::new();
    for (path, data) in &sample.files {
        disk.insert(path, data.clone());
    }
    disk
}

/// What the peer that listens there calls itself.
fn peer_id(addr_of_peer: &str) -> [u8; 20] {
    let listens_at = addr(addr_of_peer);
    let mut id = [b'-'; 20];
    let text = listens_at.to_string().into_bytes();
    id.iter_mut().zip(text).for_each(|(id, byte)| *id = byte);
    id
}

fn hello(infohash: InfoHash, peer_id: [u8; 20], fast: bool) -> Vec<u8> {
    let mut hello = b"\x13BitTorrent protocol\0\0\0\0\0\0\0".to_vec();
    hello.push(if fast { 4 } else { 0 });
    hello.extend(infohash.0);
    hello.extend(peer_id);
    hello
}
