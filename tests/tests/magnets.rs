//! Magnet links in the simulator: the metadata is fetched from honest peers among liars, survives a
//! restart, and becomes an ordinary download.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bitswarm_core::Commands;
use bitswarm_core::disk::StateName;
use bitswarm_core::metainfo::Magnet;
use bitswarm_core::notice::TorrentNotice;
use bitswarm_core::record::Recorder;
use bitswarm_core::time::Duration;
use bitswarm_core::torrent::{AddTorrent, TorrentState};
use bitswarm_tests::sim::content::Content;
use bitswarm_tests::sim::network::{Death, HostId, Link};
use bitswarm_tests::sim::scripted::peer::{Behaviour, Metadata, Peer};
use bitswarm_tests::sim::world::World;

const KIB: u64 = 1 << 10;

/// A world with one torrent that is known by its magnet link.
struct Scene {
    world: World,
    content: Arc<Content>,
    seed: u64,
}

impl Scene {
    /// The metadata has some 54 KiB: four pieces.
    fn new(seed: u64) -> Self {
        Self::of(seed, 640 * KIB, 32 << 10)
    }

    fn of(seed: u64, length: u64, piece_len: u32) -> Self {
        let long_names: Vec<String> = (0..280).map(|n| format!("{n:0>170}")).collect();
        let mut files = vec![("a", length / 2), ("empty", 0), ("d/b", length - length / 2)];
        files.extend(long_names.iter().map(|name| (name.as_str(), 0)));
        let content = Content::multi(seed, "magnet", &files, piece_len);
        Scene { world: World::new(seed), content, seed }
    }

    fn seeder(&mut self) -> HostId {
        let host = self.world.add_engine("seeder", home(), |_| {});
        self.world.plant(host, &self.content);
        self.world.add_torrent(host, &self.content, |_| {});
        host
    }

    fn leecher(&mut self, peers: &[SocketAddr]) -> HostId {
        self.named_leecher("leecher", peers)
    }

    fn named_leecher(&mut self, name: &str, peers: &[SocketAddr]) -> HostId {
        let host = self.world.add_engine(name, home(), |_| {});
        self.add_magnet(host, |add| add.peers = peers.to_vec());
        host
    }

    fn add_magnet(&mut self, host: HostId, edit: impl FnOnce(&mut AddTorrent)) {
        let magnet = Magnet::new(self.content.infohash());
        self.world.add_torrent(host, &self.content, |add| {
            add.source = magnet.into();
            edit(add);
        });
    }

    fn peer(&mut self, name: &str, metadata: Metadata) -> HostId {
        let behaviour = Behaviour { metadata, ..Behaviour::seeder() };
        let peer = Peer::new(self.seed, name, &self.content, behaviour);
        self.world.add_script(name, home(), Box::new(peer))
    }

    fn addrs(&self, hosts: &[HostId]) -> Vec<SocketAddr> {
        hosts.iter().map(|host| self.world.addr(*host)).collect()
    }

    fn finish(&mut self, host: HostId, within_s: u64) {
        let deadline = self.world.now() + Duration::from_secs(within_s);
        let run = self.world.run_until(deadline, |world| world.has_finished(host));
        run.unwrap_or_else(|failure| panic!("{failure}"));
        assert!(self.world.has_all_bytes(host), "finished, but bytes are missing on disk");
    }

    fn run(&mut self, seconds: u64) {
        let run = self.world.run_for(Duration::from_secs(seconds));
        run.unwrap_or_else(|failure| panic!("{failure}"));
    }

    fn state(&self, host: HostId) -> TorrentState {
        self.world.status(host).expect("it has a torrent").state
    }

    fn banned(&self, host: HostId) -> Vec<IpAddr> {
        let banned = self.world.notices(host).filter_map(|notice| match notice {
            TorrentNotice::PeerBanned { addr, .. } => Some(addr.ip()),
            _ => None,
        });
        banned.collect()
    }
}

fn home() -> Link {
    Link::home(500_000, 2_000_000)
}

#[test]
fn a_magnet_link_becomes_a_download_from_one_engine() {
    for seed in 0..5 {
        let mut scene = Scene::new(seed);
        let seeder = scene.seeder();
        let peers = scene.addrs(&[seeder]);
        let leecher = scene.leecher(&peers);
        scene.finish(leecher, 60);
        let is_peer =
            |notice: &&TorrentNotice| matches!(notice, TorrentNotice::PeerConnected { .. });
        let began = scene.world.notices(leecher).find(|notice| !is_peer(notice));
        assert!(matches!(began, Some(TorrentNotice::MetadataReceived { .. })), "{began:?}");
    }
}

