//! Hashing the pieces of files with all processors, for tools that create or verify a torrent.
//!
//! Each thread takes the next few pieces, reads them in large chunks and hashes as it reads, several
//! pieces side by side ([`crate::multi_buffer`]) and for v1 and v2 at once. Memory is some chunks a thread and
//! the hashes, whatever the size of the files and pieces.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;

use bitswarm_core::StoreId;
use bitswarm_core::disk::{DiskError, Spans, StoreSpec};
use bitswarm_core::id::Id;
use bitswarm_core::metainfo::create::Protocol;
use bitswarm_core::piece::{Sha1Hash, Sha256Hash};

use crate::disk::{FileCache, PieceReading, Scratch, Store, read_all};
use crate::multi_buffer::{PieceHashing, pieces_at_once};

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
    /// Which hashes are wanted.
    pub protocol: Protocol,
    /// Where each of them lies.
    pub place: F,
}

/// Where a piece lies.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Its bytes, padding included.
    pub spans: Spans,
    /// The layer of the merkle node that it is (BEP 52), if there is one: see
    /// [`Layout::merkle_layer`](bitswarm_core::storage::layout::Layout::merkle_layer).
    pub merkle_layer: Option<u32>,
}

/// The hashes of a piece that were wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PieceHash {
    /// The SHA-1 of all of it.
    pub v1: Option<Sha1Hash>,
    /// The merkle node above its blocks, padding left out.
    pub v2: Option<Sha256Hash>,
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

/// The hashes of each piece, in order, or why it has none. `None`: it was cancelled.
///
/// Blocks until all is hashed, on `threads` threads.
pub fn hash_pieces<F>(
    pieces: &Pieces<F>,
    threads: usize,
    progress: &Progress,
) -> Option<Vec<Result<PieceHash, Box<DiskError>>>>
where
    F: Fn(u32) -> Place + Sync,
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
type Batch = (u32, Vec<Result<PieceHash, Box<DiskError>>>);

impl<F: Fn(u32) -> Place + Sync> Work<'_, F> {
    /// Takes batches until there are no more.
    fn run(&self) -> Vec<Batch> {
        let mut scratch = Scratch::default();
        let mut batches = Vec::new();
        while let Some((first, end)) = self.take() {
            let mut hashes = Vec::with_capacity((end - first) as usize);
            let mut rest = first..end;
            while !rest.is_empty() {
                if self.progress.is_cancelled() {
                    return batches;
                }
                let some = rest.by_ref().take(pieces_at_once());
                self.hash(some, &mut scratch, &mut hashes);
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

    /// Hashes some pieces side by side.
    fn hash(
        &self,
        pieces: impl Iterator<Item = u32>,
        scratch: &mut Scratch,
        hashes: &mut Vec<Result<PieceHash, Box<DiskError>>>,
    ) {
        let mut layers = Vec::new();
        let mut length = 0;
        let mut readings: Vec<_> = pieces
            .map(|piece| {
                let Place { spans, merkle_layer } = (self.pieces.place)(piece);
                layers.push(merkle_layer);
                let stored = spans.iter().filter(|span| span.file.is_some());
                let without_padding: u64 = stored.map(|span| u64::from(span.length)).sum();
                length += without_padding;
                let protocol = self.pieces.protocol;
                let v2 = protocol.has_v2().then_some(without_padding as usize);
                let hashing = PieceHashing::new(protocol.has_v1(), v2);
                PieceReading::new(self.store, spans, hashing)
            })
            .collect();
        read_all(&mut readings, self.cache, scratch);
        self.progress.bytes.fetch_add(length, Ordering::Relaxed);
        hashes.extend(readings.into_iter().zip(layers).map(|(reading, layer)| {
            let (v1, v2) = reading.finish()?.finish(layer);
            Ok(PieceHash { v1, v2 })
        }));
    }
}

fn batch_len(piece_len: u32) -> u32 {
    u32::try_from(BATCH_LEN / u64::from(piece_len.max(1))).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use bitswarm_core::disk::{DiskErrorKind, FileIndex, Span, StoreFile};
    use bitswarm_core::merkle::BlockHasher;
    use sha1::{Digest, Sha1};

    use super::*;

    const PIECE: u32 = 1000;

    /// Two files, the second of which begins in the middle of a piece.
    fn pieces(root: PathBuf, first: u64, second: u64) -> Pieces<impl Fn(u32) -> Place + Sync> {
        let file = |name: &str, length| StoreFile { path: name.into(), length, executable: false };
        let files = vec![file("first", first), file("second", second)];
        let total = first + second;
        let place = move |piece: u32| {
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
            Place { spans, merkle_layer: None }
        };
        let count = u32::try_from(total.div_ceil(u64::from(PIECE))).unwrap();
        Pieces {
            store: Arc::new(StoreSpec { root, files, links: Vec::new(), follow_top_link: false }),
            count,
            length: PIECE,
            protocol: Protocol::V1,
            place,
        }
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
        let hash = |piece| PieceHash { v1: Some(Sha1::digest(piece).into()), v2: None };
        let expected: Vec<Result<PieceHash, _>> =
            data.chunks(PIECE as usize).map(|piece| Ok(hash(piece))).collect();
        for threads in [1, 2, 5] {
            let progress = Progress::default();
            let hashes = hash_pieces(&pieces, threads, &progress).unwrap();
            assert!(hashes == expected, "{threads} threads");
            assert_eq!(progress.bytes(), data.len() as u64);
        }
    }

    #[test]
    fn both_kinds_of_hashes_come_of_one_reading_and_padding_counts_for_v1_only() {
        let dir = tempfile::tempdir().unwrap();
        let data = content(700_000);
        std::fs::write(dir.path().join("first"), &data).unwrap();
        let file = StoreFile { path: "first".into(), length: 700_000, executable: false };
        let spans = [
            Span { file: Some(FileIndex(0)), offset: 0, length: 700_000 },
            Span { file: None, offset: 0, length: 1 << 20 },
        ];
        let mut pieces = Pieces {
            store: Arc::new(StoreSpec {
                root: dir.path().to_owned(),
                files: vec![file],
                links: Vec::new(),
                follow_top_link: false,
            }),
            count: 1,
            length: 1 << 21,
            protocol: Protocol::Hybrid,
            place: |_| Place { spans: spans.into_iter().collect(), merkle_layer: Some(6) },
        };
        let mut blocks = BlockHasher::default();
        blocks.update(&data);
        let v2 = blocks.finish(6);
        let v1 = Sha1::new().chain_update(&data).chain_update(vec![0; 1 << 20]).finalize();
        let hashes = hash_pieces(&pieces, 1, &Progress::default()).unwrap();
        assert_eq!(hashes, [Ok(PieceHash { v1: Some(v1.into()), v2 })]);
        pieces.protocol = Protocol::V2;
        let hashes = hash_pieces(&pieces, 1, &Progress::default()).unwrap();
        assert_eq!(hashes, [Ok(PieceHash { v1: None, v2 })]);
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
