//! The figures of a run. Nothing in them depends on the machine: times are virtual.

use std::fmt;

use bitswarm_core::time::Duration;

use super::links::Link;
use super::settings::Settings;

/// How a swarm went.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was run.
    pub settings: Settings,
    /// No swarm with these links can be done before this.
    pub bound: Duration,
    /// When the last leecher finished, or the run was given up.
    pub took: Duration,
    /// When leechers first had everything between them.
    pub spread: Option<Duration>,
    /// Everybody but the tracker: seeds first, then leechers.
    pub peers: Vec<Peer>,
    /// The swarm every few seconds.
    pub samples: Vec<Sample>,
    /// Inputs to all engines: events, gathers, accepts, calls.
    pub inputs: u64,
    /// Entries that the simulator's queue took.
    pub steps: u64,
}

/// How one member fared.
#[derive(Clone, Debug)]
pub struct Peer {
    /// What it was there for.
    pub role: Role,
    /// When it first joined.
    pub joined: Duration,
    /// When it had everything.
    pub finished: Option<Duration>,
    /// Rate of its uplink in bytes per second.
    pub up_bytes_per_s: u64,
    /// Bytes its uplink sent, messages included.
    pub sent_bytes: u64,
    /// Bytes of blocks it received.
    pub downloaded: u64,
    /// Bytes of blocks it sent.
    pub uploaded: u64,
    /// Bytes of blocks it received in vain.
    pub redundant: u64,
    /// Inputs to its engine.
    pub inputs: u64,
    /// Bytes of the content that it had when the first contributor had everything.
    pub at_first: u64,
}

/// What a member is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Names the others to each other.
    Tracker,
    /// Has everything.
    Seed,
    /// Takes and gives.
    Leecher,
    /// Takes and does not give.
    FreeRider,
}

impl Role {
    /// Whether it comes to download.
    pub fn is_leecher(self) -> bool {
        matches!(self, Role::Leecher | Role::FreeRider)
    }
}

/// The swarm at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When.
    pub at: Duration,
    /// How many members that are there have the piece that the fewest have.
    pub rarest_copies: u32,
    /// Leechers that have finished.
    pub finished: u32,
    /// Bytes that all uplinks have sent so far.
    pub sent_bytes: u64,
}

/// When a crowd comes, and the time that the last needs at least, by the fluid bound: the seeds must
/// send everything once, the slowest downlink must take everything, and all uplinks together must
/// carry everything to everybody. (For a crowd the latter two count from when it comes.)
pub(super) fn bound(settings: &Settings, links: &[Link], roles: &[Role]) -> (Duration, Duration) {
    let size = settings.size as f64;
    let seed_up = settings.seed_up_bytes_per_s.unwrap_or(settings.up_bytes_per_s);
    let seeds_up = (u64::from(settings.seeds) * seed_up) as f64;
    let gives = |(_, role): &(&Link, &Role)| **role == Role::Leecher;
    let up: u64 = links.iter().zip(roles).filter(gives).map(|(link, _)| link.up_bytes_per_s).sum();
    let slowest = links.iter().map(|link| link.down_bytes_per_s).min().unwrap_or(1) as f64;
    let carry = |peers: u32| f64::from(peers) * size / (seeds_up + up as f64);
    let once = size / seeds_up;
    let alone = once.max(size / slowest).max(carry(settings.peers));
    if !settings.flash_crowd {
        return (Duration::ZERO, Duration::from_secs_f64(alone));
    }
    let crowd_at = alone / 2.0;
    let crowd = (0..settings.peers).filter(|number| settings.is_late(*number)).count() as u32;
    let bound = once.max(crowd_at + (size / slowest).max(carry(crowd)));
    (Duration::from_secs_f64(crowd_at), Duration::from_secs_f64(bound))
}

