//! The table of byte streams: their limits, deadlines and pauses. With [`establish`](super::establish),
//! which sets them up, and [`over_utp`](super::over_utp), which ends the slower of two attempts, the only place
//! that emits `Connect`, `Secure`, `Send`, `Read` and `Close`.
//!
//! What happens on a stream comes in from the host and goes out as a [`Delivery`]: one of four
//! [`StreamEvent`]s (or an expired deadline) with the owner of the stream. Bytes to send are pulled:
//! [`Transport::ask_send`] asks the host to gather, and the owner fills the room when it does.
//!
//! [`Streams`] is the state. To act on it one borrows a [`Transport`], which has the session's
//! timers and outbox beside it. An id of a stream that is gone is harmless everywhere.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;

use super::dial::Dial;
use super::encrypting::Encrypting;
use super::stream::{Attempt, Attempts, Carrier, Cipher, ReadPause, Role, Setup, Stage, Stream};
use super::utp_streams::UtpStreams;
use crate::action::{Action, Close};
use crate::config::ConnectionLimits;
use crate::deadline::TimerKey;
use crate::encryption::{Encryption, EncryptionPolicy};
use crate::id::{ConnId, Slab};
use crate::map::{HashKeys, Map};
use crate::net_error::NetError;
use crate::outbox::Outbox;
use crate::piece::InfoHash;
use crate::random::SecretRng;
use crate::segments::Segments;
use crate::time::{Duration, Instant};
use crate::timer::{TimerId, TimerWheel};

/// Shortest time between two looks at a stream's deadlines (chosen).
pub(crate) const AFTER_TIMEOUT: Duration = Duration::from_millis(250);

/// All byte streams of a session.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(super) table: Slab<ConnId, Stream>,
    pub(super) encrypting: Encrypting,
    limits: ConnectionLimits,
    dial: Dial,
    /// Connections of uTP; `None`: it is not spoken.
    pub(super) utp: Option<Box<UtpStreams>>,
    /// Connections to peers, established or not.
    peers: usize,
    /// Outgoing connections to peers that are not established.
    pub(super) half_open: usize,
    /// Incoming connections that have not named a torrent.
    incoming: usize,
    /// Connections to peers by their address.
    per_address: Map<IpAddr, usize>,
}

/// The streams of a session with what they act through.
#[derive(Debug)]
pub(crate) struct Transport<'a> {
    pub(crate) streams: &'a mut Streams,
    pub(crate) timers: &'a mut TimerWheel<TimerKey>,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) now: Instant,
}

/// Something that happened on a stream.
#[derive(Debug)]
pub(crate) enum StreamEvent {
    /// The stream that we opened is established.
    Opened,
    /// The remote side sent these bytes.
    Received(BytesMut),
    /// The network took bytes that were gathered.
    Sent {
        /// Whether it has taken all of them.
        all: bool,
    },
    /// The stream has ended or could not be opened. The id is dead.
    Closed {
        /// Why.
        why: Option<NetError>,
        /// Whether a byte had come that answers us, for the owner or not.
        heard: bool,
    },
    /// The deadline of the stream has come.
    TimedOut,
}

/// How the owner's bytes are to be gathered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fill {
    /// They go as they are; [`Streams::filled`] follows.
    Direct(Role),
    /// They go through [`Streams::seal`].
    Sealed(Role),
}

/// An event and the owner it is for.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) conn: ConnId,
    pub(crate) role: Role,
    pub(crate) event: StreamEvent,
}

impl Streams {
    /// No streams. `timer` is for [`Transport::handle_agreements_due`].
    pub(crate) fn new(
        limits: ConnectionLimits,
        dial: Dial,
        utp: Option<Box<UtpStreams>>,
        (policy, secrets): (EncryptionPolicy, SecretRng),
        hash_keys: HashKeys,
        timer: TimerId,
    ) -> Self {
        Streams {
            table: Slab::new(),
            encrypting: Encrypting::new(policy, secrets, hash_keys, timer),
            limits,
            dial,
            utp,
            peers: 0,
            half_open: 0,
            incoming: 0,
            per_address: Map::with_hasher(hash_keys),
        }
    }

