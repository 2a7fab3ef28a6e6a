//! Blocks that peers are late with: asked for there, given up to others, and welcome all the same.
//!
//! When such a block comes from elsewhere, those who are late are told not to send it any more, as
//! in the end game (BEP 3, "cancel"): else a slow peer spends its time on what is here already. The
//! pipeline of each peer says which of its requests are late; this is its inverse, by block, so
//! that a block that comes in costs O(log n) and not a look at every peer. Invariant: a peer is
//! listed for a block only as long as its pipeline holds that request.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::peer::PeerSlot;
use crate::piece::Block;

/// Who is late with which block.
#[derive(Debug, Default)]
pub(crate) struct LateBlocks(BTreeMap<Block, SmallVec<[PeerSlot; 2]>>);

impl LateBlocks {
    /// A peer is late with a block.
    pub(crate) fn add(&mut self, block: Block, peer: PeerSlot) {
        let peers = self.0.entry(block).or_default();
        if !peers.contains(&peer) {
            peers.push(peer);
        }
    }

    /// A peer's request ended.
    pub(crate) fn remove(&mut self, block: Block, peer: PeerSlot) {
        if let Some(peers) = self.0.get_mut(&block) {
            peers.retain(|late| *late != peer);
            if peers.is_empty() {
                self.0.remove(&block);
            }
        }
    }

    /// The block is here: all who are late with it, in the order in which they became so.
    pub(crate) fn take(&mut self, block: Block) -> SmallVec<[PeerSlot; 2]> {
        self.0.remove(&block).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;
    use crate::piece::PieceIndex;

    #[test]
    fn whoever_is_late_is_listed_once_until_the_request_ends_or_the_block_comes() {
        let block = |number: u32| Block { piece: PieceIndex(0), begin: number, length: 1 };
        let peer = |number: u32| PeerSlot::new(number, 0);
        let mut late = LateBlocks::default();
        for (number, who) in [(0, 2), (0, 1), (0, 2), (1, 1)] {
            late.add(block(number), peer(who));
        }
        late.remove(block(1), peer(1));
        assert!(late.take(block(1)).is_empty());
        assert_eq!(late.take(block(0)).as_slice(), [peer(2), peer(1)]);
        assert!(late.0.is_empty());
    }
}
