//! The session's allowance of bytes in one direction, and the connections that wait for it.
//!
//! Those who find the allowance used up wait in one line. When it is positive again, as many are
//! let go as it lasts for, of the torrents in turn, so that each torrent gets its share.

use crate::id::{ConnId, TorrentId};
use crate::rate::{FairLine, TokenBucket};
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
    line: FairLine<TorrentId, ConnId>,
    pub(crate) timer: TimerId,
}

impl RateGate {
    pub(crate) fn new(limit: Option<u64>, now: Instant, timer: TimerId) -> Self {
        RateGate { bucket: TokenBucket::new(limit, now), line: FairLine::new(), timer }
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

    /// Takes bytes for a torrent, into debt if need be.
    pub(crate) fn charge(&mut self, now: Instant, torrent: TorrentId, bytes: usize) {
        if self.bucket.limit().is_some() {
            self.bucket.take(now, bytes);
            self.line.charge(torrent, bytes as u64);
        }
    }

    /// A connection of a torrent joins the line.
    pub(crate) fn wait(&mut self, torrent: TorrentId, conn: ConnId) {
        self.line.wait(torrent, conn);
    }

    /// Those who may go now.
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
