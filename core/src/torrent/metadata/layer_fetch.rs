//! Whom to ask for which piece layers (BEP 52, "hash request"): a torrent that was learnt from peers
//! has none, and without them its pieces have no hashes.
//!
//! The layer of each file is cut into *runs* of up to 512 hashes. A run is asked for with its proof
//! up to the file's root, which the metadata names, so each is verified alone, and nothing is kept
//! that was not. Runs go to all peers that may know them, each to one at a time, those of wanted
//! files first, in turn: who has least to answer comes first, then who was of help, then who has waited
//! longest. A run that is rejected, late, or whose peer leaves goes to others. A peer that is late or rejects several in a row
//! waits, longer each time; one that sends a wrong proof is proven to lie.
//!
//! What was verified is kept with its proof, so that it can be [recalled](LayerFetch::recall) after a
//! restart without being trusted.
//!
//! Files with one root have one layer, which is asked for once. Invariants: each run is missing,
//! asked of one peer, or known; memory is in proportion to the files and to what was verified.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::merkle::{HashRange, MAX_HASHES, TreeShape, filling};
use crate::metainfo::Metainfo;
use crate::piece::{PieceIndex, Sha256Hash};
use crate::time::{Duration, Instant};
use crate::wire::HashRequest;

/// Requests under way at one peer (chosen: 64 KiB of answers).
const PIPELINE: usize = 4;
/// A peer that owes an answer and sends none for this long is late (chosen: answers wait behind
/// blocks).
const PATIENCE: Duration = Duration::from_secs(10);
/// Rejects in a row after which a peer is asked no more for a while (chosen).
const REJECTS: u32 = 8;
/// Wait after a peer was of no help; doubled each time (chosen).
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// Longest wait (chosen).
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// Late answers of one peer that are still welcome (chosen).
const LATE: usize = 64;

/// The fetch of one torrent's piece layers from peers named `P`.
#[derive(Debug)]
pub struct LayerFetch<P> {
    /// The files whose layers are not in the metainfo, one of each root, in order.
    files: Vec<FileRuns>,
    /// All files with such a root, in the order of roots.
    by_root: Vec<u32>,
    runs: u32,
    known: BTreeMap<u32, Answer>,
    missing: BTreeSet<Place>,
    sources: BTreeMap<P, Source>,
}

/// A file, and the number of the first run of its layer.
#[derive(Debug)]
struct FileRuns {
    file: u32,
    first_run: u32,
    rank: Rank,
}

/// The hashes of a run, without filling, and the proof that came with them.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Answer {
    hashes: Bytes,
    proof: Bytes,
}

/// Whether a file is wanted: those that are not come last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Rank {
    Wanted,
    Skipped,
}

/// A run in the order in which they are asked for.
type Place = (Rank, u32);

/// What hashes that a peer sent are good for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Learnt {
    /// The hashes of these pieces are known now.
    Pieces(Vec<Range<u32>>),
    /// They were asked for and are known already.
    Nothing,
    /// They were not asked for.
    Unasked,
    /// They are not what the root says: the peer lies.
    Wrong,
}

/// A peer that may know hashes.
#[derive(Debug)]
struct Source {
    /// Runs that it is expected to send.
    asked: SmallVec<[u32; PIPELINE]>,
    /// Runs that are not waited for any more; they may still come.
    late: Vec<u32>,
    /// When it is late, if it owes anything.
    deadline: Instant,
    /// From where on it is asked next, since it rejected what was before.
    cursor: Option<Place>,
    /// Rejects since it last sent hashes.
    rejects: u32,
    strikes: u32,
    not_before: Instant,
    /// Whether it has sent right hashes since it was last of no help: such a peer comes first.
    is_of_help: bool,
    /// When it was last asked, or came: of the others it is asked first who has waited longest. However often
    /// somebody comes anew, those who are there get their turn (defence 44).
    turn_at: Instant,
}

