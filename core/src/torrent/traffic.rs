//! What a torrent moves: how fast, under which limits of its own, and how much in all.

use crate::config::RateLimits;
use crate::id::{ConnId, TorrentId};
use crate::rate::RateMeter;
use crate::session::rates::RateGate;
use crate::time::Instant;
use crate::timer::TimerId;
use crate::torrent::lazy::Lazy;

/// Meters, limits and counters of one torrent. Blocks alone are metered and counted.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    limits: Option<Box<Limits>>,
    down: Lazy<RateMeter>,
    up: Lazy<RateMeter>,
    totals: Totals,
}

/// Rate limits of one torrent.
#[derive(Debug)]
struct Limits {
    up: RateGate,
    down: RateGate,
}

/// Bytes of blocks, counted over the session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) downloaded: u64,
    pub(super) uploaded: u64,
    /// Of pieces that failed their hash.
    pub(super) failed: u64,
    /// There already, or not asked for.
    pub(super) redundant: u64,
    /// Up- and download of earlier sessions.
    uploaded_before: u64,
    downloaded_before: u64,
}

/// Connections that may go on.
#[derive(Debug, Default)]
pub(super) struct Released {
    pub(super) uploads: Vec<ConnId>,
    pub(super) reads: Vec<ConnId>,
}

impl Totals {
    /// Bytes sent in all sessions.
    pub(super) fn all_uploaded(&self) -> u64 {
        self.uploaded_before + self.uploaded
    }

    /// Bytes received in all sessions.
    pub(super) fn all_downloaded(&self) -> u64 {
        self.downloaded_before + self.downloaded
    }
}

impl Traffic {
    // Counting.

    /// Bytes counted so far.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// What earlier sessions have counted.
    pub(super) fn recall(&mut self, uploaded: u64, downloaded: u64) {
        self.totals.uploaded_before = uploaded;
        self.totals.downloaded_before = downloaded;
    }

    /// Whether nothing was moved in this session.
    pub(super) fn is_none(&self) -> bool {
        self.totals.downloaded == 0 && self.totals.uploaded == 0
    }

    /// A block has come; perhaps it was not asked for.
    pub(super) fn arrived(&mut self, bytes: u64) {
        self.totals.downloaded += bytes;
    }

    /// It was asked for.
    pub(super) fn received(&mut self, now: Instant, bytes: u64) {
        self.down.make().add(now, bytes);
    }

    /// It was here already, or not asked for.
    pub(super) fn was_redundant(&mut self, bytes: u64) {
        self.totals.redundant += bytes;
    }

    /// Blocks are thrown away, for they failed.
    pub(super) fn failed(&mut self, bytes: u64) {
        self.totals.failed += bytes;
    }

    /// A peer was sent blocks.
    pub(super) fn sent(&mut self, now: Instant, bytes: u64) {
        self.up.make().add(now, bytes);
        self.totals.uploaded += bytes;
    }

    /// Bytes per second that come.
    pub(super) fn down_rate(&self, now: Instant) -> u64 {
        self.down.get().map_or(0, |meter| meter.rate(now))
    }

    /// Bytes per second that go.
    pub(super) fn up_rate(&self, now: Instant) -> u64 {
        self.up.get().map_or(0, |meter| meter.rate(now))
    }

    // Limits.

    /// Changes the limits. `timer` registers one for either direction when there is first a limit.
    pub(super) fn set_limits(
        &mut self,
        now: Instant,
        limits: RateLimits,
        mut timer: impl FnMut() -> TimerId,
    ) {
        match &mut self.limits {
            Some(gates) => {
                gates.up.bucket().set_limit(limits.up_bytes_per_s, now);
                gates.down.bucket().set_limit(limits.down_bytes_per_s, now);
            }
            None if limits == RateLimits::default() => {}
            None => {
                let (up, down) = (timer(), timer());
                self.limits = Some(Box::new(Limits {
                    up: RateGate::new(limits.up_bytes_per_s, now, up),
                    down: RateGate::new(limits.down_bytes_per_s, now, down),
                }));
            }
        }
    }

    /// The timers of the limits, if there are any, with when each is to go off.
    pub(super) fn timers(&self, now: Instant) -> impl Iterator<Item = (TimerId, Option<Instant>)> {
        let gates = self.limits.iter().flat_map(|gates| [&gates.up, &gates.down]);
        gates.map(move |gate| (gate.timer, gate.next_at(now)))
    }

    /// The allowance may be positive again: those who waited for it and may go on.
    pub(super) fn release(&mut self, now: Instant) -> Released {
        let Some(gates) = &mut self.limits else { return Released::default() };
        Released { uploads: gates.up.let_go(now), reads: gates.down.let_go(now) }
    }

    /// Bytes per second that may come.
    pub(super) fn down_limit(&self) -> Option<u64> {
        self.limits.as_ref().and_then(|gates| gates.down.limit())
    }

