//! The list of trackers, on ladders of announces and results.

mod families;

use super::*;
use crate::net_error::NetError;
use quickcheck::quickcheck;

/// A list and the engine's side of a ladder. Times are in seconds.
struct Ladder {
    list: TrackerList,
    need_peers: bool,
    families: Families,
}

type Outcome = Result<AnnounceResponse, TrackerError>;

fn ladder(tiers: &[&[&str]]) -> Ladder {
    let tiers: Vec<Vec<String>> = tiers
        .iter()
        .map(|tier| tier.iter().map(|name| format!("http://{name}/announce")).collect())
        .collect();
    let list = TrackerList::new(&tiers, PolicyRng::from_seed([1; 32]));
    Ladder { list, need_peers: false, families: V4 }
}

const V4: Families = Families::only(Family::V4);

/// The same, of a host that can be reached in both families.
fn dual(tiers: &[&[&str]]) -> Ladder {
    Ladder { families: Families::BOTH, ..ladder(tiers) }
}

fn answer(interval: u64, min: Option<u64>) -> Outcome {
    let mut response = AnnounceResponse::new(Duration::from_secs(interval));
    response.min_interval = min.map(Duration::from_secs);
    Ok(response)
}

impl Ladder {
    fn poll(&mut self, at: u64) -> Option<Announce> {
        self.list.poll(Instant::from_secs(at), self.need_peers, self.families)
    }

    /// An announce to this host with this event is due.
    fn expect(&mut self, at: u64, host: &str, event: Option<AnnounceEvent>) -> TrackerKey {
        let announce = self.poll(at).expect("an announce");
        assert_eq!((&*announce.url.authority(), announce.event), (host, event));
        announce.tracker
    }

    fn expect_any(&mut self, at: u64) -> (String, TrackerKey) {
        let announce = self.poll(at).expect("an announce");
        (announce.url.authority(), announce.tracker)
    }

    fn expect_silence_until(&mut self, at: u64, until: Option<u64>) {
        assert_eq!(self.poll(at), None);
        assert_eq!(self.list.poll_timeout(), until.map(Instant::from_secs));
    }

    fn result(&mut self, at: u64, key: TrackerKey, result: &Outcome) {
        assert_ne!(self.heard(at, key, result), Heard::Late);
    }

    fn heard(&mut self, at: u64, key: TrackerKey, result: &Outcome) -> Heard {
        self.list.handle_result(Instant::from_secs(at), key, result)
    }

    /// An announce to this host in this family with this event is due.
    fn expect_in(
        &mut self,
        at: u64,
        (host, family): (&str, Family),
        event: Option<AnnounceEvent>,
    ) -> TrackerKey {
        let announce = self.poll(at).expect("an announce");
        let to = (announce.url.authority(), announce.family);
        assert_eq!((to, announce.event), ((host.to_owned(), family), event));
        announce.tracker
    }

    fn started(&mut self, host: &str) {
        let key = self.expect(0, host, Some(AnnounceEvent::Started));
        self.result(0, key, &answer(1800, None));
    }
}

#[test]
fn started_comes_first_then_announces_at_the_interval() {
    let mut ladder = ladder(&[&["a"]]);
    let key = ladder.expect(0, "a", Some(AnnounceEvent::Started));
    ladder.expect_silence_until(1, None);
    ladder.result(2, key, &answer(1800, None));
    ladder.expect_silence_until(3, Some(1802));
    ladder.expect_silence_until(1801, Some(1802));
    let key = ladder.expect(1802, "a", None);
    ladder.result(1803, key, &answer(900, None));
    ladder.expect_silence_until(1804, Some(2703));
}

