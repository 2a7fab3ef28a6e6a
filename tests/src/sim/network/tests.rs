use bitswarm_core::Segments;
use bytes::Bytes;
use quickcheck::quickcheck;

use super::*;
use crate::sim::queue::Queue;

/// Two hosts and the clock; everything that happens to them is kept in order.
struct Wire {
    queue: Queue<Timer>,
    net: Network,
    a: HostId,
    b: HostId,
    listener: SocketKey,
    /// What happened to `a` and to `b`: time, and the event in short.
    seen: Vec<(Instant, HostId, Seen)>,
}

#[derive(Debug, PartialEq, Eq, Clone)]
enum Seen {
    Connected(EndId),
    Incoming(EndId),
    Bytes(EndId, Vec<u8>),
    Writable(EndId),
    Ended(EndId),
    Closed(EndId, NetError),
    Datagram(Vec<u8>),
    DatagramReady,
}

const PORT: u16 = 6881;

impl Wire {
    fn new(seed: u64, link: Link) -> Self {
        let mut net = Network::new(seed);
        let a = net.add_host(link, [IpAddr::from([50, 0, 0, 1])]);
        let b = net.add_host(link, [IpAddr::from([50, 0, 1, 1])]);
        let (listener, _) = net.listen(b, SocketAddr::from(([0, 0, 0, 0], PORT))).unwrap();
        Wire { queue: Queue::new(), net, a, b, listener, seen: Vec::new() }
    }

    fn addr(&self, host: HostId) -> SocketAddr {
        SocketAddr::new(self.net.ip(host), PORT)
    }

    fn now(&self) -> Instant {
        self.queue.now()
    }

    fn settle(&mut self) {
        while let Some(output) = self.net.poll() {
            match output {
                Output::Wake(at, timer) => self.queue.push(at, timer),
                Output::Event(host, event) => self.see(host, event),
            }
        }
    }

    fn see(&mut self, host: HostId, event: NetEvent) {
        let seen = match event {
            NetEvent::Connected { end, .. } => Seen::Connected(end),
            NetEvent::Incoming { end, .. } => Seen::Incoming(end),
            NetEvent::Received { end, data } => Seen::Bytes(end, data.to_vec()),
            NetEvent::Writable { end } => Seen::Writable(end),
            NetEvent::Ended { end } => Seen::Ended(end),
            NetEvent::Closed { end, why } => Seen::Closed(end, why),
            NetEvent::Datagram { data, .. } => Seen::Datagram(data.to_vec()),
            NetEvent::DatagramReady { .. } => Seen::DatagramReady,
        };
        self.seen.push((self.now(), host, seen));
    }

    fn step(&mut self) -> bool {
        self.settle();
        let Some(timer) = self.queue.pop() else { return false };
        self.net.handle_timer(self.queue.now(), timer);
        self.settle();
        true
    }

    fn run(&mut self) {
        while self.step() {}
    }

    fn connect(&mut self) -> (EndId, EndId) {
        let to = self.addr(self.b);
        let end = self.net.connect(self.now(), self.a, to);
        while !self.seen.iter().any(|(_, _, seen)| *seen == Seen::Connected(end)) {
            assert!(self.step(), "not connected: {:?}", self.seen);
        }
        (end, end.other())
    }

    /// Writes all of it, waiting for room as often as needed.
    fn write_all(&mut self, end: EndId, bytes: &[u8]) {
        let mut left = Segments::new();
        left.push(Bytes::copy_from_slice(bytes));
        while !left.is_empty() {
            let before = self.seen.len();
            self.net.write(self.now(), end, &mut left);
            while !left.is_empty()
                && !self.seen[before..].iter().any(|s| s.2 == Seen::Writable(end))
            {
                assert!(self.step(), "the stream takes no more bytes");
            }
        }
    }

    fn received(&self, end: EndId) -> Vec<u8> {
        let bytes = self.seen.iter().filter_map(|(_, _, seen)| match seen {
            Seen::Bytes(to, data) if *to == end => Some(&data[..]),
            _ => None,
        });
        bytes.collect::<Vec<_>>().concat()
    }

    fn happened(&self, what: &Seen) -> bool {
        self.seen.iter().any(|(_, _, seen)| seen == what)
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 % 251) as u8).collect()
}

