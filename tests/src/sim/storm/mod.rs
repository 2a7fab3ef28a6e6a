//! A whole run drawn from one seed: a swarm in which everything may go wrong at once, and then
//! must come right.
//!
//! The seed draws the [`Options`]: how many engines and scripted peers, how fast, which kinds of
//! trouble, how much of each. First the safety phase: trouble happens, and every invariant is
//! checked at every step. Then everything heals, and the liveness phase must bring every engine to
//! the end: all bytes there, nobody honest banned, nobody left waiting, and after a stop nothing
//! left behind. Hostile peers stay hostile to the end; one honest seeder stays throughout.

mod options;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use bitswarm_core::config::{Config, DhtConfig, RateLimits};
use bitswarm_core::disk::DiskErrorKind;
use bitswarm_core::metainfo::Magnet;
use bitswarm_core::notice::TorrentNotice;
use bitswarm_core::record::Recorder;
use bitswarm_core::session::bans::BanReason;
use bitswarm_core::time::{Duration, Instant};

use super::check::Meter;
use super::content::Content;
use super::dice::Dice;
use super::network::{Disturbance, HostId, Link};
use super::scripted::Script;
use super::scripted::hostile::Hostile;
use super::scripted::peer::{Behaviour, Corrupt, Metadata, Peer, Unchoke};
use super::scripted::tracker::{Answer, TRACKER_PORT, Tracker};
use super::scripted::udp_tracker::UdpTracker;
use super::trace::Fingerprint;
use super::world::{Failure, Kind, World};
pub use options::Options;

/// Virtual time within which everybody must have finished after all has healed (chosen: several
/// rounds of the longest waits between attempts).
const LIVENESS: Duration = Duration::from_secs(3 * 3600);

/// After everybody has finished, time in which all that is under way between honest peers must
/// have come to its end (chosen: longer than a snub and a round of choking).
const REST: Duration = Duration::from_secs(90);

/// Time within which a newcomer must have everything from one that has it (chosen: the slowest link
/// needs five minutes).
const SERVED: Duration = Duration::from_secs(3600);

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Runs what the seed draws.
pub fn run(seed: u64) -> Result<Report, Failure> {
    run_with(Options::draw(seed), None)
}

/// Runs with these options, and writes the readable log to this file.
pub fn run_with(options: Options, log: Option<PathBuf>) -> Result<Report, Failure> {
    let mut storm = Storm::new(options, log);
    let result = storm.phases();
    storm.world.save_log();
    result.map(|()| storm.report())
}

/// Runs as [`run_with`] does; a panic is a failure like others.
pub fn try_run(options: &Options, log: Option<PathBuf>) -> Result<Report, Failure> {
    let run = AssertUnwindSafe(|| run_with(options.clone(), log));
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let what = text.unwrap_or("a panic without words").to_owned();
        Err(Failure { kind: Kind::Crash, seed: options.seed, at: Instant::ZERO, what })
    })
}

#[derive(Debug)]
struct Storm {
    options: Options,
    world: World,
    dice: Dice,
    content: Arc<Content>,
    /// The tracker's host, if one is needed.
    tracker: Option<HostId>,
    /// The host of the DHT that all know, if there is one.
    dht_node: Option<HostId>,
    seeders: Vec<HostId>,
    leechers: Vec<HostId>,
    scripts: Vec<HostId>,
    hostiles: Vec<HostId>,
    /// Scripted peers that want everything, give it, and are reachable.
    honest_leechers: Vec<HostId>,
    /// Who may be banned.
    wrongdoers: BTreeSet<IpAddr>,
    /// Engines whose disk gave back other bytes than were written.
    rotten: BTreeSet<HostId>,
    done: BTreeMap<&'static str, u64>,
}

impl Storm {
    fn new(options: Options, log: Option<PathBuf>) -> Self {
        let seed = options.seed;
        let mut world = World::new(seed);
        if let Some(path) = log {
            world.keep_log(path);
        }
        if options.rough_streams > 0 {
            world.net().disturbance = Disturbance::rough();
        }
        let (length, piece_len) = (options.length, 1 << options.piece_log2.min(20));
        let content = if options.many_files > 0 {
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
            dht_node: None,
            seeders: Vec::new(),
            leechers: Vec::new(),
            scripts: Vec::new(),
            hostiles: Vec::new(),
            honest_leechers: Vec::new(),
            wrongdoers: BTreeSet::new(),
            rotten: BTreeSet::new(),
            done: BTreeMap::new(),
            options,
        };
        storm.populate();
        storm
    }

