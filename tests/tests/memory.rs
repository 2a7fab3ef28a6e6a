//! What strangers together can make one session hold, with the most of everything at once (defence 45).
//!
//! The allocator of this binary counts what is held, so the test is alone in it.

mod held_bytes;

use std::net::SocketAddr;

use bitswarm_core::disk::{DiskDone, DiskRequest, FileStat};
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::piece::{BLOCK_LEN, Block, InfoHash, PeerId, PieceIndex};
use bitswarm_core::segments::Segments;
use bitswarm_core::testing::{DiskResult, Environment, Loopback};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::wire::Message;
use bitswarm_core::wire::handshake::{Handshake, Reserved};
use bitswarm_core::{Commands, Config, Duration, Engine, Instant, UnixTime};

use crate::held_bytes::held;

const PIECES: u32 = 256;
const PIECE_LEN: u32 = 1 << 18;
/// Torrents, with as many peers each as there may be.
const TORRENTS: u32 = 4;
const PEERS: usize = 120;

/// Requests that each peer makes, more than may wait (`Bounds::peer_requests`).
const REQUESTS: u32 = 600;
/// Length of the message of which each peer sends most.
const LONG: usize = 1 << 20;

const MIB: usize = 1 << 20;
/// What may be read ahead (`Bounds::read_ahead_bytes`), and a run more for each torrent.
const READ_AHEAD: usize = 8 * MIB + TORRENTS as usize * (256 << 10);
/// Messages that have not come whole, of all peers together, and what one read brings.
const HALF_MESSAGES: usize = 16 * MIB + (64 << 10);
/// What waits to be said to a peer that does not read, with its requests and what is known of it.
const OF_A_PEER: usize = 16 << 10;
const BOUND: usize = READ_AHEAD + HALF_MESSAGES + TORRENTS as usize * PEERS * OF_A_PEER;

/// Everything is there, and what is read has its length.
struct Whole;

impl Environment for Whole {
    fn disk(&mut self, request: DiskRequest) -> Option<DiskResult> {
        Some(Ok(match request {
            DiskRequest::Load { .. } => DiskDone::Loaded(None),
            DiskRequest::Open { .. } | DiskRequest::Sync { .. } | DiskRequest::Look { .. } => {
                let length = u64::from(PIECES) * u64::from(PIECE_LEN);
                DiskDone::Files(vec![Some(FileStat::new(length, 1))])
            }
            DiskRequest::Read { spans, .. } => {
                let length: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
                DiskDone::Read(vec![0; length as usize].into())
            }
            _ => DiskDone::Done,
        }))
    }
}

fn metainfo(number: u32) -> Metainfo {
    let length = u64::from(PIECES) * u64::from(PIECE_LEN);
    let mut creator = Creator::single_file(format!("torrent-{number}.bin"), length);
    creator.piece_length = PIECE_LEN;
    creator.finish(&[9; 20 * PIECES as usize]).expect("valid")
}

/// A greeting, interest, more requests than may wait, and most of a long message.
fn words(infohash: InfoHash, number: usize) -> Vec<u8> {
    let mut peer_id = PeerId([b'x'; 20]);
    peer_id.0[..8].copy_from_slice(&(number as u64).to_be_bytes());
    let handshake =
        Handshake { reserved: Reserved::NONE.with_fast().with_extension(), infohash, peer_id };
    let mut out = Segments::new();
    Message::HaveNone.encode(&mut out);
    Message::Interested.encode(&mut out);
    for request in 0..REQUESTS {
        let (piece, begin) = (PieceIndex(request / 16 % PIECES), request % 16 * BLOCK_LEN);
        Message::Request(Block { piece, begin, length: BLOCK_LEN }).encode(&mut out);
    }
    let mut bytes = [&handshake.encode()[..], &out.take_all()].concat();
    bytes.extend((LONG as u32).to_be_bytes());
    bytes.extend([20, 1]);
    bytes.resize(bytes.len() + LONG - 10, b'i');
    bytes
}

#[test]
fn peers_that_ask_for_everything_and_read_nothing_have_bounded_buffers_together() {
    let listen = vec![SocketAddr::from(([0, 0, 0, 0], 6881))];
    let config = Config { listen, ..Config::default() };
    let engine = Engine::new(config, [7; 32], Instant::ZERO, UnixTime(1_780_000_000));
    let mut host = Loopback::alone(engine, Whole);
    let metainfos: Vec<Metainfo> = (0..TORRENTS).map(metainfo).collect();
    for metainfo in &metainfos {
        let add = AddTorrent::new(metainfo.clone(), "/data");
        host.nodes[0].engine.add_torrent(host.now, add).expect("new");
    }
    host.settle();
    let before = held();
    let mut most = 0;
    let mut connected = 0;
    for number in 0..TORRENTS as usize * PEERS {
        let infohash = metainfos[number / PEERS].infohash();
        let [.., high, low] = number.to_be_bytes();
        let from = SocketAddr::from(([60, 7, high, low], 5000));
        let Some(conn) = host.accept(0, from) else { continue };
        connected += 1;
        let words = words(infohash, number);
        for part in words.chunks(64 << 10) {
            if host.nodes[0].closed.contains(&conn) {
                break;
            }
            host.receive(0, conn, part);
            // It reads nothing: what the engine has to say stays with it.
            host.settle();
        }
        drop(words);
        most = most.max(held() - before);
    }
    host.pass(Duration::from_secs(15));
    most = most.max(held() - before);
    eprintln!("{connected} peers have {most} bytes held, of {BOUND} at most");
    assert!(connected > 400, "{connected}");
    assert!(most <= BOUND, "{most} bytes are held, more than {BOUND}");
    // The test means something: the session holds as much as it reads ahead, and half messages.
    assert!(most >= READ_AHEAD / 2, "{most}");
}
