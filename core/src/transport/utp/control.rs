//! What acknowledgements and losses do to the congestion window.

use super::delay::{ClockStep, Delays};
use super::ledbat::{Acked, Ledbat, State};
use super::send::{Acknowledged, Losses};
use crate::time::{Duration, Instant};

/// Delays that mean "none": 0 (BEP 29), and what an old client sends instead (libutp).
const NO_SAMPLE: [u32; 2] = [0, 0x7fff_ffff];

/// Congestion control of a connection.
#[derive(Debug)]
pub(super) struct Control {
    ledbat: Ledbat,
    /// Of packets that we sent.
    sent: Delays,
    /// Of packets that we received.
    received: Delays,
    /// Delays say nothing until then: a clock was set.
    quiet_until: Instant,
    recovery: Option<Recovery>,
    /// The most bytes that were under way in this round trip, and in the one before.
    peak: usize,
    last_peak: usize,
    round_began: Instant,
}

/// A loss that the window was cut for.
#[derive(Debug)]
struct Recovery {
    /// Of what was sent before this place, further losses are part of it.
    until: u64,
    before: State,
    lost: usize,
    needless: usize,
    by_timeout: bool,
}

impl Control {
    pub(super) fn new(now: Instant, segment: usize) -> Self {
        Control {
            ledbat: Ledbat::new(segment),
            sent: Delays::new(now),
            received: Delays::new(now),
            quiet_until: now,
            recovery: None,
            peak: 0,
            last_peak: 0,
            round_began: now,
        }
    }

    /// Bytes that may be under way.
    pub(super) fn window(&self) -> usize {
        self.ledbat.window()
    }

    /// How long our packets wait in queues.
    pub(super) fn queueing(&self) -> Option<Duration> {
        self.sent.queueing()
    }

    /// A packet came in that was under way for so long by both clocks.
    pub(super) fn on_packet(&mut self, now: Instant, difference: u32) {
        if let Ok(fell) = self.received.sample(now, difference) {
            // Our clock falls behind theirs, so what they see of our packets only seems to grow.
            self.sent.shift(fell);
        }
    }

    /// The other side says how long the last packet of ours was under way, by both clocks.
    pub(super) fn on_delay(&mut self, now: Instant, delay: u32, rtt: Duration) {
        if NO_SAMPLE.contains(&delay) || now < self.quiet_until {
            return;
        }
        if let Err(ClockStep) = self.sent.sample(now, delay) {
            self.quiet_until = now + rtt;
        }
    }

    /// So many bytes are under way after sending.
    pub(super) fn on_sent(&mut self, now: Instant, flight: usize, rtt: Duration) {
        if now - self.round_began >= rtt {
            self.round_began = now;
            self.last_peak = self.peak;
            self.peak = 0;
        }
        self.peak = self.peak.max(flight);
    }

    /// Packets were acknowledged.
    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        acked: &Acknowledged,
        rtt: Duration,
        segment: usize,
    ) {
        let used = self.peak.max(self.last_peak);
        // What waits in a queue is part of the round trip.
        let queueing = self.sent.queueing().map(|queueing| queueing.min(rtt));
        let is_limited = self.window() <= used + 2 * segment;
        self.ledbat.on_ack(now, Acked { bytes: acked.bytes, queueing, is_limited, segment });
        let Some(recovery) = &mut self.recovery else { return };
        recovery.needless += acked.needless;
        let was_needless = match recovery.by_timeout {
            true => acked.first_try || acked.needless > 0,
            false => recovery.needless >= recovery.lost,
        };
        if was_needless {
            self.ledbat.undo(recovery.before);
            self.recovery = None;
        } else if recovery.by_timeout {
            // The first acknowledgement decides.
            recovery.by_timeout = false;
            recovery.lost = usize::MAX;
        }
    }

    /// Packets were lost, of all that was sent before the place `next`.
    pub(super) fn on_losses(
        &mut self,
        now: Instant,
        losses: &Losses,
        next: u64,
        rtt: Duration,
        segment: usize,
    ) {
        if losses.packets == 0 {
            return;
        }
        match &mut self.recovery {
            Some(recovery) if losses.newest < recovery.until => {
                recovery.lost = recovery.lost.saturating_add(losses.packets);
            }
            _ => {
                let before = self.ledbat.state();
                self.ledbat.on_loss(now, rtt, segment);
                let lost = losses.packets;
                self.recovery =
                    Some(Recovery { until: next, before, lost, needless: 0, by_timeout: false });
            }
        }
    }

    /// Nothing was acknowledged for a time-out. `is_first`: since something was.
    pub(super) fn on_timeout(&mut self, now: Instant, is_first: bool, next: u64, segment: usize) {
        let before = match &self.recovery {
            Some(recovery) if !is_first => recovery.before,
            _ => self.ledbat.state(),
        };
        self.ledbat.on_timeout(now, segment);
        self.recovery =
            Some(Recovery { until: next, before, lost: 0, needless: 0, by_timeout: true });
    }

    /// Nothing was sent for so many time-outs.
    pub(super) fn on_idle(&mut self, timeouts: u32, segment: usize) {
        self.ledbat.on_idle(timeouts, segment);
    }
}
