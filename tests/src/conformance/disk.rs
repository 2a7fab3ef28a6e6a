//! Disks that do not do what they are asked: it is told, and when they do again, it goes on.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use bitswarm_core::TorrentNotice;
use bitswarm_core::disk::DiskErrorKind;
use bitswarm_core::torrent::TorrentState;

use super::Runtime;
use super::harness::{beside_others, where_mounting_works, without_privileges};
use super::sample::Sample;
use super::scripted::{become_unchoked, connect, fetch_block};
use super::session::Session;
use crate::interop::mount::Tmpfs;
use crate::interop::wire::Message;

/// 3 MiB of room for 8 MiB, then room for all.
pub fn full_disk_is_told_and_recovers(runtime: Runtime) {
    let _turn = beside_others();
    where_mounting_works(runtime, || {
        let sample = Sample::new(8 << 20);
        let mut seed = Session::start(runtime);
        seed.seed(&sample);
        let mut leech = Session::start(runtime);
        fs::create_dir(leech.root()).unwrap();
        let disk = Tmpfs::mount_at(leech.root(), 3 << 20).unwrap();
        let id = leech.fetch(&sample, seed.addr());
        let error = leech.wait_for_disk_failure();
        assert_eq!(error.kind, DiskErrorKind::Full, "{error}");
        assert_eq!(leech.status(id).state, TorrentState::DiskFailed);
        disk.resize(64 << 20).unwrap();
        leech.wait_for_torrent(|what| *what == TorrentNotice::DiskRecovered);
        leech.finish(&sample);
        // What was received before is not fetched again.
        let fetched = leech.status(id).downloaded_bytes;
        assert!(fetched < sample.data.len() as u64 + (1 << 20), "{fetched} bytes were fetched");
        leech.stop();
        seed.stop();
    });
}

/// A directory in which nothing may be made, and then may.
pub fn read_only_directory_is_told_and_recovers(runtime: Runtime) {
    let _turn = beside_others();
    without_privileges(runtime, || {
        let sample = Sample::new(1 << 20);
        let mut seed = Session::start(runtime);
        seed.seed(&sample);
        let mut leech = Session::start(runtime);
        fs::create_dir(leech.root()).unwrap();
        fs::set_permissions(leech.root(), Permissions::from_mode(0o555)).unwrap();
        leech.fetch(&sample, seed.addr());
        let error = leech.wait_for_disk_failure();
        assert_eq!(error.kind, DiskErrorKind::Denied, "{error}");
        fs::set_permissions(leech.root(), Permissions::from_mode(0o755)).unwrap();
        leech.wait_for_torrent(|what| *what == TorrentNotice::DiskRecovered);
        leech.finish(&sample);
        leech.stop();
        seed.stop();
    });
}

/// The file goes while it is shared; another torrent is served meanwhile, and this one again when
/// the file is back.
pub fn file_deleted_while_seeding_is_told_and_recovers(runtime: Runtime) {
    const BLOCK: u32 = 16 << 10;
    let _turn = beside_others();
    let sample = Sample::new(1 << 20);
    let other = Sample::numbered(1, 1 << 20, 64 << 10);
    // The deleted file does not live on as an open one.
    let mut seed = Session::with(runtime, |config| config.open_files = 1);
    let id = seed.seed(&sample);
    let other_id = seed.seed(&other);
    let mut peer = connect(seed.addr(), &sample);
    become_unchoked(&mut peer);
    fetch_block(&mut peer, &sample, 0, 0, BLOCK);
    let mut peer_of_other = connect(seed.addr(), &other);
    become_unchoked(&mut peer_of_other);
    fetch_block(&mut peer_of_other, &other, 0, 0, BLOCK);

    let path = seed.root().join(&sample.name);
    fs::remove_file(&path).unwrap();
    peer.send(&Message::Request(1, 0, BLOCK)).unwrap();
    let error = seed.wait_for_disk_failure();
    assert_eq!(error.kind, DiskErrorKind::NotFound, "{error}");
    assert!(!path.exists(), "it was made again, empty");
    assert_eq!(seed.status(id).state, TorrentState::DiskFailed);
    assert_eq!(seed.status(other_id).state, TorrentState::Seeding);
    fetch_block(&mut peer_of_other, &other, 1, 0, BLOCK);

    sample.write_to(&seed.root());
    seed.wait_for_torrent(|what| *what == TorrentNotice::DiskRecovered);
    let mut leech = Session::start(runtime);
    leech.fetch(&sample, seed.addr());
    leech.finish(&sample);
    leech.stop();
    seed.stop();
}
