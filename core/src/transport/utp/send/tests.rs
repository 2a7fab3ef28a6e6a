//! The sending half, on packets of ten bytes.

use bytes::BytesMut;

use super::*;

const RTT: Duration = Duration::from_millis(20);

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// A sender with so many packets of ten bytes under way since `at(0)`, from number 65,533 on.
fn under_way(count: usize) -> Sender {
    let mut sender = Sender::new(Seq(65533));
    for _ in 0..count {
        sender.supply(Bytes::from_static(b"0123456789"));
        sender.send_new(at(0), 10, None);
    }
    sender
}

fn numbers_resent(sender: &mut Sender, now: Instant) -> Vec<u16> {
    std::iter::from_fn(|| sender.resend(now).map(|outgoing| outgoing.seq.0)).collect()
}

fn ack(sender: &mut Sender, now: u64, ack: u16, sack: &[u8]) -> Acknowledged {
    sender.acknowledge(at(now), Seq(ack), sack, RTT, true)
}

#[test]
fn packets_are_cut_across_slices_and_sent_again_as_they_were() {
    let mut sender = Sender::new(Seq(1));
    for part in [&b"abc"[..], b"defgh", b"ij"] {
        sender.supply(Bytes::copy_from_slice(part));
    }
    let mut out = BytesMut::new();
    sender.send_new(at(0), 4, None).payload.write(&mut out);
    sender.send_new(at(0), 100, None).payload.write(&mut out);
    assert_eq!(out[..], b"abcdefghij"[..]);
    assert_eq!((sender.unsent(), sender.flight(), sender.next()), (0, 10, Seq(3)));
    sender.lose_all();
    assert_eq!(sender.flight(), 0);
    let mut out = BytesMut::new();
    while let Some(outgoing) = sender.resend(at(1)) {
        outgoing.payload.write(&mut out);
    }
    assert_eq!(out[..], b"abcdefghij"[..]);
    assert_eq!(sender.flight(), 10);
}

#[test]
fn bytes_count_once_by_whichever_acknowledgement() {
    let mut sender = under_way(6);
    assert_eq!(ack(&mut sender, 20, 65532, &[0b101]).bytes, 20);
    assert_eq!(sender.flight(), 40);
    let acked = ack(&mut sender, 21, 65535, &[]);
    assert_eq!((acked.bytes, acked.packets), (20, 2), "one of three was known");
    assert_eq!(ack(&mut sender, 22, 65535, &[0xff; 255]).bytes, 20, "bits for what was not sent");
    assert_eq!(sender.flight(), 0);
    assert_eq!((sender.first(), sender.next()), (Seq(3), Seq(3)));
}

#[test]
fn acknowledgement_of_what_was_not_sent_is_impossible() {
    let sender = under_way(3);
    let possible = |ack: u16| sender.is_possible(Seq(ack));
    assert!(possible(65532) && possible(65535) && possible(65529));
    assert!(!possible(0) && !possible(65528) && !possible(30_000));
}

#[test]
fn three_that_overtake_show_a_loss_and_two_do_not() {
    let mut sender = under_way(5);
    ack(&mut sender, 20, 65532, &[0b011]);
    let (losses, due) = sender.find_losses(at(20), RTT);
    assert_eq!((losses.packets, due), (0, Some(at(25))));
    ack(&mut sender, 20, 65532, &[0b111]);
    assert_eq!(sender.find_losses(at(20), RTT).0.packets, 1);
    assert_eq!(numbers_resent(&mut sender, at(20)), [65533]);
}

#[test]
fn time_shows_a_loss_where_too_few_overtake() {
    let mut sender = under_way(2);
    ack(&mut sender, 20, 65532, &[1]);
    let (losses, due) = sender.find_losses(at(24), RTT);
    assert_eq!((losses.packets, due), (0, Some(at(25))));
    assert_eq!(sender.find_losses(at(25), RTT).0.packets, 1);
}

#[test]
fn loss_of_one_that_was_sent_again_is_found() {
    let mut sender = under_way(4);
    ack(&mut sender, 20, 65532, &[0b111]);
    sender.find_losses(at(20), RTT);
    assert_eq!(numbers_resent(&mut sender, at(20)), [65533]);
    for _ in 0..3 {
        sender.supply(Bytes::from_static(b"x"));
        sender.send_new(at(21), 1, None);
    }
    ack(&mut sender, 41, 65532, &[0b11_1111]);
    assert_eq!(sender.find_losses(at(41), RTT).0.packets, 1);
    assert_eq!(numbers_resent(&mut sender, at(41)), [65533]);
}

#[test]
fn needless_resend_makes_patient() {
    let mut sender = under_way(4);
    ack(&mut sender, 20, 65532, &[0b111]);
    sender.find_losses(at(20), RTT);
    numbers_resent(&mut sender, at(20));
    let acked = ack(&mut sender, 22, 0, &[]);
    assert_eq!(acked.needless, 1);
    for _ in 0..5 {
        sender.supply(Bytes::from_static(b"x"));
        sender.send_new(at(30), 1, None);
    }
    ack(&mut sender, 50, 0, &[0b1111]);
    let (losses, due) = sender.find_losses(at(50), RTT);
    assert_eq!((losses.packets, due), (0, Some(at(60))));
}

#[test]
fn peer_without_selective_acknowledgements_says_it_thrice() {
    let mut sender = under_way(5);
    for _ in 0..2 {
        ack(&mut sender, 20, 65532, &[]);
        assert_eq!(sender.find_losses(at(20), RTT).0.packets, 0);
    }
    ack(&mut sender, 20, 65532, &[]);
    assert_eq!(sender.find_losses(at(20), RTT).0.packets, 1);
}

#[test]
fn lost_try_of_a_length_is_no_loss_and_goes_again_as_it_should() {
    let mut sender = Sender::new(Seq(1));
    sender.supply(Bytes::from_static(&[0; 100]));
    sender.send_new(at(0), 20, Some(1472));
    for _ in 0..3 {
        sender.send_new(at(0), 20, None);
    }
    sender.acknowledge(at(20), Seq(0), &[0b111], RTT, true);
    let (losses, _) = sender.find_losses(at(20), RTT);
    assert_eq!((losses.packets, losses.probe), (0, Some(1472)));
    assert_eq!(numbers_resent(&mut sender, at(20)), [1]);
    assert_eq!(sender.acknowledge(at(40), Seq(4), &[], RTT, true).probe_passed, None);
}