    // Limits.

    /// Whether another connection to a peer may be opened.
    pub(crate) fn may_connect(&self) -> bool {
        self.half_open < self.limits.half_open && self.peers < self.limits.session
    }

    /// Whether another connection of a peer may be accepted from this address.
    pub(crate) fn may_accept(&self, from: IpAddr) -> bool {
        self.peers < self.limits.session
            && self.incoming < self.limits.handshaking
            && !self.is_full_at(from)
    }

    /// Whether there are as many connections from and to an address as the limit allows. Loopback
    /// is exempt: every peer on this machine has the same address.
    pub(crate) fn is_full_at(&self, ip: IpAddr) -> bool {
        let count =
            if ip.is_loopback() { 0 } else { self.per_address.get(&ip).copied().unwrap_or(0) };
        count >= self.limits.per_address
    }

    // Encryption.

    /// A torrent is known by this infohash (of v2: cut short) from now on.
    pub(crate) fn add_infohash(&mut self, infohash: InfoHash) {
        self.encrypting.add_skey(infohash);
    }

    /// It is not any more.
    pub(crate) fn remove_infohash(&mut self, infohash: InfoHash) {
        self.encrypting.remove_skey(infohash);
    }

    /// How a stream is encrypted.
    pub(crate) fn encryption(&self, conn: ConnId) -> Encryption {
        self.table.get(conn).map_or(Encryption::None, |stream| stream.encryption)
    }

    /// The infohash by which a stream is encrypted, if it is.
    pub(crate) fn skey(&self, conn: ConnId) -> Option<InfoHash> {
        self.table.get(conn)?.skey
    }

    // Queries.

    /// The address at the other end.
    pub(crate) fn remote(&self, conn: ConnId) -> Option<SocketAddr> {
        self.table.get(conn).map(|stream| stream.remote)
    }

    /// Whether uTP carries the stream.
    pub(crate) fn is_utp(&self, conn: ConnId) -> bool {
        self.table.get(conn).is_some_and(|stream| matches!(stream.carrier, Carrier::Utp(_)))
    }

    /// Whether bytes are read from the stream.
    pub(crate) fn is_reading(&self, conn: ConnId) -> bool {
        self.table.get(conn).is_none_or(Stream::is_reading)
    }

    /// Whether bytes were gathered that the network has not taken.
    pub(crate) fn is_sending(&self, conn: ConnId) -> bool {
        self.table.get(conn).is_some_and(|stream| stream.in_flight > 0)
    }

    /// Whether the owner waits for upload allowance.
    pub(crate) fn is_send_paused(&self, conn: ConnId) -> bool {
        self.table.get(conn).is_some_and(|stream| stream.send_paused)
    }

