//! Where a torrent's bytes lie on disk, and what is remembered of them.

pub mod layout;
pub mod resume;
