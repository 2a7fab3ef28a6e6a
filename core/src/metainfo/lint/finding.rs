//! What may be unusual or harmful in a torrent file, and how it is said.

use std::fmt;

use crate::http::Url;
use crate::metainfo::{MAX_HINTS, MAX_NODES_ASKED, MAX_TRACKERS};
use crate::piece::BLOCK_LEN;

/// One thing that is unusual or harmful.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// Keys are not sorted, are there twice, or numbers have leading zeros: programs that write
    /// the file anew change its infohash.
    NotCanonical,
    /// Bytes follow the end of the dictionary.
    BytesAfterEnd {
        /// How many.
        len: usize,
    },
    /// The piece length is no power of two, or less than 16 KiB.
    OddPieceLength(u32),
    /// So many pieces that the file is large and checking starts slowly.
    ManyPieces(u32),
    /// So few pieces for so much content that peers wait long before they have one to share.
    FewPieces(u32),
    /// Files of v1 that do not begin with a piece: one wrong piece may be several files' fault,
    /// and they cannot be found in other torrents.
    Unaligned {
        /// How many files.
        files: usize,
        /// Whether there is padding all the same.
        is_padded: bool,
    },
    /// A file that is stored under another name than the torrent's.
    Renamed {
        /// The name it has on disk.
        stored_as: String,
    },
    /// A file that Windows cannot store under its name.
    NotForWindows {
        /// Its path.
        path: String,
    },
    /// A name so long that some file systems do not take it.
    LongName {
        /// Its path.
        path: String,
    },
    /// A link that leads to nothing in the torrent; it is not made.
    DanglingLink {
        /// Its path.
        path: String,
    },
    /// Private, and without a tracker: nobody can be found.
    PrivateWithoutTracker,
    /// Private, and with DHT nodes, which must not be asked.
    PrivateWithNodes,
    /// A tracker that is not asked: its address is wrong, or of a kind that is not known.
    UnknownTracker {
        /// Its address.
        url: String,
    },
    /// A web seed whose address no client knows how to ask.
    UnknownWebSeed {
        /// Its address.
        url: String,
    },
    /// A hybrid without `piece layers`: of use as v1 alone.
    NoLayers,
    /// Piece layers that belong to no file.
    UnusedLayers {
        /// How many.
        layers: usize,
    },
    /// More trackers than are read.
    ManyTrackers {
        /// How many there are.
        trackers: usize,
    },
    /// More DHT nodes than are asked.
    ManyNodes {
        /// How many there are.
        nodes: usize,
    },
    /// More entries of `similar` or `collections` than are read.
    ManyHints {
        /// Which of the two.
        key: &'static str,
        /// How many there are.
        entries: usize,
    },
    /// More of one kind than are listed.
    More {
        /// The word for that kind.
        word: &'static str,
        /// How many more.
        count: usize,
    },
    /// A creation date before 1970.
    OddDate(i64),
    /// Entries of `similar` that are no infohash as BEP 38 has them, which nobody understands.
    OddSimilar {
        /// How many.
        entries: usize,
    },
}

impl Finding {
    /// Whether it does harm: something will not work, or not as it seems. The others are unusual.
    pub fn is_harmful(&self) -> bool {
        matches!(
            self,
            Finding::NotCanonical
                | Finding::PrivateWithoutTracker
                | Finding::PrivateWithNodes
                | Finding::NoLayers
                | Finding::Renamed { .. }
                | Finding::DanglingLink { .. }
        )
    }

    /// Whether it names something that is not used, or not all of it.
    pub fn is_left_out(&self) -> bool {
        matches!(
            self,
            Finding::BytesAfterEnd { .. }
                | Finding::UnknownTracker { .. }
                | Finding::UnknownWebSeed { .. }
                | Finding::UnusedLayers { .. }
                | Finding::ManyTrackers { .. }
                | Finding::ManyNodes { .. }
                | Finding::ManyHints { .. }
                | Finding::OddSimilar { .. }
        )
    }

