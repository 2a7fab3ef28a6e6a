//! Things by id, and the tokens that tell which of them is ready.
//!
//! Ids are dense and have generations, so a table is an array and a check. A token holds the slot
//! alone: readiness of a socket that is gone may reach the next one in its slot, and is then
//! spurious, which does no harm (the read or write finds nothing to do).

use bitswarm_core::id::Id;
use mio::Token;

/// Entries under ids that someone else gives out.
#[derive(Debug)]
pub(crate) struct Table<K, T> {
    slots: Vec<Option<(K, T)>>,
}

impl<K: Id + PartialEq, T> Table<K, T> {
    pub(crate) fn new() -> Self {
        Table { slots: Vec::new() }
    }

    /// Puts `value` in the slot of `id`, in the place of what was there.
    pub(crate) fn insert(&mut self, id: K, value: T) {
        let slot = id.index() as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot] = Some((id, value));
    }

    pub(crate) fn get_mut(&mut self, id: K) -> Option<&mut T> {
        match self.slots.get_mut(id.index() as usize) {
            Some(Some((key, value))) if *key == id => Some(value),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, id: K) -> Option<T> {
        let slot = self.slots.get_mut(id.index() as usize)?;
        slot.take_if(|(key, _)| *key == id).map(|(_, value)| value)
    }

    /// Who lives in a slot now.
    pub(crate) fn at(&mut self, slot: usize) -> Option<(K, &mut T)> {
        let (id, value) = self.slots.get_mut(slot)?.as_mut()?;
        Some((*id, value))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut T)> {
        self.slots.iter_mut().flatten().map(|(id, value)| (*id, value))
    }
}

/// Whose readiness an event tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// Another thread has put something in.
    Inbox,
    /// The connection in this slot.
    Connection(usize),
    /// The closed connection in this slot that still sends.
    Lingering(usize),
    /// The listener in this slot.
    Listener(usize),
    /// The datagram socket in this slot.
    Datagrams(usize),
}

/// Kinds of sources that a token tells apart.
const KINDS: usize = 5;

impl Source {
    pub(crate) fn token(self) -> Token {
        let (kind, slot) = match self {
            Source::Inbox => (0, 0),
            Source::Connection(slot) => (1, slot),
            Source::Lingering(slot) => (2, slot),
            Source::Listener(slot) => (3, slot),
            Source::Datagrams(slot) => (4, slot),
        };
        Token(slot * KINDS + kind)
    }

    pub(crate) fn of(token: Token) -> Self {
        let slot = token.0 / KINDS;
        match token.0 % KINDS {
            0 => Source::Inbox,
            1 => Source::Connection(slot),
            2 => Source::Lingering(slot),
            3 => Source::Listener(slot),
            _ => Source::Datagrams(slot),
        }
    }
}

#[cfg(test)]
mod tests {
    use bitswarm_core::ConnId;

    use super::*;

    #[test]
    fn token_names_its_source() {
        for slot in [0, 1, 77, u32::MAX as usize] {
            let sources = [
                Source::Connection(slot),
                Source::Lingering(slot),
                Source::Listener(slot),
                Source::Datagrams(slot),
            ];
            for source in sources {
                assert_eq!(Source::of(source.token()), source);
            }
        }
        assert_eq!(Source::of(Source::Inbox.token()), Source::Inbox);
    }

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
