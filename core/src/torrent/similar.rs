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

use bytes::Bytes;

use crate::disk::{DiskDone, DiskError, DiskRequest, FileIndex};
use crate::piece::{BLOCK_LEN, PieceIndex};
use crate::session::Session;
use crate::session::op::TorrentOp;
use crate::session::similar_files::{FileKey, FilePlace};
use crate::torrent::Torrent;
use crate::torrent::download::{LocalFile, Source};
use crate::torrent::lifecycle::Phase;

impl Torrent {
    // At the start.

    /// Others may find its files, once it is known which are whole.
    pub(super) fn announce_files(&self, session: &mut Session) {
        for (_, key) in self.keyed_files() {
            session.files.similar.expect(key, self.store);
        }
    }

    /// Starts to copy what is missing and is to be found elsewhere in the session, or to wait for
    /// it; whether there is something.
    pub(super) fn reuse_files(&mut self, session: &mut Session) -> bool {
        let (claims, Some(content)) = (&self.files.claims, &self.content) else { return false };
        let is_missing = |file| claims.is_missing(file) && content.is_wanted(file);
        let missing = content.keyed_files().filter(|(file, _)| is_missing(*file));
        let files = &session.files.similar;
        let (mut some, mut awaited) = (false, None);
        for (_, key) in missing {
            some |= files.find(key).is_some();
            awaited = awaited.or_else(|| files.find_expected(key, self.store));
        }
        if let Some(store) = awaited {
            // Who waits is not waited for.
            self.offer_files(session);
            session.files.similar.wait(store, self.id);
        } else if some {
            self.copy_files(session);
        }
        if some || awaited.is_some() {
            self.life.enter(Phase::Reusing);
        }
        some || awaited.is_some()
    }

    /// What it waited for has come out.
    pub(crate) fn reuse_waited_for(&mut self, session: &mut Session) {
        if self.life.phase() == Phase::Reusing {
            self.copy_files(session);
        }
    }

    /// Copies whatever is found elsewhere; the disk leaves alone what is there.
    fn copy_files(&mut self, session: &mut Session) {
        let Some(content) = &self.content else { return };
        let found = |(file, key)| Some((file, session.files.similar.find(key)?));
        let wanted = content.keyed_files().filter(|(file, _)| content.is_wanted(*file));
        let files: Vec<(FileIndex, FilePlace)> =
            wanted.filter_map(found).filter(|(_, (store, _))| *store != self.store).collect();
        self.disk(session, TorrentOp::Reuse, DiskRequest::Reuse { store: self.store, files });
    }

    /// Lets other torrents find the files that are whole.
    pub(super) fn offer_files(&self, session: &mut Session) {
        let Some(content) = &self.content else { return };
        for (file, key) in content.keyed_files() {
            if content.has_file(self.download.picker.have(), file) {
                session.add_whole_file(key, (self.store, file));
            }
        }
        self.settle_files(session);
    }

    /// Lets them find a file that another waits for, if its last missing piece is this one.
    pub(super) fn offer_file_of(&self, session: &mut Session, piece: PieceIndex) {
        let Some(content) = &self.content else { return };
        let file = content.layout.piece_spans(piece).first().and_then(|span| span.file);
        let Some((file, key)) = file.and_then(|file| Some((file, content.key_of(file)?))) else {
            return;
        };
        let is_whole = || content.has_file(self.download.picker.have(), file);
        if session.files.similar.is_wanted(key, self.id) && is_whole() {
            session.add_whole_file(key, (self.store, file));
        }
    }

    /// It is not to be waited for any more.
    pub(super) fn settle_files(&self, session: &mut Session) {
        session.expect_no_files(self.keyed_files().map(|(_, key)| key), self.store);
    }

    /// Lets nobody find its files any more.
    pub(super) fn withdraw_files(&mut self, session: &mut Session) {
        self.want_no_files(session);
        for (_, key) in self.keyed_files() {
            session.files.similar.remove(key, self.store);
        }
        self.settle_files(session);
    }

    /// The files that have a root, with what tells their content from others.
    pub(super) fn keyed_files(&self) -> impl Iterator<Item = (FileIndex, FileKey)> + '_ {
        self.content.iter().flat_map(|content| content.keyed_files())
    }

    // While it runs.

    /// The check is done: registers for files that are missing here, and takes those that are known.
    ///
    /// [`SimilarFiles`](crate::session::similar_files) tells when another torrent has one of them whole:
    /// it was added later, was still being checked, or has just got its last piece.
    pub(super) fn want_files(&mut self, session: &mut Session) {
        for (_, key) in self.lacking() {
            session.files.similar.want(key, self.id);
        }
        self.files_found(session);
    }

    /// The torrent lacks nothing any more, or ends.
    pub(super) fn want_no_files(&mut self, session: &mut Session) {
        for (_, key) in self.keyed_files() {
            session.files.similar.want_no_more(key, self.id);
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
                let place = session.files.similar.find(key)?;
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
                self.block_kept(session, block, kept);
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
