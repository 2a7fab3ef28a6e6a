//! An engine with torrents, peers and trackers, to which anything happens in any order.
//!
//! The input is a program: a byte that says how the world is set up, then a byte an event with its
//! arguments behind it. What a host must guarantee holds (nothing comes from a connection that is
//! not open, each disk request completes once); all else is up to the fuzzer: what peers and
//! trackers say, when the disk completes what and how it fails, what the user wants, when time
//! passes. The world ([`world`]) carries out the actions and checks them; at the end everything is
//! taken down, and nothing may be left.

mod actions;
mod conn;
mod end;
mod events;
mod setup;
mod time;
mod user;
mod world;

use std::time::Duration;

use bitswarm_core::Commands;
use bitswarm_core::config::RateLimits;
use bitswarm_core::disk::DiskErrorKind;
use bitswarm_core::event::{NetError, ResolveError};
use bitswarm_core::piece::BLOCK_LEN;
use bitswarm_core::record::Recorder;
use bitswarm_core::torrent::PieceOrder;

use super::input::Input;
use crate::sim::peer_wire::{Hello, Msg, Run};
use setup::{Setup, TORRENTS};
use world::World;

/// Most events of an input (chosen: a program that runs longer finds nothing that two do not).
const MOST_EVENTS: usize = 400;

const NET_ERRORS: [Option<NetError>; 4] =
    [None, Some(NetError::Reset), Some(NetError::Refused), Some(NetError::TimedOut)];

const DISK_ERRORS: [DiskErrorKind; 6] = [
    DiskErrorKind::Io,
    DiskErrorKind::Full,
    DiskErrorKind::Denied,
    DiskErrorKind::NotFound,
    DiskErrorKind::Short,
    DiskErrorKind::TooManyOpen,
];

/// What trackers that mean well, or nearly, answer.
const TRACKER_ANSWERS: [&[u8]; 4] = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 39\r\n\r\nd8:intervali900e5:peers6:\xc6\x33\x64\x09\x1a\xe1e",
    b"HTTP/1.1 200 OK\r\n\r\nd14:failure reason2:noe",
    b"HTTP/1.1 302 Found\r\nLocation: http://198.51.100.9/announce\r\n\r\n",
    b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
];

/// See the module.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&Setup::new(input.byte()));
    let mut events = 0;
    while !input.is_empty() && events < MOST_EVENTS {
        step(&mut world, &mut input);
        events += 1;
    }
    world.finish(input.byte());
}

