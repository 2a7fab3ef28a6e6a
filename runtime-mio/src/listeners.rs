//! Listeners, and what to do when there is no descriptor left to accept with (defence 21).
//!
//! One descriptor is held in reserve. When `accept` finds none, the reserve is given up, the
//! connections that wait are accepted and closed, so that their peers know at once, and the reserve
//! is taken again. If someone else was faster, accepting rests for a moment.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bitswarm_core::action::SocketSpec;
use bitswarm_core::id::Id;
use bitswarm_core::{Instant, SocketId};
use bitswarm_runtime_common::net;
use bitswarm_runtime_common::table::Table;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use socket2::SockRef;

use crate::source::Source;

/// Connections accepted from one listener before others have their turn (chosen).
pub(crate) const ACCEPT_BUDGET: usize = 64;

/// Failures in a row after which accepting rests (chosen).
const ATTEMPTS: usize = 16;

/// How long accepting rests when nothing can be done (chosen).
const REST: Duration = Duration::from_millis(500);

/// Every listener.
#[derive(Debug)]
pub(crate) struct Listeners {
    table: Table<SocketId, Listener>,
    /// Listeners that may have a connection waiting.
    ready: usize,
    reserve: Option<File>,
    /// When to accept again.
    rests_until: Option<Instant>,
}

#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    ready: bool,
}

impl Listeners {
    pub(crate) fn new() -> Self {
        Listeners { table: Table::new(), ready: 0, reserve: reserve(), rests_until: None }
    }

    /// Opens a listener; its address.
    pub(crate) fn open(
        &mut self,
        registry: &Registry,
        id: SocketId,
        spec: SocketSpec,
    ) -> io::Result<SocketAddr> {
        let socket = net::bind(spec)?;
        let addr = net::local_addr(&SockRef::from(&socket))?;
        let mut socket = TcpListener::from_std(socket.into());
        let token = Source::Listener(id.index() as usize).token();
        registry.register(&mut socket, token, Interest::READABLE)?;
        self.table.insert(id, Listener { socket, ready: false });
        Ok(addr)
    }

    /// Closes a listener, if this is one.
    pub(crate) fn close(&mut self, id: SocketId) {
        if self.table.remove(id).is_some_and(|listener| listener.ready) {
            self.ready -= 1;
        }
    }

    /// The listener in `slot` has a connection waiting.
    pub(crate) fn note(&mut self, slot: usize) {
        if let Some((_, listener)) = self.table.at(slot)
            && !listener.ready
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
            match listener.socket.accept() {
                Ok(accepted) => return Some(accepted),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready -= usize::from(std::mem::take(&mut listener.ready));
                    return None;
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
            while shed < ACCEPT_BUDGET && listener.socket.accept().is_ok() {
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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream as Peer;
    use std::process::Command;

    use bitswarm_core::action::SocketKind;
    use mio::{Events, Poll};
    use rustix::process::{Resource, getrlimit, setrlimit};

    use super::*;

    struct Bench {
        poll: Poll,
        listeners: Listeners,
        id: SocketId,
        addr: SocketAddr,
    }

    impl Bench {
        fn new() -> Self {
            let poll = Poll::new().unwrap();
            let mut listeners = Listeners::new();
            let id = SocketId::new(0, 0);
            let addr = "127.0.0.1:0".parse().unwrap();
            let spec = SocketSpec { kind: SocketKind::TcpListener, addr };
            let addr = listeners.open(poll.registry(), id, spec).unwrap();
            Bench { poll, listeners, id, addr }
        }

        /// Polls once, and accepts what can be accepted at `now`.
        fn accept_all(&mut self, now: Instant) -> Vec<TcpStream> {
            let mut events = Events::with_capacity(16);
            self.poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
            for event in &events {
                match Source::of(event.token()) {
                    Source::Listener(slot) => self.listeners.note(slot),
                    source => panic!("{source:?}"),
                }
            }
            let mut accepted = Vec::new();
            for id in self.listeners.ready(now) {
                assert_eq!(id, self.id);
                while let Some((stream, _)) = self.listeners.accept(id, now) {
                    accepted.push(stream);
                }
            }
            accepted
        }
    }

    #[test]
    fn every_connection_that_waits_is_accepted() {
        let mut bench = Bench::new();
        let _peers: Vec<_> = (0..10).map(|_| Peer::connect(bench.addr).unwrap()).collect();
        assert_eq!(bench.accept_all(Instant::ZERO).len(), 10);
        assert!(!bench.listeners.is_any_ready());
        bench.listeners.close(bench.id);
        assert!(Peer::connect(bench.addr).is_err());
    }

    /// Limits are the whole process's, so this one needs a process of its own.
    #[test]
    fn without_descriptors_connections_are_turned_away_and_later_accepted_again() {
        const CHILD: &str = "BITSWARM_TEST_WITHOUT_DESCRIPTORS";
        if std::env::var_os(CHILD).is_some() {
            return without_descriptors();
        }
        let name = "without_descriptors_connections_are_turned_away_and_later_accepted_again";
        let path = format!("listeners::tests::{name}");
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.args([&path, "--exact", "--nocapture"]).env(CHILD, "1");
        let output = child.output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{told}");
    }

    fn without_descriptors() {
        let mut bench = Bench::new();
        let mut peers: Vec<_> = (0..5).map(|_| Peer::connect(bench.addr).unwrap()).collect();
        let mut limit = getrlimit(Resource::Nofile);
        let roomy = limit.current;
        limit.current = Some(64);
        setrlimit(Resource::Nofile, limit).unwrap();
        let files: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        assert!(bench.accept_all(Instant::ZERO).is_empty());
        // They are not left hanging.
        for peer in &mut peers {
            peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let ended = peer.read(&mut [0; 8]);
            let hung = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
            assert!(!ended.as_ref().is_err_and(hung), "{ended:?}");
        }
        let rest = bench.listeners.deadline().expect("accepting rests");
        assert!(!bench.listeners.is_any_ready());
        drop(files);
        limit.current = roomy;
        setrlimit(Resource::Nofile, limit).unwrap();
        let _peer = Peer::connect(bench.addr).unwrap();
        assert!(bench.accept_all(Instant::ZERO).is_empty(), "it still rests");
        assert_eq!(bench.accept_all(rest).len(), 1);
        assert!(bench.listeners.reserve.is_some());
    }
}
