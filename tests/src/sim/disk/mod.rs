//! A host's disk: carries out every [`DiskRequest`] as its contract in `core::disk` says, late, out
//! of order, and with whatever faults are switched on.
//!
//! The fault model. A request takes effect when it completes, except that a write under way at a
//! crash may have reached the disk in part. Requests complete in any order, each exactly once. A
//! sync covers the writes that had completed when it was asked for, no more. A write that fails
//! (full, EIO) may have written a part. A crash loses or tears what was not synced, file by file
//! and sector by sector; state files are replaced whole or not at all. Renames and deletions are
//! durable when they complete. Left out: directories as such, links, file descriptors.

mod crash;
mod file;
mod operations;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bitswarm_core::disk::{
    DiskDone, DiskError, DiskErrorKind, DiskRequest, FileStat, Span, StateName, StoreSpec,
    WriteRequest,
};
use bitswarm_core::id::{OpId, StoreId};
use bitswarm_core::time::Instant;
use bytes::{Bytes, BytesMut};

use super::dice::Dice;
use file::File;

/// A request under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(u64);

/// What a request came to.
pub type DiskResult = Result<DiskDone, Box<DiskError>>;

/// How fast the disk is.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Bytes per second read, written or hashed, one request after the other; `None` is unlimited.
    pub bytes_per_s: Option<u64>,
    /// Time that every request takes at least.
    pub latency: Duration,
    /// Most that is added to the time of one request; this is what makes them overtake each other.
    pub spread: Duration,
}

impl Default for Speed {
    fn default() -> Self {
        Speed {
            bytes_per_s: None,
            latency: Duration::from_micros(100),
            spread: Duration::from_millis(4),
        }
    }
}

/// What goes wrong on the disk. The default is nothing.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Bytes the disk holds; past it writes fail with `Full`. `None` is without end.
    pub capacity: Option<u64>,
    /// Reads that fail with `Io`, of 1000.
    pub read_error_per_mille: u32,
    /// Writes and preparations that fail with `Io`, of 1000.
    pub write_error_per_mille: u32,
    /// Syncs that fail with `Io`, of 1000.
    pub sync_error_per_mille: u32,
    /// Saves of state files that fail with `Io`, of 1000.
    pub save_error_per_mille: u32,
    /// Reads that give one byte that is not what was written, of 1000.
    pub rot_per_mille: u32,
    /// Nothing may be written: `Denied`.
    pub denied: bool,
    /// Files that can be neither read nor written: `Io`.
    pub broken: BTreeSet<PathBuf>,
}

/// How often what was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Reads completed without an error.
    pub reads: u64,
    /// Writes completed without an error.
    pub writes: u64,
    /// Writes refused because the data did not have the hash asked for.
    pub mismatches: u64,
    /// Pieces hashed from disk.
    pub hashes: u64,
    /// Syncs completed without an error.
    pub syncs: u64,
    /// State files saved.
    pub saves: u64,
    /// Reads that gave a wrong byte.
    pub rotten: u64,
    /// Requests that failed.
    pub errors: u64,
}

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Bytes being written, without padding: that takes no memory.
    pub writing: usize,
    /// Bytes being read to be sent.
    pub reading: usize,
    /// Pieces being hashed.
    pub hashing: usize,
}

/// A host's disk.
#[derive(Debug)]
pub struct Disk {
    dice: Dice,
    files: BTreeMap<PathBuf, File>,
    states: BTreeMap<StateName, Bytes>,
    stores: BTreeMap<StoreId, Store>,
    under_way: BTreeMap<Ticket, Job>,
    next_ticket: u64,
    /// Of the file made last.
    next_id: u64,
    /// Counts changes, so that a sync knows which it covers.
    sequence: u64,
    busy_until: Instant,
    /// Wall time at the beginning of virtual time, nanoseconds since 1970.
    epoch_ns: i64,
    breaches: Vec<String>,
    counts: Counts,
    load: Load,
    /// How fast it is.
    pub speed: Speed,
    /// What goes wrong.
    pub faults: Faults,
}

/// A store that is open.
#[derive(Debug)]
struct Store {
    spec: Arc<StoreSpec>,
    /// The files as of `Open` or `Look`, or of the `Sync` after they were written.
    noted: Vec<Option<FileStat>>,
    /// Files written since.
    written: BTreeSet<PathBuf>,
    /// Files that were made here.
    made: BTreeSet<PathBuf>,
}

#[derive(Debug)]
struct Job {
    op: OpId,
    request: DiskRequest,
    /// The last change made when the request came in.
    sequence: u64,
}

