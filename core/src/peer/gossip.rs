//! The part of a peer for messages about the torrent and its swarm: metadata (BEP 9) and peer exchange
//! (BEP 11).

use crate::extension::metadata::MetadataUploads;
use crate::extension::pex::{PexIn, PexOut};

/// What one peer was sent and sent us about metadata and other peers.
#[derive(Debug, Default)]
pub(crate) struct PeerGossip {
    /// Whether the peer said that it has the metadata (BEP 9).
    pub(crate) has_metadata: bool,
    /// Whether it claimed a size that no metadata has, which is said once.
    pub(crate) is_metadata_too_long: bool,
    /// The metadata pieces that the peer requested.
    pub(crate) metadata_uploads: MetadataUploads,
    /// The addresses sent to the peer by peer exchange.
    pub(crate) pex_out: PexOut,
    /// The addresses that the peer sent.
    pub(crate) pex_in: PexIn,
}
