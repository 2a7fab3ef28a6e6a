//! Temporary directories of this process, which are removed with it: when they are dropped, when a
//! second signal ends the process at once, and when it panics. Only `SIGKILL` leaves them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use crate::exit::Failure;

static THERE_ARE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A directory that ends with this.
#[derive(Debug)]
pub(crate) struct Temporary(TempDir);

impl Temporary {
    /// A new directory in `above` whose name begins with `prefix`.
    pub(crate) fn new_in(prefix: &str, above: &Path) -> Result<Self, Failure> {
        // Held while it is made, so that a removal of all misses none.
        let mut there_are = lock();
        let made = tempfile::Builder::new().prefix(prefix).tempdir_in(above);
        let dir = made.map_err(|error| Failure::file("cannot write to", above, &error))?;
        there_are.insert(dir.path().to_owned());
        Ok(Temporary(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // The directory itself goes with the field.
        lock().remove(self.0.path());
    }
}

/// Removes all there are, for a process that ends without dropping anything.
pub(crate) fn remove_all() {
    for dir in lock().iter() {
        // A file that is made meanwhile makes one pass fail.
        let _ = (0..3).find(|_| fs::remove_dir_all(dir).is_ok());
    }
}

/// Removes all there are before the process aborts by a panic, as release builds do.
pub(crate) fn remove_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |what| {
        tell(what);
        if let Ok(there_are) = THERE_ARE.try_lock() {
            there_are.iter().for_each(|dir| drop(fs::remove_dir_all(dir)));
        }
    }));
}

fn lock() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    THERE_ARE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_its_guard_or_before_the_process_ends_at_once() {
        let [kept, other] =
            [0, 1].map(|_| Temporary::new_in("bitswarm-test-", &std::env::temp_dir()).unwrap());
        let path = other.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        drop(other);
        assert!(!path.exists() && kept.path().is_dir());
        fs::write(kept.path().join("file"), "x").unwrap();
        remove_all();
        assert!(!kept.path().exists());
    }
}
