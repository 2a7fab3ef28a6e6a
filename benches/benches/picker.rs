//! The picker at the size the project promises: 100,000 pieces, 500 peers with random bitfields; and
//! what small messages cost at 1,000,000 pieces.

use std::hint::black_box;

use bitswarm_core::bitfield::Bitfield;
use bitswarm_core::picker::{PeerKey, PickHints, Picker, Received};
use bitswarm_core::piece::{BLOCK_LEN, Block, Geometry, PieceIndex};
use bitswarm_core::random::PolicyRng;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

const PIECES: u32 = 100_000;
const BLOCKS_PER_PIECE: u32 = 64;
const PEERS: u32 = 500;

struct Swarm {
    picker: Picker,
    peers: Vec<Bitfield>,
    rng: PolicyRng,
}

/// Peers whose shares of the torrent are spread evenly, so that pieces differ in rarity.
fn swarm() -> Swarm {
    let piece_len = BLOCKS_PER_PIECE * BLOCK_LEN;
    let geometry = Geometry::new(u64::from(PIECES) * u64::from(piece_len), piece_len)
        .expect("within the limits");
    let mut rng = PolicyRng::from_seed([1; 32]);
    let mut picker = Picker::new(geometry, rng.fork());
    // Past the random first pieces.
    (0..4).for_each(|piece| picker.mark_have(PieceIndex(piece)));
    let peers: Vec<_> = (0..PEERS).map(|_| random_bitfield(&mut rng)).collect();
    peers.iter().for_each(|has| picker.add_peer_bitfield(has));
    Swarm { picker, peers, rng }
}

fn random_bitfield(rng: &mut PolicyRng) -> Bitfield {
    let percent = rng.below(100);
    bitfield(rng, percent)
}

fn bitfield(rng: &mut PolicyRng, percent: u64) -> Bitfield {
    let mut has = Bitfield::new(PIECES);
    for piece in (0..PIECES).map(PieceIndex) {
        if rng.below(100) < percent {
            has.set(piece);
        }
    }
    has
}

fn pick(c: &mut Criterion) {
    let mut group = c.benchmark_group("picker/pick");
    let swarm = swarm();
    group.bench_function("one block, received, next (steady state of a download)", |b| {
        let Swarm { mut picker, peers, .. } = Swarm {
            picker: swarm.picker.clone(),
            peers: swarm.peers.clone(),
            rng: swarm.rng.clone(),
        };
        let mut out: Vec<Block> = Vec::new();
        let mut turn = 0;
        b.iter(|| {
            turn = (turn + 1) % peers.len();
            let peer = PeerKey(turn as u32);
            picker.pick(peer, &peers[turn], 1, PickHints::default(), &mut out);
            for block in out.drain(..) {
                if let Received::Accepted { piece_complete: true, .. } =
                    picker.received(peer, block)
                {
                    picker.piece_passed(block.piece);
                    // The download never ends.
                    picker.unmark_have(block.piece);
                }
            }
        });
    });
    group.bench_function("a new piece, and giving it up", |b| {
        let mut picker = swarm.picker.clone();
        let mut out = Vec::new();
        let mut turn = 0;
        b.iter(|| {
            turn = (turn + 1) % swarm.peers.len();
            let peer = PeerKey(turn as u32);
            picker.pick(peer, &swarm.peers[turn], 1, PickHints::default(), &mut out);
            out.drain(..).for_each(|block| picker.release(peer, block));
        });
    });
    group.bench_function("a new piece while 500 are in progress, and giving it up", |b| {
        let mut picker = swarm.picker.clone();
        let mut out = Vec::new();
        for (turn, has) in swarm.peers.iter().enumerate() {
            picker.pick(PeerKey(turn as u32), has, 1, PickHints::default(), &mut out);
        }
        let all = Bitfield::full(PIECES);
        picker.add_seed();
        out.clear();
        b.iter(|| {
            picker.pick(PeerKey(PEERS), &all, 1, PickHints::default(), &mut out);
            out.drain(..).for_each(|block| picker.release(PeerKey(PEERS), block));
        });
    });
    group.bench_function("a new piece from a peer that lacks all rare ones", |b| {
        let mut picker = swarm.picker.clone();
        let mut common = Bitfield::new(PIECES);
        (50_000..PIECES).map(PieceIndex).for_each(|piece| {
            common.set(piece);
        });
        (0..200).for_each(|_| picker.add_peer_bitfield(&common));
        let mut out = Vec::new();
        b.iter(|| {
            picker.pick(PeerKey(PEERS), &common, 1, PickHints::default(), &mut out);
            out.drain(..).for_each(|block| picker.release(PeerKey(PEERS), block));
        });
    });
    group.bench_function("a new piece from a peer that has three", |b| {
        let mut picker = swarm.picker.clone();
        let mut few = Bitfield::new(PIECES);
        for piece in [10_000, 50_000, 90_000] {
            few.set(PieceIndex(piece));
        }
        picker.add_peer_bitfield(&few);
        let mut out = Vec::new();
        b.iter(|| {
            picker.pick(PeerKey(PEERS), &few, 1, PickHints::default(), &mut out);
            out.drain(..).for_each(|block| picker.release(PeerKey(PEERS), block));
        });
    });
    group.bench_function("end game: one of 100 x 64 blocks again, and giving it up", |b| {
        let geometry = Geometry::new(104 * 64 * u64::from(BLOCK_LEN), 64 * BLOCK_LEN)
            .expect("within the limits");
        let mut picker = Picker::new(geometry, PolicyRng::from_seed([1; 32]));
        (0..4).for_each(|piece| picker.mark_have(PieceIndex(piece)));
        let all = Bitfield::full(104);
        picker.add_seed();
        let mut out = Vec::new();
        picker.pick(PeerKey(0), &all, usize::MAX, PickHints::default(), &mut out);
        // Half of the blocks have come; another peer was asked for most of the others.
        out.iter().step_by(2).for_each(|block| {
            picker.received(PeerKey(0), *block);
        });
        out.clear();
        picker.pick(PeerKey(1), &all, 3100, PickHints::default(), &mut out);
        out.clear();
        b.iter(|| {
            picker.pick(PeerKey(2), &all, 1, PickHints::default(), &mut out);
            assert_eq!(out.len(), 1);
            out.drain(..).for_each(|block| picker.release(PeerKey(2), block));
        });
    });
    group.finish();
}

