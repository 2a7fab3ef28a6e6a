//! Disks that are full, slow, or fail.

use bitswarm_core::notice::TorrentNotice;
use bitswarm_core::time::Duration;
use bitswarm_core::torrent::TorrentState;
use bitswarm_tests::sim::content::Content;
use bitswarm_tests::sim::network::Link;
use bitswarm_tests::sim::scripted::peer::{Behaviour, Corrupt};
use bitswarm_tests::sim::world::World;

use super::scene::{MIB, Scene, home};

#[test]
fn a_full_disk_stops_the_download_visibly_and_space_lets_it_go_on() {
    let mut scene = Scene::new(1, 2 * MIB);
    let seeder = scene.seeder(home());
    let peers = scene.addrs(&[seeder]);
    let leecher = scene.leecher(home(), &peers);
    scene.world.engine_host_mut(leecher).disk.faults.capacity = Some(700_000);
    let deadline = scene.world.now() + Duration::from_secs(60);
    let failed = |world: &World| {
        world.notices(leecher).any(|notice| matches!(notice, TorrentNotice::DiskFailed { .. }))
    };
    scene.world.run_until(deadline, failed).unwrap_or_else(|failure| panic!("{failure}"));
    scene.run(Duration::from_secs(30));
    let status = scene.world.status(leecher).expect("it runs");
    assert_eq!(status.state, TorrentState::DiskFailed);
    let downloaded = status.downloaded_bytes;
    scene.run(Duration::from_secs(120));
    let later = scene.world.status(leecher).expect("it runs").downloaded_bytes;
    assert!(later - downloaded <= MIB / 4, "fetched {} bytes for nothing", later - downloaded);
    scene.world.engine_host_mut(leecher).disk.faults.capacity = None;
    scene.finish(leecher, 300);
    assert!(scene.saw(leecher, |notice| *notice == TorrentNotice::DiskRecovered));
    assert!(scene.banned(leecher).is_empty());
}

#[test]
fn a_disk_that_fails_now_and_then_delays_but_does_not_corrupt() {
    for seed in 0..4 {
        let mut scene = Scene::new(seed, 2 * MIB);
        let seeder = scene.seeder(home());
        let peers = scene.addrs(&[seeder]);
        let leecher = scene.leecher(home(), &peers);
        let faults = &mut scene.world.engine_host_mut(leecher).disk.faults;
        faults.write_error_per_mille = 50;
        faults.sync_error_per_mille = 100;
        faults.save_error_per_mille = 100;
        scene.run(Duration::from_secs(1));
        scene.world.engine_host_mut(seeder).disk.faults.read_error_per_mille = 20;
        scene.finish(leecher, 1800);
        assert!(scene.banned(leecher).is_empty(), "seed {seed}");
    }
}

#[test]
fn a_torrent_of_one_piece_completes_among_slow_peers_that_corrupt() {
    for seed in 0..20 {
        let content = Content::single(seed, "one", 200_000, 256 << 10);
        let mut scene = Scene { world: World::new(seed), content, seed };
        let slow = Link::home(8_000, 100_000);
        let corrupt = Behaviour { corrupt: Corrupt::PerMille(500), ..Behaviour::seeder() };
        let hosts = [
            scene.seeder(slow),
            scene.peer("corrupt 0", slow, corrupt.clone()),
            scene.peer("corrupt 1", slow, corrupt.clone()),
            scene.peer("corrupt 2", slow, corrupt),
        ];
        let peers = scene.addrs(&hosts);
        let leecher = scene.leecher(home(), &peers);
        scene.finish(leecher, 3600);
        let honest = scene.world.addr(hosts[0]).ip();
        assert!(!scene.banned(leecher).contains(&honest));
    }
}

#[test]
fn a_disk_that_fails_often_is_never_asked_to_write_nothing() {
    for seed in 0..10 {
        let content = Content::single(seed, "often", MIB, 16 << 10);
        let mut scene = Scene { world: World::new(seed), content, seed };
        let seeders = [scene.seeder(Link::default()), scene.seeder(Link::default())];
        let peers = scene.addrs(&seeders);
        let leecher = scene.leecher(Link::default(), &peers);
        let disk = &mut scene.world.engine_host_mut(leecher).disk;
        disk.faults.write_error_per_mille = 200;
        disk.speed.spread = Duration::from_millis(500);
        scene.finish(leecher, 3600);
    }
}

#[test]
fn a_slow_disk_holds_the_peers_back_instead_of_filling_memory() {
    let mut scene = Scene::new(1, 12 * MIB);
    let seeder = scene.seeder(Link::default());
    let peers = scene.addrs(&[seeder]);
    let leecher = scene.world.add_engine("leecher", Link::default(), |config| {
        config.bounds.write_backlog_bytes = 1 << 20;
        config.bounds.assembly_bytes = 1 << 20;
    });
    scene.world.engine_host_mut(leecher).disk.speed.bytes_per_s = Some(1 << 20);
    scene.world.add_torrent(leecher, &scene.content, |add| add.peers = peers);
    scene.run(Duration::from_secs(3));
    let status = scene.world.status(leecher).expect("it runs");
    // Written in three seconds, the bounds, what is on its way, and requests outstanding.
    assert!(status.downloaded_bytes < 9 * MIB, "took {} bytes", status.downloaded_bytes);
    scene.finish(leecher, 60);
}

#[test]
fn a_file_that_cannot_be_written_delays_the_download_and_no_other_harm_is_done() {
    let mut scene = Scene::new(2, MIB);
    let seeder = scene.seeder(home());
    let peers = scene.addrs(&[seeder]);
    let leecher = scene.leecher(home(), &peers);
    let path = scene.content.paths("/data".as_ref())[0].0.clone();
    scene.world.engine_host_mut(leecher).disk.faults.broken.insert(path);
    scene.run(Duration::from_secs(60));
    assert_eq!(scene.world.status(leecher).expect("it runs").state, TorrentState::DiskFailed);
    scene.world.engine_host_mut(leecher).disk.faults.broken.clear();
    scene.finish(leecher, 120);
    assert!(scene.banned(leecher).is_empty());
}

/// Found by seed 362: when writing worked again, nobody tried whether reading did.
#[test]
fn a_disk_that_failed_both_ways_is_tried_both_ways() {
    let mut scene = Scene::new(3, 4 * MIB);
    let seeder = scene.seeder(Link::home(300_000, 300_000));
    let peers = scene.addrs(&[seeder]);
    let first = scene.leecher(home(), &peers);
    scene.run(Duration::from_secs(6));
    let peers = scene.addrs(&[first]);
    let second = scene.leecher(home(), &peers);
    scene.run(Duration::from_secs(1));
    let faults = &mut scene.world.engine_host_mut(first).disk.faults;
    (faults.read_error_per_mille, faults.write_error_per_mille) = (1000, 1000);
    scene.run(Duration::from_secs(20));
    let faults = &mut scene.world.engine_host_mut(first).disk.faults;
    (faults.read_error_per_mille, faults.write_error_per_mille) = (0, 0);
    scene.finish(first, 120);
    scene.finish(second, 120);
}