    /// One word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Finding::NotCanonical => "not_canonical",
            Finding::BytesAfterEnd { .. } => "bytes_after_end",
            Finding::OddPieceLength(_) => "odd_piece_length",
            Finding::ManyPieces(_) => "many_pieces",
            Finding::FewPieces(_) => "few_pieces",
            Finding::Unaligned { .. } => "unaligned",
            Finding::Renamed { .. } => "renamed",
            Finding::NotForWindows { .. } => "not_for_windows",
            Finding::LongName { .. } => "long_name",
            Finding::DanglingLink { .. } => "dangling_link",
            Finding::PrivateWithoutTracker => "private_without_tracker",
            Finding::PrivateWithNodes => "private_with_nodes",
            Finding::UnknownTracker { .. } => "unknown_tracker",
            Finding::UnknownWebSeed { .. } => "unknown_web_seed",
            Finding::NoLayers => "no_layers",
            Finding::UnusedLayers { .. } => "unused_layers",
            Finding::ManyTrackers { .. } => "many_trackers",
            Finding::ManyNodes { .. } => "many_nodes",
            Finding::ManyHints { .. } => "many_hints",
            Finding::More { .. } => "more",
            Finding::OddDate(_) => "odd_date",
            Finding::OddSimilar { .. } => "odd_similar",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::NotCanonical => f.write_str(
                "not canonical: keys are unsorted or there twice, or numbers have leading zeros; \
                 programs that write it anew change its infohash",
            ),
            Finding::BytesAfterEnd { len: 1 } => f.write_str("1 byte follows its end"),
            Finding::BytesAfterEnd { len } => write!(f, "{len} bytes follow its end"),
            Finding::OddPieceLength(len) => {
                write!(f, "piece length {len} is not a power of two from {BLOCK_LEN} on")
            }
            Finding::ManyPieces(pieces) => {
                write!(f, "{pieces} pieces are many; longer pieces make a smaller torrent file")
            }
            Finding::FewPieces(1) => {
                f.write_str("1 piece is little for so much content; shorter ones are shared sooner")
            }
            Finding::FewPieces(pieces) => write!(
                f,
                "{pieces} pieces are few for so much content; shorter ones are shared sooner"
            ),
            Finding::Unaligned { files, is_padded } => {
                let subject = match files {
                    1 => "1 file does".to_owned(),
                    _ => format!("{files} files do"),
                };
                let rest = match is_padded {
                    true => " although others are padded",
                    false => "; padding would align them",
                };
                write!(f, "{subject} not begin with a piece{rest}")
            }
            Finding::Renamed { stored_as } => {
                write!(
                    f,
                    "a file is stored as {stored_as}: its own name cannot or must not be used"
                )
            }
            Finding::NotForWindows { path } => {
                write!(f, "{path} cannot be stored under this name on Windows")
            }
            Finding::LongName { path } => {
                write!(f, "{path} has a name too long for some file systems")
            }
            Finding::DanglingLink { path } => {
                write!(f, "{path} is a link to nothing in the torrent, and is not made")
            }
            Finding::PrivateWithoutTracker => {
                f.write_str("private and without a tracker: no peer can be found")
            }
            Finding::PrivateWithNodes => {
                f.write_str("private, but with DHT nodes, which must not be asked")
            }
            Finding::UnknownTracker { url } => match Url::parse(url) {
                Err(why) => write!(f, "tracker {url} is not asked: {why}"),
                Ok(_) => write!(f, "tracker {url} is not asked"),
            },
            Finding::UnknownWebSeed { url } => {
                write!(f, "web seed {url} is neither http, https nor ftp")
            }
            Finding::NoLayers => {
                f.write_str("a hybrid without piece layers: it can be used as v1 alone")
            }
            Finding::UnusedLayers { layers: 1 } => f.write_str("1 piece layer belongs to no file"),
            Finding::UnusedLayers { layers } => {
                write!(f, "{layers} piece layers belong to no file")
            }
            Finding::ManyTrackers { trackers } => {
                write!(f, "{trackers} trackers, of which {MAX_TRACKERS} are used")
            }
            Finding::ManyNodes { nodes } => write!(
                f,
                "{nodes} DHT nodes, of which {MAX_NODES_ASKED} are asked, other ones each time"
            ),
            Finding::ManyHints { key, entries } => {
                write!(f, "{entries} entries of `{key}`, of which {MAX_HINTS} are used")
            }
            Finding::More { word, count } => write!(f, "{count} more of {word}"),
            Finding::OddDate(date) => write!(f, "creation date {date} is before 1970"),
            Finding::OddSimilar { entries: 1 } => {
                f.write_str("1 entry of `similar` is no infohash of 20 bytes")
            }
            Finding::OddSimilar { entries } => {
                write!(f, "{entries} entries of `similar` are no infohash of 20 bytes")
            }
        }
    }
}
