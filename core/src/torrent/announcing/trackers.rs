//! The trackers of one torrent: whether they are spoken with, what they are told, and what their
//! answers mean.
//!
//! When and to whom is decided by [`TrackerList`]. A hybrid is announced twice, with each infohash: its
//! peers may know only one of them (BEP 52). What a tracker says of the other one brings peers and
//! changes nothing else.

use crate::family::Families;
use crate::http::Scheme;
use crate::piece::InfoHash;
use crate::random::PolicyRng;
use crate::time::Instant;
use crate::tracker::announce_job::{AnnounceJob, AnnounceResult};
use crate::tracker::list::{Announce, Heard, TrackerKey, TrackerList};
use crate::tracker::{AnnounceEvent, AnnounceRequest, NamedBy, TrackerStatus};

/// With fewer peers than this a download asks trackers again early (chosen).
const ENOUGH_PEERS: usize = 30;
/// Names of one tracker's answer, or of one link, that are looked up (chosen: names are rare, and a stranger
/// must not have us ask for thousands). Of more, each time others.
const MOST_NAMES: usize = 32;

/// The trackers of one torrent, and whether they are to be spoken with now.
#[derive(Debug)]
pub(crate) struct Trackers {
    list: TrackerList,
    state: State,
    /// The announce just made, with the other infohash of a hybrid.
    second: Option<Box<AnnounceJob>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// No tracker knows of us, or is to.
    Silent,
    Announcing,
    /// Trackers are told that we leave.
    Leaving,
}

/// How the torrent stands when it is announced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// Whether it fetches pieces or metadata.
    pub(crate) fetches: bool,
    /// Connected peers.
    pub(crate) peers: usize,
    /// Whether it lacks something and fetches nothing (BEP 21).
    pub(crate) is_partial_seed: bool,
    /// The address families that we have.
    pub(crate) families: Families,
    /// Its other infohash.
    pub(crate) other: Option<InfoHash>,
}

/// What an answer says to the user.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// It came too late to mean anything.
    Late,
    /// The tracker answered.
    Heard { url: String },
    /// It failed.
    Failed { url: String, why: String },
    /// It failed in one address family, and may answer in the other.
    OtherFamilyLeft,
}

impl Trackers {
    /// None yet.
    pub(crate) fn new(rng: PolicyRng) -> Self {
        Trackers { list: TrackerList::new(&[], rng), state: State::Silent, second: None }
    }

    /// Further trackers, in tiers of their own; those that are known already count once.
    pub(crate) fn add(&mut self, tiers: &[Vec<String>], by: NamedBy, now: Instant) {
        self.list.add_tiers(tiers, by, now);
    }

    /// Trackers are told of us from now on. A torrent that has just learnt its metadata is known to
    /// them already.
    pub(crate) fn start(&mut self, now: Instant) {
        if self.state != State::Announcing {
            self.state = State::Announcing;
            self.list.restart(now);
        }
    }

    /// Trackers are told that we leave; whether any was to know of us.
    pub(crate) fn stop(&mut self, now: Instant) -> bool {
        let was_announcing = self.state == State::Announcing;
        if was_announcing {
            self.state = State::Leaving;
            self.list.stop(now);
        }
        was_announcing
    }

    /// It became complete by downloading.
    pub(crate) fn complete(&mut self, now: Instant) {
        self.list.complete(now);
    }

    /// Whether every tracker that knew of us was told that we leave, or could not be.
    pub(crate) fn has_left(&self) -> bool {
        match self.state {
            State::Silent => true,
            State::Announcing => false,
            State::Leaving => self.list.is_stopped(),
        }
    }

    /// How each stands.
    pub(crate) fn status(&self, now: Instant) -> Vec<TrackerStatus> {
        self.list.status(now).collect()
    }

    /// When the next announce is due.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        if self.state == State::Silent { None } else { self.list.poll_timeout() }
    }

    /// The second announce of a hybrid, if the first was just made.
    pub(crate) fn take_second(&mut self) -> Option<AnnounceJob> {
        self.second.take().map(|second| *second)
    }

    /// The announce that is due, if one is. `request` is what is the same in all of them.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        standing: Standing,
        request: impl FnOnce(&Announce) -> AnnounceRequest,
    ) -> Option<AnnounceJob> {
        let need_peers = standing.fetches && standing.peers < ENOUGH_PEERS;
        let announce = self.list.poll(now, need_peers, standing.families)?;
        let request = AnnounceRequest {
            event: event(announce.event, announce.url.scheme(), standing.is_partial_seed),
            numwant: Some(announce.numwant),
            tracker_id: announce.tracker_id.clone(),
            ..request(&announce)
        };
        self.second = standing.other.map(|infohash| {
            let request = AnnounceRequest { infohash, ..request.clone() };
            AnnounceJob { announce: announce.clone(), request }.into()
        });
        Some(AnnounceJob { announce, request })
    }

    /// An announce, with either infohash, is on its way to this tracker.
    pub(crate) fn sent(&mut self, tracker: TrackerKey) {
        self.list.handle_sent(tracker);
    }

    /// A tracker answered the announce of the first infohash, or did not.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        tracker: TrackerKey,
        result: &AnnounceResult,
    ) -> Answer {
        let heard = self.list.handle_result(now, tracker, result);
        if heard == Heard::Late {
            return Answer::Late;
        }
        let url = || self.list.url(tracker).map(ToString::to_string).unwrap_or_default();
        match result {
            Ok(_) => Answer::Heard { url: url() },
            Err(error) if heard == Heard::News => {
                let why = self.list.failure(tracker);
                let why = why.map_or_else(|| error.to_string(), str::to_owned);
                Answer::Failed { url: url(), why }
            }
            Err(_) => Answer::OtherFamilyLeft,
        }
    }
}

