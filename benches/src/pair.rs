//! Two engines back to back: one has a torrent, the other fetches it, nothing is in between.
//!
//! Bytes gathered from one engine are copied into a read buffer and handed to the other, as a
//! socket would; the disk answers at once from memory. Time is virtual and moves a little with
//! every exchange, so that rates and round trips can be measured by the engines. What the engines
//! allocate is counted apart from what this harness does.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use bitswarm_core::action::SocketKind;
use bitswarm_core::config::Config;
use bitswarm_core::disk::{DiskDone, DiskRequest, FileStat};
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::notice::{Notice, TorrentNotice};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{
    Action, ConnId, Duration, Engine, Event, Instant, Segments, SocketId, TorrentId, UnixTime,
};
use bytes::{Bytes, BytesMut};

use crate::counting_alloc::Allocations;

/// Bytes gathered and read at once (chosen: what runtimes use).
const READ_LEN: usize = 64 << 10;

/// Virtual time between two exchanges (chosen: a fast local network).
const EXCHANGE_TIME: Duration = Duration::from_micros(20);

/// Whether pieces are hashed as they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashing {
    /// As a runtime does.
    On,
    /// Every piece is taken for right: what is left is the core's own work.
    Off,
}

/// A torrent in memory.
#[derive(Debug, Clone)]
pub struct Torrent {
    content: Bytes,
    metainfo: Arc<Metainfo>,
}

impl Torrent {
    /// One file of this length in pieces of that.
    pub fn new(length: usize, piece_length: u32) -> Self {
        let content: Vec<u8> = (0..length).map(|at| ((at * 2_654_435_761) >> 13) as u8).collect();
        let mut creator = Creator::single_file("pair", length as u64);
        creator.piece_length = piece_length;
        let metainfo = creator.finish_with_content(&content).expect("a plain torrent");
        Torrent { content: content.into(), metainfo: Arc::new(metainfo) }
    }

    /// The same with zeros for content and hashes, quickly made: for [`Hashing::Off`] only.
    pub fn unhashed(length: usize, piece_length: u32) -> Self {
        let mut creator = Creator::single_file("pair", length as u64);
        creator.piece_length = piece_length;
        let pieces = length.div_ceil(piece_length as usize);
        let metainfo = creator.finish(&vec![0; pieces * 20]).expect("a plain torrent");
        Torrent { content: vec![0; length].into(), metainfo: Arc::new(metainfo) }
    }

    /// How many bytes it has.
    pub fn length(&self) -> usize {
        self.content.len()
    }

    /// How many blocks it has.
    pub fn blocks(&self) -> u64 {
        let geometry = self.metainfo.geometry();
        geometry.iter().map(|piece| u64::from(geometry.blocks_of(piece))).sum()
    }
}

/// Two engines, connected, with nothing transferred yet.
#[derive(Debug)]
pub struct Pair {
    sides: [Side; 2],
    now: Instant,
    exchanges: u64,
}

#[derive(Debug)]
struct Side {
    engine: Engine,
    torrent: Torrent,
    id: TorrentId,
    hashing: Hashing,
    has_content: bool,
    listener: Option<SocketId>,
    /// This side's connection to the other side's.
    conns: BTreeMap<ConnId, ConnId>,
    paused: BTreeMap<ConnId, VecDeque<BytesMut>>,
    due: VecDeque<Event>,
    finished: bool,
    allocations: Allocations,
}

/// Something that concerns the other side.
#[derive(Debug)]
enum Across {
    Connect(ConnId),
    Bytes(ConnId, BytesMut),
    Close(ConnId),
}

const SEEDER: usize = 0;
const LEECHER: usize = 1;

impl Pair {
    /// Engines that have looked at their disks and are about to meet.
    pub fn new(torrent: &Torrent, hashing: Hashing) -> Self {
        let side = |has_content: bool| Side::new(torrent, hashing, has_content);
        let mut pair = Pair { sides: [side(true), side(false)], now: Instant::ZERO, exchanges: 0 };
        while pair.exchange() {}
        for side in &mut pair.sides {
            side.finished = false;
            side.allocations = Allocations::default();
        }
        pair
    }

