//! Ten thousand torrents that nobody asks for, on one engine: what each of them costs.
//!
//! The allocator of this binary counts what is held, so the test is alone in it.

mod held_bytes;

use std::net::SocketAddr;

use bitswarm_core::disk::{DiskDone, DiskRequest, FileStat};
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::piece::PeerId;
use bitswarm_core::testing::{DiskResult, Environment, Loopback};
use bitswarm_core::torrent::{AddTorrent, TorrentState};
use bitswarm_core::wire::handshake::{Handshake, Reserved};
use bitswarm_core::{Commands, Config, Duration, Engine, Instant, UnixTime};

use crate::held_bytes::held;

/// How many torrents.
const TORRENTS: u32 = 10_000;
/// Pieces of each.
const PIECES: u32 = 256;
const PIECE_LEN: u32 = 16 << 10;

/// Everything is there, whole and right.
struct Whole;

impl Environment for Whole {
    fn disk(&mut self, request: DiskRequest) -> Option<DiskResult> {
        Some(Ok(match request {
            DiskRequest::Load { .. } => DiskDone::Loaded(None),
            DiskRequest::Open { .. } | DiskRequest::Sync { .. } | DiskRequest::Look { .. } => {
                let length = u64::from(PIECES) * u64::from(PIECE_LEN);
                DiskDone::Files(vec![Some(FileStat::new(length, 1))])
            }
            _ => DiskDone::Done,
        }))
    }
}

/// The engine and the least there can be around it.
fn host() -> Loopback<Whole> {
    let config =
        Config { listen: vec![SocketAddr::from(([0, 0, 0, 0], 6881))], ..Config::default() };
    let engine = Engine::new(config, [7; 32], Instant::ZERO, UnixTime(1_780_000_000));
    let mut host = Loopback::alone(engine, Whole);
    host.settle();
    host
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
    let mut host = host();
    let before = held();
    let mut ids = Vec::with_capacity(TORRENTS as usize);
    for number in 0..TORRENTS {
        let add = AddTorrent::new(metainfo(number), "/data");
        ids.push(host.nodes[0].engine.add_torrent(host.now, add).expect("new"));
        host.settle();
        host.nodes[0].notices = Vec::new();
    }
    host.pass(Duration::from_secs(60));
    host.nodes[0].notices = Vec::new();
    let engine = host.nodes[0].engine.engine();
    let seeding = ids.iter().filter_map(|id| engine.status(host.now, *id));
    assert!(seeding.clone().all(|status| status.state == TorrentState::Seeding));
    assert_eq!(seeding.count(), TORRENTS as usize);
    let each = (held() - before - ids.capacity() * size_of_val(&ids[0])) / TORRENTS as usize;
    eprintln!("an idle torrent of {PIECES} pieces holds {each} bytes");
    assert!(each <= MOST_BYTES, "an idle torrent holds {each} bytes, more than {MOST_BYTES}");

    // An hour in which nothing happens: no torrent has anything to do.
    let events = host.nodes[0].events;
    let timeouts = host.pass(Duration::from_secs(3600));
    assert_eq!((timeouts, host.nodes[0].events - events), (0, 0), "idle torrents have timers");
    assert!(host.nodes[0].dialled.is_empty() && host.nodes[0].closed.is_empty());

    // One of them is asked for, and answers as if it were alone.
    let wanted = metainfo(TORRENTS / 2);
    let conn = host.accept(0, SocketAddr::from(([50, 1, 2, 3], 5000))).expect("there is room");
    let handshake = Handshake {
        reserved: Reserved::NONE.with_fast(),
        infohash: wanted.infohash(),
        peer_id: PeerId([b'x'; 20]),
    };
    host.receive(0, conn, &handshake.encode());
    let sent = host.sent(0, conn);
    const HAVE_ALL: [u8; 5] = [0, 0, 0, 1, 14];
    assert_eq!(sent.get(28..48), Some(&wanted.infohash().0[..]));
    assert_eq!(sent.get(68..73), Some(&HAVE_ALL[..]));

    // More come, greet, have nothing and want nothing.
    const PEERS: usize = 32;
    const HAVE_NONE: [u8; 5] = [0, 0, 0, 1, 15];
    let before = held();
    for number in 0..PEERS as u8 {
        let from = SocketAddr::from(([50, 2, number, 3], 5000));
        let conn = host.accept(0, from).expect("there is room");
        let greeting = Handshake { peer_id: PeerId([number; 20]), ..handshake };
        let bytes = [&greeting.encode()[..], &HAVE_NONE].concat();
        host.receive(0, conn, &bytes);
        host.sent(0, conn);
    }
    let each = (held() - before) / PEERS;
    eprintln!("an idle peer holds {each} bytes");
    assert!(each <= MOST_BYTES_OF_A_PEER, "{each} bytes, more than {MOST_BYTES_OF_A_PEER}");
}

/// What an idle peer may hold.
const MOST_BYTES_OF_A_PEER: usize = 8 << 10;

/// What an idle torrent may hold, its metainfo included (20 bytes of hash a piece).
const MOST_BYTES: usize = 16 << 10;
