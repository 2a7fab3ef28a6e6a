//! Seeded mutations of a corpus: what a fuzzer does without its feedback.
//!
//! Deterministic, so that a test run that fails fails again.

use bitswarm_core::random::PolicyRng;

/// Bytes and numbers at which parsers decide.
const INTERESTING: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\0\0\x40\0",
    b"\r\n",
    b"\r\n\r\n",
    b"%",
    b"e",
    b"i-1e",
    b"i9223372036854775807e",
    b"0:",
    b"de",
    b"le",
    b"99999999999999999999",
];

/// Makes inputs out of inputs.
#[derive(Debug)]
pub struct Mutator<'a> {
    corpus: &'a [Vec<u8>],
    max_len: usize,
    dice: PolicyRng,
}

impl<'a> Mutator<'a> {
    /// Over a corpus; the seed decides all.
    pub fn new(corpus: &'a [Vec<u8>], max_len: usize, seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Mutator { corpus, max_len, dice: PolicyRng::from_seed(bytes) }
    }

    /// One more input: one of the corpus, changed in one to eight places.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut data = self.pick().to_vec();
        for _ in 0..1 + self.dice.index(8) {
            self.mutate(&mut data);
        }
        data.truncate(self.max_len);
        data
    }

    fn pick(&mut self) -> &'a [u8] {
        if self.corpus.is_empty() { &[] } else { &self.corpus[self.dice.index(self.corpus.len())] }
    }

    fn mutate(&mut self, data: &mut Vec<u8>) {
        let at = self.dice.index(data.len() + 1);
        let to = data.len().min(at + 1 + self.dice.index(16));
        match self.dice.index(8) {
            0 if at < data.len() => data[at] ^= 1 << self.dice.index(8),
            1 if at < data.len() => data[at] = self.dice.below(256) as u8,
            2 if at < data.len() => data[at] = data[at].wrapping_add(1),
            3 => drop(data.drain(at..to)),
            4 => {
                let copy = data[at..to].to_vec();
                let target = self.dice.index(data.len() + 1);
                data.splice(target..target, copy);
            }
            5 => {
                let token = INTERESTING[self.dice.index(INTERESTING.len())];
                data.splice(at..at, token.iter().copied());
            }
            6 => {
                let token = INTERESTING[self.dice.index(INTERESTING.len())];
                let end = data.len().min(at + token.len());
                data.splice(at..end, token.iter().copied());
            }
            _ => {
                let other = self.pick();
                let from = self.dice.index(other.len() + 1);
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
        }
    }
}
