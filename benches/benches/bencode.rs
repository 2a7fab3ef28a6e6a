//! Reading and writing bencoding: a short message, a tracker's long answer, a torrent of many files.

use std::hint::black_box;

use bitswarm_core::bencode::{Document, Limits, encode_dict};
use bitswarm_core::metainfo::create::NewFile;
use bitswarm_core::metainfo::{Creator, Metainfo, PathRules};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// An extension handshake as peers send it (BEP 10).
fn handshake() -> Vec<u8> {
    encode_dict(|dict| {
        dict.dict("m", |names| {
            names.int("lt_donthave", 7);
            names.int("ut_holepunch", 4);
            names.int("ut_metadata", 2);
            names.int("ut_pex", 1);
        });
        dict.int("metadata_size", 31_235);
        dict.int("p", 6881);
        dict.int("reqq", 500);
        dict.bytes("v", "bitswarm 0.1.0");
        dict.bytes("yourip", [127, 0, 0, 1]);
    })
}

/// A tracker's answer in the long form (BEP 3) with 200 peers.
fn answer() -> Vec<u8> {
    encode_dict(|dict| {
        dict.int("interval", 1800);
        dict.list("peers", |list| {
            for peer in 0..200 {
                list.dict(|dict| {
                    dict.bytes("ip", format!("10.0.0.{peer}"));
                    dict.bytes("peer id", [peer; 20]);
                    dict.int("port", 6881);
                });
            }
        });
    })
}

/// A torrent of `files` files of 1 MiB, a hundred a folder.
fn torrent(files: usize) -> Metainfo {
    let file =
        |n: usize| NewFile::new([format!("folder {}", n / 100), format!("file {n}.bin")], 1 << 20);
    let creator = Creator::folder("many files", (0..files).map(file));
    let pieces = creator.geometry().expect("a sane size").pieces() as usize;
    creator.finish(&vec![7; pieces * 20]).expect("plain names")
}

/// Parses, without looking at what is in it.
fn parse(input: &[u8]) {
    black_box(Document::parse(black_box(input), Limits::METAINFO).expect("well-formed").root());
}

fn documents(c: &mut Criterion) {
    let mut group = c.benchmark_group("bencode/parse");
    let many = torrent(100_000).to_bytes();
    let one = Creator::single_file("one.iso", 64 << 30);
    let one = one.finish(&vec![7; 4096 * 20]).expect("a plain name").to_bytes();
    for (name, input) in [
        ("handshake", handshake()),
        ("tracker_answer_200_peers", answer()),
        ("torrent_1_file", one.to_vec()),
        ("torrent_100k_files", many.to_vec()),
    ] {
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_function(name, |b| b.iter(|| parse(&input)));
    }
    group.finish();
    c.bench_function("bencode/write/handshake", |b| b.iter(|| black_box(handshake())));
    c.bench_function("bencode/write/tracker_answer_200_peers", |b| b.iter(|| black_box(answer())));
}

fn metainfo(c: &mut Criterion) {
    let mut group = c.benchmark_group("metainfo/parse");
    group.sample_size(20);
    for files in [1, 1_000, 100_000] {
        let bytes = torrent(files).to_bytes();
        group.throughput(Throughput::Elements(files as u64));
        group.bench_with_input(BenchmarkId::new("files", files), &bytes, |b, bytes| {
            b.iter(|| Metainfo::from_bytes(bytes.clone(), PathRules::HOST).expect("well-formed"));
        });
    }
    group.finish();
}

criterion_group!(benches, documents, metainfo);
criterion_main!(benches);
