//! Settings and bounds of a tracker.

use crate::time::Duration;

/// Settings and bounds of a tracker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerConfig {
    /// Swarms held. Past it, one of the group of addresses that holds most yields to a newcomer's, or the
    /// announce is refused.
    pub max_swarms: usize,
    /// Peers held per swarm. Past it, one of the group of addresses that holds most is forgotten, or the one
    /// that was silent for longest.
    pub max_peers_per_swarm: usize,
    /// Peers held in all. Past it, the same.
    pub max_peers: usize,
    /// Peers named in one answer, however many are asked for.
    pub max_numwant: u32,
    /// Time between announces that peers are asked to keep. Twice that without one, and a peer is
    /// forgotten.
    pub interval: Duration,
    /// Time between announces that peers are asked not to go below.
    pub min_interval: Duration,
}

impl Default for ServerConfig {
    /// Chosen; a peer takes about 150 bytes.
    fn default() -> Self {
        ServerConfig {
            max_swarms: 100_000,
            max_peers_per_swarm: 10_000,
            max_peers: 1_000_000,
            max_numwant: 200,
            interval: Duration::from_secs(30 * 60),
            min_interval: Duration::from_secs(60),
        }
    }
}
