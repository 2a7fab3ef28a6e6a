//! One peer of a torrent, in four parts: the wire with its handshake and outbox, what is downloaded
//! from it, what is uploaded to it, and messages about metadata and other peers.
//!
//! Holds state and keeps it consistent; which blocks to request, which peers to unchoke and what a
//! block is good for is decided by the torrent's picker, choker and assembly.

pub(crate) mod claims;
mod dial_encryption;
mod download;
pub(crate) mod early;
mod gossip;
pub(crate) mod hash_uploads;
pub(crate) mod offences;
pub mod pipeline;
mod reqq;
mod upload;
pub(crate) mod upload_queue;
pub(crate) mod waste;
mod wire;
mod words;

pub(crate) use crate::id::PeerSlot;
pub(crate) use dial_encryption::{Attempt, DialEncryption};
pub(crate) use download::PeerDownload;
pub(crate) use gossip::PeerGossip;
pub(crate) use upload::PeerUpload;
pub(crate) use wire::{Backlog, PeerWire, WireState};

use std::net::SocketAddr;

use crate::bitfield::Bitfield;
use crate::choke::accounts::Account;
use crate::choke::{AddressGroup, PeerSnapshot};
use crate::config::Config;
use crate::encryption::Encryption;
use crate::id::Id;
use crate::peer::early::EarlyPieces;
use crate::peer::waste::Waste;
use crate::picker::PeerKey;
use crate::piece::{BlockRun, InfoHash};
use crate::time::Instant;
use crate::wire::Message;
use crate::wire::allowed_fast::{ALLOWED_FAST_PIECES, allowed_fast_set};
use crate::wire::extension::{Extension, ExtensionHandshake};
use crate::wire::handshake::{Handshake, Reserved};

impl PeerSlot {
    /// The peer's name in the picker: its slot, since everything of a peer is released before its
    /// slot is given to another.
    pub(crate) fn key(self) -> PeerKey {
        PeerKey(self.index())
    }
}

/// A remote client we are connected to.
#[derive(Debug)]
pub(crate) struct Peer {
    /// How it was dialled, if it was.
    pub(crate) attempt: Attempt,
    /// How the connection is encrypted, since the handshake.
    pub(crate) encryption: Encryption,
    /// Whether it says that it prefers encryption.
    pub(crate) prefers_encryption: bool,
    pub(crate) wire: PeerWire,
    pub(crate) download: PeerDownload,
    pub(crate) upload: PeerUpload,
    pub(crate) gossip: PeerGossip,
}

impl Peer {
    pub(crate) fn new(wire: PeerWire, pieces: Option<u32>, config: &Config) -> Self {
        let download = PeerDownload::new(pieces, config);
        let (upload, gossip) = (PeerUpload::new(), PeerGossip::default());
        Peer {
            attempt: Attempt::default(),
            encryption: Encryption::None,
            prefers_encryption: false,
            wire,
            download,
            upload,
            gossip,
        }
    }

    /// The same, from a known address: it goes on where it was.
    pub(crate) fn resuming(mut self, before: Account) -> Self {
        self.upload.before = before;
        self.upload.unchoked_at = before.unchoked_at;
        self.upload.left_idle = before.idled;
        self.download.refusals = before.refusals;
        self
    }

    /// What passed on this connection.
    pub(crate) fn account(&self) -> Account {
        Account {
            uploaded: self.upload.uploaded,
            downloaded: self.download.downloaded,
            wasted: self.download.unasked_bytes,
            unchoked_at: self.upload.unchoked_at,
            idled: self.upload.idled_if_left(),
            refusals: self.download.refusals,
        }
    }

    /// What the peer sent of use and in vain, earlier connections with its address included.
    pub(crate) fn waste(&self) -> Waste {
        let account = self.upload.before.plus(self.account());
        Waste { wasted: account.wasted, useful: account.downloaded }
    }

    /// Whether the peer can be given a slot, or have one. One that has not taken its last choke yet
    /// cannot: to it, what it asks meanwhile is dropped by that choke (BEP 3), and its connection takes
    /// nothing anyway.
    pub(crate) fn may_be_unchoked(&self) -> bool {
        self.is_open() && !self.upload.choke_waits
    }

