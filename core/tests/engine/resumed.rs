//! A torrent that is whole and unchanged since an earlier session: nothing is written for it.

use bitswarm_core::disk::{DiskDone, DiskRequest, FileStat, MemoryDisk, StateName};
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::storage::resume::Resume;
use bitswarm_core::testing::{DiskResult, Environment, Loopback};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{Commands, Config, Duration, Engine, Instant, Notice, TorrentNotice, UnixTime};

const CONTENT: &[u8] = &[7; 40_000];

fn metainfo() -> Metainfo {
    let creator = Creator::single_file("file", CONTENT.len() as u64);
    creator.finish_with_content(CONTENT).expect("valid")
}

/// A disk, and what it was asked for.
struct Watched<'a> {
    disk: &'a mut MemoryDisk,
    did: Did,
}

/// What a session had done from its start to its end.
#[derive(Default)]
struct Did {
    hashed: usize,
    saved: usize,
    notices: Vec<TorrentNotice>,
}

impl Environment for Watched<'_> {
    fn disk(&mut self, request: DiskRequest) -> Option<DiskResult> {
        self.did.hashed += usize::from(matches!(request, DiskRequest::Verify(_)));
        self.did.saved += usize::from(matches!(request, DiskRequest::Save { .. }));
        Some(self.disk.perform(request))
    }
}

fn start(disk: &mut MemoryDisk, wall: UnixTime, add: AddTorrent) -> Loopback<Watched<'_>> {
    let mut engine = Engine::new(Config::default(), [1; 32], Instant::ZERO, wall);
    engine.add_torrent(Instant::ZERO, add).expect("new");
    Loopback::alone(engine, Watched { disk, did: Did::default() })
}

/// A session in which nobody comes, until the torrent is saved.
fn session(disk: &mut MemoryDisk) -> Did {
    session_at(disk, UnixTime(1))
}

fn session_at(disk: &mut MemoryDisk, wall: UnixTime) -> Did {
    let add = AddTorrent::new(metainfo(), "/data");
    // Whatever is there may be made what it should be.
    let mut net = start(disk, wall, AddTorrent { overwrite: true, ..add });
    let limit = Duration::from_secs(60);
    assert!(net.run_until(limit, |net| net.nodes[0].has_noticed(&TorrentNotice::Saved)));
    let now = net.now;
    net.nodes[0].engine.stop(now);
    assert!(net.run_until(limit, |net| net.nodes[0].notices.contains(&Notice::Stopped)));
    let notices = net.nodes[0].torrent_notices().cloned().collect();
    Did { notices, ..std::mem::take(&mut net.nodes[0].env.did) }
}

#[test]
fn whole_torrent_that_is_resumed_unchanged_is_saved_already() {
    let mut disk = MemoryDisk::new();
    disk.insert("/data/file", CONTENT);
    let first = session(&mut disk);
    assert!(first.hashed > 0 && first.saved > 0);
    let second = session(&mut disk);
    assert_eq!((second.hashed, second.saved), (0, 0));
    let both = [TorrentNotice::Finished, TorrentNotice::Saved];
    assert!(both.iter().all(|notice| second.notices.contains(notice)), "{:?}", second.notices);
    // What is on disk still says the same.
    let third = session(&mut disk);
    assert_eq!((third.hashed, third.saved), (0, 0));
}

#[test]
fn changed_torrent_is_hashed_and_saved_again() {
    let mut disk = MemoryDisk::new();
    disk.insert("/data/file", CONTENT);
    session(&mut disk);
    disk.insert("/data/file", [CONTENT, b"x"].concat());
    let again = session(&mut disk);
    assert!(again.hashed > 0 && again.saved > 0, "the file is longer than it was");
    assert_eq!(disk.file("/data/file"), Some(CONTENT), "and is not any more");
}

#[test]
fn what_was_saved_in_the_future_is_hashed() {
    let mut disk = MemoryDisk::new();
    disk.insert("/data/file", CONTENT);
    session_at(&mut disk, UnixTime(1_000_000));
    assert!(session_at(&mut disk, UnixTime(1)).hashed > 0);
    // What this one has saved is of its own time.
    assert_eq!(session_at(&mut disk, UnixTime(1)).hashed, 0);
}

/// Forged resume data: everything is there, and the file is as short as it is.
#[test]
fn pieces_that_lie_beyond_the_end_of_their_file_are_not_believed() {
    let mut disk = MemoryDisk::new();
    disk.insert("/data/file", CONTENT);
    session(&mut disk);
    let infohash = metainfo().infohash();
    let name = StateName::Resume(infohash);
    let Ok(DiskDone::Loaded(Some(kept))) = disk.perform(DiskRequest::Load { name }) else {
        panic!("it was saved");
    };
    let resume = Resume::decode(&kept, infohash).expect("valid");
    let short = FileStat { length: 100, ..resume.files[0].expect("it is there") };
    disk.insert("/data/file", &CONTENT[..100]);
    let forged = Resume { files: vec![Some(short)], ..resume };
    let data = forged.encode(infohash);
    disk.perform(DiskRequest::Save { name, data }).expect("saved");
    let mut net = start(&mut disk, UnixTime(1), AddTorrent::new(metainfo(), "/data"));
    net.settle();
    let engine = net.nodes[0].engine.engine();
    let id = engine.torrents().next().expect("it is there");
    let status = engine.status(Instant::ZERO, id).expect("it is there");
    assert_eq!(status.pieces_have, 0, "{status:?}");
}
