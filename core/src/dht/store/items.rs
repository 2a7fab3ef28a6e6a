//! The items that others have stored here (BEP 44).
//!
//! Bounded in number, in all and by the address that stored them. When it is full, the group of addresses
//! that has stored most yields to one that has fewer, or what was not stored again for longest ([`Entries`],
//! defence 41). An item that nobody stores again lives for two hours.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::item::Item;
use crate::choke::AddressGroup;
use crate::dht::krpc::ErrorCode;
use crate::dht::node_id::NodeId;
use crate::places::Entries;
use crate::time::{Duration, Instant};

/// Most items kept (chosen: some 3 MB with everything around them).
pub const MAX_ITEMS: usize = 2000;

/// Most items kept of one address (chosen).
pub const MAX_ITEMS_OF_ADDRESS: usize = 100;

/// How long an item lives unless it is stored again (BEP 44, "expiration").
const LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);

/// When it is full, what was not stored again for so long yields (BEP 44: once an hour).
const PATIENCE: Duration = Duration::from_secs(70 * 60);

/// What others have stored.
#[derive(Debug, Default)]
pub struct ItemStore {
    items: BTreeMap<NodeId, Stored>,
    expiry: BTreeSet<(Instant, NodeId)>,
    entries: Entries<NodeId>,
}

#[derive(Debug)]
struct Stored {
    item: Item,
    by: IpAddr,
    expires_at: Instant,
}

impl ItemStore {
    /// How many items there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The item at a place.
    pub fn get(&self, now: Instant, target: &NodeId) -> Option<&Item> {
        self.items.get(target).filter(|stored| now < stored.expires_at).map(|stored| &stored.item)
    }

    /// Stores an item, in place of an older one.
    pub fn put(
        &mut self,
        now: Instant,
        by: IpAddr,
        item: Item,
        cas: Option<i64>,
    ) -> Result<(), ErrorCode> {
        self.expire(now);
        let target = item.target();
        match self.items.get(&target) {
            Some(stored) => may_replace(&stored.item, &item, cas)?,
            None => self.make_room(now, by)?,
        }
        // It stays counted for the address that stored it first, whichever renews it.
        let by = self.remove(&target).map_or(by, |old| old.by);
        self.entries.insert(AddressGroup::of(by), now, target);
        let expires_at = now + LIFETIME;
        self.expiry.insert((expires_at, target));
        self.items.insert(target, Stored { item, by, expires_at });
        Ok(())
    }

    /// Forgets what has expired.
    pub fn expire(&mut self, now: Instant) {
        while let Some(&(at, target)) = self.expiry.first()
            && at <= now
        {
            self.remove(&target);
        }
    }

    fn make_room(&mut self, now: Instant, by: IpAddr) -> Result<(), ErrorCode> {
        let group = AddressGroup::of(by);
        if self.entries.len_of(group) >= MAX_ITEMS_OF_ADDRESS {
            return Err(ErrorCode::Server);
        }
        if self.items.len() >= MAX_ITEMS {
            let yields = self.entries.who_yields(group, now, PATIENCE);
            self.remove(&yields.ok_or(ErrorCode::Server)?);
        }
        Ok(())
    }

    fn remove(&mut self, target: &NodeId) -> Option<Stored> {
        let stored = self.items.remove(target)?;
        self.expiry.remove(&(stored.expires_at, *target));
        let stored_at = stored.expires_at.saturating_sub(LIFETIME);
        self.entries.remove(AddressGroup::of(stored.by), stored_at, *target);
        Some(stored)
    }
}

/// Whether a mutable item may take the place of another (BEP 44, "put message", "CAS").
fn may_replace(old: &Item, new: &Item, cas: Option<i64>) -> Result<(), ErrorCode> {
    let (Some(old_seq), Some(new_seq)) = (old.seq(), new.seq()) else { return Ok(()) };
    if cas.is_some_and(|cas| cas != old_seq) {
        return Err(ErrorCode::CasMismatch);
    }
    if new_seq < old_seq || (new_seq == old_seq && new.value() != old.value()) {
        return Err(ErrorCode::SequenceTooLow);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(1, 2, 3, 4));

    fn secs(secs: u64) -> Instant {
        Instant::from_secs(secs)
    }

    fn mutable(seq: i64, value: &str) -> Item {
        let value = format!("{}:{value}", value.len());
        Item::mutable(&[7; 32], &b""[..], seq, value).unwrap()
    }

    fn immutable(n: usize) -> Item {
        Item::immutable(format!("i{n}e")).unwrap()
    }

    #[test]
    fn only_a_newer_item_takes_the_place() {
        let mut store = ItemStore::default();
        let target = mutable(1, "a").target();
        let mut put = |item, cas| store.put(secs(0), BY, item, cas);
        assert_eq!(put(mutable(5, "a"), Some(99)), Ok(()), "nothing to compare with");
        assert_eq!(put(mutable(4, "b"), None), Err(ErrorCode::SequenceTooLow));
        assert_eq!(put(mutable(5, "b"), None), Err(ErrorCode::SequenceTooLow));
        assert_eq!(put(mutable(5, "a"), None), Ok(()), "stored again");
        assert_eq!(put(mutable(6, "b"), Some(4)), Err(ErrorCode::CasMismatch));
        assert_eq!(put(mutable(6, "b"), Some(5)), Ok(()));
        assert_eq!(store.get(secs(0), &target), Some(&mutable(6, "b")));
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn an_item_lives_for_two_hours_after_it_was_last_stored() {
        let mut store = ItemStore::default();
        let target = immutable(1).target();
        store.put(secs(0), BY, immutable(1), None).unwrap();
        store.put(secs(3600), BY, immutable(1), None).unwrap();
        assert!(store.get(secs(3600 + 7199), &target).is_some());
        assert!(store.get(secs(3600 + 7200), &target).is_none());
        store.expire(secs(3600 + 7200));
        assert!(store.is_empty() && store.expiry.is_empty() && store.entries.is_empty());
    }

    #[test]
    fn there_is_a_bound_for_each_address_and_for_all() {
        let mut store = ItemStore::default();
        let mut refused = 0;
        for n in 0..5000_usize {
            let by = IpAddr::from([1, 1, 1, (n / 200) as u8]);
            refused += usize::from(store.put(secs(0), by, immutable(n), None).is_err());
        }
        assert_eq!(store.len(), MAX_ITEMS);
        assert!(
            refused >= 2500,
            "each has a hundred at most, and none more than others: {refused}"
        );
        let of = |n: u8| store.entries.len_of(AddressGroup::of([1, 1, 1, n].into()));
        assert!((0..25).all(|n| (1..=MAX_ITEMS_OF_ADDRESS).contains(&of(n))));
        assert_eq!(store.put(secs(7200), BY, immutable(9999), None), Ok(()), "all else expired");
        assert_eq!(store.len(), 1);
    }
}
