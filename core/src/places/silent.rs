//! Who has held a place and never said who it is, by group of addresses (defences 39 and 41).
//!
//! A place that is held for nothing is free again after some seconds, and then goes to the next newcomer:
//! if silent connections come by the dozen, to another of theirs. So it is remembered whose they were. While
//! a newcomer is of a group that has not been silent, holders of groups that have been yield to it at once.
//! Where all are strangers, or all have been silent, nothing changes.
//!
//! Saying something on another connection forgives nothing: that would cost a silent crowd one handshake.
//! Time alone does. Invariants: at most [`MOST`] groups; who was silent longest ago is forgotten first.
//! O(log n).

use std::collections::{BTreeMap, BTreeSet};

use super::{HANDSHAKE_PATIENCE, Stage};
use crate::choke::AddressGroup;
use crate::time::{Duration, Instant};

/// Silence is remembered for so long (chosen: some handshakes' worth).
const MEMORY: Duration = Duration::from_secs(60);
/// Groups that are remembered (chosen: more than go through the places of a session in that time).
const MOST: usize = 4096;

/// The groups that were silent not long ago.
#[derive(Debug, Default)]
pub struct Silent {
    groups: BTreeMap<AddressGroup, Instant>,
    by_age: BTreeSet<(Instant, AddressGroup)>,
}

impl Silent {
    /// A connection is over that never said who it is; `since` it had a place.
    pub fn over(&mut self, group: AddressGroup, since: Instant, now: Instant) {
        if now - since < HANDSHAKE_PATIENCE && !self.was_silent(group, now) {
            return;
        }
        if let Some(before) = self.groups.insert(group, now) {
            self.by_age.remove(&(before, group));
        }
        self.by_age.insert((now, group));
        while let Some(&(at, oldest)) = self.by_age.first()
            && (now - at >= MEMORY || self.groups.len() > MOST)
        {
            self.by_age.pop_first();
            self.groups.remove(&oldest);
        }
    }

    /// How far a holder of this group has come that has not said who it is `since` then, as this newcomer
    /// finds it.
    pub fn stage(
        &self,
        group: AddressGroup,
        since: Instant,
        newcomer: AddressGroup,
        now: Instant,
    ) -> Stage {
        match self.was_silent(group, now) && !self.was_silent(newcomer, now) {
            true => Stage::Handshake(Instant::ZERO),
            false => Stage::Handshake(since),
        }
    }

    fn was_silent(&self, group: AddressGroup, now: Instant) -> bool {
        self.groups.get(&group).is_some_and(|at| now - *at < MEMORY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::{Holder, who_yields};

    fn at(millis: u64) -> Instant {
        Instant::from_secs(1000) + Duration::from_millis(millis)
    }

    fn group(number: u32) -> AddressGroup {
        AddressGroup::of(std::net::Ipv4Addr::from(0x0a00_0000 + number).into())
    }

    #[test]
    fn whose_connection_was_silent_yields_at_once_to_others_for_a_minute() {
        let mut silent = Silent::default();
        let (fresh, was) = (Stage::Handshake(at(5000)), Stage::Handshake(Instant::ZERO));
        let stage = |silent: &Silent, of, newcomer, now| {
            silent.stage(group(of), at(5000), group(newcomer), now)
        };
        silent.over(group(1), at(0), at(2999));
        assert_eq!(stage(&silent, 1, 2, at(5000)), fresh, "it was gone before its time");
        silent.over(group(1), at(0), at(3000));
        assert_eq!(stage(&silent, 1, 2, at(5000)), was);
        assert_eq!(stage(&silent, 2, 1, at(5000)), fresh);
        silent.over(group(2), at(0), at(4000));
        assert_eq!(stage(&silent, 1, 2, at(5000)), fresh, "one is as bad as the other");
        // It yielded again, soon: that renews what is remembered.
        silent.over(group(1), at(30_000), at(30_100));
        assert_eq!(stage(&silent, 1, 3, at(90_099)), was);
        assert_eq!(stage(&silent, 1, 3, at(90_100)), fresh);
    }

    #[test]
    fn memory_is_bounded() {
        let mut silent = Silent::default();
        (0..10_000).for_each(|number| silent.over(group(number), at(0), at(3000)));
        assert_eq!((silent.groups.len(), silent.by_age.len()), (MOST, MOST));
        silent.over(group(0), at(0), at(100_000));
        assert_eq!((silent.groups.len(), silent.by_age.len()), (1, 1));
    }

    /// Nine places, and strangers that say nothing, more than thirty a second: a newcomer keeps its place
    /// until its handshake is here, one round trip later.
    #[test]
    fn a_newcomer_gets_in_however_many_silent_connections_come_in_its_way() {
        let mut silent = Silent::default();
        let mut places: Vec<(u32, Instant)> = Vec::new();
        let come = |silent: &mut Silent, places: &mut Vec<(u32, Instant)>, of: u32, now| {
            if places.len() == 9 {
                let newcomer = group(of);
                let holder = |(key, (of, since)): (usize, &(u32, Instant))| {
                    let group = group(*of);
                    Holder { key, group, stage: silent.stage(group, *since, newcomer, now) }
                };
                let holders: Vec<_> = (0..).zip(places.iter()).map(holder).collect();
                let Some(yields) = who_yields(&holders, newcomer, now) else { return false };
                let (of, since) = places.remove(yields);
                silent.over(group(of), since, now);
            }
            places.push((of, now));
            true
        };
        for millis in (0..60_000).step_by(30) {
            let of = 100 + millis as u32 / 30 % 19;
            come(&mut silent, &mut places, of, at(millis));
        }
        assert!(come(&mut silent, &mut places, 1, at(60_001)), "no place for the newcomer");
        for millis in (60_010..62_000).step_by(30) {
            let of = 100 + millis as u32 / 30 % 19;
            come(&mut silent, &mut places, of, at(millis));
            assert!(places.iter().any(|(of, _)| *of == 1), "it has lost its place");
        }
    }
}
