//! Sources that could be asked for more than there was to pick, in the order in which they are asked when
//! there is something again: who has waited longest comes first (defence 42).
//!
//! The last blocks, and those of a piece that failed, are asked of few sources at once. In an order of
//! slots, who connects anew again and again and never sends anything would be asked before who waits with
//! all of it. So a source that comes is last, and one that was asked and did not send is last again. Who
//! chokes us for a while keeps its turn: seeders give their slots to many in turn.

use std::collections::{BTreeMap, BTreeSet};

use crate::torrent::download::Source;

/// The sources with room in their pipelines.
#[derive(Debug, Default)]
pub(super) struct Underfilled {
    sources: BTreeSet<Source>,
    /// Of all sources that ever had room, their turns: the least is next.
    turns: BTreeMap<Source, u64>,
    next_turn: u64,
}

impl Underfilled {
    /// A source has room. One that had room before has the turn that it had then.
    pub(super) fn insert(&mut self, source: Source) {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns.entry(source).or_insert(turn);
        self.sources.insert(source);
    }

    /// A source did not send what it was asked for, and has room: it waits behind all others.
    pub(super) fn insert_last(&mut self, source: Source) {
        self.forget(source);
        self.insert(source);
    }

    /// A source has no room for now.
    pub(super) fn remove(&mut self, source: Source) {
        self.sources.remove(&source);
    }

    /// A source is gone.
    pub(super) fn forget(&mut self, source: Source) {
        self.sources.remove(&source);
        self.turns.remove(&source);
    }

    /// None has room.
    pub(super) fn clear(&mut self) {
        self.sources.clear();
    }

    /// All of them, in turn. O(n log n).
    pub(super) fn in_turn(&self) -> Vec<Source> {
        let mut sources: Vec<Source> = self.sources.iter().copied().collect();
        sources.sort_by_cached_key(|source| self.turns.get(source).copied());
        sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picker::PeerKey;

    #[test]
    fn who_has_waited_longest_is_next_and_who_sent_nothing_is_last() {
        let source = |number: u32| Source::of(PeerKey(number));
        let mut underfilled = Underfilled::default();
        [7, 2, 5, 7].into_iter().for_each(|number| underfilled.insert(source(number)));
        assert_eq!(underfilled.in_turn(), [7, 2, 5].map(source));
        underfilled.insert_last(source(7));
        underfilled.remove(source(2));
        underfilled.insert(source(2));
        assert_eq!(underfilled.in_turn(), [2, 5, 7].map(source), "it had no room for a while");
        underfilled.forget(source(2));
        underfilled.insert(source(2));
        assert_eq!(underfilled.in_turn(), [5, 7, 2].map(source), "another of the same key");
        underfilled.clear();
        assert_eq!(underfilled.in_turn(), []);
    }
}
