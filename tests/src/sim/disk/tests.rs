use bitswarm_core::disk::{Allocation, FileIndex, Spans, StoreFile, VerifyRequest};
use bitswarm_core::id::Id;
use bitswarm_core::piece::InfoHash;
use bitswarm_core::piece_hash::PieceHash;
use quickcheck::quickcheck;
use sha1::{Digest, Sha1};

use super::*;
use crate::sim::queue::Queue;

const LENGTHS: [u64; 3] = [100_000, 0, 50_000];

/// A disk with one open store of three files, and the clock.
struct Bench {
    disk: Disk,
    queue: Queue<Ticket>,
    ops: u32,
    store: StoreId,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let mut bench = Bench {
            disk: Disk::new(seed, "disk", 1_700_000_000_000_000_000),
            queue: Queue::new(),
            ops: 0,
            store: StoreId::new(0, 0),
        };
        assert!(bench.open().is_ok());
        bench
    }

    fn open(&mut self) -> DiskResult {
        let file = |(number, length): (usize, u64)| StoreFile {
            path: PathBuf::from(format!("name/{number}")),
            length,
            executable: false,
        };
        let files = LENGTHS.into_iter().enumerate().map(file).collect();
        let spec = Arc::new(StoreSpec {
            root: PathBuf::from("/data"),
            files,
            links: Vec::new(),
            follow_top_link: false,
        });
        self.run(DiskRequest::Open { store: self.store, spec })
    }

    fn submit(&mut self, request: DiskRequest) -> Ticket {
        self.ops += 1;
        let op = OpId::new(self.ops, 0);
        let (ticket, at) = self.disk.submit(self.queue.now(), op, request);
        self.queue.push(at, ticket);
        ticket
    }

    /// Submits a request and waits for its end; all that were under way end as well, or before.
    fn run(&mut self, request: DiskRequest) -> DiskResult {
        let wanted = self.submit(request);
        loop {
            let ticket = self.queue.pop().expect("every request completes");
            let done = self.disk.finish(self.queue.now(), ticket);
            if ticket == wanted {
                return done.expect("no crash has swallowed it").1;
            }
        }
    }

    fn write_at(&self, file: u32, offset: u64, data: Vec<u8>) -> WriteRequest {
        let span = Span { file: Some(FileIndex(file)), offset, length: data.len() as u32 };
        WriteRequest {
            store: self.store,
            spans: Spans::from_slice(&[span]),
            data: vec![Bytes::from(data)],
            expect: None,
        }
    }

    fn write(&mut self, file: u32, offset: u64, data: Vec<u8>) -> DiskResult {
        let write = self.write_at(file, offset, data);
        self.run(DiskRequest::Write(Box::new(write)))
    }

    fn read(&mut self, file: u32, offset: u64, length: u32) -> DiskResult {
        let span = Span { file: Some(FileIndex(file)), offset, length };
        self.run(DiskRequest::Read { store: self.store, spans: Spans::from_slice(&[span]) })
    }

    fn sync(&mut self) -> DiskResult {
        self.run(DiskRequest::Sync { store: self.store })
    }
}

fn kind(result: DiskResult) -> DiskErrorKind {
    result.expect_err("it should have failed").kind
}

#[test]
fn a_piece_over_three_files_and_padding_reads_back_as_written_and_hashes_right() {
    let mut bench = Bench::new(1);
    let span = |file, offset, length| Span { file, offset, length };
    let spans = Spans::from_slice(&[
        span(Some(FileIndex(0)), 99_000, 1000),
        span(None, 0, 24),
        span(Some(FileIndex(2)), 0, 5000),
    ]);
    let mut data: Vec<u8> = (0..6024).map(|at| (at % 251) as u8).collect();
    data[1000..1024].fill(0);
    let whole = Bytes::from(data);
    let expect = PieceHash::V1(Sha1::digest(&whole).into());
    let write = WriteRequest {
        store: bench.store,
        spans: spans.clone(),
        data: vec![whole.slice(..1), whole.slice(1..3000), whole.slice(3000..)],
        expect: Some(expect),
    };
    let wrong = WriteRequest { expect: Some(PieceHash::V1([0; 20])), ..write.clone() };
    assert_eq!(bench.run(DiskRequest::Write(Box::new(wrong))), Ok(DiskDone::HashMismatch));
    assert_eq!(kind(bench.read(0, 0, 1)), DiskErrorKind::NotFound);
    assert_eq!(bench.run(DiskRequest::Write(Box::new(write))), Ok(DiskDone::Done));
    let store = bench.store;
    let read = bench.run(DiskRequest::Read { store, spans: spans.clone() });
    assert_eq!(read, Ok(DiskDone::Read(whole)));
    let verify = VerifyRequest { store, spans, expect, tell_zeros: false };
    assert_eq!(bench.run(DiskRequest::Verify(Box::new(verify))), Ok(DiskDone::Done));
    assert_eq!(kind(bench.read(2, 4999, 2)), DiskErrorKind::Short);
    assert!(bench.disk.take_breaches().is_empty());
}

