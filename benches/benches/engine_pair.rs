//! Two engines back to back in memory: the core's own ceiling.
//!
//! `hashed` is what a download costs without sockets and files: both engines, one copy for the
//! read, SHA-1 on the same thread. `unhashed` leaves the SHA-1 out: the core alone. Beside the
//! rates, what the engines allocate per block of 16 KiB is printed.

use bitswarm_benches::counting_alloc::{Allocations, CountingAlloc};
use bitswarm_benches::pair::{Hashing, Pair, Torrent};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

const LENGTH: usize = 64 << 20;
const PIECE_LENGTH: u32 = 1 << 20;

fn engine_pair(c: &mut Criterion) {
    let torrent = Torrent::new(LENGTH, PIECE_LENGTH);
    print_allocations(&torrent);
    let mut group = c.benchmark_group("engine_pair");
    group.throughput(Throughput::Bytes(LENGTH as u64));
    group.sample_size(20);
    for (name, hashing) in [("hashed", Hashing::On), ("unhashed", Hashing::Off)] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || Pair::new(&torrent, hashing),
                Pair::run,
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn print_allocations(torrent: &Torrent) {
    let [seeder, leecher] = Pair::new(torrent, Hashing::Off).run();
    let blocks = torrent.blocks() as f64;
    let say = |who: &str, count: Allocations| {
        let (calls, bytes) = (count.calls as f64 / blocks, count.bytes as f64 / blocks);
        println!("engine_pair/allocations: {who} {calls:.2} per block, {bytes:.0} bytes");
    };
    say("seeder ", seeder);
    say("leecher", leecher);
}

criterion_group!(benches, engine_pair);
criterion_main!(benches);
