//! The driver: what owns the engine's host and every socket, and does one turn after the other.
//!
//! A turn is: hand in what other threads have put in, a deadline that has come, and what sockets
//! have; perform every action after each of these; serve each ready connection once. Those that
//! become ready meanwhile are served in the next turn, which is then due at once.

use std::collections::VecDeque;
use std::time::Duration;

use bitswarm_core::action::{Close, SocketKind, SocketSpec};
use bitswarm_core::{Action, ConnId, Event, Instant, SocketId};

use super::connections::{Connections, READ_BUDGET};
use super::datagrams::DatagramSockets;
use super::lingering::Lingering;
use super::listeners::{ACCEPT_BUDGET, Listeners};
use super::poller::{Poller, Readiness, Source};
use crate::buffers::BufferPool;
use crate::host::Host;
use crate::net;

/// After this long without a read, free buffers are given back (chosen).
const BUFFERS_KEPT: Duration = Duration::from_secs(1);

/// The engine's host, the sockets, and what is to be handed in.
#[derive(Debug)]
pub struct Driver<P: Poller> {
    host: Host,
    poller: P,
    connections: Connections<P::Socket>,
    lingering: Lingering<P::Socket>,
    listeners: Listeners<P::Socket>,
    datagrams: DatagramSockets<P::Socket>,
    buffers: BufferPool,
    last_read: Instant,
    /// What happened while an action was performed.
    pending: VecDeque<Event>,
}

impl<P: Poller> Driver<P> {
    /// Performs the first actions: the engine wants to listen.
    pub fn new(host: Host, poller: P) -> Self {
        let mut driver = Driver {
            last_read: host.now(),
            host,
            poller,
            connections: Connections::new(),
            lingering: Lingering::new(),
            listeners: Listeners::new(),
            datagrams: DatagramSockets::new(),
            buffers: BufferPool::new(),
            pending: VecDeque::new(),
        };
        driver.perform_actions();
        driver
    }

    /// Whether the session is over, and the loop with it.
    pub fn is_finished(&self) -> bool {
        self.host.is_finished()
    }

    /// How long there is nothing to do unless something happens: zero if there is, `None` if time
    /// alone changes nothing. To be asked anew before each wait.
    pub fn timeout(&mut self) -> Option<Duration> {
        let is_busy = self.connections.ready_len() > 0
            || self.listeners.is_any_ready()
            || self.datagrams.is_any_ready();
        if is_busy {
            return Some(Duration::ZERO);
        }
        let now = self.host.refresh_now();
        let deadlines =
            [self.host.poll_timeout(), self.lingering.deadline(), self.listeners.deadline()];
        let timeout = deadlines.into_iter().flatten().min().map(|deadline| deadline - now);
        if timeout != Some(Duration::ZERO) && now - self.last_read > BUFFERS_KEPT {
            self.buffers.release();
            self.host.release_buffers();
        }
        timeout
    }

    /// Notes what a source can do, for the next turn.
    pub fn note(&mut self, source: Source, readiness: Readiness) {
        match source {
            Source::Connection(slot) => self.connections.note(slot, readiness),
            Source::Lingering(slot) => self.lingering.advance(&mut self.poller, slot),
            Source::Listener(slot) => self.listeners.note(slot),
            Source::Datagrams(slot) => self.datagrams.note(slot, readiness),
        }
    }

    /// Takes one turn. One without cause does no harm, but keeps a machine awake.
    pub fn turn(&mut self) {
        self.host.begin_turn();
        while self.host.handle_next_input() {
            self.perform_actions();
        }
        if self.host.handle_timeout() {
            self.perform_actions();
        }
        self.lingering.expire(self.host.now());
        self.accept();
        self.exchange_datagrams();
        for _ in 0..self.connections.ready_len() {
            let Some(id) = self.connections.next_ready() else { break };
            self.host.refresh_now();
            self.serve(id);
        }
    }

    /// The poller, for loops that wait with it.
    pub fn poller_mut(&mut self) -> &mut P {
        &mut self.poller
    }

    /// Closes the sockets and ends the workers.
    pub fn finish(self) {
        let Driver { host, .. } = self;
        host.finish();
    }

