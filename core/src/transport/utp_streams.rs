//! Streams that uTP carries: which connection over which socket is which stream.
//!
//! Each UDP socket for our own datagrams has its connections, so that packets leave from where the peer
//! knows us. Connections that we open go over the first socket of the peer's address family.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};

use super::utp::{self, Ending, Endpoint, Event, Held, Poll, UtpId, Way};
use crate::event::Datagram;
use crate::id::{ConnId, SocketId};
use crate::packet::Transmit;
use crate::random::SecretRng;
use crate::time::{Duration, Instant};
use crate::timer::TimerId;

/// How long a connection over TCP is tried before one over uTP is, too (chosen).
pub(super) const HEAD_START: Duration = Duration::from_millis(300);

/// A connection of uTP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct UtpConn {
    socket: SocketId,
    id: UtpId,
}

/// What is to be sent through a socket.
#[derive(Debug)]
pub(crate) enum Next {
    /// Packets were written.
    Transmit(Transmit),
    /// A stream has room for so many bytes.
    Pull(UtpConn, ConnId, usize),
    /// Nothing.
    Idle,
}

/// The connections of uTP of a session.
#[derive(Debug)]
pub(crate) struct UtpStreams {
    sockets: BTreeMap<SocketId, Socket>,
    streams: BTreeMap<UtpConn, ConnId>,
    /// Streams that TCP alone has been tried for until then, the next one first.
    races: VecDeque<(Instant, ConnId)>,
    pub(super) timer: TimerId,
    rng: SecretRng,
}

#[derive(Debug)]
struct Socket {
    addr: SocketAddr,
    endpoint: Endpoint,
}

impl UtpStreams {
    pub(crate) fn new(timer: TimerId, rng: SecretRng) -> Self {
        UtpStreams {
            sockets: BTreeMap::new(),
            streams: BTreeMap::new(),
            races: VecDeque::new(),
            timer,
            rng,
        }
    }

    // Sockets.

    /// A socket is open, at a local address.
    pub(super) fn open(&mut self, now: Instant, socket: SocketId, addr: SocketAddr) {
        let endpoint = Endpoint::new(now, self.rng.fork());
        self.sockets.insert(socket, Socket { addr, endpoint });
    }

