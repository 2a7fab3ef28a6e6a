//! Blocks that sources are late with: requested there, released to others, and welcome all the same.
//!
//! When such a block comes from elsewhere, the late requests for it are cancelled, as in the end game
//! (BEP 3, "cancel"): else a slow peer spends its time on what is here already. The pipeline of each
//! source says which of its requests are late; this is its inverse, by block, so that a block that
//! comes in costs O(log n) and not a look at every source. Invariant: a source is listed for a block
//! only as long as its pipeline holds that request.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::piece::Block;
use crate::torrent::download::Source;

/// Which sources are late with which block.
#[derive(Debug, Default)]
pub(super) struct LateBlocks(BTreeMap<Block, SmallVec<[Source; 2]>>);

impl LateBlocks {
    /// A source is late with a block.
    pub(super) fn add(&mut self, block: Block, source: Source) {
        let sources = self.0.entry(block).or_default();
        if !sources.contains(&source) {
            sources.push(source);
        }
    }

    /// A source's request ended.
    pub(super) fn remove(&mut self, block: Block, source: Source) {
        if let Some(sources) = self.0.get_mut(&block) {
            sources.retain(|late| *late != source);
            if sources.is_empty() {
                self.0.remove(&block);
            }
        }
    }

    /// The block is here: appends all sources that are late with it, in the order in which they became
    /// so.
    pub(super) fn take(&mut self, block: Block, to: &mut SmallVec<[Source; 2]>) {
        if let Some(sources) = self.0.remove(&block) {
            to.extend(sources);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picker::PeerKey;
    use crate::piece::PieceIndex;

    #[test]
    fn late_source_is_listed_once_until_the_request_ends_or_the_block_comes() {
        let block = |number: u32| Block { piece: PieceIndex(0), begin: number, length: 1 };
        let source = |number: u32| Source::of(PeerKey(number));
        let mut late = LateBlocks::default();
        for (number, who) in [(0, 2), (0, 1), (0, 2), (1, 1)] {
            late.add(block(number), source(who));
        }
        late.remove(block(1), source(1));
        let mut taken = SmallVec::new();
        late.take(block(1), &mut taken);
        assert!(taken.is_empty());
        late.take(block(0), &mut taken);
        assert_eq!(taken.as_slice(), [source(2), source(1)]);
        assert!(late.0.is_empty());
    }
}
