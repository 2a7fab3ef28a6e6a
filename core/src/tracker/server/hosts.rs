//! How many peers a swarm has, where a host may be in it by an address of each family (BEP 7): it says so
//! by the same peer id and key in both.
//!
//! Constant work for each peer that comes or goes. A peer without a key counts by itself; so do several
//! with one peer id and key in one family, whatever they are.

use crate::family::Family;
use crate::map::{HashKeys, Map};
use crate::piece::PeerId;

/// Which host a peer is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct HostId(PeerId, u32);

impl HostId {
    /// `None` if it does not say.
    pub(super) fn of(peer_id: PeerId, key: u32) -> Option<Self> {
        (key != 0).then_some(HostId(peer_id, key))
    }
}

/// The peers of a swarm, counted by hosts.
#[derive(Debug)]
pub(super) struct Hosts {
    known: Map<HostId, Addresses>,
    seeds: usize,
    leeches: usize,
}

/// The addresses of one host, IPv4 first.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Addresses {
    seeds: [usize; 2],
    leeches: [usize; 2],
}

impl Hosts {
    pub(super) fn new(keys: HashKeys) -> Self {
        Hosts { known: Map::with_hasher(keys), seeds: 0, leeches: 0 }
    }

    pub(super) fn seeds(&self) -> usize {
        self.seeds
    }

    pub(super) fn leeches(&self) -> usize {
        self.leeches
    }

    /// Whether a host has all, by any of its addresses.
    pub(super) fn is_seed(&self, host: HostId) -> bool {
        self.known.get(&host).is_some_and(|addresses| addresses.peers().0 > 0)
    }

    /// A peer came.
    pub(super) fn add(&mut self, host: Option<HostId>, family: Family, is_seed: bool) {
        let Some(host) = host else {
            let total = if is_seed { &mut self.seeds } else { &mut self.leeches };
            *total += 1;
            return;
        };
        let addresses = self.known.entry(host).or_default();
        let before = addresses.peers();
        *addresses.count(family, is_seed) += 1;
        let after = addresses.peers();
        self.recount(before, after);
    }

    /// A peer that was added went.
    pub(super) fn remove(&mut self, host: Option<HostId>, family: Family, is_seed: bool) {
        let Some(host) = host else {
            let total = if is_seed { &mut self.seeds } else { &mut self.leeches };
            *total = total.saturating_sub(1);
            return;
        };
        let Some(addresses) = self.known.get_mut(&host) else { return };
        let before = addresses.peers();
        let count = addresses.count(family, is_seed);
        *count = count.saturating_sub(1);
        let after = addresses.peers();
        if after == (0, 0) {
            self.known.remove(&host);
        }
        self.recount(before, after);
    }

    fn recount(&mut self, before: (usize, usize), after: (usize, usize)) {
        self.seeds = (self.seeds + after.0).saturating_sub(before.0);
        self.leeches = (self.leeches + after.1).saturating_sub(before.1);
    }
}

impl Addresses {
    fn count(&mut self, family: Family, is_seed: bool) -> &mut usize {
        let [v4, v6] = if is_seed { &mut self.seeds } else { &mut self.leeches };
        if family == Family::V4 { v4 } else { v6 }
    }

    /// How many seeds and leeches they are: an address of each family is one peer, and that is a seed
    /// if it is by either.
    fn peers(&self) -> (usize, usize) {
        let all = |at: fn(&[usize; 2]) -> usize| at(&self.seeds) + at(&self.leeches);
        let seeds = self.seeds[0].max(self.seeds[1]);
        let all = all(|of| of[0]).max(all(|of| of[1]));
        (seeds, all.saturating_sub(seeds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SecretRng;

    fn hosts() -> Hosts {
        Hosts::new(HashKeys::draw(&mut SecretRng::from_seed([1; 32])))
    }

    #[test]
    fn a_host_of_both_families_is_one_peer() {
        let mut hosts = hosts();
        let host = HostId::of(PeerId([1; 20]), 7);
        hosts.add(host, Family::V4, false);
        hosts.add(host, Family::V6, false);
        assert_eq!((hosts.seeds(), hosts.leeches()), (0, 1));
        // It became a seed, and has said so in one of them.
        hosts.remove(host, Family::V4, false);
        hosts.add(host, Family::V4, true);
        assert_eq!((hosts.seeds(), hosts.leeches()), (1, 0));
        assert!(hosts.is_seed(host.unwrap()));
        hosts.remove(host, Family::V4, true);
        assert_eq!((hosts.seeds(), hosts.leeches()), (0, 1));
        hosts.remove(host, Family::V6, false);
        assert_eq!((hosts.seeds(), hosts.leeches()), (0, 0));
        assert!(hosts.known.is_empty());
    }

    #[test]
    fn others_count_by_themselves() {
        let mut hosts = hosts();
        let host = HostId::of(PeerId([1; 20]), 7);
        // Another key, the same family twice, none at all.
        hosts.add(host, Family::V4, true);
        hosts.add(host, Family::V4, true);
        hosts.add(HostId::of(PeerId([1; 20]), 8), Family::V6, true);
        assert_eq!(HostId::of(PeerId([1; 20]), 0), None);
        hosts.add(None, Family::V4, true);
        hosts.add(None, Family::V6, false);
        assert_eq!((hosts.seeds(), hosts.leeches()), (4, 1));
        hosts.remove(None, Family::V6, false);
        hosts.remove(host, Family::V4, true);
        assert_eq!((hosts.seeds(), hosts.leeches()), (3, 0));
    }
}
