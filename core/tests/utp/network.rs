//! A small network: hosts on two sides of a way whose two directions lose, delay, reorder and queue.
//!
//! Everything follows from one seed. Clocks of hosts may run at their own rates.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};

use crate::random::{PolicyRng, SecretRng};
use crate::time::{Duration, Instant};
use crate::utp::{Ending, Endpoint, Event, Health, Poll, UtpId, Way};

/// What streams are made of: repeated, with a length that has nothing in common with those of packets.
static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    let mut rng = PolicyRng::from_seed([9; 32]);
    (0..65_521).map(|_| rng.next_u64() as u8).collect::<Vec<u8>>().into()
});

/// Bytes of IP and UDP headers.
const HEADERS: usize = 28;

/// One direction of the way.
#[derive(Clone, Debug)]
pub struct Link {
    pub delay: Duration,
    /// Up to so much more for each packet, in the order in which they were sent.
    pub jitter: Duration,
    /// Of a million packets, those that are lost, doubled, or late by `late`.
    pub loss: u64,
    pub double: u64,
    pub reorder: u64,
    pub late: Duration,
    /// Bytes a second; 0: any.
    pub rate: u64,
    /// Bytes that wait at most.
    pub queue: u64,
    /// Longest IP packet, silently; 0: any.
    pub mtu: usize,
    pub busy_until: Instant,
    pub last_arrival: Instant,
    /// Added to the time in packets of uTP: the clock of the sender was set.
    pub clock_step: u32,
    pub dropped: u64,
    pub carried: u64,
}

impl Link {
    pub fn new(delay: Duration) -> Self {
        Link {
            delay,
            jitter: Duration::ZERO,
            loss: 0,
            double: 0,
            reorder: 0,
            late: Duration::ZERO,
            rate: 0,
            queue: u64::MAX,
            mtu: 0,
            busy_until: Instant::ZERO,
            last_arrival: Instant::ZERO,
            clock_step: 0,
            dropped: 0,
            carried: 0,
        }
    }

    pub fn rate(mut self, mbits: u64, queue: Duration) -> Self {
        self.rate = mbits * 125_000;
        self.queue = self.rate * queue.as_micros() as u64 / 1_000_000;
        self
    }

    /// When a packet of so many bytes arrives, if it does.
    fn carry(&mut self, now: Instant, bytes: usize, rng: &mut PolicyRng) -> Option<Instant> {
        if self.mtu > 0 && bytes > self.mtu || rng.below(1_000_000) < self.loss {
            self.dropped += 1;
            return None;
        }
        let mut at = now;
        if self.rate > 0 {
            let waiting = (self.busy_until - now).as_nanos() as u64;
            if waiting * self.rate / 1_000_000_000 + bytes as u64 > self.queue.max(2 * 1500) {
                self.dropped += 1;
                return None;
            }
            let time = Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.rate);
            self.busy_until = self.busy_until.max(now) + time;
            at = self.busy_until;
        }
        self.carried += bytes as u64;
        at += self.delay;
        if !self.jitter.is_zero() {
            at += Duration::from_nanos(rng.below(self.jitter.as_nanos() as u64));
            at = at.max(self.last_arrival);
            self.last_arrival = at;
        }
        if rng.below(1_000_000) < self.reorder {
            at += self.late;
        }
        Some(at)
    }
}

/// What a host does with a connection.
#[derive(Debug, Default)]
pub struct Stream {
    /// Bytes to send, of which some are sent.
    pub to_send: u64,
    pub supplied: u64,
    pub received: u64,
    /// Ends its stream when all is sent.
    pub closes: bool,
    pub opened: bool,
    pub closed: Option<crate::utp::End>,
}

pub struct Host {
    pub addr: SocketAddr,
    pub side: usize,
    pub endpoint: Endpoint,
    pub streams: BTreeMap<UtpId, Stream>,
    /// What each connection that comes in is to be sent.
    pub serves: u64,
    pub refuses: bool,
    /// Parts of a million by which its clock runs too fast.
    pub drift: i64,
    pub transmits: u64,
    /// Datagrams handed over at once.
    pub segments: usize,
    pub greatest_datagram: usize,
}

impl Host {
    fn local(&self, now: Instant) -> Instant {
        let nanos = i128::from(now.as_nanos());
        Instant::from_nanos((nanos + nanos * i128::from(self.drift) / 1_000_000) as u64)
    }

