//! How time passes for an engine under a fuzzer: deadlines move on, and a host that does what it owes
//! is done at some time.

use std::time::Duration;

use bitswarm_core::event::Event;

use super::conn::Conn;
use super::world::World;

impl World {
    /// Time passes.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut turns = 0;
        while let Some(deadline) = self.engine.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(deadline);
            self.timeout();
            turns += 1;
            assert!(turns < 10_000, "time does not get on at {:?}", self.now);
        }
        self.now = until;
        // Spurious ones are harmless.
        self.timeout();
    }

    /// Time passes until the engine wants to be woken.
    pub(super) fn pass_to_deadline(&mut self) {
        if let Some(deadline) = self.engine.poll_timeout() {
            self.now = self.now.max(deadline);
            self.timeout();
        }
    }

    pub(super) fn timeout(&mut self) {
        self.engine.handle(self.now, Event::Timeout);
        let next = self.engine.poll_timeout();
        assert!(next.is_none_or(|at| at > self.now), "spins: {next:?} after {:?}", self.now);
        self.drain();
    }

    /// Everything that the host owes the engine is done, and what comes of it.
    pub(super) fn settle(&mut self) {
        for _ in 0..300 {
            while !self.unbound.is_empty() {
                self.bound(None);
            }
            while !self.tickets.is_empty() {
                self.complete_disk(0, None);
            }
            for conn in self.conns.keys().copied().collect::<Vec<_>>() {
                self.write(Some(conn));
                self.report_sent(Some(conn), 255);
            }
            let is_idle = |conn: &Conn| !conn.due && conn.unreported == 0;
            if self.tickets.is_empty() && self.conns.values().all(is_idle) {
                return;
            }
        }
        panic!("the host is never done");
    }
}
