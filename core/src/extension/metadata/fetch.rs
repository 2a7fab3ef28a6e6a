//! Whom to ask for which piece of the metadata, and whom to believe (BEP 9; defence 17).
//!
//! Pieces are asked of all peers that say they have the metadata, side by side, and put together in
//! an *attempt*. Only the whole can be verified, so an attempt that fails tells a liar only if all
//! of it came from one peer. Else the peers that gave pieces are *suspects* from then on, and each gives
//! all pieces alone, several at once: the honest one ends the fetch, a liar is proved one. Who is
//! late or rejects waits, longer each time, while others are asked; nobody is given up. Of those who owe
//! equally much that one is asked first which has waited longest: a peer that comes anew is behind those that
//! are there (defence 44).
//!
//! Peers that claim different sizes are of different attempts, all of them under way at once: however
//! many claim another size, and however slowly they send, a peer that claims the right one is asked at once
//! (defence 44). A claim costs a few bytes; if what has come of all exceeds `2 * limit` bytes, the
//! attempt that holds most gives way. Invariants: no more than that is held, whatever is claimed; what is
//! complete has the infohash, and both if both are known. A piece is hashed when all before it are
//! here, so the work per piece is bounded by what was received.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use super::{METADATA_PIECE_LEN, piece_len};
use crate::infohashes::{InfoHasher, InfoHashes, Match};
use crate::time::{Duration, Instant};

/// Pieces asked of one peer at once (chosen: 128 KiB a round trip).
const PIPELINE: usize = 8;
/// Peers that a piece is asked of at once, when nothing else is left to ask (chosen).
const MAX_REQUESTERS: usize = 2;
/// A peer that owes pieces and sends none for this long is late (chosen).
const PATIENCE: Duration = Duration::from_secs(5);
/// Wait after a peer was late or rejected a request; doubled each time (chosen).
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// Longest wait (chosen).
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Attempts kept that no peer goes on with, those that came furthest (chosen).
const LEFT_ATTEMPTS: usize = 2;
/// After this many shared attempts that failed everybody is tried alone (chosen).
const SHARED_FAILURES: u32 = 3;

/// The fetch of one torrent's metadata.
#[derive(Debug)]
pub struct MetadataFetch {
    expected: InfoHashes,
    limit: u32,
    sources: BTreeMap<SocketAddr, Source>,
    attempts: Vec<Attempt>,
    shared_failures: u32,
    /// The turn of who is asked, or comes, next.
    next_turn: u64,
}

/// How far a fetch has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct MetadataProgress {
    /// Connected peers that say they have the metadata.
    pub sources: usize,
    /// Those of them that owe us a piece now.
    pub asked: usize,
    /// Bytes received of the attempt that has come furthest.
    pub received_bytes: u32,
    /// Its size in bytes, as peers claim; 0 while nobody does.
    pub size_bytes: u32,
}

/// What a piece that was received is good for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// It was asked for; more are missing.
    Accepted,
    /// It was not asked for.
    Unasked,
    /// The metadata, verified.
    Complete(Bytes),
    /// The metadata has one of the two infohashes and not the other: they are of two torrents, and
    /// nothing will ever have both.
    TwoTorrents,
    /// What was put together is wrong, and this peer is proved to have lied, if it is known who.
    Failed(Option<SocketAddr>),
}

/// A peer that says it has the metadata.
#[derive(Debug)]
struct Source {
    size: u32,
    /// Pieces that it is expected to send.
    asked: Vec<u32>,
    /// Pieces that it was asked for and that are not waited for any more; they may still come.
    late: Vec<u32>,
    /// When it is late, if it owes anything.
    deadline: Instant,
    strikes: u32,
    not_before: Instant,
    suspect: bool,
    /// When it came or was last asked, among the others.
    turn: u64,
}

/// A size, and whose pieces only, if it is a suspect's attempt.
type AttemptKey = (u32, Option<SocketAddr>);

/// Pieces that are put together.
#[derive(Debug)]
struct Attempt {
    size: u32,
    /// Whose pieces only, if it is a suspect's.
    alone: Option<SocketAddr>,
    pieces: BTreeMap<u32, Piece>,
    hasher: InfoHasher,
    /// Pieces hashed: all before this one.
    hashed: u32,
    received_bytes: u32,
}

