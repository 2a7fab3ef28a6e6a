//! The end of a store, and its move to another place.

use super::*;

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
