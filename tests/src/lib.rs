//! What shows that bitswarm works: the simulator, the runtime conformance suite, and interop with
//! real clients.

#![forbid(unsafe_code)]

#[cfg(feature = "runtimes")]
pub mod conformance;
#[cfg(feature = "runtimes")]
pub mod interop;
pub mod sim;