#[derive(Debug)]
struct Piece {
    data: Bytes,
    from: SocketAddr,
}

impl MetadataFetch {
    /// Nobody to ask yet. The metadata is to have all of the infohashes; sizes past `limit` bytes
    /// are not believed.
    pub fn new(expected: InfoHashes, limit: u32) -> Self {
        MetadataFetch {
            expected,
            limit,
            sources: BTreeMap::new(),
            attempts: Vec::new(),
            shared_failures: 0,
            next_turn: 0,
        }
    }

    /// A peer says that it has the metadata and how long it is. False: no metadata is that long,
    /// and the peer is not asked.
    pub fn offered(&mut self, peer: SocketAddr, size: u32) -> bool {
        if size == 0 || size > self.limit {
            self.remove(peer);
            return false;
        }
        match self.sources.get(&peer) {
            None => {
                self.sources.insert(peer, Source::new(size, self.next_turn));
                self.next_turn += 1;
            }
            Some(source) if source.size == size => {}
            // Another size makes it no other peer.
            Some(&Source { strikes, not_before, suspect, turn, .. }) => {
                let source = Source { strikes, not_before, suspect, ..Source::new(size, turn) };
                self.attempts.retain(|attempt| attempt.alone != Some(peer));
                self.sources.insert(peer, source);
            }
        }
        true
    }

    /// Whether a peer says that it has the metadata and that it is so long.
    pub fn is_offered(&self, peer: SocketAddr, size: u32) -> bool {
        self.sources.get(&peer).is_some_and(|source| source.size == size)
    }

    /// Whether a peer is asked for the metadata, sooner or later.
    pub fn is_source(&self, peer: SocketAddr) -> bool {
        self.sources.contains_key(&peer)
    }

    /// A peer is gone. What it gave to a shared attempt stays.
    pub fn remove(&mut self, peer: SocketAddr) {
        self.sources.remove(&peer);
        self.attempts.retain(|attempt| attempt.alone != Some(peer));
    }

    /// The next piece to ask a peer for; to be called until there is none.
    pub fn next_request(&mut self, now: Instant) -> Option<(SocketAddr, u32)> {
        self.begin_attempts();
        let mut idle: Vec<_> = self
            .sources
            .iter()
            .filter(|(_, source)| source.is_willing(now) && source.asked.len() < PIPELINE)
            .map(|(&peer, source)| (source.asked.len(), source.turn, peer))
            .collect();
        idle.sort_unstable();
        for (_, _, peer) in idle {
            let Some(piece) = self.choose_piece(peer) else { continue };
            if let Some(source) = self.sources.get_mut(&peer) {
                source.ask(piece, now);
                source.turn = self.next_turn;
                self.next_turn += 1;
            }
            return Some((peer, piece));
        }
        None
    }

    /// A peer sent a piece.
    pub fn received(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        piece: u32,
        total_size: Option<u32>,
        data: &[u8],
    ) -> Received {
        let Some(source) = self.sources.get_mut(&peer) else { return Received::Unasked };
        if !source.was_asked(piece) {
            return Received::Unasked;
        }
        let fits = piece_len(source.size, piece).is_some_and(|len| len as usize == data.len())
            && total_size.is_none_or(|size| size == source.size);
        if !fits {
            source.strike(now);
            return Received::Accepted;
        }
        source.delivered(now);
        self.make_room(data.len());
        let Some(at) = self.attempt_of(peer) else { return Received::Accepted };
        let Some(attempt) = self.attempts.get_mut(at) else { return Received::Accepted };
        attempt.insert(piece, peer, data);
        if attempt.is_complete() { self.finish(at) } else { Received::Accepted }
    }

    /// A peer does not give a piece; whether it owed it.
    pub fn rejected(&mut self, now: Instant, peer: SocketAddr, piece: u32) -> bool {
        let Some(source) = self.sources.get_mut(&peer) else { return false };
        let in_time = source.asked.contains(&piece);
        source.was_asked(piece);
        if in_time {
            source.strike(now);
        }
        in_time
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.sources.values().filter_map(|source| source.timeout(now)).min()
    }

    /// Peers that are late are asked no more for a while.
    pub fn handle_timeout(&mut self, now: Instant) {
        for source in self.sources.values_mut() {
            if !source.asked.is_empty() && source.deadline <= now {
                source.strike(now);
            }
        }
    }

