//! The host loop around one engine: carries out each action, hands in each event, and checks at
//! every step that the engine keeps its side of the contract.
//!
//! The loop is a runtime's: after each input the outbox is drained, what the actions bring about at
//! once (`Bound`, `Sent`) is handed in after that, and one deadline is kept. Checked here: the
//! outbox drains; a timeout that was handled is followed by a later deadline; at most one `Send` is
//! outstanding per connection; no action names a connection or socket that is dead, no id is used
//! while it lives; disk requests keep their contract; nothing is left when the engine has stopped.
//! What goes over the peer wire is judged by the [`Checker`].

mod actions;
mod bounds;
mod filter;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bitswarm_core::action::SocketKind;
use bitswarm_core::config::Config;
use bitswarm_core::event::{Datagram, Event, ResolveError};
use bitswarm_core::id::{ConnId, OpId, SocketId};
use bitswarm_core::network::{Interface, InterfaceAddress, NetworkState};
use bitswarm_core::notice::Notice;
use bitswarm_core::record::Recorder;
use bitswarm_core::time::{Instant, UnixTime};
use bitswarm_core::{Engine, Segments, work};
use bytes::BytesMut;

use crate::sim::check::{Answers, Bans, Checker, Dials, Given, Meter, Settings, Work};
use crate::sim::content::Content;
use crate::sim::dice::{Dice, seed_bytes};
use crate::sim::disk::{Disk, Ticket};
use crate::sim::network::{Death, EndId, HostId, NetEvent, SocketKey};
use crate::sim::world::{Cx, PEER_PORT, Wake};

/// Wall time at the beginning of virtual time (chosen: a day in 2026).
pub const EPOCH: UnixTime = UnixTime(1_780_000_000);

/// Most actions after one input (chosen: far above what any one input can cause).
const MOST_ACTIONS: usize = 1_000_000;

/// How long a flushing close may take, as `Close::Flush` says "a few seconds".
const LINGER: Duration = Duration::from_secs(5);

/// One engine and what is around it on its host.
#[derive(Debug)]
pub struct EngineHost {
    id: HostId,
    seed: u64,
    name: String,
    config: Config,
    dice: Dice,
    engine: Option<Recorder>,
    /// The engine's zero on the world's clock.
    birth: Instant,
    /// Counts the engines that ran here; what is due for an earlier one is dropped.
    incarnation: u32,
    conns: BTreeMap<ConnId, Conn>,
    ends: BTreeMap<EndId, ConnId>,
    /// Streams whose connection was closed with bytes to flush.
    lingering: BTreeMap<EndId, Segments>,
    sockets: BTreeMap<SocketId, Bound>,
    keys: BTreeMap<SocketKey, SocketId>,
    lookups: BTreeMap<OpId, Result<Vec<IpAddr>, ResolveError>>,
    /// Events that actions brought about at once.
    pending: VecDeque<Event>,
    /// When the host wakes for the engine's deadline.
    armed: Option<Instant>,
    stopped: bool,
    /// Until when it sleeps, and what happened to it meanwhile.
    asleep: Option<Instant>,
    missed: VecDeque<Missed>,
    /// Seconds by which its wall clock is ahead.
    clock_offset_s: i64,
    /// Dials of the engine that runs now.
    dials: Dials,
    /// Whom it has banned.
    bans: Bans,
    /// Metadata that it gave to each host.
    given: Given<Option<HostId>>,
    /// What it takes and shows as a proof in datagrams.
    answers: Answers,
    notices: Vec<(Instant, Notice)>,
    counts: Counts,
    checker: Checker,
    /// Bytes of the longest piece of any torrent.
    longest_piece: usize,
    /// What the engine that runs now has looked at.
    work: Work,
    /// Its disk; survives the engine.
    pub disk: Disk,
    /// How it hosts.
    pub manners: Manners,
    /// Measures bytes of blocks sent to and received from peers, if a limit is to be checked.
    pub meters: Option<(Meter, Meter)>,
}

