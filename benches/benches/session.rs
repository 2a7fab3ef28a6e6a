//! Many torrents on one engine that nobody asks for, and the storm when all of them announce.
//!
//! Beside the times, what the engine allocates for each torrent is printed.

use std::hint::black_box;

use bitswarm_benches::counting_alloc::{Allocations, CountingAlloc, held_bytes};
use bitswarm_benches::session::{Content, Session, metainfo};
use bitswarm_core::Instant;
use bitswarm_core::metainfo::Metainfo;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

const TORRENTS: u32 = 10_000;
const STORM: u32 = 1000;

fn idle(c: &mut Criterion) {
    let torrents: Vec<Metainfo> = (0..TORRENTS).map(|number| metainfo(number, 1, None)).collect();
    let held = held_bytes();
    let mut session = Session::new(Content::Whole);
    for torrent in &torrents {
        session.add(torrent.clone());
    }
    session.run_until(Instant::from_secs(60));
    let each = (held_bytes() - held) / u64::from(TORRENTS);
    println!("idle/memory: {each} bytes a torrent of one piece, its .torrent file left out");
    let before = Allocations::so_far();
    let timeouts = session.run_until(Instant::from_secs(3660));
    let allocated = Allocations::so_far().since(before);
    println!("idle/hour: {timeouts} timeouts, {} allocations", allocated.calls);

    let mut group = c.benchmark_group("idle");
    group.bench_function("look", |bencher| bencher.iter(|| session.look()));
    group.bench_function("peer comes and goes", |bencher| {
        let mut number = 0;
        bencher.iter(|| {
            number = (number + 7919) % TORRENTS as usize;
            let conn = session.connect(black_box(&torrents[number]));
            session.hang_up(conn);
        });
    });
    group.finish();
}

fn announce_storm(c: &mut Criterion) {
    let tracker = Some("http://50.0.0.1/announce");
    let torrents: Vec<Metainfo> = (0..STORM).map(|number| metainfo(number, 1, tracker)).collect();
    let storm = |session: &mut Session| {
        for torrent in &torrents {
            session.add(torrent.clone());
        }
        session.run_until(Instant::from_secs(60));
    };
    let mut session = Session::new(Content::Whole);
    let before = Allocations::so_far();
    storm(&mut session);
    let each = Allocations::so_far().since(before).calls / u64::from(STORM);
    println!("announce_storm: {} announces, {each} allocations a torrent", session.announces());
    assert_eq!(session.announces(), u64::from(STORM), "each torrent announces once");

    let mut group = c.benchmark_group("announce_storm");
    group.throughput(Throughput::Elements(u64::from(STORM)));
    group.sample_size(20);
    group.bench_function("add, check and announce", |bencher| {
        bencher.iter_batched_ref(|| Session::new(Content::Whole), storm, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, idle, announce_storm);
criterion_main!(benches);
