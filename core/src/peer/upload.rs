//! The upload half of a peer: whether we choke it, what it requested of us and what it got.
//!
//! Which peers to unchoke is decided in [`choke`](crate::choke).

use smallvec::SmallVec;

use crate::choke::ASKS_NOTHING_MOST;
use crate::choke::accounts::Account;
use crate::peer::hash_uploads::HashUploads;
use crate::peer::upload_queue::UploadQueue;
use crate::piece::{Block, PieceIndex};
use crate::rate::RateMeter;
use crate::time::Instant;

/// What one peer requested of us and was sent.
#[derive(Debug)]
pub(crate) struct PeerUpload {
    pub(crate) am_choking: bool,
    /// Whether the outbox holds a choke.
    pub(crate) choke_waits: bool,
    pub(crate) peer_interested: bool,
    /// Whether the slot is one of the optimistic ones.
    pub(crate) optimistic: bool,
    /// Whether the peer waits in the session's line for the read-ahead budget.
    pub(crate) waits_to_read: bool,
    /// Since when we do not choke the peer, or when we last did not.
    pub(crate) unchoked_at: Option<Instant>,
    /// When it was first unchoked since it last took something.
    pub(crate) idle_since: Option<Instant>,
    /// How many of its slots in a row it let lie idle.
    pub(crate) left_idle: u8,
    /// Pieces the peer may fetch while we choke it.
    pub(crate) allowed_by_us: SmallVec<[PieceIndex; 4]>,
    pub(crate) uploads: UploadQueue,
    /// The hashes that the peer requested.
    pub(crate) hash_uploads: HashUploads,

    pub(crate) up: RateMeter,
    pub(crate) uploaded: u64,
    pub(crate) uploaded_since_unchoke: u64,
    /// What passed between us and the peer's address on earlier connections.
    pub(crate) before: Account,
}

impl PeerUpload {
    /// A choked peer that wants nothing.
    pub(crate) fn new() -> Self {
        PeerUpload {
            am_choking: true,
            choke_waits: false,
            peer_interested: false,
            optimistic: false,
            waits_to_read: false,
            unchoked_at: None,
            idle_since: None,
            left_idle: 0,
            allowed_by_us: SmallVec::new(),
            uploads: UploadQueue::default(),
            hash_uploads: HashUploads::default(),
            up: RateMeter::default(),
            uploaded: 0,
            uploaded_since_unchoke: 0,
            before: Account::default(),
        }
    }

    /// Lets the peer download; false if it could already.
    pub(crate) fn unchoke(&mut self, now: Instant) -> bool {
        if !self.am_choking {
            return false;
        }
        self.am_choking = false;
        self.unchoked_at = Some(now);
        self.idle_since.get_or_insert(now);
        self.uploaded_since_unchoke = 0;
        true
    }

    /// Stops letting the peer download; `None` if it could not. Its requests are dropped. With the
    /// fast extension those for its allowed-fast pieces stay, and the others are returned: each is to
    /// be rejected (BEP 6).
    pub(crate) fn choke(&mut self, fast: bool) -> Option<Vec<Block>> {
        if self.am_choking {
            return None;
        }
        self.left_idle = self.idled_if_left();
        self.am_choking = true;
        self.optimistic = false;
        self.choke_waits = true;
        let mut dropped: Vec<Block> = self.uploads.clear().collect();
        if !fast {
            return Some(Vec::new());
        }
        dropped.retain(|block| {
            let stays = self.allowed_by_us.contains(&block.piece);
            if stays {
                self.uploads.push(*block);
            }
            !stays
        });
        Some(dropped)
    }

    /// How many of its slots in a row the peer lets lie idle, up to the present one, if it has one: it asks
    /// for nothing and has neither given nor taken anything since `useful_at`.
    pub(crate) fn idled(&self, useful_at: Instant, now: Instant) -> u8 {
        let since = self.unchoked_at.unwrap_or(Instant::ZERO).max(useful_at);
        let idles = self.uploads.len() == 0 && now - since >= ASKS_NOTHING_MOST;
        match (self.am_choking, idles) {
            (true, _) => self.left_idle,
            (false, true) => self.left_idle.saturating_add(1),
            (false, false) => 0,
        }
    }

    /// How many of its slots in a row it has let lie idle, if it leaves the one that it has now.
    pub(crate) fn idled_if_left(&self) -> u8 {
        let is_untaken = self.uploaded_since_unchoke == 0 && self.uploads.len() == 0;
        match (self.am_choking, is_untaken) {
            (true, _) => self.left_idle,
            (false, true) => self.left_idle.saturating_add(1),
            (false, false) => 0,
        }
    }

    /// Whether blocks or hashes wait to be gathered, which a rate limit may hold up.
    pub(crate) fn has_uploads(&self) -> bool {
        self.uploads.is_ready() || self.hash_uploads.is_ready()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn block(piece: u32) -> Block {
        Block { piece: PieceIndex(piece), begin: 0, length: 16384 }
    }

    fn with_requests() -> PeerUpload {
        let mut peer = PeerUpload::new();
        assert!(peer.unchoke(Instant::from_secs(7)));
        (1..=3).for_each(|piece| peer.uploads.push(block(piece)));
        peer.allowed_by_us.push(PieceIndex(2));
        peer.optimistic = true;
        peer
    }

    #[test]
    fn with_the_fast_extension_a_choke_rejects_all_but_allowed_pieces() {
        let mut peer = with_requests();
        assert_eq!(peer.choke(true), Some(vec![block(1), block(3)]));
        assert_eq!(peer.uploads.len(), 1);
        assert!(peer.am_choking && peer.choke_waits && !peer.optimistic);
        assert_eq!(peer.choke(true), None, "choked already");
    }

    #[test]
    fn without_the_fast_extension_a_choke_drops_all_requests() {
        let mut peer = with_requests();
        assert_eq!(peer.choke(false), Some(Vec::new()));
        assert_eq!(peer.uploads.len(), 0);
    }

    #[test]
    fn who_asks_for_nothing_lets_its_slot_lie_idle_and_that_is_remembered() {
        let at = Instant::from_secs;
        let mut peer = with_requests();
        assert_eq!(peer.idled(at(7), at(100)), 0, "it waits for us");
        peer.uploads.clear().for_each(drop);
        let idled =
            [(7, 11), (7, 12), (8, 12)].map(|(useful, now)| peer.idled(at(useful), at(now)));
        assert_eq!(idled, [0, 1, 0]);
        for turn in 1..3 {
            peer.choke(true);
            assert_eq!((peer.idled(at(7), at(12)), peer.idled_if_left()), (turn, turn));
            peer.unchoke(at(20));
        }
        assert_eq!((peer.idled(at(7), at(24)), peer.idled(at(7), at(25))), (0, 3));
        peer.uploaded_since_unchoke = 1;
        peer.choke(true);
        assert_eq!(peer.idled(at(7), at(30)), 0);
    }

    #[test]
    fn a_second_unchoke_changes_nothing() {
        let mut peer = with_requests();
        peer.uploaded_since_unchoke = 5;
        assert!(!peer.unchoke(Instant::from_secs(9)));
        assert_eq!(peer.unchoked_at, Some(Instant::from_secs(7)));
        assert_eq!(peer.uploaded_since_unchoke, 5);
    }
}
