//! Connections against plain sockets of the standard library, without an engine, and with pollers
//! of both kinds.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream as Peer};
use std::time::{Duration, Instant as Clock};

use bitswarm_core::event::NetError;
use bytes::Bytes;

use super::super::lingering::Lingering;
use super::super::test_poller::{MODES, Mode, TestPoller};
use super::*;

const LONG: Duration = Duration::from_secs(20);

/// Connections, what the engine would have to send, and what it would have heard.
struct Bench {
    poller: TestPoller,
    connections: Connections<Socket>,
    lingering: Lingering<Socket>,
    buffers: BufferPool,
    to_send: BTreeMap<ConnId, Bytes>,
    heard: Vec<Event>,
}

impl Bench {
    fn new(mode: Mode) -> Self {
        Bench {
            poller: TestPoller::new(mode),
            connections: Connections::new(),
            lingering: Lingering::new(),
            buffers: BufferPool::new(),
            to_send: BTreeMap::new(),
            heard: Vec::new(),
        }
    }

    /// A connection that is established, and its other end.
    fn with_peer(mode: Mode) -> (Self, ConnId, Peer) {
        let mut bench = Self::new(mode);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let conn = ConnId::new(3, 1);
        let to = listener.local_addr().unwrap();
        assert!(bench.connections.connect(&mut bench.poller, conn, to, None).is_none());
        let (peer, from) = listener.accept().unwrap();
        bench.until(|bench| !bench.heard.is_empty());
        let heard = bench.heard.remove(0);
        assert!(
            matches!(heard, Event::Connected { conn: id, local } if id == conn && local == from)
        );
        (bench, conn, peer)
    }

    /// One turn of a loop; whether anything was heard in it.
    fn turn(&mut self, wait: Duration) -> bool {
        let wait = if self.connections.ready_len() > 0 { Duration::ZERO } else { wait };
        for (source, readiness) in self.poller.wait(wait) {
            match source {
                Source::Connection(slot) => self.connections.note(slot, readiness),
                Source::Lingering(slot) => self.lingering.advance(&mut self.poller, slot),
                source => panic!("{source:?}"),
            }
        }
        let before = self.heard.len();
        for _ in 0..self.connections.ready_len() {
            let Some(id) = self.connections.next_ready() else { break };
            let poller = &mut self.poller;
            self.heard.extend(self.connections.finish_connecting(poller, id));
            while let Some(event) = self.connections.read(poller, id, &mut self.buffers) {
                self.heard.push(event);
            }
            let to_send = &mut self.to_send;
            let gather = |limit, out: &mut Segments| gather(to_send, id, limit, out);
            let sent = self.connections.write(poller, id, gather);
            if sent.is_some() && self.to_send.contains_key(&id) {
                self.connections.send(id);
            }
            self.heard.extend(sent);
        }
        self.heard.len() > before
    }

    fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Clock::now();
        while !done(self) {
            assert!(start.elapsed() < LONG, "waited in vain; heard {:?}", self.heard);
            self.turn(Duration::from_millis(10));
        }
    }

    /// Turns until nothing is heard any more.
    fn settle(&mut self) {
        while self.turn(Duration::from_millis(50)) {}
    }

    fn send(&mut self, conn: ConnId, data: Bytes) {
        self.to_send.insert(conn, data);
        self.connections.send(conn);
    }

    fn flush(&mut self, conn: ConnId) {
        let stream = self.connections.remove(conn).unwrap();
        let to_send = &mut self.to_send;
        let rest = stream.into_rest(|limit, out| gather(to_send, conn, limit, out));
        let (socket, out) = rest.expect("it is open");
        self.lingering.add(&mut self.poller, socket, out, bitswarm_core::Instant::ZERO);
    }

    fn received(&self) -> Vec<u8> {
        let data = self.heard.iter().filter_map(|event| match event {
            Event::Received { data, .. } => Some(&data[..]),
            _ => None,
        });
        data.flatten().copied().collect()
    }

    fn sent(&self) -> usize {
        let sent = self.heard.iter().map(|event| match event {
            Event::Sent { bytes, .. } => *bytes,
            _ => 0,
        });
        sent.sum()
    }

    fn is_closed(&self) -> Option<Option<NetError>> {
        match self.heard.last() {
            Some(Event::Closed { why, .. }) => Some(*why),
            _ => None,
        }
    }
}

