//! What the scenarios have in common: a world with one torrent.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bitswarm_core::notice::TorrentNotice;
use bitswarm_core::time::Duration;
use bitswarm_tests::sim::content::Content;
use bitswarm_tests::sim::network::{HostId, Link};
use bitswarm_tests::sim::scripted::peer::{Behaviour, Peer};
use bitswarm_tests::sim::world::{Failure, World};

pub(crate) const MIB: u64 = 1 << 20;

/// A world with one torrent.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) content: Arc<Content>,
    pub(crate) seed: u64,
}

impl Scene {
    pub(crate) fn new(seed: u64, length: u64) -> Self {
        let content = Content::multi(
            seed,
            "scene",
            &[("first", length / 3), ("none", 0), ("dir/second", length - length / 3)],
            64 << 10,
        );
        Scene { world: World::new(seed), content, seed }
    }

    /// An engine that has everything.
    pub(crate) fn seeder(&mut self, link: Link) -> HostId {
        self.named_seeder("seeder", link)
    }

    /// The same where there are several: engines of one name take each other for themselves.
    pub(crate) fn named_seeder(&mut self, name: &str, link: Link) -> HostId {
        let host = self.world.add_engine(name, link, |_| {});
        self.world.plant(host, &self.content);
        self.world.add_torrent(host, &self.content, |_| {});
        host
    }

    /// An engine that has nothing and knows these peers.
    pub(crate) fn leecher(&mut self, link: Link, peers: &[SocketAddr]) -> HostId {
        // Engines of one name would have one peer id, and take each other for themselves.
        let name = format!("leecher {}", self.world.engine_hosts().count());
        let host = self.world.add_engine(&name, link, |_| {});
        self.world.add_torrent(host, &self.content, |add| add.peers = peers.to_vec());
        host
    }

    /// A scripted peer.
    pub(crate) fn peer(&mut self, name: &str, link: Link, behaviour: Behaviour) -> HostId {
        let peer = Peer::new(self.seed, name, &self.content, behaviour);
        self.world.add_script(name, link, Box::new(peer))
    }

    /// A piece on the host's disk is not what it was.
    pub(crate) fn spoil(&mut self, host: HostId, piece: u32) {
        let mut at = u64::from(piece) * self.content.piece(0).len() as u64;
        for (path, length) in self.content.paths("/data".as_ref()) {
            if at < length {
                let now = self.world.now();
                let disk = &mut self.world.engine_host_mut(host).disk;
                return disk.tamper(now, &path, at as usize, &[0; 16]);
            }
            at -= length;
        }
    }

    pub(crate) fn addrs(&self, hosts: &[HostId]) -> Vec<SocketAddr> {
        hosts.iter().map(|host| self.world.addr(*host)).collect()
    }

    /// Runs until the host's engine says that it has finished, and compares every byte.
    pub(crate) fn finish(&mut self, host: HostId, within_s: u64) {
        self.try_finish(host, within_s).unwrap_or_else(|failure| panic!("{failure}"));
    }

    pub(crate) fn try_finish(&mut self, host: HostId, within_s: u64) -> Result<(), Failure> {
        let deadline = self.world.now() + Duration::from_secs(within_s);
        self.world.run_until(deadline, |world| world.has_finished(host))?;
        assert!(self.world.has_all_bytes(host), "finished, but bytes are missing on disk");
        Ok(())
    }

    pub(crate) fn run(&mut self, time: Duration) {
        self.world.run_for(time).unwrap_or_else(|failure| panic!("{failure}"));
    }

    pub(crate) fn banned(&self, host: HostId) -> Vec<IpAddr> {
        let banned = self.world.notices(host).filter_map(|notice| match notice {
            TorrentNotice::PeerBanned { addr, .. } => Some(addr.ip()),
            _ => None,
        });
        let banned: Vec<IpAddr> = banned.collect();
        let once: BTreeSet<&IpAddr> = banned.iter().collect();
        assert_eq!(once.len(), banned.len(), "a ban is told once");
        banned
    }

    pub(crate) fn saw(&self, host: HostId, wanted: impl Fn(&TorrentNotice) -> bool) -> bool {
        self.world.notices(host).any(wanted)
    }
}

/// A link as most homes have it.
pub(crate) fn home() -> Link {
    Link::home(500_000, 2_000_000)
}
