//! What the engine asks of the disk, and what it hears back.
//!
//! The host sees files, offsets and lengths; what a piece is stays in the core. A torrent's files
//! form a *store*, opened once with its [`StoreSpec`] and then named by [`StoreId`]. Requests are
//! independent: the engine orders what must be ordered by waiting for completions. Every request
//! completes exactly once. An error names the file and the cause and leaves the store usable.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::id::StoreId;
use crate::piece::InfoHash;
use crate::piece_hash::PieceHash;

mod memory;

pub use memory::MemoryDisk;

/// The files of a torrent as they lie on disk.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StoreSpec {
    /// The directory under which every path lies; made when the first file is.
    pub root: PathBuf,
    /// In the torrent's order. Pad files (BEP 47) are not listed: they never reach the disk.
    pub files: Vec<StoreFile>,
    /// Symbolic links beside the files (BEP 47). They hold no content, and nothing is ever read or
    /// written through one.
    pub links: Vec<StoreLink>,
    /// Whether the first component of the paths may be a symbolic link: the user has put the torrent's
    /// file or folder elsewhere. Nothing below it is ever read or written through one.
    pub follow_top_link: bool,
}

/// One file of a store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoreFile {
    /// Relative to the root, sanitised: no `..`, not absolute, unique in its store.
    pub path: PathBuf,
    /// In bytes.
    pub length: u64,
    /// Whether it may be executed (BEP 47, attribute `x`): set when it is made, or prepared.
    pub executable: bool,
}

/// A symbolic link of a store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoreLink {
    /// Relative to the root, as that of a file; no file or other link has it, or lies beneath it.
    pub path: PathBuf,
    /// What the link says: a path relative to its own directory that stays inside the torrent.
    pub target: PathBuf,
}

/// Which file of a store, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct FileIndex(pub u32);

/// A run of bytes in one file, or of zeros in none (a pad file).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Span {
    /// The file; `None` for padding, which reads as zeros and is not written.
    pub file: Option<FileIndex>,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Length in bytes, at least 1.
    pub length: u32,
}

/// Consecutive runs that together are a piece or a part of one.
pub type Spans = SmallVec<[Span; 1]>;

/// Work for the disk.
#[derive(Clone, Debug, Serialize)]
pub enum DiskRequest {
    /// Make a store known and look at its files; creates nothing. → [`DiskDone::Files`]
    Open {
        /// Its name from now on.
        store: StoreId,
        /// What it consists of.
        spec: Arc<StoreSpec>,
    },
    /// Create these files (with their directories) where they are missing, reserve space if asked,
    /// cut what is longer than it should be, make executable what is to be. If something that is no
    /// plain file lies in the place of one of them ([`DiskErrorKind::InTheWay`]), or a file that
    /// somebody else made since `Open` ([`DiskErrorKind::Foreign`]), nothing is made. Links that
    /// cannot be made, because the system has none or something is in their place, are left out.
    /// → [`DiskDone::Done`]
    Prepare {
        /// Which store.
        store: StoreId,
        /// Which files.
        files: Vec<FileIndex>,
        /// Whether to reserve space.
        allocation: Allocation,
        /// Whether to make the store's links too.
        links: bool,
    },
    /// Copy files that are missing from other stores. What is there is left alone, and what cannot
    /// be copied is left out: nothing is lost but time. → [`DiskDone::Files`]
    Reuse {
        /// Which store.
        store: StoreId,
        /// Which of its files, and the file of the same length that each is to be a copy of.
        files: Vec<(FileIndex, (StoreId, FileIndex))>,
    },
    /// Read a run of bytes. A file that is too short is [`DiskErrorKind::Short`].
    /// → [`DiskDone::Read`]
    Read {
        /// Which store.
        store: StoreId,
        /// Where.
        spans: Spans,
    },
    /// Write a run of bytes, creating files where they are missing; if a hash is given, only after
    /// the data was found to have it. A file that somebody else made since `Open` is not written:
    /// [`DiskErrorKind::Foreign`]. → [`DiskDone::Done`] or [`DiskDone::HashMismatch`]
    Write(Box<WriteRequest>),
    /// Read a piece and see whether it has its hash. A file that is missing or too short is an
    /// error of kind [`DiskErrorKind::NotFound`] or [`DiskErrorKind::Short`].
    /// → [`DiskDone::Done`] or [`DiskDone::HashMismatch`], of a piece of nothing but zeros
    /// [`DiskDone::Zeros`] if that is to be told
    Verify(Box<VerifyRequest>),
    /// Make everything written to the store so far survive a loss of power. The files as they were
    /// at `Open`; those that were written here since as they were after they were flushed, so that
    /// what somebody else changes never passes for ours. → [`DiskDone::Files`]
    Sync {
        /// Which store.
        store: StoreId,
    },
    /// Look at all files as they are now. → [`DiskDone::Files`]
    Look {
        /// Which store.
        store: StoreId,
    },
    /// Move the store's files and links under another root. → [`DiskDone::Done`]
    Move {
        /// Which store.
        store: StoreId,
        /// The new root.
        root: PathBuf,
    },
    /// Forget the store, close its files; with `delete`, remove those files, the store's links and the
    /// directories that are empty then, nothing else. The id is dead after this. → [`DiskDone::Done`]
    Close {
        /// Which store.
        store: StoreId,
        /// Which of its files to delete, if it is to leave nothing of its own.
        delete: Option<Vec<FileIndex>>,
    },
    /// Write a small state file whole: temporary file, sync, rename. → [`DiskDone::Done`]
    Save {
        /// Which one.
        name: StateName,
        /// Its content.
        data: Bytes,
    },
    /// Read a state file. → [`DiskDone::Loaded`]
    Load {
        /// Which one.
        name: StateName,
    },
    /// Delete a state file if it exists. → [`DiskDone::Done`]
    Forget {
        /// Which one.
        name: StateName,
    },
}