/// One event.
fn step(world: &mut World, input: &mut Input<'_>) {
    match input.below(26) {
        0 => {
            let conn = world.pick_conn(input);
            let bytes = input.run().to_vec();
            world.receive(conn, &bytes);
        }
        1 => greet(world, input),
        2..=4 => say(world, input),
        5 | 6 => answer(world, input),
        7 => {
            let conn = world.pick_conn(input);
            let part = input.byte();
            world.report_sent(conn, part);
        }
        8 => {
            let (listener, who) = (input.byte(), input.byte());
            world.accept(listener, who);
        }
        9 => {
            let conn = world.pick_conn(input);
            world.connected(conn);
        }
        10 => {
            let conn = world.pick_conn(input);
            let why = NET_ERRORS[input.below(NET_ERRORS.len())];
            world.end_conn(conn, why);
        }
        11 | 12 => {
            let which = input.byte();
            world.complete_disk(which, None);
        }
        13 => {
            let which = input.byte();
            let kind = DISK_ERRORS[input.below(DISK_ERRORS.len())];
            world.complete_disk(which, Some(kind));
        }
        14 => world.pass_to_deadline(),
        15 => {
            let millis = u64::from(input.u16());
            world.pass(Duration::from_millis(millis));
        }
        16 => datagram(world, input),
        17 => {
            let which = input.byte();
            let result = match input.below(4) {
                0 => Err(ResolveError::NotFound),
                1 => Err(ResolveError::Unavailable),
                2 => Ok(vec![[192, 0, 2, 1].into(), [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()]),
                _ => Ok(vec![[127, 0, 0, 1].into()]),
            };
            world.resolved(which, result);
        }
        18 => request(world, input),
        19 => {
            let conn = world.pick_conn(input);
            let answer = TRACKER_ANSWERS[input.below(TRACKER_ANSWERS.len())];
            world.receive(conn, answer);
        }
        20 => {
            let bound = (!input.flag()).then_some(NetError::AddrInUse);
            world.bound(bound);
        }
        21 => world.stale(input.byte()),
        22 => {
            let conn = world.pick_conn(input);
            world.write(conn);
        }
        23 => world.ready(),
        24 => world.faults(input.byte()),
        _ => world.settle(),
    }
}

/// A peer introduces itself.
fn greet(world: &mut World, input: &mut Input<'_>) {
    let conn = world.pick_conn(input);
    let how = input.byte();
    let torrent = usize::from(how >> 2 & 1) % TORRENTS;
    let id = [b'p'.wrapping_add(how >> 4); 20];
    let hello = Hello::new(world.infohash(torrent), id, how & 1 == 0, how & 2 == 0);
    world.receive(conn, &hello.to_bytes());
}

/// A peer says something that has the right form.
fn say(world: &mut World, input: &mut Input<'_>) {
    let conn = world.pick_conn(input);
    let pieces = world.pieces_of(conn);
    let kind = input.below(18);
    let (piece, odd) = (u32::from(input.byte()), input.byte());
    let piece = if piece == 0xff { u32::MAX } else { piece % (pieces + 1) };
    let begin = [0, BLOCK_LEN, 1, u32::MAX][usize::from(odd & 3)];
    let length =
        [world.block_len(conn, piece, begin), 10, BLOCK_LEN + 1, 0][usize::from(odd >> 2 & 3)];
    let run = Run { piece, begin, length };
    let bits = vec![odd; (pieces as usize).div_ceil(8)];
    let full = world.full_bitfield(conn);
    let text = [&b"d1:md6:ut_pexi1e11:ut_metadatai2eee"[..], b"d4:reqqi2e11:upload_onlyi1ee", b"x"];
    let text = text[usize::from(odd % 3)];
    let message = match kind {
        0 => Msg::KeepAlive,
        1 => Msg::Choke,
        2 | 3 => Msg::Unchoke,
        4 => Msg::Interested,
        5 => Msg::NotInterested,
        6 => Msg::Have(piece),
        7 => Msg::Bitfield(&bits),
        8 => Msg::Bitfield(&full),
        9 | 10 => Msg::Request(run),
        11 => Msg::Cancel(run),
        12 => Msg::Suggest(piece),
        13 => Msg::HaveAll,
        14 => Msg::HaveNone,
        15 => Msg::Reject(world.wanted(conn, odd).unwrap_or(run)),
        16 => Msg::AllowedFast(piece),
        _ => Msg::Extended { id: odd >> 6, payload: text },
    };
    let bytes = message.to_bytes();
    world.receive(conn, &bytes);
}

/// A peer sends a block that it was asked for, right or wrong, whole or in two reads.
fn answer(world: &mut World, input: &mut Input<'_>) {
    let conn = world.pick_conn(input);
    let (which, how) = (input.byte(), input.byte());
    let Some(run) = world.wanted(conn, which) else { return };
    let mut data = world.block(conn, run);
    if how & 0x80 != 0
        && let Some(byte) = data.first_mut()
    {
        *byte ^= 1;
    }
    let message = Msg::Piece { piece: run.piece, begin: run.begin, data: &data }.to_bytes();
    let (first, second) = message.split_at(if how & 0x40 != 0 { message.len() / 2 } else { 0 });
    world.receive(conn, first);
    world.receive(conn, second);
}

fn datagram(world: &mut World, input: &mut Input<'_>) {
    let how = input.byte();
    let mut data = input.run().to_vec();
    // Nobody guesses a transaction: most answer the last one.
    if how & 1 == 0 {
        let transaction = world.last_transaction();
        if let Some(place) = data.get_mut(4..8) {
            place.copy_from_slice(&transaction);
        }
    }
    world.datagram(how >> 1, &data);
}

/// The user wants something.
fn request(world: &mut World, input: &mut Input<'_>) {
    let (what, which, number) = (input.below(9), input.below(TORRENTS), input.byte());
    let rate = [None, Some(0), Some(1000), Some(100_000)][usize::from(number & 3)];
    let other = [None, Some(0), Some(1000), Some(100_000)][usize::from(number >> 2 & 3)];
    let limits = RateLimits { down_bytes_per_s: rate, up_bytes_per_s: other };
    match what {
        0 => world.with(which, Recorder::pause),
        1 => world.with(which, Recorder::resume),
        2 => {
            let peer = std::net::SocketAddr::from(([198, 51, 100, number], 6881));
            world.with(which, |engine, now, id| engine.add_peers(now, id, &[peer]));
        }
        3 => {
            let order = [PieceOrder::RarestFirst, PieceOrder::Sequential][usize::from(number & 1)];
            world.with(which, |engine, now, id| engine.set_order(now, id, order));
        }
        4 => world.set_limits(limits),
        5 => world.with(which, |engine, now, id| engine.set_torrent_limits(now, id, limits)),
        6 => world.remove(which, number & 1 == 1),
        7 if number > 0xf0 => world.stop(),
        _ => world.add(which, number),
    }
}
