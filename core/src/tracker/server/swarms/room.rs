//! Room for one more when a bound is reached: whose entries yield (defence 41).
//!
//! A client that announces from one address as many ports, or as many torrents, as it likes would fill swarms
//! and tracker, and have the entries of all others forgotten or refused. So the groups of addresses that hold
//! most yield first. Which these are show some entries drawn at random, which needs no memory: a group
//! that holds a tenth of the places is among them nearly always, and one that holds few hardly ever twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::{PoolPeer, ServedSwarm, Swarms};
use crate::choke::AddressGroup;
use crate::piece::InfoHash;
use crate::time::Instant;

/// Entries that are drawn (chosen).
const DRAWN: usize = 64;
/// Of a swarm with more peers than these it is not asked whether it is one group's alone (chosen: bounds the
/// work).
const FEW: usize = 8;

/// An entry that was drawn.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    infohash: InfoHash,
    addr: SocketAddr,
    expires: Instant,
}

impl Drawn {
    fn group(&self) -> AddressGroup {
        AddressGroup::of(self.addr.ip())
    }
}

/// The groups that were drawn twice or more often, and more often than the newcomer's and one: with how
/// often.
fn crowding(drawn: &[Drawn], newcomer: AddressGroup) -> BTreeMap<AddressGroup, usize> {
    let mut counts: BTreeMap<AddressGroup, usize> = BTreeMap::new();
    drawn.iter().for_each(|entry| *counts.entry(entry.group()).or_default() += 1);
    let own = counts.get(&newcomer).copied().unwrap_or(0) + 1;
    counts.retain(|_, count| *count > own);
    counts
}

/// Of the group that was drawn most often the entry that was silent for longest, if a group crowds the list;
/// else of the newcomer's own, if it was drawn.
fn who_yields(drawn: &[Drawn], newcomer: AddressGroup) -> Option<Drawn> {
    let crowding = crowding(drawn, newcomer);
    let largest = crowding.iter().max_by_key(|(_, count)| **count).map(|(group, _)| *group);
    let largest = largest.unwrap_or(newcomer);
    let of_largest = drawn.iter().filter(|entry| entry.group() == largest);
    of_largest.min_by_key(|entry| (entry.expires, entry.infohash, entry.addr)).copied()
}

fn without_repeats(drawn: impl Iterator<Item = Drawn>) -> Vec<Drawn> {
    let by_name: BTreeMap<_, _> =
        drawn.map(|entry| ((entry.infohash, entry.addr), entry)).collect();
    by_name.into_values().collect()
}

impl Swarms {
    /// Sees to it that one more peer is within the bounds.
    pub(super) fn make_room(&mut self, infohash: InfoHash, newcomer: SocketAddr) {
        let Some(swarm) = self.swarms.get(&infohash) else {
            return self.make_room_in_all(newcomer);
        };
        if swarm.members.contains_key(&newcomer) {
            return;
        }
        if swarm.members.len() < self.config.max_peers_per_swarm {
            return self.make_room_in_all(newcomer);
        }
        let members = swarm.members.len();
        let at: Vec<usize> = match members <= DRAWN {
            true => (0..members).collect(),
            false => (0..DRAWN).map(|_| self.rng.index(members)).collect(),
        };
        let drawn = without_repeats(at.into_iter().filter_map(|at| swarm.entry(infohash, at)));
        let crowds = who_yields(&drawn, AddressGroup::of(newcomer.ip())).map(|entry| entry.addr);
        if let Some(yields) = crowds.or_else(|| swarm.head().map(|(_, addr)| addr)) {
            self.remove(infohash, yields);
        }
    }

    fn make_room_in_all(&mut self, newcomer: SocketAddr) {
        if self.peers < self.config.max_peers {
            return;
        }
        let drawn = self.draw_of_all();
        match who_yields(&drawn, AddressGroup::of(newcomer.ip())) {
            Some(entry) => self.remove(entry.infohash, entry.addr),
            None => self.forget_oldest(),
        }
    }

    /// Sees to it that there is a place for one more swarm, if one is held by groups that crowd the tracker
    /// and by nobody else; whether there is.
    pub(super) fn make_room_for_swarm(&mut self, newcomer: SocketAddr) -> bool {
        if self.swarms.len() < self.config.max_swarms {
            return true;
        }
        let drawn = self.draw_of_all();
        let crowding = crowding(&drawn, AddressGroup::of(newcomer.ip()));
        let drawn: BTreeSet<InfoHash> = drawn.iter().map(|entry| entry.infohash).collect();
        let theirs = |addr: &SocketAddr| crowding.contains_key(&AddressGroup::of(addr.ip()));
        for infohash in drawn {
            let Some(swarm) = self.swarms.get(&infohash) else { continue };
            let members = &swarm.by_expiry;
            if members.len() <= FEW && members.iter().all(|(_, addr)| theirs(addr)) {
                let members: Vec<SocketAddr> = members.iter().map(|(_, addr)| *addr).collect();
                members.into_iter().for_each(|addr| self.remove(infohash, addr));
                return true;
            }
        }
        false
    }

    /// One peer each of swarms drawn at random; all if there are few.
    fn draw_of_all(&mut self) -> Vec<Drawn> {
        let swarm_of = |infohash: &InfoHash| Some((*infohash, self.swarms.get(infohash)?));
        if self.peers <= DRAWN {
            let swarms = self.order.iter().filter_map(swarm_of);
            let of_swarm = |(infohash, swarm): (InfoHash, &ServedSwarm)| -> Vec<Drawn> {
                (0..swarm.members.len()).filter_map(|at| swarm.entry(infohash, at)).collect()
            };
            return swarms.flat_map(of_swarm).collect();
        }
        let (order, rng) = (&self.order, &mut self.rng);
        let draw = |_| {
            let (infohash, swarm) = swarm_of(order.get(rng.index(order.len()))?)?;
            swarm.entry(infohash, rng.index(swarm.members.len()))
        };
        without_repeats((0..DRAWN).filter_map(draw))
    }
}

impl ServedSwarm {
    /// The member of this number, counted through the pools.
    fn entry(&self, infohash: InfoHash, mut at: usize) -> Option<Drawn> {
        let addr = |peer: &PoolPeer| peer.listed.addr;
        for pool in &self.pools {
            match pool.get(at).map(addr) {
                Some(addr) => {
                    let expires = self.members.get(&addr)?.expires;
                    return Some(Drawn { infohash, addr, expires });
                }
                None => at -= pool.len(),
            }
        }
        None
    }
}
