//! The piece layers that are missing of a torrent of v2 whose metadata came from peers (BEP 52), and
//! the pieces that wait for them.
//!
//! Of v2 alone, a piece without a hash is not fetched; all others are. What may be on disk of such
//! a piece is hashed when its hash is known. A hybrid does not wait: it has the hashes of v1, and
//! those of v2 as they come. When the last layer is here, the metainfo is whole.
//!
//! Whom to ask for what is decided by [`LayerFetch`].

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::metainfo::Metainfo;
use crate::peer::PeerSlot;
use crate::piece::{PieceIndex, Sha256Hash};
use crate::time::{Duration, Instant};
use crate::torrent::content::Content;
use crate::torrent::metadata::layer_fetch::{LayerFetch, Learnt};
use crate::torrent::metadata::saved_metadata;
use crate::torrent::step::MetadataStep;
use crate::wire::HashRequest;

/// How long a hybrid of which no more than the metadata is wanted waits for its layers (chosen: its
/// peers may all be of v1).
const HYBRID_PATIENCE: Duration = Duration::from_secs(10);
/// How long after hashes were learnt they are kept for the next session (chosen: all of them are
/// written each time).
const KEEP_AFTER: Duration = Duration::from_secs(5);
/// Pieces of one torrent that are hashed at once when their hashes come late (chosen).
const LATE_CHECKS: usize = 2;

/// The layers that are missing.
#[derive(Debug)]
pub(crate) struct Layers {
    fetch: LayerFetch<PeerSlot>,
    /// When to keep what was learnt since the last time.
    keep_at: Option<Instant>,
    /// Until when to wait for them, if not for as long as it takes.
    deadline: Option<Instant>,
}

impl Layers {
    /// Those that the metainfo lacks, with what an earlier session knew of them; `None` if it lacks
    /// none.
    pub(crate) fn missing(content: &Content, kept_hashes: &Bytes) -> Option<Self> {
        let layout = &content.layout;
        let is_wanted =
            |file: usize| layout.store_index(file).is_none_or(|file| content.is_wanted(file));
        let mut fetch = LayerFetch::new(&content.metainfo, is_wanted)?;
        for (request, hashes) in saved_metadata::answers(kept_hashes) {
            fetch.recall(&content.metainfo, &request, &hashes);
        }
        Some(Layers { fetch, keep_at: None, deadline: None })
    }

    /// Whether all are known.
    pub(crate) fn is_complete(&self) -> bool {
        self.fetch.is_complete()
    }

    /// The hash of a piece, as far as it is learnt.
    pub(crate) fn piece_hash(&self, metainfo: &Metainfo, piece: PieceIndex) -> Option<Sha256Hash> {
        self.fetch.piece_hash(metainfo, piece)
    }

    /// No more than the metadata is wanted: of a hybrid its layers are not waited for without end.
    pub(crate) fn wait(&mut self, now: Instant, metainfo: &Metainfo) {
        if metainfo.has_v1() {
            self.deadline = Some(now + HYBRID_PATIENCE);
        }
    }

    /// A peer may know hashes; whether that is news.
    pub(crate) fn add_source(&mut self, now: Instant, peer: PeerSlot) -> bool {
        self.fetch.add(now, peer)
    }

    /// A peer is not asked any more.
    pub(crate) fn remove_source(&mut self, peer: PeerSlot) {
        self.fetch.remove(peer);
    }

    /// Whom to ask for what now.
    pub(crate) fn next_request(
        &mut self,
        now: Instant,
        metainfo: &Metainfo,
    ) -> Option<(PeerSlot, HashRequest)> {
        self.fetch.next_request(now, metainfo)
    }

    /// When peers that are late with hashes are given up for a while, or asked again, or something
    /// else is due.
    pub(crate) fn due_at(&self, now: Instant) -> Option<Instant> {
        let due = [self.deadline, self.keep_at].into_iter().flatten();
        self.fetch.poll_timeout(now).into_iter().chain(due).min()
    }

