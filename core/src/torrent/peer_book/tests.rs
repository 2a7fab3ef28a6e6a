use quickcheck::{Arbitrary, Gen, quickcheck};

use super::*;

const NOW: Instant = Instant::from_secs(100);

fn book(capacity: usize) -> PeerBook {
    PeerBook::new(capacity, PolicyRng::from_seed([9; 32]))
}

fn addr(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 6881))
}

fn after(secs: u64) -> Instant {
    NOW + Duration::from_secs(secs)
}

fn next(book: &mut PeerBook, now: Instant) -> Option<SocketAddr> {
    book.next_to_connect(now, |_| false)
}

#[test]
fn an_address_is_handed_out_once_until_it_ended() {
    let mut book = book(10);
    assert_eq!(book.add(addr(1), PeerSource::Tracker, NOW), Added::New);
    assert_eq!(book.add(addr(1), PeerSource::Pex, NOW), Added::Known);
    assert_eq!(book.source(addr(1)), Some(PeerSource::Tracker));
    assert_eq!(next(&mut book, NOW), Some(addr(1)));
    assert_eq!((next(&mut book, NOW), book.next_at()), (None, None));
    book.connected(addr(1), NOW);
    assert!(book.is_connected(addr(1)));
    book.ended(addr(1), NOW, Ended::Normal);
    assert_eq!(next(&mut book, NOW), None);
    let at = book.next_at().unwrap();
    assert!((after(30)..after(38)).contains(&at), "{at:?}");
    assert_eq!(next(&mut book, at), Some(addr(1)));
}

