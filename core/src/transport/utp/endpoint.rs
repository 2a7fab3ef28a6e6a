//! All connections over one UDP socket.
//!
//! Packets come in by [`Endpoint::receive`]; what that brings comes out of [`Endpoint::poll_event`], after a whole
//! batch, so that what arrived together is handed on and acknowledged together. Packets to send are asked for with
//! [`Endpoint::poll_transmit`], which in turn asks for the bytes of a connection as soon as there is room for
//! them on the way, and not before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use bytes::{Bytes, BytesMut};

use super::answers::Answers;
use super::connection::{Clock, Connection, Counters, Event, Written};
use super::cookie::Cookies;
use super::packet::{self, Header, Kind, Packet};
use super::receive::FIRST_BUDGET;
use super::seq::Seq;
use crate::random::SecretRng;
use crate::time::{Duration, Instant};

/// Room for bytes that come in, of all connections, beyond the first of each (chosen).
const ROOM: usize = 64 * 1024 * 1024;
/// Bytes of all connections that wait to be sent or are not acknowledged: past it, only connections that have
/// none are asked for more (chosen).
const MAX_KEPT: usize = 64 * 1024 * 1024;
/// Answers that wait to be sent; past it, new ones are dropped, as a network would (chosen).
const MAX_ANSWERS: usize = 1024;
/// How long the end of a stream is acknowledged when it comes again (chosen).
const LINGER: Duration = Duration::from_secs(3);
/// Connections that this is done for at once (chosen).
const MAX_LINGERING: usize = 1024;
/// Ids that are tried for a new connection.
const ID_TRIES: usize = 16;

/// A connection. Never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UtpId(u64);

/// What [`Endpoint::poll_transmit`] asks for.
#[derive(PartialEq, Eq, Debug)]
pub enum Poll {
    /// Packets were written that are to be sent.
    Transmit(Transmit),
    /// There is room for so many bytes of this connection. To be answered with [`Endpoint::supply`], if
    /// only by nothing; a message may be finished that is longer.
    Pull {
        /// The connection.
        id: UtpId,
        /// Bytes that there is room for.
        room: usize,
    },
    /// There is nothing to send.
    Idle,
}

/// Where packets go: all of one length, but the last may be shorter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// The peer.
    pub destination: SocketAddr,
    /// The address of ours that they leave from; `None`: the system's choice.
    pub source: Option<IpAddr>,
    /// The length of each but the last, in bytes.
    pub segment_size: usize,
    /// Whether they may be cut on their way.
    pub may_fragment: bool,
}

/// How a connection is ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// What was supplied is sent first, for some seconds at most.
    Flush,
    /// At once.
    Abort,
}

/// How a connection does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Health {
    /// The round trip.
    pub rtt: Duration,
    /// How long our packets wait in queues.
    pub queueing: Duration,
    /// Bytes under way.
    pub flight: usize,
    /// How many may be.
    pub window: usize,
    /// How many the peer has room for.
    pub peer_window: usize,
    /// Bytes that came in and are held.
    pub held: usize,
    /// The longest packet, in bytes of UDP payload.
    pub packet_size: usize,
    /// How often something has happened.
    pub counters: Counters,
}

/// What connections hold together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Held {
    /// Room for bytes that come in, which connections were given beyond the first.
    pub granted: usize,
    /// Bytes that wait to be sent or are not acknowledged.
    pub kept: usize,
}

impl std::ops::AddAssign for Held {
    fn add_assign(&mut self, other: Held) {
        self.granted += other.granted;
        self.kept += other.kept;
    }
}

/// Where a packet came from, and to which address of ours, where the system says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    /// Who sent it.
    pub remote: SocketAddr,
    /// Where it came to.
    pub local: Option<IpAddr>,
}

/// A connection that has ended in order: what its last packet is acknowledged with.
#[derive(Clone, Copy, Debug)]
struct Lingering {
    until: Instant,
    send_id: u16,
    seq: Seq,
    ack: Seq,
}

