//! Reading pieces from their files to hash them, several side by side.
//!
//! Each piece is read a chunk at a time into memory that stays in the processor's cache, and a chunk
//! of each is hashed at once (see [`crate::multi_buffer`]). A file that ends too soon, or cannot be read, is
//! an error of the pieces that lie in it and of no others.

use bitswarm_core::disk::{DiskError, DiskErrorKind, FileIndex, Span, Spans};
use bitswarm_core::piece::BLOCK_LEN;
use rustix::io::{self, retry_on_intr};
use smallvec::SmallVec;

use super::error::{disk_error, error_at};
use super::files::{Access, FileCache};
use super::store::Store;
use crate::buffers::{ALIGNMENT, to_alignment};
use crate::multi_buffer::{PieceHashing, update_all};

/// What is read at once of all pieces together, in bytes (chosen: fits the second-level cache, and is
/// large enough that system calls do not count).
const CHUNKS_LEN: usize = 256 * 1024;

/// A buffer that a worker uses again and again.
#[derive(Debug, Default)]
pub(crate) struct Scratch(Vec<u8>);

/// A piece that is being read.
#[derive(Debug)]
pub(crate) struct PieceReading<'a> {
    store: &'a Store,
    spans: Spans,
    /// The span that comes next, and how many of its bytes were read.
    next: (usize, u32),
    hashing: PieceHashing,
    /// Whether all that was read so far is zeros; `None` where that does not matter.
    is_zero: Option<bool>,
    failed: Option<DiskError>,
}

impl<'a> PieceReading<'a> {
    /// The piece that consists of these runs of bytes; padding reads as zeros.
    pub(crate) fn new(store: &'a Store, spans: Spans, hashing: PieceHashing) -> Self {
        PieceReading { store, spans, next: (0, 0), hashing, is_zero: None, failed: None }
    }

    /// It matters whether the piece is nothing but zeros.
    pub(crate) fn minding_zeros(self) -> Self {
        PieceReading { is_zero: Some(true), ..self }
    }

    /// Whether it is, if that matters.
    pub(crate) fn is_zero(&self) -> bool {
        self.is_zero == Some(true)
    }

    /// With all of its bytes hashed, or why they could not be read.
    pub(crate) fn finish(self) -> Result<PieceHashing, DiskError> {
        self.failed.map_or(Ok(self.hashing), Err)
    }

    /// Reads on until the buffer is full or the piece at its end; how many bytes that was.
    fn fill(&mut self, buffer: &mut [u8], cache: &FileCache) -> usize {
        let mut filled = 0;
        while filled < buffer.len()
            && self.failed.is_none()
            && let Some(span) = self.spans.get(self.next.0).copied()
        {
            let done = self.next.1;
            let left = (span.length - done) as usize;
            let room = buffer.len() - filled;
            let part = &mut buffer[filled..filled + left.min(room)];
            match span.file {
                Some(file) => {
                    if let Err(error) = self.read(file, span, done, part, cache) {
                        self.failed = Some(error);
                        return 0;
                    }
                }
                None => part.fill(0),
            }
            if self.is_zero == Some(true) {
                self.is_zero = Some(part.iter().all(|byte| *byte == 0));
            }
            let count = part.len();
            filled += count;
            self.next = if count == left {
                (self.next.0 + 1, 0)
            } else {
                (self.next.0, done + count as u32)
            };
        }
        filled
    }

    fn read(
        &self,
        file: FileIndex,
        span: Span,
        done: u32,
        mut part: &mut [u8],
        cache: &FileCache,
    ) -> Result<(), DiskError> {
        let place = self.store.enter()?;
        let open = self.store.file(&place, cache, file, Access::Read)?;
        let mut at = span.offset + u64::from(done);
        while !part.is_empty() {
            let path = || self.store.path(&place, file);
            match retry_on_intr(|| io::pread(&open, &mut *part, at)) {
                Ok(0) => return Err(error_at(DiskErrorKind::Short, &path(), "")),
                Ok(count) => {
                    at += count as u64;
                    part = &mut part[count..];
                }
                Err(errno) => return Err(disk_error(&path(), errno)),
            }
        }
        Ok(())
    }
}

/// Reads and hashes all of the pieces.
pub(crate) fn read_all(pieces: &mut [PieceReading<'_>], cache: &FileCache, scratch: &mut Scratch) {
    const BLOCK: usize = BLOCK_LEN as usize;
    if scratch.0.is_empty() {
        // Zeroed by the system: what short pieces never fill takes no memory.
        scratch.0 = vec![0; CHUNKS_LEN + ALIGNMENT];
    }
    let start = to_alignment(&scratch.0);
    let memory = &mut scratch.0[start..start + CHUNKS_LEN];
    // Whole blocks, which v2 hashes one by one.
    let chunk = (CHUNKS_LEN / pieces.len().max(1) / BLOCK).max(1) * BLOCK;
    for pieces in pieces.chunks_mut(CHUNKS_LEN / chunk) {
        loop {
            let chunks = pieces.iter_mut().zip(memory.chunks_exact_mut(chunk));
            let read: SmallVec<[_; 4]> = chunks
                .filter_map(|(piece, chunk)| {
                    let count = piece.fill(chunk, cache);
                    (count > 0).then(|| (&mut piece.hashing, std::iter::once(&chunk[..count])))
                })
                .collect();
            if read.is_empty() {
                break;
            }
            update_all(read);
        }
    }
}
