//! Stream connections: what each can do now, and what it is to do.
//!
//! A direction of a socket is ready until a call finds that it is not; then its waker is armed, once.
//! A connection that has something to do and can do it is in the ready queue; each turn serves every
//! connection in it once, with a bounded amount of work, so that no peer starves another. `Send`
//! only marks the connection: what is to be sent is gathered when its turn comes and the socket can
//! take it, and by then more may have come together.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::task::{Context, Waker};

use bitswarm_core::action::Close;
use bitswarm_core::event::NetError;
use bitswarm_core::{ConnId, Event, Instant, Segments};
use bitswarm_runtime_common::buffers::{BUFFER_LEN, BufferPool};
use bitswarm_runtime_common::net;
use bitswarm_runtime_common::table::Table;
use socket2::SockRef;

use crate::farewell::Farewells;
use crate::ready::{Ready, Source};
use crate::rt::Async;

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
    ready: Arc<Ready>,
    table: Table<ConnId, Connection>,
    /// Connections that may have something to do, each at most once.
    queue: VecDeque<ConnId>,
    pub(crate) farewells: Farewells,
}

#[derive(Debug)]
struct Connection {
    stream: Async<TcpStream>,
    /// Not yet established.
    connecting: bool,
    /// `Action::Read`.
    reading: bool,
    readable: bool,
    writable: bool,
    /// Armed when nothing was left to read.
    on_readable: Waker,
    /// Armed when nothing more could be written.
    on_writable: Waker,
    /// `Action::Send` waits for the socket.
    wants_to_send: bool,
    /// Gathered and not yet taken by the socket.
    out: Segments,
    /// Writing failed. What the peer sent before is still read.
    failed: Option<NetError>,
    /// Whether it is in the ready queue.
    queued: bool,
}

impl Connections {
    pub(crate) fn new(ready: Arc<Ready>) -> Self {
        let farewells = Farewells::new(Arc::clone(&ready));
        Connections { ready, table: Table::new(), queue: VecDeque::new(), farewells }
    }

    /// Performs `Action::Connect`. What it returns has happened at once.
    pub(crate) fn connect(
        &mut self,
        id: ConnId,
        to: SocketAddr,
        bind: Option<IpAddr>,
    ) -> Option<Event> {
        match net::connect(to, bind) {
            Ok(socket) => self.insert(id, socket.into(), true),
            Err(error) => Some(closed(id, &error)),
        }
    }

    /// Takes over a connection that the engine accepted.
    pub(crate) fn accepted(&mut self, id: ConnId, stream: TcpStream) -> Option<Event> {
        net::prepare_stream(SockRef::from(&stream));
        self.insert(id, stream, false)
    }

    /// Performs `Action::Send`.
    pub(crate) fn send(&mut self, id: ConnId) {
        if let Some(connection) = self.table.get_mut(id) {
            connection.wants_to_send = true;
            self.queue(id);
        }
    }

    /// Performs `Action::Read`.
    pub(crate) fn read_on(&mut self, id: ConnId, on: bool) {
        if let Some(connection) = self.table.get_mut(id) {
            connection.reading = on;
            // Whether it is, shows in the next read.
            connection.readable |= on;
            self.queue(id);
        }
    }

    /// Performs `Action::Close`.
    pub(crate) fn close(
        &mut self,
        id: ConnId,
        how: Close,
        now: Instant,
        gather: impl FnOnce(usize, &mut Segments),
    ) {
        let Some(mut connection) = self.table.remove(id) else { return };
        tracing::debug!(?id, ?how, "closed");
        if how == Close::Flush && !connection.connecting && connection.failed.is_none() {
            if connection.wants_to_send && connection.out.is_empty() {
                gather(GATHER, &mut connection.out);
            }
            self.farewells.add(connection.stream, connection.out, now);
        }
    }

    /// The waker of reading was woken.
    pub(crate) fn note_readable(&mut self, id: ConnId) {
        if let Some(connection) = self.table.get_mut(id) {
            connection.arm_readable();
            self.queue(id);
        }
    }

    /// The waker of writing was woken.
    pub(crate) fn note_writable(&mut self, id: ConnId) {
        if let Some(connection) = self.table.get_mut(id) {
            connection.arm_writable();
            self.queue(id);
        }
    }

    /// Whether a connection waits for its turn.
    pub(crate) fn is_any_ready(&self) -> bool {
        !self.queue.is_empty()
    }

    /// How many connections wait for their turn.
    pub(crate) fn ready_len(&self) -> usize {
        self.queue.len()
    }

