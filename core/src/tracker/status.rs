//! What a tracker last answered, and when it is announced to next.

use std::time::Duration;

use serde::Serialize;

/// What is known of one tracker: its last answer, its next announce.
#[derive(Clone, Debug, Serialize)]
pub struct TrackerStatus {
    /// Its URL.
    pub url: String,
    /// Its tier, from 0.
    pub tier: usize,
    /// The last answer: peers named, or the error.
    pub last: Option<Result<usize, String>>,
    /// Time until the next announce.
    pub next_announce: Option<Duration>,
    /// Seeds in the swarm, as the tracker counts them.
    pub complete: Option<u64>,
    /// Leeches in the swarm, as the tracker counts them.
    pub incomplete: Option<u64>,
}
