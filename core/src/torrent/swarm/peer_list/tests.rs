use quickcheck::{Arbitrary, Gen, quickcheck};

use super::*;
use crate::ip_filter::file;

const NOW: Instant = Instant::from_secs(100);

fn list(capacity: usize) -> PeerList {
    PeerList::new(capacity, PolicyRng::from_seed([9; 32]))
}

fn addr(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 6881))
}

fn after(secs: u64) -> Instant {
    NOW + Duration::from_secs(secs)
}

fn next(list: &mut PeerList, now: Instant) -> Option<SocketAddr> {
    list.next_to_connect(now, |_| false)
}

#[test]
fn what_a_filter_refuses_is_forgotten_and_not_added_again() {
    let mut list = list(10);
    for last in 1..=3 {
        list.add(addr(last), PeerSource::User, NOW);
    }
    let refused = file::read(b"10.0.0.2-10.0.0.3").unwrap().filter;
    assert!(next(&mut list, NOW).is_some());
    list.set_filter(Some(Arc::new(refused)));
    assert_eq!((list.len(), list.source(addr(2)), list.source(addr(3))), (1, None, None));
    assert_eq!(list.add(addr(2), PeerSource::User, NOW), Added::Filtered);
    list.connected(addr(3), NOW);
    assert_eq!(list.len(), 1);
    list.set_filter(None);
    assert_eq!(list.add(addr(2), PeerSource::Pex, NOW), Added::New);
}

#[test]
fn an_address_is_upgraded_to_v2_once_and_may_fall_back() {
    let mut list = list(10);
    assert!(!list.upgrade(addr(1)), "it is not known");
    list.add(addr(1), PeerSource::Tracker, NOW);
    assert!(list.upgrade(addr(1)) && list.is_of_v2(addr(1)));
    list.set_of_v2(addr(1), false);
    assert!(!list.upgrade(addr(1)) && !list.is_of_v2(addr(1)), "it was tried");
}

#[test]
fn an_address_is_handed_out_once_until_it_ended() {
    let mut list = list(10);
    assert_eq!(list.add(addr(1), PeerSource::Tracker, NOW), Added::New);
    assert_eq!(list.add(addr(1), PeerSource::Pex, NOW), Added::Known);
    assert_eq!(list.source(addr(1)), Some(PeerSource::Tracker));
    assert_eq!(next(&mut list, NOW), Some(addr(1)));
    assert_eq!((next(&mut list, NOW), list.next_at()), (None, None));
    list.connected(addr(1), NOW);
    assert!(list.is_connected(addr(1)));
    list.ended(addr(1), NOW, Ended::Normal);
    assert_eq!(next(&mut list, NOW), None);
    let at = list.next_at().unwrap();
    assert!((after(30)..after(38)).contains(&at), "{at:?}");
    assert_eq!(next(&mut list, at), Some(addr(1)));
}

#[test]
fn failures_double_the_wait_up_to_an_hour() {
    let mut list = list(10);
    list.add(addr(1), PeerSource::Dht, NOW);
    let mut now = NOW;
    let mut waits = Vec::new();
    for _ in 0..12 {
        assert_eq!(next(&mut list, now), Some(addr(1)));
        list.ended(addr(1), now, Ended::Failed);
        let at = list.next_at().unwrap();
        waits.push((at - now).as_secs());
        now = at;
    }
    let least = [15, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600];
    for (wait, least) in waits.into_iter().zip(least) {
        assert!((least..=least + least / 4).contains(&wait), "{wait} instead of {least}");
    }
}

#[test]
fn naming_an_address_again_shortens_its_wait_only_for_the_user() {
    let mut list = list(10);
    list.add(addr(1), PeerSource::Tracker, NOW);
    next(&mut list, NOW);
    (0..3).for_each(|_| list.ended(addr(1), NOW, Ended::Misbehaved));
    assert!(list.next_at().unwrap() > after(1900));
    list.add(addr(1), PeerSource::Pex, after(60));
    assert_eq!(next(&mut list, after(60)), None);
    list.add(addr(1), PeerSource::User, after(60));
    assert_eq!(next(&mut list, after(60)), Some(addr(1)));
    list.ended(addr(1), after(60), Ended::Failed);
    assert!(list.next_at().unwrap() <= after(63), "the user's are tried again soon");
}

