//! One peer of a torrent, in four parts: the wire with its handshake and outbox, what is downloaded
//! from it, what is uploaded to it, and messages about metadata and other peers.
//!
//! Holds state and keeps it consistent; which blocks to request, which peers to unchoke and what a
//! block is good for is decided by the torrent's picker, choker and assembly.

pub(crate) mod claims;
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

pub(crate) use crate::id::PeerSlot;
pub(crate) use download::PeerDownload;
pub(crate) use gossip::PeerGossip;
pub(crate) use upload::PeerUpload;
pub(crate) use wire::{Backlog, PeerWire, Phase};

use crate::choke::accounts::Account;
use crate::choke::{AddressGroup, PeerSnapshot};
use crate::config::Config;
use crate::id::Id;
use crate::peer::waste::Waste;
use crate::picker::PeerKey;
use crate::time::Instant;
use crate::wire::Message;

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
    pub(crate) wire: PeerWire,
    pub(crate) download: PeerDownload,
    pub(crate) upload: PeerUpload,
    pub(crate) gossip: PeerGossip,
}

impl Peer {
    pub(crate) fn new(wire: PeerWire, pieces: Option<u32>, config: &Config) -> Self {
        let download = PeerDownload::new(pieces, config);
        Peer { wire, download, upload: PeerUpload::new(), gossip: PeerGossip::default() }
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

    /// Stops letting the peer download, and rejects its requests as BEP 6 has it.
    pub(crate) fn choke(&mut self) {
        let Some(rejected) = self.upload.choke(self.wire.fast) else { return };
        self.send(Message::Choke);
        for block in rejected {
            self.send(Message::Reject(block));
        }
    }
}
