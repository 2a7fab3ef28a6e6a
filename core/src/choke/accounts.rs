//! What was given and taken beyond a connection, by address.
//!
//! A peer that comes back goes on where it was: else one that takes and never gives would only have to
//! reconnect, to count as a newcomer whose wait counts more. Addresses are told apart as for slots
//! ([`AddressGroup`]), since a port is easily changed.
//!
//! Invariants: at most `capacity` groups; who was gone for longest is forgotten first. O(log n).

use std::collections::BTreeMap;

use super::AddressGroup;
use crate::refusals::Refusals;
use crate::time::Instant;

/// What passed between us and one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// Bytes of blocks sent to it.
    pub uploaded: u64,
    /// Bytes of blocks it sent us.
    pub downloaded: u64,
    /// Bytes it sent us that it was not asked for.
    pub wasted: u64,
    /// When it was last unchoked, if ever.
    pub unchoked_at: Option<Instant>,
    /// How many of its slots in a row it let lie idle, up to the last.
    pub idled: u8,
    /// What it rejected last.
    pub refusals: Refusals,
}

impl Account {
    /// The two together.
    pub fn plus(self, more: Account) -> Account {
        Account {
            uploaded: self.uploaded.saturating_add(more.uploaded),
            downloaded: self.downloaded.saturating_add(more.downloaded),
            wasted: self.wasted.saturating_add(more.wasted),
            unchoked_at: self.unchoked_at.max(more.unchoked_at),
            idled: if more.unchoked_at.is_some() { more.idled } else { self.idled },
            refusals: more.refusals,
        }
    }
}

/// The accounts of those who are gone.
#[derive(Debug)]
pub struct Accounts {
    by_group: BTreeMap<AddressGroup, (u64, Account)>,
    /// By when they were last written to.
    order: BTreeMap<u64, AddressGroup>,
    written: u64,
    capacity: usize,
}

impl Accounts {
    /// For at most so many groups.
    pub fn new(capacity: usize) -> Self {
        Accounts { by_group: BTreeMap::new(), order: BTreeMap::new(), written: 0, capacity }
    }

    /// What passed on a connection that is over.
    pub fn add(&mut self, group: AddressGroup, more: Account) {
        if more == Account::default() {
            return;
        }
        let before = self.by_group.remove(&group);
        let account = before.map_or(more, |(at, account)| {
            self.order.remove(&at);
            account.plus(more)
        });
        self.written += 1;
        self.by_group.insert(group, (self.written, account));
        self.order.insert(self.written, group);
        if self.by_group.len() > self.capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.by_group.remove(&oldest);
        }
    }

    /// What passed on earlier connections.
    pub fn of(&self, group: AddressGroup) -> Account {
        self.by_group.get(&group).map(|(_, account)| *account).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(uploaded: u64, downloaded: u64, unchoked_at: Option<u64>) -> Account {
        let unchoked_at = unchoked_at.map(Instant::from_secs);
        Account { uploaded, downloaded, wasted: downloaded / 2, unchoked_at, ..Account::default() }
    }

    #[test]
    fn what_passed_on_several_connections_adds_up() {
        let mut accounts = Accounts::new(4);
        let group = AddressGroup(7);
        accounts.add(group, account(10, 1, Some(5)));
        accounts.add(group, account(20, 2, None));
        accounts.add(AddressGroup(8), account(1, 0, None));
        assert_eq!(accounts.of(group), account(30, 3, Some(5)));
        assert_eq!(accounts.of(AddressGroup(9)), Account::default());
    }

    #[test]
    fn who_was_gone_for_longest_is_forgotten_first_and_who_did_nothing_takes_no_room() {
        let mut accounts = Accounts::new(2);
        for group in [1, 2, 1, 3] {
            accounts.add(AddressGroup(group), account(1, 0, None));
        }
        (10..20).for_each(|group| accounts.add(AddressGroup(group), Account::default()));
        let taken: Vec<u64> =
            (1..4).map(|group| accounts.of(AddressGroup(group)).uploaded).collect();
        assert_eq!(taken, [2, 0, 1]);
        assert_eq!((accounts.by_group.len(), accounts.order.len()), (2, 2));
    }
}
