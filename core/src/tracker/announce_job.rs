//! An announce as a torrent hands it out, and what comes back.

use super::announce::{AnnounceRequest, AnnounceResponse};
use super::error::TrackerError;
use super::list::Announce;

/// An announce that a torrent wants made.
#[derive(Debug)]
pub(crate) struct AnnounceJob {
    pub(crate) announce: Announce,
    pub(crate) request: AnnounceRequest,
}

/// What came of an announce.
pub(crate) type AnnounceResult = Result<AnnounceResponse, TrackerError>;
