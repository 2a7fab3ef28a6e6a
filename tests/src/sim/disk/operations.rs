//! What requests do when they complete, and what may go wrong with each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitswarm_core::disk::{
    Allocation, DiskDone, DiskError, DiskErrorKind, DiskRequest, FileIndex, FileStat, Span,
    StateName, StoreSpec, WriteRequest,
};
use bitswarm_core::id::StoreId;
use bitswarm_core::time::Instant;
use bytes::{Bytes, BytesMut};

use super::file::{self, File};
use super::{Disk, DiskResult, Runs, Store, error, has_its_hash, length, path_of};

impl Disk {
    pub(super) fn perform(
        &mut self,
        now: Instant,
        request: DiskRequest,
        sequence: u64,
    ) -> DiskResult {
        match request {
            DiskRequest::Open { store, spec } => {
                let noted = self.stat(&spec);
                let (written, made) = Default::default();
                let files = noted.clone();
                self.stores.insert(store, Store { spec, noted, written, made });
                Ok(DiskDone::Files(files))
            }
            DiskRequest::Prepare { store, files, allocation, .. } => {
                self.prepare(now, store, &files, allocation)
            }
            DiskRequest::Reuse { store, files } => self.reuse(now, store, &files),
            DiskRequest::Read { store, spans } => {
                let bytes = self.read(store, &spans)?;
                self.counts.reads += 1;
                Ok(DiskDone::Read(bytes.freeze()))
            }
            DiskRequest::Write(write) => self.write(now, *write),
            DiskRequest::Verify(verify) => {
                let bytes = self.read(verify.store, &verify.spans)?;
                self.counts.hashes += 1;
                let is_right = verify.expect.is_of([&bytes[..]]);
                Ok(match is_right {
                    _ if verify.tell_zeros && bytes.iter().all(|byte| *byte == 0) => {
                        DiskDone::Zeros { is_right }
                    }
                    true => DiskDone::Done,
                    false => DiskDone::HashMismatch,
                })
            }
            DiskRequest::Sync { store } => self.sync(store, sequence),
            DiskRequest::Look { store } => {
                let spec = self.store(store)?;
                let files = self.stat(&spec);
                if let Some(store) = self.stores.get_mut(&store) {
                    store.noted.clone_from(&files);
                }
                Ok(DiskDone::Files(files))
            }
            DiskRequest::Move { store, root } => self.move_store(store, root),
            DiskRequest::Close { store, delete } => self.close(store, delete),
            DiskRequest::Save { name, data } => self.save(name, data),
            DiskRequest::Load { name } => Ok(DiskDone::Loaded(self.states.get(&name).cloned())),
            DiskRequest::Forget { name } => {
                self.states.remove(&name);
                Ok(DiskDone::Done)
            }
        }
    }

    pub(super) fn store(&self, store: StoreId) -> Result<Arc<StoreSpec>, Box<DiskError>> {
        let unknown = || error(DiskErrorKind::UnknownStore, Path::new(""), "no such store");
        self.stores.get(&store).map(|store| store.spec.clone()).ok_or_else(unknown)
    }

    pub(super) fn stat(&self, spec: &StoreSpec) -> Vec<Option<FileStat>> {
        let stat = |file: &File| FileStat {
            id: file.id(),
            ..FileStat::new(file.data().len() as u64, file.modified_ns())
        };
        let paths = spec.files.iter().map(|file| spec.root.join(&file.path));
        paths.map(|path| self.files.get(&path).map(stat)).collect()
    }

    pub(super) fn prepare(
        &mut self,
        now: Instant,
        store: StoreId,
        files: &[FileIndex],
        allocation: Allocation,
    ) -> DiskResult {
        let spec = self.store(store)?;
        let now_ns = self.wall_ns(now);
        for index in files {
            let Some(listed) = spec.files.get(index.0 as usize) else { continue };
            self.refuse_strange(store, &spec.root.join(&listed.path))?;
        }
        for index in files {
            let Some(listed) = spec.files.get(index.0 as usize) else { continue };
            let path = spec.root.join(&listed.path);
            self.try_changing(&path)?;
            let length = usize::try_from(listed.length).expect("simulated files fit into memory");
            self.note_writing(store, &path);
            let id = self.new_id();
            let file = self.files.entry(path.clone()).or_insert_with(|| File::created(now_ns, id));
            file.cut(length, now_ns);
            if allocation == Allocation::Full {
                let cost = file.cost(0, length);
                self.try_fitting(&path, cost)?;
                self.sequence += 1;
                if let Some(file) = self.files.get_mut(&path) {
                    file.reserve(self.sequence, length, now_ns);
                }
            }
        }
        Ok(DiskDone::Done)
    }

