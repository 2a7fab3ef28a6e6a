//! The timer wheel with a million timers armed.

use std::hint::black_box;

use bitswarm_core::random::PolicyRng;
use bitswarm_core::timer::{TimerId, TimerWheel};
use bitswarm_core::{Duration, Instant};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const TIMERS: usize = 1_000_000;

/// A million timers spread over two minutes.
fn full_wheel(rng: &mut PolicyRng) -> (TimerWheel<u32>, Vec<TimerId>) {
    let mut wheel = TimerWheel::new();
    let ids: Vec<_> = (0..TIMERS as u32).map(|key| wheel.register(key)).collect();
    for &id in &ids {
        wheel.set(id, Instant::from_millis(rng.below(120_000)));
    }
    (wheel, ids)
}

fn timer(c: &mut Criterion) {
    let mut rng = PolicyRng::from_seed([1; 32]);
    let (mut wheel, ids) = full_wheel(&mut rng);
    let mut group = c.benchmark_group("timer_1m");
    group.throughput(Throughput::Elements(1));
    group.bench_function("set", |b| {
        b.iter(|| {
            let id = ids[rng.index(TIMERS)];
            wheel.set(id, Instant::from_millis(rng.below(120_000)));
        });
    });
    group.bench_function("next", |b| b.iter(|| black_box(&wheel).next()));
    // Steady state: whatever fires is set again, so a million stay armed.
    let mut now = Instant::ZERO;
    group.bench_function("pop_and_set", |b| {
        b.iter(|| {
            loop {
                if let Some(key) = wheel.pop(now) {
                    let ahead = Duration::from_millis(rng.below(120_000));
                    wheel.set(ids[key as usize], now + ahead);
                    break;
                }
                now = wheel.next().unwrap_or(now);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, timer);
criterion_main!(benches);
