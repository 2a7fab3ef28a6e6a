//! Files that need not be fetched, because another torrent of the session has them whole (BEP 38;
//! by the merkle roots of BEP 52, so between torrents that have a v2 part).
//!
//! Wanted files that are missing are copied after the check, when it is known that they may be made,
//! and hashed like anything else on disk: a copy that is not what it should be costs time and nothing
//! else. Where the file system can, a copy shares what is stored with its model until one of them is
//! written to. Never by a hard link: that would be one file under two names, and whatever is written to
//! it under one of them, by us before it is verified or by the user, would be in the other torrent too.
//!
//! If a torrent with such a file is still being checked, that is waited for. What becomes whole
//! elsewhere after the check is read from there as one of the sources of the
//! [`Download`](super::download).

use crate::bitfield::Bitfield;
use crate::disk::FileIndex;
use crate::id::{StoreId, TorrentId};
use crate::piece::PieceIndex;
use crate::session::asks::Ask;
use crate::session::similar_files::{FileKey, FilePlace, SimilarFiles};
use crate::torrent::content::Content;
use crate::torrent::download::LocalFile;

/// A torrent's files as the other torrents of the session see them, and theirs as it does.
#[derive(Clone, Copy, Debug)]
pub(super) struct SharedFiles<'a> {
    pub(super) id: TorrentId,
    pub(super) store: StoreId,
    /// What the torrent consists of, once that is known.
    pub(super) content: Option<&'a Content>,
    /// The pieces that are here.
    pub(super) have: &'a Bitfield,
}

/// What is to be done for files that are missing when the check is done.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Reuse {
    /// No other torrent has one, or may have.
    Nothing,
    /// Another torrent has one.
    Copy,
    /// The torrent of this store may have one: it is still being checked.
    Wait(StoreId),
}

impl SharedFiles<'_> {
    /// The files that have a root, with what tells their content from others.
    fn keyed(&self) -> impl Iterator<Item = (FileIndex, FileKey)> + '_ {
        self.content.into_iter().flat_map(Content::keyed_files)
    }

    /// The wanted files of which something is missing.
    fn lacking(&self) -> impl Iterator<Item = (FileIndex, FileKey)> + '_ {
        let is_missing =
            |content: &Content, file| content.is_wanted(file) && !content.has_file(self.have, file);
        self.keyed()
            .filter(move |(file, _)| self.content.is_some_and(|content| is_missing(content, *file)))
    }

    // At the start.

    /// Others may find its files, once it is known which are whole.
    pub(super) fn expect(&self, index: &mut SimilarFiles) {
        for (_, key) in self.keyed() {
            index.expect(key, self.store);
        }
    }

    /// What is to be done for the wanted files that are missing.
    pub(super) fn reuse(
        &self,
        index: &SimilarFiles,
        is_missing: impl Fn(FileIndex) -> bool,
    ) -> Reuse {
        let Some(content) = self.content else { return Reuse::Nothing };
        let missing = content.keyed_files().filter(|(file, _)| is_missing(*file));
        let (mut some, mut awaited) = (false, None);
        for (_, key) in missing.filter(|(file, _)| content.is_wanted(*file)) {
            some |= index.find(key).is_some();
            awaited = awaited.or_else(|| index.find_expected(key, self.store));
        }
        match awaited {
            Some(store) => Reuse::Wait(store),
            None if some => Reuse::Copy,
            None => Reuse::Nothing,
        }
    }

    /// What to copy; the disk leaves alone what is there.
    pub(super) fn found_to_copy(&self, index: &SimilarFiles) -> Vec<(FileIndex, FilePlace)> {
        let is_wanted = |file| self.content.is_some_and(|content| content.is_wanted(file));
        let wanted = self.keyed().filter(|(file, _)| is_wanted(*file));
        let found = wanted.filter_map(|(file, key)| Some((file, index.find(key)?)));
        found.filter(|(_, (store, _))| *store != self.store).collect()
    }

    /// Lets other torrents find the files that are whole.
    #[must_use]
    pub(super) fn offer(&self, index: &mut SimilarFiles) -> Vec<(TorrentId, Ask)> {
        let mut asks = Vec::new();
        for (file, key) in self.keyed() {
            if self.content.is_some_and(|content| content.has_file(self.have, file)) {
                asks.extend(look(index.add(key, (self.store, file))));
            }
        }
        asks.extend(self.settle(index));
        asks
    }

    /// It is not to be waited for any more.
    #[must_use]
    pub(super) fn settle(&self, index: &mut SimilarFiles) -> Vec<(TorrentId, Ask)> {
        let waited = index.settle(self.keyed().map(|(_, key)| key), self.store);
        waited.into_iter().map(|id| (id, Ask::CopyFiles)).collect()
    }

    /// Lets no torrent find its files any more, nor finds theirs.
    #[must_use]
    pub(super) fn withdraw(&self, index: &mut SimilarFiles) -> Vec<(TorrentId, Ask)> {
        self.want_none(index);
        for (_, key) in self.keyed() {
            index.remove(key, self.store);
        }
        self.settle(index)
    }

    // While it runs.

    /// The check is done: registers for files that are missing here. [`SimilarFiles`] tells when another
    /// torrent has one of them whole: it was added later, was still being checked, or has just got its
    /// last piece.
    pub(super) fn want(&self, index: &mut SimilarFiles) {
        for (_, key) in self.lacking() {
            index.want(key, self.id);
        }
    }

    /// It lacks nothing any more, or ends.
    pub(super) fn want_none(&self, index: &mut SimilarFiles) {
        for (_, key) in self.keyed() {
            index.want_no_more(key, self.id);
        }
    }

    /// Lets other torrents find a file that one of them waits for, if its last missing piece is this one.
    #[must_use]
    pub(super) fn offer_file_of(
        &self,
        index: &mut SimilarFiles,
        piece: PieceIndex,
    ) -> Vec<(TorrentId, Ask)> {
        let Some(content) = self.content else { return Vec::new() };
        let file = content.layout.piece_spans(piece).first().and_then(|span| span.file);
        let Some((file, key)) = file.and_then(|file| Some((file, content.key_of(file)?))) else {
            return Vec::new();
        };
        match index.is_wanted(key, self.id) && content.has_file(self.have, file) {
            true => look(index.add(key, (self.store, file))).collect(),
            false => Vec::new(),
        }
    }

    /// The files that are missing here and whole elsewhere, of those that are new.
    pub(super) fn found(
        &self,
        index: &SimilarFiles,
        is_new: impl Fn(FileIndex) -> bool,
    ) -> Vec<LocalFile> {
        let lacking = self.lacking().filter(|(file, _)| is_new(*file));
        let found = lacking.filter_map(|(file, key)| Some((file, index.find(key)?)));
        let elsewhere = found.filter(|(_, (store, _))| *store != self.store);
        elsewhere.map(|(file, place)| LocalFile::new(file, place)).collect()
    }
}

