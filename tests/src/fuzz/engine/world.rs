//! The host of an engine under a fuzzer: it carries out actions and checks each of them.
//!
//! Disk, content and the rules of the peer wire are the simulator's. Checked besides: ids are fresh
//! and alive, at most one `Send` is outstanding, the actions of one event are bounded, deadlines
//! move on, what goes out parses; and in the end nothing is left.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bitswarm_core::action::{Action, SocketKind, SocketSpec};
use bitswarm_core::bitfield::Bitfield;
use bitswarm_core::config::{Bounds, Config, ConnectionLimits};
use bitswarm_core::disk::{DiskError, DiskErrorKind, DiskRequest};
use bitswarm_core::engine::NoSuchTorrent;
use bitswarm_core::event::{Datagram, Event, NetError, ResolveError};
use bitswarm_core::id::{ConnId, OpId, SocketId, TorrentId};
use bitswarm_core::notice::Notice;
use bitswarm_core::record::{Recorder, replay};
use bitswarm_core::torrent::{AddTorrent, FilePriority};
use bitswarm_core::{Engine, Instant, Segments, UnixTime};
use bytes::BytesMut;

use crate::fuzz::input::Input;
use crate::sim::check::{Checker, Settings};
use crate::sim::content::Content;
use crate::sim::disk::{Disk, Ticket};
use crate::sim::peer_wire::{Item, Msg, Reader, Run};

/// How many torrents there are to be added.
pub(super) const TORRENTS: usize = 2;

/// Most actions that one event may cause (chosen: with at most 8 connections and 45 pieces, far
/// above what it can).
const MOST_ACTIONS: usize = 2000;

const ROOT: &str = "/downloads";

/// With `FUZZ_LOG` in the environment, what happens is written to stderr.
static LOGS: LazyLock<bool> = LazyLock::new(|| std::env::var_os("FUZZ_LOG").is_some());

/// One whose pieces have two blocks and straddle files, with trackers; one of many small pieces.
static CONTENT: LazyLock<[Arc<Content>; TORRENTS]> = LazyLock::new(|| {
    let files = [("a", 30_000), ("b", 0), ("c/d", 35_000)];
    [Content::multi(1, "several", &files, 20_000), Content::single(2, "one", 3950, 100)]
});

const TRACKERS: [&[&str]; 2] =
    [&["http://tracker.example/announce"], &["udp://192.0.2.1:6969/announce?k=v"]];

/// How a world begins.
pub(super) struct Setup {
    /// The content of the torrents is on disk already.
    complete: bool,
    /// Sockets take bytes only when the program says so.
    lazy: bool,
    /// The engine is recorded, and the recording played at the end.
    recorded: bool,
    /// Torrents to begin with.
    torrents: usize,
    /// Everything that the engine wants of its host at first is done.
    settled: bool,
}

impl Setup {
    pub(super) fn new(bits: u8) -> Self {
        Setup {
            complete: bits & 1 != 0,
            lazy: bits & 2 != 0,
            recorded: bits & 0x70 == 0x70,
            torrents: usize::from(bits >> 2 & 1) + 1,
            settled: bits & 8 == 0,
        }
    }
}

/// The host.
pub(super) struct World {
    engine: Recorder,
    now: Instant,
    torrents: [Option<TorrentId>; TORRENTS],
    conns: BTreeMap<ConnId, Conn>,
    dead: Vec<ConnId>,
    sockets: BTreeMap<SocketId, SocketSpec>,
    unbound: Vec<SocketId>,
    lookups: Vec<OpId>,
    disk: Disk,
    /// Requests under way, and whether each opens a store.
    tickets: Vec<(Ticket, bool)>,
    checker: Checker,
    transaction: [u8; 4],
    lazy: bool,
    stopped: bool,
    /// Whether the rules for what engines claim can be applied.
    judges: bool,
}

#[derive(Default)]
struct Conn {
    open: bool,
    /// Bytes wait to be gathered.
    due: bool,
    /// Bytes gathered and not reported as sent.
    unreported: usize,
    incoming: Reader,
    /// What came in can be understood by the checker: it judges what goes out.
    understood: bool,
    begun: bool,
    is_peer: bool,
    outgoing: Reader,
    torrent: usize,
    /// Blocks that the engine wants of this peer.
    wants: Vec<Run>,
}