fn availability(c: &mut Criterion) {
    let mut group = c.benchmark_group("picker/availability");
    let mut swarm = swarm();
    group.bench_function("have", |b| {
        b.iter(|| swarm.picker.peer_has(PieceIndex(swarm.rng.below(PIECES.into()) as u32)));
    });
    for percent in [5, 20, 30, 50, 80] {
        let mut swarm = self::swarm();
        group.bench_function(
            format!("peer joins with {percent} % of the pieces, and leaves"),
            |b| {
                b.iter_batched(
                    || bitfield(&mut swarm.rng, percent),
                    |has| {
                        swarm.picker.add_peer_bitfield(&has);
                        swarm.picker.remove_peer_bitfield(&has);
                    },
                    BatchSize::LargeInput,
                );
            },
        );
    }
    let mut swarm = self::swarm();
    let has = random_bitfield(&mut swarm.rng);
    group.bench_function("interesting pieces of a peer", |b| {
        b.iter(|| black_box(swarm.picker.interesting_count(&has)));
    });
    group.finish();
}

/// What messages of a few bytes cost in a torrent of a million pieces: no more than in a small one.
fn million(c: &mut Criterion) {
    const MILLION: u32 = 1_000_000;
    let mut group = c.benchmark_group("picker/1,000,000 pieces");
    let geometry = Geometry::new(u64::from(MILLION) * u64::from(BLOCK_LEN), BLOCK_LEN)
        .expect("within the limits");
    let mut picker = Picker::new(geometry, PolicyRng::from_seed([1; 32]));
    let mut rng = PolicyRng::from_seed([2; 32]);
    (0..20).for_each(|_| picker.add_seed());
    group.bench_function("a seed loses a piece, and has it again", |b| {
        b.iter(|| {
            let piece = PieceIndex(rng.below(MILLION.into()) as u32);
            picker.seed_lost(piece);
            picker.seed_has(piece);
        });
    });
    let mut has = Bitfield::full(MILLION);
    has.clear(PieceIndex(500_000));
    group.bench_function("a seed joins, loses a piece, and leaves", |b| {
        b.iter(|| {
            picker.add_seed();
            picker.seed_lost(PieceIndex(500_000));
            picker.remove_seed(&has);
        });
    });
    group.bench_function("a peer has a piece, and loses it", |b| {
        picker.add_peer_bitfield(&Bitfield::new(MILLION));
        b.iter(|| {
            let piece = PieceIndex(rng.below(MILLION.into()) as u32);
            picker.peer_has(piece);
            picker.peer_lost(piece);
        });
    });
    group.finish();
}

criterion_group!(benches, pick, availability, million);
criterion_main!(benches);
