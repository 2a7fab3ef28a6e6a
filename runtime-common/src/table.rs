//! Things by id.
//!
//! Ids are dense and have generations, so a table is an array and a check.

use bitswarm_core::id::Id;

/// Entries under ids that someone else gives out.
#[derive(Debug)]
pub(crate) struct Table<K, T> {
    slots: Vec<Option<(K, T)>>,
}

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Table { slots: Vec::new() }
    }
}

impl<K: Id + PartialEq, T> Table<K, T> {
    /// An empty table.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Puts `value` in the slot of `id`, in the place of what was there.
    pub(crate) fn insert(&mut self, id: K, value: T) {
        let slot = id.index() as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot] = Some((id, value));
    }

    /// The entry under exactly this id.
    pub(crate) fn get_mut(&mut self, id: K) -> Option<&mut T> {
        match self.slots.get_mut(id.index() as usize) {
            Some(Some((key, value))) if *key == id => Some(value),
            _ => None,
        }
    }

    /// Takes out the entry under exactly this id.
    pub(crate) fn remove(&mut self, id: K) -> Option<T> {
        let slot = self.slots.get_mut(id.index() as usize)?;
        slot.take_if(|(key, _)| *key == id).map(|(_, value)| value)
    }

    /// Who lives in a slot now.
    pub(crate) fn at(&mut self, slot: usize) -> Option<(K, &mut T)> {
        let (id, value) = self.slots.get_mut(slot)?.as_mut()?;
        Some((*id, value))
    }

    /// Every entry, in the order of slots.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut T)> {
        self.slots.iter_mut().flatten().map(|(id, value)| (*id, value))
    }
}

#[cfg(test)]
mod tests {
    use bitswarm_core::ConnId;

    use super::*;

    #[test]
    fn entry_is_found_under_its_own_generation_only() {
        let mut table = Table::new();
        table.insert(ConnId::new(2, 0), "first");
        assert_eq!(table.remove(ConnId::new(2, 0)), Some("first"));
        table.insert(ConnId::new(2, 1), "second");
        assert_eq!(table.get_mut(ConnId::new(2, 0)), None);
        assert_eq!(table.remove(ConnId::new(2, 0)), None);
        assert_eq!(table.at(2), Some((ConnId::new(2, 1), &mut "second")));
        assert_eq!(table.iter_mut().count(), 1);
    }
}
