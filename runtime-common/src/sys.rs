//! Reading from a socket into memory that was never written, a socket option, and asking what becomes
//! of a signal: with `multi_buffer/x86.rs` the places that need `unsafe`.
//!
//! The standard library's reads want initialised memory; setting 256 KiB to zero before each read
//! would cost as much as copying them. Crates for signals set handlers and do not say which are set.

use std::io;
use std::mem::MaybeUninit;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::{AsFd, AsRawFd};

use bytes::BytesMut;
use socket2::SockRef;

/// Appends what a socket has, at most as much as `buffer` has room for without growing; how many
/// bytes that was. 0 is the end of the stream (or no room).
pub(crate) fn recv(socket: &SockRef<'_>, buffer: &mut BytesMut) -> io::Result<usize> {
    append(buffer, |room| Ok((socket.recv(room)?, ()))).map(|(count, ())| count)
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

/// Whether the system refuses to cut datagrams of an IPv6 socket. (No crate that we have sets this.)
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn set_ipv6_dontfrag(socket: &impl AsFd, on: bool) -> io::Result<()> {
    let value = libc::c_int::from(on);
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open as long as it is borrowed, and the option's value is an integer
    // of this length, which the call only reads.
    let failed = unsafe {
        let at = (&raw const value).cast();
        libc::setsockopt(fd, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, at, len)
    } != 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether a signal is ignored in this process.
#[cfg(unix)]
pub(crate) fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call changes nothing, and `action` has room for the old one.
    let failed = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) } != 0;
    // SAFETY: all zeros are a valid `sigaction` of integers and of a handler that may be absent; the
    // call has overwritten them if it succeeded.
    let action = unsafe { action.assume_init() };
    !failed && action.sa_sigaction == libc::SIG_IGN
}
