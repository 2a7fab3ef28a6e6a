//! Buffers that sockets are read into.
//!
//! A read appends to the current buffer and the filled part is split off for the engine, which
//! slices it and passes payload on by reference. A buffer is used again when the last slice of it
//! is gone. Small reads are copied out, so that a few bytes that someone holds for long do not pin
//! a whole buffer. How much is in flight is bounded by the engine (`Bounds`); how much is kept for
//! use again, by the pool.
//!
//! All buffers that the system copies into begin at a multiple of 64 bytes: see `ALIGNMENT`.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, BytesMut};
use socket2::SockRef;

use crate::sys;

/// Length of a buffer in bytes (chosen: 16 blocks, and few enough system calls).
pub const BUFFER_LEN: usize = 256 * 1024;

/// Bytes that a buffer's address is a multiple of (chosen: a line of the cache).
///
/// What the system copies comes from the beginning of a page, mostly. Memory from the allocator begins
/// 16 bytes after one, and a copy whose ends are so few bytes apart, whole pages aside, takes three times
/// as long on some processors: they take each load for one of what was just stored.
pub(crate) const ALIGNMENT: usize = 64;

/// With less room than this, the next buffer is begun (chosen: two blocks).
const LEAST_ROOM: usize = 32 * 1024;

/// Reads up to this length are copied out (chosen: one packet).
const COPY_LEN: usize = 2048;

/// Buffers kept at most while slices of them live (chosen: 16 MiB).
const KEEP: usize = 64;

/// A source of buffers for one event loop.
#[derive(Debug, Default)]
pub struct BufferPool {
    current: Option<BytesMut>,
    /// Filled buffers, of which slices may still live; the oldest first.
    used: VecDeque<BytesMut>,
}

/// What one read brought.
#[derive(Debug)]
pub struct Chunk {
    /// The bytes; none at the end of the stream.
    pub data: BytesMut,
    /// Whether there was no room for more. If there was, the socket is drained.
    pub full: bool,
}

impl BufferPool {
    /// An empty pool. Buffers are made when they are needed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads once from a socket that does not block.
    pub fn read(&mut self, socket: &SockRef<'_>) -> io::Result<Chunk> {
        let buffer = self.with_room();
        let count = sys::recv(socket, buffer)?;
        let full = buffer.len() == buffer.capacity();
        if count > COPY_LEN {
            return Ok(Chunk { data: buffer.split(), full });
        }
        let data = BytesMut::from(&buffer[..]);
        buffer.clear();
        Ok(Chunk { data, full })
    }

    /// Gives back all memory that no slice holds; for when nothing was read for a while.
    pub fn release(&mut self) {
        self.current = None;
        self.used.clear();
    }

    /// The current buffer: empty, with room for a read that is worth its call.
    fn with_room(&mut self) -> &mut BytesMut {
        if let Some(filled) = self.current.take_if(|buffer| buffer.capacity() < LEAST_ROOM) {
            if self.used.len() == KEEP {
                self.used.pop_front();
            }
            self.used.push_back(filled);
        }
        let used = &mut self.used;
        self.current.get_or_insert_with(|| take_free(used))
    }
}

/// A buffer of which no slice lives any more, or a new one.
fn take_free(used: &mut VecDeque<BytesMut>) -> BytesMut {
    let free = used.iter_mut().position(|buffer| buffer.try_reclaim(BUFFER_LEN - ALIGNMENT));
    let free = free.and_then(|index| used.remove(index));
    let mut buffer = free.unwrap_or_else(|| BytesMut::with_capacity(BUFFER_LEN));
    let unaligned = to_alignment(&buffer);
    buffer.resize(unaligned, 0);
    buffer.advance(unaligned);
    buffer
}

/// How many of its first bytes to leave out, so that a buffer begins at a multiple of [`ALIGNMENT`]; less
/// than that.
pub(crate) fn to_alignment(buffer: &[u8]) -> usize {
    buffer.as_ptr().align_offset(ALIGNMENT) % ALIGNMENT
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Writes `len` bytes and reads them back, as they come.
    fn pass(pool: &mut BufferPool, pair: &mut (UnixStream, UnixStream), len: usize) -> Vec<Chunk> {
        let sent: Vec<u8> = (0..len).map(|n| n as u8).collect();
        let mut chunks: Vec<Chunk> = Vec::new();
        for part in sent.chunks(16 * 1024) {
            pair.0.write_all(part).unwrap();
            chunks.push(pool.read(&SockRef::from(&pair.1)).unwrap());
        }
        let received: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.data.to_vec()).collect();
        assert!(received == sent);
        chunks
    }

    #[test]
    fn buffer_is_used_again_when_its_last_slice_is_gone() {
        let mut pool = BufferPool::new();
        let mut pair = UnixStream::pair().unwrap();
        let first = pass(&mut pool, &mut pair, BUFFER_LEN);
        let address = first[0].data.as_ptr();
        assert_eq!(to_alignment(&first[0].data), 0);
        let second = pass(&mut pool, &mut pair, BUFFER_LEN);
        assert!(second.iter().all(|chunk| chunk.data.as_ptr() != address), "it is still held");
        drop(first);
        let third = pass(&mut pool, &mut pair, BUFFER_LEN);
        assert!(third.iter().any(|chunk| chunk.data.as_ptr() == address));
    }

    #[test]
    fn few_bytes_held_for_long_do_not_pin_a_buffer() {
        let mut pool = BufferPool::new();
        let mut pair = UnixStream::pair().unwrap();
        let small = pass(&mut pool, &mut pair, 100);
        assert!(small[0].data.capacity() < COPY_LEN);
        let next = pass(&mut pool, &mut pair, 100);
        let room = pool.current.as_ref().map(BytesMut::capacity);
        assert!(room > Some(BUFFER_LEN - ALIGNMENT), "{room:?}");
        drop((small, next));
    }

    #[test]
    fn pool_keeps_a_bounded_number_of_buffers() {
        let mut pool = BufferPool::new();
        let mut pair = UnixStream::pair().unwrap();
        let held: Vec<_> = (0..KEEP + 8).map(|_| pass(&mut pool, &mut pair, BUFFER_LEN)).collect();
        assert!(pool.used.len() <= KEEP);
        drop(held);
    }

    #[test]
    fn end_of_stream_reads_as_nothing() {
        let mut pool = BufferPool::new();
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let chunk = pool.read(&SockRef::from(&ours)).unwrap();
        assert!(chunk.data.is_empty() && !chunk.full);
    }
}
