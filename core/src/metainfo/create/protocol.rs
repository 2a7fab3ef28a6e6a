//! The versions of the protocol that a torrent is made for.

/// Which versions of the protocol a torrent is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// BitTorrent v1 (BEP 3).
    #[default]
    V1,
    /// BitTorrent v2 (BEP 52).
    V2,
    /// Both: two infohashes, one content.
    Hybrid,
}

impl Protocol {
    /// Whether pieces have SHA-1 hashes.
    pub const fn has_v1(self) -> bool {
        matches!(self, Protocol::V1 | Protocol::Hybrid)
    }

    /// Whether files have merkle trees, and each begins with a piece.
    pub const fn has_v2(self) -> bool {
        matches!(self, Protocol::V2 | Protocol::Hybrid)
    }
}
