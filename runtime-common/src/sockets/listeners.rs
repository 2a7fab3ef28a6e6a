//! Listeners, and what to do when there is no descriptor left to accept with (defence 21).
//!
//! One descriptor is held in reserve. When `accept` finds none, the reserve is given up, the
//! connections that wait are accepted and closed, so that their peers know at once, and the reserve
//! is taken again. If someone else was faster, accepting rests for a moment.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use bitswarm_core::action::SocketSpec;
use bitswarm_core::id::Id;
use bitswarm_core::{Instant, SocketId};
use socket2::{SockRef, Socket};

use super::poller::{Direction, Interest, Poller, Source};
use crate::net;
use crate::table::Table;

/// Connections accepted from one listener before others have their turn (chosen).
pub(super) const ACCEPT_BUDGET: usize = 64;

/// Failures in a row after which accepting rests (chosen).
const ATTEMPTS: usize = 16;

/// How long accepting rests when nothing can be done (chosen).
const REST: Duration = Duration::from_millis(500);

/// Every listener.
#[derive(Debug)]
pub(super) struct Listeners<S> {
    table: Table<SocketId, Listener<S>>,
    /// How many may have a connection waiting.
    ready: usize,
    reserve: Option<File>,
    /// When to accept again.
    rests_until: Option<Instant>,
}

#[derive(Debug)]
struct Listener<S> {
    socket: S,
    ready: bool,
}

impl<S: AsFd> Listeners<S> {
    pub(super) fn new() -> Self {
        Listeners { table: Table::new(), ready: 0, reserve: reserve(), rests_until: None }
    }

    /// Opens a listener; its address.
    pub(super) fn open(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        id: SocketId,
        spec: &SocketSpec,
    ) -> io::Result<SocketAddr> {
        let socket = net::bind(spec)?;
        let addr = net::local_addr(&SockRef::from(&socket))?;
        let source = Source::Listener(id.index() as usize);
        let mut socket = poller.watch(socket, source, Interest::Read)?;
        poller.arm(&mut socket, Direction::Read)?;
        self.table.insert(id, Listener { socket, ready: false });
        Ok(addr)
    }

    /// Closes a listener, if this is one.
    pub(super) fn close(&mut self, id: SocketId) {
        if self.table.remove(id).is_some_and(|listener| listener.ready) {
            self.ready -= 1;
        }
    }

    /// The listener in `slot` has a connection waiting.
    pub(super) fn note(&mut self, slot: usize) {
        if let Some((_, listener)) = self.table.at(slot)
            && !listener.ready
        {
            listener.ready = true;
            self.ready += 1;
        }
    }

    /// Whether a connection may wait that can be accepted now.
    pub(super) fn is_any_ready(&self) -> bool {
        self.ready > 0 && self.rests_until.is_none()
    }

    /// When a rest is over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.rests_until
    }

    /// The listeners that may have a connection waiting.
    pub(super) fn ready(&mut self, now: Instant) -> Vec<SocketId> {
        self.rests_until = self.rests_until.filter(|until| *until > now);
        if !self.is_any_ready() {
            return Vec::new();
        }
        self.table.iter_mut().filter(|(_, listener)| listener.ready).map(|(id, _)| id).collect()
    }

    /// The next connection that waits. An error: the listener is lost, and closed.
    pub(super) fn accept(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        id: SocketId,
        now: Instant,
    ) -> io::Result<Option<(Socket, SocketAddr)>> {
        for _ in 0..ATTEMPTS {
            if self.rests_until.is_some() {
                return Ok(None);
            }
            let Some(listener) = self.table.get_mut(id) else { return Ok(None) };
            match net::accept(&SockRef::from(&listener.socket)) {
                Ok(accepted) => return Ok(Some(accepted)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready -= usize::from(std::mem::take(&mut listener.ready));
                    let armed = poller.arm(&mut listener.socket, Direction::Read);
                    if armed.is_err() {
                        self.close(id);
                    }
                    return armed.map(|()| None);
                }
                Err(error) if net::is_exhausted(&error) => self.shed(id, now),
                Err(error) if net::is_lost(&error) => {
                    self.close(id);
                    return Err(error);
                }
                // The peer was gone before it was accepted.
                Err(error) => tracing::debug!(%error, "not accepted"),
            }
        }
        self.rests_until = Some(now + REST);
        Ok(None)
    }

    /// Turns away some connections with the help of the reserve.
    fn shed(&mut self, id: SocketId, now: Instant) {
        let Some(listener) = self.table.get_mut(id) else { return };
        let socket = SockRef::from(&listener.socket);
        let mut shed = 0;
        if self.reserve.take().is_some() {
            while shed < ACCEPT_BUDGET && net::accept(&socket).is_ok() {
                shed += 1;
            }
            self.reserve = reserve();
        }
        tracing::debug!(shed, "out of file descriptors: connections turned away");
        if shed < ACCEPT_BUDGET || self.reserve.is_none() {
            // Nobody waits any more, or nothing helps: either way there is no hurry.
            self.rests_until = Some(now + REST);
        }
        if self.reserve.is_none() {
            self.reserve = reserve();
        }
    }
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
