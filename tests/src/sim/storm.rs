//! A whole run drawn from one seed: a swarm in which everything may go wrong at once, and then
//! must come right.
//!
//! The seed draws the options: how many engines and scripted peers, how fast, which kinds of fault
//! (each kind is switched off entirely in half of the runs, and its weight spread widely in the
//! others). First the safety phase: faults happen, and every invariant is checked at every step.
//! Then everything heals, and the liveness phase must bring every engine to the end: all bytes
//! there, nobody honest banned, and after a stop nothing left behind. Hostile peers stay hostile to
//! the end; one honest seeder stays throughout.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bitswarm_core::config::RateLimits;
use bitswarm_core::notice::TorrentNotice;
use bitswarm_core::record::Recorder;
use bitswarm_core::time::{Duration, Instant};

use super::content::{Content, announce_url};
use super::dice::Dice;
use super::disk::{Faults, Speed};
use super::network::{Death, Disturbance, HostId, Link};
use super::scripted::peer::{Behaviour, Corrupt, Peer, Unchoke};
use super::scripted::tracker::{Answer, TRACKER_PORT, Tracker};
use super::trace::Fingerprint;
use super::world::{Failure, World};

/// Virtual time within which everybody must have finished after all has healed (chosen: several
/// rounds of the longest waits between attempts).
const LIVENESS: Duration = Duration::from_secs(3 * 3600);

/// What a seed draws.
#[derive(Debug, Clone)]
pub struct Options {
    seed: u64,
    length: u64,
    piece_len: u32,
    many_files: bool,
    seeders: u64,
    leechers: u64,
    scripts: u64,
    tracker: Meeting,
    rough_streams: bool,
    slow_links: bool,
    safety_s: u64,
    /// Weights of the kinds of trouble; 0 is switched off.
    crashes: u64,
    partitions: u64,
    disk_faults: u64,
    user: u64,
    pauses_between_ms: u64,
}

/// How peers find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meeting {
    /// Everybody knows everybody's address.
    Address,
    /// A scripted tracker.
    Script,
    /// The tracker of an engine.
    Engine,
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// The hash over everything that happened.
    pub fingerprint: Fingerprint,
    /// The virtual time at the end.
    pub ended_at: Instant,
    /// Inputs to all engines.
    pub inputs: u64,
    /// How often interesting things happened.
    pub events: BTreeMap<&'static str, u64>,
}

impl Options {
    /// What this seed draws.
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "options");
        let length = 1 << dice.between(14..=21);
        let mut weight = |most: u64| if dice.chance(500) { dice.between(1..=most) } else { 0 };
        let (crashes, partitions, disk_faults, user) =
            (weight(10), weight(5), weight(10), weight(5));
        let meetings = [Meeting::Address, Meeting::Script, Meeting::Engine];
        Options {
            seed,
            length: length + dice.between(1..=length),
            piece_len: 1 << dice.between(14..=18),
            many_files: dice.chance(500),
            seeders: dice.between(1..=2),
            leechers: dice.between(1..=6),
            scripts: if dice.chance(700) { dice.between(1..=4) } else { 0 },
            tracker: meetings[dice.index(meetings.len())],
            rough_streams: dice.chance(300),
            slow_links: dice.chance(300),
            safety_s: dice.between(10..=400),
            crashes,
            partitions,
            disk_faults,
            user,
            pauses_between_ms: 1 << dice.between(8..=15),
        }
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Runs what the seed draws.
pub fn run(seed: u64) -> Result<Report, Failure> {
    let options = Options::draw(seed);
    let mut storm = Storm::new(options);
    match storm.phases() {
        Ok(()) => Ok(storm.report()),
        Err(failure) => {
            storm.world.save_log();
            Err(failure)
        }
    }
}

