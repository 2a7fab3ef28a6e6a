//! Messages of which a part has come: which peer is let go when those of all peers of the session together
//! hold more than is borne (defence 45).
//!
//! A message may be a megabyte long, and each connection may send most of one and no more; an ordinary message
//! is a block at most. Whichever torrent the peers are of, it is one of the addresses that hold most together
//! that goes, and of these the one that holds most.

use std::collections::BTreeMap;

use crate::choke::AddressGroup;

/// A peer with a part of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HalfMessage<K> {
    /// Its name, given back if it is let go.
    pub(crate) key: K,
    /// Whose address it has.
    pub(crate) group: AddressGroup,
    /// How many bytes of the message have come.
    pub(crate) bytes: usize,
}

/// The one to let go. O(n log n), asked only when the bound is exceeded.
pub(crate) fn largest<K: Copy + Ord>(holders: &[HalfMessage<K>]) -> Option<K> {
    let mut groups: BTreeMap<AddressGroup, usize> = BTreeMap::new();
    for holder in holders {
        let all = groups.entry(holder.group).or_default();
        *all = all.saturating_add(holder.bytes);
    }
    let of_group = |group| groups.get(&group).copied().unwrap_or(0);
    let largest =
        holders.iter().max_by_key(|holder| (of_group(holder.group), holder.bytes, holder.key));
    largest.map(|holder| holder.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(key: u32, host: u8, bytes: usize) -> HalfMessage<u32> {
        HalfMessage { key, group: AddressGroup::of([10, 0, 0, host].into()), bytes }
    }

    #[test]
    fn it_is_the_largest_of_the_addresses_that_hold_most() {
        assert_eq!(largest::<u32>(&[]), None);
        let mut holders = vec![holder(1, 1, 70_000), holder(2, 2, 40_000), holder(3, 3, 90_000)];
        assert_eq!(largest(&holders), Some(3));
        holders.push(holder(4, 2, 55_000));
        assert_eq!(largest(&holders), Some(4), "two of one address hold most");
    }
}
