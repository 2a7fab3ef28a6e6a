//! The swarm of a torrent as we see it: the peers that are connected, which of them are kept, the
//! addresses that could be dialled, and what passed on connections that are over.
//!
//! | file | what is decided there |
//! |---|---|
//! | `peer_list` | which addresses are known, which is dialled next, and when again |
//! | `known_peer` | how long an address waits, and how it ranks |
//! | `peer_priority` | canonical priorities (BEP 40) |
//! | `failed_dials` | failures of addresses that the list has no room for |
//! | `places` | which peer yields its place to a newcomer |
//! | `half_messages` | what has come of messages of its peers is counted; which of them goes, the session decides |
//! | `pex` | when peers are told which others we are connected to |
//!
//! Nothing here sends or closes: the machine says which peer to drop and which address to dial, and
//! queues messages in the peers' outboxes.

mod failed_dials;
mod half_messages;
mod known_peer;
pub(super) mod peer_list;
mod peer_priority;
mod pex;
mod places;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use crate::choke::accounts::Accounts;
use crate::choke::{AddressGroup, PeerSnapshot};
use crate::encryption::EncryptionPolicy;
use crate::event::NetError;
use crate::id::{ConnId, Slab};
use crate::peer::early::EarlyPieces;
use crate::peer::{Peer, PeerSlot};
use crate::peer_source::PeerSource;
use crate::piece::{PeerId, PieceIndex};
use crate::time::{Duration, Instant};
use crate::torrent::swarm::peer_list::PeerList;
use crate::torrent::swarm::pex::Pex;
use crate::wire::{HashRequest, Message, Violation};

pub(super) use known_peer::Ended;

/// Addresses whose history is kept (chosen: twenty times as many peers as a torrent has).
const MOST_HISTORIES: usize = 1000;

/// A connection that is so old did not cross one that begins now (chosen: longer than connecting and
/// shaking hands take).
const SETTLED: Duration = Duration::from_secs(30);

/// The peers of one torrent.
#[derive(Debug)]
pub(super) struct Swarm {
    pub(super) peers: Slab<PeerSlot, Peer>,
    /// The addresses that are known.
    pub(super) addresses: PeerList,
    /// What passed on connections that are over, by address.
    history: Accounts,
    pex: Pex,
    /// Whether peers in the same network were looked for when that was last reported.
    is_local: bool,
}

/// Two connections with one peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Crossed {
    /// The one to close.
    pub(super) loser: PeerSlot,
    /// The one that stays.
    pub(super) winner: PeerSlot,
}

impl Swarm {
    /// No peer is connected; `addresses` holds what is known of others.
    pub(super) fn new(addresses: PeerList) -> Self {
        Swarm {
            peers: Slab::new(),
            addresses,
            history: Accounts::new(MOST_HISTORIES),
            pex: Pex::default(),
            is_local: false,
        }
    }

    // Who comes.

    /// A peer whose connection begins: it goes on where its address was.
    pub(super) fn insert(&mut self, peer: Peer) -> PeerSlot {
        let before = self.history.of(AddressGroup::of(peer.wire.remote.ip()));
        self.peers.insert(peer.resuming(before))
    }

    /// A second connection with the peer of `slot`, which has just said that it is `theirs`: which of
    /// the two to close.
    ///
    /// Both sides must keep the same one of two connections that crossed: the one that the peer with
    /// the smaller id opened. Of two in one direction the older stays.
    ///
    /// A peer may be connected at several addresses: by IPv4 and IPv6, or one of this machine at its
    /// loopback address too. Of two such that one side opened it closes the younger itself: the other
    /// may have heard of them in another order. An id can be copied, an address cannot, and none comes
    /// to a loopback address from elsewhere: a connection that has lasted does not yield to another
    /// address, nor one that we opened to one that came in and has given nothing.
    pub(super) fn crossed(
        &self,
        slot: PeerSlot,
        theirs: PeerId,
        ours: PeerId,
        now: Instant,
    ) -> Option<Crossed> {
        let address = |peer: &Peer| peer.wire.remote.ip().to_canonical();
        let new = self.peers.get(slot)?;
        let may_be_one = |ip: IpAddr| {
            let own = address(new);
            let is_local = ip.is_loopback() || own.is_loopback();
            ip == own || ip.is_ipv4() != own.is_ipv4() || is_local
        };
        let is_same = |peer: &Peer| peer.wire.id == Some(theirs) && may_be_one(address(peer));
        let (other, same) =
            self.peers.iter().find(|(other, peer)| *other != slot && is_same(peer))?;
        let incoming = new.wire.incoming;
        let have_crossed = same.wire.incoming != incoming;
        let mut new_stays = have_crossed && incoming != (ours.0 < theirs.0);
        if address(new) != address(same) {
            let has_lasted = now - same.wire.connected_at >= SETTLED;
            let is_proven = incoming || same.download.downloaded > 0;
            let is_left_alone = match have_crossed {
                true => has_lasted && !is_proven,
                false => incoming,
            };
            if is_left_alone {
                return None;
            }
            new_stays &= !has_lasted;
        }
        Some(match new_stays {
            true => Crossed { loser: other, winner: slot },
            false => Crossed { loser: slot, winner: other },
        })
    }

