//! Who takes part in a storm: engines, scripted and hostile peers, trackers, nodes of the DHT, and over
//! which links.

use std::net::SocketAddr;

use bitswarm_core::config::{Choking, Config, DhtConfig, RateLimits, Transports};
use bitswarm_core::encryption::EncryptionPolicy;
use bitswarm_core::metainfo::Magnet;
use bitswarm_core::time::Duration;

use super::Storm;
use crate::sim::check::Meter;
use crate::sim::content::Kind;
use crate::sim::dice::Dice;
use crate::sim::network::{HostId, Link};
use crate::sim::scripted::Script;
use crate::sim::scripted::crowd::{self, Crowd};
use crate::sim::scripted::hostile::Hostile;
use crate::sim::scripted::peer::{
    Behaviour, Corrupt, Dialect, Encryption, Hashes, Metadata, Peer, Unchoke,
};
use crate::sim::scripted::tracker::{Answer, TRACKER_PORT, Tracker};
use crate::sim::scripted::udp_tracker::UdpTracker;

impl Storm {
    pub(super) fn link(&mut self) -> Link {
        let (low, high) = if self.options.slow_links > 0 { (13, 16) } else { (15, 20) };
        let up = 1 << self.dice.between(low..=high);
        let loss = self.options.loss_per_mille as u32;
        Link {
            latency: self.dice.up_to(Duration::from_millis(self.options.latency_ms)),
            jitter: self.dice.up_to(Duration::from_millis(self.options.latency_ms / 4)),
            accepts: !self.dice.chance(self.options.nat_per_mille as u32),
            loss_per_mille: loss,
            duplicate_per_mille: loss,
            reorder_per_mille: loss,
            burst_per_mille: if self.options.burst_ms > 0 { 20 } else { 0 },
            burst: Duration::from_millis(self.options.burst_ms),
            ..Link::home(up, up << self.dice.between(0..=4))
        }
    }

    /// An engine's settings.
    pub(super) fn config(&self) -> impl FnOnce(&mut Config) + use<> {
        let (small, limit) = (self.options.small_bounds > 0, self.options.limit);
        let (slots, places) = (self.options.slots as usize, self.options.places as usize);
        let transports = Transports { tcp: self.options.utp < 2, utp: self.options.utp > 0 };
        let private = self.options.private > 0;
        let encryption = match self.options.mse {
            0 => EncryptionPolicy::Off,
            1 => EncryptionPolicy::Allow,
            2 => EncryptionPolicy::Prefer,
            _ => EncryptionPolicy::Require,
        };
        let dht = self.dht_node.map(|host| dht_config(Some(self.world.addr(host))));
        move |config| {
            config.dht = dht;
            config.transports = transports;
            config.local_discovery = private;
            config.encryption = encryption;
            if places > 0 {
                config.connections.torrent = places;
                config.connections.handshaking = places;
            }
            if limit > 0 {
                let limit = Some(limit);
                config.limits = RateLimits { down_bytes_per_s: limit, up_bytes_per_s: limit };
            }
            if small {
                let bounds = &mut config.bounds;
                bounds.assembly_bytes = 64 << 10;
                bounds.write_backlog_bytes = 64 << 10;
                bounds.read_ahead_bytes = 64 << 10;
                bounds.peer_requests = 4;
                bounds.own_requests = 8;
                bounds.announces = 1;
                bounds.checking = 1;
                bounds.bans = 2;
                bounds.known_peers = 64;
                config.connections.half_open = 4;
                config.choking.slots = 2;
            }
            if slots > 0 {
                let (interval, optimistic_interval) =
                    (Duration::from_secs(1), Duration::from_secs(3));
                config.choking = Choking { slots, interval, optimistic_interval };
            }
        }
    }

    pub(super) fn populate(&mut self) {
        if self.options.dht > 0 {
            let link = Link::home(1 << 20, 1 << 20);
            let dht = Some(dht_config(None));
            self.dht_node = Some(self.world.add_engine("dht node", link, |c| c.dht = dht));
        }
        let urls = self.add_trackers();
        for number in 0..self.options.seeders {
            // Somebody must be reachable.
            let link = self.link();
            let link = if number == 0 { Link { accepts: true, ..link } } else { link };
            let host = self.add_engine(&format!("seeder {number}"), link);
            self.world.plant(host, &self.content);
            self.seeders.push(host);
        }
        for number in 0..self.options.leechers {
            let link = self.link();
            let host = self.add_engine(&format!("leecher {number}"), link);
            self.leechers.push(host);
        }
        let engines = self.engines();
        let targets: Vec<SocketAddr> = engines.iter().map(|host| self.world.addr(*host)).collect();
        self.add_scripts(&targets);
        self.add_hostiles(&targets);
        self.add_crowd(&targets);
        let everybody: Vec<HostId> =
            engines.iter().chain(&self.scripts).chain(&self.hostiles).copied().collect();
        let addrs: Vec<SocketAddr> = everybody.iter().map(|host| self.world.addr(*host)).collect();
        // With a tracker, scripted peers are not announced: they are known by address.
        let from = if self.tracker.is_none() { 0 } else { engines.len() };
        let nobody = |number: u64| SocketAddr::from(([60, 0, number as u8, 1], 6881));
        let dead = (0..self.options.dead_peers.min(255)).map(nobody);
        let known: Vec<SocketAddr> = addrs[from..].iter().copied().chain(dead).collect();
        for host in engines {
            let by_magnet = self.leechers.contains(&host)
                && self.dice.chance(self.options.magnets_per_mille as u32);
            if by_magnet {
                self.note("magnet link");
            }
            let magnet = by_magnet.then(|| self.magnet());
            self.world.add_torrent(host, &self.content.clone(), |add| {
                if let Some(magnet) = magnet {
                    add.source = magnet.into();
                }
                add.peers.clone_from(&known);
                add.trackers.extend(urls.clone());
            });
        }
        self.add_hostile_torrent(&self.engines());
        self.add_liars(&self.engines());
    }

