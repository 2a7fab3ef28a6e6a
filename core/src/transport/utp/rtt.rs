//! Round trips, and how long to wait for an acknowledgement (BEP 29, "timeouts"; RFC 6298).

use crate::time::Duration;

/// Least time until packets are held lost for want of any acknowledgement (BEP 29).
const MIN_RTO: Duration = Duration::from_millis(500);
/// Most time (chosen).
const MAX_RTO: Duration = Duration::from_secs(30);
/// The same before there was a round trip (BEP 29).
const INITIAL_RTO: Duration = Duration::from_secs(1);
/// What an acknowledgement may be late, beyond two round trips, before a probe asks for it:
/// transmission takes 40 to 147 ms (measured).
const PROBE_SLACK: Duration = Duration::from_millis(130);

/// The round trip to the other side.
#[derive(Clone, Debug, Default)]
pub(super) struct Rtt {
    smoothed: Option<Duration>,
    variation: Duration,
    least: Duration,
    /// How often the time-out was doubled since something was acknowledged.
    backoff: u32,
}

impl Rtt {
    /// A packet that was sent once was acknowledged after so long.
    pub(super) fn sample(&mut self, rtt: Duration) {
        match &mut self.smoothed {
            None => {
                self.smoothed = Some(rtt);
                self.variation = rtt / 2;
                self.least = rtt;
            }
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(rtt)) / 4;
                *smoothed = (*smoothed * 7 + rtt) / 8;
                self.least = self.least.min(rtt);
            }
        }
    }

    /// The average round trip; a guess before there is one.
    pub(super) fn smoothed(&self) -> Duration {
        self.smoothed.unwrap_or(Duration::from_millis(100))
    }

    /// The least round trip that was seen.
    pub(super) fn least(&self) -> Duration {
        self.least
    }

    /// After how long without an acknowledgement everything is held lost.
    pub(super) fn timeout(&self) -> Duration {
        let base = match self.smoothed {
            None => INITIAL_RTO,
            Some(smoothed) => smoothed + self.variation * 4,
        };
        base.clamp(MIN_RTO, MAX_RTO).saturating_mul(1 << self.backoff.min(6)).min(MAX_RTO)
    }

    /// After how long without an acknowledgement the newest packet is sent once more.
    pub(super) fn probe_timeout(&self) -> Option<Duration> {
        self.smoothed.map(|smoothed| smoothed * 2 + PROBE_SLACK)
    }

    /// Time-outs without anything acknowledged.
    pub(super) fn timeouts(&self) -> u32 {
        self.backoff
    }

    /// The time-out has come.
    pub(super) fn back_off(&mut self) {
        self.backoff += 1;
    }

    /// Something was acknowledged.
    pub(super) fn progress(&mut self) {
        self.backoff = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_out_follows_the_round_trip_and_doubles() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.timeout(), INITIAL_RTO);
        assert_eq!(rtt.probe_timeout(), None);
        rtt.sample(Duration::from_millis(200));
        assert_eq!(rtt.timeout(), Duration::from_millis(600));
        rtt.back_off();
        rtt.back_off();
        assert_eq!(rtt.timeout(), Duration::from_millis(2400));
        (0..100).for_each(|_| rtt.back_off());
        assert_eq!(rtt.timeout(), MAX_RTO);
        rtt.progress();
        (0..100).for_each(|_| rtt.sample(Duration::from_millis(10)));
        assert_eq!(rtt.timeout(), MIN_RTO);
        assert_eq!(rtt.least(), Duration::from_millis(10));
    }
}
