//! What the peers of one address may together have of us in a minute, or tell us, of each torrent, however
//! often they connect (defence 39).
//!
//! A peer's own bounds are its connection's; these are a few times as much, for some homes behind one address.
//! On loopback everybody has the same address, and has no more than its own bounds.

use std::net::IpAddr;

use crate::choke::AddressGroup;
use crate::id::TorrentId;
use crate::rate::GroupAllowances;
use crate::time::Instant;

/// Shares counted of each kind in the whole session, each an address' in one torrent (chosen; past it all
/// that come share one).
const GROUPS: usize = 4096;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// Pieces of metadata.
    Metadata,
    /// Hashes (BEP 52).
    Hashes,
    /// Bytes read to make leaf hashes of.
    Leaves,
    /// Addresses of peers that it tells us (BEP 11).
    Named,
    /// DHT nodes that it says it has (BEP 5).
    Nodes,
}

/// The counts of the last minute.
#[derive(Debug)]
pub(crate) struct Shares {
    kinds: [GroupAllowances<(TorrentId, AddressGroup)>; 5],
}

impl Shares {
    /// Nobody has had anything.
    pub(crate) fn new() -> Self {
        Shares { kinds: std::array::from_fn(|_| GroupAllowances::new(GROUPS)) }
    }

    /// A peer at this address takes so much; whether it may, if no more than `most` are taken in a minute.
    /// O(log n).
    pub(crate) fn take(
        &mut self,
        now: Instant,
        of: (Taken, TorrentId),
        by: IpAddr,
        amount: u64,
        most: u64,
    ) -> bool {
        let (kind, torrent) = of;
        let by = by.to_canonical();
        by.is_loopback()
            || self.kinds[kind as usize].take(now, (torrent, AddressGroup::of(by)), amount, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Slab;

    #[test]
    fn each_kind_torrent_and_address_has_its_own_share() {
        let mut ids: Slab<TorrentId, ()> = Slab::new();
        let (one, two) = (ids.insert(()), ids.insert(()));
        let (mut shares, now) = (Shares::new(), Instant::from_secs(5));
        let ip = |last: u8| IpAddr::from([8, 8, 8, last]);
        let mut take = |kind, torrent, by| shares.take(now, (kind, torrent), by, 3, 5);
        assert!(take(Taken::Hashes, one, ip(1)) && !take(Taken::Hashes, one, ip(1)));
        assert!(take(Taken::Leaves, one, ip(1)) && take(Taken::Hashes, two, ip(1)));
        assert!(take(Taken::Hashes, one, ip(2)));
        assert!((0..10).all(|_| take(Taken::Hashes, one, [127, 0, 0, 1].into())));
    }
}