#[test]
fn candidates_come_by_class_then_failures_then_priority() {
    let mut list = list(100);
    list.set_external(&[SocketAddr::from(([80, 1, 2, 3], 6881))]);
    list.add(addr(1), PeerSource::Tracker, NOW);
    next(&mut list, NOW);
    list.ended(addr(1), NOW, Ended::Failed);
    let fresh: Vec<_> = (2..10).map(|n| SocketAddr::from(([10, n, 0, 1], 6881))).collect();
    fresh.iter().for_each(|&addr| _ = list.add(addr, PeerSource::Tracker, NOW));
    let user = addr(200);
    list.add(user, PeerSource::User, NOW);
    let order: Vec<_> = std::iter::from_fn(|| next(&mut list, after(60))).collect();
    assert_eq!((order.first(), order.last()), (Some(&user), Some(&addr(1))));
    let priorities: Vec<_> = order[1..9].iter().map(|&a| list.priority_of(a).unwrap()).collect();
    assert!(priorities.is_sorted_by(|a, b| a > b), "{priorities:?}");
}

#[test]
fn a_seed_is_no_candidate_while_we_are_one() {
    let mut list = list(10);
    list.add(addr(1), PeerSource::Tracker, NOW);
    list.set_seed(addr(1), true);
    list.set_seeding(true, NOW);
    assert_eq!((next(&mut list, NOW), list.next_at()), (None, None));
    list.set_seeding(false, NOW);
    assert_eq!(next(&mut list, NOW), Some(addr(1)));
    assert!(list.is_seed(addr(1)));
}

/// A candidate at once or not, after a connection that ended like this.
fn waits_after(how: Ended) -> (PeerList, u64) {
    let mut list = list(10);
    list.add(addr(1), PeerSource::Tracker, NOW);
    next(&mut list, NOW);
    list.connected(addr(1), NOW);
    list.ended(addr(1), NOW, how);
    let at = list.next_at().expect("it is known");
    (list, (at - NOW).as_secs())
}

#[test]
fn who_was_let_go_is_a_candidate_at_once_and_failures_stay() {
    assert_eq!(waits_after(Ended::LetGo).1, 0);
    let mut list = list(10);
    list.add(addr(1), PeerSource::Tracker, NOW);
    (0..5).for_each(|_| list.ended(addr(1), NOW, Ended::Failed));
    list.ended(addr(1), NOW, Ended::LetGo);
    assert_eq!(next(&mut list, NOW), Some(addr(1)));
    list.ended(addr(1), NOW, Ended::Failed);
    assert!(list.next_at().unwrap() >= after(15 * 32), "the sixth failure in a row");
}

#[test]
fn who_waits_for_something_is_recalled_when_it_comes() {
    let (mut list, wait) = waits_after(Ended::Useless);
    assert!(wait >= 600);
    list.set_seeding(true, NOW);
    list.set_seeding(false, after(1));
    assert_eq!(next(&mut list, after(1)), Some(addr(1)), "we are no seed any more");

    let (mut list, wait) = waits_after(Ended::Busy);
    assert!(wait >= 30);
    list.recall_busy(addr(2).ip(), after(1));
    assert_eq!(next(&mut list, after(1)), None, "another address");
    list.recall_busy(addr(1).ip(), after(1));
    assert_eq!(next(&mut list, after(1)), Some(addr(1)));

    let (mut list, wait) = waits_after(Ended::Wasteful);
    assert!(wait >= 15 && list.has_wasteful());
    list.recall_wasteful(after(1));
    assert_eq!(next(&mut list, after(1)), Some(addr(1)));

    let (mut list, wait) = waits_after(Ended::Unreachable);
    assert!(wait >= 15);
    list.recall_unreachable(after(1));
    assert_eq!(next(&mut list, after(1)), Some(addr(1)));
    list.ended(addr(1), after(1), Ended::Unreachable);
    list.recall_unreachable(after(2));
    assert_eq!(next(&mut list, after(2)), None, "not again and again");
    list.recall_unreachable(after(40));
    assert_eq!(next(&mut list, after(40)), Some(addr(1)));
}

