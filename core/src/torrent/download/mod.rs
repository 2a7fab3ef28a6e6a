//! The download of a torrent: which blocks to request of which source, what becomes of blocks and
//! pieces that arrive, and which source sent a wrong one.
//!
//! A [`Source`] is anything that gives blocks: a peer on the wire, a file of another torrent. What a
//! source has and owes us is its [`SourceState`], which its owner keeps and passes in. The machine
//! knows neither connections nor files: it says which requests to cancel, which pieces to verify and
//! write, which leaf hashes to request and which addresses to ban; the torrent does it.
//!
//! Every block is requested, received and released at one place here, so that the [`Picker`], the
//! pipelines and [`LateBlocks`] never disagree.

mod assembly;
mod late_blocks;
pub(super) mod leaf_hashes;
mod local_source;
mod smart_ban;
mod source;
mod suspect_pieces;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::bitfield::Bitfield;
use crate::peer::pipeline::{Overdue, Standing};
use crate::picker::{Pace, PeerKey, PickHints, Picker, Received};
use crate::piece::{Block, PieceIndex, Sha256Hash};
use crate::piece_hash::PieceRoot;
use crate::time::Instant;
use crate::torrent::download::assembly::{Assembly, EarlyRun};
use crate::torrent::download::late_blocks::LateBlocks;
use crate::torrent::download::leaf_hashes::LeafHashes;
use crate::torrent::download::smart_ban::SmartBan;
use crate::torrent::download::suspect_pieces::SuspectPieces;
use crate::torrent::rare::Rare;
use crate::wire::{BlockData, HashRequest};

pub(super) use local_source::{LocalFile, LocalSource};
pub(super) use source::{Source, SourceState};

/// Requests outstanding at one source up to which it joins the end game (chosen).
const END_GAME_REQUESTS: usize = 8;
/// Requests outstanding at a source that wastes what others would not (chosen).
const WASTEFUL_REQUESTS: usize = 1;
/// A source that sends less than this part of the torrent's rate is slow (chosen).
const SLOW_PART: u64 = 32;
/// A source that sends at least this part of it is fast (chosen).
const FAST_PART: u64 = 4;

/// The download of one torrent.
#[derive(Debug)]
pub(super) struct Download {
    pub(super) picker: Picker,
    assembly: Assembly,
    smart_ban: Rare<SmartBan<SocketAddr>>,
    /// Failed pieces whose blocks are held until leaf hashes show which are wrong.
    suspects: SuspectPieces,
    leaf_hashes: LeafHashes,
    late: LateBlocks,
    /// Sources that could be asked for more than there was to pick.
    underfilled: BTreeSet<Source>,
    /// What is read from files of other torrents.
    pub(super) local: Rare<LocalSource>,
}

/// What bounds the requests to one source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Most requests outstanding under the rate limits.
    pub(super) limit: usize,
    /// Whether the source wastes what others would send without waste.
    pub(super) is_wasteful: bool,
}

/// What a block that arrived is good for.
#[derive(Debug)]
pub(super) enum Arrival {
    /// It was not requested of this source.
    Unrequested,
    /// It was requested, and is here already or no longer wanted.
    Redundant,
    /// It was missing.
    Kept(Kept),
}

/// A block that was missing is held now.
#[derive(Debug)]
pub(super) struct Kept {
    /// Bytes that are held in memory since.
    pub(super) added: usize,
    /// Whether the piece is complete: verify and write it.
    pub(super) completes_piece: bool,
    also_requested_of: SmallVec<[PeerKey; 2]>,
    late: SmallVec<[Source; 2]>,
}

impl Kept {
    /// The other sources of which the block was requested: these requests are to be
    /// [cancelled](Download::cancel).
    pub(super) fn cancel(&self) -> impl Iterator<Item = Source> + '_ {
        self.also_requested_of.iter().map(|key| Source::of(*key)).chain(self.late.iter().copied())
    }
}

/// A piece is verified and written.
#[derive(Debug)]
pub(super) struct Passed {
    /// Senders of wrong blocks of earlier attempts, now proven.
    pub(super) liars: Vec<SocketAddr>,
    /// Bytes that are no longer held in memory.
    pub(super) freed: usize,
}

/// A piece failed its hash.
#[derive(Debug)]
pub(super) struct Failed {
    /// The source that sent all of it.
    pub(super) liar: Option<SocketAddr>,
    digests: Vec<Sha256Hash>,
}

/// Which leaf hashes to request for a failed piece, and whether its blocks are held meanwhile.
#[derive(Debug, Default)]
pub(super) struct Suspected {
    pub(super) ask: Vec<(Source, HashRequest)>,
    pub(super) is_held: bool,
}

