use quickcheck::{Arbitrary, Gen, quickcheck};

use super::*;
use crate::piece::PieceIndex;

const SNUB: Duration = Duration::from_secs(60);
const START: Instant = Instant::from_secs(1_000);

fn block(number: u32) -> Block {
    Block { piece: PieceIndex(number / 64), begin: number % 64 * BLOCK_LEN, length: BLOCK_LEN }
}

fn at(millis: u64) -> Instant {
    START + Duration::from_millis(millis)
}

fn pipeline() -> Pipeline {
    Pipeline::new(1024, SNUB)
}

fn all_late(pipeline: &mut Pipeline, now: Instant) -> Vec<Block> {
    let overdue = std::iter::from_fn(|| pipeline.pop_overdue(now));
    let late = overdue.filter_map(|overdue| match overdue {
        Overdue::Late(block) => Some(block),
        Overdue::Forgotten(_) => None,
    });
    late.collect()
}

#[test]
fn a_request_that_waits_for_the_socket_is_owed_only_when_it_has_left() {
    let mut pipeline = pipeline();
    pipeline.queued(block(0), at(0));
    pipeline.queued(block(1), at(0));
    assert_eq!(pipeline.deadline(), None);
    assert_eq!(all_late(&mut pipeline, at(70_000)), []);
    assert!(!pipeline.is_snubbed() && pipeline.len() == 2, "nothing is given up or forgotten");
    pipeline.gathered(at(70_000));
    assert_eq!(pipeline.deadline(), Some(at(80_000)));
    pipeline.queued(block(2), at(75_000));
    assert_eq!(all_late(&mut pipeline, at(80_000)), [block(0), block(1)]);
    assert_eq!(pipeline.received(block(2), at(80_000)), Some(Standing::Awaited));
    assert_eq!(pipeline.received(block(0), at(80_000)), Some(Standing::Late));
    assert_eq!(pipeline.len(), 1);
}

/// A peer that answers in order, over a path with a round trip and a rate.
struct Link {
    rtt: Duration,
    bytes_per_s: u64,
    /// When the peer is done sending what it was asked for.
    busy_until: Instant,
    on_their_way: VecDeque<(Instant, Block)>,
    next_block: u32,
}

impl Link {
    fn new(rtt_ms: u64, bytes_per_s: u64) -> Self {
        let rtt = Duration::from_millis(rtt_ms);
        let on_their_way = VecDeque::new();
        Link { rtt, bytes_per_s, busy_until: START, on_their_way, next_block: 0 }
    }

    fn request(&mut self, pipeline: &mut Pipeline, now: Instant) {
        for _ in 0..pipeline.want(now) {
            let block = block(self.next_block);
            self.next_block += 1;
            pipeline.sent(block, now);
            let send =
                Duration::from_nanos(u64::from(BLOCK_LEN) * 1_000_000_000 / self.bytes_per_s);
            self.busy_until = self.busy_until.max(now + self.rtt / 2) + send;
            self.on_their_way.push_back((self.busy_until + self.rtt / 2, block));
        }
    }

    /// Runs until `until`; returns bytes per second since `from`.
    fn run(&mut self, pipeline: &mut Pipeline, from: Instant, until: Instant) -> u64 {
        let mut bytes = 0;
        self.request(pipeline, from);
        while let Some(&(now, block)) = self.on_their_way.front()
            && now <= until
        {
            self.on_their_way.pop_front();
            assert_eq!(pipeline.received(block, now), Some(Standing::Awaited));
            assert!(pipeline.deadline().is_none_or(|at| at > now));
            bytes += u64::from(block.length);
            self.request(pipeline, now);
        }
        (u128::from(bytes) * 1_000_000_000 / (until - from).as_nanos()) as u64
    }
}

#[test]
fn a_gigabit_over_100_ms_is_filled_when_the_peer_takes_enough_requests() {
    let mut pipeline = pipeline();
    pipeline.set_reqq(2000);
    let mut link = Link::new(100, 125_000_000);
    link.run(&mut pipeline, START, at(1_500));
    let rate = link.run(&mut pipeline, at(1_500), at(30_000));
    assert!(rate > 122_000_000, "{rate}");
    assert!(pipeline.len() * BLOCK_LEN as usize >= 12_500_000, "{}", pipeline.len());
}

