//! Messages of which a part has come: one bound for those of all peers together (defence 45).
//!
//! A message may be a megabyte long, and each connection may send most of one and no more. When all of
//! them together hold more than is borne, the peer that holds most of this torrent's is let go: an
//! ordinary message is a block at most.

use crate::peer::PeerSlot;
use crate::session::Session;
use crate::torrent::Torrent;
use crate::torrent::peer_book::Ended;

/// Most bytes of messages that have not come whole (chosen: twice a block for each connection there may
/// be).
const MOST: usize = 16 * 1024 * 1024;

impl Torrent {
    /// Counts what a peer's decoder holds after an input.
    pub(super) fn count_half_message(&mut self, session: &mut Session, slot: PeerSlot) {
        let Some(peer) = self.swarm.peers.get_mut(slot) else { return };
        let held = peer.wire.decoder.buffered();
        let before = std::mem::replace(&mut peer.wire.half_message, held);
        session.half_messages = session.half_messages - before + held;
        if session.half_messages > MOST {
            let largest = self.swarm.peers.iter().max_by_key(|(_, peer)| peer.wire.half_message);
            if let Some(slot) = largest.map(|(slot, _)| slot) {
                self.drop_peer(session, slot, Ended::Misbehaved);
            }
        }
    }
}
