//! What shows that bitswarm works: the simulator, the fuzz targets, the runtime conformance suite
//! with a third runtime as an example, and interop with real clients.

#![forbid(unsafe_code)]

#[cfg(feature = "runtimes")]
pub mod blocking;
#[cfg(feature = "runtimes")]
pub mod conformance;
pub mod fuzz;
#[cfg(feature = "runtimes")]
pub mod interop;
pub mod sim;
