//! A torrent that is whole and unchanged since an earlier session: nothing is written for it.

use bitswarm_core::disk::{DiskDone, DiskRequest, FileStat, MemoryDisk, StateName};
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::storage::resume::Resume;
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{
    Action, Commands, Config, Engine, Event, Instant, Notice, TorrentNotice, UnixTime,
};

const CONTENT: &[u8] = &[7; 40_000];

fn metainfo() -> Metainfo {
    let creator = Creator::single_file("file", CONTENT.len() as u64);
    creator.finish_with_content(CONTENT).expect("valid")
}

/// What a session did from its start to its end.
#[derive(Default)]
struct Did {
    hashed: usize,
    saved: usize,
    told: Vec<TorrentNotice>,
    stopped: bool,
}

/// A session in which nobody comes, until the torrent is saved.
fn session(disk: &mut MemoryDisk) -> Did {
    session_at(disk, UnixTime(1))
}

fn session_at(disk: &mut MemoryDisk, wall: UnixTime) -> Did {
    let mut engine = Engine::new(Config::default(), [1; 32], Instant::ZERO, wall);
    let add = AddTorrent::new(metainfo(), "/data");
    // Whatever is there may be made what it should be.
    let add = AddTorrent { overwrite: true, ..add };
    engine.add_torrent(Instant::ZERO, add).expect("new");
    let mut did = Did::default();
    let mut now = Instant::ZERO;
    while !did.stopped {
        perform(&mut engine, disk, now, &mut did);
        if did.told.contains(&TorrentNotice::Saved) {
            engine.stop(now);
        } else {
            now = engine.poll_timeout().expect("it is to be saved");
            engine.handle(now, Event::Timeout);
        }
        perform(&mut engine, disk, now, &mut did);
    }
    did
}

fn perform(engine: &mut Engine, disk: &mut MemoryDisk, now: Instant, did: &mut Did) {
    while let Some(action) = engine.poll_action() {
        match action {
            Action::Bind { socket, spec } => {
                engine.handle(now, Event::Bound { socket, result: Ok(spec.addr) });
            }
            Action::Disk { op, request } => {
                did.hashed += usize::from(matches!(request, DiskRequest::Verify(_)));
                did.saved += usize::from(matches!(request, DiskRequest::Save { .. }));
                let result = disk.perform(request);
                engine.handle(now, Event::Disk { op, result });
            }
            Action::Notify(notice) => match *notice {
                Notice::Torrent { what, .. } => did.told.push(what),
                Notice::Stopped => did.stopped = true,
                _ => {}
            },
            _ => {}
        }
    }
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
    assert!(both.iter().all(|notice| second.told.contains(notice)), "{:?}", second.told);
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
    let mut engine = Engine::new(Config::default(), [1; 32], Instant::ZERO, UnixTime(1));
    let id = engine.add_torrent(Instant::ZERO, AddTorrent::new(metainfo(), "/data")).expect("new");
    perform(&mut engine, &mut disk, Instant::ZERO, &mut Did::default());
    let status = engine.status(Instant::ZERO, id).expect("it is there");
    assert_eq!(status.pieces_have, 0, "{status:?}");
}
