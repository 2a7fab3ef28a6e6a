//! One file of the simulated disk: what a reader sees, and what would survive a loss of power.
//!
//! Every change goes into `data` at once and is remembered as unsynced until a sync carries it into
//! the durable copy. At a crash each unsynced change is lost, kept, or torn: of its sectors some
//! are on the disk and some are not, in any combination. A file whose creation was never synced may
//! be gone altogether.

use bytes::Bytes;

use crate::sim::dice::Dice;

/// Bytes that a disk writes whole or not at all.
pub(super) const SECTOR_LEN: usize = 4096;

/// A file.
#[derive(Debug, Default, Clone)]
pub(super) struct File {
    data: Vec<u8>,
    /// Nanoseconds since 1970.
    modified_ns: i64,
    /// Tells it from others of its name.
    id: u64,
    durable: Option<Durable>,
    unsynced: Vec<Change>,
    /// Which sectors take up space.
    allocated: Vec<bool>,
}

#[derive(Debug, Default, Clone)]
struct Durable {
    data: Vec<u8>,
    modified_ns: i64,
}

/// A change that no sync has covered yet.
#[derive(Debug, Clone)]
struct Change {
    sequence: u64,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Write { offset: usize, data: Bytes },
    Extend { length: usize },
}

impl File {
    /// A file that was there before, safe on disk.
    pub(super) fn planted(data: Vec<u8>, modified_ns: i64, id: u64) -> Self {
        let allocated = vec![true; data.len().div_ceil(SECTOR_LEN)];
        let durable = Some(Durable { data: data.clone(), modified_ns });
        File { data, modified_ns, id, durable, unsynced: Vec::new(), allocated }
    }

