//! Files of other torrents as a source of blocks (BEP 38; told by the merkle roots of BEP 52): they
//! are whole there and missing here, and are read as if a peer had sent them.
//!
//! The missing pieces of a file are read one after the other, in parts of [`READ_LEN`] bytes, and each
//! is verified and written like any other. What is wrong there is no peer's fault and is fetched from
//! peers; a file that cannot be read is given up.

use std::collections::VecDeque;

use crate::disk::{FileIndex, Span};
use crate::id::StoreId;
use crate::piece::PieceIndex;

/// Bytes that are read at once (chosen: a multiple of a block).
const READ_LEN: u32 = 1024 * 1024;

/// What is read from other torrents' files.
#[derive(Debug, Default)]
pub(in crate::torrent) struct LocalSource {
    files: VecDeque<LocalFile>,
    reading: Option<PieceInTurn>,
}

/// A file that is missing here and lies whole in another torrent's store.
#[derive(Clone, Copy, Debug)]
pub(in crate::torrent) struct LocalFile {
    file: FileIndex,
    place: (StoreId, FileIndex),
    /// Pieces of the file that had their turn.
    tried: usize,
}

/// The piece of the first file that is read, or was and is being verified.
#[derive(Clone, Copy, Debug)]
struct PieceInTurn {
    piece: PieceIndex,
    /// Bytes read.
    read: u32,
    is_under_way: bool,
}

/// Bytes of a piece were read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::torrent) struct LocalPart {
    pub(in crate::torrent) piece: PieceIndex,
    /// Where in the piece they begin.
    pub(in crate::torrent) begin: u32,
    /// Whether nothing of the piece is left to be read.
    pub(in crate::torrent) is_last: bool,
}

impl LocalFile {
    /// A file, and where it lies.
    pub(in crate::torrent) fn new(file: FileIndex, place: (StoreId, FileIndex)) -> Self {
        LocalFile { file, place, tried: 0 }
    }
}

impl LocalSource {
    /// Whether a file is read already, or will be.
    pub(in crate::torrent) fn knows(&self, file: FileIndex) -> bool {
        self.files.iter().any(|known| known.file == file)
    }

    /// More files.
    pub(in crate::torrent) fn add(&mut self, files: Vec<LocalFile>) {
        self.files.extend(files);
    }

    /// Nothing is missing any more.
    pub(in crate::torrent) fn clear(&mut self) {
        self.files.clear();
    }

    /// Begins with the next piece, if none is under way; `is_missing` tells those to read. Whether
    /// [a part](Self::next_part) is to be read.
    pub(in crate::torrent) fn begin_next<Pieces: Iterator<Item = PieceIndex>>(
        &mut self,
        pieces_of: impl Fn(FileIndex) -> Pieces,
        is_missing: impl Fn(PieceIndex) -> bool,
    ) -> bool {
        while self.reading.is_none()
            && let Some(file) = self.files.front_mut()
        {
            let mut rest = pieces_of(file.file).enumerate().skip(file.tried);
            let Some((at, piece)) = rest.find(|(_, piece)| is_missing(*piece)) else {
                self.files.pop_front();
                continue;
            };
            file.tried = at + 1;
            self.reading = Some(PieceInTurn { piece, read: 0, is_under_way: true });
            return true;
        }
        false
    }

    /// What to read next, of the other torrent's store; `spans_of` tells where a piece lies in the own
    /// files.
    pub(in crate::torrent) fn next_part<Spans: IntoIterator<Item = Span>>(
        &self,
        spans_of: impl FnOnce(PieceIndex) -> Spans,
    ) -> Option<(StoreId, Option<Span>)> {
        let (from, reading) = (self.files.front()?, self.reading.as_ref()?);
        let (store, file) = from.place;
        let mut own = spans_of(reading.piece).into_iter();
        let span = own.find(|span| span.file == Some(from.file)).map(|own| Span {
            file: Some(file),
            offset: own.offset + u64::from(reading.read),
            length: own.length.saturating_sub(reading.read).min(READ_LEN),
        });
        Some((store, span.filter(|span| span.length > 0)))
    }