impl Disk {
    /// An empty disk. `label` names its stream of randomness.
    pub fn new(seed: u64, label: &str, epoch_ns: i64) -> Self {
        Disk {
            dice: Dice::new(seed, label),
            files: BTreeMap::new(),
            states: BTreeMap::new(),
            stores: BTreeMap::new(),
            under_way: BTreeMap::new(),
            next_ticket: 0,
            next_id: 0,
            sequence: 0,
            busy_until: Instant::ZERO,
            epoch_ns,
            breaches: Vec::new(),
            counts: Counts::default(),
            load: Load::default(),
            speed: Speed::default(),
            faults: Faults::default(),
        }
    }

    /// Takes a request; [`Disk::finish`] is to be called with the ticket at that time.
    pub fn submit(&mut self, now: Instant, op: OpId, request: DiskRequest) -> (Ticket, Instant) {
        if self.under_way.values().any(|job| job.op == op) {
            self.breaches.push(format!("{op:?} is asked for while it is under way"));
        }
        self.check_contract(&request);
        self.load.add(&request);
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let mut done = now;
        if let Some(rate) = self.speed.bytes_per_s {
            let nanos = u128::from(volume(&request)) * 1_000_000_000 / u128::from(rate.max(1));
            let took = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            self.busy_until = self.busy_until.max(now) + took;
            done = self.busy_until;
        }
        let at = done + self.speed.latency + self.dice.up_to(self.speed.spread);
        self.under_way.insert(ticket, Job { op, request, sequence: self.sequence });
        (ticket, at)
    }

    /// Carries the request out. `None` if a crash has swallowed it.
    pub fn finish(&mut self, now: Instant, ticket: Ticket) -> Option<(OpId, DiskResult)> {
        let Job { op, request, sequence } = self.under_way.remove(&ticket)?;
        self.load.remove(&request);
        let result = self.perform(now, request, sequence);
        if result.is_err() {
            self.counts.errors += 1;
        }
        Some((op, result))
    }

    /// The power goes, or the process is killed: requests under way are done in part or not at
    /// all, and with `power` what was not synced is lost or torn.
    pub fn crash(&mut self, now: Instant, power: bool) {
        for job in std::mem::take(&mut self.under_way).into_values() {
            self.interrupt(now, job, power);
        }
        self.stores.clear();
        self.load = Load::default();
        self.busy_until = now;
        if power {
            let files = std::mem::take(&mut self.files);
            for (path, file) in files {
                if let Some(left) = file.crash(&mut self.dice) {
                    self.files.insert(path, left);
                }
            }
        }
    }

    /// Puts a file there, safe on disk, as if it had always been.
    pub fn plant(&mut self, path: impl Into<PathBuf>, data: Vec<u8>) {
        let id = self.new_id();
        self.files.insert(path.into(), File::planted(data, self.epoch_ns - 3_600_000_000_000, id));
    }