impl<P: Copy + Ord> LayerFetch<P> {
    /// No peer to ask yet. `is_wanted` says of a file, by its index, whether it is to be downloaded.
    /// `None` if no layer is missing.
    pub fn new(metainfo: &Metainfo, is_wanted: impl Fn(usize) -> bool) -> Option<Self> {
        let lacks_layer = |file: &u32| {
            let file = *file as usize;
            let shape = metainfo.tree_shape(file);
            shape.is_some_and(|shape| shape.has_piece_layer())
                && metainfo.piece_layer(file).is_none()
        };
        let count = u32::try_from(metainfo.files().len()).unwrap_or(u32::MAX);
        let mut by_root: Vec<u32> = (0..count).filter(lacks_layer).collect();
        let root = |file: u32| metainfo.pieces_root(file as usize);
        by_root.sort_by_key(|file| (root(*file), *file));
        let mut first_of_root: BTreeMap<u32, Rank> = BTreeMap::new();
        for same in by_root.chunk_by(|a, b| root(*a) == root(*b)) {
            let wanted = same.iter().any(|file| is_wanted(*file as usize));
            let rank = if wanted { Rank::Wanted } else { Rank::Skipped };
            first_of_root.extend(same.first().map(|first| (*first, rank)));
        }
        let mut fetch = LayerFetch {
            files: Vec::with_capacity(first_of_root.len()),
            by_root,
            runs: 0,
            known: BTreeMap::new(),
            missing: BTreeSet::new(),
            sources: BTreeMap::new(),
        };
        for (file, rank) in first_of_root {
            let Some(shape) = metainfo.tree_shape(file as usize) else { continue };
            let first_run = fetch.runs;
            fetch.runs += shape.pieces().div_ceil(run_len(&shape));
            fetch.missing.extend((first_run..fetch.runs).map(|run| (rank, run)));
            fetch.files.push(FileRuns { file, first_run, rank });
        }
        (fetch.runs > 0).then_some(fetch)
    }

    /// A peer may know hashes; whether that is news.
    pub fn add(&mut self, now: Instant, peer: P) -> bool {
        let known = self.sources.len();
        self.sources.entry(peer).or_insert_with(|| Source::new(now));
        self.sources.len() > known
    }

    /// A peer is gone.
    pub fn remove(&mut self, peer: P) {
        if let Some(source) = self.sources.remove(&peer) {
            self.give_back(&source.asked);
        }
    }

    /// Whether there is no peer to ask.
    pub fn has_no_sources(&self) -> bool {
        self.sources.is_empty()
    }

    /// Whether every layer is known.
    pub fn is_complete(&self) -> bool {
        self.known.len() == self.runs as usize
    }

    /// The next request to send to a peer; to be called until there is none.
    pub fn next_request(&mut self, now: Instant, metainfo: &Metainfo) -> Option<(P, HashRequest)> {
        if self.missing.is_empty() {
            return None;
        }
        let idle = |source: &Source| source.not_before <= now && source.asked.len() < PIPELINE;
        let mut willing: Vec<_> = self
            .sources
            .iter()
            .filter(|(_, source)| idle(source))
            .map(|(&peer, source)| (source.asked.len(), !source.is_of_help, source.turn_at, peer))
            .collect();
        willing.sort_unstable();
        for (.., peer) in willing {
            let Some(source) = self.sources.get_mut(&peer) else { continue };
            let Some(place) = source.next_place(&self.missing, now) else { continue };
            self.missing.remove(&place);
            source.ask(place, now);
            if let Some(request) = self.request(metainfo, place.1) {
                return Some((peer, request));
            }
        }
        None
    }

