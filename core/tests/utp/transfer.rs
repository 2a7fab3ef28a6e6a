//! Streams over bad networks.

use quickcheck::{Arbitrary, Gen, QuickCheck};

use crate::network::{Link, Network};
use crate::time::{Duration, Instant};
use crate::utp::{End, Ending};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A download of so many bytes over a network, both ways at once.
fn transfer(network: &mut Network, bytes: u64, limit: u64) -> (usize, usize) {
    let (seed, peer) = (network.host(0), network.host(1));
    network.hosts[seed].serves = bytes;
    network.connect(peer, seed, bytes / 16 + 1);
    let until = Instant::from_secs(limit);
    let done = network.run_while(until, |network| {
        network.hosts[seed].streams.is_empty()
            || network.received(peer) < bytes
            || network.received(seed) < bytes / 16 + 1
    });
    assert!(done, "{} of {bytes} bytes at {:?}", network.received(peer), network.now);
    assert_eq!(network.overrun, 0, "bytes under way beyond the window");
    (seed, peer)
}

#[test]
fn bytes_pass_and_the_end_is_told() {
    let mut network = Network::symmetric(1, Link::new(ms(10)).rate(10, ms(100)));
    let (seed, peer) = transfer(&mut network, 1_000_000, 60);
    let (at_peer, at_seed) = (network.id(peer), network.id(seed));
    network.close(peer, at_peer, Ending::Flush);
    network.run_until(network.now + ms(500));
    assert_eq!(network.hosts[seed].streams[&at_seed].closed, Some(End::Finished));
    assert_eq!(network.hosts[seed].endpoint.len(), 0);
    assert_eq!(network.hosts[peer].endpoint.len(), 0);
}

#[test]
fn connection_that_is_aborted_is_reset() {
    let mut network = Network::symmetric(1, Link::new(ms(10)));
    let (seed, peer) = transfer(&mut network, 1000, 60);
    let (at_peer, at_seed) = (network.id(peer), network.id(seed));
    network.close(peer, at_peer, Ending::Abort);
    network.run_until(network.now + ms(100));
    assert_eq!(network.hosts[seed].streams[&at_seed].closed, Some(End::Reset));
}

#[test]
fn nobody_there_is_found_out() {
    let mut network = Network::symmetric(1, Link { loss: 1_000_000, ..Link::new(ms(10)) });
    let (nobody, peer) = (network.host(0), network.host(1));
    network.connect(peer, nobody, 1);
    network.run_until(Instant::from_secs(20));
    assert_eq!(network.stream(peer).closed, Some(End::TimedOut));
    assert_eq!(network.hosts[peer].transmits, 4);
}

#[test]
fn peer_that_vanishes_is_found_out() {
    let mut network = Network::symmetric(1, Link::new(ms(10)).rate(10, ms(100)));
    let (seed, peer) = (network.host(0), network.host(1));
    network.hosts[seed].serves = u64::MAX / 4;
    network.connect(peer, seed, 1);
    network.run_until(Instant::from_secs(2));
    network.links[1].loss = 1_000_000;
    network.run_until(Instant::from_secs(120));
    assert_eq!(network.stream(seed).closed, Some(End::TimedOut));
}

#[test]
fn moderate_loss_brings_no_time_out() {
    for seed in 0..5 {
        let mut network =
            Network::symmetric(seed, Link { loss: 5_000, ..Link::new(ms(20)).rate(50, ms(40)) });
        let (at, _) = transfer(&mut network, 20_000_000, 60);
        let counters = network.health(at).counters;
        assert_eq!(counters.timeouts, 0, "{counters:?}");
    }
}

#[test]
fn reordering_alone_hardly_costs_a_resend() {
    for (reorder, late) in [(10_000, 3), (200_000, 3), (50_000, 30)] {
        let link = Link { reorder, late: ms(late), ..Link::new(ms(20)).rate(50, ms(400)) };
        let mut network = Network::symmetric(1, link);
        let (at, _) = transfer(&mut network, 20_000_000, 60);
        let counters = network.health(at).counters;
        assert!(counters.resent * 50 <= counters.packets, "{reorder} {late}: {counters:?}");
    }
}

