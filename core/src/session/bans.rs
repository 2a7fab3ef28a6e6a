//! Addresses with which this session has no dealings any more.
//!
//! Bounded: past the bound the oldest ban is lifted, so a list that somebody managed to fill costs
//! nothing but memory of old offences. Kept for the session only. What is an offence is decided by
//! whoever bans (see `SmartBan` for proof of wrong data).

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use crate::notice::BanReason;

/// The banned addresses. An IPv4 address and its IPv6 form are one.
#[derive(Clone, Debug)]
pub struct Bans {
    by_address: BTreeMap<IpAddr, Ban>,
    by_age: BTreeMap<u64, IpAddr>,
    /// Bans so far: names the next one.
    made: u64,
    most: usize,
}

#[derive(Clone, Copy, Debug)]
struct Ban {
    number: u64,
    reason: BanReason,
}

impl Bans {
    /// No bans, and at most `most` at once (`Bounds::bans`).
    pub fn new(most: usize) -> Self {
        Bans { by_address: BTreeMap::new(), by_age: BTreeMap::new(), made: 0, most }
    }

    /// Bans an address; whether it was not banned before. If it was, that counts from now.
    pub fn ban(&mut self, ip: IpAddr, reason: BanReason) -> bool {
        let is_new = !self.lift(ip);
        let ip = ip.to_canonical();
        self.by_address.insert(ip, Ban { number: self.made, reason });
        self.by_age.insert(self.made, ip);
        self.made += 1;
        if self.by_address.len() > self.most
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.by_address.remove(&oldest);
        }
        is_new
    }

    /// Lifts a ban; whether there was one.
    pub fn lift(&mut self, ip: IpAddr) -> bool {
        let ban = self.by_address.remove(&ip.to_canonical());
        ban.is_some_and(|ban| self.by_age.remove(&ban.number).is_some())
    }

    /// Whether an address is banned.
    pub fn is_banned(&self, ip: IpAddr) -> bool {
        self.reason(ip).is_some()
    }

    /// Why an address is banned.
    pub fn reason(&self, ip: IpAddr) -> Option<BanReason> {
        self.by_address.get(&ip.to_canonical()).map(|ban| ban.reason)
    }

    /// How many addresses are banned.
    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Whether no address is banned.
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// Every ban, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, BanReason)> + '_ {
        self.by_age.values().filter_map(|ip| Some((*ip, self.reason(*ip)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn a_banned_address_is_banned_in_both_its_forms_until_lifted() {
        let mut bans = Bans::new(10);
        assert!(bans.ban(ip(1), BanReason::WrongData));
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(bans.reason(mapped), Some(BanReason::WrongData));
        assert!(!bans.ban(mapped, BanReason::User));
        assert_eq!((bans.len(), bans.reason(ip(1))), (1, Some(BanReason::User)));
        assert!(bans.lift(ip(1)) && !bans.lift(ip(1)));
        assert!(bans.is_empty() && !bans.is_banned(ip(1)));
    }

    #[test]
    fn past_the_bound_the_oldest_ban_is_lifted() {
        let mut bans = Bans::new(3);
        for last in 1..=3 {
            bans.ban(ip(last), BanReason::Protocol);
        }
        bans.ban(ip(1), BanReason::Protocol);
        bans.ban(ip(4), BanReason::Protocol);
        let order: Vec<_> = bans.iter().map(|(ip, _)| ip).collect();
        assert_eq!(order, [ip(3), ip(1), ip(4)]);
    }

    #[test]
    fn a_bound_of_zero_bans_nobody() {
        let mut bans = Bans::new(0);
        bans.ban(ip(1), BanReason::User);
        assert!(bans.is_empty() && bans.iter().next().is_none());
    }
}
