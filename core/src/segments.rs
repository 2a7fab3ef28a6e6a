//! Outgoing bytes on their way from the engine to one vectored write.
//!
//! Small messages are gathered in one buffer, payload is passed by reference count. The host keeps
//! one `Segments` a connection, has `Engine::gather` fill it, writes [`Segments::slices`], and
//! calls [`Segments::advance`] with what the socket took.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Size of the buffer that small messages share, in bytes (chosen: about 300 block headers).
const SMALL_BUFFER_LEN: usize = 4096;

/// A queue of byte runs that were committed to a connection.
#[derive(Debug, Default)]
pub struct Segments {
    parts: VecDeque<Bytes>,
    /// Small messages not yet sealed into `parts`; always logically last.
    tail: BytesMut,
    len: usize,
}

impl Segments {
    /// Nothing queued.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes queued.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a small message by copy.
    pub fn put(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        if self.tail.capacity() - self.tail.len() < bytes.len() {
            self.tail.reserve(bytes.len().max(SMALL_BUFFER_LEN));
        }
        self.tail.put_slice(bytes);
    }

    /// Appends payload by reference.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        self.seal();
        self.parts.push_back(bytes);
    }

    /// Moves everything queued in `other` to the end of this queue.
    pub fn append(&mut self, other: &mut Segments) {
        if other.parts.is_empty() {
            // Small messages only: copying them saves a run of their own.
            let bytes = other.tail.split();
            other.len = 0;
            return self.put(&bytes);
        }
        other.seal();
        self.seal();
        self.len += std::mem::take(&mut other.len);
        self.parts.append(&mut other.parts);
    }

    /// Moves the first `bytes` bytes of `other` to the end of this queue.
    pub(crate) fn append_first(&mut self, other: &mut Segments, bytes: usize) {
        other.seal();
        let mut left = bytes.min(other.len);
        while left > 0 {
            let Some(first) = other.parts.front_mut() else { break };
            let taken = first.split_to(left.min(first.len()));
            if first.is_empty() {
                other.parts.pop_front();
            }
            left -= taken.len();
            other.len -= taken.len();
            self.push(taken);
        }
    }

    /// What is queued, as slices.
    pub(crate) fn into_parts(mut self) -> impl Iterator<Item = Bytes> {
        self.seal();
        self.parts.into_iter()
    }

    /// The bytes as slices for a vectored write, as many as fit into `out`; how many were set.
    pub fn slices<'a>(&'a mut self, out: &mut [IoSlice<'a>]) -> usize {
        self.seal();
        let mut used = 0;
        for (slot, part) in out.iter_mut().zip(&self.parts) {
            *slot = IoSlice::new(part);
            used += 1;
        }
        used
    }

    /// Drops the first `bytes` bytes: they were sent.
    pub fn advance(&mut self, mut bytes: usize) {
        self.seal();
        bytes = bytes.min(self.len);
        self.len -= bytes;
        while bytes > 0 {
            let Some(first) = self.parts.front_mut() else { break };
            if first.len() > bytes {
                first.advance(bytes);
                break;
            }
            bytes -= first.len();
            self.parts.pop_front();
        }
    }

    /// Everything in one buffer, by copy; for tests and simulators.
    pub fn take_all(&mut self) -> BytesMut {
        self.seal();
        let mut all = BytesMut::with_capacity(self.len);
        for part in self.parts.drain(..) {
            all.put_slice(&part);
        }
        self.len = 0;
        all
    }

    /// The runs in order.
    pub fn iter(&mut self) -> impl Iterator<Item = &Bytes> {
        self.seal();
        self.parts.iter()
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.parts.push_back(self.tail.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_move_on_and_the_rest_stays() {
        let (mut from, mut to) = (Segments::new(), Segments::new());
        from.put(b"head");
        from.push(Bytes::from_static(b"payload"));
        to.put(b"before ");
        to.append_first(&mut from, 6);
        assert_eq!((&to.take_all()[..], from.len()), (&b"before headpa"[..], 5));
        to.append_first(&mut from, 99);
        assert_eq!((&to.take_all()[..], from.len()), (&b"yload"[..], 0));
    }

    #[test]
    fn advance_crosses_parts_and_stops_inside_one() {
        let mut out = Segments::new();
        out.put(b"head");
        out.push(Bytes::from_static(b"payload"));
        out.put(b"tail");
        assert_eq!(out.len(), 15);
        out.advance(6);
        assert_eq!(out.len(), 9);
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(out.slices(&mut slices), 2);
        assert_eq!(&out.take_all()[..], b"yloadtail");
        assert!(out.is_empty());
    }
}
