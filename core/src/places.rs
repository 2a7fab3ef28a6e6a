//! Who stays when there are more who want a place than places: one rule for all that are kept for
//! strangers (defence 41).
//!
//! Places that are taken first come and kept for nothing are held by peers that open connections and wait.
//! So a newcomer may have the place of the least useful holder: first of one that is not through its
//! handshake, then of one that for [`PATIENCE`] has neither given nor taken anything though it could. Among
//! equals it is one of the largest group of addresses ([`AddressGroup`]) that yields, and of these the one
//! that is idle for longest. Holders that give or take never yield.
//!
//! Whose group holds more than the newcomer's would is not waited for in the handshake, and yields also
//! while it waits for us. A newcomer takes no place of a smaller group than its own: who has many
//! connections does not crowd out who has one. This is a pure function of what is asked.

mod entries;
mod silent;

use std::collections::BTreeMap;

use crate::choke::AddressGroup;
use crate::time::{Duration, Instant};
pub use entries::Entries;
pub use silent::Silent;

/// A holder of a place that neither gives nor takes yields after this (chosen).
pub const PATIENCE: Duration = Duration::from_secs(20);
/// One that has not said who it is yields after this (chosen: some round trips of the slowest paths).
pub const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(3);

/// How far the holder of a place has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// It has not said who it is, since then.
    Handshake(Instant),
    /// It has, and could have given or taken something since then.
    Idle(Instant),
    /// It waits for us since then: it wants what we have, and we have not let it.
    Waits(Instant),
}

/// One who holds a place.
#[derive(Clone, Copy, Debug)]
pub struct Holder<K> {
    /// Its name, given back if it is to yield.
    pub key: K,
    /// Whose addresses it has.
    pub group: AddressGroup,
    /// How far it has come.
    pub stage: Stage,
}

/// Who yields to a newcomer of this group, if anybody does. O(n log n).
pub fn who_yields<K: Copy + Ord>(
    holders: &[Holder<K>],
    newcomer: AddressGroup,
    now: Instant,
) -> Option<K> {
    let mut groups: BTreeMap<AddressGroup, usize> = BTreeMap::new();
    holders.iter().for_each(|holder| *groups.entry(holder.group).or_default() += 1);
    let size = |group: AddressGroup| groups.get(&group).copied().unwrap_or(0);
    // The one that would come in counts too.
    let own = size(newcomer) + 1;
    let candidates = holders.iter().filter(|holder| {
        let is_no_smaller = size(holder.group) >= own || holder.group == newcomer;
        // Who is alone yields to who is alone.
        let is_one_for_one = own == 1 && size(holder.group) == 1;
        let is_larger = size(holder.group) > own && holder.group != newcomer;
        (is_no_smaller || is_one_for_one) && may_yield(holder.stage, is_larger, now)
    });
    candidates
        .min_by_key(|holder| {
            let (rank, since) = match holder.stage {
                Stage::Handshake(since) => (0, since),
                Stage::Idle(since) => (1, since),
                Stage::Waits(since) => (2, since),
            };
            (rank, std::cmp::Reverse(size(holder.group)), since, holder.key)
        })
        .map(|holder| holder.key)
}

