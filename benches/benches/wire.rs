//! The peer wire: bytes to messages and back.

use std::hint::black_box;

use bitswarm_core::Segments;
use bitswarm_core::piece::{BLOCK_LEN, Block, PieceIndex};
use bitswarm_core::wire::{BlockData, Decoder, Message};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

fn blocks(count: u32) -> Vec<Message> {
    let content = Bytes::from(vec![7; BLOCK_LEN as usize]);
    let message = |n| Message::Piece {
        piece: PieceIndex(n / 16),
        begin: n % 16 * BLOCK_LEN,
        data: BlockData::from(content.clone()),
    };
    (0..count).map(message).collect()
}

fn small(count: u32) -> Vec<Message> {
    let request = |n| Block { piece: PieceIndex(n), begin: 0, length: BLOCK_LEN };
    (0..count)
        .map(
            |n| {
                if n % 2 == 0 { Message::Have(PieceIndex(n)) } else { Message::Request(request(n)) }
            },
        )
        .collect()
}

fn stream(messages: &[Message]) -> Bytes {
    let mut out = Segments::new();
    messages.iter().cloned().for_each(|message| message.encode(&mut out));
    out.take_all().freeze()
}

fn drain(decoder: &mut Decoder) -> usize {
    let mut messages = 0;
    while let Ok(Some(message)) = decoder.next_message() {
        black_box(message);
        messages += 1;
    }
    messages
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/decode");
    let whole = stream(&blocks(16));
    group.throughput(Throughput::Bytes(whole.len() as u64));
    group.bench_function("16 blocks in one read", |b| {
        let mut decoder = Decoder::new();
        b.iter(|| {
            decoder.push(whole.clone());
            assert_eq!(drain(&mut decoder), 16);
        });
    });
    let long = stream(&blocks(64));
    for read in [256 * 1024, 64 * 1024, 1460] {
        let reads: Vec<Bytes> = (0..long.len())
            .step_by(read)
            .map(|at| long.slice(at..long.len().min(at + read)))
            .collect();
        group.throughput(Throughput::Bytes(long.len() as u64));
        group.bench_function(format!("64 blocks in reads of {read}"), |b| {
            let mut decoder = Decoder::new();
            b.iter(|| {
                let mut messages = 0;
                for read in &reads {
                    decoder.push(read.clone());
                    messages += drain(&mut decoder);
                }
                assert_eq!(messages, 64);
            });
        });
    }
    let many = stream(&small(1000));
    group.throughput(Throughput::Elements(1000));
    group.bench_function("1000 haves and requests in one read", |b| {
        let mut decoder = Decoder::new();
        b.iter(|| {
            decoder.push(many.clone());
            assert_eq!(drain(&mut decoder), 1000);
        });
    });
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/encode");
    let payload = blocks(16);
    let bytes: usize = payload.iter().map(Message::encoded_len).sum();
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("16 blocks", |b| {
        let mut out = Segments::new();
        b.iter_batched(
            || payload.clone(),
            |messages| {
                messages.into_iter().for_each(|message| message.encode(&mut out));
                out.advance(out.len());
            },
            BatchSize::SmallInput,
        );
    });
    let many = small(1000);
    group.throughput(Throughput::Elements(1000));
    group.bench_function("1000 haves and requests", |b| {
        let mut out = Segments::new();
        b.iter_batched(
            || many.clone(),
            |messages| {
                messages.into_iter().for_each(|message| message.encode(&mut out));
                out.advance(out.len());
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
