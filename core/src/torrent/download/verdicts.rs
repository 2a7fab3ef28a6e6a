//! Pieces on their way to disk, whether they have their hash, and which source sent a wrong block.

use std::net::SocketAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::bitfield::Bitfield;
use crate::piece::{Block, PieceIndex, Sha256Hash};
use crate::piece_hash::PieceRoot;
use crate::time::Instant;
use crate::torrent::download::{Download, Source, leaf_hashes, smart_ban};
use crate::torrent::lazy::Lazy;
use crate::torrent::step::{PieceStep, Step};
use crate::wire::HashRequest;

/// A piece is verified and written.
#[derive(Debug)]
pub(in crate::torrent) struct Passed {
    /// Senders of wrong blocks of earlier attempts, now proven.
    pub(in crate::torrent) liars: Vec<SocketAddr>,
    /// Bytes that are no longer held in memory.
    pub(in crate::torrent) freed: usize,
}

/// A piece failed its hash.
#[derive(Debug)]
pub(super) struct Failed {
    /// The source that sent all of it.
    pub(super) liar: Option<SocketAddr>,
    /// What its blocks hash to; none if a part of it was written early.
    pub(super) digests: Vec<Sha256Hash>,
}

/// Which leaf hashes to request for a failed piece, and whether its blocks are held meanwhile.
#[derive(Debug, Default)]
pub(in crate::torrent) struct Suspected {
    pub(in crate::torrent) ask: Vec<(Source, HashRequest)>,
    pub(in crate::torrent) is_held: bool,
}

/// Blocks of a suspect piece were dropped, to be fetched again.
#[derive(Debug)]
pub(in crate::torrent) struct Resolved {
    /// Bytes that were received in vain.
    pub(in crate::torrent) failed_bytes: u64,
    /// Bytes that are no longer held in memory.
    pub(in crate::torrent) freed: usize,
    /// Whether the piece starts anew, with all of its blocks.
    pub(in crate::torrent) starts_anew: bool,
}

impl Download {
    // Pieces on their way to disk.

    /// Bytes of blocks held in memory.
    pub(in crate::torrent) fn held_bytes(&self) -> usize {
        self.assembly.held_bytes()
    }

    /// The bytes of a complete piece.
    pub(in crate::torrent) fn bytes_of(&self, piece: PieceIndex) -> Vec<Bytes> {
        self.assembly.bytes_of(self.picker.geometry(), piece)
    }

    // What is on disk.

    /// These pieces are here and no others, as the check begins.
    pub(in crate::torrent) fn set_have(&mut self, have: &Bitfield) {
        let lost: Vec<PieceIndex> =
            self.picker.have().iter().filter(|piece| !have.has(*piece)).collect();
        lost.into_iter().for_each(|piece| self.picker.unmark_have(piece));
        self.mark_have(have.iter());
    }

    /// These pieces are found to be here.
    pub(in crate::torrent) fn mark_have(&mut self, pieces: impl IntoIterator<Item = PieceIndex>) {
        pieces.into_iter().for_each(|piece| self.picker.mark_have(piece));
    }

    // Verdicts.

    /// A piece has its hash and is on disk. `None` if that was known: a write that was tried again
    /// while the first was still under way.
    pub(in crate::torrent) fn passed(&mut self, piece: PieceIndex) -> Option<Passed> {
        if self.picker.have().has(piece) {
            return None;
        }
        let blocks = self.assembly.blocks_of(piece);
        let blocks = blocks.map(|data| data.chunks().iter().map(AsRef::as_ref));
        let liars = self.smart_ban.make().passed(piece, blocks);
        let freed = self.drop_blocks(piece);
        self.picker.piece_passed(piece);
        Some(Passed { liars, freed })
    }

    /// A piece does not have its hash. [`suspect`](Self::suspect) or [`forget`](Self::forget) follows.
    pub(super) fn failed(&mut self, piece: PieceIndex) -> Failed {
        let blocks = self.assembly.blocks_of(piece);
        let digests: Vec<Sha256Hash> =
            blocks.map(|data| smart_ban::digest(data.chunks().iter().map(AsRef::as_ref))).collect();
        Failed { liar: self.smart_ban.make().failed(piece, &digests), digests }
    }

    /// Starts a piece anew; how many bytes that frees.
    pub(in crate::torrent) fn forget(&mut self, piece: PieceIndex) -> usize {
        let freed = self.drop_blocks(piece);
        if let Some(ban) = self.smart_ban.get_mut() {
            ban.abandoned(piece);
        }
        self.picker.piece_failed(piece);
        freed
    }

    /// Forgets who sent what: from now on only what is received counts.
    pub(in crate::torrent) fn forget_senders(&mut self) {
        self.smart_ban = Lazy::default();
    }

