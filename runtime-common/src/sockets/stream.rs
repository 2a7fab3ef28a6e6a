//! One stream connection: what it can do now, what it is to do, and what is on its way out.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use bitswarm_core::Segments;
use bitswarm_core::event::NetError;
use bytes::BytesMut;
use socket2::SockRef;

use super::poller::{Direction, Poller, Readiness};
use crate::buffers::BufferPool;
use crate::net;

/// Bytes gathered for one connection at once (chosen: 16 blocks; what is gathered can no longer be
/// cancelled).
const GATHER: usize = 256 * 1024;

/// A connection of the engine.
#[derive(Debug)]
pub(super) struct Stream<S> {
    socket: S,
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
}

/// What reading brought.
pub(super) enum Input {
    /// Bytes, at least one.
    Data(BytesMut),
    /// The connection is over.
    End(Option<NetError>),
}

impl<S: AsFd> Stream<S> {
    /// A connection that is under way.
    pub(super) fn connecting(mut socket: S, poller: &mut impl Poller<Socket = S>) -> Self {
        poller.arm(&mut socket, Direction::Write);
        Stream { connecting: true, writable: false, ..Self::open(socket) }
    }

    /// A connection that is established. It can be written at once; it need not be told.
    pub(super) fn established(mut socket: S, poller: &mut impl Poller<Socket = S>) -> Self {
        poller.arm(&mut socket, Direction::Read);
        Self::open(socket)
    }

    fn open(socket: S) -> Self {
        Stream {
            socket,
            connecting: false,
            reading: true,
            readable: false,
            writable: true,
            wants_to_send: false,
            out: Segments::new(),
            hung_up: false,
            failed: None,
        }
    }

    /// Notes what the poller says.
    pub(super) fn note(&mut self, readiness: Readiness) {
        // What a hang-up is shows in the next read or write.
        self.hung_up |= readiness.hung_up;
        self.readable |= readiness.readable || readiness.hung_up;
        self.writable |= readiness.writable || readiness.hung_up;
    }

    /// Performs `Action::Send`.
    pub(super) fn send(&mut self) {
        self.wants_to_send = true;
    }

    /// Performs `Action::Read`.
    pub(super) fn read_on(&mut self, on: bool) {
        self.reading = on;
    }

    /// Whether a connection under way is now open, with its own address, or has failed.
    pub(super) fn finish_connecting(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
    ) -> Option<io::Result<SocketAddr>> {
        if !self.connecting || !self.writable {
            return None;
        }
        let outcome = net::connected(&SockRef::from(&self.socket));
        match &outcome {
            None => {
                self.writable = false;
                poller.arm(&mut self.socket, Direction::Write);
            }
            Some(Ok(_)) => {
                self.connecting = false;
                poller.arm(&mut self.socket, Direction::Read);
            }
            Some(Err(_)) => {}
        }
        outcome
    }

    /// Reads once, if there may be something and it is wanted.
    pub(super) fn read(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        buffers: &mut BufferPool,
    ) -> Option<Input> {
        if self.connecting {
            return None;
        }
        while self.reading && self.readable {
            match buffers.read(&SockRef::from(&self.socket)) {
                Ok(chunk) if chunk.data.is_empty() => return Some(Input::End(self.failed)),
                Ok(chunk) => {
                    // A read that left room has drained the socket.
                    if !chunk.full && !self.hung_up {
                        self.drained(poller);
                    }
                    return Some(Input::Data(chunk.data));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.drained(poller),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(%error, "connection failed");
                    return Some(Input::End(Some(net::net_error(&error))));
                }
            }
        }
        // Nothing more will come that could be read before the failure is told.
        self.failed.map(|why| Input::End(Some(why)))
    }

    fn drained(&mut self, poller: &mut impl Poller<Socket = S>) {
        self.readable = false;
        poller.arm(&mut self.socket, Direction::Read);
    }

    /// Writes what is gathered, or gathers and writes, if the socket can take it; how many bytes it
    /// took.
    pub(super) fn write(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        gather: impl FnOnce(usize, &mut Segments),
    ) -> usize {
        if self.connecting || !self.writable || self.failed.is_some() {
            return 0;
        }
        if self.out.is_empty() {
            if !std::mem::take(&mut self.wants_to_send) {
                return 0;
            }
            gather(GATHER, &mut self.out);
        }
        let mut sent = 0;
        while !self.out.is_empty() && self.writable {
            match net::send(&SockRef::from(&self.socket), &mut self.out) {
                Ok(written) => {
                    sent += written.count;
                    if !written.all {
                        self.filled(poller);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.filled(poller),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(%error, "connection failed");
                    self.failed = Some(net::net_error(&error));
                    self.out = Segments::new();
                    // Whether something is left to read shows in the next read.
                    self.readable = true;
                }
            }
        }
        sent
    }

    fn filled(&mut self, poller: &mut impl Poller<Socket = S>) {
        self.writable = false;
        poller.arm(&mut self.socket, Direction::Write);
    }

    /// Whether writing has failed, which reading is to tell.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// The socket with what is left to be sent, gathered to the last; `None` if the connection is
    /// not open.
    pub(super) fn into_rest(
        mut self,
        gather: impl FnOnce(usize, &mut Segments),
    ) -> Option<(S, Segments)> {
        if self.connecting || self.failed.is_some() {
            return None;
        }
        if self.wants_to_send && self.out.is_empty() {
            gather(GATHER, &mut self.out);
        }
        Some((self.socket, self.out))
    }
}
