//! Recording a session and playing it again.
//!
//! The engine is a function of its inputs: every call that changes its state, with its time. A
//! [`Recorder`] has the engine's methods, writes each such call into a log and keeps a
//! [`Fingerprint`] of everything that came in and out; [`replay`] feeds a log to a fresh engine and
//! compares fingerprints at the checkpoints in the log, so that a difference is found within a few
//! inputs of where it arose. A log that was cut off (the host died) replays as far as it goes.
//!
//! A log holds everything: the seed and with it all keys, payload, tracker URLs with passkeys.
//! It is not to be given away. The core does no I/O: the host drains the log and stores it.

mod encode;
mod fingerprint;
mod input;
mod log;
mod recorder;
mod replay;

pub use fingerprint::Fingerprint;
pub use input::{Input, RecordedTorrent};
pub use recorder::Recorder;
pub use replay::{Difference, ReplayError, Replayed, Replayer, Seen, replay};

#[cfg(test)]
mod tests;