    /// Whether the torrent's own limit keeps bytes from coming faster.
    pub(super) fn is_limited(&self, now: Instant) -> bool {
        self.limits.as_ref().is_some_and(|gates| gates.down.is_the_brake(now))
    }

    /// Bytes were read from a peer. Whether no more may be: the connection is let go later, with the
    /// timer that is to be armed.
    pub(super) fn charge_read(
        &mut self,
        now: Instant,
        (torrent, conn): (TorrentId, ConnId),
        bytes: usize,
    ) -> Option<(TimerId, Option<Instant>)> {
        let gate = &mut self.limits.as_mut()?.down;
        gate.charge(now, torrent, bytes);
        if !gate.is_used_up(now) {
            return None;
        }
        gate.wait(torrent, conn);
        Some((gate.timer, gate.next_at(now)))
    }

    /// The allowance for sending, if it is used up.
    pub(super) fn upload_brake(&mut self, now: Instant) -> Option<&mut RateGate> {
        self.limits.as_mut().map(|gates| &mut gates.up).filter(|gate| gate.is_used_up(now))
    }

    /// Messages are sent to a peer, which nothing holds up.
    pub(super) fn charge_words(&mut self, now: Instant, torrent: TorrentId, bytes: usize) {
        if let Some(gates) = &mut self.limits {
            gates.up.charge_words(now, torrent, bytes);
        }
    }

    /// Bytes are sent to a peer.
    pub(super) fn charge_upload(&mut self, now: Instant, torrent: TorrentId, bytes: usize) {
        if let Some(gates) = &mut self.limits {
            gates.up.charge(now, torrent, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id as _;
    use crate::time::Duration;
    use crate::timer::TimerWheel;

    fn limits(up: Option<u64>, down: Option<u64>) -> RateLimits {
        RateLimits { up_bytes_per_s: up, down_bytes_per_s: down }
    }

    fn limited(limits: RateLimits) -> Traffic {
        let mut wheel = TimerWheel::new();
        let mut traffic = Traffic::default();
        traffic.set_limits(Instant::ZERO, limits, || wheel.register(()));
        traffic
    }

    #[test]
    fn without_limits_there_is_no_timer_and_nobody_waits() {
        let mut traffic = limited(limits(None, None));
        let of = (TorrentId::new(0, 0), ConnId::new(1, 0));
        assert_eq!(traffic.charge_read(Instant::ZERO, of, 1 << 20), None);
        assert!(traffic.upload_brake(Instant::ZERO).is_none());
        assert_eq!(traffic.timers(Instant::ZERO).count(), 0);
    }

    #[test]
    fn who_reads_beyond_the_limit_waits_until_the_debt_is_paid() {
        let mut traffic = limited(limits(None, Some(10_000)));
        let of = (TorrentId::new(0, 0), ConnId::new(1, 0));
        let (timer, at) = traffic.charge_read(Instant::ZERO, of, 50_000).expect("beyond it");
        let at = at.expect("somebody waits");
        assert!(traffic.is_limited(Instant::ZERO) && traffic.down_limit() == Some(10_000));
        assert!(traffic.timers(Instant::ZERO).any(|armed| armed == (timer, Some(at))));
        assert!(traffic.release(Instant::ZERO).reads.is_empty());
        let released = traffic.release(at + Duration::from_millis(1));
        assert_eq!((released.reads, released.uploads), (vec![of.1], vec![]));
        assert!(traffic.timers(at).all(|(_, at)| at.is_none()), "nobody waits any more");
    }

    #[test]
    fn a_limit_on_sending_holds_up_no_reading() {
        let mut traffic = limited(limits(Some(10_000), None));
        let of = (TorrentId::new(0, 0), ConnId::new(1, 0));
        traffic.charge_upload(Instant::ZERO, of.0, 50_000);
        assert!(traffic.upload_brake(Instant::ZERO).is_some());
        assert!(traffic.upload_brake(Instant::from_secs(10)).is_none());
        assert_eq!(traffic.charge_read(Instant::ZERO, of, 50_000), None);
    }

    #[test]
    fn what_was_not_asked_for_is_counted_and_shows_in_no_rate() {
        let (mut traffic, now) = (Traffic::default(), Instant::from_secs(1));
        traffic.recall(7, 9);
        assert!(traffic.is_none(), "earlier sessions moved that");
        traffic.arrived(500);
        traffic.was_redundant(500);
        assert_eq!(traffic.down_rate(now), 0);
        traffic.sent(now, 300);
        assert!(traffic.up_rate(now) > 0 && !traffic.is_none());
        let totals = traffic.totals();
        assert_eq!((totals.all_uploaded(), totals.all_downloaded()), (307, 509));
        assert_eq!((totals.redundant, totals.failed), (500, 0));
    }
}
