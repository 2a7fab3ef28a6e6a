//! The picker against a model without any index: after each step of any history both say the same.

use std::collections::{BTreeMap, BTreeSet};

use quickcheck::{Arbitrary, Gen, quickcheck};

use super::super::*;
use super::sorted;
use crate::padding::Padding;
use crate::piece::BLOCK_LEN;

const PEERS: u32 = 5;

#[derive(Clone, Debug)]
enum Op {
    Join(u32, u64, u64),
    JoinSeed(u32),
    Leave(u32),
    Refuse(u32),
    Have(u32, u32),
    Lost(u32, u32),
    Priority(u32, u8),
    Sequential(bool),
    Pick { peer: u32, count: usize, pace: u8, suggested: Vec<u32> },
    PickAllowed { peer: u32, count: usize, allowed: Vec<u32> },
    Receive(u32, usize),
    ReceiveAny(u32, u32, u32),
    Release(u32, usize),
    Pass,
    Fail,
    FailBlocks(u64),
    MarkHave(u32),
    UnmarkHave(u32),
    Hold(u32),
    LetGo(u32),
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        let peer = u32::arbitrary(g) % PEERS;
        let piece = u32::arbitrary(g) % 80;
        let count = usize::arbitrary(g) % 9;
        let few = |g: &mut Gen| (0..3).map(|_| u32::arbitrary(g) % 80).collect();
        match u8::arbitrary(g) % 40 {
            0..4 => Op::Join(peer, u64::arbitrary(g), u64::arbitrary(g)),
            4 | 36 => Op::JoinSeed(peer),
            5 => Op::Leave(peer),
            6..8 => Op::Have(peer, piece),
            8 | 37..40 => Op::Lost(peer, piece),
            9..11 => Op::Priority(piece, u8::arbitrary(g)),
            11 => Op::Sequential(bool::arbitrary(g)),
            12..18 => Op::Pick { peer, count, pace: u8::arbitrary(g), suggested: few(g) },
            18 => Op::PickAllowed { peer, count, allowed: few(g) },
            19..24 => Op::Receive(peer, usize::arbitrary(g)),
            24 => Op::ReceiveAny(peer, piece, u32::arbitrary(g) % 3),
            25 => Op::Release(peer, usize::arbitrary(g)),
            26 => Op::Pass,
            27 => Op::Refuse(peer),
            28 => Op::Fail,
            29 => Op::FailBlocks(u64::arbitrary(g)),
            30 => Op::MarkHave(piece),
            31 => Op::UnmarkHave(piece),
            32..34 => Op::Hold(piece),
            _ => Op::LetGo(piece),
        }
    }
}

#[derive(Clone, Default)]
struct ModelBlock {
    asked: BTreeSet<PeerKey>,
    received: bool,
}

struct ModelPeer {
    has: Bitfield,
    counted_as_seed: bool,
}

/// The same as the picker, without any index.
struct Model {
    geometry: Geometry,
    picker: Picker,
    peers: BTreeMap<PeerKey, ModelPeer>,
    have: BTreeSet<PieceIndex>,
    failed: BTreeSet<PieceIndex>,
    held: BTreeSet<PieceIndex>,
    priority: Vec<FilePriority>,
    blocks: BTreeMap<Block, ModelBlock>,
    sequential: bool,
    /// Peers that have sent a block that was missing.
    refusing: BTreeSet<PeerKey>,
}

impl Model {
    fn new(pieces: u32, blocks: u32, tail: u32, seed: u8) -> Self {
        let piece_len = blocks * BLOCK_LEN;
        let total = u64::from(pieces) * u64::from(piece_len) - u64::from(tail % piece_len);
        // Padding within a block, of some blocks, or of more than a piece, anywhere.
        let longest = [100, 3 * BLOCK_LEN, 3 * piece_len][tail as usize % 3];
        let before = u64::from(tail).wrapping_mul(7919) % total;
        let padding = u64::from(longest).min(total - before);
        let files = [(before, false), (padding, true), (total - before - padding, false)];
        let geometry = Geometry::new(total, piece_len).unwrap();
        let geometry = geometry.with_padding(Padding::of_files(files));
        let geometry = &geometry;
        let all = geometry.iter().flat_map(|piece| {
            (0..geometry.blocks_of(piece)).map(move |number| geometry.block(piece, number))
        });
        let all = all.filter(|block| block.length > 0);
        Model {
            geometry: geometry.clone(),
            picker: Picker::new(geometry.clone(), PolicyRng::from_seed([seed; 32])),
            peers: BTreeMap::new(),
            have: BTreeSet::new(),
            failed: BTreeSet::new(),
            held: BTreeSet::new(),
            priority: vec![FilePriority::Normal; pieces as usize],
            blocks: all.map(|block| (block, ModelBlock::default())).collect(),
            sequential: false,
            refusing: BTreeSet::new(),
        }
    }