/// Blocks of a suspect piece were dropped, to be fetched again.
#[derive(Debug)]
pub(super) struct Resolved {
    /// Bytes that were received in vain.
    pub(super) failed_bytes: u64,
    /// Bytes that are no longer held in memory.
    pub(super) freed: usize,
    /// Whether the piece starts anew, with all of its blocks.
    pub(super) starts_anew: bool,
}

impl Download {
    /// Nothing was received yet.
    pub(super) fn new(picker: Picker) -> Self {
        Download {
            picker,
            assembly: Assembly::default(),
            smart_ban: Rare::default(),
            suspects: SuspectPieces::default(),
            leaf_hashes: LeafHashes::default(),
            late: LateBlocks::default(),
            underfilled: BTreeSet::new(),
            local: Rare::default(),
        }
    }

    // Sources come, change and go.

    /// A source takes part: what it has counts.
    pub(super) fn source_here(&mut self, state: &SourceState) {
        self.picker.add_peer_bitfield(&state.has);
    }

    /// A source is gone; `is_counted` unless it left before it [took part](Self::source_here). Whether
    /// blocks are free for others.
    pub(super) fn source_gone(
        &mut self,
        source: Source,
        state: &mut SourceState,
        is_counted: bool,
    ) -> bool {
        self.underfilled.remove(&source);
        let released = self.end_requests(source, state);
        if state.counted_as_seed {
            self.picker.remove_seed();
        } else if is_counted {
            self.picker.remove_peer_bitfield(&state.has);
        }
        let left_a_piece = self.picker.peer_gone(source.key());
        released || left_a_piece
    }

    /// A source has these pieces. Whether blocks are free for others.
    pub(super) fn has_pieces(
        &mut self,
        source: Source,
        state: &mut SourceState,
        field: Bitfield,
    ) -> bool {
        state.told_pieces = true;
        if std::mem::replace(&mut state.counted_as_seed, field.is_all()) {
            self.picker.remove_seed();
        } else {
            self.picker.remove_peer_bitfield(&state.has);
        }
        match state.counted_as_seed {
            true => self.picker.add_seed(),
            false => self.picker.add_peer_bitfield(&field),
        }
        state.interesting = self.picker.interesting_count(&field);
        state.has = field;
        self.underfilled.insert(source);
        self.cancel_unsent(source, state, |state, piece| state.has.has(piece))
    }

    /// A source has one more piece; whether that is news.
    pub(super) fn has_piece(
        &mut self,
        source: Source,
        state: &mut SourceState,
        piece: PieceIndex,
    ) -> bool {
        state.told_pieces = true;
        if !state.has.set(piece) {
            return false;
        }
        self.picker.peer_has(piece);
        if self.picker.is_interesting(piece) {
            state.interesting += 1;
            self.underfilled.insert(source);
        }
        true
    }

    /// A source no longer has a piece, which it had. Whether blocks are free for others.
    ///
    /// `answers_all`: it answers each request (BEP 6); without that those for the piece are void, "just
    /// like when receiving a Choke message" (BEP 54).
    pub(super) fn lost_piece(
        &mut self,
        source: Source,
        state: &mut SourceState,
        piece: PieceIndex,
        answers_all: bool,
    ) -> bool {
        if std::mem::take(&mut state.counted_as_seed) {
            self.picker.remove_seed();
            self.picker.add_peer_bitfield(&state.has);
        }
        state.has.clear(piece);
        state.allowed_to_us.retain(|allowed| *allowed != piece);
        state.suggested.retain(|suggested| *suggested != piece);
        self.picker.peer_lost(piece);
        if self.picker.is_interesting(piece) {
            state.interesting = state.interesting.saturating_sub(1);
        }
        let mut free = self.cancel_unsent(source, state, |state, piece| state.has.has(piece));
        if !answers_all {
            for block in state.pipeline.blocks_of(piece) {
                if state.pipeline.cancelled(block, false).is_some() {
                    self.late.remove(block, source);
                    self.picker.release(source.key(), block);
                    free = true;
                }
            }
        }
        let left_a_piece = self.picker.peer_gone(source.key());
        free || left_a_piece
    }

    /// Which pieces are wanted has changed: counts what a source has of them.
    pub(super) fn recount(&mut self, source: Source, state: &mut SourceState) {
        state.interesting = self.picker.interesting_count(&state.has);
        self.underfilled.insert(source);
    }