    /// Lets them transfer everything; says what the seeder and the leecher allocated on the way.
    ///
    /// # Panics
    /// If they stop before everything is transferred.
    pub fn run(&mut self) -> [Allocations; 2] {
        let to = address(SEEDER);
        let now = self.now;
        let leecher = &mut self.sides[LEECHER];
        let id = leecher.id;
        leecher.counted(|engine| engine.add_peers(now, id, &[to])).expect("it has the torrent");
        while !self.sides[LEECHER].finished {
            if !self.exchange() && !self.wait() {
                panic!("they stopped after {} exchanges", self.exchanges);
            }
        }
        [self.sides[SEEDER].allocations, self.sides[LEECHER].allocations]
    }

    /// Carries out what both want; whether that was anything.
    fn exchange(&mut self) -> bool {
        let mut any = false;
        for at in [SEEDER, LEECHER] {
            let mut across = Vec::new();
            any |= self.sides[at].act(self.now, &mut across);
            for message in across {
                self.deliver(1 - at, message);
            }
        }
        self.exchanges += 1;
        self.now += EXCHANGE_TIME;
        any
    }

    fn deliver(&mut self, to: usize, message: Across) {
        let now = self.now;
        match message {
            Across::Connect(theirs) => {
                let listener = self.sides[to].listener.expect("it listens");
                let from = address(1 - to);
                let ours = self.sides[to].counted(|engine| engine.accept(now, listener, from));
                let ours = ours.expect("it takes the connection");
                self.sides[to].conns.insert(ours, theirs);
                let from = &mut self.sides[1 - to];
                from.conns.insert(theirs, ours);
                from.due.push_back(Event::Connected { conn: theirs, local: address(1 - to) });
            }
            Across::Bytes(conn, data) => match self.sides[to].paused.get_mut(&conn) {
                Some(waiting) => waiting.push_back(data),
                None => self.sides[to].due.push_back(Event::Received { conn, data }),
            },
            Across::Close(conn) => {
                self.sides[to].conns.remove(&conn);
                self.sides[to].due.push_back(Event::Closed { conn, why: None });
            }
        }
    }

    /// Moves on to the next deadline; false if there is none.
    fn wait(&mut self) -> bool {
        let next = self.sides.iter().filter_map(|side| side.engine.poll_timeout()).min();
        let Some(next) = next else { return false };
        self.now = self.now.max(next);
        for side in &mut self.sides {
            if side.engine.poll_timeout().is_some_and(|at| at <= next) {
                side.due.push_back(Event::Timeout);
            }
        }
        true
    }
}

impl Side {
    fn new(torrent: &Torrent, hashing: Hashing, has_content: bool) -> Self {
        let config = Config { listen: vec![([0, 0, 0, 0], 6881).into()], ..Config::default() };
        let seed = [u8::from(has_content); 32];
        let mut engine = Engine::new(config, seed, Instant::ZERO, UnixTime(1_780_000_000));
        let add = AddTorrent::new(torrent.metainfo.clone(), "/pair");
        let id = engine.add_torrent(Instant::ZERO, add).expect("the first torrent");
        Side {
            engine,
            torrent: torrent.clone(),
            id,
            hashing,
            has_content,
            listener: None,
            conns: BTreeMap::new(),
            paused: BTreeMap::new(),
            due: VecDeque::new(),
            finished: false,
            allocations: Allocations::default(),
        }
    }

    /// Calls the engine and counts what it allocates.
    fn counted<T>(&mut self, call: impl FnOnce(&mut Engine) -> T) -> T {
        let before = Allocations::so_far();
        let result = call(&mut self.engine);
        self.allocations.add(Allocations::so_far().since(before));
        result
    }

    /// Hands in what is due and carries out what comes of it; whether that was anything.
    fn act(&mut self, now: Instant, across: &mut Vec<Across>) -> bool {
        let mut any = false;
        loop {
            while let Some(action) = self.counted(Engine::poll_action) {
                any = true;
                self.perform(now, action, across);
            }
            let Some(event) = self.due.pop_front() else { return any };
            any = true;
            self.counted(|engine| engine.handle(now, event));
        }
    }

