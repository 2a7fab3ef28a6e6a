//! Datagram sockets and peers of the standard library, without an engine.

use std::collections::VecDeque;
use std::net::UdpSocket as Peer;
use std::time::Duration;

use bitswarm_core::action::SocketKind;

use socket2::Socket;

use super::super::test_poller::{MODES, Mode, TestPoller};
use super::*;

fn open(mode: Mode) -> (TestPoller, DatagramSockets<Socket>, SocketId, SocketAddr) {
    let mut poller = TestPoller::new(mode);
    let mut sockets = DatagramSockets::new();
    let id = SocketId::new(1, 0);
    let spec =
        SocketSpec { kind: SocketKind::Udp, addr: "127.0.0.1:0".parse().unwrap(), bind: None };
    let addr = sockets.open(&mut poller, id, &spec, &[]).unwrap();
    (poller, sockets, id, addr)
}

const NOW: Instant = Instant::from_secs(1000);

fn transmit(destination: SocketAddr, segment_size: usize) -> Transmit {
    Transmit { destination, source: None, segment_size, may_fragment: true }
}

/// Waits once and notes what came.
fn poll(poller: &mut TestPoller, sockets: &mut DatagramSockets<Socket>) {
    for (source, readiness) in poller.wait(Duration::from_secs(20)) {
        assert_eq!(source, Source::Datagrams(1));
        sockets.note(1, readiness);
    }
}

#[test]
fn flood_is_taken_in_bounded_batches_and_in_order() {
    for mode in MODES {
        let (mut poller, mut sockets, id, addr) = open(mode);
        let peer = Peer::bind("127.0.0.1:0").unwrap();
        for n in 0..100_u8 {
            peer.send_to(&[n], addr).unwrap();
        }
        poll(&mut poller, &mut sockets);
        let mut sizes = Vec::new();
        let mut received = Vec::new();
        while sockets.is_any_ready() {
            assert_eq!(sockets.ready(), [id]);
            for event in sockets.receive(&mut poller, id, NOW) {
                let Event::Datagrams { batch, .. } = event else { panic!("{event:?}") };
                sizes.push(batch.len());
                received.extend(batch.iter().map(|datagram| datagram.data[0]));
                for one in batch {
                    assert_eq!(one.remote, peer.local_addr().unwrap());
                    assert_eq!(one.local, Some(addr.ip()));
                    assert!(one.received <= NOW && NOW - one.received < Duration::from_secs(60));
                }
            }
        }
        assert_eq!(sizes, [64, 36]);
        assert!(received.into_iter().eq(0..100));
        assert!(sockets.ready().is_empty());
    }
}

#[test]
fn everything_that_waits_is_sent_and_what_cannot_be_is_skipped() {
    for mode in MODES {
        let (mut poller, mut sockets, id, _) = open(mode);
        let peer = Peer::bind("127.0.0.1:0").unwrap();
        let to = |destination: SocketAddr, len| (transmit(destination, len), vec![7; len]);
        let remote = peer.local_addr().unwrap();
        let other_family = "[::1]:9".parse().unwrap();
        let mut queue = VecDeque::from([
            to(remote, 1),
            to(other_family, 2),
            to(remote, 100_000),
            to(remote, 4),
        ]);
        sockets.send(&mut poller, id, |_, out| {
            let (transmit, data) = queue.pop_front()?;
            out.extend_from_slice(&data);
            Some(transmit)
        });
        let mut buffer = [0; 16];
        assert_eq!(peer.recv(&mut buffer).unwrap(), 1);
        assert_eq!(peer.recv(&mut buffer).unwrap(), 4);
    }
}

#[test]
fn datagram_that_would_block_is_sent_when_the_socket_takes_it() {
    for mode in MODES {
        let (mut poller, mut sockets, id, _) = open(mode);
        let peer = Peer::bind("127.0.0.1:0").unwrap();
        let endpoint = sockets.table.get_mut(id).unwrap();
        let transmit = transmit(peer.local_addr().unwrap(), 4);
        endpoint.unsent = Some((transmit, BytesMut::from(&b"late"[..])));
        endpoint.watch(&mut poller, id, Interest::ReadAndWrite).unwrap();
        poller.arm(&mut endpoint.socket, Direction::Write).unwrap();
        // Nothing is pulled while one waits.
        sockets.send(&mut poller, id, |_, _| panic!("pulled"));
        poll(&mut poller, &mut sockets);
        assert_eq!(sockets.ready(), [id]);
        let ready = sockets.resume(&mut poller, id);
        assert!(matches!(ready, Some(Event::DatagramReady { socket }) if socket == id));
        let mut buffer = [0; 16];
        assert_eq!(peer.recv(&mut buffer).unwrap(), 4);
    }
}

#[test]
fn closed_socket_is_forgotten_and_its_port_free() {
    for mode in MODES {
        let (mut poller, mut sockets, id, addr) = open(mode);
        sockets.close(id);
        assert!(sockets.receive(&mut poller, id, NOW).is_empty());
        Peer::bind(addr).unwrap();
    }
}

#[test]
fn transmit_is_cut_into_its_segments() {
    for mode in MODES {
        let (mut poller, mut sockets, id, addr) = open(mode);
        let peer = Peer::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut sent = Vec::new();
        let mut left = 10_u8;
        sockets.send(&mut poller, id, |most, out| {
            if left == 0 {
                return None;
            }
            for _ in 0..most.clamp(1, 4).min(usize::from(left)) {
                left -= 1;
                // The last is shorter.
                let data = vec![left; if left == 0 { 300 } else { 1000 }];
                out.extend_from_slice(&data);
                sent.push(data);
            }
            Some(Transmit {
                source: Some(addr.ip()),
                may_fragment: false,
                ..transmit(peer.local_addr().unwrap(), out.len().min(1000))
            })
        });
        let mut buffer = [0; 2000];
        for data in sent {
            let (len, from) = peer.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..len], from), (&data[..], addr));
        }
    }
}

#[test]
fn answer_leaves_from_the_address_that_was_asked() {
    for mode in MODES {
        let mut poller = TestPoller::new(mode);
        let mut sockets = DatagramSockets::new();
        let id = SocketId::new(1, 0);
        let spec =
            SocketSpec { kind: SocketKind::Udp, addr: "0.0.0.0:0".parse().unwrap(), bind: None };
        let mut addr = sockets.open(&mut poller, id, &spec, &[]).unwrap();
        // All of 127/8 is this machine's on Linux.
        addr.set_ip([127, 0, 0, 9].into());
        let peer = Peer::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        peer.send_to(b"question", addr).unwrap();
        poll(&mut poller, &mut sockets);
        let events = sockets.receive(&mut poller, id, NOW);
        let [Event::Datagrams { batch, .. }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(batch[0].local, Some(addr.ip()));
        let (remote, source) = (batch[0].remote, batch[0].local);
        let mut answer = Some(Transmit { source, ..transmit(remote, 6) });
        sockets.send(&mut poller, id, |_, out| {
            out.extend_from_slice(b"answer");
            answer.take()
        });
        let mut buffer = [0; 16];
        assert_eq!(peer.recv_from(&mut buffer).unwrap(), (6, addr));
    }
}
