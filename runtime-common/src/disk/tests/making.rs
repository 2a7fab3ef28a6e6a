//! What is made: files, links, permissions, copies, and what lies in the way.

use super::*;

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
