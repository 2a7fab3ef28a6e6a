//! What a node of the DHT has to do of itself, and when.

use crate::time::Instant;

/// What is due when.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// Whether the first look around is over.
    pub(super) ready: bool,
    /// Lookups of a look around that are not done.
    pub(super) looking: usize,
    pub(super) tick_at: Option<Instant>,
    pub(super) retry_at: Option<Instant>,
    pub(super) retries: u32,
    pub(super) save_at: Option<Instant>,
}

impl Upkeep {
    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }
}