fn config() -> Config {
    let config = Config::default();
    Config {
        listen: vec![SocketAddr::from(([0, 0, 0, 0], 6881))],
        tracker_listen: Some(SocketAddr::from(([0, 0, 0, 0], 6969))),
        connections: ConnectionLimits {
            session: 8,
            torrent: 5,
            half_open: 3,
            per_address: 2,
            handshaking: 3,
        },
        bounds: Bounds {
            assembly_bytes: 48 << 10,
            write_backlog_bytes: 32 << 10,
            read_ahead_bytes: 48 << 10,
            peer_requests: 8,
            own_requests: 6,
            known_peers: 12,
            announces: 2,
            checking: 2,
            bans: 4,
            tracker_swarms: 4,
            tracker_peers: 4,
            metadata_bytes: 64 << 10,
        },
        ..config
    }
}

impl World {
    pub(super) fn new(setup: &Setup) -> Self {
        let config = config();
        let checker = Checker::new(Settings {
            // What a peer has owed for long is forgotten here, and still counted there.
            own_requests: 2 * config.bounds.own_requests,
            snub: config.timeouts.snub,
            ..Settings::default()
        });
        let wall = UnixTime(1_780_000_000);
        let engine = if setup.recorded {
            Recorder::recording(config, [9; 32], Instant::ZERO, wall)
        } else {
            Recorder::passing(Engine::new(config, [9; 32], Instant::ZERO, wall))
        };
        let mut world = World {
            engine,
            now: Instant::ZERO,
            torrents: [None; TORRENTS],
            conns: BTreeMap::new(),
            dead: Vec::new(),
            sockets: BTreeMap::new(),
            unbound: Vec::new(),
            lookups: Vec::new(),
            disk: Disk::new(1, "fuzz", 1_780_000_000_000_000_000),
            tickets: Vec::new(),
            checker,
            transaction: [0; 4],
            lazy: setup.lazy,
            stopped: false,
            judges: true,
        };
        if *LOGS {
            world.checker.log();
        }
        for content in CONTENT.iter() {
            world.checker.watch(content.clone(), ROOT.into());
            if setup.complete {
                content.plant(&mut world.disk, Path::new(ROOT));
            }
        }
        world.drain();
        for which in 0..setup.torrents {
            world.add(which, 0);
        }
        if setup.settled {
            world.settle();
        }
        world
    }

    // What the program asks about.

    /// Which connection an event concerns, if there is one.
    pub(super) fn pick_conn(&self, input: &mut Input<'_>) -> Option<ConnId> {
        let which = input.below(self.conns.len());
        self.conns.keys().nth(which).copied()
    }

    pub(super) fn infohash(&self, which: usize) -> [u8; 20] {
        CONTENT[which].infohash().0
    }

    pub(super) fn pieces_of(&self, conn: Option<ConnId>) -> u32 {
        self.content_of(conn).pieces()
    }

    pub(super) fn full_bitfield(&self, conn: Option<ConnId>) -> Vec<u8> {
        Bitfield::full(self.pieces_of(conn)).to_bytes()
    }

    /// How long the block is that begins there.
    pub(super) fn block_len(&self, conn: Option<ConnId>, piece: u32, begin: u32) -> u32 {
        let piece = self.content_of(conn).piece(piece);
        (piece.len() as u32).saturating_sub(begin).min(16 << 10)
    }

    /// One of the blocks that the engine wants of this peer.
    pub(super) fn wanted(&self, conn: Option<ConnId>, which: u8) -> Option<Run> {
        let wants = &self.conns.get(&conn?)?.wants;
        wants.get(usize::from(which) % wants.len().max(1)).copied()
    }

    /// The true content of a block.
    pub(super) fn block(&self, conn: Option<ConnId>, run: Run) -> Vec<u8> {
        let block = self.content_of(conn).run(run.piece, run.begin, run.length);
        block.expect("the engine asks for what there is").to_vec()
    }

    pub(super) fn last_transaction(&self) -> [u8; 4] {
        self.transaction
    }

    fn open_sockets(&self, kind: SocketKind) -> impl Iterator<Item = SocketId> {
        let sockets = self.sockets.iter().filter(move |(_, spec)| spec.kind == kind);
        sockets.map(|(socket, _)| *socket).filter(|socket| !self.unbound.contains(socket))
    }

    fn content_of(&self, conn: Option<ConnId>) -> &Content {
        let torrent = conn.and_then(|conn| self.conns.get(&conn)).map_or(0, |conn| conn.torrent);
        &CONTENT[torrent]
    }

