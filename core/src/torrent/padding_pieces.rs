//! Pieces that consist of padding alone (BEP 47), as other clients make them where padding is longer
//! than a piece. Nothing is transferred for them and nothing lies on disk: they are there as soon as
//! zeros are known to have their hash.
//!
//! All of one length have one hash, so one of them is hashed and answers for the others. A torrent may
//! contradict itself; it then says of a few pieces that zeros are not zeros, and these are never had.

use std::collections::BTreeMap;

use crate::bitfield::Bitfield;
use crate::piece::{PieceIndex, Sha1Hash};
use crate::torrent::Torrent;

impl Torrent {
    /// Of the pieces of padding alone, leaves no more in a check than are needed to know all.
    pub(super) fn check_padding(&self, check: &mut Bitfield) {
        let Some(content) = &self.content else { return };
        for piece in content.geometry().padding_pieces() {
            check.clear(piece);
        }
        let have = self.picker.have();
        let lacking = content.geometry().padding_pieces().filter(|piece| !have.has(*piece));
        let pieces: Vec<(PieceIndex, u32, Sha1Hash)> = lacking
            .filter_map(|piece| {
                let hash = content.metainfo.piece_hash(piece)?;
                Some((piece, content.geometry().len_of(piece), hash))
            })
            .collect();
        for piece in samples(&pieces) {
            check.set(piece);
        }
    }

    /// A piece was found to be right. If it is padding alone, so are the others with its hash.
    pub(super) fn padding_checked(&mut self, sample: PieceIndex) {
        let Some(content) = &self.content else { return };
        let geometry = content.geometry();
        if !geometry.is_padding(sample) {
            return;
        }
        let what = |piece| (geometry.len_of(piece), content.metainfo.piece_hash(piece));
        let same = geometry.padding_pieces().filter(|piece| what(*piece) == what(sample));
        same.for_each(|piece| self.picker.mark_have(piece));
    }
}

/// Of pieces with their lengths and hashes, for each length the first that has the most frequent hash.
fn samples(pieces: &[(PieceIndex, u32, Sha1Hash)]) -> impl Iterator<Item = PieceIndex> + use<> {
    let mut hashes: BTreeMap<(u32, Sha1Hash), (u32, PieceIndex)> = BTreeMap::new();
    for &(piece, len, hash) in pieces {
        hashes.entry((len, hash)).or_insert((0, piece)).0 += 1;
    }
    let mut best: BTreeMap<u32, (u32, PieceIndex)> = BTreeMap::new();
    for ((len, _), (count, piece)) in hashes {
        let of_len = best.entry(len).or_insert((0, piece));
        if count > of_len.0 {
            *of_len = (count, piece);
        }
    }
    best.into_values().map(|(_, piece)| piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_piece_of_each_length_answers_for_all_and_a_contradiction_costs_no_more() {
        let pieces = [(0, 9, 1), (1, 9, 2), (2, 9, 3), (3, 9, 2), (7, 4, 5)];
        let pieces = pieces.map(|(piece, len, hash)| (PieceIndex(piece), len, [hash; 20]));
        let samples: Vec<PieceIndex> = samples(&pieces).collect();
        assert_eq!(samples, [PieceIndex(7), PieceIndex(1)]);
    }
}
