//! What is asked of peers, how often, and what is taken back. That nobody is asked for what it owes,
//! and that what came from elsewhere is cancelled, is judged by the world at every step.

use bitswarm_core::time::Duration;
use bitswarm_tests::sim::content::Content;
use bitswarm_tests::sim::network::Link;
use bitswarm_tests::sim::scripted::hostile::Hostile;
use bitswarm_tests::sim::scripted::peer::{Behaviour, Peer};
use bitswarm_tests::sim::world::World;

use super::scene::{MIB, Scene, home};

/// Found by seeds 2541, 21555 and 25404: with a part of a piece the requests for the rest of it were
/// forgotten, and peers were asked for what they owed.
#[test]
fn a_disk_that_loses_a_part_of_a_piece_has_nobody_asked_for_what_is_on_its_way() {
    for seed in 0..10 {
        let content = Content::single(seed, "parts", 2 * MIB, 512 << 10);
        let mut scene = Scene { world: World::new(seed), content, seed };
        let slow = Link::home(60_000, 60_000);
        let seeders = [scene.seeder(slow), scene.seeder(slow)];
        let peers = scene.addrs(&seeders);
        let leecher = scene.world.add_engine("leecher", home(), |config| {
            config.bounds.assembly_bytes = 64 << 10;
        });
        let faults = &mut scene.world.engine_host_mut(leecher).disk.faults;
        faults.write_error_per_mille = 200;
        scene.world.add_torrent(leecher, &scene.content.clone(), |add| add.peers = peers);
        scene.run(Duration::from_secs(60));
        scene.world.engine_host_mut(leecher).disk.faults.write_error_per_mille = 0;
        scene.finish(leecher, 600);
    }
}

/// Found by seeds 2374 and 9199: only in the end game was it known who else owes a block.
#[test]
fn a_block_that_one_peer_is_late_with_and_another_sends_is_cancelled_at_the_first() {
    for fast in [false, true] {
        let mut scene = Scene::new(2, 2 * MIB);
        let stalls = Behaviour { stall_after: Some(10), fast, ..Behaviour::seeder() };
        let stalls = scene.peer("stalls", home(), stalls);
        let good = scene.peer("good", Link::home(60_000, 60_000), Behaviour::seeder());
        let peers = scene.addrs(&[stalls, good]);
        let leecher = scene.leecher(home(), &peers);
        scene.finish(leecher, 240);
        let counts = scene.world.script::<Peer>(stalls).counts();
        assert!(counts.cancels > 0, "{counts:?}");
    }
}

/// A block takes half a minute: many are late, none is forgotten.
#[test]
fn a_super_slow_seeder_is_asked_for_each_block_once() {
    let mut scene = Scene::new(8, MIB / 4);
    let seeder = scene.peer("slow", Link::home(500, 500), Behaviour::seeder());
    let peers = scene.addrs(&[seeder]);
    let leecher = scene.leecher(home(), &peers);
    // 256 KiB at 500 bytes a second are just under nine minutes.
    scene.finish(leecher, 570);
    let blocks: u32 = (0..scene.content.pieces()).map(|piece| scene.content.blocks_of(piece)).sum();
    let asked = scene.world.script::<Peer>(seeder).counts().requests;
    assert_eq!(asked, u64::from(blocks));
}

/// Found by seed 3013: reads under way for requests that were dropped since had no bound.
#[test]
fn peers_that_ask_and_go_again_do_not_drown_a_slow_disk() {
    for seed in 0..4 {
        let mut scene = Scene::new(seed, 4 * MIB);
        let seeder = scene.world.add_engine("seeder", Link::default(), |config| {
            config.bounds.read_ahead_bytes = 64 << 10;
        });
        let content = scene.content.clone();
        scene.world.plant(seeder, &content);
        scene.world.add_torrent(seeder, &content, |_| {});
        scene.run(Duration::from_secs(10));
        scene.world.engine_host_mut(seeder).disk.speed.bytes_per_s = Some(8 << 10);
        let target = scene.addrs(&[seeder]);
        for number in 0..8 {
            let name = format!("hostile {number}");
            let peer = Hostile::new(seed, &name, &content, target.clone());
            scene.world.add_script(&name, Link::default(), Box::new(peer));
        }
        scene.run(Duration::from_secs(300));
    }
}
