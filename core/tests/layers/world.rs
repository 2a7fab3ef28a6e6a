//! Engines on one small network: no latency, no faults, files in memory; time jumps to the next deadline.
//! What an engine sends can be changed on its way.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::Path;

use bitswarm_core::disk::{DiskDone, DiskRequest, MemoryDisk, StateName};
use bitswarm_core::event::NetError;
use bitswarm_core::id::Id;
use bitswarm_core::infohashes::InfoHashes;
use bitswarm_core::metainfo::create::{Creator, NewFile, Protocol};
use bitswarm_core::metainfo::{Magnet, Metainfo, PathRules};
use bitswarm_core::session::bans::BanReason;
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::wire::message::id;
use bitswarm_core::{
    Action, Config, ConnId, Engine, Event, Instant, Notice, Segments, TorrentId, TorrentNotice,
    UnixTime,
};
use bytes::BytesMut;

pub(crate) const PIECE: usize = 1 << 14;
/// Of three runs of hashes, of none, of one.
pub(crate) const FILES: [(&str, usize); 3] =
    [("long", 1100 * PIECE - 5), ("one", 9), ("short", 3 * PIECE)];

pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) disk: MemoryDisk,
    wires: BTreeMap<ConnId, (usize, ConnId)>,
    pub(crate) notices: Vec<TorrentNotice>,
    /// Whether it changes the hashes that it gives, after so many messages that are true.
    pub(crate) lies: bool,
    pub(crate) truths: usize,
    /// Whether it changes the next block that it gives.
    pub(crate) spoils: bool,
    /// Hash requests that it sent.
    pub(crate) asked: usize,
}

pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: Instant,
    events: VecDeque<(usize, Event)>,
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
        let (now, events) = (Instant::ZERO, VecDeque::new());
        let nodes = (0..count).map(|at| Node::new(at, MemoryDisk::new())).collect();
        World { nodes, now, events }
    }

    pub(crate) fn seed(&mut self, at: usize, metainfo: &Metainfo) -> TorrentId {
        let content = content();
        let mut rest = &content[..];
        for (name, len) in FILES {
            let (file, tail) = rest.split_at(len);
            self.nodes[at].disk.insert(format!("/t/{name}"), file.to_vec());
            rest = tail;
        }
        let add = AddTorrent::new(metainfo.clone(), Path::new("/"));
        let id = self.nodes[at].engine.add_torrent(self.now, add).expect("new");
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
        self.nodes[at].engine.add_torrent(self.now, add).expect("new")
    }

    pub(crate) fn has_content(&self, at: usize) -> bool {
        let content = content();
        let mut rest = &content[..];
        FILES.iter().all(|(name, len)| {
            let (file, tail) = rest.split_at(*len);
            rest = tail;
            self.nodes[at].disk.file(format!("/t/{name}")) == Some(file)
        })
    }

    pub(crate) fn heard(&self, at: usize, what: &TorrentNotice) -> bool {
        self.nodes[at].notices.contains(what)
    }

    pub(crate) fn banned(&self, at: usize) -> Vec<SocketAddr> {
        let banned = |notice: &TorrentNotice| match notice {
            TorrentNotice::PeerBanned { addr, why: BanReason::WrongData } => Some(*addr),
            _ => None,
        };
        self.nodes[at].notices.iter().filter_map(banned).collect()
    }

    pub(crate) fn run_until(&mut self, done: impl Fn(&World) -> bool) {
        while self.now < Instant::from_secs(3600) {
            for at in 0..self.nodes.len() {
                while let Some(action) = self.nodes[at].engine.poll_action() {
                    self.perform(at, action);
                }
            }
            if done(self) {
                return;
            }
            match self.events.pop_front() {
                Some((at, event)) => self.nodes[at].engine.handle(self.now, event),
                None => self.wait(),
            }
        }
        panic!("not done in an hour");
    }

    fn wait(&mut self) {
        let deadlines = self.nodes.iter().enumerate();
        let next = deadlines.filter_map(|(at, node)| Some((node.engine.poll_timeout()?, at)));
        let (deadline, at) = next.min().expect("an engine with torrents has a deadline");
        self.now = self.now.max(deadline);
        self.nodes[at].engine.handle(self.now, Event::Timeout);
    }

    fn perform(&mut self, at: usize, action: Action) {
        match action {
            Action::Bind { socket, spec } => {
                self.events.push_back((at, Event::Bound { socket, result: Ok(spec.addr) }));
            }
            Action::Connect { conn, to, .. } => {
                let other = usize::from(match to.ip() {
                    std::net::IpAddr::V4(ip) => ip.octets()[2],
                    std::net::IpAddr::V6(_) => unreachable!("addresses are of IPv4"),
                });
                // The first socket of an engine is its first listener.
                let accepted = self.nodes[other].engine.accept(self.now, Id::new(0, 0), addr(at));
                let Some(theirs) = accepted else {
                    let why = Some(NetError::Refused);
                    return self.events.push_back((at, Event::Closed { conn, why }));
                };
                self.nodes[at].wires.insert(conn, (other, theirs));
                self.nodes[other].wires.insert(theirs, (at, conn));
                self.events.push_back((at, Event::Connected { conn, local: addr(at) }));
            }
            Action::Send { conn } => {
                let mut out = Segments::new();
                let node = &mut self.nodes[at];
                node.engine.gather(self.now, conn, 1 << 18, &mut out);
                let mut data = out.take_all();
                if data.is_empty() {
                    return;
                }
                node.asked += meddle(&mut data, node);
                let bytes = data.len();
                if let Some(&(other, theirs)) = node.wires.get(&conn) {
                    self.events.push_back((other, Event::Received { conn: theirs, data }));
                }
                self.events.push_back((at, Event::Sent { conn, bytes }));
            }
            Action::Close { conn, .. } => {
                if let Some((other, theirs)) = self.nodes[at].wires.remove(&conn) {
                    self.nodes[other].wires.remove(&theirs);
                    self.events.push_back((other, Event::Closed { conn: theirs, why: None }));
                }
            }
            Action::Disk { op, request } => {
                let result = self.nodes[at].disk.perform(request);
                self.events.push_back((at, Event::Disk { op, result }));
            }
            Action::Notify(notice) => {
                if let Notice::Torrent { what, .. } = *notice {
                    self.nodes[at].notices.push(what);
                }
            }
            Action::Read { .. } | Action::Unbind { .. } | Action::SendDatagrams { .. } => {}
            Action::Resolve { .. } => unreachable!("nobody names a host"),
        }
    }

    /// The node begins anew with what is on its disk.
    pub(crate) fn restart(&mut self, at: usize) {
        let disk = std::mem::take(&mut self.nodes[at].disk);
        self.nodes[at] = Node::new(at, disk);
        for node in &mut self.nodes {
            node.wires.retain(|_, (other, _)| *other != at);
        }
        self.events.retain(|(of, _)| *of != at);
    }

    /// The torrent as the node would find it after a restart.
    pub(crate) fn kept(&mut self, at: usize, link: &Magnet) -> Metainfo {
        let load = DiskRequest::Load { name: StateName::Metadata(link.infohash) };
        let loaded = self.nodes[at].disk.perform(load).expect("readable");
        let DiskDone::Loaded(Some(data)) = loaded else { panic!("nothing is kept") };
        Metainfo::from_bytes(data, PathRules::HOST).expect("a torrent file")
    }
}

impl Node {
    fn new(at: usize, disk: MemoryDisk) -> Self {
        let config = Config { dht: None, local_discovery: false, ..Config::default() };
        let engine = Engine::new(config, [at as u8; 32], Instant::ZERO, UnixTime(1));
        let (wires, notices) = (BTreeMap::new(), Vec::new());
        let (lies, truths, spoils) = (false, 0, false);
        Node { engine, disk, wires, notices, lies, truths, spoils, asked: 0 }
    }
}

/// Goes through whole messages that are sent: counts hash requests, and changes hashes of a liar, or
/// one block.
fn meddle(data: &mut BytesMut, node: &mut Node) -> usize {
    const HANDSHAKE: usize = 68;
    let mut at = if data.starts_with(b"\x13BitTorrent protocol") { HANDSHAKE } else { 0 };
    let mut asked = 0;
    while let Some(prefix) = data.get(at..at + 4) {
        let len = u32::from_be_bytes(prefix.try_into().expect("four bytes")) as usize;
        match data.get(at + 4) {
            Some(&id::HASH_REQUEST) if len > 0 => asked += 1,
            Some(&id::HASHES) if len > 0 && node.lies => match node.truths.checked_sub(1) {
                Some(fewer) => node.truths = fewer,
                None => data[at + 3 + len] ^= 1,
            },
            Some(&id::PIECE) if len > 0 && node.spoils => {
                data[at + 3 + len] ^= 1;
                node.spoils = false;
            }
            _ => {}
        }
        at += 4 + len;
    }
    asked
}
