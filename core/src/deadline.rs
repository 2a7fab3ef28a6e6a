//! Deadlines of a session: what each timer of its wheel is for.

use crate::id::{AnnounceId, ConnId, FetchId, TorrentId};

/// What a timer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TimerKey {
    /// A connection's next deadline.
    Conn(ConnId),
    /// A torrent's next deadline.
    Torrent(TorrentId),
    /// A torrent's own rate allowance is positive again.
    TorrentRates(TorrentId),
    /// An announce's deadline.
    Announce(AnnounceId),
    /// The deadline of a fetch over HTTP.
    Fetch(FetchId),
    /// The session's upload allowance is positive again.
    UploadRate,
    /// The session's download allowance is positive again.
    DownloadRate,
    /// Key agreements may be made again.
    KeyAgreements,
    /// A UDP tracker did not answer.
    UdpTrackers,
    /// Connections of uTP are to be looked at.
    Utp,
    /// The embedded tracker forgets peers.
    TrackerServer,
    /// The DHT's next deadline.
    Dht,
    /// Torrents are to be announced in the local network.
    Lsd,
    /// The session has had its time to stop.
    Stop,
}
