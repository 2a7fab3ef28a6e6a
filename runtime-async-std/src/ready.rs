//! Who is ready: wakers that name their source.
//!
//! A future that waits for many sockets with one waker has to ask all of them when it is woken.
//! Here each source has a waker of its own, which puts the source's name in a list and then wakes
//! the driver: the work of a wake-up does not grow with the number of sockets.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task;

use bitswarm_runtime_common::Wake;
use bitswarm_runtime_common::sockets::{Direction, Source};

/// What happened since the driver last looked.
#[derive(Default)]
pub(crate) struct Ready(Mutex<State>);

#[derive(Default)]
struct State {
    sources: Vec<(Source, Direction)>,
    /// Another thread has put something in.
    inbox: bool,
    driver: Option<task::Waker>,
}

impl Ready {
    /// A waker for one direction of `source`.
    pub(crate) fn waker(self: &Arc<Self>, source: Source, direction: Direction) -> task::Waker {
        task::Waker::from(Arc::new(Alarm { source, direction, ready: Arc::clone(self) }))
    }

    /// Moves the sources that were woken to `sources`, and has `driver` woken for the next. Whether
    /// another thread has put something in.
    pub(crate) fn take(
        &self,
        sources: &mut Vec<(Source, Direction)>,
        driver: &task::Waker,
    ) -> bool {
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
    direction: Direction,
    ready: Arc<Ready>,
}

impl task::Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.tell(|state| state.sources.push((self.source, self.direction)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn woken_source_is_told_once_and_wakes_the_driver() {
        let ready = Arc::new(Ready::default());
        let driver = Arc::new(Ready::default());
        let driver_waker = driver.waker(Source::Lingering(9), Direction::Write);
        let mut sources = Vec::new();
        assert!(!ready.take(&mut sources, &driver_waker));
        ready.waker(Source::Connection(3), Direction::Read).wake();
        assert!(!ready.take(&mut sources, &driver_waker));
        assert!(!ready.take(&mut sources, &driver_waker));
        assert_eq!(sources, [(Source::Connection(3), Direction::Read)]);
        let mut woken = Vec::new();
        driver.take(&mut woken, &driver_waker);
        assert_eq!(woken, [(Source::Lingering(9), Direction::Write)]);
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
