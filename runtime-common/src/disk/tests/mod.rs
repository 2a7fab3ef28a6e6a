//! Disk requests against a real file system.

mod escapes;
mod leaving;
mod making;
mod shortage;
mod syncing;

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use bitswarm_core::disk::{
    Allocation, DiskErrorKind, FileIndex, FileStat, Span, Spans, StateName, StoreFile, StoreLink,
    VerifyRequest, WriteRequest,
};
use bitswarm_core::id::Id;
use bitswarm_core::piece::InfoHash;
use bitswarm_core::piece_hash::PieceHash;
use bytes::Bytes;
use sha1::{Digest, Sha1};
use tempfile::TempDir;

use super::*;

/// A disk with one store of `T/a` (10 bytes), `T/empty`, and `T/sub/b` (6 bytes, executable).
struct Bench {
    dir: TempDir,
    disk: Disk,
    store: StoreId,
    scratch: Scratch,
}

impl Bench {
    fn new() -> Self {
        let bench = Self::unopened();
        bench.open_at("root")
    }

    fn unopened() -> Self {
        Bench {
            dir: tempfile::tempdir().unwrap(),
            disk: Disk::new(8, None),
            store: StoreId::new(0, 0),
            scratch: Scratch::default(),
        }
    }

    fn open_at(mut self, root: &str) -> Self {
        let file = |path: &str, length, executable| StoreFile {
            path: PathBuf::from(path),
            length,
            executable,
        };
        let files =
            vec![file("T/a", 10, false), file("T/empty", 0, false), file("T/sub/b", 6, true)];
        let link = StoreLink { path: "T/links/to-a".into(), target: "../a".into() };
        let links = vec![link];
        let spec = Arc::new(StoreSpec {
            root: self.dir.path().join(root),
            files,
            links,
            follow_top_link: true,
        });
        let store = self.store;
        self.run(DiskRequest::Open { store, spec }).unwrap();
        self
    }

    fn run(&mut self, request: DiskRequest) -> Result<DiskDone, DiskError> {
        self.disk.execute(request, &mut self.scratch)
    }

    fn write(&mut self, spans: &[Span], data: &[&[u8]]) -> Result<DiskDone, DiskError> {
        self.write_expecting(spans, data, None)
    }

    fn write_expecting(
        &mut self,
        spans: &[Span],
        data: &[&[u8]],
        expect: Option<PieceHash>,
    ) -> Result<DiskDone, DiskError> {
        let data = data.iter().map(|part| Bytes::copy_from_slice(part)).collect();
        let spans = Spans::from_slice(spans);
        let store = self.store;
        self.run(DiskRequest::Write(Box::new(WriteRequest { store, spans, data, expect })))
    }

    fn read(&mut self, spans: &[Span]) -> Result<DiskDone, DiskError> {
        let store = self.store;
        self.run(DiskRequest::Read { store, spans: Spans::from_slice(spans) })
    }

    fn verify(&mut self, spans: &[Span], expect: PieceHash) -> Result<DiskDone, DiskError> {
        let (store, spans) = (self.store, Spans::from_slice(spans));
        self.run(DiskRequest::Verify(Box::new(VerifyRequest {
            store,
            spans,
            expect,
            tell_zeros: false,
        })))
    }

    fn prepare(&mut self, allocation: Allocation) -> Result<DiskDone, DiskError> {
        let (store, files) = (self.store, (0..3).map(FileIndex).collect());
        self.run(DiskRequest::Prepare { store, files, allocation, links: true })
    }

    fn sync(&mut self) -> Result<Vec<Option<FileStat>>, DiskError> {
        let store = self.store;
        match self.run(DiskRequest::Sync { store })? {
            DiskDone::Files(files) => Ok(files),
            other => panic!("not the files: {other:?}"),
        }
    }

    fn close(&mut self, delete: bool) -> Result<DiskDone, DiskError> {
        let store = self.store;
        // As many as the store of most tests has.
        let every = || (0..3).map(FileIndex).collect();
        let delete = delete.then(every);
        self.run(DiskRequest::Close { store, delete })
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }
}

fn span(file: u32, offset: u64, length: u32) -> Span {
    Span { file: Some(FileIndex(file)), offset, length }
}

fn padding(length: u32) -> Span {
    Span { file: None, offset: 0, length }
}

fn kind<T: std::fmt::Debug>(result: Result<T, DiskError>) -> DiskErrorKind {
    result.unwrap_err().kind
}

fn sha1(data: &[u8]) -> PieceHash {
    PieceHash::V1(Sha1::digest(data).into())
}

#[test]
fn piece_across_files_and_padding_is_written_read_and_hashed_as_one() {
    let mut bench = Bench::new();
    let spans = [span(0, 4, 6), padding(5), span(2, 0, 3)];
    let piece = b"abcdef\0\0\0\0\0xyz";
    let cut: &[&[u8]] = &[b"abc", b"", b"def\0\0", b"\0\0\0x", b"yz"];
    assert_eq!(bench.write_expecting(&spans, cut, Some(sha1(piece))), Ok(DiskDone::Done));
    assert_eq!(bench.read(&spans), Ok(DiskDone::Read(Bytes::from_static(piece))));
    assert_eq!(bench.verify(&spans, sha1(piece)), Ok(DiskDone::Done));
    assert_eq!(bench.verify(&spans, sha1(b"other")), Ok(DiskDone::HashMismatch));
    assert_eq!(fs::read(bench.path("T/a")).unwrap(), b"\0\0\0\0abcdef");
    assert_eq!(fs::read(bench.path("T/sub/b")).unwrap(), b"xyz");
    assert!(!bench.path("T/empty").exists());
}

