//! How much comes through, in virtual time.

use crate::network::{Link, Network};
use crate::time::{Duration, Instant};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// MiB/s of a download over a way both of whose directions are like this, between two times.
fn rate(link: Link, from: u64, to: u64) -> f64 {
    let mut network = Network::symmetric(1, link);
    let (seed, peer) = (network.host(0), network.host(1));
    network.hosts[seed].serves = u64::MAX / 4;
    network.connect(peer, seed, 68);
    network.run_until(Instant::from_millis(from));
    let before = network.received(peer);
    network.run_until(Instant::from_millis(to));
    (network.received(peer) - before) as f64 / (to - from) as f64 * 1000.0 / 1_048_576.0
}

/// A way with a queue of one round trip, or what is given.
fn way(mbits: u64, rtt: u64, loss: u64) -> Link {
    Link { loss, ..Link::new(ms(rtt / 2)).rate(mbits, ms(rtt)) }
}

#[test]
fn fast_way_is_filled() {
    assert!(rate(way(1000, 20, 0), 1000, 2000) > 80.0);
    assert!(rate(way(100, 20, 0), 2000, 4000) > 0.9 * 11.9 * 0.96);
    assert!(rate(way(100, 100, 0), 3000, 8000) > 0.9 * 11.9 * 0.96);
}

#[test]
fn lost_packets_cost_less_than_others_lose_by_them() {
    // libtorrent's rates by the same rules: 4.1, 1.4, 0.3 (measured).
    assert!(rate(way(100, 20, 1000), 2000, 12_000) > 1.5 * 4.1);
    assert!(rate(way(100, 20, 10_000), 2000, 12_000) > 1.2 * 1.4);
    assert!(rate(way(100, 100, 10_000), 5000, 65_000) > 1.2 * 0.3);
}

/// A download beside a TCP flow that begins at `start` and ends at `end`: the rates of both in each
/// 500 ms, in Mbit/s, and how long packets wait.
fn share(mbits: u64, queue: u64, start: u64, end: u64, until: u64) -> Vec<(f64, f64, u64)> {
    let link = Link::new(ms(10)).rate(mbits, ms(queue));
    let mut network = Network::new(1, link, Link::new(ms(10)));
    let (seed, peer) = (network.host(0), network.host(1));
    network.hosts[seed].serves = u64::MAX / 4;
    network.connect(peer, seed, 68);
    let mut rows = Vec::new();
    let mut before = (0, 0);
    for at in (500..=until).step_by(500) {
        if at > start && at - 500 <= start && !network.tcp.runs {
            network.start_tcp();
        }
        network.tcp.runs &= at <= end;
        network.run_until(Instant::from_millis(at));
        let now = (network.received(peer), network.tcp.delivered);
        let rate = |now: u64, before: u64| (now - before) as f64 * 8.0 / 0.5 / 1e6;
        let queueing = network.health(seed).queueing.as_millis() as u64;
        rows.push((rate(now.0, before.0), rate(now.1, before.1), queueing));
        before = now;
    }
    rows
}

fn mean(rows: &[(f64, f64, u64)], which: impl Fn(&(f64, f64, u64)) -> f64) -> f64 {
    rows.iter().map(which).sum::<f64>() / rows.len() as f64
}

#[test]
fn long_queue_is_left_to_tcp_and_taken_back() {
    let rows = share(20, 400, 10_000, 25_000, 35_000);
    let alone = &rows[8..20];
    assert!(mean(alone, |row| row.0) > 0.95 * 20.0 * 0.96, "alone");
    assert!(alone.iter().all(|row| row.2 <= 120), "queue");
    let beside = &rows[30..50];
    assert!(mean(beside, |row| row.1) > 0.8 * 20.0, "five seconds after TCP came");
    let again = &rows[54..];
    assert!(mean(again, |row| row.0) > 0.9 * 20.0 * 0.96, "two seconds after it left");
}

#[test]
fn short_queue_is_shared() {
    for mbits in [20, 100] {
        let rows = share(mbits, 20, 0, 40_000, 40_000);
        let rows = &rows[20..];
        let (utp, tcp) = (mean(rows, |row| row.0), mean(rows, |row| row.1));
        assert!(utp <= 0.55 * (utp + tcp), "uTP takes {utp} beside {tcp}");
        assert!(utp + tcp > 0.85 * mbits as f64);
    }
}
