//! What a torrent consists of, once that is known: its metainfo, where pieces lie in files, and which
//! files are wanted.
//!
//! While only a magnet link is known there is no [`Content`], but [`Choices`]: what the user chose
//! beforehand. They go into it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::bitfield::Bitfield;
use crate::disk::{Allocation, FileIndex, StoreSpec};
use crate::metainfo::{FileRanges, Metainfo};
use crate::piece::{Geometry, PieceIndex};
use crate::priority::{FilePriority, PieceOrder};
use crate::session::similar_files::FileKey;
use crate::storage::layout::Layout;
use crate::torrent::AddTorrent;
use crate::torrent::selection;

/// What the user chose when the torrent was added.
#[derive(Debug)]
pub(super) struct Choices {
    root: PathBuf,
    /// A priority for each file, if it was given; it goes into [`Content::files`].
    files: Vec<FilePriority>,
    only: Option<FileRanges>,
    pub(super) order: PieceOrder,
    allocation: Allocation,
    share_only: bool,
    follow_top_link: bool,
    overwrite: bool,
    idle_if_complete: bool,
}

/// A choice of files that the torrent has none of.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct NothingChosen {
    /// What was chosen.
    pub(super) selected: String,
    /// Whether the magnet link chose it, not the user.
    pub(super) by_link: bool,
}

impl Choices {
    /// What is chosen in `add`.
    pub(super) fn of(add: &mut AddTorrent) -> Self {
        Choices {
            root: std::mem::take(&mut add.root),
            files: std::mem::take(&mut add.files),
            only: add.only.take(),
            order: add.order,
            allocation: add.allocation,
            share_only: add.share_only,
            follow_top_link: add.follow_top_link,
            overwrite: add.overwrite,
            idle_if_complete: add.idle_if_complete,
        }
    }

    /// Whether files are to be selected by ranges of their numbers.
    fn selects(&self, files: usize) -> bool {
        !self.share_only && self.files.len() != files
    }

    /// Whether the torrent has any of the files that the user has chosen, or else the magnet link.
    pub(super) fn check(
        &self,
        metainfo: &Metainfo,
        by_link: Option<&FileRanges>,
    ) -> Result<(), NothingChosen> {
        let files = metainfo.file_count();
        match self.only.as_ref().or(by_link).filter(|_| self.selects(files)) {
            Some(chosen) if selection::priorities(files, chosen).is_err() => {
                let (selected, by_link) = (chosen.to_string(), self.only.is_none());
                Err(NothingChosen { selected, by_link })
            }
            _ => Ok(()),
        }
    }

    /// The priority of each file; empty if all are wanted.
    fn priorities(&mut self, files: usize, by_link: Option<&FileRanges>) -> Vec<FilePriority> {
        if self.share_only {
            return vec![FilePriority::Skip; files];
        }
        if !self.selects(files) {
            return std::mem::take(&mut self.files);
        }
        let chosen = self.only.as_ref().or(by_link);
        // That nothing is left of the choice was found before.
        chosen.and_then(|chosen| selection::priorities(files, chosen).ok()).unwrap_or_default()
    }
}

/// What a torrent consists of.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) metainfo: Arc<Metainfo>,
    pub(super) layout: Layout,
    pub(super) spec: Arc<StoreSpec>,
    /// Of each file that has a number; empty if all are wanted.
    pub(super) files: Vec<FilePriority>,
    pub(super) allocation: Allocation,
    /// Whether files of others may be overwritten.
    pub(super) overwrite: bool,
    /// Whether it keeps to itself if its check finds it complete.
    pub(super) idle_if_complete: bool,
}