    fn global(&self, local: Instant) -> Instant {
        let nanos = i128::from(local.as_nanos());
        Instant::from_nanos(
            (nanos * 1_000_000 / (1_000_000 + i128::from(self.drift))) as u64 + 1000,
        )
    }
}

enum Happening {
    Datagram { to: usize, from: SocketAddr, data: Bytes },
    TcpAcked,
    TcpLost,
}

/// A flow that behaves as TCP with CUBIC does (RFC 9438), as far as sharing a queue goes.
#[derive(Debug)]
pub struct Tcp {
    window: f64,
    most: f64,
    threshold: f64,
    flight: f64,
    cut_at: Instant,
    rtt: Duration,
    pub delivered: u64,
    pub runs: bool,
}

const TCP_PACKET: usize = 1500;

impl Tcp {
    fn new(rtt: Duration) -> Self {
        let cut_at = Instant::ZERO;
        Tcp {
            window: 10.0,
            most: 0.0,
            threshold: f64::MAX,
            flight: 0.0,
            cut_at,
            rtt,
            delivered: 0,
            runs: false,
        }
    }

    fn acked(&mut self, now: Instant) {
        self.flight -= 1.0;
        self.delivered += TCP_PACKET as u64;
        if self.window < self.threshold {
            self.window += 1.0;
            return;
        }
        let since = (now - self.cut_at).as_secs_f64();
        let k = (self.most * 0.3 / 0.4).cbrt();
        let cubic = 0.4 * (since - k).powi(3) + self.most;
        let reno = self.most * 0.7 + 0.53 * since / self.rtt.as_secs_f64();
        let target = cubic.max(reno).clamp(self.window, self.window * 1.5);
        self.window += (target - self.window) / self.window;
    }

    fn lost(&mut self, now: Instant) {
        self.flight -= 1.0;
        if now - self.cut_at > self.rtt * 2 {
            self.cut_at = now;
            self.most = self.window;
            self.window = (self.window * 0.7).max(2.0);
            self.threshold = self.window;
        }
    }
}

pub struct Network {
    pub now: Instant,
    pub links: [Link; 2],
    pub hosts: Vec<Host>,
    pub tcp: Tcp,
    rng: PolicyRng,
    happenings: BTreeMap<(Instant, u64), Happening>,
    count: u64,
    /// Greatest excess of bytes under way over what may be, that was seen.
    pub overrun: usize,
}

impl Network {
    pub fn new(seed: u8, to_right: Link, to_left: Link) -> Self {
        let rtt = to_right.delay + to_left.delay;
        Network {
            now: Instant::ZERO,
            links: [to_right, to_left],
            hosts: Vec::new(),
            tcp: Tcp::new(rtt),
            rng: PolicyRng::from_seed([seed; 32]),
            happenings: BTreeMap::new(),
            count: 0,
            overrun: 0,
        }
    }

    /// The same both ways.
    pub fn symmetric(seed: u8, link: Link) -> Self {
        Network::new(seed, link.clone(), link)
    }

    /// A host on a side: packets from side 0 take the first link.
    pub fn host(&mut self, side: usize) -> usize {
        let n = self.hosts.len();
        let endpoint = Endpoint::new(self.now, SecretRng::from_seed([n as u8 + 1; 32]));
        self.hosts.push(Host {
            addr: ([10, side as u8, 0, n as u8], 6881).into(),
            side,
            endpoint,
            streams: BTreeMap::new(),
            serves: 0,
            refuses: false,
            drift: 0,
            transmits: 0,
            segments: 16,
            greatest_datagram: 0,
        });
        n
    }

    /// Opens a connection from a host to another, over which so many bytes are to be sent.
    pub fn connect(&mut self, from: usize, to: usize, bytes: u64) -> UtpId {
        let remote = self.hosts[to].addr;
        let now = self.hosts[from].local(self.now);
        let host = &mut self.hosts[from];
        let id = host.endpoint.connect(now, remote).expect("a free id");
        host.streams.insert(id, Stream { to_send: bytes, ..Stream::default() });
        self.drain(from);
        id
    }

    pub fn close(&mut self, host: usize, id: UtpId, how: Ending) {
        let now = self.hosts[host].local(self.now);
        self.hosts[host].endpoint.close(now, id, how);
        self.drain(host);
    }

