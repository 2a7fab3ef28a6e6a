//! The end of a session leaves nothing behind.

use std::path::Path;

use bitswarm_core::Commands;
use bitswarm_core::record::Recorder;
use bitswarm_core::time::{Duration, Instant};
use bitswarm_tests::sim::content::{Content, announce_url};
use bitswarm_tests::sim::network::Death;
use bitswarm_tests::sim::scripted::tracker::{Answer, TRACKER_PORT, Tracker};
use bitswarm_tests::sim::world::World;

use super::scene::{MIB, Scene, home};

#[test]
fn a_stop_in_the_middle_leaves_nothing_behind_and_the_next_start_goes_on() {
    for seed in 0..6 {
        let mut scene = Scene::new(seed, 2 * MIB);
        let tracker = Tracker::new(Answer::Swarm(60));
        let tracker = scene.world.add_script("tracker", home(), Box::new(tracker));
        let url = announce_url((scene.world.addr(tracker).ip(), TRACKER_PORT).into());
        let seeder = scene.world.add_engine("seeder", home(), |_| {});
        scene.world.plant(seeder, &scene.content);
        let trackers = vec![url];
        scene.world.add_torrent(seeder, &scene.content, |add| add.trackers = trackers.clone());
        let leecher = scene.world.add_engine("leecher", home(), |_| {});
        scene.world.add_torrent(leecher, &scene.content, |add| add.trackers = trackers);
        scene.run(Duration::from_millis(1000 + seed * 900));
        let stop_at = scene.world.now();
        scene.world.call(leecher, "stop", Recorder::stop);
        let deadline = stop_at + Duration::from_secs(1);
        let stopped = |world: &World| world.has_stopped(leecher);
        scene.world.run_until(deadline, stopped).unwrap_or_else(|failure| panic!("{failure}"));
        scene.run(Duration::from_secs(10));
        let left = scene.world.engine_host(leecher).leftovers();
        assert!(left.is_empty(), "seed {seed}: left behind: {left:?}");
        scene.world.crash(leecher, Death::Power);
        scene.world.restart(leecher);
        scene.finish(leecher, 240);
    }
}

#[test]
fn a_disk_that_cannot_be_read_while_checking_is_read_again_later() {
    let mut scene = Scene::new(1, MIB);
    let seeder = scene.world.add_engine("seeder", home(), |_| {});
    scene.world.plant(seeder, &scene.content);
    scene.world.engine_host_mut(seeder).disk.faults.read_error_per_mille = 500;
    scene.world.add_torrent(seeder, &scene.content, |_| {});
    scene.run(Duration::from_secs(5));
    scene.world.engine_host_mut(seeder).disk.faults.read_error_per_mille = 0;
    let deadline = scene.world.now() + Duration::from_secs(600);
    let complete = |world: &World| world.is_complete(seeder);
    scene.world.run_until(deadline, complete).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn the_last_save_of_a_stop_counts_what_was_being_written() {
    let content = Content::single(1, "slow disk", 4 * MIB, 64 << 10);
    let mut scene = Scene { world: World::new(1), content, seed: 1 };
    let seeder = scene.seeder(home());
    let peers = scene.addrs(&[seeder]);
    let leecher = scene.leecher(home(), &peers);
    scene.world.engine_host_mut(leecher).disk.speed.latency = Duration::from_millis(300);
    let under_way = |world: &World| {
        let had = world.status(leecher).is_some_and(|status| status.pieces_have > 2);
        had && world.engine_host(leecher).disk.requests_under_way() > 0
    };
    let deadline = Instant::from_secs(60);
    scene.world.run_until(deadline, under_way).unwrap_or_else(|failure| panic!("{failure}"));
    scene.world.call(leecher, "stop", Recorder::stop);
    let stopped = |world: &World| world.has_stopped(leecher);
    scene.world.run_until(deadline, stopped).unwrap_or_else(|failure| panic!("{failure}"));

    let disk = &scene.world.engine_host(leecher).disk;
    let right = |piece: &u32| scene.content.piece_on_disk(disk, Path::new("/data"), *piece);
    let pieces = (0..scene.content.pieces()).filter(right).count();
    scene.world.crash(seeder, Death::Power);
    scene.world.crash(leecher, Death::Process);
    scene.world.restart(leecher);
    scene.run(Duration::from_secs(3));
    let status = scene.world.status(leecher).expect("it is there again");
    assert_eq!(status.pieces_have as usize, pieces);
}

#[test]
fn an_engine_that_is_told_of_itself_does_not_come_back_to_itself() {
    let mut scene = Scene::new(1, MIB);
    let alone = scene.leecher(home(), &[]);
    let own = scene.addrs(&[alone]);
    let id = scene.world.torrent_id(alone);
    let added = scene.world.call(alone, "add_peers", |engine, now| engine.add_peers(now, id, &own));
    assert!(added.is_ok());
    scene.run(Duration::from_secs(5));
    let status = scene.world.status(alone).expect("it runs");
    assert_eq!((status.known_peers, status.peers), (0, 0));
}
