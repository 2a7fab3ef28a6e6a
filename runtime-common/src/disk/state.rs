//! The state directory: small files that survive a crash whole or not at all.
//!
//! A file is written under a temporary name, synced, renamed over the old one, and the directory is
//! synced. A lock on the directory keeps a second session out for as long as the first lives.

use std::ffi::OsString;
use std::fmt;
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bitswarm_core::disk::{DiskError, StateName};
use bytes::Bytes;
use rustix::io::Errno;

use super::error::disk_error;
use super::store::sync_dir;

/// How a temporary file ends. One that is found at the start is left over from a crash.
const TEMPORARY: &str = ".tmp";

/// A directory with a session's state, locked.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// The lock goes when this is closed.
    _lock: File,
    /// Makes temporary names unique.
    saves: AtomicU64,
}

/// Why a state directory cannot be used.
#[derive(Debug)]
pub enum StateDirError {
    /// Another session uses it.
    InUse(PathBuf),
    /// It cannot be made or opened.
    Io(PathBuf, io::Error),
}

impl fmt::Display for StateDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateDirError::InUse(path) => write!(
                f,
                "{}: another session keeps its state here; stop it or choose another directory",
                path.display()
            ),
            StateDirError::Io(path, error) => {
                write!(f, "{}: cannot keep state here: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for StateDirError {}

impl StateDir {
    /// Makes the directory if it is missing, and locks it.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        let failed = |error| StateDirError::Io(path.to_owned(), error);
        // What is kept tells what the user has: nobody else reads it (defence 48).
        let mut make = DirBuilder::new();
        make.recursive(true).mode(0o700).create(path).map_err(failed)?;
        let mut options = File::options();
        options.create(true).write(true).truncate(false).mode(0o600);
        let lock = options.open(path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateDirError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let dir = StateDir { path: path.to_owned(), _lock: lock, saves: AtomicU64::new(0) };
        dir.remove_leftovers();
        Ok(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file whole.
    pub(crate) fn save(&self, name: StateName, data: &[u8]) -> Result<(), DiskError> {
        let path = self.path.join(file_name(name));
        let mut temporary = OsString::from(&path);
        let save = self.saves.fetch_add(1, Ordering::Relaxed);
        temporary.push(format!(".{save}{TEMPORARY}"));
        let temporary = PathBuf::from(temporary);
        let written = write_synced(&temporary, data)
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(|error| failed(&path, &error));
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written?;
        sync_dir(&self.path)
    }

    /// Reads a file; `None` if there is none.
    pub(crate) fn load(&self, name: StateName) -> Result<Option<Bytes>, DiskError> {
        let path = self.path.join(file_name(name));
        match std::fs::read(&path) {
            Ok(data) => Ok(Some(Bytes::from(data))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    /// Deletes a file if it exists.
    pub(crate) fn forget(&self, name: StateName) -> Result<(), DiskError> {
        let path = self.path.join(file_name(name));
        match std::fs::remove_file(&path) {
            Ok(()) => sync_dir(&self.path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    fn remove_leftovers(&self) {
        let Ok(entries) = std::fs::read_dir(&self.path) else { return };
        for entry in entries.flatten() {
            if entry.file_name().as_encoded_bytes().ends_with(TEMPORARY.as_bytes()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

fn file_name(name: StateName) -> String {
    match name {
        StateName::Resume(infohash) => format!("{infohash}.resume"),
        StateName::Dht(0) => "dht.nodes".to_owned(),
        StateName::Dht(node) => format!("dht-{node}.nodes"),
        StateName::Metadata(infohash) => format!("{infohash}.metadata"),
    }
}

fn write_synced(path: &Path, data: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    let mut file = options.create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(data)?;
    file.sync_all()
}

fn failed(path: &Path, error: &io::Error) -> DiskError {
    disk_error(path, Errno::from_io_error(error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use bitswarm_core::piece::InfoHash;

    use super::*;

    const NAME: StateName = StateName::Resume(InfoHash([0xab; 20]));

    #[test]
    fn saved_state_loads_replaces_and_is_forgotten() {
        let outer = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&outer.path().join("made/for/us")).unwrap();
        assert_eq!(dir.load(NAME), Ok(None));
        dir.save(NAME, b"first, and longer").unwrap();
        dir.save(NAME, b"second").unwrap();
        assert_eq!(dir.load(NAME), Ok(Some(Bytes::from_static(b"second"))));
        dir.forget(NAME).unwrap();
        dir.forget(NAME).unwrap();
        assert_eq!(dir.load(NAME), Ok(None));
    }

    #[test]
    fn nobody_else_reads_what_is_kept() {
        use std::os::unix::fs::PermissionsExt;
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("for/us");
        let dir = StateDir::open(&path).unwrap();
        dir.save(NAME, b"secret").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        for file in std::fs::read_dir(&path).unwrap() {
            assert_eq!(mode(&file.unwrap().path()), 0o600);
        }
    }

    #[test]
    fn second_session_is_kept_out_until_the_first_ends() {
        let outer = tempfile::tempdir().unwrap();
        let first = StateDir::open(outer.path()).unwrap();
        let refused = StateDir::open(outer.path()).unwrap_err();
        assert!(matches!(refused, StateDirError::InUse(_)), "{refused}");
        drop(first);
        StateDir::open(outer.path()).unwrap();
    }

    #[test]
    fn leftovers_of_a_crash_are_removed_and_nothing_else() {
        let outer = tempfile::tempdir().unwrap();
        std::fs::write(outer.path().join("x.resume.0.tmp"), b"half").unwrap();
        std::fs::write(outer.path().join("y.resume"), b"whole").unwrap();
        StateDir::open(outer.path()).unwrap();
        assert!(!outer.path().join("x.resume.0.tmp").exists());
        assert!(outer.path().join("y.resume").exists());
    }

    #[test]
    fn save_that_fails_leaves_the_old_state() {
        let outer = tempfile::tempdir().unwrap();
        let dir = StateDir::open(outer.path()).unwrap();
        // A directory in the file's place: the rename cannot succeed.
        std::fs::create_dir(outer.path().join(file_name(NAME))).unwrap();
        assert!(dir.save(NAME, b"data").is_err());
        let left: Vec<_> = std::fs::read_dir(outer.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 2, "the lock and the directory: {left:?}");
    }
}