    /// Of two connections with one peer one was closed. The other knows where the peer can be dialled
    /// from now on, so that it counts as connected, and is dialled again when that has ended.
    pub(super) fn stays(&mut self, winner: PeerSlot, listens_at: Option<SocketAddr>, now: Instant) {
        let Some(peer) = self.peers.get_mut(winner) else { return };
        if let Some(addr) = peer.wire.listens_at.or(listens_at) {
            peer.wire.listens_at = Some(addr);
            self.addresses.connected(addr, now);
        }
    }

    /// A peer that dialled us has said where it listens; `before`: where it said so until now. That address
    /// counts as connected no more: a peer that names one port after the other holds one address (defence 41).
    pub(super) fn listens(&mut self, slot: PeerSlot, before: Option<SocketAddr>, now: Instant) {
        let Some(addr) = self.peers.get(slot).and_then(|peer| peer.wire.listens_at) else { return };
        if let Some(before) = before
            && before != addr
            && !self.is_connected_at(before)
        {
            self.addresses.renamed(before, now);
        }
        self.addresses.connected(addr, now);
    }

    /// Whether a peer is connected that listens there, as far as it says.
    fn is_connected_at(&self, addr: SocketAddr) -> bool {
        self.peers.iter().any(|(_, peer)| peer.is_open() && peer.wire.listens_at == Some(addr))
    }

    /// A handshake is done.
    pub(super) fn opened(&mut self, slot: PeerSlot, now: Instant) {
        let addr = self.peers.get(slot).and_then(|peer| peer.wire.listens_at);
        if let Some(addr) = addr {
            self.addresses.connected(addr, now);
        }
        self.addresses.recall_unreachable(now);
    }

    // Who stays.

    /// A peer that neither side has wanted anything of for so long, or that wastes what others would
    /// send: its place is better used by another.
    pub(super) fn useless_peer(&self, now: Instant, patience: Duration) -> Option<PeerSlot> {
        let is_useless = |peer: &Peer| {
            !peer.download.am_interested
                && !peer.upload.peer_interested
                && now - peer.wire.connected_at >= patience
        };
        let useless = self.peers.iter().find(|(_, peer)| is_useless(peer)).map(|(slot, _)| slot);
        useless.or_else(|| self.peers.keys().find(|slot| self.gives_way(*slot)))
    }

    /// Whether a peer has sent more that was not requested than is borne of it.
    pub(super) fn wastes_too_much(&self, slot: PeerSlot) -> bool {
        let Some(waste) = self.peers.get(slot).map(Peer::waste) else { return false };
        waste.is_too_much(true) || (waste.is_too_much(false) && self.has_other_source(slot))
    }

    /// Whether a peer wastes what it sends, and others would send the same.
    pub(super) fn gives_way(&self, slot: PeerSlot) -> bool {
        let is_wasteful = self.peers.get(slot).is_some_and(|peer| peer.waste().is_wasteful());
        is_wasteful && self.has_other_source(slot)
    }

    /// Whether what we want could be had without this peer, of one that is not wasteful.
    fn has_other_source(&self, slot: PeerSlot) -> bool {
        let is_other = |(other, peer): (PeerSlot, &Peer)| {
            other != slot && peer.is_source() && !peer.waste().is_wasteful()
        };
        self.peers.iter().any(is_other)
    }

    /// The connected peers.
    pub(super) fn slots(&self) -> Vec<PeerSlot> {
        self.peers.keys().collect()
    }

    /// The connected peers whose address is like this.
    pub(super) fn at(&self, is: impl Fn(SocketAddr) -> bool) -> Vec<PeerSlot> {
        let found = self.peers.iter().filter(|(_, peer)| is(peer.wire.remote));
        found.map(|(slot, _)| slot).collect()
    }

    /// The torrent turned out to be private: the peers that were found by other means than trackers
    /// and the user (BEP 27). They are to be dropped; [`forget_discovered`](Self::forget_discovered)
    /// follows.
    pub(super) fn discovered(&self) -> Vec<PeerSlot> {
        let found = |peer: &Peer| {
            let source = peer.wire.listens_at.and_then(|addr| self.addresses.source(addr));
            !peer.wire.incoming && source.is_none_or(PeerSource::is_discovery)
        };
        let strangers = self.peers.iter().filter(|(_, peer)| found(peer));
        strangers.map(|(slot, _)| slot).collect()
    }

