//! How fast bytes have been flowing lately.
//!
//! Bytes are counted into slots of half a second; the rate is the sum of the last eight slots over
//! the time they cover, so it follows a change within four seconds and is exactly zero after four
//! seconds of silence. Nothing runs in between: slots are brought up to date when bytes are added,
//! and old ones are skipped when the rate is asked for.

use std::time::Duration;

use crate::time::Instant;

/// Length of a slot in nanoseconds (chosen: eight make a window of 4 s).
const SLOT_NANOS: u64 = 500_000_000;
/// Slots in the window.
const SLOTS: usize = 8;
/// The least time that a rate is taken over, so that one block is not taken for a flood (chosen).
const LEAST_NANOS: u64 = 1_000_000_000;

/// Measures bytes per second over the last four seconds.
#[derive(Clone, Debug, Default)]
pub struct RateMeter {
    /// Bytes of the slot with number `n` lie at `n % SLOTS`.
    slots: [u64; SLOTS],
    /// Number of the slot that `slots` is up to date with.
    newest: u64,
    /// When bytes began to flow after a silence.
    since: Instant,
}

impl RateMeter {
    /// A meter that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts bytes.
    pub fn add(&mut self, now: Instant, bytes: u64) {
        if self.window_bytes(now) == 0 {
            self.since = now;
        }
        let slot = slot_of(now);
        let stale = slot.saturating_sub(self.newest).min(SLOTS as u64);
        for age in 0..stale {
            self.slots[index(slot - age)] = 0;
        }
        self.newest = self.newest.max(slot);
        let count = &mut self.slots[index(self.newest)];
        *count = count.saturating_add(bytes);
    }

    /// Bytes per second, averaged over up to four seconds; 0 after four seconds of silence.
    pub fn rate(&self, now: Instant) -> u64 {
        let window_start = Instant::from_nanos(oldest_slot(now) * SLOT_NANOS);
        let over = now.saturating_duration_since(self.since.max(window_start));
        let over = over.max(Duration::from_nanos(LEAST_NANOS)).as_nanos();
        let per_s = u128::from(self.window_bytes(now)) * 1_000_000_000 / over;
        u64::try_from(per_s).unwrap_or(u64::MAX)
    }

    fn window_bytes(&self, now: Instant) -> u64 {
        let oldest = oldest_slot(now).max(self.newest.saturating_sub(SLOTS as u64 - 1));
        (oldest..=self.newest).fold(0, |sum: u64, slot| sum.saturating_add(self.slots[index(slot)]))
    }
}

fn slot_of(now: Instant) -> u64 {
    now.as_nanos() / SLOT_NANOS
}

fn oldest_slot(now: Instant) -> u64 {
    slot_of(now).saturating_sub(SLOTS as u64 - 1)
}

fn index(slot: u64) -> usize {
    (slot % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    fn ms(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// 1,000 bytes every 10 ms: 100,000 a second.
    fn flow(meter: &mut RateMeter, from_ms: u64, to_ms: u64) {
        (from_ms..to_ms).step_by(10).for_each(|at| meter.add(ms(at), 1_000));
    }

    #[test]
    fn a_steady_flow_is_measured_as_it_is() {
        let mut meter = RateMeter::new();
        flow(&mut meter, 50_000, 60_000);
        assert!((99_000..=101_000).contains(&meter.rate(ms(60_000))), "{}", meter.rate(ms(60_000)));
    }

    #[test]
    fn a_young_flow_is_measured_after_a_second() {
        let mut meter = RateMeter::new();
        flow(&mut meter, 50_000, 51_000);
        assert!((98_000..=102_000).contains(&meter.rate(ms(51_000))), "{}", meter.rate(ms(51_000)));
    }

    #[test]
    fn silence_is_exactly_zero_within_four_seconds() {
        let mut meter = RateMeter::new();
        flow(&mut meter, 0, 10_000);
        assert!(meter.rate(ms(11_000)) > 0);
        assert_eq!(meter.rate(ms(14_000)), 0);
        assert_eq!(RateMeter::new().rate(ms(1)), 0);
    }

    #[test]
    fn a_change_shows_within_four_seconds() {
        let mut meter = RateMeter::new();
        flow(&mut meter, 0, 10_000);
        (10_000..14_000).step_by(10).for_each(|at| meter.add(ms(at), 10_000));
        assert!((900_000..=1_050_000).contains(&meter.rate(ms(14_000))));
    }

    #[test]
    fn one_block_after_silence_is_a_block_a_second() {
        let mut meter = RateMeter::new();
        meter.add(ms(100_000), 16_384);
        assert_eq!(meter.rate(ms(100_000)), 16_384);
    }

    quickcheck! {
        fn the_rate_never_exceeds_the_bytes_of_the_last_four_seconds(adds: Vec<(u16, u32)>) -> bool {
            let mut meter = RateMeter::new();
            let mut now = Instant::ZERO;
            let mut log = Vec::new();
            adds.into_iter().all(|(pause_ms, bytes)| {
                now += Duration::from_millis(u64::from(pause_ms) / 8);
                meter.add(now, bytes.into());
                log.push((now, u64::from(bytes)));
                let recent = log.iter().filter(|(at, _)| now - *at < Duration::from_secs(4));
                meter.rate(now) <= recent.map(|(_, bytes)| bytes).sum()
            })
        }
    }
}
