//! What a sync says of the files.

use super::*;

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