#[test]
fn failures_double_the_wait_up_to_an_hour() {
    let mut book = book(10);
    book.add(addr(1), PeerSource::Dht, NOW);
    let mut now = NOW;
    let mut waits = Vec::new();
    for _ in 0..12 {
        assert_eq!(next(&mut book, now), Some(addr(1)));
        book.ended(addr(1), now, Ended::Failed);
        let at = book.next_at().unwrap();
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
    let mut book = book(10);
    book.add(addr(1), PeerSource::Tracker, NOW);
    next(&mut book, NOW);
    (0..3).for_each(|_| book.ended(addr(1), NOW, Ended::Misbehaved));
    assert!(book.next_at().unwrap() > after(1900));
    book.add(addr(1), PeerSource::Pex, after(60));
    assert_eq!(next(&mut book, after(60)), None);
    book.add(addr(1), PeerSource::User, after(60));
    assert_eq!(next(&mut book, after(60)), Some(addr(1)));
    book.ended(addr(1), after(60), Ended::Failed);
    assert!(book.next_at().unwrap() <= after(63), "the user's are tried again soon");
}

#[test]
fn candidates_come_by_class_then_failures_then_priority() {
    let mut book = book(100);
    book.set_external(&[SocketAddr::from(([80, 1, 2, 3], 6881))]);
    book.add(addr(1), PeerSource::Tracker, NOW);
    next(&mut book, NOW);
    book.ended(addr(1), NOW, Ended::Failed);
    let fresh: Vec<_> = (2..10).map(|n| SocketAddr::from(([10, n, 0, 1], 6881))).collect();
    fresh.iter().for_each(|&addr| _ = book.add(addr, PeerSource::Tracker, NOW));
    let user = addr(200);
    book.add(user, PeerSource::User, NOW);
    let order: Vec<_> = std::iter::from_fn(|| next(&mut book, after(60))).collect();
    assert_eq!((order.first(), order.last()), (Some(&user), Some(&addr(1))));
    let priorities: Vec<_> = order[1..9].iter().map(|&a| book.priority_of(a).unwrap()).collect();
    assert!(priorities.is_sorted_by(|a, b| a > b), "{priorities:?}");
}

#[test]
fn a_seed_is_no_candidate_while_we_are_one() {
    let mut book = book(10);
    book.add(addr(1), PeerSource::Tracker, NOW);
    book.set_seed(addr(1), true);
    book.set_seeding(true, NOW);
    assert_eq!((next(&mut book, NOW), book.next_at()), (None, None));
    book.set_seeding(false, NOW);
    assert_eq!(next(&mut book, NOW), Some(addr(1)));
    assert!(book.is_seed(addr(1)));
}

/// A candidate at once or not, after a connection that ended like this.
fn waits_after(how: Ended) -> (PeerBook, u64) {
    let mut book = book(10);
    book.add(addr(1), PeerSource::Tracker, NOW);
    next(&mut book, NOW);
    book.connected(addr(1), NOW);
    book.ended(addr(1), NOW, how);
    let at = book.next_at().expect("it is known");
    (book, (at - NOW).as_secs())
}

#[test]
fn who_was_let_go_is_a_candidate_at_once_and_failures_stay() {
    assert_eq!(waits_after(Ended::LetGo).1, 0);
    let mut book = book(10);
    book.add(addr(1), PeerSource::Tracker, NOW);
    (0..5).for_each(|_| book.ended(addr(1), NOW, Ended::Failed));
    book.ended(addr(1), NOW, Ended::LetGo);
    assert_eq!(next(&mut book, NOW), Some(addr(1)));
    book.ended(addr(1), NOW, Ended::Failed);
    assert!(book.next_at().unwrap() >= after(15 * 32), "the sixth failure in a row");
}

#[test]
fn who_waits_for_something_is_recalled_when_it_comes() {
    let (mut book, wait) = waits_after(Ended::Useless);
    assert!(wait >= 600);
    book.set_seeding(true, NOW);
    book.set_seeding(false, after(1));
    assert_eq!(next(&mut book, after(1)), Some(addr(1)), "we are no seed any more");

    let (mut book, wait) = waits_after(Ended::Busy);
    assert!(wait >= 30);
    book.recall_busy(addr(2).ip(), after(1));
    assert_eq!(next(&mut book, after(1)), None, "another address");
    book.recall_busy(addr(1).ip(), after(1));
    assert_eq!(next(&mut book, after(1)), Some(addr(1)));

    let (mut book, wait) = waits_after(Ended::Wasteful);
    assert!(wait >= 15 && book.has_wasteful());
    book.recall_wasteful(after(1));
    assert_eq!(next(&mut book, after(1)), Some(addr(1)));

    let (mut book, wait) = waits_after(Ended::Unreachable);
    assert!(wait >= 15);
    book.recall_unreachable(after(1));
    assert_eq!(next(&mut book, after(1)), Some(addr(1)));
    book.ended(addr(1), after(1), Ended::Unreachable);
    book.recall_unreachable(after(2));
    assert_eq!(next(&mut book, after(2)), None, "not again and again");
    book.recall_unreachable(after(40));
    assert_eq!(next(&mut book, after(40)), Some(addr(1)));
}

#[test]
fn failures_are_not_recalled_by_anything_but_time() {
    for how in [Ended::Failed, Ended::Misbehaved] {
        let (mut book, _) = waits_after(how);
        book.recall_wasteful(after(1));
        book.recall_unreachable(after(1));
        book.recall_busy(addr(1).ip(), after(1));
        book.set_seeding(true, NOW);
        book.set_seeding(false, after(1));
        assert_eq!(next(&mut book, after(1)), None, "{how:?}");
    }
}

#[test]
fn who_has_worked_is_tried_every_two_minutes_for_a_while() {
    let (mut book, _) = waits_after(Ended::Failed);
    let mut now = NOW;
    for _ in 0..10 {
        let at = book.next_at().unwrap();
        assert!(at <= now + Duration::from_secs(150));
        now = at;
        assert_eq!(next(&mut book, now), Some(addr(1)));
        book.ended(addr(1), now, Ended::Failed);
    }
    (0..3).for_each(|_| book.ended(addr(1), now, Ended::Failed));
    assert!(book.next_at().unwrap() >= now + Duration::from_secs(3600), "and then it is given up");
}

#[test]
fn who_wastes_comes_after_all_others() {
    let (mut book, _) = waits_after(Ended::Wasteful);
    book.recall_wasteful(NOW);
    book.add(addr(2), PeerSource::Pex, NOW);
    assert_eq!(next(&mut book, NOW), Some(addr(2)));
    assert_eq!(next(&mut book, NOW), Some(addr(1)));
}

#[test]
fn a_banned_address_is_forgotten_instead_of_handed_out() {
    let mut book = book(10);
    book.add(addr(1), PeerSource::Tracker, NOW);
    book.add(addr(2), PeerSource::Tracker, NOW);
    let is_banned = |ip| ip == addr(1).ip();
    assert_eq!(book.next_to_connect(NOW, is_banned), Some(addr(2)));
    assert_eq!(book.next_to_connect(NOW, is_banned), None);
    assert_eq!(book.len(), 1);
}

#[test]
fn addresses_that_nobody_has_are_refused() {
    let mut book = book(10);
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
        assert_eq!(book.add(bad.parse().unwrap(), PeerSource::Tracker, NOW), Added::Invalid);
    }
    assert!(book.is_empty());
}

#[test]
fn ports_of_the_system_are_named_by_the_user_and_trackers_alone() {
    let mut book = book(10);
    let system: SocketAddr = "1.2.3.4:22".parse().unwrap();
    for source in [PeerSource::Lsd, PeerSource::Dht, PeerSource::Pex, PeerSource::Incoming] {
        assert_eq!(book.add(system, source, NOW), Added::Invalid, "{source:?}");
    }
    assert_eq!(book.add(system, PeerSource::Tracker, NOW), Added::New);
    assert_eq!(book.add(system, PeerSource::User, NOW), Added::Known);
}

#[test]
fn one_address_in_two_forms_is_one_peer() {
    let mut book = book(10);
    book.add("[::ffff:1.2.3.4]:5005".parse().unwrap(), PeerSource::Pex, NOW);
    assert_eq!(book.add("1.2.3.4:5005".parse().unwrap(), PeerSource::Pex, NOW), Added::Known);
}

