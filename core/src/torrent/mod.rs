//! One torrent: wires picker, choker, peers and storage together.

pub mod options;
pub mod peer_book;
pub mod peer_priority;
pub mod smart_ban;
pub mod status;

pub use options::{AddTorrent, FilePriority, PieceOrder};
pub use status::{Bottleneck, TorrentState, TorrentStatus, TrackerStatus};