#[test]
fn started_is_repeated_until_it_is_answered() {
    let mut ladder = ladder(&[&["a"]]);
    let mut at = 0;
    for _ in 0..20 {
        let key = ladder.expect(at, "a", Some(AnnounceEvent::Started));
        ladder.result(at, key, &Err(TrackerError::TimedOut));
        assert_eq!(ladder.poll(at), None);
        let next = ladder.list.poll_timeout().unwrap();
        at = next.as_nanos().div_ceil(1_000_000_000);
    }
    let key = ladder.expect(at, "a", Some(AnnounceEvent::Started));
    ladder.result(at, key, &answer(1800, None));
    ladder.expect(at + 1800, "a", None);
}

#[test]
fn pauses_after_failures_grow_from_15_seconds_to_an_hour() {
    let mut ladder = ladder(&[&["a"]]);
    let mut now = Instant::ZERO;
    for failure in 0..15 {
        let key = ladder.list.poll(now, true, V4).unwrap().tracker;
        ladder.list.handle_result(now, key, &Err(TrackerError::TimedOut));
        let next = ladder.list.poll_timeout().unwrap();
        let pause = (next - now).as_secs_f64();
        let expected = (15.0 * f64::from(1 << failure)).min(3600.0);
        assert!((0.75 * expected..=1.25 * expected).contains(&pause), "{pause} {expected}");
        assert!(pause <= 3600.0);
        now = next;
    }
}

#[test]
fn within_a_tier_the_next_is_tried_at_once_and_the_answering_one_moves_to_the_front() {
    let mut ladder = ladder(&[&["a", "b", "c"]]);
    let (first, key) = ladder.expect_any(0);
    ladder.result(1, key, &Err(TrackerError::TimedOut));
    let (second, key) = ladder.expect_any(1);
    ladder.result(2, key, &answer(1800, None));
    assert_ne!(first, second);
    ladder.expect_silence_until(3, Some(1802));
    let key = ladder.expect(1802, &second, None);
    ladder.result(1803, key, &Err(TrackerError::TimedOut));
    // As in BEP 12's example: the order is now second, first, third.
    let key = ladder.expect(1803, &first, Some(AnnounceEvent::Started));
    ladder.result(1804, key, &Err(TrackerError::TimedOut));
    let (third, key) = ladder.expect_any(1804);
    ladder.result(1805, key, &answer(1800, None));
    assert!(third != first && third != second);
    ladder.expect(1805 + 1800, &third, None);
}

#[test]
fn tiers_are_announced_to_side_by_side() {
    let mut ladder = ladder(&[&["a"], &["b"]]);
    let a = ladder.expect(0, "a", Some(AnnounceEvent::Started));
    let b = ladder.expect(0, "b", Some(AnnounceEvent::Started));
    ladder.expect_silence_until(0, None);
    ladder.result(0, b, &answer(900, None));
    ladder.result(0, a, &answer(1800, None));
    ladder.expect(900, "b", None);
    ladder.expect(1800, "a", None);
}

#[test]
fn completed_is_told_once_to_those_that_heard_started_before() {
    let mut ladder = ladder(&[&["a"], &["b"], &["c"]]);
    ladder.started("a");
    let b = ladder.expect(0, "b", Some(AnnounceEvent::Started));
    let c = ladder.expect(0, "c", Some(AnnounceEvent::Started));
    ladder.result(0, c, &Err(TrackerError::TimedOut));
    ladder.list.complete(Instant::from_secs(10));
    let a = ladder.expect(10, "a", Some(AnnounceEvent::Completed));
    ladder.result(11, b, &answer(1800, None));
    let b = ladder.expect(11, "b", Some(AnnounceEvent::Completed));
    ladder.result(12, a, &Err(TrackerError::TimedOut));
    ladder.result(12, b, &answer(1800, None));
    // Who is due for longest comes first.
    let c = ladder.expect(40, "c", Some(AnnounceEvent::Started));
    ladder.result(40, c, &answer(3000, None));
    let a = ladder.expect(40, "a", Some(AnnounceEvent::Completed));
    ladder.result(40, a, &answer(1800, None));
    ladder.expect(1812, "b", None);
    ladder.expect(1840, "a", None);
    ladder.expect(3040, "c", None);
}

