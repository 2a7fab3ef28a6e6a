//! Disk requests against a real file system.

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
fn prepare_makes_files_and_cuts_what_is_too_long() {
    let bench = Bench::unopened();
    fs::create_dir_all(bench.path("T")).unwrap();
    fs::write(bench.path("T/a"), b"longer than ten bytes").unwrap();
    let mut bench = bench.open_at("root");
    assert_eq!(bench.prepare(Allocation::Sparse), Ok(DiskDone::Done));
    assert_eq!(fs::read(bench.path("T/a")).unwrap(), b"longer tha");
    assert_eq!(fs::metadata(bench.path("T/empty")).unwrap().len(), 0);
    assert_eq!(fs::metadata(bench.path("T/sub/b")).unwrap().len(), 0);
    bench.prepare(Allocation::Full).unwrap();
    assert_eq!(fs::read(bench.path("T/a")).unwrap(), b"longer tha");
    assert_eq!(fs::metadata(bench.path("T/sub/b")).unwrap().len(), 6);
}

#[test]
fn what_somebody_made_since_it_was_looked_for_is_not_written() {
    let mut bench = Bench::new();
    fs::create_dir_all(bench.path("T/sub")).unwrap();
    fs::write(bench.path("T/sub/b"), b"theirs").unwrap();
    let refused = bench.prepare(Allocation::Sparse).unwrap_err();
    assert_eq!((refused.kind, refused.path), (DiskErrorKind::Foreign, bench.path("T/sub/b")));
    assert!(!bench.path("T/a").exists(), "nothing is made beside it");
    assert_eq!(kind(bench.write(&[span(2, 0, 3)], &[b"xyz"])), DiskErrorKind::Foreign);
    assert_eq!(fs::read(bench.path("T/sub/b")).unwrap(), b"theirs");
    // It has been looked at, so the engine knows what it does.
    let store = bench.store;
    bench.run(DiskRequest::Look { store }).unwrap();
    bench.write(&[span(2, 0, 3)], &[b"xyz"]).unwrap();
    assert_eq!(fs::read(bench.path("T/sub/b")).unwrap(), b"xyzirs");
    // What was made here is written without having been looked at.
    bench.write(&[span(0, 0, 3)], &[b"xyz"]).unwrap();
    bench.write(&[span(0, 3, 3)], &[b"abc"]).unwrap();
}

