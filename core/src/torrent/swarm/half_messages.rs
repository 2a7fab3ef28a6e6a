//! Messages of which a part has come, of one torrent's peers: counted against the bound for those of all
//! peers of the session together, and listed for [the choice](crate::session::half_messages) of the one that
//! goes (defence 45).

use crate::choke::AddressGroup;
use crate::peer::PeerSlot;
use crate::session::budgets::Budget;
use crate::session::half_messages::HalfMessage;
use crate::torrent::swarm::Swarm;

impl Swarm {
    /// Counts what a peer's decoder holds after an input, of which there is `all` in the session; whether that
    /// is more than is borne.
    pub(in crate::torrent) fn count_half_message(
        &mut self,
        slot: PeerSlot,
        all: &mut Budget,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(slot) else { return false };
        let held = peer.wire.decoder.buffered();
        let before = std::mem::replace(&mut peer.wire.half_message, held);
        all.free(before);
        all.add(held);
        all.is_exceeded()
    }

    /// What has come of messages, of the peers of which something has.
    pub(in crate::torrent) fn half_messages(
        &self,
    ) -> impl Iterator<Item = HalfMessage<PeerSlot>> + '_ {
        let holders = self.peers.iter().filter(|(_, peer)| peer.wire.half_message > 0);
        holders.map(|(key, peer)| HalfMessage {
            key,
            group: AddressGroup::of(peer.wire.remote.ip()),
            bytes: peer.wire.half_message,
        })
    }
}
