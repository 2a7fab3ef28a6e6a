//! Leaf hashes of pieces that failed (BEP 52): by them blame falls on the very block that is wrong,
//! and no other is fetched again.
//!
//! When a piece fails, two sources that have it are asked for its leaf hashes, in runs of up to 512,
//! each proven by the hash of the piece. The sender of a block that differs is banned at once; without
//! an answer it shows when the piece passes, as in v1 ([`SmartBan`](super::smart_ban)).
//!
//! Here is which runs are awaited of which sources. What peers request of us is answered in the
//! upload's `leaf_hashes`.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::merkle::{HashRange, MAX_HASHES};
use crate::metainfo::Metainfo;
use crate::piece::{BLOCK_LEN, PieceIndex, Sha256Hash};
use crate::piece_hash::PieceRoot;
use crate::random::PolicyRng;
use crate::torrent::download::Source;
use crate::wire::HashRequest;

/// Sources that are asked for each run of leaf hashes (chosen).
const ASKED: usize = 2;
/// Runs that are awaited at once (chosen: those of the longest piece, and some more).
const MOST_WAITING: usize = 48;

/// Leaf hashes that are awaited.
#[derive(Debug, Default)]
pub(super) struct LeafHashes {
    waiting: BTreeMap<HashRequest, Waiting>,
}

/// Which sources were asked, and which pieces are proven by the answer: of files with one root several.
#[derive(Debug, Default)]
struct Waiting {
    pieces: SmallVec<[PieceIndex; 1]>,
    asked: SmallVec<[Source; ASKED]>,
}

impl LeafHashes {
    /// Requests the leaf hashes of a piece of `sources`, by filling `ask`; whether an answer to each
    /// request is awaited. `is_open` tells pieces whose leaf hashes are still of use.
    pub(super) fn request(
        &mut self,
        piece: PieceIndex,
        requests: Vec<HashRequest>,
        sources: &[Source],
        is_open: impl Fn(PieceIndex) -> bool,
        ask: &mut Vec<(Source, HashRequest)>,
    ) -> bool {
        if self.waiting.len() + requests.len() > MOST_WAITING {
            // A source that never answers must not use up the places: what passed needs no answer.
            self.waiting.retain(|_, waiting| waiting.pieces.iter().any(|piece| is_open(*piece)));
        }
        if self.waiting.len() + requests.len() > MOST_WAITING {
            return false;
        }
        let mut all_asked = !requests.is_empty();
        for request in requests {
            let waiting = self.waiting.entry(request).or_default();
            if !waiting.pieces.contains(&piece) {
                waiting.pieces.push(piece);
            }
            // A source that owes them already is not asked again.
            let fresh = sources.iter().filter(|source| !waiting.asked.contains(source));
            let fresh: SmallVec<[Source; ASKED]> = fresh.copied().take(ASKED).collect();
            ask.extend(fresh.iter().map(|source| (*source, request)));
            waiting.asked.extend(fresh);
            if waiting.asked.is_empty() {
                self.waiting.remove(&request);
                all_asked = false;
            }
        }
        all_asked
    }

    /// Whether leaf hashes of a piece are awaited.
    pub(super) fn awaits(&self, piece: PieceIndex) -> bool {
        self.waiting.values().any(|waiting| waiting.pieces.contains(&piece))
    }

    /// A source answers a request, or rejects it: the pieces, if it was asked.
    pub(super) fn answered(
        &mut self,
        source: Source,
        request: &HashRequest,
    ) -> Option<SmallVec<[PieceIndex; 1]>> {
        let waiting = self.waiting.get_mut(request)?;
        let at = waiting.asked.iter().position(|asked| *asked == source)?;
        waiting.asked.remove(at);
        match waiting.asked.is_empty() {
            true => self.waiting.remove(request).map(|waiting| waiting.pieces),
            false => Some(waiting.pieces.clone()),
        }
    }

    /// A source is gone.
    pub(super) fn source_gone(&mut self, source: Source) {
        self.waiting.retain(|_, waiting| {
            waiting.asked.retain(|asked| *asked != source);
            !waiting.asked.is_empty()
        });
    }
}

/// Sources in the order in which they are asked, each time another one: those that say to have a piece first
/// are not those that are asked whenever one fails (defence 44).
pub(in crate::torrent) fn at_random(mut sources: Vec<Source>, rng: &mut PolicyRng) -> Vec<Source> {
    if sources.len() > ASKED {
        rng.shuffle(&mut sources);
    }
    sources
}

