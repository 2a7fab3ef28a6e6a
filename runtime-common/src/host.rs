//! What a runtime's loop holds besides its sockets: the engine and all that is not the network.
//!
//! A runtime is then a match over `Action`: sockets are its own; for the rest there is one method
//! each here. Its loop:
//!
//! ```text
//! perform every action                        Host::poll_action, and the methods below
//! until Host::is_finished {
//!     wait for sockets, a wake, a deadline    Wake, Host::poll_timeout
//!     begin a turn                            Host::begin_turn
//!     hand in what came                       Host::handle_next_input, Host::handle
//!     (performing every action after each)
//! }
//! close sockets                               Host::finish
//! ```

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bitswarm_core::disk::DiskRequest;
use bitswarm_core::event::ResolveError;
use bitswarm_core::packet::Transmit;
use bitswarm_core::socket::Names;
use bitswarm_core::{
    Action, Command, ConnId, Event, Instant, Notice, OpId, Segments, SocketId, TorrentNotice,
};
use bytes::BytesMut;

use crate::clock::{self, Clock};
use crate::config::{ClientConfig, StartError};
use crate::disk::{DiskOptions, DiskPool, StateDir};
use crate::inbox::Input;
use crate::interfaces;
use crate::recorded::Recorded;
use crate::resolve::Resolver;
use crate::shared::Shared;
use crate::tls::Trust;

/// How long the end of a session waits for writes that are under way (chosen: a session is to end
/// within a second). A worker that the device holds up longer ends by itself.
const DISK_PATIENCE: Duration = Duration::from_millis(500);

/// The engine, its clock, its disk and its resolver.
#[derive(Debug)]
pub struct Host {
    recorded: Recorded,
    clock: Clock,
    /// When this turn began, or when the loop last said that time has passed.
    now: Instant,
    disk: DiskPool,
    resolver: Resolver,
    shared: Arc<Shared>,
    /// Inputs of this turn.
    batch: VecDeque<Input>,
    bind: Vec<IpAddr>,
    trust: Trust,
    finished: bool,
}

impl Host {
    pub(crate) fn new(config: &ClientConfig, shared: Arc<Shared>) -> Result<Self, StartError> {
        let state = config.state_dir.as_deref().map(StateDir::open).transpose()?;
        let seed = config.seed.map_or_else(random_seed, Ok)?;
        let options = DiskOptions {
            threads: config.disk_thread_count(),
            open_files: config.open_files,
            state,
        };
        let disk_done = {
            let shared = Arc::clone(&shared);
            move |op, result| shared.inbox.put(Event::Disk { op, result })
        };
        let resolved = {
            let shared = Arc::clone(&shared);
            move |op, result| shared.inbox.put(Event::Resolved { op, result })
        };
        let clock = Clock::start();
        let now = clock.now();
        let mut recorded =
            Recorded::new(config, seed, now, clock::wall(), Arc::clone(&shared.log_failure))?;
        recorded.engine.handle(now, Event::Network(Box::new(interfaces::network())));
        Ok(Host {
            recorded,
            clock,
            now,
            disk: DiskPool::start(options, Box::new(disk_done)).map_err(StartError::System)?,
            resolver: Resolver::new(Box::new(resolved)),
            shared,
            batch: VecDeque::new(),
            bind: config.core.bind.clone(),
            trust: Trust::new(&config.insecure_trackers),
            finished: false,
        })
    }

    /// Time as of the turn's beginning, or of [`Host::refresh_now`].
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Looks at the clock again, for when a turn takes long.
    pub fn refresh_now(&mut self) -> Instant {
        self.now = self.clock.now();
        self.now
    }

    /// The local addresses that were named; if there are none, all are used.
    pub fn bind_addresses(&self) -> &[IpAddr] {
        &self.bind
    }

    /// Which certificates of HTTPS trackers are trusted.
    pub fn trust(&mut self) -> &mut Trust {
        &mut self.trust
    }

    /// Begins a turn: the clock is read and what applications and workers have put in is taken.
    pub fn begin_turn(&mut self) {
        self.refresh_now();
        self.recorded.store_log();
        self.shared.turns.fetch_add(1, Ordering::Relaxed);
        let halted = self.shared.inbox.take(&mut self.batch);
        self.finished |= halted;
    }

