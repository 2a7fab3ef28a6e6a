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
    let spec = SocketSpec { kind: SocketKind::Udp, addr: "127.0.0.1:0".parse().unwrap() };
    let addr = sockets.open(&mut poller, id, spec, &[]).unwrap();
    (poller, sockets, id, addr)
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
            if let Some(Event::Datagrams { batch, .. }) = sockets.receive(&mut poller, id) {
                sizes.push(batch.len());
                received.extend(batch.iter().map(|datagram| datagram.data[0]));
                assert!(batch.iter().all(|one| one.remote == peer.local_addr().unwrap()));
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
        let to = |remote: SocketAddr, len| Datagram { remote, data: BytesMut::zeroed(len) };
        let remote = peer.local_addr().unwrap();
        let other_family = "[::1]:9".parse().unwrap();
        let mut queue = VecDeque::from([
            to(remote, 1),
            to(other_family, 2),
            to(remote, 100_000),
            to(remote, 4),
        ]);
        sockets.send(&mut poller, id, || queue.pop_front());
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
        let data = BytesMut::from(&b"late"[..]);
        let waiting = Datagram { remote: peer.local_addr().unwrap(), data };
        let endpoint = sockets.table.get_mut(id).unwrap();
        endpoint.unsent = Some(waiting);
        endpoint.watch(&mut poller, id, Interest::ReadAndWrite);
        poller.arm(&mut endpoint.socket, Direction::Write);
        // Nothing is pulled while one waits.
        sockets.send(&mut poller, id, || panic!("pulled"));
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
        assert!(sockets.receive(&mut poller, id).is_none());
        Peer::bind(addr).unwrap();
    }
}
