//! What is known of one address of a peer: how its connections ended, how long it waits because of
//! that, and how it ranks among others.
//!
//! Candidates are ordered: what the user named, then local peers, then the least failures, then
//! canonical priority (BEP 40); what failed often comes last, by whichever source we know it. A failed
//! address waits, twice as long each time, so that a source cannot use us to bombard a victim (defence
//! 22). An address whose connection we closed for reasons of our own is a candidate at once.

use std::cmp::Reverse;

use crate::peer::DialEncryption;
use crate::peer_source::PeerSource;
use crate::time::{Duration, Instant};

/// How a connection, or the attempt at one, ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::torrent) enum Ended {
    /// It was not established, or ended before both handshakes were through.
    Failed,
    /// It worked, and either side ended it.
    Normal,
    /// Neither side had anything for the other.
    Useless,
    /// The peer broke the protocol.
    Misbehaved,
    /// It sent more that we did not request than is borne.
    Wasteful,
    /// We ended it for reasons of our own, and may want it again at any time.
    LetGo,
    /// It hung up before it had answered a byte, and is tried the other way: with encryption, or without.
    Redialled,
    /// There was no way to it from here: perhaps our network is down.
    Unreachable,
    /// It was not tried: its address has as many connections as it may.
    Busy,
}

impl Ended {
    /// Whether it may be wanted again before its time, because of something that happens.
    fn is_held_back(self) -> bool {
        matches!(self, Ended::Wasteful | Ended::Useless | Ended::Unreachable | Ended::Busy)
    }
}

/// First wait after a failure; doubled with each further one (chosen).
const BACKOFF: Duration = Duration::from_secs(15);
/// Longest wait (chosen).
const BACKOFF_MOST: Duration = Duration::from_secs(3600);
/// First wait for an address that the user or the link named (chosen).
const BACKOFF_GIVEN: Duration = Duration::from_secs(2);
/// Longest wait for an address that the user or the link named (chosen).
const BACKOFF_GIVEN_MOST: Duration = Duration::from_secs(60);
/// Wait after a connection that worked (chosen).
const RECONNECT_WAIT: Duration = Duration::from_secs(30);
/// Wait after a connection that was of no use (chosen).
const USELESS_WAIT: Duration = Duration::from_secs(600);
/// Failures that breaking the protocol counts for (chosen: a wait of a minute, then eight, then an hour;
/// it may be the only one that has the torrent).
const MISBEHAVED_FAILURES: u8 = 3;
/// Wait for an address with too many connections, if none of them ends before (chosen).
const BUSY_WAIT: Duration = Duration::from_secs(30);
/// Longest wait for an address that has worked, and failures up to which that holds (chosen: about twenty
/// minutes in which a network may come back).
const BACKOFF_WORKED_MOST: Duration = Duration::from_secs(120);
const WORKED_FAILURES: u8 = 12;
/// Failures in a row after which an address comes after those that did not fail (chosen).
const FAILED_OFTEN: u8 = 3;

/// What is known of an address.
#[derive(Debug)]
pub(super) struct KnownPeer {
    pub(super) source: PeerSource,
    pub(super) standing: Standing,
    pub(super) failures: u8,
    pub(super) is_seed: bool,
    /// Whether it is to be dialled with the infohash of v2.
    pub(super) of_v2: bool,
    /// Whether it was let go to be dialled with that infohash.
    pub(super) was_upgraded: bool,
    pub(super) encryption: DialEncryption,
    /// Whether it once wasted too much: others come first.
    pub(super) is_wasteful: bool,
    /// Whether there was ever a connection with it.
    pub(super) has_worked: bool,
    /// How its last connection ended, if it is held back because of that.
    pub(super) held_back: Option<Ended>,
    /// BEP 40's if our own address is known, else `lot`.
    pub(super) priority: u32,
    pub(super) lot: u32,
    pub(super) retry_at: Instant,
    /// When a source last named it or it was last connected.
    pub(super) seen_at: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    Idle,
    Connecting,
    Connected,
}

/// Class, failures, priority: the best first.
pub(super) type ReadyRank = (u8, u8, Reverse<u32>);
/// Failures, hours since it was seen, priority: the most promising first.
pub(super) type EvictRank = (u8, Reverse<u64>, Reverse<u32>);

/// After every rank there can be.
pub(super) const EVICT_LAST: EvictRank = (u8::MAX, Reverse(0), Reverse(0));

impl KnownPeer {
    /// What [`ended`](Self::ended) takes is below this.
    pub(super) const JITTER: u64 = 256;