    /// What the choker has to know of the peer.
    pub(crate) fn choke_snapshot<K>(&self, key: K, now: Instant) -> PeerSnapshot<K> {
        let account = self.upload.before.plus(self.account());
        PeerSnapshot {
            key,
            interested: self.upload.peer_interested,
            am_choking: self.upload.am_choking,
            optimistic: self.upload.optimistic,
            snubs_us: self.download.pipeline.is_snubbed(),
            down_bytes_per_s: self.download.down.rate(now),
            up_bytes_per_s: self.upload.up.rate(now),
            connected_at: self.wire.connected_at,
            unchoked_at: self.upload.unchoked_at,
            uploaded_since_unchoke: self.upload.uploaded_since_unchoke,
            idled: self.upload.idled(self.wire.useful_at, now),
            uploaded: account.uploaded,
            downloaded: account.downloaded,
            group: AddressGroup::of(self.wire.remote.ip()),
        }
    }

    /// Whether what we want could be requested of the peer now.
    pub(crate) fn is_source(&self) -> bool {
        self.is_open() && self.download.is_source()
    }

    /// Whether the handshake is done.
    pub(crate) fn is_open(&self) -> bool {
        self.wire.is_open()
    }

    /// Whether it understands requests for metadata (BEP 9).
    pub(crate) fn understands_metadata(&self) -> bool {
        self.wire.extensions.get(Extension::Metadata).is_some()
    }

    /// Whether it may know hashes of pieces: it is connected by v2 and knows what the torrent is (BEP 52).
    pub(crate) fn may_know_hashes(&self) -> bool {
        let has_some = self.gossip.has_metadata || !self.download.has.is_none();
        self.is_open() && self.wire.of_v2 && has_some
    }

    /// Whether the peer has everything, or wants nothing.
    pub(crate) fn is_seed(&self) -> bool {
        self.wire.upload_only || self.download.has_everything()
    }

    /// Whether anything waits to be gathered.
    pub(crate) fn has_to_send(&self) -> bool {
        self.has_words() || self.has_uploads()
    }

    /// Whether metadata, hashes or blocks wait to be gathered, which a rate limit may hold up.
    pub(crate) fn has_uploads(&self) -> bool {
        self.gossip.metadata_uploads.is_ready() || self.upload.has_uploads()
    }

    /// Whether messages or requests wait to be gathered.
    pub(crate) fn has_words(&self) -> bool {
        !self.wire.outbox.is_empty() || !self.download.asking.is_empty()
    }

    /// Queues a message.
    pub(crate) fn send(&mut self, message: Message) {
        self.wire.send(message);
    }

    // The handshakes.

    /// The peer's handshake is complete (BEP 3). `ours` is what we offer.
    pub(crate) fn handle_handshake(&mut self, theirs: &Handshake, ours: Reserved) {
        let both = theirs.reserved.both(ours);
        self.wire.state = WireState::Open;
        self.wire.id = Some(theirs.peer_id);
        self.wire.fast = both.fast();
        self.wire.extended = both.extension();
    }

    /// The first message after the handshake says what we have (BEP 3, BEP 6): `None` while it is not
    /// known how many pieces there are.
    pub(crate) fn send_bitfield(&mut self, have: Option<&Bitfield>) {
        match have {
            Some(have) if have.is_all() && self.wire.fast => self.send(Message::HaveAll),
            Some(have) if !have.is_none() => self.send(Message::bitfield(have)),
            _ if self.wire.fast => self.send(Message::HaveNone),
            _ => {}
        }
    }

    /// The peer's extension handshake (BEP 10), the first or a later one. Where an incoming peer can be
    /// dialled, if it says so.
    pub(crate) fn handle_extended_handshake(
        &mut self,
        theirs: ExtensionHandshake,
    ) -> Option<SocketAddr> {
        self.wire.extensions.update(&theirs.ids);
        if let Some(most) = theirs.max_requests {
            self.download.pipeline.set_reqq(most as usize);
        }
        self.prefers_encryption = theirs.prefers_encryption.unwrap_or(self.prefers_encryption);
        if theirs.client.is_some() {
            self.wire.client = theirs.client;
        }
        self.wire.upload_only = theirs.upload_only.unwrap_or(self.wire.upload_only);
        self.gossip.has_metadata |= theirs.metadata_size.is_some();
        let port = theirs.port.filter(|_| self.wire.incoming)?;
        // Now it is known where this peer can be reached by others and after a break.
        self.wire.listens_at = Some(SocketAddr::new(self.wire.remote.ip(), port));
        self.wire.listens_at
    }

    // Pieces.

