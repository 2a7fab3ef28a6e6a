//! Who sent the wrong block of a piece that failed its hash (defence 18).
//!
//! While a piece is fetched, the sender of each block is noted. If it fails and one peer sent all
//! of it, that is proof. If several did, a digest of each block is kept with its sender; when the
//! piece later passes, a peer that sent a block which differs from the right one is guilty.
//!
//! Invariants: no peer is named without proof, so no honest peer is ever named (S9); digests kept
//! are bounded, the piece that failed longest ago is forgotten first. Banning is the caller's; so
//! is fetching the piece again.

use std::collections::{BTreeMap, VecDeque};

use sha2::{Digest, Sha256};

use crate::piece::{PieceIndex, Sha256Hash};

/// Digests kept per torrent (chosen: about 3 MB, the blocks of four of the longest pieces).
const MOST_DIGESTS: usize = 65_536;

/// Senders of blocks, and digests of the blocks of failed pieces. `P` names a peer beyond its
/// connection: its address.
#[derive(Debug)]
pub(super) struct SmartBan<P> {
    fetching: BTreeMap<PieceIndex, Senders<P>>,
    failed: BTreeMap<PieceIndex, Vec<Evidence<P>>>,
    /// The keys of `failed`, in the order in which they failed first.
    order: VecDeque<PieceIndex>,
    digests: usize,
    most_digests: usize,
}

/// Who sent which block of a piece in the present attempt.
#[derive(Debug)]
struct Senders<P> {
    peers: Vec<P>,
    /// By block number: an index into `peers`, or `UNKNOWN`.
    of_block: Vec<u16>,
}

/// The block was not sent by a peer in this session, or by too many to count.
const UNKNOWN: u16 = u16::MAX;

#[derive(Debug)]
struct Evidence<P> {
    block: u32,
    peer: P,
    digest: Sha256Hash,
}

impl<P: Copy + Ord> Default for SmartBan<P> {
    fn default() -> Self {
        SmartBan {
            fetching: BTreeMap::new(),
            failed: BTreeMap::new(),
            order: VecDeque::new(),
            digests: 0,
            most_digests: MOST_DIGESTS,
        }
    }
}

impl<P: Copy + Ord> SmartBan<P> {
    /// Notes that `peer` sent the `block`th block of a piece, which was accepted.
    pub(super) fn received(&mut self, piece: PieceIndex, block: u32, peer: P) {
        let senders = self.fetching.entry(piece).or_insert_with(Senders::new);
        senders.note(block, peer);
    }

    /// Forgets the senders of a piece that is given up, but not its earlier failures.
    pub(super) fn abandoned(&mut self, piece: PieceIndex) {
        self.fetching.remove(&piece);
    }

    /// A piece failed its hash. `digests` are those of all its blocks in order, by [`digest`].
    /// Returns the peer that sent all of them, if one did: it is guilty. If not, keeps the digests
    /// until the piece passes.
    pub(super) fn failed(&mut self, piece: PieceIndex, digests: &[Sha256Hash]) -> Option<P> {
        let senders = self.fetching.remove(&piece)?;
        let sent = |(block, digest): (u32, &Sha256Hash)| {
            Some(Evidence { block, peer: senders.of(block)?, digest: *digest })
        };
        let evidence: Vec<Evidence<P>> = (0..).zip(digests).filter_map(sent).collect();
        if let [peer] = senders.peers[..]
            && evidence.len() == digests.len()
            && !digests.is_empty()
        {
            return Some(peer);
        }
        self.keep(piece, evidence);
        None
    }