/// A connection and when it is to be looked at.
#[derive(Debug)]
struct Entry {
    connection: Box<Connection>,
    deadline: Option<Instant>,
    /// What was due by then needs a packet to be sent, and is left until it is.
    looked_at: Option<Instant>,
    /// What it keeps of [`Held::kept`].
    kept: usize,
    /// The longest packet that it had found to pass.
    packet_size: u16,
}

/// The connections over one socket.
#[derive(Debug)]
pub struct Endpoint {
    connections: BTreeMap<UtpId, Entry>,
    by_address: BTreeMap<(SocketAddr, u16), UtpId>,
    next_id: u64,
    deadlines: BTreeSet<(Instant, UtpId)>,
    /// Those that may have something to send, in turn.
    ready: VecDeque<UtpId>,
    /// Those that may have something to tell.
    news: VecDeque<UtpId>,
    answers: VecDeque<(Way, BytesMut)>,
    allowance: Answers,
    cookies: Cookies,
    lingering: BTreeMap<(SocketAddr, u16), Lingering>,
    lingering_order: VecDeque<(SocketAddr, u16)>,
    held: Held,
    /// What connections over other sockets hold.
    held_elsewhere: Held,
    granted_to: BTreeMap<UtpId, usize>,
    /// The longest packet that was found last to pass from here, if one was.
    proven: Option<u16>,
    clock: Clock,
    rng: SecretRng,
}

impl Endpoint {
    /// No connections. `rng` is for what others must not guess.
    pub fn new(now: Instant, mut rng: SecretRng) -> Self {
        Endpoint {
            connections: BTreeMap::new(),
            by_address: BTreeMap::new(),
            next_id: 0,
            deadlines: BTreeSet::new(),
            ready: VecDeque::new(),
            news: VecDeque::new(),
            answers: VecDeque::new(),
            allowance: Answers::default(),
            cookies: Cookies::new(now, rng.fork()),
            lingering: BTreeMap::new(),
            lingering_order: VecDeque::new(),
            held: Held::default(),
            held_elsewhere: Held::default(),
            granted_to: BTreeMap::new(),
            proven: None,
            clock: Clock(rng.next_u32()),
            rng,
        }
    }

    // Queries.

    /// How many connections there are, open or not.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// The peer of a connection.
    pub fn remote(&self, id: UtpId) -> Option<SocketAddr> {
        self.connections.get(&id).map(|entry| entry.connection.remote)
    }

    /// How a connection does.
    pub fn health(&self, id: UtpId) -> Option<Health> {
        let connection = &self.connections.get(&id)?.connection;
        let (flight, window, peer_window) = connection.flight();
        Some(Health {
            rtt: connection.rtt(),
            queueing: connection.queueing(),
            flight,
            window,
            peer_window,
            held: connection.held(),
            packet_size: usize::from(connection.proven()),
            counters: connection.counters,
        })
    }

    /// What its connections hold together.
    pub fn held(&self) -> Held {
        self.held
    }

    /// What connections of other endpoints hold that share the bounds.
    pub fn set_held_elsewhere(&mut self, held: Held) {
        self.held_elsewhere = held;
    }

    /// When [`Endpoint::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// Whether [`Endpoint::poll_transmit`] may have something.
    pub fn has_transmits(&self) -> bool {
        !self.answers.is_empty() || !self.ready.is_empty()
    }

    // What owners do.

    /// Opens a connection. `None`: there are too many to that address.
    pub fn connect(&mut self, now: Instant, remote: SocketAddr) -> Option<UtpId> {
        let receive_id = (0..ID_TRIES).find_map(|_| {
            let id = self.rng.next_u32() as u16;
            let is_free = |id: u16| !self.by_address.contains_key(&(remote, id));
            (is_free(id) && is_free(id.wrapping_add(1))).then_some(id)
        })?;
        let syn = Seq(self.rng.next_u32() as u16);
        let connection = Connection::dial(now, remote, receive_id, syn, self.proven);
        Some(self.insert(connection))
    }

