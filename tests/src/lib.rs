//! What shows that bitswarm works: the simulator, and interop with real clients.

#![forbid(unsafe_code)]

pub mod interop;
pub mod sim;