    // What happens.

    /// A remote sends.
    pub(super) fn receive(&mut self, conn: Option<ConnId>, bytes: &[u8]) {
        let Some((id, conn)) = conn.and_then(|id| Some((id, self.conns.get_mut(&id)?))) else {
            return;
        };
        if !conn.open || bytes.is_empty() {
            return;
        }
        conn.listen(bytes);
        self.checker.received(self.now, id, bytes);
        self.input(Event::Received { conn: id, data: BytesMut::from(bytes) });
    }

    /// A remote accepts our connection.
    pub(super) fn connected(&mut self, conn: Option<ConnId>) {
        let Some((id, conn)) = conn.and_then(|id| Some((id, self.conns.get_mut(&id)?))) else {
            return;
        };
        if !std::mem::replace(&mut conn.open, true) {
            let local = SocketAddr::from(([203, 0, 113, 1], 50_000));
            self.input(Event::Connected { conn: id, local });
        }
    }

    /// A remote hangs up, or does not answer.
    pub(super) fn end_conn(&mut self, conn: Option<ConnId>, why: Option<NetError>) {
        let Some(id) = conn else { return };
        if self.conns.remove(&id).is_some() {
            self.bury(id);
            self.input(Event::Closed { conn: id, why });
        }
    }

    /// A remote connects.
    pub(super) fn accept(&mut self, listener: u8, who: u8) {
        let mut listeners = self.open_sockets(SocketKind::TcpListener);
        let Some(socket) = listeners.nth(usize::from(listener & 1)) else { return };
        drop(listeners);
        let from = match who >> 6 {
            0 => SocketAddr::from(([127, 0, 0, 1], 1000 + u16::from(who))),
            1 => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(who & 7)], 1000)),
            _ => SocketAddr::from(([198, 51, 100, who & 15], 1000 + u16::from(who))),
        };
        if let Some(conn) = self.engine.accept(self.now, socket, from) {
            self.adopt(conn, true);
        }
        self.drain();
    }

    /// A socket takes what waits for it.
    pub(super) fn write(&mut self, conn: Option<ConnId>) {
        if let Some(id) = conn {
            self.gather(id);
            self.drain();
        }
    }

    /// A socket reports a part of what it took, in 255ths.
    pub(super) fn report_sent(&mut self, conn: Option<ConnId>, part: u8) {
        let Some((id, conn)) = conn.and_then(|id| Some((id, self.conns.get_mut(&id)?))) else {
            return;
        };
        let bytes = (conn.unreported * usize::from(part)).div_ceil(255);
        if bytes > 0 {
            conn.unreported -= bytes;
            self.input(Event::Sent { conn: id, bytes });
        }
    }

    /// A disk request completes: as it comes, or with an error.
    pub(super) fn complete_disk(&mut self, which: u8, error: Option<DiskErrorKind>) {
        if self.tickets.is_empty() {
            return;
        }
        let (ticket, opens) = self.tickets.remove(usize::from(which) % self.tickets.len());
        let (op, result) = self.disk.finish(self.now, ticket).expect("it is under way");
        let result = match error.filter(|_| !opens) {
            // It may have been done in spite of the error, unless it opens a store.
            Some(kind) => Err(Box::new(DiskError {
                kind,
                path: "/downloads/x".into(),
                cause: "fuzzed".to_owned(),
            })),
            None => result,
        };
        self.input(Event::Disk { op, result });
    }

    /// From now on the disk has these faults.
    pub(super) fn faults(&mut self, bits: u8) {
        let per_mille = |bit: u8| if bits & bit != 0 { 500 } else { 0 };
        self.disk.faults.read_error_per_mille = per_mille(1);
        self.disk.faults.write_error_per_mille = per_mille(2);
        self.disk.faults.sync_error_per_mille = per_mille(4);
        self.disk.faults.save_error_per_mille = per_mille(8);
        self.disk.faults.denied = bits & 0x30 == 0x30;
        self.disk.faults.capacity = (bits & 0xc0 == 0xc0).then_some(30_000);
    }

    /// A name was looked up.
    pub(super) fn resolved(&mut self, which: u8, result: Result<Vec<IpAddr>, ResolveError>) {
        if !self.lookups.is_empty() {
            let op = self.lookups.remove(usize::from(which) % self.lookups.len());
            self.input(Event::Resolved { op, result });
        }
    }

    /// The oldest socket that was asked for is open, or could not be opened.
    pub(super) fn bound(&mut self, error: Option<NetError>) {
        if self.unbound.is_empty() {
            return;
        }
        let socket = self.unbound.remove(0);
        // One that could not be opened may be asked for again, at another port.
        let spec = match error {
            Some(_) => self.sockets.remove(&socket),
            None => self.sockets.get(&socket).copied(),
        };
        let addr = spec.expect("it was asked for").addr;
        self.input(Event::Bound { socket, result: error.map_or(Ok(addr), Err) });
    }

    /// A datagram comes in.
    pub(super) fn datagram(&mut self, how: u8, data: &[u8]) {
        let mut sockets = self.open_sockets(SocketKind::Udp);
        let Some(socket) = sockets.nth(usize::from(how & 1)) else { return };
        drop(sockets);
        let remote = match how >> 1 & 3 {
            0 => SocketAddr::from(([198, 51, 100, 1], 1000)),
            _ => SocketAddr::from(([192, 0, 2, 1], 6969)),
        };
        let batch = vec![Datagram { remote, data: BytesMut::from(data) }];
        self.input(Event::Datagrams { socket, batch });
    }

    /// Datagram sockets take more.
    pub(super) fn ready(&mut self) {
        for socket in self.open_sockets(SocketKind::Udp).collect::<Vec<_>>() {
            self.input(Event::DatagramReady { socket });
        }
    }

    /// Something that crossed a close.
    pub(super) fn stale(&mut self, which: u8) {
        let Some(&conn) = self.dead.get(usize::from(which >> 2)) else { return };
        let local = SocketAddr::from(([203, 0, 113, 1], 50_000));
        let event = match which & 3 {
            0 => Event::Received { conn, data: BytesMut::from(&b"\0\0\0\x01\x01"[..]) },
            1 => Event::Sent { conn, bytes: 5 },
            2 => Event::Closed { conn, why: None },
            _ => Event::Connected { conn, local },
        };
        self.input(event);
    }

    /// Time passes.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut turns = 0;
        while let Some(deadline) = self.engine.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(deadline);
            self.timeout();
            turns += 1;
            assert!(turns < 10_000, "time does not get on at {:?}", self.now);
        }
        self.now = until;
        // Spurious ones are harmless.
        self.timeout();
    }

    /// Time passes until the engine wants to be woken.
    pub(super) fn pass_to_deadline(&mut self) {
        if let Some(deadline) = self.engine.poll_timeout() {
            self.now = self.now.max(deadline);
            self.timeout();
        }
    }

    fn timeout(&mut self) {
        self.engine.handle(self.now, Event::Timeout);
        let next = self.engine.poll_timeout();
        assert!(next.is_none_or(|at| at > self.now), "spins: {next:?} after {:?}", self.now);
        self.drain();
    }

    /// Everything that the host owes the engine is done, and what comes of it.
    pub(super) fn settle(&mut self) {
        for _ in 0..300 {
            while !self.unbound.is_empty() {
                self.bound(None);
            }
            while !self.tickets.is_empty() {
                self.complete_disk(0, None);
            }
            for conn in self.conns.keys().copied().collect::<Vec<_>>() {
                self.write(Some(conn));
                self.report_sent(Some(conn), 255);
            }
            let is_idle = |conn: &Conn| !conn.due && conn.unreported == 0;
            if self.tickets.is_empty() && self.conns.values().all(is_idle) {
                return;
            }
        }
        panic!("the host is never done");
    }

    // What the user wants.

    pub(super) fn with(
        &mut self,
        which: usize,
        wish: impl FnOnce(&mut Recorder, Instant, TorrentId) -> Result<(), NoSuchTorrent>,
    ) {
        if let Some(id) = self.torrents[which] {
            // One that was removed is still named by its id.
            let _ = wish(&mut self.engine, self.now, id);
            self.drain();
        }
    }

    pub(super) fn set_limits(&mut self, limits: bitswarm_core::config::RateLimits) {
        self.engine.set_limits(self.now, limits);
        self.drain();
    }

    pub(super) fn add(&mut self, which: usize, how: u8) {
        let trackers = if which == 0 { &TRACKERS[..] } else { &[] };
        let metainfo = CONTENT[which].metainfo(trackers);
        let files = metainfo.files().len();
        let mut add = AddTorrent::new(metainfo, ROOT);
        add.paused = how & 1 != 0;
        add.recheck = how & 2 != 0;
        if how & 4 != 0 {
            add.files = vec![FilePriority::Skip; files];
        }
        let ports = 0..u16::from(how >> 4 & 3);
        add.peers = ports.map(|port| SocketAddr::from(([198, 51, 100, 7], 7000 + port))).collect();
        if let Ok(id) = self.engine.add_torrent(self.now, add) {
            self.torrents[which] = Some(id);
        }
        self.drain();
    }

    pub(super) fn remove(&mut self, which: usize, delete_files: bool) {
        // What was deleted, and may be added again, is not what the checker has seen.
        self.judges &= !delete_files;
        self.with(which, |engine, now, id| engine.remove_torrent(now, id, delete_files));
    }

    pub(super) fn stop(&mut self) {
        self.engine.stop(self.now);
        self.drain();
    }

    // The end.

    /// Takes everything down, by removing the torrents (`how` is even) or by stopping the engine
    /// with them, and looks at what is left.
    pub(super) fn finish(&mut self, how: u8) {
        self.faults(0);
        self.lazy = false;
        if how & 1 == 0 {
            for which in 0..TORRENTS {
                self.remove(which, which == 0);
            }
            // Trackers that say nothing are waited for.
            for _ in 0..200 {
                self.settle();
                if self.engine.engine().torrents().next().is_none() {
                    break;
                }
                self.pass_to_deadline();
            }
            let left: Vec<_> = self.engine.engine().torrents().collect();
            assert!(left.is_empty(), "removed and still there: {left:?}");
            assert!(self.conns.values().all(|conn| !conn.is_peer || !conn.begun), "peers are left");
        }
        self.stop();
        self.settle();
        self.pass(Duration::from_secs(1));
        self.settle();
        assert!(self.stopped, "within a second it has stopped");
        assert_eq!(self.engine.engine().torrents().count(), 0, "torrents are left");
        assert_eq!(self.disk.open_stores(), 0, "stores are left");
        assert_eq!(self.disk.requests_under_way(), 0, "the disk is not done");
        self.play_again(usize::from(how));
    }

    /// The recording, if there is one, plays to the same end, and as far as it goes when it is cut.
    fn play_again(&mut self, cut: usize) {
        if !self.engine.is_recording() {
            return;
        }
        self.engine.checkpoint();
        let log = self.engine.take_log();
        let replayed = replay(&log).expect("what was recorded can be played");
        assert_eq!(Some(replayed.fingerprint), self.engine.fingerprint());
        assert!(!replayed.cut_off);
        if let Ok(part) = replay(&log[..log.len() * cut / 256]) {
            assert!(part.fingerprint.inputs <= replayed.fingerprint.inputs);
        }
    }

    // The loop of a host.

    fn input(&mut self, event: Event) {
        self.log(|| format!("in  {event:?}"));
        self.engine.handle(self.now, event);
        self.drain();
    }

    fn drain(&mut self) {
        let mut actions = 0;
        while let Some(action) = self.engine.poll_action() {
            actions += 1;
            assert!(actions <= MOST_ACTIONS, "one event causes no end of actions");
            self.log(|| format!("out {action:?}"));
            self.perform(action);
        }
        for which in self.torrents.iter().flatten() {
            if let Some(status) = self.engine.engine().status(self.now, *which) {
                assert!(status.pieces_have <= status.pieces);
                // While it checks, what is not wanted is counted too.
                assert!(status.done_bytes <= status.total_bytes, "{status:?}");
                assert!(status.seeds <= status.peers && status.known_peers <= 64);
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Bind { socket, spec } => {
                assert!(self.sockets.insert(socket, spec).is_none(), "{socket:?} is bound twice");
                self.unbound.push(socket);
            }
            Action::Unbind { socket } => {
                assert!(self.sockets.remove(&socket).is_some(), "{socket:?} is not bound");
                self.unbound.retain(|other| *other != socket);
            }
            Action::Connect { conn, .. } => self.adopt(conn, false),
            Action::Send { conn } => {
                let state = self.conns.get_mut(&conn).expect("sends on a live connection");
                assert!(state.open && !state.due && state.unreported == 0, "one send at a time");
                state.due = true;
                if !self.lazy {
                    self.gather(conn);
                }
            }
            Action::Read { conn, .. } => assert!(self.conns.contains_key(&conn)),
            Action::Close { conn, .. } => {
                assert!(self.conns.remove(&conn).is_some(), "closes {conn:?}, which is dead");
                self.bury(conn);
            }
            Action::SendDatagrams { socket } => self.send_datagrams(socket),
            Action::Disk { op, request } => self.submit(op, request),
            Action::Resolve { op, host } => {
                assert!(host.parse::<IpAddr>().is_err(), "{host} needs no look-up");
                self.lookups.push(op);
            }
            Action::Notify(notice) => {
                assert!(!self.stopped, "{notice:?} after the last notice");
                self.stopped = *notice == Notice::Stopped;
            }
        }
    }

    fn log(&mut self, what: impl FnOnce() -> String) {
        if *LOGS {
            self.checker.take_lines().iter().for_each(|line| eprintln!("{:?}  {line}", self.now));
            let what = what();
            eprintln!("{:?} {}", self.now, what.get(..300).unwrap_or(&what));
        }
    }

    fn adopt(&mut self, conn: ConnId, open: bool) {
        let state = Conn { open, understood: true, ..Conn::default() };
        assert!(self.conns.insert(conn, state).is_none(), "{conn:?} is given out while it lives");
        self.checker.opened(conn);
    }

    fn bury(&mut self, conn: ConnId) {
        self.checker.closed(conn);
        self.dead.truncate(63);
        self.dead.insert(0, conn);
    }

    fn gather(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.due) else { return };
        conn.due = false;
        let mut out = Segments::new();
        self.engine.gather(self.now, id, 40_000, &mut out);
        let bytes = out.take_all();
        conn.unreported += bytes.len();
        conn.speak(&bytes);
        if conn.understood && self.judges {
            let verdict = self.checker.sent(self.now, id, std::iter::once(&bytes[..]), &self.disk);
            verdict.unwrap_or_else(|broken| panic!("{broken}"));
        }
    }

    fn send_datagrams(&mut self, socket: SocketId) {
        let spec = self.sockets.get(&socket).expect("sends through a live socket");
        assert_eq!(spec.kind, SocketKind::Udp);
        let mut count = 0;
        while let Some(datagram) = self.engine.gather_datagram(self.now, socket) {
            if let Some(transaction) = datagram.data.get(12..16) {
                self.transaction.copy_from_slice(transaction);
            }
            count += 1;
            assert!(count < 1000 && datagram.data.len() <= 1500);
        }
    }

    fn submit(&mut self, op: OpId, request: DiskRequest) {
        let opens = matches!(request, DiskRequest::Open { .. });
        let (ticket, _) = self.disk.submit(self.now, op, request);
        self.tickets.push((ticket, opens));
        let breaches = self.disk.take_breaches();
        assert!(breaches.is_empty(), "{breaches:?}");
    }
}

