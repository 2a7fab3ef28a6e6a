//! The picker's policy, one scene a rule.

use std::collections::BTreeSet;

use quickcheck::quickcheck;

use super::super::*;
use super::sorted;
use crate::piece::BLOCK_LEN;

/// A torrent of `pieces` pieces of four blocks, past its random first pieces if `started`.
fn picker(pieces: u32, started: bool) -> Picker {
    let geometry = Geometry::new(u64::from(pieces) * 4 * u64::from(BLOCK_LEN), 4 * BLOCK_LEN);
    let mut picker = Picker::new(geometry.unwrap(), PolicyRng::from_seed([3; 32]));
    (0..if started { 4 } else { 0 }).for_each(|piece| picker.mark_have(PieceIndex(piece)));
    picker
}

fn set(pieces: &[u32], of: &Picker) -> Bitfield {
    let mut set = Bitfield::new(of.geometry.pieces());
    pieces.iter().for_each(|piece| assert!(set.set(PieceIndex(*piece))));
    set
}

impl Picker {
    /// What a seed with this key gets, as (piece, number of the block).
    fn picked(&mut self, peer: u32, count: usize, pace: Pace) -> Vec<(u32, u32)> {
        let all = Bitfield::full(self.geometry.pieces());
        self.picked_from(&all, peer, count, PickHints { pace, ..PickHints::default() })
    }

    fn picked_from(
        &mut self,
        has: &Bitfield,
        peer: u32,
        count: usize,
        hints: PickHints<'_>,
    ) -> Vec<(u32, u32)> {
        let mut out = Vec::new();
        self.pick(PeerKey(peer), has, count, hints, &mut out);
        out.iter().map(|block| (block.piece.0, block.number())).collect()
    }

    fn at(&self, piece: u32, number: u32) -> Block {
        self.geometry.block(PieceIndex(piece), number)
    }
}

#[test]
fn one_peer_gets_whole_pieces_in_order_of_their_blocks() {
    let mut picker = picker(20, true);
    picker.add_seed();
    let first = picker.picked(0, 3, Pace::Medium);
    let piece = first[0].0;
    assert_eq!(first, [(piece, 0), (piece, 1), (piece, 2)]);
    assert_ne!(picker.picked(1, 1, Pace::Medium)[0].0, piece, "another peer begins another");
    let then = picker.picked(0, 2, Pace::Medium);
    assert_eq!(then[0], (piece, 3));
    assert_ne!(then[1].0, piece);
}

#[test]
fn an_abandoned_piece_with_fewest_missing_blocks_comes_before_a_new_one() {
    let mut picker = picker(20, true);
    picker.add_seed();
    let picked = picker.picked(0, 8, Pace::Medium);
    let (most, least) = (picked[0].0, picked[4].0);
    for (piece, number) in picked {
        let block = picker.at(piece, number);
        if (piece == most && number < 1) || (piece == least && number < 3) {
            picker.received(PeerKey(0), block);
        } else {
            picker.release(PeerKey(0), block);
        }
    }
    let next = picker.picked(1, 4, Pace::Fast);
    assert_eq!(next, [(least, 3), (most, 1), (most, 2), (most, 3)]);
}

#[test]
fn slow_peers_share_a_piece_and_leave_that_of_a_fast_one_alone() {
    let mut picker = picker(20, true);
    picker.add_seed();
    let fast = picker.picked(0, 1, Pace::Fast)[0].0;
    let slow = picker.picked(1, 1, Pace::Slow)[0].0;
    assert_ne!(slow, fast);
    assert_eq!(picker.picked(2, 1, Pace::Slow), [(slow, 1)]);
    assert_eq!(picker.picked(3, 1, Pace::Slow), [(slow, 2)]);
    assert_eq!(picker.picked(2, 2, Pace::Slow)[0], (slow, 3));
    assert_eq!(picker.picked(0, 3, Pace::Fast), [(fast, 1), (fast, 2), (fast, 3)]);
}

#[test]
fn a_slow_peer_joins_a_fast_one_when_nothing_else_is_left() {
    let mut picker = picker(5, true);
    picker.add_seed();
    assert_eq!(picker.picked(0, 1, Pace::Fast), [(4, 0)]);
    assert_eq!(picker.picked(1, 1, Pace::Slow), [(4, 1)]);
}

/// Pieces 4, which failed, and 5 are missing.
fn picker_with_a_failed_piece() -> Picker {
    let mut picker = picker(6, true);
    picker.add_seed();
    picker.mark_have(PieceIndex(5));
    for (piece, number) in picker.picked(0, 4, Pace::Medium) {
        let block = picker.at(piece, number);
        picker.received(PeerKey(0), block);
    }
    picker.piece_failed(PieceIndex(4));
    picker.unmark_have(PieceIndex(5));
    picker.set_priority(PieceIndex(4), FilePriority::High);
    assert_eq!(picker.picked(1, 1, Pace::Slow), [(4, 0)]);
    picker.set_priority(PieceIndex(4), FilePriority::Normal);
    picker
}

