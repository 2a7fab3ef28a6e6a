//! Why a torrent cannot be made.

use std::fmt;

use crate::metainfo::MetainfoError;
use crate::piece::{BLOCK_LEN, MAX_PIECE_LEN, MAX_PIECES};

/// Most components of a path (chosen: with what surrounds it, a file tree stays within the depth
/// of bencoding that is read).
pub(super) const MAX_DEPTH: usize = 90;

/// Why a torrent cannot be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CreateError {
    /// There is no file at all.
    NoFiles,
    /// The content is empty: no piece, nothing to transfer.
    Empty,
    /// The piece length is 0 or past [`MAX_PIECE_LEN`], or makes more than [`MAX_PIECES`] pieces.
    PieceLength(u32),
    /// The piece length is not one that v2 allows: a power of two from 16 KiB to [`MAX_PIECE_LEN`].
    PieceLengthV2(u32),
    /// A file lies in more folders than can be read again.
    TooDeep {
        /// Its path.
        path: String,
    },
    /// The hashes are not 20 bytes (v1) and 32 bytes (v2) for each piece.
    PieceHashes {
        /// Bytes given.
        given: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// A file cannot be stored under its own name.
    Name {
        /// Its name.
        name: String,
        /// The name it would get.
        stored_as: String,
    },
    /// It would be refused when read.
    Unreadable(MetainfoError),
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFiles => write!(f, "there is no file to make a torrent of"),
            Self::Empty => write!(f, "the files are empty: there is nothing to share"),
            Self::PieceLength(len) => write!(
                f,
                "piece length {len} does not work here: it must be between 1 and {MAX_PIECE_LEN} \
                 bytes and make at most {MAX_PIECES} pieces"
            ),
            Self::PieceLengthV2(len) => write!(
                f,
                "piece length {len} does not work for v2: it must be a power of two from \
                 {BLOCK_LEN} to {MAX_PIECE_LEN} bytes"
            ),
            Self::TooDeep { path } => {
                write!(f, "{path} lies too deep: at most {MAX_DEPTH} names are possible in a path")
            }
            Self::PieceHashes { given, needed } => {
                write!(f, "{given} bytes of piece hashes where {needed} are needed")
            }
            Self::Name { name, stored_as } => write!(
                f,
                "{name:?} would be stored as {stored_as:?} by those who download it; rename it first"
            ),
            Self::Unreadable(error) => write!(f, "the torrent could not be read again: {error}"),
        }
    }
}

impl std::error::Error for CreateError {}
