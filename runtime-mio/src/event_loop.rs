//! The loop: the one thread that owns the engine and every socket.
//!
//! A turn is: wait until a socket is ready, another thread has put something in, or a deadline has
//! come; hand in what came, performing every action after each input; serve each ready connection
//! once. While anything is ready the wait is none, and while nothing is there are no turns.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bitswarm_core::action::{SocketKind, SocketSpec};
use bitswarm_core::{Action, ConnId, Event, Instant, SocketId};
use bitswarm_runtime_common::buffers::BufferPool;
use bitswarm_runtime_common::{Host, net};
use mio::event::Event as Readiness;
use mio::{Events, Poll};

use crate::connections::{Connections, READ_BUDGET};
use crate::datagrams::DatagramSockets;
use crate::listeners::{ACCEPT_BUDGET, Listeners};
use crate::source::Source;

/// Readiness taken from the system at once (chosen).
const READINESS: usize = 1024;

/// After this long without a read, free buffers are given back (chosen).
const BUFFERS_KEPT: Duration = Duration::from_secs(1);

/// The engine's host, the sockets, and what is to be handed in.
pub(crate) struct EventLoop {
    poll: Poll,
    host: Host,
    connections: Connections,
    listeners: Listeners,
    datagrams: DatagramSockets,
    buffers: BufferPool,
    last_read: Instant,
    /// What happened while an action was performed.
    pending: VecDeque<Event>,
}

impl EventLoop {
    pub(crate) fn new(poll: Poll, host: Host) -> Self {
        EventLoop {
            poll,
            last_read: host.now(),
            host,
            connections: Connections::new(),
            listeners: Listeners::new(),
            datagrams: DatagramSockets::new(),
            buffers: BufferPool::new(),
            pending: VecDeque::new(),
        }
    }

    /// Runs until the session is over.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(READINESS);
        self.perform_actions();
        while !self.host.is_finished() {
            if let Err(error) = self.wait(&mut events) {
                tracing::error!(%error, "waiting for sockets failed: the session ends");
                break;
            }
            self.turn(&events);
        }
        let EventLoop { host, .. } = self;
        host.finish();
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let now = self.host.refresh_now();
        let timeout = self.timeout(now);
        if timeout != Some(Duration::ZERO) && now - self.last_read > BUFFERS_KEPT {
            self.buffers.release();
        }
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// How long there is nothing to do. (The system waits in milliseconds, and mio rounds up: a
    /// deadline has come when the wait for it is over.)
    fn timeout(&self, now: Instant) -> Option<Duration> {
        let busy = self.connections.is_any_ready()
            || self.listeners.is_any_ready()
            || self.datagrams.is_any_ready();
        if busy {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.host.poll_timeout(),
            self.connections.lingering.deadline(),
            self.listeners.deadline(),
        ];
        deadlines.into_iter().flatten().min().map(|deadline| deadline - now)
    }

    fn turn(&mut self, events: &Events) {
        self.host.begin_turn();
        while self.host.handle_next_input() {
            self.perform_actions();
        }
        if self.host.handle_timeout() {
            self.perform_actions();
        }
        self.connections.lingering.expire(self.host.now());
        for readiness in events {
            self.note(readiness);
        }
        self.accept();
        self.receive_datagrams();
        // Those that become ready meanwhile are served in the next turn.
        for _ in 0..self.connections.ready_len() {
            let Some(id) = self.connections.next_ready() else { break };
            self.host.refresh_now();
            self.serve(id);
        }
    }

    /// Notes what a source can do. Only datagram sockets act at once.
    fn note(&mut self, readiness: &Readiness) {
        match Source::of(readiness.token()) {
            Source::Inbox => {}
            Source::Connection(slot) => self.connections.note(slot, readiness),
            Source::Lingering(slot) => self.connections.lingering.advance(slot),
            Source::Listener(slot) => self.listeners.note(slot),
            Source::Datagrams(slot) => {
                if let Some(id) = self.datagrams.note(slot, readiness)
                    && let Some(event) = self.datagrams.resume(self.poll.registry(), id)
                {
                    self.handle(event);
                }
            }
        }
    }

    fn accept(&mut self) {
        for socket in self.listeners.ready(self.host.now()) {
            for _ in 0..ACCEPT_BUDGET {
                let Some((stream, from)) = self.listeners.accept(socket, self.host.now()) else {
                    break;
                };
                // Not wanted: dropping the stream closes it.
                if let Some(conn) = self.host.accept(socket, from) {
                    let failed = self.connections.accepted(self.poll.registry(), conn, stream);
                    self.pending.extend(failed);
                }
                self.perform_actions();
            }
        }
    }

    fn receive_datagrams(&mut self) {
        for socket in self.datagrams.ready() {
            if let Some(event) = self.datagrams.receive(socket) {
                self.handle(event);
            }
        }
    }

    /// Does for one connection what it can do, within its budget.
    fn serve(&mut self, id: ConnId) {
        if let Some(event) = self.connections.finish_connecting(id) {
            self.handle(event);
        }
        let mut budget = READ_BUDGET;
        while let Some(event) = self.connections.read(id, &mut self.buffers) {
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
        let sent = self.connections.write(id, |limit, out| host.gather(id, limit, out));
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
            Action::Connect { conn, to } => {
                let bind = self.host.bind_address();
                let failed = self.connections.connect(self.poll.registry(), conn, to, bind);
                self.pending.extend(failed);
            }
            Action::Send { conn } => self.connections.send(conn),
            Action::Read { conn, on } => self.connections.read_on(conn, on),
            Action::Close { conn, how } => {
                let now = self.host.now();
                let host = &mut self.host;
                let gather = |limit, out: &mut _| host.gather(conn, limit, out);
                self.connections.close(self.poll.registry(), conn, how, now, gather);
            }
            Action::SendDatagrams { socket } => {
                let host = &mut self.host;
                let next = || host.gather_datagram(socket);
                self.datagrams.send(self.poll.registry(), socket, next);
            }
            Action::Disk { op, request } => self.host.disk(op, request),
            Action::Resolve { op, host } => self.host.resolve(op, host),
            Action::Notify(notice) => self.host.notify(&notice),
        }
    }

    fn bind(&mut self, socket: SocketId, spec: SocketSpec) {
        let registry = self.poll.registry();
        let bound = match spec.kind {
            SocketKind::TcpListener => self.listeners.open(registry, socket, spec),
            SocketKind::Udp => self.datagrams.open(registry, socket, spec),
        };
        tracing::debug!(?spec, ?bound, "bound");
        let result = bound.map_err(|error| net::net_error(&error));
        self.pending.push_back(Event::Bound { socket, result });
    }
}