impl Report {
    fn leechers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(|peer| peer.role.is_leecher())
    }

    /// Whether every leecher finished.
    pub fn is_complete(&self) -> bool {
        self.leechers().all(|peer| peer.finished.is_some())
    }

    /// Times at which leechers finished, in order.
    pub fn finish_times(&self) -> Vec<Duration> {
        let mut times: Vec<_> = self.leechers().filter_map(|peer| peer.finished).collect();
        times.sort_unstable();
        times
    }

    /// When the last finished, of the bound.
    pub fn last_of_bound(&self) -> f64 {
        self.took.as_secs_f64() / self.bound.as_secs_f64()
    }

    /// Part of what the uplinks of seeds and contributors could carry until the last finished that
    /// they did carry.
    pub fn upload_utilisation(&self) -> f64 {
        let giving = || self.peers.iter().filter(|peer| peer.role != Role::FreeRider);
        let could: f64 = giving()
            .map(|peer| {
                peer.up_bytes_per_s as f64 * self.took.saturating_sub(peer.joined).as_secs_f64()
            })
            .sum();
        giving().map(|peer| peer.sent_bytes as f64).sum::<f64>() / could
    }

    /// Part of the block bytes received that were of no use.
    pub fn duplicates(&self) -> f64 {
        let downloaded: u64 = self.leechers().map(|peer| peer.downloaded).sum();
        let redundant: u64 = self.leechers().map(|peer| peer.redundant).sum();
        redundant as f64 / downloaded as f64
    }

    /// Part of what was received that came from seeds, in copies of the content.
    pub fn copies_from_seeds(&self) -> f64 {
        let seeds = self.peers.iter().filter(|peer| peer.role == Role::Seed);
        seeds.map(|peer| peer.uploaded as f64).sum::<f64>() / self.settings.size as f64
    }

    /// Bytes sent for each byte received, of every contributor, in order.
    pub fn share_ratios(&self) -> Vec<f64> {
        let givers = self.leechers().filter(|peer| peer.role == Role::Leecher);
        let mut ratios: Vec<f64> =
            givers.map(|peer| peer.uploaded as f64 / peer.downloaded as f64).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        ratios
    }

    /// Mean rate at which those of a role got the content, in bytes per second; `None` if there are
    /// none who did.
    pub fn mean_rate(&self, role: Role) -> Option<f64> {
        let times = self.leechers().filter(|peer| peer.role == role);
        let times: Vec<f64> = times
            .filter_map(|peer| Some((peer.finished?.saturating_sub(peer.joined)).as_secs_f64()))
            .collect();
        let mean = times.iter().sum::<f64>() / times.len().max(1) as f64;
        (!times.is_empty()).then(|| self.settings.size as f64 / mean)
    }

    /// What a free rider has when the first contributor has everything, by what a contributor has.
    /// Until then reciprocation acts; a peer that has finished uploads to all alike. `None` if there are
    /// none.
    pub fn rider_share(&self) -> Option<f64> {
        let mean = |role| {
            let had: Vec<u64> = self
                .leechers()
                .filter(|peer| peer.role == role)
                .map(|peer| peer.at_first)
                .collect();
            (!had.is_empty()).then(|| had.iter().sum::<u64>() as f64 / had.len() as f64)
        };
        Some(mean(Role::FreeRider)? / mean(Role::Leecher)?)
    }

    /// Heading of [`Report::row`].
    pub const HEADING: &'static str = "swarm                     bound s   first s  median s    last s  last/bound  upload use  duplicates    spread s  from seeds  ratio min..median..max  rarest at 1/4 1/2 3/4  rider rate  share";

    /// One line of figures.
    pub fn row(&self, name: &str) -> String {
        let times = self.finish_times();
        let at = |part: f64| of(&times, part).map_or(f64::NAN, |time| time.as_secs_f64());
        let ratios = self.share_ratios();
        let ratio = |part: f64| of(&ratios, part).unwrap_or(f64::NAN);
        let rarest = |part: f64| of(&self.samples, part).map_or(0, |sample| sample.rarest_copies);
        let rider = match (self.mean_rate(Role::FreeRider), self.mean_rate(Role::Leecher)) {
            (Some(rider), Some(giver)) => format!("{:.3}", rider / giver),
            _ => "-".to_owned(),
        };
        let share = self.rider_share().map_or("-".to_owned(), |share| format!("{share:.3}"));
        format!(
            "{name:<24} {:>8.1} {:>9.1} {:>9.1} {:>9.1} {:>11.3} {:>10.1}% {:>10.3}% {:>11.1} {:>11.2}   {:>5.2} .. {:>4.2} .. {:>5.2}  {:>13} {:>3} {:>3}  {rider:>10}  {share:>5}",
            self.bound.as_secs_f64(),
            at(0.0),
            at(0.5),
            if self.is_complete() { at(1.0) } else { f64::INFINITY },
            self.last_of_bound(),
            self.upload_utilisation() * 100.0,
            self.duplicates() * 100.0,
            self.spread.map_or(f64::NAN, |at| at.as_secs_f64()),
            self.copies_from_seeds(),
            ratio(0.0),
            ratio(0.5),
            ratio(1.0),
            rarest(0.25),
            rarest(0.5),
            rarest(0.75),
        )
    }
}

/// The item at this part of a list.
fn of<T: Copy>(items: &[T], part: f64) -> Option<T> {
    let last = items.len().checked_sub(1)?;
    items.get((part * last as f64).round() as usize).copied()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.settings;
        writeln!(
            f,
            "{} leechers, {} seeds, {} bytes in pieces of {}, seed {}",
            settings.peers, settings.seeds, settings.size, settings.piece_len, settings.seed
        )?;
        let times = self.finish_times();
        write!(f, "finished after seconds:")?;
        for part in [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0] {
            let time = of(&times, part).map_or(f64::NAN, |time| time.as_secs_f64());
            write!(f, "  {:.0}% {time:.1}", part * 100.0)?;
        }
        writeln!(f)?;
        if !self.is_complete() {
            writeln!(f, "GIVEN UP: {} of {} finished", times.len(), settings.peers)?;
        }
        writeln!(f, "{}\n{}", Self::HEADING, self.row("this"))
    }
}