/// How a host carries out actions, within what the contract allows.
#[derive(Debug, Clone, Copy)]
pub struct Manners {
    /// Most bytes asked for in one `gather`.
    pub gather_limit: usize,
    /// Gathers with a limit drawn from one byte up, of 1000.
    pub odd_gather_per_mille: u32,
    /// Sends reported in two parts, of 1000.
    pub split_sent_per_mille: u32,
    /// Events for ids that are dead, handed in after a close, of 1000.
    pub stale_event_per_mille: u32,
    /// Most that a timeout comes late.
    pub timer_slack: Duration,
    /// Most that the report of a send comes late, as it does where sends complete in the background.
    pub sent_late: Duration,
}

impl Default for Manners {
    fn default() -> Self {
        Manners {
            gather_limit: 64 << 10,
            odd_gather_per_mille: 50,
            split_sent_per_mille: 50,
            stale_event_per_mille: 50,
            timer_slack: Duration::from_micros(200),
            sent_late: Duration::ZERO,
        }
    }
}

/// How much a host has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Inputs to the engine: events, gathers, accepts, calls.
    pub inputs: u64,
    /// Actions of the engine.
    pub actions: u64,
}

/// What happened to a host while it slept.
#[derive(Debug)]
enum Missed {
    Net(NetEvent),
    Wake(Wake),
}

#[derive(Debug)]
struct Conn {
    end: EndId,
    /// To a peer, not to or from a tracker.
    peer: bool,
    open: bool,
    /// TLS was asked for and is not agreed on.
    securing: bool,
    out: Segments,
    /// Gathered and not reported as sent.
    unreported: usize,
}

impl Conn {
    /// Whether nothing that the engine had to say waits behind other bytes.
    fn has_said_all(&self) -> bool {
        self.unreported == 0
    }
}

#[derive(Debug)]
struct Bound {
    key: Option<SocketKey>,
    kind: SocketKind,
    /// Gathered when the socket would have blocked.
    held: VecDeque<(SocketAddr, BytesMut)>,
}

impl EngineHost {
    /// A host whose engine is not started yet.
    pub fn new(seed: u64, id: HostId, name: &str, config: Config) -> Self {
        let epoch_ns = i64::try_from(EPOCH.0).expect("fits") * 1_000_000_000;
        EngineHost {
            id,
            seed,
            name: name.to_owned(),
            dice: Dice::new(seed, &format!("{name} host")),
            disk: Disk::new(seed, &format!("{name} disk"), epoch_ns),
            engine: None,
            birth: Instant::ZERO,
            incarnation: 0,
            conns: BTreeMap::new(),
            ends: BTreeMap::new(),
            lingering: BTreeMap::new(),
            sockets: BTreeMap::new(),
            keys: BTreeMap::new(),
            lookups: BTreeMap::new(),
            pending: VecDeque::new(),
            armed: None,
            stopped: false,
            asleep: None,
            missed: VecDeque::new(),
            clock_offset_s: 0,
            dials: Dials::default(),
            bans: Bans::default(),
            given: Given::default(),
            answers: Answers::default(),
            notices: Vec::new(),
            counts: Counts::default(),
            checker: Checker::new(Settings {
                own_requests: config.bounds.own_requests,
                snub: config.timeouts.snub,
                slots: config.choking.slots,
                peer_requests: config.bounds.peer_requests,
                ..Settings::default()
            }),
            config,
            longest_piece: 0,
            work: Work::default(),
            manners: Manners::default(),
            meters: None,
        }
    }

    /// Starts an engine, with a seed of its own.
    pub(in crate::sim) fn start(&mut self, cx: &mut Cx<'_>, record: bool) {
        assert!(self.engine.is_none(), "{} runs already", self.name);
        if cx.logs() {
            self.checker.log();
        }
        self.birth = cx.now();
        self.stopped = false;
        let seed = seed_bytes(self.seed, &format!("{} engine {}", self.name, self.incarnation));
        let wall = EPOCH.0 + self.birth.as_nanos() / 1_000_000_000;
        let wall = UnixTime(wall.saturating_add_signed(self.clock_offset_s));
        cx.record(self.id, "start", &(seed, wall));
        self.checker.begins(seed);
        let config = self.config.clone();
        self.engine = Some(if record {
            Recorder::recording(config, seed, Instant::ZERO, wall)
        } else {
            Recorder::passing(Engine::new(config, seed, Instant::ZERO, wall))
        });
        self.counts.inputs += 1;
        let network = Event::Network(Box::new(network(cx.net.addrs_of(self.id))));
        self.input(cx, network);
    }

