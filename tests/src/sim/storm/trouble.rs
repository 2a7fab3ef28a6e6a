//! What goes wrong in the safety phase, and how it comes right again.

use std::sync::Arc;

use bitswarm_core::config::RateLimits;
use bitswarm_core::time::Duration;
use bitswarm_core::{Commands, ip_filter};

use super::Storm;
use crate::sim::check::stranger;
use crate::sim::dice::Dice;
use crate::sim::disk::{Faults, Speed};
use crate::sim::network::{Death, HostId, Link};
use crate::sim::scripted::gossip::Gossip;

/// Strangers that engines hear of (chosen: so many that each kind of gossip reaches some).
const MOST_STRANGERS: u16 = 30;

/// What happens when a trouble is drawn.
type Act = fn(&mut Storm);

impl Storm {
    /// One trouble, drawn by weight, or none.
    pub(super) fn trouble(&mut self) {
        let options = &self.options;
        let kinds: [(u64, Act); 8] = [
            (options.crashes, Storm::crash_or_restart),
            (options.partitions, Storm::part_or_heal),
            (options.resets, Storm::reset),
            (options.disk_faults, Storm::break_or_mend_disk),
            (options.bit_rot, Storm::rot),
            (options.sleeps, Storm::sleep_or_wake),
            (options.clock_jumps, Storm::jump_clock),
            (options.user, Storm::meddle),
        ];
        // As likely as all kinds together: nothing.
        let all: u64 = kinds.iter().map(|(weight, _)| weight).sum();
        let mut drawn = self.dice.between(0..=2 * all);
        for (weight, act) in kinds {
            if drawn < weight {
                return act(self);
            }
            drawn -= weight;
        }
    }

    /// An engine that trouble may befall: the first seeder is the one who stays.
    fn engine(&mut self) -> HostId {
        let engines = self.seeders.len() + self.leechers.len() - 1;
        let at = 1 + self.dice.index(engines);
        self.seeders.iter().chain(&self.leechers).copied().nth(at).expect("in range")
    }

    fn crash_or_restart(&mut self) {
        let host = self.engine();
        if self.world.engine_host(host).is_running() {
            let death = if self.dice.chance(500) { Death::Power } else { Death::Process };
            self.world.crash(host, death);
            self.note(if death == Death::Power { "power cut" } else { "process killed" });
        } else {
            self.world.restart(host);
        }
    }

    fn part_or_heal(&mut self) {
        let now = self.world.now();
        if self.dice.chance(500) {
            return self.world.net().heal(now);
        }
        let mut groups = Vec::new();
        for host in self.seeders.iter().chain(&self.leechers).chain(&self.tracker) {
            groups.push((*host, u32::from(self.dice.chance(300))));
        }
        self.world.net().partition(now, &groups);
        self.note("partition");
    }

    fn reset(&mut self) {
        let host = self.engine();
        let dice = &mut self.dice;
        let Some(end) = self.world.some_end(host, |ends| dice.index(ends)) else { return };
        let now = self.world.now();
        self.world.net().cut(now, end);
        self.note("stream reset");
    }

    fn break_or_mend_disk(&mut self) {
        let host = self.engine();
        let used = self.world.engine_host(host).disk.used();
        let some_path = self.content.paths("/data".as_ref());
        let dice = &mut self.dice;
        let mut faults = Faults::default();
        let mut speed = Speed::default();
        match dice.index(8) {
            0 => faults.write_error_per_mille = dice.between(1..=500) as u32,
            1 => faults.sync_error_per_mille = dice.between(1..=1000) as u32,
            2 => faults.save_error_per_mille = dice.between(1..=1000) as u32,
            3 => faults.capacity = Some(used + dice.between(0..=200_000)),
            4 => faults.denied = true,
            5 => faults.read_error_per_mille = dice.between(1..=500) as u32,
            6 => drop(faults.broken.insert(some_path[dice.index(some_path.len())].0.clone())),
            _ => {
                speed.bytes_per_s = Some(1 << dice.between(14..=22));
                speed.spread = dice.up_to(Duration::from_secs(2));
            }
        }
        let engine = self.world.engine_host_mut(host);
        engine.checker_mut().expect_disk_errors();
        (engine.disk.faults, engine.disk.speed) = (faults, speed);
    }

    /// The disk gives back wrong bytes now and then. Who serves them is a liar without knowing it.
    fn rot(&mut self) {
        let host = self.engine();
        let per_mille = self.dice.between(1..=100) as u32;
        let engine = self.world.engine_host_mut(host);
        engine.disk.faults.rot_per_mille = per_mille;
        engine.checker_mut().distrust_disk();
        self.rotten.insert(host);
        let ip = self.world.addr(host).ip();
        self.wrongdoers.insert(ip);
    }

