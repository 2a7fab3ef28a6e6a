//! The one place with `unsafe`: reading from a socket into memory that was never written, and a
//! system call that no library of ours has.
//!
//! The standard library's reads want initialised memory; setting 256 KiB to zero before each read
//! would cost as much as copying them.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
#[cfg(target_os = "linux")]
use std::os::fd::{AsRawFd, OwnedFd};

use bytes::BytesMut;
use socket2::SockRef;

/// Appends what a socket has, at most as much as `buffer` has room for without growing; how many
/// bytes that was. 0 is the end of the stream (or no room).
pub(crate) fn recv(socket: &SockRef<'_>, buffer: &mut BytesMut) -> io::Result<usize> {
    append(buffer, |room| Ok((socket.recv(room)?, ()))).map(|(count, ())| count)
}

/// Appends a datagram, cut off at the room that `buffer` has without growing; who sent it, if that
/// is an internet address.
pub(crate) fn recv_from(
    socket: &SockRef<'_>,
    buffer: &mut BytesMut,
) -> io::Result<Option<SocketAddr>> {
    append(buffer, |room| socket.recv_from(room)).map(|(_, from)| from.as_socket())
}

/// Appends what `receive` puts in the buffer's room; how many bytes it says that was.
///
/// Private, because `receive` must be one of socket2's functions, which initialise what they count.
fn append<T>(
    buffer: &mut BytesMut,
    receive: impl FnOnce(&mut [MaybeUninit<u8>]) -> io::Result<(usize, T)>,
) -> io::Result<(usize, T)> {
    let room = buffer.spare_capacity_mut();
    let room_len = room.len();
    let (count, more) = receive(room)?;
    assert!(count <= room_len, "the system wrote past the buffer");
    let len = buffer.len() + count;
    // SAFETY: the system call behind `receive` has initialised the first `count` bytes of the spare
    // capacity, which begins at the buffer's length, and `count` was checked to lie within it.
    unsafe { buffer.set_len(len) };
    Ok((count, more))
}

/// How many of the pages that hold these bytes of a file are in the page cache. `None`: the system
/// cannot say (Linux can since 6.5, of files that we might write).
#[cfg(target_os = "linux")]
pub(crate) fn cached_pages(file: &OwnedFd, offset: u64, length: u64) -> Option<u64> {
    /// Its number (include/uapi/asm-generic/unistd.h), the same wherever Rust is.
    const CACHESTAT: libc::c_long = 451;
    // include/uapi/linux/mman.h: `struct cachestat_range` is two numbers, `struct cachestat` five of
    // which the first is that of pages in the cache.
    let range = [offset, length];
    let mut counts = [0_u64; 5];
    // SAFETY: the call reads the two numbers of `range` and writes the five of `counts`, both of
    // which outlive it, and keeps nothing.
    let failed = unsafe {
        libc::syscall(CACHESTAT, file.as_raw_fd(), range.as_ptr(), counts.as_mut_ptr(), 0)
    };
    (failed == 0).then_some(counts[0])
}
