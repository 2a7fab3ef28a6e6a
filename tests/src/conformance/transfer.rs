//! Bytes from one session to another, and to and from scripted peers.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bitswarm_core::TorrentNotice;
use bitswarm_core::metainfo::{Creator, Metainfo};
use bitswarm_core::torrent::{AddTorrent, TorrentState};
use sha1::{Digest, Sha1};
use socket2::{Domain, Socket, Type};

use super::Runtime;
use super::audit::Audit;
use super::harness::{alone, beside_others, in_own_process, skip};
use super::held::peak_resident_bytes;
use super::sample::Sample;
use super::scripted::{become_unchoked, listen, receive_block};
use super::session::{Session, recorded};
use crate::interop::wire::{Message, Wire};

/// 20 MiB and a bit.
pub fn file_goes_from_seed_to_leech_whole(runtime: Runtime) {
    let _turn = alone(runtime);
    let sample = Sample::new((20 << 20) + 12_345);
    let mut seed = Session::start(runtime);
    seed.seed(&sample);
    let mut leech = Session::start(runtime);
    let id = leech.fetch(&sample, seed.addr());
    leech.finish(&sample);
    let status = leech.status(id);
    assert_eq!(status.state, TorrentState::Seeding);
    assert_eq!(status.downloaded_bytes, sample.data.len() as u64);
    leech.wait_for_torrent(|what| *what == TorrentNotice::Saved);
    leech.stop();
    seed.stop();
}

/// One seed on IPv4 and IPv6, a leech that reaches it by each.
pub fn both_families_are_served(runtime: Runtime) {
    let _turn = beside_others();
    let localhost = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0));
    if let Err(error) = TcpListener::bind(localhost) {
        return skip(runtime, &format!("no IPv6 here: {error}"));
    }
    let sample = Sample::new(1 << 20);
    let mut seed = Session::with(runtime, |config| config.core.listen.push(localhost));
    seed.seed(&sample);
    assert!(seed.addrs[0].is_ipv4() && seed.addrs[1].is_ipv6());
    for addr in seed.addrs.clone() {
        let mut leech = Session::start(runtime);
        leech.fetch(&sample, addr);
        leech.finish(&sample);
        leech.stop();
    }
    seed.stop();
}

/// A peer asks for more than buffers hold and takes its time with reading it.
pub fn partial_writes_lose_nothing(runtime: Runtime) {
    const BLOCK: u32 = 16 << 10;
    const AT_ONCE: u32 = 400;
    let _turn = beside_others();
    let sample = Sample::numbered(0, 2 * (AT_ONCE * BLOCK) as usize, BLOCK);
    let mut seed = Session::with(runtime, recorded);
    seed.seed(&sample);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(32 << 10).unwrap();
    socket.connect(&seed.addr().into()).unwrap();
    let mut peer = Wire::greet(TcpStream::from(socket), &sample.infohash()).unwrap().unwrap();
    become_unchoked(&mut peer);
    for round in 0..2 {
        let pieces = round * AT_ONCE..(round + 1) * AT_ONCE;
        for piece in pieces.clone() {
            peer.send(&Message::Request(piece, 0, BLOCK)).unwrap();
        }
        thread::sleep(Duration::from_millis(300));
        for piece in pieces {
            receive_block(&mut peer, &sample, piece, 0, BLOCK);
        }
    }
    drop(peer);
    let (audit, _) = Audit::of(&seed.stop_and_take_log());
    assert!(audit.partial_sends > 0, "every write was taken whole: {audit:?}");
}

/// A seed sends its blocks in runs of 1 to 1500 bytes.
pub fn stream_may_come_in_any_cut(runtime: Runtime) {
    let _turn = beside_others();
    let sample = Sample::new(300_000);
    let (listener, addr) = listen();
    let mut leech = Session::start(runtime);
    let infohash = sample.infohash();
    let of_the_peer = sample.clone();
    let peer = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut wire = Wire::answer(stream, &infohash).unwrap();
        wire.send(&of_the_peer.everything()).unwrap();
        let mut cut = 1;
        while let Ok(message) = wire.receive() {
            match message {
                Message::Interested => wire.send(&Message::Unchoke).unwrap(),
                Message::Request(piece, begin, len) => {
                    let head = [&[7][..], &piece.to_be_bytes(), &begin.to_be_bytes()].concat();
                    let block = of_the_peer.block(piece, begin, len);
                    let message = [&(9 + len).to_be_bytes()[..], &head, block].concat();
                    let mut rest = &message[..];
                    while !rest.is_empty() {
                        let (now, later) = rest.split_at(cut.min(rest.len()));
                        wire.send_raw(now).unwrap();
                        rest = later;
                        cut = cut * 7 % 1499 + 1;
                    }
                }
                _ => {}
            }
        }
    });
    leech.fetch(&sample, addr);
    leech.finish(&sample);
    leech.stop();
    peer.join().unwrap();
}

