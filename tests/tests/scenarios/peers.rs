//! Peers that come, go, choke, stall, or have little.

use std::net::SocketAddr;

use bitswarm_core::time::{Duration, Instant};
use bitswarm_tests::sim::content::announce_url;
use bitswarm_tests::sim::network::{Death, Disturbance, HostId, Link};
use bitswarm_tests::sim::scripted::peer::{Behaviour, Peer, Unchoke};
use bitswarm_tests::sim::scripted::tracker::{Answer, TRACKER_PORT, Tracker};
use bitswarm_tests::sim::world::World;

use super::scene::{MIB, Scene, home};

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
        most = most.max(world.engine_host(seeder).served());
        leechers.iter().all(|host| world.script::<Peer>(*host).is_complete())
    };
    scene.world.run_until(deadline, done).unwrap_or_else(|failure| panic!("{failure}"));
    assert!((2..=slots).contains(&most), "{most} served at once");
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

#[test]
fn a_seeder_that_leaves_at_99_percent_is_completed_from_the_other_leechers() {
    let mut scene = Scene::new(5, 4 * MIB);
    let seeder = scene.seeder(Link::home(400_000, 400_000));
    let mut peers = scene.addrs(&[seeder]);
    let mut leechers = Vec::new();
    for _ in 0..4 {
        let host = scene.leecher(home(), &peers);
        leechers.push(host);
        peers.push(scene.world.addr(host));
    }
    // It goes as soon as together they have everything; nobody has it alone.
    let content = scene.content.clone();
    let has = |world: &World, host: &HostId, piece: u32| {
        content.piece_on_disk(&world.engine_host(*host).disk, "/data".as_ref(), piece)
    };
    let all = |world: &World| {
        (0..content.pieces()).all(|piece| leechers.iter().any(|host| has(world, host, piece)))
    };
    let deadline = Instant::from_secs(120);
    scene.world.run_until(deadline, all).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(leechers.iter().any(|host| !scene.world.has_all_bytes(*host)), "too late");
    scene.world.crash(seeder, Death::Process);
    for host in leechers {
        scene.finish(host, 300);
    }
}

#[test]
fn peers_of_whom_each_has_a_different_part_complete_each_other() {
    let mut scene = Scene::new(6, 4 * MIB);
    let parts = 4;
    let mut hosts: Vec<HostId> = Vec::new();
    for part in 0..parts {
        let peers = scene.addrs(&hosts);
        let host = scene.world.add_engine(&format!("part {part}"), home(), |_| {});
        scene.world.plant(host, &scene.content.clone());
        // All but its own part is spoilt before it looks.
        for piece in (0..scene.content.pieces()).filter(|piece| piece % parts != part) {
            scene.spoil(host, piece);
        }
        // What was spoilt is not the torrent's any more.
        scene.world.add_torrent(host, &scene.content.clone(), |add| {
            (add.peers, add.overwrite) = (peers, true);
        });
        hosts.push(host);
    }
    for host in hosts {
        scene.finish(host, 120);
    }
}

#[test]
fn a_stalled_peer_in_the_end_game_does_not_hold_up_the_last_piece() {
    for fast in [false, true] {
        let mut scene = Scene::new(7, MIB);
        let stalls = Behaviour { stall_after: Some(3), fast, ..Behaviour::seeder() };
        let stalls = scene.peer("stalls", home(), stalls);
        let good = scene.peer("good", Link::home(100_000, 100_000), Behaviour::seeder());
        let peers = scene.addrs(&[stalls, good]);
        let leecher = scene.leecher(home(), &peers);
        // The good one alone needs a little over ten seconds.
        scene.finish(leecher, 20);
        assert!(
            scene.world.script::<Peer>(stalls).counts().requests > 3,
            "it was asked for little"
        );
    }
}

#[test]
fn bitfields_in_two_parts_and_haves_that_say_nothing_new_are_taken_as_they_are() {
    let mut scene = Scene::new(10, MIB);
    let seeder = scene.seeder(home());
    let target = scene.addrs(&[seeder]);
    let lazy = Behaviour { lazy: true, dial: target, ..Behaviour::seeder() };
    let lazy = scene.peer("lazy", home(), lazy);
    let peers = scene.addrs(&[lazy]);
    let leecher = scene.leecher(home(), &peers);
    scene.finish(leecher, 60);
    assert!(scene.banned(leecher).is_empty());
}

/// Found by seed 174: connections that wait their turn left a deadline in the past.
#[test]
fn more_peers_than_may_be_dialled_at_once_make_nobody_spin() {
    let mut scene = Scene::new(11, MIB);
    let seeder = scene.seeder(home());
    let mut peers: Vec<SocketAddr> =
        (0..40).map(|number| SocketAddr::from(([60, 0, number, 1], 6881))).collect();
    peers.extend(scene.addrs(&[seeder]));
    let leecher = scene.world.add_engine("leecher", home(), |config| {
        config.connections.half_open = 2;
    });
    scene.world.add_torrent(leecher, &scene.content.clone(), |add| add.peers = peers);
    scene.finish(leecher, 900);
}

/// Found by seed 647: dead addresses that the user named were tried for ever, and none else.
#[test]
fn dead_addresses_named_by_the_user_do_not_keep_a_trackers_peers_waiting_for_ever() {
    let mut scene = Scene::new(12, MIB);
    let seeder = scene.seeder(home());
    let answer = Answer::Peers(scene.addrs(&[seeder]), 300);
    let tracker = scene.world.add_script("tracker", home(), Box::new(Tracker::new(answer)));
    let url = announce_url((scene.world.addr(tracker).ip(), TRACKER_PORT).into());
    let leecher = scene.world.add_engine("leecher", home(), |config| {
        config.connections.half_open = 2;
    });
    scene.world.add_torrent(leecher, &scene.content.clone(), |add| {
        add.peers = (0..40).map(|number| SocketAddr::from(([60, 0, number, 1], 6881))).collect();
        add.trackers = vec![url];
    });
    scene.finish(leecher, 3600);
}
