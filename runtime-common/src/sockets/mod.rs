//! A session's sockets, for runtimes that wait until sockets are ready.
//!
//! [`Driver`] is everything such a runtime does but the waiting: it owns the engine's host and every
//! socket, performs actions, and serves what is ready in bounded turns. How readiness is learned is
//! behind [`Poller`]; a runtime brings one, and a loop:
//!
//! ```text
//! until Driver::is_finished {
//!     wait for readiness, a wake, or Driver::timeout
//!     Driver::note what is ready
//!     Driver::turn
//! }
//! Driver::finish
//! ```
//!
//! A socket stays ready, in one direction, until a call finds that it is not. Only then is the
//! poller asked to tell again, so nothing is asked about a socket that is busy, and a loop with
//! nothing to do takes no turns. A runtime that blocks in its calls, or whose calls complete later,
//! has no use for this module: it performs the actions itself, with [`Host`](crate::Host).

mod connections;
mod datagrams;
mod driver;
mod lingering;
mod listeners;
mod poller;
mod stream;
#[cfg(all(test, target_os = "linux"))]
mod test_poller;

pub use driver::Driver;
pub use poller::{Direction, Interest, Poller, Readiness, Source};
