//! SHA-1 and SHA-256 of several messages at once, by the processor's SHA instructions.
//!
//! Each of these instructions waits some cycles for the one before it in its message, cycles in which
//! the processor could begin one of another message. So the rounds of all messages are written side
//! by side (FIPS 180-4 says what they are).
//!
//! `unsafe` is only the call of a function that is compiled for those instructions.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
    _mm_setzero_si128, _mm_sha1msg1_epu32, _mm_sha1msg2_epu32, _mm_sha1nexte_epu32,
    _mm_sha1rnds4_epu32, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32,
    _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_xor_si128,
};
use std::array;

use super::block::Block;

/// A proof that the processor has these instructions.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShaInstructions(());

impl ShaInstructions {
    /// `None`: it has not.
    pub(super) fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1");
        all.then_some(ShaInstructions(()))
    }

    /// Takes the blocks of each message into its state; all have as many.
    pub(super) fn sha1<const N: usize>(self, states: [&mut [u32; 5]; N], blocks: [&[Block]; N]) {
        // SAFETY: there is a `self` only if the processor has the features.
        unsafe { sha1(states, blocks) }
    }

    /// The same for SHA-256.
    pub(super) fn sha256<const N: usize>(self, states: [&mut [u32; 8]; N], blocks: [&[Block]; N]) {
        // SAFETY: there is a `self` only if the processor has the features.
        unsafe { sha256(states, blocks) }
    }
}

#[target_feature(enable = "sha,sse4.1")]
fn sha1<const N: usize>(states: [&mut [u32; 5]; N], blocks: [&[Block]; N]) {
    let mut abcd: [__m128i; N] = array::from_fn(|n| {
        let [a, b, c, d, _] = states[n].map(u32::cast_signed);
        _mm_set_epi32(a, b, c, d)
    });
    let mut e: [__m128i; N] =
        array::from_fn(|n| _mm_set_epi32(states[n][4].cast_signed(), 0, 0, 0));

    let order = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
    #[expect(clippy::needless_range_loop, reason = "it counts through several at once")]
    for at in 0..blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0) {
        let (abcd_before, e_before) = (abcd, e);
        // The last sixteen words of the message schedule, those of first index in the high lanes.
        let mut words = [[_mm_setzero_si128(); 4]; N];
        for n in 0..N {
            words[n] = load(&blocks[n][at], order);
        }
        macro_rules! four_rounds {
            ($step:literal, $kind:literal) => {
                for n in 0..N {
                    let (oldest, older) = (words[n][($step + 1) % 4], words[n][($step + 2) % 4]);
                    let (old, new) = (words[n][($step + 3) % 4], words[n][$step % 4]);
                    // E is what A was four rounds ago, rotated; but for the first four it is given.
                    let e_and_words = match $step {
                        0 => _mm_add_epi32(e[n], new),
                        _ => _mm_sha1nexte_epu32(e[n], new),
                    };
                    e[n] = abcd[n];
                    abcd[n] = _mm_sha1rnds4_epu32::<$kind>(abcd[n], e_and_words);
                    if (3..19).contains(&$step) {
                        let mixed = _mm_xor_si128(_mm_sha1msg1_epu32(oldest, older), old);
                        words[n][($step + 1) % 4] = _mm_sha1msg2_epu32(mixed, new);
                    }
                }
            };
        }
        four_rounds!(0, 0);
        four_rounds!(1, 0);
        four_rounds!(2, 0);
        four_rounds!(3, 0);
        four_rounds!(4, 0);
        four_rounds!(5, 1);
        four_rounds!(6, 1);
        four_rounds!(7, 1);
        four_rounds!(8, 1);
        four_rounds!(9, 1);
        four_rounds!(10, 2);
        four_rounds!(11, 2);
        four_rounds!(12, 2);
        four_rounds!(13, 2);
        four_rounds!(14, 2);
        four_rounds!(15, 3);
        four_rounds!(16, 3);
        four_rounds!(17, 3);
        four_rounds!(18, 3);
        four_rounds!(19, 3);
        for n in 0..N {
            e[n] = _mm_sha1nexte_epu32(e[n], e_before[n]);
            abcd[n] = _mm_add_epi32(abcd[n], abcd_before[n]);
        }
    }

    for (n, state) in states.into_iter().enumerate() {
        let [d, c, b, a] = lanes(abcd[n]);
        *state = [a, b, c, d, lanes(e[n])[3]];
    }
}