#[test]
fn nothing_is_made_beside_what_is_in_the_way() {
    let mut bench = Bench::new();
    fs::create_dir_all(bench.path("T/sub/b")).unwrap();
    let refused = bench.prepare(Allocation::Sparse).unwrap_err();
    assert_eq!((refused.kind, refused.path), (DiskErrorKind::InTheWay, bench.path("T/sub/b")));
    assert!(!bench.path("T/a").exists());
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

#[test]
fn sync_reports_a_change_of_others_only_in_what_was_written_here() {
    let bench = Bench::unopened();
    fs::create_dir_all(bench.path("T/sub")).unwrap();
    fs::write(bench.path("T/a"), b"0123456789").unwrap();
    let mut bench = bench.open_at("root");
    let before = bench.sync().unwrap()[0].unwrap();
    fs::write(bench.path("T/a"), b"changed").unwrap();
    bench.write(&[span(2, 0, 3)], &[b"xyz"]).unwrap();
    assert_eq!(bench.sync().unwrap()[0], Some(before));
    let store = bench.store;
    let Ok(DiskDone::Files(now)) = bench.run(DiskRequest::Look { store }) else { panic!() };
    assert_eq!(now[0].unwrap().length, 7);
    assert!(!now[0].unwrap().is_as(&before));
}

#[test]
fn executable_bit_is_set_where_asked() {
    let mut bench = Bench::new();
    bench.prepare(Allocation::Sparse).unwrap();
    let mode = |path| fs::metadata(bench.path(path)).unwrap().permissions().mode();
    assert_eq!(mode("T/a") & 0o111, 0);
    assert_ne!(mode("T/sub/b") & 0o100, 0);
}

#[test]
fn executable_bit_is_set_on_a_file_that_is_there_without_writing_to_it() {
    let mut bench = Bench::new();
    bench.write(&[span(2, 0, 6)], &[b"abcdef"]).unwrap();
    let mode = |mode| fs::set_permissions(bench.path("T/sub/b"), Permissions::from_mode(mode));
    mode(0o440).unwrap();
    bench.disk.files.forget(bench.store);
    bench.prepare(Allocation::Sparse).unwrap();
    assert_eq!(fs::metadata(bench.path("T/sub/b")).unwrap().mode() & 0o777, 0o550);
    assert_eq!(fs::read(bench.path("T/sub/b")).unwrap(), b"abcdef");
}

#[test]
fn links_are_made_with_the_files_and_never_in_the_place_of_something() {
    let mut bench = Bench::new();
    bench.prepare(Allocation::Sparse).unwrap();
    assert_eq!(fs::read_link(bench.path("T/links/to-a")).unwrap(), Path::new("../a"));
    bench.write(&[span(0, 0, 3)], &[b"abc"]).unwrap();
    assert_eq!(fs::read(bench.path("T/links/to-a")).unwrap(), b"abc");
    fs::remove_file(bench.path("T/links/to-a")).unwrap();
    fs::write(bench.path("T/links/to-a"), b"mine").unwrap();
    bench.prepare(Allocation::Sparse).unwrap();
    bench.close(true).unwrap();
    assert_eq!(fs::read(bench.path("T/links/to-a")).unwrap(), b"mine");
    assert!(!bench.path("T/a").exists());
}

#[test]
fn links_move_and_go_with_their_store() {
    let mut bench = Bench::new();
    bench.prepare(Allocation::Sparse).unwrap();
    let (store, root) = (bench.store, bench.dir.path().join("moved"));
    bench.run(DiskRequest::Move { store, root: root.clone() }).unwrap();
    assert!(!bench.path("T").exists());
    assert_eq!(fs::read_link(root.join("T/links/to-a")).unwrap(), Path::new("../a"));
    bench.close(true).unwrap();
    assert!(!root.join("T").exists());
}

#[test]
fn missing_files_are_copied_from_another_store_and_others_left_alone() {
    let mut bench = Bench::new();
    bench.write(&[span(0, 0, 10)], &[b"0123456789"]).unwrap();
    bench.write(&[span(2, 0, 6)], &[b"abcdef"]).unwrap();
    let one = bench.store;
    bench.store = StoreId::new(1, 0);
    let mut bench = bench.open_at("other");
    let reuse = |bench: &mut Bench, files: &[(u32, (StoreId, u32))]| {
        let pair = |&(file, (of, other))| (FileIndex(file), (of, FileIndex(other)));
        let (store, files) = (bench.store, files.iter().map(pair).collect());
        bench.run(DiskRequest::Reuse { store, files }).unwrap()
    };
    let lengths = |done| match done {
        DiskDone::Files(files) => files.iter().map(|f| f.map(|f| f.length)).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    // Of the wrong length; of a store that is none; what is right.
    let nobody = StoreId::new(9, 9);
    let done = reuse(&mut bench, &[(0, (one, 2)), (0, (nobody, 0)), (2, (one, 2))]);
    assert_eq!(lengths(done), [None, None, Some(6)]);
    let there = bench.dir.path().join("other/T/sub/b");
    assert_eq!(fs::read(&there).unwrap(), b"abcdef");
    assert_ne!(fs::metadata(&there).unwrap().mode() & 0o100, 0, "it is executable");
    fs::write(&there, b"mine").unwrap();
    let done = reuse(&mut bench, &[(2, (one, 2)), (0, (one, 0))]);
    assert_eq!(lengths(done), [Some(10), None, Some(4)]);
    assert_eq!(fs::read(bench.path("T/sub/b")).unwrap(), b"abcdef", "the other's is its own");
}

#[test]
fn planted_link_leads_nothing_out_of_the_root() {
    let mut bench = Bench::new();
    let outside = bench.dir.path().join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("b"), b"secret").unwrap();
    fs::create_dir_all(bench.path("T")).unwrap();
    symlink(&outside, bench.path("T/sub")).unwrap();
    symlink(outside.join("b"), bench.path("T/a")).unwrap();
    for file in [0, 2] {
        assert_eq!(kind(bench.write(&[span(file, 0, 3)], &[b"xyz"])), DiskErrorKind::InTheWay);
        assert_eq!(kind(bench.read(&[span(file, 0, 3)])), DiskErrorKind::InTheWay);
    }
    assert_eq!(bench.sync(), Ok(vec![None, None, None]));
    bench.close(true).unwrap();
    assert_eq!(fs::read(outside.join("b")).unwrap(), b"secret");
}

#[test]
fn root_that_is_a_link_is_the_users_own_and_followed() {
    let bench = Bench::unopened();
    let real = bench.dir.path().join("real");
    fs::create_dir(&real).unwrap();
    symlink(&real, bench.dir.path().join("root")).unwrap();
    let mut bench = bench.open_at("root");
    bench.write(&[span(0, 0, 3)], &[b"xyz"]).unwrap();
    assert_eq!(fs::read(real.join("T/a")).unwrap(), b"xyz");
}

#[test]
fn directory_or_file_in_the_way_is_named() {
    let mut bench = Bench::new();
    fs::create_dir_all(bench.path("T/a")).unwrap();
    fs::write(bench.path("T/sub"), b"a file").unwrap();
    let error = bench.write(&[span(0, 0, 1)], &[b"x"]).unwrap_err();
    assert_eq!((error.kind, error.path), (DiskErrorKind::InTheWay, bench.path("T/a")));
    assert_eq!(kind(bench.write(&[span(2, 0, 1)], &[b"x"])), DiskErrorKind::InTheWay);
    assert_eq!(fs::read(bench.path("T/sub")).unwrap(), b"a file");
}

#[test]
fn sync_tells_the_files_as_they_are() {
    let mut bench = Bench::new();
    assert_eq!(bench.sync(), Ok(vec![None, None, None]));
    bench.write(&[span(0, 0, 4)], &[b"four"]).unwrap();
    let stats = bench.sync().unwrap();
    assert_eq!(stats[0].unwrap().length, 4);
    assert!(stats[0].unwrap().modified_ns > 1_600_000_000 * 1_000_000_000);
    assert_eq!(stats[1..], [None, None]);
}

#[test]
fn change_behind_our_back_is_not_taken_over_by_a_sync() {
    let mut bench = Bench::new();
    bench.write(&[span(0, 0, 4), span(2, 0, 3)], &[b"fourxyz"]).unwrap();
    let before = bench.sync().unwrap();
    fs::write(bench.path("T/a"), b"foreign").unwrap();
    bench.write(&[span(2, 0, 3)], &[b"XYZ"]).unwrap();
    let after = bench.sync().unwrap();
    assert_eq!(after[0], before[0]);
}

#[test]
fn sync_of_many_files_and_of_a_removed_one_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(8, None);
    let store = StoreId::new(3, 1);
    let file = |n| StoreFile {
        path: PathBuf::from(format!("d{}/{n}", n % 7)),
        length: 1,
        executable: false,
    };
    let spec = Arc::new(StoreSpec {
        root: dir.path().to_owned(),
        files: (0..200).map(file).collect(),
        links: Vec::new(),
        follow_top_link: false,
    });
    let mut scratch = Scratch::default();
    let mut run = |request| disk.execute(request, &mut scratch);
    run(DiskRequest::Open { store, spec }).unwrap();
    let write = |n| {
        let data = vec![Bytes::from_static(b"x")];
        let spans = Spans::from_slice(&[span(n, 0, 1)]);
        DiskRequest::Write(Box::new(WriteRequest { store, spans, data, expect: None }))
    };
    for n in 0..200 {
        run(write(n)).unwrap();
    }
    let DiskDone::Files(files) = run(DiskRequest::Sync { store }).unwrap() else { panic!() };
    assert!(files.iter().all(|file| file.is_some_and(|stat| stat.length == 1)));
    run(write(5)).unwrap();
    for n in 0..8 {
        // Push the file out of the cache, so that the sync has to open it.
        run(write(20 + n)).unwrap();
    }
    fs::remove_file(dir.path().join("d5/5")).unwrap();
    let DiskDone::Files(files) = run(DiskRequest::Sync { store }).unwrap() else { panic!() };
    assert_eq!(files[5], None);
}

