//! What the system says of a file, as [`FileStat`] has it.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use bitswarm_core::disk::FileStat;
use rustix::fs::{AtFlags, FileType, Stat, statat};

/// How a plain file lies there now, as [`FileStat`] records it; `None` if there is none.
pub fn stat_file(path: &Path) -> Option<FileStat> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let (dir, name) = (File::open(parent.unwrap_or(Path::new("."))).ok()?, path.file_name()?);
    let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let is_plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    is_plain.then(|| file_stat(dir.as_fd(), name.as_ref(), &stat))
}

/// What is known of a plain file whose `stat` this is.
pub(crate) fn file_stat(dir: BorrowedFd<'_>, name: &Path, stat: &Stat) -> FileStat {
    FileStat {
        length: u64::try_from(stat.st_size).unwrap_or(0),
        modified_ns: nanos(stat.st_mtime, stat.st_mtime_nsec),
        changed_ns: nanos(stat.st_ctime, stat.st_ctime_nsec),
        id: id(dir, name, stat),
        links: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX).max(1),
    }
}

fn nanos(seconds: impl TryInto<i64>, nanos: impl TryInto<i64>) -> i64 {
    let seconds = seconds.try_into().unwrap_or(0).saturating_mul(1_000_000_000);
    seconds.saturating_add(nanos.try_into().unwrap_or(0))
}

/// Not of one type on all systems.
fn inode(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or(0)
}

/// The inode with the time of birth: inodes are used again as soon as a file is gone.
fn id(dir: BorrowedFd<'_>, name: &Path, stat: &Stat) -> u64 {
    let number = inode(stat.st_ino);
    let born = born_ns(dir, name).unwrap_or(0) as u64;
    // Spread so that neighbouring inodes and times do not meet; 0 stands for unknown.
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ born).max(1)
}

#[cfg(target_os = "linux")]
fn born_ns(dir: BorrowedFd<'_>, name: &Path) -> Option<i64> {
    use rustix::fs::{AtFlags, StatxFlags, statx};

    let stat = statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BTIME).ok()?;
    let is_known = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    is_known.then(|| nanos(stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec))
}

#[cfg(not(target_os = "linux"))]
fn born_ns(_: BorrowedFd<'_>, _: &Path) -> Option<i64> {
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn look(dir: &Path, name: &str) -> FileStat {
        stat_file(&dir.join(name)).unwrap()
    }

    #[test]
    fn a_change_that_keeps_size_and_time_shows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"right").unwrap();
        let before = look(dir.path(), "f");
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        while look(dir.path(), "f").changed_ns == before.changed_ns {
            fs::write(&path, b"wrong").unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        let after = look(dir.path(), "f");
        assert_eq!((after.length, after.modified_ns), (before.length, before.modified_ns));
        assert!(!after.is_as(&before));
        assert_eq!(after.id, before.id, "it is the same file");
    }

    #[test]
    fn links_are_counted_and_another_file_has_another_id() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), b"x").unwrap();
        let before = look(dir.path(), "f");
        assert_eq!(before.links, 1);
        fs::hard_link(dir.path().join("f"), dir.path().join("g")).unwrap();
        assert_eq!((look(dir.path(), "f").links, look(dir.path(), "g").id), (2, before.id));
        fs::write(dir.path().join("new"), b"x").unwrap();
        fs::rename(dir.path().join("new"), dir.path().join("f")).unwrap();
        assert_ne!(look(dir.path(), "f").id, before.id);
    }
}
