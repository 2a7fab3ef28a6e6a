//! Named scenarios: one kind of trouble each, on the production engine, in virtual time.
//!
//! A failure names its seed; `SIM_LOG=file` keeps the readable log of the run that failed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use bitswarm_core::config::RateLimits;
use bitswarm_core::event::ResolveError;
use bitswarm_core::notice::TorrentNotice;
use bitswarm_core::record::Recorder;
use bitswarm_core::time::{Duration, Instant};
use bitswarm_core::torrent::TorrentState;
use bitswarm_tests::sim::check::Meter;
use bitswarm_tests::sim::content::{Content, announce_url};
use bitswarm_tests::sim::dice::Dice;
use bitswarm_tests::sim::network::{Death, Disturbance, HostId, Link};
use bitswarm_tests::sim::scripted::peer::{Behaviour, Corrupt, Peer, Unchoke};
use bitswarm_tests::sim::scripted::tracker::{Answer, TRACKER_PORT, Tracker};
use bitswarm_tests::sim::storm;
use bitswarm_tests::sim::world::{Failure, World};

const MIB: u64 = 1 << 20;

/// A world with one torrent.
struct Scene {
    world: World,
    content: Arc<Content>,
    seed: u64,
}

impl Scene {
    fn new(seed: u64, length: u64) -> Self {
        let content = Content::multi(
            seed,
            "scene",
            &[("first", length / 3), ("none", 0), ("dir/second", length - length / 3)],
            64 << 10,
        );
        Scene { world: World::new(seed), content, seed }
    }

    /// An engine that has everything.
    fn seeder(&mut self, link: Link) -> HostId {
        let host = self.world.add_engine("seeder", link, |_| {});
        self.world.plant(host, &self.content);
        self.world.add_torrent(host, &self.content, |_| {});
        host
    }

    /// An engine that has nothing and knows these peers.
    fn leecher(&mut self, link: Link, peers: &[SocketAddr]) -> HostId {
        let host = self.world.add_engine("leecher", link, |_| {});
        self.world.add_torrent(host, &self.content, |add| add.peers = peers.to_vec());
        host
    }

    /// A scripted peer.
    fn peer(&mut self, name: &str, link: Link, behaviour: Behaviour) -> HostId {
        let peer = Peer::new(self.seed, name, &self.content, behaviour);
        self.world.add_script(name, link, Box::new(peer))
    }

    fn addrs(&self, hosts: &[HostId]) -> Vec<SocketAddr> {
        hosts.iter().map(|host| self.world.addr(*host)).collect()
    }

    /// Runs until the host's engine says that it has finished, and compares every byte.
    fn finish(&mut self, host: HostId, within_s: u64) {
        self.try_finish(host, within_s).unwrap_or_else(|failure| panic!("{failure}"));
    }

    fn try_finish(&mut self, host: HostId, within_s: u64) -> Result<(), Failure> {
        let deadline = self.world.now() + Duration::from_secs(within_s);
        self.world.run_until(deadline, |world| world.has_finished(host))?;
        assert!(self.world.has_all_bytes(host), "finished, but bytes are missing on disk");
        Ok(())
    }

    fn run(&mut self, time: Duration) {
        self.world.run_for(time).unwrap_or_else(|failure| panic!("{failure}"));
    }

    fn banned(&self, host: HostId) -> Vec<IpAddr> {
        let banned = self.world.notices(host).filter_map(|notice| match notice {
            TorrentNotice::PeerBanned { addr, .. } => Some(addr.ip()),
            _ => None,
        });
        let banned: Vec<IpAddr> = banned.collect();
        let once: BTreeSet<&IpAddr> = banned.iter().collect();
        assert_eq!(once.len(), banned.len(), "a ban is told once");
        banned
    }

    fn saw(&self, host: HostId, wanted: impl Fn(&TorrentNotice) -> bool) -> bool {
        self.world.notices(host).any(wanted)
    }
}

fn home() -> Link {
    Link::home(500_000, 2_000_000)
}

