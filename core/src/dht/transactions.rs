//! Queries under way (BEP 5, "KRPC protocol").
//!
//! A transaction id is 32 random bits, so that only a host that sees the query can answer it; an
//! answer counts only from the address that was asked (defence 26). A query is *slow* after a
//! moment, so that the lookup can ask another node too, and *lost* later; it is not repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::random::SecretRng;
use crate::time::{Duration, Instant};

/// When a query is slow (chosen: far beyond usual round trips).
const SLOW_AFTER: Duration = Duration::from_millis(1500);

/// When a query is lost (chosen).
const LOST_AFTER: Duration = Duration::from_secs(8);

/// Most queries under way; past it none is begun (chosen).
const MOST: usize = 1024;

/// Queries under way; `T` is what each is for.
#[derive(Debug)]
pub(super) struct Transactions<T> {
    pending: BTreeMap<u32, OpenQuery<T>>,
    deadlines: BTreeSet<(Instant, u32)>,
}

#[derive(Debug)]
struct OpenQuery<T> {
    to: SocketAddr,
    what: T,
    sent_at: Instant,
    slow: bool,
}

/// A query that has waited for long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Late<T> {
    /// It may still be answered.
    Slow(T),
    /// It is forgotten.
    Lost(T),
}

impl<T: Copy> Transactions<T> {
    /// None under way.
    pub(super) fn new() -> Self {
        Transactions { pending: BTreeMap::new(), deadlines: BTreeSet::new() }
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Begins a query; its transaction id, or `None` if too many are under way.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        rng: &mut SecretRng,
        to: SocketAddr,
        what: T,
    ) -> Option<[u8; 4]> {
        if self.pending.len() >= MOST {
            return None;
        }
        let mut id = rng.next_u32();
        while self.pending.contains_key(&id) {
            id = rng.next_u32();
        }
        self.pending.insert(id, OpenQuery { to, what, sent_at: now, slow: false });
        self.deadlines.insert((now + SLOW_AFTER, id));
        Some(id.to_be_bytes())
    }

    /// An answer came in: what it is for, if it is one to a query of ours, and whether it is slow.
    pub(super) fn finish(&mut self, from: SocketAddr, transaction: &[u8]) -> Option<(T, bool)> {
        let id = u32::from_be_bytes(transaction.try_into().ok()?);
        if self.pending.get(&id)?.to != from {
            return None;
        }
        let pending = self.pending.remove(&id)?;
        self.deadlines.remove(&(pending.deadline(), id));
        Some((pending.what, pending.slow))
    }

    /// The next query that is late by now.
    pub(super) fn pop_late(&mut self, now: Instant) -> Option<Late<T>> {
        let &(at, id) = self.deadlines.first().filter(|(at, _)| *at <= now)?;
        self.deadlines.remove(&(at, id));
        let pending = self.pending.get_mut(&id)?;
        let what = pending.what;
        if pending.slow {
            self.pending.remove(&id);
            return Some(Late::Lost(what));
        }
        pending.slow = true;
        self.deadlines.insert((pending.deadline(), id));
        Some(Late::Slow(what))
    }

    /// When the next query is late.
    pub(super) fn next_late_at(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }
}

impl<T> OpenQuery<T> {
    fn deadline(&self) -> Instant {
        self.sent_at + if self.slow { LOST_AFTER } else { SLOW_AFTER }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn an_answer_counts_once_and_only_from_where_it_was_asked_for() {
        let mut rng = SecretRng::from_seed([1; 32]);
        let mut open = Transactions::new();
        let (a, b) = ("1.1.1.1:1".parse().unwrap(), "1.1.1.1:2".parse().unwrap());
        let id = open.begin(ms(0), &mut rng, a, 'a').unwrap();
        assert_eq!(open.finish(b, &id), None, "another port");
        assert_eq!(open.finish(a, &[0; 4]), None, "a guess");
        assert_eq!(open.finish(a, &id[..2]), None);
        assert_eq!(open.finish(a, &id), Some(('a', false)));
        assert_eq!(open.finish(a, &id), None, "a replay");
        assert_eq!((open.len(), open.next_late_at()), (0, None));
    }

    #[test]
    fn a_query_is_slow_first_and_lost_later() {
        let mut rng = SecretRng::from_seed([1; 32]);
        let mut open = Transactions::new();
        let to = "1.1.1.1:1".parse().unwrap();
        let id = open.begin(ms(0), &mut rng, to, 'a').unwrap();
        assert_eq!(open.pop_late(ms(1499)), None);
        assert_eq!(open.pop_late(ms(1500)), Some(Late::Slow('a')));
        assert_eq!((open.pop_late(ms(7999)), open.next_late_at()), (None, Some(ms(8000))));
        assert_eq!(open.pop_late(ms(8000)), Some(Late::Lost('a')));
        assert_eq!(open.finish(to, &id), None);
    }

    #[test]
    fn there_are_never_too_many() {
        let mut rng = SecretRng::from_seed([1; 32]);
        let mut open = Transactions::new();
        let to = "1.1.1.1:1".parse().unwrap();
        let begun = (0..2000).filter(|_| open.begin(ms(0), &mut rng, to, ()).is_some()).count();
        assert_eq!((begun, open.len()), (MOST, MOST));
    }
}