#[test]
fn failures_are_not_recalled_by_anything_but_time() {
    for how in [Ended::Failed, Ended::Misbehaved] {
        let (mut list, _) = waits_after(how);
        list.recall_wasteful(after(1));
        list.recall_unreachable(after(1));
        list.recall_busy(addr(1).ip(), after(1));
        list.set_seeding(true, NOW);
        list.set_seeding(false, after(1));
        assert_eq!(next(&mut list, after(1)), None, "{how:?}");
    }
}

#[test]
fn who_has_worked_is_tried_every_two_minutes_for_a_while() {
    let (mut list, _) = waits_after(Ended::Failed);
    let mut now = NOW;
    for _ in 0..10 {
        let at = list.next_at().unwrap();
        assert!(at <= now + Duration::from_secs(150));
        now = at;
        assert_eq!(next(&mut list, now), Some(addr(1)));
        list.ended(addr(1), now, Ended::Failed);
    }
    (0..3).for_each(|_| list.ended(addr(1), now, Ended::Failed));
    assert!(list.next_at().unwrap() >= now + Duration::from_secs(3600), "and then it is given up");
}

#[test]
fn who_wastes_comes_after_all_others() {
    let (mut list, _) = waits_after(Ended::Wasteful);
    list.recall_wasteful(NOW);
    list.add(addr(2), PeerSource::Pex, NOW);
    assert_eq!(next(&mut list, NOW), Some(addr(2)));
    assert_eq!(next(&mut list, NOW), Some(addr(1)));
}

#[test]
fn a_banned_address_is_forgotten_instead_of_handed_out() {
    let mut list = list(10);
    list.add(addr(1), PeerSource::Tracker, NOW);
    list.add(addr(2), PeerSource::Tracker, NOW);
    let is_banned = |of| of == addr(1);
    assert_eq!(list.next_to_connect(NOW, is_banned), Some(addr(2)));
    assert_eq!(list.next_to_connect(NOW, is_banned), None);
    assert_eq!(list.len(), 1);
}

#[test]
fn addresses_that_nobody_has_are_refused() {
    let mut list = list(10);
    for bad in [
        "1.2.3.4:0",
        "0.0.0.0:1",
        "0.1.2.3:1",
        "224.0.0.1:1",
        "255.255.255.255:1",
        "240.0.0.1:1",
        "[::]:1",
        "[ff02::1]:1",
        "[::ffff:0.0.0.0]:1",
    ] {
        assert_eq!(list.add(bad.parse().unwrap(), PeerSource::Tracker, NOW), Added::Invalid);
    }
    assert_eq!(list.len(), 0);
}

#[test]
fn ports_of_the_system_are_named_by_the_user_and_trackers_alone() {
    let mut list = list(10);
    let system: SocketAddr = "1.2.3.4:22".parse().unwrap();
    for source in [PeerSource::Lsd, PeerSource::Dht, PeerSource::Pex, PeerSource::Incoming] {
        assert_eq!(list.add(system, source, NOW), Added::Invalid, "{source:?}");
    }
    assert_eq!(list.add(system, PeerSource::Tracker, NOW), Added::New);
    assert_eq!(list.add(system, PeerSource::User, NOW), Added::Known);
}

#[test]
fn one_address_in_two_forms_is_one_peer() {
    let mut list = list(10);
    list.add("[::ffff:1.2.3.4]:5005".parse().unwrap(), PeerSource::Pex, NOW);
    assert_eq!(list.add("1.2.3.4:5005".parse().unwrap(), PeerSource::Pex, NOW), Added::Known);
}

