//! Each address family is announced from by itself.

use super::*;

#[test]
fn each_family_is_announced_from_and_one_that_is_not_ours_is_not() {
    let started = Some(AnnounceEvent::Started);
    let mut both = dual(&[&["a"], &["1.1.1.1"], &["[2606:4700::1]"]]);
    let mut keys = Vec::new();
    for to in [("a", Family::V4), ("a", Family::V6), ("1.1.1.1", Family::V4)] {
        keys.push(both.expect_in(0, to, started));
    }
    keys.push(both.expect_in(0, ("[2606:4700::1]", Family::V6), started));
    both.expect_silence_until(0, None);
    for key in keys {
        both.result(0, key, &answer(1800, None));
    }
    both.expect_silence_until(1, Some(1800));
    both.expect_in(1800, ("a", Family::V4), None);
    both.expect_in(1800, ("a", Family::V6), None);

    for (mine, other) in [(Family::V4, "[::1]"), (Family::V6, "127.0.0.1")] {
        let mut one = Ladder { families: Families::only(mine), ..ladder(&[&["a"], &[other]]) };
        one.expect_in(0, ("a", mine), started);
        // One that is named by its address is asked there, so that its failure can be told.
        one.expect_in(0, (other, mine.other()), started);
        one.expect_silence_until(0, None);
    }
}

#[test]
fn a_family_that_leads_nowhere_is_no_failure_while_the_other_works() {
    let lacks = || Err(TrackerError::NoAddress(Family::V6));
    let started = Some(AnnounceEvent::Started);
    for lacking_first in [true, false] {
        let mut ladder = dual(&[&["a"]]);
        let v4 = ladder.expect_in(0, ("a", Family::V4), started);
        let v6 = ladder.expect_in(0, ("a", Family::V6), started);
        if lacking_first {
            assert_eq!(ladder.heard(0, v6, &lacks()), Heard::OtherFamilyLeft);
            assert_eq!(ladder.list.status(Instant::ZERO).next().unwrap().last, None, "open");
        }
        assert_eq!(ladder.heard(0, v4, &answer(1800, None)), Heard::News);
        if !lacking_first {
            assert_eq!(ladder.heard(0, v6, &lacks()), Heard::OtherFamilyLeft);
        }
        assert_eq!(ladder.list.status(Instant::ZERO).next().unwrap().last, Some(Ok(0)));
    }
}

#[test]
fn a_tracker_has_failed_when_it_has_in_each_family_and_the_telling_reason_is_told() {
    let mut ladder = dual(&[&["a"]]);
    let v4 = ladder.poll(0).unwrap().tracker;
    let v6 = ladder.poll(0).unwrap().tracker;
    assert_eq!(ladder.heard(0, v4, &Err(TrackerError::TimedOut)), Heard::OtherFamilyLeft);
    let lacks = Err(TrackerError::NoAddress(Family::V6));
    assert_eq!(ladder.heard(0, v6, &lacks), Heard::News);
    assert_eq!(ladder.list.failure(v6), Some("no answer in time"));
    let last = ladder.list.status(Instant::ZERO).next().unwrap().last;
    assert_eq!(last, Some(Err("no answer in time".to_owned())));
}

#[test]
fn within_a_tier_each_family_finds_the_tracker_that_answers_it() {
    let mut ladder = dual(&[&["a", "b"]]);
    let started = Some(AnnounceEvent::Started);
    let mut found = std::collections::BTreeMap::new();
    // `a` answers in IPv4 alone, `b` in IPv6 alone.
    while let Some(announce) = ladder.poll(0) {
        assert_eq!(announce.event, started);
        let host = announce.url.authority();
        let answers = (&*host, announce.family);
        let is_right = answers == ("a", Family::V4) || answers == ("b", Family::V6);
        let result = if is_right { answer(1800, None) } else { Err(TrackerError::TimedOut) };
        ladder.result(0, announce.tracker, &result);
        if is_right {
            found.insert(announce.family, host);
        }
    }
    assert_eq!(found.len(), 2);
    ladder.expect_in(1800, ("a", Family::V4), None);
    ladder.expect_in(1800, ("b", Family::V6), None);
}

#[test]
fn completed_is_told_in_one_family_and_stopped_in_each() {
    let mut ladder = dual(&[&["a"]]);
    for family in Family::ALL {
        let key = ladder.expect_in(0, ("a", family), Some(AnnounceEvent::Started));
        ladder.result(0, key, &answer(1800, None));
    }
    ladder.list.complete(Instant::from_secs(5));
    let v4 = ladder.expect_in(5, ("a", Family::V4), Some(AnnounceEvent::Completed));
    ladder.expect_silence_until(5, Some(1800));
    // Not heard in one, it is told in the other.
    ladder.result(6, v4, &Err(TrackerError::TimedOut));
    let v6 = ladder.expect_in(6, ("a", Family::V6), Some(AnnounceEvent::Completed));
    ladder.result(7, v6, &answer(1800, None));
    assert_eq!(ladder.poll(100), None);
    ladder.list.stop(Instant::from_secs(200));
    for family in Family::ALL {
        let key = ladder.expect_in(200, ("a", family), Some(AnnounceEvent::Stopped));
        assert!(!ladder.list.is_stopped());
        ladder.result(200, key, &answer(1800, None));
    }
    assert!(ladder.list.is_stopped());
}
