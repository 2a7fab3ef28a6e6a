//! How often we dial, and whom: no stranger makes us a scanner or a flood (defences 22 and 39).
//!
//! Attempts are counted for the session as a whole in a second, and for each host, whichever of its ports
//! they go to, in ten. An attempt may be a race of transports and a redial: it counts once. What the user
//! names is not counted. Loopback is no host: there, everybody has the same address.

use std::net::IpAddr;

use crate::rate::{PerSecond, Periods};
use crate::time::{Duration, Instant};

/// Attempts in a second (chosen: above what opening connections to a large swarm takes).
const IN_A_SECOND: u32 = 200;
/// Attempts at one host in [`HOST_PERIOD`] (chosen: some peers behind one address, and no scan).
const AT_A_HOST: u32 = 8;
const HOST_PERIOD: Duration = Duration::from_secs(10);
/// Hosts that are counted; any others wait until one of them is forgotten (chosen: [`IN_A_SECOND`] for
/// [`HOST_PERIOD`]).
const HOSTS: usize = 2000;

/// The attempts of the last seconds.
#[derive(Debug)]
pub(crate) struct Dials {
    second: PerSecond,
    /// Attempts at each in its period.
    hosts: Periods<IpAddr, u32>,
}

impl Default for Dials {
    fn default() -> Self {
        Dials { second: PerSecond::default(), hosts: Periods::new(HOST_PERIOD, HOSTS) }
    }
}

impl Dials {
    /// Whether an attempt at this host may be made now; if so, it is counted. O(log n).
    pub(crate) fn admit(&mut self, now: Instant, host: IpAddr) -> bool {
        let host = host.to_canonical();
        if host.is_loopback() {
            return true;
        }
        if !self.second.has_room(now, IN_A_SECOND) {
            return false;
        }
        match self.hosts.entry(now, host) {
            Some(attempts) if *attempts < AT_A_HOST => *attempts += 1,
            _ => return false,
        }
        self.second.admit(now, IN_A_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use quickcheck::quickcheck;

    use super::*;

    fn host(number: u32) -> IpAddr {
        Ipv4Addr::from(0x0100_0000 + number).into()
    }

    fn at(millis: u64) -> Instant {
        Instant::from_secs(100) + Duration::from_millis(millis)
    }

    #[test]
    fn a_host_is_not_scanned_and_others_are_dialled_meanwhile() {
        let mut dials = Dials::default();
        let scan = (0..10_000).filter(|at_ms| dials.admit(at(*at_ms), host(1))).count();
        assert_eq!(scan, AT_A_HOST as usize);
        assert!(dials.admit(at(9_999), host(2)));
        assert!(dials.admit(at(10_000), host(1)));
    }

    #[test]
    fn everybody_on_loopback_has_one_address() {
        let mut dials = Dials::default();
        assert!((0..10_000).all(|_| dials.admit(at(0), "127.0.0.1".parse().unwrap())));
    }

    quickcheck! {
        fn no_second_has_more_than_twice_the_most_and_memory_is_bounded(steps: Vec<(u16, u8)>) -> bool {
            let mut dials = Dials::default();
            let (mut millis, mut made) = (0, Vec::new());
            for (number, wait) in steps {
                millis += u64::from(wait);
                for more in 0..40 {
                    if dials.admit(at(millis), host(u32::from(number) + more)) {
                        made.push(millis);
                    }
                }
            }
            dials.hosts.len() <= HOSTS
                && made.iter().all(|end| {
                    let of_second = made.iter().filter(|at| **at <= *end && **at + 1000 > *end);
                    of_second.count() <= 2 * IN_A_SECOND as usize
                })
        }
    }
}