/// One who names many addresses again and again does not have us dial a victim without pause.
#[test]
fn address_that_failed_waits_though_it_was_evicted_and_is_named_again() {
    let mut list = list(16);
    let victim = addr(200);
    let mut dialled = Vec::new();
    for second in 0..3600 {
        let now = after(second);
        list.add(victim, PeerSource::Pex, now);
        (0..40)
            .for_each(|n| _ = list.add(addr((second * 7 + n) as u8 % 199), PeerSource::Pex, now));
        while let Some(to) = next(&mut list, now) {
            if to == victim {
                dialled.push(second);
            }
            list.ended(to, now, Ended::Failed);
        }
    }
    let waits: Vec<u64> = dialled.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(dialled.len() > 1 && waits.iter().all(|wait| *wait >= 15), "{dialled:?}");
}

#[test]
fn our_own_address_is_never_in_it() {
    let mut list = list(10);
    list.add(addr(1), PeerSource::Tracker, NOW);
    list.add_own(addr(1));
    assert_eq!(list.len(), 0);
    assert_eq!(list.add(addr(1), PeerSource::Tracker, NOW), Added::Own);
}

/// Of a tracker that says an honest peer's address is ours.
#[test]
fn address_that_others_say_is_ours_is_dialled_like_any_other() {
    let mut list = list(10);
    list.add(addr(1), PeerSource::Tracker, NOW);
    list.set_external(&[addr(1), addr(2)]);
    assert_eq!(list.add(addr(2), PeerSource::Tracker, NOW), Added::New);
    let mut dialled = [next(&mut list, NOW), next(&mut list, NOW)];
    dialled.sort();
    assert_eq!(dialled, [Some(addr(1)), Some(addr(2))]);
}

#[test]
fn a_full_book_evicts_the_least_promising_but_nothing_of_the_users() {
    let mut list = list(4);
    list.add(addr(1), PeerSource::User, NOW);
    list.add(addr(2), PeerSource::Tracker, NOW);
    list.add(addr(3), PeerSource::Tracker, NOW);
    list.add(addr(4), PeerSource::Dht, NOW);
    // The user's goes first, so its failure is the user's.
    assert_eq!(next(&mut list, NOW), Some(addr(1)));
    list.ended(addr(1), NOW, Ended::Failed);
    let failing = next(&mut list, NOW).unwrap();
    list.ended(failing, NOW, Ended::Failed);
    assert_eq!(list.add(addr(5), PeerSource::Dht, NOW), Added::New);
    assert_eq!((list.len(), list.source(failing)), (4, None));
    assert_eq!(list.source(addr(1)), Some(PeerSource::User));
    // A user's address gets in even where everything else is as good.
    assert_eq!(list.add(addr(6), PeerSource::User, NOW), Added::New);
    assert_eq!(list.len(), 4);
}

#[test]
fn one_source_fills_its_share_and_no_more() {
    let mut list = list(100);
    for n in 0..=255 {
        list.add(SocketAddr::from(([n, 1, 1, 1], 6881)), PeerSource::Pex, NOW);
    }
    assert_eq!(list.len(), 25);
    assert_eq!(list.add(addr(1), PeerSource::Tracker, NOW), Added::New);
}

#[test]
fn an_incoming_peer_becomes_known_by_its_listening_port() {
    let mut list = list(10);
    list.connected(addr(7), NOW);
    assert!(list.is_connected(addr(7)));
    assert_eq!(next(&mut list, NOW), None);
    list.ended(addr(7), NOW, Ended::Useless);
    assert!((after(600)..=after(750)).contains(&list.next_at().unwrap()));
}

