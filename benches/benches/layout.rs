//! From pieces and blocks to files: what every request and every write asks.

use std::hint::black_box;

use bitswarm_core::piece::{Geometry, PieceIndex};
use bitswarm_core::storage::layout::Layout;
use bitswarm_core::torrent::FilePriority;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// 100,000 pieces of 1 MiB, in files of equal length.
fn layout(files: u64) -> Layout {
    let total = 100_000 << 20;
    let geometry = Geometry::new(total, 1 << 20).expect("a sane size");
    let length = total / files;
    let lengths = (1..files).map(|_| length).chain([total - length * (files - 1)]);
    Layout::from_parts(geometry, lengths.map(|length| (length, true))).expect("they add up")
}

fn benches(c: &mut Criterion) {
    for files in [1, 1_000, 100_000] {
        let layout = layout(files);
        let geometry = layout.geometry();
        let mut piece = 0_u32;
        // Strides through the torrent, so that no two look-ups hit the same files.
        let mut next = move || {
            piece = (piece + 7_919) % geometry.pieces();
            PieceIndex(piece)
        };
        c.bench_with_input(BenchmarkId::new("layout/block_spans", files), &layout, |b, layout| {
            b.iter(|| layout.spans(black_box(geometry.block(next(), 3))));
        });
        c.bench_with_input(BenchmarkId::new("layout/piece_spans", files), &layout, |b, layout| {
            b.iter(|| layout.piece_spans(black_box(next())));
        });
        let skip_odd: Vec<_> = (0..files)
            .map(|file| if file % 2 == 0 { FilePriority::Normal } else { FilePriority::Skip })
            .collect();
        c.bench_with_input(
            BenchmarkId::new("layout/pieces_wanted", files),
            &layout,
            |b, layout| {
                b.iter(|| layout.pieces_wanted(black_box(&skip_odd)));
            },
        );
    }
}

criterion_group!(group, benches);
criterion_main!(group);