    /// A piece passed its hash. `blocks` are all its blocks in order, each cut anywhere; they are
    /// looked at only if the piece failed before. Returns the peers that are guilty of that, in ascending order.
    pub(super) fn passed<'a, B>(
        &mut self,
        piece: PieceIndex,
        blocks: impl IntoIterator<Item = B>,
    ) -> Vec<P>
    where
        B: IntoIterator<Item = &'a [u8]>,
    {
        self.fetching.remove(&piece);
        let Some(mut evidence) = self.take(piece) else { return Vec::new() };
        evidence.sort_unstable_by_key(|entry| entry.block);
        let mut entries = evidence.iter().peekable();
        let mut guilty = Vec::new();
        for (block, data) in (0..).zip(blocks) {
            if entries.peek().is_some_and(|entry| entry.block == block) {
                let right = digest(data);
                while let Some(entry) = entries.next_if(|entry| entry.block == block) {
                    if entry.digest != right {
                        guilty.push(entry.peer);
                    }
                }
            }
        }
        guilty.sort_unstable();
        guilty.dedup();
        guilty
    }

    /// The blocks of a piece from the `first`th on are known to have these digests, though it did not
    /// pass yet. Returns the peers that sent others, in ascending order; of all other blocks what is
    /// kept stays.
    pub(super) fn judged(
        &mut self,
        piece: PieceIndex,
        first: u32,
        digests: &[Sha256Hash],
    ) -> Vec<P> {
        let Some(evidence) = self.take(piece) else { return Vec::new() };
        let mut guilty = Vec::new();
        let mut kept = Vec::new();
        for entry in evidence {
            let at = entry.block.checked_sub(first).map(|at| at as usize);
            match at.and_then(|at| digests.get(at)) {
                Some(digest) if *digest != entry.digest => guilty.push(entry.peer),
                Some(_) => {}
                None => kept.push(entry),
            }
        }
        if !kept.is_empty() {
            self.keep(piece, kept);
        }
        guilty.sort_unstable();
        guilty.dedup();
        guilty
    }

    /// Whether a piece failed and did not pass since. Fetched from one peer alone, it will either
    /// pass or prove that peer guilty.
    pub(super) fn has_failed(&self, piece: PieceIndex) -> bool {
        self.failed.contains_key(&piece)
    }

    fn keep(&mut self, piece: PieceIndex, evidence: Vec<Evidence<P>>) {
        self.digests += evidence.len();
        let of_piece = self.failed.entry(piece).or_insert_with(|| {
            self.order.push_back(piece);
            Vec::new()
        });
        of_piece.extend(evidence);
        while self.digests > self.most_digests {
            let oldest = self.order.front().copied().filter(|oldest| *oldest != piece);
            if oldest.and_then(|oldest| self.take(oldest)).is_none() {
                break;
            }
        }
        // What is left over the bound is this piece's own.
        if let Some(of_piece) = self.failed.get_mut(&piece) {
            let excess = self.digests.saturating_sub(self.most_digests).min(of_piece.len());
            of_piece.drain(..excess);
            self.digests -= excess;
        }
    }

    fn take(&mut self, piece: PieceIndex) -> Option<Vec<Evidence<P>>> {
        let evidence = self.failed.remove(&piece)?;
        self.order.retain(|kept| *kept != piece);
        self.digests -= evidence.len();
        Some(evidence)
    }
}

impl<P: Copy + PartialEq> Senders<P> {
    fn new() -> Self {
        Senders { peers: Vec::new(), of_block: Vec::new() }
    }

    fn note(&mut self, block: u32, peer: P) {
        let known = self.peers.iter().position(|known| *known == peer);
        let index = known.unwrap_or_else(|| {
            self.peers.push(peer);
            self.peers.len() - 1
        });
        let at = block as usize;
        if self.of_block.len() <= at {
            self.of_block.resize(at + 1, UNKNOWN);
        }
        self.of_block[at] = u16::try_from(index).unwrap_or(UNKNOWN);
    }

    fn of(&self, block: u32) -> Option<P> {
        let index = *self.of_block.get(block as usize)?;
        if index == UNKNOWN { None } else { self.peers.get(usize::from(index)).copied() }
    }
}

/// What is kept of a block. In v2 it is the block's leaf hash (BEP 52).
pub(super) fn digest<'a>(data: impl IntoIterator<Item = &'a [u8]>) -> Sha256Hash {
    let mut sha256 = Sha256::new();
    data.into_iter().for_each(|part| sha256.update(part));
    sha256.finalize().into()
}

#[cfg(test)]
mod tests {
    use quickcheck::{TestResult, quickcheck};

    use super::*;

    const PIECE: PieceIndex = PieceIndex(3);

    fn digests(data: &[u8]) -> Vec<Sha256Hash> {
        blocks(data).map(digest).collect()
    }

    /// A block of one byte, in the shape in which blocks are handed in.
    fn blocks(data: &[u8]) -> impl Iterator<Item = std::iter::Once<&[u8]>> {
        data.chunks(1).map(std::iter::once)
    }

    fn receive(ban: &mut SmartBan<char>, senders: &str) {
        (0..).zip(senders.chars()).for_each(|(block, peer)| ban.received(PIECE, block, peer));
    }

    #[test]
    fn a_peer_that_sent_all_of_a_failed_piece_is_guilty_at_once() {
        let mut ban = SmartBan::default();
        receive(&mut ban, "aaa");
        assert_eq!(ban.failed(PIECE, &digests(b"xyz")), Some('a'));
        assert!(!ban.has_failed(PIECE));
    }