    /// How far it has come.
    pub fn progress(&self) -> MetadataProgress {
        let furthest = self.attempts.iter().max_by_key(|attempt| attempt.received_bytes);
        MetadataProgress {
            sources: self.sources.len(),
            asked: self.sources.values().filter(|source| !source.asked.is_empty()).count(),
            received_bytes: furthest.map_or(0, |attempt| attempt.received_bytes),
            size_bytes: furthest.map_or(0, |attempt| attempt.size),
        }
    }

    /// Whether a peer's pieces count only if all are its own.
    fn is_alone(&self, source: &Source) -> bool {
        source.suspect || self.shared_failures >= SHARED_FAILURES
    }

    /// The attempt that a peer's pieces belong to.
    fn attempt_of(&self, peer: SocketAddr) -> Option<usize> {
        let source = self.sources.get(&peer)?;
        let alone = self.is_alone(source).then_some(peer);
        self.attempts.iter().position(|a| a.alone == alone && a.size == source.size)
    }

    /// Begins an attempt for each claim that there is none for, and forgets those that nobody makes.
    fn begin_attempts(&mut self) {
        let keys = self.sources.iter().map(|(&peer, source)| self.key_of(peer, source));
        let mut missing: BTreeSet<AttemptKey> = keys.collect();
        let mut left = Vec::new();
        for (at, attempt) in self.attempts.iter().enumerate() {
            if !missing.remove(&attempt.key()) {
                left.push((attempt.received_bytes, at));
            }
        }
        // The claims of those that are here begin at nothing. What was left is gone on with when
        // somebody comes who claims the same.
        left.sort_unstable();
        let forgotten = left.len().saturating_sub(LEFT_ATTEMPTS);
        let mut forgotten: Vec<usize> =
            left.into_iter().take(forgotten).map(|(_, at)| at).collect();
        forgotten.sort_unstable();
        for at in forgotten.into_iter().rev() {
            self.attempts.swap_remove(at);
        }
        for key in missing {
            self.attempts.push(Attempt::new(key, &self.expected));
        }
    }

    /// Makes room for so many bytes: the attempts that hold most give way.
    fn make_room(&mut self, bytes: usize) {
        let held = |attempts: &[Attempt]| -> u64 {
            attempts.iter().map(|attempt| u64::from(attempt.received_bytes)).sum()
        };
        while held(&self.attempts) + bytes as u64 > 2 * u64::from(self.limit) {
            let all = self.attempts.iter().enumerate();
            let most = all.max_by_key(|(_, attempt)| attempt.received_bytes).map(|(at, _)| at);
            let Some(at) = most else { return };
            self.drop_attempt(at);
        }
    }

    fn key_of(&self, peer: SocketAddr, source: &Source) -> AttemptKey {
        (source.size, self.is_alone(source).then_some(peer))
    }

    fn belongs(&self, peer: SocketAddr, source: &Source, attempt: &Attempt) -> bool {
        attempt.key() == self.key_of(peer, source)
    }

    /// Takes an attempt out; its peers owe nothing any more.
    fn drop_attempt(&mut self, at: usize) -> Attempt {
        let attempt = self.attempts.swap_remove(at);
        let peers: Vec<SocketAddr> = self
            .sources
            .iter()
            .filter(|(peer, source)| self.belongs(**peer, source, &attempt))
            .map(|(&peer, _)| peer)
            .collect();
        for peer in peers {
            if let Some(source) = self.sources.get_mut(&peer) {
                source.forget_asked();
            }
        }
        attempt
    }

    /// The piece that a peer is best asked for: one that nobody was asked for; else one that only
    /// another owes.
    fn choose_piece(&self, peer: SocketAddr) -> Option<u32> {
        let attempt = self.attempts.get(self.attempt_of(peer)?)?;
        let source = self.sources.get(&peer)?;
        let mut requesters = vec![0_usize; attempt.piece_count() as usize];
        for (&other, source) in &self.sources {
            if self.belongs(other, source, attempt) {
                for &piece in &source.asked {
                    if let Some(count) = requesters.get_mut(piece as usize) {
                        *count += 1;
                    }
                }
            }
        }
        let missing = || {
            (0_u32..)
                .zip(requesters.iter().copied())
                .filter(|(index, _)| !attempt.pieces.contains_key(index))
        };
        let unasked = missing().find(|(_, count)| *count == 0);
        let owed_elsewhere = || {
            let free = |(index, count): &(u32, usize)| {
                *count < MAX_REQUESTERS && !source.asked.contains(index)
            };
            missing().find(free).filter(|_| source.asked.is_empty())
        };
        unasked.or_else(owed_elsewhere).map(|(index, _)| index)
    }