    fn note(&mut self, event: &'static str) {
        *self.done.entry(event).or_default() += 1;
    }

    fn link(&mut self) -> Link {
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
    fn config(&self) -> impl FnOnce(&mut Config) + use<> {
        let (small, limit) = (self.options.small_bounds > 0, self.options.limit);
        let dht = self.dht_node.map(|host| dht_config(Some(self.world.addr(host))));
        move |config| {
            config.dht = dht;
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
        }
    }

    fn populate(&mut self) {
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
            self.world.add_torrent(host, &self.content.clone(), |add| {
                if by_magnet {
                    add.source = Magnet::new(self.content.infohash()).into();
                }
                add.peers.clone_from(&known);
                add.trackers.extend(urls.clone());
            });
        }
    }

    fn add_engine(&mut self, name: &str, link: Link) -> HostId {
        let config = self.config();
        let host = self.world.add_engine(name, link, config);
        if self.options.limit > 0 {
            let meter = Meter::new(self.options.limit);
            self.world.engine_host_mut(host).meters = Some((meter, meter));
        }
        host
    }

    fn add_scripts(&mut self, targets: &[SocketAddr]) {
        for number in 0..self.options.scripts {
            let link = self.link();
            let behaviour = self.behaviour(targets);
            let lies = matches!(
                behaviour.metadata,
                Metadata::Garbage | Metadata::Claims(_) | Metadata::Floods(_)
            );
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

    fn add_hostiles(&mut self, targets: &[SocketAddr]) {
        for number in 0..self.options.hostiles {
            let link = self.link();
            let name = format!("hostile {number}");
            let peer = Hostile::new(self.options.seed, &name, &self.content, targets.to_vec());
            let host = self.world.add_script(&name, link, Box::new(peer));
            self.hostiles.push(host);
            self.wrongdoers.insert(self.world.addr(host).ip());
        }
    }

    /// Trackers that are none, and one that is; none at all if peers meet by address.
    fn add_trackers(&mut self) -> Vec<String> {
        let mut urls = Vec::new();
        for number in 0..self.options.bad_trackers {
            let name = format!("bad tracker {number}");
            let script: Box<dyn Script> = if self.options.udp > 0 {
                Box::new(UdpTracker::new(self.options.seed, &name, true))
            } else {
                Box::new(Tracker::new(Answer::Moody(Dice::new(self.options.seed, &name))))
            };
            let host = self.world.add_script(&name, Link::home(1 << 20, 1 << 20), script);
            urls.push(self.announce_url(&self.world.addr(host).ip().to_string()));
        }
        if let Some(good) = self.add_tracker() {
            urls.push(good);
            return urls;
        }
        // Without a good one, the others say what they like to peers that know each other.
        urls
    }

    fn add_tracker(&mut self) -> Option<String> {
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
                config.tracker_listen = Some(([0, 0, 0, 0], TRACKER_PORT).into());
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

    fn announce_url(&self, host: &str) -> String {
        let scheme = if self.options.udp > 0 { "udp" } else { "http" };
        format!("{scheme}://{host}:{TRACKER_PORT}/announce")
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

    fn phases(&mut self) -> Result<(), Failure> {
        self.safety()?;
        self.heal();
        self.liveness()?;
        self.rest()?;
        self.serve()?;
        self.end()
    }

    /// Trouble of all kinds, checked at every step.
    fn safety(&mut self) -> Result<(), Failure> {
        let end = self.world.now() + Duration::from_secs(self.options.safety_s);
        while self.world.now() < end {
            let pause = self.dice.between(1..=self.options.pause_ms);
            self.world.run_for(Duration::from_millis(pause))?;
            self.trouble();
        }
        self.check_limits()
    }

    fn engines(&self) -> Vec<HostId> {
        self.seeders.iter().chain(&self.leechers).copied().collect()
    }

    /// The limits held over every window since each engine began, if no user has meddled.
    fn check_limits(&self) -> Result<(), Failure> {
        let limit = self.options.limit;
        if self.options.user > 0 {
            return Ok(());
        }
        for host in self.engines() {
            let Some((up, down)) = self.world.engine_host(host).meters else { continue };
            // A bucket lets through a quarter of a second or a block at once, and one block on
            // top; each engine begins with a full one.
            let engines = u64::from(self.world.engine_host(host).incarnation()) + 1;
            let burst = ((limit / 4).max(16 << 10) + (16 << 10)) * engines;
            // What was read when the limit was reached is under way on each connection.
            let peers = self.options.seeders + self.options.leechers + self.options.scripts;
            let reads = (peers + 8 * self.options.hostiles) * (64 << 10) * engines;
            if up.burst() > burst {
                let what =
                    format!("{} sent a burst of {} bytes", self.world.name(host), up.burst());
                return Err(self.world.failure(Kind::Safety, what));
            }
            if down.burst() > burst + reads {
                let name = self.world.name(host);
                let what = format!("{name} received a burst of {} bytes", down.burst());
                return Err(self.world.failure(Kind::Safety, what));
            }
        }
        Ok(())
    }

    fn liveness(&mut self) -> Result<(), Failure> {
        let deadline = self.world.now() + LIVENESS;
        let engines = self.engines();
        let banned = self.banned_rotten();
        let must: Vec<HostId> =
            engines.iter().filter(|host| !banned.contains(host)).copied().collect();
        let scripts = self.honest_leechers.clone();
        let complete = |world: &World| {
            must.iter().all(|host| world.is_complete(*host))
                && scripts.iter().all(|host| world.script::<Peer>(*host).is_complete())
        };
        if let Err(mut failure) = self.world.run_until(deadline, complete) {
            for host in scripts {
                if !self.world.script::<Peer>(host).is_complete() {
                    failure.what += &format!("\n  {} has not finished", self.world.name(host));
                }
            }
            return Err(failure);
        }
        for host in must {
            if !self.rotten.contains(&host) && !self.world.has_all_bytes(host) {
                let what = format!("{} is complete without its bytes", self.world.name(host));
                return Err(self.world.failure(Kind::Safety, what));
            }
        }
        self.check_bans()
    }

    /// Engines that were banned because their disk made them liars.
    fn banned_rotten(&self) -> Vec<HostId> {
        let all_notices = self.engines().into_iter().flat_map(|host| self.world.notices(host));
        let banned: BTreeSet<IpAddr> = all_notices
            .filter_map(|notice| match notice {
                TorrentNotice::PeerBanned { addr, .. } => Some(addr.ip()),
                _ => None,
            })
            .collect();
        let is_banned = |host: &HostId| banned.contains(&self.world.addr(*host).ip());
        self.rotten.iter().copied().filter(is_banned).collect()
    }

    fn check_bans(&self) -> Result<(), Failure> {
        for host in self.engines() {
            for notice in self.world.notices(host) {
                if let TorrentNotice::PeerBanned { addr, why } = notice
                    && !self.wrongdoers.contains(&addr.ip())
                {
                    let name = self.world.name(host);
                    let what = format!("{name} banned {addr}, which is honest: {why}");
                    return Err(self.world.failure(Kind::Safety, what));
                }
            }
        }
        Ok(())
    }

    /// Nobody wants anything any more: all accounts must be even, nobody left waiting.
    fn rest(&mut self) -> Result<(), Failure> {
        self.world.run_for(REST)?;
        let engines = self.engines();
        if !self.rotten.is_empty() {
            return Ok(());
        }
        let honest: BTreeSet<HostId> =
            engines.iter().chain(&self.honest_leechers).copied().collect();
        for host in engines {
            if let Some(what) = self.world.unrest(host, |remote| honest.contains(&remote)) {
                let what = format!("{} {what}", self.world.name(host));
                return Err(self.world.failure(Kind::Liveness, what));
            }
            // What is cut off in the middle of a block counts for the engine, not for the checker;
            // hostile peers send odd ones.
            let Some(status) = self.world.status(host).filter(|_| self.hostiles.is_empty()) else {
                continue;
            };
            let (sent, received) = self.world.engine_host(host).checker().payload();
            if status.uploaded_bytes != sent || status.downloaded_bytes < received {
                let what = format!(
                    "{} counts {} bytes sent and {} received, but it was {sent} and {received}",
                    self.world.name(host),
                    status.uploaded_bytes,
                    status.downloaded_bytes,
                );
                return Err(self.world.failure(Kind::Safety, what));
            }
        }
        Ok(())
    }

    /// Somebody new comes to one of those who have everything, and is served: no slot, queue or
    /// budget was lost on the way.
    fn serve(&mut self) -> Result<(), Failure> {
        let reachable = |host: &HostId| self.world.accepts(*host) && !self.rotten.contains(host);
        let hosts: Vec<HostId> = self.engines().into_iter().filter(reachable).collect();
        let Some(host) = hosts.get(self.dice.index(hosts.len())).copied() else { return Ok(()) };
        let behaviour = Behaviour::leecher(vec![self.world.addr(host)]);
        let newcomer = Peer::new(self.options.seed, "newcomer", &self.content, behaviour);
        let link = Link::home(1 << 20, 1 << 20);
        let newcomer = self.world.add_script("newcomer", link, Box::new(newcomer));
        let deadline = self.world.now() + SERVED;
        let served = |world: &World| world.script::<Peer>(newcomer).is_complete();
        self.world.run_until(deadline, served).map_err(|mut failure| {
            failure.what += &format!("\n  {} does not serve a newcomer", self.world.name(host));
            failure
        })
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
                return Err(self.world.failure(Kind::Safety, what));
            }
        }
        Ok(())
    }

    fn report(&self) -> Report {
        let mut events = self.done.clone();
        let mut add = |event: &'static str, count: u64| *events.entry(event).or_default() += count;
        for host in self.engines() {
            let engine = self.world.engine_host(host);
            let (tally, disk) = (engine.checker().tally(), engine.disk.counts());
            for (event, count) in [
                ("hash failure", disk.mismatches),
                ("disk error", disk.errors),
                ("rotten read", disk.rotten),
                ("end game request", tally.end_game),
                ("early duplicate request", tally.early_duplicates),
                ("snub", tally.snubs),
                ("cancel", tally.cancels),
                ("reject", tally.rejects),
                ("choke", tally.chokes),
                ("request while choked (allowed fast)", tally.fast_requests),
                ("nonsense from a peer", tally.nonsense),
            ] {
                add(event, count);
            }
            for notice in self.world.notices(host) {
                if let Some(event) = event_of(notice) {
                    add(event, 1);
                }
            }
        }
        for host in &self.hostiles {
            add("hostile connection", self.world.script::<Hostile>(*host).connections());
        }
        events.retain(|_, count| *count > 0);
        Report {
            fingerprint: self.world.fingerprint(),
            ended_at: self.world.now(),
            inputs: self.world.inputs(),
            events,
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

fn event_of(notice: &TorrentNotice) -> Option<&'static str> {
    Some(match notice {
        TorrentNotice::PeerBanned { why: BanReason::WrongData, .. } => "ban for wrong data",
        TorrentNotice::PeerBanned { .. } => "ban for breaking the protocol",
        TorrentNotice::DiskFailed { error } => match error.kind {
            DiskErrorKind::Full => "disk full",
            DiskErrorKind::Denied => "disk read-only",
            _ => "disk failed",
        },
        TorrentNotice::DiskRecovered => "disk recovered",
        TorrentNotice::TrackerFailed { .. } => "tracker failed",
        TorrentNotice::TrackerAnswered { .. } => "tracker answered",
        TorrentNotice::Checked { from_resume: true, .. } => "resume",
        TorrentNotice::Checked { .. } => "full check",
        TorrentNotice::Finished => "finished",
        TorrentNotice::MetadataReceived { .. } => "metadata received",
        TorrentNotice::DhtAnswered { .. } => "DHT answered",
        _ => return None,
    })
}
