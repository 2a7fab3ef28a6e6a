//! Stream connections, and which of them have something to do.
//!
//! A connection that has something to do and can do it is in the ready queue; each turn serves every
//! connection in it once, with a bounded amount of work, so that no peer starves another. `Send`
//! only marks a connection: what is to be sent is gathered when its turn comes and the socket can
//! take it, and by then more may have come together.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use bitswarm_core::id::Id;
use bitswarm_core::socket::Local;
use bitswarm_core::{ConnId, Event, Segments};
use socket2::{SockRef, Socket};

use super::poller::{Interest, Poller, Readiness, Source};
use super::stream::{Input, Stream};
use crate::buffers::{BUFFER_LEN, BufferPool};
use crate::net;
use crate::table::Table;
use crate::tls::Tls;

/// Bytes read from one connection before others have their turn (chosen: four full reads).
pub(super) const READ_BUDGET: usize = 4 * BUFFER_LEN;

/// Every connection, and who is ready.
#[derive(Debug)]
pub(super) struct Connections<S> {
    table: Table<ConnId, Connection<S>>,
    /// Slots of connections that may have something to do, each at most once.
    ready: VecDeque<usize>,
}

#[derive(Debug)]
struct Connection<S> {
    stream: Stream<S>,
    /// Whether it is in the ready queue.
    queued: bool,
}

impl<S: AsFd> Connections<S> {
    pub(super) fn new() -> Self {
        Connections { table: Table::new(), ready: VecDeque::new() }
    }

    /// Performs `Action::Connect`. What it returns has happened at once.
    pub(super) fn connect(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        id: ConnId,
        to: SocketAddr,
        from: Option<&Local>,
    ) -> Option<Event> {
        let stream = net::connect(to, from)
            .and_then(|socket| watch(poller, id, socket))
            .and_then(|socket| Stream::connecting(socket, poller));
        match stream {
            Ok(stream) => self.insert(id, stream),
            Err(error) => return Some(failed(id, &error)),
        }
        None
    }

    /// Takes over a connection that the engine accepted. What it returns has happened at once.
    pub(super) fn accepted(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        id: ConnId,
        socket: Socket,
    ) -> Option<Event> {
        net::prepare_stream(SockRef::from(&socket));
        let stream = watch(poller, id, socket);
        match stream.and_then(|socket| Stream::established(socket, poller)) {
            Ok(stream) => self.insert(id, stream),
            Err(error) => return Some(failed(id, &error)),
        }
        None
    }

    /// Performs `Action::Secure`. What it returns has happened at once.
    pub(super) fn secure(&mut self, id: ConnId, tls: io::Result<Tls>) -> Option<Event> {
        match tls {
            Ok(tls) => self.change(id, |stream| stream.secure(tls)),
            Err(error) => {
                self.table.remove(id)?;
                return Some(failed(id, &error));
            }
        }
        None
    }

    /// Performs `Action::Send`.
    pub(super) fn send(&mut self, id: ConnId) {
        self.change(id, Stream::send);
    }

    /// Performs `Action::Read`.
    pub(super) fn read_on(&mut self, id: ConnId, on: bool) {
        self.change(id, |stream| stream.read_on(on));
    }

    /// Puts a connection that used up its budget at the end of the queue.
    pub(super) fn again(&mut self, id: ConnId) {
        self.change(id, |_| ());
    }

    /// Forgets a connection.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Stream<S>> {
        self.table.remove(id).map(|connection| connection.stream)
    }

    /// Notes what the poller says about the connection in `slot`.
    pub(super) fn note(&mut self, slot: usize, readiness: Readiness) {
        if let Some((_, connection)) = self.table.at(slot) {
            connection.stream.note(readiness);
            self.queue(slot);
        }
    }

    /// How many connections wait for their turn.
    pub(super) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// The next connection whose turn it is.
    pub(super) fn next_ready(&mut self) -> Option<ConnId> {
        loop {
            let slot = self.ready.pop_front()?;
            if let Some((id, connection)) = self.table.at(slot) {
                connection.queued = false;
                return Some(id);
            }
        }
    }

    /// Looks whether a connection under way is established. What it returns is to be handled before
    /// anything else of the connection.
    pub(super) fn finish_connecting(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        id: ConnId,
    ) -> Option<Event> {
        match self.table.get_mut(id)?.stream.finish_connecting(poller)? {
            Ok(local) => Some(Event::Connected { conn: id, local }),
            Err(error) => {
                self.table.remove(id);
                Some(failed(id, &error))
            }
        }
    }

    /// Goes on with TLS's handshake, if there is one. What it returns is to be handled before anything
    /// else of the connection.
    pub(super) fn finish_securing(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        id: ConnId,
    ) -> Option<Event> {
        match self.table.get_mut(id)?.stream.finish_securing(poller)? {
            Ok(()) => Some(Event::Secured { conn: id }),
            Err(error) => {
                self.table.remove(id);
                Some(failed(id, &error))
            }
        }
    }

    /// Reads once, if there may be something and it is wanted.
    pub(super) fn read(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        id: ConnId,
        buffers: &mut BufferPool,
    ) -> Option<Event> {
        match self.table.get_mut(id)?.stream.read(poller, buffers)? {
            Input::Data(data) => Some(Event::Received { conn: id, data }),
            Input::End(why) => {
                self.table.remove(id);
                Some(Event::Closed { conn: id, why })
            }
        }
    }

    /// Writes what is gathered, or gathers and writes, if the socket can take it.
    pub(super) fn write(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        id: ConnId,
        gather: impl FnOnce(usize, &mut Segments),
    ) -> Option<Event> {
        let stream = &mut self.table.get_mut(id)?.stream;
        let bytes = stream.write(poller, gather);
        if stream.has_failed() {
            self.queue(id.index() as usize);
        }
        (bytes > 0).then_some(Event::Sent { conn: id, bytes })
    }

    fn insert(&mut self, id: ConnId, stream: Stream<S>) {
        self.table.insert(id, Connection { stream, queued: false });
    }

    fn change(&mut self, id: ConnId, change: impl FnOnce(&mut Stream<S>)) {
        if let Some(connection) = self.table.get_mut(id) {
            change(&mut connection.stream);
            self.queue(id.index() as usize);
        }
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

fn watch<P: Poller>(poller: &mut P, id: ConnId, socket: Socket) -> io::Result<P::Socket> {
    let source = Source::Connection(id.index() as usize);
    poller.watch(socket, source, Interest::ReadAndWrite)
}

pub(super) fn failed(id: ConnId, error: &io::Error) -> Event {
    tracing::debug!(?id, %error, "connection failed");
    Event::Closed { conn: id, why: Some(net::net_error(error)) }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