    fn insert(&mut self, connection: Connection) -> UtpId {
        let id = UtpId(self.next_id);
        self.next_id += 1;
        self.by_address.insert((connection.remote, connection.receive_id), id);
        let entry = Entry {
            deadline: None,
            looked_at: None,
            kept: 0,
            packet_size: connection.proven(),
            connection: Box::new(connection),
        };
        self.connections.insert(id, entry);
        self.touched(id);
        id
    }

    /// The owner has bytes to send: they are pulled when there is room for them.
    pub fn want(&mut self, now: Instant, id: UtpId) {
        if let Some(entry) = self.connections.get_mut(&id) {
            entry.connection.want(now);
            self.touched(id);
        }
    }

    /// The bytes that were pulled.
    pub fn supply(&mut self, now: Instant, id: UtpId, bytes: impl IntoIterator<Item = Bytes>) {
        if let Some(entry) = self.connections.get_mut(&id) {
            entry.connection.supply(now, bytes);
            self.touched(id);
        }
    }

    /// Whether the owner takes bytes. If not, the room for them runs out.
    pub fn set_reading(&mut self, id: UtpId, on: bool) {
        if let Some(entry) = self.connections.get_mut(&id) {
            entry.connection.set_reading(on);
            self.touched(id);
        }
    }

    /// Ends a connection. No event follows.
    pub fn close(&mut self, now: Instant, id: UtpId, how: Ending) {
        let Some(entry) = self.connections.get_mut(&id) else { return };
        match how {
            Ending::Flush => {
                entry.connection.flush(now);
                self.touched(id);
            }
            Ending::Abort => {
                if entry.connection.is_open() {
                    let mut out = BytesMut::new();
                    entry.connection.write_reset(now, self.clock, &mut out);
                    let Connection { remote, local, .. } = *entry.connection;
                    self.answer(Way { remote, local }, out);
                }
                self.remove(id);
            }
        }
    }

    // Packets that come in.

    /// A packet of this protocol came in, at `at` by the system's word. `admits`: whether its sender may
    /// open a connection.
    pub fn receive(&mut self, now: Instant, at: Instant, way: Way, data: &[u8], admits: bool) {
        let Some(packet) = packet::decode(data) else { return };
        let Header { kind, connection_id, .. } = packet.header;
        match kind {
            Kind::Syn => self.receive_syn(now, way, &packet.header, admits),
            Kind::Reset => {
                // It may name our id or its own.
                let ids =
                    [connection_id, connection_id.wrapping_add(1), connection_id.wrapping_sub(1)];
                let found = ids.iter().find_map(|&id| self.by_address.get(&(way.remote, id)));
                if let Some(&id) = found {
                    self.receive_known(now, at, way, id, &packet);
                }
            }
            Kind::Data | Kind::Fin | Kind::State => {
                match self.by_address.get(&(way.remote, connection_id)) {
                    Some(&id) => self.receive_known(now, at, way, id, &packet),
                    None => self.receive_unknown(now, at, way, &packet, admits),
                }
            }
        }
    }

    fn receive_known(
        &mut self,
        now: Instant,
        at: Instant,
        way: Way,
        id: UtpId,
        packet: &Packet<'_>,
    ) {
        let Some(entry) = self.connections.get_mut(&id) else { return };
        entry.connection.local = way.local;
        let most = ROOM.saturating_sub(self.held.granted + self.held_elsewhere.granted);
        let grown = entry.connection.receive(now, at, self.clock, packet, most);
        if grown > 0 {
            self.held.granted += grown;
            *self.granted_to.entry(id).or_default() += grown;
        }
        self.touched(id);
    }

