//! The files that are open, at most so many at once.
//!
//! Shared by all workers. A file is known by its store and its place in it. Past the limit the one
//! not used for longest is closed (once its last user is done with it). When the system is out of
//! descriptors, half of them are closed so that the caller can try again.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use bitswarm_core::StoreId;

/// Which file: its store, its place there.
pub(crate) type FileKey = (StoreId, u32);

/// What a file is opened for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Access {
    /// Reading only: works where nothing may be written.
    Read,
    /// Reading and writing.
    Write,
}

/// Open files by key, bounded.
#[derive(Debug)]
pub(crate) struct FileCache {
    limit: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    files: HashMap<FileKey, Entry>,
    /// Counts uses; the entry with the least is the one not used for longest.
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    file: Arc<OwnedFd>,
    access: Access,
    used: u64,
}

impl FileCache {
    /// Keeps at most `limit` files open (at least one).
    pub(crate) fn new(limit: usize) -> Self {
        FileCache { limit: limit.max(1), open: Mutex::default() }
    }

    /// The file, if it is open for what is asked.
    pub(crate) fn get(&self, key: FileKey, access: Access) -> Option<Arc<OwnedFd>> {
        let mut open = self.lock();
        open.uses += 1;
        let used = open.uses;
        let entry = open.files.get_mut(&key).filter(|entry| entry.access >= access)?;
        entry.used = used;
        Some(Arc::clone(&entry.file))
    }

    /// Keeps a file that was opened.
    pub(crate) fn put(&self, key: FileKey, access: Access, file: OwnedFd) -> Arc<OwnedFd> {
        let file = Arc::new(file);
        let mut open = self.lock();
        open.uses += 1;
        let entry = Entry { file: Arc::clone(&file), access, used: open.uses };
        let replaced = open.files.insert(key, entry);
        let evicted = if open.files.len() > self.limit { open.take_oldest() } else { None };
        // Closing a file may wait for the device: not under the lock.
        drop(open);
        drop((replaced, evicted));
        file
    }

    /// Closes every file of a store.
    pub(crate) fn forget(&self, store: StoreId) {
        let forgotten: Vec<_> = self.lock().files.extract_if(|key, _| key.0 == store).collect();
        drop(forgotten);
    }

    /// Closes half of the files, at least one. `false` if none was open.
    pub(crate) fn shrink(&self) -> bool {
        let mut open = self.lock();
        let many = open.files.len().div_ceil(2);
        let closed: Vec<_> = std::iter::from_fn(|| open.take_oldest()).take(many).collect();
        drop(open);
        !closed.is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Looks at all of them: there are few, and opening a file costs far more.
    fn take_oldest(&mut self) -> Option<Entry> {
        let key = *self.files.iter().min_by_key(|(_, entry)| entry.used)?.0;
        self.files.remove(&key)
    }
}

#[cfg(test)]
mod tests {
    use bitswarm_core::id::Id;

    use super::*;

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn file_not_used_for_longest_is_closed_first() {
        let store = StoreId::new(0, 0);
        let cache = FileCache::new(2);
        cache.put((store, 0), Access::Read, null());
        cache.put((store, 1), Access::Read, null());
        assert!(cache.get((store, 0), Access::Read).is_some());
        cache.put((store, 2), Access::Read, null());
        assert!(cache.get((store, 0), Access::Read).is_some());
        assert!(cache.get((store, 1), Access::Read).is_none());
    }

    #[test]
    fn file_open_for_reading_does_not_serve_a_writer() {
        let store = StoreId::new(0, 0);
        let cache = FileCache::new(2);
        cache.put((store, 0), Access::Read, null());
        assert!(cache.get((store, 0), Access::Write).is_none());
        cache.put((store, 0), Access::Write, null());
        assert!(cache.get((store, 0), Access::Read).is_some());
    }

    #[test]
    fn forget_and_shrink_close_files() {
        let (one, other) = (StoreId::new(0, 0), StoreId::new(1, 0));
        let cache = FileCache::new(8);
        for index in 0..3 {
            cache.put((one, index), Access::Read, null());
            cache.put((other, index), Access::Read, null());
        }
        cache.forget(one);
        assert_eq!(cache.lock().files.len(), 3);
        assert!(cache.shrink());
        assert_eq!(cache.lock().files.len(), 1);
        assert!(cache.shrink());
        assert!(!cache.shrink());
    }
}
