//! Moving a store's files and links under another root.
//!
//! All or nothing, as far as the system lets us: a file that is already at the destination is never
//! replaced, and what was moved before a failure is moved back. Across file systems files are
//! copied, synced, and only when all are there the originals are removed. Links, which hold nothing, are
//! made anew, as far as they can be.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use bitswarm_core::disk::{DiskError, StoreFile, StoreSpec};
use rustix::fs::{self, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::error::disk_error;
use super::openat;
use super::store::{remove_all, sync_dir};

/// How a file got to its new place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moved {
    Renamed,
    Copied,
}

/// Moves what a store has from beneath `from` to beneath `to`. On an error it is where it was.
pub(crate) fn relocate(from: &Path, to: &Path, spec: &StoreSpec) -> Result<(), DiskError> {
    let source = match openat::open_root(from) {
        Ok(source) => source,
        // Nothing was made yet.
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(disk_error(from, errno)),
    };
    let target = open_target(to).map_err(|errno| disk_error(to, errno))?;
    let mut done: Vec<(&StoreFile, Moved)> = Vec::new();
    for file in &spec.files {
        match move_one(source.as_fd(), target.as_fd(), &file.path) {
            Ok(Some(how)) => done.push((file, how)),
            Ok(None) => {}
            Err(errno) => {
                undo(source.as_fd(), target.as_fd(), &done);
                return Err(disk_error(&to.join(&file.path), errno));
            }
        }
    }
    for link in &spec.links {
        let was_made = openat::is_link(source.as_fd(), &link.path, &link.target);
        if was_made == Ok(true)
            && let Err(errno) = openat::make_link(target.as_fd(), &link.path, &link.target)
        {
            tracing::warn!(path = %link.path.display(), %errno, "link not moved");
        }
    }
    let dirs: BTreeSet<&Path> =
        done.iter().flat_map(|(file, _)| file.path.ancestors().skip(1)).collect();
    dirs.into_iter().try_for_each(|dir| sync_dir(&to.join(dir)))?;
    // Those renamed are not there any more; those copied are.
    let moved: Vec<&StoreFile> = done.iter().map(|(file, _)| *file).collect();
    remove_all(from, &moved, &spec.links)
}

fn open_target(to: &Path) -> Result<OwnedFd, Errno> {
    std::fs::create_dir_all(to).map_err(|error| errno(&error))?;
    openat::open_root(to)
}

/// `None`: the file does not exist.
fn move_one(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    path: &Path,
) -> Result<Option<Moved>, Errno> {
    let Some((from_dir, name)) = openat::dir_of(source, path)? else { return Ok(None) };
    let from = match openat::open_file(source, path, OFlags::RDONLY, Mode::empty()) {
        Ok(from) => from,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let parent = path.parent().unwrap_or(Path::new(""));
    openat::make_dirs(target, parent)?;
    let to_dir = openat::open_dir(target, parent)?;
    match rename_new(&from_dir, &to_dir, name.as_ref()) {
        Ok(()) => Ok(Some(Moved::Renamed)),
        Err(Errno::XDEV) => {
            if let Err(errno) = copy(from, target, path) {
                // `EXIST`: it is not ours.
                if errno != Errno::EXIST {
                    let _ = openat::remove_file(target, path);
                }
                return Err(errno);
            }
            Ok(Some(Moved::Copied))
        }
        Err(errno) => Err(errno),
    }
}

/// Renames within a file system, never over a file.
fn rename_new(from: &OwnedFd, to: &OwnedFd, name: &Path) -> Result<(), Errno> {
    #[cfg(target_os = "linux")]
    match fs::renameat_with(from, name, to, name, fs::RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {}
        result => return result,
    }
    match fs::statat(to, name, fs::AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => fs::renameat(from, name, to, name),
        Ok(_) => Err(Errno::EXIST),
        Err(errno) => Err(errno),
    }
}

/// Copies content, permissions and time of modification (resume data goes by it), and syncs.
fn copy(from: OwnedFd, target: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    let stat = fs::fstat(&from)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
    let mut to = File::from(openat::open_file(target, path, flags, mode)?);
    io::copy(&mut File::from(from), &mut to).map_err(|error| errno(&error))?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: nanos(stat.st_atime_nsec) },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: nanos(stat.st_mtime_nsec) },
    };
    fs::futimens(&to, &times)?;
    fs::fsync(&to)
}

fn undo(source: BorrowedFd<'_>, target: BorrowedFd<'_>, done: &[(&StoreFile, Moved)]) {
    for (file, how) in done.iter().rev() {
        let undone = match how {
            Moved::Renamed => move_one(target, source, &file.path).map(drop),
            Moved::Copied => openat::remove_file(target, &file.path).map(drop),
        };
        if let Err(errno) = undone {
            tracing::warn!(path = %file.path.display(), %errno, "file not moved back");
        }
    }
}

fn nanos(nanos: impl TryInto<i64>) -> i64 {
    nanos.try_into().unwrap_or(0)
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
