//! Disks on which others write: what is not the torrent's stays, and what rots is found when it is
//! looked for.

use bitswarm_core::Commands;
use bitswarm_core::disk::DiskErrorKind;
use bitswarm_core::notice::TorrentNotice;
use bitswarm_core::time::Duration;
use bitswarm_core::torrent::TorrentState;
use bitswarm_tests::sim::network::Death;
use bitswarm_tests::sim::world::World;

use super::scene::{MIB, Scene, home};

fn is_refused(notice: &TorrentNotice) -> bool {
    matches!(notice, TorrentNotice::DiskFailed { error } if error.kind == DiskErrorKind::Foreign)
}

#[test]
fn a_foreign_file_survives_and_nothing_is_begun_until_it_is_gone() {
    for index in 0..3 {
        let mut scene = Scene::new(index, MIB);
        let seeder = scene.seeder(home());
        let peers = scene.addrs(&[seeder]);
        let leecher = scene.world.add_engine("leecher", home(), |_| {});
        let paths = scene.content.paths("/data".as_ref());
        let path = paths[index as usize].0.clone();
        scene.world.engine_host_mut(leecher).disk.plant(&path, b"my thesis".to_vec());
        let content = scene.content.clone();
        let id = scene.world.add_torrent(leecher, &content, |add| add.peers = peers);
        scene.run(Duration::from_secs(60));
        let disk = &scene.world.engine_host(leecher).disk;
        // A file of no length is asked for as one: nine bytes are too many.
        assert_eq!(disk.content(&path), Some(&b"my thesis"[..]), "{}", path.display());
        assert_eq!(disk.paths().count(), 1, "something else was made");
        assert!(scene.saw(leecher, is_refused));
        assert_eq!(scene.world.status(leecher).expect("there").downloaded_bytes, 0);
        scene.world.engine_host_mut(leecher).disk.remove(&path);
        scene.world.call(leecher, "resume", |engine, now| engine.resume(now, id)).expect("there");
        scene.finish(leecher, 120);
    }
}

#[test]
fn a_file_that_comes_between_the_look_and_the_writing_survives() {
    let mut scene = Scene::new(5, MIB);
    let seeder = scene.seeder(home());
    let peers = scene.addrs(&[seeder]);
    let leecher = scene.leecher(home(), &peers);
    let path = scene.content.paths("/data".as_ref())[2].0.clone();
    // Until it has looked, and not longer.
    while scene.world.engine_host(leecher).disk.open_stores() == 0 {
        scene.world.step();
    }
    let now = scene.world.now();
    scene.world.engine_host_mut(leecher).disk.tamper(now, &path, 0, b"my thesis");
    scene.run(Duration::from_secs(60));
    let disk = &scene.world.engine_host(leecher).disk;
    assert_eq!(disk.content(&path), Some(&b"my thesis"[..]));
    assert!(scene.saw(leecher, is_refused));
}

#[test]
fn a_bit_that_rots_unseen_is_found_when_everything_is_hashed() {
    for recheck in [false, true] {
        let mut scene = Scene::new(6, MIB);
        let seeder = scene.seeder(home());
        let peers = scene.addrs(&[seeder]);
        let leecher = scene.world.add_engine("leecher", home(), |_| {});
        let content = scene.content.clone();
        scene.world.add_torrent(leecher, &content, |add| {
            (add.peers, add.recheck) = (peers, recheck);
        });
        scene.finish(leecher, 60);
        scene.run(Duration::from_secs(60));
        scene.world.crash(leecher, Death::Process);
        let path = scene.content.paths("/data".as_ref())[2].0.clone();
        let host = scene.world.engine_host_mut(leecher);
        host.disk.rot(&path, 1000);
        host.checker_mut().distrust_disk();
        let before = scene.world.notices(leecher).count();
        scene.world.restart(leecher);
        scene.run(Duration::from_secs(60));
        assert_eq!(scene.world.has_all_bytes(leecher), recheck);
        let found = scene.world.notices(leecher).skip(before).find_map(|notice| match notice {
            TorrentNotice::Checked { have, pieces, .. } => Some(pieces - have),
            _ => None,
        });
        assert_eq!(found, Some(u32::from(recheck)), "pieces that are wrong");
        assert!(!scene.saw(leecher, is_refused), "it is ours");
    }
}

#[test]
fn a_change_during_the_download_is_found_before_it_is_said_to_be_complete() {
    let mut scene = Scene::new(7, 4 * MIB);
    let seeder = scene.seeder(home());
    let peers = scene.addrs(&[seeder]);
    let leecher = scene.leecher(home(), &peers);
    let path = scene.content.paths("/data".as_ref())[0].0.clone();
    // The first file is whole before the whole torrent is: then somebody writes to it.
    let first_len = scene.content.paths("/data".as_ref())[0].1;
    let is_whole = |world: &World| {
        let status = world.status(leecher).expect("it runs");
        status.pieces_have * 10 > status.pieces * 9
    };
    let deadline = scene.world.now() + Duration::from_secs(60);
    scene.world.run_until(deadline, is_whole).unwrap_or_else(|failure| panic!("{failure}"));
    scene.run(Duration::from_millis(200));
    let now = scene.world.now();
    let host = scene.world.engine_host_mut(leecher);
    host.checker_mut().distrust_disk();
    host.disk.tamper(now, &path, first_len as usize, b"appended");
    let saved = |world: &World| world.notices(leecher).any(|n| *n == TorrentNotice::Saved);
    let deadline = scene.world.now() + Duration::from_secs(120);
    scene.world.run_until(deadline, saved).unwrap_or_else(|failure| panic!("{failure}"));
    let disk = &scene.world.engine_host(leecher).disk;
    assert_eq!(disk.content(&path).map(<[u8]>::len), Some(first_len as usize));
    assert_eq!(scene.world.status(leecher).expect("it runs").state, TorrentState::Seeding);
    assert!(scene.world.has_all_bytes(leecher));
}
