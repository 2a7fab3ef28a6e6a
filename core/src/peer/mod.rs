//! Not written yet.
pub mod pipeline;
