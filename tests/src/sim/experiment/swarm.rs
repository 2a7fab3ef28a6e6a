//! The members of an experiment, the clock, and what is looked at as it goes by.

use std::sync::Arc;

use bitswarm_core::config::Config;
use bitswarm_core::time::{Duration, Instant};

use super::links::{LinkTimer, Links, MemberId};
use super::member::{Around, Member, Torrent};
use super::report::{Peer, Report, Role, Sample, bound};
use super::settings::Settings;
use crate::sim::content::{Content, announce_url};
use crate::sim::dice::Dice;
use crate::sim::queue::Queue;
use crate::sim::scripted::tracker::TRACKER_PORT;
use crate::sim::world::PEER_PORT;

/// The tracker is a member of its own, the first.
const TRACKER: MemberId = 0;
/// Time over which those come who are there from the beginning.
const ARRIVAL: Duration = Duration::from_secs(2);
/// Time over which a crowd comes.
const CROWD_ARRIVAL: Duration = Duration::from_secs(10);
/// Longest time that one who was cut off stays away.
const LONGEST_ABSENCE: Duration = Duration::from_secs(30);
/// Longest time that one who has finished stays, under churn.
const LONGEST_STAY: Duration = Duration::from_secs(20);
/// How long a free rider stays who comes anew again and again.
const RIDER_STAY: Duration = Duration::from_secs(30);
/// Between two samples.
const SAMPLE: Duration = Duration::from_secs(5);
/// How many times the bound a run may take (chosen: past it something is stuck).
const PATIENCE: u32 = 10;

/// What an experiment waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    Link(LinkTimer),
    Deadline(MemberId, u32),
    Join(MemberId),
    /// It is cut off, and comes back.
    CutOff(MemberId),
    Leave(MemberId),
    /// It leaves and comes back at once, unless it has finished.
    Return(MemberId),
    Sample,
}

impl From<LinkTimer> for Due {
    fn from(timer: LinkTimer) -> Self {
        Due::Link(timer)
    }
}

/// Runs a swarm until every leecher has finished, and says how it went.
pub fn run(settings: &Settings) -> Report {
    let mut swarm = Swarm::new(settings);
    swarm.run();
    swarm.report()
}

struct Swarm {
    settings: Settings,
    queue: Queue<Due>,
    links: Links,
    dice: Dice,
    members: Vec<Member>,
    plans: Vec<Plan>,
    copies: Vec<u32>,
    samples: Vec<Sample>,
    bound: Duration,
    spread: Option<Instant>,
    /// Bytes that each member had when the first contributor had everything.
    at_first: Option<Vec<u64>>,
    unfinished: u32,
    steps: u64,
}

/// What is known of a member beforehand.
#[derive(Clone, Copy, Debug)]
struct Plan {
    role: Role,
    joins_at: Instant,
    up_bytes_per_s: u64,
    done: bool,
}

impl Swarm {
    fn new(settings: &Settings) -> Self {
        let mut swarm = Swarm {
            settings: settings.clone(),
            queue: Queue::new(),
            links: Links::default(),
            dice: Dice::new(settings.seed, "experiment"),
            members: Vec::new(),
            plans: Vec::new(),
            copies: Vec::new(),
            samples: Vec::new(),
            bound: Duration::ZERO,
            spread: None,
            at_first: None,
            unfinished: settings.peers,
            steps: 0,
        };
        swarm.populate();
        swarm
    }

    fn populate(&mut self) {
        let settings = self.settings.clone();
        let content = Content::single(settings.seed, "content", settings.size, settings.piece_len);
        self.copies = vec![0; content.pieces() as usize];
        let torrent = Arc::new(Torrent {
            metainfo: content.metainfo(&[]),
            announce_url: announce_url((Links::ip(TRACKER), TRACKER_PORT).into()),
            content,
        });
        let fast = Settings { seed_up_bytes_per_s: Some(100 << 20), ..settings.clone() };
        let link = fast.seed_link(&mut self.dice);
        self.add(Role::Tracker, link, Duration::ZERO, &torrent);
        for _ in 0..settings.seeds {
            let link = settings.seed_link(&mut self.dice);
            self.add(Role::Seed, link, Duration::ZERO, &torrent);
        }
        let links: Vec<_> = (0..settings.peers)
            .map(|number| settings.leecher_link(number, &mut self.dice))
            .collect();
        let roles: Vec<_> = (0..settings.peers)
            .map(|number| match settings.is_free_rider(number) {
                true => Role::FreeRider,
                false => Role::Leecher,
            })
            .collect();
        let (crowd_at, bound) = bound(&settings, &links, &roles);
        self.bound = bound;
        for (number, (link, role)) in (0..).zip(links.into_iter().zip(roles)) {
            let delay = if settings.is_late(number) {
                crowd_at + self.dice.up_to(CROWD_ARRIVAL)
            } else {
                self.dice.up_to(ARRIVAL)
            };
            self.add(role, link, delay, &torrent);
        }
        self.queue.push(Instant::ZERO + SAMPLE, Due::Sample);
    }