/// One who names many addresses again and again does not have us dial a victim without pause.
#[test]
fn address_that_failed_waits_though_it_was_evicted_and_is_named_again() {
    let mut book = book(16);
    let victim = addr(200);
    let mut dialled = Vec::new();
    for second in 0..3600 {
        let now = after(second);
        book.add(victim, PeerSource::Pex, now);
        (0..40)
            .for_each(|n| _ = book.add(addr((second * 7 + n) as u8 % 199), PeerSource::Pex, now));
        while let Some(to) = next(&mut book, now) {
            if to == victim {
                dialled.push(second);
            }
            book.ended(to, now, Ended::Failed);
        }
    }
    let waits: Vec<u64> = dialled.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(dialled.len() > 1 && waits.iter().all(|wait| *wait >= 15), "{dialled:?}");
}

#[test]
fn our_own_address_is_never_in_it() {
    let mut book = book(10);
    book.add(addr(1), PeerSource::Tracker, NOW);
    book.add_own(addr(1));
    assert!(book.is_empty());
    assert_eq!(book.add(addr(1), PeerSource::Tracker, NOW), Added::Own);
}

/// Of a tracker that says an honest peer's address is ours.
#[test]
fn address_that_others_say_is_ours_is_dialled_like_any_other() {
    let mut book = book(10);
    book.add(addr(1), PeerSource::Tracker, NOW);
    book.set_external(&[addr(1), addr(2)]);
    assert_eq!(book.add(addr(2), PeerSource::Tracker, NOW), Added::New);
    let mut dialled = [next(&mut book, NOW), next(&mut book, NOW)];
    dialled.sort();
    assert_eq!(dialled, [Some(addr(1)), Some(addr(2))]);
}

#[test]
fn a_full_book_evicts_the_least_promising_but_nothing_of_the_users() {
    let mut book = book(4);
    book.add(addr(1), PeerSource::User, NOW);
    book.add(addr(2), PeerSource::Tracker, NOW);
    book.add(addr(3), PeerSource::Tracker, NOW);
    book.add(addr(4), PeerSource::Dht, NOW);
    // The user's goes first, so its failure is the user's.
    assert_eq!(next(&mut book, NOW), Some(addr(1)));
    book.ended(addr(1), NOW, Ended::Failed);
    let failing = next(&mut book, NOW).unwrap();
    book.ended(failing, NOW, Ended::Failed);
    assert_eq!(book.add(addr(5), PeerSource::Dht, NOW), Added::New);
    assert_eq!((book.len(), book.source(failing)), (4, None));
    assert_eq!(book.source(addr(1)), Some(PeerSource::User));
    // A user's address gets in even where everything else is as good.
    assert_eq!(book.add(addr(6), PeerSource::User, NOW), Added::New);
    assert_eq!(book.len(), 4);
}

#[test]
fn one_source_fills_its_share_and_no_more() {
    let mut book = book(100);
    for n in 0..=255 {
        book.add(SocketAddr::from(([n, 1, 1, 1], 6881)), PeerSource::Pex, NOW);
    }
    assert_eq!(book.len(), 25);
    assert_eq!(book.add(addr(1), PeerSource::Tracker, NOW), Added::New);
}

#[test]
fn an_incoming_peer_becomes_known_by_its_listening_port() {
    let mut book = book(10);
    book.connected(addr(7), NOW);
    assert!(book.is_connected(addr(7)));
    assert_eq!(next(&mut book, NOW), None);
    book.ended(addr(7), NOW, Ended::Useless);
    assert!((after(600)..=after(750)).contains(&book.next_at().unwrap()));
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

impl PeerBook {
    /// Everything that the indexes say, recounted from the peers.
    fn is_consistent(&self, now: Instant) -> bool {
        let mut evictable = BTreeSet::new();
        let mut candidates = BTreeSet::new();
        let mut held_back = BTreeSet::new();
        let mut counts = [0; 6];
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
        let mut book = book(16);
        let mut now = NOW;
        ops.into_iter().all(|op| {
            match op {
                Op::Add(last, source) => {
                    book.add(addr(last), SOURCES[usize::from(source) % 6], now);
                }
                Op::Connect => {
                    let expected = book.next_at().is_some_and(|at| at <= now);
                    if next(&mut book, now).is_some() != expected {
                        return false;
                    }
                }
                Op::Connected(last) => book.connected(addr(last), now),
                Op::Ended(last, how) => {
                    book.ended(addr(last), now, WAYS[usize::from(how) % WAYS.len()]);
                }
                Op::Seed(last, is_seed) => book.set_seed(addr(last), is_seed),
                Op::Seeding(seeding) => book.set_seeding(seeding, now),
                Op::Recall(0) => book.recall_wasteful(now),
                Op::Recall(1) => book.recall_unreachable(now),
                Op::Recall(last) => book.recall_busy(addr(last).ip(), now),
                Op::External(last) => book.set_external(&[addr(last)]),
                Op::Forget(last) => book.forget(addr(last)),
                Op::Advance(secs) => now += Duration::from_secs(secs.into()),
            }
            book.is_consistent(now)
        })
    }
}
