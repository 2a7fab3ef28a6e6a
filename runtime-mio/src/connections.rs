//! Stream connections: what each can do now, and what it is to do.
//!
//! Readiness is edge-triggered: once told that a socket can be read or written, it stays so until a
//! call finds otherwise. A connection that has something to do and can do it is in the ready queue;
//! each turn serves every connection in it once, with a bounded amount of work, so that no peer
//! starves another. `Send` only marks the connection: what is to be sent is gathered when its turn
//! comes and the socket can take it, and by then more may have come together.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::net::{IpAddr, SocketAddr};

use bitswarm_core::action::Close;
use bitswarm_core::event::NetError;
use bitswarm_core::id::Id;
use bitswarm_core::{ConnId, Event, Segments};
use bitswarm_runtime_common::buffers::{BUFFER_LEN, BufferPool};
use bitswarm_runtime_common::net;
use bitswarm_runtime_common::table::Table;
use mio::event::Event as Readiness;
use mio::net::TcpStream;
use mio::{Interest, Registry};
use socket2::SockRef;

use crate::lingering::Lingering;
use crate::source::Source;

/// Bytes gathered for one connection at once (chosen: 16 blocks; what is gathered can no longer be
/// cancelled).
const GATHER: usize = 256 * 1024;

/// Slices in one vectored write (chosen: a gather of whole blocks is 32).
const SLICES: usize = 64;

/// Bytes read from one connection before others have their turn (chosen: four full reads).
pub(crate) const READ_BUDGET: usize = 4 * BUFFER_LEN;

/// Every connection, and who is ready.
#[derive(Debug)]
pub(crate) struct Connections {
    table: Table<ConnId, Connection>,
    /// Slots of connections that may have something to do, each at most once.
    ready: VecDeque<usize>,
    pub(crate) lingering: Lingering,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// Not yet established.
    connecting: bool,
    /// `Action::Read`.
    reading: bool,
    readable: bool,
    writable: bool,
    /// `Action::Send` waits for the socket.
    wants_to_send: bool,
    /// Gathered and not yet taken by the socket.
    out: Segments,
    /// The peer will send no more, or the connection has failed: told once, so to be remembered.
    hung_up: bool,
    /// Writing failed. What the peer sent before is still read.
    failed: Option<NetError>,
    /// Whether it is in the ready queue.
    queued: bool,
}

impl Connections {
    pub(crate) fn new() -> Self {
        Connections { table: Table::new(), ready: VecDeque::new(), lingering: Lingering::new() }
    }

    /// Performs `Action::Connect`. What it returns has happened at once.
    pub(crate) fn connect(
        &mut self,
        registry: &Registry,
        id: ConnId,
        to: SocketAddr,
        bind: Option<IpAddr>,
    ) -> Option<Event> {
        let stream = match net::connect(to, bind) {
            Ok(socket) => TcpStream::from_std(socket.into()),
            Err(error) => return Some(closed(id, &error)),
        };
        self.insert(registry, id, stream, true)
    }

    /// Takes over a connection that the engine accepted.
    pub(crate) fn accepted(
        &mut self,
        registry: &Registry,
        id: ConnId,
        stream: TcpStream,
    ) -> Option<Event> {
        net::prepare_stream(SockRef::from(&stream));
        self.insert(registry, id, stream, false)
    }

    /// Performs `Action::Send`.
    pub(crate) fn send(&mut self, id: ConnId) {
        if let Some(connection) = self.table.get_mut(id) {
            connection.wants_to_send = true;
            self.queue(id.index() as usize);
        }
    }

    /// Performs `Action::Read`.
    pub(crate) fn read_on(&mut self, id: ConnId, on: bool) {
        if let Some(connection) = self.table.get_mut(id) {
            connection.reading = on;
            self.queue(id.index() as usize);
        }
    }

    /// Performs `Action::Close`.
    pub(crate) fn close(
        &mut self,
        registry: &Registry,
        id: ConnId,
        how: Close,
        now: bitswarm_core::Instant,
        gather: impl FnOnce(usize, &mut Segments),
    ) {
        let Some(mut connection) = self.table.remove(id) else { return };
        tracing::debug!(?id, ?how, "closed");
        if how == Close::Flush && !connection.connecting && connection.failed.is_none() {
            if connection.wants_to_send && connection.out.is_empty() {
                gather(GATHER, &mut connection.out);
            }
            self.lingering.add(registry, connection.stream, connection.out, now);
        }
    }

    /// Notes what the system says about the connection in `slot`.
    pub(crate) fn note(&mut self, slot: usize, readiness: &Readiness) {
        if let Some((_, connection)) = self.table.at(slot) {
            // What it is shows in the next read or write.
            connection.hung_up |= readiness.is_read_closed() || readiness.is_error();
            connection.readable |= readiness.is_readable() || connection.hung_up;
            connection.writable |= readiness.is_writable() || readiness.is_error();
            self.queue(slot);
        }
    }

