//! What a peer says to have while we do not know how many pieces there are (BEP 9: we have only
//! a magnet link).
//!
//! Kept as bits, bounded by the most pieces that metadata within its limit can describe, and judged
//! when the number of pieces is known (defence 15).

use crate::bitfield::Bitfield;
use crate::piece::{MAX_PIECES, PieceIndex};
use crate::wire::Violation;
use crate::wire::message::id;

/// Bytes that a piece takes of the metadata: its hash.
const HASH_LEN: u32 = 20;

/// Pieces that a peer named before their number was known.
#[derive(Debug)]
pub(crate) struct EarlyPieces {
    /// Pieces there can be at most.
    most: u32,
    /// Bits in the wire's order.
    bits: Vec<u8>,
    /// Length of the bitfield it sent, in bytes, if it did.
    told: Option<usize>,
    /// It has all, but for pieces whose bit is set in `bits`.
    has_all: bool,
    any: bool,
}

impl EarlyPieces {
    /// Nothing said. Metadata has at most `metadata_bytes`.
    pub(crate) fn new(metadata_bytes: u32) -> Self {
        let most = (metadata_bytes / HASH_LEN).min(MAX_PIECES);
        EarlyPieces { most, bits: Vec::new(), told: None, has_all: false, any: false }
    }

    /// It sent a bitfield.
    pub(crate) fn bitfield(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        if bytes.len() > self.most.div_ceil(8) as usize {
            return Err(Violation::BadBitfield);
        }
        self.any = true;
        self.has_all = false;
        self.told = Some(bytes.len());
        self.bits = bytes.to_vec();
        Ok(())
    }

    /// It has a piece.
    pub(crate) fn have(&mut self, piece: PieceIndex) -> Result<(), Violation> {
        if piece.0 >= self.most {
            return Err(Violation::PieceOutOfRange { id: id::HAVE, piece });
        }
        self.any = true;
        self.mark(piece, !self.has_all);
        Ok(())
    }

    /// It no longer has a piece (BEP 54).
    pub(crate) fn lost(&mut self, piece: PieceIndex) {
        if piece.0 < self.most {
            self.mark(piece, self.has_all);
        }
    }

    /// It has everything.
    pub(crate) fn all(&mut self) {
        *self = EarlyPieces { most: self.most, has_all: true, any: true, ..EarlyPieces::new(0) };
    }

    /// It has nothing.
    pub(crate) fn none(&mut self) {
        *self = EarlyPieces { most: self.most, any: true, ..EarlyPieces::new(0) };
    }

    /// What it has, now that there are `pieces` pieces; `None` if it said nothing.
    pub(crate) fn judge(self, pieces: u32) -> Result<Option<Bitfield>, Violation> {
        if !self.any {
            return Ok(None);
        }
        let len = pieces.div_ceil(8) as usize;
        if self.bits.len() > len || self.told.is_some_and(|told| told != len) {
            return Err(Violation::BadBitfield);
        }
        let mut bits = self.bits;
        bits.resize(len, 0);
        let named = Bitfield::from_bytes(&bits, pieces).map_err(|_| Violation::BadBitfield)?;
        if !self.has_all {
            return Ok(Some(named));
        }
        let mut has = Bitfield::full(pieces);
        named.iter().for_each(|lost| _ = has.clear(lost));
        Ok(Some(has))
    }

    fn mark(&mut self, piece: PieceIndex, set: bool) {
        let (at, bit) = (piece.at() / 8, 0x80_u8 >> (piece.0 % 8));
        if set && self.bits.len() <= at {
            self.bits.resize(at + 1, 0);
        }
        if let Some(byte) = self.bits.get_mut(at) {
            *byte = if set { *byte | bit } else { *byte & !bit };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn early() -> EarlyPieces {
        EarlyPieces::new(1000)
    }

    fn judged(early: EarlyPieces) -> Option<Vec<u32>> {
        early.judge(10).unwrap().map(|has| has.iter().map(|piece| piece.0).collect())
    }

    #[test]
    fn what_is_said_early_counts_later() {
        assert_eq!(judged(early()), None);
        let mut peer = early();
        peer.bitfield(&[0x80, 0x40]).unwrap();
        peer.have(PieceIndex(3)).unwrap();
        peer.lost(PieceIndex(0));
        assert_eq!(judged(peer), Some(vec![3, 9]));
        let mut peer = early();
        peer.have(PieceIndex(3)).unwrap();
        assert_eq!(judged(peer), Some(vec![3]));
        let mut peer = early();
        peer.have(PieceIndex(3)).unwrap();
        peer.all();
        peer.lost(PieceIndex(4));
        peer.lost(PieceIndex(5));
        peer.have(PieceIndex(5)).unwrap();
        assert_eq!(judged(peer), Some(vec![0, 1, 2, 3, 5, 6, 7, 8, 9]));
        let mut peer = early();
        peer.none();
        assert_eq!(judged(peer), Some(vec![]));
    }

    #[test]
    fn what_cannot_be_is_refused_at_once_or_when_the_number_of_pieces_is_known() {
        let mut peer = early();
        let far = PieceIndex(50);
        assert_eq!(peer.have(far), Err(Violation::PieceOutOfRange { id: id::HAVE, piece: far }));
        assert_eq!(peer.bitfield(&[0; 8]), Err(Violation::BadBitfield));
        peer.lost(PieceIndex(u32::MAX));
        peer.have(PieceIndex(49)).unwrap();
        assert_eq!(peer.judge(10), Err(Violation::BadBitfield));
        for wrong in [&[0xff][..], &[0; 3], &[0, 0x20]] {
            let mut peer = early();
            peer.bitfield(wrong).unwrap();
            assert_eq!(peer.judge(10), Err(Violation::BadBitfield), "{wrong:?}");
        }
    }
}
