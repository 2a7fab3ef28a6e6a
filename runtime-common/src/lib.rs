//! What every bitswarm runtime shares.

pub mod disk;
