//! What the user says about a torrent: how to add it, which files, in which order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::RateLimits;
use crate::disk::Allocation;
use crate::metainfo::Metainfo;

/// A torrent to add to the session.
#[derive(Clone, Debug)]
pub struct AddTorrent {
    /// What it is.
    pub metainfo: Arc<Metainfo>,
    /// The directory that contains (or will contain) the torrent's name.
    pub root: PathBuf,
    /// Trackers besides those of the metainfo; each becomes a tier of its own.
    pub trackers: Vec<String>,
    /// Peers known beforehand.
    pub peers: Vec<SocketAddr>,
    /// A priority for each file, in the metainfo's order; empty means all [`FilePriority::Normal`].
    pub files: Vec<FilePriority>,
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
}

impl AddTorrent {
    /// All files, rarest first, unlimited, started.
    pub fn new(metainfo: impl Into<Arc<Metainfo>>, root: impl Into<PathBuf>) -> Self {
        AddTorrent {
            metainfo: metainfo.into(),
            root: root.into(),
            trackers: Vec::new(),
            peers: Vec::new(),
            files: Vec::new(),
            order: PieceOrder::default(),
            limits: RateLimits::default(),
            allocation: Allocation::default(),
            paused: false,
            recheck: false,
        }
    }
}

/// How much a file is wanted.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub enum FilePriority {
    /// Not at all. Pieces shared with a wanted file are fetched all the same.
    Skip,
    /// After everything else.
    Low,
    /// As usual.
    #[default]
    Normal,
    /// Before everything else.
    High,
}

/// In which order pieces are fetched.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum PieceOrder {
    /// The piece that the fewest peers have comes first: best for the swarm.
    #[default]
    RarestFirst,
    /// From the first to the last, for reading along.
    Sequential,
}
