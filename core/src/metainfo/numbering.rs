//! The numbers of a torrent's files: one numbering, wherever files are named by number.
//!
//! A file that is stored on disk has a number, in the order of the content. Padding (BEP 47) and
//! symbolic links have none: nobody can choose them. The number is the file's index in the store
//! ([`FileIndex`](crate::disk::FileIndex)), in [`AddTorrent::files`](crate::torrent::AddTorrent::files)
//! and in `only`, in the `so` of magnet links and in the arrays of files that programs read; these count
//! from 0. What people read and write counts from 1: `--files`, `--list`, `info`.
//!
//! BEP 53 says "index" and not of which list. That of v1 has the padding of a hybrid in it and the file
//! tree of v2 has not, so of all numberings only one without padding is the same for both, and the same
//! whether a torrent was made with padding or without. (libtorrent counts the padding of v1.)

use super::{File, Metainfo};

impl Metainfo {
    /// The files that have numbers, in the order of their numbers.
    pub fn numbered_files(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_stored())
    }

    /// How many files have numbers.
    pub fn file_count(&self) -> usize {
        self.numbered_files().count()
    }
}