#[test]
fn stopped_is_told_to_those_that_may_have_heard_of_us() {
    let mut ladder = ladder(&[&["a"], &["b"], &["c"], &["d"], &["e"], &["f"]]);
    ladder.started("a");
    let [b, _c, d, e, f] =
        ["b", "c", "d", "e", "f"].map(|host| ladder.expect(0, host, Some(AnnounceEvent::Started)));
    // It was sent to b, which has not answered; to d, from which no answer came in time; and to f,
    // which said no. c was not reached yet, e could not be.
    for key in [b, d, f] {
        ladder.list.handle_sent(key);
    }
    ladder.result(0, d, &Err(TrackerError::TimedOut));
    ladder.result(0, e, &Err(TrackerError::Connect(NetError::Refused)));
    ladder.result(0, f, &Err(TrackerError::Refused { reason: String::new(), retry: None }));
    ladder.list.stop(Instant::from_secs(5));
    assert!(!ladder.list.is_stopped());
    let leaves = ["a", "b", "d"].map(|host| {
        let announce = ladder.poll(5).unwrap();
        assert_eq!(announce.event, Some(AnnounceEvent::Stopped));
        assert_eq!((&*announce.url.authority(), announce.numwant), (host, 0));
        // That it is under way does not ask for another.
        ladder.list.handle_sent(announce.tracker);
        announce.tracker
    });
    ladder.expect_silence_until(5, None);
    assert_eq!(ladder.heard(5, b, &answer(1800, None)), Heard::Late);
    for key in leaves {
        assert!(!ladder.list.is_stopped());
        ladder.result(6, key, &Err(TrackerError::TimedOut));
    }
    ladder.expect_silence_until(100, None);
    assert!(ladder.list.is_stopped());
    ladder.list.restart(Instant::from_secs(100));
    ladder.expect(115, "a", Some(AnnounceEvent::Started));
    ladder.expect(115, "b", Some(AnnounceEvent::Started));
}

#[test]
fn a_tracker_that_refused_once_and_knows_us_is_told_all_the_same() {
    let mut ladder = ladder(&[&["a"]]);
    ladder.started("a");
    let key = ladder.expect(1800, "a", None);
    ladder.result(1800, key, &Err(TrackerError::Refused { reason: String::new(), retry: None }));
    ladder.list.stop(Instant::from_secs(1801));
    ladder.expect(1801, "a", Some(AnnounceEvent::Stopped));
}

#[test]
fn need_of_peers_brings_the_announce_forward_but_not_under_the_minimum_interval() {
    let mut ladder = ladder(&[&["a"]]);
    ladder.need_peers = true;
    let key = ladder.expect(0, "a", Some(AnnounceEvent::Started));
    ladder.result(0, key, &answer(1800, Some(300)));
    ladder.expect_silence_until(1, Some(300));
    ladder.need_peers = false;
    ladder.expect_silence_until(2, Some(1800));
    ladder.need_peers = true;
    ladder.expect_silence_until(299, Some(300));
    let key = ladder.expect(300, "a", None);
    ladder.result(300, key, &answer(1800, Some(300)));
    ladder.expect_silence_until(301, Some(900));
    let key = ladder.expect(900, "a", None);
    ladder.result(900, key, &answer(1800, Some(300)));
    ladder.expect_silence_until(901, Some(2100));
}

#[test]
fn early_announces_end_at_the_interval() {
    let mut ladder = ladder(&[&["a"]]);
    ladder.need_peers = true;
    let mut now = Instant::ZERO;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let key = ladder.list.poll(now, true, V4).unwrap().tracker;
        ladder.list.handle_result(now, key, &answer(600, None));
        let next = ladder.list.poll_timeout().unwrap();
        pauses.push((next - now).as_secs());
        now = next;
    }
    assert_eq!(pauses, [60, 120, 240, 480, 600, 600, 600, 600]);
}