    /// Copies files of other stores, as far as they are there.
    fn reuse(
        &mut self,
        now: Instant,
        store: StoreId,
        files: &[(FileIndex, (StoreId, FileIndex))],
    ) -> DiskResult {
        let spec = self.store(store)?;
        let now_ns = self.wall_ns(now);
        for &(file, (of, other)) in files {
            let Ok(source) = self.store(of) else { continue };
            let path = |spec: &StoreSpec, file: FileIndex| {
                spec.files.get(file.0 as usize).map(|file| spec.root.join(&file.path))
            };
            let (Some(from), Some(to)) = (path(&source, other), path(&spec, file)) else {
                continue;
            };
            let Some(data) = self.files.get(&from).map(|from| Bytes::copy_from_slice(from.data()))
            else {
                continue;
            };
            let mut copy = File::created(now_ns, self.new_id());
            let fits = self.try_fitting(&to, copy.cost(0, data.len()));
            if self.files.contains_key(&to) || self.try_changing(&to).is_err() || fits.is_err() {
                continue;
            }
            self.sequence += 1;
            copy.write(self.sequence, 0, data, now_ns);
            self.note_writing(store, &to);
            self.files.insert(to, copy);
        }
        Ok(DiskDone::Files(self.stat(&spec)))
    }

    /// A file that somebody else made since it was looked for is not written.
    fn refuse_strange(&self, store: StoreId, path: &Path) -> Result<(), Box<DiskError>> {
        let Some(store) = self.stores.get(&store) else { return Ok(()) };
        let listed = store.spec.files.iter().map(|file| store.spec.root.join(&file.path));
        let was_missing = listed.zip(&store.noted).any(|(at, stat)| at == path && stat.is_none());
        let is_strange = was_missing && self.files.contains_key(path) && !store.made.contains(path);
        let refused = || error(DiskErrorKind::Foreign, path, "somebody has just made it");
        if is_strange { Err(refused()) } else { Ok(()) }
    }

    /// A file is about to be made, or written.
    fn note_writing(&mut self, store: StoreId, path: &Path) {
        let is_new = !self.files.contains_key(path);
        if let Some(store) = self.stores.get_mut(&store) {
            store.written.insert(path.to_owned());
            if is_new {
                store.made.insert(path.to_owned());
            }
        }
    }

    pub(super) fn read(
        &mut self,
        store: StoreId,
        spans: &[Span],
    ) -> Result<BytesMut, Box<DiskError>> {
        let spec = self.store(store)?;
        let mut bytes = BytesMut::with_capacity(length(spans));
        for span in spans {
            let Some(path) = path_of(&spec, span) else {
                bytes.resize(bytes.len() + span.length as usize, 0);
                continue;
            };
            if self.faults.broken.contains(&path)
                || self.dice.chance(self.faults.read_error_per_mille)
            {
                return Err(error(DiskErrorKind::Io, &path, "simulated read error"));
            }
            let file = self.files.get(&path);
            let file = file.ok_or_else(|| error(DiskErrorKind::NotFound, &path, ""))?;
            let (from, to) = (span.offset as usize, span.offset as usize + span.length as usize);
            let run = file.data().get(from..to);
            bytes.extend_from_slice(run.ok_or_else(|| error(DiskErrorKind::Short, &path, ""))?);
        }
        if !bytes.is_empty() && self.dice.chance(self.faults.rot_per_mille) {
            let at = self.dice.index(bytes.len());
            bytes[at] ^= 1;
            self.counts.rotten += 1;
        }
        Ok(bytes)
    }

    pub(super) fn write(&mut self, now: Instant, write: WriteRequest) -> DiskResult {
        if !has_its_hash(&write) {
            self.counts.mismatches += 1;
            return Ok(DiskDone::HashMismatch);
        }
        let spec = self.store(write.store)?;
        let now_ns = self.wall_ns(now);
        let mut data = Runs::new(&write.data);
        for span in &write.spans {
            let bytes = data.take(span.length as usize);
            let Some(path) = path_of(&spec, span) else { continue };
            self.refuse_strange(write.store, &path)?;
            let trouble = self.try_changing(&path).and_then(|()| {
                let known = self.files.get(&path);
                let offset = span.offset as usize;
                let cost = known.map_or_else(
                    || File::created(0, 0).cost(offset, bytes.len()),
                    |file| file.cost(offset, bytes.len()),
                );
                self.try_fitting(&path, cost)
            });
            if let Err(trouble) = trouble {
                // Nothing, or a part of the run, got there before it failed.
                if trouble.kind != DiskErrorKind::Denied && self.files.contains_key(&path) {
                    let part = self.dice.index(bytes.len() + 1) / file::SECTOR_LEN;
                    self.note_writing(write.store, &path);
                    self.put(&path, span.offset, bytes.slice(..part * file::SECTOR_LEN), now_ns);
                }
                return Err(trouble);
            }
            self.note_writing(write.store, &path);
            self.put(&path, span.offset, bytes, now_ns);
        }
        self.counts.writes += 1;
        Ok(DiskDone::Done)
    }

