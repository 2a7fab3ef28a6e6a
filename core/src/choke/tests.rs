use quickcheck::{Arbitrary, Gen, quickcheck};

use super::*;

const NOW: Instant = Instant::from_secs(10_000);

/// An interested, choked peer that connected a while ago and gives nothing.
fn peer(key: u32) -> PeerSnapshot<u32> {
    PeerSnapshot {
        connected_at: NOW.saturating_sub(Duration::from_secs(300)),
        unchoked_at: Some(NOW.saturating_sub(Duration::from_secs(200))),
        group: AddressGroup(key.into()),
        ..PeerSnapshot::sample(key)
    }
}

fn giving(key: u32, down_bytes_per_s: u64) -> PeerSnapshot<u32> {
    PeerSnapshot { down_bytes_per_s, ..peer(key) }
}

fn holding(key: u32, secs: u64, uploaded: u64) -> PeerSnapshot<u32> {
    PeerSnapshot {
        am_choking: false,
        unchoked_at: Some(NOW.saturating_sub(Duration::from_secs(secs))),
        uploaded_since_unchoke: uploaded,
        up_bytes_per_s: 1000,
        ..peer(key)
    }
}

fn state(mode: Mode, slots: usize) -> State {
    State { now: NOW, mode, slots, rotate_optimistic: false, piece_len: 1 << 20 }
}

fn decide_now(peers: &[PeerSnapshot<u32>], state: State) -> Decision<u32> {
    decide(peers, &state, &mut PolicyRng::from_seed([3; 32]))
}

fn leech(peers: &[PeerSnapshot<u32>], slots: usize) -> Decision<u32> {
    decide_now(peers, state(Mode::Leeching, slots))
}

fn seed(peers: &[PeerSnapshot<u32>], slots: usize) -> Decision<u32> {
    decide_now(peers, state(Mode::Seeding, slots))
}

/// Who is unchoked after a decision.
fn unchoked(peers: &[PeerSnapshot<u32>], decision: &Decision<u32>) -> Vec<u32> {
    let keeps = |p: &&PeerSnapshot<u32>| !p.am_choking && !decision.choke.contains(&p.key);
    let kept = peers.iter().filter(keeps).map(|p| p.key);
    let mut all: Vec<_> = kept.chain(decision.unchoke.iter().copied()).collect();
    all.sort_unstable();
    all
}

#[test]
fn leeching_gives_slots_to_whom_we_download_from_fastest() {
    let peers: Vec<_> = (0..8).map(|key| giving(key, u64::from(key) * 100)).collect();
    let decision = leech(&peers, 4);
    assert_eq!(decision.unchoke.len(), 4);
    assert!([5, 6, 7].iter().all(|key| decision.unchoke.contains(key)), "{decision:?}");
    assert_eq!(decision.optimistic.len(), 1);
    assert!(decision.optimistic[0] < 5);
}

#[test]
fn an_uninterested_peer_takes_no_slot_however_fast_it_gives() {
    let fast = PeerSnapshot { interested: false, ..giving(9, 1 << 30) };
    let holder = PeerSnapshot { interested: false, ..holding(8, 10, 0) };
    let decision = leech(&[fast, holder, giving(0, 1), giving(1, 2)], 2);
    assert_eq!((decision.unchoke, decision.choke), (vec![0, 1], vec![8]));
}

#[test]
fn a_peer_that_snubs_us_comes_after_all_others() {
    let snubbing = PeerSnapshot { snubs_us: true, ..giving(0, 5_000) };
    let peers = [snubbing, giving(1, 10), giving(2, 20), giving(3, 30)];
    let regular = |decision: Decision<u32>| {
        let optimistic = decision.optimistic;
        decision.unchoke.into_iter().filter(|key| !optimistic.contains(key)).collect::<Vec<_>>()
    };
    assert_eq!(regular(leech(&peers, 3)), [2, 3]);
    assert_eq!(leech(&peers, 4).unchoke, [0, 1, 2, 3], "no slot stays empty");
}

#[test]
fn the_optimistic_slot_stays_between_rotations_and_goes_on_at_one() {
    let optimistic = PeerSnapshot { optimistic: true, ..holding(0, 10, 0) };
    let peers = [optimistic, peer(1), giving(2, 100), giving(3, 100)];
    assert_eq!(leech(&peers, 3).optimistic, [0]);
    let rotate = State { rotate_optimistic: true, ..state(Mode::Leeching, 3) };
    let decision = decide_now(&peers, rotate);
    assert_eq!((decision.optimistic, decision.choke), (vec![1], vec![0]));
}

