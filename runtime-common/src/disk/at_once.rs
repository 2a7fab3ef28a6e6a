//! Reads that end at once or not at all.
//!
//! Most of what peers ask for lies in the system's page cache. Copying it from there takes less time
//! than waking a worker to do it, so it is done where it was asked for; only a read that would wait
//! for a device goes to a worker. Linux can say which is which; elsewhere every read is a worker's.
//! What is only to be sent need not be copied at all if it is there: see `in_place`.

use std::os::fd::OwnedFd;

/// Reads as many bytes as are in memory, at most as many as `buffer` takes. `None`: there are none,
/// or the system cannot say, or reading failed.
#[cfg(target_os = "linux")]
pub(crate) fn read(file: &OwnedFd, buffer: &mut [u8], at: u64) -> Option<usize> {
    use std::io::IoSliceMut;

    use rustix::io::{Errno, ReadWriteFlags, pread, preadv2};

    let into = &mut [IoSliceMut::new(buffer)];
    match preadv2(file, into, at, ReadWriteFlags::NOWAIT) {
        // Of file systems that do not know the flag, one keeps everything in memory.
        Err(Errno::OPNOTSUPP) if is_in_memory(file) => pread(file, buffer, at).ok(),
        read => read.ok(),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn read(_: &OwnedFd, _: &mut [u8], _: u64) -> Option<usize> {
    None
}

/// Whether these bytes of a file are all in memory, at least one, so that sending them from it waits
/// for no device. `false` if the system cannot say.
#[cfg(target_os = "linux")]
pub(crate) fn is_cached(file: &OwnedFd, offset: u64, length: u64) -> bool {
    let page = rustix::param::page_size() as u64;
    let Some(last) = length.checked_sub(1).and_then(|length| offset.checked_add(length)) else {
        return false;
    };
    // What is being read from the device counts as cached before it is there. That comes in order,
    // so the last byte tells; and that the file is long enough.
    read(file, &mut [0], last) == Some(1)
        && crate::sys::cached_pages(file, offset, length) == Some(last / page - offset / page + 1)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_cached(_: &OwnedFd, _: u64, _: u64) -> bool {
    false
}

/// Whether a file lies on tmpfs.
#[cfg(target_os = "linux")]
fn is_in_memory(file: &OwnedFd) -> bool {
    // linux/magic.h, TMPFS_MAGIC.
    const TMPFS: u32 = 0x0102_1994;
    rustix::fs::fstatfs(file).is_ok_and(|system| system.f_type as u32 == TMPFS)
}
