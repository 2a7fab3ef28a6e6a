//! A torrent's files on disk: which exist, which are open, which were written and not yet synced.
//!
//! Many workers use a store at once; only moving and closing it exclude the others. A request that
//! comes after `Close` finds the store shut. What `Sync` has to flush is noted after each write is
//! done and before it is reported, so a completed write is always covered by the next `Sync`.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bitswarm_core::StoreId;
use bitswarm_core::disk::{
    Allocation, DiskError, DiskErrorKind, FileIndex, FileStat, StoreFile, StoreLink, StoreSpec,
};
use rustix::fs::{self, AtFlags, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::error::{disk_error, error_at};
use super::files::{Access, FileCache};
use super::openat;

/// More files than this are synced by one call for the whole file system (chosen: each sync of a
/// file waits for the device at least once).
const SYNC_ONE_BY_ONE: usize = 64;

/// One open store.
#[derive(Debug)]
pub(crate) struct Store {
    id: StoreId,
    spec: Arc<StoreSpec>,
    place: RwLock<Place>,
    unsynced: Mutex<Unsynced>,
    /// As of `Open` or `Look`, or of the `Sync` that flushed the file. Never taken anew for a file that was
    /// not written here, so that a change behind our back shows.
    stats: Mutex<Vec<Option<FileStat>>>,
    /// Files that were made here, so that what other programs make is known from them.
    made: Mutex<BTreeSet<u32>>,
}

/// Where a store lies now. A worker holds it while it works on the files.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) root: PathBuf,
    open: bool,
}

/// A file opened to be written.
enum Created {
    /// It was there before.
    Old(OwnedFd),
    New(OwnedFd),
    /// Somebody else has made it since it was looked for: it is not written.
    Strange,
}

#[derive(Debug, Default)]
struct Unsynced {
    files: BTreeSet<u32>,
    /// Directories that got a new entry, with their root.
    dirs: BTreeSet<PathBuf>,
}

impl Store {
    pub(crate) fn new(id: StoreId, spec: Arc<StoreSpec>) -> Self {
        let place = Place { root: spec.root.clone(), open: true };
        let stats = vec![None; spec.files.len()];
        Store {
            id,
            spec,
            place: RwLock::new(place),
            unsynced: Mutex::default(),
            stats: Mutex::new(stats),
            made: Mutex::default(),
        }
    }

    pub(crate) fn id(&self) -> StoreId {
        self.id
    }

    pub(crate) fn files(&self) -> &[StoreFile] {
        &self.spec.files
    }

    pub(crate) fn spec(&self) -> &StoreSpec {
        &self.spec
    }

    /// Where a file lies, for messages.
    pub(crate) fn path(&self, place: &Place, index: FileIndex) -> PathBuf {
        let file = self.files().get(index.0 as usize);
        file.map_or_else(|| place.root.clone(), |file| place.root.join(&file.path))
    }

