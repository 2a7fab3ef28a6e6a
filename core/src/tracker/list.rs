//! The trackers of one torrent: when to announce, to whom, and with which event (BEP 3, BEP 12).
//!
//! Within a tier the trackers back each other up: shuffled once, one is used, the next is tried
//! when it fails, and the one that answers moves to the front. The tiers are announced to side by
//! side and not, as BEP 12 has it, one after the other: trackers of different tiers seldom know the
//! same peers, and asking all is what finds most of them (libtorrent's `announce_to_all_tiers`).
//!
//! Each address family is announced from by itself (BEP 7): a tracker that is named by a name is asked
//! at its IPv4 and at its IPv6 addresses, since it shows us to peers by the address that we asked
//! from, and may know the peers of each family apart. A tier has a `Lane` for each, with its own
//! order and times. A tracker has failed when it has in every family.
//!
//! In each family a tracker hears `started` first, and `stopped` if it may have heard of us: an
//! announce was sent there, answered or not, and not refused. `completed` it hears once, in one of
//! them, if the torrent became complete after that. No announce without an event comes before the
//! minimum interval; one that fails is followed by longer and longer pauses.

mod standing;

use std::collections::BTreeSet;

use bytes::Bytes;

use self::standing::{Failure, InFlight, Standing, Tracker};
use super::announce::{AnnounceEvent, AnnounceResponse};
use super::error::{TrackerError, shown_text};
use super::question::NamedBy;
use super::status::TrackerStatus;
use crate::family::{Families, Family, PerFamily};
use crate::http::Url;
use crate::metainfo;
use crate::random::PolicyRng;
use crate::time::{Duration, Instant};

/// Trackers of one torrent that others than the user name; the rest is ignored (chosen, defence 33:
/// what a torrent file and a magnet link together can name).
pub const MAX_TRACKERS: usize = 2 * metainfo::MAX_TRACKERS;

/// Announces of one torrent under way at once (chosen). The others wait, those due for longest go
/// first, so that each has its turn however many do not answer; and other torrents have theirs.
pub const MAX_AT_ONCE: usize = 32;

/// Peers to ask for (chosen; trackers give 50 by default and up to 200).
const NUMWANT: u32 = 100;

/// Pause after a first failure; doubles with each (chosen).
const FIRST_RETRY: Duration = Duration::from_secs(15);

/// Longest pause after failures (chosen).
const MAX_RETRY: Duration = Duration::from_secs(60 * 60);

/// Longest pause after failures of which no tracker heard, as without a network (chosen: they cost a
/// tracker nothing, and a network that is back is not waited for much longer).
const MAX_UNSENT_RETRY: Duration = Duration::from_secs(60);

/// Longest pause that a tracker can ask for (BEP 31); past it, it is asked again (chosen).
const MAX_WANTED_RETRY: Duration = Duration::from_secs(24 * 60 * 60);

/// Minimum interval of trackers that give none (chosen: BEP 3 lets downloaders announce early
/// when they need peers).
const DEFAULT_MIN_INTERVAL: Duration = Duration::from_secs(60);

/// The trackers of one torrent.
#[derive(Debug)]
pub struct TrackerList {
    trackers: Vec<Tracker>,
    tiers: Vec<Tier>,
    rng: PolicyRng,
    stopping: bool,
    /// While it stops, until when trackers may hear `completed` first.
    completed_until: Instant,
    need_peers: bool,
    /// Families that we can be reached in.
    families: Families,
    /// Counts announces, so that a late result is known from the one awaited.
    serial: u32,
    /// When the next announce is due.
    due: Option<Instant>,
}

/// One announce to one tracker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TrackerKey {
    index: usize,
    family: Family,
    serial: u32,
}

/// An announce to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announce {
    /// Names it to [`TrackerList::handle_result`].
    pub tracker: TrackerKey,
    /// Whom to ask.
    pub url: Url,
    /// From which of our addresses, and so at which of the tracker's.
    pub family: Family,
    /// Where its URL comes from.
    pub named_by: NamedBy,
    /// What to say.
    pub event: Option<AnnounceEvent>,
    /// How many peers to ask for.
    pub numwant: u32,
    /// The tracker id to repeat.
    pub tracker_id: Option<Bytes>,
}

/// How long `stopped` waits for a tracker to have heard `completed` (chosen: all of stopping takes less
/// than a second).
const COMPLETED_PATIENCE: Duration = Duration::from_millis(300);

/// What is in the list already.
#[derive(Default)]
struct Known {
    urls: BTreeSet<Url>,
    others: BTreeSet<String>,
}

