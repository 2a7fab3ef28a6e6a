//! A peer that refuses what it is asked for: it is asked for less, and later (defence 42).
//!
//! BEP 6 has a peer reject what it will not send, and the same could be asked of the same peer again at
//! once, for ever, while those who would send it wait. A few rejects in a row say nothing. After more of
//! them, without a block in between, the peer is asked for one block at a time, and each reject doubles
//! the wait before the next. One block that comes makes good for all. They are remembered by address
//! ([`Account`](crate::choke::accounts::Account)): who connects anew is where it was.

use crate::time::{Duration, Instant};

/// Rejects in a row that say nothing (chosen: requests that crossed, pieces that it lost).
const FREE: u32 = 8;
/// First wait; doubled with each further reject (chosen).
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait (chosen).
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How a peer has answered lately.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Refusals {
    in_a_row: u32,
    not_before: Option<Instant>,
}

impl Refusals {
    /// It rejected a request that it had let us make.
    pub fn rejected(&mut self, now: Instant) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if let Some(beyond) = self.in_a_row.checked_sub(FREE) {
            let wait = FIRST_WAIT.saturating_mul(1 << beyond.min(16)).min(LONGEST_WAIT);
            // What was asked before the first reject came is rejected with it.
            let waits = self.not_before.is_some_and(|at| now < at);
            if !waits {
                self.not_before = Some(now + wait);
            } else {
                self.in_a_row -= 1;
            }
        }
    }

    /// It sent a block that it was asked for.
    pub fn delivered(&mut self) {
        *self = Refusals::default();
    }

    /// How many requests it may have at most.
    pub fn most_requests(&self, now: Instant) -> usize {
        match self.not_before {
            None => usize::MAX,
            Some(at) if now < at => 0,
            Some(_) => 1,
        }
    }

    /// When it may be asked again, if it may not now.
    pub fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|at| now < *at)
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_secs(100) + Duration::from_millis(millis)
    }

    #[test]
    fn a_few_rejects_say_nothing_and_more_double_the_wait() {
        let mut refusals = Refusals::default();
        (1..FREE).for_each(|_| refusals.rejected(at(0)));
        assert_eq!(refusals.most_requests(at(0)), usize::MAX);
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            refusals.rejected(now);
            // The rest of what it was asked for.
            (0..50).for_each(|_| refusals.rejected(now));
            assert_eq!(refusals.most_requests(now), 0);
            let until = refusals.waits_until(now).unwrap();
            waits.push((until - now).as_secs());
            now = until;
            assert_eq!((refusals.most_requests(now), refusals.waits_until(now)), (1, None));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        refusals.delivered();
        assert_eq!(refusals.most_requests(now), usize::MAX);
    }

    quickcheck! {
        fn who_only_rejects_is_asked_little(step_ms: Vec<u8>) -> bool {
            let (mut refusals, mut asked, mut millis) = (Refusals::default(), 0_u64, 0);
            for step in step_ms.iter().cycle().take(5000) {
                let requests = refusals.most_requests(at(millis)).min(10);
                (0..requests).for_each(|_| refusals.rejected(at(millis)));
                asked += requests as u64;
                millis += u64::from(*step);
            }
            // Those that say nothing, then ever fewer, at last one in a minute.
            asked <= 20 + 7 + millis / 60_000
        }
    }
}
