//! The trackers of one torrent: when to announce, to whom, and with which event (BEP 3, BEP 12).
//!
//! Within a tier the trackers back each other up: shuffled once, one is used, the next is tried
//! when it fails, and the one that answers moves to the front. The tiers are announced to side by
//! side and not, as BEP 12 has it, one after the other: trackers of different tiers seldom know the
//! same peers, and asking all is what finds most of them (libtorrent's `announce_to_all_tiers`).
//!
//! Each tracker hears `started` first, `completed` if the torrent became complete after that, and
//! `stopped` if it may have heard of us: an announce was sent there, answered or not, and not
//! refused. No announce without an event comes before the minimum interval; one that fails is
//! followed by longer and longer pauses.

use bytes::Bytes;

use super::announce::{AnnounceEvent, AnnounceResponse};
use super::error::{TrackerError, shown_text};
use crate::http::Url;
use crate::random::PolicyRng;
use crate::time::{Duration, Instant};
use crate::torrent::TrackerStatus;

/// Trackers of one torrent; the rest is ignored (chosen, defence 33).
pub const MAX_TRACKERS: usize = 64;

/// Peers to ask for (chosen; trackers give 50 by default and up to 200).
const NUMWANT: u32 = 100;

/// Pause after a first failure; doubles with each (chosen).
const FIRST_RETRY: Duration = Duration::from_secs(15);

/// Longest pause after failures (chosen).
const MAX_RETRY: Duration = Duration::from_secs(60 * 60);

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
    need_peers: bool,
    /// Counts announces, so that a late result is known from the one awaited.
    serial: u32,
    /// When the next announce is due.
    due: Option<Instant>,
}

/// One announce to one tracker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TrackerKey {
    index: usize,
    serial: u32,
}

/// An announce to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announce {
    /// Names it to [`TrackerList::handle_result`].
    pub tracker: TrackerKey,
    /// Whom to ask.
    pub url: Url,
    /// What to say.
    pub event: Option<AnnounceEvent>,
    /// How many peers to ask for.
    pub numwant: u32,
    /// The tracker id to repeat.
    pub tracker_id: Option<Bytes>,
}

#[derive(Debug)]
struct Tracker {
    /// `None` if the URL cannot be used.
    url: Option<Url>,
    /// The URL as shown.
    shown: String,
    tier: usize,
    /// It answered a `started`, and was not told of a `stopped`.
    registered: bool,
    /// It may have heard of us: an announce was sent, and no `stopped` since.
    may_know_us: bool,
    owes_completed: bool,
    in_flight: Option<InFlight>,
    /// Failures since the last answer.
    failures: u32,
    retry_at: Instant,
    /// Asking it again cannot help.
    dead: bool,
    tracker_id: Option<Bytes>,
    last: Option<Result<usize, String>>,
    complete: Option<u64>,
    incomplete: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    serial: u32,
    event: Option<AnnounceEvent>,
}