impl Conn {
    /// What comes in. The checker's reader gives up at what the engine may skip.
    fn listen(&mut self, bytes: &[u8]) {
        self.incoming.feed(bytes);
        while self.understood {
            match self.incoming.try_next() {
                Ok(Some(Item::Hello(hello))) => self.set_torrent(hello.infohash),
                // The checker counts against it what was asked for before it was known.
                Ok(Some(Item::Msg(Msg::Extended { id: 0, payload }))) => {
                    self.understood = !payload.windows(4).any(|bytes| bytes == b"reqq");
                }
                Ok(Some(Item::Msg(_))) => {}
                Ok(None) => return,
                Err(_) => self.understood = false,
            }
        }
    }

    /// What goes out: the peer protocol in its right form, or something else.
    fn speak(&mut self, bytes: &[u8]) {
        let Some(first) = bytes.first() else { return };
        if !std::mem::replace(&mut self.begun, true) {
            self.is_peer = *first == 0x13;
        }
        if !self.is_peer {
            return;
        }
        let mut reader = std::mem::take(&mut self.outgoing);
        reader.feed(bytes);
        while let Some(item) = reader.try_next().expect("what goes out can be read") {
            match item {
                Item::Hello(hello) => self.set_torrent(hello.infohash),
                Item::Msg(Msg::Request(run)) => self.wants.push(run),
                Item::Msg(Msg::Cancel(run)) => self.wants.retain(|other| *other != run),
                Item::Msg(_) => {}
            }
        }
        self.outgoing = reader;
        let excess = self.wants.len().saturating_sub(32);
        self.wants.drain(..excess);
    }

    fn set_torrent(&mut self, infohash: [u8; 20]) {
        let known = CONTENT.iter().position(|content| content.infohash().0 == infohash);
        self.torrent = known.unwrap_or(0);
    }
}
