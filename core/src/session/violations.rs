//! How many breaches of the protocol the application hears of: hostile peers are not to fill its log.

use crate::time::{Duration, Instant};

/// Notices of breaches in one period (chosen: enough to see what is going on).
const MOST: u32 = 20;
const PERIOD: Duration = Duration::from_secs(60);

/// The violations of this period.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    began: Instant,
    shown: u32,
    not_shown: u32,
}

impl Violations {
    /// One happens now. If it is to be shown: how many were not since the last that was.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<u32> {
        if now - self.began >= PERIOD {
            (self.began, self.shown) = (now, 0);
        }
        if self.shown >= MOST {
            self.not_shown = self.not_shown.saturating_add(1);
            return None;
        }
        self.shown += 1;
        Some(std::mem::take(&mut self.not_shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_shown_in_part_and_the_rest_counted() {
        let mut violations = Violations::default();
        let at = Instant::from_secs;
        let shown = |violations: &mut Violations, now| {
            (0..100).filter_map(|_| violations.admit(now)).collect::<Vec<u32>>()
        };
        assert_eq!(shown(&mut violations, at(1)), [0; 20]);
        assert_eq!(shown(&mut violations, at(59)), [0; 0]);
        let next = shown(&mut violations, at(60));
        assert_eq!((next.len(), next[0], next[1]), (20, 180, 0));
    }
}