    pub(super) fn add_engine(&mut self, name: &str, link: Link) -> HostId {
        let config = self.config();
        let host = self.world.add_engine(name, link, config);
        self.world.engine_host_mut(host).manners.sent_late =
            Duration::from_millis(self.options.sent_late_ms);
        let has_turns = self.options.has_turns();
        self.world.engine_host_mut(host).checker_mut().judge_turns(has_turns);
        if self.options.limit > 0 {
            let meter = Meter::new(self.options.limit);
            self.world.engine_host_mut(host).meters = Some((meter, meter));
        }
        host
    }

    pub(super) fn add_scripts(&mut self, targets: &[SocketAddr]) {
        for number in 0..self.options.scripts {
            let link = self.link();
            let mut behaviour = self.behaviour(targets);
            if self.content.kind() != Kind::V1 {
                behaviour.dialect = self.dialect();
                behaviour.hashes = self.hashes_of_a_script();
                behaviour.asks_hashes = self.v2_dice.chance(500);
            }
            behaviour.encryption = self.encryption_of_a_script();
            let lies = matches!(
                behaviour.metadata,
                Metadata::Garbage | Metadata::Claims(_) | Metadata::Floods(_)
            ) || behaviour.hashes.is_a_lie();
            let corrupts = behaviour.corrupt != Corrupt::Never || lies;
            let honest = behaviour.pipeline > 0 && behaviour.dial.contains(&targets[0]);
            let name = format!("script {number}");
            let peer = Peer::new(self.options.seed, &name, &self.content, behaviour);
            let host = self.world.add_script(&name, link, Box::new(peer));
            self.scripts.push(host);
            if corrupts {
                self.wrongdoers.insert(self.world.addr(host).ip());
            }
            if honest {
                self.honest_leechers.push(host);
            }
        }
    }

    pub(super) fn add_hostiles(&mut self, targets: &[SocketAddr]) {
        for number in 0..self.options.hostiles {
            let link = self.link();
            let name = format!("hostile {number}");
            let peer = Hostile::new(self.options.seed, &name, &self.content, targets.to_vec());
            let peer = if self.options.mse > 0 { peer.encrypting() } else { peer };
            let host = self.world.add_script(&name, link, Box::new(peer));
            self.hostiles.push(host);
            self.wrongdoers.insert(self.world.addr(host).ip());
        }
    }

    /// A crowd that takes places, one address each.
    pub(super) fn add_crowd(&mut self, targets: &[SocketAddr]) {
        let kinds = crowd::Kind::ALL;
        for number in 0..self.options.crowd {
            let kind = kinds.get(self.options.crowd_kind as usize).copied();
            let kind = kind.unwrap_or(kinds[number as usize % kinds.len()]);
            let name = format!("crowd {number}");
            let conns = self.options.crowd_conns as usize * targets.len();
            let (seed, content) = (self.options.seed, &self.content);
            let mut targets = targets.to_vec();
            let first = number as usize % targets.len().max(1);
            targets.rotate_left(first);
            let peer = Crowd::new(seed, &name, content, kind, targets, conns);
            let link = Link::home(1 << 17, 1 << 17);
            let host = self.world.add_script(&name, link, Box::new(peer));
            self.crowd.push(host);
        }
    }

    /// Trackers that are none, and one that is; none at all if peers meet by address.
    pub(super) fn add_trackers(&mut self) -> Vec<String> {
        let mut urls = Vec::new();
        for number in 0..self.options.bad_trackers {
            let name = format!("bad tracker {number}");
            let script: Box<dyn Script> = if self.options.udp > 0 {
                Box::new(UdpTracker::new(self.options.seed, &name, true))
            } else {
                Box::new(Tracker::new(Answer::Moody(Dice::new(self.options.seed, &name))))
            };
            let host = self.world.add_script(&name, Link::home(1 << 20, 1 << 20), script);
            self.bad_trackers.push(host);
            urls.push(self.announce_url(&self.world.addr(host).ip().to_string()));
        }
        if let Some(good) = self.add_tracker() {
            urls.push(good);
            return urls;
        }
        // Without a good one, the others say what they like to peers that know each other.
        urls
    }

