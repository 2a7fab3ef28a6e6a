//! What a host sees of the world while it acts, and what it may wait for.

use std::fmt;

use bitswarm_core::id::{ConnId, OpId};
use bitswarm_core::time::Instant;
use serde::Serialize;

use super::{Due, Violation};
use crate::sim::conduct::{Conduct, Lane};
use crate::sim::disk::Ticket;
use crate::sim::network::{Death, EndId, HostId, Network};
use crate::sim::queue::Queue;
use crate::sim::resolver::Resolver;
use crate::sim::trace::Trace;

/// What a host waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The engine's deadline.
    Deadline,
    /// A disk request's end.
    Disk(Ticket),
    /// A name's addresses.
    Resolved(OpId),
    /// So many bytes have left.
    Sent(ConnId, usize),
    /// A flushing close has taken long enough.
    Linger(EndId),
    /// A host that slept wakes up.
    Awake,
    /// Whatever a script set this for.
    Script(u64),
}

/// What a host sees of the world while it acts.
pub struct Cx<'a> {
    pub(super) queue: &'a mut Queue<Due>,
    pub(super) trace: &'a mut Trace,
    /// What engines do to the world.
    pub conduct: &'a mut Conduct,
    pub(super) violations: &'a mut Vec<Violation>,
    /// The network.
    pub net: &'a mut Network,
    /// The names.
    pub resolver: &'a mut Resolver,
}

impl Cx<'_> {
    /// The world's time.
    pub fn now(&self) -> Instant {
        self.queue.now()
    }

    /// Something happened.
    pub fn record<T: Serialize + fmt::Debug + ?Sized>(
        &mut self,
        host: HostId,
        kind: &'static str,
        what: &T,
    ) {
        self.trace.record(self.queue.now(), host.0, kind, what);
        if self.trace.logs() {
            let text = format!("{what:?}");
            let short =
                text.char_indices().nth(LONGEST_LINE).map_or(&text[..], |(at, _)| &text[..at]);
            self.trace.line(self.queue.now(), host.0, format_args!("{kind} {short}"));
        }
    }

    /// An engine did something to the world.
    pub fn did<T: Serialize + ?Sized>(
        &mut self,
        host: HostId,
        lane: Lane,
        kind: &'static str,
        what: &T,
    ) {
        self.conduct.did(self.queue.now(), host, lane, kind, what);
    }

    /// Whether a log is kept.
    pub fn logs(&self) -> bool {
        self.trace.logs()
    }

    /// A line for the log alone.
    pub fn line(&mut self, host: HostId, text: fmt::Arguments<'_>) {
        self.trace.line(self.queue.now(), host.0, text);
    }

    /// An invariant does not hold.
    pub fn violation(&mut self, host: HostId, what: String) {
        self.line(host, format_args!("VIOLATION {what}"));
        self.violations.push(Violation { at: self.queue.now(), host, what });
    }

    /// The host is to be woken.
    pub fn wake(&mut self, at: Instant, host: HostId, incarnation: u32, wake: Wake) {
        self.queue.push(at, Due::Wake { host, incarnation, wake });
    }

    /// The host's process ends.
    pub fn end_process(&mut self, host: HostId, death: Death) {
        self.net.end_process(self.queue.now(), host, death);
    }
}

/// Longest text of one record in the log, in characters (chosen).
const LONGEST_LINE: usize = 200;
