//! With whom this session has no dealings any more (defence 43).
//!
//! Blame may be the torrent's fault, and one address may be many people behind a NAT. So a ban hits an address
//! and port, for the torrent in which it offended; after an offence from another port as well, the address, for
//! that torrent; and when two torrents agree, the address, for all of them. On loopback, where everybody has
//! the same address, it stays with the ports.
//!
//! Bounded: past the bound the address that offended longest ago is forgiven, so a list that somebody managed
//! to fill costs nothing but memory of old offences. Kept for the session only. What is an offence is decided
//! by the caller (see `SmartBan` for proof of wrong data).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

pub use crate::notice::BanReason;

/// Offences remembered of one address (chosen; the latest count).
const MOST_OFFENCES: usize = 16;
/// Ports of an address from which it has offended in a torrent when it is banned there.
const PORTS: usize = 2;
/// Torrents that agree when an address is banned in all.
const TORRENTS: usize = 2;

/// The banned addresses, in torrents named by `T`. An IPv4 address and its IPv6 form are one.
#[derive(Clone, Debug)]
pub struct Bans<T> {
    by_address: BTreeMap<IpAddr, Offender<T>>,
    by_age: BTreeMap<u64, IpAddr>,
    /// Offences so far: names the next one.
    made: u64,
    most: usize,
}

#[derive(Clone, Debug)]
struct Offender<T> {
    number: u64,
    reason: BanReason,
    offences: Vec<(T, u16)>,
}

impl<T: Copy + Ord> Offender<T> {
    fn ports_in(&self, torrent: T) -> usize {
        self.offences.iter().filter(|(of, _)| *of == torrent).count()
    }

    /// In how many torrents it has offended.
    fn torrents(&self) -> usize {
        let first = |at: &usize| {
            let (torrent, _) = self.offences[*at];
            self.offences[..*at].iter().all(|(of, _)| *of != torrent)
        };
        (0..self.offences.len()).filter(first).count()
    }
}

impl<T: Copy + Ord> Bans<T> {
    /// No bans, and those of at most `most` addresses at once (`Bounds::bans`).
    pub fn new(most: usize) -> Self {
        Bans { by_address: BTreeMap::new(), by_age: BTreeMap::new(), made: 0, most }
    }

    /// An address and port has offended in a torrent.
    pub fn ban(&mut self, torrent: T, addr: SocketAddr, reason: BanReason) {
        let ip = addr.ip().to_canonical();
        let before = self.take(ip);
        let mut offences = before.map_or_else(Vec::new, |before| before.offences);
        offences.retain(|offence| *offence != (torrent, addr.port()));
        offences.push((torrent, addr.port()));
        if offences.len() > MOST_OFFENCES {
            offences.remove(0);
        }
        self.by_age.insert(self.made, ip);
        self.by_address.insert(ip, Offender { number: self.made, reason, offences });
        self.made += 1;
        if self.by_address.len() > self.most
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.by_address.remove(&oldest);
        }
    }

    fn take(&mut self, ip: IpAddr) -> Option<Offender<T>> {
        let offender = self.by_address.remove(&ip)?;
        self.by_age.remove(&offender.number);
        Some(offender)
    }

    /// Whether an address and port is banned in a torrent.
    pub fn is_banned(&self, torrent: T, addr: SocketAddr) -> bool {
        self.is_banned_in_all(addr.ip())
            || self.offender(addr.ip()).is_some_and(|offender| {
                offender.offences.contains(&(torrent, addr.port()))
                    || (!addr.ip().to_canonical().is_loopback()
                        && offender.ports_in(torrent) >= PORTS)
            })
    }

    /// Whether an address is banned in all torrents.
    pub fn is_banned_in_all(&self, ip: IpAddr) -> bool {
        let offender = self.offender(ip).filter(|_| !ip.to_canonical().is_loopback());
        offender.is_some_and(|offender| offender.torrents() >= TORRENTS)
    }

    /// Why an address last was banned anywhere.
    pub fn reason(&self, ip: IpAddr) -> Option<BanReason> {
        self.offender(ip).map(|offender| offender.reason)
    }

    /// How many addresses have offended.
    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    fn offender(&self, ip: IpAddr) -> Option<&Offender<T>> {
        self.by_address.get(&ip.to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    fn addr(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], port))
    }

    const WHY: BanReason = BanReason::WrongData;

    #[test]
    fn a_ban_hits_the_port_then_the_address_then_all_torrents() {
        let mut bans = Bans::new(10);
        bans.ban('a', addr(1, 5), WHY);
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:5".parse().unwrap();
        assert!(bans.is_banned('a', addr(1, 5)) && bans.is_banned('a', mapped));
        assert!(!bans.is_banned('a', addr(1, 6)) && !bans.is_banned('b', addr(1, 5)));
        assert!(!bans.is_banned('a', addr(2, 5)));
        bans.ban('a', addr(1, 5), WHY);
        assert!(!bans.is_banned('a', addr(1, 6)), "the same again is no second port");
        bans.ban('a', addr(1, 7), WHY);
        assert!(bans.is_banned('a', addr(1, 6)) && !bans.is_banned('b', addr(1, 6)));
        assert!(!bans.is_banned_in_all(addr(1, 0).ip()));
        bans.ban('b', addr(1, 5), WHY);
        assert!(bans.is_banned_in_all(addr(1, 0).ip()) && bans.is_banned('c', addr(1, 9)));
        assert_eq!((bans.len(), bans.reason(addr(1, 0).ip())), (1, Some(WHY)));
    }

    #[test]
    fn on_loopback_a_ban_stays_with_the_port() {
        let mut bans = Bans::new(10);
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        for (torrent, port) in [('a', 1), ('a', 2), ('b', 3)] {
            bans.ban(torrent, local(port), WHY);
        }
        assert!(bans.is_banned('a', local(1)) && bans.is_banned('b', local(3)));
        assert!(!bans.is_banned('a', local(3)) && !bans.is_banned('c', local(1)));
    }

    #[test]
    fn past_the_bound_who_offended_longest_ago_is_forgiven() {
        let mut bans = Bans::new(3);
        for last in [1, 2, 3, 1, 4] {
            bans.ban('a', addr(last, 5), WHY);
        }
        let banned: Vec<u8> = (1..5).filter(|last| bans.is_banned('a', addr(*last, 5))).collect();
        assert_eq!((banned, bans.by_age.len()), (vec![1, 3, 4], 3));
        let mut nobody = Bans::new(0);
        nobody.ban('a', addr(1, 5), WHY);
        assert!(nobody.is_empty());
    }

    quickcheck! {
        fn nobody_is_banned_for_another_address(offences: Vec<(u8, u8, u8)>) -> bool {
            let mut bans = Bans::new(50);
            for (torrent, last, port) in &offences {
                bans.ban(torrent % 3, addr(last % 8, u16::from(port % 4)), WHY);
            }
            let has_offended = |last: u8| offences.iter().any(|offence| offence.1 % 8 == last);
            let is_bounded = bans.by_address.values().all(|one| one.offences.len() <= MOST_OFFENCES);
            is_bounded && (0..8).all(|last| {
                has_offended(last) || (0..4).all(|port| !bans.is_banned(0, addr(last, port)))
            })
        }
    }
}