#[test]
fn tracker_id_is_repeated() {
    let mut ladder = ladder(&[&["a"]]);
    let key = ladder.expect(0, "a", Some(AnnounceEvent::Started));
    let mut response = AnnounceResponse::new(Duration::from_secs(900));
    response.tracker_id = Some(Bytes::from_static(b"id"));
    ladder.result(0, key, &Ok(response));
    let announce = ladder.poll(900).unwrap();
    assert_eq!(announce.tracker_id.as_deref(), Some(&b"id"[..]));
    ladder.result(900, announce.tracker, &answer(900, None));
    assert!(ladder.poll(1800).unwrap().tracker_id.is_some());
}

#[test]
fn tracker_that_says_when_to_come_back_is_obeyed() {
    use crate::tracker::RetryIn;
    let refused = |retry| Err(TrackerError::Refused { reason: String::new(), retry: Some(retry) });
    let mut later = ladder(&[&["a"]]);
    let key = later.expect(0, "a", Some(AnnounceEvent::Started));
    later.result(0, key, &refused(RetryIn::After(Duration::from_secs(600))));
    later.expect_silence_until(1, Some(600));
    let key = later.expect(600, "a", Some(AnnounceEvent::Started));
    later.result(600, key, &refused(RetryIn::After(Duration::MAX)));
    later.expect_silence_until(601, Some(600 + 24 * 60 * 60));
    let mut never = ladder(&[&["a"]]);
    let key = never.expect(0, "a", Some(AnnounceEvent::Started));
    never.result(0, key, &refused(RetryIn::Never));
    never.expect_silence_until(1, None);
}

#[test]
fn what_is_no_url_is_listed_with_its_error_and_doubles_are_dropped() {
    let tiers =
        [vec!["wss://x/\u{1b}".to_owned()], vec!["http://A/".to_owned(), "http://a".to_owned()]];
    let mut list = TrackerList::new(&tiers, PolicyRng::from_seed([1; 32]));
    assert_eq!(list.poll(Instant::ZERO, false, V4).unwrap().url.authority(), "a");
    assert_eq!(list.poll(Instant::ZERO, false, V4), None);
    let status: Vec<_> = list.status(Instant::ZERO).collect();
    assert_eq!(status.len(), 2);
    assert_eq!((&*status[0].url, status[0].tier), ("wss://x/", 0));
    assert!(matches!(status[0].last, Some(Err(_))) && status[0].next_announce.is_none());
    assert_eq!((&*status[1].url, status[1].tier), ("http://a/", 1));
    let many: Vec<String> = (0..10_000).map(|n| format!("http://t{n}/")).collect();
    let list = TrackerList::new(&[many], PolicyRng::from_seed([1; 32]));
    assert_eq!(list.status(Instant::ZERO).count(), MAX_TRACKERS);
}

/// Announces to all, as many at once as may be, with `answer` a second later, until `host` is asked.
fn asked_until(ladder: &mut Ladder, host: &str, answer: &Outcome) -> (u64, usize) {
    let mut asked = 0;
    for at in 0..10_000 {
        let due: Vec<Announce> = std::iter::from_fn(|| ladder.poll(at)).collect();
        assert!(due.len() <= MAX_AT_ONCE);
        for announce in due {
            asked += 1;
            if announce.url.authority() == host {
                return (at, asked);
            }
            ladder.result(at + 1, announce.tracker, answer);
        }
    }
    panic!("{host} is never asked");
}

#[test]
fn however_many_trackers_there_are_each_has_its_turn() {
    let names: Vec<String> = (0..300).map(|n| format!("t{n}")).collect();
    let tiers: Vec<[&str; 1]> = names.iter().map(|name| [&**name]).collect();
    let tiers: Vec<&[&str]> = tiers.iter().map(|tier| &tier[..]).collect();
    let failed = Err(TrackerError::TimedOut);
    for (number, answer) in [(100, &failed), (299, &failed), (100, &answer(60, None))] {
        for families in [V4, Families::BOTH] {
            let mut ladder = Ladder { families, ..ladder(&tiers) };
            let (_, asked) = asked_until(&mut ladder, &names[number], answer);
            // Those that failed do not come before those that were not asked at all.
            assert!(asked <= 2 * (number + 1) + 2 * MAX_AT_ONCE, "{asked} before {number}");
        }
    }
    // And of one tier.
    let mut one = ladder(&[&names.iter().map(String::as_str).collect::<Vec<_>>()]);
    asked_until(&mut one, "t299", &failed);
}

