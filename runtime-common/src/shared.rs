//! What the handles of a session share with its thread, and how its end is made known.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::inbox::{Inbox, Wake};
use crate::notices::Listeners;
use crate::recorded::LogFailure;

/// What the clients of a session share with its thread.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) inbox: Inbox,
    pub(crate) listeners: Listeners,
    pub(crate) turns: AtomicU64,
    pub(crate) log_failure: LogFailure,
    thread: Mutex<Option<JoinHandle<()>>>,
    ended: Mutex<bool>,
    ended_changed: Condvar,
}

/// Tells everyone that the session is over, also when its thread panics.
pub(crate) struct End(pub(crate) Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.inbox.close();
        self.0.listeners.end();
        *self.0.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.ended_changed.notify_all();
    }
}

impl Shared {
    /// Of a session that is about to begin; `wake` makes its loop take inputs.
    pub(crate) fn new(wake: Arc<dyn Wake>) -> Self {
        Shared {
            inbox: Inbox::new(wake),
            listeners: Listeners::default(),
            turns: AtomicU64::new(0),
            log_failure: LogFailure::default(),
            thread: Mutex::new(None),
            ended: Mutex::new(false),
            ended_changed: Condvar::new(),
        }
    }

    /// The session runs on this thread.
    pub(crate) fn runs_on(&self, thread: JoinHandle<()>) {
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    }

    /// Whether the session is over.
    pub(crate) fn has_ended(&self) -> bool {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the session ended within `timeout`.
    pub(crate) fn wait_for_end(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        while !*ended {
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => timeout,
            };
            if left.is_zero() {
                return false;
            }
            let waited = self.ended_changed.wait_timeout(ended, left);
            ended = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Waits for the thread's last instructions, if the session is over.
    pub(crate) fn join(&self) {
        if !self.has_ended() {
            return;
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(_)) = thread.map(JoinHandle::join) {
            tracing::error!("the session's thread panicked");
        }
    }
}
