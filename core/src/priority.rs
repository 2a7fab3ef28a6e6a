//! Which files are wanted more than others, and the order in which pieces are requested.

use serde::{Deserialize, Serialize};

/// How much a file is wanted.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub enum FilePriority {
    /// Not at all. Pieces shared with a wanted file are fetched all the same.
    Skip,
    /// After everything else.
    Low,
    /// As usual.
    #[default]
    Normal,
    /// Before everything else.
    High,
}

/// In which order pieces are fetched.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum PieceOrder {
    /// The piece that the fewest peers have comes first: best for the swarm.
    #[default]
    RarestFirst,
    /// From the first to the last, for reading along.
    Sequential,
}
