//! bitswarm on mio: one event loop that owns the engine and the sockets, worker threads for the
//! disk and for name resolution.
//!
//! [`start`] is all there is to it: applications then use the [`Client`], which is the same with
//! every runtime.

mod connections;
mod datagrams;
mod event_loop;
mod lingering;
mod listeners;
mod table;

use std::sync::Arc;

pub use bitswarm_runtime_common::{Client, ClientConfig, Events, StartError};
use bitswarm_runtime_common::{Wake, launch};
use mio::{Poll, Waker};

use crate::event_loop::EventLoop;
use crate::table::Source;

/// Starts a session on a thread of its own.
///
/// The stream of notices that is returned misses nothing, the sockets' opening included.
pub fn start(config: &ClientConfig) -> Result<(Client, Events), StartError> {
    let poll = Poll::new().map_err(StartError::System)?;
    let waker = Waker::new(poll.registry(), Source::Inbox.token()).map_err(StartError::System)?;
    launch(config, Arc::new(PollWaker(waker)), |host| EventLoop::new(poll, host).run())
}

struct PollWaker(Waker);

impl Wake for PollWaker {
    fn wake(&self) {
        if let Err(error) = self.0.wake() {
            tracing::debug!(%error, "the event loop was not woken");
        }
    }
}
