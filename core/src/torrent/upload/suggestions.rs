//! Seeding alone: each piece is to be sent once, so peers are suggested pieces that none of them has
//! (BEP 6, "suggest piece").

use smallvec::SmallVec;

use crate::choke::spread::Spread;
use crate::peer::{PeerSlot, PeerUpload};
use crate::piece::PieceIndex;
use crate::random::PolicyRng;

/// Which pieces are suggested to which peers; nothing if peers have all of them.
#[derive(Debug, Default)]
pub(in crate::torrent) struct Suggestions(Option<Box<Spread<PeerSlot>>>);

impl Suggestions {
    /// Whether there is anything to suggest.
    pub(in crate::torrent) fn has_some(&self) -> bool {
        self.0.is_some()
    }

    /// A seed begins to suggest the pieces that no leech has. O(pieces): at most once for each piece
    /// that leeches come to lack.
    pub(in crate::torrent) fn begin(
        &mut self,
        pieces: impl Iterator<Item = PieceIndex>,
        rng: &mut PolicyRng,
    ) {
        let spread = Spread::new(pieces, rng);
        self.0 = (!spread.is_done()).then(|| Box::new(spread));
    }

    /// The pieces to suggest to a peer now, if it can make use of them. `is_out` tells the pieces that
    /// a leech has by now.
    pub(in crate::torrent) fn of_peer(
        &mut self,
        peer: PeerSlot,
        state: &PeerUpload,
        fast: bool,
        is_out: impl Fn(PieceIndex) -> bool,
        mut suggest: impl FnMut(PieceIndex),
    ) {
        let Some(spread) = &mut self.0 else { return };
        if fast && !state.am_choking && state.peer_interested {
            while let Some(piece) = spread.next(peer, &is_out) {
                suggest(piece);
            }
        }
        if spread.is_done() {
            self.0 = None;
        }
    }

    /// A peer is about to be choked in the middle of pieces that no leech has: it may finish those
    /// all the same (BEP 6, "allowed fast"), or what it has of them would have to be sent again. The
    /// pieces that it is to be allowed.
    pub(in crate::torrent) fn choked(
        &mut self,
        peer: PeerSlot,
        state: &mut PeerUpload,
        fast: bool,
        is_only_here: impl Fn(PieceIndex) -> bool,
    ) -> SmallVec<[PieceIndex; 2]> {
        let Some(spread) = &mut self.0 else { return SmallVec::new() };
        let under_way = state.uploads.pieces_under_way();
        let keeps =
            |piece: PieceIndex| fast && under_way.contains(&Some(piece)) && is_only_here(piece);
        spread.take_back(peer, keeps);
        let mut allowed = SmallVec::new();
        for piece in under_way.into_iter().flatten().filter(|piece| keeps(*piece)) {
            if !state.allowed_by_us.contains(&piece) {
                state.allowed_by_us.push(piece);
                allowed.push(piece);
            }
        }
        allowed
    }

    /// A peer is gone: what was suggested to it goes to others.
    pub(in crate::torrent) fn peer_gone(&mut self, peer: PeerSlot) {
        if let Some(spread) = &mut self.0 {
            spread.take_back(peer, |_| false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;
    use crate::piece::Block;
    use crate::time::Instant;

    fn begun() -> Suggestions {
        let mut suggestions = Suggestions::default();
        suggestions.begin((0..40).map(PieceIndex), &mut PolicyRng::from_seed([5; 32]));
        suggestions
    }

    fn suggested(
        suggestions: &mut Suggestions,
        peer: PeerSlot,
        state: &PeerUpload,
        fast: bool,
    ) -> Vec<PieceIndex> {
        let mut pieces = Vec::new();
        suggestions.of_peer(peer, state, fast, |_| false, |piece| pieces.push(piece));
        pieces
    }

    fn interested() -> PeerUpload {
        let mut state = PeerUpload::new();
        assert!(state.unchoke(Instant::ZERO));
        state.peer_interested = true;
        state
    }

    #[test]
    fn no_piece_is_suggested_to_two_peers_until_one_of_them_leaves() {
        let mut suggestions = begun();
        let (first, second) = (PeerSlot::new(0, 0), PeerSlot::new(1, 0));
        let of_first = suggested(&mut suggestions, first, &interested(), true);
        let of_second = suggested(&mut suggestions, second, &interested(), true);
        assert!(!of_first.is_empty() && of_second.iter().all(|piece| !of_first.contains(piece)));
        suggestions.peer_gone(first);
        suggestions.peer_gone(second);
        assert!(suggestions.has_some());
    }

    #[test]
    fn choked_peers_and_those_without_the_fast_extension_get_no_suggestion() {
        let mut suggestions = begun();
        let peer = PeerSlot::new(0, 0);
        assert!(suggested(&mut suggestions, peer, &PeerUpload::new(), true).is_empty());
        assert!(suggested(&mut suggestions, peer, &interested(), false).is_empty());
    }

    #[test]
    fn peer_that_is_choked_amid_a_piece_of_ours_alone_may_finish_it() {
        let (mut suggestions, peer) = (begun(), PeerSlot::new(0, 0));
        let mut state = interested();
        let piece = suggested(&mut suggestions, peer, &state, true)[0];
        state.uploads.push(Block { piece, begin: 0, length: 16384 });
        let allowed = suggestions.choked(peer, &mut state, true, |_| true);
        assert_eq!(allowed.as_slice(), [piece]);
        assert!(suggestions.choked(peer, &mut state, true, |_| true).is_empty(), "allowed already");
        assert!(suggestions.choked(peer, &mut interested(), false, |_| true).is_empty());
    }
}