/// FIPS 180-4, 4.2.2.
const K256: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

#[target_feature(enable = "sha,sse4.1")]
fn sha256<const N: usize>(states: [&mut [u32; 8]; N], blocks: [&[Block]; N]) {
    let mut abef: [__m128i; N] = array::from_fn(|n| {
        let [a, b, _, _, e, f, _, _] = states[n].map(u32::cast_signed);
        _mm_set_epi32(a, b, e, f)
    });
    let mut cdgh: [__m128i; N] = array::from_fn(|n| {
        let [_, _, c, d, _, _, g, h] = states[n].map(u32::cast_signed);
        _mm_set_epi32(c, d, g, h)
    });

    let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    #[expect(clippy::needless_range_loop, reason = "it counts through several at once")]
    for at in 0..blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0) {
        let (abef_before, cdgh_before) = (abef, cdgh);
        // The last sixteen words of the message schedule, those of first index in the low lanes.
        let mut words = [[_mm_setzero_si128(); 4]; N];
        for n in 0..N {
            words[n] = load(&blocks[n][at], order);
        }
        macro_rules! four_rounds {
            ($step:literal) => {
                let [k0, k1, k2, k3] = K256[$step].map(u32::cast_signed);
                let k = _mm_set_epi32(k3, k2, k1, k0);
                for n in 0..N {
                    let (oldest, older) = (words[n][($step + 1) % 4], words[n][($step + 2) % 4]);
                    let (old, new) = (words[n][($step + 3) % 4], words[n][$step % 4]);
                    let sum = _mm_add_epi32(new, k);
                    cdgh[n] = _mm_sha256rnds2_epu32(cdgh[n], abef[n], sum);
                    let sum = _mm_shuffle_epi32::<0b1110>(sum);
                    abef[n] = _mm_sha256rnds2_epu32(abef[n], cdgh[n], sum);
                    if (3..15).contains(&$step) {
                        let mixed = _mm_sha256msg1_epu32(oldest, older);
                        let mixed = _mm_add_epi32(mixed, _mm_alignr_epi8::<4>(new, old));
                        words[n][($step + 1) % 4] = _mm_sha256msg2_epu32(mixed, new);
                    }
                }
            };
        }
        four_rounds!(0);
        four_rounds!(1);
        four_rounds!(2);
        four_rounds!(3);
        four_rounds!(4);
        four_rounds!(5);
        four_rounds!(6);
        four_rounds!(7);
        four_rounds!(8);
        four_rounds!(9);
        four_rounds!(10);
        four_rounds!(11);
        four_rounds!(12);
        four_rounds!(13);
        four_rounds!(14);
        four_rounds!(15);
        for n in 0..N {
            abef[n] = _mm_add_epi32(abef[n], abef_before[n]);
            cdgh[n] = _mm_add_epi32(cdgh[n], cdgh_before[n]);
        }
    }

    for (n, state) in states.into_iter().enumerate() {
        let ([f, e, b, a], [h, g, d, c]) = (lanes(abef[n]), lanes(cdgh[n]));
        *state = [a, b, c, d, e, f, g, h];
    }
}

/// The sixteen words of a block, the bytes of four at a time in the order that is asked for.
#[inline]
#[target_feature(enable = "sse4.1")]
fn load(block: &Block, order: __m128i) -> [__m128i; 4] {
    let mut words = [_mm_setzero_si128(); 4];
    let (parts, _) = block.as_chunks::<16>();
    for n in 0..4 {
        let part = u128::from_le_bytes(parts[n]);
        words[n] = _mm_shuffle_epi8(_mm_set_epi64x((part >> 64) as i64, part as i64), order);
    }
    words
}

/// The lanes of a vector, lowest first.
#[target_feature(enable = "sse4.1")]
fn lanes(vector: __m128i) -> [u32; 4] {
    [
        _mm_extract_epi32::<0>(vector),
        _mm_extract_epi32::<1>(vector),
        _mm_extract_epi32::<2>(vector),
        _mm_extract_epi32::<3>(vector),
    ]
    .map(i32::cast_unsigned)
}
