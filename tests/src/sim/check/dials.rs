//! How often an engine dials, and whom: nobody makes it a scanner or a flood (defences 22 and 39). Counted are
//! attempts at addresses that others named; what the user named may be tried more often.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use bitswarm_core::time::{Duration, Instant};

use super::answers::is_lied_of;

/// Most dials of one address within a minute (chosen: one that the user named may be tried again
/// after two seconds).
const AT_AN_ADDRESS: (usize, Duration) = (30, Duration::from_secs(60));
/// The same of an address that others named, which waits 15 s and more after each failure, or 30 s
/// (chosen: some more, as torrents do not share what they know of an address).
const AT_ANOTHERS: (usize, Duration) = (12, Duration::from_secs(60));
/// The same of one host: eight in ten seconds that begin at any time.
const AT_A_HOST: (usize, Duration) = (16, Duration::from_secs(10));
/// The same in all: two hundred in a second that begins at any time.
const IN_ALL: (usize, Duration) = (400, Duration::from_secs(1));
/// Addresses of one peer's that are dialled for the first time: four hundred in a minute that begins at any time.
const OF_A_SOURCE: (usize, Duration) = (800, Duration::from_secs(60));
/// The network of hosts of which peers tell; the second byte is the peer's.
const NAMED: u8 = 64;

/// An address of which only the peer of that number tells.
pub fn named_by(peer: u8, host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([NAMED, peer, 0, host], port))
}

/// Dials of one engine.
#[derive(Debug, Default)]
pub struct Dials {
    /// Addresses that the user named.
    by_user: BTreeSet<SocketAddr>,
    addresses: BTreeMap<SocketAddr, Latest>,
    hosts: BTreeMap<IpAddr, Latest>,
    sources: BTreeMap<u8, Latest>,
    all: Latest,
}

/// When the latest were.
#[derive(Debug, Default)]
struct Latest(VecDeque<Instant>);

impl Latest {
    /// One more; whether there are more now than so many within so long.
    fn add(&mut self, now: Instant, (most, within): (usize, Duration)) -> bool {
        while self.0.front().is_some_and(|at| now - *at >= within) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len() > most
    }
}

impl Dials {
    /// The user names these addresses.
    pub fn user_names(&mut self, peers: &[SocketAddr]) {
        self.by_user.extend(peers);
    }

    /// The engine is gone, or the user asks for peers at once.
    pub fn forget(&mut self) {
        *self = Dials { by_user: std::mem::take(&mut self.by_user), ..Dials::default() };
    }

    /// The engine dials this address. What is wrong with that, if anything.
    pub fn dial(&mut self, now: Instant, to: SocketAddr) -> Result<(), String> {
        if is_lied_of(to.ip()) {
            return Err(format!("dials {to}, of which only a false answer tells"));
        }
        let is_by_user = self.by_user.contains(&to);
        let is_new = !self.addresses.contains_key(&to);
        let of_address = if is_by_user { AT_AN_ADDRESS } else { AT_ANOTHERS };
        if self.addresses.entry(to).or_default().add(now, of_address) {
            return Err(format!("dials {to} more than {} times in a minute", of_address.0));
        }
        if is_by_user {
            return Ok(());
        }
        if self.hosts.entry(to.ip()).or_default().add(now, AT_A_HOST) {
            return Err(format!(
                "dials {} more than {} times in ten seconds",
                to.ip(),
                AT_A_HOST.0
            ));
        }
        if let IpAddr::V4(ip) = to.ip()
            && let [NAMED, source, ..] = ip.octets()
            && is_new
            && self.sources.entry(source).or_default().add(now, OF_A_SOURCE)
        {
            return Err(format!("dials more than {} addresses of one peer's", OF_A_SOURCE.0));
        }
        match self.all.add(now, IN_ALL) {
            true => Err(format!("dials more than {} times in a second", IN_ALL.0)),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::check::lied_of;

    fn at(millis: u64) -> Instant {
        Instant::from_secs(10) + Duration::from_millis(millis)
    }

    fn first_refused(addrs: impl Iterator<Item = (u64, SocketAddr)>) -> Option<usize> {
        let mut dials = Dials::default();
        dials.user_names(&[named_by(9, 9, 9)]);
        let mut addrs = addrs.enumerate();
        addrs.find_map(|(number, (ms, to))| dials.dial(at(ms), to).is_err().then_some(number))
    }

    #[test]
    fn an_address_a_host_and_all_together_are_bounded() {
        let one = named_by(1, 1, 5000);
        assert_eq!(first_refused((0..100).map(|n| (n * 5000, one))), None, "twelve in a minute");
        assert_eq!(first_refused((0..100).map(|n| (n * 4000, one))), Some(12));
        assert_eq!(first_refused((0..100).map(|n| (n * 2000, named_by(9, 9, 9)))), None);
        let host = |n: u64| (n * 600, named_by(1, 1, 5000 + n as u16));
        assert_eq!(first_refused((0..100).map(host)), Some(16));
        let many = |n: u64| (n, named_by((n / 200) as u8, (n % 200) as u8, 5000));
        assert_eq!(first_refused((0..1000).map(many)), Some(400));
        let of_one = |n: u64| (n * 50, named_by(1, (n % 200) as u8, 5000 + (n / 200) as u16));
        assert_eq!(first_refused((0..1000).map(of_one)), Some(800));
        assert_eq!(first_refused([(0, lied_of(1))].into_iter()), Some(0));
    }
}