    /// It has become known how many pieces there are. What the peer announced before that.
    pub(crate) fn metadata_learnt(&mut self, pieces: u32, bound: u32) -> EarlyPieces {
        self.wire.decoder.set_piece_count(Some(pieces));
        self.download.has = Bitfield::new(pieces);
        self.download.counted_as_seed = false;
        self.download.allowed_to_us.retain(|piece| piece.0 < pieces);
        std::mem::replace(&mut self.download.early, EarlyPieces::new(bound))
    }

    /// Sends which pieces we have of those that the peer lacks, one by one: a bitfield may only be the
    /// first message.
    pub(crate) fn send_haves(&mut self, have: &Bitfield) {
        for piece in have.iter() {
            if !self.download.has.has(piece) {
                self.send(Message::Have(piece));
            }
        }
    }

    /// Lets the peer fetch a few of the pieces that we have while it is choked (BEP 6), if it has not
    /// many itself.
    pub(crate) fn offer_allowed_fast(&mut self, infohash: InfoHash, have: &Bitfield) {
        if !self.wire.fast || self.download.has.count() >= ALLOWED_FAST_PIECES {
            return;
        }
        let (ip, pieces) = (self.wire.remote.ip(), have.len());
        for piece in allowed_fast_set(ip, infohash, pieces, ALLOWED_FAST_PIECES) {
            if have.has(piece) && !self.download.has.has(piece) {
                self.upload.allowed_by_us.push(piece);
                self.send(Message::AllowedFast(piece));
            }
        }
    }

    // Interest and chokes.

    /// Sends that we are or are not interested, if that has changed.
    pub(crate) fn set_interest(&mut self, interested: bool) -> bool {
        if self.download.am_interested == interested || !self.is_open() {
            return false;
        }
        self.download.am_interested = interested;
        self.send(if interested { Message::Interested } else { Message::NotInterested });
        true
    }

    /// Lets the peer download, if it could not.
    pub(crate) fn unchoke(&mut self, now: Instant) {
        if self.upload.unchoke(now) {
            self.send(Message::Unchoke);
        }
    }

    /// Blocks that the peer requested could not be read: rejects the requests as BEP 6 has it.
    pub(crate) fn read_failed(&mut self, run: BlockRun) {
        for block in self.upload.uploads.run_failed(run) {
            if self.wire.fast {
                self.send(Message::Reject(block));
            }
        }
    }

