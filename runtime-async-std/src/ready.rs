//! Who is ready: wakers that name their source.
//!
//! A future that waits for many sockets with one waker has to ask all of them when it is woken.
//! Here each source has a waker of its own, which puts the source's name in a list and then wakes
//! the driver: the work of a wake-up does not grow with the number of sockets.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task;

use bitswarm_core::{ConnId, SocketId};
use bitswarm_runtime_common::Wake;

/// Whose readiness a waker tells. The ids have generations: nobody is taken for a successor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// A connection may have something to read.
    Readable(ConnId),
    /// A connection may take something.
    Writable(ConnId),
    /// A closed connection that still sends can go on.
    Farewell(u64),
    /// A connection may wait to be accepted.
    Listener(SocketId),
    /// Datagrams may have come.
    DatagramsIn(SocketId),
    /// A datagram socket may take more.
    DatagramsOut(SocketId),
}

/// What happened since the driver last looked.
#[derive(Default)]
pub(crate) struct Ready(Mutex<State>);

#[derive(Default)]
struct State {
    sources: Vec<Source>,
    /// Another thread has put something in.
    inbox: bool,
    driver: Option<task::Waker>,
}

impl Ready {
    /// A waker for `source`.
    pub(crate) fn waker(self: &Arc<Self>, source: Source) -> task::Waker {
        task::Waker::from(Arc::new(Alarm { source, ready: Arc::clone(self) }))
    }

    /// Moves the sources that were woken to `sources`, and has `driver` woken for the next. Whether
    /// another thread has put something in.
    pub(crate) fn take(&self, sources: &mut Vec<Source>, driver: &task::Waker) -> bool {
        let mut state = self.lock();
        match &mut state.driver {
            Some(known) => known.clone_from(driver),
            none => *none = Some(driver.clone()),
        }
        sources.append(&mut state.sources);
        std::mem::take(&mut state.inbox)
    }

    fn tell(&self, note: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        note(&mut state);
        let driver = state.driver.clone();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Ready {
    fn wake(&self) {
        self.tell(|state| state.inbox = true);
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").finish_non_exhaustive()
    }
}

/// The waker of one source.
struct Alarm {
    source: Source,
    ready: Arc<Ready>,
}

impl task::Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.tell(|state| state.sources.push(self.source));
    }
}

#[cfg(test)]
mod tests {
    use bitswarm_core::id::Id;

    use super::*;

    #[test]
    fn woken_source_is_told_once_and_wakes_the_driver() {
        let ready = Arc::new(Ready::default());
        let driver = Arc::new(Ready::default());
        let driver_waker = driver.waker(Source::Farewell(9));
        let mut sources = Vec::new();
        assert!(!ready.take(&mut sources, &driver_waker));
        let source = Source::Readable(ConnId::new(3, 1));
        ready.waker(source).wake();
        assert!(!ready.take(&mut sources, &driver_waker));
        assert!(!ready.take(&mut sources, &driver_waker));
        assert_eq!(sources, [source]);
        let mut woken = Vec::new();
        driver.take(&mut woken, &driver_waker);
        assert_eq!(woken, [Source::Farewell(9)]);
    }

    #[test]
    fn input_from_another_thread_is_told_once() {
        let ready = Ready::default();
        let mut sources = Vec::new();
        Wake::wake(&ready);
        assert!(ready.take(&mut sources, task::Waker::noop()));
        assert!(!ready.take(&mut sources, task::Waker::noop()));
        assert!(sources.is_empty());
    }
}