    pub fn set_reading(&mut self, host: usize, on: bool) {
        let ids: Vec<_> = self.hosts[host].streams.keys().copied().collect();
        for id in ids {
            self.hosts[host].endpoint.set_reading(id, on);
        }
        self.drain(host);
    }

    pub fn stream(&self, host: usize) -> &Stream {
        self.hosts[host].streams.values().next().expect("a stream")
    }

    pub fn id(&self, host: usize) -> UtpId {
        *self.hosts[host].streams.keys().next().expect("a stream")
    }

    pub fn health(&self, host: usize) -> Health {
        self.hosts[host].endpoint.health(self.id(host)).expect("a connection")
    }

    pub fn received(&self, host: usize) -> u64 {
        self.hosts[host].streams.values().map(|stream| stream.received).sum()
    }

    pub fn start_tcp(&mut self) {
        self.tcp.runs = true;
        self.tcp.cut_at = self.now;
        self.pump_tcp();
    }

    fn push(&mut self, at: Instant, happening: Happening) {
        self.count += 1;
        self.happenings.insert((at, self.count), happening);
    }

    fn pump_tcp(&mut self) {
        while self.tcp.runs && self.tcp.flight + 1.0 <= self.tcp.window {
            self.tcp.flight += 1.0;
            let back = self.links[1].delay;
            match self.links[0].carry(self.now, TCP_PACKET, &mut self.rng) {
                Some(at) => {
                    self.tcp.rtt = at - self.now + back;
                    self.push(at + back, Happening::TcpAcked);
                }
                None => self.push(self.now + self.tcp.rtt, Happening::TcpLost),
            }
        }
    }

    /// A datagram of anybody's making, as if a host had sent it.
    pub fn inject(&mut self, from: SocketAddr, to: usize, data: Bytes) {
        self.push(self.now, Happening::Datagram { to, from, data });
    }

    fn send(&mut self, from: usize, to: SocketAddr, data: &[u8], may_fragment: bool) {
        let (side, addr) = (self.hosts[from].side, self.hosts[from].addr);
        self.hosts[from].greatest_datagram = self.hosts[from].greatest_datagram.max(data.len());
        let Some(to) = self.hosts.iter().position(|host| host.addr == to) else { return };
        let link = &mut self.links[side];
        let (step, mtu) = (link.clock_step, link.mtu);
        let mut bytes = data.len() + HEADERS;
        if may_fragment && mtu > 0 {
            bytes = bytes.min(mtu);
        }
        let mut data = BytesMut::from(data);
        if step != 0 {
            let stamp = u32::from_be_bytes([data[4], data[5], data[6], data[7]]).wrapping_add(step);
            data[4..8].copy_from_slice(&stamp.to_be_bytes());
        }
        let data = data.freeze();
        let copies = 1 + usize::from(self.rng.below(1_000_000) < link.double);
        for _ in 0..copies {
            let link = &mut self.links[side];
            if let Some(at) = link.carry(self.now, bytes, &mut self.rng) {
                self.push(at, Happening::Datagram { to, from: addr, data: data.clone() });
            }
        }
    }

    /// Everything that a host has to say.
    fn drain(&mut self, n: usize) {
        let now = self.hosts[n].local(self.now);
        loop {
            let host = &mut self.hosts[n];
            while let Some((id, event)) = host.endpoint.poll_event() {
                happened(host, now, id, event);
            }
            let mut out = BytesMut::new();
            let segments = host.segments;
            let before = self.healths(n);
            let host = &mut self.hosts[n];
            match host.endpoint.poll_transmit(now, segments, &mut out) {
                Poll::Idle => break,
                Poll::Pull { id, room } => {
                    let bytes = pull(host.streams.get_mut(&id), room);
                    host.endpoint.supply(now, id, bytes);
                }
                Poll::Transmit(transmit) => {
                    host.transmits += 1;
                    assert!(!out.is_empty() && out.len() <= 65_507);
                    assert!(out.len().div_ceil(transmit.segment_size) <= segments.max(1));
                    self.watch(n, &before);
                    for segment in out.chunks(transmit.segment_size) {
                        self.send(n, transmit.destination, segment, transmit.may_fragment);
                    }
                }
            }
        }
    }

    fn healths(&self, n: usize) -> Vec<Option<Health>> {
        let host = &self.hosts[n];
        host.streams.keys().map(|&id| host.endpoint.health(id)).collect()
    }

