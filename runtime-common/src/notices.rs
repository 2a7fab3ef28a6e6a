//! What the engine tells, for everyone who listens.
//!
//! Each listener has a queue of its own and hears everything in order from the moment it began to
//! listen. One that does not listen for long loses the oldest notices and can ask how many.

use std::collections::VecDeque;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bitswarm_core::Notice;

/// Notices kept for a listener (chosen). Past it, the oldest is dropped and counted.
const WAITING: usize = 65_536;

/// Room for notices that is kept (chosen: usual bursts need no memory anew).
const BURST: usize = 256;

/// A session's notices in order. It ends after [`Notice::Stopped`], or when the session ends
/// otherwise.
///
/// As an iterator it blocks for each notice, like [`Notices::next_notice`].
#[derive(Debug)]
pub struct Notices(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    notices: VecDeque<Notice>,
    missed: u64,
    ended: bool,
}

impl Notices {
    /// Waits for the next notice. `None`: there will be none.
    pub fn next_notice(&self) -> Option<Notice> {
        let mut state = self.0.lock();
        loop {
            if let Some(notice) = state.notices.pop_front() {
                return Some(notice);
            }
            state.give_back();
            if state.ended {
                return None;
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits at most `timeout` for the next notice.
    pub fn next_timeout(&self, timeout: Duration) -> Result<Notice, RecvTimeoutError> {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.0.lock();
        loop {
            if let Some(notice) = state.notices.pop_front() {
                return Ok(notice);
            }
            state.give_back();
            if state.ended {
                return Err(RecvTimeoutError::Disconnected);
            }
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => timeout,
            };
            if left.is_zero() {
                return Err(RecvTimeoutError::Timeout);
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many notices were dropped because nobody took them.
    pub fn missed(&self) -> u64 {
        self.0.lock().missed
    }
}

impl Iterator for Notices {
    type Item = Notice;

    fn next(&mut self) -> Option<Notice> {
        self.next_notice()
    }
}

impl State {
    /// Gives back the memory of a burst that was heard.
    fn give_back(&mut self) {
        if self.notices.is_empty() && self.notices.capacity() > BURST {
            self.notices = VecDeque::new();
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, notice: Notice) {
        let mut state = self.lock();
        if state.notices.len() == WAITING {
            state.notices.pop_front();
            state.missed += 1;
        }
        state.notices.push_back(notice);
        self.changed.notify_one();
    }

    fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }
}

/// Everyone who listens.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Mutex<Registry>);

#[derive(Debug, Default)]
struct Registry {
    queues: Vec<Weak<Queue>>,
    ended: bool,
}

impl Listeners {
    /// Hears everything from now on.
    pub(crate) fn listen(&self) -> Notices {
        let queue = Arc::new(Queue::default());
        let mut registry = self.lock();
        if registry.ended {
            queue.end();
        } else {
            registry.queues.push(Arc::downgrade(&queue));
        }
        Notices(queue)
    }

    pub(crate) fn tell(&self, notice: &Notice) {
        self.lock().queues.retain(|queue| match queue.upgrade() {
            Some(queue) => {
                queue.push(notice.clone());
                true
            }
            None => false,
        });
    }

    pub(crate) fn end(&self) {
        let mut registry = self.lock();
        registry.ended = true;
        for queue in registry.queues.drain(..).filter_map(|queue| queue.upgrade()) {
            queue.end();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use bitswarm_core::action::SocketKind;
    use bitswarm_core::notice::Service;

    use super::*;

    fn notice(port: u16) -> Notice {
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        Notice::Listening { service: Service::Peers, kind: SocketKind::Udp, addr }
    }

    #[test]
    fn each_listener_hears_everything_in_order_since_it_listens() {
        let listeners = Listeners::default();
        let first = listeners.listen();
        listeners.tell(&notice(1));
        let second = listeners.listen();
        listeners.tell(&notice(2));
        listeners.tell(&Notice::Stopped);
        listeners.end();
        assert_eq!(first.collect::<Vec<_>>(), [notice(1), notice(2), Notice::Stopped]);
        assert_eq!(second.collect::<Vec<_>>(), [notice(2), Notice::Stopped]);
        assert_eq!(listeners.listen().next_notice(), None);
    }

    #[test]
    fn listener_waits_no_longer_than_it_said() {
        let listeners = Listeners::default();
        let notices = listeners.listen();
        let waited = notices.next_timeout(Duration::from_millis(1));
        assert_eq!(waited, Err(RecvTimeoutError::Timeout));
        listeners.end();
        let waited = notices.next_timeout(Duration::MAX);
        assert_eq!(waited, Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn listener_that_sleeps_loses_the_oldest_and_knows_how_many() {
        let listeners = Listeners::default();
        let notices = listeners.listen();
        for _ in 0..WAITING {
            listeners.tell(&notice(1));
        }
        listeners.tell(&Notice::Stopped);
        listeners.end();
        assert_eq!(notices.missed(), 1);
        assert_eq!(notices.last(), Some(Notice::Stopped));
    }
}
