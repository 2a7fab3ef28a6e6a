//! Timers without ticks: a hierarchical timing wheel, and one deadline for the host.
//!
//! An owner registers once and then moves its one deadline about; setting and cancelling are O(1)
//! and allocate nothing. The wheel has eight levels of 64 slots, the lowest of one millisecond
//! each, so it covers every [`Instant`]. A timer lies on the level of the highest digit (base 64)
//! in which its tick differs from the wheel's own position; when the position enters a slot of a
//! higher level, its timers move down (at most seven times in a timer's life).
//!
//! Invariants: no timer fires before its deadline; timers fire in the order of their ticks, those
//! of one tick in the order in which they were set; every timer lies ahead of the position, or at
//! it if it is due. The wheel does not know what its keys mean.

use crate::id::{Id, id_type};
use crate::time::Instant;

id_type!(
    /// One owner's timer, from `register` until `unregister`.
    pub TimerId
);

/// Length of a tick: the resolution, in nanoseconds.
const TICK_NANOS: u64 = 1_000_000;
/// Bits of a tick number that one level consumes.
const LEVEL_BITS: u32 = 6;
/// Slots of a level.
const SLOTS: usize = 1 << LEVEL_BITS;
/// Levels: 2^48 milliseconds are more than an `Instant` can hold.
const LEVELS: usize = 8;
/// No entry, or no slot.
const NONE: u32 = u32::MAX;

/// Deadlines of many owners, each named by a key that is handed back when its deadline comes.
#[derive(Clone, Debug)]
pub struct TimerWheel<K> {
    entries: Vec<Entry<K>>,
    /// Head of the list of unregistered entries, linked through `next`.
    free: u32,
    /// Every tick before this one was handled.
    position: u64,
    lists: Box<[List; LEVELS * SLOTS]>,
    /// For each level, which of its slots hold timers.
    occupied: [u64; LEVELS],
    armed: usize,
}

/// One registered timer, linked into the list of its slot while it is armed.
#[derive(Clone, Debug)]
struct Entry<K> {
    key: K,
    at: Instant,
    generation: u32,
    /// Index into `lists`; `NONE` while not armed.
    slot: u32,
    prev: u32,
    next: u32,
}

/// The timers of one slot in the order in which they were set.
#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
}

impl<K: Copy> Default for TimerWheel<K> {
    fn default() -> Self {
        TimerWheel {
            entries: Vec::new(),
            free: NONE,
            position: 0,
            lists: Box::new([List { head: NONE, tail: NONE }; LEVELS * SLOTS]),
            occupied: [0; LEVELS],
            armed: 0,
        }
    }
}

impl<K: Copy> TimerWheel<K> {
    /// A wheel without timers.
    pub fn new() -> Self {
        Self::default()
    }

    /// A timer for a new owner, not armed.
    pub fn register(&mut self, key: K) -> TimerId {
        if self.free == NONE {
            let index = u32::try_from(self.entries.len()).expect("fewer than 2^32 timers");
            self.entries.push(Entry {
                key,
                at: Instant::ZERO,
                generation: 0,
                slot: NONE,
                prev: NONE,
                next: NONE,
            });
            return TimerId::new(index, 0);
        }
        let index = self.free;
        let entry = &mut self.entries[index as usize];
        self.free = std::mem::replace(&mut entry.next, NONE);
        entry.key = key;
        TimerId::new(index, entry.generation)
    }

    /// Cancels and forgets a timer. An id that was unregistered before is ignored, here and below.
    pub fn unregister(&mut self, id: TimerId) {
        if self.entry(id).is_none() {
            return;
        }
        self.cancel(id);
        let entry = &mut self.entries[id.index() as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = self.free;
        self.free = id.index();
    }

    /// Arms a timer, in place of the deadline it had. A deadline in the past is due at once.
    pub fn set(&mut self, id: TimerId, at: Instant) {
        if self.entry(id).is_none() {
            return;
        }
        self.disarm(id.index());
        self.entries[id.index() as usize].at = at;
        self.armed += 1;
        self.place(id.index());
    }

    /// Disarms a timer.
    pub fn cancel(&mut self, id: TimerId) {
        if self.entry(id).is_some() {
            self.disarm(id.index());
        }
    }

    /// When a timer is due, as it was set; `None` if it is not armed.
    pub fn deadline(&self, id: TimerId) -> Option<Instant> {
        self.entry(id).filter(|entry| entry.slot != NONE).map(|entry| entry.at)
    }

    /// How many timers are armed.
    pub fn armed(&self) -> usize {
        self.armed
    }

    /// When to call [`pop`](Self::pop): no timer is due earlier.
    ///
    /// This may lie before the first deadline (while that is on a higher level). Once `pop` has
    /// been called with this time until it returned `None`, what is returned here is later.
    pub fn next(&self) -> Option<Instant> {
        self.first_slot().map(|(_, _, start)| Instant::from_millis(start))
    }

    /// Disarms a timer that is due and returns its key. To be called until there is none.
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        let now_tick = now.as_nanos() / TICK_NANOS;
        while let Some((level, slot, start)) = self.first_slot() {
            if start > now_tick {
                break;
            }
            self.position = start;
            if level == 0 {
                let index = self.lists[slot].head;
                self.disarm(index);
                return Some(self.entries[index as usize].key);
            }
            self.cascade(level, slot);
        }
        self.position = self.position.max(now_tick);
        None
    }