/// Which requests give all leaf hashes of a piece, and what lies between them and the node above them
/// all. None if the piece is a single block.
pub(in crate::torrent) fn requests(
    metainfo: &Metainfo,
    piece: PieceIndex,
    root: &PieceRoot,
) -> Vec<HashRequest> {
    let place = || {
        let (file, number) = metainfo.file_of_piece(piece)?;
        let first = number.checked_mul(1_u32.checked_shl(root.layer)?)?;
        Some((metainfo.pieces_root(file)?, metainfo.tree_shape(file)?, first))
    };
    let Some((file_root, shape, first)) = place() else { return Vec::new() };
    let length = 1_u32.checked_shl(root.layer).unwrap_or(MAX_HASHES).min(MAX_HASHES);
    let runs = root.length.div_ceil(BLOCK_LEN).div_ceil(length);
    let range = |run: u32| HashRange {
        base_layer: 0,
        index: first.saturating_add(run * length),
        length,
        proof_layers: root.layer.saturating_sub(1),
    };
    let ranges = (0..runs).map(range).filter(|range| range.is_allowed(&shape));
    ranges.map(|range| HashRequest { root: file_root, range }).collect()
}

/// Of leaf hashes from that of the file's block `index` on: the number of the first in its piece, and
/// those that are of blocks.
pub(super) fn of_piece<'a>(
    root: &PieceRoot,
    index: u32,
    leaves: &'a [Sha256Hash],
) -> (u32, &'a [Sha256Hash]) {
    let first = index % (1 << root.layer);
    let blocks = root.length.div_ceil(BLOCK_LEN).saturating_sub(first) as usize;
    (first, leaves.get(..blocks).unwrap_or(leaves))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picker::PeerKey;

    const PIECE: PieceIndex = PieceIndex(3);

    fn source(number: u32) -> Source {
        Source::of(PeerKey(number))
    }

    fn request(number: u8) -> HashRequest {
        let range = HashRange { base_layer: 0, index: 0, length: 2, proof_layers: 0 };
        HashRequest { root: [number; 32], range }
    }

    fn ask(leaves: &mut LeafHashes, number: u8, sources: &[Source]) -> (bool, Vec<Source>) {
        let mut ask = Vec::new();
        let piece = PieceIndex(u32::from(number));
        let requests = vec![request(number)];
        let all = leaves.request(piece, requests, sources, |piece| piece == PIECE, &mut ask);
        (all, ask.into_iter().map(|(source, _)| source).collect())
    }

    /// Found by the simulator's seed 300788.
    #[test]
    fn the_answer_that_comes_second_was_asked_for_too() {
        let mut leaves = LeafHashes::default();
        let sources = [source(0), source(1), source(2)];
        assert_eq!(ask(&mut leaves, 3, &sources), (true, sources[..ASKED].to_vec()));
        for source in &sources[..ASKED] {
            assert_eq!(leaves.answered(*source, &request(3)).as_deref(), Some(&[PIECE][..]));
            assert_eq!(leaves.answered(*source, &request(3)), None, "it owes no other");
        }
        assert!(!leaves.awaits(PIECE));
    }

    #[test]
    fn without_a_source_that_could_answer_nothing_is_awaited() {
        let mut leaves = LeafHashes::default();
        assert_eq!(ask(&mut leaves, 3, &[]), (false, Vec::new()));
        assert!(!leaves.awaits(PIECE));
        assert!(ask(&mut leaves, 3, &[source(0)]).0);
        assert!(leaves.awaits(PIECE));
        leaves.source_gone(source(0));
        assert!(!leaves.awaits(PIECE));
    }

    #[test]
    fn runs_that_are_of_no_use_make_room_for_others() {
        let mut leaves = LeafHashes::default();
        for number in (0..=255).filter(|number| *number != 3).take(MOST_WAITING) {
            assert!(ask(&mut leaves, number, &[source(0)]).0);
        }
        assert!(ask(&mut leaves, 3, &[source(0)]).0);
        assert_eq!(leaves.waiting.len(), 1, "only of piece 3 they are still of use");
    }

    #[test]
    fn each_source_is_asked_sooner_or_later_whatever_its_slot() {
        let mut rng = PolicyRng::from_seed([1; 32]);
        let all: Vec<Source> = (0..6).map(source).collect();
        let mut asked = [0; 6];
        for _ in 0..300 {
            let order = at_random(all.clone(), &mut rng);
            (0..6).for_each(|at| {
                asked[at as usize] += usize::from(order[..ASKED].contains(&source(at)));
            });
        }
        assert!(asked.iter().all(|times| (60..=140).contains(times)), "{asked:?}");
        assert_eq!(at_random(all[..ASKED].to_vec(), &mut rng), all[..ASKED], "all are asked");
    }
}
