//! One stream of bytes: what carries it, how far it is set up, how it flows, what it is for.
//!
//! A stream is a carrier, a stage and a cipher, all unknown to its owner, who sees the same events
//! whatever they are. The host speaks TLS where a stream wants it, once it is connected; we speak uTP
//! and MSE.

use std::net::SocketAddr;

use super::mse::{Ciphers, Handshake};
use super::utp_streams::UtpConn;
use crate::encryption::Encryption;
use crate::id::{ClientId, FetchId, PeerSlot, TorrentId};
use crate::piece::InfoHash;
use crate::timer::TimerId;

/// A stream, from `Connect` or `accept` to `Close` or `Closed`.
#[derive(Debug)]
pub(super) struct Stream {
    /// The peer or server at the other end.
    pub(super) remote: SocketAddr,
    pub(super) carrier: Carrier,
    pub(super) stage: Stage,
    pub(super) cipher: Cipher,
    pub(super) encryption: Encryption,
    /// The infohash that both sides have agreed on to encrypt.
    pub(super) skey: Option<InfoHash>,
    /// Whether a byte has come; in a handshake of MSE, whether the peer's key has.
    pub(super) is_heard: bool,
    pub(super) role: Role,
    /// Whether a `Send` is out that `gather` has not answered.
    pub(super) send_asked: bool,
    /// Whether the owner waits for upload allowance before it sends more blocks.
    pub(super) send_paused: bool,
    /// Bytes gathered that the socket has not taken yet.
    pub(super) in_flight: usize,
    /// Why reading is off; 0 means it is on.
    read_pauses: u8,
    pub(super) timer: TimerId,
}

/// What carries the bytes of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Carrier {
    /// A TCP connection of the host, under the id of the stream.
    Tcp,
    /// A connection of uTP, which the host does not know of.
    Utp(UtpConn),
}

/// The attempts to open a stream that are under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Attempts {
    /// The host connects by TCP.
    pub(super) tcp: bool,
    pub(super) utp: Attempt,
}

/// An attempt by uTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Attempt {
    /// There is none, or none any more.
    None,
    /// It begins when TCP has had its time, or has failed.
    Later,
    Now(UtpConn),
}

/// What follows when the host has connected.
#[derive(Debug)]
pub(crate) enum Setup {
    /// Nothing: the stream is open.
    Plain,
    /// TLS, with a certificate for this host.
    Tls(Box<str>),
    /// MSE, for the torrent of this infohash.
    Mse(InfoHash),
}

/// How far a stream is set up.
#[derive(Debug)]
pub(super) enum Stage {
    /// It is tried in one or two ways.
    Dialling {
        attempts: Attempts,
        /// What follows.
        setup: Setup,
    },
    /// The host and the other side agree on TLS.
    Tls,
    /// We and the other side agree on MSE, or find out whether it speaks that.
    Mse(Box<Handshake>),
    /// Its owner's bytes pass, behind these.
    Answering(Vec<u8>),
    /// Its owner's bytes pass.
    Open,
}

/// How the bytes of a stream are encrypted by us.
#[derive(Debug)]
pub(super) enum Cipher {
    /// Not at all.
    Plain,
    /// By RC4, each way.
    Rc4(Box<Ciphers>),
}

/// The owner of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// A remote peer connected to us and has not named a torrent yet.
    Incoming,
    /// A peer of a torrent.
    Peer(TorrentId, PeerSlot),
    /// A fetch over HTTP.
    Fetch(FetchId),
    /// A client of our tracker.
    TrackerClient(ClientId),
}

impl Role {
    /// Whether the stream counts as a peer connection.
    pub(super) fn is_peer(self) -> bool {
        matches!(self, Role::Incoming | Role::Peer(..))
    }
}

/// Why a stream is not read from. Several reasons may hold at once.
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

impl Stream {
    pub(super) fn new(
        remote: SocketAddr,
        role: Role,
        carrier: Carrier,
        stage: Stage,
        timer: TimerId,
    ) -> Self {
        Stream {
            remote,
            carrier,
            stage,
            cipher: Cipher::Plain,
            encryption: Encryption::None,
            skey: None,
            is_heard: false,
            role,
            send_asked: false,
            send_paused: false,
            in_flight: 0,
            read_pauses: 0,
            timer,
        }
    }

    /// Whether it counts as half-open: a peer that we are connecting to.
    pub(super) fn is_half_open(&self) -> bool {
        self.role.is_peer() && matches!(self.stage, Stage::Dialling { .. })
    }

    /// Whether there may be something to send: of the owner, or of a handshake.
    pub(super) fn may_send(&self) -> bool {
        match &self.stage {
            Stage::Open | Stage::Answering(_) => true,
            Stage::Mse(handshake) => handshake.has_output() || handshake.is_offering(),
            Stage::Dialling { .. } | Stage::Tls => false,
        }
    }

    /// Adds a reason not to read; whether reading has to be switched off now.
    pub(super) fn pause_reading(&mut self, why: ReadPause) -> bool {
        let was_reading = self.is_reading();
        self.read_pauses |= why as u8;
        was_reading
    }

    /// Takes a reason away; whether reading has to be switched on now.
    pub(super) fn resume_reading(&mut self, why: ReadPause) -> bool {
        let was_paused_for_it = self.read_pauses & why as u8 != 0;
        self.read_pauses &= !(why as u8);
        was_paused_for_it && self.is_reading()
    }

    pub(super) fn is_reading(&self) -> bool {
        self.read_pauses == 0
    }
}
