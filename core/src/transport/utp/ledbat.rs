//! The congestion window: how many bytes may be under way (RFC 6817; BEP 29, "congestion control").
//!
//! It grows while packets hardly wait in queues and shrinks as soon as they do, before TCP would notice:
//! who shares the way goes first. Where no queue is seen, it behaves as TCP does.

use crate::time::{Duration, Instant};

/// What packets may wait in queues (BEP 29).
const TARGET: Duration = Duration::from_millis(100);
/// Where slow start ends (chosen; libutp 90, libtorrent 100 ms).
const SLOW_START_END: Duration = Duration::from_millis(40);
/// Up to here a queue counts as empty: the window grows in proportion to itself (chosen).
const EMPTY: Duration = Duration::from_millis(5);
/// From here on a queue counts as ours: a loss is taken as TCP takes it (chosen).
const QUEUE_SEEN: Duration = Duration::from_millis(25);
/// Growth in a round trip beside others, in bytes (BEP 29).
const STEP: u64 = 3000;
/// Of the window, the part that it grows by in a round trip where the queue is empty (chosen).
const EMPTY_PART: u64 = 16;
/// Segments of the first window (chosen; RFC 6817: 2, RFC 6928: 10).
const INITIAL_SEGMENTS: usize = 4;
/// Most bytes under way (chosen).
const MAX_WINDOW: usize = 4 * 1024 * 1024;
/// Parts of a byte that the window is counted in.
const PARTS: u64 = 256;

/// The window of a connection.
#[derive(Clone, Debug)]
pub(super) struct Ledbat {
    state: State,
    last_loss: Option<Instant>,
    /// When packets last waited long enough for the queue to count as ours.
    queue_seen: Option<Instant>,
}

/// What is restored when a loss turns out to have been none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct State {
    /// In parts of a byte.
    window: u64,
    /// Below it, slow start.
    threshold: u64,
}

/// An acknowledgement, as congestion control sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acked {
    /// Bytes that were under way.
    pub(super) bytes: usize,
    /// How long packets wait in queues, if that is known.
    pub(super) queueing: Option<Duration>,
    /// Whether the window was what held more back.
    pub(super) is_limited: bool,
    /// Bytes of a full segment.
    pub(super) segment: usize,
}

impl Ledbat {
    pub(super) fn new(segment: usize) -> Self {
        let window = (INITIAL_SEGMENTS * segment) as u64 * PARTS;
        let state = State { window, threshold: u64::MAX };
        Ledbat { state, last_loss: None, queue_seen: None }
    }

    /// Bytes that may be under way.
    pub(super) fn window(&self) -> usize {
        (self.state.window / PARTS) as usize
    }

    /// What is to be restored if a loss that is reported next was none.
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Undoes what losses have done to the window since `before`.
    pub(super) fn undo(&mut self, before: State) {
        self.state.window = self.state.window.max(before.window);
        self.state.threshold = self.state.threshold.max(before.threshold);
    }

    /// Bytes were acknowledged.
    pub(super) fn on_ack(&mut self, now: Instant, acked: Acked) {
        let Acked { bytes, queueing, is_limited, segment } = acked;
        let queueing = queueing.unwrap_or_default();
        if queueing >= QUEUE_SEEN {
            self.queue_seen = Some(now);
        }
        let bytes = bytes as u64;
        let State { window, threshold } = &mut self.state;
        if *window < *threshold {
            if queueing > SLOW_START_END {
                *window = *window / 4 * 3;
                *threshold = *window;
            } else if is_limited {
                *window += bytes * PARTS;
            }
        } else if queueing <= TARGET {
            if is_limited {
                let whole = *window / PARTS;
                let step = if queueing < EMPTY { STEP.max(whole / EMPTY_PART) } else { STEP };
                let room = (TARGET - queueing).as_micros() as u64;
                let growth = step * bytes * PARTS / whole.max(1);
                *window += growth * room / TARGET.as_micros() as u64;
            }
        } else {
            // In a round trip, a quarter of the window for each target above the target, but no more
            // than half.
            let excess =
                ((queueing - TARGET).as_micros() as u64).min(2 * TARGET.as_micros() as u64);
            let cut = bytes * PARTS * excess / (4 * TARGET.as_micros() as u64);
            *window = window.saturating_sub(cut);
            *threshold = *window;
        }
        self.clamp(segment);
    }

    /// Packets were lost; to be called once in a round trip.
    pub(super) fn on_loss(&mut self, now: Instant, rtt: Duration, segment: usize) {
        let within = |at: Option<Instant>, time: Duration| at.is_some_and(|at| now - at <= time);
        let is_calm = !within(self.queue_seen, rtt) && !within(self.last_loss, rtt * 2);
        self.last_loss = Some(now);
        let State { window, threshold } = &mut self.state;
        *window = if is_calm { *window / 10 * 7 } else { *window / 2 };
        *threshold = *window;
        self.clamp(segment);
    }

