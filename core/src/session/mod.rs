//! Not written yet.
pub mod bans;
