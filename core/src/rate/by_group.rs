//! What each of many may have of us in a minute, however often they reconnect (defence 39).
//!
//! Keyed by what a stranger cannot change at will, such as an [`AddressGroup`](crate::choke::AddressGroup).
//! Nobody's count is forgotten before its minute is over: past `capacity` all others share one count, so
//! that crowding somebody out gives nobody a fresh allowance.

use super::Periods;
use crate::time::{Duration, Instant};

/// After this there is as much again (chosen).
const PERIOD: Duration = Duration::from_secs(60);

/// Counts what each has taken in its current period.
#[derive(Clone, Debug)]
pub struct GroupAllowances<K> {
    taken: Periods<K, u64>,
    others: Others,
}

#[derive(Clone, Copy, Debug, Default)]
struct Others {
    began: Instant,
    taken: u64,
}

impl<K: Ord + Copy> GroupAllowances<K> {
    /// Counts for at most so many.
    pub fn new(capacity: usize) -> Self {
        GroupAllowances { taken: Periods::new(PERIOD, capacity), others: Others::default() }
    }

    /// Takes `amount` if with it no more than `most` is taken in this period; whether it was. O(log n).
    pub fn take(&mut self, now: Instant, key: K, amount: u64, most: u64) -> bool {
        let taken = match self.taken.entry(now, key) {
            Some(taken) => taken,
            None => {
                if now - self.others.began >= PERIOD {
                    self.others = Others { began: now, taken: 0 };
                }
                &mut self.others.taken
            }
        };
        let sum = taken.saturating_add(amount);
        let fits = sum <= most;
        if fits {
            *taken = sum;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_secs(1000 + secs)
    }

    #[test]
    fn each_has_its_own_and_as_much_again_after_a_minute() {
        let mut allowances = GroupAllowances::new(10);
        assert!(allowances.take(at(0), 1, 5, 5) && !allowances.take(at(1), 1, 1, 5));
        assert!(allowances.take(at(1), 2, 5, 5));
        assert!(!allowances.take(at(59), 1, 1, 5) && allowances.take(at(60), 1, 5, 5));
        assert!(!allowances.take(at(60), 2, 1, 5) && allowances.take(at(61), 2, 1, 5));
    }

    #[test]
    fn a_crowd_gives_nobody_a_fresh_allowance() {
        let mut allowances = GroupAllowances::new(3);
        assert!(allowances.take(at(0), 0, 5, 5));
        let crowd = (1..1000).filter(|key| allowances.take(at(1), *key, 5, 5)).count();
        assert_eq!(crowd, 3, "two places, and what the others share");
        assert!(!allowances.take(at(2), 0, 1, 5));
        assert_eq!(allowances.taken.len(), 3);
    }

    quickcheck! {
        fn nobody_takes_more_than_twice_the_most_in_any_minute(steps: Vec<(u8, u8, u8)>) -> bool {
            let mut allowances = GroupAllowances::new(4);
            let (mut now, mut log) = (0_u64, Vec::new());
            for (wait, key, amount) in steps {
                now += u64::from(wait % 40);
                if allowances.take(at(now), key % 8, amount.into(), 300) {
                    log.push((now, key % 8, u64::from(amount)));
                }
            }
            log.iter().all(|&(end, key, _)| {
                let of_minute = log.iter().filter(|(at, other, _)| {
                    *other == key && *at <= end && *at + 59 >= end
                });
                of_minute.map(|(_, _, amount)| amount).sum::<u64>() <= 600
            })
        }
    }
}
