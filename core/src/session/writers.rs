//! Which torrent writes which file, so that no two of a session write the same.
//!
//! By path as it was given: whatever else leads to one file is found by looking at the disk. Only
//! torrents that have something to write are in here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::id::TorrentId;

/// The files that are written, each by one torrent.
#[derive(Debug, Default)]
pub(crate) struct Writers(BTreeMap<PathBuf, TorrentId>);

impl Writers {
    /// A torrent writes a file from now on. A torrent that wrote it before keeps it.
    pub(crate) fn add(&mut self, path: PathBuf, who: TorrentId) {
        self.0.entry(path).or_insert(who);
    }

    /// Who writes a file.
    pub(crate) fn of(&self, path: &Path) -> Option<TorrentId> {
        self.0.get(path).copied()
    }

    /// A torrent writes a file no more.
    pub(crate) fn remove(&mut self, path: &Path, who: TorrentId) {
        if self.of(path) == Some(who) {
            self.0.remove(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;

    #[test]
    fn a_file_has_one_writer_until_that_one_leaves() {
        let (a, b) = (TorrentId::new(1, 0), TorrentId::new(2, 0));
        let (mut writers, path) = (Writers::default(), Path::new("/d/f"));
        writers.add(path.into(), a);
        writers.add(path.into(), b);
        assert_eq!(writers.of(path), Some(a));
        writers.remove(path, b);
        assert_eq!(writers.of(path), Some(a));
        writers.remove(path, a);
        assert_eq!(writers.of(path), None);
    }
}
