//! What is remembered of each of many for a while from when it was first counted.
//!
//! Nobody is forgotten before that time is over: past the capacity others are not counted, and what becomes of
//! them the caller decides. O(log n).

use std::collections::{BTreeMap, BTreeSet};

use crate::time::{Duration, Instant};

/// A value for each of at most so many.
#[derive(Clone, Debug)]
pub struct Periods<K, V> {
    entries: BTreeMap<K, V>,
    /// By when they were first counted.
    order: BTreeSet<(Instant, K)>,
    period: Duration,
    capacity: usize,
}

impl<K: Ord + Copy, V: Default> Periods<K, V> {
    /// Nobody is counted yet. Each is remembered for `period`.
    pub fn new(period: Duration, capacity: usize) -> Self {
        Periods { entries: BTreeMap::new(), order: BTreeSet::new(), period, capacity }
    }

    /// What is remembered of this one, the default from now on if it is new; `None` if there is no room for it.
    pub fn entry(&mut self, now: Instant, key: K) -> Option<&mut V> {
        while let Some(&(began, oldest)) = self.order.first()
            && now - began >= self.period
        {
            self.order.pop_first();
            self.entries.remove(&oldest);
        }
        if !self.entries.contains_key(&key) {
            if self.entries.len() >= self.capacity {
                return None;
            }
            self.order.insert((now, key));
        }
        Some(self.entries.entry(key).or_default())
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_remembered_for_its_time_and_no_more_than_there_is_room_for() {
        let at = Instant::from_secs;
        let mut periods = Periods::new(Duration::from_secs(10), 2);
        *periods.entry(at(100), 'a').expect("there is room") = 7;
        *periods.entry(at(105), 'b').expect("there is room") = 8;
        assert_eq!(periods.entry(at(109), 'a').copied(), Some(7));
        assert_eq!(periods.entry(at(109), 'c').copied(), None::<i32>);
        assert_eq!(periods.entry(at(110), 'c').copied(), Some(0), "the first is forgotten");
        assert_eq!((periods.entry(at(110), 'b').copied(), periods.len()), (Some(8), 2));
        assert_eq!(periods.entry(at(120), 'b').copied(), Some(0));
        assert_eq!((periods.order.len(), periods.is_empty()), (1, false));
    }
}