    fn sleep_or_wake(&mut self) {
        let host = self.engine();
        let engine = self.world.engine_host(host);
        if !engine.is_running() {
            return;
        }
        if engine.is_asleep() {
            return self.world.awaken(host);
        }
        let time = Duration::from_millis(1 << self.dice.between(6..=21));
        self.world.sleep(host, time);
        self.note("sleep");
    }

    fn jump_clock(&mut self) {
        let host = self.engine();
        let seconds = 1 << self.dice.between(0..=26);
        let seconds = if self.dice.chance(500) { seconds } else { -seconds };
        self.world.engine_host_mut(host).jump_clock(seconds);
        self.note("clock jump");
    }

    /// What a user does.
    fn meddle(&mut self) {
        let host = self.engine();
        let engine = self.world.engine_host(host);
        if !engine.is_running() || engine.is_asleep() {
            return;
        }
        let id = self.world.torrent_id(host);
        let limit = |dice: &mut Dice| dice.chance(700).then(|| 1 << dice.between(10..=18));
        let limits = RateLimits {
            down_bytes_per_s: limit(&mut self.dice),
            up_bytes_per_s: limit(&mut self.dice),
        };
        match self.dice.index(4) {
            0 => drop(self.world.call(host, "pause", |engine, now| engine.pause(now, id))),
            1 => drop(self.world.call(host, "resume", |engine, now| engine.resume(now, id))),
            2 => self.world.call(host, "set_limits", |engine, now| engine.set_limits(now, limits)),
            _ => drop(self.world.call(host, "set_torrent_limits", |engine, now| {
                engine.set_torrent_limits(now, id, limits)
            })),
        }
        self.note("user's request");
    }

    /// Every user has a filter that refuses hostile peers, bad trackers and the addresses of nobody.
    pub(super) fn filter(&mut self) {
        let mut list = "nobody:60.0.0.0-60.0.255.255\n".to_owned();
        for host in self.hostiles.iter().chain(&self.bad_trackers) {
            list += &format!("{}\n", self.world.addr(*host).ip());
        }
        let list = ip_filter::file::read(list.as_bytes()).expect("it is a list");
        let filter = Arc::new(list.filter);
        for host in self.engines() {
            self.world.set_ip_filter(host, &filter);
        }
        self.note("IP filter");
    }

    /// If the torrent is private, an engine now and then hears of strangers who are said to have it:
    /// from a peer, or in its network.
    pub(super) fn gossip(&mut self) {
        let enough = self.strangers >= MOST_STRANGERS;
        if self.options.private == 0 || enough || !self.private_dice.chance(200) {
            return;
        }
        let engines = self.engines();
        let host = engines[self.private_dice.index(engines.len())];
        let first = self.strangers;
        self.strangers += 3;
        if self.private_dice.chance(500) {
            let infohash = self.content.infohash();
            let text =
                format!("BT-SEARCH * HTTP/1.1\r\nPort: 6881\r\nInfohash: {infohash}\r\n\r\n\r\n");
            self.world.overhear(host, stranger(first), text.as_bytes());
            return self.note("stranger in the network");
        }
        let strangers = (first..self.strangers).map(stranger).collect();
        let whom = self.world.addr(host);
        let gossip = Gossip::new(&self.content, whom, strangers, 1, Duration::from_secs(1));
        let name = format!("gossip {first}");
        self.world.add_script(&name, Link::home(1 << 20, 1 << 20), Box::new(gossip));
        self.note("gossip of strangers");
    }

    /// All trouble ends, but for the hostile peers.
    pub(super) fn heal(&mut self) {
        let now = self.world.now();
        self.world.net().heal(now);
        for host in self.engines() {
            let engine = self.world.engine_host_mut(host);
            (engine.disk.faults, engine.disk.speed) = (Faults::default(), Speed::default());
            engine.meters = None;
            if !engine.is_running() {
                self.world.restart(host);
            }
            self.world.awaken(host);
            let id = self.world.torrent_id(host);
            let none = RateLimits::default();
            self.world.call(host, "set_limits", |engine, now| engine.set_limits(now, none));
            let _ = self.world.call(host, "set_torrent_limits", |engine, now| {
                engine.set_torrent_limits(now, id, none)
            });
            let _ = self.world.call(host, "resume", |engine, now| engine.resume(now, id));
        }
    }
}