quickcheck! {
    fn a_stream_delivers_every_byte_in_order_whatever_the_cuts(
        seed: u64, writes: Vec<(u16, bool)>, up_kib: Option<u8>, down_kib: Option<u8>
    ) -> bool {
        let rate = |kib: Option<u8>| kib.map(|kib| (u64::from(kib) + 1) << 10);
        let link = Link {
            up_bytes_per_s: rate(up_kib),
            down_bytes_per_s: rate(down_kib),
            latency: Duration::from_millis(10),
            jitter: Duration::from_millis(20),
            ..Link::default()
        };
        let mut wire = Wire::new(seed, link);
        wire.net.disturbance = Disturbance::rough();
        let (near, far) = wire.connect();
        let (mut there, mut back) = (Vec::new(), Vec::new());
        for (number, (length, forth)) in writes.iter().enumerate() {
            let bytes: Vec<u8> =
                pattern(usize::from(*length)).iter().map(|b| b ^ number as u8).collect();
            let (end, all) = if *forth { (near, &mut there) } else { (far, &mut back) };
            wire.write_all(end, &bytes);
            all.extend_from_slice(&bytes);
        }
        wire.net.shutdown(wire.now(), near);
        wire.run();
        wire.received(far) == there && wire.received(near) == back
            && wire.happened(&Seen::Ended(far)) && !wire.happened(&Seen::Ended(near))
    }

    fn the_same_seed_gives_the_same_run(seed: u64) -> bool {
        let run = || {
            let link = Link { jitter: Duration::from_millis(9), ..Link::home(50_000, 90_000) };
            let mut wire = Wire::new(seed, link);
            wire.net.disturbance = Disturbance::rough();
            let (near, far) = wire.connect();
            wire.write_all(near, &pattern(100_000));
            wire.write_all(far, &pattern(20_000));
            wire.run();
            wire.seen
        };
        run() == run()
    }
}

#[test]
fn a_transfer_takes_as_long_as_the_narrower_link_needs() {
    for (up, down) in [(100_000, 500_000), (500_000, 100_000)] {
        let link = Link {
            up_bytes_per_s: Some(up),
            down_bytes_per_s: Some(down),
            latency: Duration::from_millis(5),
            ..Link::default()
        };
        let mut wire = Wire::new(1, link);
        let (near, far) = wire.connect();
        let start = wire.now();
        wire.write_all(near, &pattern(1_000_000));
        wire.run();
        assert_eq!(wire.received(far).len(), 1_000_000);
        let took = (wire.now() - start).as_secs_f64();
        assert!((10.0..10.3).contains(&took), "1 MB at 100 kB/s took {took} s");
    }
}

#[test]
fn streams_share_an_uplink_evenly() {
    let link = Link { up_bytes_per_s: Some(200_000), ..Link::default() };
    let mut wire = Wire::new(1, link);
    let (first, first_far) = wire.connect();
    let (second, second_far) = wire.connect();
    let mut much = Segments::new();
    much.push(Bytes::from(pattern(4 << 20)));
    let mut more = Segments::new();
    more.push(Bytes::from(pattern(4 << 20)));
    wire.net.write(wire.now(), first, &mut much);
    wire.net.write(wire.now(), second, &mut more);
    let deadline = wire.now() + Duration::from_secs(1);
    while wire.now() < deadline && wire.step() {}
    let (one, other) = (wire.received(first_far).len(), wire.received(second_far).len());
    assert!(one.abs_diff(other) < 10_000, "{one} and {other} bytes in one second");
    assert!((196_000..=202_000).contains(&(one + other)), "{} bytes in one second", one + other);
}

#[test]
fn one_who_does_not_read_stops_the_writer_until_it_reads_again() {
    let mut wire = Wire::new(1, Link::default());
    let (near, far) = wire.connect();
    wire.net.set_reading(wire.now(), far, false);
    let mut much = Segments::new();
    much.push(Bytes::from(pattern(10 << 20)));
    let mut taken = 0;
    loop {
        let now = wire.net.write(wire.now(), near, &mut much);
        wire.run();
        taken += now;
        if now == 0 {
            break;
        }
    }
    let held = wire.net.disturbance.window + wire.net.disturbance.send_buffer;
    assert_eq!(taken, held);
    assert!(wire.received(far).is_empty());
    wire.net.set_reading(wire.now(), far, true);
    wire.run();
    assert_eq!(wire.received(far), pattern(held));
}

