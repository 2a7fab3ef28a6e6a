//! When a torrent is looked for in the DHT.
//!
//! It is looked for and announced when it starts, then every quarter of an hour, sooner while it
//! has few peers, and when the network grows from very small; a hybrid by one infohash and then by
//! the other (BEP 52). Private torrents are kept out of it by
//! [`Torrent::discovery_allowed`](crate::torrent::Torrent::discovery_allowed), which everything that
//! concerns the DHT asks.

use crate::dht::DhtRequestId;
use crate::metainfo::MAX_NODES_ASKED;
use crate::random::PolicyRng;
use crate::time::{Duration, Instant};

/// Between two announces (BEP 5: nodes forget peers; others announce as often).
const INTERVAL: Duration = Duration::from_secs(15 * 60);
/// First wait while there are few peers; doubled each time (chosen).
const FIRST_RETRY: Duration = Duration::from_secs(15);
/// With fewer peers than this a torrent looks again early (chosen).
const FEW_PEERS: usize = 5;
/// Wait when too much is looked for already (chosen).
const BUSY_WAIT: Duration = Duration::from_secs(60);
/// Wait after a lookup when the network has grown (chosen).
const GROWN_WAIT: Duration = Duration::from_secs(2);

/// What a torrent remembers of its lookups.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DhtLookups {
    request: Option<DhtRequestId>,
    /// Whether the present lookup, or the next, is that of a hybrid's other infohash.
    is_second: bool,
    /// When the last one ended; `None`: there was none since it started.
    last_at: Option<Instant>,
    wait: Duration,
    tries: u32,
    /// How large the network was at the last one.
    growth: usize,
    /// Peers that the present one has found, with that of the other infohash.
    found: usize,
    /// Nodes that the first of the two was stored at.
    stored: usize,
}

/// How the torrent stands when a lookup is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// Whether it has a second infohash to be looked for by.
    pub(crate) is_hybrid: bool,
    /// Connected peers.
    pub(crate) peers: usize,
    /// Whether it wants nothing more.
    pub(crate) is_finished: bool,
}

/// What a lookup by all infohashes has brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// Addresses of peers.
    pub(crate) peers: usize,
    /// Nodes that know of us now.
    pub(crate) stored: usize,
}

impl DhtLookups {
    /// When it is to be looked for again, in a network that has grown so large.
    pub(crate) fn due_at(&self, now: Instant, growth: usize) -> Option<Instant> {
        if self.request.is_some() {
            return None;
        }
        let Some(last_at) = self.last_at else { return Some(now) };
        if self.is_second {
            return Some(last_at);
        }
        let has_grown = growth > self.growth;
        Some(last_at + if has_grown { GROWN_WAIT.min(self.wait) } else { self.wait })
    }

    /// Whether it is looked for by a hybrid's other infohash.
    pub(crate) fn is_second(&self) -> bool {
        self.is_second
    }

    /// The lookup is under way; or it is not, since there are too many.
    pub(crate) fn began(&mut self, now: Instant, growth: usize, request: Option<DhtRequestId>) {
        self.growth = growth;
        self.request = request;
        if !self.is_second {
            self.found = 0;
        }
        if request.is_none() {
            self.is_second = false;
            self.last_at = Some(now);
            self.wait = BUSY_WAIT;
        }
    }

    /// It has found peers.
    pub(crate) fn found(&mut self, peers: usize) {
        self.found += peers;
    }

    /// The lookup is done, and we are stored at so many nodes. What was found in all, unless another
    /// lookup by the other infohash follows.
    pub(crate) fn done(
        &mut self,
        now: Instant,
        stored: usize,
        standing: Standing,
        rng: &mut PolicyRng,
    ) -> Option<Found> {
        self.request.take()?;
        self.last_at = Some(now);
        let is_first = !std::mem::take(&mut self.is_second);
        if is_first && standing.is_hybrid {
            self.is_second = true;
            self.stored = stored;
            return None;
        }
        let few = standing.peers < FEW_PEERS;
        self.wait = match few && !standing.is_finished {
            true => (FIRST_RETRY * 2_u32.saturating_pow(self.tries.min(10))).min(INTERVAL),
            false => INTERVAL,
        };
        self.tries = if few { self.tries.saturating_add(1) } else { 0 };
        // Up to an eighth more: torrents that started together do not stay together.
        let jitter = rng.below(128);
        self.wait += self.wait * u32::try_from(jitter).unwrap_or(0) / 1024;
        let stored = std::mem::take(&mut self.stored) + stored;
        Some(Found { peers: self.found, stored })
    }

