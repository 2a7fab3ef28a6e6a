//! What shows that bitswarm works: the simulator, the runtime conformance suite, and interop with
//! real clients.

#![forbid(unsafe_code)]

pub mod conformance;
pub mod interop;
pub mod sim;