#[test]
fn numbers_wrap_three_times() {
    let mut network =
        Network::symmetric(1, Link { loss: 1000, ..Link::new(ms(5)).rate(1000, ms(10)) });
    let (at, _) = transfer(&mut network, 290_000_000, 120);
    assert!(network.health(at).counters.packets > 200_000);
}

#[test]
fn longest_packet_is_found_and_one_that_passes_no_more_is_left() {
    for mtu in [1500, 1492, 1420, 1280] {
        let link = Link { mtu, ..Link::new(ms(10)).rate(50, ms(40)) };
        let mut network = Network::symmetric(1, link);
        let (seed, _) = transfer(&mut network, 10_000_000, 60);
        let found = network.health(seed).packet_size + 28;
        assert!(found <= mtu && found + 90 > mtu, "{found} of {mtu}");
    }
    let mut network =
        Network::symmetric(1, Link { mtu: 576, ..Link::new(ms(10)).rate(50, ms(40)) });
    transfer(&mut network, 1_000_000, 60);
    let mut network =
        Network::symmetric(1, Link { mtu: 1500, ..Link::new(ms(10)).rate(50, ms(40)) });
    let (seed, peer) = (network.host(0), network.host(1));
    network.hosts[seed].serves = u64::MAX / 4;
    network.connect(peer, seed, 1);
    network.run_until(Instant::from_secs(3));
    network.links[0].mtu = 1400;
    let before = network.received(peer);
    network.run_until(Instant::from_secs(6));
    assert!(network.received(peer) > before, "the pause is short");
    assert!(network.health(seed).packet_size + 28 <= 1400);
}

#[test]
fn new_connection_begins_with_the_length_that_passed_last() {
    let way = Link { mtu: 1500, ..Link::new(ms(10)).rate(50, ms(40)) };
    let mut network = Network::symmetric(1, way);
    let (seed, peer, other) = (network.host(0), network.host(1), network.host(1));
    network.hosts[seed].serves = u64::MAX / 4;
    network.connect(peer, seed, 1);
    network.run_until(Instant::from_secs(3));
    assert_eq!(network.health(seed).packet_size, 1472);
    let begins_with = |network: &mut Network| {
        let id = network.connect(seed, other, 1);
        let begins_with = network.hosts[seed].endpoint.health(id).map(|health| health.packet_size);
        network.close(seed, id, Ending::Abort);
        begins_with
    };
    assert_eq!(begins_with(&mut network), Some(1472));
    network.links[0].mtu = 1300;
    network.run_until(Instant::from_secs(6));
    assert_eq!(begins_with(&mut network), Some(1200));
}

#[test]
fn clocks_that_differ_cost_nothing() {
    for drift in [-200, 200] {
        let mut network = Network::symmetric(1, Link::new(ms(20)).rate(1, ms(400)));
        let (seed, peer) = (network.host(0), network.host(1));
        network.hosts[seed].drift = drift;
        network.hosts[seed].serves = u64::MAX / 4;
        network.connect(peer, seed, 1);
        network.run_until(Instant::from_secs(600));
        let share = network.received(peer) as f64 / (600.0 * 125_000.0);
        assert!(share > 0.85, "{drift}: {share}");
    }
}

#[test]
fn clock_that_is_set_costs_little() {
    let mut network = Network::symmetric(1, Link::new(ms(20)).rate(10, ms(400)));
    let (seed, peer) = (network.host(0), network.host(1));
    network.hosts[seed].serves = u64::MAX / 4;
    network.connect(peer, seed, 1);
    for (at, step) in [(5, 3_600_000_000u32), (10, 3_600_000_000u32.wrapping_neg())] {
        network.run_until(Instant::from_secs(at));
        network.links[0].clock_step = step;
    }
    let before = network.received(peer);
    network.run_until(Instant::from_secs(20));
    let share = (network.received(peer) - before) as f64 / (10.0 * 1_250_000.0);
    assert!(share > 0.85, "{share}");
}

