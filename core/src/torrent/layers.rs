//! The piece layers of a torrent of v2 whose metadata came from peers (BEP 52): fetched from those
//! who know them, kept over a restart, and what waits for them.
//!
//! Of v2 alone, a piece without a hash is not fetched; all others are. What may be on disk of such
//! a piece is hashed when its hash is known. A hybrid does not wait: it has the hashes of v1, and
//! those of v2 as they come. When the last layer is here, the metainfo is whole.
//!
//! Whom to ask for what is decided by [`LayerFetch`].

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::bitfield::Bitfield;
use crate::disk::{DiskDone, DiskError};
use crate::metainfo::Metainfo;
use crate::peer::PeerSlot;
use crate::piece::PieceIndex;
use crate::piece_hash::PieceHash;
use crate::session::Session;
use crate::session::bans::BanReason;
use crate::session::op::TorrentOp;
use crate::time::{Duration, Instant};
use crate::torrent::Torrent;
use crate::torrent::kept;
use crate::torrent::layer_fetch::{LayerFetch, Learnt};
use crate::torrent::lifecycle::Phase;
use crate::torrent::rare::Rare;
use crate::wire::{HashRequest, Message};

/// How long a hybrid of which no more than the metadata is wanted waits for its layers (chosen: its
/// peers may all be of v1).
const HYBRID_PATIENCE: Duration = Duration::from_secs(10);
/// How long after hashes were learnt they are kept for the next session (chosen: all of them are
/// written each time).
const KEEP_AFTER: Duration = Duration::from_secs(5);
/// Pieces of one torrent that are hashed at once when their hashes come late (chosen).
const LATE_CHECKS: usize = 2;

/// The layers that are missing, and the pieces that wait for them.
#[derive(Debug)]
pub(super) struct Layers {
    fetch: LayerFetch<PeerSlot>,
    /// When to keep what was learnt since the last time.
    keep_at: Option<Instant>,
    /// Until when to wait for them, if not for as long as it takes.
    deadline: Option<Instant>,
}

/// Pieces that may be on disk and had no hash when the torrent was checked.
#[derive(Debug, Default)]
pub(super) struct Unchecked {
    pieces: BTreeSet<PieceIndex>,
    /// Those whose hash is known by now.
    ready: VecDeque<PieceIndex>,
    running: usize,
}

impl Torrent {
    /// It is known what the torrent is: looks for the layers that are missing.
    pub(super) fn find_layers(&mut self) {
        let Some(content) = &self.content else { return };
        let (metainfo, layout) = (&content.metainfo, &content.layout);
        let is_wanted =
            |file: usize| layout.store_index(file).is_none_or(|file| content.is_wanted(file));
        let Some(mut fetch) = LayerFetch::new(metainfo, is_wanted) else { return };
        for (request, hashes) in kept::answers(&std::mem::take(&mut self.kept_hashes)) {
            fetch.recall(metainfo, &request, &hashes);
        }
        let fetch =
            &self.layers.insert(Layers { fetch, keep_at: None, deadline: None }.into()).fetch;
        for piece in content.geometry().iter() {
            if expected_hash(metainfo, Some(fetch), piece).is_none() {
                self.download.picker.hold(piece);
            }
        }
    }

    /// Whether an earlier session had learnt them all.
    pub(super) fn recalls_all_layers(&self) -> bool {
        self.layers.as_ref().is_some_and(|layers| layers.fetch.is_complete())
    }

    /// What a piece must hash to, as far as that is known.
    pub(super) fn piece_hash(&self, piece: PieceIndex) -> Option<PieceHash> {
        expected_hash(self.metainfo()?, self.layers.as_ref().map(|layers| &layers.fetch), piece)
    }

    // Peers are asked.

    /// Of the torrent no more than the metadata is wanted: its layers are part of that.
    pub(super) fn wait_for_layers(&mut self, session: &mut Session) {
        let is_hybrid = self.metainfo().is_some_and(|metainfo| metainfo.has_v1());
        if let Some(layers) = self.layers.as_mut().filter(|_| is_hybrid) {
            layers.deadline = Some(session.now + HYBRID_PATIENCE);
        }
        self.mind_layers(session);
    }

    /// A peer may know hashes, if the connection is of v2 and it knows what the torrent is.
    pub(super) fn layers_offered(&mut self, session: &mut Session, slot: PeerSlot) {
        let (Some(layers), Some(peer)) = (&mut self.layers, self.peers.get(slot)) else { return };
        if peer.is_open()
            && peer.wire.of_v2
            && (peer.gossip.has_metadata || !peer.download.has.is_none())
        {
            layers.fetch.add(slot);
            self.ask_for_layers(session);
        }
    }

    /// Sends the requests that are due.
    fn ask_for_layers(&mut self, session: &mut Session) {
        let (Some(layers), Some(content)) = (&mut self.layers, &self.content) else { return };
        while let Some((slot, request)) = layers.fetch.next_request(session.now, &content.metainfo)
        {
            match self.peers.get_mut(slot).filter(|peer| peer.is_open()) {
                Some(peer) => {
                    peer.send(Message::HashRequest(request));
                    session.ask_send(peer.wire.conn);
                }
                None => layers.fetch.remove(slot),
            }
        }
    }

    /// A peer leaves.
    pub(super) fn layer_source_gone(&mut self, session: &mut Session, slot: PeerSlot) {
        if let Some(layers) = &mut self.layers {
            layers.fetch.remove(slot);
            self.mind_layers(session);
        }
    }

    /// When peers that are late with hashes are given up for a while, or asked again.
    pub(super) fn layers_due_at(&self, session: &Session) -> Option<Instant> {
        let layers = self.layers.as_ref()?;
        let due = [layers.deadline, layers.keep_at].into_iter().flatten();
        layers.fetch.poll_timeout(session.now).into_iter().chain(due).min()
    }

