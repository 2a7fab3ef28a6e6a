//! Entries that strangers have in a list, by whose they are: who yields to a newcomer when the list is full.
//!
//! The same rule as for holders of other places ([`who_yields`](super::who_yields)), for lists so long that
//! they cannot be gone through: the group of addresses with most entries yields its oldest, at once if it has
//! more than the newcomer's would have. Otherwise an entry yields that was not renewed for the list's
//! patience. All is O(log n).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::choke::AddressGroup;
use crate::time::{Duration, Instant};

/// The entries of a list, each with a key, a group and when it was last renewed.
#[derive(Debug)]
pub struct Entries<K> {
    /// The oldest of each group first. No key is `None`, which is before all.
    by_group: BTreeSet<(AddressGroup, Instant, Option<K>)>,
    sizes: BTreeMap<AddressGroup, usize>,
    /// The largest group last; of equal ones the one whose oldest entry is the oldest.
    by_size: BTreeSet<Rank<K>>,
}

/// How many entries a group has, and the oldest of them.
type Rank<K> = (usize, Reverse<(Instant, K)>, AddressGroup);

impl<K> Default for Entries<K> {
    fn default() -> Self {
        Entries { by_group: BTreeSet::new(), sizes: BTreeMap::new(), by_size: BTreeSet::new() }
    }
}

impl<K: Copy + Ord> Entries<K> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.by_group.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_group.is_empty()
    }

    /// How many entries a group has.
    pub fn len_of(&self, group: AddressGroup) -> usize {
        self.sizes.get(&group).copied().unwrap_or(0)
    }

    /// There is a new entry, or one that was renewed, and removed before.
    pub fn insert(&mut self, group: AddressGroup, at: Instant, key: K) {
        self.unrank(group);
        if self.by_group.insert((group, at, Some(key))) {
            *self.sizes.entry(group).or_default() += 1;
        }
        self.rank(group);
    }

    /// An entry that was last renewed then is gone.
    pub fn remove(&mut self, group: AddressGroup, at: Instant, key: K) {
        self.unrank(group);
        if self.by_group.remove(&(group, at, Some(key)))
            && let Some(size) = self.sizes.get_mut(&group)
        {
            *size -= 1;
            if *size == 0 {
                self.sizes.remove(&group);
            }
        }
        self.rank(group);
    }

    /// The entry that yields to a newcomer of this group, if one does.
    pub fn who_yields(
        &self,
        newcomer: AddressGroup,
        now: Instant,
        patience: Duration,
    ) -> Option<K> {
        let &(size, Reverse((oldest, key)), group) = self.by_size.last()?;
        let own = self.len_of(newcomer) + 1;
        let is_larger = size > own && group != newcomer;
        let is_no_smaller = size >= own || group == newcomer;
        (is_larger || is_no_smaller && now - oldest >= patience).then_some(key)
    }

    fn unrank(&mut self, group: AddressGroup) {
        if let Some(rank) = self.rank_of(group) {
            self.by_size.remove(&rank);
        }
    }

    fn rank(&mut self, group: AddressGroup) {
        self.by_size.extend(self.rank_of(group));
    }

    fn rank_of(&self, group: AddressGroup) -> Option<Rank<K>> {
        let size = *self.sizes.get(&group)?;
        let (_, at, key) = self.by_group.range((group, Instant::ZERO, None)..).next()?;
        Some((size, Reverse((*at, (*key)?)), group))
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(100);

    fn group(number: u8) -> AddressGroup {
        AddressGroup::of([10, 0, 0, number].into())
    }

    fn at(secs: u64) -> Instant {
        Instant::from_secs(1000 + secs)
    }

    #[test]
    fn the_largest_group_yields_at_once_and_equals_after_their_patience() {
        let mut entries = Entries::default();
        (0..3).for_each(|key| entries.insert(group(1), at(key), key));
        entries.insert(group(2), at(0), 10);
        assert_eq!(entries.who_yields(group(3), at(3), PATIENCE), Some(0));
        assert_eq!(entries.who_yields(group(2), at(3), PATIENCE), Some(0));
        assert_eq!(entries.who_yields(group(1), at(99), PATIENCE), None, "its own are fresh");
        assert_eq!(entries.who_yields(group(1), at(100), PATIENCE), Some(0));
        (0..2).for_each(|key| entries.remove(group(1), at(key), key));
        assert_eq!(entries.who_yields(group(3), at(99), PATIENCE), None);
        assert_eq!(entries.who_yields(group(3), at(100), PATIENCE), Some(10), "the oldest");
        assert_eq!(entries.who_yields(group(2), at(500), PATIENCE), Some(10), "its own");
        assert_eq!(entries.who_yields(group(2), at(99), PATIENCE), None);
    }

    quickcheck! {
        /// A list of ten places, one newcomer after another: compared with a list that is gone through.
        fn who_yields_is_of_the_largest_group_and_has_waited_longest_in_it(steps: Vec<(u8, u8)>) -> bool {
            let mut entries = Entries::default();
            let mut model: Vec<(u8, u64, u64)> = Vec::new();
            let mut now = 0;
            for (key, (of, wait)) in (0..).zip(steps) {
                let of = of % 6;
                now += u64::from(wait % 40);
                if model.len() >= 10 {
                    let size = |of: u8| model.iter().filter(|entry| entry.0 == of).count();
                    let largest = model.iter().map(|entry| size(entry.0)).max().unwrap();
                    let oldest = model.iter().filter(|entry| size(entry.0) == largest);
                    let oldest = *oldest.min_by_key(|entry| (entry.1, entry.2)).unwrap();
                    let own = size(of) + 1;
                    let waited = now - oldest.1 >= PATIENCE.as_secs();
                    let yields = oldest.0 != of && largest > own
                        || (oldest.0 == of || largest >= own) && waited;
                    let found = entries.who_yields(group(of), at(now), PATIENCE);
                    if found != yields.then_some(oldest.2) {
                        return false;
                    }
                    if !yields {
                        continue;
                    }
                    model.retain(|entry| entry.2 != oldest.2);
                    entries.remove(group(oldest.0), at(oldest.1), oldest.2);
                }
                model.push((of, now, key));
                entries.insert(group(of), at(now), key);
            }
            entries.len() == model.len() && entries.sizes.len() == entries.by_size.len()
        }

        /// However many entries some groups put in, one that has none gets in, and one that has fewest
        /// loses none.
        fn a_crowd_keeps_nobody_out(crowd: Vec<u8>, places: u8) -> bool {
            let places = usize::from(places % 50) + 10;
            let mut entries = Entries::default();
            let mut held = BTreeMap::new();
            entries.insert(group(200), at(0), u64::MAX);
            for (key, of) in (0..).zip(crowd.iter().cycle().take(400)) {
                let of = group(of % 4);
                if entries.len() >= places {
                    let Some(yields) = entries.who_yields(of, at(1), PATIENCE) else { continue };
                    if yields == u64::MAX {
                        return false;
                    }
                    entries.remove(held.remove(&yields).unwrap(), at(1), yields);
                }
                held.insert(key, of);
                entries.insert(of, at(1), key);
            }
            entries.len() < places || entries.who_yields(group(201), at(1), PATIENCE).is_some()
        }
    }
}
