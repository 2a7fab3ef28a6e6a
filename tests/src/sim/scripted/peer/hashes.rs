//! What a scripted peer does with hash requests (BEP 52): it answers them, or lies, rejects, keeps
//! silent; and it asks itself, as one does who has no piece layers, and judges each answer.

use std::iter;

use super::{Dice, EndId, Io, Peer};
use crate::sim::content::Content;
use crate::sim::peer_wire::{HashRun, Msg, Run};

/// Requests for hashes that it makes on a connection at most (chosen).
const MOST_ASKED: usize = 24;

/// What a peer does with requests for hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashes {
    /// Answers with what is asked for, and rejects what cannot be.
    Gives,
    /// Answers, but the hashes asked for are wrong.
    Wrong,
    /// Answers, but the last hash is wrong: the proof, where there is one.
    WrongProof,
    /// Answers leave out a hash, or have one too many.
    WrongLength,
    /// Rejects everything.
    Rejects,
    /// Never answers.
    Stalls,
    /// Answers, and sends as many hashes that nobody asked for with each message it gets.
    Floods(u32),
}

impl Hashes {
    /// Whether it may be banned for that.
    pub fn is_a_lie(self) -> bool {
        !matches!(self, Hashes::Gives | Hashes::Rejects | Hashes::Stalls)
    }
}

impl Peer {
    /// A request for hashes that was never answered, if any: not on this connection, nor on an earlier one
    /// that has ended since.
    pub fn unanswered(&self) -> Option<HashRun> {
        let waiting = self.links.values().flat_map(|link| &link.hashes_asked);
        waiting.copied().find(|run| !self.hashes_answered.contains(run))
    }

    /// Asks for hashes, if it does, and sends those that nobody asked for.
    pub(super) fn begin_hashes(&mut self, io: &mut Io<'_, '_>, end: EndId) {
        let Some(link) = self.links.get_mut(&end).filter(|link| link.v2) else { return };
        if self.behaviour.asks_hashes {
            for run in requests(&self.content) {
                if link.hashes_asked.insert(run) {
                    io.write(end, Msg::HashRequest(run).to_bytes());
                }
            }
        }
        if let Hashes::Floods(times) = self.behaviour.hashes {
            for run in requests(&self.content).into_iter().cycle().take(times as usize) {
                let hashes = self.dice.bytes(run.length as usize * 32);
                self.counts.false_hashes += 1;
                io.write(end, Msg::Hashes { run, hashes: &hashes }.to_bytes());
                io.write(end, Msg::HashReject(run).to_bytes());
            }
        }
    }

    /// Asks for the leaf hashes of a block that it has just asked for, and of some beside it.
    pub(super) fn ask_leaves(&mut self, io: &mut Io<'_, '_>, end: EndId, block: Run) {
        let Some(link) = self.links.get_mut(&end).filter(|link| link.v2) else { return };
        let leaf = self.content.leaf_at(block.piece, block.begin);
        let Some((tree, leaf)) = leaf.filter(|_| self.behaviour.asks_hashes) else { return };
        let width = tree.layer(0).len() as u32;
        if width < 2 || !self.dice.chance(200) {
            return;
        }
        let length = 1 << self.dice.between(1..=width.ilog2().min(9).into());
        let proof_layers = self.dice.index(tree.height() as usize) as u32;
        let (pieces_root, index) = (tree.root(), leaf / length * length);
        let run = HashRun { pieces_root, base_layer: 0, index, length, proof_layers };
        if link.hashes_asked.insert(run) {
            io.write(end, Msg::HashRequest(run).to_bytes());
        }
    }

    pub(super) fn talk_of_hashes(&mut self, io: &mut Io<'_, '_>, end: EndId, message: &Msg<'_>) {
        let Some(link) = self.links.get_mut(&end) else { return };
        if !link.v2 {
            return io.complain(format!("got {message} on a connection of v1"));
        }
        match *message {
            Msg::HashRequest(run) => self.answer_hashes(io, end, run),
            Msg::Hashes { run, hashes } => {
                let asked = link.hashes_asked.remove(&run);
                self.hashes_answered.insert(run);
                self.counts.proven += 1;
                if !asked || !self.content.proves(&run, hashes) {
                    io.complain(format!("got hashes that are wrong or not asked for: {run}"));
                }
            }
            Msg::HashReject(run) => {
                self.hashes_answered.insert(run);
                self.counts.hash_rejects += 1;
                if !link.hashes_asked.remove(&run) {
                    io.complain(format!("got a reject of hashes that were not asked for: {run}"));
                }
            }
            _ => {}
        }
    }

    fn answer_hashes(&mut self, io: &mut Io<'_, '_>, end: EndId, run: HashRun) {
        self.counts.hash_requests += 1;
        let tree = self.content.trees().get(&run.pieces_root);
        let truth = tree.and_then(|tree| tree.answer(&run));
        let reject = Msg::HashReject(run).to_bytes();
        let Some(mut hashes) = truth else { return io.write(end, reject) };
        match self.behaviour.hashes {
            Hashes::Gives | Hashes::Floods(_) => {}
            Hashes::Rejects => return io.write(end, reject),
            Hashes::Stalls => return,
            Hashes::Wrong => {
                let at = self.dice.index(run.length as usize * 32);
                hashes[at] ^= 0xff;
            }
            Hashes::WrongProof => {
                let last = hashes.len() - 1;
                hashes[last] ^= 1;
            }
            Hashes::WrongLength => spoil_length(&mut hashes, &mut self.dice),
        }
        self.counts.false_hashes += u64::from(!self.content.proves(&run, &hashes));
        io.write(end, Msg::Hashes { run, hashes: &hashes }.to_bytes());
    }
}

fn spoil_length(hashes: &mut Vec<u8>, dice: &mut Dice) {
    if dice.chance(500) {
        hashes.truncate(hashes.len() - 32);
    } else {
        hashes.extend([7; 32]);
    }
}

/// What one asks who has no piece layers, and who does not believe the blocks: all layers of pieces,
/// in runs of several lengths, the leaves of some pieces, leaves with more proof than anybody needs,
/// which may be rejected, and hashes of a file that there is not, which must be.
pub(in crate::sim::scripted) fn requests(content: &Content) -> Vec<HashRun> {
    let layer = content.piece_layer();
    let of_pieces = content.layered().zip([512, 2, 8].into_iter().cycle());
    let of_pieces = of_pieces.flat_map(|((tree, pieces), most)| tree.runs(layer, pieces, most));
    let leaves = content.trees().values().flat_map(|tree| {
        let whole = tree.runs(0, 1, 1 << layer);
        // What a piece's hash proves needs no proof.
        let enough = whole.iter().map(|run| HashRun { proof_layers: layer.max(1) - 1, ..*run });
        let mut runs: Vec<HashRun> = enough.chain(tree.runs(0, 1, 2)).collect();
        runs.retain(|run| tree.may_be_asked(run));
        runs
    });
    let nobodys = HashRun {
        pieces_root: [0xee; 32],
        base_layer: layer,
        index: 0,
        length: 2,
        proof_layers: 0,
    };
    let asked = iter::once(nobodys).chain(leaves.take(MOST_ASKED / 2)).chain(of_pieces);
    asked.take(MOST_ASKED).collect()
}
