//! A whole run drawn from one seed: a swarm in which everything may go wrong at once, and then
//! must come right.
//!
//! The seed draws the [`Options`]: how many engines and scripted peers, how fast, which kinds of
//! trouble, how much of each. First the safety phase: trouble happens, and every invariant is
//! checked at every step. Then everything heals, and the liveness phase must bring every engine to
//! the end: all bytes there, nobody honest banned, nobody left waiting, and after a stop nothing
//! left behind. Hostile peers stay hostile to the end; one honest seeder stays throughout.

mod besides;
mod cast;
mod liars;
mod options;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use bitswarm_core::Commands;
use bitswarm_core::disk::DiskErrorKind;
use bitswarm_core::notice::TorrentNotice;
use bitswarm_core::record::Recorder;
use bitswarm_core::session::bans::BanReason;
use bitswarm_core::time::{Duration, Instant};

use super::content::{self, Content};
use super::dice::Dice;
use super::network::{Disturbance, HostId, Link};
use super::scripted::crowd::{self, Crowd};
use super::scripted::hostile::Hostile;
use super::scripted::peer::{Behaviour, Counts, Dialect, Peer};
use super::scripted::tracker::Tracker;
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

/// Time within which a newcomer has a place while a crowd holds all of them.
const PLACED: Duration = Duration::from_secs(30);

/// Time within which it then has a block, while the crowd waits for slots too: half a minute. Where some ask
/// for blocks and do not read them, each has a slot for a minute (chosen: three turns of them).
const FIRST_BLOCK: Duration = Duration::from_secs(30);
const FIRST_BLOCK_AMONG_DEAF: Duration = Duration::from_secs(210);

/// Time in which a connection must have had a word, with some more.
const QUIET: Duration = Duration::from_secs(130);

/// The longest that is sent at once though the limit has a byte left for it: metadata or hashes, which are a
/// little longer than a block.
const LONGEST_LIMITED: u64 = 18 << 10;

