//! Listeners, and what to do when there is no descriptor left to accept with (defence 21).
//!
//! One descriptor is held in reserve. When `accept` finds none, the reserve is given up, the
//! connections that wait are accepted and closed, so that their peers know at once, and the reserve
//! is taken again. If someone else was faster, accepting rests for a moment.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bitswarm_core::action::SocketSpec;
use bitswarm_core::{Instant, SocketId};
use bitswarm_runtime_common::net;
use bitswarm_runtime_common::table::Table;
use socket2::SockRef;

use crate::ready::{Ready, Source};
use crate::rt::Async;

/// Connections accepted from one listener before others have their turn (chosen).
pub(crate) const ACCEPT_BUDGET: usize = 64;

/// Failures in a row after which accepting rests (chosen).
const ATTEMPTS: usize = 16;

/// How long accepting rests when nothing can be done (chosen).
const REST: Duration = Duration::from_millis(500);

/// Every listener.
#[derive(Debug)]
pub(crate) struct Listeners {
    waker_source: Arc<Ready>,
    table: Table<SocketId, Listener>,
    /// Listeners that may have a connection waiting.
    ready: usize,
    reserve: Option<File>,
    /// When to accept again.
    rests_until: Option<Instant>,
}

#[derive(Debug)]
struct Listener {
    socket: Async<TcpListener>,
    ready: bool,
    on_ready: Waker,
}

impl Listeners {
    pub(crate) fn new(waker_source: Arc<Ready>) -> Self {
        let table = Table::new();
        Listeners { waker_source, table, ready: 0, reserve: reserve(), rests_until: None }
    }

    /// Opens a listener; its address.
    pub(crate) fn open(&mut self, id: SocketId, spec: SocketSpec) -> io::Result<SocketAddr> {
        let socket = net::bind(spec)?;
        let addr = net::local_addr(&SockRef::from(&socket))?;
        let on_ready = self.waker_source.waker(Source::Listener(id));
        let socket = Async::new(socket.into())?;
        self.table.insert(id, Listener { socket, ready: true, on_ready });
        self.ready += 1;
        Ok(addr)
    }

    /// Closes a listener, if this is one.
    pub(crate) fn close(&mut self, id: SocketId) {
        if self.table.remove(id).is_some_and(|listener| listener.ready) {
            self.ready -= 1;
        }
    }

    /// The listener's waker was woken.
    pub(crate) fn note(&mut self, id: SocketId) {
        if let Some(listener) = self.table.get_mut(id)
            && !listener.ready
            && listener.poll_ready()
        {
            listener.ready = true;
            self.ready += 1;
        }
    }

    /// Whether a connection may wait that can be accepted now.
    pub(crate) fn is_any_ready(&self) -> bool {
        self.ready > 0 && self.rests_until.is_none()
    }

    /// When a rest is over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.rests_until
    }

    /// The listeners that may have a connection waiting.
    pub(crate) fn ready(&mut self, now: Instant) -> Vec<SocketId> {
        self.rests_until = self.rests_until.filter(|until| *until > now);
        if !self.is_any_ready() {
            return Vec::new();
        }
        self.table.iter_mut().filter(|(_, listener)| listener.ready).map(|(id, _)| id).collect()
    }

    /// The next connection that waits.
    pub(crate) fn accept(&mut self, id: SocketId, now: Instant) -> Option<(TcpStream, SocketAddr)> {
        for _ in 0..ATTEMPTS {
            if self.rests_until.is_some() {
                return None;
            }
            let listener = self.table.get_mut(id)?;
            match listener.socket.get_ref().accept() {
                Ok(accepted) => return Some(accepted),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !listener.poll_ready() {
                        self.ready -= usize::from(std::mem::take(&mut listener.ready));
                        return None;
                    }
                }
                Err(error) if net::is_exhausted(&error) => self.shed(id, now),
                // The peer was gone before it was accepted.
                Err(error) => tracing::debug!(%error, "not accepted"),
            }
        }
        self.rests_until = Some(now + REST);
        None
    }

    /// Turns away some connections with the help of the reserve.
    fn shed(&mut self, id: SocketId, now: Instant) {
        let Some(listener) = self.table.get_mut(id) else { return };
        let mut shed = 0;
        if self.reserve.take().is_some() {
            while shed < ACCEPT_BUDGET && listener.socket.get_ref().accept().is_ok() {
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

impl Listener {
    /// Has the waker woken when a connection waits, unless one does already.
    fn poll_ready(&mut self) -> bool {
        let mut context = Context::from_waker(&self.on_ready);
        self.socket.poll_readable(&mut context).is_ready()
    }
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}