    fn perform(&mut self, now: Instant, action: Action, across: &mut Vec<Across>) {
        match action {
            Action::Bind { socket, spec } => {
                if spec.kind == SocketKind::TcpListener {
                    self.listener = Some(socket);
                }
                self.due.push_back(Event::Bound { socket, result: Ok(spec.addr) });
            }
            Action::Connect { conn, .. } => across.push(Across::Connect(conn)),
            Action::Send { conn } => self.send(now, conn, across),
            Action::Read { conn, on: false } => {
                self.paused.entry(conn).or_default();
            }
            Action::Read { conn, on: true } => {
                for data in self.paused.remove(&conn).unwrap_or_default() {
                    self.due.push_back(Event::Received { conn, data });
                }
            }
            Action::Close { conn, .. } => {
                across.extend(self.conns.remove(&conn).map(Across::Close));
            }
            Action::Disk { op, request } => {
                let result = Ok(self.disk(request));
                self.due.push_back(Event::Disk { op, result });
            }
            Action::Notify(notice) => {
                let finished = |what: &TorrentNotice| *what == TorrentNotice::Finished;
                self.finished |= matches!(&*notice, Notice::Torrent { what, .. } if finished(what));
            }
            Action::Unbind { .. } | Action::SendDatagrams { .. } | Action::Resolve { .. } => {}
        }
    }

    fn send(&mut self, now: Instant, conn: ConnId, across: &mut Vec<Across>) {
        let mut out = Segments::new();
        self.counted(|engine| engine.gather(now, conn, READ_LEN, &mut out));
        if out.is_empty() {
            return;
        }
        let mut read = BytesMut::with_capacity(out.len());
        out.iter().for_each(|part| read.extend_from_slice(part));
        self.due.push_back(Event::Sent { conn, bytes: read.len() });
        if let Some(&other) = self.conns.get(&conn) {
            across.push(Across::Bytes(other, read));
        }
    }

    fn disk(&self, request: DiskRequest) -> DiskDone {
        match request {
            DiskRequest::Open { .. }
            | DiskRequest::Reuse { .. }
            | DiskRequest::Sync { .. }
            | DiskRequest::Look { .. } => {
                let length = self.torrent.content.len() as u64;
                let stat = FileStat::new(length, 0);
                DiskDone::Files(vec![self.has_content.then_some(stat)])
            }
            DiskRequest::Read { spans, .. } => {
                let start = spans.first().map_or(0, |span| span.offset as usize);
                let length: usize = spans.iter().map(|span| span.length as usize).sum();
                DiskDone::Read(self.torrent.content.slice(start..start + length))
            }
            DiskRequest::Write(write) => {
                let wrong = self.hashing == Hashing::On
                    && !write
                        .expect
                        .is_none_or(|expect| expect.is_of(write.data.iter().map(AsRef::as_ref)));
                if wrong { DiskDone::HashMismatch } else { DiskDone::Done }
            }
            // Only the seeder's first look at its disk asks for this; it is not measured.
            DiskRequest::Verify(_) => DiskDone::Done,
            DiskRequest::Load { .. } => DiskDone::Loaded(None),
            DiskRequest::Prepare { .. }
            | DiskRequest::Move { .. }
            | DiskRequest::Close { .. }
            | DiskRequest::Save { .. }
            | DiskRequest::Forget { .. } => DiskDone::Done,
        }
    }
}

fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([50, 0, side as u8, 10], 6881))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_transfers_everything_with_and_without_hashing() {
        let torrent = Torrent::new(3_000_000, 256 << 10);
        assert_eq!(torrent.blocks(), 3_000_000_u64.div_ceil(16 << 10));
        for hashing in [Hashing::On, Hashing::Off] {
            let mut pair = Pair::new(&torrent, hashing);
            pair.run();
            let now = pair.now;
            let status = pair.sides[LEECHER].engine.status(now, pair.sides[LEECHER].id);
            let status = status.expect("it has the torrent");
            assert_eq!((status.pieces_have, status.redundant_bytes), (status.pieces, 0));
        }
    }
}
