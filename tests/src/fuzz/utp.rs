//! uTP: two sides of a connection, with the fuzzer as the network between them and as whoever else sends them
//! packets.
//!
//! The input is a program. While the network only loses, doubles, delays and reorders packets, every byte arrives
//! once and in order, and all of them arrive once it has stopped doing so, unless a side has given up. When others
//! send packets too, which are any bytes or changed ones of the two sides, nothing is promised of the bytes. Always:
//! packets fit the way, a stranger is sent no more than 20 bytes at once, what is held is bounded, each event
//! comes while there is a connection, and time is asked for that has not come yet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bitswarm_core::random::SecretRng;
use bitswarm_core::utp::{End, Ending, Endpoint, Event, Held, Kind, Poll, UtpId, Way};
use bitswarm_core::{Duration, Instant};
use bytes::{Bytes, BytesMut};

use super::input::Input;

/// Longest packet: Ethernet's, over IPv4 and UDP.
const LONGEST: usize = 1472;
/// What a side holds of a connection at first; no more comes in here than this.
const BUDGET: usize = 256 * 1024;
/// Bytes that a side sends at most.
const MOST_SENT: u64 = 200_000;
/// What is answered to those who have not proven their address.
const SHORT: usize = 20;
/// Rounds of a network that delivers, in which all arrives: time-outs double up to 30 s.
const ROUNDS: usize = 4000;

/// See the module.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(input.flag());
    while !input.is_empty() {
        world.step(&mut input);
    }
    world.settle();
}

/// The bytes of the stream that a side sends.
fn pattern(side: usize, at: u64) -> u8 {
    (at.wrapping_mul(31) >> 3) as u8 ^ at as u8 ^ (side as u8 * 77)
}

struct Side {
    endpoint: Endpoint,
    id: Option<UtpId>,
    /// Whether it has had one: what was said before may well open it anew.
    had_one: bool,
    /// Bytes to send, of which some were handed over.
    offered: u64,
    supplied: u64,
    received: u64,
    ended: Option<End>,
}

struct World {
    now: Instant,
    /// The first dials the second.
    sides: [Side; 2],
    /// Packets on their way to each side.
    flights: [Vec<Bytes>; 2],
    /// Whether others send packets.
    is_hostile: bool,
    /// Whether a side has hung up.
    is_closed: bool,
    /// Those who have proven to a side that they are where they say.
    proven: BTreeSet<SocketAddr>,
    opened: BTreeMap<(usize, UtpId), SocketAddr>,
}

fn addr(side: usize) -> SocketAddr {
    ([10, 0, 0, side as u8], 6881).into()
}

fn way(remote: SocketAddr) -> Way {
    Way { remote, local: None }
}

impl World {
    fn new(is_hostile: bool) -> Self {
        let now = Instant::ZERO;
        let side = |n: u8| Side {
            endpoint: Endpoint::new(now, SecretRng::from_seed([n; 32])),
            id: None,
            had_one: false,
            offered: 0,
            supplied: 0,
            received: 0,
            ended: None,
        };
        let mut world = World {
            now,
            sides: [side(0), side(1)],
            flights: [Vec::new(), Vec::new()],
            is_hostile,
            is_closed: false,
            proven: BTreeSet::from([addr(0), addr(1)]),
            opened: BTreeMap::new(),
        };
        let dialled = &mut world.sides[0];
        dialled.id = dialled.endpoint.connect(now, addr(1));
        world.drain(0);
        world
    }

