//! Reads that end at once or not at all.
//!
//! Most of what peers ask for lies in the system's page cache. Copying it from there takes less time
//! than waking a worker to do it, so it is done where it was asked for; only a read that would wait
//! for a device goes to a worker. Linux can say which is which; elsewhere every read is a worker's.

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

/// Whether a file lies on tmpfs.
#[cfg(target_os = "linux")]
fn is_in_memory(file: &OwnedFd) -> bool {
    // linux/magic.h, TMPFS_MAGIC.
    const TMPFS: u32 = 0x0102_1994;
    rustix::fs::fstatfs(file).is_ok_and(|system| system.f_type as u32 == TMPFS)
}
