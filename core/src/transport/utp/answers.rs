//! How many answers strangers get: to SYNs, and to packets of connections that are not known.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::time::{Duration, Instant};

/// Answers to SYNs in a second (chosen).
const SYNS: u32 = 200;
/// The same to one network (chosen).
const SYNS_OF_NETWORK: u32 = 8;
/// Resets in a second (chosen).
const RESETS: u32 = 10;
/// Within this, one reset for each address and id (chosen).
const RESET_ONCE: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// Addresses that one party is likely to hold: a /24 of IPv4, a /48 of IPv6.
fn network(ip: IpAddr) -> [u8; 6] {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            [4, a, b, c, 0, 0]
        }
        IpAddr::V6(ip) => {
            let mut network = [0; 6];
            network.copy_from_slice(&ip.octets()[..6]);
            network
        }
    }
}

/// Who was answered lately.
#[derive(Debug, Default)]
pub(super) struct Answers {
    second_began: Instant,
    syns: u32,
    by_network: BTreeMap<[u8; 6], u32>,
    resets: u32,
    reset: VecDeque<(Instant, SocketAddr, u16)>,
}

impl Answers {
    fn begin_second(&mut self, now: Instant) {
        if now - self.second_began >= SECOND {
            self.second_began = now;
            self.syns = 0;
            self.resets = 0;
            self.by_network.clear();
        }
    }

    /// Whether a SYN from there is answered. Loopback has no networks, only this machine's
    /// programs.
    pub(super) fn may_answer_syn(&mut self, now: Instant, from: IpAddr) -> bool {
        self.begin_second(now);
        if self.syns >= SYNS {
            return false;
        }
        if !from.is_loopback() {
            let count = self.by_network.entry(network(from)).or_default();
            if *count >= SYNS_OF_NETWORK {
                return false;
            }
            *count += 1;
        }
        self.syns += 1;
        true
    }

    /// Whether a packet of a connection that is not known is answered.
    pub(super) fn may_reset(&mut self, now: Instant, remote: SocketAddr, id: u16) -> bool {
        self.begin_second(now);
        while self.reset.front().is_some_and(|&(at, ..)| now - at >= RESET_ONCE) {
            self.reset.pop_front();
        }
        let is_known = self.reset.iter().any(|&(_, to, of)| (to, of) == (remote, id));
        if is_known || self.resets >= RESETS {
            return false;
        }
        self.resets += 1;
        self.reset.push_back((now, remote, id));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syns_are_answered_so_often_to_a_network_and_in_all() {
        let mut answers = Answers::default();
        let mut answered = |now, a: u8, b: u8| answers.may_answer_syn(now, [10, a, b, 1].into());
        assert_eq!((0..100).filter(|_| answered(Instant::ZERO, 0, 0)).count(), 8);
        assert_eq!((0..=255).filter(|&b| answered(Instant::ZERO, 1, b)).count(), 192);
        assert!(answered(Instant::from_secs(1), 0, 0));
    }

    #[test]
    fn reset_goes_once_to_an_address_and_id() {
        let mut answers = Answers::default();
        let to = |last: u8| SocketAddr::from(([10, 0, 0, last], 1));
        assert!(answers.may_reset(Instant::ZERO, to(1), 5));
        assert!(!answers.may_reset(Instant::from_secs(9), to(1), 5));
        assert!(answers.may_reset(Instant::from_secs(9), to(1), 6));
        assert!(answers.may_reset(Instant::from_secs(10), to(1), 5));
        let now = Instant::from_secs(20);
        assert_eq!((0..100).filter(|&n| answers.may_reset(now, to(2), n)).count(), 10);
    }
}
