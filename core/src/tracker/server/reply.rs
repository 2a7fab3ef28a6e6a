//! The answer to an announce.

use std::fmt;
use std::net::SocketAddr;

use crate::piece::PeerId;
use crate::time::Duration;

/// The answer to an announce.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnnounceReply {
    /// Time to keep between announces.
    pub interval: Duration,
    /// Time not to go below.
    pub min_interval: Duration,
    /// Seeds in the swarm.
    pub complete: u32,
    /// Leeches in the swarm.
    pub incomplete: u32,
    /// How many became seeds in it.
    pub downloaded: u64,
    /// Some of its peers, those of the asker's family first; the asker is not among them.
    pub peers: Vec<ListedPeer>,
}

/// A peer as it is named to others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListedPeer {
    /// Where it accepts connections.
    pub addr: SocketAddr,
    /// What it calls itself.
    pub peer_id: PeerId,
}

/// Why an announce is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// The tracker holds as many swarms as it may.
    Full,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Full => f.write_str("the tracker is full; try another one"),
        }
    }
}