    /// A source serves no requests for now, but those for pieces that it allows. Whether blocks are
    /// free for others.
    ///
    /// Without the fast extension that drops all requests (BEP 3); with it each is answered (BEP 6).
    pub(super) fn choked(
        &mut self,
        source: Source,
        state: &mut SourceState,
        answers_all: bool,
    ) -> bool {
        state.peer_choking = true;
        let mut free = self.picker.peer_gone(source.key());
        let stands =
            |state: &SourceState, piece| answers_all && state.allowed_to_us.contains(&piece);
        free |= self.cancel_unsent(source, state, stands);
        if !answers_all {
            free |= self.end_requests(source, state);
        }
        free
    }

    /// A source serves requests from now on.
    pub(super) fn unchoked(&mut self, source: Source, state: &mut SourceState) {
        state.peer_choking = false;
        self.underfilled.insert(source);
    }

    // Requests.

    /// Requests as many blocks of a source as its pipeline has room for; how many. `torrent_rate` is
    /// asked for the rate of the whole torrent, in bytes per second.
    pub(super) fn want(
        &mut self,
        now: Instant,
        source: Source,
        state: &mut SourceState,
        terms: Terms,
        torrent_rate: impl FnOnce() -> u64,
    ) -> usize {
        if !state.can_request() {
            self.underfilled.remove(&source);
            return 0;
        }
        let mut limit = terms.limit;
        // In the end game an idle source gets a few requests for blocks that others owe us, no more:
        // what crosses a cancel is sent for nothing.
        if self.picker.is_end_game() {
            limit = limit.min(END_GAME_REQUESTS);
        }
        if terms.is_wasteful {
            limit = limit.min(WASTEFUL_REQUESTS);
        }
        let want = state.pipeline.want(now).min(limit.saturating_sub(state.pipeline.len()));
        if want == 0 {
            return 0;
        }
        let torrent_rate = torrent_rate();
        let hints = PickHints {
            pace: match terms.is_wasteful {
                true => Pace::Slow,
                false => pace(state.pipeline.rate_bytes_per_s(now), torrent_rate),
            },
            allowed: state.peer_choking.then_some(state.allowed_to_us.as_slice()),
            suggested: &state.suggested,
        };
        let mut picked = Vec::with_capacity(want);
        let mut given_up = Vec::new();
        let mut sent = 0;
        loop {
            self.picker.pick(source.key(), &state.has, want - sent, hints, &mut picked);
            let last_round = picked.is_empty() || !state.pipeline.has_given_up();
            for block in picked.drain(..) {
                // What the source is late with is not requested of it twice.
                if !last_round && state.pipeline.contains(block) {
                    given_up.push(block);
                    continue;
                }
                state.pipeline.queued(block, now);
                state.asking.push(block);
                sent += 1;
            }
            if last_round || sent == want {
                break;
            }
        }
        for block in given_up {
            if sent > 0 {
                self.picker.put_back(source.key(), block);
            } else {
                self.picker.release(source.key(), block);
            }
        }
        if sent < want {
            self.underfilled.insert(source);
        } else {
            self.underfilled.remove(&source);
        }
        sent
    }

    /// The sources of which more may be requested as soon as there is something to pick, but for `but`.
    pub(super) fn underfilled(&self, but: Option<Source>) -> Vec<Source> {
        self.underfilled.iter().copied().filter(|source| Some(*source) != but).collect()
    }

    /// Everything wanted is here: nothing is requested any more.
    pub(super) fn finished(&mut self) {
        self.underfilled.clear();
    }

    /// A source will not serve a request; whether its block is free for others.
    pub(super) fn rejected(
        &mut self,
        source: Source,
        state: &mut SourceState,
        block: Block,
    ) -> bool {
        let standing = state.pipeline.rejected(block);
        state.request_ended(block);
        state.allowed_to_us.retain(|piece| *piece != block.piece);
        if standing != Some(Standing::Awaited) {
            self.late.remove(block, source);
            return false;
        }
        self.picker.release(source.key(), block);
        self.underfilled.insert(source);
        true
    }

    /// Gives up requests that a source is too late with. Whether blocks are free for others.
    ///
    /// `is_reading`: whether we read what it sends; while we do not, it may be waiting in the kernel
    /// because of us.
    pub(super) fn overdue(
        &mut self,
        now: Instant,
        source: Source,
        state: &mut SourceState,
        is_reading: bool,
    ) -> bool {
        state.pipeline.set_reading(is_reading, now);
        let mut free = false;
        while let Some(overdue) = state.pipeline.pop_overdue(now) {
            match overdue {
                Overdue::Late(block) => {
                    self.picker.release(source.key(), block);
                    self.late.add(block, source);
                    free = true;
                }
                Overdue::Forgotten(block) => self.late.remove(block, source),
            }
        }
        if free {
            self.underfilled.insert(source);
        }
        free
    }

