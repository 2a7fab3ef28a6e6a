//! RC4, as MSE uses it: the first 1,024 bytes of each stream are discarded.
//!
//! One byte depends on the one before through memory, so what costs is latency: the next value of the
//! permutation is loaded before the two of this step are stored, and put right in the one case in which
//! they are the same place. The permutation is kept as words, which are loaded and stored sooner than
//! bytes, and the key stream is applied eight bytes at a time.

use sha1::{Digest, Sha1};

/// Bytes of each stream that are discarded.
const DISCARDED: usize = 1024;

/// One direction of a stream.
#[derive(Clone)]
pub struct Rc4 {
    permutation: [u32; 256],
    i: u8,
    j: u8,
}

/// Both directions of a stream.
#[derive(Clone, Debug)]
pub struct Ciphers {
    /// For what the peer sends.
    pub read: Rc4,
    /// For what we send.
    pub write: Rc4,
}

impl std::fmt::Debug for Rc4 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rc4(..)")
    }
}

impl Rc4 {
    /// The stream of a key of 1 to 256 bytes, from its beginning.
    pub fn new(key: &[u8]) -> Self {
        let mut permutation: [u32; 256] = std::array::from_fn(|at| at as u32);
        let mut j = 0_u8;
        for (i, key) in (0..=255_u8).zip(key.iter().cycle()) {
            j = j.wrapping_add(permutation[usize::from(i)] as u8).wrapping_add(*key);
            permutation.swap(i.into(), j.into());
        }
        Rc4 { permutation, i: 0, j: 0 }
    }

    /// The stream of MSE whose key is the hash of these parts, behind what is discarded.
    pub(super) fn keyed(parts: [&[u8]; 3]) -> Self {
        let mut hash = Sha1::new();
        parts.iter().for_each(|part| hash.update(part));
        let mut cipher = Rc4::new(&hash.finalize());
        cipher.apply(&mut [0; DISCARDED]);
        cipher
    }

    /// Encrypts or decrypts in place.
    pub fn apply(&mut self, data: &mut [u8]) {
        let Rc4 { permutation, i, j } = self;
        let mut at = *i;
        let mut sum = *j;
        let mut ahead = permutation[usize::from(at.wrapping_add(1))];
        let mut next = || {
            at = at.wrapping_add(1);
            let a = ahead;
            sum = sum.wrapping_add(a as u8);
            let b = permutation[usize::from(sum)];
            let following = at.wrapping_add(1);
            ahead = permutation[usize::from(following)];
            permutation[usize::from(at)] = b;
            permutation[usize::from(sum)] = a;
            // What was loaded ahead has just changed places.
            if sum == following {
                ahead = a;
            }
            permutation[usize::from((a as u8).wrapping_add(b as u8))] as u8
        };
        let (words, rest) = data.as_chunks_mut::<8>();
        for word in words {
            let stream: [u8; 8] = std::array::from_fn(|_| next());
            *word = (u64::from_ne_bytes(*word) ^ u64::from_ne_bytes(stream)).to_ne_bytes();
        }
        for byte in rest {
            *byte ^= next();
        }
        (*i, *j) = (at, sum);
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;
    use rc4::{KeyInit, StreamCipher};

    use super::*;

    fn stream(cipher: &mut Rc4, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        cipher.apply(&mut bytes);
        bytes
    }

    #[test]
    fn the_stream_is_that_of_rfc_6229() {
        let mut cipher = Rc4::new(&[1, 2, 3, 4, 5]);
        let first = stream(&mut cipher, 1032);
        assert_eq!(first[..8], [0xb2, 0x39, 0x63, 0x05, 0xf0, 0x3d, 0xc0, 0x27]);
        assert_eq!(first[1024..], [0x30, 0xab, 0xbc, 0xc7, 0xc2, 0x0b, 0x01, 0x60]);
    }

    #[test]
    fn a_keyed_stream_is_hashed_and_behind_what_is_discarded() {
        let key = Sha1::digest(b"keyAsecretskey");
        let mut whole = Rc4::new(&key);
        let expected = stream(&mut whole, 1064)[1024..].to_vec();
        assert_eq!(stream(&mut Rc4::keyed([b"keyA", b"secret", b"skey"]), 40), expected);
    }

    quickcheck! {
        fn any_key_and_cut_give_what_another_implementation_gives(
            key: Vec<u8>, cuts: Vec<u16>
        ) -> bool {
            let key: Vec<u8> = key.into_iter().chain([7]).take(256).collect();
            let (mut ours, mut theirs) = (Rc4::new(&key), rc4::Rc4::new_from_slice(&key).unwrap());
            cuts.into_iter().chain([3000]).all(|cut| {
                let len = usize::from(cut % 4096);
                let mut expected = vec![0; len];
                theirs.apply_keystream(&mut expected);
                stream(&mut ours, len) == expected
            })
        }
    }
}