/// What became of an announce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// Nothing: it is not awaited any more.
    Late,
    /// The tracker answered, or failed in the last of the families that it was asked in.
    News,
    /// It failed in one family, and works in the other or is being asked there.
    OtherFamilyLeft,
}

#[derive(Debug, Default)]
struct Tier {
    lanes: PerFamily<Lane>,
}

/// A tier in one address family.
#[derive(Debug, Default)]
struct Lane {
    /// Indices of its trackers, the one to try first in front.
    order: Vec<usize>,
    /// When the regular announce is due.
    next_at: Instant,
    /// When an announce is allowed if peers are needed.
    early_at: Instant,
    /// Early announces since peers were not needed: they get rarer.
    early: u32,
}

impl TrackerList {
    /// The trackers of a torrent, in tiers; announces are due at once. What is no URL is listed
    /// and never asked; a URL that comes twice counts once.
    pub fn new(tiers: &[Vec<String>], rng: PolicyRng) -> Self {
        let mut list = TrackerList {
            trackers: Vec::new(),
            tiers: Vec::new(),
            rng,
            stopping: false,
            completed_until: Instant::ZERO,
            need_peers: false,
            families: Families::BOTH,
            serial: 0,
            due: None,
        };
        list.add_tiers(tiers, NamedBy::Torrent, Instant::ZERO);
        list
    }

    /// Further trackers, in tiers after those there are. What is known already counts once.
    pub fn add_tiers(&mut self, tiers: &[Vec<String>], named_by: NamedBy, now: Instant) {
        let mut known = Known::default();
        for tracker in &self.trackers {
            match &tracker.url {
                Some(url) => drop(known.urls.insert(url.clone())),
                None => drop(known.others.insert(tracker.shown.clone())),
            }
        }
        for urls in tiers {
            self.add_tier(urls, named_by, &mut known);
        }
        // Most torrents have one tracker, and a session may have thousands of torrents.
        self.trackers.shrink_to_fit();
        self.tiers.shrink_to_fit();
        self.refresh(now);
    }

    /// Whether there is no tracker.
    pub fn is_empty(&self) -> bool {
        self.trackers.is_empty()
    }

    /// The next announce that is due; to be called until it returns `None`. `need_peers` says
    /// whether more peers would help now, which may bring the next announce forward; `families` in
    /// which of them we can be reached.
    pub fn poll(&mut self, now: Instant, need_peers: bool, families: Families) -> Option<Announce> {
        if need_peers != self.need_peers || families != self.families {
            self.need_peers = need_peers;
            self.families = families;
            if !need_peers {
                self.lanes_mut().for_each(|lane| lane.early = 0);
            }
            self.refresh(now);
        }
        if self.due? > now {
            return None;
        }
        let next = if self.stopping { self.next_to_leave(now) } else { self.next_due(now) };
        let announce = next.and_then(|(index, family)| self.begin(now, index, family));
        self.refresh(now);
        announce
    }

    /// When to call [`TrackerList::poll`]; changes with every other call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// An announce is on its way to the tracker: from now on it may have heard of us, whether it
    /// answers or not.
    pub fn handle_sent(&mut self, key: TrackerKey) {
        if let Some(tracker) = self.trackers.get_mut(key.index) {
            // What is sent after `stop` says that we leave.
            tracker.standing.get_mut(key.family).may_know_us |= !self.stopping;
        }
    }

    /// What came of an announce.
    pub fn handle_result(
        &mut self,
        now: Instant,
        key: TrackerKey,
        result: &Result<AnnounceResponse, TrackerError>,
    ) -> Heard {
        let Some(tracker) = self.trackers.get_mut(key.index) else { return Heard::Late };
        let standing = tracker.standing.get_mut(key.family);
        let Some(InFlight { event, .. }) =
            standing.in_flight.take_if(|in_flight| in_flight.serial == key.serial)
        else {
            return Heard::Late;
        };
        if self.stopping && event == Some(AnnounceEvent::Completed) {
            // There is no second try.
            tracker.owes_completed = false;
        }
        if event == Some(AnnounceEvent::Stopped) {
            // There is no second farewell, whatever came of this one.
            (standing.registered, standing.may_know_us) = (false, false);
        }
        let heard = match result {
            Err(_) if tracker.standing.get(key.family.other()).may_work() => Heard::OtherFamilyLeft,
            _ => Heard::News,
        };
        match result {
            Ok(response) => self.answered(now, key, event, response),
            Err(error) => self.failed(now, key, error),
        }
        self.refresh(now);
        heard
    }

