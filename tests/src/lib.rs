//! What shows that bitswarm works: the simulator, and the runtime conformance suite.

pub mod conformance;
