//! Writing a file that the user names: whole or not at all, and never over another by accident.
//!
//! What is there is replaced only if that is wanted. Then its mode and its owner survive, as far as the
//! system lets us, and a symbolic link that leads to it stays. The bytes are written beside it under
//! a temporary name, whose length does not depend on the file's, flushed, and renamed.

use std::fs::{self, File, Metadata};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::exit::{Code, Failure};

/// Links that are followed from one to the next (as many as Linux does).
const MOST_LINKS: usize = 40;

/// What becomes of a file that is there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Existing {
    /// It stays, and that is a failure.
    Keep,
    /// It is replaced.
    Replace,
}

impl Existing {
    /// What `--force` says.
    pub(crate) fn by_force(force: bool) -> Self {
        if force { Existing::Replace } else { Existing::Keep }
    }
}

/// Says that something is there which must stay, before work is done in vain.
pub(crate) fn refuse_existing(path: &Path, existing: Existing) -> Result<(), Failure> {
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => {
            let message = format!("cannot write {}: it is a directory", path.display());
            Err(Failure::new(Code::File, message))
        }
        Ok(there) if there.is_file() && existing == Existing::Keep => {
            let message =
                format!("{} exists; --force replaces it, or choose another name", path.display());
            Err(Failure::new(Code::File, message))
        }
        _ => Ok(()),
    }
}

/// Writes a file whole.
pub(crate) fn write(path: &Path, bytes: &[u8], existing: Existing) -> Result<(), Failure> {
    refuse_existing(path, existing)?;
    let failed = |error| Failure::file("cannot write", path, &error);
    // A device or a pipe is written to; a rename would replace it.
    let there = fs::metadata(path).ok();
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        let opened = File::options().write(true).open(path);
        return opened.and_then(|mut file| file.write_all(bytes)).map_err(failed);
    }
    let target = follow(path).map_err(failed)?;
    let temporary = temporary_beside(&target);
    let written = write_new(&temporary, bytes, there.as_ref()).and_then(|()| match existing {
        Existing::Replace => fs::rename(&temporary, &target),
        // Fails if something has come to lie there meanwhile.
        Existing::Keep => match fs::hard_link(&temporary, &target) {
            Ok(()) => fs::remove_file(&temporary),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // A file system without hard links.
            Err(_) => fs::rename(&temporary, &target),
        },
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(failed)
}

/// Where the file lies, or will, that symbolic links at `path` lead to.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => {
                let target = fs::read_link(&path)?;
                path = path.parent().unwrap_or(Path::new("")).join(target);
            }
            _ => return Ok(path),
        }
    }
    Err(io::Error::other("symbolic links lead in a circle"))
}

fn temporary_beside(path: &Path) -> PathBuf {
    path.with_file_name(format!(".bitswarm-{}.part", std::process::id()))
}

fn write_new(path: &Path, bytes: &[u8], like: Option<&Metadata>) -> io::Result<()> {
    // One that is there was left over by a process of the same number.
    let _ = fs::remove_file(path);
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    if let Some(like) = like {
        be_like(&file, like)?;
    }
    file.sync_all()
}

#[cfg(unix)]
fn be_like(file: &File, like: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};

    // Who may not give a file away keeps it.
    let _ = fchown(file, Some(like.uid()), Some(like.gid()));
    file.set_permissions(like.permissions())
}

#[cfg(not(unix))]
fn be_like(file: &File, like: &Metadata) -> io::Result<()> {
    file.set_permissions(like.permissions())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn names(dir: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|e| name(e).into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_there_stays_unless_it_is_to_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write(&path, b"one", Existing::Keep).unwrap();
        let refused = write(&path, b"two", Existing::Keep).unwrap_err();
        assert_eq!(refused.code, Code::File);
        assert!(refused.to_string().contains("--force"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write(&path, b"two", Existing::Replace).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn mode_and_link_survive() {
        let dir = tempfile::tempdir().unwrap();
        let [file, link, second] = ["file", "link", "second"].map(|name| dir.path().join(name));
        fs::write(&file, b"one").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        symlink("file", &link).unwrap();
        symlink("link", &second).unwrap();
        write(&second, b"two", Existing::Replace).unwrap();
        assert_eq!((fs::read(&file).unwrap(), mode(&file)), (b"two".to_vec(), 0o600));
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("file"));
        assert_eq!(fs::read_link(&second).unwrap(), Path::new("link"));
    }

    #[test]
    fn a_link_to_nothing_leads_to_the_file_then() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink("file", &link).unwrap();
        write(&link, b"one", Existing::Keep).unwrap();
        assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"one");
        assert!(link.is_symlink());
        let circle = dir.path().join("circle");
        symlink("circle", &circle).unwrap();
        assert!(write(&circle, b"one", Existing::Replace).is_err());
    }

    #[test]
    fn the_longest_name_can_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n".repeat(255));
        write(&path, b"one", Existing::Keep).unwrap();
        write(&path, b"two", Existing::Replace).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
    }

    #[test]
    fn a_directory_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(write(dir.path(), b"x", Existing::Replace).unwrap_err().code, Code::File);
    }
}