    /// Hands one of the turn's inputs to the engine. `false`: there was none left.
    pub fn handle_next_input(&mut self) -> bool {
        let Some(input) = self.batch.pop_front() else { return false };
        match input {
            Input::Event(event) => self.recorded.engine.handle(self.now, event),
            Input::Call(call) => call(&mut self.recorded, self.now),
            Input::Stop => drop(self.recorded.engine.command(self.now, Command::Stop)),
        }
        true
    }

    /// Hands in something that happened to a socket.
    pub fn handle(&mut self, event: Event) {
        self.recorded.engine.handle(self.now, event);
    }

    /// Hands in `Timeout` if the deadline has come; whether it had.
    pub fn handle_timeout(&mut self) -> bool {
        let due = self.recorded.engine.poll_timeout().is_some_and(|deadline| deadline <= self.now);
        if due {
            self.recorded.engine.handle(self.now, Event::Timeout);
        }
        due
    }

    /// Offers a connection that was accepted. `None`: it is not wanted, close it.
    pub fn accept(&mut self, socket: SocketId, from: SocketAddr) -> Option<ConnId> {
        self.recorded.engine.accept(self.now, socket, from)
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.recorded.engine.poll_action()
    }

    /// How long the engine can be left alone. `None`: until something happens.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.recorded.engine.poll_timeout()
    }

    /// Bytes for a connection, in answer to `Action::Send`.
    pub fn gather(&mut self, conn: ConnId, limit: usize, out: &mut Segments) {
        self.recorded.engine.gather(self.now, conn, limit, out);
    }

    /// The next datagrams, at most so many, in answer to `Action::SendDatagrams`. `out` is empty.
    pub fn gather_datagrams(
        &mut self,
        socket: SocketId,
        segments: usize,
        out: &mut BytesMut,
    ) -> Option<Transmit> {
        self.recorded.engine.gather_datagrams(self.now, socket, segments, out)
    }

    /// Performs `Action::Disk`. What it returns has happened at once.
    pub fn disk(&mut self, op: OpId, request: DiskRequest) -> Option<Event> {
        if let Some(done) = self.disk.try_at_once(&request) {
            return Some(Event::Disk { op, result: Ok(done) });
        }
        self.disk.submit(op, request);
        None
    }

    /// Gives back memory that is kept for use again; for when nothing was sent for a while.
    pub fn release_buffers(&self) {
        self.disk.release_buffers();
    }

    /// Performs `Action::Resolve`.
    pub fn resolve(&mut self, op: OpId, host: Box<str>, via: Names) {
        match via {
            Names::System => self.resolver.start(op, host),
            Names::Refuse => {
                let result = Err(ResolveError::Refused);
                self.shared.inbox.put(Event::Resolved { op, result });
            }
        }
    }

    /// Performs `Action::Notify`.
    pub fn notify(&mut self, notice: &Notice) {
        self.finished |= *notice == Notice::Stopped;
        if let Notice::Torrent { what, .. } = notice {
            log(what);
        }
        self.shared.listeners.tell(notice);
    }

    /// Whether the loop is to end: the engine has stopped, or nobody waits for it any longer.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Ends the workers. To be called last, after the sockets are closed.
    pub fn finish(self) {
        let Host { mut recorded, disk, .. } = self;
        recorded.finish_log();
        if !disk.shutdown(DISK_PATIENCE) {
            tracing::warn!("the disk is still busy with the session that ended");
        }
    }
}

/// What the log has of peers: which there are, how they are reached, and what they do wrong.
fn log(what: &TorrentNotice) {
    match what {
        TorrentNotice::PeerConnected { addr, incoming, transport, encryption } => {
            tracing::info!(%addr, incoming, %transport, %encryption, "peer connected");
        }
        TorrentNotice::PeerViolated { addr, violation, disconnected, not_shown } => {
            tracing::info!(%addr, disconnected, not_shown, "peer broke the protocol: {violation}");
        }
        _ => {}
    }
}

fn random_seed() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(StartError::Random)?;
    Ok(seed)
}