fn may_yield(stage: Stage, is_of_larger_group: bool, now: Instant) -> bool {
    match stage {
        Stage::Handshake(since) => is_of_larger_group || now - since >= HANDSHAKE_PATIENCE,
        Stage::Idle(since) => now - since >= PATIENCE,
        Stage::Waits(since) => is_of_larger_group && now - since >= PATIENCE,
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::{Arbitrary, Gen, quickcheck};

    use super::*;

    const NOW: Instant = Instant::from_secs(1000);

    fn secs_ago(secs: u64) -> Instant {
        Instant::from_secs(1000 - secs)
    }

    fn group(number: u8) -> AddressGroup {
        AddressGroup::of([10, 0, 0, number].into())
    }

    fn holder(key: u32, of: u8, stage: Stage) -> Holder<u32> {
        Holder { key, group: group(of), stage }
    }

    fn yields(holders: &[Holder<u32>], newcomer: u8) -> Option<u32> {
        who_yields(holders, group(newcomer), NOW)
    }

    #[test]
    fn a_holder_that_gives_or_takes_stays() {
        let busy: Vec<_> =
            (0..100).map(|key| holder(key, key as u8 % 3, Stage::Idle(secs_ago(19)))).collect();
        assert_eq!(yields(&busy, 200), None);
        // Nor who is alone and waits for a slot, however long.
        let waits: Vec<_> =
            (0..100).map(|key| holder(key, key as u8, Stage::Waits(secs_ago(900)))).collect();
        assert_eq!(yields(&waits, 200), None);
        let many: Vec<_> =
            (0..100).map(|key| holder(key, key as u8 / 9, Stage::Waits(secs_ago(20)))).collect();
        assert!(yields(&many, 200).is_some());
    }

    #[test]
    fn the_silent_yield_first_and_of_them_the_largest_group() {
        let mut holders = vec![
            holder(1, 1, Stage::Idle(secs_ago(500))),
            holder(2, 2, Stage::Handshake(secs_ago(9))),
            holder(3, 3, Stage::Handshake(secs_ago(4))),
            holder(4, 3, Stage::Handshake(secs_ago(2))),
        ];
        assert_eq!(yields(&holders, 9), Some(3));
        holders.retain(|holder| holder.key != 3);
        assert_eq!(yields(&holders, 9), Some(2), "not the one that has just come");
        holders.retain(|holder| holder.key != 2);
        assert_eq!(yields(&holders, 9), Some(1), "the other has just come");
    }

    #[test]
    fn one_with_many_connections_crowds_out_nobody() {
        let idle = |key, of| holder(key, of, Stage::Idle(secs_ago(100)));
        let holders = [idle(1, 1), idle(2, 2), idle(3, 2)];
        assert_eq!(yields(&holders, 2), Some(2), "it may have another of its own");
        assert_eq!(yields(&holders, 1), Some(2));
        let alone = [idle(1, 1), idle(2, 2)];
        assert_eq!(yields(&alone, 3), Some(1));
        assert_eq!(yields(&alone, 2), Some(2));
    }

    #[derive(Clone, Copy, Debug)]
    struct Any(u8, u8, u8);

    impl Arbitrary for Any {
        fn arbitrary(g: &mut Gen) -> Self {
            Any(u8::arbitrary(g) % 12, u8::arbitrary(g) % 60, u8::arbitrary(g) % 3)
        }
    }

    fn crowd(any: &[Any]) -> Vec<Holder<u32>> {
        let stage = |any: &Any| match any.2 {
            0 => Stage::Handshake(secs_ago(any.1.into())),
            1 => Stage::Idle(secs_ago(any.1.into())),
            _ => Stage::Waits(secs_ago(any.1.into())),
        };
        (0..).zip(any).map(|(key, any)| holder(key, any.0, stage(any))).collect()
    }

    quickcheck! {
        fn nobody_useful_yields_and_a_stranger_of_its_own_finds_a_place_where_one_idles(
            any: Vec<Any>, newcomer: u8
        ) -> bool {
            let holders = crowd(&any);
            let may = |holder: &Holder<u32>, larger| may_yield(holder.stage, larger, NOW);
            let idlers = holders.iter().filter(|holder| may(holder, false)).count();
            match yields(&holders, newcomer) {
                Some(key) => may(&holders[key as usize], true),
                // Nobody idles, or the newcomer has more places than those who do.
                None => idlers == 0 || newcomer < 12,
            }
        }

        /// Whatever is held and by whom, a lone newcomer that tries each second gets in within 30 s, while
        /// others that only connect come every second too.
        fn newcomer_gets_a_place_within_half_a_minute(any: Vec<Any>, places: u8) -> bool {
            let places = usize::from(places % 100) + 10;
            let idle = |holder: &Holder<u32>| !matches!(holder.stage, Stage::Waits(_));
            let mut holders: Vec<Holder<u32>> =
                crowd(&any).into_iter().filter(idle).take(places).collect();
            let mut next = 1000;
            for second in 0..30_u64 {
                let now = NOW + Duration::from_secs(second);
                // Six at a time from four addresses.
                for stranger in 0..6 {
                    next += 1;
                    let of = 50 + stranger % 4;
                    let new = holder(next, of, Stage::Handshake(now));
                    if holders.len() < places {
                        holders.push(new);
                    } else if let Some(key) = who_yields(&holders, group(of), now) {
                        holders.retain(|holder| holder.key != key);
                        holders.push(new);
                    }
                }
                if holders.len() < places
                    || who_yields(&holders, group(200), now).is_some()
                {
                    return true;
                }
            }
            false
        }
    }
}
