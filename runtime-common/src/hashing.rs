//! Hashing the pieces of files with all processors, for tools that create or verify a torrent.
//!
//! Each thread takes the next few pieces, reads them in large chunks and hashes as it reads. Memory
//! is one chunk a thread, whatever the size of the files and pieces.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;

use bitswarm_core::StoreId;
use bitswarm_core::disk::{DiskError, Spans, StoreSpec};
use bitswarm_core::id::Id;
use bitswarm_core::piece::Sha1Hash;

use crate::disk::{FileCache, Scratch, Store, Transfer};

/// A thread takes pieces of about this many bytes at once (chosen: neighbours on disk are read by
/// one thread, and the threads end together).
const BATCH_LEN: u64 = 4 << 20;

/// Files kept open at once.
const OPEN_FILES: usize = 64;

/// What to hash.
#[derive(Debug)]
pub struct Pieces<F> {
    /// The files.
    pub store: Arc<StoreSpec>,
    /// How many pieces there are.
    pub count: u32,
    /// Length of a piece in bytes.
    pub length: u32,
    /// Where each of them lies.
    pub spans: F,
}

/// How far it is, for other threads to look at; and the switch to end it early.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// Bytes hashed so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Ends the work soon.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// The hash of each piece, in order, or why it has none. `None`: it was cancelled.
///
/// Blocks until all is hashed, on `threads` threads.
pub fn hash_pieces<F>(
    pieces: &Pieces<F>,
    threads: usize,
    progress: &Progress,
) -> Option<Vec<Result<Sha1Hash, Box<DiskError>>>>
where
    F: Fn(u32) -> Spans + Sync,
{
    let store = Store::new(StoreId::new(0, 0), Arc::clone(&pieces.store));
    let work = Work {
        store: &store,
        cache: &FileCache::new(OPEN_FILES),
        pieces,
        batch: batch_len(pieces.length),
        next: &AtomicU32::new(0),
        progress,
    };
    let mut batches = thread::scope(|scope| {
        let threads: Vec<_> = (1..threads).map(|_| scope.spawn(|| work.run())).collect();
        let mut batches = work.run();
        for thread in threads {
            match thread.join() {
                Ok(more) => batches.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        batches
    });
    if progress.is_cancelled() {
        return None;
    }
    batches.sort_unstable_by_key(|(first, _)| *first);
    Some(batches.into_iter().flat_map(|(_, hashes)| hashes).collect())
}

struct Work<'a, F> {
    store: &'a Store,
    cache: &'a FileCache,
    pieces: &'a Pieces<F>,
    batch: u32,
    next: &'a AtomicU32,
    progress: &'a Progress,
}

/// The first piece, and the hashes from it on.
type Batch = (u32, Vec<Result<Sha1Hash, Box<DiskError>>>);

impl<F: Fn(u32) -> Spans + Sync> Work<'_, F> {
    /// Takes batches until there are no more.
    fn run(&self) -> Vec<Batch> {
        let mut scratch = Scratch::default();
        let mut batches = Vec::new();
        while let Some((first, end)) = self.take() {
            let mut hashes = Vec::with_capacity((end - first) as usize);
            for piece in first..end {
                if self.progress.is_cancelled() {
                    return batches;
                }
                hashes.push(self.hash(piece, &mut scratch).map_err(Box::new));
            }
            batches.push((first, hashes));
        }
        batches
    }

    fn take(&self) -> Option<(u32, u32)> {
        let count = self.pieces.count;
        let taken = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |first| {
            (first < count).then(|| first.saturating_add(self.batch).min(count))
        });
        let first = taken.ok()?;
        Some((first, first.saturating_add(self.batch).min(count)))
    }

    fn hash(&self, piece: u32, scratch: &mut Scratch) -> Result<Sha1Hash, DiskError> {
        let spans = (self.pieces.spans)(piece);
        let place = self.store.enter()?;
        let transfer = Transfer { store: self.store, place: &place, cache: self.cache };
        let hash = transfer.hash(&spans, scratch);
        let length = spans.iter().map(|span| u64::from(span.length)).sum();
        self.progress.bytes.fetch_add(length, Ordering::Relaxed);
        hash
    }
}