    /// The incoming connections that have not named a torrent, in a fixed order.
    pub(crate) fn incoming(&self) -> impl Iterator<Item = ConnId> + '_ {
        let incoming = |stream: &Stream| stream.role == Role::Incoming;
        self.table.iter().filter(move |(_, stream)| incoming(stream)).map(|(conn, _)| conn)
    }

    // Sending.

    /// The owner waits for upload allowance from now on; false if it did before.
    pub(crate) fn pause_sending(&mut self, conn: ConnId) -> bool {
        self.table
            .get_mut(conn)
            .is_some_and(|stream| !std::mem::replace(&mut stream.send_paused, true))
    }

    /// The host gathers: what a handshake has to say is put into `out`. Whose bytes follow it, if
    /// any do.
    pub(crate) fn fill(&mut self, conn: ConnId, out: &mut Segments) -> Option<Fill> {
        let stream = self.table.get_mut(conn)?;
        stream.send_asked = false;
        let said = match &mut stream.stage {
            Stage::Mse(handshake) => handshake.take_output(),
            Stage::Answering(last) => std::mem::take(last),
            _ => Vec::new(),
        };
        if !said.is_empty() {
            stream.in_flight += said.len();
            out.put(&said);
        }
        match &stream.stage {
            Stage::Mse(handshake) if !handshake.is_offering() => return None,
            Stage::Mse(_) => return Some(Fill::Sealed(stream.role)),
            Stage::Answering(_) => stream.stage = Stage::Open,
            _ => {}
        }
        Some(match stream.cipher {
            Cipher::Plain => Fill::Direct(stream.role),
            Cipher::Rc4(_) => Fill::Sealed(stream.role),
        })
    }

    /// The owner has filled in these bytes, which leave encrypted.
    pub(crate) fn seal(&mut self, conn: ConnId, clear: &mut Segments, out: &mut Segments) {
        let Some(stream) = self.table.get_mut(conn) else { return };
        let before = out.len();
        match &mut stream.stage {
            Stage::Mse(handshake) => {
                out.put(&self.encrypting.offer(handshake, &clear.take_all()));
            }
            _ => out.push(self.encrypting.encrypt(&mut stream.cipher, clear)),
        }
        stream.in_flight += out.len() - before;
    }

    /// The owner has filled in this many bytes.
    pub(crate) fn filled(&mut self, conn: ConnId, bytes: usize) {
        if let Some(stream) = self.table.get_mut(conn) {
            stream.in_flight += bytes;
        }
    }

    /// Whether the host knows of a stream.
    fn is_by_tcp(&self, conn: ConnId) -> bool {
        self.table.get(conn).is_some_and(|stream| stream.carrier == Carrier::Tcp)
    }

    /// What its owner is told of a stream that is about to be closed for it.
    pub(super) fn closed_by_us(&self, conn: ConnId) -> Option<Delivery> {
        let stream = self.table.get(conn)?;
        let event = StreamEvent::Closed { why: None, heard: stream.is_heard };
        Some(Delivery { conn, role: stream.role, event })
    }

    /// The deadline of a stream has come.
    pub(crate) fn handle_timeout(&self, conn: ConnId) -> Option<Delivery> {
        let stream = self.table.get(conn)?;
        Some(Delivery { conn, role: stream.role, event: StreamEvent::TimedOut })
    }
}