    fn add(
        &mut self,
        role: Role,
        link: super::links::Link,
        joins_after: Duration,
        torrent: &Arc<Torrent>,
    ) {
        let id = self.links.add(link);
        let mut config =
            Config { listen: vec![([0, 0, 0, 0], PEER_PORT).into()], ..Config::default() };
        if role == Role::Tracker {
            config.tracker_listen = vec![([0, 0, 0, 0], TRACKER_PORT).into()];
        }
        if self.settings.slots > 0 {
            config.choking.slots = self.settings.slots;
        }
        if role == Role::FreeRider {
            config.choking.slots = 0;
        }
        let member = Member::new(id, self.settings.seed, config, torrent, role == Role::Seed);
        self.members.push(member);
        let joins_at = Instant::ZERO + joins_after;
        self.plans.push(Plan { role, joins_at, up_bytes_per_s: link.up_bytes_per_s, done: false });
        self.queue.push(joins_at, Due::Join(id));
        if self.settings.riders_return && role == Role::FreeRider {
            self.queue.push(joins_at + RIDER_STAY, Due::Return(id));
        }
        if self.settings.churn && role.is_leecher() {
            let cut = joins_at + self.dice.up_to(self.bound);
            self.queue.push(cut, Due::CutOff(id));
        }
    }

    fn run(&mut self) {
        let deadline = Instant::ZERO + self.bound * PATIENCE;
        while self.unfinished > 0 && self.queue.next_at().is_some_and(|at| at <= deadline) {
            let Some(due) = self.queue.pop() else { return };
            self.steps += 1;
            self.step(due);
            while let Some((member, happening)) = self.links.poll() {
                self.with(member, |member, around| member.happened(around, happening));
            }
        }
    }

    fn step(&mut self, due: Due) {
        match due {
            Due::Link(timer) => self.links.handle(&mut self.queue, timer),
            Due::Deadline(id, incarnation) => {
                self.with(id, |member, around| member.deadline(around, incarnation));
            }
            Due::Join(id) => {
                let with_torrent = self.plans[id as usize].role != Role::Tracker;
                self.with(id, |member, around| member.start(around, with_torrent));
            }
            Due::CutOff(id) => {
                if self.members[id as usize].finished_at.is_none() {
                    self.with(id, super::member::Member::leave);
                    let back = self.queue.now() + self.dice.up_to(LONGEST_ABSENCE);
                    self.queue.push(back, Due::Join(id));
                }
            }
            Due::Return(id) => {
                if self.members[id as usize].finished_at.is_none() {
                    self.with(id, super::member::Member::leave);
                    self.queue.push(self.queue.now() + Duration::from_secs(1), Due::Join(id));
                    self.queue.push(self.queue.now() + RIDER_STAY, Due::Return(id));
                }
            }
            Due::Leave(id) => self.with(id, super::member::Member::leave),
            Due::Sample => self.sample(),
        }
    }

    /// Lets a member act, and notices if that brought it to its end.
    fn with(&mut self, id: MemberId, act: impl FnOnce(&mut Member, &mut Around<'_>)) {
        let member = &mut self.members[id as usize];
        let mut around = Around {
            queue: &mut self.queue,
            links: &mut self.links,
            copies: &mut self.copies,
            copies_changed: false,
        };
        act(member, &mut around);
        if self.spread.is_none() && around.copies_changed {
            let seeds = self.settings.seeds;
            let all_out = self.copies.iter().all(|copies| *copies > seeds);
            self.spread = all_out.then(|| self.queue.now());
        }
        let plan = &mut self.plans[id as usize];
        if member.finished_at.is_some() && !plan.done && plan.role.is_leecher() {
            plan.done = true;
            self.unfinished -= 1;
            self.mind_first();
            if self.settings.churn {
                let leaves = self.queue.now() + self.dice.up_to(LONGEST_STAY);
                self.queue.push(leaves, Due::Leave(id));
            }
        }
    }

    /// Notes what everybody has when the first contributor has everything.
    fn mind_first(&mut self) {
        let is_done = |plan: &Plan| plan.role == Role::Leecher && plan.done;
        if self.at_first.is_some() || !self.plans.iter().any(is_done) {
            return;
        }
        let now = self.queue.now();
        let has = |member: &Member| {
            let totals = member.totals(now);
            (totals.downloaded - totals.redundant).min(self.settings.size)
        };
        self.at_first = Some(self.members.iter().map(has).collect());
    }

    fn sample(&mut self) {
        let ids = 0..self.members.len() as MemberId;
        let sent_bytes = ids.map(|id| self.links.sent_bytes(id)).sum();
        self.samples.push(Sample {
            at: self.queue.now() - Instant::ZERO,
            rarest_copies: self.copies.iter().copied().min().unwrap_or_default(),
            finished: self.settings.peers - self.unfinished,
            sent_bytes,
        });
        self.queue.push(self.queue.now() + SAMPLE, Due::Sample);
    }

    fn report(&self) -> Report {
        let now = self.queue.now();
        let peers = self.members.iter().zip(&self.plans).enumerate().map(|(id, (member, plan))| {
            let totals = member.totals(now);
            Peer {
                role: plan.role,
                joined: plan.joins_at - Instant::ZERO,
                finished: member.finished_at.map(|at| at - Instant::ZERO),
                up_bytes_per_s: plan.up_bytes_per_s,
                sent_bytes: self.links.sent_bytes(id as MemberId),
                downloaded: totals.downloaded,
                uploaded: totals.uploaded,
                redundant: totals.redundant,
                inputs: member.inputs,
                at_first: self.at_first.as_ref().map_or(0, |had| had[id]),
            }
        });
        Report {
            settings: self.settings.clone(),
            bound: self.bound,
            took: now - Instant::ZERO,
            spread: self.spread.map(|at| at - Instant::ZERO),
            peers: peers.filter(|peer| peer.role != Role::Tracker).collect(),
            samples: self.samples.clone(),
            inputs: self.members.iter().map(|member| member.inputs).sum(),
            steps: self.steps,
        }
    }
}
