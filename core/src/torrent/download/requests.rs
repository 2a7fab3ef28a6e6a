//! Sources come, change and go; which blocks are requested of them, and which requests end without a
//! block.

use crate::bitfield::Bitfield;
use crate::peer::pipeline::{Overdue, Standing};
use crate::picker::{Pace, PickHints};
use crate::piece::{BLOCK_LEN, Block, PieceIndex};
use crate::time::Instant;
use crate::torrent::download::{Download, Source, SourceState};

/// Seconds of a rate limit's worth that may be requested ahead (chosen: keeps the kernel's buffers
/// from holding more than the limit lets through soon).
const REQUEST_AHEAD_S: u64 = 3;
/// Requests outstanding at one source up to which it joins the end game (chosen).
const END_GAME_REQUESTS: usize = 8;
/// Requests outstanding at a source that wastes what others would not (chosen).
const WASTEFUL_REQUESTS: usize = 1;
/// A source that sends less than this part of the torrent's rate is slow (chosen).
const SLOW_PART: u64 = 32;
/// A source that sends at least this part of it is fast (chosen).
const FAST_PART: u64 = 4;

/// What bounds the requests to one source.
#[derive(Clone, Copy, Debug)]
pub(in crate::torrent) struct Terms {
    /// Most requests outstanding under the rate limits.
    pub(in crate::torrent) limit: usize,
    /// Whether the source wastes what others would send without waste.
    pub(in crate::torrent) is_wasteful: bool,
}

/// The rate limit in force, in bytes per second, and how many sources share it.
#[derive(Clone, Copy, Debug)]
pub(in crate::torrent) struct Share {
    pub(in crate::torrent) limit: Option<u64>,
    pub(in crate::torrent) of: usize,
}

impl Terms {
    /// For a source that has a share of what the rate limit allows; `is_wasteful` if it wastes what
    /// others would not.
    pub(in crate::torrent) fn new(share: Share, is_wasteful: bool) -> Self {
        let limit = share.limit.map_or(usize::MAX, |limit| {
            let blocks = limit.saturating_mul(REQUEST_AHEAD_S) / u64::from(BLOCK_LEN);
            usize::try_from(blocks / share.of.max(1) as u64).unwrap_or(usize::MAX).max(1)
        });
        Terms { limit, is_wasteful }
    }
}

impl Download {
    // Sources come, change and go.

    /// A source takes part: what it has counts.
    pub(in crate::torrent) fn source_here(&mut self, state: &SourceState) {
        self.picker.add_peer_bitfield(&state.has);
    }

    /// A source is gone; `is_counted` unless it left before it [took part](Self::source_here). Whether
    /// blocks are free for others.
    pub(in crate::torrent) fn source_gone(
        &mut self,
        source: Source,
        state: &mut SourceState,
        is_counted: bool,
    ) -> bool {
        self.underfilled.forget(source);
        let released = self.end_requests(source, state);
        if state.counted_as_seed {
            self.picker.remove_seed(&state.has);
        } else if is_counted {
            self.picker.remove_peer_bitfield(&state.has);
        }
        let left_a_piece = self.picker.peer_gone(source.key());
        self.picker.forget_peer(source.key());
        released || left_a_piece
    }

