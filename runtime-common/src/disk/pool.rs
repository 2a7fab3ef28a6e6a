//! Worker threads for the disk.
//!
//! Requests wait in one of two queues. What moves data (read, write, hash) goes first come, first
//! served; what may wait long for the device (sync, save, prepare, move, close) never takes the
//! last worker, so peers are served while a slow disk syncs. The engine bounds how much it asks
//! for, so the queues have no bound of their own.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bitswarm_core::OpId;
use bitswarm_core::disk::{DiskDone, DiskError, DiskRequest};

use super::{Disk, Scratch, StateDir};

/// Called once for every request, on a worker's thread.
pub type Completion = Box<dyn Fn(OpId, Result<DiskDone, Box<DiskError>>) + Send + Sync>;

/// How a pool is made.
#[derive(Debug)]
pub struct DiskOptions {
    /// Worker threads, at least 1.
    pub threads: usize,
    /// Files kept open at once.
    pub open_files: usize,
    /// Where `Save` and `Load` find their files; without it, nothing is kept.
    pub state: Option<StateDir>,
}

/// The workers and their queue. Dropping it is [`DiskPool::shutdown`] with no patience.
pub struct DiskPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    disk: Disk,
    completion: Completion,
    queue: Mutex<Queue>,
    /// There is work, or the pool is shutting down.
    work: Condvar,
    /// A worker has ended.
    ended: Condvar,
}

#[derive(Default)]
struct Queue {
    transfers: VecDeque<Job>,
    upkeep: VecDeque<Job>,
    /// Workers that do upkeep now.
    upkeep_running: usize,
    /// Workers that live.
    alive: usize,
    shutting_down: bool,
}

type Job = (OpId, DiskRequest);

/// Which queue a request waits in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Transfer,
    Upkeep,
}

impl DiskPool {
    /// Starts the workers. Fails if the system has no thread left.
    pub fn start(options: DiskOptions, completion: Completion) -> io::Result<Self> {
        let threads = options.threads.max(1);
        let shared = Arc::new(Shared {
            disk: Disk::new(options.open_files, options.state),
            completion,
            queue: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
        });
        let mut pool = DiskPool { shared, workers: Vec::with_capacity(threads) };
        for index in 0..threads {
            let shared = Arc::clone(&pool.shared);
            let name = format!("bitswarm-disk-{index}");
            pool.shared.lock().alive += 1;
            match thread::Builder::new().name(name).spawn(move || work(&shared, threads)) {
                Ok(worker) => pool.workers.push(worker),
                Err(error) => {
                    pool.shared.lock().alive -= 1;
                    return Err(error);
                }
            }
        }
        Ok(pool)
    }

    /// Does a request here and now if nothing has to be waited for: a read whose files are open and
    /// whose bytes are in memory. `None`: it is to be submitted.
    pub fn try_at_once(&self, request: &DiskRequest) -> Option<DiskDone> {
        self.shared.disk.try_at_once(request)
    }

    /// Gives back all memory that is not in use; for when nothing was sent for a while.
    pub fn release_buffers(&self) {
        self.shared.disk.release_buffers();
    }

    /// Queues a request. Its completion is called once, later, from another thread.
    pub fn submit(&self, op: OpId, request: DiskRequest) {
        let mut queue = self.shared.lock();
        match lane(&request) {
            Lane::Transfer => queue.transfers.push_back((op, request)),
            Lane::Upkeep => queue.upkeep.push_back((op, request)),
        }
        drop(queue);
        self.shared.work.notify_one();
    }

    /// Ends the workers: queued reads are dropped, queued writes and saves are still done. Waits at
    /// most `patience`; a worker that the device holds up longer ends by itself when it can. Whether
    /// all have ended.
    pub fn shutdown(mut self, patience: Duration) -> bool {
        self.end(patience)
    }

    fn end(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut queue = self.shared.lock();
        queue.shutting_down = true;
        queue.transfers.retain(|(_, request)| matches!(request, DiskRequest::Write(_)));
        self.shared.work.notify_all();
        while queue.alive > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.ended.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(queue);
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
        true
    }
}

impl Drop for DiskPool {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

impl fmt::Debug for DiskPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskPool").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// The next request that one of `threads` workers may take.
    fn take(&mut self, threads: usize) -> Option<(Lane, Job)> {
        if self.upkeep_running + 1 < threads.max(2)
            && let Some(job) = self.upkeep.pop_front()
        {
            self.upkeep_running += 1;
            return Some((Lane::Upkeep, job));
        }
        Some((Lane::Transfer, self.transfers.pop_front()?))
    }
}

fn lane(request: &DiskRequest) -> Lane {
    match request {
        DiskRequest::Open { .. }
        | DiskRequest::Read { .. }
        | DiskRequest::Write(_)
        | DiskRequest::Verify(_)
        | DiskRequest::Load { .. } => Lane::Transfer,
        DiskRequest::Prepare { .. }
        | DiskRequest::Reuse { .. }
        | DiskRequest::Sync { .. }
        | DiskRequest::Move { .. }
        | DiskRequest::Close { .. }
        | DiskRequest::Save { .. }
        | DiskRequest::Forget { .. } => Lane::Upkeep,
    }
}

fn work(shared: &Shared, threads: usize) {
    let mut scratch = Scratch::default();
    let mut queue = shared.lock();
    loop {
        if let Some((lane, (op, request))) = queue.take(threads) {
            drop(queue);
            let result = shared.disk.execute(request, &mut scratch);
            (shared.completion)(op, result.map_err(Box::new));
            queue = shared.lock();
            if lane == Lane::Upkeep {
                queue.upkeep_running -= 1;
                // Upkeep that had to wait for this may go on elsewhere.
                if !queue.upkeep.is_empty() {
                    shared.work.notify_one();
                }
            }
        } else if queue.shutting_down {
            break;
        } else {
            queue = shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
    queue.alive -= 1;
    drop(queue);
    shared.ended.notify_all();
}
