//! What somebody may have of us in a minute: work, counted in units of the caller's choice.
//!
//! Unlike [`TokenBucket`](super::TokenBucket) it makes nobody wait: what is beyond it is refused.

use crate::time::{Duration, Instant};

/// After this there is as much again (chosen).
const PERIOD: Duration = Duration::from_secs(60);

/// Counts what was taken in the current period, which begins when something is taken.
#[derive(Clone, Debug, Default)]
pub struct Allowance {
    taken: u64,
    /// Of no meaning while nothing is taken: every peer has several of these, so they are small.
    period_began: Instant,
}

impl Allowance {
    /// Whether [`take`](Self::take) would take so much.
    pub fn allows(&self, now: Instant, amount: u64, most: u64) -> bool {
        let taken = if self.is_over(now) { 0 } else { self.taken };
        taken.saturating_add(amount) <= most
    }

    /// Takes `amount` if with it no more than `most` is taken in this period; whether it was.
    pub fn take(&mut self, now: Instant, amount: u64, most: u64) -> bool {
        if !self.allows(now, amount, most) {
            return false;
        }
        if self.is_over(now) {
            *self = Allowance { taken: 0, period_began: now };
        }
        self.taken = self.taken.saturating_add(amount);
        true
    }

    fn is_over(&self, now: Instant) -> bool {
        self.taken == 0 || now - self.period_began >= PERIOD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_it_is_refused_until_the_next_period() {
        let mut allowance = Allowance::default();
        let now = Instant::from_secs(100);
        assert!(allowance.take(now, 7, 10) && allowance.take(now, 3, 10));
        assert!(!allowance.take(now + Duration::from_secs(59), 1, 10));
        assert!(!allowance.take(now + PERIOD, 11, 10));
        assert!(allowance.take(now + PERIOD, 10, 10));
        assert!(!allowance.take(now + PERIOD, u64::MAX, 10));
        assert!(!allowance.allows(now + PERIOD, 1, 10) && allowance.allows(now + PERIOD, 1, 11));
        assert!(allowance.allows(now + 2 * PERIOD, 10, 10));
        assert!(!allowance.allows(now + 2 * PERIOD, 11, 10));
    }
}
