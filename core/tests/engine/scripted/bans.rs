//! Whom a ban hits that are connected already.

use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::wire::Message;
use bitswarm_core::{Commands, ConnId, TorrentNotice};

use super::scene::{Sample, Scene};

/// A peer that sends wrong data alone, and is banned for it.
fn offend(scene: &mut Scene, sample: &Sample, from: &str) -> ConnId {
    let wrong = Sample { bytes: vec![0; sample.bytes.len()], ..sample.clone() };
    let peer = scene.arrive(sample, from, true).expect("accepted");
    scene.say(peer, Message::HaveAll);
    scene.say(peer, Message::Unchoke);
    scene.serve(&wrong, peer);
    peer
}

#[test]
fn a_ban_in_all_torrents_ends_what_the_address_has_in_others_and_before_its_handshake() {
    let samples = [20_000, 21_000, 22_000].map(Sample::plain);
    let mut scene = Scene::leech(&samples[0]);
    for (other, root) in samples[1..].iter().zip(["/second", "/third"]) {
        let add = AddTorrent::new(other.metainfo.clone(), root);
        scene.ask(|engine, now, _| engine.add_torrent(now, add)).expect("new");
    }
    let of = |scene: &mut Scene, sample: &Sample, from| {
        let peer = scene.arrive(sample, from, true).expect("accepted");
        scene.say(peer, Message::HaveNone);
        peer
    };
    let in_first = of(&mut scene, &samples[0], "60.0.0.1:3000");
    let in_third = of(&mut scene, &samples[2], "60.0.0.1:3001");
    let silent = scene.connect_in("60.0.0.1:3002").expect("accepted");
    let elsewhere = of(&mut scene, &samples[0], "60.0.0.2:3000");
    let one = offend(&mut scene, &samples[0], "60.0.0.1:4000");
    assert!(scene.is_closed(one));
    for not_yet in [in_first, in_third, silent] {
        assert!(!scene.is_closed(not_yet));
    }
    let two = offend(&mut scene, &samples[1], "60.0.0.1:4001");
    let is_banned = |what: &&TorrentNotice| matches!(what, TorrentNotice::PeerBanned { .. });
    assert_eq!(scene.notices().into_iter().filter(is_banned).count(), 2);
    for banned in [two, in_first, in_third, silent] {
        assert!(scene.is_closed(banned));
    }
    assert!(!scene.is_closed(elsewhere));
    assert!(scene.connect_in("60.0.0.1:3003").is_none());
}
