//! While the disk is behind, nothing more is read from peers. What counts is what is held: the padding
//! between files of v2 is not (BEP 52).

use std::net::SocketAddr;

use bitswarm_core::disk::DiskRequest;
use bitswarm_core::metainfo::create::{Creator, NewFile, Protocol};
use bitswarm_core::testing::{DiskResult, Environment, Loopback, NoFiles};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{Commands, Config, Engine, Instant, UnixTime};

const PIECE: u32 = 1 << 17;
const FILE: usize = 9;
/// Bytes that may be at the disk.
const BACKLOG: usize = 20;

/// A disk that does not come to write.
#[derive(Default)]
struct SlowDisk {
    writes: usize,
}

impl Environment for SlowDisk {
    fn disk(&mut self, request: DiskRequest) -> Option<DiskResult> {
        if matches!(request, DiskRequest::Write(_)) {
            self.writes += 1;
            return None;
        }
        NoFiles.disk(request)
    }
}

/// Pieces of a file of 9 bytes each, with padding up to 128 KiB after it.
#[test]
fn padding_does_not_count_as_bytes_that_wait_for_the_disk() {
    let mut config = Config::default();
    config.bounds.write_backlog_bytes = BACKLOG;
    let engine = Engine::new(config, [1; 32], Instant::ZERO, UnixTime(1));
    let mut host = Loopback::alone(engine, SlowDisk::default());
    let files = ["a", "b", "c", "d"].map(|name| NewFile::new([name], FILE as u64));
    let mut creator = Creator::folder("t", files).with_protocol(Protocol::V2);
    creator.piece_length = PIECE;
    let metainfo = creator.finish_with_content(&[7; 4 * FILE]).expect("valid");
    let infohash = metainfo.infohash();
    let mut add = AddTorrent::new(metainfo, "/data");
    add.peers = vec![SocketAddr::from(([50, 0, 0, 1], 1))];
    host.nodes[0].engine.add_torrent(Instant::ZERO, add).expect("new");
    host.settle();
    let peer = host.nodes[0].dialled.first().expect("dialled").0;
    host.connected(0, peer);
    let mut says = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec();
    says.extend(infohash.0);
    says.extend([b'p'; 20]);
    says.extend([0, 0, 0, 2, 5, 0b1111_0000]);
    says.extend([0, 0, 0, 1, 1]);
    host.receive(0, peer, &says);
    host.sent(0, peer);
    for piece in 0..3_u8 {
        assert!(host.nodes[0].reads(peer), "after {} bytes", host.nodes[0].env.writes * FILE);
        let mut block = vec![0, 0, 0, 9 + FILE as u8, 7, 0, 0, 0, piece, 0, 0, 0, 0];
        block.extend([7; FILE]);
        host.receive(0, peer, &block);
        host.settle();
        assert_eq!(host.nodes[0].env.writes, usize::from(piece) + 1);
    }
    assert!(!host.nodes[0].reads(peer), "27 bytes wait, and 20 may");
}
