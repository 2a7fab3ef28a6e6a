//! Where a torrent's bytes lie on disk, and what is remembered of them.

pub mod file_set;
pub mod foreign;
pub mod layout;
pub mod resume;