    /// The torrent became complete, by downloading what was missing.
    pub fn complete(&mut self, now: Instant) {
        for tracker in &mut self.trackers {
            tracker.owes_completed |= Family::ALL.iter().any(|&family| tracker.is_known(family));
        }
        self.refresh(now);
    }

    /// The torrent stops: the announces due are now those that tell trackers so. Announces under
    /// way are not awaited any more and may be cancelled.
    ///
    /// A tracker that is owed `completed` hears that first, but is not waited for longer than
    /// `COMPLETED_PATIENCE`.
    pub fn stop(&mut self, now: Instant) {
        self.stopping = true;
        self.completed_until = now + COMPLETED_PATIENCE;
        self.lanes_mut().for_each(|lane| lane.early = 0);
        for standing in self.standings_mut() {
            standing.in_flight = standing.in_flight.filter(InFlight::is_completed);
        }
        self.refresh(now);
    }

    /// Whether, after [`TrackerList::stop`], every tracker was sent `stopped` or could not be.
    pub fn is_stopped(&self) -> bool {
        let mut standings = self.trackers.iter().flat_map(|tracker| tracker.standing.both());
        self.stopping && !standings.any(|standing| standing.may_know_us)
    }

    /// The torrent starts again after [`TrackerList::stop`]. Announces under way are not awaited
    /// any more.
    pub fn restart(&mut self, now: Instant) {
        self.stopping = false;
        self.trackers.iter_mut().for_each(|tracker| tracker.owes_completed = false);
        for standing in self.standings_mut() {
            standing.in_flight = None;
            standing.registered = false;
        }
        for lane in self.lanes_mut() {
            (lane.next_at, lane.early_at) = (now, now);
        }
        self.refresh(now);
    }

    /// Why an announce's tracker cannot be asked, in the more telling of the families.
    pub fn failure(&self, key: TrackerKey) -> Option<&str> {
        let failure = self.trackers.get(key.index)?.failure()?;
        Some(&failure.why)
    }

    /// The URL of an announce's tracker.
    pub fn url(&self, key: TrackerKey) -> Option<&Url> {
        self.trackers.get(key.index)?.url.as_ref()
    }

    /// How the trackers stand, in the order of their tiers.
    pub fn status(&self, now: Instant) -> impl Iterator<Item = TrackerStatus> {
        self.tiers.iter().flat_map(move |tier| {
            let due = Family::ALL.map(|family| self.tier_due(now, tier, family));
            self.listed(tier).map(move |(index, tracker)| TrackerStatus {
                url: tracker.shown.clone(),
                tier: tracker.tier,
                last: tracker.last(),
                next_announce: self
                    .next_announce(now, index, tracker, due)
                    .map(|at| at.saturating_duration_since(now)),
                complete: tracker.complete,
                incomplete: tracker.incomplete,
            })
        })
    }

