//! What somebody may have of us in a minute: work, counted in units of the caller's choice.
//!
//! Unlike [`TokenBucket`](super::TokenBucket) it makes nobody wait: what is beyond it is refused.

use crate::time::{Duration, Instant};

/// After this there is as much again (chosen).
const PERIOD: Duration = Duration::from_secs(60);

/// Counts what was taken in the current period.
#[derive(Clone, Debug, Default)]
pub struct Allowance {
    taken: u64,
    period_began: Option<Instant>,
}

impl Allowance {
    /// Whether [`take`](Self::take) would take so much.
    pub fn allows(&self, now: Instant, amount: u64, most: u64) -> bool {
        let is_over = self.period_began.is_none_or(|began| now - began >= PERIOD);
        let taken = if is_over { 0 } else { self.taken };
        taken.saturating_add(amount) <= most
    }

    /// Takes `amount` if with it no more than `most` is taken in this period; whether it was.
    pub fn take(&mut self, now: Instant, amount: u64, most: u64) -> bool {
        let began = *self.period_began.get_or_insert(now);
        if now - began >= PERIOD {
            self.period_began = Some(now);
            self.taken = 0;
        }
        let taken = self.taken.saturating_add(amount);
        if taken > most {
            return false;
        }
        self.taken = taken;
        true
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
