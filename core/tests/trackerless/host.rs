//! Engines on one small network with datagrams: no latency, no loss, files in a map.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use bitswarm_core::action::{SocketKind, SocketSpec};
use bitswarm_core::config::DhtConfig;
use bitswarm_core::disk::{DiskDone, DiskRequest, FileStat, Span, StateName, StoreSpec};
use bitswarm_core::event::{Datagram, NetError};
use bitswarm_core::record::{Recorder, replay};
use bitswarm_core::{
    Action, Config, ConnId, Event, Instant, Notice, Segments, SocketId, StoreId, TorrentNotice,
    UnixTime,
};
use bytes::{Bytes, BytesMut};

/// One engine with its files. It is recorded.
pub(crate) struct Node {
    pub(crate) engine: Recorder,
    /// Where it is; the first is where its connections come from.
    addrs: Vec<SocketAddr>,
    listener: Option<SocketId>,
    udp: BTreeMap<SocketAddr, SocketId>,
    pub(crate) group: Option<(SocketId, SocketAddr)>,
    stores: BTreeMap<StoreId, Arc<StoreSpec>>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) states: BTreeMap<StateName, Bytes>,
    /// Our connection → whose, and theirs.
    wires: BTreeMap<ConnId, (usize, ConnId)>,
    pub(crate) notices: Vec<Notice>,
    /// Everything that was sent over streams.
    pub(crate) said: Vec<u8>,
    /// Everything that was sent in datagrams.
    pub(crate) sent: Vec<Sent>,
}

/// A datagram that was sent.
pub(crate) struct Sent {
    pub(crate) from: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) data: BytesMut,
}

/// How they are to find each other.
#[derive(Clone, Copy)]
pub(crate) enum Means {
    Dht,
    /// The same, and the last node has two addresses.
    MultihomedDht,
    LocalDiscovery,
}

pub(crate) struct Net {
    pub(crate) nodes: Vec<Node>,
    means: Means,
    pub(crate) now: Instant,
    events: VecDeque<(usize, Event)>,
}

pub(crate) fn addr(at: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1 + at as u8], 6881))
}

/// The other address of a node that has two.
pub(crate) fn other_addr(at: usize) -> SocketAddr {
    SocketAddr::from(([10, 1, 0, 1 + at as u8], 6881))
}

impl Node {
    fn new(at: usize, means: Means, states: BTreeMap<StateName, Bytes>, now: Instant) -> Self {
        let mut addrs = vec![addr(at)];
        if matches!(means, Means::MultihomedDht) && at == 2 {
            addrs.push(other_addr(at));
        }
        let mut config = Config { listen: addrs.clone(), ..Config::default() };
        match means {
            Means::Dht | Means::MultihomedDht => {
                let bootstrap = vec![("10.0.0.1".to_owned(), 6881)];
                config.dht = Some(DhtConfig { bootstrap, ..DhtConfig::default() });
            }
            Means::LocalDiscovery => config.local_discovery = true,
        }
        let seed = [at as u8 + 1; 32];
        Node {
            engine: Recorder::recording(config, seed, now, UnixTime(1_700_000_000)),
            addrs,
            listener: None,
            udp: BTreeMap::new(),
            group: None,
            stores: BTreeMap::new(),
            files: BTreeMap::new(),
            states,
            wires: BTreeMap::new(),
            notices: Vec::new(),
            said: Vec::new(),
            sent: Vec::new(),
        }
    }

    fn path(&self, store: StoreId, span: &Span) -> String {
        let file = span.file.expect("nothing is padded here");
        self.stores[&store].files[file.0 as usize].path.display().to_string()
    }

    fn read(&self, store: StoreId, spans: &[Span]) -> Vec<u8> {
        let part = |span: &Span| {
            let from = span.offset as usize;
            self.files[&self.path(store, span)][from..from + span.length as usize].to_vec()
        };
        spans.iter().flat_map(part).collect()
    }

