//! Peer exchange (BEP 11): any payload is refused or read within bounds, and what was read is
//! written as strict bencoding and read again as the same. What one peer is believed is bounded
//! however much it says; what it is told is true, once, and rarely.
//!
//! The whole input is a message; then it is a program of records of a conversation.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bitswarm_core::Instant;
use bitswarm_core::extension::pex::{PexFlags, PexIn, PexMessage, PexOut, PexSwarm};

use super::input::Input;
use crate::sim::bencode::Value as Strict;

/// Addresses of a family that are read of one message, and that are believed of one.
const MOST_READ: usize = 100;
/// Addresses that are believed of one peer, in all.
const MOST_OF_ONE: usize = 200;
/// Addresses of each kind that are told at once.
const MOST_TOLD: usize = 50;
/// Between two messages to one peer.
const MINUTE: Duration = Duration::from_secs(60);

/// See the module.
pub(super) fn run(data: &[u8]) {
    if let Ok(message) = PexMessage::decode(data) {
        check_message(&message, data.len());
    }
    Talk::new(data.first().copied().unwrap_or(0)).play(Input::new(data));
}

fn check_message(message: &PexMessage, len: usize) {
    let (v4, v6): (Vec<_>, Vec<_>) =
        message.added.iter().copied().partition(|(addr, _)| addr.is_ipv4());
    assert!(v4.len() <= MOST_READ && v6.len() <= MOST_READ);
    assert!(message.dropped.len() <= 2 * MOST_READ);
    assert!(6 * (message.added.len() + message.dropped.len()) <= len, "peers out of nothing");
    let bytes = message.encode();
    Strict::parse(&bytes).expect("what is written is strict bencoding");
    // Each family has a list of its own.
    let mut sorted = message.clone();
    sorted.added.sort_by_key(|(addr, _)| addr.is_ipv6());
    sorted.dropped.sort_by_key(SocketAddr::is_ipv6);
    assert_eq!(PexMessage::decode(&bytes), Ok(sorted));
}

/// What one peer is told, and what it tells.
struct Talk {
    now: Instant,
    /// Where the peer is.
    at: SocketAddr,
    incoming: PexIn,
    /// How many messages were read, of how many.
    read: u32,
    /// Addresses that were made known.
    known: BTreeSet<SocketAddr>,
    swarm: PexSwarm,
    outgoing: PexOut,
    told_at: Option<Instant>,
    /// Whom the peer takes to be connected.
    told: BTreeMap<SocketAddr, PexFlags>,
}

impl Talk {
    fn new(seed: u8) -> Self {
        let at = ["192.0.2.1:5", "10.0.0.1:5", "127.0.0.1:5", "[2001:db8::1]:5"];
        Talk {
            now: Instant::ZERO,
            at: at[usize::from(seed) % at.len()].parse().expect("it is an address"),
            incoming: PexIn::default(),
            read: 0,
            known: BTreeSet::new(),
            swarm: PexSwarm::default(),
            outgoing: PexOut::default(),
            told_at: None,
            told: BTreeMap::new(),
        }
    }

    fn play(&mut self, mut input: Input<'_>) {
        let mut steps = 0;
        while !input.is_empty() && steps < 300 {
            steps += 1;
            let what = input.byte();
            match what % 8 {
                0 => {
                    let payload = input.run();
                    self.hear(payload);
                }
                1 => self.hear(&many(input.byte(), what)),
                2 => self.now += Duration::from_millis(u64::from(input.u16())),
                3 => self.now += Duration::from_secs(u64::from(what)),
                4 => {
                    let (first, flags) = (input.byte(), PexFlags(input.byte()));
                    for n in 0..=what >> 3 {
                        self.swarm.connected.insert(other(first.wrapping_add(n), what), flags);
                    }
                }
                5 => {
                    let first = input.byte();
                    for n in 0..=what >> 3 {
                        let addr = other(first.wrapping_add(n), what);
                        if let Some(flags) = self.swarm.connected.remove(&addr) {
                            self.swarm.left(self.now, addr, flags);
                        }
                    }
                }
                _ => self.tell(),
            }
        }
    }

