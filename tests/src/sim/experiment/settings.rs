//! What an experiment is made of: sizes, rates, and who comes and goes when.

use bitswarm_core::time::Duration;

use super::links::Link;
use crate::sim::dice::Dice;

/// A swarm to be run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Decides everything that is random.
    pub seed: u64,
    /// Leechers, the free riders among them.
    pub peers: u32,
    /// Members that have everything from the beginning, and stay.
    pub seeds: u32,
    /// Bytes of content.
    pub size: u64,
    /// Bytes a piece.
    pub piece_len: u32,
    /// Upload rate of a member in bytes per second.
    pub up_bytes_per_s: u64,
    /// Download rate of a member in bytes per second.
    pub down_bytes_per_s: u64,
    /// Upload rate of a seed, if it is not a member's.
    pub seed_up_bytes_per_s: Option<u64>,
    /// Half of the leechers have half the rates, a fifth has three times the rates.
    pub heterogeneous: bool,
    /// A tenth of the leechers is there from the beginning; all others come within ten seconds,
    /// in the middle of the time that the bound allows for.
    pub flash_crowd: bool,
    /// Every leecher is cut off once for a while, and leaves soon after it has finished.
    pub churn: bool,
    /// How many leechers never unchoke anybody.
    pub free_riders: u32,
    /// Whether they come anew, under another name, whenever half a minute has passed.
    pub riders_return: bool,
    /// Upload slots of everybody; 0: as many as by default.
    pub slots: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            seed: 1,
            peers: 100,
            seeds: 1,
            size: 64 << 20,
            piece_len: 128 << 10,
            up_bytes_per_s: 256 << 10,
            down_bytes_per_s: 2 << 20,
            seed_up_bytes_per_s: None,
            heterogeneous: false,
            flash_crowd: false,
            churn: false,
            free_riders: 0,
            riders_return: false,
            slots: 0,
        }
    }
}

impl Settings {
    /// The link of a seed.
    pub(super) fn seed_link(&self, dice: &mut Dice) -> Link {
        let up = self.seed_up_bytes_per_s.unwrap_or(self.up_bytes_per_s);
        link(up, self.down_bytes_per_s, dice)
    }

    /// The link of a leecher, by its number.
    pub(super) fn leecher_link(&self, number: u32, dice: &mut Dice) -> Link {
        let (part, of) = match number % 10 {
            _ if !self.heterogeneous => (1, 1),
            0..5 => (1, 2),
            5..8 => (1, 1),
            _ => (3, 1),
        };
        link(self.up_bytes_per_s * part / of, self.down_bytes_per_s * part / of, dice)
    }

    /// Whether a leecher, by its number, is a free rider. They are spread evenly.
    pub(super) fn is_free_rider(&self, number: u32) -> bool {
        let upto = |number: u32| u64::from(number) * u64::from(self.free_riders);
        let peers = u64::from(self.peers.max(1));
        upto(number + 1) / peers > upto(number) / peers
    }

    /// Whether a leecher, by its number, comes with the crowd.
    pub(super) fn is_late(&self, number: u32) -> bool {
        self.flash_crowd && !number.is_multiple_of(10)
    }
}

fn link(up_bytes_per_s: u64, down_bytes_per_s: u64, dice: &mut Dice) -> Link {
    let latency = Duration::from_millis(5) + dice.up_to(Duration::from_millis(35));
    Link { up_bytes_per_s, down_bytes_per_s, latency }
}
