//! Paths beneath a root that no symbolic link can lead out of (defence 2).
//!
//! The root is the user's word and is opened as it is. Every component below it came from a
//! .torrent: it is opened without following links, in one system call where the kernel can
//! (`openat2`), component by component where it cannot. What is no plain file is refused, and a
//! named pipe is never waited for.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

/// A directory that is only walked through, not read.
#[cfg(target_os = "linux")]
const WALK: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const WALK: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// For new directories, before the umask.
const DIR_MODE: Mode = Mode::from_raw_mode(0o777);

/// Opens the root for walking.
pub(crate) fn open_root(root: &Path) -> Result<OwnedFd, Errno> {
    let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
    fs::open(root, WALK, Mode::empty())
}

/// Opens a plain file beneath `root`; with `OFlags::CREATE` its directory must exist.
pub(crate) fn open_file(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    // Without `NONBLOCK`, opening a pipe that lies in the file's place waits for its other end.
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = open(root, path, flags, mode)?;
    let found = FileType::from_raw_mode(fs::fstat(&file)?.st_mode);
    match found {
        FileType::RegularFile => Ok(file),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::NXIO),
    }
}

/// Opens a directory beneath `root` for walking; the empty path is the root itself.
pub(crate) fn open_dir(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    if path.as_os_str().is_empty() {
        return root
            .try_clone_to_owned()
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
    }
    open(root, path, WALK | OFlags::NOFOLLOW, Mode::empty())
}

/// Makes the directories of `path` beneath `root` that are missing. Returns the directories that
/// got a new entry, relative to the root: they are what has to be synced.
pub(crate) fn make_dirs(root: BorrowedFd<'_>, path: &Path) -> Result<Vec<PathBuf>, Errno> {
    let mut changed = Vec::new();
    let mut here = open_dir(root, Path::new(""))?;
    let mut walked = PathBuf::new();
    for component in path.components() {
        let name = plain(component)?;
        match fs::mkdirat(&here, name, DIR_MODE) {
            Ok(()) => changed.push(walked.clone()),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        here = fs::openat(&here, name, WALK | OFlags::NOFOLLOW, Mode::empty())?;
        walked.push(name);
    }
    Ok(changed)
}

/// Makes a symbolic link beneath `root` that says `target`, unless something is in its place:
/// whether it says so now. Its directories are made if they are missing.
pub(crate) fn make_link(root: BorrowedFd<'_>, path: &Path, target: &Path) -> Result<bool, Errno> {
    let parent = path.parent().unwrap_or(Path::new(""));
    make_dirs(root, parent)?;
    let dir = open_dir(root, parent)?;
    match fs::symlinkat(target, &dir, path.file_name().ok_or(Errno::INVAL)?) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => is_link(root, path, target),
        Err(errno) => Err(errno),
    }
}

/// Removes a symbolic link beneath `root` if it is one that says `target`.
pub(crate) fn remove_link(root: BorrowedFd<'_>, path: &Path, target: &Path) -> Result<(), Errno> {
    if !is_link(root, path, target)? {
        return Ok(());
    }
    let Some((dir, name)) = dir_of(root, path)? else { return Ok(()) };
    match fs::unlinkat(&dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Whether there is a symbolic link beneath `root` that says `target`.
pub(crate) fn is_link(root: BorrowedFd<'_>, path: &Path, target: &Path) -> Result<bool, Errno> {
    let Some((dir, name)) = dir_of(root, path)? else { return Ok(false) };
    match fs::readlinkat(&dir, name, Vec::new()) {
        Ok(said) => Ok(said.as_bytes() == target.as_os_str().as_encoded_bytes()),
        // Missing, or no link.
        Err(Errno::NOENT | Errno::INVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// What lies at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    Nothing,
    /// A plain file.
    File,
    /// Something that keeps a plain file from being there, with the error that opening it would be.
    Other(Errno),
}

/// Looks what lies at a path beneath `root`, following no link.
pub(crate) fn look_at(root: BorrowedFd<'_>, path: &Path) -> Result<Found, Errno> {
    let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
        return Err(Errno::INVAL);
    };
    let dir = match open_dir(root, parent) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        Err(errno @ (Errno::NOTDIR | Errno::LOOP)) => return Ok(Found::Other(errno)),
        Err(errno) => return Err(errno),
    };
    let stat = match fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        Err(errno) => return Err(errno),
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Found::File,
        FileType::Directory => Found::Other(Errno::ISDIR),
        FileType::Symlink => Found::Other(Errno::LOOP),
        _ => Found::Other(Errno::NXIO),
    })
}

