//! Ten thousand torrents that nobody asks for, on one engine: what each of them costs.
//!
//! The allocator of this binary counts what is held, so the test is alone in it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use bitswarm_core::disk::{DiskDone, DiskRequest, FileStat};
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::piece::PeerId;
use bitswarm_core::torrent::{AddTorrent, TorrentState};
use bitswarm_core::wire::handshake::{Handshake, Reserved};
use bitswarm_core::{Action, Config, Engine, Event, Instant, Segments, SocketId, UnixTime};

/// How many torrents.
const TORRENTS: u32 = 10_000;
/// Pieces of each.
const PIECES: u32 = 256;
const PIECE_LEN: u32 = 16 << 10;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code)]
// SAFETY: every method passes its arguments on to the system's allocator, whose contract is the
// same, and returns what that returns.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn held() -> usize {
    HELD.load(Ordering::Relaxed)
}

/// The engine and the least there can be around it.
struct Host {
    engine: Engine,
    now: Instant,
    listener: Option<SocketId>,
    inputs: u64,
    connects: Vec<SocketAddr>,
    sent: Vec<u8>,
}

impl Host {
    fn new() -> Self {
        let config =
            Config { listen: vec![SocketAddr::from(([0, 0, 0, 0], 6881))], ..Config::default() };
        let engine = Engine::new(config, [7; 32], Instant::ZERO, UnixTime(1_780_000_000));
        let mut host = Host {
            engine,
            now: Instant::ZERO,
            listener: None,
            inputs: 0,
            connects: Vec::new(),
            sent: Vec::new(),
        };
        host.drain();
        host
    }

    fn handle(&mut self, event: Event) {
        self.inputs += 1;
        self.engine.handle(self.now, event);
    }

    fn drain(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Bind { socket, spec } => {
                    self.listener.get_or_insert(socket);
                    self.handle(Event::Bound { socket, result: Ok(spec.addr) });
                }
                Action::Disk { op, request } => {
                    let done = answer(&request);
                    self.handle(Event::Disk { op, result: Ok(done) });
                }
                Action::Connect { conn, to, .. } => {
                    self.connects.push(to);
                    let why = Some(bitswarm_core::event::NetError::Refused);
                    self.handle(Event::Closed { conn, why });
                }
                Action::Send { conn } => {
                    let mut out = Segments::new();
                    self.engine.gather(self.now, conn, 1 << 20, &mut out);
                    let bytes = out.take_all();
                    self.sent.extend_from_slice(&bytes);
                    self.handle(Event::Sent { conn, bytes: bytes.len() });
                }
                _ => {}
            }
        }
    }

    /// Lets time go by; how many timeouts there were.
    fn run_until(&mut self, end: Instant) -> u64 {
        let mut timeouts = 0;
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= end) {
            assert!(at > self.now || timeouts == 0, "a timeout is due again at {at:?}");
            self.now = at;
            self.handle(Event::Timeout);
            self.drain();
            timeouts += 1;
        }
        self.now = end;
        timeouts
    }
}

/// Everything is there, whole and right.
fn answer(request: &DiskRequest) -> DiskDone {
    match request {
        DiskRequest::Load { .. } => DiskDone::Loaded(None),
        DiskRequest::Open { .. } | DiskRequest::Sync { .. } | DiskRequest::Look { .. } => {
            let length = u64::from(PIECES) * u64::from(PIECE_LEN);
            DiskDone::Files(vec![Some(FileStat::new(length, 1))])
        }
        _ => DiskDone::Done,
    }
}

/// A torrent of 256 pieces, with the hash that every piece here has. Parsed anew, as from a file.
fn metainfo(number: u32) -> Metainfo {
    let length = u64::from(PIECES) * u64::from(PIECE_LEN);
    let mut creator = Creator::single_file(format!("torrent-{number:05}.bin"), length);
    creator.piece_length = PIECE_LEN;
    let metainfo = creator.finish(&[9; 20 * PIECES as usize]).expect("valid");
    Metainfo::parse(&metainfo.to_bytes()).expect("valid")
}

#[test]
fn ten_thousand_idle_torrents_on_one_engine() {
    let mut host = Host::new();
    let before = held();
    let mut ids = Vec::with_capacity(TORRENTS as usize);
    for number in 0..TORRENTS {
        let add = AddTorrent::new(metainfo(number), "/data");
        ids.push(host.engine.add_torrent(host.now, add).expect("new"));
        host.drain();
    }
    host.run_until(Instant::from_secs(60));
    let seeding = ids.iter().filter_map(|id| host.engine.status(host.now, *id));
    assert!(seeding.clone().all(|status| status.state == TorrentState::Seeding));
    assert_eq!(seeding.count(), TORRENTS as usize);
    let each = (held() - before - ids.capacity() * size_of_val(&ids[0])) / TORRENTS as usize;
    eprintln!("an idle torrent of {PIECES} pieces holds {each} bytes");
    assert!(each <= MOST_BYTES, "an idle torrent holds {each} bytes, more than {MOST_BYTES}");

    // An hour in which nothing happens: no torrent has anything to do.
    let inputs = host.inputs;
    let timeouts = host.run_until(Instant::from_secs(3660));
    assert_eq!((timeouts, host.inputs - inputs), (0, 0), "idle torrents have timers");
    assert!(host.connects.is_empty());

    // One of them is asked for, and answers as if it were alone.
    let wanted = metainfo(TORRENTS / 2);
    let listener = host.listener.expect("bound");
    let from = SocketAddr::from(([50, 1, 2, 3], 5000));
    let conn = host.engine.accept(host.now, listener, from).expect("there is room");
    let handshake = Handshake {
        reserved: Reserved::NONE.with_fast(),
        infohash: wanted.infohash(),
        peer_id: PeerId([b'x'; 20]),
    };
    host.handle(Event::Received { conn, data: handshake.encode()[..].into() });
    host.drain();
    const HAVE_ALL: [u8; 5] = [0, 0, 0, 1, 14];
    assert_eq!(host.sent.get(28..48), Some(&wanted.infohash().0[..]));
    assert_eq!(host.sent.get(68..73), Some(&HAVE_ALL[..]));

    // More come, greet, have nothing and want nothing.
    const PEERS: usize = 32;
    const HAVE_NONE: [u8; 5] = [0, 0, 0, 1, 15];
    host.sent = Vec::with_capacity(PEERS * 1000);
    let before = held();
    for number in 0..PEERS as u8 {
        let from = SocketAddr::from(([50, 2, number, 3], 5000));
        let conn = host.engine.accept(host.now, listener, from).expect("there is room");
        let greeting = Handshake { peer_id: PeerId([number; 20]), ..handshake };
        let bytes = [&greeting.encode()[..], &HAVE_NONE].concat();
        host.handle(Event::Received { conn, data: bytes[..].into() });
        host.drain();
    }
    let each = (held() - before) / PEERS;
    eprintln!("an idle peer holds {each} bytes");
    assert!(each <= MOST_BYTES_OF_A_PEER, "{each} bytes, more than {MOST_BYTES_OF_A_PEER}");
}

/// What an idle peer may hold.
const MOST_BYTES_OF_A_PEER: usize = 8 << 10;

/// What an idle torrent may hold, its metainfo included (20 bytes of hash a piece).
const MOST_BYTES: usize = 16 << 10;
