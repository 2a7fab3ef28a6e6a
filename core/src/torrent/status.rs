//! How a torrent stands: a snapshot, cheap enough to take for every torrent every second.

use std::time::Duration;

use serde::Serialize;

use crate::disk::DiskError;
use crate::extension::metadata::MetadataProgress;
use crate::id::TorrentId;
use crate::piece::InfoHash;
use crate::tracker::TrackerStatus;

/// How a torrent stands at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct TorrentStatus {
    /// Which one.
    pub id: TorrentId,
    /// Its name, sanitised.
    pub name: String,
    /// Its infohash.
    pub infohash: InfoHash,
    /// What it does now.
    pub state: TorrentState,
    /// What keeps it from being faster.
    pub bottleneck: Bottleneck,
    /// Pieces in all, wanted, and verified on disk.
    pub pieces: u32,
    /// Pieces verified on disk.
    pub pieces_have: u32,
    /// Bytes to transfer in all: the content without the padding at the ends of pieces.
    pub total_bytes: u64,
    /// Bytes of the pieces that are wanted.
    pub wanted_bytes: u64,
    /// Bytes of wanted pieces that are verified on disk, or while checking, that were checked.
    pub done_bytes: u64,
    /// Bytes per second of blocks received.
    pub down_bytes_per_s: u64,
    /// Bytes per second of blocks sent.
    pub up_bytes_per_s: u64,
    /// Bytes of blocks received in this session.
    pub downloaded_bytes: u64,
    /// Bytes of blocks sent in this session.
    pub uploaded_bytes: u64,
    /// Bytes received that failed their hash.
    pub failed_bytes: u64,
    /// Bytes received that were there already or not asked for.
    pub redundant_bytes: u64,
    /// Connected peers whose handshake is done.
    pub peers: usize,
    /// Those of them whose connection is over uTP.
    pub utp_peers: usize,
    /// Those of them that have everything.
    pub seeds: usize,
    /// Those of them whose connection is encrypted, if only its handshake.
    pub encrypted: usize,
    /// Peers that we know of, connected or not.
    pub known_peers: usize,
    /// Peers that let us download.
    pub unchoked_us: usize,
    /// Time to completion at the present rate.
    pub eta: Option<Duration>,
    /// The trackers, in the order of their tiers.
    pub trackers: Vec<TrackerStatus>,
    /// How far the metadata has come, while it is asked for.
    pub metadata: Option<MetadataProgress>,
    /// Why it waits for the disk.
    pub disk_error: Option<DiskError>,
}

/// What a torrent does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
pub enum TorrentState {
    /// Asking peers what it is: only a magnet link is known.
    Metadata,
    /// Looking at what is on disk.
    Checking,
    /// Fetching what is wanted.
    Downloading,
    /// Everything wanted is there; sharing it.
    Seeding,
    /// Paused by the user.
    Paused,
    /// Waiting for the disk to work again.
    DiskFailed,
    /// Taking its leave: telling trackers, saving.
    Stopping,
}

/// What keeps a torrent from being faster.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
pub enum Bottleneck {
    /// Nothing: it is done, or it is paused.
    None,
    /// Reading what is on disk.
    Checking,
    /// No peer is connected.
    NoPeers,
    /// No connected peer has a piece that is missing here.
    NothingOffered,
    /// Every peer that has what is missing chokes us.
    Choked,
    /// The disk takes data more slowly than it comes.
    Disk,
    /// Our own limit.
    RateLimit,
    /// What the peers send, or the network between.
    Peers,
}

impl Bottleneck {
    /// One or two words for a progress line.
    pub const fn word(self) -> &'static str {
        match self {
            Bottleneck::None => "",
            Bottleneck::Checking => "checking",
            Bottleneck::NoPeers => "no peers",
            Bottleneck::NothingOffered => "peers lack pieces",
            Bottleneck::Choked => "choked",
            Bottleneck::Disk => "disk",
            Bottleneck::RateLimit => "rate limit",
            Bottleneck::Peers => "peers",
        }
    }
}
