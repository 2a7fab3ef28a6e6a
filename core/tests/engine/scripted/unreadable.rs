//! A piece that cannot be read is refused, and the rest of the torrent is uploaded.

use bitswarm_core::metainfo::create::Protocol;
use bitswarm_core::piece::{BLOCK_LEN, Block, PieceIndex};
use bitswarm_core::time::Duration;
use bitswarm_core::wire::Message;
use bitswarm_core::{ConnId, TorrentNotice};

use super::scene::{PEER, Sample, Scene};

fn block(piece: u32) -> Block {
    Block { piece: PieceIndex(piece), begin: 0, length: BLOCK_LEN }
}

/// Which of these pieces a peer is sent a block of.
fn served(scene: &mut Scene, peer: ConnId, pieces: &[u32]) -> Vec<u32> {
    pieces.iter().for_each(|piece| scene.say(peer, Message::Request(block(*piece))));
    let said = scene.heard(peer).into_iter();
    let sent = said.filter_map(|message| match message {
        Message::Piece { piece, .. } => Some(piece.0),
        _ => None,
    });
    sent.collect()
}

#[test]
fn one_file_that_cannot_be_read_does_not_stop_the_others() {
    let length = 2 * BLOCK_LEN as usize;
    let sample = Sample::new(Protocol::V1, BLOCK_LEN, &[(length, false), (length, false)]);
    let mut scene = Scene::seed(&sample);
    let peer = scene.arrive(&sample, PEER, true).expect("accepted");
    scene.say(peer, Message::HaveNone);
    scene.say(peer, Message::Interested);
    scene.heard(peer);
    let (path, data) = sample.files[0].clone();
    scene.disk_mut().insert(&path, Vec::new());
    for _ in 0..4 {
        assert_eq!(served(&mut scene, peer, &[0, 2, 1, 3]), [2, 3]);
        scene.wait(Duration::from_secs(20));
    }
    let failed = |what: &&&TorrentNotice| matches!(what, TorrentNotice::DiskFailed { .. });
    assert_eq!(scene.notices().iter().filter(failed).count(), 1);
    let newcomer = scene.arrive(&sample, "50.0.3.1:1000", true).expect("accepted");
    scene.say(newcomer, Message::HaveNone);
    scene.say(newcomer, Message::Interested);
    assert_eq!(served(&mut scene, newcomer, &[3, 0]), [3]);
    scene.disk_mut().insert(path, data);
    scene.wait(Duration::from_secs(60));
    assert!(scene.notices().contains(&&TorrentNotice::DiskRecovered));
    assert_eq!(served(&mut scene, peer, &[0, 1, 2, 3]), [0, 1, 2, 3]);
}
