//! What happened: the engine's inputs.
//!
//! Exhaustive on purpose: a runtime's `match` fails to compile when an event or action is added.
//! Everything a remote or the host can do to the engine arrives as one of these and can be logged,
//! replayed, generated and shrunk.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use crate::disk::{DiskDone, DiskError};
use crate::id::{ConnId, OpId, SocketId};
use crate::network::NetworkState;
use crate::time::Instant;

pub use crate::net_error::{NetError, ResolveError};

/// Something that happened outside. See `Engine::handle`.
///
/// An event for an id that is gone (because a `Close` crossed it) is harmless.
#[derive(Debug, Serialize, Deserialize)]
pub enum Event {
    /// The deadline of `Engine::poll_timeout` has come. Early or spurious ones are harmless.
    Timeout,
    /// What the machine's network is like. The first event that a host hands in, once.
    Network(Box<NetworkState>),
    /// A socket asked for with `Bind` is open on this address, or could not be opened.
    Bound {
        /// Which one.
        socket: SocketId,
        /// The address with the port the system chose, or why not.
        result: Result<SocketAddr, NetError>,
    },
    /// A socket that was bound is of no use any more: its device is gone, or the system has closed it.
    /// The id is dead after this.
    SocketLost {
        /// Which one.
        socket: SocketId,
        /// What failed.
        why: NetError,
    },
    /// A connection asked for with `Connect` is established.
    Connected {
        /// Which one.
        conn: ConnId,
        /// Our side's address.
        local: SocketAddr,
    },
    /// TLS asked for with `Secure` is agreed on.
    Secured {
        /// On which connection.
        conn: ConnId,
    },
    /// Bytes came in, in order. Any cut of the stream into events is the same to the engine.
    Received {
        /// From which connection.
        conn: ConnId,
        /// Owned, so that it can be decrypted in place and sliced without a copy. Not empty.
        data: BytesMut,
    },
    /// The socket took this many of the bytes that `gather` returned. May come in parts.
    Sent {
        /// Which connection.
        conn: ConnId,
        /// How many bytes more.
        bytes: usize,
    },
    /// The connection is over, or could not be established. The id is dead after this.
    Closed {
        /// Which connection.
        conn: ConnId,
        /// `None` for an orderly end of stream.
        why: Option<NetError>,
    },
    /// Datagrams came in, at most 64 of them.
    Datagrams {
        /// Through which socket.
        socket: SocketId,
        /// In the order of arrival.
        batch: Vec<Datagram>,
    },
    /// A datagram socket that would have blocked takes datagrams again.
    DatagramReady {
        /// Which socket.
        socket: SocketId,
    },
    /// A disk request is done. Each completes exactly once; they may complete in any order.
    Disk {
        /// Which request.
        op: OpId,
        /// What came of it.
        result: Result<DiskDone, Box<DiskError>>,
    },
    /// A host name was looked up.
    Resolved {
        /// Which request.
        op: OpId,
        /// Its addresses, at most 32 of each address family, in the order to try; or why there are
        /// none.
        result: Result<Vec<IpAddr>, ResolveError>,
    },
}

/// A UDP packet that came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datagram {
    /// Its sender.
    pub remote: SocketAddr,
    /// The local address that it came to, where the system says so: an answer leaves from there.
    pub local: Option<IpAddr>,
    /// When the system received it; not after the event that hands it in.
    pub received: Instant,
    /// Its payload.
    pub data: BytesMut,
}