    /// A socket is of no use any more: the streams that it carried.
    pub(super) fn lost(&mut self, socket: SocketId) -> Vec<ConnId> {
        self.sockets.remove(&socket);
        let (lost, kept) = std::mem::take(&mut self.streams)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(utp, _)| utp.socket == socket);
        self.streams = kept;
        lost.into_values().collect()
    }

    /// The sockets that have something to send.
    pub(super) fn with_transmits(&self) -> impl Iterator<Item = SocketId> + '_ {
        let has = |socket: &Socket| socket.endpoint.has_transmits();
        self.sockets.iter().filter(move |(_, socket)| has(socket)).map(|(&id, _)| id)
    }

    // Streams.

    /// Opens a connection for a stream.
    pub(super) fn connect(
        &mut self,
        now: Instant,
        conn: ConnId,
        remote: SocketAddr,
    ) -> Option<UtpConn> {
        let is_there = |socket: &&mut Socket| socket.addr.is_ipv4() == remote.is_ipv4();
        let (&socket, found) = self.sockets.iter_mut().find(|(_, socket)| is_there(socket))?;
        let utp = UtpConn { socket, id: found.endpoint.connect(now, remote)? };
        self.streams.insert(utp, conn);
        Some(utp)
    }

    /// A connection that came in is this stream from now on.
    pub(super) fn adopt(&mut self, utp: UtpConn, conn: ConnId) {
        self.streams.insert(utp, conn);
    }

    /// An endpoint that knows what the others hold: the bounds are of all together.
    fn informed(&mut self, socket: SocketId) -> Option<&mut Endpoint> {
        let mut elsewhere = Held::default();
        let others = self.sockets.iter().filter(|(other, _)| **other != socket);
        others.for_each(|(_, other)| elsewhere += other.endpoint.held());
        let endpoint = &mut self.sockets.get_mut(&socket)?.endpoint;
        endpoint.set_held_elsewhere(elsewhere);
        Some(endpoint)
    }

    fn endpoint(&mut self, utp: UtpConn) -> Option<&mut Endpoint> {
        self.sockets.get_mut(&utp.socket).map(|socket| &mut socket.endpoint)
    }

    /// The owner of a stream has bytes to send.
    pub(super) fn want(&mut self, now: Instant, utp: UtpConn) {
        if let Some(endpoint) = self.endpoint(utp) {
            endpoint.want(now, utp.id);
        }
    }

    /// The bytes that a stream had room for.
    pub(super) fn supply(
        &mut self,
        now: Instant,
        utp: UtpConn,
        bytes: impl IntoIterator<Item = Bytes>,
    ) {
        if let Some(endpoint) = self.endpoint(utp) {
            endpoint.supply(now, utp.id, bytes);
        }
    }

    pub(super) fn set_reading(&mut self, utp: UtpConn, on: bool) {
        if let Some(endpoint) = self.endpoint(utp) {
            endpoint.set_reading(utp.id, on);
        }
    }

    pub(super) fn close(&mut self, now: Instant, utp: UtpConn, how: Ending) {
        self.streams.remove(&utp);
        if let Some(endpoint) = self.endpoint(utp) {
            endpoint.close(now, utp.id, how);
        }
    }

    // Datagrams.

    /// A datagram of uTP came in.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        socket: SocketId,
        datagram: &Datagram,
        admits: bool,
    ) {
        if let Some(endpoint) = self.informed(socket) {
            let Datagram { remote, local, received, ref data } = *datagram;
            endpoint.receive(now, received, Way { remote, local }, data, admits);
        }
    }

    /// What has happened: on which connection, of which stream if it is one, with whom.
    pub(super) fn poll_event(&mut self) -> Option<(UtpConn, Option<ConnId>, SocketAddr, Event)> {
        for (&socket, Socket { endpoint, .. }) in &mut self.sockets {
            while let Some((id, event)) = endpoint.poll_event() {
                let Some(remote) = endpoint.remote(id) else { continue };
                let utp = UtpConn { socket, id };
                let conn = match event {
                    Event::Closed(_) => self.streams.remove(&utp),
                    _ => self.streams.get(&utp).copied(),
                };
                return Some((utp, conn, remote, event));
            }
        }
        None
    }

    /// What is to be sent through a socket next.
    pub(super) fn poll_transmit(
        &mut self,
        now: Instant,
        socket: SocketId,
        segments: usize,
        out: &mut BytesMut,
    ) -> Next {
        if self.informed(socket).is_none() {
            return Next::Idle;
        }
        while let Some(Socket { endpoint, .. }) = self.sockets.get_mut(&socket) {
            match endpoint.poll_transmit(now, segments, out) {
                Poll::Transmit(transmit) => {
                    let utp::Transmit { destination, source, segment_size, may_fragment } =
                        transmit;
                    let transmit = Transmit { destination, source, segment_size, may_fragment };
                    return Next::Transmit(transmit);
                }
                Poll::Pull { id, room } => {
                    let utp = UtpConn { socket, id };
                    match self.streams.get(&utp) {
                        Some(&conn) => return Next::Pull(utp, conn, room),
                        None => endpoint.supply(now, id, []),
                    }
                }
                Poll::Idle => break,
            }
        }
        Next::Idle
    }

    // Time.

    /// A stream is to be tried by uTP at that time, which is no earlier than that of others.
    pub(super) fn race(&mut self, at: Instant, conn: ConnId) {
        self.races.push_back((at, conn));
    }

    /// A stream for which TCP has been tried long enough.
    pub(super) fn next_race(&mut self, now: Instant) -> Option<ConnId> {
        let &(at, conn) = self.races.front()?;
        if at > now {
            return None;
        }
        self.races.pop_front();
        Some(conn)
    }

    /// Deadlines have come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for socket in self.sockets.values_mut() {
            socket.endpoint.handle_timeout(now);
        }
    }

    /// When something is to be done.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let endpoints = self.sockets.values().filter_map(|socket| socket.endpoint.poll_timeout());
        endpoints.chain(self.races.front().map(|&(at, _)| at)).min()
    }
}
