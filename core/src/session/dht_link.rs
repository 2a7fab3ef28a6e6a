//! What torrents need to know of the DHT, and want it to do.

use std::net::SocketAddr;

use crate::dht::DhtRequestId;

/// What torrents need to know of the DHT, and want it to do.
#[derive(Debug, Default)]
pub(crate) struct DhtLink {
    /// Whether there is one, and it has looked around.
    pub(crate) ready: bool,
    /// Whether peers are told of our node (BEP 5, `port` message).
    pub(crate) told: bool,
    /// Grows with the number of nodes while these are few: it is worth announcing again.
    pub(crate) growth: usize,
    /// Addresses where peers say that they have a node.
    pub(crate) met: Vec<SocketAddr>,
    /// Hosts that torrents name as nodes.
    pub(crate) hosts: Vec<(String, u16)>,
    /// Requests nobody waits for any more.
    pub(crate) forgotten: Vec<DhtRequestId>,
}