    /// Forgets all addresses that were found by other means than trackers, the user and the link.
    pub(super) fn forget_discovered(&mut self) {
        self.addresses.forget_discovered();
        self.pex.stop();
    }

    // What a peer says.

    /// What a peer says to have is kept until it is known how many pieces there are.
    pub(super) fn early(
        &mut self,
        slot: PeerSlot,
        note: impl FnOnce(&mut EarlyPieces) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        self.peers.get_mut(slot).map_or(Ok(()), |peer| note(&mut peer.download.early))
    }

    /// That a connection is of v2, on which alone there are messages about hashes.
    pub(super) fn require_v2(&self, slot: PeerSlot, id: u8) -> Result<(), Violation> {
        match self.peers.get(slot) {
            Some(peer) if !peer.wire.of_v2 => Err(Violation::V2NotNegotiated { id }),
            _ => Ok(()),
        }
    }

    /// Sends a peer whether we want what it has, if that has changed. `wanting`: whether we want anything.
    pub(super) fn update_interest(&mut self, slot: PeerSlot, wanting: bool) {
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.set_interest(wanting && peer.download.interesting > 0);
        }
    }

    /// Queues word that we have a piece, for all that lack it and for those that suggest pieces, since they
    /// count which peer has what; updates our interest in those that have it. `wanting`: whether we
    /// want anything. `sends` is told the connections.
    pub(super) fn announce_have(
        &mut self,
        piece: PieceIndex,
        wanting: bool,
        mut sends: impl FnMut(ConnId),
    ) {
        for (_, peer) in self.peers.iter_mut() {
            if !peer.is_open() {
                continue;
            }
            if peer.download.has.has(piece) {
                peer.download.interesting = peer.download.interesting.saturating_sub(1);
                peer.set_interest(wanting && peer.download.interesting > 0);
            }
            if peer.download.suggests || !peer.download.has.has(piece) {
                peer.send(Message::Have(piece));
            }
            if !peer.wire.outbox.is_empty() {
                sends(peer.wire.conn);
            }
        }
    }

    /// Queues requests for leaf hashes, each for the peer whose slot has this index. `sends` is told the
    /// connections.
    pub(super) fn ask_for_leaves(
        &mut self,
        requests: impl IntoIterator<Item = (u32, HashRequest)>,
        mut sends: impl FnMut(ConnId),
    ) {
        for (index, request) in requests {
            if let Some(slot) = self.peers.key_at(index)
                && let Some(peer) = self.peers.get_mut(slot)
            {
                peer.send(Message::HashRequest(request));
                sends(peer.wire.conn);
            }
        }
    }

    // Who goes.

    /// The connection to a peer is closed: what that means for its address, which may be redialled. `heard`: whether the peer said
    /// anything; `policy`: which encryption there is to be.
    pub(super) fn closed(
        &mut self,
        slot: PeerSlot,
        why: Option<NetError>,
        heard: bool,
        policy: EncryptionPolicy,
    ) -> Option<Ended> {
        let peer = self.peers.get(slot)?;
        let hung_up = !heard && !peer.wire.incoming && peer.wire.is_handshaking();
        let (remote, attempt) = (peer.wire.remote, peer.attempt);
        let mut redials = || {
            let known = self.addresses.encryption(remote);
            known.is_some_and(|known| known.hung_up(policy, attempt))
        };
        Some(match why {
            _ if peer.is_open() => Ended::Normal,
            _ if hung_up && redials() => Ended::Redialled,
            // Out of descriptors is our fault, not the peer's.
            Some(NetError::TooManyOpen) => Ended::Normal,
            Some(NetError::Unreachable | NetError::AddrNotAvailable) => Ended::Unreachable,
            _ => Ended::Failed,
        })
    }

    /// Whether a peer at this address is connected, and its handshake done.
    pub(super) fn is_open_at(&self, remote: SocketAddr) -> bool {
        self.peers.iter().any(|(_, peer)| peer.is_open() && peer.wire.remote == remote)
    }

    /// The peer that is connected at this address, its handshake done.
    pub(super) fn open_peer_at(&mut self, remote: SocketAddr) -> Option<&mut Peer> {
        let mut peers = self.peers.iter_mut().map(|(_, peer)| peer);
        peers.find(|peer| peer.is_open() && peer.wire.remote == remote)
    }

    /// The address of a connected peer.
    pub(super) fn remote_of(&self, slot: PeerSlot) -> Option<SocketAddr> {
        self.peers.get(slot).map(|peer| peer.wire.remote)
    }

    /// A peer left without a handshake: perhaps it knows a hybrid by the other infohash, unless it is first
    /// tried with or without encryption by this one.
    pub(super) fn try_other_infohash(&mut self, peer: &Peer) {
        let known = self.addresses.encryption(peer.wire.remote);
        let is_next = known.is_none_or(|known| !known.is_other_way_due());
        if is_next && !peer.wire.incoming && peer.wire.is_handshaking() {
            self.addresses.set_of_v2(peer.wire.remote, !peer.wire.of_v2);
        }
    }

    /// A peer was taken out of [`peers`](Self::peers): when it may be dialled again, and which others
    /// may be now.
    pub(super) fn gone(&mut self, now: Instant, peer: &Peer, why: Ended) {
        if let Some(addr) = peer.wire.listens_at
            && !self.is_connected_at(addr)
        {
            self.addresses.ended(addr, now, why);
        }
        let ip: IpAddr = peer.wire.remote.ip();
        self.addresses.recall_busy(ip, now);
        let is_alone = || !self.peers.iter().any(|(_, peer)| peer.is_source());
        if self.addresses.has_wasteful() && why != Ended::Wasteful && is_alone() {
            self.addresses.recall_wasteful(now);
        }
        self.history.add(AddressGroup::of(ip), peer.account());
    }

    // Peer exchange.

    /// When peers are to be told of others next.
    pub(super) fn pex_at(&self) -> Option<Instant> {
        self.pex.at()
    }

    /// A peer came or went that others may be told of.
    pub(super) fn send_pex_soon(&mut self, now: Instant) {
        self.pex.send_soon(now);
    }

    /// Queues for every peer what is news to it, if it may be told already; nothing at all unless
    /// `exchanges`. `sends` is told the connections.
    pub(super) fn send_pex(&mut self, now: Instant, exchanges: bool, sends: impl FnMut(ConnId)) {
        match exchanges {
            true => self.pex.send(now, &mut self.peers, sends),
            false => self.pex.stop(),
        }
    }

    /// A peer tells which others it is connected to; whether it may tell now.
    pub(super) fn handle_pex(
        &mut self,
        now: Instant,
        slot: PeerSlot,
        payload: &[u8],
        may_name: impl FnMut(IpAddr) -> bool,
    ) -> Result<bool, Violation> {
        match self.peers.get_mut(slot) {
            Some(peer) => pex::handle(now, peer, &mut self.addresses, payload, may_name),
            None => Ok(false),
        }
    }

    /// We left a peer, since neither side had anything for the other: others may have use for it.
    pub(super) fn left_useless(&mut self, now: Instant, peer: &Peer) {
        self.pex.left_useless(now, peer);
    }

    // What the others do.

    /// Upload slots in use: peers that we let download and that want to.
    pub(super) fn slots_used(&self) -> usize {
        let uses = |peer: &Peer| !peer.upload.am_choking && peer.upload.peer_interested;
        self.peers.iter().filter(|(_, peer)| uses(peer)).count()
    }

    /// What the choker has to know of those that can be given a slot, or have one.
    pub(super) fn choke_snapshots(&self, now: Instant) -> Vec<PeerSnapshot<PeerSlot>> {
        let candidates = self.peers.iter().filter(|(_, peer)| peer.may_be_unchoked());
        candidates.map(|(slot, peer)| peer.choke_snapshot(slot, now)).collect()
    }

    /// Whether a peer that we choke wants to download.
    pub(super) fn is_any_waiting(&self) -> bool {
        let waits = |peer: &Peer| peer.upload.am_choking && peer.upload.peer_interested;
        self.peers.iter().any(|(_, peer)| waits(peer))
    }

    /// Whether any peer wants to download.
    pub(super) fn is_any_interested(&self) -> bool {
        self.peers.iter().any(|(_, peer)| peer.upload.peer_interested)
    }

    /// The peers that may have the leaf hashes of a piece (BEP 52).
    pub(super) fn with_leaves(&self, piece: PieceIndex) -> impl Iterator<Item = PeerSlot> + '_ {
        let has =
            move |peer: &Peer| peer.is_open() && peer.wire.of_v2 && peer.download.has.has(piece);
        self.peers.iter().filter(move |(_, peer)| has(peer)).map(|(slot, _)| slot)
    }

    /// Whether peers in the same network are to be looked for, if that is news. `is_renamed`: there is
    /// another infohash to be announced.
    pub(super) fn local_news(&mut self, looks: bool, is_renamed: bool) -> Option<bool> {
        let is_news = std::mem::replace(&mut self.is_local, looks) != looks;
        (is_news || (looks && is_renamed)).then_some(looks)
    }
}