impl Transport<'_> {
    // Opening and closing.

    /// Opens a stream.
    pub(crate) fn connect(&mut self, to: SocketAddr, setup: Setup, role: Role) -> ConnId {
        let tcp = !role.is_peer() || self.streams.dial.peers_by_tcp();
        let is_raced = role.is_peer() && self.streams.utp.is_some();
        let utp = if is_raced { Attempt::Later } else { Attempt::None };
        let attempts = Attempts { tcp, utp };
        let stage = Stage::Dialling { attempts, setup };
        let conn = self.insert(to, role, Carrier::Tcp, stage);
        if tcp {
            let from = self.streams.dial.local(to, role.is_peer());
            self.outbox.push(Action::Connect { conn, to, from });
        }
        if is_raced {
            self.race_later(conn, tcp);
        }
        conn
    }

    /// The host has connected.
    pub(crate) fn handle_connected(&mut self, conn: ConnId) -> Option<Delivery> {
        let (_, attempts) = self.attempts(conn)?;
        if !attempts.tcp {
            return None;
        }
        let utp = std::mem::replace(&mut attempts.utp, Attempt::None);
        self.give_up(utp);
        self.dialled(conn, Carrier::Tcp)
    }

    /// The attempts to open a stream, while it is dialled.
    pub(super) fn attempts(&mut self, conn: ConnId) -> Option<(SocketAddr, &mut Attempts)> {
        let stream = self.streams.table.get_mut(conn)?;
        match &mut stream.stage {
            Stage::Dialling { attempts, .. } => Some((stream.remote, attempts)),
            _ => None,
        }
    }

    /// Takes a connection in that a peer or client has opened.
    pub(crate) fn accept(&mut self, from: SocketAddr, by: Carrier, role: Role) -> ConnId {
        let stage = self.streams.encrypting.incoming(role);
        let conn = self.insert(from, role, by, stage);
        if let (Carrier::Utp(utp), Some(streams)) = (by, &mut self.streams.utp) {
            streams.adopt(utp, conn);
        }
        conn
    }

    fn insert(&mut self, remote: SocketAddr, role: Role, carrier: Carrier, stage: Stage) -> ConnId {
        let Streams { table, peers, half_open, incoming, per_address, .. } = &mut *self.streams;
        let timers = &mut *self.timers;
        let conn = table.insert_with(|conn| {
            let timer = timers.register(TimerKey::Conn(conn));
            let stream = Stream::new(remote, role, carrier, stage, timer);
            *half_open += usize::from(stream.is_half_open());
            stream
        });
        *incoming += usize::from(role == Role::Incoming);
        if role.is_peer() {
            *peers += 1;
            *per_address.entry(remote.ip()).or_default() += 1;
        }
        conn
    }

    /// Hands a stream over to another owner.
    pub(crate) fn assign(&mut self, conn: ConnId, role: Role) {
        if let Some(stream) = self.streams.table.get_mut(conn) {
            self.streams.incoming -= usize::from(stream.role == Role::Incoming);
            debug_assert_eq!(stream.role.is_peer(), role.is_peer(), "it counts the same");
            stream.role = role;
        }
    }

    /// Closes a stream. No event follows.
    pub(crate) fn close(&mut self, conn: ConnId, how: Close) {
        let Some(stream) = self.remove(conn) else { return };
        match (stream.carrier, stream.stage) {
            (Carrier::Utp(utp), _) => self.close_utp(utp, how),
            (Carrier::Tcp, Stage::Dialling { attempts, .. }) => {
                self.give_up(attempts.utp);
                if attempts.tcp {
                    self.outbox.push(Action::Close { conn, how });
                }
            }
            (Carrier::Tcp, _) => self.outbox.push(Action::Close { conn, how }),
        }
    }

    // What the host reports.

    /// Bytes came in by TCP.
    pub(crate) fn handle_received(&mut self, conn: ConnId, data: BytesMut) -> Option<Delivery> {
        self.streams.is_by_tcp(conn).then(|| self.received(conn, data)).flatten()
    }

    /// Bytes came in.
    pub(super) fn received(&mut self, conn: ConnId, mut data: BytesMut) -> Option<Delivery> {
        let stream = self.streams.table.get_mut(conn)?;
        if let Stage::Mse(_) = stream.stage {
            return self.handle_handshake(conn, data);
        }
        stream.is_heard = true;
        match &mut stream.cipher {
            Cipher::Plain => {}
            Cipher::Rc4(ciphers) => ciphers.read.apply(&mut data),
        }
        Some(Delivery { conn, role: stream.role, event: StreamEvent::Received(data) })
    }

    /// The TCP socket took bytes.
    pub(crate) fn handle_sent(&mut self, conn: ConnId, bytes: usize) -> Option<Delivery> {
        self.streams.is_by_tcp(conn).then(|| self.sent(conn, bytes)).flatten()
    }

    /// Bytes are on their way.
    pub(super) fn sent(&mut self, conn: ConnId, bytes: usize) -> Option<Delivery> {
        let stream = self.streams.table.get_mut(conn)?;
        stream.in_flight = stream.in_flight.saturating_sub(bytes);
        let (role, all) = (stream.role, stream.in_flight == 0);
        // Its owner does not know of what a handshake has to say.
        if let Stage::Mse(_) | Stage::Answering(_) = stream.stage {
            self.ask_send(conn);
        }
        Some(Delivery { conn, role, event: StreamEvent::Sent { all } })
    }

    /// The host reports the end of a stream, or that it could not connect.
    pub(crate) fn handle_closed(
        &mut self,
        conn: ConnId,
        why: Option<NetError>,
    ) -> Option<Delivery> {
        if !self.streams.is_by_tcp(conn) {
            return None;
        }
        if let Some((_, attempts)) = self.attempts(conn) {
            attempts.tcp = false;
            if self.goes_on_by_utp(conn) {
                return None;
            }
        }
        self.ended(conn, why)
    }

    /// A stream has ended, or could not be opened.
    pub(super) fn ended(&mut self, conn: ConnId, why: Option<NetError>) -> Option<Delivery> {
        let Stream { role, is_heard: heard, .. } = self.remove(conn)?;
        Some(Delivery { conn, role, event: StreamEvent::Closed { why, heard } })
    }

    fn remove(&mut self, conn: ConnId) -> Option<Stream> {
        let streams = &mut *self.streams;
        let stream = streams.table.remove(conn)?;
        self.timers.unregister(stream.timer);
        streams.half_open -= usize::from(stream.is_half_open());
        streams.incoming -= usize::from(stream.role == Role::Incoming);
        if stream.role.is_peer() {
            streams.peers -= 1;
            let ip = stream.remote.ip();
            if let Some(count) = streams.per_address.get_mut(&ip) {
                *count -= 1;
                if *count == 0 {
                    streams.per_address.remove(&ip);
                }
            }
        }
        Some(stream)
    }

    // Sending.

    /// Asks the host to gather and send, unless it was asked already or is still sending.
    pub(crate) fn ask_send(&mut self, conn: ConnId) {
        if let Some(stream) = self.streams.table.get_mut(conn)
            && stream.may_send()
            && !stream.send_asked
            && stream.in_flight == 0
        {
            stream.send_asked = true;
            match stream.carrier {
                Carrier::Tcp => self.outbox.push(Action::Send { conn }),
                Carrier::Utp(utp) => self.want_utp(utp),
            }
        }
    }

    /// The owner has upload allowance again.
    pub(crate) fn resume_sending(&mut self, conn: ConnId) {
        if let Some(stream) = self.streams.table.get_mut(conn) {
            stream.send_paused = false;
        }
        self.ask_send(conn);
    }

    // Reading.

    /// Adds a reason not to read.
    pub(crate) fn pause_reading(&mut self, conn: ConnId, why: ReadPause) {
        if let Some(stream) = self.streams.table.get_mut(conn)
            && stream.pause_reading(why)
        {
            match stream.carrier {
                Carrier::Tcp => self.outbox.push(Action::Read { conn, on: false }),
                Carrier::Utp(utp) => self.read_utp(utp, false),
            }
        }
    }

    /// Takes a reason not to read away; without any, bytes are read again.
    pub(crate) fn resume_reading(&mut self, conn: ConnId, why: ReadPause) {
        if let Some(stream) = self.streams.table.get_mut(conn)
            && stream.resume_reading(why)
        {
            match stream.carrier {
                Carrier::Tcp => self.outbox.push(Action::Read { conn, on: true }),
                Carrier::Utp(utp) => self.read_utp(utp, true),
            }
        }
    }

    // Deadlines.

    /// Sets the deadline of a stream.
    pub(crate) fn set_deadline(&mut self, conn: ConnId, at: Instant) {
        if let Some(stream) = self.streams.table.get(conn) {
            self.timers.set(stream.timer, at);
        }
    }

    /// Sets the deadline of a stream, unless it comes sooner.
    ///
    /// One that has passed is looked at a little later: the owner has just been looked after.
    pub(crate) fn set_deadline_sooner(&mut self, conn: ConnId, at: Instant) {
        let at = at.max(self.now + AFTER_TIMEOUT);
        if let Some(stream) = self.streams.table.get(conn)
            && self.timers.deadline(stream.timer).is_none_or(|set| at < set)
        {
            self.timers.set(stream.timer, at);
        }
    }
}

#[cfg(test)]
mod tests;
