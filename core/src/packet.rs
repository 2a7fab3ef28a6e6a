//! UDP packets that we send, and what a host is handed of them.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use serde::Serialize;

/// A UDP packet to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its destination.
    pub remote: SocketAddr,
    /// Its payload.
    pub data: BytesMut,
}

/// Where the packets of one `Engine::gather_datagrams` go.
///
/// There are several if the host takes several, all of the same length but the last, which may be
/// shorter: segments that a system with GSO cuts apart itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Transmit {
    /// To where they are sent.
    pub destination: SocketAddr,
    /// The local address that they are to leave from: the one that the packet came to which they
    /// answer. `None`: the system's choice.
    pub source: Option<IpAddr>,
    /// The length of each but the last.
    pub segment_size: usize,
    /// Whether the system may cut a packet that is too long for its way. If not, such a packet is
    /// lost.
    pub may_fragment: bool,
}
