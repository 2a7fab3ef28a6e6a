//! How many things were looked at: pieces (or 64 of them, where they are looked at as a word), peers,
//! connections, torrents. What a stranger sends may cost so much for each of its bytes, and no more
//! (defence 40), which the simulator checks.
//!
//! Only the tables that everything goes through count ([`Slab`](crate::id::Slab), [`Bitfield`] and those of
//! the picker), so that a new loop over all pieces or peers counts without being told to; copies of a bitfield, and its form
//! for the wire, do not. Without the feature
//! `count-work` nothing is counted, and nothing of this is left in the code.
//!
//! [`Bitfield`]: crate::bitfield::Bitfield

#[cfg(feature = "count-work")]
mod counter {
    use std::cell::Cell;

    thread_local! {
        static DONE: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn add(units: usize) {
        DONE.with(|done| done.set(done.get().saturating_add(units as u64)));
    }

    pub(super) fn take() -> u64 {
        DONE.with(Cell::take)
    }
}

/// So many things are looked at.
#[inline]
pub(crate) fn touch(units: usize) {
    #[cfg(feature = "count-work")]
    counter::add(units);
    #[cfg(not(feature = "count-work"))]
    let _ = units;
}

/// What was looked at in this thread since this was asked last.
#[cfg(feature = "count-work")]
pub fn take() -> u64 {
    counter::take()
}
