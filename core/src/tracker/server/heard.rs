//! What the tracker reports to its operator of an announce.

use std::net::SocketAddr;

use serde::Serialize;

use super::reply::{AnnounceReply, Refusal};
use crate::piece::InfoHash;
use crate::tracker::announce::{AnnounceEvent, AnnounceRequest};

/// An announce, as the tracker heard and answered it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct HeardAnnounce {
    /// The peer: the address that other peers are given.
    pub peer: SocketAddr,
    /// Of which torrent.
    pub infohash: InfoHash,
    /// `started`, `completed` or `stopped`; `None` at the regular interval.
    pub event: Option<&'static str>,
    /// Bytes that the peer still lacks.
    pub left: u64,
    /// How many peers it was given, or why it was refused.
    pub answer: Result<usize, String>,
}

impl HeardAnnounce {
    pub(super) fn new(
        peer: SocketAddr,
        request: &AnnounceRequest,
        answer: &Result<AnnounceReply, Refusal>,
    ) -> Self {
        HeardAnnounce {
            peer,
            infohash: request.infohash,
            event: request.event.map(AnnounceEvent::name),
            left: request.left,
            answer: match answer {
                Ok(reply) => Ok(reply.peers.len()),
                Err(refusal) => Err(refusal.to_string()),
            },
        }
    }
}
