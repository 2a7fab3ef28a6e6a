//! What the engine asks of the disk, done: the blocking half of `bitswarm_core::disk`.
//!
//! [`DiskPool`] runs requests on worker threads; each ends in exactly one completion. Below it:
//! `store` knows a torrent's files, `beneath` opens them so that no link leads out of the root,
//! `files` keeps a bounded number open, `transfer` moves bytes, `relocate` moves files,
//! `state` keeps resume data. Reads that find their bytes in memory need no worker: `at_once`.

mod at_once;
mod beneath;
mod error;
mod files;
mod pool;
mod read_buffers;
mod relocate;
mod state;
mod store;
mod transfer;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use bitswarm_core::StoreId;
use bitswarm_core::disk::{DiskDone, DiskError, DiskRequest, FileIndex, StoreSpec};

pub use pool::{Completion, DiskOptions, DiskPool};
pub use state::{StateDir, StateDirError};

pub(crate) use files::FileCache;
use read_buffers::ReadBuffers;
pub(crate) use store::Store;
pub(crate) use transfer::{Scratch, Transfer};

/// Every open store, and how to do each request on them.
#[derive(Debug)]
pub(crate) struct Disk {
    stores: RwLock<HashMap<StoreId, Arc<Store>>>,
    files: FileCache,
    buffers: ReadBuffers,
    /// Without one, nothing is kept and nothing is found.
    state: Option<StateDir>,
}

impl Disk {
    pub(crate) fn new(open_files: usize, state: Option<StateDir>) -> Self {
        Disk {
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
                self.transfer(request.store, |transfer| transfer.write(*request))
            }
            DiskRequest::Verify(request) => {
                self.transfer(request.store, |transfer| transfer.verify(&request, scratch))
            }
            DiskRequest::Sync { store } => {
                let store = self.store(store)?;
                let place = store.enter()?;
                store.sync(&place, &self.files).map(DiskDone::Files)
            }
            DiskRequest::Move { store, root } => {
                let store = self.store(store)?;
                let mut place = store.enter_alone()?;
                if place.root != root {
                    self.files.forget(store.id());
                    relocate::relocate(&place.root, &root, store.spec())?;
                    place.root = root;
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
        let store = Arc::new(Store::new(id, spec));
        let mut stores = self.stores.write().unwrap_or_else(PoisonError::into_inner);
        // Known from here on, also if looking at its files fails.
        stores.insert(id, Arc::clone(&store));
        drop(stores);
        let place = store.enter()?;
        store.look(&place).map(DiskDone::Files)
    }

    /// Copies files of other stores. Only one store is entered at a time, so that nobody who waits
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

    fn close(&self, id: StoreId, delete: bool) -> Result<DiskDone, DiskError> {
        let mut stores = self.stores.write().unwrap_or_else(PoisonError::into_inner);
        let store = stores.remove(&id).ok_or_else(store::unknown)?;
        drop(stores);
        // Waits for those who work on its files.
        let mut place = store.enter_alone()?;
        store.close(&mut place, &self.files, delete)?;
        Ok(DiskDone::Done)
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

#[cfg(test)]
mod tests;
