//! A rate limit over every window at once.
//!
//! "In no window of any length were there more than `rate * length + burst` bytes" holds exactly
//! if a bucket that leaks at `rate` and takes every byte never holds more than `burst`. So one
//! number per limit is enough to check all windows.

use bitswarm_core::time::Instant;

/// The bucket.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    rate_bytes_per_s: u64,
    level: f64,
    highest: f64,
    at: Instant,
    total: u64,
}

impl Meter {
    /// Empty, leaking at this rate.
    pub fn new(rate_bytes_per_s: u64) -> Self {
        Meter { rate_bytes_per_s, level: 0.0, highest: 0.0, at: Instant::ZERO, total: 0 }
    }

    /// Bytes passed.
    pub fn add(&mut self, now: Instant, bytes: usize) {
        let leaked = (now - self.at).as_secs_f64() * self.rate_bytes_per_s as f64;
        self.level = (self.level - leaked).max(0.0) + bytes as f64;
        self.highest = self.highest.max(self.level);
        self.at = now;
        self.total += bytes as u64;
    }

    /// The smallest burst with which the limit held over every window so far, in bytes.
    pub fn burst(&self) -> u64 {
        self.highest.ceil() as u64
    }

    /// Bytes that passed in all.
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    quickcheck! {
        fn the_burst_is_the_worst_of_all_windows(steps: Vec<(u16, u16)>, rate: u16) -> bool {
            let mut meter = Meter::new(u64::from(rate));
            let mut at = Instant::ZERO;
            let mut passed = Vec::new();
            for (wait_ms, bytes) in steps {
                at += std::time::Duration::from_millis(u64::from(wait_ms));
                meter.add(at, usize::from(bytes));
                passed.push((at, f64::from(bytes)));
            }
            let mut worst: f64 = 0.0;
            for first in 0..passed.len() {
                for last in first..passed.len() {
                    let bytes: f64 = passed[first..=last].iter().map(|(_, bytes)| bytes).sum();
                    let window = (passed[last].0 - passed[first].0).as_secs_f64();
                    worst = worst.max(bytes - window * f64::from(rate));
                }
            }
            (meter.burst() as f64 - worst).abs() <= 1.0
        }
    }
}
