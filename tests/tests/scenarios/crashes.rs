//! Crashes and restarts: what the disk kept is claimed, and nothing else.

use bitswarm_core::notice::TorrentNotice;
use bitswarm_core::time::Duration;
use bitswarm_core::torrent::TorrentState;
use bitswarm_tests::sim::dice::Dice;
use bitswarm_tests::sim::network::{Death, Link};
use bitswarm_tests::sim::world::World;

use super::scene::{MIB, Scene, home};

#[test]
fn a_crash_at_any_moment_loses_what_was_not_synced_and_claims_nothing_else() {
    let (mut resumed, mut fetched_again) = (0, 0);
    for seed in 0..24 {
        let mut scene = Scene::new(seed, MIB);
        let seeder = scene.seeder(Link::home(150_000, 1_000_000));
        let peers = scene.addrs(&[seeder]);
        let leecher = scene.leecher(home(), &peers);
        let mut dice = Dice::new(seed, "crash");
        for _ in 0..3 {
            let steps = dice.between(1..=2500);
            for _ in 0..steps {
                scene.world.step();
            }
            scene.world.check().unwrap_or_else(|failure| panic!("{failure}"));
            let death = if dice.chance(700) { Death::Power } else { Death::Process };
            scene.world.crash(leecher, death);
            scene.run(dice.up_to(Duration::from_secs(3)));
            let durable = (0..scene.content.pieces())
                .filter(|piece| {
                    let disk = &scene.world.engine_host(leecher).disk;
                    scene.content.piece_on_disk(disk, "/data".as_ref(), *piece)
                })
                .count();
            let before = scene.world.notices(leecher).count();
            scene.world.restart(leecher);
            let checked = |world: &World| {
                world.notices(leecher).skip(before).find_map(|notice| match notice {
                    TorrentNotice::Checked { have, from_resume, .. } => Some((*have, *from_resume)),
                    _ => None,
                })
            };
            let deadline = scene.world.now() + Duration::from_secs(30);
            scene
                .world
                .run_until(deadline, |world| checked(world).is_some())
                .unwrap_or_else(|failure| panic!("{failure}"));
            let (have, from_resume) = checked(&scene.world).expect("awaited");
            assert!(have as usize <= durable, "seed {seed}: claims {have} of {durable} pieces");
            resumed += u32::from(from_resume && have > 0);
            fetched_again += durable - have as usize;
        }
        scene.finish(leecher, 120);
    }
    eprintln!("{resumed} of 72 restarts resumed; {fetched_again} pieces on disk were not claimed");
    assert!(resumed > 5, "only {resumed} of 72 restarts had anything to resume from");
}

#[test]
fn a_finished_download_that_was_saved_is_seeded_after_a_power_cut_without_hashing() {
    let mut scene = Scene::new(1, MIB);
    let seeder = scene.seeder(home());
    let peers = scene.addrs(&[seeder]);
    let leecher = scene.leecher(home(), &peers);
    scene.finish(leecher, 60);
    let deadline = scene.world.now() + Duration::from_secs(30);
    let saved = |world: &World| world.notices(leecher).any(|n| *n == TorrentNotice::Saved);
    scene.world.run_until(deadline, saved).unwrap_or_else(|failure| panic!("{failure}"));
    scene.world.crash(leecher, Death::Power);
    let hashed = scene.world.engine_host(leecher).disk.counts().hashes;
    scene.world.restart(leecher);
    scene.run(Duration::from_secs(5));
    let status = scene.world.status(leecher).expect("it runs");
    assert_eq!((status.state, status.pieces_have), (TorrentState::Seeding, status.pieces));
    assert_eq!(scene.world.engine_host(leecher).disk.counts().hashes, hashed);
}

#[test]
fn a_file_changed_behind_our_back_is_noticed_at_the_next_start() {
    let mut scene = Scene::new(1, MIB);
    let seeder = scene.seeder(home());
    let peers = scene.addrs(&[seeder]);
    let leecher = scene.leecher(home(), &peers);
    scene.finish(leecher, 60);
    // Longer than the engine takes a newer file for its own last writes.
    scene.run(Duration::from_secs(3600));
    scene.world.crash(leecher, Death::Process);
    let now = scene.world.now();
    let path = scene.content.paths("/data".as_ref())[2].0.clone();
    scene.world.engine_host_mut(leecher).disk.tamper(now, &path, 1000, &[0; 100]);
    let before = scene.world.notices(leecher).count();
    scene.world.restart(leecher);
    let deadline = scene.world.now() + Duration::from_secs(60);
    let finished =
        |world: &World| world.notices(leecher).skip(before).any(|n| *n == TorrentNotice::Finished);
    scene.world.run_until(deadline, finished).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(scene.world.has_all_bytes(leecher));
}

#[test]
fn a_crash_at_every_kth_event_is_recovered_from() {
    const EVERY: u64 = 40;
    let mut crashes = 0;
    for at in (1..).map(|number| number * EVERY) {
        let mut scene = Scene::new(at, MIB / 4);
        let seeder = scene.seeder(Link::home(150_000, 1_000_000));
        let peers = scene.addrs(&[seeder]);
        let leecher = scene.leecher(home(), &peers);
        for _ in 0..at {
            scene.world.step();
        }
        scene.world.check().unwrap_or_else(|failure| panic!("{failure}"));
        if scene.world.has_finished(leecher) {
            break;
        }
        crashes += 1;
        let death = if at % (2 * EVERY) == 0 { Death::Power } else { Death::Process };
        scene.world.crash(leecher, death);
        scene.world.restart(leecher);
        scene.finish(leecher, 600);
        assert!(scene.banned(leecher).is_empty());
    }
    assert!(crashes >= 10, "{crashes} crashes");
}