#[test]
fn what_the_user_names_comes_first_and_is_told_apart() {
    let mut list = TrackerList::new(&[], PolicyRng::from_seed([1; 32]));
    let tier = |name: &str| vec![vec![format!("http://{name}/")]];
    list.add_tiers(&tier("mine"), NamedBy::User, Instant::ZERO);
    let others: Vec<Vec<String>> =
        (0..MAX_TRACKERS).map(|n| vec![format!("http://t{n}/")]).collect();
    list.add_tiers(&others, NamedBy::Torrent, Instant::ZERO);
    list.add_tiers(&tier("mine"), NamedBy::Torrent, Instant::ZERO);
    list.add_tiers(&tier("late"), NamedBy::User, Instant::ZERO);
    let first = list.poll(Instant::ZERO, false, V4).unwrap();
    assert_eq!((&*first.url.authority(), first.named_by), ("mine", NamedBy::User));
    let second = list.poll(Instant::ZERO, false, V4).unwrap();
    assert_eq!(second.named_by, NamedBy::Torrent);
    // No bound keeps out what the user names; it counts for others only.
    let last = list.status(Instant::ZERO).last().unwrap();
    assert_eq!(last.url, "http://late/");
}

#[test]
fn status_tells_the_last_answer_and_the_next_announce() {
    let mut ladder = ladder(&[&["a"]]);
    let key = ladder.expect(0, "a", Some(AnnounceEvent::Started));
    let mut response = AnnounceResponse::new(Duration::from_secs(900));
    response.peers = vec!["1.1.1.1:1".parse().unwrap()];
    (response.complete, response.incomplete) = (Some(5), Some(6));
    ladder.result(0, key, &Ok(response));
    let status = ladder.list.status(Instant::from_secs(100)).next().unwrap();
    assert_eq!(status.last, Some(Ok(1)));
    assert_eq!((status.complete, status.incomplete), (Some(5), Some(6)));
    assert_eq!(status.next_announce, Some(Duration::from_secs(800)));
}

#[test]
fn without_a_network_pauses_stay_short_for_when_it_is_back() {
    use crate::event::{NetError, ResolveError};
    let errors = [
        TrackerError::Connect(NetError::Unreachable),
        TrackerError::Resolve(ResolveError::Unavailable),
    ];
    for error in errors {
        let mut ladder = ladder(&[&["a"]]);
        let mut at = 0;
        for _ in 0..20 {
            let key = ladder.expect(at, "a", Some(AnnounceEvent::Started));
            ladder.result(at, key, &Err(error.clone()));
            let next = ladder.list.poll_timeout().unwrap();
            let next = next.as_nanos().div_ceil(1_000_000_000);
            assert!(next > at && next - at <= 75, "{error}: {}", next - at);
            at = next;
        }
        // One that does not answer may be there.
        let key = ladder.expect(at, "a", Some(AnnounceEvent::Started));
        ladder.result(at, key, &Err(TrackerError::TimedOut));
        let next = ladder.list.poll_timeout().unwrap();
        assert!(next > Instant::from_secs(at) + Duration::from_secs(1000));
    }
}

