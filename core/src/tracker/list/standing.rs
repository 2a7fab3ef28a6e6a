//! How one tracker stands: in each address family by itself, and on the whole.

use bytes::Bytes;

use crate::family::{Family, PerFamily};
use crate::http::{Url, UrlHost};
use crate::time::Instant;
use crate::tracker::announce::AnnounceEvent;
use crate::tracker::question::NamedBy;

/// A tracker of a torrent.
#[derive(Debug)]
pub(super) struct Tracker {
    /// `None` if the URL cannot be used.
    pub(super) url: Option<Url>,
    /// The URL as shown.
    pub(super) shown: String,
    pub(super) tier: usize,
    pub(super) named_by: NamedBy,
    pub(super) owes_completed: bool,
    pub(super) tracker_id: Option<Bytes>,
    pub(super) complete: Option<u64>,
    pub(super) incomplete: Option<u64>,
    pub(super) standing: PerFamily<Standing>,
}

/// How a tracker stands in one address family.
#[derive(Debug)]
pub(super) struct Standing {
    /// It answered a `started`, and was sent no `stopped`.
    pub(super) registered: bool,
    /// It may have heard of us: an announce was sent, and no `stopped` since.
    pub(super) may_know_us: bool,
    pub(super) in_flight: Option<InFlight>,
    /// Failures since the last answer.
    pub(super) failures: u32,
    pub(super) retry_at: Instant,
    /// Asking it again cannot help.
    pub(super) dead: bool,
    pub(super) last: Option<Result<usize, Failure>>,
}

/// Why a tracker gave no answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: String,
    /// It says only that there is no way in this family.
    pub(super) is_of_family: bool,
}

/// An announce under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub(super) serial: u32,
    pub(super) event: Option<AnnounceEvent>,
}

impl InFlight {
    pub(super) fn is_completed(&self) -> bool {
        self.event == Some(AnnounceEvent::Completed)
    }
}

impl Tracker {
    pub(super) fn new(tier: usize, shown: String, url: Option<Url>) -> Self {
        Tracker {
            url,
            shown,
            tier,
            named_by: NamedBy::Torrent,
            owes_completed: false,
            tracker_id: None,
            complete: None,
            incomplete: None,
            standing: PerFamily::default(),
        }
    }

    /// One whose URL cannot be used.
    pub(super) fn unusable(tier: usize, shown: String, why: &str) -> Self {
        let failed = || Standing {
            dead: true,
            last: Some(Err(Failure { why: why.to_owned(), is_of_family: false })),
            ..Standing::default()
        };
        let standing = PerFamily { v4: failed(), v6: failed() };
        Tracker { standing, ..Tracker::new(tier, shown, None) }
    }

    /// The family of its address, if it is named by that.
    fn numeric(&self) -> Option<Family> {
        match self.url.as_ref()?.host() {
            UrlHost::Ip(ip) => Some(Family::of(*ip)),
            UrlHost::Name(_) => None,
        }
    }

    pub(super) fn is_numeric(&self) -> bool {
        self.numeric().is_some()
    }

    /// Whether it may have an address of this family.
    pub(super) fn may_be_in(&self, family: Family) -> bool {
        self.numeric().is_none_or(|its| its == family)
    }

    /// Whether it knows us by our address of this family, or is being sent it.
    pub(super) fn is_known(&self, family: Family) -> bool {
        let standing = self.standing.get(family);
        let event = standing.in_flight.and_then(|in_flight| in_flight.event);
        standing.registered || event == Some(AnnounceEvent::Started)
    }

    /// Whether the announce in this family is to tell that we are complete: not while the one in
    /// the other does, as that would count twice.
    pub(super) fn tells_completed(&self, family: Family) -> bool {
        let other = self.standing.get(family.other()).in_flight;
        let is_asked = other.is_some_and(|other| other.event == Some(AnnounceEvent::Completed));
        self.owes_completed && !is_asked
    }

    /// The better of what came last in the families; nothing while that is open.
    pub(super) fn last(&self) -> Option<Result<usize, String>> {
        let standings = || self.standing.both().into_iter();
        let peers = standings().filter_map(|standing| standing.last.as_ref()?.as_ref().ok());
        if let Some(peers) = peers.max() {
            return Some(Ok(*peers));
        }
        if standings().any(|standing| standing.last.is_none() && standing.in_flight.is_some()) {
            return None;
        }
        self.failure().map(|failure| Err(failure.why.clone()))
    }

    /// Why it cannot be asked; not that it lacks a family, if there is anything else to say.
    pub(super) fn failure(&self) -> Option<&Failure> {
        let standings = self.standing.both().into_iter();
        let failures = standings.filter_map(|standing| standing.last.as_ref()?.as_ref().err());
        failures.min_by_key(|failure| failure.is_of_family)
    }
}

impl Default for Standing {
    fn default() -> Self {
        Standing {
            registered: false,
            may_know_us: false,
            in_flight: None,
            failures: 0,
            retry_at: Instant::ZERO,
            dead: false,
            last: None,
        }
    }
}

impl Standing {
    /// Whether the tracker answers in this family, or may: it is being asked.
    pub(super) fn may_work(&self) -> bool {
        self.in_flight.is_some() || matches!(self.last, Some(Ok(_)))
    }
}
