//! More strangers than places: those that neither give nor take do not keep newcomers out.

use bitswarm_core::config::ConnectionLimits;
use bitswarm_core::disk::MemoryDisk;
use bitswarm_core::time::Duration;
use bitswarm_core::wire::Message;
use bitswarm_core::{Commands, Config, ConnId};

use super::scene::{PEER, Sample, Scene, addr, full_disk};

const PLACES: usize = 20;

fn config() -> Config {
    let mut config = Config::default();
    config.connections =
        ConnectionLimits { torrent: PLACES, handshaking: PLACES, ..config.connections };
    config
}

/// Peers from so many addresses, one after another, that have nothing.
fn crowd(scene: &mut Scene, sample: &Sample, peers: usize, addresses: usize) -> Vec<ConnId> {
    let from = |peer: usize| format!("60.0.{}.1:{}", peer % addresses, 2000 + peer);
    let arrived = (0..peers).filter_map(|peer| scene.arrive(sample, &from(peer), true));
    let arrived: Vec<ConnId> = arrived.collect();
    arrived.iter().for_each(|peer| scene.say(*peer, Message::HaveNone));
    arrived
}

#[test]
fn interested_idlers_of_a_seed_yield_to_a_newcomer_within_half_a_minute() {
    let sample = Sample::plain(1 << 18);
    let mut scene = Scene::with(config(), sample.add(), full_disk(&sample));
    let idlers = crowd(&mut scene, &sample, PLACES, PLACES);
    idlers.iter().for_each(|peer| scene.say(*peer, Message::Interested));
    assert_eq!(scene.status().peers, PLACES);
    for _ in 0..30 {
        scene.wait(Duration::from_secs(1));
        if let Some(newcomer) = scene.arrive(&sample, PEER, true)
            && !scene.is_closed(newcomer)
        {
            scene.say(newcomer, Message::HaveNone);
            assert_eq!(scene.status().peers, PLACES);
            return;
        }
    }
    panic!("no place for a newcomer");
}

#[test]
fn idlers_that_have_had_their_turns_yield_to_a_newcomer_at_once() {
    let sample = Sample::plain(1 << 18);
    let mut scene = Scene::with(config(), sample.add(), full_disk(&sample));
    let idlers = crowd(&mut scene, &sample, PLACES, PLACES);
    idlers.iter().for_each(|peer| scene.say(*peer, Message::Interested));
    // They are let download again and again: that is no sign of use.
    scene.wait(Duration::from_secs(60));
    let newcomer = scene.arrive(&sample, PEER, true).expect("a place");
    assert!(!scene.is_closed(newcomer));
    assert_eq!(scene.status().peers, PLACES);
}

#[test]
fn slots_of_interested_idlers_go_to_a_newcomer_within_half_a_minute() {
    let sample = Sample::plain(1 << 18);
    let mut scene = Scene::with(config(), sample.add(), full_disk(&sample));
    let idlers = crowd(&mut scene, &sample, PLACES - 1, PLACES - 1);
    idlers.iter().for_each(|peer| scene.say(*peer, Message::Interested));
    // Each has had its turn: eight slots for some seconds each.
    scene.wait(Duration::from_secs(20));
    let newcomer = scene.arrive(&sample, PEER, true).expect("a place");
    scene.say(newcomer, Message::HaveNone);
    scene.say(newcomer, Message::Interested);
    for _ in 0..6 {
        scene.wait(Duration::from_secs(5));
        if scene.heard(newcomer).contains(&Message::Unchoke) {
            return;
        }
    }
    panic!("never unchoked");
}

#[test]
fn silent_connections_from_few_addresses_yield_to_a_newcomer_at_once() {
    let sample = Sample::plain(1 << 18);
    let mut scene = Scene::with(config(), sample.add(), full_disk(&sample));
    let silent = |scene: &mut Scene, round: usize| {
        let from = |peer: usize| format!("60.0.{}.1:{}", peer % 3, 2000 + 100 * round + peer);
        (0..3 * PLACES).filter(|peer| scene.connect_in(&from(*peer)).is_some()).count()
    };
    for round in 0..10 {
        silent(&mut scene, round);
        let newcomer = scene.arrive(&sample, PEER, true).expect("a place");
        assert!(!scene.is_closed(newcomer));
        scene.ended(newcomer, None);
        scene.wait(Duration::from_secs(1));
    }
}

#[test]
fn leech_dials_the_seed_it_knows_however_many_choking_peers_have_come() {
    let sample = Sample::plain(1 << 18);
    let mut scene = Scene::with(config(), sample.add(), MemoryDisk::new());
    crowd(&mut scene, &sample, 2 * PLACES, 15);
    let added = scene.ask(|engine, now, id| engine.add_peers(now, id, &[addr(PEER)]));
    added.expect("it is there");
    assert!(scene.take_dialled(PEER).is_some(), "{} peers", scene.status().peers);
}

#[test]
fn peers_that_take_keep_their_places() {
    let sample = Sample::plain(1 << 20);
    let mut config = config();
    config.connections.torrent = 4;
    let mut scene = Scene::with(config, sample.add(), full_disk(&sample));
    let takers = crowd(&mut scene, &sample, 4, 4);
    takers.iter().for_each(|peer| scene.say(*peer, Message::Interested));
    for round in 0..12 {
        scene.wait(Duration::from_secs(5));
        for peer in &takers {
            let piece = bitswarm_core::piece::PieceIndex(round);
            let block = bitswarm_core::piece::Block { piece, begin: 0, length: 16_384 };
            scene.say(*peer, Message::Request(block));
            scene.heard(*peer);
        }
        let stranger = scene.arrive(&sample, &format!("50.1.{round}.1:1000"), true);
        assert!(stranger.is_none_or(|stranger| scene.is_closed(stranger)));
    }
    assert!(takers.iter().all(|peer| !scene.is_closed(*peer)));
}
