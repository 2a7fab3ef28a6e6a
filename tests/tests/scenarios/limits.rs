//! Rate limits hold over every window, and are used.

use bitswarm_core::config::RateLimits;
use bitswarm_core::time::Duration;
use bitswarm_core::torrent::TorrentState;
use bitswarm_tests::sim::check::Meter;
use bitswarm_tests::sim::content::Content;
use bitswarm_tests::sim::world::World;

use super::scene::{MIB, Scene, home};

/// Bytes per second of the limit, and the least and most seconds that 1 MiB may take under it.
const RATES: [(u64, u64); 3] = [(5 << 10, 128 << 10), (64 << 10, MIB), (300_000, 2 * MIB)];

/// What a bucket lets through at once: a quarter of a second or a block, and one block on top.
fn burst(limit: u64) -> u64 {
    (limit / 4).max(16 << 10) + (16 << 10)
}

#[test]
fn a_limit_on_uploads_holds_over_every_window() {
    for (limit, length) in RATES {
        let mut scene = Scene::new(1, length);
        let seeder = scene.world.add_engine("seeder", home(), |config| {
            config.limits.up_bytes_per_s = Some(limit);
        });
        scene.world.plant(seeder, &scene.content);
        scene.world.add_torrent(seeder, &scene.content, |_| {});
        let meters = Some((Meter::new(limit), Meter::new(limit)));
        scene.world.engine_host_mut(seeder).meters = meters;
        let peers = scene.addrs(&[seeder]);
        let leechers = [scene.leecher(home(), &peers), scene.leecher(home(), &peers)];
        let least = 2 * length / limit;
        for leecher in leechers {
            scene.finish(leecher, least * 3 / 2 + 60);
        }
        let (up, _) = scene.world.engine_host(seeder).meters.expect("just set");
        // Messages other than blocks: handshakes, haves, a few bytes a block.
        let other = 2000 + up.total() / 100;
        assert!(up.burst() <= burst(limit) + other, "limit {limit}: burst of {}", up.burst());
    }
}

#[test]
fn a_limit_on_downloads_holds_over_every_window_and_is_used() {
    for (limit, length) in RATES {
        let mut scene = Scene::new(1, length);
        let seeders = [scene.seeder(home()), scene.seeder(home())];
        let leecher = scene.world.add_engine("leecher", home(), |config| {
            config.limits.down_bytes_per_s = Some(limit);
        });
        scene.world.engine_host_mut(leecher).meters = Some((Meter::new(limit), Meter::new(limit)));
        let peers = scene.addrs(&seeders);
        scene.world.add_torrent(leecher, &scene.content, |add| add.peers = peers);
        let start = scene.world.now();
        scene.finish(leecher, length / limit * 3 / 2 + 60);
        let took = (scene.world.now() - start).as_secs_f64();
        let (_, down) = scene.world.engine_host(leecher).meters.expect("just set");
        // One read of each connection may be under way when the limit is reached.
        let reads = seeders.len() as u64 * (64 << 10);
        assert!(down.burst() <= burst(limit) + reads, "limit {limit}: burst of {}", down.burst());
        let ideal = length.saturating_sub(burst(limit)) as f64 / limit as f64;
        assert!(took < ideal * 1.25 + 5.0, "limit {limit}: {took} s for {ideal} s of work");
    }
}

#[test]
fn a_limit_of_one_torrent_holds_beside_another_that_has_none() {
    let limit = 50_000;
    let mut scene = Scene::new(1, MIB);
    let other = Content::single(9, "other", MIB, 64 << 10);
    let seeder = scene.seeder(home());
    scene.world.plant(seeder, &other);
    scene.world.add_torrent(seeder, &other, |_| {});
    let peers = scene.addrs(&[seeder]);
    let leecher = scene.world.add_engine("leecher", home(), |_| {});
    let limits = RateLimits { down_bytes_per_s: Some(limit), ..RateLimits::default() };
    let start = scene.world.now();
    scene.world.add_torrent(leecher, &scene.content, |add| {
        add.peers = peers.clone();
        add.limits = limits;
    });
    let free = scene.world.add_torrent(leecher, &other, |add| add.peers = peers);
    let deadline = start + Duration::from_secs(60);
    let complete = |world: &World| {
        let host = world.engine_host(leecher);
        let status = host.engine().and_then(|engine| engine.status(host.local(world.now()), free));
        status.is_some_and(|status| status.state == TorrentState::Seeding)
    };
    scene.world.run_until(deadline, complete).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(scene.world.now() - start < Duration::from_secs(6));
    let limited = scene.world.status(leecher).expect("it runs").downloaded_bytes;
    let most = limit * 6 + burst(limit) + (64 << 10);
    assert!(limited <= most, "{limited} bytes under a limit of {limit} per second");
    let deadline = start + Duration::from_secs(60);
    let all = |world: &World| world.has_all_bytes(leecher);
    scene.world.run_until(deadline, all).unwrap_or_else(|failure| panic!("{failure}"));
}