    /// A peer sent hashes.
    pub fn received(
        &mut self,
        now: Instant,
        metainfo: &Metainfo,
        peer: P,
        request: &HashRequest,
        hashes: &[u8],
    ) -> Learnt {
        let run = self.run_of(metainfo, request);
        let Some(source) = self.sources.get_mut(&peer) else { return Learnt::Unasked };
        let Some(run) = run.filter(|run| source.was_asked(*run)) else { return Learnt::Unasked };
        if self.known.contains_key(&run) {
            source.delivered(now);
            return Learnt::Nothing;
        }
        let Some(verified) = verify(metainfo, self.file_of_run(run), request, hashes) else {
            self.give_back(&[run]);
            return Learnt::Wrong;
        };
        if let Some(source) = self.sources.get_mut(&peer) {
            source.delivered(now);
        }
        self.learn(run, verified);
        Learnt::Pieces(self.pieces_of(metainfo, request))
    }

    /// Takes what [`answers`](Self::answers) gave in an earlier session; false if it is not right, or
    /// of no use.
    pub fn recall(&mut self, metainfo: &Metainfo, request: &HashRequest, hashes: &[u8]) -> bool {
        let Some(run) = self.run_of(metainfo, request) else { return false };
        let verified = verify(metainfo, self.file_of_run(run), request, hashes);
        verified.map(|verified| self.learn(run, verified)).is_some()
    }