/// Removes a plain file beneath `root`. One that is missing, or in whose place something else
/// lies, is left as it is: whether the file was removed.
pub(crate) fn remove_file(root: BorrowedFd<'_>, path: &Path) -> Result<bool, Errno> {
    let Some((dir, name)) = dir_of(root, path)? else { return Ok(false) };
    match fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {}
        Ok(_) | Err(Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(errno),
    }
    match fs::unlinkat(&dir, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Removes a directory beneath `root` if it is empty.
pub(crate) fn remove_empty_dir(root: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    let Some((dir, name)) = dir_of(root, path)? else { return Ok(()) };
    match fs::unlinkat(&dir, name, AtFlags::REMOVEDIR) {
        // A link has come to lie where the directory was: `NOTDIR`.
        Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The opened directory of `path` and its last component; `None` if that directory is missing or
/// is none of ours.
pub(crate) fn dir_of<'p>(
    root: BorrowedFd<'_>,
    path: &'p Path,
) -> Result<Option<(OwnedFd, &'p OsStr)>, Errno> {
    let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
        return Err(Errno::INVAL);
    };
    match open_dir(root, parent) {
        Ok(dir) => Ok(Some((dir, name))),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(target_os = "linux")]
fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;

    const RESOLVE: ResolveFlags =
        ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
    // `openat2` refuses a mode where nothing is created.
    let mode = if flags.contains(OFlags::CREATE) { mode } else { Mode::empty() };
    match fs::openat2(root, path, flags, mode, RESOLVE) {
        // An old kernel, a filter that knows no `openat2` (some answer `PERM`), or a directory that
        // was being moved meanwhile.
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => open_by_steps(root, path, flags, mode),
        answer => answer,
    }
}

#[cfg(not(target_os = "linux"))]
fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    open_by_steps(root, path, flags, mode)
}

/// The same without `openat2`.
fn open_by_steps(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let mut dir: Option<OwnedFd> = None;
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let name = plain(component)?;
        let here = dir.as_ref().map_or(root, AsFd::as_fd);
        if components.peek().is_none() {
            return fs::openat(here, name, flags | OFlags::NOFOLLOW, mode);
        }
        dir = Some(fs::openat(here, name, WALK | OFlags::NOFOLLOW, Mode::empty())?);
    }
    Err(Errno::INVAL)
}

