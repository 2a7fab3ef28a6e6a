//! The clock that the engine does not have.

use std::time::{SystemTime, UNIX_EPOCH};

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
