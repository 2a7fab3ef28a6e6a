//! Randomness as an input: one seed at birth, from which every machine forks its own stream.
//!
//! Two kinds, never mixed: [`PolicyRng`] is fast and decides what only efficiency depends on
//! (picker ties, the optimistic unchoke); [`SecretRng`] is ChaCha20 and makes what an attacker must
//! not guess (peer id tail, transaction ids, tokens, keys). Forking takes the child's seed from the
//! parent's stream, so one machine's use never shifts another's.

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Fast generator for policy; predictable to nobody who lacks the seed, but not for secrets.
#[derive(Debug, Clone)]
pub struct PolicyRng(Xoshiro256PlusPlus);

impl PolicyRng {
    /// A generator that depends on `seed` alone.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        PolicyRng(Xoshiro256PlusPlus::from_seed(seed))
    }

    /// A child with a stream of its own.
    pub fn fork(&mut self) -> Self {
        let mut seed = [0; 32];
        self.0.fill_bytes(&mut seed);
        Self::from_seed(seed)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..bound`, without bias worth noticing; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of a 64x64 multiplication maps the stream onto 0..bound (Lemire 2019).
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// An index into a slice of `len` elements; 0 if it is empty.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

/// Cryptographic generator (ChaCha20) for what a remote must not guess.
pub struct SecretRng(ChaCha20Rng);

impl SecretRng {
    /// A generator that depends on `seed` alone.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        SecretRng(ChaCha20Rng::from_seed(seed))
    }

    /// A child with a stream of its own.
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.bytes())
    }

    /// A policy generator seeded from this stream.
    pub fn fork_policy(&mut self) -> PolicyRng {
        PolicyRng::from_seed(self.bytes())
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// Fills a buffer with random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }
}

impl std::fmt::Debug for SecretRng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretRng(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_stream_twice() {
        let draw = |seed| {
            let mut secret = SecretRng::from_seed(seed);
            let mut policy = secret.fork_policy();
            (secret.bytes::<16>(), policy.below(1000), policy.fork().next_u64())
        };
        assert_eq!(draw([7; 32]), draw([7; 32]));
        assert_ne!(draw([7; 32]), draw([8; 32]));
    }

    #[test]
    fn below_stays_below_and_zero_is_zero() {
        let mut rng = PolicyRng::from_seed([1; 32]);
        assert_eq!(rng.below(0), 0);
        assert!((0..1000).all(|_| rng.below(7) < 7));
    }
}
