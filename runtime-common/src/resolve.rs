//! Host names to addresses, by the system's resolver.
//!
//! The resolver may block for as long as it likes, so it has threads of its own: a few, made when
//! there is work and ended when there has been none for a while. Names wait in a bounded queue; past
//! it they fail at once, so a dead resolver costs neither memory nor anyone else's time.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bitswarm_core::OpId;
use bitswarm_core::event::ResolveError;
use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType};

/// Threads at most (chosen: so many dead names at once do not hold up a live one).
const THREADS: usize = 4;

/// Names that wait at most (chosen). Past it: [`ResolveError::Unavailable`].
const WAITING: usize = 256;

/// Addresses of one name at most in each address family, as `Event::Resolved` has it.
const ADDRESSES: usize = 32;

/// How long a thread waits for work before it ends (chosen).
const IDLE: Duration = Duration::from_secs(5);

/// How long the end of a session waits for threads that are looking up a name (chosen).
const PATIENCE: Duration = Duration::from_millis(100);

/// Called once for every name, on any thread.
pub type Completion = Box<dyn Fn(OpId, Result<Vec<IpAddr>, ResolveError>) + Send + Sync>;

type Lookup = fn(&str) -> Result<Vec<IpAddr>, ResolveError>;

/// The resolver's queue. When it is dropped, what waits is dropped too and idle threads end; one
/// that the system's resolver holds up ends by itself.
pub struct Resolver {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    completion: Completion,
    lookup: Lookup,
    state: Mutex<State>,
    work: Condvar,
    /// A thread is about to end.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(OpId, Box<str>)>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Resolver {
    /// A resolver with no thread yet.
    pub fn new(completion: Completion) -> Self {
        Self::with_lookup(completion, look_up)
    }

    fn with_lookup(completion: Completion, lookup: Lookup) -> Self {
        let state = Mutex::default();
        let (work, ended) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { completion, lookup, state, work, ended });
        Resolver { shared, threads: Vec::new() }
    }

    /// Looks a name up. The completion is called once, later or at once.
    pub fn start(&mut self, op: OpId, host: Box<str>) {
        let mut state = self.shared.lock();
        if state.waiting.len() >= WAITING {
            drop(state);
            return (self.shared.completion)(op, Err(ResolveError::Unavailable));
        }
        state.waiting.push_back((op, host));
        if state.waiting.len() > state.idle && state.threads < THREADS {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name("bitswarm-resolve".to_owned());
            match thread.spawn(move || work(&shared)) {
                Ok(thread) => {
                    state.threads += 1;
                    self.threads.retain(|thread| !thread.is_finished());
                    self.threads.push(thread);
                }
                Err(error) if state.threads == 0 => {
                    tracing::debug!(%error, "no thread to look up names");
                    state.waiting.pop_back();
                    drop(state);
                    return (self.shared.completion)(op, Err(ResolveError::Unavailable));
                }
                Err(_) => {}
            }
        }
        self.shared.work.notify_one();
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.waiting.clear();
        self.shared.work.notify_all();
        let busy = |state: &mut State| state.threads > 0;
        let waited = self.shared.ended.wait_timeout_while(state, PATIENCE, busy);
        let none_left = waited.is_ok_and(|(_, timeout)| !timeout.timed_out());
        if none_left {
            for thread in self.threads.drain(..) {
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn work(shared: &Shared) {
    let mut state = shared.lock();
    loop {
        if let Some((op, host)) = state.waiting.pop_front() {
            drop(state);
            let result = (shared.lookup)(&host);
            (shared.completion)(op, result);
            state = shared.lock();
            continue;
        }
        if state.closed {
            break;
        }
        state.idle += 1;
        let waited = shared.work.wait_timeout(state, IDLE);
        let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        state = woken;
        state.idle -= 1;
        if timeout.timed_out() && state.waiting.is_empty() {
            break;
        }
    }
    state.threads -= 1;
    drop(state);
    shared.ended.notify_all();
}

/// Asks the system. Its order is that of RFC 6724, which is the order to try.
fn look_up(host: &str) -> Result<Vec<IpAddr>, ResolveError> {
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let found = match dns_lookup::getaddrinfo(Some(host), None, Some(hints)) {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!(host, error = ?error.kind(), "name lookup failed");
            return Err(match error.kind() {
                LookupErrorKind::NoName | LookupErrorKind::NoData => ResolveError::NotFound,
                _ => ResolveError::Unavailable,
            });
        }
    };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for ip in found.flatten().map(|info| info.sockaddr.ip()) {
        // Many of one family must not hide the other.
        let known = addresses.iter().filter(|known| known.is_ipv4() == ip.is_ipv4()).count();
        if known < ADDRESSES && !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    if addresses.is_empty() { Err(ResolveError::NotFound) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{self, Receiver};

    use bitswarm_core::id::Id;

    use super::*;

    type Completed = (OpId, Result<Vec<IpAddr>, ResolveError>);

    const LONG: Duration = Duration::from_secs(20);

    fn resolver(lookup: Lookup) -> (Resolver, Receiver<Completed>) {
        let (sender, completed) = mpsc::channel();
        let completion: Completion = Box::new(move |op, result| {
            let _ = sender.send((op, result));
        });
        (Resolver::with_lookup(completion, lookup), completed)
    }

    #[test]
    fn localhost_is_loopback() {
        let (mut resolver, completed) = resolver(look_up);
        resolver.start(OpId::new(1, 0), "localhost".into());
        let (op, found) = completed.recv_timeout(LONG).unwrap();
        assert_eq!(op, OpId::new(1, 0));
        assert!(found.unwrap().iter().all(IpAddr::is_loopback));
    }

    #[test]
    fn name_that_cannot_be_is_an_error() {
        assert!(look_up("nul\0inside").is_err());
        assert!(look_up("two..dots").is_err());
    }

    static DEAD: AtomicBool = AtomicBool::new(true);

    fn dead(_: &str) -> Result<Vec<IpAddr>, ResolveError> {
        while DEAD.load(Ordering::Acquire) {
            thread::park_timeout(Duration::from_millis(1));
        }
        Err(ResolveError::NotFound)
    }

    #[test]
    fn dead_resolver_bounds_threads_and_queue_and_completes_each_name_once() {
        let (mut resolver, completed) = resolver(dead);
        let many = THREADS + WAITING + 50;
        for n in 0..many {
            resolver.start(OpId::new(n as u32, 0), "dead".into());
        }
        assert!(resolver.shared.lock().threads <= THREADS);
        let (_, refused) = completed.recv_timeout(LONG).unwrap();
        assert_eq!(refused, Err(ResolveError::Unavailable));
        DEAD.store(false, Ordering::Release);
        for _ in 1..many {
            let _ = completed.recv_timeout(LONG).unwrap();
        }
        drop(resolver);
        assert!(completed.recv_timeout(LONG).is_err(), "the threads are gone, and nothing twice");
    }
}