impl Content {
    /// Of a torrent whose metainfo is known; `by_link` is what its magnet link chooses of it.
    pub(super) fn new(
        metainfo: Arc<Metainfo>,
        mut choices: Choices,
        by_link: Option<&FileRanges>,
    ) -> Self {
        let spec = metainfo.store_spec(&choices.root);
        let spec = StoreSpec { follow_top_link: choices.follow_top_link, ..spec };
        Content {
            layout: metainfo.layout(),
            spec: Arc::new(spec),
            files: choices.priorities(metainfo.file_count(), by_link),
            metainfo,
            allocation: choices.allocation,
            overwrite: choices.overwrite,
            idle_if_complete: choices.idle_if_complete,
        }
    }

    /// How it is cut into pieces.
    pub(super) fn geometry(&self) -> &Geometry {
        self.layout.geometry()
    }

    /// All pieces that are not wanted as usual, with how much they are.
    pub(super) fn piece_priorities(&self) -> Vec<(PieceIndex, FilePriority)> {
        if self.files.iter().all(|&priority| priority == FilePriority::Normal) {
            return Vec::new();
        }
        let wanted = self.layout.pieces_wanted(&self.files);
        (0..).map(PieceIndex).zip(wanted).collect()
    }

    /// Every file that lies on disk.
    pub(super) fn every_file(&self) -> impl Iterator<Item = FileIndex> + use<> {
        (0..self.spec.files.len() as u32).map(FileIndex)
    }

    /// Whether a file is to be fetched.
    pub(super) fn is_wanted(&self, file: FileIndex) -> bool {
        let priority = self.files.get(file.0 as usize);
        priority.is_none_or(|&priority| priority != FilePriority::Skip)
    }

    /// Whether any file is.
    pub(super) fn wants_something(&self) -> bool {
        self.every_file().any(|file| self.is_wanted(file))
    }

    /// Whether no file is left out.
    pub(super) fn wants_all(&self) -> bool {
        self.files.iter().all(|&priority| priority != FilePriority::Skip)
    }

    /// Where a file lies; empty if there is no such file.
    pub(super) fn path_of(&self, file: FileIndex) -> PathBuf {
        let listed = self.spec.files.get(file.0 as usize);
        listed.map_or_else(Default::default, |listed| self.spec.root.join(&listed.path))
    }

    /// The links that are made, relative to the root.
    pub(super) fn links_to_make(&self) -> Vec<PathBuf> {
        let links = if self.wants_something() { &self.spec.links[..] } else { &[] };
        links.iter().map(|link| link.path.clone()).collect()
    }

    /// The pieces that have bytes of a file.
    pub(super) fn pieces_of(
        &self,
        file: FileIndex,
    ) -> impl ExactSizeIterator<Item = PieceIndex> + Clone + use<> {
        let listed = self.layout.file_of_store(file);
        listed.map_or(0..0, |listed| self.layout.pieces_of_file(listed)).map(PieceIndex)
    }

    /// The files that a piece has bytes of.
    pub(super) fn files_of(&self, piece: PieceIndex) -> impl Iterator<Item = FileIndex> + use<> {
        self.layout.piece_spans(piece).into_iter().filter_map(|span| span.file)
    }

    /// Whether all pieces of a file are among those that are here.
    pub(super) fn has_file(&self, have: &Bitfield, file: FileIndex) -> bool {
        self.pieces_of(file).all(|piece| have.has(piece))
    }

    /// Bytes of all pieces that are missing here, wanted or not: a torrent that wants a part only is
    /// no seed.
    pub(super) fn bytes_missing(&self, have: &Bitfield) -> u64 {
        let missing = self.geometry().pieces() - have.count();
        self.geometry().data_len_of_all(missing, |piece| !have.has(piece))
    }