    fn entry(&self, id: TimerId) -> Option<&Entry<K>> {
        self.entries.get(id.index() as usize).filter(|entry| entry.generation == id.generation())
    }

    /// The slot that comes first, as its level, its index into `lists` and its first tick.
    ///
    /// All of a level lies before all of the level above, and no slot behind the position is
    /// occupied, so this is the lowest occupied slot of the lowest occupied level.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let digit = self.occupied[level].trailing_zeros();
        let shift = level as u32 * LEVEL_BITS;
        let prefix = self.position >> (shift + LEVEL_BITS) << (shift + LEVEL_BITS);
        let start = prefix | u64::from(digit) << shift;
        Some((level, level * SLOTS + digit as usize, start))
    }

    /// Moves the timers of a slot that the position has entered to lower levels, in order.
    fn cascade(&mut self, level: usize, slot: usize) {
        let list = std::mem::replace(&mut self.lists[slot], List { head: NONE, tail: NONE });
        self.occupied[level] &= !(1 << (slot % SLOTS));
        let mut index = list.head;
        while index != NONE {
            let next = self.entries[index as usize].next;
            self.place(index);
            index = next;
        }
    }

    /// Appends a timer to the list of the slot where its deadline belongs.
    fn place(&mut self, index: u32) {
        let at = self.entries[index as usize].at;
        let tick = at.as_nanos().div_ceil(TICK_NANOS).max(self.position);
        let differing = tick ^ self.position;
        let level = (differing.checked_ilog2().unwrap_or(0) / LEVEL_BITS) as usize;
        let digit = (tick >> (level as u32 * LEVEL_BITS)) as usize % SLOTS;
        let slot = level * SLOTS + digit;

        let list = &mut self.lists[slot];
        let before = std::mem::replace(&mut list.tail, index);
        match before {
            NONE => list.head = index,
            _ => self.entries[before as usize].next = index,
        }
        let entry = &mut self.entries[index as usize];
        entry.slot = slot as u32;
        entry.prev = before;
        entry.next = NONE;
        self.occupied[level] |= 1 << digit;
    }

    /// Takes a timer out of its list, if it is in one.
    fn disarm(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        if entry.slot == NONE {
            return;
        }
        let slot = std::mem::replace(&mut entry.slot, NONE) as usize;
        let prev = std::mem::replace(&mut entry.prev, NONE);
        let next = std::mem::replace(&mut entry.next, NONE);
        self.armed -= 1;
        match prev {
            NONE => self.lists[slot].head = next,
            _ => self.entries[prev as usize].next = next,
        }
        match next {
            NONE => self.lists[slot].tail = prev,
            _ => self.entries[next as usize].prev = prev,
        }
        if self.lists[slot].head == NONE {
            self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use quickcheck::{Arbitrary, Gen, quickcheck};

    use super::*;

    fn ms(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// Calls `pop` at each `next` until `until`; returns when and what.
    fn run<K: Copy>(wheel: &mut TimerWheel<K>, until: Instant) -> Vec<(Instant, K)> {
        let mut fired = Vec::new();
        while let Some(now) = wheel.next().filter(|next| *next <= until) {
            while let Some(key) = wheel.pop(now) {
                fired.push((now, key));
            }
            assert!(wheel.next().is_none_or(|next| next > now), "the host would spin at {now:?}");
        }
        fired
    }

    #[test]
    fn a_timer_fires_once_and_never_early() {
        let mut wheel = TimerWheel::new();
        let id = wheel.register('a');
        let at = Instant::from_nanos(1_500_001);
        wheel.set(id, at);
        assert_eq!(wheel.deadline(id), Some(at));
        assert_eq!(wheel.pop(at), None, "within the tick, so not yet");
        assert_eq!(wheel.pop(ms(2)), Some('a'));
        assert_eq!(wheel.deadline(id), None);
        assert_eq!(wheel.pop(ms(1000)), None);
    }

    #[test]
    fn timers_of_one_tick_fire_in_the_order_in_which_they_were_set() {
        let mut wheel = TimerWheel::new();
        let ids: Vec<_> = (0..4).map(|key| wheel.register(key)).collect();
        for at in [2, 0, 3, 1] {
            wheel.set(ids[at], ms(100_000));
        }
        // Near the deadline, on a lower level now: still behind those set before.
        assert_eq!(wheel.pop(ms(99_999)), None);
        wheel.set(ids[2], ms(100_000));
        let order: Vec<_> = run(&mut wheel, ms(200_000)).into_iter().map(|(_, key)| key).collect();
        assert_eq!(order, [0, 3, 1, 2]);
    }

    #[test]
    fn a_deadline_in_the_past_is_due_at_once() {
        let mut wheel = TimerWheel::new();
        let id = wheel.register(());
        assert_eq!(wheel.pop(ms(5_000)), None);
        wheel.set(id, ms(17));
        assert!(wheel.next().is_some_and(|next| next <= ms(5_000)));
        assert_eq!(wheel.pop(ms(5_000)), Some(()));
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn an_unregistered_id_does_nothing_though_its_slot_lives_again() {
        let mut wheel = TimerWheel::new();
        let old = wheel.register('o');
        wheel.set(old, ms(1));
        wheel.unregister(old);
        wheel.unregister(old);
        let new = wheel.register('n');
        assert_eq!(new.index(), old.index());
        wheel.set(old, ms(2));
        assert_eq!((wheel.next(), wheel.armed()), (None, 0));
        wheel.set(new, ms(3));
        wheel.cancel(old);
        assert_eq!(wheel.pop(ms(3)), Some('n'));
    }

    #[test]
    fn a_timer_in_the_far_future_costs_a_handful_of_wakeups() {
        let mut wheel = TimerWheel::new();
        let id = wheel.register(());
        wheel.set(id, Instant::FAR_FUTURE);
        assert!(wheel.next().is_some());
        wheel.set(id, Instant::from_secs(10_000_000));
        let mut wakeups = 0;
        while let Some(now) = wheel.next() {
            wakeups += 1;
            if wheel.pop(now).is_some() {
                assert_eq!(now, Instant::from_secs(10_000_000));
            }
        }
        assert!(wakeups <= LEVELS, "{wakeups} wakeups");
    }

    #[derive(Clone, Debug)]
    enum Op {
        Register,
        Unregister(usize),
        Set(usize, u64),
        Cancel(usize),
        /// Runs the clock this many nanoseconds on, as a host would: from deadline to deadline.
        Advance(u64),
    }

    impl Arbitrary for Op {
        fn arbitrary(g: &mut Gen) -> Self {
            // Distances of every magnitude, so that every level is used.
            let nanos = u64::arbitrary(g) >> (u8::arbitrary(g) % 60);
            match u8::arbitrary(g) % 12 {
                0 | 1 => Op::Register,
                2 => Op::Unregister(usize::arbitrary(g)),
                3 => Op::Cancel(usize::arbitrary(g)),
                4..=8 => Op::Set(usize::arbitrary(g), nanos),
                _ => Op::Advance(nanos >> 12),
            }
        }
    }

    /// The wheel's promise with none of its cleverness.
    #[derive(Default)]
    struct Model {
        queue: BTreeMap<(u64, u64), u32>,
        of: BTreeMap<u32, (u64, u64)>,
        sets: u64,
    }

    impl Model {
        fn set(&mut self, key: u32, tick: u64) {
            self.cancel(key);
            self.sets += 1;
            self.queue.insert((tick, self.sets), key);
            self.of.insert(key, (tick, self.sets));
        }

        fn cancel(&mut self, key: u32) {
            if let Some(place) = self.of.remove(&key) {
                self.queue.remove(&place);
            }
        }

        fn pop(&mut self, now: Instant) -> Option<u32> {
            let (&(tick, _), &key) = self.queue.first_key_value()?;
            if tick > now.as_nanos() / TICK_NANOS {
                return None;
            }
            self.cancel(key);
            Some(key)
        }
    }

    quickcheck! {
        fn the_wheel_fires_what_a_sorted_map_would(ops: Vec<Op>) -> bool {
            let mut wheel = TimerWheel::new();
            let mut model = Model::default();
            let mut live: Vec<(u32, TimerId)> = Vec::new();
            let mut now = Instant::ZERO;
            let mut keys = 0;
            for op in ops {
                let pick = |at: usize| at.checked_rem(live.len()).map(|at| (at, live[at]));
                match op {
                    Op::Register => {
                        live.push((keys, wheel.register(keys)));
                        keys += 1;
                    }
                    Op::Unregister(at) => if let Some((at, (key, id))) = pick(at) {
                        wheel.unregister(id);
                        model.cancel(key);
                        live.remove(at);
                    },
                    Op::Set(at, nanos) => if let Some((_, (key, id))) = pick(at) {
                        let at = now + Duration::from_nanos(nanos);
                        let at = at.saturating_sub(Duration::from_millis(3));
                        wheel.set(id, at);
                        let tick = at.as_nanos().div_ceil(TICK_NANOS);
                        model.set(key, tick.max(now.as_nanos() / TICK_NANOS));
                    },
                    Op::Cancel(at) => if let Some((_, (key, id))) = pick(at) {
                        wheel.cancel(id);
                        model.cancel(key);
                    },
                    Op::Advance(nanos) => {
                        let until = now + Duration::from_nanos(nanos);
                        let mut expected = Vec::new();
                        while let Some(key) = model.pop(until) {
                            expected.push(key);
                        }
                        let mut fired: Vec<_> =
                            run(&mut wheel, until).into_iter().map(|(_, key)| key).collect();
                        now = until;
                        while let Some(key) = wheel.pop(now) {
                            fired.push(key);
                        }
                        if fired != expected {
                            return false;
                        }
                    }
                }
                if wheel.armed() != model.of.len() {
                    return false;
                }
            }
            true
        }
    }
}
