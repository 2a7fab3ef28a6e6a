//! Announces that wait: hosts take turns, and each has a bounded number under way.
//!
//! A host that does not answer holds up announces to it and no others, and a session of
//! thousands of torrents asks a tracker no faster than that answers. A host is in `turns` exactly
//! while something waits for it that may start; each operation but `retain` is O(log hosts).

use std::collections::{BTreeMap, VecDeque};

/// Announces under way at one host (chosen: as many connections as browsers open to one).
pub(crate) const PER_HOST: usize = 8;

/// What waits, by host.
#[derive(Debug)]
pub(crate) struct TrackerQueue<T> {
    hosts: BTreeMap<Box<str>, AtHost<T>>,
    turns: VecDeque<Box<str>>,
}

#[derive(Debug)]
struct AtHost<T> {
    running: usize,
    waiting: VecDeque<T>,
}

impl<T> TrackerQueue<T> {
    pub(crate) fn new() -> Self {
        TrackerQueue { hosts: BTreeMap::new(), turns: VecDeque::new() }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.hosts.values().all(|at| at.waiting.is_empty())
    }

    /// Something is to be started at a host, after all that waits for it, or before.
    pub(crate) fn push(&mut self, host: Box<str>, item: T, in_front: bool) {
        let at = self.hosts.entry(host.clone()).or_insert_with(AtHost::new);
        let had_turn = at.has_turn();
        match in_front {
            true => at.waiting.push_front(item),
            false => at.waiting.push_back(item),
        }
        match (at.has_turn(), in_front) {
            (true, _) if had_turn => {}
            (true, true) => self.turns.push_front(host),
            (true, false) => self.turns.push_back(host),
            (false, _) => {}
        }
    }

    /// What to start next, and where; [`TrackerQueue::done`] is to follow.
    pub(crate) fn next(&mut self) -> Option<(Box<str>, T)> {
        let host = self.turns.pop_front()?;
        let at = self.hosts.get_mut(&host)?;
        let item = at.waiting.pop_front()?;
        at.running += 1;
        if at.has_turn() {
            self.turns.push_back(host.clone());
        }
        Some((host, item))
    }

    /// Something that was started at a host is over.
    pub(crate) fn done(&mut self, host: &str) {
        let Some(at) = self.hosts.get_mut(host) else { return };
        let had_turn = at.has_turn();
        at.running = at.running.saturating_sub(1);
        if at.has_turn() && !had_turn {
            self.turns.push_back(host.into());
        } else if at.running == 0 && at.waiting.is_empty() {
            self.hosts.remove(host);
        }
    }

    /// Takes out what is not to be kept. Goes through all that waits.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        for at in self.hosts.values_mut() {
            at.waiting.retain(&keep);
        }
        let hosts = &mut self.hosts;
        self.turns.retain(|host| hosts.get(host).is_some_and(AtHost::has_turn));
        hosts.retain(|_, at| at.running > 0 || !at.waiting.is_empty());
    }
}

impl<T> AtHost<T> {
    fn new() -> Self {
        AtHost { running: 0, waiting: VecDeque::new() }
    }

    fn has_turn(&self) -> bool {
        !self.waiting.is_empty() && self.running < PER_HOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_take_turns_and_none_has_more_than_its_share() {
        let mut queue = TrackerQueue::new();
        (0..2000).for_each(|n| queue.push("slow".into(), n, false));
        (0..3).for_each(|n| queue.push("quick".into(), n, false));
        let started: Vec<_> = std::iter::from_fn(|| queue.next()).collect();
        let at = |name: &str| started.iter().filter(|(host, _)| **host == *name).count();
        assert_eq!((at("slow"), at("quick")), (PER_HOST, 3));
        assert_eq!(&*started[1].0, "quick", "it does not wait for the slow one");
        queue.done("slow");
        assert_eq!(queue.next(), Some(("slow".into(), PER_HOST)));
        assert_eq!(queue.next(), None);
        assert!(!queue.is_empty());
    }

    #[test]
    fn what_is_in_front_goes_first() {
        let mut queue = TrackerQueue::new();
        queue.push("a".into(), 1, false);
        queue.push("a".into(), 2, false);
        queue.push("b".into(), 3, true);
        queue.push("a".into(), 4, true);
        let order: Vec<u32> = std::iter::from_fn(|| queue.next()).map(|(_, item)| item).collect();
        assert_eq!(order, [3, 4, 1, 2]);
    }

    #[test]
    fn hosts_that_nobody_asks_are_forgotten() {
        let mut queue = TrackerQueue::new();
        queue.push("a".into(), 1, false);
        queue.push("b".into(), 2, false);
        queue.retain(|item| *item == 2);
        assert_eq!(queue.next(), Some(("b".into(), 2)));
        queue.done("b");
        assert!(queue.is_empty() && queue.hosts.is_empty() && queue.turns.is_empty());
    }
}