    /// An address that a source names, of which nothing else is known.
    pub(super) fn new(source: PeerSource, lot: u32, now: Instant) -> Self {
        KnownPeer {
            source,
            standing: Standing::Idle,
            failures: 0,
            is_seed: false,
            of_v2: false,
            was_upgraded: false,
            encryption: DialEncryption::default(),
            is_wasteful: false,
            has_worked: false,
            held_back: None,
            priority: lot,
            lot,
            retry_at: now,
            seen_at: now,
        }
    }

    /// A connection with it is established.
    pub(super) fn connected(&mut self, now: Instant) {
        self.standing = Standing::Connected;
        self.held_back = None;
        self.has_worked = true;
        self.seen_at = now;
    }

    /// Its connection, or the attempt at one, is over. `jitter` makes the wait up to a quarter longer:
    /// peers that failed together do not come back together.
    pub(super) fn ended(&mut self, now: Instant, how: Ended, jitter: u32) {
        self.standing = Standing::Idle;
        self.held_back = Some(how).filter(|how| how.is_held_back());
        self.is_wasteful |= how == Ended::Wasteful;
        self.failures = match how {
            Ended::Normal | Ended::Useless => 0,
            Ended::LetGo | Ended::Busy | Ended::Redialled => self.failures,
            Ended::Failed | Ended::Wasteful | Ended::Unreachable => self.failures.saturating_add(1),
            Ended::Misbehaved => self.failures.saturating_add(MISBEHAVED_FAILURES),
        };
        let wait = match how {
            Ended::LetGo | Ended::Redialled => Duration::ZERO,
            Ended::Busy => BUSY_WAIT,
            Ended::Useless => USELESS_WAIT,
            Ended::Normal if !self.source.is_given() => RECONNECT_WAIT,
            _ => self.backoff(),
        };
        self.retry_at = now + wait + wait * jitter / 1024;
    }

    /// How early it is dialled.
    pub(super) fn ready_rank(&self) -> ReadyRank {
        let class = match self.source {
            // However many dead addresses the user named: the others get their turn.
            _ if self.failures >= FAILED_OFTEN || self.is_wasteful => 3,
            source if source.is_given() => 0,
            PeerSource::Lsd => 1,
            _ => 2,
        };
        (class, self.failures, Reverse(self.priority))
    }

    /// How long it is kept.
    pub(super) fn evict_rank(&self) -> EvictRank {
        (self.failures, Reverse(hour_of(self.seen_at)), Reverse(self.priority))
    }

    fn backoff(&self) -> Duration {
        let (first, most) = match self.source.is_given() {
            true => (BACKOFF_GIVEN, BACKOFF_GIVEN_MOST),
            false => (BACKOFF, BACKOFF_MOST),
        };
        let doublings = u32::from(self.failures.saturating_sub(1)).min(16);
        let most = match self.has_worked && self.failures <= WORKED_FAILURES {
            true => most.min(BACKOFF_WORKED_MOST),
            false => most,
        };
        first.saturating_mul(1 << doublings).min(most)
    }
}

/// Hours since the beginning.
pub(super) fn hour_of(at: Instant) -> u64 {
    at.as_nanos() / (3600 * 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_secs(100);

    fn wait_of(peer: &mut KnownPeer, how: Ended) -> u64 {
        peer.ended(NOW, how, 0);
        (peer.retry_at - NOW).as_secs()
    }

    #[test]
    fn waits_depend_on_how_a_connection_ended_and_on_who_named_the_address() {
        let mut peer = KnownPeer::new(PeerSource::Tracker, 7, NOW);
        let waits = [Ended::Failed, Ended::Failed, Ended::LetGo, Ended::Misbehaved, Ended::Normal];
        assert_eq!(waits.map(|how| wait_of(&mut peer, how)), [15, 30, 0, 240, 30]);
        assert_eq!((peer.failures, peer.held_back), (0, None));
        let mut named = KnownPeer::new(PeerSource::User, 7, NOW);
        assert_eq!([Ended::Failed, Ended::Failed].map(|how| wait_of(&mut named, how)), [2, 4]);
    }

    #[test]
    fn one_that_has_worked_is_tried_again_soon_and_a_wasteful_one_comes_last() {
        let mut peer = KnownPeer::new(PeerSource::Dht, 7, NOW);
        peer.connected(NOW);
        let waits = [(); 7].map(|()| wait_of(&mut peer, Ended::Unreachable));
        assert_eq!(waits, [15, 30, 60, 120, 120, 120, 120]);
        assert_eq!(peer.held_back, Some(Ended::Unreachable));
        let other = KnownPeer::new(PeerSource::Dht, 9, NOW);
        assert!(other.ready_rank() < peer.ready_rank() && other.evict_rank() < peer.evict_rank());
        let mut wasteful = KnownPeer::new(PeerSource::User, 7, NOW);
        wait_of(&mut wasteful, Ended::Wasteful);
        assert!(other.ready_rank() < wasteful.ready_rank());
    }
}
