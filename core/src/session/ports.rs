//! How many ports of a host strangers have us try: a torrent that names one host with thousands of ports as
//! trackers, whatever the names it gives it, makes no scanner of us (defence 46).
//!
//! Trackers that the user names are not counted, nor is loopback: there, everybody has the same address.

use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use crate::rate::Periods;
use crate::time::{Duration, Instant};

/// Ports of one host in [`PERIOD`] (chosen: some trackers behind one address).
const MOST: usize = 8;
const PERIOD: Duration = Duration::from_secs(60);
/// Hosts remembered; any others wait until one of them is forgotten (chosen).
const HOSTS: usize = 4096;

/// The ports that were tried lately.
#[derive(Debug)]
pub(crate) struct Ports {
    hosts: Periods<IpAddr, SmallVec<[u16; 2]>>,
}

impl Default for Ports {
    fn default() -> Self {
        Ports { hosts: Periods::new(PERIOD, HOSTS) }
    }
}

impl Ports {
    /// Whether a stranger may have us try this port of this host now; if so, it is remembered. O(log n).
    pub(crate) fn admit(&mut self, now: Instant, to: SocketAddr) -> bool {
        let host = to.ip().to_canonical();
        if host.is_loopback() {
            return true;
        }
        let Some(ports) = self.hosts.entry(now, host) else { return false };
        let is_known = ports.contains(&to.port());
        if !is_known && ports.len() < MOST {
            ports.push(to.port());
            return true;
        }
        is_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: u32, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4((0x0100_0000 + host).into()), port)
    }

    fn secs(secs: u64) -> Instant {
        Instant::from_secs(1000 + secs)
    }

    #[test]
    fn a_few_ports_of_a_host_are_tried_and_each_as_often_as_one_wants() {
        let mut ports = Ports::default();
        let tried = (1..4000).filter(|port| ports.admit(secs(0), at(1, *port))).count();
        assert_eq!(tried, MOST);
        let mapped: SocketAddr = "[::ffff:1.0.0.1]:4000".parse().unwrap();
        assert!(!ports.admit(secs(59), mapped), "the same host");
        assert!((0..100).all(|_| ports.admit(secs(59), at(1, 1))));
        assert!(ports.admit(secs(59), at(2, 4000)) && ports.admit(secs(60), at(1, 4000)));
        assert!((1..4000).all(|port| ports.admit(secs(60), ([127, 0, 0, 1], port).into())));
    }

    #[test]
    fn memory_is_bounded_and_nobody_is_forgotten_before_time() {
        let mut ports = Ports::default();
        for host in 0..20_000 {
            let tried = (1..20).filter(|port| ports.admit(secs(0), at(host, *port))).count();
            assert_eq!(tried, if (host as usize) < HOSTS { MOST } else { 0 });
        }
        assert_eq!(ports.hosts.len(), HOSTS);
        assert!(!ports.admit(secs(59), at(0, 9)) && ports.admit(secs(60), at(19_999, 9)));
    }
}