    /// Nothing was acknowledged for a time-out: everything under way is lost.
    pub(super) fn on_timeout(&mut self, now: Instant, segment: usize) {
        self.last_loss = Some(now);
        let State { window, threshold } = &mut self.state;
        *threshold = (*window / 2).max(2 * segment as u64 * PARTS);
        *window = 0;
        self.clamp(segment);
    }

    /// Nothing was sent for so many time-outs: what the window was says less and less.
    pub(super) fn on_idle(&mut self, timeouts: u32, segment: usize) {
        let least = (INITIAL_SEGMENTS * segment) as u64 * PARTS;
        if self.state.window > least {
            self.state.threshold = self.state.threshold.max(self.state.window / 4 * 3);
            self.state.window = (self.state.window >> timeouts.min(16)).max(least);
        }
    }

    fn clamp(&mut self, segment: usize) {
        self.state.window =
            self.state.window.clamp(segment as u64 * PARTS, MAX_WINDOW as u64 * PARTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: usize = 1000;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A window that has left slow start at so many bytes.
    fn settled(window: usize) -> Ledbat {
        let mut ledbat = Ledbat::new(SEGMENT);
        ledbat.state = State { window: window as u64 * PARTS, threshold: window as u64 * PARTS };
        ledbat
    }

    /// The window after all of it was acknowledged, in segments.
    fn round(ledbat: &mut Ledbat, queueing: Duration, is_limited: bool) -> usize {
        for _ in 0..ledbat.window() / SEGMENT {
            let acked =
                Acked { bytes: SEGMENT, queueing: Some(queueing), is_limited, segment: SEGMENT };
            ledbat.on_ack(Instant::ZERO, acked);
        }
        ledbat.window()
    }

    #[test]
    fn slow_start_doubles_until_packets_wait() {
        let mut ledbat = Ledbat::new(SEGMENT);
        assert_eq!(round(&mut ledbat, ms(0), true), 8 * SEGMENT);
        assert_eq!(round(&mut ledbat, ms(39), true), 16 * SEGMENT);
        let acked = Acked { bytes: 1, queueing: Some(ms(41)), is_limited: true, segment: SEGMENT };
        ledbat.on_ack(Instant::ZERO, acked);
        assert_eq!(ledbat.window(), 12 * SEGMENT);
    }

    #[test]
    fn window_grows_below_the_target_only_and_only_if_it_is_used() {
        let mut ledbat = settled(100 * SEGMENT);
        assert_eq!(round(&mut ledbat, ms(0), false), 100 * SEGMENT);
        let grown = round(&mut ledbat, ms(0), true);
        assert!((106 * SEGMENT..107 * SEGMENT).contains(&grown), "a sixteenth: {grown}");
        let mut beside = settled(100 * SEGMENT);
        let grown = round(&mut beside, ms(50), true);
        assert!((101_400..=101_500).contains(&grown), "half of 3000 bytes: {grown}");
        assert_eq!(round(&mut settled(100 * SEGMENT), ms(100), true), 100 * SEGMENT);
    }

    #[test]
    fn window_shrinks_above_the_target_by_a_half_at_most() {
        assert_eq!(round(&mut settled(100 * SEGMENT), ms(200), true), 75 * SEGMENT);
        assert_eq!(round(&mut settled(100 * SEGMENT), ms(5000), true), 50 * SEGMENT);
        assert_eq!(round(&mut settled(SEGMENT), ms(5000), true), SEGMENT);
    }

    #[test]
    fn loss_halves_unless_there_is_no_sign_of_a_queue() {
        let mut ledbat = settled(100 * SEGMENT);
        ledbat.on_loss(Instant::from_secs(1), ms(20), SEGMENT);
        assert_eq!(ledbat.window(), 70 * SEGMENT);
        ledbat.on_loss(Instant::from_millis(1030), ms(20), SEGMENT);
        assert_eq!(ledbat.window(), 35 * SEGMENT, "so soon again");
        let mut ledbat = settled(100 * SEGMENT);
        round(&mut ledbat, ms(30), false);
        ledbat.on_loss(Instant::from_millis(10), ms(20), SEGMENT);
        assert_eq!(ledbat.window(), 50 * SEGMENT, "packets waited");
    }

    #[test]
    fn what_a_needless_loss_took_is_given_back() {
        let mut ledbat = settled(100 * SEGMENT);
        let before = ledbat.state();
        ledbat.on_timeout(Instant::ZERO, SEGMENT);
        assert_eq!(ledbat.window(), SEGMENT);
        ledbat.undo(before);
        assert_eq!(ledbat.window(), 100 * SEGMENT);
    }

    #[test]
    fn idle_window_is_halved_down_to_the_first_one() {
        let mut ledbat = settled(100 * SEGMENT);
        ledbat.on_idle(2, SEGMENT);
        assert_eq!(ledbat.window(), 25 * SEGMENT);
        ledbat.on_idle(1000, SEGMENT);
        assert_eq!(ledbat.window(), INITIAL_SEGMENTS * SEGMENT);
    }
}
