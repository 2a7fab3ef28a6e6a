//! Worker threads for the disk. What they do next is decided in `queue`.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bitswarm_core::OpId;
use bitswarm_core::disk::{DiskDone, DiskError, DiskRequest};

use super::queue::{Next, Queue};
use super::{Disk, Scratch, StateDir};
use crate::multi_buffer::pieces_at_once;

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
    state: Mutex<State>,
    /// There is work, or the pool is shutting down.
    work: Condvar,
    /// A worker has ended.
    ended: Condvar,
}

struct State {
    queue: Queue,
    /// Workers that live.
    alive: usize,
    shutting_down: bool,
}

impl DiskPool {
    /// Starts the workers. Fails if the system has no thread left.
    pub fn start(options: DiskOptions, completion: Completion) -> io::Result<Self> {
        let threads = options.threads.max(1);
        let shared = Arc::new(Shared {
            disk: Disk::new(options.open_files, options.state),
            completion,
            state: Mutex::new(State {
                queue: Queue::new(threads, pieces_at_once()),
                alive: 0,
                shutting_down: false,
            }),
            work: Condvar::new(),
            ended: Condvar::new(),
        });
        let mut pool = DiskPool { shared, workers: Vec::with_capacity(threads) };
        for index in 0..threads {
            let shared = Arc::clone(&pool.shared);
            let name = format!("bitswarm-disk-{index}");
            pool.shared.lock().alive += 1;
            match thread::Builder::new().name(name).spawn(move || work(&shared)) {
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
        self.shared.lock().queue.submit(Instant::now(), op, request);
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
        let mut state = self.shared.lock();
        state.shutting_down = true;
        state.queue.keep_writes_only(Instant::now());
        self.shared.work.notify_all();
        while state.alive > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
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
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn work(shared: &Shared) {
    let mut scratch = Scratch::default();
    let mut state = shared.lock();
    loop {
        state = match state.queue.next(Instant::now()) {
            Next::Do(batch, line) => {
                // Somebody else is to see to what is left: this may take long.
                if state.queue.has_transfers() {
                    shared.work.notify_one();
                }
                drop(state);
                shared.disk.execute_all(batch, &mut scratch, |op, result| {
                    (shared.completion)(op, result.map_err(Box::new));
                });
                let mut state = shared.lock();
                if state.queue.ended(line) {
                    shared.work.notify_one();
                }
                state
            }
            Next::WaitUntil(until) => {
                let left = until.saturating_duration_since(Instant::now());
                let waited = shared.work.wait_timeout(state, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            Next::Wait if state.shutting_down => break,
            Next::Wait => shared.work.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
    }
    state.alive -= 1;
    drop(state);
    shared.ended.notify_all();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::mpsc;

    use bitswarm_core::StoreId;
    use bitswarm_core::disk::StateName;
    use bitswarm_core::id::Id;
    use bitswarm_core::piece::InfoHash;
    use bytes::Bytes;

    use super::*;

    type Completed = (OpId, Result<DiskDone, Box<DiskError>>);

    fn start(threads: usize) -> (DiskPool, mpsc::Receiver<Completed>) {
        let (sender, completed) = mpsc::channel();
        let options = DiskOptions { threads, open_files: 8, state: None };
        let completion: Completion = Box::new(move |op, result| {
            let _ = sender.send((op, result));
        });
        (DiskPool::start(options, completion).unwrap(), completed)
    }

    #[test]
    fn every_request_completes_exactly_once() {
        for threads in 1..4 {
            let (pool, completed) = start(threads);
            let name = StateName::Resume(InfoHash([1; 20]));
            for n in 0..300 {
                let request = match n % 3 {
                    0 => DiskRequest::Load { name },
                    1 => DiskRequest::Forget { name },
                    _ => DiskRequest::Sync { store: StoreId::new(9, 9) },
                };
                pool.submit(OpId::new(n, 0), request);
            }
            let mut times = BTreeMap::new();
            for _ in 0..300 {
                let (op, _) = completed.recv_timeout(Duration::from_secs(20)).unwrap();
                *times.entry(op).or_insert(0) += 1;
            }
            assert_eq!(times.len(), 300);
            assert!(pool.shutdown(Duration::from_secs(20)));
            assert!(completed.recv().is_err(), "nothing more, and the workers are gone");
        }
    }

    #[test]
    fn shutdown_still_saves_what_was_queued() {
        let (pool, completed) = start(2);
        let name = StateName::Resume(InfoHash([1; 20]));
        for n in 0..50 {
            pool.submit(OpId::new(n, 0), DiskRequest::Save { name, data: Bytes::new() });
        }
        assert!(pool.shutdown(Duration::from_secs(20)));
        assert_eq!(completed.iter().count(), 50);
    }
}