    fn receive_syn(&mut self, now: Instant, way: Way, header: &Header, admits: bool) {
        let is_known =
            self.by_address.contains_key(&(way.remote, header.connection_id.wrapping_add(1)));
        if is_known || !admits || !self.allowance.may_answer_syn(now, way.remote.ip()) {
            return;
        }
        let cookie = self.cookies.answer(now, way.remote, header.connection_id, header.seq);
        let answer = Header {
            kind: Kind::State,
            connection_id: header.connection_id,
            timestamp: self.clock.micros(now),
            timestamp_difference: self.clock.micros(now).wrapping_sub(header.timestamp).max(1),
            window: FIRST_BUDGET as u32,
            seq: cookie,
            ack: header.seq,
        };
        let mut out = BytesMut::new();
        packet::encode(&mut out, &answer, &[]);
        self.answer(way, out);
    }

    fn receive_unknown(
        &mut self,
        now: Instant,
        at: Instant,
        way: Way,
        packet: &Packet<'_>,
        admits: bool,
    ) {
        let Header { kind, connection_id, seq, ack, .. } = packet.header;
        // The dialler sends by the id of its SYN plus one, which is what we receive by.
        let syn_id = connection_id.wrapping_sub(1);
        if let Some(lingering) = self.lingering.get(&(way.remote, connection_id)).copied() {
            if kind != Kind::State && now < lingering.until {
                self.answer_last(now, way, &lingering);
            }
            return;
        }
        if admits && let Some(admission) = self.cookies.admit(now, way.remote, syn_id, seq, ack) {
            let connection = Connection::accept(
                now,
                way.remote,
                connection_id,
                admission.syn,
                admission.next,
                self.proven,
            );
            let id = self.insert(connection);
            return self.receive_known(now, at, way, id, packet);
        }
        if self.allowance.may_reset(now, way.remote, connection_id) {
            let answer = Header {
                kind: Kind::Reset,
                connection_id,
                timestamp: self.clock.micros(now),
                timestamp_difference: 0,
                window: 0,
                seq: ack,
                ack: seq,
            };
            let mut out = BytesMut::new();
            packet::encode(&mut out, &answer, &[]);
            self.answer(way, out);
        }
    }

    fn answer_last(&mut self, now: Instant, way: Way, lingering: &Lingering) {
        let answer = Header {
            kind: Kind::State,
            connection_id: lingering.send_id,
            timestamp: self.clock.micros(now),
            timestamp_difference: 0,
            window: 0,
            seq: lingering.seq,
            ack: lingering.ack,
        };
        let mut out = BytesMut::new();
        packet::encode(&mut out, &answer, &[]);
        self.answer(way, out);
    }

    fn answer(&mut self, way: Way, packet: BytesMut) {
        if self.answers.len() < MAX_ANSWERS {
            self.answers.push_back((way, packet));
        }
    }

    // Time.

