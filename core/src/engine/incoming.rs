//! The handshakes of incoming connections that have not named a torrent.

use crate::choke::AddressGroup;
use crate::id::ConnId;
use crate::map::{HashKeys, Map};
use crate::places::Silent;
use crate::time::Instant;
use crate::wire::handshake::HandshakeDecoder;

/// The handshakes that come in.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) handshakes: Map<ConnId, Handshake>,
    /// Whose connections have ended without one.
    pub(super) silent: Silent,
}

/// A handshake of which a part may have come.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) decoder: HandshakeDecoder,
    pub(super) since: Instant,
    /// Whose addresses the other side has.
    pub(super) group: AddressGroup,
}

impl Incoming {
    pub(super) fn new(hash_keys: HashKeys) -> Self {
        Incoming { handshakes: Map::with_hasher(hash_keys), silent: Silent::default() }
    }
}