#[test]
fn dialling_nobody_is_refused_and_dialling_a_wall_hangs() {
    let mut wire = Wire::new(1, Link { latency: Duration::from_millis(10), ..Link::default() });
    let nobody = SocketAddr::new(wire.net.ip(wire.b), 1);
    let refused = wire.net.connect(wire.now(), wire.a, nobody);
    wire.run();
    assert!(wire.happened(&Seen::Closed(refused, NetError::Refused)));
    assert_eq!(wire.now(), Instant::from_millis(40));

    wire.net.link_mut(wire.b).accepts = false;
    let hanging = wire.net.connect(wire.now(), wire.a, wire.addr(wire.b));
    let unknown = wire.net.connect(wire.now(), wire.a, SocketAddr::from(([50, 9, 9, 9], PORT)));
    wire.run();
    assert!(wire.happened(&Seen::Closed(hanging, NetError::TimedOut)));
    assert!(wire.happened(&Seen::Closed(unknown, NetError::TimedOut)));
    assert!(wire.now() > Instant::from_secs(100));
}

#[test]
fn a_reset_follows_what_was_sent_and_drops_what_was_not() {
    let mut wire = Wire::new(1, Link::home(10_000, 1_000_000));
    let (near, far) = wire.connect();
    let mut bytes = Segments::new();
    bytes.push(Bytes::from(pattern(50_000)));
    wire.net.write(wire.now(), near, &mut bytes);
    for _ in 0..6 {
        wire.step();
    }
    wire.net.reset(wire.now(), near);
    wire.run();
    let got = wire.received(far);
    assert!(!got.is_empty() && got.len() < 50_000, "{} bytes", got.len());
    assert_eq!(got, pattern(50_000)[..got.len()]);
    assert_eq!(wire.seen.last().unwrap().2, Seen::Closed(far, NetError::Reset));
    assert!(wire.net.streams.iter().all(Option::is_none), "a dead stream is kept");
}

#[test]
fn closing_sends_what_was_written_and_then_ends_the_stream() {
    let mut wire = Wire::new(1, Link::home(10_000, 1_000_000));
    let (near, far) = wire.connect();
    wire.write_all(near, &pattern(30_000));
    wire.net.close(wire.now(), near);
    wire.run();
    assert_eq!(wire.received(far), pattern(30_000));
    assert!(wire.happened(&Seen::Ended(far)));
    wire.net.close(wire.now(), far);
    wire.run();
    assert!(wire.net.streams.iter().all(Option::is_none), "a dead stream is kept");
}

#[test]
fn writing_to_one_who_closed_brings_a_reset() {
    let mut wire = Wire::new(1, Link::home(100_000, 100_000));
    let (near, far) = wire.connect();
    wire.net.close(wire.now(), far);
    wire.run();
    assert!(wire.happened(&Seen::Ended(near)));
    wire.write_all(near, b"anybody there?");
    wire.run();
    assert!(wire.happened(&Seen::Closed(near, NetError::Reset)));
    assert!(wire.received(far).is_empty());
}

#[test]
fn a_partition_holds_bytes_back_until_it_heals_or_patience_ends() {
    let mut wire = Wire::new(1, Link::home(100_000, 100_000));
    let (near, far) = wire.connect();
    wire.net.partition(wire.now(), &[(wire.a, 1)]);
    wire.write_all(near, b"hello");
    for _ in 0..10 {
        if wire.queue.next_at().is_some_and(|at| at < Instant::from_secs(100)) {
            wire.step();
        }
    }
    assert!(wire.received(far).is_empty());
    wire.net.heal(wire.now());
    wire.run();
    assert_eq!(wire.received(far), b"hello");

    wire.net.partition(wire.now(), &[(wire.a, 1)]);
    wire.write_all(near, b"hello?");
    wire.run();
    assert_eq!(wire.received(far), b"hello");
    assert!(wire.happened(&Seen::Closed(near, NetError::TimedOut)));
}

