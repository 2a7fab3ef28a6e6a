//! The virtual clock and the one queue of what is due, ordered by (time, sequence).
//!
//! Two entries due at the same instant leave in the order in which they were put in, so the order
//! of a run depends on its causes alone. The clock stands still until the next entry is taken.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use bitswarm_core::time::Instant;

/// Things due at points in virtual time.
#[derive(Debug)]
pub struct Queue<T> {
    now: Instant,
    next_sequence: u64,
    heap: BinaryHeap<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    at: Instant,
    sequence: u64,
    item: T,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue { now: Instant::ZERO, next_sequence: 0, heap: BinaryHeap::new() }
    }
}

impl<T> Queue<T> {
    /// Nothing due, at the beginning of time.
    pub fn new() -> Self {
        Self::default()
    }

    /// The virtual time: that of the entry taken last.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Puts in what is due at `at`; at once, after all that is due now, if that has passed.
    pub fn push(&mut self, at: Instant, item: T) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.heap.push(Entry { at: at.max(self.now), sequence, item });
    }

    /// When the next entry is due.
    pub fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// Takes the next entry and moves the clock to it.
    pub fn pop(&mut self) -> Option<T> {
        let entry = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.item)
    }

    /// Moves the clock forward past a time in which nothing is due; never over an entry.
    pub fn idle_until(&mut self, at: Instant) {
        let limit = self.next_at().unwrap_or(Instant::FAR_FUTURE);
        self.now = self.now.max(at.min(limit));
    }

    /// How many entries wait.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

impl<T> Ord for Entry<T> {
    /// Greatest is first in a `BinaryHeap`: the earliest, and of those the one put in first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    #[test]
    fn what_is_put_in_for_the_past_is_due_now_and_the_clock_never_goes_back() {
        let mut queue = Queue::new();
        queue.push(Instant::from_secs(5), "later");
        assert_eq!(queue.pop(), Some("later"));
        queue.push(Instant::from_secs(1), "late");
        assert_eq!(queue.pop(), Some("late"));
        assert_eq!(queue.now(), Instant::from_secs(5));
        queue.idle_until(Instant::from_secs(2));
        assert_eq!(queue.now(), Instant::from_secs(5));
    }

    quickcheck! {
        fn entries_leave_by_time_and_then_in_the_order_they_came(times: Vec<u8>) -> bool {
            let mut queue = Queue::new();
            for (number, time) in times.iter().enumerate() {
                queue.push(Instant::from_secs(u64::from(*time)), (*time, number));
            }
            let left: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
            let mut sorted: Vec<_> = times.iter().copied().zip(0..).collect();
            sorted.sort();
            left == sorted
        }
    }
}