/// On a file system of which it is known that nothing has to be waited for.
#[cfg(target_os = "linux")]
#[test]
fn read_is_done_at_once_if_its_files_are_open_and_its_bytes_in_memory() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut bench = Bench { dir, ..Bench::unopened() }.open_at("root");
    let spans = Spans::from_slice(&[span(0, 4, 6), padding(5), span(2, 0, 3)]);
    let read = DiskRequest::Read { store: bench.store, spans: spans.clone() };
    assert_eq!(bench.write(&spans, &[b"abcdef\0\0\0\0\0xyz"]), Ok(DiskDone::Done));
    bench.disk.files.forget(bench.store);
    assert_eq!(bench.disk.try_at_once(&read), None, "no file is open");
    let waited = bench.read(&spans).unwrap();
    assert_eq!(bench.disk.try_at_once(&read), Some(waited));
    let beyond = Spans::from_slice(&[span(0, 4, 7)]);
    let beyond = DiskRequest::Read { store: bench.store, spans: beyond };
    assert_eq!(bench.disk.try_at_once(&beyond), None, "what is wrong is told by a worker");
    bench.close(false).unwrap();
    assert_eq!(bench.disk.try_at_once(&read), None, "the store is closed");
}

#[test]
fn data_that_fails_its_hash_is_not_written() {
    let mut bench = Bench::new();
    let result = bench.write_expecting(&[span(0, 0, 3)], &[b"bad"], Some(sha1(b"good")));
    assert_eq!(result, Ok(DiskDone::HashMismatch));
    assert!(!bench.path("T").exists());
}

#[test]
fn data_that_does_not_fill_its_spans_is_not_written() {
    let mut bench = Bench::new();
    assert_eq!(kind(bench.write(&[span(0, 0, 3)], &[b"four"])), DiskErrorKind::Io);
    assert!(!bench.path("T").exists());
}

#[test]
fn large_write_in_many_small_parts_arrives_whole() {
    let mut bench = Bench::new();
    let data: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let parts: Vec<&[u8]> = data.chunks(97).collect();
    assert!(parts.len() > 1024, "more than one vectored write takes");
    bench.write(&[span(0, 0, 300_000)], &parts).unwrap();
    assert_eq!(fs::read(bench.path("T/a")).unwrap(), data);
    assert_eq!(bench.verify(&[span(0, 0, 300_000)], sha1(&data)), Ok(DiskDone::Done));
}

#[test]
fn long_padding_hashes_as_zeros() {
    let mut bench = Bench::new();
    assert_eq!(bench.verify(&[padding(100_000)], sha1(&[0; 100_000])), Ok(DiskDone::Done));
}

#[test]
fn missing_and_short_files_are_told_apart() {
    let mut bench = Bench::new();
    assert_eq!(kind(bench.read(&[span(0, 0, 4)])), DiskErrorKind::NotFound);
    bench.write(&[span(0, 0, 4)], &[b"four"]).unwrap();
    assert_eq!(kind(bench.read(&[span(0, 0, 5)])), DiskErrorKind::Short);
    let error = bench.verify(&[span(0, 2, 8)], sha1(b"")).unwrap_err();
    assert_eq!(error.kind, DiskErrorKind::Short);
    assert_eq!(error.path, bench.path("T/a"));
}

#[test]
fn read_stops_at_its_span_though_the_file_goes_on() {
    let mut bench = Bench::new();
    bench.write(&[span(0, 0, 10)], &[b"0123456789"]).unwrap();
    bench.write(&[span(2, 0, 3)], &[b"xyz"]).unwrap();
    let read = bench.read(&[span(0, 1, 2), span(2, 0, 3)]);
    assert_eq!(read, Ok(DiskDone::Read(Bytes::from_static(b"12xyz"))));
}

#[test]
fn pieces_of_nothing_but_zeros_are_told_if_that_matters() {
    let mut bench = Bench::new();
    bench.write(&[span(0, 0, 10)], &[&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1]]).unwrap();
    let mut verify = |span, expect, tell_zeros| {
        let (store, spans) = (bench.store, Spans::from_slice(&[span, padding(4)]));
        let request = VerifyRequest { store, spans, expect, tell_zeros };
        bench.run(DiskRequest::Verify(Box::new(request))).unwrap()
    };
    let (zeros, other) = (sha1(&[0; 13]), sha1(b"other"));
    assert_eq!(verify(span(0, 0, 9), zeros, true), DiskDone::Zeros { is_right: true });
    assert_eq!(verify(span(0, 0, 9), other, true), DiskDone::Zeros { is_right: false });
    assert_eq!(verify(span(0, 0, 9), zeros, false), DiskDone::Done);
    assert_eq!(verify(span(0, 0, 10), other, true), DiskDone::HashMismatch);
}