#[test]
fn an_optimistic_peer_that_gives_earns_a_regular_slot_and_frees_its_own() {
    let optimistic =
        PeerSnapshot { optimistic: true, down_bytes_per_s: 500, ..holding(0, 10, 1 << 20) };
    let peers = [optimistic, peer(1), giving(2, 100), giving(3, 10)];
    let decision = leech(&peers, 3);
    assert_eq!(unchoked(&peers, &decision), [0, 1, 2]);
    assert_eq!(decision.optimistic, [1]);
}

#[test]
fn a_newcomer_waits_three_times_as_fast() {
    let waited = |key, secs, unchoked_before| PeerSnapshot {
        connected_at: NOW.saturating_sub(Duration::from_secs(secs)),
        unchoked_at: match unchoked_before {
            true => Some(NOW.saturating_sub(Duration::from_secs(secs))),
            false => None,
        },
        ..peer(key)
    };
    assert_eq!(leech(&[waited(0, 100, true), waited(1, 34, false)], 1).optimistic, [1]);
    assert_eq!(leech(&[waited(0, 100, true), waited(1, 33, false)], 1).optimistic, [0]);
}

#[test]
fn a_wait_counts_by_what_was_given_for_what_was_taken() {
    let waited = |key, secs, uploaded, downloaded| PeerSnapshot {
        unchoked_at: Some(NOW.saturating_sub(Duration::from_secs(secs))),
        uploaded,
        downloaded,
        ..peer(key)
    };
    let piece = 1 << 20;
    let chosen = |rider, giver| leech(&[rider, giver], 1).optimistic;
    let even = waited(1, 100, 9 * piece, 9 * piece);
    // A piece is lent: two for one here.
    assert_eq!(chosen(waited(0, 199, piece, 0), even), [1]);
    assert_eq!(chosen(waited(0, 201, piece, 0), even), [0]);
    assert_eq!(
        chosen(waited(0, 99, 0, 50 * piece), even),
        [1],
        "giving more is not waiting longer"
    );
    let most = u64::MAX;
    assert_eq!(chosen(waited(0, 1599, most, 0), even), [1]);
    assert_eq!(chosen(waited(0, 1601, most, 0), even), [0], "all get a turn");
}

#[test]
fn who_took_what_is_lent_and_gives_nothing_has_had_its_slot() {
    let lent = LENT_PIECES << 20;
    let rider = |uploaded| PeerSnapshot { optimistic: true, uploaded, ..holding(0, 10, 0) };
    let others = |peer: PeerSnapshot<u32>| [peer, giving(1, 100), self::peer(2)];
    assert_eq!(leech(&others(rider(lent - 1)), 2).optimistic, [0]);
    assert_eq!(leech(&others(rider(lent)), 2).optimistic, [2]);
    let gave = PeerSnapshot { downloaded: 1, ..rider(lent) };
    assert_eq!(leech(&others(gave), 2).optimistic, [0]);
    // The same for a slot that nobody earns.
    let holder = |uploaded| PeerSnapshot { optimistic: false, ..rider(uploaded) };
    let optimistic = PeerSnapshot { optimistic: true, ..holding(1, 10, 0) };
    let peers = |uploaded| [holder(uploaded), optimistic, peer(2)];
    assert_eq!(leech(&peers(lent - 1), 2).unchoke, []);
    assert_eq!(leech(&peers(lent), 2).unchoke, [2]);
}

#[test]
fn every_fifth_slot_is_optimistic() {
    let peers: Vec<_> = (0..40).map(|key| giving(key, 100)).collect();
    let count = |slots| leech(&peers, slots).optimistic.len();
    assert_eq!([count(1), count(4), count(9), count(10), count(20)], [1, 1, 1, 2, 4]);
}

#[test]
fn a_seeds_slot_goes_on_after_a_share_of_bytes_or_time() {
    let share = SHARE_PIECES << 20;
    let goes_on = |holder| seed(&[holder, peer(1)], 1).unchoke == [1];
    assert!(!goes_on(holding(0, 9, share)), "not before ten seconds");
    assert!(!goes_on(holding(0, 61, share - 1)), "not before its share");
    assert!(goes_on(holding(0, 11, share)));
    assert!(goes_on(holding(0, 181, 0)), "a slow one may not sit on it");
    assert!(goes_on(PeerSnapshot { up_bytes_per_s: 0, ..holding(0, 61, 0) }), "nor an idle one");
    assert!(!goes_on(PeerSnapshot { up_bytes_per_s: 0, ..holding(0, 59, 0) }), "for a while");
    let alone = seed(&[holding(0, 500, share)], 1);
    assert_eq!(alone.choke, [], "while nobody waits it stays");
}