/// What a tracker is told: a partial seed says at each announce that it is one, but when it leaves
/// (BEP 21). UDP trackers have no word for that (BEP 15).
fn event(
    event: Option<AnnounceEvent>,
    scheme: Scheme,
    is_partial_seed: bool,
) -> Option<AnnounceEvent> {
    let leaves = event == Some(AnnounceEvent::Stopped);
    match is_partial_seed && scheme != Scheme::Udp && !leaves {
        true => Some(AnnounceEvent::Paused),
        false => event,
    }
}

/// Of the names that a tracker lists, those that are looked up.
pub(crate) fn names_to_look_up(
    mut names: Vec<(String, u16)>,
    rng: &mut PolicyRng,
) -> Vec<(String, u16)> {
    rng.shuffle(&mut names);
    names.truncate(MOST_NAMES);
    names
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::tracker::TrackerError;

    const OTHER: InfoHash = InfoHash([2; 20]);

    fn trackers(urls: &[&str]) -> Trackers {
        let mut trackers = Trackers::new(PolicyRng::from_seed([1; 32]));
        let tiers: Vec<Vec<String>> = urls.iter().map(|url| vec![(*url).to_owned()]).collect();
        trackers.add(&tiers, NamedBy::User, Instant::ZERO);
        trackers
    }

    /// Of a torrent that fetches and has no peers.
    pub(in crate::torrent::announcing) fn standing() -> Standing {
        let families = Families::BOTH;
        Standing { fetches: true, peers: 0, is_partial_seed: false, families, other: None }
    }

    fn request(_: &Announce) -> AnnounceRequest {
        AnnounceRequest::sample()
    }

    #[test]
    fn a_hybrid_is_announced_with_both_infohashes_one_after_the_other() {
        let mut trackers = trackers(&["http://a.example/announce"]);
        assert_eq!(trackers.due_at(), None, "nobody is to be told");
        trackers.start(Instant::ZERO);
        assert_eq!(trackers.due_at(), Some(Instant::ZERO));
        let standing = Standing { other: Some(OTHER), ..standing() };
        let first = trackers.next(Instant::ZERO, standing, request).expect("due");
        assert_eq!(first.request.event, Some(AnnounceEvent::Started));
        let second = trackers.take_second().expect("a hybrid");
        assert_eq!((second.request.infohash, second.request.event), (OTHER, first.request.event));
        assert!(trackers.take_second().is_none());
    }

    #[test]
    fn trackers_that_were_told_of_us_are_told_that_we_leave() {
        let mut trackers = trackers(&["http://a.example/announce"]);
        assert!(trackers.has_left() && !trackers.stop(Instant::ZERO), "nobody knows of us");
        trackers.start(Instant::ZERO);
        let errand = trackers.next(Instant::ZERO, standing(), request).expect("due");
        trackers.sent(errand.announce.tracker);
        assert!(!trackers.has_left());
        assert!(
            trackers.stop(Instant::ZERO) && !trackers.has_left() && !trackers.stop(Instant::ZERO)
        );
    }

    #[test]
    fn a_partial_seed_says_so_where_the_tracker_has_a_word_for_it_and_not_when_it_leaves() {
        let said = |scheme, what| event(what, scheme, true);
        assert_eq!(said(Scheme::Http, None), Some(AnnounceEvent::Paused));
        assert_eq!(said(Scheme::Udp, None), None);
        let stopped = Some(AnnounceEvent::Stopped);
        assert_eq!(said(Scheme::Http, stopped), stopped);
        assert_eq!(event(None, Scheme::Http, false), None);
    }

    #[test]
    fn a_failure_is_told_with_its_tracker_and_an_answer_counts_once() {
        let mut trackers = trackers(&["http://a.example/announce"]);
        trackers.start(Instant::ZERO);
        let errand = trackers.next(Instant::ZERO, standing(), request).expect("due");
        trackers.sent(errand.announce.tracker);
        let result = Err(TrackerError::Status(500));
        let (url, why) =
            ("http://a.example/announce".into(), TrackerError::Status(500).to_string());
        let answer = trackers.answered(Instant::ZERO, errand.announce.tracker, &result);
        assert_eq!(answer, Answer::Failed { url, why });
        let again = trackers.answered(Instant::ZERO, errand.announce.tracker, &result);
        assert_eq!(again, Answer::Late);
    }

    #[test]
    fn of_many_listed_names_a_few_are_looked_up() {
        let names: Vec<_> = (0..100).map(|port| (format!("{port}.example"), port)).collect();
        let mut rng = PolicyRng::from_seed([1; 32]);
        let chosen = names_to_look_up(names.clone(), &mut rng);
        assert_eq!(chosen.len(), MOST_NAMES);
        assert_ne!(chosen, names_to_look_up(names, &mut rng), "each time others");
    }
}
