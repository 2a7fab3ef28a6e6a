//! The temporary directory of a demonstration, removed however that ends: by the process as all of its
//! temporary directories ([`crate::temporary`]); by the next demonstration if it was killed, which its
//! lock tells.

use std::fs::{self, File};
use std::path::Path;

use crate::exit::Failure;
use crate::temporary;

/// What the names of such directories begin with.
const PREFIX: &str = "bitswarm-demo-";

/// In the directory: locked while the process lives.
const LOCK: &str = "lock";

/// A directory that goes with this.
#[derive(Debug)]
pub(crate) struct Temporary {
    dir: temporary::Temporary,
    _lock: File,
}

impl Temporary {
    /// A new directory where the system wants such. Those left there by processes that were killed go.
    pub(crate) fn new() -> Result<Self, Failure> {
        Temporary::in_dir(&std::env::temp_dir())
    }

    fn in_dir(above: &Path) -> Result<Self, Failure> {
        sweep(above);
        let dir = temporary::Temporary::new_in(PREFIX, above)?;
        // Nobody sees it unlocked.
        let unseen = dir.path().join("lock.new");
        let failed = |error| Failure::file("cannot write", &unseen, &error);
        let lock = File::create(&unseen).map_err(failed)?;
        // Some file systems have no locks: then nothing is swept there either.
        let _ = lock.try_lock();
        fs::rename(&unseen, dir.path().join(LOCK)).map_err(failed)?;
        Ok(Temporary { dir, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Removes the directories of processes that have ended. What cannot be removed stays.
fn sweep(above: &Path) {
    let entries = fs::read_dir(above).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let is_ours = fs::symlink_metadata(entry.path()).is_ok_and(|it| it.is_dir() && owned(&it));
        if is_ours && is_abandoned(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether nobody holds the lock of a directory that has one.
fn is_abandoned(dir: &Path) -> bool {
    let lock = File::options().write(true).open(dir.join(LOCK));
    lock.is_ok_and(|lock| lock.try_lock().is_ok())
}

#[cfg(unix)]
fn owned(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    metadata.uid() == rustix::process::getuid().as_raw()
}

#[cfg(not(unix))]
fn owned(_: &fs::Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_the_dead_are_swept_and_no_others() {
        let above = tempfile::tempdir().unwrap();
        let living = Temporary::in_dir(above.path()).unwrap();
        let dead = above.path().join("bitswarm-demo-dead");
        let strange = above.path().join("bitswarm-demo-strange");
        for dir in [&dead, &strange] {
            fs::create_dir_all(dir.join("seeder")).unwrap();
        }
        fs::write(dead.join(LOCK), "").unwrap();
        let next = Temporary::in_dir(above.path()).unwrap();
        assert!(living.path().exists() && next.path().exists());
        assert!(!dead.exists(), "its process is gone");
        assert!(strange.exists(), "it may be anybody's");
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
    }
}
