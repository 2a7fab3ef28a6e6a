//! Messages of which a part has come: one bound for those of all peers together (defence 45).
//!
//! A message may be a megabyte long, and each connection may send most of one and no more. When all of
//! them together hold more than is borne, the peer that holds most of this torrent's is let go: an
//! ordinary message is a block at most.

use crate::peer::PeerSlot;
use crate::session::budgets::Budget;
use crate::torrent::swarm::Swarm;

impl Swarm {
    /// Counts what a peer's decoder holds after an input, of which there is `all` in the session. The peer
    /// to drop, if that is more than is borne.
    pub(in crate::torrent) fn count_half_message(
        &mut self,
        slot: PeerSlot,
        all: &mut Budget,
    ) -> Option<PeerSlot> {
        let peer = self.peers.get_mut(slot)?;
        let held = peer.wire.decoder.buffered();
        let before = std::mem::replace(&mut peer.wire.half_message, held);
        all.free(before);
        all.add(held);
        if !all.is_exceeded() {
            return None;
        }
        let largest = self.peers.iter().max_by_key(|(_, peer)| peer.wire.half_message);
        largest.map(|(slot, _)| slot)
    }
}
