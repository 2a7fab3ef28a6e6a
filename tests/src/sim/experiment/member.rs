//! One engine and its host, as cheap as it can be: the loop of a runtime, a disk that remembers
//! which pieces it holds and takes their bytes from the one copy of the content there is.
//!
//! The disk does compare what is written with the true bytes, so a piece passes for the right
//! reason; it completes every request at once. Datagrams are dropped: nobody here sends any.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use bitswarm_core::action::{Action, Close, SocketKind};
use bitswarm_core::bitfield::Bitfield;
use bitswarm_core::config::Config;
use bitswarm_core::disk::{DiskDone, DiskRequest, FileStat, Span, WriteRequest};
use bitswarm_core::event::Event;
use bitswarm_core::id::{ConnId, SocketId, TorrentId};
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::notice::{Notice, TorrentNotice};
use bitswarm_core::piece::PieceIndex;
use bitswarm_core::segments::Segments;
use bitswarm_core::time::{Instant, UnixTime};
use bitswarm_core::torrent::{AddTorrent, TorrentStatus};
use bitswarm_core::{Commands, Engine};
use bytes::{Bytes, BytesMut};

use super::links::{EndId, Happening, Links, MemberId};
use super::swarm::Due;
use crate::sim::content::Content;
use crate::sim::dice::seed_bytes;
use crate::sim::host::EPOCH;
use crate::sim::queue::Queue;

/// Directory under which every member keeps the torrent.
const ROOT: &str = "/data";

/// What a member acts on.
pub(super) struct Around<'a> {
    pub(super) queue: &'a mut Queue<Due>,
    pub(super) links: &'a mut Links,
    /// How many members that are there have each piece.
    pub(super) copies: &'a mut [u32],
    pub(super) copies_changed: bool,
}

/// The torrent of the swarm.
#[derive(Debug)]
pub(super) struct Torrent {
    pub(super) content: Arc<Content>,
    pub(super) metainfo: Arc<Metainfo>,
    pub(super) announce_url: String,
}

/// A member of the swarm.
#[derive(Debug)]
pub(super) struct Member {
    id: MemberId,
    seed: u64,
    config: Config,
    torrent: Arc<Torrent>,
    engine: Option<Engine>,
    torrent_id: Option<TorrentId>,
    /// The engine's zero on the world's clock.
    birth: Instant,
    incarnation: u32,
    conns: BTreeMap<ConnId, EndId>,
    sockets: BTreeMap<u16, SocketId>,
    /// Events that actions brought about at once.
    pending: VecDeque<Event>,
    armed: Option<Instant>,
    out: Segments,
    /// What lies on its disk.
    pieces: Bitfield,
    /// Bytes of pieces of which only a part was written.
    early: BTreeMap<u32, u32>,
    state: Option<Bytes>,
    /// When the engine said that it has finished.
    pub(super) finished_at: Option<Instant>,
    /// Inputs to its engines: events, gathers, accepts, calls.
    pub(super) inputs: u64,
    earlier: Totals,
}

/// Bytes of blocks, over all engines of a member.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) downloaded: u64,
    pub(super) uploaded: u64,
    pub(super) redundant: u64,
}

impl Member {
    /// Not started yet. A seed has everything.
    pub(super) fn new(
        id: MemberId,
        seed: u64,
        config: Config,
        torrent: &Arc<Torrent>,
        is_seed: bool,
    ) -> Self {
        let pieces = torrent.content.pieces();
        Member {
            id,
            seed,
            config,
            torrent: torrent.clone(),
            engine: None,
            torrent_id: None,
            birth: Instant::ZERO,
            incarnation: 0,
            conns: BTreeMap::new(),
            sockets: BTreeMap::new(),
            pending: VecDeque::new(),
            armed: None,
            out: Segments::new(),
            pieces: if is_seed { Bitfield::full(pieces) } else { Bitfield::new(pieces) },
            early: BTreeMap::new(),
            state: None,
            finished_at: None,
            inputs: 0,
            earlier: Totals::default(),
        }
    }

    /// Starts an engine; with the torrent, unless it is here for something else.
    pub(super) fn start(&mut self, around: &mut Around<'_>, with_torrent: bool) {
        let label = format!("member {} engine {}", self.id, self.incarnation);
        self.birth = around.queue.now();
        let wall = UnixTime(EPOCH.0 + self.birth.as_nanos() / 1_000_000_000);
        let seed = seed_bytes(self.seed, &label);
        self.engine = Some(Engine::new(self.config.clone(), seed, Instant::ZERO, wall));
        self.drain(around);
        around.links.set_listening(self.id, true);
        if with_torrent {
            self.pieces.iter().for_each(|piece| around.copies[piece.at()] += 1);
            let mut add = AddTorrent::new(self.torrent.metainfo.clone(), ROOT);
            add.trackers = vec![self.torrent.announce_url.clone()];
            let engine = self.engine.as_mut().expect("started above");
            self.inputs += 1;
            self.torrent_id = engine.add_torrent(Instant::ZERO, add).ok();
            self.drain(around);
        }
    }