    /// For work on single files, many at a time.
    pub(crate) fn enter(&self) -> Result<RwLockReadGuard<'_, Place>, DiskError> {
        let place = self.place.read().unwrap_or_else(PoisonError::into_inner);
        if place.open { Ok(place) } else { Err(unknown()) }
    }

    /// The same if nobody has to be waited for.
    pub(crate) fn try_enter(&self) -> Option<RwLockReadGuard<'_, Place>> {
        self.place.try_read().ok().filter(|place| place.open)
    }

    /// For work on the store as a whole, alone.
    pub(crate) fn enter_alone(&self) -> Result<RwLockWriteGuard<'_, Place>, DiskError> {
        let place = self.place.write().unwrap_or_else(PoisonError::into_inner);
        if place.open { Ok(place) } else { Err(unknown()) }
    }

    /// An open file, made with its directories if it is missing and to be written.
    pub(crate) fn file(
        &self,
        place: &Place,
        cache: &FileCache,
        index: FileIndex,
        access: Access,
    ) -> Result<Arc<OwnedFd>, DiskError> {
        let key = (self.id, index.0);
        if let Some(file) = cache.get(key, access) {
            return Ok(file);
        }
        let entry = self.entry(index)?;
        let opened = with_descriptors(cache, || match access {
            Access::Read => open_to_read(&place.root, &entry.path).map(Created::Old),
            Access::Write => self.open_to_write(&place.root, index, entry),
        });
        match opened {
            Ok(Created::Strange) => Err(self.strange(place, index)),
            Ok(Created::Old(file) | Created::New(file)) => Ok(cache.put(key, access, file)),
            Err(errno) => Err(disk_error(&place.root.join(&entry.path), errno)),
        }
    }

    /// Makes a file and, if asked, reserves its space. One that is there is made executable if it
    /// should be.
    pub(crate) fn prepare(
        &self,
        place: &Place,
        cache: &FileCache,
        index: FileIndex,
        allocation: Allocation,
    ) -> Result<(), DiskError> {
        let entry = self.entry(index)?;
        if entry.executable
            && let Ok(file) = self.file(place, cache, index, Access::Read)
        {
            let (is_changed, length) = allow_execution(&file, &entry.path);
            if is_changed {
                self.written(index);
            }
            if length == entry.length {
                return Ok(());
            }
        }
        let file = self.file(place, cache, index, Access::Write)?;
        let failed = |errno| disk_error(&place.root.join(&entry.path), errno);
        let length = u64::try_from(fs::fstat(&file).map_err(failed)?.st_size).unwrap_or(0);
        if length > entry.length {
            fs::ftruncate(&file, entry.length).map_err(failed)?;
        }
        if allocation == Allocation::Full && entry.length > 0 {
            reserve(&file, entry.length).map_err(failed)?;
        }
        self.written(index);
        Ok(())
    }

    /// Makes the links. One that cannot be made is left out with a word in the log: it holds no
    /// content, and what is in its place is not ours.
    pub(crate) fn make_links(&self, place: &Place) -> Result<(), DiskError> {
        if self.spec.links.is_empty() {
            return Ok(());
        }
        let failed = |errno| disk_error(&place.root, errno);
        let root = match openat::open_root(&place.root) {
            Err(Errno::NOENT) => self.make_root(&place.root).map_err(failed)?,
            opened => opened.map_err(failed)?,
        };
        for link in &self.spec.links {
            let path = place.root.join(&link.path);
            match openat::make_link(root.as_fd(), &link.path, &link.target) {
                Ok(true) => {
                    self.unsynced().dirs.extend(path.parent().map(Path::to_owned));
                }
                Ok(false) => {
                    tracing::warn!(path = %path.display(), "link not made: something is there");
                }
                Err(errno) => {
                    tracing::warn!(path = %path.display(), %errno, "link not made");
                }
            }
        }
        Ok(())
    }

    /// A file of its own to be copied from.
    pub(crate) fn source(&self, index: FileIndex) -> Result<File, DiskError> {
        let entry = self.entry(index)?;
        let place = self.enter()?;
        open_to_read(&place.root, &entry.path)
            .map(File::from)
            .map_err(|errno| disk_error(&place.root.join(&entry.path), errno))
    }

    /// Makes a file that is missing of another's content, if that has its length; sharing what is
    /// stored where the file system can. What cannot be finished is removed.
    pub(crate) fn copy_from(&self, index: FileIndex, source: File) -> Result<(), DiskError> {
        let entry = self.entry(index)?;
        let place = self.enter()?;
        let failed = |errno| disk_error(&place.root.join(&entry.path), errno);
        let stat = fs::fstat(&source).map_err(failed)?;
        if u64::try_from(stat.st_size) != Ok(entry.length) {
            return Err(error_at(
                DiskErrorKind::Short,
                &place.root.join(&entry.path),
                "its model is",
            ));
        }
        let Created::New(file) = self.create(&place.root, index, entry).map_err(failed)? else {
            return Ok(());
        };
        if let Err(errno) = copy(source, File::from(file)) {
            if let Ok(root) = openat::open_root(&place.root) {
                let _ = openat::remove_file(root.as_fd(), &entry.path);
            }
            return Err(failed(errno));
        }
        self.written(index);
        Ok(())
    }

    /// Whether something keeps one of these files from being made or written.
    pub(crate) fn refuse_what_is_not_ours(
        &self,
        place: &Place,
        files: &[FileIndex],
    ) -> Result<(), DiskError> {
        let root = match openat::open_root(&place.root) {
            Ok(root) => root,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(disk_error(&place.root, errno)),
        };
        for &index in files {
            let entry = self.entry(index)?;
            let failed = |errno| disk_error(&place.root.join(&entry.path), errno);
            match openat::look_at(root.as_fd(), &entry.path).map_err(failed)? {
                openat::Found::Nothing => {}
                openat::Found::File if self.is_strange(index) => {
                    return Err(self.strange(place, index));
                }
                openat::Found::File => {}
                openat::Found::Other(why) => return Err(failed(why)),
            }
        }
        Ok(())
    }

    /// Whether a file that is there was made by somebody else since it was looked for.
    fn is_strange(&self, index: FileIndex) -> bool {
        let stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        let was_missing = stats.get(index.0 as usize).is_some_and(Option::is_none);
        drop(stats);
        was_missing && !self.made().contains(&index.0)
    }

    fn strange(&self, place: &Place, index: FileIndex) -> DiskError {
        error_at(DiskErrorKind::Foreign, &self.path(place, index), "somebody has just made it")
    }

    fn made(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files were moved: moving them changed no content, but when they were changed last.
    pub(crate) fn moved(&self, place: &Place) -> Result<(), DiskError> {
        let before = self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.look(place)?;
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        for (stat, before) in stats.iter_mut().zip(before) {
            let is_same = |now: &FileStat, before: &FileStat| {
                (now.length, now.modified_ns) == (before.length, before.modified_ns)
            };
            if !stat.zip(before).is_some_and(|(now, before)| is_same(&now, &before)) {
                *stat = before;
            }
        }
        Ok(())
    }

    /// Notes that a file was changed: the next `Sync` flushes it.
    pub(crate) fn written(&self, index: FileIndex) {
        self.unsynced().files.insert(index.0);
    }

    /// Looks at every file.
    pub(crate) fn look(&self, place: &Place) -> Result<Vec<Option<FileStat>>, DiskError> {
        let every = 0..self.spec.files.len();
        self.look_at(place, every)
    }

    /// Flushes what was written since the last time. What could not be flushed stays to be done.
    pub(crate) fn sync(
        &self,
        place: &Place,
        cache: &FileCache,
    ) -> Result<Vec<Option<FileStat>>, DiskError> {
        let todo = std::mem::take(&mut *self.unsynced());
        if let Err(error) = self.flush(place, cache, &todo) {
            let mut unsynced = self.unsynced();
            unsynced.files.extend(todo.files);
            unsynced.dirs.extend(todo.dirs);
            return Err(error);
        }
        self.look_at(place, todo.files.iter().map(|&index| index as usize))
    }

    /// Shuts the store; with `delete`, removes those files and the directories that are empty then.
    pub(crate) fn close(
        &self,
        place: &mut Place,
        cache: &FileCache,
        delete: Option<&[FileIndex]>,
    ) -> Result<(), DiskError> {
        place.open = false;
        cache.forget(self.id);
        let Some(delete) = delete else { return Ok(()) };
        let files = delete.iter().map(|&index| self.entry(index)).collect::<Result<Vec<_>, _>>()?;
        remove_all(&place.root, &files, &self.spec.links)
    }

    fn entry(&self, index: FileIndex) -> Result<&StoreFile, DiskError> {
        let no_file = || error_at(DiskErrorKind::Io, &self.spec.root, "no such file in the store");
        self.spec.files.get(index.0 as usize).ok_or_else(no_file)
    }

    /// Opens a file, making it with its directories if it is missing.
    fn open_to_write(
        &self,
        root: &Path,
        index: FileIndex,
        entry: &StoreFile,
    ) -> Result<Created, Errno> {
        let created = self.create(root, index, entry)?;
        let is_strange = matches!(created, Created::Old(_)) && self.is_strange(index);
        Ok(if is_strange { Created::Strange } else { created })
    }

    fn create(&self, root: &Path, index: FileIndex, entry: &StoreFile) -> Result<Created, Errno> {
        let root_fd = match openat::open_root(root) {
            Err(Errno::NOENT) => self.make_root(root)?,
            opened => opened?,
        };
        let (path, fd) = (entry.path.as_path(), root_fd.as_fd());
        match openat::open_file(fd, path, OFlags::RDWR, Mode::empty()) {
            Err(Errno::NOENT) => {}
            opened => return opened.map(Created::Old),
        }
        let mode = Mode::from_raw_mode(if entry.executable { 0o777 } else { 0o666 });
        let create =
            || openat::open_file(fd, path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, mode);
        let parent = path.parent().unwrap_or(Path::new(""));
        // Held so that no other worker meets the file before it is known to be ours.
        let mut made = self.made();
        let created = match create() {
            Err(Errno::NOENT) => {
                let changed = openat::make_dirs(fd, parent)?;
                self.unsynced().dirs.extend(changed.iter().map(|dir| root.join(dir)));
                create()
            }
            created => created,
        };
        match created {
            // Another worker was faster, or somebody else.
            Err(Errno::EXIST) => {
                openat::open_file(fd, path, OFlags::RDWR, Mode::empty()).map(Created::Old)
            }
            Err(errno) => Err(errno),
            Ok(file) => {
                made.insert(index.0);
                self.unsynced().dirs.insert(root.join(parent));
                Ok(Created::New(file))
            }
        }
    }

    fn make_root(&self, root: &Path) -> Result<OwnedFd, Errno> {
        let missing: Vec<&Path> = root.ancestors().take_while(|dir| !dir.exists()).collect();
        std::fs::create_dir_all(root)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let changed = missing.iter().filter_map(|dir| dir.parent()).map(Path::to_owned);
        self.unsynced().dirs.extend(changed);
        openat::open_root(root)
    }

    fn flush(&self, place: &Place, cache: &FileCache, todo: &Unsynced) -> Result<(), DiskError> {
        if todo.files.len() > SYNC_ONE_BY_ONE && sync_file_system(&place.root) {
            return Ok(());
        }
        for &index in &todo.files {
            let file = match self.file(place, cache, FileIndex(index), Access::Read) {
                Ok(file) => file,
                // Removed behind our back: nothing of it can be lost any more.
                Err(error) if error.kind == DiskErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let path = || place.root.join(&self.spec.files[index as usize].path);
            fs::fdatasync(&file).map_err(|errno| disk_error(&path(), errno))?;
        }
        todo.dirs.iter().try_for_each(|dir| sync_dir(dir))
    }

    /// Takes the stats of some files anew and returns those of all.
    fn look_at(
        &self,
        place: &Place,
        files: impl Iterator<Item = usize>,
    ) -> Result<Vec<Option<FileStat>>, DiskError> {
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        let root = match openat::open_root(&place.root) {
            Ok(root) => root,
            Err(Errno::NOENT) => {
                stats.fill(None);
                return Ok(stats.clone());
            }
            Err(errno) => return Err(disk_error(&place.root, errno)),
        };
        // Files of one directory mostly follow each other: its descriptor serves them all.
        let mut dir: Option<(&Path, Option<OwnedFd>)> = None;
        for index in files {
            let path = self.spec.files[index].path.as_path();
            let parent = path.parent().unwrap_or(Path::new(""));
            if dir.as_ref().is_none_or(|(last, _)| *last != parent) {
                let opened = openat::dir_of(root.as_fd(), path)
                    .map_err(|errno| disk_error(&place.root.join(parent), errno))?;
                dir = Some((parent, opened.map(|(fd, _)| fd)));
            }
            let fd = dir.as_ref().and_then(|(_, fd)| fd.as_ref());
            stats[index] = match (fd, path.file_name()) {
                (Some(fd), Some(name)) => stat(fd, name.as_ref())
                    .map_err(|errno| disk_error(&place.root.join(path), errno))?,
                _ => None,
            };
        }
        Ok(stats.clone())
    }

    fn unsynced(&self) -> MutexGuard<'_, Unsynced> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error for a store that is not open.
pub(crate) fn unknown() -> DiskError {
    error_at(DiskErrorKind::UnknownStore, Path::new("store"), "")
}

/// Makes a directory's entries survive a loss of power.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), DiskError> {
    let path = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match fs::open(path, flags, Mode::empty()).and_then(fs::fsync) {
        // Gone, not ours to read, or of a kind that cannot be synced.
        Ok(()) | Err(Errno::NOENT | Errno::ACCESS | Errno::INVAL) => Ok(()),
        Err(errno) => Err(disk_error(dir, errno)),
    }
}

/// Removes files and links, then the directories between them and the root that are empty.
pub(crate) fn remove_all(
    root: &Path,
    files: &[&StoreFile],
    links: &[StoreLink],
) -> Result<(), DiskError> {
    let root_fd = match openat::open_root(root) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(disk_error(root, errno)),
    };
    let mut dirs = BTreeSet::new();
    let mut failed = None;
    let fd = root_fd.as_fd();
    let files = files.iter().map(|file| (&file.path, None));
    let links = links.iter().map(|link| (&link.path, Some(&link.target)));
    for (path, target) in files.chain(links) {
        let removed = match target {
            None => openat::remove_file(fd, path).map(drop),
            Some(target) => openat::remove_link(fd, path, target),
        };
        if let Err(errno) = removed {
            failed.get_or_insert_with(|| disk_error(&root.join(path), errno));
        }
        let parents = path.ancestors().skip(1);
        dirs.extend(parents.filter(|dir| !dir.as_os_str().is_empty()));
    }
    // A directory sorts before what lies in it.
    for dir in dirs.into_iter().rev() {
        if let Err(errno) = openat::remove_empty_dir(root_fd.as_fd(), dir) {
            failed.get_or_insert_with(|| disk_error(&root.join(dir), errno));
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Does what needs a descriptor; when there is none left, closes cached files and tries again.
pub(crate) fn with_descriptors<T>(
    cache: &FileCache,
    mut work: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    loop {
        match work() {
            Err(Errno::MFILE | Errno::NFILE) if cache.shrink() => {}
            result => return result,
        }
    }
}

/// Copies a whole file into an empty one, at once where the file system shares what is stored.
fn copy(mut from: File, mut to: File) -> Result<(), Errno> {
    #[cfg(target_os = "linux")]
    if fs::ioctl_ficlone(&to, &from).is_ok() {
        return Ok(());
    }
    match std::io::copy(&mut from, &mut to) {
        Ok(_) => Ok(()),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    }
}

/// Lets those execute a file who may read it, as far as the system lets us: whether that changed
/// something, and the file's length.
fn allow_execution(file: &OwnedFd, path: &Path) -> (bool, u64) {
    let Ok(stat) = fs::fstat(file) else { return (false, 0) };
    let mode = stat.st_mode & 0o777;
    let wanted = mode | (mode & 0o444) >> 2;
    let length = u64::try_from(stat.st_size).unwrap_or(0);
    if wanted != mode
        && let Err(errno) = fs::fchmod(file, Mode::from_raw_mode(wanted))
    {
        tracing::warn!(path = %path.display(), %errno, "not made executable");
        return (false, length);
    }
    (wanted != mode, length)
}

fn open_to_read(root: &Path, path: &Path) -> Result<OwnedFd, Errno> {
    let root = openat::open_root(root)?;
    openat::open_file(root.as_fd(), path, OFlags::RDONLY, Mode::empty())
}

fn stat(dir: &OwnedFd, name: &Path) -> Result<Option<FileStat>, Errno> {
    let stat = match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    Ok(Some(super::stat::file_stat(dir.as_fd(), name, &stat)))
}

/// Reserves `length` bytes. Where the file system cannot, looks whether there is room now and
/// extends the file sparsely.
fn reserve(file: &OwnedFd, length: u64) -> Result<(), Errno> {
    match fs::fallocate(file, FallocateFlags::empty(), 0, length) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
        result => return result,
    }
    let stat = fs::fstat(file)?;
    let taken = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
    let system = fs::fstatvfs(file)?;
    if system.f_bavail.saturating_mul(system.f_frsize) < length.saturating_sub(taken) {
        return Err(Errno::NOSPC);
    }
    if u64::try_from(stat.st_size).unwrap_or(0) < length {
        fs::ftruncate(file, length)?;
    }
    Ok(())
}

/// Flushes the file system that holds `root`. `false` where there is no such call or it failed:
/// then each file says for itself what is wrong.
fn sync_file_system(root: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        fs::open(root, flags, Mode::empty()).and_then(fs::syncfs).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = root;
        false
    }
}