    /// A source has these pieces. Whether blocks are free for others.
    pub(in crate::torrent) fn has_pieces(
        &mut self,
        source: Source,
        state: &mut SourceState,
        field: Bitfield,
    ) -> bool {
        state.has_announced = true;
        if std::mem::replace(&mut state.counted_as_seed, field.is_all()) {
            self.picker.remove_seed(&state.has);
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
    pub(in crate::torrent) fn has_piece(
        &mut self,
        source: Source,
        state: &mut SourceState,
        piece: PieceIndex,
    ) -> bool {
        state.has_announced = true;
        if !state.has.set(piece) {
            return false;
        }
        match state.counted_as_seed {
            true => self.picker.seed_has(piece),
            false => self.picker.peer_has(piece),
        }
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
    pub(in crate::torrent) fn lost_piece(
        &mut self,
        source: Source,
        state: &mut SourceState,
        piece: PieceIndex,
        answers_all: bool,
    ) -> bool {
        state.has.clear(piece);
        state.allowed_to_us.retain(|allowed| *allowed != piece);
        state.suggested.retain(|suggested| *suggested != piece);
        match state.counted_as_seed {
            true => self.picker.seed_lost(piece),
            false => self.picker.peer_lost(piece),
        }
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
    pub(in crate::torrent) fn recount(&mut self, source: Source, state: &mut SourceState) {
        state.interesting = self.picker.interesting_count(&state.has);
        self.underfilled.insert(source);
    }

    /// A source serves no requests for now, but those for pieces that it allows. Whether blocks are
    /// free for others.
    ///
    /// Without the fast extension that drops all requests (BEP 3); with it each is answered (BEP 6).
    pub(in crate::torrent) fn choked(
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
    pub(in crate::torrent) fn unchoked(&mut self, source: Source, state: &mut SourceState) {
        state.peer_choking = false;
        self.underfilled.insert(source);
    }

    // Requests.

    /// Requests as many blocks of a source as its pipeline has room for; how many. `torrent_rate` is
    /// asked for the rate of the whole torrent, in bytes per second. Requests of others for the same
    /// blocks that are to be [cancelled](Self::cancel) are appended to `yielded`.
    pub(in crate::torrent) fn want(
        &mut self,
        now: Instant,
        source: Source,
        state: &mut SourceState,
        terms: Terms,
        torrent_rate: impl FnOnce() -> u64,
        yielded: &mut Vec<(Source, Block)>,
    ) -> usize {
        if !state.can_request() {
            self.underfilled.remove(source);
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
        limit = limit.min(state.refusals.most_requests(now));
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
            let others =
                self.picker.pick(source.key(), &state.has, want - sent, hints, &mut picked);
            yielded.extend(others.into_iter().map(|(key, block)| (Source::of(key), block)));
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
            self.underfilled.remove(source);
        }
        sent
    }

    /// The sources of which more may be requested as soon as there is something to pick, but for `but`:
    /// who has waited longest comes first.
    pub(in crate::torrent) fn underfilled(&self, but: Option<Source>) -> Vec<Source> {
        let mut sources = self.underfilled.in_turn();
        sources.retain(|source| Some(*source) != but);
        sources
    }

    /// Everything wanted is here: nothing is requested any more.
    pub(in crate::torrent) fn finished(&mut self) {
        self.underfilled.clear();
    }

    /// A source will not serve a request; whether its block is free for others.
    pub(in crate::torrent) fn rejected(
        &mut self,
        now: Instant,
        source: Source,
        state: &mut SourceState,
        block: Block,
    ) -> bool {
        let standing = state.pipeline.rejected(block);
        state.request_ended(block);
        // While it chokes us, rejects are how it says so (BEP 6).
        let let_us = !state.peer_choking || state.allowed_to_us.contains(&block.piece);
        if let_us && standing.is_some_and(|standing| standing != Standing::Cancelled) {
            state.refusals.rejected(now);
            if state.refusals.waits_until(now).is_some() {
                self.picker.peer_refuses(source.key());
            }
        }
        state.allowed_to_us.retain(|piece| *piece != block.piece);
        if standing != Some(Standing::Awaited) {
            self.late.remove(block, source);
            return false;
        }
        self.picker.release(source.key(), block);
        self.underfilled.insert_last(source);
        true
    }

    /// Gives up requests that a source is too late with. Whether blocks are free for others.
    ///
    /// `is_reading`: whether we read what it sends; while we do not, it may be waiting in the kernel
    /// because of us.
    pub(in crate::torrent) fn overdue(
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
        let is_asked_again = state.refusals.most_requests(now) == 1 && state.pipeline.is_empty();
        if free {
            self.underfilled.insert_last(source);
        } else if is_asked_again {
            self.underfilled.insert(source);
        }
        free || is_asked_again
    }

    /// A block has come from another source: ends the request for it. Whether the source has heard of
    /// the request, and so is to be told.
    pub(in crate::torrent) fn cancel(
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
