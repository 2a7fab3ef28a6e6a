//! So many in a second: what strangers bring about that costs us something each time.
//!
//! Unlike [`Allowance`](super::Allowance) it counts events and not amounts, and says when there may be more.

use crate::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// Counts what happened in the current second, which begins with the first that does.
#[derive(Clone, Copy, Debug, Default)]
pub struct PerSecond {
    began: Instant,
    count: u32,
}

impl PerSecond {
    /// Whether there may be another now, if there may be `most` in a second.
    pub fn has_room(&self, now: Instant, most: u32) -> bool {
        (now - self.began >= SECOND && most > 0) || self.count < most
    }

    /// The same; if there may be, there is.
    pub fn admit(&mut self, now: Instant, most: u32) -> bool {
        if now - self.began >= SECOND {
            *self = PerSecond { began: now, count: 0 };
        }
        let admits = self.count < most;
        self.count += u32::from(admits);
        admits
    }

    /// When there may be as many again.
    pub fn next_at(&self) -> Instant {
        self.began + SECOND
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    #[test]
    fn there_are_so_many_and_as_many_again_a_second_later() {
        let mut count = PerSecond::default();
        let now = Instant::from_secs(50) + Duration::from_millis(300);
        assert_eq!((0..100).filter(|_| count.admit(now, 7)).count(), 7);
        assert!(!count.has_room(now, 7) && count.has_room(now, 8));
        assert_eq!(count.next_at(), now + SECOND);
        assert!(!count.admit(now + Duration::from_millis(999), 7));
        assert!(count.has_room(count.next_at(), 7) && count.admit(count.next_at(), 7));
        assert!(!count.has_room(count.next_at(), 0) && !PerSecond::default().admit(now, 0));
    }

    quickcheck! {
        fn room_is_what_is_admitted(steps: Vec<(u8, u8)>) -> bool {
            let (mut count, mut now) = (PerSecond::default(), Instant::from_secs(9));
            steps.into_iter().all(|(wait, most)| {
                now += Duration::from_millis(u64::from(wait) * 10);
                let most = u32::from(most % 6);
                count.has_room(now, most) == count.admit(now, most)
            })
        }
    }
}
