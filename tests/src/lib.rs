//! placeholder

pub mod interop;