    /// Looks whether new packets are under way beyond what may be. One always may, and packets that were
    /// lost go again when congestion control allows it.
    fn watch(&mut self, n: usize, before: &[Option<Health>]) {
        for (before, after) in before.iter().zip(self.healths(n)) {
            let (Some(before), Some(after)) = (before, after) else { continue };
            if after.counters.packets > before.counters.packets + u32::from(before.flight == 0) {
                let most = after.window.min(after.peer_window);
                self.overrun = self.overrun.max(after.flight.saturating_sub(most));
            }
        }
    }

    /// Lets it run until a time, or until there is nothing more to come.
    pub fn run_until(&mut self, until: Instant) {
        self.run_while(until, |_| true);
    }

    /// Lets it run as long as a condition holds, but not beyond a time; whether it ceased to hold.
    pub fn run_while(&mut self, until: Instant, mut goes_on: impl FnMut(&Network) -> bool) -> bool {
        while goes_on(self) {
            let timers = self
                .hosts
                .iter()
                .filter_map(|host| Some(host.global(host.endpoint.poll_timeout()?)));
            let timer = timers.min();
            let happening = self.happenings.first_key_value().map(|(&(at, _), _)| at);
            let Some(next) =
                [timer, happening].into_iter().flatten().min().filter(|&at| at <= until)
            else {
                self.now = self.now.max(until);
                return false;
            };
            self.now = self.now.max(next);
            if happening.is_some_and(|at| at <= self.now) {
                let (_, happening) = self.happenings.pop_first().expect("it was seen");
                match happening {
                    Happening::Datagram { to, from, data } => {
                        let now = self.hosts[to].local(self.now);
                        let admits = !self.hosts[to].refuses;
                        self.hosts[to].endpoint.receive(
                            now,
                            now,
                            Way { remote: from, local: None },
                            &data,
                            admits,
                        );
                        self.drain(to);
                    }
                    Happening::TcpAcked => {
                        self.tcp.acked(self.now);
                        self.pump_tcp();
                    }
                    Happening::TcpLost => {
                        self.tcp.lost(self.now);
                        self.pump_tcp();
                    }
                }
                continue;
            }
            for n in 0..self.hosts.len() {
                let now = self.hosts[n].local(self.now);
                if self.hosts[n].endpoint.poll_timeout().is_some_and(|at| at <= now) {
                    self.hosts[n].endpoint.handle_timeout(now);
                    self.drain(n);
                }
            }
        }
        true
    }
}

fn pull(stream: Option<&mut Stream>, room: usize) -> VecDeque<Bytes> {
    let mut bytes = VecDeque::new();
    let Some(stream) = stream else { return bytes };
    // Whole blocks, as a peer would: the last may be longer than the room.
    let mut left = (stream.to_send - stream.supplied).min(room as u64 + 1000);
    while left > 0 {
        let at = (stream.supplied % PATTERN.len() as u64) as usize;
        let len = (left as usize).min(PATTERN.len() - at).min(7001);
        bytes.push_back(PATTERN.slice(at..at + len));
        stream.supplied += len as u64;
        left -= len as u64;
    }
    bytes
}

fn happened(host: &mut Host, now: Instant, id: UtpId, event: Event) {
    if event == Event::Incoming {
        host.streams.insert(id, Stream { to_send: host.serves, ..Stream::default() });
    }
    let Some(stream) = host.streams.get_mut(&id) else { return };
    match event {
        Event::Incoming | Event::Opened => {
            stream.opened = true;
            if stream.to_send > 0 {
                host.endpoint.want(now, id);
            }
        }
        Event::Received(data) => {
            let mut data = &data[..];
            while !data.is_empty() {
                let at = (stream.received % PATTERN.len() as u64) as usize;
                let len = data.len().min(PATTERN.len() - at);
                assert!(data[..len] == PATTERN[at..at + len], "wrong bytes at {}", stream.received);
                stream.received += len as u64;
                data = &data[len..];
            }
        }
        Event::Sent(_) => {
            if stream.supplied < stream.to_send {
                host.endpoint.want(now, id);
            } else if stream.closes {
                host.endpoint.close(now, id, Ending::Flush);
            }
        }
        Event::Closed(end) => {
            assert_eq!(stream.closed, None, "it ends once");
            stream.closed = Some(end);
        }
    }
}
