//! Peers that send wrong data: they are found out, nobody else is.

use std::net::IpAddr;

use bitswarm_tests::sim::network::{HostId, Link};
use bitswarm_tests::sim::scripted::peer::{Behaviour, Corrupt, Peer};

use super::scene::{MIB, Scene, home};

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
fn nobody_is_banned_for_what_the_own_disk_gave_back_wrong() {
    let mut scene = Scene::new(3, 4 * MIB);
    let seeders = [scene.seeder(home()), scene.seeder(home())];
    let peers = scene.addrs(&seeders);
    // So little memory that most pieces are hashed from the disk.
    let leecher = scene.world.add_engine("leecher", home(), |config| {
        config.bounds.assembly_bytes = 64 << 10;
    });
    scene.world.add_torrent(leecher, &scene.content, |add| add.peers = peers);
    let host = scene.world.engine_host_mut(leecher);
    host.disk.faults.rot_per_mille = 100;
    host.checker_mut().distrust_disk();
    scene.finish(leecher, 600);
    assert!(scene.banned(leecher).is_empty());
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

/// Each lies where the other tells the truth, so that every second piece that both send something of
/// has a liar and an accomplice with clean hands in it.
#[test]
fn two_that_corrupt_in_turns_are_both_found_out_and_never_an_honest_one() {
    for seed in 0..10 {
        let mut scene = Scene::new(seed, 4 * MIB);
        let slow = Link::home(100_000, 100_000);
        let honest: Vec<HostId> = (0..2)
            .map(|number| scene.peer(&format!("honest {number}"), slow, Behaviour::seeder()))
            .collect();
        let bad: Vec<HostId> = (0..2)
            .map(|first| {
                let corrupt = Corrupt::EverySecondPiece(first);
                let behaviour = Behaviour { corrupt, ..Behaviour::seeder() };
                scene.peer(&format!("colluding {first}"), slow, behaviour)
            })
            .collect();
        let peers = scene.addrs(&[honest, bad.clone()].concat());
        let leecher = scene.leecher(home(), &peers);
        scene.finish(leecher, 300);
        let mut bad: Vec<IpAddr> = bad.iter().map(|host| scene.world.addr(*host).ip()).collect();
        let mut banned = scene.banned(leecher);
        bad.sort();
        banned.sort();
        assert_eq!(banned, bad, "seed {seed}");
    }
}
