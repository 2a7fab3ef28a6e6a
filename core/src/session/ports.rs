//! How many ports of a host strangers have us try: a torrent that names one host with thousands of ports as
//! trackers, whatever the names it gives it, makes no scanner of us (defence 46).
//!
//! Trackers that the user names are not counted, nor is loopback: there, everybody has the same address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use crate::time::{Duration, Instant};

/// Ports of one host in [`PERIOD`] (chosen: some trackers behind one address).
const MOST: usize = 8;
const PERIOD: Duration = Duration::from_secs(60);
/// Hosts remembered; any others wait until one of them is forgotten (chosen).
const HOSTS: usize = 4096;

/// The ports that were tried lately.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    hosts: BTreeMap<IpAddr, SmallVec<[u16; 2]>>,
    /// By when the first of their ports was tried.
    order: BTreeSet<(Instant, IpAddr)>,
}

impl Ports {
    /// Whether a stranger may have us try this port of this host now; if so, it is remembered. O(log n).
    pub(crate) fn admit(&mut self, now: Instant, to: SocketAddr) -> bool {
        let host = to.ip().to_canonical();
        if host.is_loopback() {
            return true;
        }
        while let Some(&(began, oldest)) = self.order.first()
            && now - began >= PERIOD
        {
            self.order.pop_first();
            self.hosts.remove(&oldest);
        }
        let has_room = self.hosts.len() < HOSTS;
        match self.hosts.get_mut(&host) {
            Some(ports) if ports.contains(&to.port()) => true,
            Some(ports) if ports.len() >= MOST => false,
            Some(ports) => {
                ports.push(to.port());
                true
            }
            None if !has_room => false,
            None => {
                self.hosts.insert(host, SmallVec::from_slice(&[to.port()]));
                self.order.insert((now, host));
                true
            }
        }
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
        assert_eq!((ports.hosts.len(), ports.order.len()), (HOSTS, HOSTS));
        assert!(!ports.admit(secs(59), at(0, 9)) && ports.admit(secs(60), at(19_999, 9)));
    }
}
