//! Not written yet.
pub mod allowed_fast;
pub mod pipeline;