    /// One thing happens.
    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.byte();
        let side = usize::from(op & 1);
        match op >> 1 & 7 {
            0 => self.pass(Duration::from_millis(u64::from(input.u16()))),
            1 => {
                let more = u64::from(input.u16());
                self.sides[side].offered = (self.sides[side].offered + more).min(MOST_SENT);
                self.want(side);
            }
            2 => self.deliver_all(side),
            3 => {
                let count = self.flights[side].len();
                if count > 0 {
                    let packet = self.flights[side].remove(input.below(count));
                    self.deliver(side, addr(1 - side), &packet);
                }
            }
            4 => {
                // Lost: some, or one.
                let count = self.flights[side].len();
                if count > 0 {
                    let at = input.below(count);
                    self.flights[side].remove(at);
                }
            }
            5 => {
                let count = self.flights[side].len();
                if count > 0 {
                    let twin = self.flights[side][input.below(count)].clone();
                    self.flights[side].push(twin);
                }
            }
            6 => {
                let on = input.flag();
                if let Some(id) = self.sides[side].id {
                    self.sides[side].endpoint.set_reading(id, on);
                    self.drain(side);
                }
            }
            _ if self.is_hostile => self.intrude(side, input),
            _ => {
                let how = if input.byte() < 128 { Ending::Flush } else { Ending::Abort };
                self.close(side, how);
            }
        }
    }

    /// Somebody else sends a packet: any bytes, or one that is on its way, changed.
    fn intrude(&mut self, side: usize, input: &mut Input<'_>) {
        let what = input.byte();
        let from = if what & 1 == 0 { addr(1 - side) } else { addr(2 + input.below(4)) };
        let count = self.flights[side].len();
        let packet = if what & 2 == 0 && count > 0 {
            let mut packet = self.flights[side][input.below(count)].to_vec();
            for _ in 0..=input.below(4) {
                let at = input.below(packet.len().min(64));
                packet[at] = packet[at].wrapping_add(input.byte());
            }
            packet
        } else {
            let mut packet = vec![(((what >> 2) % 5) << 4) | 1, input.byte() % 4];
            let len = 18 + input.below(60);
            packet.extend_from_slice(input.take(len));
            packet
        };
        self.deliver(side, from, &packet);
    }

    fn close(&mut self, side: usize, how: Ending) {
        if let Some(id) = self.sides[side].id.take() {
            self.is_closed = true;
            self.sides[side].endpoint.close(self.now, id, how);
            self.drain(side);
        }
    }

    fn want(&mut self, side: usize) {
        let Side { endpoint, id, offered, supplied, .. } = &mut self.sides[side];
        if let Some(id) = id.filter(|_| supplied < offered) {
            endpoint.want(self.now, id);
            self.drain(side);
        }
    }

    fn deliver(&mut self, side: usize, from: SocketAddr, packet: &[u8]) {
        let Side { endpoint, .. } = &mut self.sides[side];
        endpoint.receive(self.now, self.now, way(from), packet, true);
        self.drain(side);
    }

    fn deliver_all(&mut self, side: usize) {
        for packet in std::mem::take(&mut self.flights[side]) {
            let Side { endpoint, .. } = &mut self.sides[side];
            endpoint.receive(self.now, self.now, way(addr(1 - side)), &packet, true);
        }
        self.drain(side);
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let due = self.sides.iter().filter_map(|side| side.endpoint.poll_timeout()).min();
            let Some(at) = due.filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            self.handle_timeouts();
        }
        self.now = until;
    }

    fn handle_timeouts(&mut self) {
        for side in 0..2 {
            self.sides[side].endpoint.handle_timeout(self.now);
            self.drain(side);
            let next = self.sides[side].endpoint.poll_timeout();
            assert!(next.is_none_or(|at| at > self.now), "a deadline that has passed stays");
        }
    }

    /// All that a side has to say and to send.
    fn drain(&mut self, side: usize) {
        let mut out = BytesMut::new();
        for count in 0.. {
            assert!(count < 10_000, "it never ends");
            while let Some((id, event)) = self.sides[side].endpoint.poll_event() {
                self.happened(side, id, event);
            }
            match self.sides[side].endpoint.poll_transmit(self.now, 4, &mut out) {
                Poll::Idle => break,
                Poll::Pull { id, room } => self.pull(side, id, room),
                Poll::Transmit(transmit) => {
                    assert!(!out.is_empty() && out.len().div_ceil(transmit.segment_size) <= 4);
                    for packet in out.split().chunks(transmit.segment_size) {
                        self.sent(side, transmit.destination, packet);
                    }
                }
            }
        }
        self.check(side);
    }

    fn happened(&mut self, side: usize, id: UtpId, event: Event) {
        let Side { endpoint, id: own, had_one, ended, received, offered, .. } =
            &mut self.sides[side];
        match event {
            Event::Incoming => {
                let remote = endpoint.remote(id).expect("it is there");
                self.proven.insert(remote);
                assert_eq!(self.opened.insert((side, id), remote), None, "it comes once");
                if side == 1 && remote == addr(0) && !std::mem::replace(had_one, true) {
                    *own = Some(id);
                    if *offered > 0 {
                        endpoint.want(self.now, id);
                    }
                } else {
                    endpoint.close(self.now, id, Ending::Abort);
                }
            }
            _ if *own != Some(id) => panic!("an event of a connection that nobody has"),
            Event::Opened => {
                assert_eq!(side, 0, "who dials is told");
                if *offered > 0 {
                    endpoint.want(self.now, id);
                }
            }
            Event::Received(data) => {
                assert!(!data.is_empty());
                for &byte in data.iter().filter(|_| !self.is_hostile) {
                    assert_eq!(byte, pattern(1 - side, *received), "a wrong byte at {received}");
                    *received += 1;
                }
            }
            Event::Sent(bytes) => {
                assert!(bytes > 0);
                endpoint.want(self.now, id);
            }
            Event::Closed(end) => {
                assert_eq!(ended.replace(end), None, "it ends once");
                *own = None;
            }
        }
    }

    fn pull(&mut self, side: usize, id: UtpId, room: usize) {
        assert!(room > 0, "bytes are asked for that there is no room for");
        let Side { endpoint, id: own, offered, supplied, .. } = &mut self.sides[side];
        let left = if *own == Some(id) { *offered - *supplied } else { 0 };
        let count = left.min(room as u64);
        let bytes: Vec<u8> = (*supplied..*supplied + count).map(|at| pattern(side, at)).collect();
        *supplied += count;
        endpoint.supply(self.now, id, [Bytes::from(bytes)]);
    }

    fn sent(&mut self, side: usize, to: SocketAddr, packet: &[u8]) {
        assert!(packet.len() <= LONGEST, "{} bytes", packet.len());
        assert!(Kind::of(packet).is_some() && packet.len() >= SHORT);
        assert!(packet[1] <= 1, "the first extension is one that libutp knows");
        assert!(packet.len() <= SHORT || self.proven.contains(&to), "that much to a stranger");
        if to == addr(1 - side) {
            self.flights[1 - side].push(Bytes::copy_from_slice(packet));
        }
    }

    fn check(&self, side: usize) {
        let endpoint = &self.sides[side].endpoint;
        assert!(self.is_hostile || endpoint.len() <= 2);
        let Held { granted, kept } = endpoint.held();
        assert!(granted <= BUDGET * 15 && kept as u64 <= MOST_SENT);
        if let Some(health) = self.sides[side].id.and_then(|id| endpoint.health(id)) {
            assert!(health.held <= BUDGET + granted + LONGEST, "holds {}", health.held);
            assert!(health.flight <= kept);
        }
    }

    /// From now on the network delivers all: what was begun comes to its end.
    fn settle(&mut self) {
        for side in 0..2 {
            if let Some(id) = self.sides[side].id {
                self.sides[side].endpoint.set_reading(id, true);
                self.drain(side);
            }
        }
        for _ in 0..ROUNDS {
            let is_under_way = self.flights.iter().any(|flights| !flights.is_empty());
            if !is_under_way && self.is_even() {
                break;
            }
            let due = self.sides.iter().filter_map(|side| side.endpoint.poll_timeout()).min();
            self.now = match due {
                Some(at) if !is_under_way => self.now.max(at),
                _ => self.now + Duration::from_millis(10),
            };
            self.handle_timeouts();
            (0..2).for_each(|side| self.deliver_all(side));
        }
        if self.is_hostile || self.is_closed {
            return;
        }
        let has_given_up = self.sides.iter().any(|side| side.ended.is_some());
        assert!(has_given_up || self.is_even(), "bytes are missing");
    }

    fn is_even(&self) -> bool {
        let [a, b] = &self.sides;
        a.received == b.offered && b.received == a.offered
    }
}
