//! Files that another torrent of the session comes to have whole while this one fetches them (BEP 38;
//! told by the merkle roots of BEP 52): their blocks are read from there, as if a peer had sent them.
//!
//! A torrent that lacks wanted files says so in [`WholeFiles`](crate::session::whole_files), and is
//! told when one of them is whole elsewhere: it was added later, was still being checked, or has just
//! got its last piece. Then its missing pieces are read one after the other, in parts of [`READ_LEN`]
//! bytes, and each is verified and written like any other. What is wrong there is no peer's fault and
//! is fetched from peers; a file that cannot be read there is let be.

use std::collections::VecDeque;

use bytes::Bytes;
use smallvec::smallvec;

use crate::disk::{DiskDone, DiskError, DiskRequest, FileIndex, Span};
use crate::picker::{PeerKey, Received};
use crate::piece::PieceIndex;
use crate::session::Session;
use crate::session::op::TorrentOp;
use crate::session::whole_files::{FileKey, FilePlace};
use crate::torrent::Torrent;

/// Bytes that are read at once (chosen: a multiple of a block).
const READ_LEN: u32 = 1024 * 1024;
/// In the picker, the disk is a peer that is never picked for.
const DISK: PeerKey = PeerKey(u32::MAX);

/// What is read from other torrents' files.
#[derive(Debug, Default)]
pub(super) struct LocalCopy {
    sources: VecDeque<Source>,
    reading: Option<Reading>,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    file: FileIndex,
    place: FilePlace,
    /// Pieces of the file that had their turn.
    tried: usize,
}

/// The piece of the first source that is read, or was and is being verified.
#[derive(Clone, Copy, Debug)]
struct Reading {
    piece: PieceIndex,
    /// Bytes read.
    read: u32,
    is_under_way: bool,
}

impl Torrent {
    /// The check is done: it is to be told of files that it lacks, and takes those that are known.
    pub(super) fn want_files(&mut self, session: &mut Session) {
        for (_, key) in self.lacking() {
            session.whole_files.want(key, self.id);
        }
        self.files_found(session);
    }

    /// It lacks nothing any more, or ends.
    pub(super) fn want_no_files(&mut self, session: &mut Session) {
        for (_, key) in self.keyed_files() {
            session.whole_files.want_no_more(key, self.id);
        }
        self.local_copy.sources.clear();
    }

    /// The wanted files of which something is missing.
    fn lacking(&self) -> impl Iterator<Item = (FileIndex, FileKey)> + '_ {
        let is_missing = |file| match &self.content {
            Some(content) => content.is_wanted(file) && !content.has_file(self.picker.have(), file),
            None => false,
        };
        self.keyed_files().filter(move |(file, _)| is_missing(*file))
    }

    /// Another torrent may have a file that is missing here.
    pub(crate) fn files_found(&mut self, session: &mut Session) {
        if !self.is_downloading() {
            return;
        }
        let known = &self.local_copy.sources;
        let is_new = |file: FileIndex| known.iter().all(|source| source.file != file);
        let found: Vec<Source> = self
            .lacking()
            .filter(|(file, _)| is_new(*file))
            .filter_map(|(file, key)| {
                let place = session.whole_files.find(key)?;
                (place.0 != self.store).then_some(Source { file, place, tried: 0 })
            })
            .collect();
        self.local_copy.sources.extend(found);
        self.copy_next(session);
    }

    /// Goes on with the next piece, if none is under way.
    fn copy_next(&mut self, session: &mut Session) {
        while self.local_copy.reading.is_none()
            && self.is_downloading()
            && let Some(source) = self.local_copy.sources.front_mut()
            && let Some(content) = &self.content
        {
            let pieces = content.pieces_of(source.file).enumerate();
            let is_open = |piece: &PieceIndex| {
                self.picker.is_interesting(*piece)
                    && !self.picker.is_held(*piece)
                    && !self.picker.is_verifying(*piece)
            };
            let mut pieces = pieces.skip(source.tried);
            let next = pieces.find(|(_, piece)| is_open(piece));
            let Some((at, piece)) = next else {
                self.local_copy.sources.pop_front();
                continue;
            };
            source.tried = at + 1;
            let reading = Reading { piece, read: 0, is_under_way: true };
            self.local_copy.reading = Some(reading);
            self.read_from_other(session);
        }
    }

    /// Reads the next part of a piece from the other torrent's file.
    fn read_from_other(&mut self, session: &mut Session) {
        let (Some(source), Some(reading), Some(content)) =
            (self.local_copy.sources.front(), &self.local_copy.reading, &self.content)
        else {
            return;
        };
        let (store, file) = source.place;
        let own = content.layout.piece_spans(reading.piece).into_iter();
        let span = own.into_iter().find(|span| span.file == Some(source.file)).map(|own| Span {
            file: Some(file),
            offset: own.offset + u64::from(reading.read),
            length: own.length.saturating_sub(reading.read).min(READ_LEN),
        });
        let spans = span.filter(|span| span.length > 0).map(|span| smallvec![span]);
        let read = DiskRequest::Read { store, spans: spans.unwrap_or_default() };
        self.disk(session, TorrentOp::ReadFromOther, read);
    }

    /// A part of a piece was read from the other torrent's file.
    pub(super) fn other_was_read(
        &mut self,
        session: &mut Session,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        let Some(reading) = &mut self.local_copy.reading else { return };
        let data = match result {
            Ok(DiskDone::Read(data)) if !data.is_empty() => data,
            _ => {
                self.local_copy.reading = None;
                self.local_copy.sources.pop_front();
                return self.copy_next(session);
            }
        };
        let (piece, begin) = (reading.piece, reading.read);
        reading.read += data.len() as u32;
        let len = self.content.as_ref().map_or(0, |known| known.geometry().data_len_of(piece));
        let is_last = data.len() < READ_LEN as usize || reading.read >= len;
        reading.is_under_way = !is_last;
        if self.is_downloading() {
            self.take_blocks(session, piece, begin, &data);
        }
        if !is_last && self.is_downloading() {
            return self.read_from_other(session);
        }
        // If it waits for its verdict, that goes on with the next.
        if !self.picker.is_verifying(piece) || !self.is_downloading() {
            self.local_copy.reading = None;
            self.copy_next(session);
        }
    }

    /// Blocks of a piece from `begin` on, as if they had come from a peer.
    fn take_blocks(&mut self, session: &mut Session, piece: PieceIndex, begin: u32, data: &Bytes) {
        let mut rest = data.clone();
        for number in begin / crate::piece::BLOCK_LEN.. {
            if rest.is_empty() {
                return;
            }
            let Some(content) = &self.content else { return };
            let block = content.geometry().block(piece, number);
            if block.length == 0 || rest.len() < block.length as usize {
                return;
            }
            let bytes = rest.split_to(block.length as usize);
            let received = self.picker.received(DISK, block);
            if let Received::Accepted { piece_complete, also_requested_by } = received {
                self.keep_block(session, block, bytes.into(), &also_requested_by, piece_complete);
            }
        }
    }

    /// A piece was verified, or lost.
    pub(super) fn copied_piece_settled(&mut self, session: &mut Session, piece: PieceIndex) {
        let is_it = |reading: Reading| reading.piece == piece && !reading.is_under_way;
        if self.local_copy.reading.is_some_and(is_it) {
            self.local_copy.reading = None;
            self.copy_next(session);
        }
    }
}
