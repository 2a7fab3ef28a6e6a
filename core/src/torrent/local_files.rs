//! Files that another torrent of the session comes to have whole while this one fetches them (BEP 38):
//! between the [`Download`](super::download) as one of its sources, and the disk.

use bytes::Bytes;

use crate::disk::{DiskDone, DiskError, DiskRequest, FileIndex};
use crate::piece::{BLOCK_LEN, PieceIndex};
use crate::session::Session;
use crate::session::op::TorrentOp;
use crate::session::whole_files::FileKey;
use crate::torrent::Torrent;
use crate::torrent::download::{LocalFile, Source};

impl Torrent {
    /// The check is done: registers for files that are missing here, and takes those that are known.
    ///
    /// [`WholeFiles`](crate::session::whole_files) tells when another torrent has one of them whole:
    /// it was added later, was still being checked, or has just got its last piece.
    pub(super) fn want_files(&mut self, session: &mut Session) {
        for (_, key) in self.lacking() {
            session.whole_files.want(key, self.id);
        }
        self.files_found(session);
    }

    /// The torrent lacks nothing any more, or ends.
    pub(super) fn want_no_files(&mut self, session: &mut Session) {
        for (_, key) in self.keyed_files() {
            session.whole_files.want_no_more(key, self.id);
        }
        if let Some(local) = self.download.local.get_mut() {
            local.clear();
        }
    }

    /// The wanted files of which something is missing.
    fn lacking(&self) -> impl Iterator<Item = (FileIndex, FileKey)> + '_ {
        let have = self.download.picker.have();
        let is_missing = move |file| match &self.content {
            Some(content) => content.is_wanted(file) && !content.has_file(have, file),
            None => false,
        };
        self.keyed_files().filter(move |(file, _)| is_missing(*file))
    }

    /// Another torrent may have a file that is missing here.
    pub(crate) fn files_found(&mut self, session: &mut Session) {
        if !self.is_downloading() {
            return;
        }
        let local = self.download.local.get();
        let is_new = |file: FileIndex| !local.is_some_and(|local| local.knows(file));
        let found: Vec<LocalFile> = self
            .lacking()
            .filter(|(file, _)| is_new(*file))
            .filter_map(|(file, key)| {
                let place = session.whole_files.find(key)?;
                (place.0 != self.store).then(|| LocalFile::new(file, place))
            })
            .collect();
        if !found.is_empty() {
            self.download.local.make().add(found);
        }
        self.read_next_local(session);
    }

    /// Goes on with the next piece of another torrent's file, if none is under way.
    fn read_next_local(&mut self, session: &mut Session) {
        if !self.is_downloading() {
            return;
        }
        let (Some(local), Some(content)) = (self.download.local.get_mut(), &self.content) else {
            return;
        };
        let picker = &self.download.picker;
        let is_missing = |piece| {
            picker.is_interesting(piece) && !picker.is_held(piece) && !picker.is_verifying(piece)
        };
        if local.begin_next(|file| content.pieces_of(file), is_missing) {
            self.read_local(session);
        }
    }

    /// Reads the next part of a piece from the other torrent's file.
    fn read_local(&mut self, session: &mut Session) {
        let (Some(local), Some(content)) = (self.download.local.get(), &self.content) else {
            return;
        };
        let part = local.next_part(|piece| content.layout.piece_spans(piece));
        let Some((store, span)) = part else { return };
        let read = DiskRequest::Read { store, spans: span.into_iter().collect() };
        self.disk(session, TorrentOp::ReadFromOther, read);
    }

    /// A part of a piece was read from the other torrent's file.
    pub(super) fn local_read(
        &mut self,
        session: &mut Session,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        let Some(local) = self.download.local.get_mut() else { return };
        let data = match result {
            Ok(DiskDone::Read(data)) if !data.is_empty() => data,
            _ => {
                if local.give_up_file() {
                    self.read_next_local(session);
                }
                return;
            }
        };
        let content = &self.content;
        let len_of =
            |piece| content.as_ref().map_or(0, |known| known.geometry().data_len_of(piece));
        let Some(part) = local.part_read(data.len(), len_of) else { return };
        if self.is_downloading() {
            self.take_local_blocks(session, part.piece, part.begin, data);
        }
        if !part.is_last && self.is_downloading() {
            return self.read_local(session);
        }
        // If it waits for its verdict, that goes on with the next.
        if !self.download.picker.is_verifying(part.piece) || !self.is_downloading() {
            if let Some(local) = self.download.local.get_mut() {
                local.end_piece();
            }
            self.read_next_local(session);
        }
    }

    /// Blocks of a piece from `begin` on, as if they had come from a peer.
    fn take_local_blocks(
        &mut self,
        session: &mut Session,
        piece: PieceIndex,
        begin: u32,
        mut data: Bytes,
    ) {
        for number in begin / BLOCK_LEN.. {
            let Some(content) = self.content.as_ref().filter(|_| !data.is_empty()) else { return };
            let block = content.geometry().block(piece, number);
            if block.length == 0 || data.len() < block.length as usize {
                return;
            }
            let bytes = data.split_to(block.length as usize);
            if let Some(kept) = self.download.keep(Source::LOCAL, None, block, bytes.into()) {
                self.block_kept(session, block, &kept);
            }
        }
    }

    /// A piece was verified, or lost.
    pub(super) fn local_piece_settled(&mut self, session: &mut Session, piece: PieceIndex) {
        if self.download.local.get_mut().is_some_and(|local| local.settled(piece)) {
            self.read_next_local(session);
        }
    }
}