#[test]
fn a_process_that_ends_resets_its_streams_and_a_power_cut_is_silent() {
    let mut wire = Wire::new(1, Link::home(100_000, 100_000));
    let (near, _) = wire.connect();
    wire.net.end_process(wire.now(), wire.b, Death::Process);
    wire.run();
    assert!(wire.happened(&Seen::Closed(near, NetError::Reset)));
    let refused = wire.net.connect(wire.now(), wire.a, wire.addr(wire.b));
    wire.run();
    assert!(wire.happened(&Seen::Closed(refused, NetError::Refused)));

    let mut wire = Wire::new(1, Link::home(100_000, 100_000));
    let (near, _) = wire.connect();
    wire.net.end_process(wire.now(), wire.b, Death::Power);
    wire.run();
    assert!(!wire.seen.iter().any(|(_, _, seen)| matches!(seen, Seen::Closed(..))));
    wire.net.power_on(wire.now(), wire.b);
    wire.write_all(near, b"are you there?");
    wire.run();
    assert!(wire.happened(&Seen::Closed(near, NetError::Reset)));
}

#[test]
fn datagrams_are_lost_doubled_and_overtaken_as_often_as_asked() {
    let link = Link {
        latency: Duration::from_millis(5),
        loss_per_mille: 100,
        duplicate_per_mille: 50,
        reorder_per_mille: 50,
        ..Link::default()
    };
    let mut wire = Wire::new(1, link);
    let any = SocketAddr::from(([0, 0, 0, 0], PORT));
    let (from, _) = wire.net.bind_datagram(wire.a, any).unwrap();
    wire.net.bind_datagram(wire.b, any).unwrap();
    let to = wire.addr(wire.b);
    for number in 0..2000_u32 {
        assert!(wire.net.send_datagram(wire.now(), from, to, number.to_be_bytes()[..].into()));
        wire.queue.idle_until(wire.now() + Duration::from_millis(1));
        wire.settle();
        while wire.queue.next_at().is_some_and(|at| at <= wire.now()) {
            wire.step();
        }
        let next = wire.now() + Duration::from_millis(1);
        while wire.queue.next_at().is_some_and(|at| at <= next) {
            wire.step();
        }
        wire.queue.idle_until(next);
    }
    wire.run();
    let got: Vec<u32> = wire
        .seen
        .iter()
        .filter_map(|(_, _, seen)| match seen {
            Seen::Datagram(data) => Some(u32::from_be_bytes(data[..].try_into().unwrap())),
            _ => None,
        })
        .collect();
    let distinct: std::collections::BTreeSet<u32> = got.iter().copied().collect();
    // Both ends' links lose, double and delay, so each happens about twice as often.
    assert!((1500..1750).contains(&distinct.len()), "{} of 2000 arrived", distinct.len());
    assert!((80..260).contains(&(got.len() - distinct.len())), "{} doubled", got.len());
    let overtaken = got.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!((60..400).contains(&overtaken), "{overtaken} overtaken");
}

#[test]
fn a_full_datagram_socket_says_so_and_says_when_it_has_room() {
    let mut wire = Wire::new(1, Link { up_bytes_per_s: Some(100_000), ..Link::default() });
    let any = SocketAddr::from(([0, 0, 0, 0], PORT));
    let (from, _) = wire.net.bind_datagram(wire.a, any).unwrap();
    let to = wire.addr(wire.b);
    let sent = (0..1000)
        .take_while(|_| wire.net.send_datagram(wire.now(), from, to, BytesMut::zeroed(1000)))
        .count();
    assert!((150..400).contains(&sent), "{sent} datagrams of 1000 bytes");
    wire.run();
    assert!(wire.happened(&Seen::DatagramReady));
}

#[test]
fn a_port_is_bound_once_and_free_again_after_unbind() {
    let mut wire = Wire::new(1, Link::default());
    let any = SocketAddr::from(([0, 0, 0, 0], PORT));
    assert_eq!(wire.net.listen(wire.b, any), Err(NetError::AddrInUse));
    let v6 = SocketAddr::from(([0_u16; 8], PORT));
    assert_eq!(wire.net.listen(wire.b, v6), Err(NetError::AddrNotAvailable));
    assert!(wire.net.bind_datagram(wire.b, any).is_ok());
    wire.net.unbind(wire.listener);
    assert!(wire.net.listen(wire.b, any).is_ok());
    let (_, chosen) = wire.net.listen(wire.b, SocketAddr::from(([0, 0, 0, 0], 0))).unwrap();
    assert_ne!(chosen.port(), 0);
}