// Wrong data.

#[test]
fn a_corrupting_seeder_is_banned_the_honest_one_is_not_and_the_download_completes() {
    for corrupt in [Corrupt::Always, Corrupt::FirstOfPiece, Corrupt::PerMille(100)] {
        for seed in 0..3 {
            let mut scene = Scene::new(seed, 2 * MIB);
            let honest = scene.seeder(home());
            let bad = Behaviour { corrupt, ..Behaviour::seeder() };
            let bad = scene.peer("corrupt", home(), bad);
            let peers = scene.addrs(&[honest, bad]);
            let leecher = scene.leecher(home(), &peers);
            scene.finish(leecher, 120);
            let sent = scene.world.script::<Peer>(bad).counts().bad_blocks;
            assert!(sent > 0, "{corrupt:?}, seed {seed}: the corrupt peer was never asked");
            let addr = scene.world.addr(bad).ip();
            assert_eq!(scene.banned(leecher), [addr], "{corrupt:?}, seed {seed}");
        }
    }
}

#[test]
fn among_many_honest_peers_only_the_two_that_corrupt_are_banned() {
    let mut scene = Scene::new(5, 4 * MIB);
    let mut hosts: Vec<HostId> = (0..4)
        .map(|number| scene.peer(&format!("honest {number}"), home(), Behaviour::seeder()))
        .collect();
    let bad: Vec<HostId> = (0..2)
        .map(|number| {
            let corrupt = Corrupt::PerMille(300);
            let behaviour = Behaviour { corrupt, ..Behaviour::seeder() };
            scene.peer(&format!("corrupt {number}"), home(), behaviour)
        })
        .collect();
    hosts.extend(&bad);
    let peers = scene.addrs(&hosts);
    let leecher = scene.leecher(Link::home(500_000, 20_000_000), &peers);
    scene.finish(leecher, 120);
    let bad: Vec<IpAddr> = bad.iter().map(|host| scene.world.addr(*host).ip()).collect();
    let banned = scene.banned(leecher);
    assert!(banned.iter().all(|addr| bad.contains(addr)), "{banned:?} banned, {bad:?} corrupt");
    assert!(!banned.is_empty());
}

// Crashes.

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

// The disk.

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

// Trackers.

#[test]
fn trackers_that_fail_in_every_way_are_passed_over_for_one_that_answers() {
    for seed in 0..3 {
        let mut scene = Scene::new(seed, MIB);
        let seeder = scene.seeder(home());
        let failing = [
            Answer::Hang,
            Answer::HangUp,
            Answer::Status(503),
            Answer::Garbage,
            Answer::Failure("go away".to_owned()),
        ];
        let mut urls: Vec<String> = Vec::new();
        for (number, answer) in failing.into_iter().enumerate() {
            let name = format!("tracker {number}");
            let host = scene.world.add_script(&name, home(), Box::new(Tracker::new(answer)));
            urls.push(announce_url((scene.world.addr(host).ip(), TRACKER_PORT).into()));
        }
        // Nobody listens there; no such host; no such name; a name that does not resolve now.
        urls.push(announce_url((scene.world.addr(seeder).ip(), 1).into()));
        urls.push("http://50.200.0.1:8080/announce".to_owned());
        urls.push("http://nobody.test/announce".to_owned());
        urls.push("http://later.test/announce".to_owned());
        scene.world.resolver().fail("later.test", ResolveError::Unavailable);
        let answer = Answer::Peers(scene.addrs(&[seeder]), 60);
        let good = scene.world.add_script("good", home(), Box::new(Tracker::new(answer)));
        let good_ip = scene.world.addr(good).ip();
        scene.world.resolver().set("good.test", [good_ip]);
        let good_url = format!("http://good.test:{TRACKER_PORT}/announce");
        urls.push(good_url.clone());
        let leecher = scene.world.add_engine("leecher", home(), |_| {});
        let tiers: Vec<[&str; 1]> = urls.iter().map(|url| [url.as_str()]).collect();
        let tiers: Vec<&[&str]> = tiers.iter().map(|tier| &tier[..]).collect();
        let metainfo = scene.content.metainfo(&tiers);
        let content = scene.content.clone();
        scene.world.add_torrent(leecher, &content, |add| add.metainfo = metainfo);
        scene.finish(leecher, 900);
        scene.run(Duration::from_secs(300));
        for url in urls.iter().filter(|url| **url != good_url) {
            let failed = |notice: &TorrentNotice| matches!(notice, TorrentNotice::TrackerFailed { url: of, .. } if of == url);
            assert!(scene.saw(leecher, failed), "seed {seed}: {url} was not found to fail");
        }
    }
}