/// A run of bytes to write.
#[derive(Clone, Debug, Serialize)]
pub struct WriteRequest {
    /// Which store.
    pub store: StoreId,
    /// Where; their lengths add up to that of the data.
    pub spans: Spans,
    /// The bytes, cut anywhere.
    pub data: Vec<Bytes>,
    /// Write only if the data has this hash.
    pub expect: Option<PieceHash>,
}

/// A piece to read and hash.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyRequest {
    /// Which store.
    pub store: StoreId,
    /// Where.
    pub spans: Spans,
    /// The hash that it should have.
    pub expect: PieceHash,
    /// Whether it matters that it is nothing but zeros: [`DiskDone::Zeros`].
    pub tell_zeros: bool,
}

/// Whether space is reserved when a file is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Allocation {
    /// Space is taken as it is written.
    #[default]
    Sparse,
    /// Space is reserved at once, so that a full disk shows at the start.
    Full,
}

/// Which state file. The host chooses the directory and the file name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum StateName {
    /// A torrent's resume data.
    Resume(InfoHash),
    /// The nodes of the DHT that this one of ours knows.
    Dht(u16),
    /// What is known of a torrent that was added by a magnet link: the link while that is all,
    /// then its metainfo.
    Metadata(InfoHash),
}

/// What a disk request brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskDone {
    /// It is done.
    Done,
    /// The data does not have the hash it should; it was not written.
    HashMismatch,
    /// A piece whose bytes on disk are all zero, if that was to be told.
    Zeros {
        /// Whether it has its hash all the same.
        is_right: bool,
    },
    /// The bytes read, all of them.
    Read(Bytes),
    /// The files as they are now, in the store's order; `None` where there is none.
    Files(Vec<Option<FileStat>>),
    /// The state file's content; `None` if there is none.
    Loaded(Option<Bytes>),
}

/// What tells whether a file was changed behind our back, and whether it is ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileStat {
    /// In bytes.
    pub length: u64,
    /// Time of last modification, nanoseconds since 1970. Any program can set it.
    pub modified_ns: i64,
    /// Time of the last change of content or attributes (`st_ctime`), nanoseconds since 1970, which
    /// no program can set. That of modification where the system has none.
    pub changed_ns: i64,
    /// Tells the file from others that bear its name before or after it, such as its inode and time
    /// of birth; 0 where the system cannot.
    pub id: u64,
    /// How many names the file has (hard links); at least 1.
    pub links: u32,
}

impl FileStat {
    /// A file with one name, of which no more is known.
    pub const fn new(length: u64, modified_ns: i64) -> Self {
        FileStat { length, modified_ns, changed_ns: modified_ns, id: 0, links: 1 }
    }

    /// Whether nothing tells that it was changed since it was as in `before`.
    pub fn is_as(&self, before: &FileStat) -> bool {
        let times = |stat: &FileStat| (stat.length, stat.modified_ns, stat.changed_ns);
        times(self) == times(before)
    }
}

/// A disk request that failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiskError {
    /// What kind of failure.
    pub kind: DiskErrorKind,
    /// The file or directory concerned.
    pub path: PathBuf,
    /// The system's own words.
    pub cause: String,
}

/// What kind of failure, as far as it decides what to do next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum DiskErrorKind {
    /// No space left, or a quota is used up.
    Full,
    /// Not permitted, or the file system is read-only.
    Denied,
    /// It does not exist.
    NotFound,
    /// The file ends before the bytes asked for.
    Short,
    /// Something that is not a plain file or directory of ours stands in the way (a link that
    /// leads out of the root, a directory where a file should be).
    InTheWay,
    /// A file that is somebody else's, and would be overwritten. Nothing of the torrent is begun;
    /// once it is out of the way, or if it is no loss, resuming or adding the torrent goes on.
    Foreign,
    /// Out of file descriptors.
    TooManyOpen,
    /// The store is not known (a request crossed its `Close`).
    UnknownStore,
    /// Anything else: a failing device, a lost network file system.
    Io,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            DiskErrorKind::Full => "disk full",
            DiskErrorKind::Denied => "not permitted",
            DiskErrorKind::NotFound => "missing",
            DiskErrorKind::Short => "shorter than it should be",
            DiskErrorKind::InTheWay => "something else is in its place",
            DiskErrorKind::Foreign => "another file is there, which would be overwritten",
            DiskErrorKind::TooManyOpen => "too many open files",
            DiskErrorKind::UnknownStore => "not open",
            DiskErrorKind::Io => "input/output error",
        };
        write!(f, "{}: {what}", self.path.display())?;
        if self.cause.is_empty() { Ok(()) } else { write!(f, " ({})", self.cause) }
    }
}