    fn write(&mut self, store: StoreId, spans: &[Span], mut data: &[u8]) {
        for span in spans {
            let (part, rest) = data.split_at(span.length as usize);
            data = rest;
            let file = self.files.entry(self.path(store, span)).or_default();
            let to = span.offset as usize + part.len();
            file.resize(file.len().max(to), 0);
            file[span.offset as usize..to].copy_from_slice(part);
        }
    }

    fn stats(&self, store: StoreId) -> Vec<Option<FileStat>> {
        let stat = |data: &Vec<u8>| FileStat::new(data.len() as u64, 1);
        let files = self.stores[&store].files.iter();
        files.map(|file| self.files.get(&file.path.display().to_string()).map(stat)).collect()
    }

    fn disk(&mut self, request: DiskRequest) -> DiskDone {
        match request {
            DiskRequest::Open { store, spec } => {
                self.stores.insert(store, spec);
                DiskDone::Files(self.stats(store))
            }
            DiskRequest::Sync { store } | DiskRequest::Look { store } => {
                DiskDone::Files(self.stats(store))
            }
            DiskRequest::Read { store, spans } => DiskDone::Read(self.read(store, &spans).into()),
            DiskRequest::Verify(verify) => {
                let data = self.read(verify.store, &verify.spans);
                let is_right = verify.expect.is_of([&data[..]]);
                if is_right { DiskDone::Done } else { DiskDone::HashMismatch }
            }
            DiskRequest::Write(write) => {
                self.write(write.store, &write.spans, &write.data.concat());
                DiskDone::Done
            }
            DiskRequest::Load { name } => DiskDone::Loaded(self.states.get(&name).cloned()),
            DiskRequest::Save { name, data } => {
                self.states.insert(name, data);
                DiskDone::Done
            }
            _ => DiskDone::Done,
        }
    }

    pub(crate) fn heard(&self, what: &TorrentNotice) -> bool {
        let is_it =
            |notice: &Notice| matches!(notice, Notice::Torrent { what: w, .. } if w == what);
        self.notices.iter().any(is_it)
    }

    /// A fresh engine that is fed the recording does the same.
    pub(crate) fn replays(&mut self) {
        self.engine.checkpoint();
        let log = self.engine.take_log();
        let replayed = replay(&log).expect("replays");
        assert_eq!(Some(replayed.fingerprint), self.engine.fingerprint());
    }
}

impl Net {
    pub(crate) fn new(nodes: usize, means: Means) -> Self {
        let now = Instant::ZERO;
        let nodes = (0..nodes).map(|at| Node::new(at, means, BTreeMap::new(), now)).collect();
        Net { nodes, means, now, events: VecDeque::new() }
    }

    /// Starts a node anew, with what it saved.
    pub(crate) fn restart(&mut self, at: usize) {
        let states = std::mem::take(&mut self.nodes[at].states);
        self.nodes[at] = Node::new(at, self.means, states, self.now);
    }

    fn node_at(&self, addr: SocketAddr) -> Option<usize> {
        self.nodes.iter().position(|node| node.addrs.contains(&addr))
    }

    fn perform(&mut self, at: usize, action: Action) {
        match action {
            Action::Bind { socket, spec: SocketSpec { kind, addr } } => {
                match kind {
                    SocketKind::TcpListener => self.nodes[at].listener = Some(socket),
                    SocketKind::Udp => drop(self.nodes[at].udp.insert(addr, socket)),
                    SocketKind::Multicast => self.nodes[at].group = Some((socket, addr)),
                }
                self.events.push_back((at, Event::Bound { socket, result: Ok(addr) }));
            }
            Action::Connect { conn, to, .. } => self.connect(at, conn, to),
            Action::Send { conn } => {
                let mut out = Segments::new();
                self.nodes[at].engine.gather(self.now, conn, 1 << 18, &mut out);
                let data: BytesMut = out.take_all();
                self.nodes[at].said.extend_from_slice(&data);
                let bytes = data.len();
                if bytes > 0 {
                    if let Some(&(other, theirs)) = self.nodes[at].wires.get(&conn) {
                        self.events.push_back((other, Event::Received { conn: theirs, data }));
                    }
                    self.events.push_back((at, Event::Sent { conn, bytes }));
                }
            }
            Action::Close { conn, .. } => {
                if let Some((other, theirs)) = self.nodes[at].wires.remove(&conn) {
                    self.nodes[other].wires.remove(&theirs);
                    self.events.push_back((other, Event::Closed { conn: theirs, why: None }));
                }
            }
            Action::SendDatagrams { socket } => self.send_datagrams(at, socket),
            Action::Disk { op, request } => {
                let done = self.nodes[at].disk(request);
                self.events.push_back((at, Event::Disk { op, result: Ok(done) }));
            }
            Action::Notify(notice) => self.nodes[at].notices.push(*notice),
            Action::Resolve { host, .. } => panic!("nobody names the host {host}"),
            Action::Read { .. } | Action::Unbind { .. } => {}
        }
    }