#[test]
fn a_tracker_down_at_the_start_is_asked_again_and_found() {
    let mut scene = Scene::new(1, MIB);
    let seeder = scene.seeder(home());
    let answer = Answer::Peers(scene.addrs(&[seeder]), 60);
    let tracker = scene.world.add_script("tracker", home(), Box::new(Tracker::new(answer)));
    let url = announce_url((scene.world.addr(tracker).ip(), TRACKER_PORT).into());
    let now = scene.world.now();
    scene.world.net().partition(now, &[(tracker, 1)]);
    let leecher = scene.world.add_engine("leecher", home(), |_| {});
    scene.world.add_torrent(leecher, &scene.content, |add| add.trackers = vec![url]);
    scene.run(Duration::from_secs(3600));
    assert!(!scene.world.has_finished(leecher));
    let now = scene.world.now();
    scene.world.net().heal(now);
    scene.finish(leecher, 3 * 3600);
}

// Peers that come, go and choke.

#[test]
fn a_peer_that_vanishes_in_the_middle_is_replaced_by_another() {
    for fast in [false, true] {
        let mut scene = Scene::new(2, 2 * MIB);
        let gone = Behaviour { vanish_after: Some(10), fast, ..Behaviour::seeder() };
        let gone = scene.peer("gone", home(), gone);
        let mute = Behaviour { stall_after: Some(10), fast, ..Behaviour::seeder() };
        let mute = scene.peer("mute", home(), mute);
        let stays = scene.peer("stays", Link::home(200_000, 200_000), Behaviour::seeder());
        let peers = scene.addrs(&[gone, mute, stays]);
        let leecher = scene.leecher(home(), &peers);
        scene.finish(leecher, 240);
        assert!(scene.banned(leecher).is_empty());
    }
}

#[test]
fn a_seeder_that_loses_power_is_missed_and_found_again() {
    let mut scene = Scene::new(3, 2 * MIB);
    let seeder = scene.seeder(Link::home(200_000, 200_000));
    let peers = scene.addrs(&[seeder]);
    let leecher = scene.leecher(home(), &peers);
    scene.run(Duration::from_secs(5));
    scene.world.crash(seeder, Death::Power);
    scene.run(Duration::from_secs(400));
    assert!(!scene.world.has_finished(leecher));
    scene.world.restart(seeder);
    scene.finish(leecher, 3600);
}

#[test]
fn a_partition_that_heals_lets_the_download_go_on() {
    for minutes in [1, 10] {
        let mut scene = Scene::new(4, 2 * MIB);
        let seeder = scene.seeder(Link::home(200_000, 200_000));
        let peers = scene.addrs(&[seeder]);
        let leecher = scene.leecher(home(), &peers);
        scene.run(Duration::from_secs(4));
        let now = scene.world.now();
        scene.world.net().partition(now, &[(leecher, 1)]);
        scene.run(Duration::from_secs(minutes * 60));
        let now = scene.world.now();
        scene.world.net().heal(now);
        scene.finish(leecher, 1800);
    }
}

