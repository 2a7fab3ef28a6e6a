//! A disk that is a map.
//!
//! For examples, tests and simulations: files and state files in memory, every request done at once.
//! It is no store for real torrents: a file takes the memory that its length says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::{
    DiskDone, DiskError, DiskErrorKind, DiskRequest, FileIndex, FileStat, Span, StateName,
    StoreSpec, WriteRequest,
};
use crate::id::StoreId;

/// Files in memory, under the paths that they would have.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    stores: BTreeMap<StoreId, Arc<StoreSpec>>,
    files: BTreeMap<PathBuf, Vec<u8>>,
    state: BTreeMap<StateName, Bytes>,
}

/// What came of a request.
type DiskResult<T> = Result<T, Box<DiskError>>;

impl MemoryDisk {
    /// No file at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a file there, in the place of what was there.
    pub fn insert(&mut self, path: impl Into<PathBuf>, data: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), data.into());
    }

    /// What a file holds. `None`: there is none.
    pub fn file(&self, path: impl AsRef<Path>) -> Option<&[u8]> {
        self.files.get(path.as_ref()).map(Vec::as_slice)
    }

    /// Does what the engine asks for: the result is for `Event::Disk`.
    pub fn perform(&mut self, request: DiskRequest) -> DiskResult<DiskDone> {
        match request {
            DiskRequest::Open { store, spec } => {
                self.stores.insert(store, spec);
                self.stats(store)
            }
            DiskRequest::Sync { store } | DiskRequest::Look { store } => self.stats(store),
            DiskRequest::Prepare { store, files, .. } => self.prepare(store, &files),
            DiskRequest::Reuse { store, files } => self.reuse(store, &files),
            DiskRequest::Read { store, spans } => {
                self.read(store, &spans).map(|data| DiskDone::Read(data.into()))
            }
            DiskRequest::Verify(verify) => {
                let data = self.read(verify.store, &verify.spans)?;
                let is_right = verify.expect.is_of([&data[..]]);
                Ok(match is_right {
                    _ if verify.tell_zeros && data.iter().all(|byte| *byte == 0) => {
                        DiskDone::Zeros { is_right }
                    }
                    true => DiskDone::Done,
                    false => DiskDone::HashMismatch,
                })
            }
            DiskRequest::Write(write) => self.write(&write),
            DiskRequest::Move { store, root } => self.relocate(store, root),
            DiskRequest::Close { store, delete } => self.close(store, delete),
            DiskRequest::Save { name, data } => {
                self.state.insert(name, data);
                Ok(DiskDone::Done)
            }
            DiskRequest::Load { name } => Ok(DiskDone::Loaded(self.state.get(&name).cloned())),
            DiskRequest::Forget { name } => {
                self.state.remove(&name);
                Ok(DiskDone::Done)
            }
        }
    }

    fn stats(&self, store: StoreId) -> DiskResult<DiskDone> {
        let stat = |data: &Vec<u8>| FileStat::new(data.len() as u64, 0);
        let paths = self.paths(store)?;
        Ok(DiskDone::Files(paths.iter().map(|path| self.files.get(path).map(stat)).collect()))
    }

    fn prepare(&mut self, store: StoreId, files: &[FileIndex]) -> DiskResult<DiskDone> {
        for index in files {
            let path = self.path(store, *index)?;
            let length = self.length(store, *index)?;
            let file = self.files.entry(path).or_default();
            file.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        }
        Ok(DiskDone::Done)
    }

    fn reuse(
        &mut self,
        store: StoreId,
        files: &[(FileIndex, (StoreId, FileIndex))],
    ) -> DiskResult<DiskDone> {
        for &(file, (of, other)) in files {
            let (to, from) = (self.path(store, file)?, self.path(of, other));
            if let Some(data) = from.ok().and_then(|from| self.files.get(&from)).cloned() {
                self.files.entry(to).or_insert(data);
            }
        }
        self.stats(store)
    }

    fn read(&self, store: StoreId, spans: &[Span]) -> DiskResult<Vec<u8>> {
        let mut data = Vec::new();
        for span in spans {
            let length = span.length as usize;
            let Some(index) = span.file else {
                data.resize(data.len() + length, 0);
                continue;
            };
            let path = self.path(store, index)?;
            let missing = || error(DiskErrorKind::NotFound, &path);
            let file = self.files.get(&path).ok_or_else(missing)?;
            let from = usize::try_from(span.offset).unwrap_or(usize::MAX);
            let part = file.get(from..from.saturating_add(length));
            data.extend_from_slice(part.ok_or_else(|| error(DiskErrorKind::Short, &path))?);
        }
        Ok(data)
    }

    fn write(&mut self, write: &WriteRequest) -> DiskResult<DiskDone> {
        let data = write.data.concat();
        if write.expect.is_some_and(|hash| !hash.is_of([&data[..]])) {
            return Ok(DiskDone::HashMismatch);
        }
        let mut rest = &data[..];
        for span in &write.spans {
            let (part, after) = rest.split_at(rest.len().min(span.length as usize));
            rest = after;
            let Some(index) = span.file else { continue };
            let path = self.path(write.store, index)?;
            let full = || error(DiskErrorKind::Full, &path);
            let from = usize::try_from(span.offset).map_err(|_| full())?;
            let to = from.checked_add(part.len()).ok_or_else(full)?;
            let file = self.files.entry(path.clone()).or_default();
            file.resize(file.len().max(to), 0);
            file[from..to].copy_from_slice(part);
        }
        Ok(DiskDone::Done)
    }

    fn relocate(&mut self, store: StoreId, root: PathBuf) -> DiskResult<DiskDone> {
        let spec = Arc::new(StoreSpec { root, ..self.spec(store)?.clone() });
        let old = self.paths(store)?;
        self.stores.insert(store, spec);
        for (from, to) in old.into_iter().zip(self.paths(store)?) {
            if let Some(data) = self.files.remove(&from) {
                self.files.insert(to, data);
            }
        }
        Ok(DiskDone::Done)
    }

    fn close(&mut self, store: StoreId, delete: Option<Vec<FileIndex>>) -> DiskResult<DiskDone> {
        for index in delete.into_iter().flatten() {
            let path = self.path(store, index)?;
            self.files.remove(&path);
        }
        self.stores.remove(&store);
        Ok(DiskDone::Done)
    }

    fn spec(&self, store: StoreId) -> DiskResult<&StoreSpec> {
        let spec = self.stores.get(&store).map(|spec| &**spec);
        spec.ok_or_else(|| error(DiskErrorKind::UnknownStore, Path::new("")))
    }

    fn path(&self, store: StoreId, index: FileIndex) -> DiskResult<PathBuf> {
        let spec = self.spec(store)?;
        let file = spec.files.get(index.0 as usize);
        let missing = || error(DiskErrorKind::NotFound, &spec.root);
        Ok(spec.root.join(&file.ok_or_else(missing)?.path))
    }

    fn length(&self, store: StoreId, index: FileIndex) -> DiskResult<u64> {
        let spec = self.spec(store)?;
        let file = spec.files.get(index.0 as usize);
        let missing = || error(DiskErrorKind::NotFound, &spec.root);
        Ok(file.ok_or_else(missing)?.length)
    }

    fn paths(&self, store: StoreId) -> DiskResult<Vec<PathBuf>> {
        let spec = self.spec(store)?;
        Ok(spec.files.iter().map(|file| spec.root.join(&file.path)).collect())
    }
}

