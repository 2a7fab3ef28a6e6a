//! Why the engine does not do what its user asks.

use std::error::Error;
use std::fmt;

use crate::id::TorrentId;

/// Why a torrent was not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddTorrentError {
    /// The session has it already, under this id.
    Duplicate(TorrentId),
    /// The list of file priorities has not one entry for each file that has a number.
    WrongFileCount {
        /// Entries given.
        given: usize,
        /// Files in the torrent.
        files: usize,
    },
    /// No file is wanted: all are skipped, or the torrent has none of the numbers chosen.
    NothingSelected {
        /// Files in the torrent, if that is known.
        files: Option<usize>,
    },
    /// `Command::Stop` was given.
    Stopping,
}

impl fmt::Display for AddTorrentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddTorrentError::Duplicate(_) => f.write_str("the session has this torrent already"),
            AddTorrentError::WrongFileCount { given, files } => {
                write!(f, "file priorities given: {given}, files: {files}")
            }
            AddTorrentError::NothingSelected { files: Some(1) } => {
                f.write_str("nothing is selected: the torrent's only file is not wanted")
            }
            AddTorrentError::NothingSelected { files: Some(files) } => {
                write!(f, "nothing is selected: none of the {files} files of the torrent is wanted")
            }
            AddTorrentError::NothingSelected { files: None } => {
                f.write_str("nothing is selected: every file is to be skipped")
            }
            AddTorrentError::Stopping => f.write_str("the session is stopping"),
        }
    }
}

impl Error for AddTorrentError {}

/// The torrent named is not in the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoSuchTorrent(pub TorrentId);

impl fmt::Display for NoSuchTorrent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such torrent in the session")
    }
}

impl Error for NoSuchTorrent {}

/// Nothing is begun any more: `Command::Stop` was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopping;

impl fmt::Display for Stopping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the session is stopping")
    }
}

impl Error for Stopping {}

/// Why nothing is looked for in the DHT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DhtError {
    /// The session takes no part in it, or is stopping.
    Off,
    /// Too much is looked for already, or an item to store does not verify.
    Refused,
}

impl fmt::Display for DhtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DhtError::Off => "the session takes no part in the DHT",
            DhtError::Refused => "too much is looked for in the DHT already",
        })
    }
}

impl Error for DhtError {}
