//! The runtimes behind this crate: async-std, and smol with the feature of that name.
//!
//! The one file that names either. Both stand on the reactor of the crate async-io, whose [`Async`]
//! is inside the sockets of async-std and is what smol calls `Async`. It is used here directly,
//! because the sockets of async-std tell nothing of readiness: they only read, into memory that has
//! to be initialised first, which costs as much as copying what comes.

pub(crate) use async_io::{Async, Timer};

/// Runs a future as a task of async-std on this thread, to its end.
pub(crate) fn block_on_async_std<T>(future: impl Future<Output = T>) -> T {
    async_std::task::block_on(future)
}

/// Runs a future as a task of smol on this thread, to its end.
#[cfg(feature = "smol")]
pub(crate) fn block_on_smol<T>(future: impl Future<Output = T>) -> T {
    smol::block_on(future)
}