    /// It is not to be looked for any more, until it is active again. The lookup to give up.
    pub(crate) fn leave(&mut self) -> Option<DhtRequestId> {
        std::mem::take(self).request
    }
}

/// Of the nodes that a metainfo names (BEP 5, "torrent file extensions"), those that are met.
pub(crate) fn nodes_to_meet(
    named: &[(String, u16)],
    rng: &mut PolicyRng,
) -> impl Iterator<Item = (String, u16)> + use<> {
    let mut named = named.to_vec();
    // Of too many, each time others.
    rng.shuffle(&mut named);
    named.into_iter().take(MAX_NODES_ASKED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id as _;

    const ALONE: Standing = Standing { is_hybrid: false, peers: 0, is_finished: false };

    fn request() -> Option<DhtRequestId> {
        Some(DhtRequestId::new(0, 0))
    }

    /// A lookup from its beginning to its end.
    fn look(dht: &mut DhtLookups, now: Instant, standing: Standing) -> Option<Found> {
        dht.began(now, 0, request());
        assert_eq!(dht.due_at(now, 0), None, "one at a time");
        dht.done(now, 8, standing, &mut PolicyRng::from_seed([1; 32]))
    }

    /// How long it waits, without what is added at random.
    fn wait(dht: &DhtLookups) -> u64 {
        let wait = dht.due_at(Instant::ZERO, 0).expect("it is looked for again");
        let secs = (wait - Instant::ZERO).as_secs();
        *[2, 15, 30, 60, 900].iter().rfind(|least| **least <= secs).expect("a wait")
    }

    #[test]
    fn it_looks_again_early_while_it_has_few_peers_and_wants_some() {
        let mut dht = DhtLookups::default();
        assert_eq!(dht.due_at(Instant::from_secs(3), 0), Some(Instant::from_secs(3)));
        for expected in [15, 30, 60] {
            assert_eq!(look(&mut dht, Instant::ZERO, ALONE), Some(Found { peers: 0, stored: 8 }));
            assert_eq!(wait(&dht), expected);
        }
        look(&mut dht, Instant::ZERO, Standing { is_finished: true, ..ALONE });
        assert_eq!(wait(&dht), 900);
        look(&mut dht, Instant::ZERO, Standing { peers: 9, ..ALONE });
        look(&mut dht, Instant::ZERO, ALONE);
        assert_eq!(wait(&dht), 15, "enough peers end the doubling");
        assert_eq!(dht.due_at(Instant::ZERO, 1), Some(Instant::ZERO + GROWN_WAIT));
    }

    #[test]
    fn a_hybrid_is_looked_for_twice_and_answers_once() {
        let mut dht = DhtLookups::default();
        let hybrid = Standing { is_hybrid: true, ..ALONE };
        dht.began(Instant::ZERO, 0, request());
        dht.found(3);
        assert_eq!(dht.done(Instant::ZERO, 8, hybrid, &mut PolicyRng::from_seed([1; 32])), None);
        assert!(dht.is_second() && dht.due_at(Instant::ZERO, 0) == Some(Instant::ZERO));
        dht.began(Instant::ZERO, 0, request());
        dht.found(4);
        let found = dht.done(Instant::ZERO, 5, hybrid, &mut PolicyRng::from_seed([1; 32]));
        assert_eq!(found, Some(Found { peers: 7, stored: 13 }));
        assert!(!dht.is_second());
    }

    #[test]
    fn what_is_given_up_or_cannot_begin_is_over() {
        let mut dht = DhtLookups::default();
        dht.began(Instant::ZERO, 0, request());
        assert_eq!(dht.leave(), request());
        assert_eq!(dht.done(Instant::ZERO, 1, ALONE, &mut PolicyRng::from_seed([1; 32])), None);
        dht.began(Instant::ZERO, 0, None);
        assert_eq!(dht.due_at(Instant::ZERO, 0), Some(Instant::ZERO + BUSY_WAIT));
    }
}