#[test]
fn close_with_delete_removes_listed_files_and_empty_directories_only() {
    let mut bench = Bench::new();
    bench.prepare(Allocation::Sparse).unwrap();
    fs::write(bench.path("T/not-ours"), b"keep").unwrap();
    bench.close(true).unwrap();
    assert!(bench.path("T/not-ours").exists());
    assert!(!bench.path("T/a").exists());
    assert!(!bench.path("T/sub").exists());
    assert!(bench.path("").exists(), "the root is the user's");
}

#[test]
fn request_after_close_finds_no_store() {
    let mut bench = Bench::new();
    bench.close(false).unwrap();
    assert_eq!(kind(bench.write(&[span(0, 0, 1)], &[b"x"])), DiskErrorKind::UnknownStore);
    assert_eq!(kind(bench.close(false)), DiskErrorKind::UnknownStore);
    assert!(!bench.path("T").exists());
}

#[test]
fn move_takes_the_files_along_and_leaves_strangers() {
    let mut bench = Bench::new();
    bench.prepare(Allocation::Sparse).unwrap();
    bench.write(&[span(0, 0, 3)], &[b"xyz"]).unwrap();
    fs::write(bench.path("T/not-ours"), b"keep").unwrap();
    let (store, root) = (bench.store, bench.dir.path().join("new/place"));
    bench.run(DiskRequest::Move { store, root: root.clone() }).unwrap();
    assert_eq!(fs::read(root.join("T/a")).unwrap(), b"xyz");
    assert!(root.join("T/sub/b").exists());
    assert!(!bench.path("T/a").exists());
    assert!(!bench.path("T/sub").exists());
    assert!(bench.path("T/not-ours").exists());
    assert_eq!(bench.read(&[span(0, 0, 3)]), Ok(DiskDone::Read(Bytes::from_static(b"xyz"))));
}

