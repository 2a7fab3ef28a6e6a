//! A host's disk: carries out every [`DiskRequest`] as its contract in `core::disk` says, late, out
//! of order, and with whatever faults are switched on.
//!
//! The fault model. A request takes effect when it completes, except that a write under way at a
//! crash may have reached the disk in part. Requests complete in any order, each exactly once. A
//! sync covers the writes that had completed when it was asked for, no more. A write that fails
//! (full, EIO) may have written a part. A crash loses or tears what was not synced, file by file
//! and sector by sector; state files are replaced whole or not at all. Renames and deletions are
//! durable when they complete. Left out: directories as such, links, file descriptors.

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bitswarm_core::disk::{
    Allocation, DiskDone, DiskError, DiskErrorKind, DiskRequest, FileIndex, FileStat, Span,
    StateName, StoreSpec, WriteRequest,
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
    /// Bytes being written.
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
    stores: BTreeMap<StoreId, Arc<StoreSpec>>,
    under_way: BTreeMap<Ticket, Job>,
    next_ticket: u64,
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
        self.files.insert(path.into(), File::planted(data, self.epoch_ns - 3_600_000_000_000));
    }

    /// Somebody else writes into a file behind our back.
    pub fn tamper(&mut self, now: Instant, path: &Path, offset: usize, data: &[u8]) {
        let now_ns = self.wall_ns(now);
        let file = self.files.entry(path.to_owned()).or_insert_with(|| File::created(now_ns));
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

    fn perform(&mut self, now: Instant, request: DiskRequest, sequence: u64) -> DiskResult {
        match request {
            DiskRequest::Open { store, spec } => {
                let files = self.stat(&spec);
                self.stores.insert(store, spec);
                Ok(DiskDone::Files(files))
            }
            DiskRequest::Prepare { store, files, allocation } => {
                self.prepare(now, store, &files, allocation)
            }
            DiskRequest::Read { store, spans } => {
                let bytes = self.read(store, &spans)?;
                self.counts.reads += 1;
                Ok(DiskDone::Read(bytes.freeze()))
            }
            DiskRequest::Write(write) => self.write(now, *write),
            DiskRequest::Verify(verify) => {
                let bytes = self.read(verify.store, &verify.spans)?;
                self.counts.hashes += 1;
                let is_right = verify.expect.is_of([&bytes[..]]);
                Ok(if is_right { DiskDone::Done } else { DiskDone::HashMismatch })
            }
            DiskRequest::Sync { store } => self.sync(store, sequence),
            DiskRequest::Move { store, root } => self.move_store(store, root),
            DiskRequest::Close { store, delete } => self.close(store, delete),
            DiskRequest::Save { name, data } => self.save(name, data),
            DiskRequest::Load { name } => Ok(DiskDone::Loaded(self.states.get(&name).cloned())),
            DiskRequest::Forget { name } => {
                self.states.remove(&name);
                Ok(DiskDone::Done)
            }
        }
    }

    fn store(&self, store: StoreId) -> Result<Arc<StoreSpec>, Box<DiskError>> {
        let unknown = || error(DiskErrorKind::UnknownStore, Path::new(""), "no such store");
        self.stores.get(&store).cloned().ok_or_else(unknown)
    }

    fn stat(&self, spec: &StoreSpec) -> Vec<Option<FileStat>> {
        let stat = |file: &File| FileStat {
            length: file.data().len() as u64,
            modified_ns: file.modified_ns(),
        };
        let paths = spec.files.iter().map(|file| spec.root.join(&file.path));
        paths.map(|path| self.files.get(&path).map(stat)).collect()
    }

    fn prepare(
        &mut self,
        now: Instant,
        store: StoreId,
        files: &[FileIndex],
        allocation: Allocation,
    ) -> DiskResult {
        let spec = self.store(store)?;
        let now_ns = self.wall_ns(now);
        for index in files {
            let Some(listed) = spec.files.get(index.0 as usize) else { continue };
            let path = spec.root.join(&listed.path);
            self.try_changing(&path)?;
            let length = usize::try_from(listed.length).expect("simulated files fit into memory");
            let file = self.files.entry(path.clone()).or_insert_with(|| File::created(now_ns));
            if allocation == Allocation::Full {
                let cost = file.cost(0, length);
                self.try_fitting(&path, cost)?;
                self.sequence += 1;
                if let Some(file) = self.files.get_mut(&path) {
                    file.reserve(self.sequence, length, now_ns);
                }
            }
        }
        Ok(DiskDone::Done)
    }

    fn read(&mut self, store: StoreId, spans: &[Span]) -> Result<BytesMut, Box<DiskError>> {
        let spec = self.store(store)?;
        let mut bytes = BytesMut::with_capacity(length(spans));
        for span in spans {
            let Some(path) = path_of(&spec, span) else {
                bytes.resize(bytes.len() + span.length as usize, 0);
                continue;
            };
            if self.faults.broken.contains(&path)
                || self.dice.chance(self.faults.read_error_per_mille)
            {
                return Err(error(DiskErrorKind::Io, &path, "simulated read error"));
            }
            let file = self.files.get(&path);
            let file = file.ok_or_else(|| error(DiskErrorKind::NotFound, &path, ""))?;
            let (from, to) = (span.offset as usize, span.offset as usize + span.length as usize);
            let run = file.data().get(from..to);
            bytes.extend_from_slice(run.ok_or_else(|| error(DiskErrorKind::Short, &path, ""))?);
        }
        if !bytes.is_empty() && self.dice.chance(self.faults.rot_per_mille) {
            let at = self.dice.index(bytes.len());
            bytes[at] ^= 1;
            self.counts.rotten += 1;
        }
        Ok(bytes)
    }

    fn write(&mut self, now: Instant, write: WriteRequest) -> DiskResult {
        if !has_its_hash(&write) {
            self.counts.mismatches += 1;
            return Ok(DiskDone::HashMismatch);
        }
        let spec = self.store(write.store)?;
        let now_ns = self.wall_ns(now);
        let mut data = Runs::new(&write.data);
        for span in &write.spans {
            let bytes = data.take(span.length as usize);
            let Some(path) = path_of(&spec, span) else { continue };
            let trouble = self.try_changing(&path).and_then(|()| {
                let known = self.files.get(&path);
                let offset = span.offset as usize;
                let cost = known.map_or_else(
                    || File::created(0).cost(offset, bytes.len()),
                    |file| file.cost(offset, bytes.len()),
                );
                self.try_fitting(&path, cost)
            });
            if let Err(trouble) = trouble {
                // Nothing, or a part of the run, got there before it failed.
                if trouble.kind != DiskErrorKind::Denied && self.files.contains_key(&path) {
                    let part = self.dice.index(bytes.len() + 1) / file::SECTOR_LEN;
                    self.put(&path, span.offset, bytes.slice(..part * file::SECTOR_LEN), now_ns);
                }
                return Err(trouble);
            }
            self.put(&path, span.offset, bytes, now_ns);
        }
        self.counts.writes += 1;
        Ok(DiskDone::Done)
    }

    fn put(&mut self, path: &Path, offset: u64, data: Bytes, now_ns: i64) {
        // A part that takes up more than there is left is no part.
        let offset = usize::try_from(offset).expect("simulated files fit into memory");
        let free = self.free();
        let file = self.files.entry(path.to_owned()).or_insert_with(|| File::created(now_ns));
        if file.cost(offset, data.len()) <= free {
            self.sequence += 1;
            file.write(self.sequence, offset, data, now_ns);
        }
    }

    fn free(&self) -> u64 {
        match self.faults.capacity {
            Some(capacity) => capacity.saturating_sub(self.used()),
            None => u64::MAX,
        }
    }

    fn try_changing(&mut self, path: &Path) -> Result<(), Box<DiskError>> {
        if self.faults.denied {
            return Err(error(DiskErrorKind::Denied, path, "simulated read-only file system"));
        }
        if self.faults.broken.contains(path) || self.dice.chance(self.faults.write_error_per_mille)
        {
            return Err(error(DiskErrorKind::Io, path, "simulated write error"));
        }
        Ok(())
    }

    fn try_fitting(&self, path: &Path, cost: u64) -> Result<(), Box<DiskError>> {
        let full = || error(DiskErrorKind::Full, path, "simulated full disk");
        (cost == 0 || cost <= self.free()).then_some(()).ok_or_else(full)
    }

    fn sync(&mut self, store: StoreId, up_to: u64) -> DiskResult {
        let spec = self.store(store)?;
        if self.dice.chance(self.faults.sync_error_per_mille) {
            return Err(error(DiskErrorKind::Io, &spec.root, "simulated sync error"));
        }
        for listed in &spec.files {
            if let Some(file) = self.files.get_mut(&spec.root.join(&listed.path)) {
                file.sync(up_to);
            }
        }
        self.counts.syncs += 1;
        Ok(DiskDone::Files(self.stat(&spec)))
    }

    fn move_store(&mut self, store: StoreId, root: PathBuf) -> DiskResult {
        let spec = self.store(store)?;
        if self.faults.denied {
            return Err(error(DiskErrorKind::Denied, &root, "simulated read-only file system"));
        }
        for listed in &spec.files {
            if let Some(file) = self.files.remove(&spec.root.join(&listed.path)) {
                self.files.insert(root.join(&listed.path), file);
            }
        }
        self.stores.insert(store, Arc::new(StoreSpec { root, files: spec.files.clone() }));
        Ok(DiskDone::Done)
    }

    fn close(&mut self, store: StoreId, delete: bool) -> DiskResult {
        let spec = self.store(store)?;
        self.stores.remove(&store);
        if delete {
            for listed in &spec.files {
                self.files.remove(&spec.root.join(&listed.path));
            }
        }
        Ok(DiskDone::Done)
    }

    fn save(&mut self, name: StateName, data: Bytes) -> DiskResult {
        let path = PathBuf::from(format!("{name:?}"));
        if self.faults.denied {
            return Err(error(DiskErrorKind::Denied, &path, "simulated read-only file system"));
        }
        if self.dice.chance(self.faults.save_error_per_mille) {
            return Err(error(DiskErrorKind::Io, &path, "simulated write error"));
        }
        if self.free() == 0 {
            return Err(error(DiskErrorKind::Full, &path, "simulated full disk"));
        }
        self.states.insert(name, data);
        self.counts.saves += 1;
        Ok(DiskDone::Done)
    }

    /// What a request that was under way leaves behind when everything stops.
    fn interrupt(&mut self, now: Instant, job: Job, power: bool) {
        match job.request {
            DiskRequest::Write(write) => {
                let right = has_its_hash(&write);
                let Some(spec) = self.stores.get(&write.store).cloned() else { return };
                if right {
                    self.write_unfinished(now, &spec, &write, power);
                }
            }
            // The rename has happened or it has not.
            DiskRequest::Save { name, data } if self.dice.chance(500) => {
                self.states.insert(name, data);
            }
            DiskRequest::Forget { name } if self.dice.chance(500) => {
                self.states.remove(&name);
            }
            _ => {}
        }
    }

    fn write_unfinished(
        &mut self,
        now: Instant,
        spec: &StoreSpec,
        write: &WriteRequest,
        power: bool,
    ) {
        let now_ns = self.wall_ns(now);
        let mut data = Runs::new(&write.data);
        for span in &write.spans {
            let bytes = data.take(span.length as usize);
            if let Some(path) = path_of(spec, span)
                && let Some(file) = self.files.get_mut(&path)
            {
                self.sequence += 1;
                let offset = span.offset as usize;
                if power {
                    file.write_unfinished(self.sequence, offset, bytes);
                } else {
                    let part = self.dice.index(bytes.len() + 1);
                    file.write(self.sequence, offset, bytes.slice(..part), now_ns);
                }
            }
        }
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
        let Some(spec) = self.stores.get(store) else {
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
            DiskRequest::Write(write) => load.writing = length(&write.spans),
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
