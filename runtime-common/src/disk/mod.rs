//! What the engine asks of the disk, done: the blocking half of `bitswarm_core::disk`.
//!
//! [`DiskPool`] runs requests on worker threads; each ends in exactly one completion. Below it:
//! `store` knows a torrent's files, `openat` opens them so that no link leads out of the root,
//! `files` keeps a bounded number open, `transfer` moves bytes, `verify` hashes them, `relocate` moves
//! files, `state` keeps resume data; `queue` says what a worker does next. Reads that find their bytes in memory need no worker: `page_cache`.

mod error;
mod files;
mod openat;
mod page_cache;
mod pool;
mod private_dirs;
mod queue;
mod read_buffers;
mod relocate;
mod stat;
mod state;
mod store;
mod top_link;
mod transfer;
mod verify;

use std::collections::HashMap;
use std::iter;
use std::sync::{Arc, PoisonError, RwLock};

use bitswarm_core::disk::{
    DiskDone, DiskError, DiskRequest, FileIndex, StoreSpec, VerifyRequest, WriteRequest,
};
use bitswarm_core::{OpId, StoreId};

pub use pool::{Completion, DiskOptions, DiskPool};
pub use stat::stat_file;
pub use state::{StateDir, StateDirError};
pub use top_link::follow_top_link;

use crate::multi_buffer::{PieceHashing, update_all};

pub(crate) use files::FileCache;
use private_dirs::PrivateDirs;
use queue::Batch;
use read_buffers::ReadBuffers;
pub(crate) use store::Store;
use transfer::Transfer;
pub(crate) use verify::{PieceReading, Scratch, read_all};

/// Every open store, and how to do each request on them.
#[derive(Debug)]
pub(crate) struct Disk {
    stores: RwLock<HashMap<StoreId, Arc<Store>>>,
    files: FileCache,
    buffers: ReadBuffers,
    /// Without one, nothing is kept and nothing is found.
    state: Option<StateDir>,
    /// Where that and other sessions' state is: out of reach for torrents.
    private: PrivateDirs,
}

impl Disk {
    pub(crate) fn new(open_files: usize, state: Option<StateDir>) -> Self {
        let private =
            state.as_ref().map_or_else(Default::default, |dir| PrivateDirs::of_session(dir.path()));
        Disk {
            private,
            stores: RwLock::default(),
            files: FileCache::new(open_files),
            buffers: ReadBuffers::default(),
            state,
        }
    }

    /// Does one request. Blocks as long as the disk takes.
    pub(crate) fn execute(
        &self,
        request: DiskRequest,
        scratch: &mut Scratch,
    ) -> Result<DiskDone, DiskError> {
        match request {
            DiskRequest::Open { store, spec } => self.open(store, spec),
            DiskRequest::Prepare { store, files, allocation, links } => {
                let store = self.store(store)?;
                let place = store.enter()?;
                store.refuse_what_is_not_ours(&place, &files)?;
                for index in files {
                    store.prepare(&place, &self.files, index, allocation)?;
                }
                if links {
                    store.make_links(&place)?;
                }
                Ok(DiskDone::Done)
            }
            DiskRequest::Reuse { store, files } => self.reuse(store, &files),
            DiskRequest::Read { store, spans } => {
                let read = |transfer: Transfer<'_>| transfer.read(&spans, &self.buffers);
                self.transfer(store, |transfer| read(transfer).map(DiskDone::Read))
            }
            DiskRequest::Write(request) => {
                let is_right = are_right(iter::once(&*request))[0];
                self.write(*request, is_right)
            }
            DiskRequest::Verify(request) => {
                let mut result = Ok(DiskDone::Done);
                self.verify_all(vec![*request], scratch, |_, done| result = done);
                result
            }
            DiskRequest::Sync { store } => {
                let store = self.store(store)?;
                let place = store.enter()?;
                store.sync(&place, &self.files).map(DiskDone::Files)
            }
            DiskRequest::Look { store } => {
                let store = self.store(store)?;
                let place = store.enter()?;
                store.look(&place).map(DiskDone::Files)
            }
            DiskRequest::Move { store, root } => {
                let store = self.store(store)?;
                let mut place = store.enter_alone()?;
                if place.root != root {
                    self.private.refuse(&root, store.spec())?;
                    self.files.forget(store.id());
                    relocate::relocate(&place.root, &root, store.spec())?;
                    place.root = root;
                    store.moved(&place)?;
                }
                Ok(DiskDone::Done)
            }
            DiskRequest::Close { store, delete } => self.close(store, delete),
            DiskRequest::Save { name, data } => {
                self.state.as_ref().map_or(Ok(()), |state| state.save(name, &data))?;
                Ok(DiskDone::Done)
            }
            DiskRequest::Load { name } => {
                let loaded = self.state.as_ref().map_or(Ok(None), |state| state.load(name))?;
                Ok(DiskDone::Loaded(loaded))
            }
            DiskRequest::Forget { name } => {
                self.state.as_ref().map_or(Ok(()), |state| state.forget(name))?;
                Ok(DiskDone::Done)
            }
        }
    }

