//! The session's allowance of bytes in one direction, and the connections that wait for it.
//!
//! Those who find the allowance used up wait in one line. When it is positive again, as many are
//! let go as it lasts for; who was served goes to the end, so all get their share.

use std::collections::VecDeque;

use crate::id::ConnId;
use crate::rate::TokenBucket;
use crate::time::{Duration, Instant};
use crate::timer::TimerId;

/// Bytes that one who is let go is expected to use.
const SHARE: usize = crate::piece::BLOCK_LEN as usize;

/// Shortest time between two releases (chosen: the resolution of timers).
const PAUSE: Duration = Duration::from_millis(1);

/// An allowance and the line before it.
#[derive(Debug)]
pub(crate) struct RateGate {
    bucket: TokenBucket,
    line: VecDeque<ConnId>,
    pub(crate) timer: TimerId,
}

impl RateGate {
    pub(crate) fn new(limit: Option<u64>, now: Instant, timer: TimerId) -> Self {
        RateGate { bucket: TokenBucket::new(limit, now), line: VecDeque::new(), timer }
    }

    pub(crate) fn bucket(&mut self) -> &mut TokenBucket {
        &mut self.bucket
    }

    /// Whether nothing may pass now.
    pub(crate) fn is_used_up(&self, now: Instant) -> bool {
        self.bucket.available(now) == 0
    }

    pub(crate) fn limit(&self) -> Option<u64> {
        self.bucket.limit()
    }

    /// Joins the line.
    pub(crate) fn wait(&mut self, conn: ConnId) {
        self.line.push_back(conn);
    }

    /// Those who may go now.
    pub(crate) fn let_go(&mut self, now: Instant) -> Vec<ConnId> {
        let count = self.bucket.available(now).div_ceil(SHARE).min(self.line.len());
        self.line.drain(..count).collect()
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
