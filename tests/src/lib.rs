//! What shows that bitswarm works: the simulator, the fuzz targets, the runtime conformance suite
//! with a third runtime as an example, and interop with real clients.

#![forbid(unsafe_code)]

pub mod blocking;
pub mod conformance;
pub mod fuzz;
pub mod interop;
pub mod sim;