#[test]
fn a_peer_that_learnt_the_metadata_gives_it_to_the_next() {
    let mut scene = Scene::new(1);
    let seeder = scene.seeder();
    let first = scene.leecher(&scene.addrs(&[seeder]));
    let peers = scene.addrs(&[first]);
    let second = scene.named_leecher("second", &peers);
    scene.finish(second, 120);
}

#[test]
fn one_honest_peer_among_liars_suffices_and_is_not_banned() {
    let liars = [
        Metadata::Garbage,
        Metadata::Garbage,
        Metadata::Garbage,
        Metadata::Stalls,
        Metadata::Rejects,
        Metadata::Claims(-1),
        Metadata::Claims(0),
        Metadata::Claims(1 << 31),
        Metadata::Claims(100_000),
        Metadata::Floods(20),
        Metadata::No,
    ];
    for seed in 0..10 {
        let mut scene = Scene::new(seed);
        let honest = scene.seeder();
        let others: Vec<(HostId, Metadata)> = liars
            .iter()
            .enumerate()
            .map(|(number, manner)| (scene.peer(&format!("liar {number}"), *manner), *manner))
            .collect();
        let mut hosts: Vec<HostId> = others.iter().map(|(host, _)| *host).collect();
        hosts.push(honest);
        let peers = scene.addrs(&hosts);
        let leecher = scene.leecher(&peers);
        scene.finish(leecher, 120);
        for banned in scene.banned(leecher) {
            let garbage = others.iter().any(|(host, manner)| {
                *manner == Metadata::Garbage && scene.world.addr(*host).ip() == banned
            });
            assert!(garbage, "seed {seed}: {banned} is banned and sent no garbage");
        }
    }
}

#[test]
fn a_lone_liar_is_banned_and_the_fetch_waits_for_somebody_better() {
    let mut scene = Scene::new(3);
    let liar = scene.peer("liar", Metadata::Garbage);
    let leecher = scene.leecher(&scene.addrs(&[liar]));
    scene.run(60);
    assert_eq!(scene.banned(leecher), [scene.world.addr(liar).ip()]);
    assert_eq!(scene.state(leecher), TorrentState::Metadata);
    let honest = scene.seeder();
    let peers = scene.addrs(&[honest]);
    let id = scene.world.torrent_id(leecher);
    scene
        .world
        .call(leecher, "add_peers", |engine, now| engine.add_peers(now, id, &peers))
        .expect("it is there");
    scene.finish(leecher, 60);
}

#[test]
fn a_restart_finds_the_metadata_that_was_known() {
    let mut scene = Scene::of(4, 8 << 20, 64 << 10);
    let seeder = scene.seeder();
    let peers = scene.addrs(&[seeder]);
    let leecher = scene.leecher(&peers);
    let infohash = scene.content.infohash();
    scene.run(6);
    assert_eq!(scene.state(leecher), TorrentState::Downloading);
    let saved = scene.world.engine_host(leecher).disk.state(StateName::Metadata(infohash));
    assert!(saved.is_some_and(|bytes| bytes.starts_with(b"d")), "a metainfo is kept");
    scene.world.crash(leecher, Death::Process);
    scene.world.crash(seeder, Death::Process);
    scene.world.restart(leecher);
    scene.run(5);
    assert_eq!(scene.state(leecher), TorrentState::Downloading, "nobody was asked again");
    scene.world.restart(seeder);
    scene.finish(leecher, 300);
}

#[test]
fn a_restart_before_anybody_was_found_goes_on_asking() {
    let mut scene = Scene::new(5);
    let leecher = scene.leecher(&[]);
    scene.run(5);
    let infohash = scene.content.infohash();
    let saved = scene.world.engine_host(leecher).disk.state(StateName::Metadata(infohash));
    assert!(saved.is_some_and(|bytes| bytes.starts_with(b"magnet:?")), "the link is kept");
    scene.world.crash(leecher, Death::Process);
    let seeder = scene.seeder();
    let peers = scene.addrs(&[seeder]);
    scene.world.restart(leecher);
    let id = scene.world.torrent_id(leecher);
    scene
        .world
        .call(leecher, "add_peers", |engine, now| engine.add_peers(now, id, &peers))
        .expect("it is there");
    scene.finish(leecher, 60);
}

