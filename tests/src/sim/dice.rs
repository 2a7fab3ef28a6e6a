//! Randomness of the simulator: every part draws from a stream of its own, named by a label.
//!
//! A stream depends on the run's seed and its label alone, so that adding a host or a fault does
//! not shift what the other parts draw: runs stay comparable when a scenario grows.

use std::ops::RangeInclusive;
use std::time::Duration;

use bitswarm_core::random::PolicyRng;
use sha1::{Digest, Sha1};

/// One stream of random decisions.
#[derive(Debug, Clone)]
pub struct Dice(PolicyRng);

impl Dice {
    /// The stream `label` of the run `seed`.
    pub fn new(seed: u64, label: &str) -> Self {
        Dice(PolicyRng::from_seed(seed_bytes(seed, label)))
    }

    /// True in `per_mille` of 1000 cases.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        // No draw for what cannot happen: a fault switched off leaves the stream alone.
        per_mille > 0 && self.0.below(1000) < u64::from(per_mille)
    }

    /// A number of the range.
    pub fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = range.into_inner();
        low + self.0.below((high - low).saturating_add(1))
    }

    /// An index into something of this length.
    pub fn index(&mut self, len: usize) -> usize {
        self.0.index(len)
    }

    /// A duration of at most `most`.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        if most.is_zero() {
            return most;
        }
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX - 1);
        Duration::from_nanos(self.between(0..=nanos))
    }

    /// Random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.0.next_u64().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// Puts the items into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        self.0.shuffle(items);
    }
}

/// 32 bytes that depend on the seed and the label alone.
pub fn seed_bytes(seed: u64, label: &str) -> [u8; 32] {
    let half = |which: u8| {
        let mut hash = Sha1::new();
        hash.update([which]);
        hash.update(seed.to_le_bytes());
        hash.update(label.as_bytes());
        hash.finalize()
    };
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&half(0)[..16]);
    bytes[16..].copy_from_slice(&half(1)[..16]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_seed_and_label_alone() {
        let draw = |seed, label| Dice::new(seed, label).bytes(24);
        assert_eq!(draw(1, "disk 3"), draw(1, "disk 3"));
        assert_ne!(draw(1, "disk 3"), draw(1, "disk 4"));
        assert_ne!(draw(1, "disk 3"), draw(2, "disk 3"));
    }

    #[test]
    fn ranges_include_both_ends_and_chances_of_zero_draw_nothing() {
        let mut dice = Dice::new(7, "test");
        let drawn: std::collections::BTreeSet<u64> =
            (0..200).map(|_| dice.between(3..=5)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 4, 5]);
        let mut still = dice.clone();
        assert!(!(0..100).any(|_| still.chance(0)));
        assert_eq!(still.bytes(8), dice.bytes(8));
    }
}
