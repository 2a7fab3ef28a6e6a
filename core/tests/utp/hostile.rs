//! Strangers and liars.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};

use crate::network::{Link, Network};
use crate::random::SecretRng;
use crate::time::{Duration, Instant};
use crate::utp::{Ending, Endpoint, Held, Poll, Way};
use quickcheck::quickcheck;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A packet as BEP 29 lays it out, made by hand.
fn packet(kind: u8, id: u16, seq: u16, ack: u16, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(kind << 4 | 1);
    out.put_u8(0);
    out.put_u16(id);
    out.put_u32(1);
    out.put_u32(0);
    out.put_u32(1 << 20);
    out.put_u16(seq);
    out.put_u16(ack);
    out.put_slice(payload);
    out.freeze()
}

fn endpoint() -> Endpoint {
    Endpoint::new(Instant::ZERO, SecretRng::from_seed([3; 32]))
}

fn way(remote: SocketAddr) -> Way {
    Way { remote, local: None }
}

fn addr(a: u8, b: u8) -> SocketAddr {
    ([10, 9, a, b], 1000).into()
}

fn answers(endpoint: &mut Endpoint) -> Vec<(SocketAddr, BytesMut)> {
    let mut answers = Vec::new();
    loop {
        let mut out = BytesMut::new();
        match endpoint.poll_transmit(Instant::ZERO, 1, &mut out) {
            Poll::Transmit(transmit) => answers.push((transmit.destination, out)),
            Poll::Pull { id, .. } => endpoint.supply(Instant::ZERO, id, []),
            Poll::Idle => return answers,
        }
    }
}

#[test]
fn syns_are_remembered_by_nobody_and_answered_by_no_more_than_they_are() {
    let mut endpoint = endpoint();
    for n in 0..100_000u32 {
        let from = addr((n >> 8) as u8, n as u8);
        endpoint.receive(
            Instant::ZERO,
            Instant::ZERO,
            way(from),
            &packet(4, n as u16, 1, 0, b""),
            true,
        );
    }
    let answers = answers(&mut endpoint);
    // Those of all networks, and the share of these.
    assert_eq!(answers.len(), 200 + 2);
    assert!(answers.iter().all(|(_, answer)| answer.len() == 20));
    assert_eq!((endpoint.len(), endpoint.poll_event()), (0, None));
    assert_eq!(endpoint.poll_timeout(), None);
}

/// Opens a connection by hand; the number that we acknowledge by.
fn open(endpoint: &mut Endpoint, from: SocketAddr, literal: bool) -> u16 {
    let now = Instant::ZERO;
    endpoint.receive(now, now, way(from), &packet(4, 500, 7, 0, b""), true);
    let answer = answers(endpoint).pop().expect("an answer").1;
    assert_eq!(answer[..4], [0x21, 0, 1, 244]);
    assert_eq!(answer[18..20], [0, 7]);
    let cookie = u16::from_be_bytes([answer[16], answer[17]]);
    let ack = if literal { cookie } else { cookie.wrapping_sub(1) };
    endpoint.receive(now, now, way(from), &packet(0, 501, 8, ack, b"hello"), true);
    ack
}

#[test]
fn both_readings_of_the_first_packets_are_understood() {
    for literal in [false, true] {
        let mut endpoint = endpoint();
        let ack = open(&mut endpoint, addr(0, 1), literal);
        let (id, event) = endpoint.poll_event().expect("an event");
        assert_eq!(event, crate::utp::Event::Incoming);
        let event = endpoint.poll_event().expect("an event").1;
        assert_eq!(event, crate::utp::Event::Received(BytesMut::from(&b"hello"[..])));
        endpoint.want(Instant::ZERO, id);
        let mut out = BytesMut::new();
        assert!(matches!(endpoint.poll_transmit(Instant::ZERO, 1, &mut out), Poll::Pull { .. }));
        endpoint.supply(Instant::ZERO, id, [Bytes::from_static(b"back")]);
        let (_, data) = answers(&mut endpoint).pop().expect("a packet");
        assert_eq!(data[16..18], ack.wrapping_add(1).to_be_bytes());
        assert_eq!(data[20..], b"back"[..]);
    }
}