#[test]
fn a_piece_that_failed_is_one_peers_alone_even_if_others_are_idle() {
    let mut picker = picker_with_a_failed_piece();
    assert_eq!(picker.picked(2, 5, Pace::Slow), [(5, 0), (5, 1), (5, 2), (5, 3)]);
    let allowed = [PieceIndex(4)];
    let hints = PickHints { allowed: Some(&allowed), ..PickHints::default() };
    assert_eq!(picker.picked_from(&Bitfield::full(6), 3, 1, hints), []);
    assert!(picker.is_end_game(), "nobody else may have what is left");
    assert_eq!(picker.picked(3, 9, Pace::Fast).len(), 4, "of piece 5 only");
    assert_eq!(picker.picked(1, 3, Pace::Slow), [(4, 1), (4, 2), (4, 3)]);
    assert_eq!(picker.picked(4, 9, Pace::Fast).len(), 4, "of piece 5 only");
}

#[test]
fn a_piece_that_failed_is_one_peers_alone_even_if_several_were_at_it_before() {
    let mut picker = picker(5, true);
    picker.add_seed();
    for peer in 0..2 {
        for (piece, number) in picker.picked(peer, 2, Pace::Medium) {
            let block = picker.at(piece, number);
            picker.received(PeerKey(peer), block);
        }
    }
    picker.piece_failed(PieceIndex(4));
    assert_eq!(picker.picked(1, 1, Pace::Medium), [(4, 0)]);
    assert_eq!(picker.picked(0, 4, Pace::Medium), []);
    assert_eq!(picker.picked(1, 3, Pace::Medium), [(4, 1), (4, 2), (4, 3)]);
}

#[test]
fn requests_for_the_rest_of_a_piece_stand_when_what_was_here_of_it_is_lost() {
    let mut picker = picker(5, true);
    picker.add_seed();
    let asked = picker.picked(0, 3, Pace::Medium);
    assert_eq!(asked, [(4, 0), (4, 1), (4, 2)]);
    picker.received(PeerKey(0), picker.at(4, 1));
    picker.piece_failed(PieceIndex(4));
    assert_eq!(picker.picked(0, 9, Pace::Medium), [(4, 1), (4, 3)]);
    for number in 0..4 {
        let received = picker.received(PeerKey(0), picker.at(4, number));
        let complete = number == 3;
        assert_eq!(
            received,
            Received::Accepted { piece_complete: complete, also_requested_by: Default::default() }
        );
    }
}

#[test]
fn a_piece_that_failed_is_free_for_another_when_its_owner_gives_up() {
    let mut picker = picker_with_a_failed_piece();
    assert!(picker.peer_gone(PeerKey(1)));
    assert_eq!(picker.picked(2, 3, Pace::Fast), [(4, 1), (4, 2), (4, 3)]);
    assert!(!picker.peer_gone(PeerKey(1)), "it was at none");
}

#[test]
fn end_game_asks_several_peers_and_names_those_to_cancel() {
    let mut picker = picker(5, true);
    picker.add_seed();
    assert_eq!(picker.picked(0, 9, Pace::Medium).len(), 4);
    assert!(picker.is_end_game());
    assert_eq!(picker.picked(1, 9, Pace::Medium).len(), 4);
    assert_eq!(picker.picked(1, 9, Pace::Medium), [], "not the same block twice of one peer");
    assert_eq!(picker.picked(2, 1, Pace::Medium), [(4, 0)]);
    assert_eq!(picker.picked(3, 9, Pace::Medium), [(4, 1), (4, 2), (4, 3)], "of three at most");
    let received = picker.received(PeerKey(1), picker.at(4, 0));
    let also_requested_by = [PeerKey(0), PeerKey(2)].into_iter().collect();
    let expected = Received::Accepted { piece_complete: false, also_requested_by };
    assert_eq!(sorted(received), expected);
    assert_eq!(picker.received(PeerKey(0), picker.at(4, 0)), Received::Duplicate);
}

#[test]
fn blocks_that_no_peer_has_do_not_hold_the_end_game_up() {
    let mut picker = picker(6, true);
    let has = set(&[4], &picker);
    picker.add_peer_bitfield(&has);
    picker.add_peer_bitfield(&has);
    assert!(!picker.is_end_game());
    assert_eq!(picker.picked_from(&has, 0, 9, PickHints::default()).len(), 4);
    assert!(picker.is_end_game());
    picker.peer_has(PieceIndex(5));
    assert!(!picker.is_end_game());
}

#[test]
fn sequential_order_begins_with_the_first_piece_and_shares_it() {
    let mut picker = picker(20, false);
    picker.set_order(PieceOrder::Sequential);
    picker.add_seed();
    assert_eq!(picker.picked(0, 2, Pace::Medium), [(0, 0), (0, 1)]);
    assert_eq!(picker.picked(1, 3, Pace::Medium), [(0, 2), (0, 3), (1, 0)]);
    picker.set_priority(PieceIndex(9), FilePriority::High);
    assert_eq!(picker.picked(2, 1, Pace::Medium), [(9, 0)]);
}

