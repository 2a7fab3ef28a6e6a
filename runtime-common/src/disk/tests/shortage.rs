//! Disks and tables of descriptors that are full.

use super::*;

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