    /// Does several requests, which are done soonest side by side; `done` hears of each.
    pub(crate) fn execute_all(
        &self,
        batch: Batch,
        scratch: &mut Scratch,
        mut done: impl FnMut(OpId, Result<DiskDone, DiskError>),
    ) {
        match batch {
            Batch::One(op, request) => done(op, self.execute(request, scratch)),
            Batch::Writes(writes) => {
                let are_right = are_right(writes.iter().map(|(_, write)| &**write));
                for ((op, write), is_right) in writes.into_iter().zip(are_right) {
                    done(op, self.write(*write, is_right));
                }
            }
            Batch::Verifies(verifies) => {
                let (ops, requests): (Vec<_>, _) =
                    verifies.into_iter().map(|(op, request)| (op, *request)).unzip();
                self.verify_all(requests, scratch, |index, result| done(ops[index], result));
            }
        }
    }

    /// Does a request that needs nothing to be waited for, neither a device nor another thread's
    /// work. `None`: it is to be executed.
    pub(crate) fn try_at_once(&self, request: &DiskRequest) -> Option<DiskDone> {
        let DiskRequest::Read { store, spans } = request else { return None };
        let store = self.stores.try_read().ok()?.get(store).cloned()?;
        let place = store.try_enter()?;
        let transfer = Transfer { store: &store, place: &place, cache: &self.files };
        transfer.read_at_once(spans, &self.buffers).map(DiskDone::Read)
    }

    /// Gives back all memory that is not in use.
    pub(crate) fn release_buffers(&self) {
        self.buffers.release();
    }

    fn open(&self, id: StoreId, spec: Arc<StoreSpec>) -> Result<DiskDone, DiskError> {
        let spec = follow_top_link(spec);
        let refused = self.private.refuse(&spec.root, &spec);
        // A store that is refused has no files: nothing of them is read, written or deleted.
        let without_files =
            || StoreSpec { files: Vec::new(), links: Vec::new(), ..StoreSpec::clone(&spec) };
        let spec = if refused.is_ok() { spec } else { Arc::new(without_files()) };
        let store = Arc::new(Store::new(id, spec));
        let mut stores = self.stores.write().unwrap_or_else(PoisonError::into_inner);
        // Known from here on, also if looking at its files fails.
        stores.insert(id, Arc::clone(&store));
        drop(stores);
        refused?;
        let place = store.enter()?;
        store.look(&place).map(DiskDone::Files)
    }

    /// Copies files of other stores. Only one store is entered at a time, so that no worker that waits
    /// for one holds the other.
    fn reuse(
        &self,
        id: StoreId,
        files: &[(FileIndex, (StoreId, FileIndex))],
    ) -> Result<DiskDone, DiskError> {
        let store = self.store(id)?;
        for &(file, (of, other)) in files {
            let source = self.store(of).and_then(|of| of.source(other));
            let copied = source.and_then(|source| store.copy_from(file, source));
            if let Err(error) = copied {
                tracing::warn!(%error, "a file that another torrent has could not be copied");
            }
        }
        let place = store.enter()?;
        store.look(&place).map(DiskDone::Files)
    }

