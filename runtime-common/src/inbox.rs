//! The one way into the thread that owns the engine.
//!
//! Workers put completions in, applications put calls in, and the loop takes out everything at
//! once, in order. The loop is woken when the first of a batch comes, not for each.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitswarm_core::{Event, Instant};

use crate::recorded::Recorded;

/// Wakes an event loop from another thread. Each runtime brings its own.
pub trait Wake: Send + Sync + 'static {
    /// Makes the loop begin a turn soon. Waking one that is awake or gone is harmless.
    fn wake(&self);
}

/// Something for the engine.
pub(crate) enum Input {
    /// A completion.
    Event(Event),
    /// Something that an application wants done.
    Call(Call),
    /// End the session in order.
    Stop,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Event(event) => f.debug_tuple("Event").field(event).finish(),
            Input::Call(_) => f.write_str("Call"),
            Input::Stop => f.write_str("Stop"),
        }
    }
}

/// Runs on the engine's thread. It is dropped unrun if the session ends first.
pub(crate) type Call = Box<dyn FnOnce(&mut Recorded, Instant) + Send>;

/// The queue and its alarm.
pub(crate) struct Inbox {
    state: Mutex<State>,
    wake: Arc<dyn Wake>,
}

#[derive(Default)]
struct State {
    inputs: VecDeque<Input>,
    /// The session is over.
    closed: bool,
    /// The session is to end now, in order or not.
    halted: bool,
}

impl Inbox {
    pub(crate) fn new(wake: Arc<dyn Wake>) -> Self {
        Inbox { state: Mutex::default(), wake }
    }

    /// Puts an input in. `false`: the session is over, and the input is dropped.
    pub(crate) fn push(&self, input: Input) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        let first = state.inputs.is_empty();
        state.inputs.push_back(input);
        drop(state);
        if first {
            self.wake.wake();
        }
        true
    }

    /// Puts a completion in. One that comes after the end of the session is dropped.
    pub(crate) fn put(&self, event: Event) {
        self.push(Input::Event(event));
    }

    /// Takes everything out, into `batch`, which is empty. Whether the session is to end now.
    pub(crate) fn take(&self, batch: &mut VecDeque<Input>) -> bool {
        debug_assert!(batch.is_empty());
        let mut state = self.lock();
        std::mem::swap(&mut state.inputs, batch);
        state.halted
    }

    /// Makes the loop end at its next turn.
    pub(crate) fn halt(&self) {
        self.lock().halted = true;
        self.wake.wake();
    }

    /// The session is over: what waits is dropped.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let dropped = std::mem::take(&mut state.inputs);
        drop(state);
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}