    pub(super) fn add_tracker(&mut self) -> Option<String> {
        let link = Link::home(1 << 20, 1 << 20);
        let host = match self.options.meeting {
            0 => return None,
            1 => {
                let script: Box<dyn Script> = if self.options.udp > 0 {
                    Box::new(UdpTracker::new(self.options.seed, "tracker", false))
                } else {
                    Box::new(Tracker::new(Answer::Swarm(300)))
                };
                self.world.add_script("tracker", link, script)
            }
            _ => self.world.add_engine("tracker", link, |config| {
                config.tracker_listen = vec![([0, 0, 0, 0], TRACKER_PORT).into()];
            }),
        };
        self.tracker = Some(host);
        let ip = self.world.addr(host).ip();
        if self.dice.chance(500) {
            self.world.resolver().set("tracker.test", [ip]);
            return Some(self.announce_url("tracker.test"));
        }
        Some(self.announce_url(&ip.to_string()))
    }

    pub(super) fn announce_url(&self, host: &str) -> String {
        let scheme = if self.options.udp > 0 { "udp" } else { "http" };
        format!("{scheme}://{host}:{TRACKER_PORT}/announce")
    }

    /// A link to the torrent by one of its names, or by both.
    fn magnet(&mut self) -> Magnet {
        let v1 = Magnet::new(self.content.infohash());
        let Some(v2) = self.content.infohash_v2() else { return v1 };
        match (self.content.kind(), self.v2_dice.index(3)) {
            (Kind::Hybrid, 0) => v1,
            (Kind::Hybrid, 1) => Magnet { v2: Some(v2), ..v1 },
            _ => Magnet::new_v2(v2),
        }
    }

    /// Which versions a scripted peer knows of the torrent.
    pub(super) fn dialect(&mut self) -> Dialect {
        match (self.content.kind(), self.v2_dice.index(4)) {
            (Kind::Hybrid, 0) => Dialect::V1,
            (Kind::Hybrid, 1) => Dialect::V2,
            _ => Dialect::Both,
        }
    }

    /// Whether a scripted peer encrypts, so that the engines take it.
    pub(super) fn encryption_of_a_script(&mut self) -> Encryption {
        match (self.options.mse, self.mse_dice.index(4)) {
            (0, _) => Encryption::Off,
            (3.., _) | (_, 0) => Encryption::Requires,
            (_, 1) => Encryption::Prefers,
            (_, 2) => Encryption::Takes,
            _ => Encryption::Refuses,
        }
    }

    fn hashes_of_a_script(&mut self) -> Hashes {
        let dice = &mut self.v2_dice;
        if !dice.chance(self.options.hash_trouble_per_mille as u32) {
            return Hashes::Gives;
        }
        match dice.index(6) {
            0 => Hashes::Wrong,
            1 => Hashes::WrongProof,
            2 => Hashes::WrongLength,
            3 => Hashes::Rejects,
            4 => Hashes::Stalls,
            _ => Hashes::Floods(dice.between(1..=50) as u32),
        }
    }

    pub(super) fn behaviour(&mut self, targets: &[SocketAddr]) -> Behaviour {
        let dice = &mut self.dice;
        let mut dial = targets.to_vec();
        dice.shuffle(&mut dial);
        dial.truncate(dice.index(targets.len() + 1));
        let seeder = Behaviour {
            dial: dial.clone(),
            fast: dice.chance(500),
            extended: dice.chance(500),
            metadata: if self.options.magnets_per_mille > 0 {
                metadata_of_a_script(dice)
            } else {
                Metadata::No
            },
            ..Behaviour::seeder()
        };
        match dice.index(6) {
            0 => Behaviour { corrupt: Corrupt::Always, ..seeder },
            1 => Behaviour { corrupt: Corrupt::PerMille(dice.between(1..=500) as u32), ..seeder },
            2 => Behaviour { stall_after: Some(dice.between(0..=40)), ..seeder },
            3 => Behaviour { vanish_after: Some(dice.between(1..=40)), ..seeder },
            4 => {
                let turn = Duration::from_millis(dice.between(50..=5000));
                Behaviour { unchoke: Unchoke::Flap(turn), ..seeder }
            }
            _ => Behaviour { seed: false, pipeline: dice.between(1..=64) as usize, ..seeder },
        }
    }
}

/// A node of the DHT that knows this host, or begins with nobody.
fn dht_config(knows: Option<SocketAddr>) -> DhtConfig {
    let bootstrap = knows.map(|addr| (addr.ip().to_string(), addr.port()));
    DhtConfig { bootstrap: bootstrap.into_iter().collect(), ..DhtConfig::default() }
}

fn metadata_of_a_script(dice: &mut Dice) -> Metadata {
    match dice.index(8) {
        0 => Metadata::Garbage,
        1 => Metadata::Stalls,
        2 => Metadata::Rejects,
        3 => Metadata::Claims([1, 20_000, 1 << 30][dice.index(3)]),
        4 => Metadata::Floods(dice.between(1..=20) as u32),
        5 => Metadata::No,
        _ => Metadata::Gives,
    }
}