#[test]
fn move_that_would_replace_a_file_moves_nothing() {
    let mut bench = Bench::new();
    bench.prepare(Allocation::Sparse).unwrap();
    let (store, root) = (bench.store, bench.dir.path().join("new"));
    fs::create_dir_all(root.join("T/sub")).unwrap();
    fs::write(root.join("T/sub/b"), b"theirs").unwrap();
    let error = bench.run(DiskRequest::Move { store, root: root.clone() }).unwrap_err();
    assert_eq!((error.kind, error.path), (DiskErrorKind::InTheWay, root.join("T/sub/b")));
    assert!(bench.path("T/a").exists());
    assert!(bench.path("T/sub/b").exists());
    assert_eq!(fs::read(root.join("T/sub/b")).unwrap(), b"theirs");
    assert!(!root.join("T/a").exists());
}

#[test]
fn move_to_another_file_system_copies_and_keeps_times() {
    let Some(other) = other_file_system() else { return };
    let mut bench = Bench::new();
    bench.write(&[span(0, 0, 10)], &[b"0123456789"]).unwrap();
    let before = bench.sync().unwrap()[0].unwrap();
    let (store, root) = (bench.store, other.path().join("root"));
    bench.run(DiskRequest::Move { store, root: root.clone() }).unwrap();
    assert_eq!(fs::read(root.join("T/a")).unwrap(), b"0123456789");
    assert!(!bench.path("T").exists());
    bench.disk.stores.read().unwrap()[&store].written(FileIndex(0));
    let after = bench.sync().unwrap()[0].unwrap();
    assert_eq!((after.length, after.modified_ns), (before.length, before.modified_ns));
}

/// A directory on another file system than the usual temporary one.
fn other_file_system() -> Option<TempDir> {
    use std::os::unix::fs::MetadataExt;
    let here = fs::metadata(std::env::temp_dir()).ok()?.dev();
    let other = tempfile::tempdir_in("/dev/shm").ok();
    let found = other.filter(|dir| fs::metadata(dir.path()).is_ok_and(|stat| stat.dev() != here));
    if found.is_none() {
        eprintln!("skipped: /dev/shm is no other file system here");
    }
    found
}

#[test]
fn full_disk_is_told_and_recovers() {
    let Some(disk) = TinyDisk::mount() else { return };
    let mut bench = Bench::unopened();
    bench.dir = tempfile::tempdir_in(&disk.0).unwrap();
    let mut bench = bench.open_at("root");
    let megabyte = vec![7; 1 << 20];
    let filler = bench.dir.path().join("filler");
    fs::write(&filler, &megabyte).unwrap_err();
    assert_eq!(kind(bench.prepare(Allocation::Full)), DiskErrorKind::Full);
    fs::remove_file(filler).unwrap();
    assert_eq!(kind(bench.write(&[span(0, 0, 1 << 20)], &[&megabyte])), DiskErrorKind::Full);
    fs::File::options().write(true).open(bench.path("T/a")).unwrap().set_len(0).unwrap();
    assert_eq!(bench.write(&[span(0, 0, 3)], &[b"xyz"]), Ok(DiskDone::Done));
}