#[test]
fn a_flapping_choke_does_not_stop_the_download() {
    for fast in [false, true] {
        let unchoke = Unchoke::Flap(Duration::from_millis(1500));
        let mut scene = Scene::new(1, MIB);
        let behaviour = Behaviour { unchoke, fast, ..Behaviour::seeder() };
        let flapper = scene.peer("flapper", Link::home(100_000, 100_000), behaviour);
        let peers = scene.addrs(&[flapper]);
        let leecher = scene.leecher(home(), &peers);
        scene.finish(leecher, 120);
    }
}

#[test]
fn the_upload_slots_hold_and_rotate_so_that_everybody_is_served() {
    let mut scene = Scene::new(1, 2 * MIB);
    let slots = 4;
    let seeder = scene.world.add_engine("seeder", Link::home(200_000, 200_000), |config| {
        config.choking.slots = slots;
    });
    scene.world.plant(seeder, &scene.content);
    scene.world.add_torrent(seeder, &scene.content, |_| {});
    let target = scene.addrs(&[seeder]);
    let leechers: Vec<HostId> = (0..12)
        .map(|number| {
            let behaviour = Behaviour { fast: false, ..Behaviour::leecher(target.clone()) };
            scene.peer(&format!("leecher {number}"), home(), behaviour)
        })
        .collect();
    let deadline = scene.world.now() + Duration::from_secs(600);
    let mut most = 0;
    let done = |world: &World| {
        most = most.max(world.engine_host(seeder).checker().unchoked());
        leechers.iter().all(|host| world.script::<Peer>(*host).is_complete())
    };
    scene.world.run_until(deadline, done).unwrap_or_else(|failure| panic!("{failure}"));
    assert!((2..=slots).contains(&most), "{most} unchoked at once");
}

#[test]
fn scripted_leechers_of_every_dialect_download_from_an_engine() {
    for (fast, extended) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut scene = Scene::new(1, MIB);
        scene.world.net().disturbance = Disturbance::rough();
        let seeder = scene.seeder(home());
        let target = scene.addrs(&[seeder]);
        let behaviour = Behaviour { fast, extended, ..Behaviour::leecher(target) };
        let leecher = scene.peer("leecher", home(), behaviour);
        let deadline = Instant::from_secs(120);
        let done = |world: &World| world.script::<Peer>(leecher).is_complete();
        scene.world.run_until(deadline, done).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn dead_addresses_and_our_own_among_the_peers_do_no_harm() {
    let mut scene = Scene::new(1, MIB);
    let seeder = scene.seeder(home());
    let walled = scene.peer("walled", Link { accepts: false, ..home() }, Behaviour::seeder());
    let mut peers: Vec<SocketAddr> =
        (0..30).map(|number| SocketAddr::from(([60, 0, number, 1], 6881))).collect();
    peers.push(SocketAddr::new(scene.world.addr(seeder).ip(), 1));
    peers.extend(scene.addrs(&[walled, seeder]));
    let leecher = scene.world.add_engine("leecher", home(), |_| {});
    peers.push(scene.world.addr(leecher));
    scene.world.add_torrent(leecher, &scene.content, |add| add.peers = peers);
    scene.finish(leecher, 120);
    assert!(scene.banned(leecher).is_empty());
}

// Rate limits.

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

// The end.

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

// Everything at once.

/// Seeds to run: `SIM_SEEDS=from..to`, or a few.
fn seeds() -> std::ops::Range<u64> {
    let drawn = std::env::var("SIM_SEEDS").ok().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    drawn.unwrap_or(0..40)
}

#[test]
fn storms_of_all_faults_break_no_invariant_and_end_well() {
    let mut failures = Vec::new();
    let mut events: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in seeds() {
        match storm::run(seed) {
            Ok(report) => {
                for (event, count) in report.events {
                    *events.entry(event).or_default() += count;
                }
            }
            Err(failure) => {
                eprintln!("{failure}\n  {}", storm::Options::draw(seed));
                failures.push(seed);
            }
        }
    }
    eprintln!("{events:?}");
    assert!(failures.is_empty(), "{} seeds failed: {failures:?}", failures.len());
}
