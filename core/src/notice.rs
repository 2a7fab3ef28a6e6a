//! What the application hears: an ordered stream of things worth knowing.
//!
//! Notices tell of changes. How things stand is asked for with `Engine::torrent`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::dht::{DhtRequestId, DhtResult};
use crate::disk::DiskError;
use crate::encryption::Encryption;
use crate::id::TorrentId;
use crate::net_error::NetError;
use crate::socket::SocketKind;
use crate::tracker::server::HeardAnnounce;
use crate::tracker::{ScrapeEntry, ScrapeId};
use crate::wire::Violation;

/// Something the application may want to know.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub enum Notice {
    /// A socket is open.
    Listening {
        /// Who is to be reached there.
        service: Service,
        /// Which kind.
        kind: SocketKind,
        /// Where, with the port the system chose.
        addr: SocketAddr,
    },
    /// A socket could not be opened; the session goes on without it.
    ListenFailed {
        /// Who was to be reached there.
        service: Service,
        /// Which kind.
        kind: SocketKind,
        /// Where it was to be.
        addr: SocketAddr,
        /// Why not.
        why: NetError,
    },
    /// Something about one torrent.
    Torrent {
        /// Which one.
        id: TorrentId,
        /// What.
        what: TorrentNotice,
    },
    /// The DHT node has looked around: requests are worked on from now on.
    DhtReady {
        /// Nodes that it knows.
        nodes: usize,
    },
    /// A request of the user to the DHT is done.
    DhtDone {
        /// Which request.
        request: DhtRequestId,
        /// What came of it.
        result: Box<DhtResult>,
    },
    /// A tracker was asked for the numbers of swarms.
    Scraped {
        /// Which time.
        scrape: ScrapeId,
        /// The swarms it knows of those asked for, or why it did not say.
        swarms: Result<Vec<ScrapeEntry>, String>,
    },
    /// The embedded tracker was announced to; only with `Config::tracker_notices`.
    TrackerHeard(HeardAnnounce),
    /// Everything asked for by `Command::Stop` is done. The last notice.
    Stopped,
}

/// Who is reached at a socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
pub enum Service {
    /// The torrents' peer.
    Peers,
    /// The embedded tracker.
    Tracker,
}

/// What carries the bytes of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
pub enum PeerTransport {
    /// TCP.
    Tcp,
    /// uTP.
    Utp,
}

impl fmt::Display for PeerTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PeerTransport::Tcp => "tcp",
            PeerTransport::Utp => "utp",
        })
    }
}

/// Something about one torrent.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub enum TorrentNotice {
    /// It is known what is on disk: from resume data, or by hashing all of it.
    Checked {
        /// Pieces that are there.
        have: u32,
        /// Pieces in all.
        pieces: u32,
        /// Whether resume data answered, so that nothing was hashed.
        from_resume: bool,
    },
    /// The metadata of a torrent that was added by a magnet link is known and verified.
    MetadataReceived {
        /// The torrent's name, sanitised.
        name: String,
        /// Bytes to transfer in all, as in the status.
        total_bytes: u64,
        /// Pieces of content.
        pieces: u32,
    },
    /// The metadata is verified and cannot be used. The torrent is paused.
    MetadataUnusable {
        /// Why.
        why: String,
    },
    /// The torrent has none of the files that were chosen before it was known. It is paused.
    NothingSelected {
        /// The numbers chosen, from 0.
        selected: String,
        /// Whether it was the magnet link that chose them (BEP 53), and not the user.
        by_link: bool,
        /// How many files have numbers.
        files: usize,
    },
    /// A peer claims metadata longer than is accepted; it is not asked for it.
    MetadataTooLong {
        /// Bytes, as it claims.
        bytes: u32,
        /// Most bytes accepted.
        limit: u32,
    },
    /// Every wanted piece is verified and written.
    Finished,
    /// Everything that was finished is also flushed to disk and recorded in the resume data.
    Saved,
    /// A peer has shaken hands: messages pass.
    PeerConnected {
        /// Its address.
        addr: SocketAddr,
        /// Whether it dialled us.
        incoming: bool,
        /// What carries its bytes.
        transport: PeerTransport,
        /// How they are encrypted.
        encryption: Encryption,
    },
    /// A peer was banned, by proof that it sent wrong data or broke the protocol.
    PeerBanned {
        /// Its address.
        addr: SocketAddr,
        /// What it did.
        why: BanReason,
    },
    /// A peer broke the protocol. Of each connection the first breach that is borne is reported, and
    /// the one that ends it; in a session at most 20 a minute.
    PeerViolated {
        /// Its address.
        addr: SocketAddr,
        /// What it did.
        violation: Violation,
        /// Whether the connection was ended for it. If not, the message was left out.
        disconnected: bool,
        /// How many more there were, of any peer, since this was last reported.
        not_shown: u32,
    },
    /// A tracker answered.
    TrackerAnswered {
        /// Its URL.
        url: String,
        /// How many peers it named.
        peers: usize,
        /// Its warning, if it gave one.
        warning: Option<String>,
    },
    /// A tracker could not be asked, or refused.
    TrackerFailed {
        /// Its URL.
        url: String,
        /// Why.
        why: String,
    },
    /// The torrent was looked for and announced in the DHT.
    DhtAnswered {
        /// How many peers were found.
        peers: usize,
        /// How many nodes know of us now.
        stored: usize,
    },
    /// A tracker told us our address as it sees it (BEP 24).
    ExternalAddress {
        /// The address.
        ip: IpAddr,
    },
    /// The disk failed; the torrent is paused and tries again by itself.
    DiskFailed {
        /// What failed.
        error: DiskError,
    },
    /// The disk works again.
    DiskRecovered,
    /// It was paused by the user.
    Paused,
    /// It was resumed by the user.
    Resumed,
    /// It is gone, and its files too if that was asked for.
    Removed,
}

/// Why an address is banned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
pub enum BanReason {
    /// It sent a block that was proved wrong.
    WrongData,
    /// It broke the protocol.
    Protocol,
    /// The user banned it.
    User,
}

impl fmt::Display for BanReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BanReason::WrongData => "sent wrong data",
            BanReason::Protocol => "broke the protocol",
            BanReason::User => "banned by the user",
        })
    }
}