    /// Verifies a complete attempt.
    fn finish(&mut self, at: usize) -> Received {
        let attempt = self.drop_attempt(at);
        let givers: BTreeSet<SocketAddr> =
            attempt.pieces.values().map(|piece| piece.from).collect();
        match attempt.hasher.clone().finish() {
            Match::All => return Received::Complete(attempt.joined()),
            Match::One => return Received::TwoTorrents,
            Match::Nothing => {}
        }
        if let Some(&only) = givers.first().filter(|_| givers.len() == 1) {
            self.remove(only);
            return Received::Failed(Some(only));
        }
        self.shared_failures += 1;
        for giver in givers {
            if let Some(source) = self.sources.get_mut(&giver) {
                source.suspect = true;
            }
        }
        if self.shared_failures == SHARED_FAILURES {
            self.sources.values_mut().for_each(Source::forget_asked);
            self.attempts.clear();
        }
        Received::Failed(None)
    }
}

impl Source {
    fn new(size: u32, turn: u64) -> Self {
        Source {
            size,
            turn,
            asked: Vec::new(),
            late: Vec::new(),
            deadline: Instant::ZERO,
            strikes: 0,
            not_before: Instant::ZERO,
            suspect: false,
        }
    }

    fn is_willing(&self, now: Instant) -> bool {
        self.not_before <= now
    }

    fn ask(&mut self, piece: u32, now: Instant) {
        if self.asked.is_empty() {
            self.deadline = now + PATIENCE;
        }
        self.late.retain(|late| *late != piece);
        self.asked.push(piece);
    }

    /// Takes a piece off what it was asked for; whether it was.
    fn was_asked(&mut self, piece: u32) -> bool {
        let before = self.asked.len() + self.late.len();
        self.asked.retain(|asked| *asked != piece);
        self.late.retain(|late| *late != piece);
        self.asked.len() + self.late.len() < before
    }

    fn delivered(&mut self, now: Instant) {
        self.strikes = 0;
        self.not_before = now;
        self.deadline = now + PATIENCE;
    }

    /// It was of no help: it is asked again later.
    fn strike(&mut self, now: Instant) {
        let doublings = self.strikes.min(16);
        self.strikes += 1;
        self.not_before = now + FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
        self.forget_asked();
    }

    fn forget_asked(&mut self) {
        self.late.append(&mut self.asked);
    }

    fn timeout(&self, now: Instant) -> Option<Instant> {
        if !self.asked.is_empty() {
            Some(self.deadline)
        } else {
            Some(self.not_before).filter(|&at| at > now)
        }
    }
}

impl Attempt {
    fn new((size, alone): AttemptKey, expected: &InfoHashes) -> Self {
        Attempt {
            size,
            alone,
            pieces: BTreeMap::new(),
            hasher: InfoHasher::new(expected),
            hashed: 0,
            received_bytes: 0,
        }
    }

    fn insert(&mut self, index: u32, from: SocketAddr, data: &[u8]) {
        if index >= self.piece_count() || self.pieces.contains_key(&index) {
            return;
        }
        // A copy: the read buffer it came in is larger.
        self.pieces.insert(index, Piece { data: Bytes::copy_from_slice(data), from });
        self.received_bytes += data.len() as u32;
        while let Some(piece) = self.pieces.get(&self.hashed) {
            self.hasher.update(&piece.data);
            self.hashed += 1;
        }
    }

    fn key(&self) -> AttemptKey {
        (self.size, self.alone)
    }

    fn piece_count(&self) -> u32 {
        self.size.div_ceil(METADATA_PIECE_LEN)
    }

    fn is_complete(&self) -> bool {
        self.hashed == self.piece_count()
    }

    fn joined(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.size as usize);
        for piece in self.pieces.into_values() {
            bytes.extend_from_slice(&piece.data);
        }
        bytes.freeze()
    }
}

#[cfg(test)]
mod tests;