    /// All that is known, as peers sent it: hashes and their proof.
    pub fn answers(
        &self,
        metainfo: &Metainfo,
    ) -> impl Iterator<Item = (HashRequest, Bytes)> + use<'_, P> {
        let requests = self.known.keys().map(|run| self.request(metainfo, *run));
        let requests: Vec<Option<HashRequest>> = requests.collect();
        requests.into_iter().zip(self.known.values()).filter_map(|(request, answer)| {
            let request = request?;
            let length = request.range.length as usize;
            let filling = length.checked_sub(answer.hashes.len() / 32)?;
            let filling = vec![filling_of(&request); filling].into_flattened();
            Some((request, [&answer.hashes[..], &filling, &answer.proof].concat().into()))
        })
    }

    fn learn(&mut self, run: u32, answer: Answer) {
        if let Some(rank) = self.file_of_run(run).map(|of| of.rank) {
            self.missing.remove(&(rank, run));
        }
        self.known.insert(run, answer);
    }

    /// A peer does not give hashes.
    pub fn rejected(&mut self, now: Instant, metainfo: &Metainfo, peer: P, request: &HashRequest) {
        let Some(run) = self.run_of(metainfo, request) else { return };
        let rank = self.file_of_run(run).map(|of| of.rank);
        let Some(source) = self.sources.get_mut(&peer) else { return };
        let in_time = source.asked.contains(&run);
        source.was_asked(run);
        if !in_time {
            return;
        }
        let Some(rank) = rank else { return };
        let given_up = source.stumble((rank, run), now);
        self.give_back(&[run]);
        self.give_back(&given_up);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.sources.values().filter_map(|source| source.timeout(now)).min()
    }

    /// Peers that are late are asked no more for a while.
    pub fn handle_timeout(&mut self, now: Instant) {
        let late = |source: &Source| !source.asked.is_empty() && source.deadline <= now;
        let strike = |source: &mut Source| source.strike(now);
        let late = self.sources.values_mut().filter(|source| late(source));
        let given_up: Vec<u32> = late.flat_map(strike).collect();
        self.give_back(&given_up);
    }

    /// The node of a piece, if it was learnt.
    pub fn piece_hash(&self, metainfo: &Metainfo, piece: PieceIndex) -> Option<Sha256Hash> {
        let (file, number) = metainfo.file_of_piece(piece)?;
        let runs = self.find(metainfo, &metainfo.pieces_root(file)?)?;
        let length = run_len(&metainfo.tree_shape(file)?);
        let run = self.known.get(&runs.first_run.checked_add(number / length)?)?;
        let at = usize::try_from(number % length).ok()?;
        run.hashes.as_chunks::<32>().0.get(at).copied()
    }

    /// The layers that are wholly known, under their roots.
    pub fn layers(
        &self,
        metainfo: &Metainfo,
    ) -> impl Iterator<Item = (Sha256Hash, Vec<&[u8]>)> + use<'_, P> {
        let ends = self.files.iter().skip(1).map(|next| next.first_run).chain([self.runs]);
        let roots = self.files.iter().map(|of| metainfo.pieces_root(of.file as usize));
        let roots: Vec<_> = roots.collect();
        self.files.iter().zip(ends).zip(roots).filter_map(|((of, end), root)| {
            let known = |run| self.known.get(&run).map(|answer: &Answer| answer.hashes.as_ref());
            let runs = (of.first_run..end).map(known);
            Some((root?, runs.collect::<Option<Vec<_>>>()?))
        })
    }

    /// Runs that are to be asked of others.
    fn give_back(&mut self, runs: &[u32]) {
        for &run in runs {
            if !self.known.contains_key(&run)
                && let Some(of) = self.file_of_run(run)
            {
                self.missing.insert((of.rank, run));
            }
        }
    }

    fn file_of_run(&self, run: u32) -> Option<&FileRuns> {
        let after = self.files.partition_point(|of| of.first_run <= run);
        self.files.get(after.checked_sub(1)?)
    }

    /// The runs of a layer, by the file's root.
    fn find(&self, metainfo: &Metainfo, root: &Sha256Hash) -> Option<&FileRuns> {
        let at = self.first_with_root(metainfo, root);
        let first = *self.by_root.get(at)?;
        let found = metainfo.pieces_root(first as usize).as_ref() == Some(root);
        let at = self.files.binary_search_by_key(&first, |of| of.file).ok().filter(|_| found)?;
        self.files.get(at)
    }

    fn first_with_root(&self, metainfo: &Metainfo, root: &Sha256Hash) -> usize {
        let before = |file: &u32| metainfo.pieces_root(*file as usize) < Some(*root);
        self.by_root.partition_point(before)
    }

    /// What to ask for a run.
    fn request(&self, metainfo: &Metainfo, run: u32) -> Option<HashRequest> {
        let of = self.file_of_run(run)?;
        let (root, shape) =
            (metainfo.pieces_root(of.file as usize)?, metainfo.tree_shape(of.file as usize)?);
        let length = run_len(&shape);
        let index = run.checked_sub(of.first_run)?.checked_mul(length)?;
        let range = HashRange::to_root(&shape, shape.piece_layer(), index, length)?;
        Some(HashRequest { root, range })
    }

    /// The run that is asked for in this way.
    fn run_of(&self, metainfo: &Metainfo, request: &HashRequest) -> Option<u32> {
        let of = self.find(metainfo, &request.root)?;
        let number = request.range.index.checked_div(request.range.length)?;
        let run = of.first_run.checked_add(number)?;
        (self.request(metainfo, run).as_ref() == Some(request)).then_some(run)
    }

    /// The pieces that a run has the hashes of, in all files with its root.
    fn pieces_of(&self, metainfo: &Metainfo, request: &HashRequest) -> Vec<Range<u32>> {
        let first = self.first_with_root(metainfo, &request.root);
        let files = self.by_root.iter().skip(first).map(|file| *file as usize);
        let files = files.take_while(|file| metainfo.pieces_root(*file) == Some(request.root));
        let HashRange { index, length, .. } = request.range;
        let pieces = |file: usize| {
            let piece_len = u64::from(metainfo.geometry().piece_len());
            let start = metainfo.files().get(file)?.offset() / piece_len;
            let count = metainfo.tree_shape(file)?.pieces();
            let start = u32::try_from(start).ok()?;
            Some(start + index..start + index.saturating_add(length).min(count))
        };
        files.filter_map(pieces).collect()
    }
}

/// Hashes in each run of a layer.
fn run_len(shape: &TreeShape) -> u32 {
    let width = shape.width(shape.piece_layer()).unwrap_or(u64::from(MAX_HASHES));
    u32::try_from(width).unwrap_or(MAX_HASHES).min(MAX_HASHES)
}

/// What a layer is filled up with that is asked for.
fn filling_of(request: &HashRequest) -> Sha256Hash {
    filling(request.range.base_layer)
}

