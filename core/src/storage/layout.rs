//! Which bytes of which file make up a piece, and which pieces a file needs (BEP 3, 47, 52).
//!
//! A torrent's content is its files one after the other; pieces are cut from it without regard to
//! where files end. [`Layout`] maps between the two. Two numberings of files meet here: the
//! places in the metainfo's list, plain indices, and the files' numbers, [`FileIndex`], which leave out
//! pad files and links because they are not on disk. Padding shows as spans without a file.
//!
//! Finding a place is a binary search over the files that have content; a run of spans is as long
//! as the files it crosses. Files of no length own no span and no piece. Nothing here knows paths
//! or does I/O.

use std::ops::Range;

use crate::disk::{FileIndex, Span, Spans};
use crate::merkle::TreeShape;
use crate::piece::{Block, Geometry, PieceIndex};
use crate::priority::FilePriority;

/// The map between pieces and files of one torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    geometry: Geometry,
    /// Every file, in the metainfo's order.
    files: Vec<Extent>,
    /// The files that have content, by their index in `files`. Their starts strictly increase.
    with_content: Vec<u32>,
    /// The metainfo index of each file of the store.
    stored: Vec<u32>,
}

/// Where a file lies in the content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Extent {
    start: u64,
    length: u64,
    /// Its index in the store; `None` for pad files and links.
    store: Option<FileIndex>,
}

impl Extent {
    const fn end(&self) -> u64 {
        self.start + self.length
    }
}

impl Layout {
    /// The layout of content cut by `geometry` and made of files, each given by its length in
    /// bytes and whether it is on disk; those that are not read as zeros. `None` if the lengths do
    /// not add up to the geometry's, or there are 2^32 files or more.
    pub fn from_parts(
        geometry: Geometry,
        files: impl IntoIterator<Item = (u64, bool)>,
    ) -> Option<Self> {
        let total_len = geometry.total_len();
        let mut layout =
            Layout { geometry, files: Vec::new(), with_content: Vec::new(), stored: Vec::new() };
        let mut start = 0_u64;
        for (length, is_stored) in files {
            let index = u32::try_from(layout.files.len()).ok()?;
            let store = is_stored.then_some(FileIndex(layout.stored.len() as u32));
            layout.files.push(Extent { start, length, store });
            layout.stored.extend(is_stored.then_some(index));
            layout.with_content.extend((length > 0).then_some(index));
            start = start.checked_add(length)?;
        }
        layout.files.shrink_to_fit();
        layout.stored.shrink_to_fit();
        layout.with_content.shrink_to_fit();
        (start == total_len).then_some(layout)
    }

    /// How the content is cut into pieces.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Where a block, or any other range inside a piece, lies. Empty if it is not one: see
    /// [`Geometry::contains_range`].
    pub fn spans(&self, block: Block) -> Spans {
        if !self.geometry.contains_range(block) {
            return Spans::new();
        }
        self.run(block)
    }

    /// Where a whole piece lies, with the padding at its end. Empty if there is no such piece.
    pub fn piece_spans(&self, piece: PieceIndex) -> Spans {
        self.run(Block { piece, begin: 0, length: self.geometry.len_of(piece) })
    }

    /// Where a range of the content lies.
    fn run(&self, block: Block) -> Spans {
        let start = self.geometry.offset_of(block.piece) + u64::from(block.begin);
        let end = start + u64::from(block.length);
        let span = |file: &Extent| {
            let (from, to) = (start.max(file.start), end.min(file.end()));
            // No longer than the block.
            Span { file: file.store, offset: from - file.start, length: (to - from) as u32 }
        };
        self.extents_of(start..end).map(|(_, file)| span(file)).collect()
    }