    fn piece(&self, number: u32) -> PieceIndex {
        PieceIndex(number % self.geometry.pieces())
    }

    fn blocks_of(&self, piece: PieceIndex) -> impl Iterator<Item = (&Block, &ModelBlock)> {
        self.blocks.iter().filter(move |(block, _)| block.piece == piece)
    }

    fn in_progress(&self, piece: PieceIndex) -> bool {
        !self.have.contains(&piece)
            && self.blocks_of(piece).any(|(_, b)| b.received || !b.asked.is_empty())
    }

    fn complete(&self) -> Option<PieceIndex> {
        self.geometry.iter().find(|piece| {
            !self.have.contains(piece)
                && !self.geometry.is_padding(*piece)
                && self.blocks_of(*piece).all(|(_, b)| b.received)
        })
    }

    fn interesting(&self, piece: PieceIndex) -> bool {
        self.priority[piece.at()] != FilePriority::Skip && !self.have.contains(&piece)
    }

    /// Whether a piece is not to be begun.
    fn is_held(&self, piece: PieceIndex) -> bool {
        self.held.contains(&piece) && !self.in_progress(piece)
    }

    /// Blocks that nobody was asked for and that could be asked for.
    fn open_blocks(&self) -> impl Iterator<Item = Block> {
        self.blocks
            .iter()
            .filter(|(block, b)| self.interesting(block.piece) && !b.received && b.asked.is_empty())
            .map(|(block, _)| *block)
            .filter(|block| !self.is_held(block.piece))
    }

    /// Whether a piece failed and some other peer fetches it: who is at what, the picker must say.
    fn is_anothers(&self, piece: PieceIndex, peer: Option<PeerKey>) -> bool {
        let partial = self.picker.partials.get(piece);
        let owner = partial.and_then(|partial| self.picker.reserved_for(partial));
        let failed = self.failed.contains(&piece);
        assert!(failed || owner.is_none(), "{piece:?} did not fail");
        owner.is_some() && owner != peer
    }

    fn availability(&self, piece: PieceIndex) -> usize {
        self.peers.values().filter(|peer| peer.has.has(piece)).count()
    }

    fn asked_of(&self, peer: PeerKey) -> Vec<Block> {
        let asked = self.blocks.iter().filter(|(_, b)| b.asked.contains(&peer));
        asked.map(|(block, _)| *block).collect()
    }