    fn hear(&mut self, payload: &[u8]) {
        let Ok(true) = self.incoming.admit(self.now) else { return };
        self.read += 1;
        let elapsed = (self.now - Instant::ZERO).as_secs();
        assert!(u64::from(self.read) <= 2 + elapsed / 45, "more than a message a minute is read");
        let Ok(message) = PexMessage::decode(payload) else { return };
        let before = self.known.len();
        let (known, mut asked) = (&mut self.known, 0);
        let mut seen = BTreeSet::new();
        self.incoming.take(self.at.ip(), &message, |addr, _| {
            asked += 1;
            assert!(addr.ip().is_loopback() || seen.insert(addr.ip()), "one host, several ports");
            assert!(is_far_enough(addr.ip(), self.at.ip()), "{addr} from {}", self.at);
            known.insert(addr)
        });
        assert!(asked <= MOST_READ && self.known.len() - before <= asked);
        assert!(self.known.len() <= MOST_OF_ONE, "{} of one peer", self.known.len());
    }

    fn tell(&mut self) {
        let due = self.outgoing.ready_at() <= self.now;
        let is_news = self.outgoing.is_behind(self.now, &self.swarm, self.at);
        let message = self.outgoing.message(self.now, &self.swarm, self.at);
        assert_eq!(message.is_some(), due && is_news);
        let Some(message) = message else { return };
        assert!(self.told_at.is_none_or(|at| self.now >= at + MINUTE), "twice in a minute");
        self.told_at = Some(self.now);
        assert!(message.added.len() <= MOST_TOLD && message.dropped.len() <= MOST_TOLD);
        for addr in &message.dropped {
            assert!(self.told.remove(addr).is_some(), "{addr} leaves who never came");
            assert!(!self.swarm.connected.contains_key(addr), "{addr} is still here");
        }
        for (addr, flags) in &message.added {
            assert!(*addr != self.at && is_far_enough(addr.ip(), self.at.ip()), "{addr}");
            assert!(self.told.insert(*addr, *flags).is_none(), "{addr} is told twice");
        }
        check_message(&message, usize::MAX);
    }
}

/// A message with up to ten thousand addresses, of which many are one host's.
fn many(count: u8, kind: u8) -> Vec<u8> {
    let hosts = 1 + u32::from(kind >> 3) * 40;
    let addrs = (0..u32::from(count) * 40).flat_map(|n| {
        let [_, _, high, low] = (n % hosts).to_be_bytes();
        let first = if kind & 0x80 == 0 { [203, 0] } else { [192, 168] };
        [first[0], first[1], high, low, (n >> 8) as u8, n as u8]
    });
    let added: Vec<u8> = addrs.collect();
    let mut message = format!("d5:added{}:", added.len()).into_bytes();
    message.extend(added);
    message.push(b'e');
    message
}

/// Somebody whom we are connected to.
fn other(n: u8, what: u8) -> SocketAddr {
    match what >> 6 {
        0 => SocketAddr::from(([198, 51, 100, n], 6881)),
        1 => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 1, u16::from(n)], 6881)),
        2 => SocketAddr::from(([192, 168, 0, n], 6881)),
        _ => SocketAddr::from(([127, 0, 0, 1], 1000 + u16::from(n))),
    }
}

/// Whether an address means the same to a host as to us: what is local only to those who are.
fn is_far_enough(addr: IpAddr, host: IpAddr) -> bool {
    let is_local = |ip: IpAddr| match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    match host {
        _ if addr.to_canonical().is_loopback() => host.is_loopback(),
        _ if is_local(addr) => is_local(host) || host.is_loopback(),
        _ => true,
    }
}
