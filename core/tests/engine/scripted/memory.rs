//! What peers make us hold, all of them together.

use bitswarm_core::metainfo::create::Protocol;
use bitswarm_core::piece::{BLOCK_LEN, Block, PieceIndex};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::wire::Message;
use bitswarm_core::{Commands, Config, ConnId};

use super::scene::{PEER, Sample, Scene, full_disk};

const MIB: usize = 1 << 20;
const PIECES: u32 = 16;

/// A seed of pieces of 256 KiB each of which some leech has, with little room for what it reads.
fn seed() -> (Sample, Scene) {
    let sample = Sample::new(Protocol::V1, 1 << 18, &[(PIECES as usize * MIB / 4, false)]);
    let mut config = Config::default();
    config.bounds.read_ahead_bytes = MIB;
    let mut scene = Scene::with(config, sample.add(), full_disk(&sample));
    for half in 0..2 {
        let leech = scene.arrive(&sample, &format!("50.7.{half}.1:1000"), true).expect("accepted");
        scene.say(leech, Message::HaveNone);
        scene.say(leech, Message::Interested);
        for piece in 0..PIECES / 2 {
            scene.say(leech, Message::Have(PieceIndex(half * PIECES / 2 + piece)));
        }
    }
    (sample, scene)
}

fn ask_for(scene: &mut Scene, peer: ConnId, piece: PieceIndex) {
    for number in 0..16 {
        let block = Block { piece, begin: number * BLOCK_LEN, length: BLOCK_LEN };
        scene.say(peer, Message::Request(block));
    }
}

#[test]
fn choked_peers_that_do_not_read_what_they_may_have_hold_up_nobody() {
    let (sample, mut scene) = seed();
    let mut allowed = 0;
    for number in 0..40 {
        let from = format!("60.{number}.0.1:1000");
        let peer = scene.arrive(&sample, &from, true).expect("accepted");
        scene.say(peer, Message::HaveNone);
        let said = scene.heard(peer);
        let pieces = said.into_iter().filter_map(|message| match message {
            Message::AllowedFast(piece) => Some(piece),
            _ => None,
        });
        // It asks for all of them, and takes nothing from now on.
        for piece in pieces {
            allowed += 1;
            ask_for(&mut scene, peer, piece);
        }
    }
    assert!(allowed >= 200, "{allowed}");
    let honest = scene.arrive(&sample, PEER, true).expect("accepted");
    scene.say(honest, Message::HaveNone);
    scene.say(honest, Message::Interested);
    assert!(scene.heard(honest).contains(&Message::Unchoke));
    ask_for(&mut scene, honest, PieceIndex(3));
    let mut blocks = 0;
    for _ in 0..100 {
        let said = scene.heard(honest);
        blocks += said.iter().filter(|said| matches!(said, Message::Piece { .. })).count();
    }
    assert_eq!(blocks, 16);
}

#[test]
fn half_messages_of_a_hundred_peers_are_bounded_together() {
    let (sample, mut scene) = seed();
    let mut start = ((MIB - 10) as u32).to_be_bytes().to_vec();
    start.extend([20, 5]);
    start.resize(MIB - 1000, 7);
    let mut open = Vec::new();
    for number in 0..100 {
        let from = format!("60.{number}.0.1:1000");
        let Some(peer) = scene.arrive(&sample, &from, true) else { continue };
        scene.receive(peer, &start);
        open.push(peer);
    }
    let held = open.iter().filter(|peer| !scene.is_closed(**peer)).count() * start.len();
    assert!(held <= 17 * MIB, "{} MiB", held / MIB);
    let honest = scene.arrive(&sample, PEER, true).expect("accepted");
    scene.say(honest, Message::HaveNone);
    scene.say(honest, Message::Interested);
    assert!(scene.heard(honest).contains(&Message::Unchoke));
}

#[test]
fn who_holds_most_goes_whatever_torrent_that_is_of() {
    let (sample, mut scene) = seed();
    let other = Sample::plain(100_000);
    let add = AddTorrent::new(other.metainfo.clone(), "/other");
    scene.ask(|engine, now, _| engine.add_torrent(now, add)).expect("new");
    let honest = scene.arrive(&sample, PEER, true).expect("accepted");
    let half = |len: usize, of: usize| {
        let mut start = (of as u32).to_be_bytes().to_vec();
        start.extend([20, 5]);
        start.resize(len, 7);
        start
    };
    let hoarders: Vec<ConnId> = (0..16)
        .map(|number| {
            let from = format!("60.{number}.0.1:1000");
            let peer = scene.arrive(&other, &from, true).expect("accepted");
            scene.receive(peer, &half(MIB - 1000, MIB - 10));
            peer
        })
        .collect();
    assert!(!hoarders.iter().any(|peer| scene.is_closed(*peer)), "all of it is within the bound");
    scene.receive(honest, &half(17_000, 20_000));
    assert!(!scene.is_closed(honest));
    assert_eq!(hoarders.iter().filter(|peer| scene.is_closed(**peer)).count(), 1);
}