#[test]
fn the_first_pieces_are_begun_by_chance_and_the_others_by_rarity() {
    let mut began = BTreeSet::new();
    for seed in 0..32 {
        let geometry = Geometry::new(1000 * u64::from(BLOCK_LEN), BLOCK_LEN).unwrap();
        let mut picker = Picker::new(geometry, PolicyRng::from_seed([seed; 32]));
        let mut rest = Bitfield::full(1000);
        rest.clear(PieceIndex(77));
        picker.add_peer_bitfield(&rest);
        picker.add_seed();
        let picked = picker.picked(0, 5, Pace::Medium);
        assert!(picked.contains(&(77, 0)), "the rarest is among the first five");
        began.insert(picked[0].0);
    }
    assert!(began.len() > 16, "chance does not repeat itself: {began:?}");
}

#[test]
fn a_suggested_piece_is_begun_before_a_rarer_one_but_not_before_one_of_higher_priority() {
    let mut picker = picker(20, true);
    picker.add_seed();
    picker.peer_has(PieceIndex(7));
    let suggested = [PieceIndex(2), PieceIndex(7)];
    let hints = PickHints { suggested: &suggested, ..PickHints::default() };
    let all = Bitfield::full(20);
    picker.set_priority(PieceIndex(11), FilePriority::High);
    let picked = picker.picked_from(&all, 0, 8, hints);
    assert_eq!((picked[0].0, picked[4].0), (11, 7));
}

#[test]
fn a_choking_peer_is_asked_for_allowed_pieces_only() {
    let mut picker = picker(20, true);
    let has = set(&[5, 6, 7], &picker);
    picker.add_peer_bitfield(&has);
    let allowed = [PieceIndex(3), PieceIndex(6), PieceIndex(9), PieceIndex(100)];
    let hints = PickHints { allowed: Some(&allowed), ..PickHints::default() };
    assert_eq!(picker.picked_from(&has, 0, 9, hints), [(6, 0), (6, 1), (6, 2), (6, 3)]);
}

#[test]
fn a_piece_being_verified_is_left_alone_and_a_skipped_one_asks_for_no_more() {
    let mut picker = picker(5, true);
    picker.add_seed();
    for number in 0..3 {
        picker.received(PeerKey(0), picker.at(4, number));
    }
    picker.set_priority(PieceIndex(4), FilePriority::Skip);
    assert!(picker.is_finished());
    assert_eq!(picker.picked(1, 9, Pace::Medium), []);
    picker.set_priority(PieceIndex(4), FilePriority::Low);
    assert_eq!(picker.picked(1, 9, Pace::Medium), [(4, 3)]);
    picker.received(PeerKey(1), picker.at(4, 3));
    assert!(picker.is_verifying(PieceIndex(4)));
    assert_eq!(picker.picked(2, 9, Pace::Medium), []);
    picker.piece_passed(PieceIndex(4));
    assert!(picker.is_finished());
}

#[test]
fn when_many_pieces_lie_about_they_are_continued_before_new_ones_are_begun() {
    let mut picker = picker(40, true);
    picker.add_seed();
    for peer in 0..3 {
        assert_eq!(picker.picked(peer, 1, Pace::Medium)[0].1, 0, "a new one");
    }
    assert_eq!(picker.picked(3, 1, Pace::Medium)[0].1, 1, "three are many for one peer");
    picker.add_seed();
    assert_eq!(picker.picked(4, 1, Pace::Medium)[0].1, 0, "but not for two");
}

quickcheck! {
    fn walking_the_buckets_and_reading_the_bitfield_find_equally_rare_pieces(
        peers: Vec<Vec<u16>>, has: Vec<u16>, budget: u8
    ) -> bool {
        let mut picker = picker(2000, true);
        let bits = |pieces: &[u16]| {
            let mut bits = Bitfield::new(2000);
            pieces.iter().for_each(|piece| { bits.set(PieceIndex(u32::from(*piece) % 2000)); });
            bits
        };
        let has = bits(&has);
        picker.add_peer_bitfield(&has);
        peers.iter().for_each(|pieces| picker.add_peer_bitfield(&bits(pieces)));
        let normal = lane(FilePriority::Normal);
        let rarest = picker.rarest(normal, &has);
        let availability = |piece: Option<PieceIndex>| piece.map(|p| picker.availability(p));
        let expected = availability(rarest);
        let mut again = picker.clone();
        match again.walk(normal, &has, usize::MAX) {
            choose::Walk::Found(piece) => assert_eq!(availability(Some(piece)), expected),
            choose::Walk::Nothing => assert_eq!(rarest, None),
            choose::Walk::GaveUp => panic!("with no end of patience"),
        }
        match again.walk(normal, &has, usize::from(budget).max(1)) {
            choose::Walk::Found(piece) => availability(Some(piece)) == expected,
            choose::Walk::Nothing => rarest.is_none(),
            choose::Walk::GaveUp => true,
        }
    }
}