#[derive(Debug, Default)]
struct Tier {
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
            need_peers: false,
            serial: 0,
            due: None,
        };
        list.add_tiers(tiers, Instant::ZERO);
        list
    }

    /// Further trackers, in tiers after those there are. What is known already counts once.
    pub fn add_tiers(&mut self, tiers: &[Vec<String>], now: Instant) {
        for urls in tiers {
            self.add_tier(urls);
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
    /// whether more peers would help now, which may bring the next announce forward.
    pub fn poll(&mut self, now: Instant, need_peers: bool) -> Option<Announce> {
        if need_peers != self.need_peers {
            self.need_peers = need_peers;
            if !need_peers {
                self.tiers.iter_mut().for_each(|tier| tier.early = 0);
            }
            self.refresh(now);
        }
        if self.due? > now {
            return None;
        }
        let index = if self.stopping { self.next_to_leave() } else { self.next_due(now) };
        let announce = index.and_then(|index| self.begin(now, index));
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
            tracker.may_know_us |= !self.stopping;
        }
    }

    /// What came of an announce. False: it is not awaited any more.
    pub fn handle_result(
        &mut self,
        now: Instant,
        key: TrackerKey,
        result: &Result<AnnounceResponse, TrackerError>,
    ) -> bool {
        let Some(tracker) = self.trackers.get_mut(key.index) else { return false };
        let Some(InFlight { event, .. }) =
            tracker.in_flight.take_if(|in_flight| in_flight.serial == key.serial)
        else {
            return false;
        };
        if event == Some(AnnounceEvent::Stopped) {
            // There is no second farewell, whatever came of this one.
            (tracker.registered, tracker.may_know_us) = (false, false);
        }
        match result {
            Ok(response) => self.answered(now, key.index, event, response),
            Err(error) => self.failed(now, key.index, error),
        }
        self.refresh(now);
        true
    }

    /// The torrent became complete, by downloading what was missing.
    pub fn complete(&mut self, now: Instant) {
        for tracker in &mut self.trackers {
            let event = tracker.in_flight.and_then(|in_flight| in_flight.event);
            tracker.owes_completed |= tracker.registered || event == Some(AnnounceEvent::Started);
        }
        self.refresh(now);
    }

    /// The torrent stops: the announces due are now those that tell trackers so. Announces under
    /// way are not awaited any more and may be cancelled.
    pub fn stop(&mut self, now: Instant) {
        self.stopping = true;
        self.tiers.iter_mut().for_each(|tier| tier.early = 0);
        self.trackers.iter_mut().for_each(|tracker| tracker.in_flight = None);
        self.refresh(now);
    }

    /// Whether, after [`TrackerList::stop`], every tracker was told or could not be.
    pub fn is_stopped(&self) -> bool {
        self.stopping && !self.trackers.iter().any(|tracker| tracker.may_know_us)
    }

    /// The torrent starts again after [`TrackerList::stop`]. Announces under way are not awaited
    /// any more.
    pub fn restart(&mut self, now: Instant) {
        self.stopping = false;
        for tracker in &mut self.trackers {
            tracker.in_flight = None;
            tracker.registered = false;
            tracker.owes_completed = false;
        }
        for tier in &mut self.tiers {
            (tier.next_at, tier.early_at) = (now, now);
        }
        self.refresh(now);
    }

    /// The URL of an announce's tracker.
    pub fn url(&self, key: TrackerKey) -> Option<&Url> {
        self.trackers.get(key.index)?.url.as_ref()
    }

    /// How the trackers stand, in the order of their tiers.
    pub fn status(&self, now: Instant) -> impl Iterator<Item = TrackerStatus> {
        let in_tiers = self.tiers.iter().flat_map(|tier| &tier.order);
        in_tiers.filter_map(|index| self.trackers.get(*index)).map(move |tracker| TrackerStatus {
            url: tracker.shown.clone(),
            tier: tracker.tier,
            last: tracker.last.clone(),
            next_announce: self
                .next_announce(now, tracker)
                .map(|at| at.saturating_duration_since(now)),
            complete: tracker.complete,
            incomplete: tracker.incomplete,
        })
    }

    fn add_tier(&mut self, urls: &[String]) {
        let number = self.tiers.len();
        let mut tier = Tier::default();
        for text in urls {
            let url = Url::parse(text);
            let is_same = |tracker: &Tracker| match &url {
                Ok(url) => tracker.url.as_ref() == Some(url),
                Err(_) => tracker.url.is_none() && tracker.shown == shown_text(text.as_bytes()),
            };
            let known = self.trackers.iter().any(is_same);
            if known || self.trackers.len() >= MAX_TRACKERS {
                continue;
            }
            tier.order.push(self.trackers.len());
            self.trackers.push(match url {
                Ok(url) => Tracker::new(number, url.to_string(), Some(url)),
                Err(why) => Tracker {
                    last: Some(Err(why.to_string())),
                    ..Tracker::new(number, shown_text(text.as_bytes()), None)
                },
            });
        }
        self.rng.shuffle(&mut tier.order);
        if !tier.order.is_empty() {
            self.tiers.push(tier);
        }
    }

    /// The tracker to announce to, if one is due.
    fn next_due(&self, now: Instant) -> Option<usize> {
        self.tiers.iter().find_map(|tier| {
            let (at, index) = self.tier_due(now, tier)?;
            (at <= now).then_some(index)
        })
    }

    /// A tracker that does not know yet that we leave.
    fn next_to_leave(&self) -> Option<usize> {
        self.trackers.iter().position(|tracker| tracker.may_know_us && tracker.in_flight.is_none())
    }

    /// When a tier is due, and which of its trackers then.
    fn tier_due(&self, now: Instant, tier: &Tier) -> Option<(Instant, usize)> {
        let trackers =
            || tier.order.iter().filter_map(|&index| Some((index, self.trackers.get(index)?)));
        if trackers().any(|(_, tracker)| tracker.in_flight.is_some()) {
            return None;
        }
        let alive = || trackers().filter(|(_, tracker)| !tracker.dead);
        let (index, tracker) = alive()
            .find(|(_, tracker)| tracker.retry_at <= now)
            .or_else(|| alive().min_by_key(|(_, tracker)| tracker.retry_at))?;
        let wanted_at = if tracker.registered && tracker.owes_completed {
            Instant::ZERO
        } else if self.need_peers {
            tier.next_at.min(tier.early_at)
        } else {
            tier.next_at
        };
        Some((wanted_at.max(tracker.retry_at), index))
    }

    fn begin(&mut self, now: Instant, index: usize) -> Option<Announce> {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let tracker = self.trackers.get_mut(index)?;
        let event = if self.stopping {
            Some(AnnounceEvent::Stopped)
        } else if !tracker.registered {
            // It learns from `left` whether we are complete already.
            tracker.owes_completed = false;
            Some(AnnounceEvent::Started)
        } else if tracker.owes_completed {
            Some(AnnounceEvent::Completed)
        } else {
            None
        };
        tracker.in_flight = Some(InFlight { serial, event });
        if let Some(tier) = self.tiers.get_mut(tracker.tier)
            && event.is_none()
            && now < tier.next_at
        {
            tier.early = tier.early.saturating_add(1);
        }
        Some(Announce {
            tracker: TrackerKey { index, serial },
            url: tracker.url.clone()?,
            event,
            numwant: if self.stopping { 0 } else { NUMWANT },
            tracker_id: tracker.tracker_id.clone(),
        })
    }

    fn answered(
        &mut self,
        now: Instant,
        index: usize,
        event: Option<AnnounceEvent>,
        response: &AnnounceResponse,
    ) {
        let Some(tracker) = self.trackers.get_mut(index) else { return };
        tracker.failures = 0;
        tracker.last = Some(Ok(response.peers.len()));
        tracker.complete = response.complete.or(tracker.complete);
        tracker.incomplete = response.incomplete.or(tracker.incomplete);
        if response.tracker_id.is_some() {
            tracker.tracker_id = response.tracker_id.clone();
        }
        match event {
            Some(AnnounceEvent::Started) => {
                (tracker.registered, tracker.may_know_us) = (true, true);
            }
            Some(AnnounceEvent::Completed) => tracker.owes_completed = false,
            Some(AnnounceEvent::Stopped) | None => {}
        }
        let Some(tier) = self.tiers.get_mut(tracker.tier) else { return };
        tier.move_to_front(index);
        let min = response.min_interval.unwrap_or(DEFAULT_MIN_INTERVAL);
        let early = min.saturating_mul(2_u32.saturating_pow(tier.early)).min(response.interval);
        tier.next_at = now + response.interval;
        tier.early_at = now + early;
    }

    fn failed(&mut self, now: Instant, index: usize, error: &TrackerError) {
        let Some(tracker) = self.trackers.get_mut(index) else { return };
        let doubled = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(tracker.failures));
        // A quarter more or less, so that the peers of a swarm do not come back all at once.
        let percent = 75 + self.rng.below(51);
        let pause = doubled.min(MAX_RETRY) * u32::try_from(percent).unwrap_or(100) / 100;
        let wanted = error.retry_after().unwrap_or_default().min(MAX_WANTED_RETRY);
        tracker.failures = tracker.failures.saturating_add(1);
        tracker.retry_at = now + pause.min(MAX_RETRY).max(wanted);
        tracker.dead = error.is_permanent();
        if matches!(error, TrackerError::Refused { .. }) && !tracker.registered {
            // It heard of us, and does not want to know.
            tracker.may_know_us = false;
        }
        tracker.last = Some(Err(error.to_string()));
    }

    /// Computes again when the next announce is due.
    fn refresh(&mut self, now: Instant) {
        self.due = if self.stopping {
            self.next_to_leave().map(|_| now)
        } else {
            self.tiers.iter().filter_map(|tier| Some(self.tier_due(now, tier)?.0)).min()
        };
    }

    fn next_announce(&self, now: Instant, tracker: &Tracker) -> Option<Instant> {
        if tracker.in_flight.is_some() {
            return Some(now);
        }
        let tier = self.tiers.get(tracker.tier).filter(|_| !self.stopping)?;
        let (at, index) = self.tier_due(now, tier)?;
        self.trackers.get(index).filter(|next| std::ptr::eq(*next, tracker)).map(|_| at)
    }
}

impl Tracker {
    fn new(tier: usize, shown: String, url: Option<Url>) -> Self {
        Tracker {
            dead: url.is_none(),
            url,
            shown,
            tier,
            registered: false,
            may_know_us: false,
            owes_completed: false,
            in_flight: None,
            failures: 0,
            retry_at: Instant::ZERO,
            tracker_id: None,
            last: None,
            complete: None,
            incomplete: None,
        }
    }
}

impl Tier {
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