#[test]
fn peer_that_does_not_read_stops_the_stream_and_goes_on() {
    let mut network = Network::symmetric(1, Link::new(ms(10)).rate(50, ms(40)));
    let (seed, peer) = (network.host(0), network.host(1));
    network.hosts[seed].serves = u64::MAX / 4;
    network.connect(peer, seed, 1);
    network.run_until(Instant::from_secs(2));
    network.set_reading(peer, false);
    network.run_until(Instant::from_secs(4));
    let (held, sent) = (network.health(peer).held, network.hosts[seed].transmits);
    assert!(held <= 4 * 1024 * 1024, "{held}");
    network.run_until(Instant::from_secs(300));
    let asked = network.hosts[seed].transmits - sent;
    assert!((5..100).contains(&asked), "{asked} packets to a peer without room");
    assert_eq!(network.stream(seed).closed, None);
    let before = network.received(peer);
    network.set_reading(peer, true);
    network.run_until(Instant::from_secs(303));
    assert!(network.received(peer) > before + 3_000_000, "{}", network.received(peer) - before);
}

#[test]
fn idle_connection_keeps_routers_awake_and_costs_no_more() {
    let mut network = Network::symmetric(1, Link::new(ms(10)));
    let (seed, peer) = transfer(&mut network, 1000, 10);
    let before = network.hosts[seed].transmits + network.hosts[peer].transmits;
    network.run_until(Instant::from_secs(3600));
    let packets = network.hosts[seed].transmits + network.hosts[peer].transmits - before;
    assert!((120..=500).contains(&packets), "{packets} packets in an hour");
    assert_eq!(network.stream(seed).closed, None);
}

#[test]
fn four_share_alike() {
    let mut network = Network::symmetric(1, Link::new(ms(10)).rate(20, ms(400)));
    let seeds: Vec<_> = (0..4).map(|_| network.host(0)).collect();
    let peer = network.host(1);
    for &seed in &seeds {
        network.hosts[seed].serves = u64::MAX / 4;
        network.connect(peer, seed, 1);
    }
    network.run_until(Instant::from_secs(60));
    let rates: Vec<_> =
        network.hosts[peer].streams.values().map(|stream| stream.received).collect();
    let (least, most) = (rates.iter().min().unwrap(), rates.iter().max().unwrap());
    assert!(*most <= 2 * least, "{rates:?}");
}

/// A network at random.
#[derive(Clone, Debug)]
struct Bad {
    seed: u8,
    right: Link,
    left: Link,
    drift: i64,
    bytes: u64,
}

impl Arbitrary for Bad {
    fn arbitrary(g: &mut Gen) -> Self {
        let below = |g: &mut Gen, n: u64| u64::arbitrary(g) % n;
        let mut link = || {
            let mut link = Link::new(ms(below(g, 100)));
            if bool::arbitrary(g) {
                link = link.rate(1 + below(g, 100), ms(5 + below(g, 300)));
            }
            link.loss = [0, 0, 1000, 10_000, 100_000][below(g, 5) as usize];
            link.double = [0, 50_000][below(g, 2) as usize];
            link.reorder = [0, 10_000, 200_000][below(g, 3) as usize];
            link.late = ms(below(g, 50));
            link.jitter = ms([0, 0, 50][below(g, 3) as usize]);
            link.mtu = [0, 1500, 1492, 1420, 1280, 576][below(g, 6) as usize];
            link
        };
        let (right, left) = (link(), link());
        let drift = below(g, 401) as i64 - 200;
        Bad { seed: u8::arbitrary(g), right, left, drift, bytes: 1 + below(g, 400_000) }
    }
}

#[test]
fn every_byte_arrives_once_and_in_order_whatever_the_network() {
    fn passes(bad: Bad) -> bool {
        let mut network = Network::new(bad.seed, bad.right, bad.left);
        let (seed, peer) = (network.host(0), network.host(1));
        network.hosts[seed].drift = bad.drift;
        network.hosts[seed].serves = bad.bytes;
        network.connect(peer, seed, bad.bytes / 3 + 1);
        let done = network.run_while(Instant::from_secs(1200), |network| {
            network.hosts[seed].streams.is_empty()
                || network.received(peer) < bad.bytes
                || network.received(seed) < bad.bytes / 3 + 1
        });
        let closed = network.hosts[peer]
            .streams
            .values()
            .chain(network.hosts[seed].streams.values())
            .any(|stream| stream.closed.is_some());
        // Who loses a tenth of all packets may give up; what arrives is right all the same.
        done || closed && network.links.iter().any(|link| link.loss >= 100_000)
    }
    QuickCheck::new().tests(150).quickcheck(passes as fn(Bad) -> bool);
}