    /// Some time has passed, or a peer has left: what is due.
    pub(in crate::torrent) fn poll(&mut self, now: Instant) -> Vec<MetadataStep> {
        self.fetch.handle_timeout(now);
        if self.deadline.is_some_and(|at| at <= now || self.fetch.has_no_sources()) {
            self.deadline = None;
            // They are not waited for any longer.
            return vec![MetadataStep::Done];
        }
        let keeps = self.keep_at.is_some_and(|at| at <= now);
        let keep = keeps.then_some(MetadataStep::KeepLayers);
        keep.into_iter().chain([MetadataStep::Ask]).collect()
    }

    /// A peer sent hashes.
    pub(crate) fn received(
        &mut self,
        now: Instant,
        metainfo: &Metainfo,
        peer: PeerSlot,
        (request, hashes): (&HashRequest, &[u8]),
    ) -> Learnt {
        let learnt = self.fetch.received(now, metainfo, peer, request, hashes);
        if matches!(learnt, Learnt::Pieces(_)) {
            self.keep_at.get_or_insert(now + KEEP_AFTER);
        }
        learnt
    }

    /// A peer does not give hashes.
    pub(crate) fn rejected(
        &mut self,
        now: Instant,
        metainfo: &Metainfo,
        peer: PeerSlot,
        request: &HashRequest,
    ) {
        self.fetch.rejected(now, metainfo, peer, request);
    }

    /// What is to be kept for the next session, if there is anything new.
    pub(crate) fn take_news(&mut self, metainfo: &Metainfo) -> Option<Bytes> {
        self.keep_at.take()?;
        Some(saved_metadata::with_answers(metainfo, self.fetch.answers(metainfo)))
    }

    /// The metainfo with all layers, once they are known. Each run was verified, so this fails only for want of room; then
    /// the hashes stay here.
    pub(crate) fn whole(&self, metainfo: &Metainfo) -> Option<Metainfo> {
        let layers = self.fetch.is_complete().then(|| self.fetch.layers(metainfo))?;
        metainfo.with_layers(layers).ok()
    }
}

/// Pieces that may be on disk and had no hash when the torrent was checked.
#[derive(Debug, Default)]
pub(crate) struct LateChecks {
    waiting: BTreeSet<PieceIndex>,
    /// Those whose hash is known by now.
    ready: VecDeque<PieceIndex>,
    running: usize,
}

impl LateChecks {
    /// A piece may be on disk and has no hash.
    pub(crate) fn add(&mut self, piece: PieceIndex) {
        self.waiting.insert(piece);
    }

    /// The hash of a piece is known; whether it is to be hashed before it may be fetched.
    pub(crate) fn hash_learnt(&mut self, piece: PieceIndex) -> bool {
        let was_waiting = self.waiting.remove(&piece);
        if was_waiting {
            self.ready.push_back(piece);
        }
        was_waiting
    }

    /// The next piece to hash, as few at once as the disk is to be troubled with.
    pub(crate) fn start_next(&mut self) -> Option<PieceIndex> {
        let may_start = self.running < LATE_CHECKS;
        let piece = if may_start { self.ready.pop_front() } else { None };
        self.running += usize::from(piece.is_some());
        piece
    }

    /// One was hashed.
    pub(crate) fn finish_one(&mut self) {
        self.running = self.running.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_hashed_late_a_few_at_once_as_their_hashes_come() {
        let mut late = LateChecks::default();
        (0..4).map(PieceIndex).for_each(|piece| late.add(piece));
        assert_eq!(late.start_next(), None, "no hash is known");
        assert!([2, 0, 3].map(PieceIndex).into_iter().all(|piece| late.hash_learnt(piece)));
        assert!(!late.hash_learnt(PieceIndex(2)), "once");
        assert!(!late.hash_learnt(PieceIndex(9)), "it is not on disk");
        assert_eq!(late.start_next(), Some(PieceIndex(2)));
        assert_eq!(late.start_next(), Some(PieceIndex(0)));
        assert_eq!(late.start_next(), None, "two at once");
        late.finish_one();
        assert_eq!(late.start_next(), Some(PieceIndex(3)));
    }
}