/// What an engine does when it is asked for bytes.
fn gather(to_send: &mut BTreeMap<ConnId, Bytes>, conn: ConnId, limit: usize, out: &mut Segments) {
    let Some(data) = to_send.get_mut(&conn) else { return };
    // In parts of an odd size.
    let mut part = data.split_to(data.len().min(limit));
    while !part.is_empty() {
        out.push(part.split_to(part.len().min(9973)));
    }
    if data.is_empty() {
        to_send.remove(&conn);
    }
}

fn content(len: usize) -> Bytes {
    (0..len).map(|n| (n % 251) as u8).collect()
}

#[test]
fn connection_to_nobody_is_closed_as_refused() {
    for mode in MODES {
        let mut bench = Bench::new(mode);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        drop(listener);
        let conn = ConnId::new(0, 0);
        let at_once = bench.connections.connect(&mut bench.poller, conn, to, None);
        bench.heard.extend(at_once);
        bench.until(|bench| bench.is_closed().is_some());
        assert_eq!(bench.is_closed(), Some(Some(NetError::Refused)));
        assert_eq!(bench.heard.len(), 1);
    }
}

#[test]
fn stream_arrives_whole_and_ends_in_order() {
    for mode in MODES {
        let (mut bench, _, mut peer) = Bench::with_peer(mode);
        let data = content(3 << 20);
        let sent = data.clone();
        let writer = std::thread::spawn(move || peer.write_all(&sent).unwrap());
        bench.until(|bench| bench.is_closed().is_some());
        writer.join().unwrap();
        assert_eq!(bench.is_closed(), Some(None));
        assert!(bench.received() == data);
    }
}

#[test]
fn end_of_stream_told_with_the_last_bytes_is_heard() {
    for mode in MODES {
        let (mut bench, _, mut peer) = Bench::with_peer(mode);
        peer.write_all(b"last words").unwrap();
        drop(peer);
        bench.until(|bench| bench.is_closed().is_some());
        assert_eq!(bench.received(), b"last words");
    }
}

#[test]
fn reading_switched_off_stops_and_holds_the_sender_back() {
    for mode in MODES {
        let (mut bench, conn, mut peer) = Bench::with_peer(mode);
        bench.connections.read_on(conn, false);
        peer.set_nonblocking(true).unwrap();
        let mut written = 0;
        let full = loop {
            match peer.write(&[7; 65_536]) {
                Ok(count) => written += count,
                Err(error) => break error.kind(),
            }
            bench.turn(Duration::ZERO);
            assert!(written < 1 << 30, "the sender is never held back");
        };
        assert_eq!(full, io::ErrorKind::WouldBlock);
        assert!(bench.received().is_empty());
        bench.connections.read_on(conn, true);
        bench.until(|bench| bench.received().len() == written);
    }
}

#[test]
fn writes_in_parts_are_accounted_for_and_arrive_whole() {
    for mode in MODES {
        let (mut bench, conn, mut peer) = Bench::with_peer(mode);
        let data = content(32 << 20);
        bench.send(conn, data.clone());
        bench.settle();
        let parts = bench.heard.len();
        assert!(bench.sent() < data.len(), "the socket took {} at once", data.len());
        let expected = data.len();
        let reader = std::thread::spawn(move || {
            let mut received = vec![0; expected];
            peer.read_exact(&mut received).unwrap();
            received
        });
        bench.until(|bench| bench.sent() == expected);
        assert!(reader.join().unwrap() == data);
        assert!(bench.heard.len() > parts);
    }
}