    fn accept(&mut self) {
        for socket in self.listeners.ready(self.host.now()) {
            for _ in 0..ACCEPT_BUDGET {
                let now = self.host.now();
                let accepted = self.listeners.accept(&mut self.poller, socket, now);
                let (stream, from) = match accepted {
                    Ok(Some(accepted)) => accepted,
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(?socket, %error, "listener lost");
                        self.handle(Event::SocketLost { socket, why: net::net_error(&error) });
                        break;
                    }
                };
                // Not wanted: dropping the stream closes it.
                if let Some(conn) = self.host.accept(socket, from) {
                    let failed = self.connections.accepted(&mut self.poller, conn, stream);
                    self.pending.extend(failed);
                }
                self.perform_actions();
            }
        }
    }

    fn exchange_datagrams(&mut self) {
        for socket in self.datagrams.ready() {
            if let Some(event) = self.datagrams.resume(&mut self.poller, socket) {
                self.handle(event);
            }
            let now = self.host.refresh_now();
            for event in self.datagrams.receive(&mut self.poller, socket, now) {
                self.handle(event);
            }
        }
    }

    /// Does for one connection what it can do, within its budget.
    fn serve(&mut self, id: ConnId) {
        if let Some(event) = self.connections.finish_connecting(&mut self.poller, id) {
            self.handle(event);
        }
        if let Some(event) = self.connections.finish_securing(&mut self.poller, id) {
            self.handle(event);
        }
        let mut budget = READ_BUDGET;
        while let Some(event) = self.connections.read(&mut self.poller, id, &mut self.buffers) {
            self.last_read = self.host.now();
            let count = if let Event::Received { data, .. } = &event { data.len() } else { 0 };
            self.handle(event);
            budget = budget.saturating_sub(count);
            if budget == 0 {
                self.connections.again(id);
                break;
            }
        }
        let host = &mut self.host;
        let gather = |limit, out: &mut _| host.gather(id, limit, out);
        let sent = self.connections.write(&mut self.poller, id, gather);
        self.perform_actions();
        if let Some(event) = sent {
            self.handle(event);
        }
    }

    /// Hands in an event and does what the engine wants done.
    fn handle(&mut self, event: Event) {
        self.host.handle(event);
        self.perform_actions();
    }

    /// Performs every action, and hands in what happened by that, until there is nothing left.
    fn perform_actions(&mut self) {
        loop {
            while let Some(action) = self.host.poll_action() {
                self.perform(action);
            }
            let Some(event) = self.pending.pop_front() else { return };
            self.host.handle(event);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Bind { socket, spec } => self.bind(socket, spec),
            Action::Unbind { socket } => {
                self.listeners.close(socket);
                self.datagrams.close(socket);
            }
            Action::Connect { conn, to, from } => {
                let from = from.as_deref();
                let failed = self.connections.connect(&mut self.poller, conn, to, from);
                self.pending.extend(failed);
            }
            Action::Secure { conn, host } => {
                let tls = self.host.trust().begin(&host);
                let failed = self.connections.secure(conn, tls);
                self.pending.extend(failed);
            }
            Action::Send { conn } => self.connections.send(conn),
            Action::Read { conn, on } => self.connections.read_on(conn, on),
            Action::Close { conn, how } => self.close(conn, how),
            Action::SendDatagrams { socket } => {
                let host = &mut self.host;
                let next = |segments, out: &mut _| host.gather_datagrams(socket, segments, out);
                let lost = self.datagrams.send(&mut self.poller, socket, next);
                self.pending.extend(lost);
            }
            Action::Disk { op, request } => {
                let done = self.host.disk(op, request);
                self.pending.extend(done);
            }
            Action::Resolve { op, host, via } => self.host.resolve(op, host, via),
            Action::Notify(notice) => self.host.notify(&notice),
        }
    }

    fn bind(&mut self, socket: SocketId, spec: SocketSpec) {
        let bound = match spec.kind {
            SocketKind::TcpListener => self.listeners.open(&mut self.poller, socket, &spec),
            SocketKind::Udp | SocketKind::Multicast => {
                let bind = self.host.bind_addresses();
                self.datagrams.open(&mut self.poller, socket, &spec, bind)
            }
        };
        tracing::debug!(?spec, ?bound, "bound");
        let result = bound.map_err(|error| net::net_error(&error));
        self.pending.push_back(Event::Bound { socket, result });
    }

    fn close(&mut self, conn: ConnId, how: Close) {
        let Some(stream) = self.connections.remove(conn) else { return };
        tracing::debug!(?conn, ?how, "closed");
        if how == Close::Abort {
            return;
        }
        let host = &mut self.host;
        let rest = stream.into_rest(|limit, out| host.gather(conn, limit, out));
        if let Some((socket, out)) = rest {
            self.lingering.add(&mut self.poller, socket, out, self.host.now());
        }
    }
}
