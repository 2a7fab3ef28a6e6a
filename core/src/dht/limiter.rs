//! How much anybody may ask of us: queries per address, and bytes sent to addresses that have
//! proven nothing (defences 25 and 26).
//!
//! An address is *proven* when it has answered a query of ours or shown a token: then it receives
//! what is sent to it, and its questions are its own. Only so many addresses are remembered; of
//! those the ones longest unheard of are forgotten first.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::group::group_of;
use crate::choke::AddressGroup;
use crate::time::{Duration, Instant};

/// Queries per second that an address may make (chosen: lookups ask a node once).
const QUERIES_PER_S: u64 = 10;
/// Queries that it may make at once (chosen).
const QUERY_BURST: u64 = 50;
/// Addresses whose queries are counted (chosen).
const MOST_COUNTED: usize = 4096;

/// Bytes per second that are sent to unproven addresses in all (chosen).
const UNPROVEN_BYTES_PER_S: u64 = 64 * 1024;
/// Bytes that are sent to them at once (chosen).
const UNPROVEN_BURST: u64 = 256 * 1024;

/// How long an address stays proven (chosen: as long as a node stays good).
const PROVEN_FOR: Duration = Duration::from_secs(15 * 60);
/// Proven addresses remembered (chosen).
const MOST_PROVEN: usize = 4096;

/// Counts what strangers ask.
#[derive(Debug)]
pub(super) struct Limiter {
    queries: Remembered<AddressGroup, Bucket>,
    unproven: Bucket,
    proven: Remembered<SocketAddr, ()>,
}

impl Limiter {
    /// Nobody has asked yet.
    pub(super) fn new(now: Instant) -> Self {
        Limiter {
            queries: Remembered::new(MOST_COUNTED),
            unproven: Bucket::full(UNPROVEN_BURST, now),
            proven: Remembered::new(MOST_PROVEN),
        }
    }

    /// An address asks something. Whether it is heard.
    pub(super) fn may_ask(&mut self, now: Instant, from: SocketAddr) -> bool {
        let key = group_of(from);
        let mut bucket = self.queries.get(key).unwrap_or(Bucket::full(QUERY_BURST, now));
        let allowed = bucket.take(now, 1, QUERIES_PER_S, QUERY_BURST);
        self.queries.put(now, key, bucket);
        allowed
    }

    /// Whether this many bytes may be sent to an address now.
    pub(super) fn may_send(&mut self, now: Instant, to: SocketAddr, bytes: usize) -> bool {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.is_proven(now, to)
            || self.unproven.take(now, bytes, UNPROVEN_BYTES_PER_S, UNPROVEN_BURST)
    }

    /// An address has shown that it receives what is sent to it.
    pub(super) fn prove(&mut self, now: Instant, addr: SocketAddr) {
        self.proven.put(now, addr, ());
    }

    /// Whether it has, lately.
    pub(super) fn is_proven(&self, now: Instant, addr: SocketAddr) -> bool {
        self.proven.put_at(addr).is_some_and(|at| now < at + PROVEN_FOR)
    }

    /// How many addresses are remembered.
    pub(super) fn len(&self) -> usize {
        self.queries.entries.len() + self.proven.entries.len()
    }
}

/// An allowance that fills with time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In thousandths.
    level: u64,
    at: Instant,
}

impl Bucket {
    fn full(burst: u64, now: Instant) -> Self {
        Bucket { level: burst.saturating_mul(1000), at: now }
    }

    fn take(&mut self, now: Instant, amount: u64, per_s: u64, burst: u64) -> bool {
        let millis = u64::try_from((now - self.at).as_millis()).unwrap_or(u64::MAX);
        if millis > 0 {
            let level = self.level.saturating_add(millis.saturating_mul(per_s));
            self.level = level.min(burst.saturating_mul(1000));
            self.at = now;
        }
        let amount = amount.saturating_mul(1000);
        let enough = self.level >= amount;
        if enough {
            self.level -= amount;
        }
        enough
    }
}

/// A map that forgets what was longest not put into it.
#[derive(Debug)]
struct Remembered<K, T> {
    entries: BTreeMap<K, (Instant, T)>,
    by_age: BTreeSet<(Instant, K)>,
    most: usize,
}

impl<K: Copy + Ord, T: Copy> Remembered<K, T> {
    fn new(most: usize) -> Self {
        Remembered { entries: BTreeMap::new(), by_age: BTreeSet::new(), most }
    }

    fn get(&self, key: K) -> Option<T> {
        self.entries.get(&key).map(|(_, value)| *value)
    }

    fn put_at(&self, key: K) -> Option<Instant> {
        self.entries.get(&key).map(|(at, _)| *at)
    }

    fn put(&mut self, now: Instant, key: K, value: T) {
        if let Some((at, _)) = self.entries.insert(key, (now, value)) {
            self.by_age.remove(&(at, key));
        }
        self.by_age.insert((now, key));
        if self.entries.len() > self.most
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Instant {
        Instant::from_secs(secs)
    }

    #[test]
    fn an_address_that_asks_too_much_is_not_heard_for_a_while() {
        let mut limiter = Limiter::new(secs(0));
        let heard = |limiter: &mut Limiter, now, port: u16| {
            let from = SocketAddr::from(([1, 2, 3, 4], port));
            (0..1000).filter(|_| limiter.may_ask(now, from)).count()
        };
        assert_eq!(heard(&mut limiter, secs(1), 5), 50);
        assert_eq!(heard(&mut limiter, secs(1), 6), 0, "another port is the same address");
        assert_eq!(heard(&mut limiter, secs(3), 5), 20);
        assert!(limiter.may_ask(secs(3), "1.2.3.5:5".parse().unwrap()));
        let of_network = |host: u16| SocketAddr::from(([0x2a00, 1, 2, 3, 0, 0, 0, host], 5));
        let heard = (0..1000).filter(|host| limiter.may_ask(secs(3), of_network(*host))).count();
        assert_eq!(heard, 50, "who has a /64 has every address of it");
        assert!(limiter.may_ask(secs(3), "[2a00:1:2:4::1]:5".parse().unwrap()));
    }

    #[test]
    fn unproven_addresses_share_an_allowance_and_proven_ones_do_not() {
        let mut limiter = Limiter::new(secs(0));
        let proven: SocketAddr = "1.1.1.1:1".parse().unwrap();
        limiter.prove(secs(1), proven);
        let other: SocketAddr = "1.1.1.1:2".parse().unwrap();
        let sent = (0..10_000).filter(|_| limiter.may_send(secs(1), other, 300)).count();
        assert_eq!(sent, 262_144 / 300);
        assert!(limiter.may_send(secs(1), proven, 300));
        assert!(!limiter.may_send(secs(1 + 900), other, 262_145));
        assert!(!limiter.is_proven(secs(1 + 900), proven), "it lasts a quarter of an hour");
    }

    #[test]
    fn memory_is_bounded() {
        let mut limiter = Limiter::new(secs(0));
        for n in 0..20_000_u32 {
            let addr = SocketAddr::from((n.to_be_bytes(), 1));
            limiter.may_ask(secs(1), addr);
            limiter.prove(secs(1), addr);
        }
        assert_eq!(limiter.len(), MOST_COUNTED + MOST_PROVEN);
    }
}
