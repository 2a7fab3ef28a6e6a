//! One stream connection as the session sees it: whose it is, what is on its way out, and why it
//! is not read from.

use std::net::SocketAddr;

use crate::id::{ConnId, TorrentId};
use crate::peer::PeerSlot;
use crate::session::announces::AnnounceId;
use crate::session::tracker_host::TrackerClient;
use crate::timer::TimerId;
use crate::wire::handshake::HandshakeDecoder;

/// A stream connection, from `Connect` or `accept` to `Close` or `Closed`.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) remote: SocketAddr,
    pub(crate) role: Role,
    /// Whether it is established; bytes can be sent.
    pub(crate) open: bool,
    /// Whether a `Send` is out that `gather` has not answered.
    pub(crate) send_asked: bool,
    /// Bytes gathered that the socket has not taken yet.
    pub(crate) in_flight: usize,
    /// Whether it waits in the queue for upload allowance.
    pub(crate) waits_for_upload: bool,
    /// Why reading is off; 0 means it is on.
    read_pauses: u8,
    pub(crate) timer: TimerId,
}

/// What a connection is for.
#[derive(Debug)]
pub(crate) enum Role {
    /// Somebody dialled in and has not said which torrent they want.
    Unknown(HandshakeDecoder),
    /// A peer of a torrent.
    Peer(TorrentId, PeerSlot),
    /// We ask an HTTP tracker.
    Announce(AnnounceId),
    /// Somebody asks our tracker.
    TrackerClient(Box<TrackerClient>),
}

/// Why a connection is not read from. Several may hold at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum ReadPause {
    /// The disk has not caught up.
    Disk = 1,
    /// The download limit is used up.
    Rate = 2,
    /// The torrent's own download limit is used up.
    TorrentRate = 4,
    /// The peer does not read what we send it.
    Output = 8,
}

impl Conn {
    pub(crate) fn new(remote: SocketAddr, role: Role, incoming: bool, timer: TimerId) -> Self {
        Conn {
            remote,
            role,
            open: incoming,
            send_asked: false,
            in_flight: 0,
            waits_for_upload: false,
            read_pauses: 0,
            timer,
        }
    }

    /// Adds a reason not to read; whether reading has to be switched off now.
    pub(crate) fn pause_reading(&mut self, why: ReadPause) -> bool {
        let was_reading = self.read_pauses == 0;
        self.read_pauses |= why as u8;
        was_reading
    }

    /// Takes a reason away; whether reading has to be switched on now.
    pub(crate) fn resume_reading(&mut self, why: ReadPause) -> bool {
        let was_paused_for_it = self.read_pauses & why as u8 != 0;
        self.read_pauses &= !(why as u8);
        was_paused_for_it && self.read_pauses == 0
    }

    pub(crate) fn is_reading(&self) -> bool {
        self.read_pauses == 0
    }
}

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
    /// The session's upload allowance is positive again.
    UploadRate,
    /// The session's download allowance is positive again.
    DownloadRate,
    /// A UDP tracker did not answer.
    UdpTrackers,
    /// The embedded tracker forgets peers.
    TrackerServer,
    /// The DHT's next deadline.
    Dht,
    /// Torrents are to be announced in the local network.
    Lsd,
    /// The session has had its time to stop.
    Stop,
}

impl Role {
    /// Whether it counts as a peer connection.
    pub(crate) fn is_peer(&self) -> bool {
        matches!(self, Role::Unknown(_) | Role::Peer(..))
    }
}