    pub(super) fn put(&mut self, path: &Path, offset: u64, data: Bytes, now_ns: i64) {
        // A part that takes up more than there is left is no part.
        let offset = usize::try_from(offset).expect("simulated files fit into memory");
        let free = self.free();
        let id = self.new_id();
        let file = self.files.entry(path.to_owned()).or_insert_with(|| File::created(now_ns, id));
        if file.cost(offset, data.len()) <= free {
            self.sequence += 1;
            file.write(self.sequence, offset, data, now_ns);
        }
    }

    pub(super) fn free(&self) -> u64 {
        match self.faults.capacity {
            Some(capacity) => capacity.saturating_sub(self.used()),
            None => u64::MAX,
        }
    }

    pub(super) fn try_changing(&mut self, path: &Path) -> Result<(), Box<DiskError>> {
        if self.faults.denied {
            return Err(error(DiskErrorKind::Denied, path, "simulated read-only file system"));
        }
        if self.faults.broken.contains(path) || self.dice.chance(self.faults.write_error_per_mille)
        {
            return Err(error(DiskErrorKind::Io, path, "simulated write error"));
        }
        Ok(())
    }

    pub(super) fn try_fitting(&self, path: &Path, cost: u64) -> Result<(), Box<DiskError>> {
        let full = || error(DiskErrorKind::Full, path, "simulated full disk");
        (cost == 0 || cost <= self.free()).then_some(()).ok_or_else(full)
    }

    pub(super) fn sync(&mut self, store: StoreId, up_to: u64) -> DiskResult {
        let spec = self.store(store)?;
        if self.dice.chance(self.faults.sync_error_per_mille) {
            return Err(error(DiskErrorKind::Io, &spec.root, "simulated sync error"));
        }
        for listed in &spec.files {
            if let Some(file) = self.files.get_mut(&spec.root.join(&listed.path)) {
                file.sync(up_to);
            }
        }
        self.counts.syncs += 1;
        let now = self.stat(&spec);
        let Some(store) = self.stores.get_mut(&store) else { return Ok(DiskDone::Files(now)) };
        let written = std::mem::take(&mut store.written);
        for ((file, noted), now) in spec.files.iter().zip(&mut store.noted).zip(now) {
            if written.contains(&spec.root.join(&file.path)) {
                *noted = now;
            }
        }
        Ok(DiskDone::Files(store.noted.clone()))
    }

    pub(super) fn move_store(&mut self, store: StoreId, root: PathBuf) -> DiskResult {
        let spec = self.store(store)?;
        if self.faults.denied {
            return Err(error(DiskErrorKind::Denied, &root, "simulated read-only file system"));
        }
        for listed in &spec.files {
            if let Some(file) = self.files.remove(&spec.root.join(&listed.path)) {
                self.files.insert(root.join(&listed.path), file);
            }
        }
        if let Some(store) = self.stores.get_mut(&store) {
            store.spec = Arc::new(StoreSpec { root, ..(*spec).clone() });
        }
        Ok(DiskDone::Done)
    }

    pub(super) fn close(&mut self, store: StoreId, delete: Option<Vec<FileIndex>>) -> DiskResult {
        let spec = self.store(store)?;
        self.stores.remove(&store);
        for listed in
            delete.into_iter().flatten().filter_map(|index| spec.files.get(index.0 as usize))
        {
            self.files.remove(&spec.root.join(&listed.path));
        }
        Ok(DiskDone::Done)
    }

    pub(super) fn save(&mut self, name: StateName, data: Bytes) -> DiskResult {
        let path = PathBuf::from(format!("{name:?}"));
        if self.faults.denied {
            return Err(error(DiskErrorKind::Denied, &path, "simulated read-only file system"));
        }
        if self.dice.chance(self.faults.save_error_per_mille) {
            return Err(error(DiskErrorKind::Io, &path, "simulated write error"));
        }
        if self.free() == 0 {
            return Err(error(DiskErrorKind::Full, &path, "simulated full disk"));
        }
        self.states.insert(name, data);
        self.counts.saves += 1;
        Ok(DiskDone::Done)
    }
}