#[test]
fn what_a_peer_said_before_it_reset_is_heard() {
    for mode in MODES {
        let (mut bench, conn, mut peer) = Bench::with_peer(mode);
        peer.write_all(b"reason").unwrap();
        // Unread input makes the close a reset.
        bench.send(conn, content(100));
        bench.until(|bench| bench.sent() == 100);
        drop(peer);
        bench.send(conn, content(100));
        bench.until(|bench| bench.is_closed().is_some());
        assert_eq!(bench.received(), b"reason");
    }
}

#[test]
fn connection_that_is_not_read_still_hears_that_writing_failed() {
    for mode in MODES {
        let (mut bench, conn, peer) = Bench::with_peer(mode);
        bench.connections.read_on(conn, false);
        bench.settle();
        drop(peer);
        let start = Clock::now();
        while bench.is_closed().is_none() {
            assert!(start.elapsed() < LONG);
            bench.send(conn, content(100));
            bench.turn(Duration::from_millis(10));
        }
        assert!(matches!(bench.is_closed(), Some(Some(_))));
    }
}

#[test]
fn flush_sends_what_is_left_though_input_is_unread() {
    for mode in MODES {
        let (mut bench, conn, mut peer) = Bench::with_peer(mode);
        bench.connections.read_on(conn, false);
        peer.write_all(&content(5000)).unwrap();
        let data = content(8 << 20);
        // More than one gather: the engine closes when the last of it was gathered.
        bench.send(conn, data.clone());
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            received
        });
        bench.until(|bench| bench.to_send.is_empty());
        bench.flush(conn);
        let start = Clock::now();
        while !reader.is_finished() {
            assert!(start.elapsed() < LONG);
            bench.turn(Duration::from_millis(10));
        }
        assert!(reader.join().unwrap() == data);
        bench.until(|bench| bench.lingering.deadline().is_none());
    }
}

#[test]
fn flush_gathers_what_send_announced() {
    for mode in MODES {
        let (mut bench, conn, mut peer) = Bench::with_peer(mode);
        bench.send(conn, Bytes::from_static(b"goodbye"));
        bench.flush(conn);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert_eq!(received, b"goodbye");
    }
}

#[test]
fn peer_that_never_closes_is_cut_off_in_time() {
    for mode in MODES {
        let (mut bench, conn, peer) = Bench::with_peer(mode);
        bench.flush(conn);
        let deadline = bench.lingering.deadline().expect("it lingers");
        bench.lingering.expire(deadline);
        assert_eq!(bench.lingering.deadline(), None);
        let closed = (&peer).write_all(&content(100)).and_then(|()| {
            std::thread::sleep(Duration::from_millis(20));
            (&peer).write_all(&content(100))
        });
        assert!(closed.is_err());
    }
}

#[test]
fn closed_connections_that_linger_are_bounded() {
    for mode in MODES {
        let mut bench = Bench::new(mode);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let mut peers = Vec::new();
        for n in 0..300 {
            let conn = ConnId::new(0, n);
            assert!(bench.connections.connect(&mut bench.poller, conn, to, None).is_none());
            peers.push(listener.accept().unwrap());
            bench.until(|bench| bench.heard.pop().is_some());
            bench.flush(conn);
        }
        assert_eq!(bench.lingering.len(), 256);
        drop(peers);
        bench.until(|bench| bench.lingering.len() == 0);
        assert_eq!(bench.lingering.deadline(), None);
    }
}

#[test]
fn abort_drops_what_is_left() {
    for mode in MODES {
        let (mut bench, conn, mut peer) = Bench::with_peer(mode);
        bench.send(conn, content(1000));
        drop(bench.connections.remove(conn));
        let mut received = Vec::new();
        let _ = peer.read_to_end(&mut received);
        assert!(received.is_empty());
    }
}
