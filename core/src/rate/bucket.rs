//! A token bucket that may go into debt.
//!
//! Tokens are bytes; they flow in at the limit and are capped at the burst. A connection that finds the
//! bucket positive may take one block even if less is in it: the bucket goes into debt and nothing
//! passes until that is paid back. So limits below one block per second hold too. The level is
//! kept in billionths of a byte: no call, however often it comes, rounds anything away.
//!
//! Invariant (S7): over any window, bytes taken are at most limit × window + burst + one block.

use crate::piece::BLOCK_LEN;
use crate::time::Instant;

/// Parts of a byte in which the level is kept: one flows in per nanosecond at 1 byte per second.
const PARTS: i128 = 1_000_000_000;
/// The burst is the limit divided by this (chosen: a quarter of a second's worth).
const BURSTS_PER_S: u64 = 4;

/// Limits bytes per second. Without a limit it lets everything pass.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    limit_bytes_per_s: Option<u64>,
    /// In parts of a byte; negative while in debt.
    level: i128,
    /// When the level was right.
    at: Instant,
}

impl TokenBucket {
    /// A full bucket. `Some(0)` lets nothing pass.
    pub fn new(limit_bytes_per_s: Option<u64>, now: Instant) -> Self {
        let mut bucket = TokenBucket { limit_bytes_per_s, level: 0, at: now };
        bucket.level = bucket.burst();
        bucket
    }

    /// Changes the limit from now on. Debt is kept, in bytes, unless the limit is lifted.
    pub fn set_limit(&mut self, limit_bytes_per_s: Option<u64>, now: Instant) {
        self.settle(now);
        self.limit_bytes_per_s = limit_bytes_per_s;
        self.level = match limit_bytes_per_s {
            Some(_) => self.level.min(self.burst()),
            None => 0,
        };
    }

    /// The limit in bytes per second.
    pub fn limit(&self) -> Option<u64> {
        self.limit_bytes_per_s
    }

    /// Bytes that may be taken now. If it is not 0, one block may be taken even if this is less.
    pub fn available(&self, now: Instant) -> usize {
        if self.limit_bytes_per_s.is_none() {
            return usize::MAX;
        }
        usize::try_from(self.level_at(now).max(0) / PARTS).unwrap_or(usize::MAX)
    }

    /// Takes bytes, into debt if need be.
    pub fn take(&mut self, now: Instant, bytes: usize) {
        if self.limit_bytes_per_s.is_some() {
            self.settle(now);
            self.level = self.level.saturating_sub(bytes as i128 * PARTS);
        }
    }

    /// Takes bytes that nobody could hold back. They make no more debt than a burst.
    pub fn take_within_bounds(&mut self, now: Instant, bytes: usize) {
        if self.limit_bytes_per_s.is_some() {
            self.settle(now);
            let deepest = self.level.min(-self.burst());
            self.level = self.level.saturating_sub(bytes as i128 * PARTS).max(deepest);
        }
    }

    /// When something is available: `now` if it is already, `None` if it never will be.
    pub fn ready_at(&self, now: Instant) -> Option<Instant> {
        let missing = PARTS.saturating_sub(self.level_at(now)).max(0);
        let limit = match self.limit_bytes_per_s {
            None => return Some(now),
            Some(0) => return None,
            Some(limit) => i128::from(limit),
        };
        let nanos = u64::try_from(missing.saturating_add(limit - 1) / limit).unwrap_or(u64::MAX);
        Some(Instant::from_nanos(now.as_nanos().max(self.at.as_nanos()).saturating_add(nanos)))
    }

    /// Most that the bucket holds, in parts: at least one block, and nothing if nothing may pass.
    fn burst(&self) -> i128 {
        match self.limit_bytes_per_s {
            None | Some(0) => 0,
            Some(limit) => i128::from((limit / BURSTS_PER_S).max(BLOCK_LEN.into())) * PARTS,
        }
    }

    fn level_at(&self, now: Instant) -> i128 {
        let limit = self.limit_bytes_per_s.unwrap_or(0);
        let nanos = now.as_nanos().saturating_sub(self.at.as_nanos());
        let inflow = i128::from(limit).saturating_mul(nanos.into());
        self.level.saturating_add(inflow).min(self.burst())
    }