#[test]
fn a_gigabit_over_100_ms_is_filled_when_the_peer_is_silent_about_how_many_it_takes() {
    let mut pipeline = pipeline();
    let mut link = Link::new(100, 125_000_000);
    link.run(&mut pipeline, at(0), at(1_500));
    let rate = link.run(&mut pipeline, at(1_500), at(30_000));
    assert!(rate > 122_000_000, "{rate}");
}

#[test]
fn a_peers_reqq_is_never_exceeded() {
    let mut pipeline = pipeline();
    let mut link = Link::new(100, 125_000_000);
    link.run(&mut pipeline, START, at(3_000));
    pipeline.set_reqq(250);
    assert_eq!(pipeline.depth(at(3_000)), 250);
    pipeline.set_reqq(3);
    assert_eq!(pipeline.depth(at(3_000)), 3);
    pipeline.set_reqq(0);
    assert_eq!(pipeline.depth(at(3_000)), 1);
}

#[test]
fn a_slow_peer_gets_two_requests_and_is_kept_busy() {
    let mut pipeline = pipeline();
    let mut link = Link::new(100, 10_000);
    link.run(&mut pipeline, START, at(60_000));
    let rate = link.run(&mut pipeline, at(60_000), at(300_000));
    assert!((2..=3).contains(&pipeline.depth(at(300_000))), "{}", pipeline.depth(at(300_000)));
    assert!(rate > 9_800, "{rate}");
}

#[test]
fn the_depth_of_a_full_pipe_stays_bounded_over_time() {
    let mut pipeline = pipeline();
    let mut link = Link::new(40, 4_000_000);
    link.run(&mut pipeline, START, at(10_000));
    let rate = link.run(&mut pipeline, at(10_000), at(600_000));
    assert!(rate > 3_960_000, "{rate}");
    // 290 ms at 4 MB/s are 71 blocks.
    let depth = pipeline.depth(at(600_000));
    assert!((60..=100).contains(&depth), "{depth}: our own queue was taken for the path");
    assert!(pipeline.rtt().unwrap() < Duration::from_millis(60), "{:?}", pipeline.rtt());
}

#[test]
fn a_path_that_becomes_longer_is_filled_again() {
    let mut pipeline = pipeline();
    pipeline.set_reqq(1000);
    let mut link = Link::new(20, 10_000_000);
    link.run(&mut pipeline, START, at(20_000));
    link.rtt = Duration::from_millis(800);
    link.run(&mut pipeline, at(20_000), at(50_000));
    let rate = link.run(&mut pipeline, at(50_000), at(100_000));
    assert!(rate > 9_500_000, "{rate}");
}

#[test]
fn the_depth_nearly_doubles_each_round_trip_at_the_start() {
    let mut pipeline = pipeline();
    pipeline.set_reqq(2000);
    let mut link = Link::new(1_000, 125_000_000);
    let depths: Vec<_> = (1..7)
        .map(|trip| {
            link.run(&mut pipeline, at((trip - 1) * 1_050), at(trip * 1_050));
            pipeline.depth(at(trip * 1_050))
        })
        .collect();
    assert!(depths.windows(2).all(|d| 4 * d[1] >= 7 * d[0]), "{depths:?}");
}

#[test]
fn requests_go_out_in_batches() {
    let mut pipeline = pipeline();
    pipeline.set_reqq(250);
    let mut link = Link::new(50, 50_000_000);
    link.run(&mut pipeline, START, at(2_000));
    let depth = pipeline.depth(at(2_000));
    while pipeline.want(at(2_000)) == 0 {
        let (_, block) = link.on_their_way.pop_front().unwrap();
        pipeline.received(block, at(2_000));
    }
    assert!(depth > 100 && pipeline.want(at(2_000)) >= depth / 8, "{depth}");
}

#[test]
fn a_block_not_asked_for_ends_nothing() {
    let mut pipeline = pipeline();
    pipeline.sent(block(1), START);
    assert_eq!(pipeline.received(block(2), at(10)), None);
    assert_eq!(pipeline.received(block(1), at(10)), Some(Standing::Awaited));
    assert_eq!(pipeline.received(block(1), at(10)), None, "a block comes once");
    assert!(!pipeline.forgot());
}