#[test]
fn one_that_is_owed_completed_when_we_stop_hears_it_first_but_is_not_waited_for_long() {
    let [completed, stopped] = [AnnounceEvent::Completed, AnnounceEvent::Stopped].map(Some);
    let begun = || {
        let mut ladder = ladder(&[&["a"], &["b"]]);
        ladder.started("a");
        ladder.started("b");
        ladder.list.complete(Instant::from_secs(5));
        ladder
    };
    // `a` is being told when the torrent stops, `b` not yet: neither hears it twice.
    let mut ladder = begun();
    let a = ladder.expect(5, "a", completed);
    ladder.list.stop(Instant::from_secs(5));
    let b = ladder.expect(5, "b", completed);
    assert_eq!(ladder.poll(5), None);
    ladder.result(5, a, &answer(1800, None));
    let a = ladder.expect(5, "a", stopped);
    // What fails is not tried again.
    ladder.result(5, b, &Err(TrackerError::TimedOut));
    let b = ladder.expect(5, "b", stopped);
    ladder.result(5, a, &answer(1800, None));
    ladder.result(5, b, &answer(1800, None));
    assert!(ladder.list.is_stopped());

    let mut ladder = begun();
    ladder.list.stop(Instant::from_secs(5));
    let a = ladder.expect(5, "a", completed);
    ladder.expect(5, "b", completed);
    assert_eq!(ladder.poll(5), None);
    let until = Instant::from_secs(5) + COMPLETED_PATIENCE;
    assert_eq!(ladder.list.poll_timeout(), Some(until));
    let told = |ladder: &mut Ladder| ladder.list.poll(until, false, V4).unwrap();
    for host in ["a", "b"] {
        let announce = told(&mut ladder);
        assert_eq!((&*announce.url.authority(), announce.event), (host, stopped));
    }
    assert_eq!(ladder.heard(6, a, &answer(1800, None)), Heard::Late);
}

#[test]
fn who_is_first_told_of_us_when_all_is_here_is_told_of_no_completion() {
    let mut ladder = dual(&[&["a"]]);
    let v4 = ladder.expect_in(0, ("a", Family::V4), Some(AnnounceEvent::Started));
    let v6 = ladder.expect_in(0, ("a", Family::V6), Some(AnnounceEvent::Started));
    ladder.list.complete(Instant::from_secs(1));
    ladder.result(2, v4, &Err(TrackerError::TimedOut));
    ladder.result(2, v6, &Err(TrackerError::TimedOut));
    let mut events = Vec::new();
    for at in 2..60 {
        while let Some(announce) = ladder.poll(at) {
            events.push(announce.event);
            ladder.result(at, announce.tracker, &answer(1800, None));
        }
    }
    assert_eq!(events, [Some(AnnounceEvent::Started); 2]);
}

quickcheck! {
    /// Whatever trackers answer: one announce at a time per tier and family, events in order, no
    /// spin, and after each silence a time that is later.
    fn whatever_is_answered_the_order_of_events_holds(steps: Vec<(u8, u8, bool)>) -> bool {
        let mut ladder = dual(&[&["a", "b"], &["c"], &["d", "e", "f"]]);
        let mut now = Instant::ZERO;
        let mut open: Vec<Announce> = Vec::new();
        let mut heard = std::collections::BTreeMap::new();
        for (kind, pick, need_peers) in steps {
            while let Some(announce) = ladder.list.poll(now, need_peers, Families::BOTH) {
                let to = (announce.url.authority(), announce.family);
                let registered = *heard.get(&to).unwrap_or(&false);
                assert_eq!(registered, announce.event != Some(AnnounceEvent::Started));
                open.push(announce);
                assert!(open.len() <= 6);
            }
            assert!(ladder.list.poll_timeout().is_none_or(|at| at > now));
            match kind % 4 {
                0 => now = ladder.list.poll_timeout().unwrap_or(now),
                1 => ladder.list.complete(now),
                _ if open.is_empty() => {}
                outcome => {
                    let announce = open.remove(usize::from(pick) % open.len());
                    let ok = outcome == 2;
                    let result =
                        if ok { answer(60, Some(5)) } else { Err(TrackerError::TimedOut) };
                    let outcome = ladder.list.handle_result(now, announce.tracker, &result);
                    assert_ne!(outcome, Heard::Late);
                    if ok {
                        heard.insert((announce.url.authority(), announce.family), true);
                    }
                }
            }
        }
        true
    }
}