    /// The engine is gone, without a word to anybody.
    pub(super) fn leave(&mut self, around: &mut Around<'_>) {
        self.earlier = self.totals(around.queue.now());
        self.engine = None;
        self.incarnation += 1;
        self.armed = None;
        self.conns.clear();
        self.sockets.clear();
        self.pending.clear();
        self.early.clear();
        around.links.leave(around.queue, self.id);
        self.pieces.iter().for_each(|piece| around.copies[piece.at()] -= 1);
    }

    /// How its torrent stands, if its engine runs.
    pub(super) fn status(&self, now: Instant) -> Option<TorrentStatus> {
        self.engine.as_ref()?.status(self.local(now), self.torrent_id?)
    }

    /// What it sent and received so far.
    pub(super) fn totals(&self, now: Instant) -> Totals {
        let Some(status) = self.status(now) else { return self.earlier };
        Totals {
            downloaded: self.earlier.downloaded + status.downloaded_bytes,
            uploaded: self.earlier.uploaded + status.uploaded_bytes,
            redundant: self.earlier.redundant + status.redundant_bytes,
        }
    }

    fn local(&self, now: Instant) -> Instant {
        Instant::ZERO + (now - self.birth)
    }

    // Inputs.

    /// The engine's deadline has come.
    pub(super) fn deadline(&mut self, around: &mut Around<'_>, incarnation: u32) {
        let now = around.queue.now();
        if incarnation != self.incarnation || self.armed != Some(now) {
            return;
        }
        self.armed = None;
        let local = self.local(now);
        let due = self.engine.as_ref().and_then(Engine::poll_timeout);
        if due.is_some_and(|due| due <= local) {
            self.input(around, Event::Timeout);
        } else {
            self.arm(around);
        }
    }

    /// Something came from the network.
    pub(super) fn happened(&mut self, around: &mut Around<'_>, happening: Happening) {
        if self.engine.is_none() {
            return;
        }
        match happening {
            Happening::Connected { conn, local } => {
                self.input(around, Event::Connected { conn, local });
            }
            Happening::Failed { conn, why } => {
                self.conns.remove(&conn);
                self.input(around, Event::Closed { conn, why: Some(why) });
            }
            Happening::Incoming { end, from, port } => self.incoming(around, end, from, port),
            Happening::Received { conn, data } => {
                self.input(around, Event::Received { conn, data });
            }
            Happening::Writable { end, conn } => {
                self.gather(around, end, conn);
                self.drain(around);
            }
            Happening::Ended { conn, why } => {
                self.conns.remove(&conn);
                self.input(around, Event::Closed { conn, why });
            }
        }
    }

    fn incoming(&mut self, around: &mut Around<'_>, end: EndId, from: SocketAddr, port: u16) {
        let now = self.local(around.queue.now());
        self.inputs += 1;
        let engine = self.engine.as_mut().expect("checked by the caller");
        let socket = self.sockets.get(&port);
        match socket.and_then(|socket| engine.accept(now, *socket, from)) {
            Some(conn) => {
                self.conns.insert(conn, end);
                around.links.accept(around.queue, end, conn);
            }
            None => around.links.refuse(around.queue, end),
        }
        self.drain(around);
    }

    fn input(&mut self, around: &mut Around<'_>, event: Event) {
        self.pending.push_back(event);
        self.drain(around);
    }

    /// Hands in what waits and carries out all actions, until there are none; arms the deadline.
    fn drain(&mut self, around: &mut Around<'_>) {
        let now = self.local(around.queue.now());
        loop {
            while let Some(action) = self.engine.as_mut().and_then(Engine::poll_action) {
                self.perform(around, action);
            }
            let Some(event) = self.pending.pop_front() else { break };
            self.inputs += 1;
            if let Some(engine) = &mut self.engine {
                engine.handle(now, event);
            }
        }
        self.arm(around);
    }

    fn arm(&mut self, around: &mut Around<'_>) {
        let Some(deadline) = self.engine.as_ref().and_then(Engine::poll_timeout) else { return };
        let due = (self.birth + (deadline - Instant::ZERO)).max(around.queue.now());
        if self.armed.is_none_or(|armed| due < armed) {
            self.armed = Some(due);
            around.queue.push(due, Due::Deadline(self.id, self.incarnation));
        }
    }

    // Actions.