#[test]
fn a_slot_that_lies_idle_goes_to_a_peer_that_waits() {
    let idle = |key, secs| PeerSnapshot { idled: 1, up_bytes_per_s: 0, ..holding(key, secs, 0) };
    assert_eq!(seed(&[idle(0, 6), peer(1)], 1).unchoke, [1]);
    assert_eq!(seed(&[idle(0, 6)], 1).choke, [], "while nobody waits it stays");
    let optimistic = PeerSnapshot { optimistic: true, ..idle(0, 6) };
    assert_eq!(leech(&[optimistic, peer(1), giving(2, 10)], 2).optimistic, [1]);
    // Its wait counts less from then on, but it counts.
    let waits = |key, secs, idled| PeerSnapshot {
        idled,
        unchoked_at: Some(NOW.saturating_sub(Duration::from_secs(secs))),
        ..peer(key)
    };
    assert_eq!(seed(&[waits(0, 39, 1), waits(1, 10, 0)], 1).unchoke, [1]);
    assert_eq!(seed(&[waits(0, 41, 1), waits(1, 10, 0)], 1).unchoke, [0]);
    assert_eq!(seed(&[waits(0, 159, 2), waits(1, 10, 0)], 1).unchoke, [1]);
    assert_eq!(seed(&[waits(0, 641, 200), waits(1, 10, 0)], 1).unchoke, [0]);
}

#[test]
fn a_seed_prefers_who_waited_longest_and_then_who_takes_fastest() {
    let long = PeerSnapshot { unchoked_at: Some(Instant::from_secs(1)), ..peer(5) };
    assert_eq!(seed(&[peer(0), long, peer(1)], 1).unchoke, [5]);
    let fast = PeerSnapshot { up_bytes_per_s: 2000, ..holding(0, 10, 0) };
    assert_eq!(seed(&[holding(1, 10, 0), fast, holding(2, 10, 0)], 1).choke, [1, 2]);
}

#[test]
fn one_address_gets_one_of_a_seeds_slots_while_others_wait() {
    let twin = |key, group| PeerSnapshot {
        unchoked_at: Some(Instant::from_secs(u64::from(key))),
        group: AddressGroup(group),
        ..peer(key)
    };
    let peers = [twin(0, 7), twin(1, 7), twin(2, 7), twin(3, 8)];
    assert_eq!(seed(&peers, 2).unchoke, [0, 3]);
    assert_eq!(seed(&peers, 3).unchoke, [0, 1, 3], "no slot stays empty");
}

#[test]
fn an_address_group_is_one_ipv4_address_or_one_ipv6_subnet() {
    let group = |text: &str| AddressGroup::of(text.parse().unwrap());
    assert_eq!(group("2001:db8::1"), group("2001:db8::ffff:0:0:1"));
    assert_ne!(group("2001:db8::1"), group("2001:db8:0:1::1"));
    assert_ne!(group("1.2.3.4"), group("1.2.3.5"));
    assert_eq!(group("1.2.3.4"), group("::ffff:1.2.3.4"));
}

#[test]
fn a_newly_interested_peer_need_not_wait_for_a_free_slot() {
    assert!(may_unchoke_at_once(3, 4));
    assert!(!may_unchoke_at_once(4, 4));
    assert!(!may_unchoke_at_once(0, 0));
}

impl Arbitrary for PeerSnapshot<u32> {
    fn arbitrary(g: &mut Gen) -> Self {
        let at = Instant::from_secs(u64::arbitrary(g) % 10_000);
        let am_choking = bool::arbitrary(g);
        PeerSnapshot {
            key: 0,
            interested: u8::arbitrary(g) % 4 > 0,
            am_choking,
            optimistic: !am_choking && bool::arbitrary(g),
            snubs_us: u8::arbitrary(g) % 4 == 0,
            down_bytes_per_s: u64::arbitrary(g) % 4,
            up_bytes_per_s: u64::arbitrary(g) % 4,
            connected_at: at,
            unchoked_at: bool::arbitrary(g).then_some(at),
            uploaded_since_unchoke: u64::arbitrary(g) >> 40,
            idled: u8::from(u8::arbitrary(g) % 4 == 0),
            uploaded: u64::arbitrary(g) >> 40,
            downloaded: u64::arbitrary(g) >> 40,
            group: AddressGroup(u128::arbitrary(g) % 5),
        }
    }
}

fn numbered(mut peers: Vec<PeerSnapshot<u32>>) -> Vec<PeerSnapshot<u32>> {
    (0..).zip(&mut peers).for_each(|(key, peer)| peer.key = key);
    peers
}

