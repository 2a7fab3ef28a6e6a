//! While the disk is behind, nothing more is read from peers. What counts is what is held: the padding
//! between files of v2 is not (BEP 52).

use std::net::SocketAddr;

use bitswarm_core::disk::{DiskDone, DiskRequest};
use bitswarm_core::metainfo::create::{Creator, NewFile, Protocol};
use bitswarm_core::segments::Segments;
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{Action, Config, ConnId, Engine, Event, Instant, UnixTime};

const PIECE: u32 = 1 << 17;
const FILE: usize = 9;
/// Bytes that may be at the disk.
const BACKLOG: usize = 20;

/// An engine that downloads small files, with a disk that does not come to write.
struct Scene {
    engine: Engine,
    peer: Option<ConnId>,
    reads: bool,
    writes: usize,
}

impl Scene {
    fn run(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Connect { conn, .. } => self.peer = Some(conn),
                Action::Read { on, .. } => self.reads = on,
                Action::Disk { request: DiskRequest::Write(_), .. } => self.writes += 1,
                Action::Disk { op, request } => {
                    let done = match request {
                        DiskRequest::Load { .. } => DiskDone::Loaded(None),
                        DiskRequest::Open { spec, .. } => {
                            DiskDone::Files(vec![None; spec.files.len()])
                        }
                        _ => DiskDone::Done,
                    };
                    self.engine.handle(Instant::ZERO, Event::Disk { op, result: Ok(done) });
                }
                _ => {}
            }
        }
    }

    fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        self.engine.handle(Instant::ZERO, Event::Received { conn, data: bytes.into() });
        self.run();
    }
}

/// Pieces of a file of 9 bytes each, with padding up to 128 KiB after it.
#[test]
fn padding_does_not_count_as_bytes_that_wait_for_the_disk() {
    let mut config = Config::default();
    config.bounds.write_backlog_bytes = BACKLOG;
    let engine = Engine::new(config, [1; 32], Instant::ZERO, UnixTime(1));
    let mut scene = Scene { engine, peer: None, reads: true, writes: 0 };
    let files = ["a", "b", "c", "d"].map(|name| NewFile::new([name], FILE as u64));
    let mut creator = Creator::folder("t", files).with_protocol(Protocol::V2);
    creator.piece_length = PIECE;
    let metainfo = creator.finish_with_content(&[7; 4 * FILE]).expect("valid");
    let infohash = metainfo.infohash();
    let mut add = AddTorrent::new(metainfo, "/data");
    add.peers = vec![SocketAddr::from(([50, 0, 0, 1], 1))];
    scene.engine.add_torrent(Instant::ZERO, add).expect("new");
    scene.run();
    let peer = scene.peer.expect("dialled");
    let local = SocketAddr::from(([50, 0, 0, 9], 9));
    scene.engine.handle(Instant::ZERO, Event::Connected { conn: peer, local });
    let mut says = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec();
    says.extend(infohash.0);
    says.extend([b'p'; 20]);
    says.extend([0, 0, 0, 2, 5, 0b1111_0000]);
    says.extend([0, 0, 0, 1, 1]);
    scene.receive(peer, &says);
    scene.engine.gather(Instant::ZERO, peer, usize::MAX / 2, &mut Segments::default());
    for piece in 0..3_u8 {
        assert!(scene.reads, "after {} bytes", scene.writes * FILE);
        let mut block = vec![0, 0, 0, 9 + FILE as u8, 7, 0, 0, 0, piece, 0, 0, 0, 0];
        block.extend([7; FILE]);
        scene.receive(peer, &block);
        assert_eq!(scene.writes, usize::from(piece) + 1);
    }
    assert!(!scene.reads, "27 bytes wait, and 20 may");
}
