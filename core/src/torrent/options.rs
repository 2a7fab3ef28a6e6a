//! A torrent to add, and what names it: metainfo or a magnet link.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::RateLimits;
use crate::disk::Allocation;
use crate::infohashes::InfoHashes;
use crate::metainfo::{FileRanges, Magnet, Metainfo};
use crate::piece::InfoHash;
use crate::priority::{FilePriority, PieceOrder};

/// A torrent to add to the session.
#[derive(Clone, Debug)]
pub struct AddTorrent {
    /// What it is, or where to learn it.
    pub source: TorrentSource,
    /// The directory that contains (or will contain) the torrent's name.
    pub root: PathBuf,
    /// Trackers besides those of the metainfo; each becomes a tier of its own. They come first, and
    /// are asked wherever they are: what the user names is trusted.
    pub trackers: Vec<String>,
    /// Peers known beforehand.
    pub peers: Vec<SocketAddr>,
    /// A priority for each file that has a number
    /// ([`Metainfo::numbered_files`](crate::metainfo::Metainfo::numbered_files)); empty means all
    /// [`FilePriority::Normal`]. Not all may be [`FilePriority::Skip`]: see `share_only`.
    pub files: Vec<FilePriority>,
    /// The files wanted, if `files` is empty, by their numbers from 0. Counts instead of the magnet
    /// link's own choice. Numbers that there are no files for are ignored, as long as there is one for
    /// any.
    pub only: Option<FileRanges>,
    /// In which order pieces are fetched.
    pub order: PieceOrder,
    /// Limits of this torrent, besides the session's.
    pub limits: RateLimits,
    /// Whether space is reserved.
    pub allocation: Allocation,
    /// Whether it starts paused (after its check).
    pub paused: bool,
    /// Whether to hash everything on disk though resume data would answer.
    pub recheck: bool,
    /// Whether files that are not known to be this torrent's are overwritten all the same: see
    /// [`foreign`](crate::storage::foreign).
    pub overwrite: bool,
    /// Whether the torrent's file or folder may lie elsewhere, where a symbolic link in its place leads.
    /// Not if a torrent made that link.
    pub follow_top_link: bool,
    /// Whether to pause when the metadata is known, before anything is looked at on disk.
    pub metadata_only: bool,
    /// Whether nothing is fetched or written, and only what is there is shared. `files` and `only` say
    /// nothing then.
    pub share_only: bool,
    /// Whether a torrent of which everything wanted is here already, as its check finds, keeps to
    /// itself: no tracker, no DHT and no peer hears of it. For who fetches and does not share.
    pub idle_if_complete: bool,
}

/// What a torrent is, as far as the user knows.
#[derive(Clone, Debug)]
pub enum TorrentSource {
    /// All of it.
    Metainfo(Arc<Metainfo>),
    /// Its infohash and whom to ask.
    Magnet(Box<Magnet>),
}

impl TorrentSource {
    /// Its infohash.
    pub fn infohash(&self) -> InfoHash {
        match self {
            TorrentSource::Metainfo(metainfo) => metainfo.infohash(),
            TorrentSource::Magnet(magnet) => magnet.infohash,
        }
    }

    /// Its infohashes in v1 and v2 (BEP 52), as far as they are known.
    pub fn infohashes(&self) -> InfoHashes {
        match self {
            TorrentSource::Metainfo(metainfo) => InfoHashes::of(metainfo),
            TorrentSource::Magnet(magnet) => InfoHashes::named_by(magnet),
        }
    }

    /// Its name as far as it is known, fit to be shown; no path.
    pub fn shown_name(&self) -> String {
        match self {
            TorrentSource::Metainfo(metainfo) => metainfo.name().to_owned(),
            TorrentSource::Magnet(magnet) => magnet.shown_name(),
        }
    }

    /// The metainfo, if that is what it is.
    pub fn metainfo(&self) -> Option<&Arc<Metainfo>> {
        match self {
            TorrentSource::Metainfo(metainfo) => Some(metainfo),
            TorrentSource::Magnet(_) => None,
        }
    }
}

impl From<Metainfo> for TorrentSource {
    fn from(metainfo: Metainfo) -> Self {
        TorrentSource::Metainfo(metainfo.into())
    }
}

impl From<Arc<Metainfo>> for TorrentSource {
    fn from(metainfo: Arc<Metainfo>) -> Self {
        TorrentSource::Metainfo(metainfo)
    }
}

impl From<Magnet> for TorrentSource {
    fn from(magnet: Magnet) -> Self {
        TorrentSource::Magnet(magnet.into())
    }
}

impl AddTorrent {
    /// All files, rarest first, unlimited, started.
    pub fn new(source: impl Into<TorrentSource>, root: impl Into<PathBuf>) -> Self {
        AddTorrent {
            source: source.into(),
            root: root.into(),
            trackers: Vec::new(),
            peers: Vec::new(),
            files: Vec::new(),
            only: None,
            order: PieceOrder::default(),
            limits: RateLimits::default(),
            allocation: Allocation::default(),
            paused: false,
            recheck: false,
            overwrite: false,
            follow_top_link: true,
            metadata_only: false,
            share_only: false,
            idle_if_complete: false,
        }
    }
}
