//! Files that need not be fetched, because another torrent of the session has them whole (BEP 38;
//! by the merkle roots of BEP 52, so between torrents that have a v2 part).
//!
//! Wanted files that are missing are copied before the check, which then hashes the copies like
//! anything else on disk: a copy that is not what it should be costs time and nothing else. Copied
//! rather than linked, so that no torrent ever writes into the file of another. If a torrent with
//! such a file is still being checked, that is waited for.

use crate::disk::{DiskDone, DiskError, DiskRequest, FileIndex, FileStat};
use crate::piece::PieceIndex;
use crate::session::Session;
use crate::session::op::TorrentOp;
use crate::session::whole_files::{Content, FilePlace};
use crate::torrent::{Phase, Torrent};

impl Torrent {
    /// Others may find its files, once it is known which are whole.
    pub(super) fn announce_files(&self, session: &mut Session) {
        for (_, content) in self.contents() {
            session.whole_files.expect(content, self.store);
        }
    }

    /// Starts to copy what is missing and is to be found elsewhere in the session, or to wait for
    /// it; whether there is something.
    pub(super) fn reuse_files(
        &mut self,
        session: &mut Session,
        stats: &[Option<FileStat>],
    ) -> bool {
        let is_missing = |file: FileIndex| stats.get(file.0 as usize).is_some_and(Option::is_none);
        let missing: Vec<(FileIndex, Content)> = self
            .contents()
            .filter(|(file, _)| is_missing(*file) && self.is_wanted(*file))
            .collect();
        let files = &session.whole_files;
        let (mut some, mut awaited) = (false, None);
        for &(_, content) in &missing {
            some |= files.find(content).is_some();
            awaited = awaited.or_else(|| files.find_expected(content, self.store));
        }
        if let Some(store) = awaited {
            // Who waits is not waited for.
            self.settle_files(session);
            session.whole_files.wait(store, self.id);
        } else if some {
            self.copy_files(session);
        }
        some || awaited.is_some()
    }

    /// What it waited for has come out.
    pub(crate) fn reuse_waited_for(&mut self, session: &mut Session) {
        if self.phase == Phase::Opening {
            self.copy_files(session);
        }
    }

    /// Copies whatever is found elsewhere; the disk leaves alone what is there.
    fn copy_files(&mut self, session: &mut Session) {
        let found = |(file, content)| Some((file, session.whole_files.find(content)?));
        let wanted = self.contents().filter(|(file, _)| self.is_wanted(*file));
        let files: Vec<(FileIndex, FilePlace)> =
            wanted.filter_map(found).filter(|(_, (store, _))| *store != self.store).collect();
        self.disk(session, TorrentOp::Reuse, DiskRequest::Reuse { store: self.store, files });
    }

    /// What could be copied is.
    pub(super) fn files_reused(
        &mut self,
        session: &mut Session,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        if self.phase != Phase::Opening {
            return;
        }
        match result {
            Ok(DiskDone::Files(stats)) => self.begin_check(session, &stats),
            Ok(_) => self.begin_check(session, &[]),
            Err(error) => self.disk_failed(session, *error),
        }
    }

    /// Lets other torrents find the files that are whole.
    pub(super) fn offer_files(&self, session: &mut Session) {
        let have = self.picker.have();
        for (file, content) in self.contents() {
            let listed = self.layout.file_of_store(file);
            let pieces = listed.map_or(0..0, |listed| self.layout.pieces_of_file(listed));
            if pieces.map(PieceIndex).all(|piece| have.has(piece)) {
                session.whole_files.add(content, (self.store, file));
            }
        }
        self.settle_files(session);
    }

    /// It is not to be waited for any more.
    pub(super) fn settle_files(&self, session: &mut Session) {
        session.whole_files.settle(self.contents().map(|(_, content)| content), self.store);
    }

    /// Lets nobody find its files any more.
    pub(super) fn withdraw_files(&self, session: &mut Session) {
        for (_, content) in self.contents() {
            session.whole_files.remove(content, self.store);
        }
        self.settle_files(session);
    }

    /// The files that have a root, with what tells their content.
    fn contents(&self) -> impl Iterator<Item = (FileIndex, Content)> + '_ {
        let metainfo = self.metainfo.as_ref().filter(|metainfo| metainfo.has_v2());
        let files = metainfo.map_or(0, |_| self.spec.files.len() as u32);
        (0..files).map(FileIndex).filter_map(move |file| {
            let listed = self.layout.file_of_store(file)?;
            let root = metainfo?.pieces_root(listed)?;
            Some((file, (root, self.layout.len_of_file(listed)?)))
        })
    }
}
