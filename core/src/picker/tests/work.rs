//! How many pieces a message of a few bytes has the picker look at, in a torrent of a million
//! (defence 40).

use super::super::*;
use crate::piece::BLOCK_LEN;

const PIECES: u32 = 1_000_000;
const PAIRS: u32 = 3_000;

fn picker() -> Picker {
    let geometry = Geometry::new(u64::from(PIECES) * u64::from(BLOCK_LEN), BLOCK_LEN);
    Picker::new(geometry.unwrap(), PolicyRng::from_seed([5; 32]))
}

impl Picker {
    fn touched(&mut self) -> usize {
        std::mem::take(&mut self.buckets.touched)
    }
}

#[test]
fn seed_that_loses_a_piece_and_has_it_again_costs_a_few_pieces_each_time() {
    let mut picker = picker();
    let mut has = Bitfield::full(PIECES);
    picker.add_seed();
    picker.touched();
    for pair in 0..PAIRS {
        let piece = PieceIndex(pair * 331 % PIECES);
        has.clear(piece);
        picker.seed_lost(piece);
        if pair % 2 == 0 {
            has.set(piece);
            picker.seed_has(piece);
        }
    }
    picker.remove_seed(&has);
    assert!(picker.touched() <= 6 * PAIRS as usize);
    assert_eq!(picker.availability(PieceIndex(331)), 0);
    picker.buckets.check();
}

#[test]
fn seeds_and_peers_without_pieces_come_and_go_for_nothing() {
    let mut picker = picker();
    picker.touched();
    for _ in 0..PAIRS {
        picker.add_seed();
        picker.remove_seed(&Bitfield::full(1));
        picker.add_peer_bitfield(&Bitfield::new(1));
        picker.remove_peer_bitfield(&Bitfield::new(1));
    }
    assert_eq!(picker.touched(), 0);
}

#[test]
fn piece_that_a_seed_lost_is_rarer_and_not_asked_of_it() {
    let mut picker = picker();
    (0..4).for_each(|piece| picker.mark_have(PieceIndex(piece)));
    let all = Bitfield::full(PIECES);
    let mut all_but_one = all.clone();
    (0..3).for_each(|_| picker.add_seed());
    let lost = PieceIndex(777_777);
    picker.seed_lost(lost);
    all_but_one.clear(lost);
    assert_eq!((picker.availability(lost), picker.availability(PieceIndex(9))), (2, 3));
    let mut out = Vec::new();
    picker.pick(PeerKey(1), &all_but_one, 1, PickHints::default(), &mut out);
    assert_ne!(out[0].piece, lost);
    out.clear();
    picker.pick(PeerKey(0), &all, 1, PickHints::default(), &mut out);
    assert_eq!(out[0].piece, lost);
}