    /// The engine is gone in the middle of whatever it did; with `Death::Power` the disk loses
    /// what was not synced.
    pub(in crate::sim) fn crash(&mut self, cx: &mut Cx<'_>, death: Death) {
        cx.record(self.id, "crash", &(death == Death::Power));
        self.engine = None;
        self.incarnation += 1;
        self.armed = None;
        self.conns.clear();
        self.ends.clear();
        self.lingering.clear();
        self.sockets.clear();
        self.keys.clear();
        self.lookups.clear();
        self.pending.clear();
        self.asleep = None;
        self.missed.clear();
        self.dials.forget();
        self.answers.restarted();
        self.bans.forget();
        self.work.restarted();
        self.checker.crashed();
        cx.end_process(self.id, death);
        self.disk.crash(cx.now(), death == Death::Power);
    }

    /// Whether an engine runs.
    pub fn is_running(&self) -> bool {
        self.engine.is_some()
    }

    /// The engine, to look at.
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref().map(Recorder::engine)
    }

    /// The engine with its recording, if it is recorded.
    pub fn recorder_mut(&mut self) -> Option<&mut Recorder> {
        self.engine.as_mut()
    }

    /// Counts the engines that ran here before this one.
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// The engine's time at a point of the world's time.
    pub fn local(&self, now: Instant) -> Instant {
        Instant::ZERO + (now - self.birth)
    }

    /// What the application was told, in order, with the world's time.
    pub fn notices(&self) -> &[(Instant, Notice)] {
        &self.notices
    }

    /// How much the host has done.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What goes over the wire.
    pub fn checker(&self) -> &Checker {
        &self.checker
    }

    /// The user names these addresses of peers.
    pub(in crate::sim) fn user_names(&mut self, peers: &[SocketAddr]) {
        self.dials.user_names(peers);
    }

    /// The engine is given this torrent, or a link to it, to be kept under this root.
    pub(in crate::sim) fn watch(&mut self, content: Arc<Content>, root: PathBuf, by_link: bool) {
        let longest = (0..content.pieces()).map(|piece| content.piece(piece).len()).max();
        self.longest_piece = self.longest_piece.max(longest.unwrap_or(0));
        self.work.add_torrent(content.pieces());
        self.given.add_torrent(content.info_bytes().len());
        match by_link {
            true => self.checker.watch_link(content, root),
            false => self.checker.watch(content, root),
        }
    }

    /// What goes over the wire, to change how it is judged.
    pub fn checker_mut(&mut self) -> &mut Checker {
        &mut self.checker
    }

    /// Connections that the engine holds.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// A call of the application, recorded by its name; the outbox is drained after it.
    pub(in crate::sim) fn call<T>(
        &mut self,
        cx: &mut Cx<'_>,
        name: &'static str,
        call: impl FnOnce(&mut Recorder, Instant) -> T,
    ) -> T {
        cx.record(self.id, "call", name);
        // Who resumes wants peers at once, however often.
        self.dials.forget();
        let now = self.local(cx.now());
        self.counts.inputs += 1;
        let engine = self.engine.as_mut().expect("the host's engine runs");
        let result = call(engine, now);
        self.drain(cx);
        result
    }

    /// Something the host waited for is due.
    pub(in crate::sim) fn wake(&mut self, cx: &mut Cx<'_>, incarnation: u32, wake: Wake) {
        if incarnation != self.incarnation || self.engine.is_none() {
            return;
        }
        match wake {
            Wake::Awake if self.asleep == Some(cx.now()) => self.awaken(cx),
            Wake::Awake => {}
            _ if self.asleep.is_some() => self.missed.push_back(Missed::Wake(wake)),
            Wake::Deadline => self.deadline(cx),
            Wake::Disk(ticket) => self.disk_done(cx, ticket),
            Wake::Resolved(op) => {
                if let Some(result) = self.lookups.remove(&op) {
                    self.input(cx, Event::Resolved { op, result });
                }
            }
            Wake::Sent(conn, bytes) => {
                self.report_sent(cx, conn, bytes);
                self.drain(cx);
            }
            Wake::Linger(end) => {
                if self.lingering.remove(&end).is_some() {
                    cx.net.reset(cx.now(), end);
                }
            }
            Wake::Script(_) => {}
        }
    }

    /// The host stands still for a while.
    pub(in crate::sim) fn sleep(&mut self, cx: &mut Cx<'_>, time: Duration) {
        cx.record(self.id, "sleep", &time);
        let until = cx.now() + time;
        self.asleep = Some(until);
        cx.wake(until, self.id, self.incarnation, Wake::Awake);
    }

    /// The host hears at once of all that happened while it slept.
    pub(in crate::sim) fn awaken(&mut self, cx: &mut Cx<'_>) {
        if self.asleep.take().is_none() || self.engine.is_none() {
            return;
        }
        self.armed = None;
        self.checker.excuse(cx.now());
        let incarnation = self.incarnation;
        while let Some(missed) = self.missed.pop_front() {
            match missed {
                Missed::Net(event) => self.network(cx, event),
                Missed::Wake(wake) => self.wake(cx, incarnation, wake),
            }
        }
        self.arm(cx);
    }

    /// Somebody in the local network, as if there were anybody, says this to all.
    pub(in crate::sim) fn overhear(&mut self, cx: &mut Cx<'_>, from: SocketAddr, data: &[u8]) {
        if self.engine.is_none() || self.asleep.is_some() {
            return;
        }
        let local = self.sockets.iter().find(|(_, bound)| bound.kind == SocketKind::Multicast);
        if let Some((&socket, _)) = local {
            let received = self.local(cx.now());
            let batch = vec![Datagram { remote: from, local: None, received, data: data.into() }];
            self.input(cx, Event::Datagrams { socket, batch });
        }
    }

    /// Whether the host sleeps.
    pub fn is_asleep(&self) -> bool {
        self.asleep.is_some()
    }

    /// The host's wall clock jumps by so many seconds: files get other times, and the next engine
    /// starts at another time.
    pub fn jump_clock(&mut self, seconds: i64) {
        self.clock_offset_s = self.clock_offset_s.saturating_add(seconds);
        self.disk.jump_clock(seconds.saturating_mul(1_000_000_000));
    }

    /// Something came from the network.
    pub(in crate::sim) fn network(&mut self, cx: &mut Cx<'_>, event: NetEvent) {
        if self.engine.is_none() {
            return;
        }
        if self.asleep.is_some() {
            return self.missed.push_back(Missed::Net(event));
        }
        match event {
            NetEvent::Connected { end, local } => {
                let Some((conn, state)) = self.conn_of(end) else { return };
                state.open = true;
                self.input(cx, Event::Connected { conn, local });
            }
            NetEvent::Incoming { socket, end, from } => self.incoming(cx, socket, end, from),
            NetEvent::Received { end, data } => {
                let Some((conn, _)) = self.conn_of(end) else { return };
                let before = self.checker.tally().payload_received;
                self.checker.received(cx.now(), conn, &data);
                self.log_messages(cx, conn);
                let payload = self.checker.tally().payload_received - before;
                if let Some((_, down)) = &mut self.meters {
                    down.add(cx.now(), payload as usize);
                }
                self.input(cx, Event::Received { conn, data });
                if !self.conns.contains_key(&conn) {
                    self.checker.cut_short(payload);
                }
            }
            NetEvent::Writable { end } => self.writable(cx, end),
            NetEvent::Ended { end } => {
                let Some((conn, _)) = self.conn_of(end) else { return };
                cx.net.close(cx.now(), end);
                self.forget(cx, conn);
                self.input(cx, Event::Closed { conn, why: None });
            }
            NetEvent::Closed { end, why } => {
                self.lingering.remove(&end);
                let Some((conn, _)) = self.conn_of(end) else { return };
                self.forget(cx, conn);
                self.input(cx, Event::Closed { conn, why: Some(why) });
            }
            NetEvent::Datagram { socket: key, from, to, data } => {
                let Some(&socket) = self.keys.get(&key) else { return };
                let received = self.local(cx.now());
                let port = cx.net.socket_addr(key).map_or(0, |own| own.port());
                self.answers.received(cx.now(), port, from, &data);
                let batch = vec![Datagram { remote: from, local: Some(to), received, data }];
                self.input(cx, Event::Datagrams { socket, batch });
            }
            NetEvent::DatagramReady { socket } => {
                let Some(&socket) = self.keys.get(&socket) else { return };
                if self.send_held(cx, socket) {
                    self.input(cx, Event::DatagramReady { socket });
                }
            }
        }
    }

    fn conn_of(&mut self, end: EndId) -> Option<(ConnId, &mut Conn)> {
        let conn = *self.ends.get(&end)?;
        Some((conn, self.conns.get_mut(&conn)?))
    }

    fn forget(&mut self, cx: &mut Cx<'_>, conn: ConnId) -> Option<Conn> {
        let state = self.conns.remove(&conn)?;
        self.ends.remove(&state.end);
        if state.has_said_all()
            && let Err(broken) = self.checker.judge_pace(cx.now(), conn)
        {
            cx.violation(self.id, format!("{conn:?}: {broken}"));
        }
        self.checker.closed(conn);
        Some(state)
    }

    fn adopt(&mut self, cx: &mut Cx<'_>, conn: ConnId, end: EndId, peer: bool, open: bool) {
        let (securing, out, unreported) = (false, Segments::new(), 0);
        let state = Conn { end, peer, open, securing, out, unreported };
        if self.conns.insert(conn, state).is_some() {
            cx.violation(self.id, format!("{conn:?} is given out while it lives"));
        }
        self.ends.insert(end, conn);
        self.work.opened();
        match peer {
            true => self.checker.opened_to_peer(conn, !open),
            false => self.checker.opened(conn),
        }
        let peers = || self.conns.values().filter(|conn| conn.peer);
        let half_open = peers().filter(|conn| !conn.open).count();
        let bounds = &self.config.connections;
        if half_open > bounds.half_open || peers().count() > bounds.session {
            let text = format!("{} connections, {half_open} of them half open", peers().count());
            cx.violation(self.id, text);
        }
    }

    fn incoming(&mut self, cx: &mut Cx<'_>, key: SocketKey, end: EndId, from: SocketAddr) {
        let Some(&socket) = self.keys.get(&key) else { return cx.net.reset(cx.now(), end) };
        let now = self.local(cx.now());
        self.counts.inputs += 1;
        let engine = self.engine.as_mut().expect("checked by the caller");
        let conn = engine.accept(now, socket, from);
        cx.record(self.id, "accept", &(socket, from, conn));
        match conn {
            Some(conn) => {
                self.check_filter(cx, "accepts", from.ip());
                let to_peers = cx.net.socket_addr(key).is_some_and(|own| own.port() == PEER_PORT);
                self.adopt(cx, conn, end, to_peers, true);
            }
            None => cx.net.reset(cx.now(), end),
        }
        self.drain(cx);
    }

    fn deadline(&mut self, cx: &mut Cx<'_>) {
        if self.armed != Some(cx.now()) {
            return;
        }
        self.armed = None;
        let now = self.local(cx.now());
        let engine = self.engine.as_mut().expect("checked by the caller");
        if engine.poll_timeout().is_none_or(|deadline| deadline > now) {
            return self.arm(cx);
        }
        cx.record(self.id, "in", &Event::Timeout);
        self.counts.inputs += 1;
        engine.handle(now, Event::Timeout);
        if let Some(deadline) = engine.poll_timeout().filter(|deadline| *deadline <= now) {
            let text = format!("spins: after a timeout at {now:?} the next is due at {deadline:?}");
            cx.violation(self.id, text);
        }
        self.drain(cx);
    }

    fn disk_done(&mut self, cx: &mut Cx<'_>, ticket: Ticket) {
        if let Some((op, result)) = self.disk.finish(cx.now(), ticket) {
            self.input(cx, Event::Disk { op, result });
        }
    }

    fn input(&mut self, cx: &mut Cx<'_>, event: Event) {
        self.hand_in(cx, event);
        self.drain(cx);
    }

    fn hand_in(&mut self, cx: &mut Cx<'_>, event: Event) {
        let now = self.local(cx.now());
        cx.record(self.id, "in", &event);
        self.counts.inputs += 1;
        if let Event::Secured { conn } = &event
            && let Some(state) = self.conns.get_mut(conn)
        {
            state.securing = false;
        }
        let engine = self.engine.as_mut().expect("checked by the caller");
        let bytes = match &event {
            Event::Received { data, .. } => Some(data.len()),
            Event::Datagrams { batch, .. } => Some(batch.iter().map(|one| one.data.len()).sum()),
            _ => None,
        };
        work::take();
        engine.handle(now, event);
        let done = work::take();
        if let Some(bytes) = bytes
            && let Err(broken) = self.work.received(bytes, done)
        {
            cx.violation(self.id, broken.to_string());
        }
    }

    /// Carries out all actions, hands in what they bring about, and arms the deadline.
    fn drain(&mut self, cx: &mut Cx<'_>) {
        let mut actions = 0;
        loop {
            while let Some(action) = self.engine.as_mut().and_then(Recorder::poll_action) {
                actions += 1;
                if actions > MOST_ACTIONS {
                    return cx.violation(self.id, "the outbox does not drain".to_owned());
                }
                cx.record(self.id, "out", &action);
                self.perform(cx, action);
            }
            let Some(event) = self.pending.pop_front() else { break };
            if !self.is_stale(&event) || self.dice.chance(self.manners.stale_event_per_mille) {
                self.hand_in(cx, event);
            }
        }
        self.counts.actions += actions as u64;
        self.check_slots(cx);
        self.arm(cx);
    }

    /// The event is for something that has gone while it waited.
    fn is_stale(&self, event: &Event) -> bool {
        matches!(event, Event::Sent { conn, .. } if !self.conns.contains_key(conn))
    }

    fn arm(&mut self, cx: &mut Cx<'_>) {
        let Some(deadline) = self.engine.as_ref().and_then(Recorder::poll_timeout) else { return };
        let due = self.birth + (deadline - Instant::ZERO);
        if self.armed.is_none_or(|armed| due < armed) {
            let at = due.max(cx.now()) + self.dice.up_to(self.manners.timer_slack);
            if self.armed.is_none_or(|armed| at < armed) {
                self.armed = Some(at);
                cx.wake(at, self.id, self.incarnation, Wake::Deadline);
            }
        }
    }

    fn writable(&mut self, cx: &mut Cx<'_>, end: EndId) {
        if let Some(&conn) = self.ends.get(&end) {
            self.write(cx, conn);
            return self.drain(cx);
        }
        if let Some(out) = self.lingering.get_mut(&end) {
            cx.net.write(cx.now(), end, out);
            if out.is_empty() {
                self.lingering.remove(&end);
                cx.net.close(cx.now(), end);
            }
        }
    }
}

/// A machine with these addresses on one interface.
fn network(addrs: &[IpAddr]) -> NetworkState {
    let address = |ip: &IpAddr| InterfaceAddress { ip: *ip, prefix_len: 24 };
    let interface = Interface {
        name: "eth0".to_owned(),
        index: 1,
        is_loopback: false,
        is_up: true,
        addresses: addrs.iter().map(address).collect(),
    };
    NetworkState { interfaces: vec![interface], gateways: Vec::new() }
}
