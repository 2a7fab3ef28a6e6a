//! Which pieces somebody has: one bit a piece, counted as it changes.
//!
//! In memory the bits lie in 64-bit words, lowest piece in the lowest bit, so that sets combine a
//! word at a time ([`Bitfield::words`]); on the wire they lie in bytes, lowest piece in the highest
//! bit, with spare bits zero (BEP 3, "bitfield").

use serde::{Deserialize, Serialize};

use crate::piece::PieceIndex;
use crate::work;

/// A set of pieces of a torrent with a known number of pieces.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bitfield {
    words: Vec<u64>,
    len: u32,
    ones: u32,
}

/// A bitfield message that is not one: wrong length, or a spare bit is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BitfieldError;

impl Bitfield {
    /// No piece of `len`.
    pub fn new(len: u32) -> Self {
        let words = vec![0; (len as usize).div_ceil(64)];
        work::touch(words.len());
        Bitfield { words, len, ones: 0 }
    }

    /// All of `len` pieces.
    pub fn full(len: u32) -> Self {
        let mut words = vec![u64::MAX; (len as usize).div_ceil(64)];
        if let Some(last) = words.last_mut()
            && !len.is_multiple_of(64)
        {
            *last = (1 << (len % 64)) - 1;
        }
        work::touch(words.len());
        Bitfield { words, len, ones: len }
    }

    /// From the wire's form. The length must fit `len` exactly and spare bits must be zero.
    pub fn from_bytes(bytes: &[u8], len: u32) -> Result<Self, BitfieldError> {
        if bytes.len() != (len as usize).div_ceil(8) {
            return Err(BitfieldError);
        }
        let mut field = Bitfield::new(len);
        for (word, chunk) in field.words.iter_mut().zip(bytes.chunks(8)) {
            let mut eight = [0; 8];
            for (to, from) in eight.iter_mut().zip(chunk) {
                *to = from.reverse_bits();
            }
            *word = u64::from_le_bytes(eight);
            field.ones += word.count_ones();
        }
        let spare_is_clear =
            field.words.last().is_none_or(|last| len.is_multiple_of(64) || last >> (len % 64) == 0);
        if spare_is_clear { Ok(field) } else { Err(BitfieldError) }
    }

    /// The wire's form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            self.words.iter().flat_map(|word| word.to_le_bytes().map(u8::reverse_bits)).collect();
        bytes.truncate((self.len as usize).div_ceil(8));
        bytes
    }

    /// How many pieces the torrent has.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether the torrent has no pieces at all; see [`Bitfield::is_none`] for an empty set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many pieces are in the set.
    pub fn count(&self) -> u32 {
        self.ones
    }

    /// Whether every piece is in the set.
    pub fn is_all(&self) -> bool {
        self.ones == self.len
    }

    /// Whether no piece is in the set.
    pub fn is_none(&self) -> bool {
        self.ones == 0
    }

    /// Whether the set has this piece; a piece out of range is in no set.
    pub fn has(&self, piece: PieceIndex) -> bool {
        self.words.get(piece.at() / 64).is_some_and(|word| word >> (piece.0 % 64) & 1 == 1)
    }

    /// Adds a piece; whether that changed the set. A piece out of range changes nothing.
    pub fn set(&mut self, piece: PieceIndex) -> bool {
        if piece.0 >= self.len || self.has(piece) {
            return false;
        }
        self.words[piece.at() / 64] |= 1 << (piece.0 % 64);
        self.ones += 1;
        true
    }

    /// Takes a piece out; whether that changed the set.
    pub fn clear(&mut self, piece: PieceIndex) -> bool {
        if !self.has(piece) {
            return false;
        }
        self.words[piece.at() / 64] &= !(1 << (piece.0 % 64));
        self.ones -= 1;
        true
    }

    /// The set as 64-bit words, lowest piece in the lowest bit; spare bits are zero.
    pub fn words(&self) -> &[u64] {
        work::touch(self.words.len());
        &self.words
    }

    /// How many words that are.
    pub fn word_count(&self) -> usize {
        self.words.len()
    }

    /// The same words, for who may not need all of them.
    pub fn iter_words(
        &self,
    ) -> impl ExactSizeIterator<Item = u64> + DoubleEndedIterator + Clone + '_ {
        self.words.iter().map(|word| {
            work::touch(1);
            *word
        })
    }

    /// The pieces in the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.iter_words().enumerate().flat_map(|(at, word)| ones(at, word))
    }

    /// The pieces that are not in the set, in order.
    pub fn iter_missing(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        let missing = self.iter_words().enumerate().flat_map(|(at, word)| ones(at, !word));
        missing.take_while(|piece| piece.0 < self.len)
    }
}

/// The pieces whose bits are set in the word at this place.
fn ones(at: usize, word: u64) -> impl Iterator<Item = PieceIndex> {
    let mut left = word;
    std::iter::from_fn(move || {
        let bit = left.trailing_zeros();
        (bit < 64).then(|| {
            left &= left - 1;
            work::touch(1);
            PieceIndex(at as u32 * 64 + bit)
        })
    })
}

impl std::fmt::Debug for Bitfield {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bitfield({} of {})", self.ones, self.len)
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    #[test]
    fn the_wire_puts_the_first_piece_into_the_highest_bit() {
        let mut field = Bitfield::new(10);
        field.set(PieceIndex(0));
        field.set(PieceIndex(9));
        assert_eq!(field.to_bytes(), [0x80, 0x40]);
        assert_eq!(Bitfield::from_bytes(&[0x80, 0x40], 10), Ok(field));
        assert_eq!(Bitfield::from_bytes(&[0x80, 0x20], 10), Err(BitfieldError));
        assert_eq!(Bitfield::from_bytes(&[0x80], 10), Err(BitfieldError));
    }

    quickcheck! {
        fn bytes_and_back_give_the_same_set(pieces: Vec<u16>, len: u16) -> bool {
            let mut field = Bitfield::new(len.into());
            for piece in &pieces {
                field.set(PieceIndex((*piece).into()));
            }
            let listed: Vec<_> = field.iter().collect();
            let missing: Vec<_> = field.iter_missing().collect();
            field.count() as usize == listed.len()
                && missing.len() + listed.len() == usize::from(len)
                && listed.iter().all(|p| field.has(*p))
                && missing.iter().all(|p| !field.has(*p))
                && Bitfield::from_bytes(&field.to_bytes(), len.into()) == Ok(field)
        }

        fn full_has_all(len: u16) -> bool {
            let full = Bitfield::full(len.into());
            full.is_all() && full.iter().count() == usize::from(len)
                && Bitfield::from_bytes(&full.to_bytes(), len.into()) == Ok(full)
        }
    }
}