quickcheck! {
    fn slots_are_used_up_and_only_by_interested_peers(
        peers: Vec<PeerSnapshot<u32>>, slots: u8, seeding: bool, rotate_optimistic: bool
    ) -> bool {
        let peers = numbered(peers);
        let mode = if seeding { Mode::Seeding } else { Mode::Leeching };
        let slots = usize::from(slots) % 12;
        let decision = decide_now(&peers, State { rotate_optimistic, ..state(mode, slots) });
        let after = unchoked(&peers, &decision);
        let interested = peers.iter().filter(|peer| peer.interested).count();
        after.len() == slots.min(interested)
            && after.iter().all(|&key| peers[key as usize].interested)
            && decision.optimistic.iter().all(|key| after.contains(key))
            && decision.choke.iter().all(|&key| !peers[key as usize].am_choking)
            && decision.unchoke.iter().all(|&key| peers[key as usize].am_choking)
    }

    /// A crowd of idlers has all slots, from whatever addresses, and some who take what they can. Once the
    /// idlers had two turns each, a newcomer is unchoked within half a minute for each slot's worth of takers.
    fn a_crowd_of_idlers_keeps_no_slot_from_a_newcomer(
        idlers: u8, addresses: u8, takers: u8, slots: u8
    ) -> bool {
        let (idlers, takers) = (u32::from(idlers % 120), u32::from(takers % 12));
        let slots = usize::from(slots % 8) + 1;
        let everybody = (0..idlers + takers + 1).map(|key| PeerSnapshot {
            interested: key < idlers + takers,
            unchoked_at: None,
            connected_at: NOW,
            group: AddressGroup(if key < idlers { u128::from(key) % (u128::from(addresses) + 1) } else {
                1000 + u128::from(key)
            }),
            ..peer(key)
        });
        let mut peers: Vec<PeerSnapshot<u32>> = everybody.collect();
        let newcomer = peers.len() - 1;
        let turns = u64::from(2 * idlers + 4 * takers).div_ceil(slots as u64) + 2;
        let mut rng = PolicyRng::from_seed([5; 32]);
        // Looked at every five seconds, as the torrent does.
        let comes = turns;
        let most = 6 * (u64::from(takers) + 1).div_ceil(slots as u64);
        for round in 0..=comes + most {
            let now = NOW + Duration::from_secs(5 * round);
            if round == comes {
                peers[newcomer].interested = true;
                peers[newcomer].connected_at = now;
            }
            for peer in peers.iter_mut().filter(|peer| !peer.am_choking) {
                let takes = peer.key >= idlers;
                peer.idled += u8::from(!takes && peer.unchoked_at.is_some_and(|at| at < now));
                peer.up_bytes_per_s = u64::from(takes) << 20;
                peer.uploaded_since_unchoke += u64::from(takes) << 23;
            }
            let state = State { now, ..state(Mode::Seeding, slots) };
            let decision = decide(&peers, &state, &mut rng);
            for peer in &mut peers {
                peer.am_choking |= decision.choke.contains(&peer.key);
                if decision.unchoke.contains(&peer.key) {
                    peer.am_choking = false;
                    peer.unchoked_at = Some(now);
                    peer.uploaded_since_unchoke = 0;
                }
            }
            if !peers[newcomer].am_choking {
                return true;
            }
        }
        false
    }

    fn everybody_interested_is_unchoked_in_time(
        peers: Vec<PeerSnapshot<u32>>, slots: u8, seeding: bool
    ) -> bool {
        let mut peers = numbered(peers);
        let mode = if seeding { Mode::Seeding } else { Mode::Leeching };
        let slots = usize::from(slots) % 6 + 1;
        let mut rng = PolicyRng::from_seed([5; 32]);
        let mut had_slot: Vec<bool> = peers.iter().map(|peer| !peer.interested).collect();
        // A seed's turn takes at most three minutes: 18 decisions. A leech's takes three, and a peer that waits
        // slowest has seen all others go as often as its wait counts less.
        for round in 0..4 * TAKER_FACTOR * (peers.len() as u64 + 2) {
            let now = NOW + Duration::from_secs(10 * round);
            let rotate_optimistic = round % 3 == 0;
            let state = State { now, rotate_optimistic, ..state(mode, slots) };
            let decision = decide(&peers, &state, &mut rng);
            for peer in &mut peers {
                peer.optimistic = decision.optimistic.contains(&peer.key);
                if decision.choke.contains(&peer.key) {
                    peer.am_choking = true;
                }
                if decision.unchoke.contains(&peer.key) {
                    peer.am_choking = false;
                    peer.unchoked_at = Some(now);
                    peer.uploaded_since_unchoke = 0;
                }
                had_slot[peer.key as usize] |= !peer.am_choking;
            }
        }
        had_slot.into_iter().all(|had| had)
    }
}