    /// Stops letting the peer download, and rejects its requests as BEP 6 has it.
    pub(crate) fn choke(&mut self) {
        let Some(rejected) = self.upload.choke(self.wire.fast) else { return };
        self.send(Message::Choke);
        for block in rejected {
            self.send(Message::Reject(block));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ConnId;
    use crate::piece::{Block, PeerId, PieceIndex};
    use crate::wire::Decoder;

    const PIECES: u32 = 16;

    fn peer(incoming: bool) -> Peer {
        let remote = SocketAddr::from(([50, 0, 0, 1], 40_000));
        let state = WireState::Connecting;
        let conn = ConnId::new(0, 0);
        let wire = PeerWire::new(conn, remote, incoming, state, Some(PIECES), Instant::ZERO);
        Peer::new(wire, Some(PIECES), &Config::default())
    }

    /// One whose handshake offered the fast extension, or nothing.
    fn open(fast: bool) -> Peer {
        let mut peer = peer(true);
        let reserved = if fast { Reserved::NONE.with_fast() } else { Reserved::NONE };
        let (infohash, peer_id) = (InfoHash([1; 20]), PeerId([2; 20]));
        let ours = Reserved::NONE.with_fast().with_extension();
        peer.handle_handshake(&Handshake { reserved, infohash, peer_id }, ours);
        peer
    }

    fn sent(peer: &mut Peer) -> Vec<Message> {
        let mut decoder = Decoder::new();
        decoder.push(peer.wire.outbox.take_all());
        std::iter::from_fn(|| decoder.next_message().expect("our own")).collect()
    }

    fn first(fast: bool, have: Option<&Bitfield>) -> Vec<Message> {
        let mut peer = open(fast);
        peer.send_bitfield(have);
        sent(&mut peer)
    }

    #[test]
    fn a_handshake_opens_the_connection_with_what_both_sides_speak() {
        let peer = open(true);
        assert!(peer.is_open() && peer.wire.fast && !peer.wire.extended);
        assert_eq!(peer.wire.id, Some(PeerId([2; 20])));
    }

    #[test]
    fn the_first_message_says_what_we_have_as_shortly_as_the_peer_understands() {
        let (none, all) = (Bitfield::new(PIECES), Bitfield::full(PIECES));
        let mut some = Bitfield::new(PIECES);
        some.set(PieceIndex(3));
        assert_eq!(first(true, None), [Message::HaveNone]);
        assert_eq!(first(true, Some(&none)), [Message::HaveNone]);
        assert_eq!(first(true, Some(&all)), [Message::HaveAll]);
        assert_eq!(first(false, Some(&all)), [Message::bitfield(&all)]);
        for fast in [true, false] {
            assert_eq!(first(fast, Some(&some)), [Message::bitfield(&some)]);
        }
        assert_eq!((first(false, None), first(false, Some(&none))), (vec![], vec![]));
    }

    #[test]
    fn an_incoming_peer_says_where_it_listens_and_what_is_left_out_stays() {
        let theirs = |port, upload_only, client: Option<&str>| ExtensionHandshake {
            port,
            upload_only,
            client: client.map(str::to_owned),
            ..ExtensionHandshake::default()
        };
        let mut incoming = peer(true);
        let at = SocketAddr::from(([50, 0, 0, 1], 6881));
        let said = incoming.handle_extended_handshake(theirs(Some(6881), Some(true), Some("name")));
        assert_eq!((said, incoming.wire.listens_at), (Some(at), Some(at)));
        assert_eq!(incoming.handle_extended_handshake(theirs(None, None, None)), None);
        assert!(incoming.wire.upload_only);
        assert_eq!(incoming.wire.client.as_deref(), Some("name"));
        let mut dialled = peer(false);
        assert_eq!(dialled.handle_extended_handshake(theirs(Some(1), None, None)), None);
        assert_eq!(dialled.wire.listens_at, Some(dialled.wire.remote));
    }

    #[test]
    fn newcomers_may_fetch_some_of_our_pieces_while_choked_and_others_may_not() {
        let mut have = Bitfield::full(PIECES);
        have.clear(PieceIndex(0));
        let mut newcomer = open(true);
        newcomer.offer_allowed_fast(InfoHash([1; 20]), &have);
        let allowed = sent(&mut newcomer);
        assert!(!allowed.is_empty() && allowed.len() <= ALLOWED_FAST_PIECES as usize);
        assert!(!allowed.contains(&Message::AllowedFast(PieceIndex(0))), "we lack it");
        assert_eq!(allowed.len(), newcomer.upload.allowed_by_us.len());
        let mut advanced = open(true);
        advanced.download.has = Bitfield::full(PIECES);
        advanced.offer_allowed_fast(InfoHash([1; 20]), &have);
        let mut slow = open(false);
        slow.offer_allowed_fast(InfoHash([1; 20]), &have);
        assert_eq!((sent(&mut advanced), sent(&mut slow)), (vec![], vec![]));
    }

    #[test]
    fn requests_that_cannot_be_read_are_rejected_where_the_peer_understands_that() {
        let block = Block { piece: PieceIndex(1), begin: 0, length: 16_384 };
        for fast in [true, false] {
            let mut peer = open(fast);
            peer.upload.uploads.push(block);
            let run = peer.upload.uploads.next_run(1 << 20).expect("it waits");
            peer.read_failed(run);
            let rejects = if fast { vec![Message::Reject(block)] } else { Vec::new() };
            assert_eq!((sent(&mut peer), peer.upload.uploads.len()), (rejects, 0));
        }
    }

    #[test]
    fn what_was_announced_before_the_metadata_is_handed_over_and_haves_follow() {
        let mut peer = open(true);
        peer.download.early.have(PieceIndex(2)).expect("there is room");
        peer.download.allow(PieceIndex(1));
        peer.download.allow(PieceIndex(99));
        let early = peer.metadata_learnt(PIECES, 1 << 20);
        let has = early.judge(PIECES).expect("valid").expect("it announced one");
        assert!(has.has(PieceIndex(2)) && has.count() == 1);
        assert_eq!(peer.download.allowed_to_us[..], [PieceIndex(1)]);
        peer.download.has = has;
        let mut have = Bitfield::new(PIECES);
        for piece in [1, 2] {
            have.set(PieceIndex(piece));
        }
        peer.send_haves(&have);
        assert_eq!(sent(&mut peer), [Message::Have(PieceIndex(1))]);
    }
}