    /// Whether a connection waits for its turn.
    pub(crate) fn is_any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many connections wait for their turn.
    pub(crate) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// The next connection whose turn it is.
    pub(crate) fn next_ready(&mut self) -> Option<ConnId> {
        loop {
            let slot = self.ready.pop_front()?;
            if let Some((id, connection)) = self.table.at(slot) {
                connection.queued = false;
                return Some(id);
            }
        }
    }

    /// Puts a connection that used up its budget at the end of the queue.
    pub(crate) fn again(&mut self, id: ConnId) {
        if self.table.get_mut(id).is_some() {
            self.queue(id.index() as usize);
        }
    }

    /// Looks whether a connection under way is established. What it returns is to be handled before
    /// anything else of the connection.
    pub(crate) fn finish_connecting(&mut self, id: ConnId) -> Option<Event> {
        let connection = self.table.get_mut(id)?;
        if !connection.connecting || !connection.writable {
            return None;
        }
        match net::connected(&SockRef::from(&connection.stream))? {
            Ok(local) => {
                connection.connecting = false;
                Some(Event::Connected { conn: id, local })
            }
            Err(error) => {
                self.table.remove(id);
                Some(closed(id, &error))
            }
        }
    }

    /// Reads once, if there may be something and it is wanted.
    pub(crate) fn read(&mut self, id: ConnId, buffers: &mut BufferPool) -> Option<Event> {
        let connection = self.table.get_mut(id)?;
        if connection.connecting {
            return None;
        }
        if !connection.reading || !connection.readable {
            // Nothing more will come that could be read first.
            let why = connection.failed?;
            self.table.remove(id);
            return Some(Event::Closed { conn: id, why: Some(why) });
        }
        match buffers.read(&SockRef::from(&connection.stream)) {
            Ok(chunk) if chunk.data.is_empty() => {
                let why = connection.failed;
                self.table.remove(id);
                Some(Event::Closed { conn: id, why })
            }
            Ok(chunk) => {
                // A read that left room has drained the socket: the next byte is a new edge.
                connection.readable = chunk.full || connection.hung_up;
                Some(Event::Received { conn: id, data: chunk.data })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.readable = false;
                self.read(id, buffers)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.read(id, buffers),
            Err(error) => {
                self.table.remove(id);
                Some(closed(id, &error))
            }
        }
    }

    /// Writes what is gathered, or gathers and writes, if the socket can take it.
    pub(crate) fn write(
        &mut self,
        id: ConnId,
        gather: impl FnOnce(usize, &mut Segments),
    ) -> Option<Event> {
        let connection = self.table.get_mut(id)?;
        if connection.connecting || !connection.writable || connection.failed.is_some() {
            return None;
        }
        if connection.out.is_empty() {
            if !std::mem::take(&mut connection.wants_to_send) {
                return None;
            }
            gather(GATHER, &mut connection.out);
        }
        let mut sent = 0;
        while !connection.out.is_empty() {
            match write_once(&mut connection.stream, &mut connection.out) {
                Ok(Written { count, all }) => {
                    sent += count;
                    if !all {
                        connection.writable = false;
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.writable = false;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    connection.failed = Some(net::net_error(&error));
                    connection.out = Segments::new();
                    connection.readable = true;
                    self.queue(id.index() as usize);
                    break;
                }
            }
        }
        (sent > 0).then_some(Event::Sent { conn: id, bytes: sent })
    }

    fn insert(
        &mut self,
        registry: &Registry,
        id: ConnId,
        mut stream: TcpStream,
        connecting: bool,
    ) -> Option<Event> {
        let slot = id.index() as usize;
        let token = Source::Connection(slot).token();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = registry.register(&mut stream, token, interest) {
            return Some(closed(id, &error));
        }
        let connection = Connection {
            stream,
            connecting,
            reading: true,
            readable: false,
            // An accepted one can be written at once; it need not be told.
            writable: !connecting,
            wants_to_send: false,
            out: Segments::new(),
            hung_up: false,
            failed: None,
            queued: false,
        };
        self.table.insert(id, connection);
        None
    }

    fn queue(&mut self, slot: usize) {
        if let Some((_, connection)) = self.table.at(slot)
            && !connection.queued
        {
            connection.queued = true;
            self.ready.push_back(slot);
        }
    }
}

/// What a write brought.
pub(crate) struct Written {
    pub(crate) count: usize,
    /// Whether the socket took all that it was offered. If not, it is full, and room is a new edge.
    pub(crate) all: bool,
}

/// Writes the beginning of `out`.
pub(crate) fn write_once(stream: &mut TcpStream, out: &mut Segments) -> io::Result<Written> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let used = out.slices(&mut slices);
    let offered: usize = slices[..used].iter().map(|slice| slice.len()).sum();
    let count = stream.write_vectored(&slices[..used])?;
    if count == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    out.advance(count);
    Ok(Written { count, all: count == offered })
}

fn closed(id: ConnId, error: &io::Error) -> Event {
    tracing::debug!(?id, %error, "connection failed");
    Event::Closed { conn: id, why: Some(net::net_error(error)) }
}

#[cfg(test)]
mod tests;
