//! Two engines joined in memory: a torrent goes from one to the other, the same way each time.
//!
//! The smallest host there is: no latency, no faults, files in memory. Time stands still until both
//! have nothing to do; then it jumps to the next deadline. A hash over all that happened is the
//! run's fingerprint.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bitswarm_core::disk::MemoryDisk;
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::record::{Recorder, replay};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{
    Action, Config, ConnId, Event, Instant, Notice, Segments, TorrentNotice, UnixTime,
};
use bytes::BytesMut;
use sha1::{Digest, Sha1};

const ADDRESSES: [&str; 2] = ["10.0.0.1:6881", "10.0.0.2:6881"];

/// One engine with its files. It is recorded.
struct Node {
    engine: Recorder,
    disk: MemoryDisk,
    /// Our connection → theirs.
    wires: BTreeMap<ConnId, ConnId>,
    notices: Vec<Notice>,
}

struct Pair {
    nodes: [Node; 2],
    now: Instant,
    trace: Sha1,
    events: VecDeque<(usize, Event)>,
}

impl Node {
    fn new(seed: u8) -> Self {
        let config = Config::default();
        Node {
            engine: Recorder::recording(config, [seed; 32], Instant::ZERO, UnixTime(1_700_000_000)),
            disk: MemoryDisk::new(),
            wires: BTreeMap::new(),
            notices: Vec::new(),
        }
    }
}

impl Pair {
    fn new() -> Self {
        let nodes = [Node::new(1), Node::new(2)];
        Pair { nodes, now: Instant::ZERO, trace: Sha1::new(), events: VecDeque::new() }
    }

    fn perform(&mut self, at: usize, action: Action) {
        self.trace.update(format!("{at} {:?} {action:?}\n", self.now));
        let other = 1 - at;
        match action {
            Action::Bind { socket, spec } => {
                self.events.push_back((at, Event::Bound { socket, result: Ok(spec.addr) }));
            }
            Action::Connect { conn, to, .. } => {
                assert_eq!(to, ADDRESSES[other].parse().unwrap());
                let from: SocketAddr = ADDRESSES[at].parse().unwrap();
                // The first socket of an engine is its first listener.
                let listener = bitswarm_core::id::Id::new(0, 0);
                let accepted = self.nodes[other].engine.accept(self.now, listener, from);
                let Some(theirs) = accepted else {
                    let why = Some(bitswarm_core::event::NetError::Refused);
                    return self.events.push_back((at, Event::Closed { conn, why }));
                };
                self.nodes[at].wires.insert(conn, theirs);
                self.nodes[other].wires.insert(theirs, conn);
                self.events.push_back((at, Event::Connected { conn, local: from }));
            }
            Action::Send { conn } => {
                let mut out = Segments::new();
                self.nodes[at].engine.gather(self.now, conn, 1 << 18, &mut out);
                let data: BytesMut = out.take_all();
                self.trace.update(&data);
                if data.is_empty() {
                    return;
                }
                let bytes = data.len();
                if let Some(&theirs) = self.nodes[at].wires.get(&conn) {
                    self.events.push_back((other, Event::Received { conn: theirs, data }));
                }
                self.events.push_back((at, Event::Sent { conn, bytes }));
            }
            Action::Close { conn, .. } => {
                if let Some(theirs) = self.nodes[at].wires.remove(&conn) {
                    self.nodes[other].wires.remove(&theirs);
                    self.events.push_back((other, Event::Closed { conn: theirs, why: None }));
                }
            }
            Action::Disk { op, request } => {
                let result = self.nodes[at].disk.perform(request);
                assert!(result.is_ok(), "{result:?}");
                self.events.push_back((at, Event::Disk { op, result }));
            }
            Action::Notify(notice) => self.nodes[at].notices.push(*notice),
            Action::Read { .. } | Action::Unbind { .. } | Action::SendDatagrams { .. } => {}
            Action::Resolve { .. } => unreachable!("nobody names a host"),
        }
    }

    /// Runs until `done`, or for an hour of engine time.
    fn run_until(&mut self, done: impl Fn(&Pair) -> bool) {
        while self.now < Instant::from_secs(3600) {
            for at in [0, 1] {
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

    /// Lets time pass until the next deadline.
    fn wait(&mut self) {
        let next = [0, 1]
            .into_iter()
            .filter_map(|at| self.nodes[at].engine.poll_timeout().map(|deadline| (deadline, at)));
        let (deadline, at) = next.min().expect("an engine with torrents has a deadline");
        assert!(deadline >= self.now, "deadline in the past");
        self.now = self.now.max(deadline);
        self.nodes[at].engine.handle(self.now, Event::Timeout);
        let again = self.nodes[at].engine.poll_timeout();
        assert!(again.is_none_or(|again| again > self.now), "spins at {:?}", self.now);
    }

    fn heard(&self, at: usize, what: &TorrentNotice) -> bool {
        let is_it =
            |notice: &Notice| matches!(notice, Notice::Torrent { what: w, .. } if w == what);
        self.nodes[at].notices.iter().any(is_it)
    }
}

fn content(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn torrent(content: &[u8]) -> Arc<Metainfo> {
    let creator = Creator::single_file("file", content.len() as u64);
    Arc::new(creator.finish_with_content(content).expect("makes a torrent"))
}

/// Node 0 has the content, node 1 fetches it; returns the run's fingerprint.
fn transfer(len: usize) -> Vec<u8> {
    let content = content(len);
    let metainfo = torrent(&content);
    let mut pair = Pair::new();
    pair.nodes[0].disk.insert("/file", content.clone());
    let seed = AddTorrent::new(metainfo.clone(), Path::new("/"));
    let mut leech = AddTorrent::new(metainfo, Path::new("/"));
    leech.peers.push(ADDRESSES[0].parse().unwrap());
    let now = pair.now;
    pair.nodes[0].engine.add_torrent(now, seed).expect("adds");
    pair.run_until(|pair| pair.heard(0, &TorrentNotice::Finished));
    pair.nodes[1].engine.add_torrent(pair.now, leech).expect("adds");
    pair.run_until(|pair| pair.heard(1, &TorrentNotice::Saved));
    assert_eq!(pair.nodes[1].disk.file("/file"), Some(&content[..]));
    for at in [0, 1] {
        pair.nodes[at].engine.stop(pair.now);
    }
    let stopped = |pair: &Pair, at: usize| pair.nodes[at].notices.contains(&Notice::Stopped);
    pair.run_until(|pair| stopped(pair, 0) && stopped(pair, 1));
    assert!(pair.nodes.iter().all(|node| node.engine.engine().torrents().next().is_none()));
    pair.nodes.iter_mut().for_each(replays);
    pair.trace.finalize().to_vec()
}

/// A fresh engine that is fed a node's recording does the same.
fn replays(node: &mut Node) {
    node.engine.checkpoint();
    let log = node.engine.take_log();
    let replayed = replay(&log).expect("replays");
    assert_eq!(Some(replayed.fingerprint), node.engine.fingerprint());
    assert!(!replayed.cut_off && replayed.fingerprint.actions > 0);
}

#[test]
fn a_torrent_goes_from_one_engine_to_the_other_the_same_way_twice() {
    assert_eq!(transfer(3_000_000), transfer(3_000_000));
}

#[test]
fn odd_sizes_go_through() {
    for len in [1, 16_383, 16_384, 16_385, 262_144, 262_145] {
        transfer(len);
    }
}