    /// The files that a piece has bytes of, pad files too, by their index in the metainfo.
    pub fn files_of_piece(&self, piece: PieceIndex) -> impl Iterator<Item = usize> + '_ {
        let start = self.geometry.offset_of(piece);
        let end = start + u64::from(self.geometry.len_of(piece));
        self.extents_of(start..end).map(|(index, _)| index)
    }

    /// The pieces that have bytes of a file, which is given by its index in the metainfo. Empty
    /// for a file of no length and for one that does not exist.
    pub fn pieces_of_file(&self, file: usize) -> Range<u32> {
        match self.files.get(file) {
            Some(file) if file.length > 0 => {
                self.piece_at(file.start)..self.piece_at(file.end() - 1) + 1
            }
            _ => 0..0,
        }
    }

    /// Length of a file in bytes, given its index in the metainfo.
    pub fn len_of_file(&self, file: usize) -> Option<u64> {
        self.files.get(file).map(|file| file.length)
    }

    /// The layer, in its file's merkle tree, of the node that a piece is (BEP 52): of a file that
    /// is no longer than a piece, the root. `None` if the piece length is none of v2, or there is
    /// no such piece. Each file must begin with a piece.
    pub fn merkle_layer(&self, piece: PieceIndex) -> Option<u32> {
        let file_len = self.len_of_file(self.files_of_piece(piece).next()?)?;
        Some(TreeShape::new(file_len, self.geometry.piece_len())?.top_of_piece())
    }

    /// How much each piece is wanted, given that for each file by its number; files beyond the list
    /// are [`FilePriority::Normal`].
    ///
    /// A piece is wanted as much as that of its files which is wanted most. Padding wants nothing;
    /// a piece of padding alone is wanted as much as the least wanted file of the torrent that is
    /// not padding, so that a user who wants everything gets everything.
    pub fn pieces_wanted(&self, priorities: &[FilePriority]) -> Vec<FilePriority> {
        let priority = |file: usize| priorities.get(file).copied().unwrap_or_default();
        let least = (0..self.stored.len()).map(priority).min().unwrap_or_default();
        let mut wanted = vec![None; self.geometry.pieces() as usize];
        for &index in &self.with_content {
            let Some(file) = self.store_index(index as usize) else { continue };
            let pieces = self.pieces_of_file(index as usize);
            for piece in
                wanted.get_mut(pieces.start as usize..pieces.end as usize).into_iter().flatten()
            {
                *piece = (*piece).max(Some(priority(file.0 as usize)));
            }
        }
        wanted.into_iter().map(|piece| piece.unwrap_or(least)).collect()
    }

    /// The store's index of a file, which is given by its index in the metainfo; `None` for pad
    /// files, links and what does not exist.
    pub fn store_index(&self, file: usize) -> Option<FileIndex> {
        self.files.get(file)?.store
    }

    /// The index in the metainfo of a file of the store.
    pub fn file_of_store(&self, file: FileIndex) -> Option<usize> {
        self.stored.get(file.0 as usize).map(|&index| index as usize)
    }

    /// How many files the store has.
    pub fn stored_files(&self) -> usize {
        self.stored.len()
    }

    /// The files that have bytes in a range of the content, in order, with their indices.
    fn extents_of(&self, range: Range<u64>) -> impl Iterator<Item = (usize, &Extent)> {
        let ends_before = |&index: &u32| {
            self.files.get(index as usize).is_some_and(|file| file.end() <= range.start)
        };
        let first = self.with_content.partition_point(ends_before);
        let from_first = self.with_content.get(first..).unwrap_or_default().iter();
        from_first
            .filter_map(|&index| Some((index as usize, self.files.get(index as usize)?)))
            .take_while(move |(_, file)| file.start < range.end)
    }

    /// The piece that has the byte at `offset` of the content, which must be inside.
    fn piece_at(&self, offset: u64) -> u32 {
        // Less than the number of pieces, which fits.
        (offset / u64::from(self.geometry.piece_len())) as u32
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::{Arbitrary, Gen, quickcheck};

    use super::*;

    /// A torrent small enough to be modelled byte by byte.
    #[derive(Clone, Debug)]
    struct Torrent {
        files: Vec<(u64, bool)>,
        piece_len: u32,
    }

    impl Arbitrary for Torrent {
        fn arbitrary(g: &mut Gen) -> Self {
            let files = Vec::<(u8, bool, bool)>::arbitrary(g);
            let files = files.into_iter().map(|(length, is_empty, is_stored)| {
                (if is_empty { 0 } else { u64::from(length % 40) }, is_stored)
            });
            Torrent { files: files.collect(), piece_len: u32::arbitrary(g) % 32 + 1 }
        }

        fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
            let piece_len = self.piece_len;
            Box::new(self.files.shrink().map(move |files| Torrent { files, piece_len }))
        }
    }

    impl Torrent {
        fn layout(&self) -> Layout {
            let total = self.files.iter().map(|file| file.0).sum();
            let geometry = Geometry::new(total, self.piece_len).unwrap();
            Layout::from_parts(geometry, self.files.iter().copied()).unwrap()
        }

        /// Each byte of the content as metainfo index, store index, offset in its file.
        fn bytes(&self) -> Vec<(usize, Option<FileIndex>, u64)> {
            let mut bytes = Vec::new();
            let mut stored = 0;
            for (index, &(length, is_stored)) in self.files.iter().enumerate() {
                let store = is_stored.then_some(FileIndex(stored));
                bytes.extend((0..length).map(|offset| (index, store, offset)));
                stored += u32::from(is_stored);
            }
            bytes
        }
    }

    /// What the spans name, byte by byte; that none is empty.
    fn spelt_out(spans: &Spans) -> Vec<(Option<FileIndex>, u64)> {
        assert!(spans.iter().all(|span| span.length > 0));
        spans
            .iter()
            .flat_map(|span| {
                (0..u64::from(span.length)).map(|byte| (span.file, span.offset + byte))
            })
            .collect()
    }

    quickcheck! {
        fn spans_name_each_byte_of_a_range_once_in_order(
            torrent: Torrent, piece: u8, begin: u8, length: u8
        ) -> bool {
            let layout = torrent.layout();
            let block = Block {
                piece: PieceIndex(u32::from(piece) % (layout.geometry().pieces() + 1)),
                begin: u32::from(begin) % (torrent.piece_len + 1),
                length: u32::from(length) % (torrent.piece_len + 1),
            };
            let spans = layout.spans(block);
            if !layout.geometry().contains_range(block) {
                return spans.is_empty();
            }
            let start = (block.piece.0 * torrent.piece_len + block.begin) as usize;
            let bytes = &torrent.bytes()[start..start + block.length as usize];
            let files = bytes.windows(2).filter(|pair| pair[0].0 != pair[1].0).count() + 1;
            spans.len() == files
                && spelt_out(&spans).into_iter().eq(bytes.iter().map(|b| (b.1, b.2)))
        }

        fn all_pieces_together_are_the_content(torrent: Torrent) -> bool {
            let layout = torrent.layout();
            let pieces = layout.geometry().iter().flat_map(|p| spelt_out(&layout.piece_spans(p)));
            pieces.eq(torrent.bytes().into_iter().map(|byte| (byte.1, byte.2)))
        }

        fn pieces_of_a_file_are_those_that_have_it_among_their_files(torrent: Torrent) -> bool {
            let layout = torrent.layout();
            let bytes = torrent.bytes();
            let pieces: Vec<_> = bytes.chunks(torrent.piece_len as usize).collect();
            let files_agree = layout.geometry().iter().all(|piece| {
                let mut files: Vec<_> = pieces[piece.at()].iter().map(|byte| byte.0).collect();
                files.dedup();
                layout.files_of_piece(piece).eq(files)
            });
            files_agree && (0..=torrent.files.len()).all(|file| {
                let has_it = |piece: &&[(usize, _, _)]| piece.iter().any(|byte| byte.0 == file);
                let range = layout.pieces_of_file(file);
                pieces.iter().enumerate().all(|(at, piece)| {
                    range.contains(&(at as u32)) == has_it(piece)
                })
            })
        }

        fn a_piece_is_wanted_as_its_most_wanted_file(torrent: Torrent, wanted: Vec<u8>) -> bool {
            use FilePriority::*;
            let priorities: Vec<_> =
                wanted.iter().map(|p| [Skip, Low, Normal, High][usize::from(*p) % 4]).collect();
            let of = |file: usize| priorities.get(file).copied().unwrap_or(Normal);
            let stored = torrent.files.iter().filter(|file| file.1).count();
            let least = (0..stored).map(of).min().unwrap_or(Normal);
            let bytes = torrent.bytes();
            let expected = bytes.chunks(torrent.piece_len as usize).map(|piece| {
                piece.iter().filter_map(|b| b.1).map(|b| of(b.0 as usize)).max().unwrap_or(least)
            });
            torrent.layout().pieces_wanted(&priorities).into_iter().eq(expected)
        }

        fn the_two_numberings_translate_both_ways(torrent: Torrent) -> bool {
            let layout = torrent.layout();
            let stored: Vec<usize> = torrent.files.iter().enumerate()
                .filter_map(|(index, file)| file.1.then_some(index)).collect();
            layout.stored_files() == stored.len()
                && layout.file_of_store(FileIndex(stored.len() as u32)).is_none()
                && stored.iter().enumerate().all(|(at, &file)| {
                    layout.file_of_store(FileIndex(at as u32)) == Some(file)
                        && layout.store_index(file) == Some(FileIndex(at as u32))
                })
                && torrent.files.iter().enumerate()
                    .all(|(index, file)| file.1 == layout.store_index(index).is_some())
        }
    }

    #[test]
    fn lengths_that_do_not_make_up_the_content_make_no_layout() {
        let geometry = || Geometry::new(10, 4).unwrap();
        assert!(Layout::from_parts(geometry(), [(9, true)]).is_none());
        assert!(Layout::from_parts(geometry(), [(10, true), (1, true)]).is_none());
        assert!(Layout::from_parts(geometry(), [(u64::MAX, true), (11, true)]).is_none());
        assert!(Layout::from_parts(geometry(), [(10, true), (0, true)]).is_some());
    }

    #[test]
    fn a_piece_of_padding_alone_is_skipped_only_if_something_is() {
        use FilePriority::*;
        let geometry = Geometry::new(12, 4).unwrap();
        let layout = Layout::from_parts(geometry, [(4, true), (4, false), (4, true)]).unwrap();
        assert_eq!(layout.pieces_wanted(&[]), [Normal, Normal, Normal]);
        assert_eq!(layout.pieces_wanted(&[High, High]), [High, High, High]);
        assert_eq!(layout.pieces_wanted(&[Skip, High]), [Skip, Skip, High]);
    }

    #[test]
    fn a_terabyte_file_keeps_its_offsets() {
        let geometry = Geometry::new(1 << 40, 1 << 20).unwrap();
        let layout = Layout::from_parts(geometry, [(1 << 40, true)]).unwrap();
        let last = PieceIndex((1 << 20) - 1);
        let offset = (1 << 40) - (1 << 20);
        let span = Span { file: Some(FileIndex(0)), offset, length: 1 << 20 };
        assert_eq!(layout.piece_spans(last)[..], [span]);
        assert_eq!(layout.pieces_of_file(0), 0..1 << 20);
    }
}
