//! The driver: the one task that owns the engine and every socket.
//!
//! It is a future polled by hand. Each poll that finds a source woken, an input from another
//! thread, or a deadline come is a turn: hand in what came, performing every action after each
//! input; serve each ready connection once. While anything is ready it asks to be polled again, and
//! while nothing is there are no turns. No byte crosses from task to task.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bitswarm_core::action::{SocketKind, SocketSpec};
use bitswarm_core::{Action, ConnId, Event, Instant, SocketId};
use bitswarm_runtime_common::buffers::BufferPool;
use bitswarm_runtime_common::{Host, net};

use crate::connections::{Connections, READ_BUDGET};
use crate::datagrams::DatagramSockets;
use crate::listeners::{ACCEPT_BUDGET, Listeners};
use crate::ready::{Ready, Source};
use crate::rt::Timer;

/// After this long without a read, free buffers are given back (chosen).
const BUFFERS_KEPT: Duration = Duration::from_secs(1);

/// The engine's host, the sockets, and what is to be handed in.
#[derive(Debug)]
pub(crate) struct Driver {
    host: Host,
    ready: Arc<Ready>,
    connections: Connections,
    listeners: Listeners,
    datagrams: DatagramSockets,
    buffers: BufferPool,
    last_read: Instant,
    timer: Timer,
    /// When the timer fires.
    armed: Option<Instant>,
    /// Sources that were woken, for this turn.
    woken: Vec<Source>,
    /// What happened while an action was performed.
    pending: VecDeque<Event>,
}

impl Driver {
    pub(crate) fn new(host: Host, ready: Arc<Ready>) -> Self {
        Driver {
            last_read: host.now(),
            host,
            connections: Connections::new(Arc::clone(&ready)),
            listeners: Listeners::new(Arc::clone(&ready)),
            datagrams: DatagramSockets::new(Arc::clone(&ready)),
            ready,
            buffers: BufferPool::new(),
            timer: Timer::never(),
            armed: None,
            woken: Vec::new(),
            pending: VecDeque::new(),
        }
    }

    /// Runs until the session is over.
    pub(crate) async fn run(mut self) {
        self.perform_actions();
        std::future::poll_fn(|context| self.poll(context)).await;
        let Driver { host, .. } = self;
        host.finish();
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let inbox = self.ready.take(&mut self.woken, context.waker());
        let now = self.host.refresh_now();
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        if inbox || due || self.is_busy() || !self.woken.is_empty() {
            self.turn();
        }
        if self.host.is_finished() {
            return Poll::Ready(());
        }
        if self.is_busy() || self.poll_timer(context) {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Whether something can be done without waiting.
    fn is_busy(&self) -> bool {
        self.connections.is_any_ready()
            || self.listeners.is_any_ready()
            || self.datagrams.is_any_ready()
    }

    /// When there is something to do though nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let deadlines = [
            self.host.poll_timeout(),
            self.connections.farewells.deadline(),
            self.listeners.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Sees to it that the driver is polled at its deadline; whether that has come. A timer that
    /// would fire too early is left: that costs a poll, and setting it anew costs more.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> bool {
        let now = self.host.refresh_now();
        if now - self.last_read > BUFFERS_KEPT {
            self.buffers.release();
        }
        let Some(deadline) = self.deadline() else { return false };
        if deadline <= now {
            return true;
        }
        loop {
            if self.armed.is_none_or(|armed| armed > deadline) {
                self.timer.set_after(deadline - now);
                self.armed = Some(deadline);
            }
            if Pin::new(&mut self.timer).poll(context).is_pending() {
                return false;
            }
            self.armed = None;
            if self.host.refresh_now() >= deadline {
                return true;
            }
        }
    }

    fn turn(&mut self) {
        self.host.begin_turn();
        while self.host.handle_next_input() {
            self.perform_actions();
        }
        if self.host.handle_timeout() {
            self.perform_actions();
        }
        self.connections.farewells.expire(self.host.now());
        let mut woken = std::mem::take(&mut self.woken);
        for source in woken.drain(..) {
            self.note(source);
        }
        self.woken = woken;
        self.accept();
        self.receive_datagrams();
        // Those that become ready meanwhile are served in the next turn.
        for _ in 0..self.connections.ready_len() {
            let Some(id) = self.connections.next_ready() else { break };
            self.host.refresh_now();
            self.serve(id);
        }
    }

    /// Notes that a source was woken. Only datagram sockets that take more act at once.
    fn note(&mut self, source: Source) {
        match source {
            Source::Readable(id) => self.connections.note_readable(id),
            Source::Writable(id) => self.connections.note_writable(id),
            Source::Farewell(serial) => self.connections.farewells.advance(serial),
            Source::Listener(id) => self.listeners.note(id),
            Source::DatagramsIn(id) => self.datagrams.note_readable(id),
            Source::DatagramsOut(id) => {
                if let Some(event) = self.datagrams.resume(id) {
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
                    let failed = self.connections.accepted(conn, stream);
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
                let failed = self.connections.connect(conn, to, bind);
                self.pending.extend(failed);
            }
            Action::Send { conn } => self.connections.send(conn),
            Action::Read { conn, on } => self.connections.read_on(conn, on),
            Action::Close { conn, how } => {
                let now = self.host.now();
                let host = &mut self.host;
                let gather = |limit, out: &mut _| host.gather(conn, limit, out);
                self.connections.close(conn, how, now, gather);
            }
            Action::SendDatagrams { socket } => {
                let host = &mut self.host;
                self.datagrams.send(socket, || host.gather_datagram(socket));
            }
            Action::Disk { op, request } => self.host.disk(op, request),
            Action::Resolve { op, host } => self.host.resolve(op, host),
            Action::Notify(notice) => self.host.notify(&notice),
        }
    }

    fn bind(&mut self, socket: SocketId, spec: SocketSpec) {
        let bound = match spec.kind {
            SocketKind::TcpListener => self.listeners.open(socket, spec),
            SocketKind::Udp => self.datagrams.open(socket, spec),
        };
        tracing::debug!(?spec, ?bound, "bound");
        let result = bound.map_err(|error| net::net_error(&error));
        self.pending.push_back(Event::Bound { socket, result });
    }
}
