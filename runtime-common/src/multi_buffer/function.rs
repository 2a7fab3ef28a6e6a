//! The two hash functions, as what makes them: a state and how blocks are taken into it.

use bitswarm_core::piece::{Sha1Hash, Sha256Hash};

use super::block::Block;
#[cfg(target_arch = "x86_64")]
use super::x86::ShaInstructions;

/// A hash function over blocks of 64 bytes (FIPS 180-4).
pub(super) trait Function {
    /// What is known of the blocks so far.
    type State: Copy;
    /// What comes out.
    type Digest;
    /// Before the first block.
    const INITIAL: Self::State;

    /// Takes blocks of one message.
    fn compress(state: &mut Self::State, blocks: &[Block]);

    /// Takes as many blocks of each of several messages.
    fn compress_all<const N: usize>(states: [&mut Self::State; N], blocks: [&[Block]; N]);

    /// The digest when the last block is taken.
    fn digest(state: Self::State) -> Self::Digest;
}

/// Messages at once where that is faster than one by one (the rounds alone are fastest with four, all of
/// it as fast with three: docs/PERFORMANCE.md, "Making and checking torrents").
pub(super) const LANES: usize = 4;

/// How many messages are worth taking at once on this processor.
pub(super) fn lane_count() -> usize {
    #[cfg(target_arch = "x86_64")]
    if ShaInstructions::detect().is_some() {
        return LANES;
    }
    1
}

/// SHA-1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sha1;

impl Function for Sha1 {
    type State = [u32; 5];
    type Digest = Sha1Hash;
    const INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

    fn compress(state: &mut [u32; 5], blocks: &[Block]) {
        sha1::block_api::compress(state, blocks);
    }

    fn compress_all<const N: usize>(states: [&mut [u32; 5]; N], blocks: [&[Block]; N]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(instructions) = ShaInstructions::detect() {
            return instructions.sha1(states, blocks);
        }
        states.into_iter().zip(blocks).for_each(|(state, blocks)| Self::compress(state, blocks));
    }

    fn digest(state: [u32; 5]) -> Sha1Hash {
        let mut digest = [0; 20];
        write_words(&mut digest, &state);
        digest
    }
}

/// SHA-256, which BEP 52 calls SHA2-256.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sha256;

impl Function for Sha256 {
    type State = [u32; 8];
    type Digest = Sha256Hash;
    const INITIAL: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];

    fn compress(state: &mut [u32; 8], blocks: &[Block]) {
        sha2::block_api::compress256(state, blocks);
    }

    fn compress_all<const N: usize>(states: [&mut [u32; 8]; N], blocks: [&[Block]; N]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(instructions) = ShaInstructions::detect() {
            return instructions.sha256(states, blocks);
        }
        states.into_iter().zip(blocks).for_each(|(state, blocks)| Self::compress(state, blocks));
    }

    fn digest(state: [u32; 8]) -> Sha256Hash {
        let mut digest = [0; 32];
        write_words(&mut digest, &state);
        digest
    }
}

fn write_words(digest: &mut [u8], words: &[u32]) {
    for (bytes, word) in digest.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
}
