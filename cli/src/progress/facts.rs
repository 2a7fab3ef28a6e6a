//! What a progress line shows: how one task stands.

use std::time::Duration;

/// How a task stands.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Facts {
    /// Which of them a screen without room for all shows first.
    pub(crate) activity: Activity,
    /// Bytes done.
    pub(crate) done: u64,
    /// Bytes in all; `None` while that is not known.
    pub(crate) total: Option<u64>,
    /// Bytes per second received; `None` for what receives nothing by its nature.
    pub(crate) down: Option<u64>,
    /// Bytes per second sent; `None` for what sends nothing by its nature.
    pub(crate) up: Option<u64>,
    /// Peers connected; `None` for what has no peers by its nature.
    pub(crate) peers: Option<usize>,
    /// Time left.
    pub(crate) eta: Option<Duration>,
    /// What else there is to say.
    pub(crate) note: String,
    /// How that is meant.
    pub(crate) tone: Tone,
}

/// How busy a task is. The order is that in which they are shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Activity {
    /// Bytes move.
    #[default]
    Moving,
    /// It wants something and does not get it.
    Waiting,
    /// It wants nothing.
    Resting,
}

/// How a note is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Tone {
    /// As it should be.
    #[default]
    Plain,
    /// It says what keeps the task from being faster.
    Slow,
    /// Something is wrong.
    Bad,
}

impl Facts {
    /// Work on a known number of bytes, without peers.
    pub(crate) fn work(done: u64, total: u64, note: String) -> Self {
        Facts { done, total: Some(total), note, ..Facts::default() }
    }

    /// Of all of these together: bytes, rates, peers, and the time until the last byte is there at
    /// this rate.
    pub(crate) fn sum<'a>(all: impl Iterator<Item = &'a Facts>) -> Self {
        let mut sum = Facts { activity: Activity::Resting, total: Some(0), ..Facts::default() };
        let add = |sum: &mut Option<u64>, more: Option<u64>| {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0).saturating_add(more));
            }
        };
        for facts in all {
            sum.activity = sum.activity.min(facts.activity);
            // What is of unknown size counts when it is known.
            if let Some(total) = facts.total {
                sum.done = sum.done.saturating_add(facts.done.min(total));
                add(&mut sum.total, Some(total));
            }
            add(&mut sum.down, facts.down);
            add(&mut sum.up, facts.up);
            if let Some(peers) = facts.peers {
                sum.peers = Some(sum.peers.unwrap_or(0).saturating_add(peers));
            }
        }
        let left = sum.total.unwrap_or(0).saturating_sub(sum.done);
        sum.eta = left.checked_div(sum.down.unwrap_or(0)).filter(|_| left > 0).map(|seconds| {
            // None is never the truth while something is missing.
            Duration::from_secs(seconds.max(1))
        });
        sum
    }

    /// How much of it is done, in tenths of a percent, rounded down: 1000 means all of it.
    pub(super) fn permille(&self) -> u64 {
        match self.total {
            None => 0,
            Some(0) => 1000,
            Some(total) => {
                let permille = u128::from(self.done.min(total)) * 1000 / u128::from(total);
                permille as u64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_percent_is_all_of_it_and_no_less() {
        let permille = |done, total| Facts::work(done, total, String::new()).permille();
        assert_eq!(permille(0, 10), 0);
        assert_eq!(permille(9_999, 10_000), 999);
        assert_eq!(permille(10, 10), 1000);
        assert_eq!(permille(0, 0), 1000);
        assert_eq!(permille(u64::MAX, u64::MAX), 1000);
        assert_eq!(permille(20, 10), 1000);
    }

    #[test]
    fn the_whole_is_the_sum_of_what_is_known() {
        let fetching = Facts {
            down: Some(10),
            up: Some(1),
            peers: Some(2),
            activity: Activity::Waiting,
            ..Facts::work(40, 100, String::new())
        };
        let magnet = Facts { total: None, done: 7, ..fetching.clone() };
        let sum = Facts::sum([&fetching, &magnet, &fetching].into_iter());
        assert_eq!((sum.done, sum.total), (80, Some(200)));
        assert_eq!((sum.down, sum.up, sum.peers), (Some(30), Some(3), Some(6)));
        assert_eq!(sum.eta, Some(Duration::from_secs(4)));
        assert_eq!(sum.activity, Activity::Waiting);
        let seed = Facts { up: Some(5), ..Facts::work(100, 100, String::new()) };
        let sum = Facts::sum([&seed].into_iter());
        assert_eq!((sum.down, sum.eta), (None, None), "a seed receives nothing");
    }
}
