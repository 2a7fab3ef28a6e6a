//! The one place with `unsafe`: reading from a socket into memory that was never written.
//!
//! The standard library's reads want initialised memory; setting 256 KiB to zero before each read
//! would cost as much as copying them.

use std::io;

use bytes::BytesMut;
use socket2::SockRef;

/// Appends what a socket has, at most as much as `buffer` has room for without growing; how many
/// bytes that was. 0 is the end of the stream (or no room).
pub(crate) fn recv(socket: &SockRef<'_>, buffer: &mut BytesMut) -> io::Result<usize> {
    let room = buffer.spare_capacity_mut();
    let room_len = room.len();
    let count = socket.recv(room)?;
    assert!(count <= room_len, "the system wrote past the buffer");
    let len = buffer.len() + count;
    // SAFETY: `recv` has initialised the first `count` bytes of the spare capacity, which begins at
    // the buffer's length, and `count` was checked to lie within it.
    unsafe { buffer.set_len(len) };
    Ok(count)
}