    fn settle(&mut self, now: Instant) {
        self.level = self.level_at(now);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quickcheck::{TestResult, quickcheck};

    use super::*;

    const BLOCK: usize = BLOCK_LEN as usize;

    fn secs(secs: u64) -> Instant {
        Instant::from_secs(secs)
    }

    /// Takes blocks whenever the bucket allows, until `until`; returns how many bytes.
    fn drain(bucket: &mut TokenBucket, from: Instant, until: Instant) -> usize {
        let mut now = from;
        let mut taken = 0;
        while now < until {
            while bucket.available(now) > 0 {
                bucket.take(now, BLOCK);
                taken += BLOCK;
            }
            let Some(ready) = bucket.ready_at(now) else { break };
            assert!(ready > now, "the host would spin");
            now = ready;
        }
        taken
    }

    #[test]
    fn a_limit_below_one_block_per_second_is_kept() {
        let mut bucket = TokenBucket::new(Some(1_000), secs(0));
        let taken = drain(&mut bucket, secs(0), secs(1_000));
        assert!((1_000_000..=1_000_000 + 2 * BLOCK).contains(&taken), "{taken}");
    }

    #[test]
    fn a_high_limit_is_reached() {
        let mut bucket = TokenBucket::new(Some(100_000_000), secs(0));
        let taken = drain(&mut bucket, secs(0), secs(10));
        assert!((1_000_000_000..=1_025_100_000).contains(&taken), "{taken}");
    }

    #[test]
    fn no_limit_lets_everything_pass_and_zero_nothing() {
        let mut open = TokenBucket::new(None, secs(0));
        open.take(secs(0), usize::MAX);
        assert_eq!((open.available(secs(0)), open.ready_at(secs(3))), (usize::MAX, Some(secs(3))));
        let shut = TokenBucket::new(Some(0), secs(0));
        assert_eq!((shut.available(secs(9)), shut.ready_at(secs(9))), (0, None));
    }

    #[test]
    fn a_changed_limit_counts_from_then_on() {
        let mut bucket = TokenBucket::new(None, secs(0));
        bucket.take(secs(1), 1 << 40);
        bucket.set_limit(Some(100_000), secs(2));
        let taken = drain(&mut bucket, secs(2), secs(12));
        assert!((1_000_000..=1_000_000 + 2 * BLOCK).contains(&taken), "{taken}");
        bucket.set_limit(Some(0), secs(12));
        assert_eq!(bucket.available(secs(100)), 0);
        bucket.set_limit(Some(1 << 20), secs(100));
        assert!(bucket.ready_at(secs(100)).is_some_and(|at| at <= secs(101)));
        bucket.set_limit(None, secs(101));
        assert_eq!(bucket.available(secs(101)), usize::MAX);
    }

    #[test]
    fn many_small_steps_round_nothing_away() {
        let mut bucket = TokenBucket::new(Some(3), secs(0));
        bucket.take(secs(0), BLOCK + 3);
        for nanos in (0..=2_000_000_000).step_by(1_001) {
            bucket.take(Instant::from_nanos(nanos), 0);
        }
        assert_eq!(bucket.available(secs(2)), 3);
    }

    #[test]
    fn what_cannot_be_held_back_makes_no_debt_of_hours() {
        let mut bucket = TokenBucket::new(Some(50_000), secs(0));
        (0..1000).for_each(|_| bucket.take_within_bounds(secs(0), 1 << 20));
        assert!(bucket.ready_at(secs(0)).is_some_and(|at| at <= secs(1)));
        bucket.take(secs(0), 1 << 20);
        let owed = bucket.ready_at(secs(0));
        bucket.take_within_bounds(secs(0), 1 << 20);
        assert_eq!(bucket.ready_at(secs(0)), owed, "nor is debt forgiven");
    }

    #[test]
    fn extreme_numbers_saturate() {
        let mut bucket = TokenBucket::new(Some(u64::MAX), secs(0));
        bucket.take(secs(0), usize::MAX);
        bucket.take(secs(0), usize::MAX);
        assert!(bucket.ready_at(secs(0)).is_some());
        assert!(bucket.available(Instant::FAR_FUTURE) > 0);
        let mut slow = TokenBucket::new(Some(1), secs(0));
        slow.take(secs(0), usize::MAX);
        assert_eq!(slow.ready_at(secs(0)), Some(Instant::FAR_FUTURE));
    }

    quickcheck! {
        // Defence: S7.
        fn no_window_lets_more_pass_than_rate_burst_and_a_block(
            limit: u32, steps: Vec<(u32, u16)>
        ) -> TestResult {
            let limit = u64::from(limit >> 8);
            let mut now = Instant::ZERO;
            let mut bucket = TokenBucket::new(Some(limit), now);
            let mut log: Vec<(Instant, u64)> = Vec::new();
            for (pause_us, want) in steps {
                now += Duration::from_micros(u64::from(pause_us >> 8));
                let available = bucket.available(now);
                if available > 0 {
                    let take = usize::from(want).min(available.max(BLOCK));
                    bucket.take(now, take);
                    log.push((now, take as u64));
                }
            }
            let burst = (limit / BURSTS_PER_S).max(BLOCK_LEN.into());
            for (from, &(start, _)) in log.iter().enumerate() {
                let mut sum = 0;
                for &(end, bytes) in &log[from..] {
                    sum += bytes;
                    let window = u128::from(limit) * (end - start).as_nanos() / 1_000_000_000;
                    if u128::from(sum) > window + u128::from(burst) + BLOCK as u128 + 1 {
                        return TestResult::failed();
                    }
                }
            }
            TestResult::passed()
        }
    }
}