#[test]
fn requests_overtake_each_other_and_each_completes_once() {
    let mut bench = Bench::new(1);
    let tickets: Vec<Ticket> = (0..50)
        .map(|number| {
            let write = bench.write_at(0, number * 100, vec![1; 100]);
            bench.submit(DiskRequest::Write(Box::new(write)))
        })
        .collect();
    let mut ended = Vec::new();
    while let Some(ticket) = bench.queue.pop() {
        assert!(bench.disk.finish(bench.queue.now(), ticket).is_some());
        assert!(bench.disk.finish(bench.queue.now(), ticket).is_none(), "completed twice");
        ended.push(ticket);
    }
    assert_ne!(ended, tickets);
    ended.sort();
    assert_eq!(ended, tickets);
}

#[test]
fn a_slow_disk_takes_the_time_its_rate_says() {
    let mut bench = Bench::new(1);
    bench.disk.speed =
        Speed { bytes_per_s: Some(10_000), latency: Duration::ZERO, spread: Duration::ZERO };
    let start = bench.queue.now();
    for number in 0..10 {
        let write = bench.write_at(0, number * 1000, vec![1; 1000]);
        bench.submit(DiskRequest::Write(Box::new(write)));
    }
    while let Some(ticket) = bench.queue.pop() {
        bench.disk.finish(bench.queue.now(), ticket);
    }
    assert_eq!(bench.queue.now() - start, Duration::from_secs(1));
}

#[test]
fn a_full_disk_refuses_what_does_not_fit_until_there_is_space_again() {
    let mut bench = Bench::new(1);
    bench.disk.faults.capacity = Some(40_960);
    assert_eq!(bench.write(0, 0, vec![1; 40_960]), Ok(DiskDone::Done));
    assert_eq!(kind(bench.write(0, 40_960, vec![1; 20_000])), DiskErrorKind::Full);
    assert!(bench.disk.used() <= 40_960);
    assert_eq!(bench.write(0, 100, vec![2; 100]), Ok(DiskDone::Done), "overwriting needs no space");
    bench.disk.faults.capacity = None;
    assert_eq!(bench.write(0, 40_960, vec![1; 20_000]), Ok(DiskDone::Done));
}

#[test]
fn reserving_all_of_a_file_shows_a_full_disk_at_the_start() {
    let mut bench = Bench::new(1);
    bench.disk.faults.capacity = Some(60_000);
    let (store, files) = (bench.store, vec![FileIndex(0)]);
    let full = DiskRequest::Prepare { store, files, allocation: Allocation::Full, links: false };
    assert_eq!(kind(bench.run(full.clone())), DiskErrorKind::Full);
    bench.disk.faults.capacity = None;
    assert_eq!(bench.run(full), Ok(DiskDone::Done));
    assert_eq!(bench.disk.content(Path::new("/data/name/0")).map(<[u8]>::len), Some(100_000));
}

#[test]
fn faults_show_as_errors_of_their_kind() {
    let mut bench = Bench::new(1);
    bench.disk.faults.denied = true;
    assert_eq!(kind(bench.write(0, 0, vec![1; 10])), DiskErrorKind::Denied);
    bench.disk.faults = Faults::default();
    bench.disk.faults.broken.insert(PathBuf::from("/data/name/2"));
    assert_eq!(bench.write(0, 0, vec![1; 10]), Ok(DiskDone::Done));
    assert_eq!(kind(bench.write(2, 0, vec![1; 10])), DiskErrorKind::Io);
    bench.disk.faults = Faults { sync_error_per_mille: 1000, ..Faults::default() };
    assert_eq!(kind(bench.sync()), DiskErrorKind::Io);
    bench.disk.faults = Faults::default();
    let unknown = DiskRequest::Sync { store: StoreId::new(9, 0) };
    assert_eq!(kind(bench.run(unknown)), DiskErrorKind::UnknownStore);
}

