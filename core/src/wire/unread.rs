//! Bytes received and not yet decoded, in the reads they came in.
//!
//! Reads are kept by reference, so a block can be cut out of them without a copy. Only short runs
//! are copied together: otherwise a peer that sends single bytes could make us hold a large read
//! buffer for each of them (defence 14). A run is short below [`SHORT`] bytes, so what is held is
//! at most a small multiple of what was received.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::block_data::BlockData;

/// Runs shorter than this are copied together, in bytes (chosen: copying one costs less than
/// keeping track of it).
const SHORT: usize = 512;

/// A queue of bytes.
#[derive(Debug, Default)]
pub(super) struct Unread {
    reads: VecDeque<Bytes>,
    /// Short runs copied together; logically last.
    short: BytesMut,
    len: usize,
}

impl Unread {
    /// Bytes in the queue.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends a read.
    pub(super) fn push(&mut self, read: Bytes) {
        if read.is_empty() {
            return;
        }
        if self.len == 0 || read.len() >= SHORT {
            self.seal();
            self.len += read.len();
            self.reads.push_back(read);
        } else {
            self.len += read.len();
            self.short.extend_from_slice(&read);
        }
    }

    /// Copies the first bytes into `out`; how many there were.
    #[inline]
    pub(super) fn peek(&self, out: &mut [u8]) -> usize {
        match self.reads.front().and_then(|first| first.get(..out.len())) {
            Some(first) => {
                out.copy_from_slice(first);
                out.len()
            }
            None => self.peek_across(out),
        }
    }

    /// The same where they lie in several reads.
    #[cold]
    fn peek_across(&self, out: &mut [u8]) -> usize {
        let wanted = out.len();
        let mut left = out;
        for run in self.reads.iter().map(|read| &read[..]).chain([&self.short[..]]) {
            let part = run.len().min(left.len());
            let (to, rest) = left.split_at_mut(part);
            to.copy_from_slice(run.get(..part).unwrap_or_default());
            left = rest;
            if left.is_empty() {
                break;
            }
        }
        wanted - left.len()
    }

    /// Takes `N` bytes off the front; missing ones are zero.
    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let taken = self.peek(&mut out);
        self.skip(taken);
        out
    }

    /// Takes up to `length` bytes off the front, by reference.
    pub(super) fn take(&mut self, mut length: usize) -> BlockData {
        let mut taken = BlockData::new();
        while length > 0 {
            let Some(first) = self.front() else { break };
            let run = if first.len() > length { first.split_to(length) } else { self.pop() };
            length -= run.len();
            self.len -= run.len();
            taken.push(run);
        }
        taken
    }

    /// Drops up to `length` bytes from the front; how many.
    pub(super) fn skip(&mut self, length: usize) -> usize {
        let mut left = length;
        while left > 0 {
            let Some(first) = self.front() else { break };
            let part = first.len().min(left);
            if part == first.len() {
                self.pop();
            } else {
                first.advance(part);
            }
            left -= part;
            self.len -= part;
        }
        length - left
    }

    /// Lets go of a large read of which only a short rest is unread.
    pub(super) fn detach(&mut self) {
        if self.short.is_empty()
            && let [rest] = self.reads.make_contiguous()
            && rest.len() < SHORT
        {
            self.short.extend_from_slice(rest);
            self.reads.clear();
        }
    }

    /// The first run, which is not empty.
    fn front(&mut self) -> Option<&mut Bytes> {
        if self.reads.is_empty() {
            self.seal();
        }
        self.reads.front_mut()
    }

    fn pop(&mut self) -> Bytes {
        self.reads.pop_front().unwrap_or_default()
    }

    fn seal(&mut self) {
        if !self.short.is_empty() {
            self.reads.push_back(std::mem::take(&mut self.short).freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_bytes_are_kept_in_one_run() {
        let mut unread = Unread::default();
        let large = Bytes::from(vec![1; 1 << 16]);
        for _ in 0..10_000 {
            unread.push(large.slice(..1));
            unread.detach();
        }
        assert_eq!(unread.len(), 10_000);
        assert!(unread.reads.is_empty());
        assert_eq!(unread.take(20_000).chunks().len(), 1);
    }

    #[test]
    fn a_short_rest_lets_its_read_go() {
        let mut unread = Unread::default();
        unread.push(Bytes::from(vec![1; 4096]));
        assert_eq!(unread.skip(4000), 4000);
        let read = Bytes::from(vec![2; 4096]);
        unread.detach();
        unread.push(read.clone());
        assert_eq!(unread.len(), 96 + 4096);
        let taken = unread.take(96 + 4096);
        assert_eq!(taken.chunks()[0], vec![1; 96]);
        assert_eq!(taken.chunks()[1].as_ptr(), read.as_ptr(), "a whole read is not copied");
    }
}