    /// A block has come from another source: ends the request for it. Whether the source has heard of
    /// the request, and so is to be told.
    pub(super) fn cancel(
        &mut self,
        source: Source,
        state: &mut SourceState,
        block: Block,
        answers_all: bool,
    ) -> bool {
        if state.unask(block) {
            state.pipeline.cancelled(block, false);
            self.underfilled.insert(source);
            return false;
        }
        let was_sent = state.pipeline.cancelled(block, answers_all).is_some();
        if was_sent {
            self.underfilled.insert(source);
        }
        was_sent
    }

    /// Takes back the requests that a source never heard of, and so will not answer, but for those for
    /// pieces for which they stand. Whether blocks are free for others.
    fn cancel_unsent(
        &mut self,
        source: Source,
        state: &mut SourceState,
        stands: impl Fn(&SourceState, PieceIndex) -> bool,
    ) -> bool {
        let mut free = false;
        for block in std::mem::take(&mut state.asking) {
            if stands(state, block.piece) {
                state.asking.push(block);
            } else if let Some(standing) = state.pipeline.rejected(block) {
                free |= self.give_back(source, block, standing);
            }
        }
        free
    }

    /// Ends all requests to a source. Whether blocks are free for others.
    fn end_requests(&mut self, source: Source, state: &mut SourceState) -> bool {
        let ended = state.pipeline.clear();
        ended.fold(false, |free, (block, standing)| self.give_back(source, block, standing) | free)
    }

    /// A request will not be answered; whether it was awaited, so that its block is free for others.
    fn give_back(&mut self, source: Source, block: Block, standing: Standing) -> bool {
        match standing {
            Standing::Awaited => self.picker.release(source.key(), block),
            Standing::Late => self.late.remove(block, source),
            Standing::Cancelled => {}
        }
        standing == Standing::Awaited
    }

    // Blocks.

    /// A block has come from a source, of which `counted` bytes are content; `sender` is blamed if it
    /// is wrong.
    pub(super) fn block(
        &mut self,
        now: Instant,
        source: Source,
        sender: SocketAddr,
        state: &mut SourceState,
        (block, counted): (Block, u64),
        data: BlockData,
    ) -> Arrival {
        let standing = state.pipeline.received(block, now);
        state.request_ended(block);
        if standing == Some(Standing::Late) {
            self.late.remove(block, source);
        }
        if standing.is_none() {
            state.unasked_bytes += u64::from(block.length);
            return Arrival::Unrequested;
        }
        state.down.add(now, counted);
        state.downloaded += counted;
        self.keep(source, Some(sender), block, data).map_or(Arrival::Redundant, Arrival::Kept)
    }

    /// Keeps a block, if it was missing.
    pub(super) fn keep(
        &mut self,
        source: Source,
        sender: Option<SocketAddr>,
        block: Block,
        data: BlockData,
    ) -> Option<Kept> {
        let received = self.picker.received(source.key(), block);
        let Received::Accepted { piece_complete, also_requested_by } = received else {
            return None;
        };
        if let Some(sender) = sender {
            let smart_ban = self.smart_ban.make();
            smart_ban.received(block.piece, block.number(), sender);
            if piece_complete {
                // Blocks of padding alone are nobody's, and no reason to doubt who sent the rest.
                let padding = self.picker.geometry().padding_blocks(block.piece);
                padding.for_each(|number| smart_ban.received(block.piece, number, sender));
            }
        }
        let held = self.assembly.held_bytes();
        self.assembly.insert(self.picker.geometry(), block, data);
        Some(Kept {
            added: self.assembly.held_bytes() - held,
            completes_piece: piece_complete,
            also_requested_of: also_requested_by,
            late: self.late.take(block),
        })
    }

    // Pieces on their way to disk.

    /// Bytes of blocks held in memory.
    pub(super) fn held_bytes(&self) -> usize {
        self.assembly.held_bytes()
    }

    /// The bytes of a complete piece.
    pub(super) fn bytes_of(&self, piece: PieceIndex) -> Vec<Bytes> {
        self.assembly.bytes_of(self.picker.geometry(), piece)
    }

    /// Memory is short: the piece that holds most, to be written before it is complete.
    ///
    /// A piece that failed is checked in memory the next time, one at a time: what comes back from a
    /// disk is no proof against a source.
    pub(super) fn largest_piece(&self) -> Option<PieceIndex> {
        let kept = self.assembly.first(|piece| self.picker.has_failed(piece));
        self.assembly.largest(kept)
    }

