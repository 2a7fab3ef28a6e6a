//! Files that torrents of the session have whole, found by what is in them (BEP 38, by the merkle
//! roots of BEP 52).
//!
//! A root and a length are the content: a torrent that lacks a file which another has need not fetch
//! it. Of torrents that still look at their files it is not known what they have; a torrent that lacks
//! such a file may wait for one of them. None waits for one that waits, so none waits for ever. What is
//! known here was whole when it was noted; the disk may have lost it since, so whatever is made of it
//! is checked like any other data.

use std::collections::{BTreeMap, BTreeSet};

use crate::disk::FileIndex;
use crate::id::{Id, StoreId, TorrentId};
use crate::piece::Sha256Hash;

/// Where a file lies.
pub(crate) type FilePlace = (StoreId, FileIndex);

/// What tells a file's content from others: its root and its length.
pub(crate) type FileKey = (Sha256Hash, u64);

/// Whole files by their content, and stores that may turn out to have some.
#[derive(Debug, Default)]
pub(crate) struct SimilarFiles {
    /// Of several copies one is known, the last noted.
    whole: BTreeMap<FileKey, FilePlace>,
    /// What stores may have whose files are still looked at.
    expected: BTreeSet<(FileKey, StoreId)>,
    waiting: BTreeMap<StoreId, Vec<TorrentId>>,
    /// Which torrent lacks which file.
    wanted: BTreeSet<(FileKey, TorrentId)>,
    /// Torrents that were asked to look for what is whole, and have not looked.
    called: BTreeSet<TorrentId>,
}

impl SimilarFiles {
    /// A store may turn out to have a file.
    pub(crate) fn expect(&mut self, key: FileKey, store: StoreId) {
        self.expected.insert((key, store));
    }

    /// A file is whole. The torrents that lack it and are now to look for it.
    #[must_use]
    pub(crate) fn add(&mut self, key: FileKey, place: FilePlace) -> Vec<TorrentId> {
        self.whole.insert(key, place);
        let mut called = self.wanting(key).collect::<Vec<_>>();
        called.retain(|id| self.called.insert(*id));
        called
    }

    /// A torrent looks for the files that it lacks.
    pub(crate) fn looked(&mut self, who: TorrentId) {
        self.called.remove(&who);
    }

    /// A torrent that runs lacks a file: it is to look again when another has it.
    pub(crate) fn want(&mut self, key: FileKey, who: TorrentId) {
        self.wanted.insert((key, who));
    }

    /// A torrent lacks a file no more.
    pub(crate) fn want_no_more(&mut self, key: FileKey, who: TorrentId) {
        self.wanted.remove(&(key, who));
    }

    /// Whether a torrent other than `own` lacks a file with this content.
    pub(crate) fn is_wanted(&self, key: FileKey, own: TorrentId) -> bool {
        self.wanting(key).any(|who| who != own)
    }

    fn wanting(&self, key: FileKey) -> impl Iterator<Item = TorrentId> + '_ {
        let from = self.wanted.range((key, TorrentId::new(0, 0))..);
        from.take_while(move |entry| entry.0 == key).map(|entry| entry.1)
    }

    /// Nothing more is expected of a store that may have had files with these `keys`. The torrents that
    /// waited for it.
    #[must_use]
    pub(crate) fn settle(
        &mut self,
        keys: impl IntoIterator<Item = FileKey>,
        store: StoreId,
    ) -> Vec<TorrentId> {
        for key in keys {
            self.expected.remove(&(key, store));
        }
        self.waiting.remove(&store).unwrap_or_default()
    }

    /// The file of a store is not to be found any more.
    pub(crate) fn remove(&mut self, key: FileKey, store: StoreId) {
        if self.find(key).is_some_and(|(known, _)| known == store) {
            self.whole.remove(&key);
        }
    }

    /// A file with this content.
    pub(crate) fn find(&self, key: FileKey) -> Option<FilePlace> {
        self.whole.get(&key).copied()
    }

    /// A store other than `own` that may turn out to have a file with this content.
    pub(crate) fn find_expected(&self, key: FileKey, own: StoreId) -> Option<StoreId> {
        let from = self.expected.range((key, StoreId::new(0, 0))..);
        let mut stores = from.take_while(|entry| entry.0 == key).map(|entry| entry.1);
        stores.find(|store| *store != own)
    }

    /// A torrent waits until nothing more is expected of a store.
    pub(crate) fn wait(&mut self, store: StoreId, who: TorrentId) {
        self.waiting.entry(store).or_default().push(who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(slot: u32) -> StoreId {
        StoreId::new(slot, 0)
    }

    #[test]
    fn a_file_is_found_until_its_own_store_takes_it_away() {
        let mut files = SimilarFiles::default();
        let content = ([1; 32], 5);
        assert_eq!(files.add(content, (store(0), FileIndex(3))), []);
        assert_eq!(files.find(content), Some((store(0), FileIndex(3))));
        assert_eq!(files.find(([1; 32], 6)), None, "roots of other lengths are other files");
        assert_eq!(files.add(content, (store(1), FileIndex(0))), []);
        files.remove(content, store(0));
        assert_eq!(files.find(content), Some((store(1), FileIndex(0))));
        files.remove(content, store(1));
        assert_eq!(files.find(content), None);
    }

    #[test]
    fn a_torrent_that_lacks_a_file_is_called_once_until_it_looks() {
        let mut files = SimilarFiles::default();
        let (content, who, other) = (([1; 32], 5), TorrentId::new(7, 0), TorrentId::new(0, 3));
        files.want(content, who);
        assert!(files.is_wanted(content, other) && !files.is_wanted(content, who));
        assert_eq!(files.add(([1; 32], 6), (store(0), FileIndex(0))), []);
        assert_eq!(files.add(content, (store(0), FileIndex(0))), [who]);
        assert_eq!(files.add(content, (store(1), FileIndex(0))), []);
        files.looked(who);
        assert_eq!(files.add(content, (store(1), FileIndex(0))), [who]);
        files.looked(who);
        files.want_no_more(content, who);
        assert_eq!(files.add(content, (store(2), FileIndex(0))), []);
    }

    #[test]
    fn who_waits_is_woken_once_when_nothing_more_is_expected() {
        let mut files = SimilarFiles::default();
        let (content, who) = (([1; 32], 5), TorrentId::new(7, 0));
        files.expect(content, store(0));
        files.expect(content, store(1));
        assert_eq!(files.find_expected(content, store(0)), Some(store(1)));
        assert_eq!(files.find_expected(([2; 32], 5), store(0)), None);
        files.wait(store(1), who);
        assert_eq!(files.settle([content], store(0)), []);
        assert_eq!(files.settle([content], store(1)), [who]);
        assert_eq!(files.settle([content], store(1)), []);
        assert_eq!(files.find_expected(content, store(2)), None);
    }
}
