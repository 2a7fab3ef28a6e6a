//! Decisions read from a fuzzer's bytes.
//!
//! At the end of the bytes every number is zero and every run of bytes empty, so that any input
//! means something and a shorter one means less.

use bitswarm_core::random::PolicyRng;

/// The bytes of an input that are not used up.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// All of it.
    pub fn new(data: &'a [u8]) -> Self {
        Input { rest: data }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    /// A number below `bound`, from one byte.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    /// Yes or no, from one byte.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// As many bytes as there are, then zeros.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// Up to `len` bytes.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// A run of bytes behind its length, which takes two bytes.
    pub fn run(&mut self) -> &'a [u8] {
        let len = usize::from(self.u16());
        self.take(len)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}

/// Cuts a stream at places that `seed` decides, into portions of which most are short.
pub fn cut(mut data: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut dice = PolicyRng::from_seed([seed; 32]);
    let mut parts = Vec::new();
    while !data.is_empty() {
        let most = [1, 3, 20, 300, 5000][dice.index(5)];
        let (part, rest) = data.split_at((1 + dice.index(most)).min(data.len()));
        parts.push(part);
        data = rest;
    }
    parts
}
