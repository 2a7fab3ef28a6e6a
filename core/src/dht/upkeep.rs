//! What follows from time: looking around, refreshing buckets, forgetting.
//!
//! A tick every few seconds looks after one bucket of each table, so that each is visited every
//! minute or two; a node that knows nobody has no tick, but tries again after a while.

use super::node_id::NodeId;
use super::request::DhtRequest;
use super::table::K;
use super::{Dht, Output, SearchPurpose};
use crate::time::{Duration, Instant};

/// Between two looks at a bucket (chosen).
const TICK: Duration = Duration::from_secs(5);

/// First wait until a node that knows few looks around again; doubled each time (chosen).
const RETRY: Duration = Duration::from_secs(5);

/// Longest such wait (chosen).
const RETRY_MOST: Duration = Duration::from_secs(5 * 60);

/// Between two saves of the tables (chosen).
const SAVE_EVERY: Duration = Duration::from_secs(10 * 60);

/// Places looked up besides our own at the start, so that the far buckets fill (chosen).
const FAR_LOOKUPS: usize = 3;

impl Dht {
    /// When to call [`Dht::handle_timeout`]; changes with every other call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let upkeep = &self.upkeep;
        let due = [self.transactions.next_late_at(), upkeep.tick_at, upkeep.retry_at];
        due.into_iter().flatten().min()
    }

    /// The time of [`Dht::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(late) = self.transactions.pop_late(now) {
            self.handle_late(now, late);
        }
        if self.upkeep.tick_at.is_some_and(|at| at <= now) {
            self.tick(now);
        }
        if self.upkeep.retry_at.is_some_and(|at| at <= now) {
            self.look_around(now);
        }
    }

    /// Finds the nodes closest to us in each family (BEP 5, "routing table").
    pub(super) fn look_around(&mut self, now: Instant) {
        self.upkeep.retry_at = None;
        let families = [false, true].into_iter().filter(|v6| self.table(*v6).is_some());
        let families: Vec<bool> = families.collect();
        if families.is_empty() {
            // There is nowhere to look: requests end without a result instead of waiting.
            self.looked_around(now);
            return self.start_waiting(now);
        }
        self.upkeep.tick_at.get_or_insert(now + TICK);
        // Counted before any begins: one that has nobody to ask ends at once.
        self.upkeep.looking += families.len();
        for v6 in families {
            if let Some(target) = self.id(v6) {
                self.start(now, SearchPurpose::Bootstrap, DhtRequest::Nodes { target }, v6);
            }
        }
    }

    /// A lookup of a look around is done.
    pub(super) fn looked_around(&mut self, now: Instant) {
        self.upkeep.looking = self.upkeep.looking.saturating_sub(1);
        if self.upkeep.looking > 0 {
            return;
        }
        let nodes = self.tables.iter().flatten().map(super::Table::len).sum();
        if !std::mem::replace(&mut self.upkeep.ready, true) {
            self.outputs.push_back(Output::Ready { nodes });
        }
        if nodes < K && self.tables.iter().any(Option::is_some) {
            let wait = RETRY * 2_u32.saturating_pow(self.upkeep.retries.min(16));
            self.upkeep.retries += 1;
            self.upkeep.retry_at = Some(now + wait.min(RETRY_MOST));
        } else {
            self.upkeep.retries = 0;
        }
        for v6 in [false, true] {
            if self.table(v6).is_some_and(|table| table.len() >= K) {
                for _ in 0..FAR_LOOKUPS {
                    let target = NodeId::random(&mut self.rng);
                    self.start(now, SearchPurpose::Upkeep, DhtRequest::Nodes { target }, v6);
                }
            }
        }
    }

    /// Our id is a new one: finds those that are close to it.
    pub(super) fn find_neighbours(&mut self, now: Instant, v6: bool) {
        if let Some(target) = self.id(v6) {
            self.start(now, SearchPurpose::Upkeep, DhtRequest::Nodes { target }, v6);
        }
    }

    fn tick(&mut self, now: Instant) {
        self.server.peers.expire(now);
        self.server.items.expire(now);
        let mut known = 0;
        for v6 in [false, true] {
            let [four, six] = &mut self.tables;
            let Some(table) = (if v6 { six } else { four }) else { continue };
            known += table.len();
            let (ping, refresh) = table.look_after(now, &mut self.rng);
            self.ping(now, ping);
            if let Some(target) = refresh.filter(|_| known > 0) {
                self.start(now, SearchPurpose::Upkeep, DhtRequest::Nodes { target }, v6);
            }
        }
        self.save_if_due(now, known);
        let idle = known == 0 && self.server.peers.is_empty() && self.server.items.is_empty();
        self.upkeep.tick_at = (!idle).then_some(now + TICK);
        if known < K && self.upkeep.looking == 0 && self.upkeep.retry_at.is_none() {
            self.upkeep.retry_at = Some(now + RETRY);
        }
    }

    fn save_if_due(&mut self, now: Instant, known: usize) {
        let at = *self.upkeep.save_at.get_or_insert(now + SAVE_EVERY);
        if at <= now {
            self.upkeep.save_at = Some(now + SAVE_EVERY);
            if known > 0 {
                self.outputs.push_back(Output::SaveDue);
            }
        }
    }
}
