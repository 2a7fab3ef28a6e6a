//! Connections against plain sockets of the standard library, without an engine, and with pollers
//! of both kinds.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream as Peer};
use std::time::{Duration, Instant as Clock};

use bitswarm_core::StoreId;
use bitswarm_core::disk::{DiskErrorKind, FileHandle, FileIndex, FilePart};
use bitswarm_core::event::NetError;
use bitswarm_core::segments::Segment;
use bytes::Bytes;

use super::super::lingering::Lingering;
use super::super::test_poller::{MODES, Mode, TestPoller};
use super::*;
use crate::disk::{Access, FileCache};

const LONG: Duration = Duration::from_secs(20);

/// Connections, what the engine would have to send, and what it would have heard.
struct Bench {
    poller: TestPoller,
    connections: Connections<Socket>,
    lingering: Lingering<Socket>,
    buffers: BufferPool,
    to_send: BTreeMap<ConnId, Bytes>,
    /// Before that, on whichever connection is to send.
    segments: VecDeque<Segment>,
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
            segments: VecDeque::new(),
            heard: Vec::new(),
        }
    }

    /// A connection that is established, and its other end.
    fn with_peer(mode: Mode) -> (Self, ConnId, Peer) {
        let mut bench = Self::new(mode);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let conn = ConnId::new(3, 1);
        let to = listener.local_addr().unwrap();
        assert!(bench.connections.connect(&mut bench.poller, conn, to, None, None).is_none());
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
            let (to_send, segments) = (&mut self.to_send, &mut self.segments);
            let gather = |limit, out: &mut Segments| {
                while out.len() < limit
                    && let Some(segment) = segments.pop_front()
                {
                    out.push_segment(segment);
                }
                gather(to_send, id, limit, out);
            };
            let sent = self.connections.write(poller, id, gather);
            let more = self.to_send.contains_key(&id) || !self.segments.is_empty();
            if sent.is_some() && more {
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
        let at_once = bench.connections.connect(&mut bench.poller, conn, to, None, None);
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
            assert!(bench.connections.connect(&mut bench.poller, conn, to, None, None).is_none());
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

/// A file with this content, and parts of it of an odd length with headers between them.
fn blocks_in_a_file(content: &[u8]) -> (tempfile::NamedTempFile, VecDeque<Segment>) {
    const LENGTH: usize = 16_381;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    let store = StoreId::new(0, 0);
    let fd = File::open(file.path()).unwrap().into();
    let open = FileCache::new(1).put((store, 7), Access::Read, fd, file.path().to_owned());
    let mut segments = VecDeque::new();
    for (number, block) in content.chunks(LENGTH).enumerate() {
        segments.push_back(Segment::Bytes(Bytes::from_static(b"header")));
        segments.push_back(Segment::File(FilePart {
            store,
            file: FileIndex(7),
            offset: (number * LENGTH) as u64,
            length: block.len() as u32,
            handle: FileHandle::new(open.clone()),
        }));
    }
    (file, segments)
}

/// What such segments are on the wire.
fn on_the_wire(content: &[u8]) -> Vec<u8> {
    content.chunks(16_381).flat_map(|block| [b"header", block].concat()).collect()
}

#[test]
fn parts_of_files_arrive_whole_between_other_bytes() {
    for mode in MODES {
        let (mut bench, conn, mut peer) = Bench::with_peer(mode);
        let content = content(8 << 20);
        let (file, segments) = blocks_in_a_file(&content);
        // What is open can be sent, wherever it is.
        drop(file);
        bench.segments = segments;
        let expected = on_the_wire(&content);
        let len = expected.len();
        bench.connections.send(conn);
        bench.settle();
        assert!(bench.sent() < len, "the socket took {len} at once");
        let reader = std::thread::spawn(move || {
            let mut received = vec![0; len];
            peer.read_exact(&mut received).unwrap();
            received
        });
        bench.until(|bench| bench.sent() == len);
        assert!(reader.join().unwrap() == expected);
    }
}

#[test]
fn file_cut_short_beneath_what_is_being_sent_ends_the_connection_and_is_told() {
    for mode in MODES {
        let (mut bench, conn, mut peer) = Bench::with_peer(mode);
        let content = content(8 << 20);
        let (file, segments) = blocks_in_a_file(&content);
        let path = file.path().to_owned();
        bench.segments = segments;
        // In the middle of a block, and of a page.
        file.as_file().set_len(1_000_001).unwrap();
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).map(|_| received)
        });
        bench.connections.send(conn);
        bench.until(|bench| matches!(bench.heard.last(), Some(Event::Unreadable { .. })));
        let Some(Event::Unreadable { conn: whose, file, offset, error }) = bench.heard.pop() else {
            unreachable!()
        };
        assert_eq!((whose, file, offset), (conn, FileIndex(7), 1_000_001));
        assert_eq!((error.kind, error.path), (DiskErrorKind::Short, path));
        assert!(bench.connections.remove(conn).is_none(), "it is gone");
        // Everything before, and nothing else.
        let received = reader.join().unwrap().unwrap();
        let before = 1_000_001 + 1_000_001_usize.div_ceil(16_381) * b"header".len();
        assert_eq!(received.len(), before);
        assert!(received == on_the_wire(&content)[..before]);
    }
}

#[test]
fn parts_of_files_that_are_left_at_the_end_are_sent() {
    for mode in MODES {
        let (mut bench, conn, mut peer) = Bench::with_peer(mode);
        let content = content(100_000);
        let (_file, segments) = blocks_in_a_file(&content);
        let mut out = Segments::new();
        segments.into_iter().for_each(|segment| out.push_segment(segment));
        let stream = bench.connections.remove(conn).unwrap();
        let (socket, _) = stream.into_rest(|_, _| ()).expect("it is open");
        bench.lingering.add(&mut bench.poller, socket, out, bitswarm_core::Instant::ZERO);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert!(received == on_the_wire(&content));
    }
}
