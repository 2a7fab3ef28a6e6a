//! Peer exchange in the simulator: peers find each other by it, no flood gets far, and private
//! torrents know nothing of it.

use std::net::SocketAddr;
use std::sync::Arc;

use bitswarm_core::metainfo::Magnet;
use bitswarm_core::time::Duration;
use bitswarm_tests::sim::content::Content;
use bitswarm_tests::sim::network::{HostId, Link};
use bitswarm_tests::sim::scripted::gossip::Gossip;
use bitswarm_tests::sim::world::World;

struct Scene {
    world: World,
    content: Arc<Content>,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let content = Content::single(seed, "gossip", 4 << 20, 64 << 10);
        Scene { world: World::new(seed), content }
    }

    fn engine(&mut self, name: &str, peers: &[HostId], has_all: bool) -> HostId {
        let peers: Vec<SocketAddr> = peers.iter().map(|host| self.world.addr(*host)).collect();
        let host = self.world.add_engine(name, Link::home(500_000, 2_000_000), |_| {});
        let content = self.content.clone();
        if has_all {
            self.world.plant(host, &content);
        }
        self.world.add_torrent(host, &content, |add| add.peers = peers);
        host
    }

    fn gossip(&mut self, whom: HostId, addrs: Vec<SocketAddr>, per_message: usize) -> HostId {
        let whom = self.world.addr(whom);
        let every = Duration::from_secs(if per_message == 1 { 1 } else { 70 });
        let script = Gossip::new(&self.content, whom, addrs, per_message, every);
        self.world.add_script("gossip", Link::home(500_000, 2_000_000), Box::new(script))
    }

    fn run(&mut self, seconds: u64) {
        let run = self.world.run_for(Duration::from_secs(seconds));
        run.unwrap_or_else(|failure| panic!("{failure}"));
    }

    fn known(&self, host: HostId) -> usize {
        self.world.status(host).expect("it has a torrent").known_peers
    }
}

fn strangers(count: u32) -> Vec<SocketAddr> {
    let addr = |n: u32| SocketAddr::from(([60, (n >> 16) as u8, (n >> 8) as u8, n as u8], 6881));
    (0..count).map(addr).collect()
}

#[test]
fn two_who_know_the_same_peer_find_each_other() {
    let mut scene = Scene::new(1);
    let middle = scene.engine("middle", &[], false);
    let left = scene.engine("left", &[middle], false);
    let right = scene.engine("right", &[middle], false);
    scene.run(120);
    assert_eq!((scene.known(left), scene.known(right)), (2, 2));
    let peers = |host| scene.world.status(host).expect("there").peers;
    assert_eq!((peers(left), peers(right)), (2, 2));
}

#[test]
fn seeds_that_have_left_each_other_are_told_to_who_comes_next() {
    let mut scene = Scene::new(7);
    let seed = scene.engine("seed", &[], true);
    let middle = scene.engine("middle", &[seed], false);
    scene.run(60);
    let status = scene.world.status(middle).expect("there");
    assert_eq!((status.done_bytes, status.peers), (status.total_bytes, 0));
    let last = scene.engine("last", &[middle], false);
    scene.run(10);
    assert_eq!(scene.known(last), 2);
}

#[test]
fn peers_are_told_at_most_once_a_minute_of_those_who_are_connected() {
    let mut scene = Scene::new(2);
    let middle = scene.engine("middle", &[], false);
    let gossip = scene.gossip(middle, Vec::new(), 10);
    for number in 0..5 {
        scene.engine(&format!("engine {number}"), &[middle], false);
        scene.run(20);
    }
    scene.run(200);
    let gossip = scene.world.script::<Gossip>(gossip);
    assert_eq!(gossip.told().len(), 5);
    let times = gossip.told_at();
    assert!(!times.is_empty());
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(60)), "{times:?}");
}

#[test]
fn thousands_of_addresses_from_one_peer_are_bounded() {
    let mut scene = Scene::new(3);
    let engine = scene.engine("engine", &[], false);
    let gossip = scene.gossip(engine, strangers(200_000), 20_000);
    scene.run(600);
    assert!(scene.known(engine) <= 201, "{} are known", scene.known(engine));
    assert!(!scene.world.script::<Gossip>(gossip).is_over());
}

#[test]
fn messages_without_end_end_the_connection() {
    let mut scene = Scene::new(4);
    let engine = scene.engine("engine", &[], false);
    let gossip = scene.gossip(engine, strangers(500), 1);
    scene.run(100);
    assert!(scene.world.script::<Gossip>(gossip).is_over());
    assert!(scene.known(engine) <= 5, "{} are known", scene.known(engine));
}

#[test]
fn private_torrents_exchange_nothing() {
    let mut scene = Scene::new(5);
    scene.content = scene.content.private();
    let middle = scene.engine("middle", &[], false);
    let left = scene.engine("left", &[middle], false);
    let right = scene.engine("right", &[middle], false);
    let gossip = scene.gossip(middle, strangers(50), 50);
    scene.run(200);
    assert_eq!((scene.known(left), scene.known(right), scene.known(middle)), (1, 1, 2));
    let gossip = scene.world.script::<Gossip>(gossip);
    assert!(!gossip.was_invited() && gossip.told().is_empty());
}

#[test]
fn what_was_found_before_a_torrent_was_known_to_be_private_is_forgotten() {
    let mut scene = Scene::new(6);
    scene.content = scene.content.private();
    let content = scene.content.clone();
    let host = scene.world.add_engine("leecher", Link::home(500_000, 2_000_000), |_| {});
    let magnet = Magnet::new(content.infohash());
    scene.world.add_torrent(host, &content, |add| add.source = magnet.into());
    let gossip = scene.gossip(host, strangers(50), 50);
    scene.run(20);
    assert!(scene.world.script::<Gossip>(gossip).was_invited());
    assert_eq!(scene.known(host), 50);
    let seeder = scene.engine("seeder", &[host], true);
    let deadline = scene.world.now() + Duration::from_secs(120);
    let done = scene.world.run_until(deadline, |world| world.has_finished(host));
    done.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(scene.known(host), 1, "the seeder, which dialled in");
    assert_eq!(scene.known(seeder), 1);
}