    /// A file made now and not synced yet.
    pub(super) fn created(modified_ns: i64, id: u64) -> Self {
        File { modified_ns, id, ..File::default() }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    pub(super) fn durable(&self) -> Option<&[u8]> {
        self.durable.as_ref().map(|durable| &durable.data[..])
    }

    pub(super) fn modified_ns(&self) -> i64 {
        self.modified_ns
    }

    /// Bytes of disk that the file takes up.
    pub(super) fn used(&self) -> u64 {
        (self.allocated.iter().filter(|sector| **sector).count() * SECTOR_LEN) as u64
    }

    /// Bytes of disk that writing there would take up in addition.
    pub(super) fn cost(&self, offset: usize, length: usize) -> u64 {
        let fresh = sectors(offset, length)
            .filter(|sector| !self.allocated.get(*sector).copied().unwrap_or_default());
        (fresh.count() * SECTOR_LEN) as u64
    }

    pub(super) fn write(&mut self, sequence: u64, offset: usize, data: Bytes, now_ns: i64) {
        self.allocate(offset, data.len());
        put(&mut self.data, offset, &data);
        self.modified_ns = now_ns;
        self.unsynced.push(Change { sequence, what: What::Write { offset, data } });
    }

    /// Reserves space for the whole file and makes it at least that long.
    pub(super) fn reserve(&mut self, sequence: u64, length: usize, now_ns: i64) {
        self.allocate(0, length);
        if self.data.len() < length {
            self.data.resize(length, 0);
            self.modified_ns = now_ns;
            self.unsynced.push(Change { sequence, what: What::Extend { length } });
        }
    }

    /// A write that was under way when the power went; [`File::crash`] says what became of it.
    pub(super) fn write_unfinished(&mut self, sequence: u64, offset: usize, data: Bytes) {
        self.unsynced.push(Change { sequence, what: What::Write { offset, data } });
    }

    /// Makes the file and all changes up to that one durable.
    pub(super) fn sync(&mut self, up_to: u64) {
        let durable = self.durable.get_or_insert_default();
        for change in self.unsynced.iter().filter(|change| change.sequence <= up_to) {
            match &change.what {
                What::Write { offset, data } => put(&mut durable.data, *offset, data),
                What::Extend { length } => extend(&mut durable.data, *length),
            }
        }
        durable.modified_ns = self.modified_ns;
        self.unsynced.retain(|change| change.sequence > up_to);
    }

    /// What is left after a crash; `None` if the file is gone.
    pub(super) fn crash(self, dice: &mut Dice) -> Option<File> {
        let was_durable = self.durable.is_some();
        let Durable { mut data, mut modified_ns } = self.durable.unwrap_or_default();
        if !was_durable && dice.chance(500) {
            return None;
        }
        if dice.chance(500) {
            modified_ns = self.modified_ns;
        }
        for change in self.unsynced {
            match change.what {
                What::Write { offset, data: written } => {
                    survive(&mut data, offset, &written, dice);
                }
                What::Extend { length } if dice.chance(500) => extend(&mut data, length),
                What::Extend { .. } => {}
            }
        }
        Some(File::planted(data, modified_ns, self.id))
    }

    /// Makes the file no longer than that, for good.
    pub(super) fn cut(&mut self, length: usize, now_ns: i64) {
        if self.data.len() <= length {
            return;
        }
        self.data.truncate(length);
        self.allocated.truncate(length.div_ceil(SECTOR_LEN));
        self.modified_ns = now_ns;
        if let Some(durable) = &mut self.durable {
            durable.data.truncate(length);
            durable.modified_ns = now_ns;
        }
    }

    /// A bit flips where the file lies, and nobody notes it.
    pub(super) fn rot(&mut self, offset: usize) {
        let durable = self.durable.as_mut().map(|durable| &mut durable.data);
        for data in std::iter::once(&mut self.data).chain(durable) {
            if let Some(byte) = data.get_mut(offset) {
                *byte ^= 1;
            }
        }
    }

    /// Somebody else changes the file behind our back.
    pub(super) fn tamper(&mut self, offset: usize, data: &[u8], now_ns: i64) {
        put(&mut self.data, offset, data);
        let durable = self.durable.get_or_insert_default();
        put(&mut durable.data, offset, data);
        self.modified_ns = now_ns;
        durable.modified_ns = now_ns;
    }

    fn allocate(&mut self, offset: usize, length: usize) {
        let sectors = sectors(offset, length);
        if self.allocated.len() < sectors.end {
            self.allocated.resize(sectors.end, false);
        }
        self.allocated[sectors].fill(true);
    }
}

/// The sectors that a run of bytes touches.
fn sectors(offset: usize, length: usize) -> std::ops::Range<usize> {
    if length == 0 { 0..0 } else { offset / SECTOR_LEN..(offset + length).div_ceil(SECTOR_LEN) }
}

fn put(to: &mut Vec<u8>, offset: usize, data: &[u8]) {
    extend(to, offset + data.len());
    to[offset..offset + data.len()].copy_from_slice(data);
}

fn extend(to: &mut Vec<u8>, length: usize) {
    if to.len() < length {
        to.resize(length, 0);
    }
}

/// Puts what the crash left of a write: nothing, all, or some of its sectors.
fn survive(to: &mut Vec<u8>, offset: usize, written: &[u8], dice: &mut Dice) {
    match dice.index(3) {
        0 => {}
        1 => put(to, offset, written),
        _ => {
            let mut at = 0;
            while at < written.len() {
                let boundary = (offset + at) / SECTOR_LEN * SECTOR_LEN + SECTOR_LEN;
                let end = written.len().min(boundary - offset);
                if dice.chance(500) {
                    put(to, offset + at, &written[at..end]);
                }
                at = end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_survives_every_crash_and_what_was_not_may_be_torn() {
        let old = Bytes::from(vec![1; 4 * SECTOR_LEN]);
        let new = Bytes::from(vec![2; 4 * SECTOR_LEN]);
        let (mut lost, mut kept, mut torn) = (0, 0, 0);
        for seed in 0..300 {
            let mut file = File::created(0, 0);
            file.write(1, 100, old.clone(), 1);
            file.sync(1);
            file.write(2, 100 + 4 * SECTOR_LEN, new.clone(), 2);
            let left = file.crash(&mut Dice::new(seed, "file")).expect("its creation was synced");
            assert_eq!(left.data()[100..100 + 4 * SECTOR_LEN], old[..]);
            assert_eq!(left.durable(), Some(left.data()));
            let rest = &left.data()[100 + 4 * SECTOR_LEN..];
            match rest.iter().filter(|byte| **byte == 2).count() {
                0 => lost += 1,
                all if all == new.len() => kept += 1,
                _ => torn += 1,
            }
        }
        assert!(lost > 50 && kept > 50 && torn > 50, "{lost} lost, {kept} kept, {torn} torn");
    }

    #[test]
    fn a_sync_covers_what_came_before_it_and_no_more() {
        let mut file = File::created(0, 0);
        file.write(1, 0, Bytes::from_static(b"first"), 1);
        file.write(2, 0, Bytes::from_static(b"later"), 2);
        file.sync(1);
        assert_eq!(file.durable(), Some(&b"first"[..]));
        assert_eq!(file.data(), b"later");
        file.sync(2);
        assert_eq!(file.durable(), Some(&b"later"[..]));
    }

    #[test]
    fn a_file_never_synced_is_sometimes_gone_after_a_crash() {
        let gone = (0..100)
            .filter(|seed| File::created(0, 0).crash(&mut Dice::new(*seed, "gone")).is_none())
            .count();
        assert!((20..80).contains(&gone), "gone in {gone} of 100 crashes");
    }

    #[test]
    fn only_touched_sectors_take_up_space() {
        let mut file = File::created(0, 0);
        assert_eq!(file.cost(10 * SECTOR_LEN, 1), SECTOR_LEN as u64);
        file.write(1, 10 * SECTOR_LEN, Bytes::from_static(b"x"), 1);
        assert_eq!(file.used(), SECTOR_LEN as u64);
        assert_eq!(file.cost(10 * SECTOR_LEN + 5, 10), 0);
    }
}
