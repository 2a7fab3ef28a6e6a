//! The session's allowance of bytes in one direction, and the connections that wait for it.
//!
//! Connections that find the allowance used up wait in one line. When it is positive again, as many are
//! let go as it lasts for, of the torrents in turn, so that each torrent gets its share.

use crate::id::{ConnId, TorrentId};
use crate::piece::BLOCK_LEN;
use crate::rate::{FairLine, RateMeter, TokenBucket};
use crate::time::{Duration, Instant};
use crate::timer::TimerId;

/// Bytes that a connection that is let go is expected to use.
const SHARE: usize = BLOCK_LEN as usize;

/// Shortest time between two releases (chosen: the resolution of timers).
const PAUSE: Duration = Duration::from_millis(1);

/// An allowance and the line before it.
#[derive(Debug)]
pub(crate) struct RateGate {
    bucket: TokenBucket,
    /// What passes while there is a limit, whichever torrent it is for.
    passed: RateMeter,
    line: FairLine<TorrentId, ConnId>,
    pub(crate) timer: TimerId,
}

impl RateGate {
    pub(crate) fn new(limit: Option<u64>, now: Instant, timer: TimerId) -> Self {
        RateGate {
            bucket: TokenBucket::new(limit, now),
            passed: RateMeter::new(),
            line: FairLine::new(),
            timer,
        }
    }

    pub(crate) fn bucket(&mut self) -> &mut TokenBucket {
        &mut self.bucket
    }

    /// Whether it is this limit that keeps bytes from flowing faster: nothing may pass now, or nine
    /// tenths of the limit are used by everything together. What one torrent moves says nothing,
    /// for the limit may be used up by others.
    pub(crate) fn is_the_brake(&self, now: Instant) -> bool {
        self.limit().is_some_and(|limit| {
            self.is_used_up(now) || self.passed.rate(now) >= limit - limit / 10
        })
    }

    /// Whether nothing may pass now.
    pub(crate) fn is_used_up(&self, now: Instant) -> bool {
        self.bucket.available(now) == 0
    }

    pub(crate) fn limit(&self) -> Option<u64> {
        self.bucket.limit()
    }

    /// Takes bytes for a torrent, into debt if need be.
    pub(crate) fn charge(&mut self, now: Instant, torrent: TorrentId, bytes: usize) {
        if self.bucket.limit().is_some() {
            self.bucket.take(now, bytes);
            self.passed.add(now, bytes as u64);
            self.line.charge(torrent, bytes as u64);
        }
    }

    /// Takes bytes that pass in any case, such as messages about pieces: they slow down what waits, and
    /// do not hold it up for long.
    pub(crate) fn charge_words(&mut self, now: Instant, torrent: TorrentId, bytes: usize) {
        if self.bucket.limit().is_some() && bytes > 0 {
            self.bucket.take_within_bounds(now, bytes);
            self.passed.add(now, bytes as u64);
            self.line.charge(torrent, bytes as u64);
        }
    }

    /// A connection of a torrent joins the line.
    pub(crate) fn wait(&mut self, torrent: TorrentId, conn: ConnId) {
        self.line.wait(torrent, conn);
    }

    /// The connections that may go now.
    pub(crate) fn let_go(&mut self, now: Instant) -> Vec<ConnId> {
        let count = self.bucket.available(now).div_ceil(SHARE);
        std::iter::from_fn(|| self.line.next(SHARE as u64)).take(count).collect()
    }

    /// When to let go again, if anybody waits: later than now, for those let go have not taken
    /// their share yet.
    pub(crate) fn next_at(&self, now: Instant) -> Option<Instant> {
        if self.line.is_empty() {
            return None;
        }
        self.bucket.ready_at(now).map(|at| at.max(now + PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id as _;
    use crate::timer::TimerWheel;

    fn torrent() -> TorrentId {
        TorrentId::new(0, 0)
    }

    fn gate(limit: Option<u64>) -> RateGate {
        let mut timers = TimerWheel::new();
        RateGate::new(limit, Instant::ZERO, timers.register(()))
    }

    #[test]
    fn a_limit_is_the_brake_when_all_together_use_it() {
        let mut limited = gate(Some(100_000));
        let mut peak = gate(Some(100_000));
        let mut free = gate(None);
        for at in (0..5_000).step_by(10).map(Instant::from_millis) {
            limited.charge(at, torrent(), 500);
            peak.charge(at, torrent(), 960);
            free.charge(at, torrent(), 100_000);
        }
        let end = Instant::from_millis(5_000);
        assert!(!limited.is_the_brake(end), "half of it is used");
        assert!(peak.is_the_brake(end));
        assert!(!free.is_the_brake(end), "there is no limit");
        assert!(!peak.is_the_brake(end + Duration::from_secs(5)), "nothing passes any more");
    }

    #[test]
    fn a_limit_below_a_block_a_second_is_the_brake_between_two_blocks() {
        let mut gate = gate(Some(1_000));
        gate.charge(Instant::ZERO, torrent(), 16_384);
        gate.charge(Instant::ZERO, torrent(), 16_384);
        assert!(gate.is_the_brake(Instant::from_secs(10)), "it is in debt");
    }
}
