//! Message stream encryption: what a handshake costs each side, and what the cipher.

use std::hint::black_box;

use bitswarm_core::map::HashKeys;
use bitswarm_core::mse::key_exchange::PrivateKey;
use bitswarm_core::mse::{Handshake, Methods, Rc4, Skeys, Step};
use bitswarm_core::piece::InfoHash;
use bitswarm_core::random::SecretRng;
use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const TORRENT: InfoHash = InfoHash([7; 20]);

/// Both sides of a handshake, from nothing to the keys.
fn shake_hands(secrets: &mut SecretRng, skeys: &Skeys) {
    let (ours, theirs) = (PrivateKey::new(secrets.bytes()), PrivateKey::new(secrets.bytes()));
    let mut dials = Handshake::dial(TORRENT, Methods::RC4, ours, secrets);
    let mut accepts = Handshake::accept(Methods::BOTH, true);
    let said = |side: &mut Handshake| BytesMut::from(&side.take_output()[..]);
    assert_eq!(accepts.receive(said(&mut dials), skeys), Ok(Step::Agrees));
    assert_eq!(accepts.agree(&theirs, skeys, secrets), Ok(Step::Waits));
    assert_eq!(dials.receive(said(&mut accepts), skeys), Ok(Step::Offers));
    assert_eq!(dials.offer(&[0; 68], secrets), Ok(Step::Waits));
    assert_eq!(accepts.receive(said(&mut dials), skeys), Ok(Step::Done));
    assert_eq!(dials.receive(said(&mut accepts), skeys), Ok(Step::Done));
    black_box((dials.finish(), accepts.finish()));
}

fn mse(c: &mut Criterion) {
    let mut secrets = SecretRng::from_seed([1; 32]);
    let mut skeys = Skeys::new(HashKeys::draw(&mut secrets));
    skeys.insert(TORRENT);
    c.bench_function("mse handshake, both sides", |b| {
        b.iter(|| shake_hands(&mut secrets, &skeys));
    });

    let mut group = c.benchmark_group("rc4");
    let (mut cipher, mut block) = (Rc4::new(b"a key"), vec![0; 16 * 1024]);
    group.throughput(Throughput::Bytes(block.len() as u64));
    group.bench_function("16 KiB", |b| b.iter(|| cipher.apply(black_box(&mut block))));
    group.finish();
}

criterion_group!(benches, mse);
criterion_main!(benches);
