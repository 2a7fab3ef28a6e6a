//! How many breaches of the protocol the application hears of: hostile peers are not to fill its log.

use crate::time::{Duration, Instant};

/// Notices of breaches in one period (chosen: enough to see what is going on).
const MOST: u32 = 20;
const PERIOD: Duration = Duration::from_secs(60);

/// What was told of in this period.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    began: Instant,
    told: u32,
    untold: u32,
}

impl Violations {
    /// Whether one that happens now is told of, and how many were not since the last that was.
    pub(crate) fn tell(&mut self, now: Instant) -> Option<u32> {
        if now - self.began >= PERIOD {
            (self.began, self.told) = (now, 0);
        }
        if self.told >= MOST {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_of_in_part_and_the_rest_counted() {
        let mut violations = Violations::default();
        let at = Instant::from_secs;
        let told = |violations: &mut Violations, now| {
            (0..100).filter_map(|_| violations.tell(now)).collect::<Vec<u32>>()
        };
        assert_eq!(told(&mut violations, at(1)), [0; 20]);
        assert_eq!(told(&mut violations, at(59)), [0; 0]);
        let next = told(&mut violations, at(60));
        assert_eq!((next.len(), next[0], next[1]), (20, 180, 0));
    }
}
