//! Seeding alone: each piece is to be sent once, so peers are told what to take.

use smallvec::SmallVec;

use crate::choke::spread::Spread;
use crate::peer::PeerSlot;
use crate::piece::PieceIndex;
use crate::torrent::Torrent;
use crate::wire::Message;

impl Torrent {
    /// A seed begins to suggest what no leech has, if there is any of that: O(pieces), at most once
    /// for each piece that leeches come to lack.
    pub(super) fn begin_spread(&mut self) {
        let begins = self.is_finished() && self.spread.is_none();
        if !begins || self.download.picker.num_only_at_seeds() == 0 {
            return;
        }
        let Some(content) = &self.content else { return };
        let picker = &self.download.picker;
        let lacking =
            |piece: &PieceIndex| picker.have().has(*piece) && picker.is_only_at_seeds(*piece);
        let spread = Spread::new(content.geometry().iter().filter(lacking), &mut self.policy);
        self.spread = (!spread.is_done()).then(|| Box::new(spread));
    }

    /// Suggests to a peer what it may go on with.
    pub(super) fn suggest(&mut self, slot: PeerSlot) {
        let Some(spread) = &mut self.spread else { return };
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if peer.wire.fast && !peer.upload.am_choking && peer.upload.peer_interested {
            let picker = &self.download.picker;
            while let Some(piece) = spread.next(slot, |piece| !picker.is_only_at_seeds(piece)) {
                peer.send(Message::Suggest(piece));
            }
        }
        if spread.is_done() {
            self.spread = None;
        }
    }

    /// A peer is about to be choked in the middle of pieces that no leech has: it may finish those
    /// all the same (BEP 6, "allowed fast"), or what it has of it would have to be sent again.
    pub(super) fn let_finish(&mut self, slot: PeerSlot) {
        let Some(spread) = &mut self.spread else { return };
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let under_way = peer.upload.uploads.pieces_under_way();
        let keeps = |piece: PieceIndex| {
            peer.wire.fast
                && under_way.contains(&Some(piece))
                && self.download.picker.is_only_at_seeds(piece)
        };
        spread.take_back(slot, keeps);
        let kept: SmallVec<[PieceIndex; 2]> =
            under_way.into_iter().flatten().filter(|piece| keeps(*piece)).collect();
        for piece in kept {
            if !peer.upload.allowed_by_us.contains(&piece) {
                peer.upload.allowed_by_us.push(piece);
                peer.send(Message::AllowedFast(piece));
            }
        }
    }
}
