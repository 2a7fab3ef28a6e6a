//! Pieces that consist of padding alone (BEP 47), as other clients make them where padding is longer
//! than a piece. Nothing is transferred for them and nothing lies on disk: they are there as soon as
//! zeros are known to have their hash.
//!
//! All of one length have one hash, so one of them is hashed and answers for the others. A torrent may
//! contradict itself; it then says of a few pieces that zeros are not zeros, and these are never had.

use std::collections::BTreeMap;

use crate::bitfield::Bitfield;
use crate::piece::{PieceIndex, Sha1Hash};
use crate::torrent::content::Content;

/// Of the pieces of padding alone, leaves no more in a check than are needed to know all.
pub(super) fn leave_samples(content: &Content, have: &Bitfield, check: &mut Bitfield) {
    let geometry = content.geometry();
    for piece in geometry.padding_pieces() {
        check.clear(piece);
    }
    let lacking = geometry.padding_pieces().filter(|piece| !have.has(*piece));
    let pieces: Vec<(PieceIndex, u32, Sha1Hash)> = lacking
        .filter_map(|piece| {
            Some((piece, geometry.len_of(piece), content.metainfo.piece_hash(piece)?))
        })
        .collect();
    for piece in samples(&pieces) {
        check.set(piece);
    }
}

/// A piece was found to be right. If it is padding alone, so are the others with its hash.
pub(super) fn same_as(content: &Content, sample: PieceIndex) -> impl Iterator<Item = PieceIndex> {
    let geometry = content.geometry();
    let what = move |piece| (geometry.len_of(piece), content.metainfo.piece_hash(piece));
    let padding = geometry.is_padding(sample).then(|| geometry.padding_pieces());
    padding.into_iter().flatten().filter(move |piece| what(*piece) == what(sample))
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
