//! How long packets wait in queues on their way, from clocks that agree on nothing.
//!
//! A sample is the time at which the other side received a packet by its clock less that at which
//! it was sent by ours: the way, plus a constant. The least sample of some minutes is the way alone,
//! what a sample has above it is the queue (RFC 6817, section 2.4).

use crate::time::{Duration, Instant};

/// Minutes that the base is the least of (libutp's number).
const MINUTES: usize = 13;
/// Samples that the current delay is the least of (RFC 6817: at least one).
const CURRENT: usize = 4;
/// A sample that is further from the base than this shows that a clock was set.
const STEP_US: u32 = 5_000_000;
/// The most that their base falls because clocks drift, at once (libutp's number).
const MAX_DRIFT_US: u32 = 10_000;
const MINUTE: Duration = Duration::from_secs(60);

/// Samples of one direction.
#[derive(Clone, Debug)]
pub(super) struct Delays {
    /// The least of each minute, newest last; of these, the first `minutes`.
    base: [u32; MINUTES],
    minutes: u8,
    minute_began: Instant,
    current: [u32; CURRENT],
    samples: u8,
    next: u8,
}

/// Whether `a` is less than `b`, as numbers that wrap.
fn less(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

impl Delays {
    pub(super) fn new(now: Instant) -> Self {
        Delays {
            base: [0; MINUTES],
            minutes: 0,
            minute_began: now,
            current: [0; CURRENT],
            samples: 0,
            next: 0,
        }
    }

    /// The least sample of the last minutes.
    fn base(&self) -> Option<u32> {
        let (first, rest) = self.base[..usize::from(self.minutes)].split_first()?;
        Some(rest.iter().fold(*first, |least, &b| if less(b, least) { b } else { least }))
    }

    /// Takes a sample in. How much it lowers the base: for the other direction, if that is because the
    /// clocks drift. `Err`: a clock was set, and what was known before is forgotten.
    pub(super) fn sample(&mut self, now: Instant, sample: u32) -> Result<u32, ClockStep> {
        let before = self.base();
        if let Some(base) = before
            && (sample.wrapping_sub(base) as i32).unsigned_abs() > STEP_US
        {
            *self = Delays::new(now);
            return Err(ClockStep);
        }
        let last = usize::from(self.minutes).checked_sub(1);
        match last {
            Some(last) if now - self.minute_began < MINUTE => {
                if less(sample, self.base[last]) {
                    self.base[last] = sample;
                }
            }
            _ => {
                if usize::from(self.minutes) == MINUTES {
                    self.base.rotate_left(1);
                } else {
                    self.minutes += 1;
                }
                self.base[usize::from(self.minutes) - 1] = sample;
                self.minute_began = now;
            }
        }
        self.current[usize::from(self.next)] = sample;
        self.next = (self.next + 1) % CURRENT as u8;
        self.samples = (self.samples + 1).min(CURRENT as u8);
        let fell =
            before.map_or(0, |base| if less(sample, base) { base.wrapping_sub(sample) } else { 0 });
        Ok(if fell <= MAX_DRIFT_US { fell } else { 0 })
    }

    /// How long packets wait in a queue at present; `None` without a sample.
    pub(super) fn queueing(&self) -> Option<Duration> {
        let base = self.base()?;
        let least = self.current[..usize::from(self.samples)]
            .iter()
            .map(|&sample| if less(sample, base) { 0 } else { sample.wrapping_sub(base) })
            .min()?;
        Some(Duration::from_micros(u64::from(least)))
    }

    /// The way is longer by so much than the base says.
    pub(super) fn shift(&mut self, by_us: u32) {
        for base in &mut self.base[..usize::from(self.minutes)] {
            *base = base.wrapping_add(by_us);
        }
    }
}

/// A clock was set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ClockStep;

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn queue_is_what_lies_above_the_least_sample_across_the_wrap() {
        let mut delays = Delays::new(Instant::ZERO);
        assert_eq!(delays.queueing(), None);
        delays.sample(Instant::ZERO, u32::MAX - 1000).unwrap();
        for _ in 0..CURRENT {
            delays.sample(Instant::ZERO, 4_000 - 1001).unwrap();
        }
        assert_eq!(delays.queueing(), Some(ms(4)));
    }

    #[test]
    fn one_late_sample_is_no_queue() {
        let mut delays = Delays::new(Instant::ZERO);
        delays.sample(Instant::ZERO, 100).unwrap();
        delays.sample(Instant::ZERO, 50_100).unwrap();
        assert_eq!(delays.queueing(), Some(ms(0)));
    }

    #[test]
    fn base_is_forgotten_after_thirteen_minutes() {
        let mut delays = Delays::new(Instant::ZERO);
        delays.sample(Instant::ZERO, 0).unwrap();
        for minute in 1..13 {
            delays.sample(Instant::from_secs(minute * 60), 20_000).unwrap();
        }
        assert_eq!(delays.queueing(), Some(ms(20)));
        delays.sample(Instant::from_secs(13 * 60), 20_000).unwrap();
        assert_eq!(delays.queueing(), Some(ms(0)));
    }

    #[test]
    fn clock_that_is_set_makes_a_new_beginning_and_drift_is_told() {
        let mut delays = Delays::new(Instant::ZERO);
        delays.sample(Instant::ZERO, 1_000_000).unwrap();
        assert_eq!(delays.sample(Instant::ZERO, 999_000), Ok(1000));
        assert_eq!(delays.sample(Instant::ZERO, 900_000), Ok(0), "a shorter way");
        assert_eq!(delays.sample(Instant::ZERO, 900_000 + 6_000_000), Err(ClockStep));
        assert_eq!(delays.queueing(), None);
        delays.sample(Instant::ZERO, 7_000_000).unwrap();
        delays.shift(500);
        assert_eq!(delays.queueing(), Some(ms(0)));
        for _ in 0..CURRENT {
            delays.sample(Instant::ZERO, 7_003_500).unwrap();
        }
        assert_eq!(delays.queueing(), Some(ms(3)));
    }
}