    fn connect(&mut self, at: usize, conn: ConnId, to: SocketAddr) {
        let from = SocketAddr::new(self.nodes[at].addrs[0].ip(), 50_000);
        let accepted = self.node_at(to).and_then(|other| {
            let node = &mut self.nodes[other];
            Some((other, node.engine.accept(self.now, node.listener?, from)?))
        });
        let Some((other, theirs)) = accepted else {
            let why = Some(NetError::Refused);
            return self.events.push_back((at, Event::Closed { conn, why }));
        };
        self.nodes[at].wires.insert(conn, (other, theirs));
        self.nodes[other].wires.insert(theirs, (at, conn));
        self.events.push_back((at, Event::Connected { conn, local: from }));
    }

    fn send_datagrams(&mut self, at: usize, socket: SocketId) {
        let from = self.nodes[at].udp.iter().find(|(_, id)| **id == socket).map(|(addr, _)| *addr);
        let from = from.unwrap_or(self.nodes[at].addrs[0]);
        while let Some(datagram) = self.nodes[at].engine.gather_datagram(self.now, socket) {
            let Datagram { remote, data } = datagram.clone();
            self.nodes[at].sent.push(Sent { from, remote, data });
            if datagram.remote.ip().is_multicast() {
                self.send_to_group(at, &datagram);
                continue;
            }
            let Some(other) = self.node_at(datagram.remote) else { continue };
            let batch = vec![Datagram { remote: from, data: datagram.data }];
            if let Some(&socket) = self.nodes[other].udp.get(&datagram.remote) {
                self.events.push_back((other, Event::Datagrams { socket, batch }));
            }
        }
    }

    /// All members hear it, the sender too.
    fn send_to_group(&mut self, at: usize, datagram: &Datagram) {
        for (other, node) in self.nodes.iter().enumerate() {
            if let Some((socket, group)) = node.group
                && group == datagram.remote
            {
                let remote = SocketAddr::new(addr(at).ip(), group.port());
                let batch = vec![Datagram { remote, data: datagram.data.clone() }];
                self.events.push_back((other, Event::Datagrams { socket, batch }));
            }
        }
    }

    /// Runs until `done`; whether it was within so many seconds.
    pub(crate) fn run_until(&mut self, secs: u64, done: impl Fn(&Net) -> bool) -> bool {
        let until = self.now + bitswarm_core::Duration::from_secs(secs);
        loop {
            for at in 0..self.nodes.len() {
                while let Some(action) = self.nodes[at].engine.poll_action() {
                    self.perform(at, action);
                }
            }
            if done(self) {
                return true;
            }
            if let Some((at, event)) = self.events.pop_front() {
                self.nodes[at].engine.handle(self.now, event);
                continue;
            }
            let due = |at: usize| self.nodes[at].engine.poll_timeout().map(|due| (due, at));
            let next = (0..self.nodes.len()).filter_map(due).min();
            let Some((due, at)) = next.filter(|(due, _)| *due <= until) else {
                self.now = until;
                return false;
            };
            self.now = self.now.max(due);
            self.nodes[at].engine.handle(self.now, Event::Timeout);
            let again = self.nodes[at].engine.poll_timeout();
            assert!(again.is_none_or(|again| again > self.now), "spins at {:?}", self.now);
        }
    }
}