/// The hashes of a run and their proof, if they are what the root says.
fn verify(
    metainfo: &Metainfo,
    of: Option<&FileRuns>,
    request: &HashRequest,
    hashes: &[u8],
) -> Option<Answer> {
    let HashRequest { root, range } = request;
    let (answer, rest) = hashes.as_chunks::<32>();
    if !rest.is_empty() || range.climb(answer)? != *root {
        return None;
    }
    let shape = metainfo.tree_shape(usize::try_from(of?.file).ok()?)?;
    let (run, proof) = answer.split_at_checked(range.length as usize)?;
    let pieces = shape.pieces().checked_sub(range.index)?.min(range.length);
    let (hashes, beyond) = run.split_at_checked(pieces as usize)?;
    // What the metainfo's author put there instead would make no piece layer.
    let filling = filling_of(request);
    let copied = |hashes: &[Sha256Hash]| Bytes::copy_from_slice(hashes.as_flattened());
    let is_right = beyond.iter().all(|hash| *hash == filling);
    is_right.then(|| Answer { hashes: copied(hashes), proof: copied(proof) })
}

impl Source {
    fn new(now: Instant) -> Self {
        Source {
            turn_at: now,
            is_of_help: false,
            asked: SmallVec::new(),
            late: Vec::new(),
            deadline: Instant::ZERO,
            cursor: None,
            rejects: 0,
            strikes: 0,
            not_before: Instant::ZERO,
        }
    }

    /// The run to ask it for. When it has rejected what there is, it waits before the next round.
    fn next_place(&mut self, missing: &BTreeSet<Place>, now: Instant) -> Option<Place> {
        let Some(cursor) = self.cursor else { return missing.first().copied() };
        let next = missing.range(cursor..).next().copied();
        if next.is_none() && self.asked.is_empty() {
            self.strike(now);
        }
        next
    }

    fn ask(&mut self, (rank, run): Place, now: Instant) {
        self.turn_at = now;
        if self.asked.is_empty() {
            self.deadline = now + PATIENCE;
        }
        if self.cursor.is_some() {
            self.cursor = Some((rank, run + 1));
        }
        self.asked.push(run);
    }

    /// Takes a run off what it was asked for; whether it was.
    fn was_asked(&mut self, run: u32) -> bool {
        let before = self.asked.len() + self.late.len();
        self.asked.retain(|asked| *asked != run);
        self.late.retain(|late| *late != run);
        self.asked.len() + self.late.len() < before
    }

    fn delivered(&mut self, now: Instant) {
        self.is_of_help = true;
        self.strikes = 0;
        self.rejects = 0;
        self.not_before = now;
        self.deadline = now + PATIENCE;
    }

    /// It rejected a run: it is asked for what comes after. The runs that it owes no more.
    fn stumble(&mut self, (rank, run): Place, now: Instant) -> SmallVec<[u32; PIPELINE]> {
        self.rejects += 1;
        if self.rejects >= REJECTS {
            return self.strike(now);
        }
        let after = (rank, run + 1);
        self.cursor = Some(self.cursor.map_or(after, |cursor| cursor.max(after)));
        SmallVec::new()
    }

    /// It was of no help: it is asked again later, from the beginning. The runs that it owes no
    /// more.
    fn strike(&mut self, now: Instant) -> SmallVec<[u32; PIPELINE]> {
        self.is_of_help = false;
        let doublings = self.strikes.min(16);
        self.strikes += 1;
        self.not_before = now + FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
        self.cursor = None;
        self.rejects = 0;
        let given_up = std::mem::take(&mut self.asked);
        self.late.extend(&given_up);
        let excess = self.late.len().saturating_sub(LATE);
        self.late.drain(..excess);
        given_up
    }

    fn timeout(&self, now: Instant) -> Option<Instant> {
        if self.asked.is_empty() {
            Some(self.not_before).filter(|&at| at > now)
        } else {
            Some(self.deadline)
        }
    }
}

#[cfg(test)]
mod tests;