    /// A bit of the file changes by itself, so that size and all times stay.
    pub fn rot(&mut self, path: &Path, offset: usize) {
        if let Some(file) = self.files.get_mut(path) {
            file.rot(offset);
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Somebody else writes into a file behind our back.
    pub fn tamper(&mut self, now: Instant, path: &Path, offset: usize, data: &[u8]) {
        let now_ns = self.wall_ns(now);
        let id = self.new_id();
        let file = self.files.entry(path.to_owned()).or_insert_with(|| File::created(now_ns, id));
        file.tamper(offset, data, now_ns);
    }

    /// Somebody else removes a file behind our back.
    pub fn remove(&mut self, path: &Path) {
        self.files.remove(path);
    }

    /// What a reader of the file sees.
    pub fn content(&self, path: &Path) -> Option<&[u8]> {
        self.files.get(path).map(File::data)
    }

    /// What would be left of the file if every unsynced change were lost.
    pub fn durable_content(&self, path: &Path) -> Option<&[u8]> {
        self.files.get(path).and_then(File::durable)
    }

    /// The files there are.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// A state file's content.
    pub fn state(&self, name: StateName) -> Option<&Bytes> {
        self.states.get(&name)
    }

    /// Puts a state file there, whatever it holds.
    pub fn plant_state(&mut self, name: StateName, data: Bytes) {
        self.states.insert(name, data);
    }

    /// Requests under way.
    pub fn requests_under_way(&self) -> usize {
        self.under_way.len()
    }

    /// What is under way.
    pub fn load(&self) -> Load {
        self.load
    }

    /// The clock that gives files their times jumps.
    pub fn jump_clock(&mut self, by_ns: i64) {
        self.epoch_ns = self.epoch_ns.saturating_add(by_ns);
    }

    /// Stores that are open.
    pub fn open_stores(&self) -> usize {
        self.stores.len()
    }

    /// Bytes of the disk that are taken up.
    pub fn used(&self) -> u64 {
        self.files.values().map(File::used).sum()
    }

    /// How often what was done.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What the requests broke of their contract, since this was asked last.
    pub fn take_breaches(&mut self) -> Vec<String> {
        std::mem::take(&mut self.breaches)
    }

    fn wall_ns(&self, now: Instant) -> i64 {
        self.epoch_ns.saturating_add(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Notes what a request breaks of its contract.
    fn check_contract(&mut self, request: &DiskRequest) {
        let (store, spans, data) = match request {
            DiskRequest::Read { store, spans } => (store, spans, None),
            DiskRequest::Verify(verify) => (&verify.store, &verify.spans, None),
            DiskRequest::Write(write) => {
                let length: usize = write.data.iter().map(Bytes::len).sum();
                (&write.store, &write.spans, Some(length))
            }
            DiskRequest::Open { store, .. } if self.stores.contains_key(store) => {
                return self.breaches.push(format!("{store:?} is opened twice"));
            }
            _ => return,
        };
        let Some(spec) = self.stores.get(store).map(|store| store.spec.clone()) else {
            return self.breaches.push(format!("{store:?} is used before it is open"));
        };
        if data.is_some_and(|bytes| bytes != length(spans)) {
            self.breaches.push(format!("{spans:?} do not have the length of the data"));
        }
        for span in spans {
            let Some(index) = span.file else { continue };
            let end = span.offset.checked_add(u64::from(span.length));
            let fits = spec
                .files
                .get(index.0 as usize)
                .is_some_and(|file| end.is_some_and(|end| end <= file.length));
            if !fits || span.length == 0 {
                self.breaches.push(format!("{span:?} does not lie in its file"));
            }
        }
    }
}

impl Load {
    fn add(&mut self, request: &DiskRequest) {
        let load = Self::of(request);
        self.writing += load.writing;
        self.reading += load.reading;
        self.hashing += load.hashing;
    }

    fn remove(&mut self, request: &DiskRequest) {
        let load = Self::of(request);
        self.writing -= load.writing;
        self.reading -= load.reading;
        self.hashing -= load.hashing;
    }

    fn of(request: &DiskRequest) -> Self {
        let mut load = Load::default();
        match request {
            DiskRequest::Write(write) => {
                let of_files = write.spans.iter().filter(|span| span.file.is_some());
                load.writing = of_files.map(|span| span.length as usize).sum();
            }
            DiskRequest::Read { spans, .. } => load.reading = length(spans),
            DiskRequest::Verify(_) => load.hashing = 1,
            _ => {}
        }
        load
    }
}

fn path_of(spec: &StoreSpec, span: &Span) -> Option<PathBuf> {
    let file = spec.files.get(span.file?.0 as usize)?;
    Some(spec.root.join(&file.path))
}

fn length(spans: &[Span]) -> usize {
    spans.iter().map(|span| span.length as usize).sum()
}

/// Bytes that a request moves.
fn volume(request: &DiskRequest) -> u64 {
    match request {
        DiskRequest::Read { spans, .. } => length(spans) as u64,
        DiskRequest::Verify(verify) => length(&verify.spans) as u64,
        DiskRequest::Write(write) => length(&write.spans) as u64,
        DiskRequest::Save { data, .. } => data.len() as u64,
        _ => 0,
    }
}

fn has_its_hash(write: &WriteRequest) -> bool {
    write.expect.is_none_or(|expect| expect.is_of(write.data.iter().map(AsRef::as_ref)))
}

fn error(kind: DiskErrorKind, path: &Path, cause: &str) -> Box<DiskError> {
    Box::new(DiskError { kind, path: path.to_owned(), cause: cause.to_owned() })
}

/// Runs of bytes, taken from the front in lengths of one's own.
struct Runs<'a> {
    rest: &'a [Bytes],
    offset: usize,
}

impl<'a> Runs<'a> {
    fn new(runs: &'a [Bytes]) -> Self {
        Runs { rest: runs, offset: 0 }
    }

    /// The next `length` bytes as one run; shorter if there are no more.
    fn take(&mut self, length: usize) -> Bytes {
        if let Some(first) = self.rest.first()
            && first.len() - self.offset > length
        {
            let run = first.slice(self.offset..self.offset + length);
            self.offset += length;
            return run;
        }
        let mut run = BytesMut::with_capacity(length);
        while run.len() < length {
            let Some(first) = self.rest.first() else { break };
            let end = first.len().min(self.offset + length - run.len());
            run.extend_from_slice(&first[self.offset..end]);
            self.offset = end;
            if end == first.len() {
                self.rest = &self.rest[1..];
                self.offset = 0;
            }
        }
        run.freeze()
    }
}

#[cfg(test)]
mod tests;
