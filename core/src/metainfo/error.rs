//! Why bytes are not a metainfo file that we can use.

use std::fmt;

use super::limits::{MAX_FILES, MAX_HINTS, MAX_METAINFO_LEN, MAX_PATH_LEN, MAX_TRACKERS};
use super::part_error::{HybridError, LayerError, LinkError, TreeError};
use crate::bencode::ParseError;
use crate::piece::{BLOCK_LEN, MAX_PIECE_LEN, MAX_PIECES};

/// Why bytes are not a metainfo file that we can use. Files are numbered from 0 in its own order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetainfoError {
    /// Longer than [`MAX_METAINFO_LEN`].
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Not bencoding at all, or cut off.
    Bencode(ParseError),
    /// Bencoding, but not a dictionary.
    NotADictionary,
    /// A key that must be there is not.
    Missing(&'static str),
    /// A key has a value of the wrong type.
    WrongType(&'static str),
    /// A `meta version` that is not known: the torrent is newer than this program (BEP 52).
    UnknownVersion(i64),
    /// The piece length of a v2 torrent is not a power of two from 16 KiB to [`MAX_PIECE_LEN`].
    PieceLengthV2(i64),
    /// Something is wrong in the `file tree` of v2.
    Tree {
        /// The number of the file, in the tree's order, before or in which it shows.
        file: usize,
        /// What is wrong.
        why: TreeError,
    },
    /// `piece layers` is missing, and without it a torrent of v2 alone has no piece hashes.
    NoLayers,
    /// The piece layer of a v2 file is not what its root says.
    Layer {
        /// Which file, in the order of the content, padding included.
        file: usize,
        /// What is wrong.
        why: LayerError,
    },
    /// A symbolic link is one that must not be made (BEP 47, "symlinks").
    Link {
        /// Which file, in the order of the content, padding included.
        file: usize,
        /// What is wrong.
        why: LinkError,
    },
    /// The v1 and the v2 part of a hybrid do not describe the same content.
    Hybrid {
        /// The number of the file, in the order of v1, at which they part.
        file: usize,
        /// What differs.
        why: HybridError,
    },
    /// The piece length is not between 1 and [`MAX_PIECE_LEN`].
    PieceLength(i64),
    /// The length of `pieces` is not a multiple of 20.
    PieceHashes {
        /// Its length in bytes.
        len: usize,
    },
    /// There are not as many piece hashes as the content has pieces.
    PieceCount {
        /// Hashes there are.
        hashes: usize,
        /// Pieces that the content's length makes.
        pieces: u32,
    },
    /// The content has more than [`MAX_PIECES`] pieces.
    TooManyPieces {
        /// How many.
        pieces: u64,
    },
    /// Both `length` and `files` are given, or neither (BEP 3 wants one of them).
    LengthOrFiles,
    /// The list of files is empty.
    NoFiles,
    /// More than [`MAX_FILES`] files.
    TooManyFiles,
    /// More than [`MAX_TRACKERS`] trackers are to be written.
    TooManyTrackers {
        /// How many.
        trackers: usize,
    },
    /// More than [`MAX_HINTS`] entries of `similar` or `collections` are to be written.
    TooManyHints {
        /// Which of the two.
        key: &'static str,
        /// How many.
        entries: usize,
    },
    /// An integer in the info of v2 has leading zeros or is -0 (BEP 52, "bencoding").
    PaddedInteger,
    /// A file's length is missing, negative or no integer.
    FileLength {
        /// Which file.
        file: usize,
    },
    /// A file's path is missing, empty or not a list of strings.
    FilePath {
        /// Which file.
        file: usize,
    },
    /// A file's path is longer than [`MAX_PATH_LEN`].
    PathTooLong {
        /// Which file.
        file: usize,
    },
    /// The files' lengths add up to 2^63 bytes or more.
    TotalOverflow,
}

impl fmt::Display for MetainfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooLong { len } => write!(
                f,
                "metainfo of {len} bytes is longer than {MAX_METAINFO_LEN}; is it a torrent file?"
            ),
            Self::Bencode(error) => write!(f, "not a torrent file: {error}"),
            Self::NotADictionary => write!(f, "not a torrent file: no dictionary"),
            Self::Missing(key) => write!(f, "not a usable torrent file: `{key}` is missing"),
            Self::WrongType(key) => {
                write!(f, "not a usable torrent file: `{key}` has the wrong type")
            }
            Self::UnknownVersion(version) => write!(
                f,
                "`meta version` is {version}: the torrent is newer than this program, which knows \
                 versions 1 and 2"
            ),
            Self::PieceLengthV2(len) => write!(
                f,
                "piece length {len} is not a power of two from {BLOCK_LEN} to {MAX_PIECE_LEN} \
                 bytes, as v2 wants it"
            ),
            Self::Tree { file, why } => write!(f, "`file tree`, file {file}: {why}"),
            Self::NoLayers => write!(
                f,
                "`piece layers` is missing, without which the pieces have no hashes; \
                 was it made of a magnet link? make or get the torrent file anew"
            ),
            Self::Layer { file, why } => write!(f, "`piece layers`, file {file}: {why}"),
            Self::Link { file, why } => write!(f, "file {file} is {why}"),
            Self::Hybrid { file, why } => write!(
                f,
                "its v1 and v2 parts describe different content: {why}, at file {file}; \
                 do not trust it"
            ),
            Self::PieceLength(len) => {
                write!(f, "piece length {len} is not between 1 and {MAX_PIECE_LEN} bytes")
            }
            Self::PieceHashes { len: 1 } => {
                f.write_str("`pieces` has 1 byte, which is no multiple of 20")
            }
            Self::PieceHashes { len } => {
                write!(f, "`pieces` has {len} bytes, which is no multiple of 20")
            }
            Self::PieceCount { hashes, pieces } => {
                let noun = |count: u64| if count == 1 { "piece" } else { "pieces" };
                let (of, by) = (noun(u64::from(pieces)), noun(hashes as u64));
                write!(f, "piece hashes of {hashes} {by} for content of {pieces} {of}")
            }
            Self::TooManyPieces { pieces } => {
                write!(f, "{pieces} pieces, more than the {MAX_PIECES} that are supported")
            }
            Self::LengthOrFiles => write!(f, "one of `length` and `files` must be given, not both"),
            Self::NoFiles => write!(f, "the list of files is empty"),
            Self::TooManyFiles => write!(f, "more than the {MAX_FILES} files that are supported"),
            Self::TooManyTrackers { trackers } => {
                write!(f, "{trackers} trackers, more than the {MAX_TRACKERS} that are supported")
            }
            Self::TooManyHints { key, entries } => {
                write!(
                    f,
                    "{entries} entries of `{key}`, more than the {MAX_HINTS} that are supported"
                )
            }
            Self::PaddedInteger => f.write_str(
                "a number in its v2 part has leading zeros, which other programs refuse or write \
                 otherwise, so that the infohash changes; get the torrent file anew",
            ),
            Self::FileLength { file } => {
                write!(f, "the length of file {file} is missing or negative")
            }
            Self::FilePath { file } => write!(f, "file {file} has no usable path"),
            Self::PathTooLong { file } => {
                write!(f, "the path of file {file} is longer than {MAX_PATH_LEN} bytes")
            }
            Self::TotalOverflow => write!(f, "the files' lengths add up to 2^63 bytes or more"),
        }
    }
}

impl std::error::Error for MetainfoError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bencode(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ParseError> for MetainfoError {
    fn from(error: ParseError) -> Self {
        Self::Bencode(error)
    }
}