    fn clear(&mut self, piece: PieceIndex) {
        for (block, state) in &mut self.blocks {
            if block.piece == piece {
                *state = ModelBlock::default();
            }
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Join(peer, low, high) => {
                let mut has = Bitfield::new(self.geometry.pieces());
                for piece in self.geometry.iter() {
                    let bits = if piece.0 < 64 { low } else { high };
                    if bits >> (piece.0 % 64) & 1 == 1 {
                        has.set(piece);
                    }
                }
                self.join(PeerKey(peer), has, false);
            }
            Op::JoinSeed(peer) => {
                self.join(PeerKey(peer), Bitfield::full(self.geometry.pieces()), true);
            }
            Op::Leave(peer) => self.leave(PeerKey(peer)),
            Op::Refuse(peer) => {
                if self.peers.contains_key(&PeerKey(peer)) {
                    self.picker.peer_refuses(PeerKey(peer));
                    self.refusing.insert(PeerKey(peer));
                }
            }
            Op::Have(peer, piece) => {
                let piece = self.piece(piece);
                if let Some(peer) = self.peers.get_mut(&PeerKey(peer))
                    && peer.has.set(piece)
                {
                    match peer.counted_as_seed {
                        true => self.picker.seed_has(piece),
                        false => self.picker.peer_has(piece),
                    }
                }
            }
            Op::Lost(peer, piece) => {
                let piece = self.piece(piece);
                if let Some(peer) = self.peers.get_mut(&PeerKey(peer))
                    && peer.has.clear(piece)
                {
                    match peer.counted_as_seed {
                        true => self.picker.seed_lost(piece),
                        false => self.picker.peer_lost(piece),
                    }
                }
            }
            Op::Priority(piece, priority) => {
                use FilePriority::{High, Low, Normal, Skip};
                let priority = [Skip, Low, Normal, High][usize::from(priority % 4)];
                let piece = self.piece(piece);
                self.priority[piece.at()] = priority;
                self.picker.set_priority(piece, priority);
            }
            Op::Sequential(on) => {
                self.sequential = on;
                let order = if on { PieceOrder::Sequential } else { PieceOrder::RarestFirst };
                self.picker.set_order(order);
            }
            Op::Pick { peer, count, pace, suggested } => {
                let pace = [Pace::Slow, Pace::Medium, Pace::Fast][usize::from(pace % 3)];
                let suggested: Vec<_> = suggested.into_iter().map(PieceIndex).collect();
                let hints = PickHints { pace, allowed: None, suggested: &suggested };
                self.pick(PeerKey(peer), count, hints);
            }
            Op::PickAllowed { peer, count, allowed } => {
                let allowed: Vec<_> = allowed.into_iter().map(PieceIndex).collect();
                let hints = PickHints { allowed: Some(&allowed), ..PickHints::default() };
                self.pick(PeerKey(peer), count, hints);
            }
            Op::Receive(peer, nth) => {
                let asked = self.asked_of(PeerKey(peer));
                if !asked.is_empty() {
                    self.receive(PeerKey(peer), asked[nth % asked.len()]);
                }
            }
            Op::ReceiveAny(peer, piece, number) => {
                let block = self.geometry.block(self.piece(piece), number);
                self.receive(PeerKey(peer), block);
            }
            Op::Release(peer, nth) => {
                let asked = self.asked_of(PeerKey(peer));
                if !asked.is_empty() {
                    self.release(PeerKey(peer), asked[nth % asked.len()]);
                }
            }
            Op::Pass => {
                if let Some(piece) = self.complete() {
                    self.clear(piece);
                    self.have.insert(piece);
                    self.failed.remove(&piece);
                    self.picker.piece_passed(piece);
                }
            }
            Op::Fail => {
                if let Some(piece) = self.complete() {
                    self.clear(piece);
                    self.failed.insert(piece);
                    self.picker.piece_failed(piece);
                }
            }
            Op::FailBlocks(which) => {
                if let Some(piece) = self.complete() {
                    let wrong: Vec<_> = self.blocks_of(piece).map(|(block, _)| *block).collect();
                    let first = wrong[0];
                    let wrong: Vec<_> = wrong
                        .into_iter()
                        .filter(|b| *b == first || which >> b.number() & 1 == 1)
                        .collect();
                    for block in &wrong {
                        self.blocks.insert(*block, ModelBlock::default());
                    }
                    self.failed.insert(piece);
                    self.picker.blocks_failed(piece, &wrong);
                }
            }
            Op::Hold(piece) => {
                let piece = self.piece(piece);
                if self.have.contains(&piece) || !self.in_progress(piece) {
                    self.held.insert(piece);
                }
                self.picker.hold(piece);
            }
            Op::LetGo(piece) => {
                let piece = self.piece(piece);
                self.held.remove(&piece);
                self.picker.let_go(piece);
            }
            Op::MarkHave(piece) => {
                let piece = self.piece(piece);
                self.clear(piece);
                self.have.insert(piece);
                self.failed.remove(&piece);
                self.picker.mark_have(piece);
            }
            Op::UnmarkHave(piece) => {
                let piece = self.piece(piece);
                self.have.remove(&piece);
                self.picker.unmark_have(piece);
            }
        }
    }

    fn join(&mut self, peer: PeerKey, has: Bitfield, counted_as_seed: bool) {
        self.leave(peer);
        if counted_as_seed {
            self.picker.add_seed();
        } else {
            self.picker.add_peer_bitfield(&has);
        }
        self.peers.insert(peer, ModelPeer { has, counted_as_seed });
    }

    fn leave(&mut self, peer: PeerKey) {
        for block in self.asked_of(peer) {
            self.release(peer, block);
        }
        self.picker.peer_gone(peer);
        self.picker.forget_peer(peer);
        self.refusing.remove(&peer);
        match self.peers.remove(&peer) {
            Some(ModelPeer { has, counted_as_seed: true }) => self.picker.remove_seed(&has),
            Some(ModelPeer { has, .. }) => self.picker.remove_peer_bitfield(&has),
            None => {}
        }
    }

    fn release(&mut self, peer: PeerKey, block: Block) {
        self.blocks.get_mut(&block).unwrap().asked.remove(&peer);
        self.picker.release(peer, block);
    }