    /// Takes the held blocks of a piece out, to be written; and how many bytes that frees.
    pub(super) fn take_early(&mut self, piece: PieceIndex) -> (Vec<EarlyRun>, usize) {
        let held = self.assembly.held_bytes();
        let runs = self.assembly.take_for_early_write(self.picker.geometry(), piece);
        (runs, held - self.assembly.held_bytes())
    }

    /// Whether a part of a piece went to disk before it was complete.
    pub(super) fn was_written_early(&self, piece: PieceIndex) -> bool {
        self.assembly.was_written_early(piece)
    }

    /// Whether all of a piece went to disk before it could be verified: hash it there.
    pub(super) fn is_to_be_hashed(&self, piece: PieceIndex) -> bool {
        self.assembly.is_settled(piece) && self.assembly.was_written_early(piece)
    }

    /// An early write is done; whether it was one of the present attempt at the piece.
    pub(super) fn early_write_done(&mut self, piece: PieceIndex, attempt: u32) -> bool {
        self.assembly.early_write_done(piece, attempt)
    }

    // Verdicts.

    /// A piece has its hash and is on disk. `None` if that was known: a write that was tried again
    /// while the first was still under way.
    pub(super) fn passed(&mut self, piece: PieceIndex) -> Option<Passed> {
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
    pub(super) fn forget(&mut self, piece: PieceIndex) -> usize {
        let freed = self.drop_blocks(piece);
        if let Some(ban) = self.smart_ban.get_mut() {
            ban.abandoned(piece);
        }
        self.picker.piece_failed(piece);
        freed
    }

    /// Forgets who sent what: from now on only what is received counts.
    pub(super) fn forget_senders(&mut self) {
        self.smart_ban = Rare::default();
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
    pub(super) fn suspect(
        &mut self,
        now: Instant,
        piece: PieceIndex,
        failed: Failed,
        fits_in_memory: bool,
        (requests, sources): (Vec<HashRequest>, &[Source]),
    ) -> Suspected {
        // Blocks that were written early are not here.
        let blocks = self.picker.geometry().blocks_of(piece);
        let may_hold = failed.digests.len() == blocks as usize && fits_in_memory;
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
            self.suspects.add(now, piece, failed.digests);
        }
        Suspected { ask, is_held: all_asked && may_hold }
    }

    /// A source answers a request for leaf hashes, or rejects it: the pieces that it was for, if it was
    /// requested of this source.
    pub(super) fn leaves_answered(
        &mut self,
        source: Source,
        request: &HashRequest,
    ) -> Option<SmallVec<[PieceIndex; 1]>> {
        self.leaf_hashes.answered(source, request)
    }

    /// A source will answer no request for leaf hashes any more.
    pub(super) fn leaf_source_gone(&mut self, source: Source) {
        self.leaf_hashes.source_gone(source);
    }

    /// Leaf hashes of a piece are proven, from that of the file's block `index` on: the senders of
    /// blocks that differ.
    pub(super) fn judge(
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

    /// The suspect pieces whose blocks need be held no longer: they are to be
    /// [resolved](Self::resolve).
    pub(super) fn resolved(&self, now: Instant) -> Vec<PieceIndex> {
        let unanswerable = self.suspects.iter().filter(|piece| !self.leaf_hashes.awaits(*piece));
        self.suspects.resolved(now).chain(unanswerable).collect()
    }

    /// When the blocks of a suspect piece have been held for too long.
    pub(super) fn resolve_at(&self) -> Option<Instant> {
        self.suspects.due_at()
    }

    /// A suspect piece, to be given up for want of memory.
    pub(super) fn first_suspect(&self) -> Option<PieceIndex> {
        self.suspects.iter().next()
    }

    /// Drops those blocks of a suspect piece that are not known to be right; they are fetched again.
    /// `None` if the piece is no suspect.
    pub(super) fn resolve(&mut self, piece: PieceIndex) -> Option<Resolved> {
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

/// A source's pace: what it would take to send the torrent's whole rate alone.
fn pace(source_bytes_per_s: u64, torrent_bytes_per_s: u64) -> Pace {
    if source_bytes_per_s == 0 {
        Pace::Medium
    } else if source_bytes_per_s.saturating_mul(SLOW_PART) < torrent_bytes_per_s {
        Pace::Slow
    } else if source_bytes_per_s.saturating_mul(FAST_PART) >= torrent_bytes_per_s {
        Pace::Fast
    } else {
        Pace::Medium
    }
}