/// A tmpfs of 256 KiB, where we may mount one.
struct TinyDisk(PathBuf, #[expect(dead_code, reason = "removes the directory")] TempDir);

impl TinyDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&path);
        if mount.output().is_ok_and(|output| output.status.success()) {
            Some(TinyDisk(path, dir))
        } else {
            eprintln!("skipped: mounting a tmpfs needs root");
            None
        }
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[test]
fn more_files_than_may_be_open_are_served_one_after_the_other() {
    let mut bench = Bench::new();
    bench.disk.files = FileCache::new(1);
    for round in 0..3_u8 {
        bench.write(&[span(0, 0, 1), span(2, 0, 1)], &[&[round, round]]).unwrap();
        let read = bench.read(&[span(2, 0, 1), span(0, 0, 1)]);
        assert_eq!(read, Ok(DiskDone::Read(Bytes::from(vec![round, round]))));
    }
}

#[test]
fn open_without_descriptors_left_closes_files_and_tries_again() {
    let cache = FileCache::new(8);
    for n in 0..4 {
        let file = fs::File::open("/dev/null").unwrap();
        cache.put((StoreId::new(0, 0), n), files::Access::Read, file.into());
    }
    let mut failures = 2;
    let work = || {
        failures -= 1;
        if failures < 0 { Ok(()) } else { Err(rustix::io::Errno::MFILE) }
    };
    assert_eq!(store::with_descriptors(&cache, work), Ok(()));
    let given_up = store::with_descriptors(&cache, || Err::<(), _>(rustix::io::Errno::MFILE));
    assert_eq!(given_up, Err(rustix::io::Errno::MFILE), "nothing was left to close");
}

#[test]
fn torrent_named_like_the_state_directory_neither_writes_nor_deletes_there() {
    let mut bench = Bench::unopened();
    let state = bench.dir.path().join("root/T");
    bench.disk = Disk::new(8, Some(StateDir::open(&state).unwrap()));
    let name = StateName::Resume(InfoHash([1; 20]));
    bench.run(DiskRequest::Save { name, data: Bytes::from_static(b"ours") }).unwrap();
    std::fs::write(state.join("a"), b"ours").unwrap();
    let spec = StoreSpec {
        root: bench.dir.path().join("root"),
        files: vec![StoreFile { path: "T/a".into(), length: 10, executable: false }],
        links: Vec::new(),
        follow_top_link: true,
    };
    let store = bench.store;
    let refused = bench.run(DiskRequest::Open { store, spec: Arc::new(spec) }).unwrap_err();
    assert_eq!(refused.kind, DiskErrorKind::Denied);
    let files = vec![FileIndex(0)];
    let allocation = Allocation::Sparse;
    bench.run(DiskRequest::Prepare { store, files, allocation, links: true }).unwrap_err();
    let delete = Some(vec![FileIndex(0)]);
    bench.run(DiskRequest::Close { store, delete }).unwrap_err();
    assert_eq!(std::fs::read(state.join("a")).unwrap(), b"ours");
    let kept = bench.run(DiskRequest::Load { name });
    assert_eq!(kept, Ok(DiskDone::Loaded(Some(Bytes::from_static(b"ours")))));
}

#[test]
fn session_without_state_directory_finds_nothing_and_keeps_nothing() {
    let mut bench = Bench::unopened();
    let name = StateName::Resume(InfoHash([1; 20]));
    let data = Bytes::from_static(b"x");
    assert_eq!(bench.run(DiskRequest::Save { name, data }), Ok(DiskDone::Done));
    assert_eq!(bench.run(DiskRequest::Load { name }), Ok(DiskDone::Loaded(None)));
    assert_eq!(bench.run(DiskRequest::Forget { name }), Ok(DiskDone::Done));
}

#[test]
fn relative_root_works_and_the_empty_one_is_here() {
    // No file is touched: the working directory is shared by all tests.
    assert!(openat::open_root(Path::new("")).is_ok());
}