#[test]
fn what_is_on_disk_already_is_found_when_the_metadata_is_known() {
    let mut scene = Scene::new(6);
    let seeder = scene.seeder();
    let peers = scene.addrs(&[seeder]);
    let leecher = scene.world.add_engine("leecher", home(), |_| {});
    let content = scene.content.clone();
    scene.world.plant(leecher, &content);
    scene.add_magnet(leecher, |add| add.peers = peers);
    scene.finish(leecher, 60);
    assert_eq!(scene.world.status(leecher).expect("there").downloaded_bytes, 0);
}

#[test]
fn only_the_metadata_is_fetched_if_that_is_all_that_is_wanted() {
    let mut scene = Scene::new(7);
    let seeder = scene.seeder();
    let peers = scene.addrs(&[seeder]);
    let leecher = scene.world.add_engine("leecher", home(), |_| {});
    scene.add_magnet(leecher, |add| {
        add.peers = peers;
        add.metadata_only = true;
    });
    scene.run(10);
    assert_eq!(scene.state(leecher), TorrentState::Paused);
    let status = scene.world.status(leecher).expect("there");
    assert_eq!((status.name.as_str(), status.peers), ("magnet", 0));
    assert_eq!(status.pieces, scene.content.pieces());
    let id = scene.world.torrent_id(leecher);
    scene.world.call(leecher, "resume", |engine, now| engine.resume(now, id)).expect("there");
    scene.finish(leecher, 60);
}

#[test]
fn a_link_that_selects_files_downloads_those() {
    let mut scene = Scene::new(8);
    let seeder = scene.seeder();
    let peers = scene.addrs(&[seeder]);
    let leecher = scene.world.add_engine("leecher", home(), |_| {});
    let mut magnet = Magnet::new(scene.content.infohash());
    magnet.select = "2".parse().ok();
    scene.add_magnet(leecher, |add| {
        add.peers = peers;
        add.source = magnet.into();
    });
    scene.run(30);
    let status = scene.world.status(leecher).expect("there");
    assert_eq!(status.state, TorrentState::Seeding, "{status:?}");
    assert_eq!(status.wanted_bytes, 320 * KIB);
}

#[test]
fn pieces_that_a_peer_no_longer_has_come_from_others() {
    for fast in [true, false] {
        let mut scene = Scene::new(10);
        let behaviour =
            Behaviour { fast, loses: 3, metadata: Metadata::Gives, ..Behaviour::seeder() };
        let forgetful = Peer::new(scene.seed, "forgetful", &scene.content, behaviour);
        let forgetful = scene.world.add_script("forgetful", home(), Box::new(forgetful));
        let leecher = scene.leecher(&scene.addrs(&[forgetful]));
        scene.run(30);
        let status = scene.world.status(leecher).expect("there");
        assert_eq!(status.pieces_have, status.pieces - 3, "fast: {fast}");
        let asked = scene.world.script::<Peer>(forgetful).counts().requests;
        scene.run(30);
        let again = scene.world.script::<Peer>(forgetful).counts().requests;
        assert_eq!(again, asked, "it is not asked for what it said is gone");
        let seeder = scene.seeder();
        let peers = scene.addrs(&[seeder]);
        let id = scene.world.torrent_id(leecher);
        let call = |engine: &mut Recorder, now| engine.add_peers(now, id, &peers);
        scene.world.call(leecher, "add_peers", call).expect("it is there");
        scene.finish(leecher, 60);
    }
}

#[test]
fn who_asks_for_metadata_again_and_again_is_served_a_few_times() {
    let mut scene = Scene::new(9);
    let seeder = scene.seeder();
    let addr = scene.world.addr(seeder);
    let asker = bitswarm_tests::sim::scripted::asker::Asker::new(&scene.content, addr, 5000);
    let asker = scene.world.add_script("asker", home(), Box::new(asker));
    scene.run(50);
    let pieces = scene.content.info_bytes().len().div_ceil(16 << 10) as u64;
    let asker = scene.world.script::<bitswarm_tests::sim::scripted::asker::Asker>(asker);
    let (served, rejected) = (asker.served(), asker.rejected());
    assert_eq!(served, 3 * pieces);
    assert_eq!(served + rejected, 5000);
}