fn batch_len(piece_len: u32) -> u32 {
    u32::try_from(BATCH_LEN / u64::from(piece_len.max(1))).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use bitswarm_core::disk::{DiskErrorKind, FileIndex, Span, StoreFile};
    use sha1::{Digest, Sha1};

    use super::*;

    const PIECE: u32 = 1000;

    /// Two files, the second of which begins in the middle of a piece.
    fn pieces(root: PathBuf, first: u64, second: u64) -> Pieces<impl Fn(u32) -> Spans + Sync> {
        let file = |name: &str, length| StoreFile { path: name.into(), length, executable: false };
        let files = vec![file("first", first), file("second", second)];
        let total = first + second;
        let spans = move |piece: u32| {
            let start = u64::from(piece * PIECE);
            let end = (start + u64::from(PIECE)).min(total);
            let cut = |file, from: u64, to: u64, base: u64| Span {
                file: Some(FileIndex(file)),
                offset: from - base,
                length: u32::try_from(to - from).unwrap(),
            };
            let mut spans = Spans::new();
            if start < first {
                spans.push(cut(0, start, end.min(first), 0));
            }
            if end > first {
                spans.push(cut(1, start.max(first), end, first));
            }
            spans
        };
        let count = u32::try_from(total.div_ceil(u64::from(PIECE))).unwrap();
        Pieces { store: Arc::new(StoreSpec { root, files }), count, length: PIECE, spans }
    }

    fn content(len: u64) -> Vec<u8> {
        (0..len).map(|n| (n * 7 % 251) as u8).collect()
    }

    #[test]
    fn every_piece_has_its_hash_with_any_number_of_threads() {
        let dir = tempfile::tempdir().unwrap();
        let data = content(12_345_678);
        std::fs::write(dir.path().join("first"), &data[..4_000_500]).unwrap();
        std::fs::write(dir.path().join("second"), &data[4_000_500..]).unwrap();
        let pieces = pieces(dir.path().to_owned(), 4_000_500, 8_345_178);
        let expected: Vec<Result<Sha1Hash, _>> =
            data.chunks(PIECE as usize).map(|piece| Ok(Sha1::digest(piece).into())).collect();
        for threads in [1, 2, 5] {
            let progress = Progress::default();
            let hashes = hash_pieces(&pieces, threads, &progress).unwrap();
            assert!(hashes == expected, "{threads} threads");
            assert_eq!(progress.bytes(), data.len() as u64);
        }
    }

    #[test]
    fn pieces_of_a_missing_or_short_file_have_an_error_and_the_others_a_hash() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("first"), content(1500)).unwrap();
        let pieces = pieces(dir.path().to_owned(), 2500, 1500);
        let hashes = hash_pieces(&pieces, 2, &Progress::default()).unwrap();
        let kinds: Vec<_> =
            hashes.iter().map(|hash| hash.as_ref().err().map(|error| error.kind)).collect();
        let (short, missing) = (Some(DiskErrorKind::Short), Some(DiskErrorKind::NotFound));
        assert_eq!(kinds, [None, short, short, missing]);
    }

    #[test]
    fn cancelled_work_brings_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let progress = Progress::default();
        progress.cancel();
        let pieces = pieces(dir.path().to_owned(), 5000, 5000);
        assert_eq!(hash_pieces(&pieces, 2, &progress), None);
    }

    #[test]
    fn content_of_no_bytes_has_no_hashes() {
        let dir = tempfile::tempdir().unwrap();
        let pieces = pieces(dir.path().to_owned(), 0, 0);
        assert_eq!(hash_pieces(&pieces, 2, &Progress::default()), Some(Vec::new()));
    }
}