    /// So many bytes of the piece that is under way were read; `None` if there is none. `len_of` tells
    /// how long a piece is.
    pub(in crate::torrent) fn part_read(
        &mut self,
        bytes: usize,
        len_of: impl FnOnce(PieceIndex) -> u32,
    ) -> Option<LocalPart> {
        let reading = self.reading.as_mut()?;
        let (piece, begin) = (reading.piece, reading.read);
        reading.read += bytes as u32;
        let is_last = bytes < READ_LEN as usize || reading.read >= len_of(piece);
        reading.is_under_way = !is_last;
        Some(LocalPart { piece, begin, is_last })
    }

    /// The file that is under way cannot be read: gives it up. Whether there is one.
    pub(in crate::torrent) fn give_up_file(&mut self) -> bool {
        let was_reading = self.reading.take().is_some();
        if was_reading {
            self.files.pop_front();
        }
        was_reading
    }

    /// Goes on without waiting for the verdict on the piece that was read.
    pub(in crate::torrent) fn end_piece(&mut self) {
        self.reading = None;
    }

    /// A piece was verified, or lost; whether the next may begin.
    pub(in crate::torrent) fn settled(&mut self, piece: PieceIndex) -> bool {
        let is_it = |reading: PieceInTurn| reading.piece == piece && !reading.is_under_way;
        let ends = self.reading.is_some_and(is_it);
        if ends {
            self.reading = None;
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;

    const FILE: FileIndex = FileIndex(4);
    const LEN: u32 = READ_LEN + 100;

    fn with_file() -> LocalSource {
        let mut local = LocalSource::default();
        local.add(vec![LocalFile::new(FILE, (StoreId::new(7, 0), FileIndex(1)))]);
        local
    }

    fn pieces(_: FileIndex) -> impl Iterator<Item = PieceIndex> {
        (10..13).map(PieceIndex)
    }

    fn spans(piece: PieceIndex) -> [Span; 2] {
        let offset = u64::from(piece.0 - 10) * u64::from(LEN);
        [Span { file: None, offset: 0, length: 5 }, Span { file: Some(FILE), offset, length: LEN }]
    }

    #[test]
    fn missing_pieces_are_read_in_parts_one_after_the_other() {
        let mut local = with_file();
        assert!(local.knows(FILE));
        assert!(local.begin_next(pieces, |piece| piece.0 != 10));
        assert!(!local.begin_next(pieces, |_| true), "one is under way");
        let part = |offset: u64, length| {
            Some((StoreId::new(7, 0), Some(Span { file: Some(FileIndex(1)), offset, length })))
        };
        assert_eq!(local.next_part(spans), part(u64::from(LEN), READ_LEN));
        let read = local.part_read(READ_LEN as usize, |_| LEN);
        assert_eq!(read, Some(LocalPart { piece: PieceIndex(11), begin: 0, is_last: false }));
        assert!(!local.settled(PieceIndex(11)), "a part is being read");
        assert_eq!(local.next_part(spans), part(u64::from(LEN + READ_LEN), 100));
        let read = local.part_read(100, |_| LEN);
        assert_eq!(read, Some(LocalPart { piece: PieceIndex(11), begin: READ_LEN, is_last: true }));
        assert!(!local.settled(PieceIndex(12)));
        assert!(local.settled(PieceIndex(11)));
        assert!(local.begin_next(pieces, |_| true));
        assert_eq!(local.next_part(spans), part(2 * u64::from(LEN), READ_LEN));
        local.end_piece();
        assert!(!local.begin_next(pieces, |_| true), "each has one turn");
        assert!(!local.knows(FILE));
    }

    #[test]
    fn file_that_cannot_be_read_is_given_up() {
        let mut local = with_file();
        assert!(local.begin_next(pieces, |_| true));
        assert!(local.give_up_file() && !local.give_up_file());
        assert_eq!(local.part_read(1, |_| LEN), None);
        assert!(!local.begin_next(pieces, |_| true));
    }
}
