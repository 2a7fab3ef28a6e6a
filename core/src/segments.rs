//! Outgoing bytes on their way from the engine to one vectored write.
//!
//! Small messages are gathered in one buffer, payload is passed by reference: to memory, or to the
//! part of a file that it lies in. The host keeps one `Segments` a connection, has `Engine::gather`
//! fill it, writes [`Segments::slices`], and calls [`Segments::advance`] with what the socket took.
//! File parts are there only if it has answered reads with such, [`DiskDone::InPlace`]: slices end
//! before one, and [`Segments::first_file`] is it when its turn has come.
//!
//! [`DiskDone::InPlace`]: crate::disk::DiskDone::InPlace

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::disk::FilePart;

/// Size of the buffer that small messages share, in bytes (chosen: about 300 block headers).
const SMALL_BUFFER_LEN: usize = 4096;

/// A run of bytes on its way out.
#[derive(Clone, Debug)]
pub enum Segment {
    /// In memory.
    Bytes(Bytes),
    /// In a file.
    File(FilePart),
}

/// A queue of byte runs that were committed to a connection.
#[derive(Debug, Default)]
pub struct Segments {
    parts: VecDeque<Segment>,
    /// Small messages not yet sealed into `parts`; always logically last.
    tail: BytesMut,
    len: usize,
}

impl Segment {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Segment::Bytes(bytes) => bytes.len(),
            Segment::File(part) => part.length as usize,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A part of it, by reference. The range lies within it.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        match self {
            Segment::Bytes(bytes) => Segment::Bytes(bytes.slice(range)),
            Segment::File(part) => {
                let mut part = part.clone();
                part.truncate(range.end);
                part.advance(range.start);
                Segment::File(part)
            }
        }
    }

    fn advance(&mut self, bytes: usize) {
        match self {
            Segment::Bytes(run) => run.advance(bytes),
            Segment::File(part) => part.advance(bytes),
        }
    }

    /// What it is for hosts that hand in nothing else.
    fn as_bytes(&self) -> &Bytes {
        match self {
            Segment::Bytes(bytes) => bytes,
            Segment::File(part) => panic!("{part:?} where the host expects bytes"),
        }
    }
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
        self.push_segment(Segment::Bytes(bytes));
    }

    /// Appends payload by reference, wherever it is.
    pub fn push_segment(&mut self, segment: Segment) {
        if segment.is_empty() {
            return;
        }
        self.len += segment.len();
        self.seal();
        self.parts.push_back(segment);
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

    /// The bytes as slices for a vectored write, as many as fit into `out` and come before a file
    /// part; how many were set.
    pub fn slices<'a>(&'a mut self, out: &mut [IoSlice<'a>]) -> usize {
        self.seal();
        let mut used = 0;
        for (slot, part) in out.iter_mut().zip(&self.parts) {
            let Segment::Bytes(bytes) = part else { break };
            *slot = IoSlice::new(bytes);
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

    /// The file part that is to be sent next, if it is one.
    pub fn first_file(&self) -> Option<&FilePart> {
        match self.parts.front()? {
            Segment::File(part) => Some(part),
            Segment::Bytes(_) => None,
        }
    }

    /// Puts bytes in the place of the first file part, if it is next; they have its length.
    pub fn fill_first_file(&mut self, bytes: Bytes) {
        if let Some(first @ Segment::File(_)) = self.parts.front_mut() {
            debug_assert_eq!(first.len(), bytes.len());
            *first = Segment::Bytes(bytes);
        }
    }

    /// Takes out everything in order.
    pub fn drain(&mut self) -> impl Iterator<Item = Segment> {
        self.seal();
        self.len = 0;
        self.parts.drain(..)
    }

    /// Everything in one buffer, by copy; for tests and simulators. Panics if there is a file part:
    /// for hosts that have none.
    pub fn take_all(&mut self) -> BytesMut {
        let mut all = BytesMut::with_capacity(self.len);
        for part in self.drain() {
            all.put_slice(part.as_bytes());
        }
        all
    }

    /// The runs in order. Panics if there is a file part: for hosts that have none.
    pub fn iter(&mut self) -> impl Iterator<Item = &Bytes> {
        self.segments().map(Segment::as_bytes)
    }

    /// The runs in order, wherever they are.
    pub fn segments(&mut self) -> impl Iterator<Item = &Segment> {
        self.seal();
        self.parts.iter()
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.parts.push_back(Segment::Bytes(self.tail.split().freeze()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{FileHandle, FileIndex};
    use crate::id::{Id, StoreId};

    fn file(offset: u64, length: u32) -> FilePart {
        let (store, file) = (StoreId::new(1, 2), FileIndex(3));
        FilePart { store, file, offset, length, handle: FileHandle::default() }
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

    #[test]
    fn slices_end_before_a_file_part_which_is_sent_by_itself() {
        let mut out = Segments::new();
        out.put(b"head");
        out.push_segment(Segment::File(file(1000, 100)));
        out.put(b"tail");
        assert_eq!(out.len(), 108);
        assert_eq!(out.slices(&mut [IoSlice::new(&[]); 8]), 1);
        assert_eq!(out.first_file(), None, "bytes come first");
        out.advance(4);
        assert_eq!(out.slices(&mut [IoSlice::new(&[]); 8]), 0);
        out.advance(30);
        assert_eq!(out.first_file(), Some(&file(1030, 70)));
        out.advance(70);
        assert_eq!(&out.take_all()[..], b"tail");
    }

    #[test]
    fn bytes_take_the_place_of_a_file_part() {
        let mut out = Segments::new();
        out.push_segment(Segment::File(file(0, 5)));
        out.put(b"!");
        out.fill_first_file(Bytes::from_static(b"hello"));
        assert_eq!(&out.take_all()[..], b"hello!");
    }

    quickcheck::quickcheck! {
        /// A slice of a file part names the bytes that a slice of its bytes holds.
        fn file_parts_are_cut_as_bytes_are(offset: u32, length: u16, cuts: (u16, u16)) -> bool {
            let at = |cut: u16| usize::from(cut).min(usize::from(length));
            let range = at(cuts.0.min(cuts.1))..at(cuts.0.max(cuts.1));
            let offset = u64::from(offset);
            let whole = Segment::File(file(offset, length.into()));
            let expected = file(offset + range.start as u64, range.len() as u32);
            matches!(whole.slice(range), Segment::File(part) if part == expected)
        }
    }
}
