//! Not written yet.

/// A .torrent file.
#[derive(Debug)]
pub struct Metainfo {}