    fn close(&self, id: StoreId, delete: Option<Vec<FileIndex>>) -> Result<DiskDone, DiskError> {
        let mut stores = self.stores.write().unwrap_or_else(PoisonError::into_inner);
        let store = stores.remove(&id).ok_or_else(store::unknown)?;
        drop(stores);
        // Waits for those who work on its files.
        let mut place = store.enter_alone()?;
        store.close(&mut place, &self.files, delete.as_deref())?;
        Ok(DiskDone::Done)
    }

    fn write(&self, request: WriteRequest, is_right: bool) -> Result<DiskDone, DiskError> {
        if !is_right {
            return Ok(DiskDone::HashMismatch);
        }
        self.transfer(request.store, |transfer| transfer.write(request))
    }

    /// Reads pieces and sees whether they have their hashes; `done` hears of each by its place.
    fn verify_all(
        &self,
        requests: Vec<VerifyRequest>,
        scratch: &mut Scratch,
        mut done: impl FnMut(usize, Result<DiskDone, DiskError>),
    ) {
        let stores: Vec<_> = requests.iter().map(|request| self.store(request.store)).collect();
        let mut readings = Vec::with_capacity(requests.len());
        let mut known = Vec::with_capacity(requests.len());
        for (index, (request, store)) in requests.iter().zip(&stores).enumerate() {
            match store {
                Ok(store) => {
                    let hashing = PieceHashing::for_hash(&request.expect);
                    let reading = PieceReading::new(store, request.spans.clone(), hashing);
                    readings.push(if request.tell_zeros {
                        reading.minding_zeros()
                    } else {
                        reading
                    });
                    known.push((index, &request.expect));
                }
                Err(error) => done(index, Err(error.clone())),
            }
        }
        read_all(&mut readings, &self.files, scratch);
        for (reading, (index, expect)) in readings.into_iter().zip(known) {
            let is_zero = reading.is_zero();
            done(index, reading.finish().map(|hashing| verdict(hashing.is(expect), is_zero)));
        }
    }

    fn transfer(
        &self,
        store: StoreId,
        work: impl FnOnce(Transfer<'_>) -> Result<DiskDone, DiskError>,
    ) -> Result<DiskDone, DiskError> {
        let store = self.store(store)?;
        let place = store.enter()?;
        work(Transfer { store: &store, place: &place, cache: &self.files })
    }

    fn store(&self, id: StoreId) -> Result<Arc<Store>, DiskError> {
        let stores = self.stores.read().unwrap_or_else(PoisonError::into_inner);
        stores.get(&id).cloned().ok_or_else(store::unknown)
    }
}

/// Whether each of these has data with the hash that it expects, if it does expect one.
fn are_right<'a>(writes: impl Iterator<Item = &'a WriteRequest> + Clone) -> Vec<bool> {
    let expected = writes.clone().map(|write| write.expect);
    let mut hashings: Vec<_> = expected
        .map(|expected| expected.map(|expected| (PieceHashing::for_hash(&expected), expected)))
        .collect();
    update_all(hashings.iter_mut().zip(writes).filter_map(|(hashing, write)| {
        Some((&mut hashing.as_mut()?.0, write.data.iter().map(AsRef::as_ref)))
    }));
    hashings
        .into_iter()
        .map(|hashing| hashing.is_none_or(|(hashing, expected)| hashing.is(&expected)))
        .collect()
}

fn verdict(is_right: bool, is_zero: bool) -> DiskDone {
    match is_right {
        _ if is_zero => DiskDone::Zeros { is_right },
        true => DiskDone::Done,
        false => DiskDone::HashMismatch,
    }
}

#[cfg(test)]
mod tests;