/// Time within which hash requests of a newcomer must be answered (chosen: what all peers of an
/// address may ask for in a minute is bounded, so some of it waits for the next).
const ANSWERED: Duration = Duration::from_secs(180);

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The hash over everything that happened.
    pub fingerprint: Fingerprint,
    /// The hash over what the engines did to the world.
    pub conduct: Fingerprint,
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
    /// Decides what there is to decide in torrents of v2 and hybrids only.
    v2_dice: Dice,
    /// The same where engines prefer encryption.
    mse_dice: Dice,
    /// The same in private ones.
    private_dice: Dice,
    content: Arc<Content>,
    /// The tracker's host, if one is needed.
    tracker: Option<HostId>,
    /// The host of the DHT that all know, if there is one.
    dht_node: Option<HostId>,
    seeders: Vec<HostId>,
    leechers: Vec<HostId>,
    scripts: Vec<HostId>,
    hostiles: Vec<HostId>,
    crowd: Vec<HostId>,
    /// Trackers that hang, lie, redirect, or answer garbage or too much.
    bad_trackers: Vec<HostId>,
    /// The hostile peers of another torrent.
    besides: Vec<HostId>,
    /// Strangers told of so far.
    strangers: u16,
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
        let kind = match options.protocol {
            0 => content::Kind::V1,
            1 => content::Kind::V2,
            _ => content::Kind::Hybrid,
        };
        let content = if options.many_files > 0 {
            let (a, b) = (length / 3, length / 2);
            let files = [("a", a), ("b/empty", 0), ("b/c", b), ("d", length - a - b), ("e", 0)];
            Content::multi_of(kind, seed, "storm", &files, piece_len)
        } else {
            Content::single_of(kind, seed, "storm", length, piece_len)
        };
        let content = if options.private > 0 { content.private() } else { content };
        let content = match options.metadata_kib {
            0 => content,
            kib => content.with_longer_info(kib as usize * 1024),
        };
        let mut storm = Storm {
            private_dice: Dice::new(seed, "storm of a private torrent"),
            dice: Dice::new(seed, "storm"),
            v2_dice: Dice::new(seed, "storm of v2"),
            mse_dice: Dice::new(seed, "storm of encryption"),
            world,
            content,
            tracker: None,
            dht_node: None,
            seeders: Vec::new(),
            leechers: Vec::new(),
            scripts: Vec::new(),
            hostiles: Vec::new(),
            crowd: Vec::new(),
            bad_trackers: Vec::new(),
            besides: Vec::new(),
            strangers: 0,
            honest_leechers: Vec::new(),
            wrongdoers: BTreeSet::new(),
            rotten: BTreeSet::new(),
            done: BTreeMap::new(),
            options,
        };
        storm.populate();
        if storm.options.filtered == 1 {
            storm.filter();
        }
        storm
    }

    fn note(&mut self, event: &'static str) {
        *self.done.entry(event).or_default() += 1;
    }

    fn phases(&mut self) -> Result<(), Failure> {
        self.safety()?;
        self.heal();
        self.liveness()?;
        self.rest()?;
        self.serve()?;
        self.be_quiet()?;
        self.end()
    }

    /// Trouble of all kinds, checked at every step.
    fn safety(&mut self) -> Result<(), Failure> {
        let whole = Duration::from_secs(self.options.safety_s);
        let (middle, end) = (self.world.now() + whole / 2, self.world.now() + whole);
        let mut is_filtered = self.options.filtered < 2;
        while self.world.now() < end {
            let pause = self.dice.between(1..=self.options.pause_ms);
            self.world.run_for(Duration::from_millis(pause))?;
            if !is_filtered && self.world.now() >= middle {
                self.filter();
                is_filtered = true;
            }
            self.trouble();
            self.gossip();
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
            let burst = ((limit / 4).max(16 << 10) + LONGEST_LIMITED) * engines;
            // What was read when the limit was reached is under way on each connection.
            let crowd = self.options.crowd * self.options.crowd_conns;
            let peers = self.options.seeders + self.options.leechers + self.options.scripts + crowd;
            let hostiles = self.options.hostiles + self.besides.len() as u64;
            let reads = (peers + 8 * hostiles) * (64 << 10) * engines;
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
            // hostile peers send odd ones; and what is compared is the first torrent.
            let is_alone = self.hostiles.is_empty() && self.besides.is_empty();
            let Some(status) = self.world.status(host).filter(|_| is_alone) else {
                continue;
            };
            let (sent, received) = self.world.engine_host(host).checker().payload();
            // The checker sees nothing of what uTP carries.
            let is_all_seen = self.options.utp == 0;
            let is_wrong = match is_all_seen {
                true => status.uploaded_bytes != sent,
                false => status.uploaded_bytes < sent,
            };
            if is_wrong || status.downloaded_bytes < received {
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

    /// The same where nobody hears those who speak TCP, as scripted peers do.
    fn serve_engine(&mut self, host: HostId) -> Result<(), Failure> {
        let newcomer = self.add_engine("newcomer", Link::home(1 << 20, 1 << 20));
        let addr = self.world.addr(host);
        self.world.add_torrent(newcomer, &self.content.clone(), |add| add.peers = vec![addr]);
        let served = |world: &World| {
            world.status(newcomer).is_some_and(|status| status.pieces_have == status.pieces)
        };
        let deadline = self.world.now() + SERVED;
        self.world.run_until(deadline, served).map_err(|mut failure| {
            failure.what += &format!("\n  {} does not serve a newcomer", self.world.name(host));
            failure
        })
    }

    /// Somebody new comes to one of those who have everything, and is served: no slot, queue or
    /// budget was lost on the way.
    fn serve(&mut self) -> Result<(), Failure> {
        let reachable = |host: &HostId| self.world.accepts(*host) && !self.rotten.contains(host);
        let hosts: Vec<HostId> = self.engines().into_iter().filter(reachable).collect();
        let Some(host) = hosts.get(self.dice.index(hosts.len())).copied() else { return Ok(()) };
        if self.options.utp > 1 {
            return self.serve_engine(host);
        }
        let behaviour = Behaviour {
            dialect: self.dialect(),
            encryption: self.encryption_of_a_script(),
            asks_hashes: true,
            ..Behaviour::leecher(vec![self.world.addr(host)])
        };
        let behaviour = match self.options.crowd {
            0 => behaviour,
            _ => Behaviour { redial: Duration::from_secs(1), ..behaviour },
        };
        let newcomer = Peer::new(self.options.seed, "newcomer", &self.content, behaviour);
        let link = Link::home(1 << 20, 1 << 20);
        let newcomer = self.world.add_script("newcomer", link, Box::new(newcomer));
        if self.options.crowd > 0 && self.options.has_swift_links() {
            self.serve_in_a_crowd(host, newcomer)?;
        }
        let deadline = self.world.now() + SERVED;
        let served = |world: &World| world.script::<Peer>(newcomer).is_complete();
        self.world.run_until(deadline, served).map_err(|mut failure| {
            failure.what += &format!("\n  {} does not serve a newcomer", self.world.name(host));
            failure
        })?;
        if self.content.kind() == content::Kind::V1 {
            return Ok(());
        }
        // One that wants hashes only: from one that has everything an engine that has it too parts.
        let asker = Behaviour {
            dialect: Dialect::Both,
            encryption: self.encryption_of_a_script(),
            asks_hashes: true,
            pipeline: 0,
            // Where hostile peers fill a slow link it may take more than one try.
            redial: Duration::from_secs(1),
            ..Behaviour::leecher(vec![self.world.addr(host)])
        };
        let asker = Peer::new(self.options.seed, "asker", &self.content, asker);
        let asker = self.world.add_script("asker", link, Box::new(asker));
        self.world.run_for(ANSWERED)?;
        let unanswered = self.world.script::<Peer>(asker).unanswered();
        unanswered.map_or(Ok(()), |run| {
            let what = format!("{} never answers hash request {run}", self.world.name(host));
            Err(self.world.failure(Kind::Liveness, what))
        })
    }

    /// A newcomer is connected and gets a block in time, however many peers wait there.
    fn serve_in_a_crowd(&mut self, host: HostId, newcomer: HostId) -> Result<(), Failure> {
        let kinds = crowd::Kind::ALL;
        let is_deaf = kinds.get(self.options.crowd_kind as usize) == Some(&crowd::Kind::Deaf);
        let is_mixed = self.options.crowd_kind as usize >= kinds.len();
        let has_takers = is_deaf || is_mixed || self.options.hostiles > 0;
        let first = if has_takers { FIRST_BLOCK_AMONG_DEAF } else { FIRST_BLOCK };
        type IsDone = fn(Counts) -> bool;
        let placed: IsDone = |counts| counts.greeted > 0;
        let served: IsDone = |counts| counts.received_blocks > 0;
        let steps = [(PLACED, placed, "has no place"), (first, served, "gives nothing")];
        for (within, is_done, what) in steps {
            let done = |world: &World| is_done(world.script::<Peer>(newcomer).counts());
            let deadline = self.world.now() + within;
            self.world.run_until(deadline, done).map_err(|mut failure| {
                failure.what += &format!("\n  {} {what} for a newcomer", self.world.name(host));
                failure
            })?;
        }
        Ok(())
    }

    /// Some time in which nothing happens: on every connection that stays there is a word.
    fn be_quiet(&mut self) -> Result<(), Failure> {
        if self.options.crowd > 0 {
            self.world.run_for(QUIET)?;
        }
        for host in self.engines() {
            if let Err(what) = self.world.engine_host(host).judge_pace(self.world.now()) {
                let what = format!("{} {what}", self.world.name(host));
                return Err(self.world.failure(Kind::Safety, what));
            }
        }
        Ok(())
    }

    /// The tracker has heard of everybody that they stop.
    fn check_farewell(&self) -> Result<(), Failure> {
        let Some(tracker) = self.tracker.filter(|_| self.options.has_swift_tracker()) else {
            return Ok(());
        };
        for host in self.engines() {
            let ip = self.world.addr(host).ip();
            let is_listed = match self.options.udp {
                0 => self.world.script::<Tracker>(tracker).lists(ip),
                _ => self.world.script::<UdpTracker>(tracker).lists(ip),
            };
            if is_listed {
                let what = format!("{} stops without a word to its tracker", self.world.name(host));
                return Err(self.world.failure(Kind::Safety, what));
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
        self.check_farewell()?;
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
                ("connection of v2", tally.v2_conns),
                ("encrypted connection", tally.encrypted),
                ("hash request", tally.hash_requests),
                ("hashes given", tally.hashes_sent),
                ("hash reject", tally.hash_rejects),
                ("hashes proven", tally.hashes_proven),
                ("wrong hashes", tally.hashes_wrong),
            ] {
                add(event, count);
            }
            for notice in self.world.notices(host) {
                if let Some(event) = event_of(notice) {
                    add(event, 1);
                }
            }
        }
        for host in &self.crowd {
            add("greeting of a crowd", self.world.script::<Crowd>(*host).greeted());
        }
        for host in &self.hostiles {
            add("hostile connection", self.world.script::<Hostile>(*host).connections());
        }
        events.retain(|_, count| *count > 0);
        Report {
            fingerprint: self.world.fingerprint(),
            conduct: self.world.conduct(),
            ended_at: self.world.now(),
            inputs: self.world.inputs(),
            events,
        }
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
