//! What a peer has, and whether that interests us.

use crate::bitfield::Bitfield;
use crate::peer::early::EarlyPieces;
use crate::peer::{Peer, PeerSlot};
use crate::piece::PieceIndex;
use crate::session::Session;
use crate::torrent::Torrent;
use crate::torrent::peer_book::Ended;
use crate::torrent::take_back::take_back_unsent;
use crate::wire::allowed_fast::{ALLOWED_FAST_PIECES, allowed_fast_set};
use crate::wire::message::id;
use crate::wire::{Message, Violation};

impl Torrent {
    /// What a peer says to have is kept until it is known how many pieces there are.
    pub(super) fn early(
        &mut self,
        slot: PeerSlot,
        note: impl FnOnce(&mut EarlyPieces) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        self.peers.get_mut(slot).map_or(Ok(()), |peer| note(&mut peer.download.early))
    }

    pub(super) fn peer_has(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        piece: PieceIndex,
    ) -> Result<(), Violation> {
        let Some(content) = &self.content else {
            return self.early(slot, |early| early.have(piece));
        };
        if !content.geometry().contains(piece) {
            return Err(Violation::PieceOutOfRange { id: id::HAVE, piece });
        }
        let Some(peer) = self.peers.get_mut(slot) else { return Ok(()) };
        peer.download.told_pieces = true;
        if !peer.download.has.set(piece) {
            return Ok(());
        }
        peer.upload.allowed_by_us.retain(|allowed| *allowed != piece);
        self.picker.peer_has(piece);
        if self.picker.is_interesting(piece) {
            peer.download.interesting += 1;
            self.hungry.insert(slot);
        }
        let everything = peer.download.has.is_all();
        let addr = peer.wire.listens_at;
        self.mind_interest(slot);
        self.suggest(slot);
        self.layers_offered(session, slot);
        if everything {
            if let Some(addr) = addr {
                self.book.set_seed(addr, true);
            }
            self.part_if_both_seed(session, slot);
        }
        Ok(())
    }

    /// A peer no longer has a piece (BEP 54).
    pub(super) fn peer_lost(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        piece: PieceIndex,
    ) -> Result<(), Violation> {
        let Some(content) = &self.content else {
            return self.early(slot, |early| {
                early.lost(piece);
                Ok(())
            });
        };
        if !content.geometry().contains(piece) {
            return Err(Violation::PieceOutOfRange { id: id::EXTENDED, piece });
        }
        let Some(peer) = self.peers.get_mut(slot) else { return Ok(()) };
        if !peer.download.has.has(piece) {
            return Ok(());
        }
        if std::mem::take(&mut peer.download.counted_as_seed) {
            self.picker.remove_seed();
            self.picker.add_peer_bitfield(&peer.download.has);
        }
        let was_seed = peer.download.has.is_all();
        peer.download.has.clear(piece);
        peer.download.allowed_to_us.retain(|allowed| *allowed != piece);
        peer.download.suggested.retain(|suggested| *suggested != piece);
        self.picker.peer_lost(piece);
        if self.picker.is_interesting(piece) {
            peer.download.interesting = peer.download.interesting.saturating_sub(1);
        }
        if was_seed && let Some(addr) = peer.wire.listens_at {
            self.book.set_seed(addr, false);
        }
        // With the fast extension each request is answered; without it they are void, "just like
        // when receiving a Choke message".
        let has = |peer: &Peer, piece| peer.download.has.has(piece);
        let mut released = take_back_unsent(&mut self.picker, &mut self.late, slot, peer, has);
        if !peer.wire.fast {
            for block in peer.download.pipeline.blocks_of(piece) {
                if peer.download.pipeline.cancelled(block, false).is_some() {
                    self.late.remove(block, slot);
                    self.picker.release(slot.key(), block);
                    released = true;
                }
            }
        }
        let left_a_piece = self.picker.peer_gone(slot.key());
        self.mind_interest(slot);
        if released || left_a_piece {
            self.feed_hungry(session);
        }
        Ok(())
    }

    pub(super) fn peer_pieces(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        field: Bitfield,
    ) -> Result<(), Violation> {
        let Some(peer) = self.peers.get_mut(slot) else { return Ok(()) };
        // BEP 3 has it only as the first message; aria2 sends another instead of many haves.
        let is_news = !std::mem::replace(&mut peer.download.told_pieces, true);
        if std::mem::replace(&mut peer.download.counted_as_seed, field.is_all()) {
            self.picker.remove_seed();
        } else {
            self.picker.remove_peer_bitfield(&peer.download.has);
        }
        if peer.download.counted_as_seed {
            self.picker.add_seed();
            if let Some(addr) = peer.wire.listens_at {
                self.book.set_seed(addr, true);
            }
        } else {
            self.picker.add_peer_bitfield(&field);
        }
        peer.download.interesting = self.picker.interesting_count(&field);
        peer.download.has = field;
        let has = |peer: &Peer, piece| peer.download.has.has(piece);
        let released = take_back_unsent(&mut self.picker, &mut self.late, slot, peer, has);
        self.mind_interest(slot);
        if is_news {
            self.offer_allowed_fast(slot);
        }
        self.layers_offered(session, slot);
        self.hungry.insert(slot);
        if released {
            self.feed_hungry_but(session, slot);
        }
        self.part_if_both_seed(session, slot);
        Ok(())
    }

    /// Newcomers get a few pieces they may fetch while choked (BEP 6); not of a seed that has better
    /// to do than to send the same pieces to everybody.
    fn offer_allowed_fast(&mut self, slot: PeerSlot) {
        self.begin_spread();
        if self.spread.is_some() {
            return;
        }
        let (infohash, pieces) = (self.identity.primary(), self.pieces());
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if !peer.wire.fast || peer.download.has.count() >= ALLOWED_FAST_PIECES {
            return;
        }
        let ip = peer.wire.remote.ip();
        for piece in allowed_fast_set(ip, infohash, pieces, ALLOWED_FAST_PIECES) {
            if self.picker.have().has(piece) && !peer.download.has.has(piece) {
                peer.upload.allowed_by_us.push(piece);
                peer.send(Message::AllowedFast(piece));
            }
        }
    }

    /// Tells a peer whether we want what it has, if that is news.
    pub(super) fn mind_interest(&mut self, slot: PeerSlot) {
        let wanting = self.is_active() && !self.is_finished();
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.set_interest(wanting && peer.download.interesting > 0);
        }
    }

    /// Two that have everything have nothing to say to each other.
    pub(super) fn part_if_both_seed(&mut self, session: &mut Session, slot: PeerSlot) {
        if self.is_finished() && self.peers.get(slot).is_some_and(Peer::is_seed) {
            self.drop_peer(session, slot, Ended::Useless);
        }
    }
}