    /// The next connection whose turn it is.
    pub(crate) fn next_ready(&mut self) -> Option<ConnId> {
        loop {
            let id = self.queue.pop_front()?;
            if let Some(connection) = self.table.get_mut(id) {
                connection.queued = false;
                return Some(id);
            }
        }
    }

    /// Puts a connection that used up its budget at the end of the queue.
    pub(crate) fn again(&mut self, id: ConnId) {
        self.queue(id);
    }

    /// Looks whether a connection under way is established. What it returns is to be handled before
    /// anything else of the connection.
    pub(crate) fn finish_connecting(&mut self, id: ConnId) -> Option<Event> {
        let connection = self.table.get_mut(id)?;
        if !connection.connecting || !connection.writable {
            return None;
        }
        match net::connected(&SockRef::from(&connection.stream)) {
            Some(Ok(local)) => {
                connection.connecting = false;
                connection.readable = true;
                Some(Event::Connected { conn: id, local })
            }
            Some(Err(error)) => {
                self.table.remove(id);
                Some(closed(id, &error))
            }
            None => {
                connection.arm_writable();
                None
            }
        }
    }

    /// Reads once, if there may be something and it is wanted.
    pub(crate) fn read(&mut self, id: ConnId, buffers: &mut BufferPool) -> Option<Event> {
        let connection = self.table.get_mut(id)?;
        if connection.connecting {
            return None;
        }
        while connection.reading && connection.readable {
            match buffers.read(&SockRef::from(&connection.stream)) {
                Ok(chunk) if chunk.data.is_empty() => {
                    let why = connection.failed;
                    self.table.remove(id);
                    return Some(Event::Closed { conn: id, why });
                }
                Ok(chunk) => {
                    // A read that left room has drained the socket.
                    if !chunk.full {
                        connection.arm_readable();
                    }
                    return Some(Event::Received { conn: id, data: chunk.data });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.arm_readable();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.table.remove(id);
                    return Some(closed(id, &error));
                }
            }
        }
        // Nothing more will come that could be read before the failure is told.
        let why = connection.failed?;
        self.table.remove(id);
        Some(Event::Closed { conn: id, why: Some(why) })
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
        while !connection.out.is_empty() && connection.writable {
            match write_once(&mut connection.stream.get_ref(), &mut connection.out) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.arm_writable();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    connection.failed = Some(net::net_error(&error));
                    connection.out = Segments::new();
                    connection.readable = true;
                    self.queue(id);
                    break;
                }
            }
        }
        (sent > 0).then_some(Event::Sent { conn: id, bytes: sent })
    }

    fn insert(&mut self, id: ConnId, stream: TcpStream, connecting: bool) -> Option<Event> {
        let stream = match Async::new(stream) {
            Ok(stream) => stream,
            Err(error) => return Some(closed(id, &error)),
        };
        let mut connection = Connection {
            stream,
            connecting,
            reading: true,
            readable: !connecting,
            writable: !connecting,
            on_readable: self.ready.waker(Source::Readable(id)),
            on_writable: self.ready.waker(Source::Writable(id)),
            wants_to_send: false,
            out: Segments::new(),
            failed: None,
            queued: false,
        };
        if connecting {
            connection.arm_writable();
        }
        self.table.insert(id, connection);
        self.queue(id);
        None
    }

    fn queue(&mut self, id: ConnId) {
        if let Some(connection) = self.table.get_mut(id)
            && !connection.queued
        {
            connection.queued = true;
            self.queue.push_back(id);
        }
    }
}

impl Connection {
    /// Has reading's waker woken when there is something to read, unless there is already. (Errors
    /// show in the next read.)
    fn arm_readable(&mut self) {
        let mut context = Context::from_waker(&self.on_readable);
        self.readable = self.stream.poll_readable(&mut context).is_ready();
    }

    /// Has writing's waker woken when the socket takes more, unless it does already.
    fn arm_writable(&mut self) {
        let mut context = Context::from_waker(&self.on_writable);
        self.writable = self.stream.poll_writable(&mut context).is_ready();
    }
}

/// Writes the beginning of `out`; how much that was.
pub(crate) fn write_once(stream: &mut &TcpStream, out: &mut Segments) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let used = out.slices(&mut slices);
    let count = stream.write_vectored(&slices[..used])?;
    if count == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    out.advance(count);
    Ok(count)
}

fn closed(id: ConnId, error: &io::Error) -> Event {
    tracing::debug!(?id, %error, "connection failed");
    Event::Closed { conn: id, why: Some(net::net_error(error)) }
}
