//! How many answers strangers get: to SYNs, and to packets of connections that are not known.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::time::{Duration, Instant};

/// Answers to SYNs in a second beyond the shares of groups (chosen).
const SYNS: u32 = 200;
/// Answers to SYNs of each group of networks in a second that others do not use up: many that come from
/// elsewhere do not shut it out (chosen).
const SYNS_OF_GROUP: u8 = 2;
/// Answers to SYNs of one network in a second, shares included (chosen).
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

/// One of 256 groups that networks are in: a /8 of IPv4, some /32 of IPv6.
fn group(ip: IpAddr) -> usize {
    let byte = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.octets()[0],
        IpAddr::V6(ip) => ip.octets()[..4].iter().fold(0, |sum, byte| byte ^ sum),
    };
    usize::from(byte)
}

/// Who was answered lately.
#[derive(Debug)]
pub(super) struct Answers {
    second_began: Instant,
    /// Answers beyond the shares of groups.
    syns: u32,
    by_group: [u8; 256],
    by_network: BTreeMap<[u8; 6], u32>,
    resets: u32,
    reset: VecDeque<(Instant, SocketAddr, u16)>,
}

impl Default for Answers {
    fn default() -> Self {
        Answers {
            second_began: Instant::ZERO,
            syns: 0,
            by_group: [0; 256],
            by_network: BTreeMap::new(),
            resets: 0,
            reset: VecDeque::new(),
        }
    }
}

impl Answers {
    fn begin_second(&mut self, now: Instant) {
        if now - self.second_began >= SECOND {
            self.second_began = now;
            self.syns = 0;
            self.by_group = [0; 256];
            self.resets = 0;
            self.by_network.clear();
        }
    }

    /// Whether a SYN from there is answered. Loopback has no networks, only this machine's
    /// programs.
    pub(super) fn may_answer_syn(&mut self, now: Instant, from: IpAddr) -> bool {
        self.begin_second(now);
        let has_share = self.by_group[group(from)] < SYNS_OF_GROUP;
        if !has_share && self.syns >= SYNS {
            return false;
        }
        if !from.is_loopback() {
            let count = self.by_network.entry(network(from)).or_default();
            if *count >= SYNS_OF_NETWORK {
                return false;
            }
            *count += 1;
        }
        match has_share {
            true => self.by_group[group(from)] += 1,
            false => self.syns += 1,
        }
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
        // Of the first eight two were the group's share.
        assert_eq!((0..=255).filter(|&b| answered(Instant::ZERO, 1, b)).count(), 194);
        assert!(answered(Instant::from_secs(1), 0, 0));
    }

    #[test]
    fn flood_of_syns_from_many_networks_leaves_those_of_others_a_share() {
        let mut answers = Answers::default();
        let flood = (0..40).flat_map(|n| std::iter::repeat_n([10 + n, 0, 0, 1], 8));
        let answered = flood.filter(|&ip| answers.may_answer_syn(Instant::ZERO, ip.into()));
        assert_eq!(answered.count(), 200 + 2 * 40);
        let mut newcomer = |ip: [u8; 4]| answers.may_answer_syn(Instant::ZERO, ip.into());
        assert!(newcomer([90, 1, 2, 3]) && newcomer([90, 7, 8, 9]), "two of a group");
        assert!(!newcomer([90, 4, 5, 6]) && !newcomer([10, 0, 1, 1]), "others are as many as all");
        let v6 = |last: u16| IpAddr::from([0x2a00, last, 0, 0, 0, 0, 0, 1]);
        assert!(answers.may_answer_syn(Instant::ZERO, v6(200)));
        assert!(answers.may_answer_syn(Instant::ZERO, v6(201)));
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
