//! Nothing leads out of the root, or into the state directory.

use super::*;

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