#[test]
fn blocks_may_come_in_any_order() {
    let mut pipeline = pipeline();
    (0..5).for_each(|n| pipeline.sent(block(n), START));
    for n in [3, 0, 4, 1, 2] {
        assert_eq!(pipeline.received(block(n), at(10)), Some(Standing::Awaited));
    }
    assert!(pipeline.is_empty() && pipeline.deadline().is_none());
}

#[test]
fn a_silent_peers_blocks_are_released_once_then_it_snubs_us_then_they_are_forgotten() {
    let mut pipeline = pipeline();
    (0..3).for_each(|n| pipeline.sent(block(n), START));
    assert_eq!(pipeline.deadline(), Some(START + FIRST_LATE));
    assert_eq!(all_late(&mut pipeline, at(9_999)), []);
    assert_eq!(all_late(&mut pipeline, at(10_000)), [block(0), block(1), block(2)]);
    assert_eq!((pipeline.len(), pipeline.is_snubbed()), (3, false));
    assert_eq!(pipeline.deadline(), Some(START + SNUB));
    assert_eq!(all_late(&mut pipeline, at(60_000)), []);
    assert!(pipeline.is_snubbed() && pipeline.forgot() && pipeline.is_empty());
    assert_eq!(pipeline.want(at(60_000)), 1, "it may try again, one at a time");
    pipeline.sent(block(0), at(60_000));
    assert_eq!(pipeline.received(block(0), at(61_000)), Some(Standing::Awaited));
    assert!(!pipeline.is_snubbed());
}

#[test]
fn a_slow_peer_that_still_delivers_is_not_taken_to_have_forgotten_what_it_owes() {
    let mut pipeline = pipeline();
    (0..20).for_each(|n| pipeline.sent(block(n), START));
    let mut forgotten = Vec::new();
    for n in 0..12 {
        let now = at(30_000 * u64::from(n + 1));
        let overdue = std::iter::from_fn(|| pipeline.pop_overdue(now));
        forgotten.extend(overdue.filter_map(|overdue| match overdue {
            Overdue::Forgotten(block) => Some((n, block)),
            Overdue::Late(_) => None,
        }));
        pipeline.received(block(n), now);
        assert!(!pipeline.is_snubbed());
    }
    // All that was still owed, after four snub times.
    let expected: Vec<_> = (7..20).map(|n| (7, block(n))).collect();
    assert_eq!(forgotten, expected);
}

#[test]
fn a_late_block_is_still_welcome() {
    let mut pipeline = pipeline();
    (0..3).for_each(|n| pipeline.sent(block(n), START));
    all_late(&mut pipeline, at(10_000));
    pipeline.sent(block(3), at(10_000));
    assert_eq!(pipeline.received(block(1), at(20_000)), Some(Standing::Late));
    assert_eq!(pipeline.received(block(3), at(20_000)), Some(Standing::Awaited));
    let left: Vec<_> = pipeline.clear().collect();
    let late = [(block(0), Standing::Late), (block(2), Standing::Late)];
    assert_eq!(left, late, "what was released is not released again");
}

#[test]
fn a_request_that_the_peer_dropped_is_released_while_others_are_answered() {
    let mut pipeline = pipeline();
    pipeline.sent(block(1000), START);
    let mut released = Vec::new();
    for n in 0..400 {
        let now = at(u64::from(n) * 100);
        pipeline.sent(block(n), now);
        pipeline.received(block(n), now + Duration::from_millis(50));
        released.extend(all_late(&mut pipeline, now + Duration::from_millis(50)));
    }
    assert_eq!(released, [block(1000)]);
    assert!(!pipeline.is_snubbed());
}

#[test]
fn time_in_which_we_do_not_read_is_not_the_peers_fault() {
    let mut pipeline = pipeline();
    pipeline.sent(block(0), START);
    pipeline.set_reading(false, at(5_000));
    assert_eq!(pipeline.deadline(), None);
    assert_eq!(all_late(&mut pipeline, at(500_000)), []);
    pipeline.set_reading(true, at(600_000));
    assert_eq!(pipeline.deadline(), Some(at(605_000)));
    assert_eq!(all_late(&mut pipeline, at(604_999)), []);
    assert_eq!(all_late(&mut pipeline, at(605_000)), [block(0)]);
    assert!(!pipeline.is_snubbed());
}