    /// The time of [`Endpoint::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            if let Some(entry) = self.connections.get_mut(&id) {
                entry.deadline = None;
                entry.connection.handle_timeout(now);
                entry.looked_at = Some(now);
                self.touched(id);
            }
        }
    }

    // What comes of it.

    /// What has happened, of the connections in turn.
    pub fn poll_event(&mut self) -> Option<(UtpId, Event)> {
        while let Some(&id) = self.news.front() {
            let event =
                self.connections.get_mut(&id).and_then(|entry| entry.connection.next_event());
            if let Some(event) = event {
                return Some((id, event));
            }
            self.news.pop_front();
            if let Some(entry) = self.connections.get_mut(&id) {
                entry.connection.unmark_news();
                self.settle(id);
            }
        }
        None
    }

    /// The next packets to send, written to `out`, which is empty: a run of at most so many to one peer. Or whose
    /// bytes are needed first.
    pub fn poll_transmit(&mut self, now: Instant, segments: usize, out: &mut BytesMut) -> Poll {
        if let Some((Way { remote: destination, local: source }, packet)) = self.answers.pop_front()
        {
            out.extend_from_slice(&packet);
            return Poll::Transmit(Transmit {
                destination,
                source,
                segment_size: packet.len(),
                may_fragment: true,
            });
        }
        while let Some(&id) = self.ready.front() {
            let Some(Entry { connection, looked_at, kept, .. }) = self.connections.get_mut(&id)
            else {
                self.ready.pop_front();
                continue;
            };
            // An acknowledgement of what it keeps has it asked again.
            let has_room = *kept == 0 || self.held.kept + self.held_elsewhere.kept < MAX_KEPT;
            if has_room && let Some(room) = connection.pull() {
                return Poll::Pull { id, room };
            }
            let written = connection.write(now, self.clock, segments, out);
            *looked_at = None;
            self.ready.pop_front();
            connection.unmark_ready();
            let Some(Written { segment_size, may_fragment }) = written else {
                self.settle(id);
                continue;
            };
            let Connection { remote: destination, local: source, .. } = **connection;
            self.touched(id);
            return Poll::Transmit(Transmit { destination, source, segment_size, may_fragment });
        }
        Poll::Idle
    }

    /// Something was done to a connection: it may have news, packets to send, another deadline.
    fn touched(&mut self, id: UtpId) {
        let Some(Entry { connection, .. }) = self.connections.get_mut(&id) else { return };
        if connection.mark_news() {
            self.news.push_back(id);
        }
        if connection.mark_ready() {
            self.ready.push_back(id);
        }
        self.settle(id);
    }

    /// Sets the deadline of a connection, or removes it when it is over.
    fn settle(&mut self, id: UtpId) {
        let Some(Entry { connection, deadline, looked_at, kept, packet_size }) =
            self.connections.get_mut(&id)
        else {
            return;
        };
        self.held.kept = self.held.kept - *kept + connection.kept();
        *kept = connection.kept();
        if *packet_size != connection.proven() {
            *packet_size = connection.proven();
            self.proven = Some(*packet_size);
        }
        if connection.is_over() || connection.is_orphan() && connection.is_finished() {
            if connection.is_finished() {
                self.linger(id);
            }
            return self.remove(id);
        }
        let is_left = |at: Instant| looked_at.is_some_and(|looked_at| at <= looked_at);
        let next = connection.deadline().filter(|&at| !is_left(at));
        if next != *deadline {
            if let Some(at) = *deadline {
                self.deadlines.remove(&(at, id));
            }
            if let Some(at) = next {
                self.deadlines.insert((at, id));
            }
            *deadline = next;
        }
    }

    /// Remembers a connection that has ended in order.
    fn linger(&mut self, id: UtpId) {
        let Some(Entry { connection, .. }) = self.connections.get(&id) else { return };
        let key = (connection.remote, connection.receive_id);
        let (send_id, seq, ack) = connection.last_numbers();
        let until = connection.heard() + LINGER;
        while let Some(oldest) = self.lingering_order.front() {
            let is_over = self
                .lingering
                .get(oldest)
                .is_none_or(|lingering| lingering.until < connection.heard());
            if !is_over && self.lingering_order.len() < MAX_LINGERING {
                break;
            }
            self.lingering.remove(oldest);
            self.lingering_order.pop_front();
        }
        if self.lingering.insert(key, Lingering { until, send_id, seq, ack }).is_none() {
            self.lingering_order.push_back(key);
        }
    }

    fn remove(&mut self, id: UtpId) {
        let Some(Entry { connection, deadline, kept, .. }) = self.connections.remove(&id) else {
            return;
        };
        self.held.kept -= kept;
        self.by_address.remove(&(connection.remote, connection.receive_id));
        if let Some(at) = deadline {
            self.deadlines.remove(&(at, id));
        }
        self.held.granted -= self.granted_to.remove(&id).unwrap_or(0);
    }
}