    pub(super) fn mind_layers(&mut self, session: &mut Session) {
        let Some(layers) = &mut self.layers else { return };
        layers.fetch.handle_timeout(session.now);
        if layers.deadline.is_some_and(|at| at <= session.now || layers.fetch.has_no_sources()) {
            layers.deadline = None;
            return self.metadata_done(session);
        }
        if layers.keep_at.is_some_and(|at| at <= session.now) {
            self.keep_layers(session);
        }
        self.ask_for_layers(session);
    }

    /// Has what was learnt kept for the next session, if there is anything new.
    pub(super) fn keep_layers(&mut self, session: &mut Session) {
        let (Some(layers), Some(content)) = (&mut self.layers, &self.content) else { return };
        let metainfo = &content.metainfo;
        if layers.keep_at.take().is_some() {
            let data = kept::with_answers(metainfo, layers.fetch.answers(metainfo));
            self.save_metadata(session, self.identity.infohashes(), data);
        }
    }

    /// A peer sent hashes. False: they are no part of a layer that it was asked for.
    pub(super) fn layer_arrived(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        request: &HashRequest,
        hashes: &[u8],
    ) -> bool {
        let (Some(layers), Some(content)) = (&mut self.layers, &self.content) else {
            return false;
        };
        let learnt = layers.fetch.received(session.now, &content.metainfo, slot, request, hashes);
        let is_whole = layers.fetch.is_complete();
        match learnt {
            Learnt::Unasked => return false,
            Learnt::Nothing => {}
            Learnt::Wrong => self.ban_peer(session, slot, BanReason::WrongData),
            Learnt::Pieces(ranges) => {
                layers.keep_at.get_or_insert(session.now + KEEP_AFTER);
                ranges.into_iter().flatten().for_each(|piece| self.hash_learnt(PieceIndex(piece)));
                if is_whole {
                    self.layers_complete(session);
                }
                self.check_late(session);
                self.fill_pipelines(session, None);
            }
        }
        self.ask_for_layers(session);
        true
    }

    /// A peer does not give hashes.
    pub(super) fn layer_rejected(
        &mut self,
        session: &mut Session,
        slot: PeerSlot,
        request: &HashRequest,
    ) {
        if let (Some(layers), Some(content)) = (&mut self.layers, &self.content) {
            layers.fetch.rejected(session.now, &content.metainfo, slot, request);
            self.ask_for_layers(session);
        }
    }

    /// Every layer is known: the metainfo is whole, and kept so.
    pub(super) fn layers_complete(&mut self, session: &mut Session) {
        let (Some(layers), Some(content)) = (&self.layers, &mut self.content) else { return };
        let metainfo = &content.metainfo;
        // Each run was verified, so this fails only for want of room; then the hashes stay here.
        let Ok(whole) = metainfo.with_layers(layers.fetch.layers(metainfo)) else { return };
        let bytes = whole.to_bytes();
        content.metainfo = Arc::new(whole);
        self.layers = None;
        self.hash_trees = Rare::default();
        self.save_metadata(session, self.identity.infohashes(), bytes);
        if self.metadata_only && self.life.phase() == Phase::Metadata {
            self.metadata_done(session);
        }
    }

    // What waits.

    /// Leaves those pieces out of a check that have no hash yet.
    pub(super) fn check_without_hashes(&mut self, check: &mut Bitfield) {
        if self.layers.is_none() {
            return;
        }
        let no_hash = |piece: &PieceIndex| self.piece_hash(*piece).is_none();
        let pieces: Vec<PieceIndex> = check.iter().filter(no_hash).collect();
        for piece in pieces {
            check.clear(piece);
            if let Some(content) = &self.content {
                self.files.claims.count(content, piece, None);
            }
            self.unchecked.pieces.insert(piece);
        }
    }

    /// The hash of a piece is known: it may be fetched, if it is not on disk.
    fn hash_learnt(&mut self, piece: PieceIndex) {
        if self.unchecked.pieces.remove(&piece) {
            self.unchecked.ready.push_back(piece);
        } else {
            self.download.picker.let_go(piece);
        }
    }

    /// Hashes pieces whose hashes came late.
    pub(super) fn check_late(&mut self, session: &mut Session) {
        while self.life.is_running()
            && self.unchecked.running < LATE_CHECKS
            && let Some(piece) = self.unchecked.ready.pop_front()
        {
            self.unchecked.running += 1;
            self.verify_piece(session, piece, TorrentOp::CheckLate(piece));
        }
    }

    /// A piece whose hash came late was hashed, or is not there.
    pub(super) fn piece_checked_late(
        &mut self,
        session: &mut Session,
        piece: PieceIndex,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        self.unchecked.running = self.unchecked.running.saturating_sub(1);
        if !self.life.is_running() {
            return;
        }
        self.download.picker.let_go(piece);
        if let Some(content) = &self.content {
            self.files.claims.count_late(content, piece, result.as_ref().ok());
        }
        if matches!(result, Ok(DiskDone::Done | DiskDone::Zeros { is_right: true })) {
            self.piece_passed(session, piece);
        } else {
            self.fill_pipelines(session, None);
        }
        self.check_late(session);
        self.decide_late(session);
    }
}

/// What a piece must hash to, given the layers that are being fetched, as far as that is known.
fn expected_hash(
    metainfo: &Metainfo,
    layers: Option<&LayerFetch<PeerSlot>>,
    piece: PieceIndex,
) -> Option<PieceHash> {
    let node = layers.and_then(|fetch| fetch.piece_hash(metainfo, piece));
    metainfo.expected_hash_with(piece, node)
}
