//! Where we have a peer's address from.

/// Where an address comes from; the most trusted source first. An address that several sources name
/// counts for the most trusted of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PeerSource {
    /// The user.
    User,
    /// A magnet link (`x.pe`).
    Link,
    /// Local service discovery (BEP 14).
    Lsd,
    /// A tracker.
    Tracker,
    /// The distributed hash table (BEP 5).
    Dht,
    /// Another peer (BEP 11).
    Pex,
    /// The peer itself: it connected to us and told its listening port (BEP 10, `p`).
    Incoming,
}

impl PeerSource {
    /// Whether it may not name peers of a private torrent (BEP 27).
    pub fn is_discovery(self) -> bool {
        matches!(self, PeerSource::Lsd | PeerSource::Dht | PeerSource::Pex)
    }

    /// Whether the user or the link names it: it is tried soon and often.
    pub fn is_given(self) -> bool {
        matches!(self, PeerSource::User | PeerSource::Link)
    }

    /// Whether it may name ports below 1024 ([`reach`](crate::reach)).
    pub fn may_name_system_ports(self) -> bool {
        matches!(self, PeerSource::User | PeerSource::Link | PeerSource::Tracker)
    }
}
