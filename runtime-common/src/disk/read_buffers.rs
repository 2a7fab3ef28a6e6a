//! Buffers for what is read to be sent, used again and again.
//!
//! A buffer comes back when the last slice of it is gone, and the one that came back last is handed
//! out first: it is most likely still in the processor's cache. Their lengths are powers of two, so
//! what is held is at most twice what was read. A buffer is filled with zeros once, when it is made.
//! It begins at a multiple of [`ALIGNMENT`] bytes, and has as many more to begin later.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::buffers::{ALIGNMENT, to_alignment};

/// Length of the shortest buffer in bytes (chosen: a block).
const SHORTEST: usize = 16 * 1024;

/// Lengths that are kept (chosen: from a block to the longest run that the engine reads).
const LENGTHS: usize = 5;

/// Bytes of free buffers kept at most (chosen: a few runs, and less than a second-level cache).
const KEEP: usize = 1024 * 1024;

/// A source of buffers, for many threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadBuffers(Arc<Mutex<Free>>);

/// Free buffers by their length; each list's last came back last.
#[derive(Debug, Default)]
struct Free {
    lists: [Vec<Box<[u8]>>; LENGTHS],
    bytes: usize,
}

/// A buffer to be filled.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    bytes: Box<[u8]>,
    /// How many of its bytes are wanted.
    len: usize,
    home: ReadBuffers,
}

impl ReadBuffers {
    /// A buffer of `len` bytes, of any content.
    pub(crate) fn take(&self, len: usize) -> ReadBuffer {
        let length = len.next_power_of_two().max(SHORTEST);
        let mut free = self.lock();
        let kept = list_of(length).and_then(|list| free.lists[list].pop());
        if kept.is_some() {
            free.bytes -= length;
        }
        drop(free);
        let bytes = kept.unwrap_or_else(|| vec![0; length + ALIGNMENT].into_boxed_slice());
        ReadBuffer { bytes, len, home: self.clone() }
    }

    /// Gives back all memory that is not in use.
    pub(crate) fn release(&self) {
        let free = std::mem::take(&mut *self.lock());
        drop(free);
    }

    fn put(&self, bytes: Box<[u8]>) {
        let length = bytes.len().saturating_sub(ALIGNMENT);
        let Some(list) = list_of(length) else { return };
        let mut free = self.lock();
        if free.bytes + length <= KEEP {
            free.bytes += length;
            free.lists[list].push(bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadBuffer {
    /// The bytes to fill.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        let start = to_alignment(&self.bytes);
        &mut self.bytes[start..start + self.len]
    }

    /// What was read, to be cut and passed on.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        let start = to_alignment(&self.bytes);
        &self.bytes[start..start + self.len]
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        self.home.put(std::mem::take(&mut self.bytes));
    }
}

/// The list that buffers of this length are kept in, if they are.
fn list_of(length: usize) -> Option<usize> {
    (0..LENGTHS).find(|list| SHORTEST << list == length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_comes_back_with_its_last_slice_and_the_last_is_used_first() {
        let buffers = ReadBuffers::default();
        let (mut one, other) = (buffers.take(20_000), buffers.take(20_000));
        let address = one.bytes().as_ptr();
        assert_eq!(to_alignment(one.bytes()), 0);
        let slice = one.freeze().slice(5..10);
        drop(other);
        assert_ne!(buffers.take(20_000).bytes().as_ptr(), address, "it is still held");
        drop(slice);
        assert_eq!(buffers.take(30_000).bytes().as_ptr(), address);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let buffers = ReadBuffers::default();
        let held: Vec<_> = (0..8).map(|_| buffers.take(256 * 1024)).collect();
        drop(held);
        assert_eq!(buffers.lock().bytes, KEEP);
        drop(buffers.take(3 * 1024 * 1024));
        assert_eq!(buffers.lock().bytes, KEEP, "too long to be kept");
        buffers.release();
        assert_eq!(buffers.lock().bytes, 0);
    }

    #[test]
    fn buffer_of_no_length_is_no_mistake() {
        assert!(ReadBuffers::default().take(0).freeze().is_empty());
    }
}
