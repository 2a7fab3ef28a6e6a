//! How a run fails.

use std::fmt;

use bitswarm_core::time::Instant;

use crate::sim::network::HostId;

/// An invariant that did not hold.
#[derive(Debug, Clone)]
pub struct Violation {
    /// When.
    pub at: Instant,
    /// Whose engine.
    pub host: HostId,
    /// What it did.
    pub what: String,
}

/// In which way a run failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The engine panicked.
    Crash,
    /// An invariant did not hold.
    Safety,
    /// What must come did not come in time.
    Liveness,
    /// The same seed gave two different runs.
    Determinism,
}

/// Why a run failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// In which way.
    pub kind: Kind,
    /// The seed of the run.
    pub seed: u64,
    /// The world's time.
    pub at: Instant,
    /// What happened, or did not.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Crash => "crash",
            Kind::Safety => "safety",
            Kind::Liveness => "liveness",
            Kind::Determinism => "determinism",
        };
        write!(f, "{kind}: seed {} at {:?}: {}", self.seed, self.at, self.what)
    }
}

impl Failure {
    /// What happened without who, when and how much: equal for failures of one sort.
    pub fn sort(&self) -> String {
        let line = self.what.lines().next().unwrap_or_default();
        let words = line.split_whitespace().filter(|word| {
            !matches!(*word, "seeder" | "leecher") && !word.contains(|c: char| c.is_ascii_digit())
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

impl std::error::Error for Failure {}
