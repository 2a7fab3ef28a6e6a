//! A host's link to the network: how fast, how far, how reliable; and its queues.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use bitswarm_core::time::Instant;

use super::stream::EndId;
use super::{Binding, SocketKey};

/// Properties of a link. The default is instant, unlimited and reliable.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// Rate towards the network in bytes per second; `None` is unlimited.
    pub up_bytes_per_s: Option<u64>,
    /// Rate towards the host in bytes per second; `None` is unlimited.
    pub down_bytes_per_s: Option<u64>,
    /// This link's share of the one-way delay.
    pub latency: Duration,
    /// Most that is added to the delay of one packet.
    pub jitter: Duration,
    /// Datagrams lost, of 1000.
    pub loss_per_mille: u32,
    /// Datagrams that begin a burst, of 1000: from then on all are lost for a while.
    pub burst_per_mille: u32,
    /// Longest time that a burst takes.
    pub burst: Duration,
    /// Datagrams that arrive twice, of 1000.
    pub duplicate_per_mille: u32,
    /// Datagrams that are overtaken by later ones, of 1000.
    pub reorder_per_mille: u32,
    /// Whether connect requests from outside reach the host; behind a NAT they get no answer.
    pub accepts: bool,
}

impl Default for Link {
    fn default() -> Self {
        Link {
            up_bytes_per_s: None,
            down_bytes_per_s: None,
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            loss_per_mille: 0,
            burst_per_mille: 0,
            burst: Duration::ZERO,
            duplicate_per_mille: 0,
            reorder_per_mille: 0,
            accepts: true,
        }
    }
}

impl Link {
    /// A home's connection: these rates in bytes per second, 15 ms away, 2 ms of jitter.
    pub fn home(up_bytes_per_s: u64, down_bytes_per_s: u64) -> Self {
        Link {
            up_bytes_per_s: Some(up_bytes_per_s),
            down_bytes_per_s: Some(down_bytes_per_s),
            latency: Duration::from_millis(15),
            jitter: Duration::from_millis(2),
            ..Link::default()
        }
    }

    /// Time to send this many bytes upwards.
    pub(super) fn up_time(&self, bytes: usize) -> Duration {
        serialisation(bytes, self.up_bytes_per_s)
    }

    /// Longest packet that a stream sends at once: 10 ms of the link, so that streams share it
    /// evenly; no less than a segment on Ethernet, no more than is worth simulating.
    pub(super) fn longest_packet(&self) -> u64 {
        self.up_bytes_per_s.map_or(64 << 10, |rate| (rate / 100).clamp(1448, 16 << 10))
    }
}

fn serialisation(bytes: usize, rate: Option<u64>) -> Duration {
    let Some(rate) = rate else { return Duration::ZERO };
    let nanos = bytes as u128 * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// What a link has carried, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Towards the network.
    pub up_bytes: u64,
    /// Towards the host.
    pub down_bytes: u64,
}

/// A host as the network sees it.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) link: Link,
    pub(super) addrs: Vec<IpAddr>,
    pub(super) bound: BTreeMap<Binding, SocketKey>,
    pub(super) alive: bool,
    pub(super) group: u32,
    /// The uplink is sending.
    pub(super) busy: bool,
    /// What waits for the uplink; a stream is in here at most once.
    pub(super) outgoing: VecDeque<Outgoing>,
    /// Bytes of datagrams in `outgoing`.
    pub(super) datagram_backlog: usize,
    /// Until when every datagram is lost.
    pub(super) lossy_until: Instant,
    /// The downlink has received everything that arrived so far.
    downlink_free: Instant,
    pub(super) traffic: Traffic,
    next_port: u16,
}

/// One packet's worth of what waits for an uplink.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outgoing {
    Stream(EndId),
    Datagram(u32),
}

impl Port {
    pub(super) fn new(link: Link, addrs: Vec<IpAddr>) -> Self {
        Port {
            link,
            addrs,
            bound: BTreeMap::new(),
            alive: true,
            group: 0,
            busy: false,
            outgoing: VecDeque::new(),
            datagram_backlog: 0,
            lossy_until: Instant::ZERO,
            downlink_free: Instant::ZERO,
            traffic: Traffic::default(),
            next_port: FIRST_EPHEMERAL_PORT,
        }
    }

    /// When bytes that arrive now have passed the downlink, behind all that arrived before.
    pub(super) fn receive(&mut self, now: Instant, bytes: usize) -> Instant {
        self.traffic.down_bytes += bytes as u64;
        let start = self.downlink_free.max(now);
        self.downlink_free = start + serialisation(bytes, self.link.down_bytes_per_s);
        self.downlink_free
    }

    /// A port that no socket of the host had before, until they have all been used.
    pub(super) fn draw_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL_PORT);
        port
    }
}

/// The dynamic ports of RFC 6335, section 6.
const FIRST_EPHEMERAL_PORT: u16 = 49152;
