//! Hashing pieces one by one and several at once, from memory that is in the processor's cache.

use std::hint::black_box;
use std::iter;

use bitswarm_runtime_common::multi_buffer::{PieceHashing, update_all};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sha1::{Digest, Sha1};

/// Of each piece, in bytes: what a worker reads at once when it has four of them.
const CHUNK: usize = 64 * 1024;

fn hashing(c: &mut Criterion) {
    let chunks: Vec<Vec<u8>> =
        (0..8_u8).map(|salt| (0..CHUNK).map(|n| (n * 31 / 7) as u8 ^ salt).collect()).collect();

    let mut group = c.benchmark_group("sha1");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    group.bench_function("crate", |b| b.iter(|| Sha1::digest(black_box(&chunks[0]))));
    group.finish();

    for (name, v1, v2) in [("pieces v1", true, None), ("pieces v2", false, Some(CHUNK))] {
        let mut group = c.benchmark_group(name);
        for count in [1, 2, 3, 4, 8] {
            group.throughput(Throughput::Bytes((count * CHUNK) as u64));
            group.bench_function(BenchmarkId::from_parameter(count), |b| {
                b.iter(|| {
                    let mut pieces = vec![PieceHashing::new(v1, v2); count];
                    let parts = chunks.iter().map(|chunk| iter::once(&black_box(chunk)[..]));
                    update_all(pieces.iter_mut().zip(parts));
                    pieces.into_iter().map(|piece| piece.finish(Some(2))).collect::<Vec<_>>()
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, hashing);
criterion_main!(benches);