    fn receive(&mut self, peer: PeerKey, block: Block) {
        let got = self.picker.received(peer, block);
        let expected = if !self.geometry.is_block(block) {
            Received::NotWanted
        } else if self.have.contains(&block.piece) {
            Received::Duplicate
        } else if !self.in_progress(block.piece)
            && (!self.interesting(block.piece) || self.is_held(block.piece))
        {
            Received::NotWanted
        } else {
            let state = self.blocks.get_mut(&block).unwrap();
            if state.received {
                Received::Duplicate
            } else {
                state.received = true;
                self.refusing.remove(&peer);
                state.asked.remove(&peer);
                let also_requested_by = std::mem::take(&mut state.asked).into_iter().collect();
                let piece_complete = self.complete_now(block.piece);
                Received::Accepted { piece_complete, also_requested_by }
            }
        };
        assert_eq!(sorted(got), expected);
    }

    fn complete_now(&self, piece: PieceIndex) -> bool {
        self.blocks_of(piece).all(|(_, b)| b.received)
    }

    fn pick(&mut self, peer: PeerKey, count: usize, hints: PickHints<'_>) {
        let Some(has) = self.peers.get(&peer).map(|peer| peer.has.clone()) else { return };
        let mut out = Vec::new();
        let yielded = self.picker.pick(peer, &has, count, hints, &mut out);
        for (other, block) in yielded {
            assert!(self.is_end_game() && out.contains(&block));
            assert!(!self.refusing.contains(&peer) && self.refusing.contains(&other));
            let asked = &mut self.blocks.get_mut(&block).unwrap().asked;
            assert!(asked.len() == MAX_REQUESTERS && asked.remove(&other));
        }
        assert!(out.len() <= count);
        let may =
            |piece| has.has(piece) && hints.allowed.is_none_or(|allowed| allowed.contains(&piece));
        for block in &out {
            assert!(may(block.piece), "{block:?} was asked of a peer that does not send it");
            assert!(!self.is_anothers(block.piece, Some(peer)), "{block:?} is another's");
            assert!(self.interesting(block.piece));
            if hints.allowed.is_none() && !self.in_progress(block.piece) {
                self.check_new(peer, block.piece, &has, hints);
            }
            let state = &self.blocks[block];
            assert!(!state.received);
            assert!(!state.asked.contains(&peer), "{block:?} was asked of one peer twice");
            if !state.asked.is_empty() {
                assert!(self.is_end_game(), "{block:?} was asked of two peers");
                assert!(state.asked.len() < MAX_REQUESTERS);
            }
            self.blocks.get_mut(block).unwrap().asked.insert(peer);
        }
        if out.len() < count {
            let may = |piece| may(piece) && !self.is_anothers(piece, Some(peer));
            assert!(!self.open_blocks().any(|b| may(b.piece)), "a block was left lying");
            let again = |(block, b): (&Block, &ModelBlock)| {
                may(block.piece)
                    && self.interesting(block.piece)
                    && !b.asked.is_empty()
                    && !b.asked.contains(&peer)
                    && (b.asked.len() < MAX_REQUESTERS
                        || hints.allowed.is_none()
                            && !self.refusing.contains(&peer)
                            && b.asked.iter().any(|other| self.refusing.contains(other)))
            };
            assert!(!self.is_end_game() || !self.blocks.iter().any(again), "end game left some");
        }
    }

    /// The piece that is begun is one of the best.
    fn check_new(&self, peer: PeerKey, piece: PieceIndex, has: &Bitfield, hints: PickHints<'_>) {
        let priority = self.priority[piece.at()];
        let better = self.open_blocks().find(|b| {
            has.has(b.piece)
                && self.priority[b.piece.at()] > priority
                && !self.is_anothers(b.piece, Some(peer))
        });
        assert_eq!(better, None, "of higher priority than {piece:?}");
        let mut rivals = self.geometry.iter().filter(|rival| {
            self.interesting(*rival)
                && !self.in_progress(*rival)
                && !self.is_held(*rival)
                && !self.geometry.is_padding(*rival)
                && has.has(*rival)
                && self.priority[rival.at()] == priority
        });
        let begun = self.geometry.iter().filter(|piece| self.in_progress(*piece)).count();
        if self.sequential {
            assert_eq!(rivals.next(), Some(piece));
        } else if !hints.suggested.contains(&piece) && self.have.len() + begun >= 4 {
            let rarest = rivals.map(|rival| self.availability(rival)).min();
            assert_eq!(Some(self.availability(piece)), rarest, "{piece:?} is not the rarest");
        }
    }

