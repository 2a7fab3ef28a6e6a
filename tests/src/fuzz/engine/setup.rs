//! How the world of an engine begins: what torrents there are, how the engine is configured, and
//! what the first byte of a program chooses.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use bitswarm_core::config::{Bounds, Config, ConnectionLimits};

use crate::sim::content::Content;

/// How many torrents there are to be added.
pub(super) const TORRENTS: usize = 2;

pub(super) const ROOT: &str = "/downloads";
/// One whose pieces have two blocks and straddle files, with trackers; one of many small pieces.
pub(super) static CONTENT: LazyLock<[Arc<Content>; TORRENTS]> = LazyLock::new(|| {
    let files = [("a", 30_000), ("b", 0), ("c/d", 35_000)];
    [Content::multi(1, "several", &files, 20_000), Content::single(2, "one", 3950, 100)]
});

pub(super) const TRACKERS: [&[&str]; 2] =
    [&["http://tracker.example/announce"], &["udp://192.0.2.1:6969/announce?k=v"]];

/// How a world begins.
pub(super) struct Setup {
    /// The content of the torrents is on disk already.
    pub(super) complete: bool,
    /// Sockets take bytes only when the program says so.
    pub(super) lazy: bool,
    /// The engine is recorded, and the recording played at the end.
    pub(super) recorded: bool,
    /// Torrents to begin with.
    pub(super) torrents: usize,
    /// Everything that the engine wants of its host at first is done.
    pub(super) settled: bool,
}

impl Setup {
    pub(super) fn new(bits: u8) -> Self {
        Setup {
            complete: bits & 1 != 0,
            lazy: bits & 2 != 0,
            recorded: bits & 0x70 == 0x70,
            torrents: usize::from(bits >> 2 & 1) + 1,
            settled: bits & 8 == 0,
        }
    }
}

pub(super) fn config() -> Config {
    let config = Config::default();
    Config {
        listen: vec![SocketAddr::from(([0, 0, 0, 0], 6881))],
        tracker_listen: vec![SocketAddr::from(([0, 0, 0, 0], 6969))],
        connections: ConnectionLimits {
            session: 8,
            torrent: 5,
            half_open: 3,
            per_address: 2,
            handshaking: 3,
        },
        bounds: Bounds {
            assembly_bytes: 48 << 10,
            write_backlog_bytes: 32 << 10,
            read_ahead_bytes: 48 << 10,
            peer_requests: 8,
            own_requests: 6,
            known_peers: 12,
            announces: 2,
            checking: 2,
            bans: 4,
            tracker_swarms: 4,
            tracker_peers: 4,
            metadata_bytes: 64 << 10,
        },
        ..config
    }
}
