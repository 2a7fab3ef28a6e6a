//! Encrypted connections (MSE): engines of each policy among peers that encrypt, do not, hold to the
//! infohash they were encrypted for, or lie.

use bitswarm_core::encryption::EncryptionPolicy;
use bitswarm_core::time::Duration;
use bitswarm_tests::sim::content::{Content, Kind};
use bitswarm_tests::sim::network::{Disturbance, HostId};
use bitswarm_tests::sim::scripted::hostile::Hostile;
use bitswarm_tests::sim::scripted::peer::{Behaviour, Encryption, Peer};
use bitswarm_tests::sim::world::World;

use super::scene::{MIB, Scene, home};
use EncryptionPolicy::{Allow, Off, Prefer, Require};

impl Scene {
    fn engine(&mut self, name: &str, policy: EncryptionPolicy) -> HostId {
        self.world.add_engine(name, home(), |config| config.encryption = policy)
    }

    fn leecher_of(&mut self, policy: EncryptionPolicy, peers: &[HostId]) -> HostId {
        let host = self.engine("leecher", policy);
        let peers = self.addrs(peers);
        self.world.add_torrent(host, &self.content.clone(), |add| add.peers = peers);
        host
    }

    fn seeder_of(&mut self, policy: EncryptionPolicy) -> HostId {
        let host = self.engine("seeder", policy);
        let content = self.content.clone();
        self.world.plant(host, &content);
        self.world.add_torrent(host, &content, |_| {});
        host
    }
}

#[test]
fn an_engine_of_each_policy_downloads_from_peers_that_encrypt_or_do_not() {
    let peers = [Encryption::Refuses, Encryption::Takes, Encryption::Prefers, Encryption::Requires];
    // Whether the connection is encrypted; `None`: there is none.
    let expected = [
        (Off, [Some(false), Some(false), Some(false), None]),
        (Allow, [Some(false), Some(false), Some(false), Some(true)]),
        (Prefer, [Some(false), Some(true), Some(true), Some(true)]),
        (Require, [None, Some(true), Some(true), Some(true)]),
    ];
    for (policy, row) in expected {
        for (encryption, agreed) in peers.into_iter().zip(row) {
            let mut scene = Scene::new(1, MIB / 4);
            scene.world.net().disturbance = Disturbance::rough();
            let behaviour = Behaviour { encryption, ..Behaviour::seeder() };
            let seeder = scene.peer("seeder", home(), behaviour);
            let leecher = scene.leecher_of(policy, &[seeder]);
            let Some(encrypted) = agreed else {
                scene.run(Duration::from_secs(60));
                assert!(!scene.world.is_complete(leecher), "{policy:?}, {encryption:?}");
                continue;
            };
            // A refusal is redialled at once.
            scene.finish(leecher, 10);
            let counts = scene.world.script::<Peer>(seeder).counts();
            assert_eq!(counts.encrypted > 0, encrypted, "{policy:?}, {encryption:?}");
            let tally = scene.world.engine_host(leecher).checker().tally();
            assert_eq!(tally.encrypted > 0, encrypted, "what the checker sees");
        }
    }
}

#[test]
fn peers_that_encrypt_or_do_not_download_from_an_engine() {
    for policy in [Allow, Prefer, Require] {
        for encryption in [Encryption::Takes, Encryption::Prefers, Encryption::Requires] {
            if policy == Require && encryption == Encryption::Takes {
                continue;
            }
            let mut scene = Scene::new(2, MIB / 4);
            scene.world.net().disturbance = Disturbance::rough();
            let seeder = scene.seeder_of(policy);
            let behaviour = Behaviour { encryption, ..Behaviour::leecher(scene.addrs(&[seeder])) };
            let leecher = scene.peer("leecher", home(), behaviour);
            let done = |world: &World| world.script::<Peer>(leecher).is_complete();
            let deadline = scene.world.now() + Duration::from_secs(20);
            scene.world.run_until(deadline, done).unwrap_or_else(|failure| panic!("{failure}"));
        }
    }
}

/// The answer to whoever dials waited until something else was to be sent, when the offer came before the
/// host had reported the key as sent.
#[test]
fn who_waits_for_our_answer_before_it_says_a_word_gets_it() {
    for seed in 0..8 {
        let mut scene = Scene::new(seed, MIB / 8);
        let seeder = scene.seeder_of(Allow);
        scene.world.engine_host_mut(seeder).manners.sent_late = Duration::from_millis(400);
        let encryption = Encryption::Requires;
        let behaviour = Behaviour { encryption, ..Behaviour::leecher(scene.addrs(&[seeder])) };
        let leecher = scene.peer("leecher", home(), behaviour);
        let greeted = |world: &World| world.script::<Peer>(leecher).counts().greeted > 0;
        let deadline = scene.world.now() + Duration::from_secs(5);
        scene.world.run_until(deadline, greeted).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn a_peer_of_a_hybrid_that_holds_to_v1_when_encrypted_is_dialled_once_more_by_v2() {
    for policy in [Allow, Prefer, Require] {
        let content = Content::multi_of(Kind::Hybrid, 3, "scene", &[("a", MIB)], 64 << 10);
        let mut scene = Scene { content, world: World::new(3), seed: 3 };
        let encryption = Encryption::Requires;
        let seeder = Behaviour { encryption, ..Behaviour::seeder() };
        let seeder = scene.peer("seeder", home(), seeder);
        let leecher = scene.leecher_of(policy, &[seeder]);
        scene.finish(leecher, 10);
        let counts = scene.world.script::<Peer>(seeder).counts();
        assert_eq!((counts.greeted, counts.greeted_v2), (2, 1), "{policy:?}");
    }
}

#[test]
fn who_lies_about_encryption_is_hung_up_on_and_hurts_nobody() {
    for policy in [Allow, Prefer, Require] {
        for seed in 0..6 {
            let mut scene = Scene::new(seed, MIB);
            scene.world.net().disturbance = Disturbance::rough();
            let seeder = scene.seeder_of(policy);
            let content = scene.content.clone();
            let liars = [0, 1].map(|number| {
                let name = format!("liar {number}");
                let targets = scene.addrs(&[seeder]);
                let liar = Hostile::new(seed, &name, &content, targets).lying_about_encryption();
                scene.world.add_script(&name, home(), Box::new(liar))
            });
            let leecher = scene.leecher_of(policy, &[liars[0], liars[1], seeder]);
            scene.finish(leecher, 60);
            scene.run(Duration::from_secs(60));
            let tried = liars.map(|liar| scene.world.script::<Hostile>(liar).connections());
            assert!(tried.iter().all(|tried| *tried >= 3), "{policy:?}: {tried:?}");
        }
    }
}
