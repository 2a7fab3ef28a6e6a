//! The only source is odd, or was away for a while: it is used all the same, and at once.

use bitswarm_core::Commands;
use bitswarm_core::time::{Duration, Instant};
use bitswarm_tests::sim::content::{Content, announce_url};
use bitswarm_tests::sim::network::Link;
use bitswarm_tests::sim::scripted::peer::{Behaviour, Dialect, Peer};
use bitswarm_tests::sim::scripted::tracker::{Answer, TRACKER_PORT, Tracker};
use bitswarm_tests::sim::world::World;

use super::scene::{MIB, Scene, home};

const KIB: u64 = 1 << 10;

/// Between peers that know padding and peers that take it for content, what is asked for is judged by
/// the world at every step.
#[test]
fn padding_of_another_client_goes_through_a_swarm() {
    let block = 16 * KIB;
    // Within a block, to the end of one, several blocks, more than a piece, and at the end of all.
    let files = [
        ("a", 100_000, 200),
        ("b", 30_000, block),
        ("c/d", 5, 3 * block + 7),
        ("e", 200_000, 150 * KIB),
        ("f", 77_777, 40 * KIB),
    ];
    for seed in 0..4 {
        let content = Content::padded(seed, "padded", &files, 64 << 10);
        let mut scene = Scene { world: World::new(seed), content, seed };
        let knows = scene.seeder(home());
        let takes = Behaviour { dialect: Dialect::V1, ..Behaviour::seeder() };
        let takes = scene.peer("takes it for content", home(), takes);
        let peers = scene.addrs(&[knows, takes]);
        let first = scene.leecher(home(), &peers[..1]);
        let second = scene.leecher(home(), &peers[1..]);
        let dial = scene.addrs(&[first, second]);
        let asks = Behaviour { dialect: Dialect::V1, ..Behaviour::leecher(dial) };
        let asks = scene.peer("asks for padding", home(), asks);
        scene.finish(first, 120);
        scene.finish(second, 120);
        let done = |world: &World| world.script::<Peer>(asks).is_complete();
        let deadline = Instant::from_secs(300);
        scene.world.run_until(deadline, done).unwrap_or_else(|failure| panic!("{failure}"));
        let stored: u64 = files.iter().map(|(_, length, _)| length).sum();
        for host in [first, second] {
            let status = scene.world.status(host).expect("it runs");
            let counted = (status.total_bytes, status.wanted_bytes, status.done_bytes);
            assert_eq!(counted, (stored, stored, stored));
            assert_eq!(status.downloaded_bytes - status.redundant_bytes, stored);
        }
    }
}

#[test]
fn a_lone_seed_that_sends_every_block_several_times_is_enough() {
    for (fast, copies) in [(false, 2), (true, 2), (false, 5), (true, 5)] {
        let mut scene = Scene::new(1, 8 * MIB);
        let twice = Behaviour { copies, fast, ..Behaviour::seeder() };
        let twice = scene.peer("twice", Link::home(4_000_000, 4_000_000), twice);
        let peers = scene.addrs(&[twice]);
        let leecher = scene.leecher(Link::home(4_000_000, 4_000_000), &peers);
        scene.finish(leecher, 60);
        assert!(scene.banned(leecher).is_empty());
        let connections = scene.world.script::<Peer>(twice).counts().greeted;
        assert_eq!(connections, 1, "fast: {fast}, {copies} times");
    }
}

#[test]
fn who_sends_every_block_twice_gives_way_to_who_does_not() {
    let mut scene = Scene::new(2, 8 * MIB);
    let twice = Behaviour { copies: 2, ..Behaviour::seeder() };
    let twice = scene.peer("twice", home(), twice);
    let once = scene.peer("once", home(), Behaviour::seeder());
    let peers = scene.addrs(&[twice, once]);
    let leecher = scene.leecher(Link::home(4_000_000, 4_000_000), &peers);
    scene.finish(leecher, 120);
    let blocks = |host| scene.world.script::<Peer>(host).counts().good_blocks;
    assert!(2 * blocks(twice) < blocks(once), "{} and {}", blocks(twice), blocks(once));
}

#[test]
fn after_a_pause_the_download_goes_on_at_once() {
    for by_tracker in [false, true] {
        let mut scene = Scene::new(3, 8 * MIB);
        let seeder = scene.seeder(Link::home(200_000, 200_000));
        let peers = scene.addrs(&[seeder]);
        let answer = Answer::Peers(peers.clone(), 300);
        let tracker = scene.world.add_script("tracker", home(), Box::new(Tracker::new(answer)));
        let url = announce_url((scene.world.addr(tracker).ip(), TRACKER_PORT).into());
        let leecher = scene.world.add_engine("leecher", home(), |_| {});
        scene.world.add_torrent(leecher, &scene.content.clone(), |add| match by_tracker {
            true => add.trackers = vec![url],
            false => add.peers = peers,
        });
        scene.run(Duration::from_secs(10));
        let id = scene.world.torrent_id(leecher);
        for pause_s in [0, 1, 60] {
            let world = &mut scene.world;
            world.call(leecher, "pause", |engine, now| engine.pause(now, id)).expect("there");
            scene.run(Duration::from_secs(pause_s));
            let world = &mut scene.world;
            world.call(leecher, "resume", |engine, now| engine.resume(now, id)).expect("there");
            let before = scene.world.status(leecher).expect("it runs").downloaded_bytes;
            scene.run(Duration::from_secs(3));
            let status = scene.world.status(leecher).expect("it runs");
            assert_eq!(status.peers, 1, "{pause_s} s, by the tracker: {by_tracker}");
            assert!(status.downloaded_bytes > before + 200_000, "{pause_s} s: {status:?}");
        }
        scene.finish(leecher, 120);
    }
}