#[test]
fn stale_or_wrong_answer_opens_nothing() {
    let mut endpoint = endpoint();
    let now = Instant::ZERO;
    let from = addr(0, 1);
    endpoint.receive(now, now, way(from), &packet(4, 500, 7, 0, b""), true);
    let answer = answers(&mut endpoint).pop().expect("an answer").1;
    let ack = u16::from_be_bytes([answer[16], answer[17]]).wrapping_sub(1);
    for (from, id, seq, ack) in [
        (addr(0, 2), 501, 8, ack),
        (from, 500, 8, ack),
        (from, 501, 8, ack.wrapping_add(9)),
        (from, 501, 99, ack),
    ] {
        endpoint.receive(now, now, way(from), &packet(0, id, seq, ack, b"x"), true);
        assert_eq!((endpoint.len(), endpoint.poll_event()), (0, None));
    }
    let late = Instant::from_secs(200);
    endpoint.receive(late, late, way(from), &packet(0, 501, 8, ack, b"x"), true);
    assert_eq!(endpoint.len(), 0);
}

#[test]
fn packets_of_no_connection_are_answered_shortly_and_seldom() {
    let mut endpoint = endpoint();
    for n in 0..1000u16 {
        let packet = packet(0, n, 1, 1, &[0; 1000]);
        endpoint.receive(Instant::ZERO, Instant::ZERO, way(addr(0, 1)), &packet, true);
    }
    let answers = answers(&mut endpoint);
    assert!(answers.len() <= 10 && answers.iter().all(|(_, answer)| answer.len() == 20));
    assert_eq!(endpoint.len(), 0);
}

#[test]
fn forged_packets_change_nothing() {
    let mut network = Network::symmetric(1, Link::new(ms(10)).rate(20, ms(100)));
    let (seed, peer) = (network.host(0), network.host(1));
    network.hosts[seed].serves = 5_000_000;
    network.connect(peer, seed, 1);
    let (at_seed, at_peer) = (network.hosts[seed].addr, network.hosts[peer].addr);
    network.run_until(Instant::from_millis(50));
    network.hosts[seed].refuses = true;
    let mut rng = crate::random::PolicyRng::from_seed([5; 32]);
    // Blind: the address is right, ids and numbers are guessed.
    while !network.run_while(network.now + ms(1), |network| network.received(peer) < 5_000_000) {
        assert!(network.now < Instant::from_secs(10), "{}", network.received(peer));
        for _ in 0..20 {
            let [a, b, c, kind] = [0; 4].map(|_| rng.next_u64());
            let forged = packet((kind % 5) as u8, a as u16, b as u16, c as u16, b"forged");
            let (from, to) = if kind % 2 == 0 { (at_seed, peer) } else { (at_peer, seed) };
            network.inject(from, to, forged);
        }
    }
    assert!(network.hosts.iter().all(|host| host.endpoint.len() <= 3));
}

#[test]
fn acknowledgement_of_the_unsent_is_ignored() {
    let mut endpoint = endpoint();
    let from = addr(0, 1);
    let ack = open(&mut endpoint, from, false);
    let (id, _) = endpoint.poll_event().expect("an event");
    endpoint.want(Instant::ZERO, id);
    while endpoint.poll_event().is_some() {}
    let mut out = BytesMut::new();
    let Poll::Pull { .. } = endpoint.poll_transmit(Instant::ZERO, 1, &mut out) else {
        panic!("no room")
    };
    endpoint.supply(Instant::ZERO, id, [Bytes::from_static(&[0; 100_000])]);
    answers(&mut endpoint);
    let before = endpoint.health(id).expect("a connection");
    assert!(before.flight > 0);
    endpoint.receive(
        Instant::ZERO,
        Instant::ZERO,
        way(from),
        &packet(2, 501, 9, ack.wrapping_add(1000), b""),
        true,
    );
    assert_eq!(endpoint.health(id), Some(before));
}

