//! Reading and writing runs of bytes that span files.
//!
//! Positional and vectored: no shared file offset, no copy between the buffers received and the
//! system call. Padding reads as zeros and is not written.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use bitswarm_core::disk::{DiskDone, DiskError, DiskErrorKind, FileIndex, Span, WriteRequest};
use bytes::{Buf, Bytes};
use rustix::io::{self, Errno, retry_on_intr};

use super::error::{disk_error, error_at};
use super::files::{Access, FileCache};
use super::page_cache;
use super::read_buffers::ReadBuffers;
use super::store::{Place, Store};

/// Slices of one vectored write; the system's limit (IOV_MAX) on all that we know.
const MAX_SLICES: usize = 1024;

/// A store entered, with the files that are open.
pub(crate) struct Transfer<'a> {
    pub(crate) store: &'a Store,
    pub(crate) place: &'a Place,
    pub(crate) cache: &'a FileCache,
}

impl Transfer<'_> {
    /// Reads all spans into one buffer.
    pub(crate) fn read(&self, spans: &[Span], buffers: &ReadBuffers) -> Result<Bytes, DiskError> {
        read_spans(spans, buffers, |index, mut part, mut at| {
            let file = self.store.file(self.place, self.cache, index, Access::Read)?;
            while !part.is_empty() {
                let read = retry_on_intr(|| io::pread(&file, &mut *part, at));
                let count = self.expect_some(index, read)?;
                at += count as u64;
                part = &mut part[count..];
            }
            Ok(())
        })
    }

    /// The same if nothing has to be waited for: every file is open, and its bytes are in memory.
    pub(crate) fn read_at_once(&self, spans: &[Span], buffers: &ReadBuffers) -> Option<Bytes> {
        let read = |index: FileIndex, mut part: &mut [u8], mut at: u64| {
            let file = self.cache.get((self.store.id(), index.0), Access::Read)?;
            while !part.is_empty() {
                let count = page_cache::read(&file, part, at).filter(|&count| count > 0)?;
                at += count as u64;
                part = &mut part[count..];
            }
            Some(())
        };
        read_spans(spans, buffers, |index, part, at| read(index, part, at).ok_or(())).ok()
    }

    /// Writes data to its spans. Whether it has the hash that it should is known by then.
    pub(crate) fn write(&self, request: WriteRequest) -> Result<DiskDone, DiskError> {
        let WriteRequest { spans, data, .. } = request;
        let wanted: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
        let given: u64 = data.iter().map(|part| part.len() as u64).sum();
        if wanted != given {
            let cause = format!("{given} bytes to write where {wanted} belong");
            return Err(error_at(DiskErrorKind::Io, &self.place.root, &cause));
        }
        let mut data = Gather::new(data);
        for span in &spans {
            let Some(index) = span.file else {
                data.skip(span.length as usize);
                continue;
            };
            let file = self.store.file(self.place, self.cache, index, Access::Write)?;
            let result = write_span(&file, span, &mut data);
            // Also after a failure: a part may have been written.
            self.store.written(index);
            result.map_err(|errno| disk_error(&self.path(index), errno))?;
        }
        Ok(DiskDone::Done)
    }

    /// The count of a read that must bring something.
    fn expect_some(
        &self,
        index: FileIndex,
        read: Result<usize, Errno>,
    ) -> Result<usize, DiskError> {
        match read {
            Ok(0) => Err(error_at(DiskErrorKind::Short, &self.path(index), "")),
            Ok(count) => Ok(count),
            Err(errno) => Err(disk_error(&self.path(index), errno)),
        }
    }

    fn path(&self, index: FileIndex) -> PathBuf {
        self.store.path(self.place, index)
    }
}

/// One buffer with the bytes of all spans: zeros for padding, what `read` puts there for the rest.
fn read_spans<E>(
    spans: &[Span],
    buffers: &ReadBuffers,
    mut read: impl FnMut(FileIndex, &mut [u8], u64) -> Result<(), E>,
) -> Result<Bytes, E> {
    let mut buffer = buffers.take(total_len(spans));
    let mut rest = buffer.bytes();
    for span in spans {
        let (part, after) = rest.split_at_mut(span.length as usize);
        rest = after;
        match span.file {
            Some(index) => read(index, part, span.offset)?,
            None => part.fill(0),
        }
    }
    Ok(buffer.freeze())
}

fn total_len(spans: &[Span]) -> usize {
    spans.iter().map(|span| span.length as usize).sum()
}

fn write_span(file: &OwnedFd, span: &Span, data: &mut Gather) -> Result<(), Errno> {
    let mut at = span.offset;
    let mut left = span.length as usize;
    while left > 0 {
        let slices = data.slices(left);
        match retry_on_intr(|| io::pwritev(file.as_fd(), &slices, at))? {
            0 => return Err(Errno::IO),
            count => {
                drop(slices);
                data.skip(count);
                at += count as u64;
                left -= count;
            }
        }
    }
    Ok(())
}

/// The data of a write on its way out: parts of which the first may be used up in part.
struct Gather {
    parts: Vec<Bytes>,
    first: usize,
}

impl Gather {
    fn new(parts: Vec<Bytes>) -> Self {
        Gather { parts, first: 0 }
    }

    /// The next bytes, at most `limit`.
    fn slices(&self, limit: usize) -> Vec<IoSlice<'_>> {
        let mut left = limit;
        let mut slices = Vec::with_capacity((self.parts.len() - self.first).min(MAX_SLICES));
        for part in self.parts[self.first..].iter().filter(|part| !part.is_empty()) {
            if left == 0 || slices.len() == MAX_SLICES {
                break;
            }
            let count = part.len().min(left);
            slices.push(IoSlice::new(&part[..count]));
            left -= count;
        }
        slices
    }

    fn skip(&mut self, mut count: usize) {
        while let Some(part) = self.parts.get_mut(self.first) {
            if part.len() > count {
                part.advance(count);
                return;
            }
            count -= part.len();
            *part = Bytes::new();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    quickcheck::quickcheck! {
        fn gather_gives_the_same_bytes_however_they_are_cut_and_taken(
            parts: Vec<Vec<u8>>,
            takes: Vec<u8>
        ) -> bool {
            let whole: Vec<u8> = parts.concat();
            let mut gather = Gather::new(parts.into_iter().map(Bytes::from).collect());
            let mut got = Vec::new();
            for take in takes.iter().map(|&take| usize::from(take)).chain([whole.len()]) {
                let taken: Vec<u8> =
                    gather.slices(take).iter().flat_map(|slice| slice.to_vec()).collect();
                gather.skip(taken.len());
                got.extend(taken);
            }
            got == whole
        }
    }
}
