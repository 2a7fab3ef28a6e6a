//! Files of others, and changes behind the session's back: no runtime writes what is not the torrent's,
//! and each tells a change by what no program can set.

use std::fs::{self, File};

use bitswarm_core::TorrentNotice;
use bitswarm_core::disk::DiskErrorKind;
use bitswarm_core::torrent::{AddTorrent, TorrentState};

use super::Runtime;
use super::harness::beside_others;
use super::sample::Sample;
use super::session::Session;

/// Nothing is begun; out of the way, it is.
pub fn file_of_somebody_else_is_refused_and_never_written(runtime: Runtime) {
    let _turn = beside_others();
    let sample = Sample::new(1 << 20);
    let mut seed = Session::start(runtime);
    seed.seed(&sample);
    let foreign: [Vec<u8>; 4] =
        [b"my thesis".to_vec(), vec![7; 2 << 20], vec![0; 1 << 20], Vec::new()];
    for data in foreign {
        let mut leech = Session::start(runtime);
        fs::create_dir(leech.root()).unwrap();
        let path = leech.root().join(&sample.name);
        fs::write(&path, &data).unwrap();
        let id = leech.fetch(&sample, seed.addr());
        let error = leech.wait_for_disk_failure();
        assert_eq!((error.kind, &error.path), (DiskErrorKind::Foreign, &path), "{error}");
        assert_eq!(leech.status(id).state, TorrentState::DiskFailed);
        assert_eq!(fs::read(&path).unwrap(), data);
        fs::remove_file(&path).unwrap();
        leech.client.resume(id).unwrap();
        leech.finish(&sample);
        leech.stop();
    }
    let mut leech = Session::start(runtime);
    fs::create_dir(leech.root()).unwrap();
    fs::write(leech.root().join(&sample.name), vec![7; 2 << 20]).unwrap();
    let add = AddTorrent::new(sample.metainfo.clone(), leech.root());
    let id = leech.client.add_torrent(AddTorrent { overwrite: true, ..add }).unwrap();
    leech.client.add_peers(id, vec![seed.addr()]).unwrap();
    leech.finish(&sample);
    leech.stop();
    seed.stop();
}

/// A file that has another name is somebody's backup.
pub fn linked_file_is_refused(runtime: Runtime) {
    let _turn = beside_others();
    let sample = Sample::new(1 << 20);
    let mut leech = Session::start(runtime);
    fs::create_dir(leech.root()).unwrap();
    let (path, backup) = (leech.root().join(&sample.name), leech.root().join("backup"));
    // It would pass for a partial download, of two pieces.
    let mut part = sample.data.to_vec();
    part[128 << 10..].fill(0);
    fs::write(&backup, &part).unwrap();
    fs::hard_link(&backup, &path).unwrap();
    let id = leech.add(&sample);
    let error = leech.wait_for_disk_failure();
    assert_eq!(error.kind, DiskErrorKind::Foreign, "{error}");
    assert_eq!(fs::read(&backup).unwrap(), part);
    fs::remove_file(&backup).unwrap();
    leech.client.resume(id).unwrap();
    leech.wait_until(id, |status| status.state == TorrentState::Downloading);
    leech.stop();
}

/// One byte, and the time of modification set back.
pub fn change_that_keeps_size_and_time_is_found_and_repaired(runtime: Runtime) {
    let _turn = beside_others();
    let sample = Sample::new(1 << 20);
    let mut seed = Session::start(runtime);
    seed.seed(&sample);
    let mut leech = Session::start(runtime);
    leech.fetch(&sample, seed.addr());
    leech.finish(&sample);
    leech.wait_for_torrent(|what| *what == TorrentNotice::Saved);
    let dir = leech.stop();
    let path = dir.path().join("files").join(&sample.name);
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let mut data = fs::read(&path).unwrap();
    data[70_000] ^= 1;
    fs::write(&path, data).unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let mut leech = Session::start_in(runtime, dir, |_| {});
    leech.fetch(&sample, seed.addr());
    let checked = leech.wait_for_torrent(|what| matches!(what, TorrentNotice::Checked { .. }));
    assert_eq!(checked, TorrentNotice::Checked { have: 15, pieces: 16, from_resume: false });
    leech.finish(&sample);
    leech.stop();
    seed.stop();
}