    fn drop_blocks(&mut self, piece: PieceIndex) -> usize {
        let held = self.assembly.held_bytes();
        self.assembly.remove(piece);
        held - self.assembly.held_bytes()
    }

    // Suspect pieces.

    /// Requests the leaf hashes of a failed piece of `sources`, and holds its blocks meanwhile if all of
    /// them are here and fit in memory. Where the blocks cannot be held, the leaf hashes are requested
    /// only to find out who sent a wrong one.
    pub(in crate::torrent) fn suspect(
        &mut self,
        now: Instant,
        piece: PieceIndex,
        digests: Vec<Sha256Hash>,
        fits_in_memory: bool,
        (requests, sources): (Vec<HashRequest>, &[Source]),
    ) -> Suspected {
        // Blocks that were written early are not here.
        let blocks = self.picker.geometry().blocks_of(piece);
        let may_hold = digests.len() == blocks as usize && fits_in_memory;
        let ban = self.smart_ban.get();
        let has_failed = |piece| ban.is_some_and(|ban| ban.has_failed(piece));
        // Whose fault it is may be known already.
        if !may_hold && !has_failed(piece) {
            return Suspected::default();
        }
        let suspects = &self.suspects;
        let is_open = |piece| has_failed(piece) || suspects.contains(piece);
        let mut ask = Vec::new();
        let all_asked = self.leaf_hashes.request(piece, requests, sources, is_open, &mut ask);
        if all_asked && may_hold {
            self.suspects.add(now, piece, digests);
        }
        Suspected { ask, is_held: all_asked && may_hold }
    }

    /// A source answers a request for leaf hashes, or rejects it: the pieces that it was for, if it was
    /// requested of this source.
    pub(in crate::torrent) fn leaves_answered(
        &mut self,
        source: Source,
        request: &HashRequest,
    ) -> Option<SmallVec<[PieceIndex; 1]>> {
        self.leaf_hashes.answered(source, request)
    }

    /// A source will answer no request for leaf hashes any more.
    pub(in crate::torrent) fn leaf_source_gone(&mut self, source: Source) {
        self.leaf_hashes.source_gone(source);
    }

    /// Leaf hashes of a piece are proven, from that of the file's block `index` on: the senders of
    /// blocks that differ.
    pub(in crate::torrent) fn judge(
        &mut self,
        piece: PieceIndex,
        root: &PieceRoot,
        index: u32,
        leaves: &[Sha256Hash],
    ) -> Vec<SocketAddr> {
        let (first, judged) = leaf_hashes::of_piece(root, index, leaves);
        self.suspects.judge(piece, first, judged);
        self.smart_ban.make().judged(piece, first, judged)
    }

    /// Goes on with the suspect pieces whose blocks need be held no longer.
    pub(in crate::torrent) fn resolve_due(&self, now: Instant) -> Vec<Step> {
        let unanswerable = self.suspects.iter().filter(|piece| !self.leaf_hashes.awaits(*piece));
        let due = self.suspects.resolved(now).chain(unanswerable);
        let mut steps: Vec<Step> =
            due.map(|piece| Step::Piece(piece, PieceStep::Resolve)).collect();
        if !steps.is_empty() {
            steps.push(Step::Fill);
        }
        steps
    }

    /// When the blocks of a suspect piece have been held for too long.
    pub(in crate::torrent) fn resolve_at(&self) -> Option<Instant> {
        self.suspects.due_at()
    }

    /// Drops those blocks of a suspect piece that are not known to be right; they are fetched again.
    /// `None` if the piece is no suspect.
    pub(in crate::torrent) fn resolve(&mut self, piece: PieceIndex) -> Option<Resolved> {
        let again = self.suspects.resolve(piece)?;
        let geometry = self.picker.geometry();
        // That none is wrong is said of a hybrid whose hashes of v1 and v2 contradict each other.
        if again.is_empty() || again.len() == geometry.blocks_of(piece) as usize {
            let failed_bytes = u64::from(geometry.data_len_of(piece));
            let freed = self.forget(piece);
            return Some(Resolved { failed_bytes, freed, starts_anew: true });
        }
        let blocks: Vec<Block> =
            again.iter().map(|number| geometry.block(piece, *number)).collect();
        let failed_bytes = blocks.iter().map(|block| u64::from(block.length)).sum();
        let held = self.assembly.held_bytes();
        self.assembly.drop_blocks(piece, &again);
        let freed = held - self.assembly.held_bytes();
        self.picker.blocks_failed(piece, &blocks);
        Some(Resolved { failed_bytes, freed, starts_anew: false })
    }
}