/// Torrents are to look for a file that is whole now.
fn look(who: Vec<TorrentId>) -> impl Iterator<Item = (TorrentId, Ask)> {
    who.into_iter().map(|id| (id, Ask::LookForFiles))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::id::Id as _;
    use crate::metainfo::create::{Creator, Protocol};
    use crate::torrent::AddTorrent;
    use crate::torrent::content::Choices;

    const FILE: FileIndex = FileIndex(0);

    /// One file of two pieces, of v2.
    fn content() -> Content {
        let mut creator = Creator::single_file("name", 40_000).with_protocol(Protocol::V2);
        creator.piece_length = 32_768;
        let metainfo = Arc::new(creator.finish_with_content(&[7; 40_000]).expect("valid"));
        Content::new(metainfo.clone(), Choices::of(&mut AddTorrent::new(metainfo, "root")), None)
    }

    fn files<'a>(number: u32, content: &'a Content, have: &'a Bitfield) -> SharedFiles<'a> {
        let (id, store) = (TorrentId::new(number, 0), StoreId::new(number, 0));
        SharedFiles { id, store, content: Some(content), have }
    }

    #[test]
    fn a_missing_file_is_copied_from_where_it_is_whole_and_waited_for_where_it_may_be() {
        let (content, nothing, all) = (content(), Bitfield::new(2), Bitfield::full(2));
        let (mine, other) = (files(1, &content, &nothing), files(2, &content, &all));
        let mut index = SimilarFiles::default();
        assert_eq!(mine.reuse(&index, |_| true), Reuse::Nothing);
        other.expect(&mut index);
        assert_eq!(mine.reuse(&index, |_| true), Reuse::Wait(other.store));
        assert_eq!(mine.reuse(&index, |_| false), Reuse::Nothing, "it is here");
        assert!(other.offer(&mut index).is_empty(), "no torrent runs and wants it");
        assert_eq!(mine.reuse(&index, |_| true), Reuse::Copy);
        assert_eq!(mine.found_to_copy(&index), [(FILE, (other.store, FILE))]);
        assert!(other.found_to_copy(&index).is_empty(), "not onto itself");
        index.wait(other.store, mine.id);
        assert_eq!(other.withdraw(&mut index), [(mine.id, Ask::CopyFiles)]);
        assert_eq!(mine.reuse(&index, |_| true), Reuse::Nothing);
    }

    #[test]
    fn a_file_that_becomes_whole_is_found_by_those_that_want_it() {
        let (content, nothing, all) = (content(), Bitfield::new(2), Bitfield::full(2));
        let mine = files(1, &content, &nothing);
        let mut index = SimilarFiles::default();
        let asks = files(2, &content, &all).offer_file_of(&mut index, PieceIndex(1));
        assert_eq!(asks, []);
        assert!(mine.found(&index, |_| true).is_empty(), "it was not wanted then");
        mine.want(&mut index);
        let asks = files(2, &content, &nothing).offer_file_of(&mut index, PieceIndex(1));
        assert_eq!(asks, [], "it is not whole");
        let asks = files(2, &content, &all).offer_file_of(&mut index, PieceIndex(1));
        assert_eq!(asks, [(mine.id, Ask::LookForFiles)]);
        assert_eq!(mine.found(&index, |_| true).len(), 1);
        assert!(mine.found(&index, |_| false).is_empty());
        mine.want_none(&mut index);
        let asks = files(2, &content, &all).offer_file_of(&mut index, PieceIndex(0));
        assert_eq!(asks, []);
    }
}