    /// The files that have a root, with what tells their content from others.
    pub(super) fn keyed_files(&self) -> impl Iterator<Item = (FileIndex, FileKey)> + '_ {
        let files = self.every_file().filter(|_| self.metainfo.has_v2());
        files.filter_map(|file| Some((file, self.key_of(file)?)))
    }

    /// What tells a file's content from others, if it has a root.
    pub(super) fn key_of(&self, file: FileIndex) -> Option<FileKey> {
        let listed = self.layout.file_of_store(file)?;
        Some((self.metainfo.pieces_root(listed)?, self.layout.len_of_file(listed)?))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::metainfo::create::{Creator, NewFile};

    /// Three files of 20, 10 and 30 KB in pieces of 16 KB.
    fn metainfo() -> Arc<Metainfo> {
        let files = [("a", 20_000), ("b", 10_000), ("c", 30_000)];
        let files = files.map(|(name, length)| NewFile::new([name], length));
        let torrent = Creator::folder_in_order("top", files);
        Arc::new(torrent.finish_with_content(&[7; 60_000]).expect("valid"))
    }

    /// That, in the folder `root`.
    pub(in crate::torrent) fn content() -> Content {
        Content::new(metainfo(), choices(|_| {}), None)
    }

    fn choices(choose: impl FnOnce(&mut AddTorrent)) -> Choices {
        let mut add = AddTorrent::new(metainfo(), "root");
        choose(&mut add);
        Choices::of(&mut add)
    }

    fn chosen(choose: impl FnOnce(&mut AddTorrent), by_link: &str) -> Content {
        let by_link = by_link.parse().ok();
        Content::new(metainfo(), choices(choose), by_link.as_ref())
    }

    fn wanted(content: &Content) -> Vec<u32> {
        content.every_file().filter(|file| content.is_wanted(*file)).map(|file| file.0).collect()
    }

    #[test]
    fn the_users_choice_of_files_counts_before_that_of_the_link() {
        assert_eq!(wanted(&chosen(|_| {}, "")), [0, 1, 2]);
        assert_eq!(wanted(&chosen(|_| {}, "1-2")), [1, 2]);
        assert_eq!(wanted(&chosen(|add| add.only = "0".parse().ok(), "1-2")), [0]);
        let mut skips = vec![FilePriority::Skip; 3];
        skips[1] = FilePriority::High;
        assert_eq!(wanted(&chosen(|add| add.files = skips, "1-2")), [1]);
        let shares = chosen(|add| add.share_only = true, "1-2");
        assert!(!shares.wants_something() && !shares.wants_all());
    }

    #[test]
    fn a_choice_of_no_file_of_the_torrent_is_told_with_who_made_it() {
        let beyond: FileRanges = "7".parse().expect("valid");
        let by_user = choices(|add| add.only = Some(beyond.clone())).check(&metainfo(), None);
        assert_eq!(by_user, Err(NothingChosen { selected: "7".into(), by_link: false }));
        let by_link = choices(|_| {}).check(&metainfo(), Some(&beyond));
        assert_eq!(by_link, Err(NothingChosen { selected: "7".into(), by_link: true }));
        let shares = choices(|add| add.share_only = true).check(&metainfo(), Some(&beyond));
        assert_eq!(shares, Ok(()), "who only shares chooses nothing");
    }

    #[test]
    fn a_file_is_here_when_all_pieces_that_it_has_bytes_of_are() {
        let content = content();
        let [a, b, c] = [0, 1, 2].map(FileIndex);
        assert!(content.pieces_of(a).eq([0, 1].map(PieceIndex)));
        assert!(content.files_of(PieceIndex(1)).eq([a, b, c]));
        let mut have = Bitfield::new(content.geometry().pieces());
        have.set(PieceIndex(1));
        assert!(content.has_file(&have, b) && !content.has_file(&have, a));
        assert_eq!(content.bytes_missing(&have), 60_000 - 16_384);
        assert_eq!(content.path_of(c), PathBuf::from("root/top/c"));
        assert_eq!(content.path_of(FileIndex(3)), PathBuf::new());
    }

    #[test]
    fn pieces_have_a_priority_of_their_own_only_where_files_have() {
        assert!(chosen(|_| {}, "").piece_priorities().is_empty());
        let some = chosen(|_| {}, "2").piece_priorities();
        let skipped = some.iter().filter(|(_, priority)| *priority == FilePriority::Skip);
        assert_eq!(skipped.map(|(piece, _)| piece.0).collect::<Vec<_>>(), [0]);
    }
}