#[derive(Clone, Debug)]
enum Op {
    Add(u8, u8),
    Connect,
    Connected(u8),
    Ended(u8, u8),
    Seed(u8, bool),
    Seeding(bool),
    External(u8),
    Forget(u8),
    Recall(u8),
    Advance(u16),
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        let last = u8::arbitrary(g) % 40;
        match u8::arbitrary(g) % 14 {
            0..=4 => Op::Add(last, u8::arbitrary(g)),
            5..=6 => Op::Connect,
            7 => Op::Connected(last),
            8..=9 => Op::Ended(last, u8::arbitrary(g)),
            10 => Op::Seed(last, bool::arbitrary(g)),
            11 => match u8::arbitrary(g) % 8 {
                0 => Op::Seeding(bool::arbitrary(g)),
                1 => Op::External(u8::arbitrary(g)),
                2..=3 => Op::Recall(last),
                _ => Op::Forget(last),
            },
            _ => Op::Advance(u16::arbitrary(g) >> (u8::arbitrary(g) % 16)),
        }
    }
}

const WAYS: [Ended; 8] = [
    Ended::Failed,
    Ended::Normal,
    Ended::Useless,
    Ended::Misbehaved,
    Ended::Wasteful,
    Ended::LetGo,
    Ended::Unreachable,
    Ended::Busy,
];

const SOURCES: [PeerSource; 6] = [
    PeerSource::User,
    PeerSource::Lsd,
    PeerSource::Tracker,
    PeerSource::Dht,
    PeerSource::Pex,
    PeerSource::Incoming,
];

impl PeerList {
    /// Everything that the indexes say, recounted from the peers.
    fn is_consistent(&self, now: Instant) -> bool {
        let mut evictable = BTreeSet::new();
        let mut candidates = BTreeSet::new();
        let mut held_back = BTreeSet::new();
        let mut counts = [0; SOURCE_COUNT];
        for (&addr, peer) in &self.peers {
            counts[peer.source as usize] += 1;
            if peer.standing == Standing::Idle {
                if !(peer.is_seed && self.seeding) {
                    candidates.insert(addr);
                }
                held_back.extend(peer.held_back.map(|how| (how, addr)));
                if peer.source != PeerSource::User {
                    evictable.insert((peer.source, peer.evict_rank(), addr));
                }
            }
        }
        let ready = self.ready.iter().map(|(_, addr)| *addr);
        let indexed: Vec<_> = ready.chain(self.waiting.iter().map(|(_, addr)| *addr)).collect();
        counts == self.counts
            && evictable == self.evictable
            && indexed.len() == candidates.len()
            && indexed.into_iter().collect::<BTreeSet<_>>() == candidates
            && self.ready.iter().all(|(_, addr)| self.peers[addr].retry_at <= now)
            && self.held_back == held_back
            && self.peers.len() <= self.capacity
    }
}

quickcheck! {
    fn whatever_happens_the_indexes_agree_with_the_peers(ops: Vec<Op>) -> bool {
        let mut list = list(16);
        let mut now = NOW;
        ops.into_iter().all(|op| {
            match op {
                Op::Add(last, source) => {
                    list.add(addr(last), SOURCES[usize::from(source) % 6], now);
                }
                Op::Connect => {
                    let expected = list.next_at().is_some_and(|at| at <= now);
                    if next(&mut list, now).is_some() != expected {
                        return false;
                    }
                }
                Op::Connected(last) => list.connected(addr(last), now),
                Op::Ended(last, how) => {
                    list.ended(addr(last), now, WAYS[usize::from(how) % WAYS.len()]);
                }
                Op::Seed(last, is_seed) => list.set_seed(addr(last), is_seed),
                Op::Seeding(seeding) => list.set_seeding(seeding, now),
                Op::Recall(0) => list.recall_wasteful(now),
                Op::Recall(1) => list.recall_unreachable(now),
                Op::Recall(last) => list.recall_busy(addr(last).ip(), now),
                Op::External(last) => list.set_external(&[addr(last)]),
                Op::Forget(last) => list.forget(addr(last)),
                Op::Advance(secs) => now += Duration::from_secs(secs.into()),
            }
            list.is_consistent(now)
        })
    }
}