    fn perform(&mut self, around: &mut Around<'_>, action: Action) {
        match action {
            Action::Bind { socket, spec } => {
                if spec.kind == SocketKind::TcpListener {
                    self.sockets.insert(spec.addr.port(), socket);
                }
                self.pending.push_back(Event::Bound { socket, result: Ok(spec.addr) });
            }
            Action::Unbind { .. } => {}
            Action::Secure { conn, .. } => panic!("{conn:?}: nobody here speaks TLS"),
            Action::Connect { conn, to, .. } => {
                let end = around.links.connect(around.queue, self.id, conn, to);
                self.conns.insert(conn, end);
            }
            Action::Send { conn } => {
                if let Some(&end) = self.conns.get(&conn) {
                    self.gather(around, end, conn);
                }
            }
            Action::Read { conn, on } => {
                if let Some(&end) = self.conns.get(&conn) {
                    around.links.set_reading(around.queue, end, on);
                }
            }
            Action::Close { conn, how } => {
                if let Some(end) = self.conns.remove(&conn) {
                    around.links.close(around.queue, end, how == Close::Flush);
                }
            }
            Action::SendDatagrams { socket } => {
                let now = self.local(around.queue.now());
                let engine = self.engine.as_mut().expect("it acts");
                let mut out = BytesMut::new();
                while engine.gather_datagrams(now, socket, 1, &mut out).is_some() {
                    out.clear();
                }
            }
            Action::Disk { op, request } => {
                let result = Ok(self.disk(around, request));
                self.pending.push_back(Event::Disk { op, result });
            }
            Action::Resolve { op, host, .. } => {
                panic!("{op:?}: nobody here has a name like {host}")
            }
            Action::Notify(notice) => {
                if let Notice::Torrent { what: TorrentNotice::Finished, .. } = *notice {
                    self.finished_at.get_or_insert(around.queue.now());
                }
            }
        }
    }

    /// Gathers as much as the send buffer has room for.
    fn gather(&mut self, around: &mut Around<'_>, end: EndId, conn: ConnId) {
        if self.conns.get(&conn) != Some(&end) {
            return;
        }
        let Some(room) = around.links.room(end) else { return };
        let now = self.local(around.queue.now());
        let engine = self.engine.as_mut().expect("it acts");
        self.inputs += 1;
        engine.gather(now, conn, room, &mut self.out);
        let bytes = self.out.len();
        if bytes > 0 {
            around.links.write(around.queue, end, &mut self.out);
            self.pending.push_back(Event::Sent { conn, bytes });
        }
    }

    fn disk(&mut self, around: &mut Around<'_>, request: DiskRequest) -> DiskDone {
        match request {
            DiskRequest::Open { .. }
            | DiskRequest::Reuse { .. }
            | DiskRequest::Sync { .. }
            | DiskRequest::Look { .. } => DiskDone::Files(vec![self.file()]),
            DiskRequest::Read { spans, .. } => DiskDone::Read(self.bytes(&spans)),
            DiskRequest::Write(request) => self.write(around, &request),
            DiskRequest::Verify(request) => {
                let piece = self.piece_of(&request.spans);
                let complete = self.early.get(&piece.0) == Some(&length(&request.spans));
                if complete {
                    self.hold(around, piece);
                }
                let is_right = self.pieces.has(piece);
                match is_right {
                    true => DiskDone::Done,
                    // What is not here was never written.
                    false if request.tell_zeros => DiskDone::Zeros { is_right },
                    false => DiskDone::HashMismatch,
                }
            }
            DiskRequest::Save { data, .. } => {
                self.state = Some(data);
                DiskDone::Done
            }
            DiskRequest::Load { .. } => DiskDone::Loaded(self.state.clone()),
            DiskRequest::Prepare { .. }
            | DiskRequest::Move { .. }
            | DiskRequest::Close { .. }
            | DiskRequest::Forget { .. } => DiskDone::Done,
        }
    }

    fn write(&mut self, around: &mut Around<'_>, request: &WriteRequest) -> DiskDone {
        let truth = self.bytes(&request.spans);
        let mut at = 0;
        for part in &request.data {
            if truth.get(at..at + part.len()) != Some(part) {
                return DiskDone::HashMismatch;
            }
            at += part.len();
        }
        let piece = self.piece_of(&request.spans);
        if request.expect.is_some() {
            self.hold(around, piece);
        } else {
            *self.early.entry(piece.0).or_default() += length(&request.spans);
        }
        DiskDone::Done
    }

    /// A piece is on its disk from now on.
    fn hold(&mut self, around: &mut Around<'_>, piece: PieceIndex) {
        if self.pieces.set(piece) {
            around.copies[piece.at()] += 1;
            around.copies_changed = true;
        }
    }

    fn file(&self) -> Option<FileStat> {
        let length = self.torrent.content.len();
        (!self.pieces.is_none()).then_some(FileStat::new(length, 1))
    }

    fn piece_of(&self, spans: &[Span]) -> PieceIndex {
        let offset = spans.first().map_or(0, |span| span.offset);
        PieceIndex((offset / u64::from(self.torrent.metainfo.geometry().piece_len())) as u32)
    }

    /// The content has one file, so a run of bytes is one span.
    fn bytes(&self, spans: &[Span]) -> Bytes {
        let offset = spans.first().map_or(0, |span| span.offset) as usize;
        self.torrent.content.data().slice(offset..offset + length(spans) as usize)
    }
}

fn length(spans: &[Span]) -> u32 {
    spans.iter().map(|span| span.length).sum()
}
