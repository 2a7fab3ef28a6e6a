//! Files that need not be fetched, because another torrent of the session has them whole (BEP 38;
//! by the merkle roots of BEP 52, so between torrents that have a v2 part).
//!
//! Wanted files that are missing are copied after the check, when it is known that they may be made,
//! and hashed like anything else on disk: a copy that is not what it should be costs time and nothing else. Where the
//! file system can, a copy shares what is stored with its model until one of them is written to. Never
//! by a hard link: that would be one file under two names, and whatever is written to it under one of
//! them, by us before it is verified or by the user, would be in the other torrent too.
//!
//! If a torrent with such a file is still being checked, that is waited for. What becomes whole
//! elsewhere after the check, `local_copy` takes.

use crate::disk::{DiskRequest, FileIndex};
use crate::piece::PieceIndex;
use crate::session::Session;
use crate::session::op::TorrentOp;
use crate::session::whole_files::{FileKey, FilePlace};
use crate::torrent::Torrent;
use crate::torrent::lifecycle::Phase;

impl Torrent {
    /// Others may find its files, once it is known which are whole.
    pub(in crate::torrent) fn announce_files(&self, session: &mut Session) {
        for (_, key) in self.keyed_files() {
            session.whole_files.expect(key, self.store);
        }
    }

    /// Starts to copy what is missing and is to be found elsewhere in the session, or to wait for
    /// it; whether there is something.
    pub(in crate::torrent) fn reuse_files(&mut self, session: &mut Session) -> bool {
        let (claims, Some(content)) = (&self.files.claims, &self.content) else { return false };
        let is_missing = |file| claims.is_missing(file) && content.is_wanted(file);
        let missing = content.keyed_files().filter(|(file, _)| is_missing(*file));
        let files = &session.whole_files;
        let (mut some, mut awaited) = (false, None);
        for (_, key) in missing {
            some |= files.find(key).is_some();
            awaited = awaited.or_else(|| files.find_expected(key, self.store));
        }
        if let Some(store) = awaited {
            // Who waits is not waited for.
            self.offer_files(session);
            session.whole_files.wait(store, self.id);
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
        let found = |(file, key)| Some((file, session.whole_files.find(key)?));
        let wanted = content.keyed_files().filter(|(file, _)| content.is_wanted(*file));
        let files: Vec<(FileIndex, FilePlace)> =
            wanted.filter_map(found).filter(|(_, (store, _))| *store != self.store).collect();
        self.disk(session, TorrentOp::Reuse, DiskRequest::Reuse { store: self.store, files });
    }

    /// Lets other torrents find the files that are whole.
    pub(in crate::torrent) fn offer_files(&self, session: &mut Session) {
        for (file, key) in self.keyed_files() {
            if self.has_file(file) {
                session.whole_files.add(key, (self.store, file));
            }
        }
        self.settle_files(session);
    }

    /// Lets them find a file that another waits for, if its last missing piece is this one.
    pub(in crate::torrent) fn offer_file_of(&self, session: &mut Session, piece: PieceIndex) {
        let Some(content) = &self.content else { return };
        let file = content.layout.piece_spans(piece).first().and_then(|span| span.file);
        let Some((file, key)) = file.and_then(|file| Some((file, content.key_of(file)?))) else {
            return;
        };
        if session.whole_files.is_wanted(key, self.id) && self.has_file(file) {
            session.whole_files.add(key, (self.store, file));
        }
    }

    /// Whether all pieces of a file are here.
    pub(in crate::torrent) fn has_file(&self, file: FileIndex) -> bool {
        self.content
            .as_ref()
            .is_some_and(|content| content.has_file(self.download.picker.have(), file))
    }

    /// It is not to be waited for any more.
    pub(in crate::torrent) fn settle_files(&self, session: &mut Session) {
        session.whole_files.settle(self.keyed_files().map(|(_, key)| key), self.store);
    }

    /// Lets nobody find its files any more.
    pub(in crate::torrent) fn withdraw_files(&mut self, session: &mut Session) {
        self.want_no_files(session);
        for (_, key) in self.keyed_files() {
            session.whole_files.remove(key, self.store);
        }
        self.settle_files(session);
    }

    /// The files that have a root, with what tells their content from others.
    pub(in crate::torrent) fn keyed_files(
        &self,
    ) -> impl Iterator<Item = (FileIndex, FileKey)> + '_ {
        self.content.iter().flat_map(|content| content.keyed_files())
    }
}
