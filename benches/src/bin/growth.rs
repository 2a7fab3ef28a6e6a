//! How cost grows: per event, with the torrents, peers and pieces of a session doubled again and
//! again. Prints a table and draws `docs/growth.svg` (or the file named by the first argument).
//!
//! An event among twice as many should cost the same, or a little more as caches get smaller than
//! what is in use. Each figure is the least of five rounds; memory is what the allocator was asked
//! for and did not get back.

use std::io;
use std::time::{Duration, Instant as Clock};

use bitswarm_benches::chart::{Line, log_log};
use bitswarm_benches::counting_alloc::{CountingAlloc, held_bytes};
use bitswarm_benches::session::{Content, Session, metainfo};
use bitswarm_core::{ConnId, Instant};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

/// Events in a round, and rounds of which the fastest counts.
const EVENTS: u32 = 1000;
const ROUNDS: u32 = 5;

/// Pieces of a torrent whose peers are doubled, and peers of one whose pieces are.
const PIECES: u32 = EVENTS * ROUNDS;
const PEERS: u32 = 50;

fn main() -> io::Result<()> {
    println!("{:>10} {:>12} {:>14}   event", "", "ns/event", "bytes each");
    let torrents = doubled(1000, 32_000).map(torrents);
    let torrents = report("torrents", "a peer connects and leaves", torrents);
    let peers = doubled(50, 1600).map(peers);
    let peers = report("peers", "one has a piece more", peers);
    let pieces = doubled(1000, 1_024_000).map(pieces);
    let pieces = report("pieces", "a peer has one more", pieces);
    let path = std::env::args_os().nth(1).unwrap_or_else(|| "docs/growth.svg".into());
    let lines = [torrents, peers, pieces];
    let svg = log_log("One event among many", "how many there are", "ns", &lines);
    std::fs::write(path, svg)
}

fn doubled(from: u32, to: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(from), |count| Some(count * 2)).take_while(move |count| *count <= to)
}

/// What there are so many of, what an event costs, and how many bytes each of them holds.
struct Figure {
    count: u32,
    event: Duration,
    bytes_each: f64,
}

fn report(what: &str, event: &str, figures: impl Iterator<Item = Figure>) -> Line {
    let mut points = Vec::new();
    for figure in figures {
        let ns = figure.event.as_nanos() as f64;
        println!("{:>10} {ns:>12.0} {:>14.1}   {what}: {event}", figure.count, figure.bytes_each);
        points.push((f64::from(figure.count), ns));
    }
    let slope = match (points.first(), points.last()) {
        (Some(first), Some(last)) => (last.1 / first.1).log2() / (last.0 / first.0).log2(),
        _ => 0.0,
    };
    println!("{what}: slope {slope:.2} (0 is flat, 1 is proportional)");
    (what.to_owned(), points)
}

fn torrents(count: u32) -> Figure {
    let before = held_bytes();
    let all: Vec<_> = (0..count).map(|number| metainfo(number, 1, None)).collect();
    let mut session = Session::new(Content::Whole);
    for torrent in &all {
        session.add(torrent.clone());
    }
    session.run_until(Instant::from_secs(60));
    let bytes = held_bytes() - before;
    let event = fastest(|round| {
        for number in 0..EVENTS {
            let conn = session.connect(&all[((round + number * 7919) % count) as usize]);
            session.hang_up(conn);
        }
    });
    Figure { count, event, bytes_each: bytes as f64 / f64::from(count) }
}

fn peers(count: u32) -> Figure {
    let torrent = metainfo(0, PIECES, None);
    let mut session = Session::new(Content::Missing);
    session.add(torrent.clone());
    let before = held_bytes();
    let conns: Vec<ConnId> = (0..count).map(|_| session.connect(&torrent)).collect();
    let bytes = held_bytes() - before;
    let event = fastest(|round| {
        for number in 0..EVENTS {
            let conn = conns[(number % count) as usize];
            session.receive(conn, &have(round * EVENTS + number));
        }
    });
    Figure { count, event, bytes_each: bytes as f64 / f64::from(count) }
}

fn pieces(count: u32) -> Figure {
    let before = held_bytes();
    let torrent = metainfo(0, count, None);
    let mut session = Session::new(Content::Missing);
    session.add(torrent.clone());
    let bytes = held_bytes() - before;
    let conns: Vec<ConnId> = (0..PEERS).map(|_| session.connect(&torrent)).collect();
    let event = fastest(|round| {
        for number in 0..EVENTS {
            let turn = round * EVENTS + number;
            let conn = conns[(turn % PEERS) as usize];
            session.receive(conn, &have((u64::from(turn) * 7919 % u64::from(count)) as u32));
        }
    });
    Figure { count, event, bytes_each: bytes as f64 / f64::from(count) }
}

/// The message that a peer has a piece (BEP 3).
fn have(piece: u32) -> [u8; 9] {
    let mut message = [0, 0, 0, 5, 4, 0, 0, 0, 0];
    message[5..].copy_from_slice(&piece.to_be_bytes());
    message
}

/// The time for an event in the fastest round.
fn fastest(mut round: impl FnMut(u32)) -> Duration {
    let times = (0..ROUNDS).map(|number| {
        let begin = Clock::now();
        round(number);
        begin.elapsed() / EVENTS
    });
    times.min().unwrap_or_default()
}
