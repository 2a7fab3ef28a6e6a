//! What is wrong in one part of a metainfo file.

use std::fmt;

/// What is wrong in a file tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TreeError {
    /// The tree itself is a file: it has an empty name in it.
    RootIsFile,
    /// An entry is not a dictionary.
    NotADictionary,
    /// Names are not sorted, or one is there twice.
    NotSorted,
    /// A file is also a directory: something stands beside its empty name.
    FileAndDirectory,
    /// The length is missing, negative or no integer.
    Length,
    /// The pieces root is missing, or has not 32 bytes.
    Root,
    /// The pieces root is zeros, which no content has.
    ZeroRoot,
    /// It is marked as padding, which v2 has none of.
    Padding,
    /// All paths together are too long.
    PathsTooLong,
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TreeError::RootIsFile => "the tree itself is a file",
            TreeError::NotADictionary => "an entry is not a dictionary",
            TreeError::NotSorted => "names are not sorted, or one is there twice",
            TreeError::FileAndDirectory => "a file is a directory too",
            TreeError::Length => "the length is missing or negative",
            TreeError::Root => "`pieces root` is missing or has not 32 bytes",
            TreeError::ZeroRoot => "`pieces root` is zeros, which no content has",
            TreeError::Padding => "it is marked as padding, which v2 has none of",
            TreeError::PathsTooLong => "all paths together are longer than 64 MiB",
        })
    }
}

/// What is wrong with the piece layer of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayerError {
    /// There is none under the file's root.
    Missing,
    /// It has not one hash a piece.
    Length {
        /// Its length in bytes.
        len: usize,
        /// Pieces of the file.
        pieces: u32,
    },
    /// Its hashes make another root than the file's.
    Root,
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LayerError::Missing => f.write_str("there is no layer for its root"),
            LayerError::Length { len, pieces } => {
                write!(f, "a layer of {len} bytes, where {pieces} pieces take 32 each")
            }
            LayerError::Root => f.write_str("the hashes do not make its root"),
        }
    }
}

/// Why a link makes a torrent useless.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkError {
    /// `symlink path` is missing, empty, or no list of strings.
    NoTarget,
    /// It leads out of the torrent: its target has `..` or a separator in it.
    Outside,
    /// Its place is that of a file, a folder or another link, or a file lies beneath it.
    Taken,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LinkError::NoTarget => "a symbolic link without a usable `symlink path`",
            LinkError::Outside => "a symbolic link that leads out of the torrent; do not trust it",
            LinkError::Taken => "a symbolic link where another file is or has its folder",
        })
    }
}

/// What differs between the two parts of a hybrid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HybridError {
    /// One has more files than the other.
    Count,
    /// Their paths.
    Path,
    /// Their lengths.
    Length,
    /// One has a link where the other has a file, or one that leads elsewhere.
    Link,
    /// The file of v1 does not begin where that of v2 does.
    Offset,
    /// v1 has padding past the end of the last piece.
    Padding,
}

impl fmt::Display for HybridError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HybridError::Count => "one has more files than the other",
            HybridError::Path => "the paths differ",
            HybridError::Length => "the lengths differ",
            HybridError::Link => "one has a link where the other has a file or leads elsewhere",
            HybridError::Offset => "v1 is not padded so that it begins with its piece of v2",
            HybridError::Padding => "v1 is padded past the last piece of v2",
        })
    }
}
