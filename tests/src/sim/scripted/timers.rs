//! What a script is to do when it is woken, by the tokens of its timers.

use std::collections::BTreeMap;

use bitswarm_core::time::Duration;

use super::Io;

/// What waits for its time, each once.
#[derive(Debug)]
pub struct Timers<T> {
    due: BTreeMap<u64, T>,
    /// 0 is left to the script.
    next_token: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Timers { due: BTreeMap::new(), next_token: 1 }
    }
}

impl<T> Timers<T> {
    /// Has the script woken for this after some time.
    pub fn set(&mut self, io: &mut Io<'_, '_>, after: Duration, what: T) {
        self.due.insert(self.next_token, what);
        io.wake_after(after, self.next_token);
        self.next_token += 1;
    }

    /// The script is woken: for what, if it was set here.
    pub fn take(&mut self, token: u64) -> Option<T> {
        self.due.remove(&token)
    }
}