#[derive(Debug)]
struct Storm {
    options: Options,
    world: World,
    dice: Dice,
    content: Arc<Content>,
    /// The tracker's host, if one is needed.
    tracker: Option<HostId>,
    seeders: Vec<HostId>,
    leechers: Vec<HostId>,
    scripts: Vec<HostId>,
    corrupt: Vec<IpAddr>,
    crashes: u64,
    partitions: u64,
}

impl Storm {
    fn new(options: Options) -> Self {
        let seed = options.seed;
        let mut world = World::new(seed);
        if options.rough_streams {
            world.net().disturbance = Disturbance::rough();
        }
        let Options { length, piece_len, .. } = options;
        let content = if options.many_files {
            let (a, b) = (length / 3, length / 2);
            let files = [("a", a), ("b/empty", 0), ("b/c", b), ("d", length - a - b), ("e", 0)];
            Content::multi(seed, "storm", &files, piece_len)
        } else {
            Content::single(seed, "storm", length, piece_len)
        };
        let mut storm = Storm {
            dice: Dice::new(seed, "storm"),
            world,
            content,
            tracker: None,
            seeders: Vec::new(),
            leechers: Vec::new(),
            scripts: Vec::new(),
            corrupt: Vec::new(),
            crashes: 0,
            partitions: 0,
            options,
        };
        storm.populate();
        storm
    }

    fn link(&mut self) -> Link {
        let (low, high) = if self.options.slow_links { (12, 16) } else { (15, 20) };
        let up = 1 << self.dice.between(low..=high);
        Link {
            latency: self.dice.up_to(Duration::from_millis(150)),
            jitter: self.dice.up_to(Duration::from_millis(40)),
            accepts: self.dice.chance(800),
            ..Link::home(up, up << self.dice.between(0..=4))
        }
    }

    fn populate(&mut self) {
        let url = self.add_tracker();
        for number in 0..self.options.seeders {
            // Somebody must be reachable.
            let link = Link { accepts: true, ..self.link() };
            let host = self.world.add_engine(&format!("seeder {number}"), link, |_| {});
            self.world.plant(host, &self.content);
            self.seeders.push(host);
        }
        for number in 0..self.options.leechers {
            let link = self.link();
            let host = self.world.add_engine(&format!("leecher {number}"), link, |_| {});
            self.leechers.push(host);
        }
        let engines = [self.seeders.clone(), self.leechers.clone()].concat();
        let targets: Vec<SocketAddr> = engines.iter().map(|host| self.world.addr(*host)).collect();
        for number in 0..self.options.scripts {
            let link = self.link();
            let behaviour = self.behaviour(&targets);
            let corrupts = behaviour.corrupt != Corrupt::Never;
            let name = format!("script {number}");
            let peer = Peer::new(self.options.seed, &name, &self.content, behaviour);
            let host = self.world.add_script(&name, link, Box::new(peer));
            self.scripts.push(host);
            if corrupts {
                self.corrupt.push(self.world.addr(host).ip());
            }
        }
        let everybody: Vec<HostId> = engines.iter().chain(&self.scripts).copied().collect();
        let addrs: Vec<SocketAddr> = everybody.iter().map(|host| self.world.addr(*host)).collect();
        // With a tracker, scripted peers are not announced: they are known by address.
        let from = if url.is_some() { engines.len() } else { 0 };
        let known = addrs[from..].to_vec();
        for host in engines {
            self.world.add_torrent(host, &self.content.clone(), |add| {
                add.peers.clone_from(&known);
                add.trackers.extend(url.clone());
            });
        }
    }

    fn add_tracker(&mut self) -> Option<String> {
        let link = Link::home(1 << 20, 1 << 20);
        let host = match self.options.tracker {
            Meeting::Address => return None,
            Meeting::Script => {
                let tracker = Tracker::new(Answer::Swarm(300));
                self.world.add_script("tracker", link, Box::new(tracker))
            }
            Meeting::Engine => self.world.add_engine("tracker", link, |config| {
                config.tracker_listen = Some(([0, 0, 0, 0], TRACKER_PORT).into());
            }),
        };
        self.tracker = Some(host);
        let ip = self.world.addr(host).ip();
        if self.dice.chance(500) {
            self.world.resolver().set("tracker.test", [ip]);
            return Some(format!("http://tracker.test:{TRACKER_PORT}/announce"));
        }
        Some(announce_url((ip, TRACKER_PORT).into()))
    }