/// The name of a component that is a name. The core's sanitiser lets no other through.
fn plain(component: Component<'_>) -> Result<&OsStr, Errno> {
    match component {
        Component::Normal(name) => Ok(name),
        _ => Err(Errno::XDEV),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    type Open = fn(BorrowedFd<'_>, &Path, OFlags, Mode) -> Result<OwnedFd, Errno>;

    /// Both ways to open must agree.
    const WAYS: [(&str, Open); 2] = [("at once", open), ("by steps", open_by_steps)];

    fn try_open(way: Open, root: &Path, path: &str) -> Result<(), Errno> {
        let root = open_root(root).unwrap();
        way(root.as_fd(), Path::new(path), OFlags::RDONLY, Mode::empty()).map(drop)
    }

    #[test]
    fn path_that_leaves_the_root_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(outer.path().join("secret"), b"x").unwrap();
        for (name, way) in WAYS {
            assert_eq!(try_open(way, &root, "../secret"), Err(Errno::XDEV), "{name}");
            assert_eq!(try_open(way, &root, "/etc/passwd"), Err(Errno::XDEV), "{name}");
        }
    }

    #[test]
    fn symbolic_link_is_not_followed_wherever_it_stands_and_leads() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir_all(root.join("real")).unwrap();
        std::fs::write(root.join("real/f"), b"x").unwrap();
        std::fs::write(outer.path().join("secret"), b"x").unwrap();
        symlink(outer.path(), root.join("out")).unwrap();
        symlink("real", root.join("in")).unwrap();
        symlink("../secret", root.join("file")).unwrap();
        for (name, way) in WAYS {
            assert_eq!(try_open(way, &root, "real/f"), Ok(()), "{name}");
            for path in ["out/secret", "in/f", "file"] {
                let refused = try_open(way, &root, path).unwrap_err();
                assert!(
                    matches!(refused, Errno::LOOP | Errno::NOTDIR),
                    "{name}: {path}: {refused:?}"
                );
            }
        }
    }

    #[test]
    fn directories_are_not_made_through_a_link() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let target = outer.path().join("target");
        std::fs::create_dir(&target).unwrap();
        symlink(&target, root.join("link")).unwrap();
        let fd = open_root(&root).unwrap();
        assert!(make_dirs(fd.as_fd(), Path::new("link/made")).is_err());
        assert!(!target.join("made").exists());
    }

    #[test]
    fn make_dirs_names_the_directories_that_got_an_entry() {
        let root = tempfile::tempdir().unwrap();
        let fd = open_root(root.path()).unwrap();
        let made = make_dirs(fd.as_fd(), Path::new("a/b/c")).unwrap();
        assert_eq!(made, [PathBuf::new(), PathBuf::from("a"), PathBuf::from("a/b")]);
        assert!(make_dirs(fd.as_fd(), Path::new("a/b/c")).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_plain_file_is_refused_at_once() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("dir")).unwrap();
        fs::mkfifoat(fs::CWD, root.path().join("pipe"), Mode::from_raw_mode(0o600)).unwrap();
        let fd = open_root(root.path()).unwrap();
        let open =
            |path| open_file(fd.as_fd(), Path::new(path), OFlags::RDONLY, Mode::empty()).map(drop);
        assert_eq!(open("dir"), Err(Errno::ISDIR));
        assert_eq!(open("pipe"), Err(Errno::NXIO));
    }

    #[test]
    fn links_are_made_where_nothing_is_and_removed_if_they_say_what_they_should() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("f"), b"x").unwrap();
        symlink(outer.path(), root.join("out")).unwrap();
        let fd = open_root(&root).unwrap();
        let make = |path, to| make_link(fd.as_fd(), Path::new(path), Path::new(to));
        let remove = |path, to| remove_link(fd.as_fd(), Path::new(path), Path::new(to));
        assert_eq!(make("d/l", "../f"), Ok(true));
        assert_eq!(make("d/l", "../f"), Ok(true), "it is there");
        assert_eq!(make("d/l", "elsewhere"), Ok(false));
        assert_eq!(make("f", "d"), Ok(false), "a file is in its place");
        assert!(make("out/l", "f").is_err(), "not through a link");
        assert!(!outer.path().join("l").is_symlink());
        assert_eq!(std::fs::read_link(root.join("d/l")).unwrap(), Path::new("../f"));
        remove("d/l", "elsewhere").unwrap();
        assert!(root.join("d/l").is_symlink());
        remove("f", "d").unwrap();
        remove("d/l", "../f").unwrap();
        remove("d/l", "../f").unwrap();
        assert!(!root.join("d/l").is_symlink() && root.join("f").is_file());
    }

    #[test]
    fn remove_file_leaves_links_and_directories() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("f"), b"x").unwrap();
        symlink("f", root.path().join("link")).unwrap();
        std::fs::create_dir(root.path().join("dir")).unwrap();
        let fd = open_root(root.path()).unwrap();
        let remove = |path| remove_file(fd.as_fd(), Path::new(path));
        assert_eq!(remove("link"), Ok(false));
        assert_eq!(remove("dir"), Ok(false));
        assert_eq!(remove("none/f"), Ok(false));
        assert_eq!(remove("f"), Ok(true));
        assert!(root.path().join("link").is_symlink());
        assert!(root.path().join("dir").is_dir());
    }
}
