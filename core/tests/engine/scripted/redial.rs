//! Nothing is waited for that has come: who was let go is dialled at once, and who waits for something is
//! dialled when it is there. Failures wait their time (defence 22).

use bitswarm_core::Commands;
use bitswarm_core::disk::MemoryDisk;
use bitswarm_core::event::NetError;
use bitswarm_core::record::Recorder;
use bitswarm_core::time::Duration;
use bitswarm_core::torrent::AddTorrent;

use super::scene::{PEER, Sample, Scene, addr};

const TRACKER: &str = "50.0.0.7:80";
/// 50.0.0.1:1000 and 50.0.0.2:1000.
const ANSWER: &[u8] = b"d8:intervali900e5:peers12:\x32\0\0\x01\x03\xe8\x32\0\0\x02\x03\xe8e";
const DEAD: &str = "50.0.0.2:1000";
const LONG: Duration = Duration::from_secs(120);

fn with_tracker(sample: &Sample) -> AddTorrent {
    AddTorrent { trackers: vec![format!("http://{TRACKER}/announce")], ..sample.add() }
}

fn pause_and_resume(scene: &mut Scene, after: Duration) {
    scene.ask(Recorder::pause).expect("there");
    scene.wait(after);
    scene.ask(Recorder::resume).expect("there");
}

#[test]
fn after_a_pause_peers_and_trackers_are_asked_at_once_and_dead_addresses_are_not() {
    let sample = Sample::plain(1 << 20);
    for paused_for in [Duration::ZERO, Duration::from_secs(3)] {
        let mut scene = Scene::new(with_tracker(&sample), MemoryDisk::new());
        scene.announce(TRACKER, ANSWER);
        let peer = scene.greet_seed(&sample, PEER, true);
        for _ in 0..3 {
            let dead = scene.take_dialled(DEAD).expect("it was named");
            scene.refused(dead);
            scene.dialled_after_ms(DEAD, Duration::from_secs(100)).expect("tried again");
        }
        let dead = scene.take_dialled(DEAD).expect("dialled");
        scene.refused(dead);
        assert!(!scene.is_closed(peer));
        pause_and_resume(&mut scene, paused_for);
        assert!(scene.is_closed(peer));
        assert_eq!(scene.dialled_after_ms(PEER, LONG), Some(0), "{paused_for:?}");
        assert_eq!(scene.dialled_after_ms(TRACKER, LONG), Some(0), "{paused_for:?}");
        assert!(!scene.dialled().iter().any(|(_, to)| *to == addr(DEAD)), "its failures count");
        let peer = scene.greet_seed(&sample, PEER, true);
        scene.serve(&sample, peer);
        assert!(scene.has_finished());
    }
}

#[test]
fn a_connection_that_was_being_opened_when_the_torrent_was_paused_is_opened_again() {
    let sample = Sample::plain(1 << 20);
    let mut scene = Scene::new(with_tracker(&sample), MemoryDisk::new());
    scene.announce(TRACKER, ANSWER);
    assert_eq!(scene.dialled().len(), 2);
    pause_and_resume(&mut scene, Duration::ZERO);
    assert_eq!(scene.dialled_after_ms(PEER, LONG), Some(0));
}

#[test]
fn a_torrent_that_is_added_again_dials_at_once() {
    let sample = Sample::plain(1 << 20);
    let mut add = sample.add();
    add.peers = vec![addr(PEER)];
    let mut scene = Scene::new(add.clone(), MemoryDisk::new());
    scene.greet_seed(&sample, PEER, true);
    scene.ask(|engine, now, id| engine.remove_torrent(now, id, false)).expect("there");
    scene.id = scene.ask(|engine, now, _| engine.add_torrent(now, add)).expect("added again");
    assert_eq!(scene.dialled_after_ms(PEER, LONG), Some(0));
}

/// Eight connections are all that one address may have.
#[test]
fn an_address_with_too_many_connections_is_dialled_when_one_of_them_ends() {
    let sample = Sample::plain(1 << 20);
    let peer = |port: u16| format!("50.0.0.1:{port}");
    let mut add = sample.add();
    add.peers = (1..=9).map(|port| addr(&peer(port))).collect();
    let mut scene = Scene::new(add, MemoryDisk::new());
    assert_eq!(scene.dialled().len(), 8);
    let all = scene.dialled().to_vec();
    let ninth = (1..=9).map(peer).find(|peer| !all.iter().any(|(_, to)| *to == addr(peer)));
    let ninth = ninth.expect("one has to wait");
    scene.wait(Duration::from_secs(5));
    assert!(!scene.dialled().iter().any(|(_, to)| *to == addr(&ninth)));
    let (conn, _) = scene.dialled()[0];
    scene.refused(conn);
    assert_eq!(scene.dialled_after_ms(&ninth, LONG), Some(0));
}

#[test]
fn what_could_not_be_reached_is_dialled_when_the_network_is_back() {
    let sample = Sample::plain(1 << 20);
    let mut scene = Scene::new(with_tracker(&sample), MemoryDisk::new());
    scene.announce(TRACKER, b"d8:intervali900e5:peers6:\x32\0\0\x01\x03\xe8e");
    for _ in 0..8 {
        let patience = Duration::from_secs(3600);
        let Some(_) = scene.dialled_after_ms(PEER, patience) else { panic!("not tried again") };
        let conn = scene.take_dialled(PEER).expect("dialled");
        scene.ended(conn, Some(NetError::Unreachable));
    }
    // Somebody comes, so there is a network.
    scene.arrive(&sample, DEAD, true).expect("welcome");
    assert_eq!(scene.dialled_after_ms(PEER, LONG), Some(0));
}

#[test]
fn of_two_connections_with_one_peer_the_one_that_stays_is_missed_when_it_ends() {
    let sample = Sample::plain(1 << 20);
    let mut scene = Scene::new(with_tracker(&sample), MemoryDisk::new());
    scene.announce(TRACKER, ANSWER);
    let ours = scene.greet_seed(&sample, PEER, true);
    // It dialled us at the same time, from a port of its own.
    let theirs = scene.arrive_as(&sample, "50.0.0.1:40000", PEER).expect("accepted");
    let (loser, winner) = if scene.is_closed(ours) { (ours, theirs) } else { (theirs, ours) };
    assert!(scene.is_closed(loser) && !scene.is_closed(winner));
    scene.ended(winner, None);
    let wait = scene.dialled_after_ms(PEER, Duration::from_secs(600));
    assert!(wait.is_some_and(|wait| wait <= 40_000), "dialled after {wait:?} ms");
}