    #[test]
    fn of_many_senders_the_one_whose_block_differs_is_guilty() {
        let mut ban = SmartBan::default();
        receive(&mut ban, "abc");
        assert_eq!(ban.failed(PIECE, &digests(b"1X3")), None);
        assert!(ban.has_failed(PIECE));
        receive(&mut ban, "ccc");
        assert_eq!(ban.passed(PIECE, blocks(b"123")), ['b']);
        assert!(!ban.has_failed(PIECE));
        assert_eq!(ban.passed(PIECE, blocks(b"123")), []);
        assert_eq!((ban.digests, ban.order.len()), (0, 0));
    }

    #[test]
    fn wrong_blocks_of_several_attempts_are_all_held_against_their_senders() {
        let mut ban = SmartBan::default();
        receive(&mut ban, "aab");
        assert_eq!(ban.failed(PIECE, &digests(b"X23")), None);
        receive(&mut ban, "cdd");
        assert_eq!(ban.failed(PIECE, &digests(b"12Y")), None);
        receive(&mut ban, "aaa");
        assert_eq!(ban.passed(PIECE, blocks(b"123")), ['a', 'd']);
    }

    #[test]
    fn known_digests_tell_whose_block_was_wrong_before_the_piece_passes() {
        let mut ban = SmartBan::default();
        receive(&mut ban, "abc");
        assert_eq!(ban.failed(PIECE, &digests(b"1X3")), None);
        let leaves = digests(b"123");
        assert_eq!(ban.judged(PIECE, 0, &leaves[..1]), [], "the first was right");
        assert!(ban.has_failed(PIECE));
        assert_eq!(ban.judged(PIECE, 1, &leaves[1..]), ['b']);
        assert!(!ban.has_failed(PIECE));
        assert_eq!((ban.digests, ban.order.len()), (0, 0));
    }

    #[test]
    fn a_block_that_no_peer_sent_leaves_doubt() {
        let mut ban = SmartBan::default();
        ban.received(PIECE, 0, 'a');
        ban.received(PIECE, 2, 'a');
        assert_eq!(ban.failed(PIECE, &digests(b"1X3")), None);
        assert_eq!(ban.passed(PIECE, blocks(b"123")), []);
    }

    #[test]
    fn a_block_cut_in_two_has_the_same_digest() {
        let mut ban = SmartBan::default();
        receive(&mut ban, "ab");
        ban.failed(PIECE, &[vec![&b"he"[..], b"llo"], vec![b"wor", b"Xd"]].map(digest));
        assert_eq!(ban.passed(PIECE, [vec![&b"hello"[..]], vec![b"w", b"or", b"ld"]]), ['b']);
    }

    #[test]
    fn an_abandoned_attempt_blames_nobody() {
        let mut ban = SmartBan::default();
        ban.received(PIECE, 0, 'a');
        ban.abandoned(PIECE);
        ban.received(PIECE, 1, 'b');
        assert_eq!(ban.failed(PIECE, &digests(b"XY")), None);
        assert_eq!(ban.passed(PIECE, blocks(b"12")), ['b']);
    }

    #[test]
    fn digests_are_bounded_and_the_oldest_failure_goes_first() {
        let mut ban = SmartBan { most_digests: 5, ..SmartBan::default() };
        for piece in 0..3 {
            ban.received(PieceIndex(piece), 0, 'a');
            ban.received(PieceIndex(piece), 1, 'b');
            ban.failed(PieceIndex(piece), &digests(b"XX"));
        }
        assert_eq!(ban.digests, 4);
        assert!(!ban.has_failed(PieceIndex(0)) && ban.has_failed(PieceIndex(1)));
        for _ in 0..9 {
            receive(&mut ban, "abab");
            ban.failed(PIECE, &digests(b"XXXX"));
        }
        assert!(ban.digests <= 5 && ban.order == [PIECE]);
        assert_eq!(ban.failed[&PIECE].len(), ban.digests);
    }

    quickcheck! {
        // Defence: S9.
        fn only_liars_are_ever_named(attempts: Vec<Vec<(u8, bool)>>, liars: u8) -> TestResult {
            let mut ban = SmartBan::default();
            let right = [0_u8; 6];
            let is_liar = |peer: u8| liars >> (peer % 8) & 1 == 1;
            let mut named = Vec::new();
            for attempt in &attempts {
                let mut data = right;
                for (at, &(peer, lies)) in attempt.iter().take(6).enumerate() {
                    ban.received(PIECE, at as u32, peer % 8);
                    data[at] = u8::from(lies && is_liar(peer));
                }
                match data == right {
                    true => named.extend(ban.passed(PIECE, blocks(&data))),
                    false => named.extend(ban.failed(PIECE, &digests(&data))),
                }
            }
            let lied = |peer: u8| attempts.iter().any(|attempt| {
                attempt.iter().take(6).any(|&(p, lies)| p % 8 == peer && lies && is_liar(p))
            });
            TestResult::from_bool(named.into_iter().all(lied))
        }
    }
}
