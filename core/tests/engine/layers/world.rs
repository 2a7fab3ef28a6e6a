//! Engines on one small network: no latency, no faults, files in memory; time jumps to the next deadline.
//! What an engine sends can be changed on its way.

use std::net::SocketAddr;
use std::path::Path;

use bitswarm_core::disk::{DiskDone, DiskRequest, MemoryDisk, StateName};
use bitswarm_core::infohashes::InfoHashes;
use bitswarm_core::metainfo::create::{Creator, NewFile, Protocol};
use bitswarm_core::metainfo::{Magnet, Metainfo, PathRules};
use bitswarm_core::session::bans::BanReason;
use bitswarm_core::testing::{DiskResult, Environment, Loopback};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::wire::message::id;
use bitswarm_core::{
    Commands, Config, ConnId, Engine, Instant, TorrentId, TorrentNotice, UnixTime,
};
use bytes::BytesMut;

pub(crate) const PIECE: usize = 1 << 14;
/// Of three runs of hashes, of none, of one.
pub(crate) const FILES: [(&str, usize); 3] =
    [("long", 1100 * PIECE - 5), ("one", 9), ("short", 3 * PIECE)];

/// A node's disk, and what it does to what it sends.
#[derive(Default)]
pub(crate) struct Machine {
    pub(crate) disk: MemoryDisk,
    /// Whether it changes the hashes that it gives, after so many messages that are true.
    pub(crate) lies: bool,
    pub(crate) truths: usize,
    /// Whether it changes the next block that it gives.
    pub(crate) spoils: bool,
    /// Hash requests that it sent.
    pub(crate) asked: usize,
}

impl Environment for Machine {
    fn disk(&mut self, request: DiskRequest) -> Option<DiskResult> {
        Some(self.disk.perform(request))
    }

    fn stream_sent(&mut self, _: ConnId, data: &mut BytesMut) {
        self.meddle(data);
    }
}

pub(crate) type Node = bitswarm_core::testing::Node<Machine>;

/// The network.
pub(crate) struct World(pub(crate) Loopback<Machine>);

impl std::ops::Deref for World {
    type Target = Loopback<Machine>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for World {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

pub(crate) fn addr(at: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, at as u8, 1], 6881))
}

pub(crate) fn content() -> Vec<u8> {
    let len: usize = FILES.iter().map(|(_, len)| len).sum();
    (0..len as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

pub(crate) fn torrent(protocol: Protocol) -> Metainfo {
    let files = FILES.map(|(name, len)| NewFile::new([name], len as u64));
    let mut creator = Creator::folder("t", files).with_protocol(protocol);
    creator.piece_length = PIECE as u32;
    creator.finish_with_content(&content()).expect("valid")
}

pub(crate) fn link(metainfo: &Metainfo, v1: bool, v2: bool) -> Magnet {
    let InfoHashes { v1: btih, v2: btmh } = InfoHashes::of(metainfo);
    match (btih.filter(|_| v1), btmh.filter(|_| v2)) {
        (Some(v1), v2) => Magnet { v2, ..Magnet::new(v1) },
        (None, v2) => Magnet::new_v2(v2.expect("a hash")),
    }
}

impl World {
    pub(crate) fn new(count: usize) -> Self {
        let mut net = Loopback::new((0..count).map(|at| node(at, MemoryDisk::new())));
        net.refuses_strangers = true;
        World(net)
    }

    pub(crate) fn seed(&mut self, at: usize, metainfo: &Metainfo) -> TorrentId {
        let content = content();
        let mut rest = &content[..];
        for (name, len) in FILES {
            let (file, tail) = rest.split_at(len);
            self.nodes[at].env.disk.insert(format!("/t/{name}"), file.to_vec());
            rest = tail;
        }
        let add = AddTorrent::new(metainfo.clone(), Path::new("/"));
        let now = self.now;
        let id = self.nodes[at].engine.add_torrent(now, add).expect("new");
        self.run_until(|world| world.heard(at, &TorrentNotice::Finished));
        id
    }

    pub(crate) fn leech(
        &mut self,
        at: usize,
        link: Magnet,
        peers: &[usize],
        edit: impl FnOnce(&mut AddTorrent),
    ) -> TorrentId {
        let mut add = AddTorrent::new(link, Path::new("/"));
        add.peers = peers.iter().copied().map(addr).collect();
        edit(&mut add);
        let now = self.now;
        self.nodes[at].engine.add_torrent(now, add).expect("new")
    }

    pub(crate) fn has_content(&self, at: usize) -> bool {
        let content = content();
        let mut rest = &content[..];
        FILES.iter().all(|(name, len)| {
            let (file, tail) = rest.split_at(*len);
            rest = tail;
            self.nodes[at].env.disk.file(format!("/t/{name}")) == Some(file)
        })
    }

    pub(crate) fn heard(&self, at: usize, what: &TorrentNotice) -> bool {
        self.nodes[at].has_noticed(what)
    }

    pub(crate) fn banned(&self, at: usize) -> Vec<SocketAddr> {
        let banned = |notice: &TorrentNotice| match notice {
            TorrentNotice::PeerBanned { addr, why: BanReason::WrongData } => Some(*addr),
            _ => None,
        };
        self.nodes[at].torrent_notices().filter_map(banned).collect()
    }

    pub(crate) fn run_until(&mut self, done: impl Fn(&World) -> bool) {
        let end = Instant::from_secs(3600);
        self.step();
        while !done(self) {
            assert!(self.step() || self.wait(end), "not done in an hour");
        }
    }

    /// The node begins anew with what is on its disk.
    pub(crate) fn restart(&mut self, at: usize) {
        let disk = std::mem::take(&mut self.nodes[at].env.disk);
        self.replace(at, node(at, disk));
    }

    /// The torrent as the node would find it after a restart.
    pub(crate) fn kept(&mut self, at: usize, link: &Magnet) -> Metainfo {
        let load = DiskRequest::Load { name: StateName::Metadata(link.infohash) };
        let loaded = self.nodes[at].env.disk.perform(load).expect("readable");
        let DiskDone::Loaded(Some(data)) = loaded else { panic!("nothing is kept") };
        Metainfo::from_bytes(data, PathRules::HOST).expect("a torrent file")
    }
}

fn node(at: usize, disk: MemoryDisk) -> Node {
    let config = Config { dht: None, local_discovery: false, ..Config::default() };
    let engine = Engine::new(config, [at as u8; 32], Instant::ZERO, UnixTime(1));
    Node::new(engine, addr(at), Machine { disk, ..Machine::default() })
}

impl Machine {
    /// Goes through whole messages that are sent: counts hash requests, and changes hashes of a liar,
    /// or one block.
    fn meddle(&mut self, data: &mut BytesMut) {
        const HANDSHAKE: usize = 68;
        let mut at = if data.starts_with(b"\x13BitTorrent protocol") { HANDSHAKE } else { 0 };
        while let Some(prefix) = data.get(at..at + 4) {
            let len = u32::from_be_bytes(prefix.try_into().expect("four bytes")) as usize;
            match data.get(at + 4) {
                Some(&id::HASH_REQUEST) if len > 0 => self.asked += 1,
                Some(&id::HASHES) if len > 0 && self.lies => match self.truths.checked_sub(1) {
                    Some(fewer) => self.truths = fewer,
                    None => data[at + 3 + len] ^= 1,
                },
                Some(&id::PIECE) if len > 0 && self.spoils => {
                    data[at + 3 + len] ^= 1;
                    self.spoils = false;
                }
                _ => {}
            }
            at += 4 + len;
        }
    }
}
