//! What shows that bitswarm works: the simulator and, later, the conformance suite and interop.

#![forbid(unsafe_code)]

pub mod sim;
