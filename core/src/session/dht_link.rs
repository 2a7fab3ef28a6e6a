//! What torrents need to know of the DHT.

/// What torrents need to know of the DHT.
#[derive(Debug, Default)]
pub(crate) struct DhtLink {
    /// Whether there is one, and it has looked around.
    pub(crate) ready: bool,
    /// Whether peers are sent the port of our node (BEP 5, `port` message).
    pub(crate) is_announced: bool,
    /// Grows with the number of nodes while these are few: it is worth announcing again.
    pub(crate) growth: usize,
}
