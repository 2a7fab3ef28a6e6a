//! What a peer has, and whether that interests us.

use crate::bitfield::Bitfield;
use crate::peer::claims::WholeClaim;
use crate::peer::early::EarlyPieces;
use crate::peer::{Peer, PeerSlot};
use crate::piece::PieceIndex;
use crate::session::Session;
use crate::torrent::Torrent;
use crate::torrent::swarm::Ended;
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
        self.swarm.peers.get_mut(slot).map_or(Ok(()), |peer| note(&mut peer.download.early))
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
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return Ok(()) };
        if !self.download.has_piece(slot.into(), &mut peer.download, piece) {
            return Ok(());
        }
        peer.upload.allowed_by_us.retain(|allowed| *allowed != piece);
        let everything = peer.download.has.is_all();
        let addr = peer.wire.listens_at;
        self.mind_interest(slot);
        self.suggest(slot);
        self.layers_offered(session, slot);
        if everything {
            if let Some(addr) = addr {
                self.swarm.addresses.set_seed(addr, true);
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
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return Ok(()) };
        if !peer.download.has.has(piece) {
            return Ok(());
        }
        if peer.download.has.is_all()
            && let Some(addr) = peer.wire.listens_at
        {
            self.swarm.addresses.set_seed(addr, false);
        }
        let answers_all = peer.wire.fast;
        let free = self.download.lost_piece(slot.into(), &mut peer.download, piece, answers_all);
        self.mind_interest(slot);
        if free {
            self.fill_pipelines(session, Some(slot));
        }
        Ok(())
    }

    /// A peer has everything, or nothing.
    pub(super) fn peer_has_whole(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        claim: WholeClaim,
    ) -> Result<(), Violation> {
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return Ok(()) };
        if !peer.download.whole_claims.make(claim) {
            return Ok(());
        }
        if self.content.is_none() {
            match claim {
                WholeClaim::All => peer.download.early.all(),
                WholeClaim::None => peer.download.early.none(),
            }
            return Ok(());
        }
        let pieces = self.pieces();
        let has = match claim {
            WholeClaim::All => Bitfield::full(pieces),
            WholeClaim::None => Bitfield::new(pieces),
        };
        self.peer_pieces(session, slot, has)
    }

    pub(super) fn peer_pieces(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        field: Bitfield,
    ) -> Result<(), Violation> {
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return Ok(()) };
        // BEP 3 has it only as the first message; aria2 sends another instead of many haves.
        let is_news = !peer.download.told_pieces;
        if field.is_all()
            && let Some(addr) = peer.wire.listens_at
        {
            self.swarm.addresses.set_seed(addr, true);
        }
        let free = self.download.has_pieces(slot.into(), &mut peer.download, field);
        self.mind_interest(slot);
        if is_news {
            self.offer_allowed_fast(slot);
        }
        self.layers_offered(session, slot);
        if free {
            self.fill_pipelines(session, Some(slot));
        }
        self.part_if_both_seed(session, slot);
        Ok(())
    }

    /// Newcomers get a few pieces they may fetch while choked (BEP 6); not of a seed that has better
    /// to do than to send the same pieces to everybody.
    fn offer_allowed_fast(&mut self, slot: PeerSlot) {
        self.begin_suggesting();
        if self.upload.suggestions.has_some() {
            return;
        }
        let (infohash, pieces) = (self.identity.primary(), self.pieces());
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
        if !peer.wire.fast || peer.download.has.count() >= ALLOWED_FAST_PIECES {
            return;
        }
        let ip = peer.wire.remote.ip();
        for piece in allowed_fast_set(ip, infohash, pieces, ALLOWED_FAST_PIECES) {
            if self.download.picker.have().has(piece) && !peer.download.has.has(piece) {
                peer.upload.allowed_by_us.push(piece);
                peer.send(Message::AllowedFast(piece));
            }
        }
    }

    /// Tells a peer whether we want what it has, if that is news.
    pub(super) fn mind_interest(&mut self, slot: PeerSlot) {
        let wanting = self.is_active() && !self.is_finished();
        if let Some(peer) = self.swarm.peers.get_mut(slot) {
            peer.set_interest(wanting && peer.download.interesting > 0);
        }
    }

    /// Two that have everything have nothing to say to each other.
    pub(super) fn part_if_both_seed(&mut self, session: &mut Session, slot: PeerSlot) {
        if self.is_finished() && self.swarm.peers.get(slot).is_some_and(Peer::is_seed) {
            self.drop_peer(session, slot, Ended::Useless);
        }
    }
}
