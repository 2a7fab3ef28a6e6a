//! Hash maps that are deterministic in simulation and cannot be flooded in production.
//!
//! One alias for the whole core: hashbrown with SipHash-1-3 keyed from the engine's seed. Iteration
//! order must still never reach an action: sort first, or keep an ordered index beside the map.

use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

use crate::random::SecretRng;

/// A hash map keyed by [`HashKeys`].
pub type Map<K, V> = hashbrown::HashMap<K, V, HashKeys>;
/// A hash set keyed by [`HashKeys`].
pub type Set<K> = hashbrown::HashSet<K, HashKeys>;

/// The two keys of the hash function, drawn from the engine's seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashKeys(u64, u64);

impl HashKeys {
    /// Draws fresh keys.
    pub fn draw(rng: &mut SecretRng) -> Self {
        HashKeys(u64::from_le_bytes(rng.bytes()), u64::from_le_bytes(rng.bytes()))
    }
}

impl BuildHasher for HashKeys {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}