#[test]
fn a_killed_process_leaves_its_writes_and_a_power_cut_only_what_was_synced() {
    let path = Path::new("/data/name/0");
    let mut lost = 0;
    for seed in 0..50 {
        let mut bench = Bench::new(seed);
        bench.write(0, 0, vec![1; 8192]).unwrap();
        bench.sync().unwrap();
        bench.write(0, 8192, vec![2; 8192]).unwrap();
        bench.disk.crash(bench.queue.now(), false);
        assert_eq!(bench.disk.content(path).unwrap()[8192..], [2; 8192]);
        bench.disk.crash(bench.queue.now(), true);
        let left = bench.disk.content(path).unwrap();
        assert_eq!(left[..8192], [1; 8192]);
        lost += u32::from(left.get(8192..) != Some(&[2; 8192][..]));
        bench.queue = Queue::new();
        assert!(matches!(bench.open(), Ok(DiskDone::Files(_))));
    }
    assert!((10..45).contains(&lost), "unsynced bytes lost in {lost} of 50 crashes");
}

#[test]
fn a_state_file_is_the_old_one_or_the_new_one_after_a_crash() {
    let name = StateName::Resume(InfoHash([7; 20]));
    let mut news = 0;
    for seed in 0..50 {
        let mut bench = Bench::new(seed);
        bench.run(DiskRequest::Save { name, data: Bytes::from_static(b"old") }).unwrap();
        bench.submit(DiskRequest::Save { name, data: Bytes::from_static(b"new") });
        bench.disk.crash(bench.queue.now(), true);
        match &bench.disk.state(name).expect("it was saved")[..] {
            b"old" => {}
            b"new" => news += 1,
            torn => panic!("torn state file {torn:?}"),
        }
    }
    assert!((10..40).contains(&news), "the new one in {news} of 50 crashes");
}

#[test]
fn requests_that_break_the_contract_are_noted() {
    let mut bench = Bench::new(1);
    let breaches = |bench: &mut Bench, write: WriteRequest| {
        bench.submit(DiskRequest::Write(Box::new(write)));
        bench.disk.take_breaches().len()
    };
    let good = bench.write_at(0, 0, vec![1; 10]);
    assert_eq!(breaches(&mut bench, good.clone()), 0);
    let past_the_end = bench.write_at(0, 99_999, vec![1; 2]);
    assert_eq!(breaches(&mut bench, past_the_end), 1);
    let short = WriteRequest { data: Vec::new(), ..good.clone() };
    assert_eq!(breaches(&mut bench, short), 1);
    let unknown = WriteRequest { store: StoreId::new(5, 5), ..good };
    assert_eq!(breaches(&mut bench, unknown), 1);
}

#[test]
fn closing_with_delete_removes_the_listed_files_and_nothing_else() {
    let mut bench = Bench::new(1);
    bench.disk.plant("/data/name/other", vec![1]);
    bench.write(0, 0, vec![1; 10]).unwrap();
    let store = bench.store;
    bench.run(DiskRequest::Close { store, delete: Some((0..3).map(FileIndex).collect()) }).unwrap();
    assert_eq!(bench.disk.paths().collect::<Vec<_>>(), [Path::new("/data/name/other")]);
    assert_eq!(kind(bench.read(0, 0, 1)), DiskErrorKind::UnknownStore);
}

quickcheck! {
    fn runs_cut_anywhere_give_the_same_bytes(parts: Vec<Vec<u8>>, cuts: Vec<u8>) -> bool {
        let whole = parts.concat();
        let parts: Vec<Bytes> = parts.into_iter().map(Bytes::from).collect();
        let mut runs = Runs::new(&parts);
        let mut out: Vec<u8> = Vec::new();
        for cut in cuts {
            out.extend_from_slice(&runs.take(usize::from(cut)));
        }
        out.extend_from_slice(&runs.take(whole.len()));
        out == whole
    }
}