/// The disk may be behind by 32 KiB only: reading is switched off and on all the time.
pub fn reading_stops_for_the_disk_and_goes_on(runtime: Runtime) {
    let _turn = beside_others();
    // Long enough for a dozen times even if a runtime reads as much at once as it may.
    let sample = Sample::new(32 << 20);
    let mut seed = Session::start(runtime);
    seed.seed(&sample);
    let mut leech = Session::with(runtime, |config| {
        config.core.bounds.write_backlog_bytes = 32 << 10;
        recorded(config);
    });
    leech.fetch(&sample, seed.addr());
    leech.finish(&sample);
    let (audit, _) = Audit::of(&leech.stop_and_take_log());
    assert!(audit.reads_off > 10, "{audit:?}");
    seed.stop();
}

/// 1 GiB, in memory that does not grow with it.
pub fn gibibyte_arrives_with_equal_hash(runtime: Runtime) {
    const MOST_MEMORY: u64 = 256 << 20;
    let _turn = alone(runtime);
    in_own_process(runtime, || {
        let seed = Session::start(runtime);
        let (metainfo, hashes) = write_gibibyte(&seed.root());
        let id = seed.client.add_torrent(AddTorrent::new(metainfo.clone(), seed.root())).unwrap();
        seed.wait_until(id, |status| status.state == TorrentState::Seeding);
        let mut leech = Session::start(runtime);
        let id = leech.client.add_torrent(AddTorrent::new(metainfo, leech.root())).unwrap();
        leech.client.add_peers(id, vec![seed.addr()]).unwrap();
        leech.wait_for_torrent(|what| *what == TorrentNotice::Finished);
        assert!(hashes_of(&leech.root().join("gibibyte")) == hashes, "other hashes");
        let peak = peak_resident_bytes();
        assert!(peak < MOST_MEMORY, "{} MiB of memory", peak >> 20);
        // How long the last writes take to reach the device is not what this is about.
        fs::remove_file(leech.root().join("gibibyte")).unwrap();
        let _ = leech.client.stop(Duration::from_secs(30));
        seed.stop();
    });
}

const GIB_PIECE: u64 = 1 << 20;
const GIB_PIECES: u64 = 1024;

/// A file in which every block is another, and its torrent. The hashes are made here, not by what is
/// tested.
fn write_gibibyte(root: &Path) -> (Arc<Metainfo>, Vec<[u8; 20]>) {
    fs::create_dir_all(root).unwrap();
    let file = File::create(root.join("gibibyte")).unwrap();
    let pattern = Sample::new(GIB_PIECE as usize).data;
    let hashes = for_each_piece(|number, piece| {
        piece.copy_from_slice(&pattern);
        for (at, block) in (0_u64..).zip(piece.chunks_mut(16 << 10)) {
            block[..8].copy_from_slice(&(number << 32 | at).to_le_bytes());
        }
        file.write_all_at(piece, number * GIB_PIECE).unwrap();
    });
    let mut new = Creator::single_file("gibibyte", GIB_PIECES * GIB_PIECE);
    new.piece_length = GIB_PIECE as u32;
    (Arc::new(new.finish(&hashes.concat()).unwrap()), hashes)
}

fn hashes_of(path: &Path) -> Vec<[u8; 20]> {
    let file = File::open(path).unwrap();
    assert_eq!(file.metadata().unwrap().len(), GIB_PIECES * GIB_PIECE);
    for_each_piece(|number, piece| file.read_exact_at(piece, number * GIB_PIECE).unwrap())
}

/// The hash of each piece that `fill` makes, on two threads.
fn for_each_piece(fill: impl Fn(u64, &mut [u8]) + Sync) -> Vec<[u8; 20]> {
    let hash = |pieces: std::ops::Range<u64>| -> Vec<[u8; 20]> {
        let mut piece = vec![0; GIB_PIECE as usize];
        pieces
            .map(|number| {
                fill(number, &mut piece);
                Sha1::digest(&piece).into()
            })
            .collect()
    };
    thread::scope(|scope| {
        let half = scope.spawn(|| hash(0..GIB_PIECES / 2));
        let rest = hash(GIB_PIECES / 2..GIB_PIECES);
        [half.join().unwrap(), rest].concat()
    })
}