    fn behaviour(&mut self, targets: &[SocketAddr]) -> Behaviour {
        let dice = &mut self.dice;
        let mut dial = targets.to_vec();
        dice.shuffle(&mut dial);
        dial.truncate(dice.index(targets.len() + 1));
        let seeder = Behaviour {
            dial: dial.clone(),
            fast: dice.chance(500),
            extended: dice.chance(500),
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

    fn phases(&mut self) -> Result<(), Failure> {
        self.safety()?;
        self.heal();
        self.liveness()?;
        self.end()
    }

    /// Trouble of all kinds, checked at every step.
    fn safety(&mut self) -> Result<(), Failure> {
        let end = self.world.now() + Duration::from_secs(self.options.safety_s);
        while self.world.now() < end {
            let pause = self.dice.between(1..=self.options.pauses_between_ms);
            self.world.run_for(Duration::from_millis(pause))?;
            self.trouble();
        }
        Ok(())
    }

    fn trouble(&mut self) {
        let Options { crashes, partitions, disk_faults, user, .. } = self.options;
        // As likely as all kinds together: nothing.
        let quiet = crashes + partitions + disk_faults + user;
        let mut drawn = self.dice.between(0..=2 * quiet);
        for (weight, act) in [
            (crashes, Storm::crash_or_restart as fn(&mut Storm)),
            (partitions, Storm::part_or_heal),
            (disk_faults, Storm::break_or_mend_disk),
            (user, Storm::meddle),
        ] {
            if drawn < weight {
                return act(self);
            }
            drawn -= weight;
        }
    }

    fn engine(&mut self) -> HostId {
        // The first seeder is the one who stays.
        let engines = self.seeders.len() + self.leechers.len() - 1;
        let at = 1 + self.dice.index(engines);
        self.seeders.iter().chain(&self.leechers).copied().nth(at).expect("in range")
    }

    fn crash_or_restart(&mut self) {
        let host = self.engine();
        if self.world.engine_host(host).is_running() {
            let death = if self.dice.chance(500) { Death::Power } else { Death::Process };
            self.world.crash(host, death);
            self.crashes += 1;
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
        self.partitions += 1;
    }

    fn break_or_mend_disk(&mut self) {
        let host = self.engine();
        let used = self.world.engine_host(host).disk.used();
        let dice = &mut self.dice;
        let mut faults = Faults::default();
        let mut speed = Speed::default();
        match dice.index(6) {
            0 => faults.write_error_per_mille = dice.between(1..=500) as u32,
            1 => faults.sync_error_per_mille = dice.between(1..=1000) as u32,
            2 => faults.save_error_per_mille = dice.between(1..=1000) as u32,
            3 => faults.capacity = Some(used + dice.between(0..=200_000)),
            4 => faults.denied = true,
            _ => {
                speed.bytes_per_s = Some(1 << dice.between(14..=22));
                speed.spread = dice.up_to(Duration::from_secs(2));
            }
        }
        let disk = &mut self.world.engine_host_mut(host).disk;
        (disk.faults, disk.speed) = (faults, speed);
    }

    /// What a user does.
    fn meddle(&mut self) {
        let host = self.engine();
        if !self.world.engine_host(host).is_running() {
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
    }

    /// All trouble ends, but for the hostile peers.
    fn heal(&mut self) {
        let now = self.world.now();
        self.world.net().heal(now);
        for host in self.seeders.iter().chain(&self.leechers).copied() {
            let disk = &mut self.world.engine_host_mut(host).disk;
            (disk.faults, disk.speed) = (Faults::default(), Speed::default());
            if !self.world.engine_host(host).is_running() {
                self.world.restart(host);
                continue;
            }
            let id = self.world.torrent_id(host);
            let none = RateLimits::default();
            self.world.call(host, "set_limits", |engine, now| engine.set_limits(now, none));
            let _ = self.world.call(host, "set_torrent_limits", |engine, now| {
                engine.set_torrent_limits(now, id, none)
            });
            let _ = self.world.call(host, "resume", |engine, now| engine.resume(now, id));
        }
    }

    fn engines(&self) -> Vec<HostId> {
        self.seeders.iter().chain(&self.leechers).copied().collect()
    }

    fn liveness(&mut self) -> Result<(), Failure> {
        let deadline = self.world.now() + LIVENESS;
        let engines = self.engines();
        let complete = |world: &World| engines.iter().all(|host| world.is_complete(*host));
        self.world.run_until(deadline, complete)?;
        for host in engines {
            if !self.world.has_all_bytes(host) {
                let what = format!("{} is complete without its bytes", self.world.name(host));
                return Err(self.world.failure(what));
            }
        }
        self.check_bans()
    }

    fn check_bans(&self) -> Result<(), Failure> {
        for host in self.engines() {
            for notice in self.world.notices(host) {
                if let TorrentNotice::PeerBanned { addr, why } = notice
                    && !self.corrupt.contains(&addr.ip())
                {
                    let name = self.world.name(host);
                    let what = format!("{name} banned {addr}, which is honest: {why}");
                    return Err(self.world.failure(what));
                }
            }
        }
        Ok(())
    }

    /// Stops every engine; nothing may be left.
    fn end(&mut self) -> Result<(), Failure> {
        let engines = self.engines();
        for host in &engines {
            self.world.call(*host, "stop", Recorder::stop);
        }
        let deadline = self.world.now() + Duration::from_secs(1);
        let stopped = |world: &World| engines.iter().all(|host| world.has_stopped(*host));
        if let Err(failure) = self.world.run_until(deadline, stopped) {
            let what = format!("not stopped within a second; {}", failure.what);
            return Err(Failure { what, ..failure });
        }
        self.world.run_for(Duration::from_secs(10))?;
        for host in engines {
            let left = self.world.engine_host(host).leftovers();
            if !left.is_empty() {
                let what = format!("{} leaves behind {left:?}", self.world.name(host));
                return Err(self.world.failure(what));
            }
        }
        Ok(())
    }

    fn report(&self) -> Report {
        let mut events: BTreeMap<&'static str, u64> = BTreeMap::new();
        events.insert("crash", self.crashes);
        events.insert("partition", self.partitions);
        for host in self.engines() {
            let engine = self.world.engine_host(host);
            let (tally, disk) = (engine.checker().tally(), engine.disk.counts());
            for (event, count) in [
                ("hash failure", disk.mismatches),
                ("disk error", disk.errors),
                ("duplicate request", tally.duplicate_requests),
                ("early duplicate", tally.early_duplicates),
                ("cancel", tally.cancels),
                ("reject", tally.rejects),
                ("choke", tally.chokes),
                ("request while choked", tally.fast_requests),
            ] {
                *events.entry(event).or_default() += count;
            }
            for notice in self.world.notices(host) {
                let event = match notice {
                    TorrentNotice::PeerBanned { .. } => "ban",
                    TorrentNotice::DiskFailed { .. } => "disk failed",
                    TorrentNotice::DiskRecovered => "disk recovered",
                    TorrentNotice::TrackerFailed { .. } => "tracker failed",
                    TorrentNotice::Checked { from_resume: true, .. } => "resume",
                    _ => continue,
                };
                *events.entry(event).or_default() += 1;
            }
        }
        Report {
            fingerprint: self.world.fingerprint(),
            ended_at: self.world.now(),
            inputs: self.world.inputs(),
            events,
        }
    }
}