#[test]
fn what_all_keep_that_is_not_acknowledged_is_bounded() {
    let mut endpoint = endpoint();
    let (now, from) = (Instant::ZERO, addr(0, 1));
    let ack = open(&mut endpoint, from, false);
    let (id, _) = endpoint.poll_event().expect("an event");
    while endpoint.poll_event().is_some() {}
    // Those over another socket keep nearly all that there may be.
    endpoint.set_held_elsewhere(Held { kept: (64 << 20) - 100, granted: 0 });
    let asked = |endpoint: &mut Endpoint| {
        endpoint.want(now, id);
        let mut out = BytesMut::new();
        loop {
            match endpoint.poll_transmit(now, 1, &mut out) {
                Poll::Pull { .. } => return true,
                Poll::Transmit(_) => out.clear(),
                Poll::Idle => return false,
            }
        }
    };
    assert!(asked(&mut endpoint));
    endpoint.supply(now, id, [Bytes::from_static(&[0; 99])]);
    assert!(asked(&mut endpoint), "there is room for one");
    endpoint.supply(now, id, [Bytes::from_static(&[0; 2000])]);
    assert!(!asked(&mut endpoint), "there is room for none");
    assert_eq!(endpoint.held().kept, 2099);
    for acked in 1..=3 {
        let packet = packet(2, 501, 9, ack.wrapping_add(acked), b"");
        endpoint.receive(now, now, way(from), &packet, true);
        let _ = answers_without_pulls(&mut endpoint);
    }
    assert_eq!(endpoint.held().kept, 0);
    assert!(asked(&mut endpoint), "who keeps nothing is asked all the same");
    endpoint.supply(now, id, [Bytes::from_static(&[0; 2000])]);
    endpoint.close(now, id, Ending::Abort);
    assert_eq!(endpoint.held(), Held::default());
}

/// What is sent until bytes are asked for.
fn answers_without_pulls(endpoint: &mut Endpoint) -> usize {
    let mut count = 0;
    while let Poll::Transmit(_) = endpoint.poll_transmit(Instant::ZERO, 1, &mut BytesMut::new()) {
        count += 1;
    }
    count
}

#[test]
fn who_sends_out_of_order_for_ever_is_given_so_much_room() {
    let mut endpoint = endpoint();
    let from = addr(0, 1);
    let ack = open(&mut endpoint, from, false);
    let (id, _) = endpoint.poll_event().expect("an event");
    for n in 10..60_000u16 {
        endpoint.receive(
            Instant::ZERO,
            Instant::ZERO,
            way(from),
            &packet(0, 501, n, ack, &[7; 1400]),
            true,
        );
    }
    let held = endpoint.health(id).expect("a connection").held;
    assert!(held <= 256 * 1024, "{held}");
    for (_, answer) in answers(&mut endpoint) {
        assert!(answer.len() <= 20 + 2 + 252);
    }
}

quickcheck! {
    /// Whatever comes from the other side of an open connection: no panic, bounded memory, and an end
    /// to what is sent for it.
    fn any_packets_are_survived(input: Vec<(u8, u16, u8, u8, u16)>) -> bool {
        let mut endpoint = endpoint();
        let from = addr(0, 1);
        let ack = open(&mut endpoint, from, false);
        let mut now = Instant::ZERO;
        for (kind, len, seq, ahead, wait) in input {
            now += ms(u64::from(wait % 1000));
            let payload = vec![1; usize::from(len % 1400)];
            let packet = packet(kind % 5, 501, u16::from(seq).wrapping_add(5), ack.wrapping_add(u16::from(ahead % 8)), &payload);
            endpoint.receive(now, now, way(from), &packet, true);
            endpoint.handle_timeout(now);
            while let Some((id, _)) = endpoint.poll_event() {
                endpoint.want(now, id);
            }
            let mut out = BytesMut::new();
            let mut count = 0;
            loop {
                match endpoint.poll_transmit(now, 4, &mut out) {
                    Poll::Transmit(_) => out.clear(),
                    Poll::Pull { id, room } => endpoint.supply(now, id, [Bytes::from(vec![0; room])]),
                    Poll::Idle => break,
                }
                count += 1;
                assert!(count < 10_000, "it sends for ever");
            }
        }
        endpoint.len() <= 2
    }

    fn any_datagram_is_survived(data: Vec<u8>, open_first: bool) -> bool {
        let mut endpoint = endpoint();
        if open_first {
            open(&mut endpoint, addr(0, 1), false);
        }
        endpoint.receive(Instant::ZERO, Instant::ZERO, way(addr(0, 1)), &data, true);
        answers(&mut endpoint);
        true
    }
}
