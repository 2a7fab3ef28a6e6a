//! Where blocks come from.

use crate::peer::{PeerDownload, PeerSlot};
use crate::picker::PeerKey;

/// What a source has, what was requested of it and what came of that. A peer on the wire keeps it as
/// the download half of [`Peer`](crate::peer::Peer).
pub(in crate::torrent) type SourceState = PeerDownload;

/// A source of blocks: a peer on the wire, or files of other torrents.
///
/// It is the key that the picker has for it. Everything that is requested of a source is released
/// before its key is given to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::torrent) struct Source(PeerKey);

impl Source {
    /// Files of other torrents, which are read without being picked for.
    pub(in crate::torrent) const LOCAL: Source = Source(PeerKey::NO_PEER);

    /// The source with this key.
    pub(super) fn of(key: PeerKey) -> Self {
        Source(key)
    }

    /// The source's key in the picker.
    pub(super) fn key(self) -> PeerKey {
        self.0
    }

    /// The index of a peer's slot. That of no peer if the source is none.
    pub(in crate::torrent) fn index(self) -> u32 {
        self.0.0
    }
}

impl From<PeerSlot> for Source {
    fn from(slot: PeerSlot) -> Self {
        Source(slot.key())
    }
}
