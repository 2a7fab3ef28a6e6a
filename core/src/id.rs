//! Generational ids, one type a kind, and the slab that hands them out.
//!
//! An id is an index and a generation. A freed slot is used again under the next generation, so a
//! completion for something that is gone finds nothing instead of a stranger. Slots are given out
//! last-freed-first: the sequence of ids depends on the sequence of calls alone.

use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use crate::work;

/// What an id is made of; implemented by the `id_type!` types only.
pub trait Id: Copy {
    /// Assembles an id.
    fn new(index: u32, generation: u32) -> Self;
    /// The slot: small and dense, fit for an array of the caller's own.
    fn index(self) -> u32;
    /// How often the slot was freed before.
    fn generation(self) -> u32;
}

/// Declares an id type; `pub` or not, as it is written.
macro_rules! id_type {
    ($(#[$doc:meta])* $vis:vis $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        $vis struct $name {
            index: u32,
            generation: u32,
        }

        impl $crate::id::Id for $name {
            fn new(index: u32, generation: u32) -> Self {
                $name { index, generation }
            }
            fn index(self) -> u32 {
                self.index
            }
            fn generation(self) -> u32 {
                self.generation
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({}.{})"), self.index, self.generation)
            }
        }
    };
}

id_type!(
    /// One torrent of the session.
    pub TorrentId
);
id_type!(
    /// One stream connection, from `Connect` or `accept` until `Closed`.
    pub ConnId
);
id_type!(
    /// One listener or datagram socket, from `Bind` until the engine is dropped.
    pub SocketId
);
id_type!(
    /// One request to the disk, a worker or the resolver; completes exactly once.
    pub OpId
);
id_type!(
    /// One torrent's files as the runtime knows them, from `Open` until `Close`.
    pub StoreId
);

id_type!(
    /// One peer of one torrent.
    pub(crate) PeerSlot
);
id_type!(
    /// One fetch over HTTP under way.
    pub(crate) FetchId
);
id_type!(
    /// One announce under way.
    pub(crate) AnnounceId
);
id_type!(
    /// A client of the embedded tracker.
    pub(crate) ClientId
);

pub(crate) use id_type;

/// A table whose keys are generational ids. Insert, look up and remove are O(1).
#[derive(Clone)]
pub struct Slab<K, T> {
    slots: Vec<Slot<T>>,
    /// Head of the list of free slots; `NONE` if there are none.
    free: u32,
    len: u32,
    key: PhantomData<fn() -> K>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Slot<T> {
    generation: u32,
    entry: Entry<T>,
}

#[derive(Clone, Serialize, Deserialize)]
enum Entry<T> {
    Free { next: u32 },
    Used(T),
}

const NONE: u32 = u32::MAX;

impl<K: Id, T> Default for Slab<K, T> {
    fn default() -> Self {
        Slab { slots: Vec::new(), free: NONE, len: 0, key: PhantomData }
    }
}

impl<K: Id, T> Slab<K, T> {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many entries it holds.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Stores `value` under a new id.
    pub fn insert(&mut self, value: T) -> K {
        self.insert_with(|_| value)
    }

    /// Stores what `make` returns, which may contain its own id.
    pub fn insert_with(&mut self, make: impl FnOnce(K) -> T) -> K {
        self.len += 1;
        if self.free == NONE {
            let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 entries at once");
            let key = K::new(index, 0);
            self.slots.push(Slot { generation: 0, entry: Entry::Used(make(key)) });
            return key;
        }
        let index = self.free;
        let slot = &mut self.slots[index as usize];
        let key = K::new(index, slot.generation);
        if let Entry::Free { next } = slot.entry {
            self.free = next;
        }
        slot.entry = Entry::Used(make(key));
        key
    }

    /// The entry under `key`, if it still lives.
    pub fn get(&self, key: K) -> Option<&T> {
        match self.slots.get(key.index() as usize) {
            Some(Slot { generation, entry: Entry::Used(value) })
                if *generation == key.generation() =>
            {
                Some(value)
            }
            _ => None,
        }
    }

    /// The entry under `key`, if it still lives.
    pub fn get_mut(&mut self, key: K) -> Option<&mut T> {
        match self.slots.get_mut(key.index() as usize) {
            Some(Slot { generation, entry: Entry::Used(value) })
                if *generation == key.generation() =>
            {
                Some(value)
            }
            _ => None,
        }
    }

    /// Whether `key` still lives.
    pub fn contains(&self, key: K) -> bool {
        self.get(key).is_some()
    }

    /// Takes the entry under `key` out.
    pub fn remove(&mut self, key: K) -> Option<T> {
        let slot = self.slots.get_mut(key.index() as usize)?;
        if slot.generation != key.generation() || matches!(slot.entry, Entry::Free { .. }) {
            return None;
        }
        slot.generation = slot.generation.wrapping_add(1);
        let entry = std::mem::replace(&mut slot.entry, Entry::Free { next: self.free });
        self.free = key.index();
        self.len -= 1;
        match entry {
            Entry::Used(value) => Some(value),
            Entry::Free { .. } => None,
        }
    }

    /// The id that lives in slot `index` now.
    pub fn key_at(&self, index: u32) -> Option<K> {
        match self.slots.get(index as usize) {
            Some(Slot { generation, entry: Entry::Used(_) }) => Some(K::new(index, *generation)),
            _ => None,
        }
    }

    /// All entries in the order of their slots: deterministic.
    pub fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            work::touch(1);
            match &slot.entry {
                Entry::Used(value) => Some((K::new(index as u32, slot.generation), value)),
                Entry::Free { .. } => None,
            }
        })
    }

    /// All entries in the order of their slots, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(index, slot)| {
            work::touch(1);
            match &mut slot.entry {
                Entry::Used(value) => Some((K::new(index as u32, slot.generation), value)),
                Entry::Free { .. } => None,
            }
        })
    }

    /// All ids in the order of their slots.
    pub fn keys(&self) -> impl Iterator<Item = K> {
        self.iter().map(|(key, _)| key)
    }
}

impl<K: Id + fmt::Debug, T: fmt::Debug> fmt::Debug for Slab<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_something_gone_finds_nothing_though_its_slot_lives_again() {
        let mut slab: Slab<OpId, &str> = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.index(), first.index());
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.len(), 1);
    }
}
