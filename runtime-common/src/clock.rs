//! The clock that the engine does not have.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bitswarm_core::{Instant, UnixTime};

/// Time since the engine's birth, from the system's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(std::time::Instant);

impl Clock {
    /// Starts at zero.
    pub(crate) fn start() -> Self {
        Clock(std::time::Instant::now())
    }

    /// The time now.
    pub(crate) fn now(&self) -> Instant {
        let nanos = self.0.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The wall clock now; the epoch if it stands before that.
pub(crate) fn wall() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixTime(since.map_or(0, |since| since.as_secs()))
}

/// Translates the kernel's times, which are those of the wall clock, to the engine's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    now: Instant,
    wall: Duration,
}

impl WallClock {
    /// That of this moment.
    pub(crate) fn at(now: Instant) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallClock { now, wall }
    }

    /// When something happened; now, if that is not known or lies in the future. A clock that was set
    /// meanwhile moves it by as much, at most to the engine's start.
    pub(crate) fn instant(&self, wall: Option<Duration>) -> Instant {
        let ago = wall.map_or(Duration::ZERO, |then| self.wall.saturating_sub(then));
        self.now.saturating_sub(ago)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_times_become_the_engines() {
        let (now, wall) = (Instant::from_secs(10), Duration::from_secs(1_700_000_000));
        let clock = WallClock { now, wall };
        let at = |wall| clock.instant(Some(wall));
        let ago = Duration::from_millis(20);
        assert_eq!(at(wall - ago), now.saturating_sub(ago));
        assert_eq!((at(wall + Duration::from_secs(1)), clock.instant(None)), (now, now));
        assert_eq!(at(Duration::ZERO), Instant::ZERO);
    }
}