    fn is_end_game(&self) -> bool {
        let holds = self.held.iter().any(|piece| self.interesting(*piece));
        !holds
            && !self.open_blocks().any(|block| {
                self.availability(block.piece) > 0 && !self.is_anothers(block.piece, None)
            })
    }

    fn check(&self) {
        let picker = &self.picker;
        let lanes = picker.buckets.check();
        picker.partials.check();
        let mut left = 0;
        let (mut wanted_bytes, mut missing_bytes) = (0, 0);
        for piece in self.geometry.iter() {
            assert_eq!(picker.availability(piece) as usize, self.availability(piece));
            assert_eq!(picker.have().has(piece), self.have.contains(&piece));
            assert_eq!(picker.is_interesting(piece), self.interesting(piece));
            let may_begin = !self.is_held(piece) && !self.geometry.is_padding(piece);
            let open = self.interesting(piece) && !self.in_progress(piece) && may_begin;
            assert_eq!(picker.open.has(piece), open);
            assert_eq!(lanes[lane(self.priority[piece.at()])].contains(&piece), open);
            let here = self.have.contains(&piece);
            let blocks_left = self.blocks_of(piece).filter(|(_, b)| !here && !b.received).count();
            assert_eq!(picker.blocks_left(piece) as usize, blocks_left);
            let is_verifying = !here && blocks_left == 0 && !self.geometry.is_padding(piece);
            assert_eq!(picker.is_verifying(piece), is_verifying);
            left += u32::from(self.interesting(piece));
            let bytes = u64::from(self.geometry.data_len_of(piece));
            if self.priority[piece.at()] != FilePriority::Skip {
                wanted_bytes += bytes;
            }
            if self.interesting(piece) {
                missing_bytes += bytes;
            }
        }
        assert_eq!(picker.wanted_left(), left);
        assert_eq!(picker.is_finished(), left == 0);
        assert_eq!(picker.wanted_bytes(), wanted_bytes);
        assert_eq!(picker.missing_bytes(), missing_bytes);
        let begun = self.geometry.iter().filter(|piece| self.in_progress(*piece)).count();
        assert_eq!(picker.num_in_progress(), begun);
        assert_eq!(picker.is_end_game(), self.is_end_game());
        for peer in self.peers.values() {
            let interesting = peer.has.iter().filter(|piece| self.interesting(*piece)).count();
            assert_eq!(picker.interesting_count(&peer.has) as usize, interesting);
        }
    }

    /// With a seed there and every peer doing its part, the download ends.
    fn finish(mut self) {
        (0..self.geometry.pieces()).for_each(|piece| self.apply(Op::LetGo(piece)));
        let padding: Vec<PieceIndex> = self.geometry.padding_pieces().collect();
        padding.into_iter().for_each(|piece| self.apply(Op::MarkHave(piece.0)));
        self.join(PeerKey(PEERS), Bitfield::full(self.geometry.pieces()), true);
        for _ in 0..10 * self.blocks.len() + 10 {
            if self.picker.is_finished() {
                break;
            }
            for peer in self.peers.keys().copied().collect::<Vec<_>>() {
                self.pick(peer, 2, PickHints::default());
                if let Some(block) = self.asked_of(peer).first() {
                    self.receive(peer, *block);
                }
            }
            self.apply(Op::Pass);
            self.check();
        }
        assert!(self.picker.is_finished());
    }
}

quickcheck! {
    fn any_history_agrees_with_the_model_and_can_be_finished(
        ops: Vec<Op>, pieces: u8, blocks: u8, tail: u32, seed: u8
    ) -> bool {
        let pieces = u32::from(pieces % 80) + 1;
        let mut model = Model::new(pieces, u32::from(blocks % 3) + 1, tail, seed);
        for op in ops {
            model.apply(op);
            model.check();
        }
        model.finish();
        true
    }

    fn releasing_everything_leaves_nothing_in_progress_but_what_was_received(
        ops: Vec<Op>, pieces: u8, seed: u8
    ) -> bool {
        let mut model = Model::new(u32::from(pieces % 80) + 1, 2, 5, seed);
        ops.into_iter().for_each(|op| model.apply(op));
        for peer in (0..PEERS).map(PeerKey) {
            model.leave(peer);
        }
        model.check();
        let touched = |piece: &PieceIndex| model.blocks_of(*piece).any(|(_, b)| b.received);
        let begun = model.geometry.iter().filter(touched).count();
        model.picker.num_in_progress() == begun
            && model.geometry.iter().all(|piece| model.picker.availability(piece) == 0)
    }
}
