//! Datagrams: what comes in a burst, and where answers leave from (the session's own tracker answers,
//! BEP 15); and multicast (BEP 14).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use bitswarm_core::Notice;
use bitswarm_core::action::SocketKind;
use bitswarm_core::notice::Service;
use bitswarm_runtime_common::ClientConfig;

use super::Runtime;
use super::harness::beside_others;
use super::sample::Sample;
use super::session::{LONG, Session};

/// A hundred questions are on their way before the first is answered. Each is answered once, though
/// the answers all go to one address and may leave in a few calls.
pub fn burst_of_datagrams_is_answered_one_by_one(runtime: Runtime) {
    const QUESTIONS: u32 = 100;
    let _turn = beside_others();
    let (session, tracker) = with_tracker(runtime, [127, 0, 0, 1].into());
    let socket = client(tracker);
    for transaction in 0..QUESTIONS {
        socket.send(&question(transaction)).unwrap();
    }
    let answered: BTreeSet<u32> = (0..QUESTIONS).map(|_| answer(&socket)).collect();
    assert!(answered.into_iter().eq(0..QUESTIONS), "some were answered twice");
    session.stop();
}

/// A socket on all addresses of the machine: each of them answers for itself. (A client that asked one
/// takes no answer from another.)
pub fn answers_leave_from_the_address_that_was_asked(runtime: Runtime) {
    let _turn = beside_others();
    let (session, tracker) = with_tracker(runtime, [0, 0, 0, 0].into());
    for host in 1..=4 {
        let socket = client(SocketAddr::from(([127, 0, 0, host], tracker.port())));
        socket.send(&question(u32::from(host))).unwrap();
        assert_eq!(answer(&socket), u32::from(host));
    }
    session.stop();
}

/// Two sessions that nobody has told of each other hear of each other through the multicast groups, on
/// loopback: one is announced when the other listens already.
pub fn peers_in_the_local_network_find_each_other(runtime: Runtime) {
    let _turn = beside_others();
    // Other runtimes may be doing the same beside this one.
    let number = runtime
        .case
        .bytes()
        .fold(0, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let sample = Sample::numbered(number, 1 << 20, 64 << 10);
    let local = |config: &mut ClientConfig| {
        config.core.local_discovery = true;
        config.core.bind = vec![[127, 0, 0, 1].into()];
    };
    let mut seed = Session::with(runtime, local);
    seed.seed(&sample);
    let mut leech = Session::with(runtime, local);
    leech.add(&sample);
    leech.finish(&sample);
    leech.stop();
    seed.stop();
}

/// A session with a tracker, and where that takes datagrams.
fn with_tracker(runtime: Runtime, ip: IpAddr) -> (Session, SocketAddr) {
    let mut session = Session::with(runtime, |config| {
        config.core.tracker_listen = vec![SocketAddr::new(ip, 0)];
    });
    let tracker = session.wait_for(|notice| match notice {
        Notice::Listening { service: Service::Tracker, kind: SocketKind::Udp, addr } => Some(*addr),
        Notice::ListenFailed { .. } => panic!("{notice:?}"),
        _ => None,
    });
    (session, tracker)
}

/// A socket that hears only what comes from there.
fn client(tracker: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(tracker).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket
}

/// A connect request of BEP 15.
fn question(transaction: u32) -> [u8; 16] {
    let mut packet = [0; 16];
    packet[..8].copy_from_slice(&0x0417_2710_1980_u64.to_be_bytes());
    packet[12..].copy_from_slice(&transaction.to_be_bytes());
    packet
}

/// The transaction of the connect response that comes next.
fn answer(socket: &UdpSocket) -> u32 {
    let mut packet = [0; 64];
    assert_eq!(socket.recv(&mut packet).unwrap(), 16);
    assert_eq!(packet[..4], [0; 4], "it is refused");
    u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]])
}