#[test]
fn a_cancelled_request_stays_where_an_answer_is_due() {
    let mut pipeline = pipeline();
    (0..3).for_each(|n| pipeline.sent(block(n), START));
    assert_eq!(pipeline.cancelled(block(0), true), Some(Standing::Awaited));
    assert_eq!(pipeline.len(), 3);
    assert_eq!(pipeline.rejected(block(0)), Some(Standing::Cancelled));
    assert!(!pipeline.forgot());
    assert_eq!(pipeline.cancelled(block(1), false), Some(Standing::Awaited));
    assert_eq!((pipeline.len(), pipeline.forgot()), (1, true));
    assert_eq!(pipeline.cancelled(block(2), true), Some(Standing::Awaited));
    assert_eq!(all_late(&mut pipeline, at(30_000)), [], "nobody waits for it");
    all_late(&mut pipeline, at(60_000));
    assert!(pipeline.is_empty());
}

#[test]
fn a_peer_that_stalls_loses_its_depth() {
    let mut pipeline = pipeline();
    let mut link = Link::new(50, 10_000_000);
    link.run(&mut pipeline, START, at(3_000));
    assert!(pipeline.depth(at(3_000)) > 50);
    let late = all_late(&mut pipeline, at(8_000));
    assert_eq!((late.len(), pipeline.want(at(8_000))), (pipeline.len(), 0));
    assert_eq!(pipeline.depth(at(8_000)), SLACK);
}

#[derive(Clone, Debug)]
enum Op {
    Request,
    Receive(u8),
    Reject(u8),
    Cancel(u8, bool),
    Clear,
    Reading(bool),
    Advance(u16),
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        let which = u8::arbitrary(g);
        match u8::arbitrary(g) % 16 {
            0..=4 => Op::Request,
            5..=9 => Op::Receive(which),
            10 => Op::Reject(which),
            11 => Op::Cancel(which, bool::arbitrary(g)),
            12 if which < 16 => Op::Clear,
            13 => Op::Reading(which < 200),
            _ => Op::Advance(u16::arbitrary(g) >> (which % 16)),
        }
    }
}

quickcheck! {
    fn every_request_ends_once_and_every_block_is_released_at_most_once(
        ops: Vec<Op>, most: u8, reqq: u8
    ) -> bool {
        let mut pipeline = Pipeline::new(usize::from(most % 20), SNUB);
        pipeline.set_reqq(usize::from(reqq % 20));
        let mut now = START;
        let mut asked = 0;
        let mut awaited = std::collections::BTreeSet::new();
        ops.into_iter().all(|op| {
            // A block near the last asked for, which may be outstanding or not.
            let near = |which: u8| block(asked - u32::from(which).min(asked) / 8);
            match op {
                Op::Request => for _ in 0..pipeline.want(now) {
                    pipeline.sent(block(asked), now);
                    awaited.insert(block(asked));
                    asked += 1;
                },
                Op::Receive(which) => {
                    let standing = pipeline.received(near(which), now);
                    if awaited.remove(&near(which)) != (standing == Some(Standing::Awaited)) {
                        return false;
                    }
                }
                Op::Reject(which) => {
                    let standing = pipeline.rejected(near(which));
                    if awaited.remove(&near(which)) != (standing == Some(Standing::Awaited)) {
                        return false;
                    }
                }
                Op::Cancel(which, answer_due) => {
                    let standing = pipeline.cancelled(near(which), answer_due);
                    if awaited.remove(&near(which)) != (standing == Some(Standing::Awaited)) {
                        return false;
                    }
                }
                Op::Clear => {
                    let ended = pipeline.clear();
                    let awaited_ended = ended.filter(|(_, how)| *how == Standing::Awaited);
                    let released: std::collections::BTreeSet<_> =
                        awaited_ended.map(|(block, _)| block).collect();
                    if released != std::mem::take(&mut awaited) {
                        return false;
                    }
                }
                Op::Reading(reading) => pipeline.set_reading(reading, now),
                Op::Advance(millis) => now += Duration::from_millis(millis.into()),
            }
            let due = pipeline.deadline().filter(|at| *at <= now);
            let released = all_late(&mut pipeline, now);
            let awaited_late = released.iter().all(|block| awaited.remove(block));
            awaited_late
                && (released.is_empty() || due.is_some())
                && pipeline.deadline().is_none_or(|at| at > now)
                && pipeline.len() <= usize::from(most % 20).min(usize::from(reqq % 20).max(1))
                && awaited.iter().all(|block| pipeline.contains(*block))
        })
    }
}