fn error(kind: DiskErrorKind, path: &Path) -> Box<DiskError> {
    Box::new(DiskError { kind, path: path.to_owned(), cause: String::new() })
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::super::StoreFile;
    use super::*;
    use crate::id::Id;
    use crate::piece_hash::PieceHash;

    fn store() -> StoreId {
        StoreId::new(0, 0)
    }

    fn with_store() -> MemoryDisk {
        let file = |path: &str| StoreFile { path: path.into(), length: 8, executable: false };
        let files = vec![file("a"), file("b")];
        let spec =
            StoreSpec { root: "/here".into(), files, links: Vec::new(), follow_top_link: false };
        let mut disk = MemoryDisk::new();
        disk.insert("/here/a", *b"01234567");
        let opened = disk.perform(DiskRequest::Open { store: store(), spec: Arc::new(spec) });
        let stat = FileStat::new(8, 0);
        assert_eq!(opened, Ok(DiskDone::Files(vec![Some(stat), None])));
        disk
    }

    fn span(file: u32, offset: u64, length: u32) -> Span {
        Span { file: Some(FileIndex(file)), offset, length }
    }

    #[test]
    fn what_is_written_across_files_is_read_back() {
        let mut disk = with_store();
        let pad = Span { file: None, offset: 0, length: 2 };
        let write = WriteRequest {
            store: store(),
            spans: smallvec![span(0, 6, 2), pad, span(1, 1, 3)],
            data: vec![Bytes::from_static(b"xy\0"), Bytes::from_static(b"\0abc")],
            expect: None,
        };
        assert_eq!(disk.perform(DiskRequest::Write(Box::new(write.clone()))), Ok(DiskDone::Done));
        assert_eq!(disk.file("/here/a"), Some(&b"012345xy"[..]));
        assert_eq!(disk.file("/here/b"), Some(&b"\0abc"[..]));
        let read = disk.perform(DiskRequest::Read { store: store(), spans: write.spans.clone() });
        assert_eq!(read, Ok(DiskDone::Read(Bytes::from_static(b"xy\0\0abc"))));
        let wrong = WriteRequest { expect: Some(PieceHash::V1([0; 20])), ..write };
        let refused = disk.perform(DiskRequest::Write(Box::new(wrong)));
        assert_eq!(refused, Ok(DiskDone::HashMismatch));
    }

    #[test]
    fn what_is_not_there_is_an_error_of_its_kind() {
        let mut disk = with_store();
        let mut kind = |store, span| {
            let read = disk.perform(DiskRequest::Read { store, spans: smallvec![span] });
            read.map_err(|error| error.kind)
        };
        assert_eq!(kind(store(), span(0, 4, 5)), Err(DiskErrorKind::Short));
        assert_eq!(kind(store(), span(1, 0, 1)), Err(DiskErrorKind::NotFound));
        assert_eq!(kind(StoreId::new(0, 1), span(0, 0, 1)), Err(DiskErrorKind::UnknownStore));
    }

    #[test]
    fn files_move_and_go_with_their_store() {
        let mut disk = with_store();
        let moved = disk.perform(DiskRequest::Move { store: store(), root: "/there".into() });
        assert_eq!(moved, Ok(DiskDone::Done));
        assert!(disk.file("/here/a").is_none() && disk.file("/there/a").is_some());
        let closed =
            disk.perform(DiskRequest::Close { store: store(), delete: Some(vec![FileIndex(0)]) });
        assert_eq!(closed, Ok(DiskDone::Done));
        assert!(disk.file("/there/a").is_none());
    }
}