    /// The trackers of a tier, each once: those in front first.
    fn listed<'a>(&'a self, tier: &'a Tier) -> impl Iterator<Item = (usize, &'a Tracker)> {
        let tracker = |index: &usize| Some((*index, self.trackers.get(*index)?));
        let PerFamily { v4, v6 } = &tier.lanes;
        let more = v6.order.iter().filter_map(tracker);
        let more = more.filter(|(_, tracker)| !tracker.may_be_in(Family::V4));
        v4.order.iter().filter_map(tracker).chain(more)
    }

    fn lanes_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.tiers.iter_mut().flat_map(|tier| tier.lanes.both_mut())
    }

    fn standings_mut(&mut self) -> impl Iterator<Item = &mut Standing> {
        self.trackers.iter_mut().flat_map(|tracker| tracker.standing.both_mut())
    }

    fn add_tier(&mut self, urls: &[String], named_by: NamedBy, known: &mut Known) {
        let number = self.tiers.len();
        let mut order = Vec::new();
        for text in urls {
            if named_by != NamedBy::User && self.trackers.len() >= MAX_TRACKERS {
                break;
            }
            let tracker = match Url::parse(text) {
                Ok(url) if known.urls.insert(url.clone()) => {
                    Tracker::new(number, url.to_string(), Some(url))
                }
                Err(why) if known.others.insert(shown_text(text.as_bytes())) => {
                    Tracker::unusable(number, shown_text(text.as_bytes()), &why.to_string())
                }
                _ => continue,
            };
            order.push(self.trackers.len());
            self.trackers.push(Tracker { named_by, ..tracker });
        }
        self.rng.shuffle(&mut order);
        if order.is_empty() {
            return;
        }
        let lane = |family| {
            let is_in = |index: &&usize| {
                self.trackers.get(**index).is_some_and(|tracker| tracker.may_be_in(family))
            };
            Lane { order: order.iter().filter(is_in).copied().collect(), ..Lane::default() }
        };
        let lanes = PerFamily { v4: lane(Family::V4), v6: lane(Family::V6) };
        self.tiers.push(Tier { lanes });
    }

    /// The tracker to announce to, if one is due, and in which family: where it is due for longest.
    fn next_due(&self, now: Instant) -> Option<(usize, Family)> {
        let due = self.all_due(now).filter(|(at, ..)| *at <= now);
        due.min_by_key(|(at, ..)| *at).map(|(_, index, family)| (index, family))
    }

    /// When each tier is due in each family, and which of its trackers then; none while as many are
    /// being asked as may be.
    fn all_due(&self, now: Instant) -> impl Iterator<Item = (Instant, usize, Family)> {
        let standings = self.trackers.iter().flat_map(|tracker| tracker.standing.both());
        let under_way = standings.filter(|standing| standing.in_flight.is_some());
        let tiers = if under_way.count() < MAX_AT_ONCE { &self.tiers[..] } else { &[] };
        let each = tiers.iter().flat_map(|tier| Family::ALL.map(|family| (tier, family)));
        each.filter_map(move |(tier, family)| {
            let (at, index) = self.tier_due(now, tier, family)?;
            Some((at, index, family))
        })
    }

    /// A tracker that does not know yet that we leave.
    fn next_to_leave(&self, now: Instant) -> Option<(usize, Family)> {
        let trackers = self.trackers.iter().enumerate();
        let mut each = trackers
            .flat_map(|(index, tracker)| Family::ALL.map(|family| (index, tracker, family)));
        let (index, _, family) = each.find(|(_, tracker, family)| {
            let standing = tracker.standing.get(*family);
            let waits = standing
                .in_flight
                .is_some_and(|in_flight| !in_flight.is_completed() || now < self.completed_until);
            standing.may_know_us && !waits
        })?;
        Some((index, family))
    }

    /// When a tier is due in a family, and which of its trackers then.
    fn tier_due(&self, now: Instant, tier: &Tier, family: Family) -> Option<(Instant, usize)> {
        let lane = tier.lanes.get(family);
        // One that is named by its address is asked there, or says why not.
        let is_asked = |tracker: &Tracker| self.families.contains(family) || tracker.is_numeric();
        let trackers = || {
            let each = lane.order.iter().filter_map(|&at| Some((at, self.trackers.get(at)?)));
            each.map(|(at, tracker)| (at, tracker, tracker.standing.get(family)))
        };
        if trackers().any(|(_, _, standing)| standing.in_flight.is_some()) {
            return None;
        }
        let alive =
            || trackers().filter(|(_, tracker, standing)| !standing.dead && is_asked(tracker));
        // In the order of the tier; but those that failed again and again do not hold up others.
        let (index, tracker, standing) = alive()
            .filter(|(_, _, standing)| standing.retry_at <= now)
            .min_by_key(|(_, _, standing)| standing.failures.max(1))
            .or_else(|| alive().min_by_key(|(_, _, standing)| standing.retry_at))?;
        let wanted_at = if standing.registered && tracker.tells_completed(family) {
            Instant::ZERO
        } else if self.need_peers {
            lane.next_at.min(lane.early_at)
        } else {
            lane.next_at
        };
        Some((wanted_at.max(standing.retry_at), index))
    }

    fn begin(&mut self, now: Instant, index: usize, family: Family) -> Option<Announce> {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let tracker = self.trackers.get_mut(index)?;
        let is_owed = tracker.standing.get(family).registered && tracker.tells_completed(family);
        let event = if self.stopping && is_owed && now < self.completed_until {
            Some(AnnounceEvent::Completed)
        } else if self.stopping {
            Some(AnnounceEvent::Stopped)
        } else if !tracker.standing.get(family).registered {
            // It learns from `left` whether we are complete already.
            tracker.owes_completed &= tracker.is_known(family.other());
            Some(AnnounceEvent::Started)
        } else if tracker.tells_completed(family) {
            Some(AnnounceEvent::Completed)
        } else {
            None
        };
        tracker.standing.get_mut(family).in_flight = Some(InFlight { serial, event });
        if let Some(tier) = self.tiers.get_mut(tracker.tier)
            && event.is_none()
            && now < tier.lanes.get(family).next_at
        {
            let lane = tier.lanes.get_mut(family);
            lane.early = lane.early.saturating_add(1);
        }
        Some(Announce {
            tracker: TrackerKey { index, family, serial },
            url: tracker.url.clone()?,
            family,
            named_by: tracker.named_by,
            event,
            numwant: if self.stopping { 0 } else { NUMWANT },
            tracker_id: tracker.tracker_id.clone(),
        })
    }

    fn answered(
        &mut self,
        now: Instant,
        key: TrackerKey,
        event: Option<AnnounceEvent>,
        response: &AnnounceResponse,
    ) {
        let Some(tracker) = self.trackers.get_mut(key.index) else { return };
        tracker.complete = response.complete.or(tracker.complete);
        tracker.incomplete = response.incomplete.or(tracker.incomplete);
        if response.tracker_id.is_some() {
            tracker.tracker_id = response.tracker_id.clone();
        }
        let standing = tracker.standing.get_mut(key.family);
        standing.failures = 0;
        standing.last = Some(Ok(response.peers.len()));
        match event {
            Some(AnnounceEvent::Started) => {
                (standing.registered, standing.may_know_us) = (true, true);
            }
            Some(AnnounceEvent::Completed) => tracker.owes_completed = false,
            Some(AnnounceEvent::Stopped | AnnounceEvent::Paused) | None => {}
        }
        let Some(tier) = self.tiers.get_mut(tracker.tier) else { return };
        let lane = tier.lanes.get_mut(key.family);
        lane.move_to_front(key.index);
        let min = response.min_interval.unwrap_or(DEFAULT_MIN_INTERVAL);
        let early = min.saturating_mul(2_u32.saturating_pow(lane.early)).min(response.interval);
        lane.next_at = now + response.interval;
        lane.early_at = now + early;
    }

    fn failed(&mut self, now: Instant, key: TrackerKey, error: &TrackerError) {
        let Some(tracker) = self.trackers.get_mut(key.index) else { return };
        let is_of_family = error.is_of_family();
        // Where the other family works, the lack of this one is no passing trouble.
        let works_otherwise = tracker.standing.get(key.family.other()).registered;
        let standing = tracker.standing.get_mut(key.family);
        let doubled = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(standing.failures));
        let doubled = match is_of_family && works_otherwise {
            true => MAX_RETRY,
            false if error.is_unsent() => doubled.min(MAX_UNSENT_RETRY),
            false => doubled,
        };
        // A quarter more or less, so that the peers of a swarm do not come back all at once.
        let percent = 75 + self.rng.below(51);
        let pause = doubled.min(MAX_RETRY) * u32::try_from(percent).unwrap_or(100) / 100;
        let wanted = error.retry_after().unwrap_or_default().min(MAX_WANTED_RETRY);
        standing.failures = standing.failures.saturating_add(1);
        standing.retry_at = now + pause.min(MAX_RETRY).max(wanted);
        standing.dead = error.is_permanent();
        if matches!(error, TrackerError::Refused { .. }) && !standing.registered {
            // It heard of us, and does not want to know.
            standing.may_know_us = false;
        }
        standing.last = Some(Err(Failure { why: error.to_string(), is_of_family }));
    }

    /// Computes again when the next announce is due.
    fn refresh(&mut self, now: Instant) {
        self.due = if self.stopping {
            let waits =
                |standing: &Standing| standing.in_flight.is_some_and(|it| it.is_completed());
            let each = || self.trackers.iter().flat_map(|tracker| tracker.standing.both());
            match self.next_to_leave(now) {
                Some(_) => Some(now),
                None => each().any(waits).then_some(self.completed_until),
            }
        } else {
            self.all_due(now).map(|(at, ..)| at).min()
        };
    }

    /// When a tracker is announced to next, given what is due in its tier in each family.
    fn next_announce(
        &self,
        now: Instant,
        index: usize,
        tracker: &Tracker,
        due: [Option<(Instant, usize)>; 2],
    ) -> Option<Instant> {
        if tracker.standing.both().iter().any(|standing| standing.in_flight.is_some()) {
            return Some(now);
        }
        let its = due.into_iter().flatten().filter(|(_, next)| *next == index && !self.stopping);
        its.map(|(at, _)| at).min()
    }
}

impl Lane {
    fn move_to_front(&mut self, index: usize) {
        if let Some(position) = self.order.iter().position(|other| *other == index)
            && let Some(front) = self.order.get_mut(..=position)
        {
            front.rotate_right(1);
        }
    }
}

#[cfg(test)]
mod tests;
