//! Peers that break the protocol, and what the application hears of that.

use bitswarm_core::TorrentNotice;
use bitswarm_core::piece::PieceIndex;
use bitswarm_core::time::Duration;
use bitswarm_core::wire::{Message, Violation};

use super::scene::{PEER, Sample, Scene, addr};

/// The breaches that were told of: what, and whether it ended the connection.
fn told(scene: &Scene) -> Vec<(Violation, bool)> {
    let told = scene.notices().into_iter().filter_map(|notice| match notice {
        TorrentNotice::PeerViolated { addr: of, violation, disconnected, not_shown: 0 } => {
            assert_eq!(*of, addr(PEER));
            Some((*violation, *disconnected))
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn the_first_message_that_is_left_out_is_told_of_and_the_one_that_ends_the_connection() {
    let sample = Sample::plain(100_000);
    let mut scene = Scene::leech(&sample);
    let peer = scene.greet(&sample, PEER, true);
    assert_eq!(told(&scene), []);
    let far = PieceIndex(77);
    for _ in 0..5 {
        scene.say(peer, Message::Have(far));
    }
    let left_out = (Violation::PieceOutOfRange { id: 4, piece: far }, false);
    assert_eq!(told(&scene), [left_out]);
    assert!(!scene.is_closed(peer));
    scene.receive(peer, &[0xff; 4]);
    assert!(scene.is_closed(peer));
    let [_, (Violation::MessageTooLong { .. }, true)] = told(&scene)[..] else {
        panic!("{:?}", told(&scene));
    };
    scene.wait(Duration::from_secs(1));
    assert_eq!(told(&scene).len(), 2);
}
