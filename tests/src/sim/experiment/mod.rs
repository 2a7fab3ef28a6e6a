//! Swarm experiments: how close does a swarm of unmodified engines come to what its links allow?
//!
//! N leechers and some seeds, found through a tracker that one more engine runs, download a torrent
//! over links with rates, in virtual time. Nothing is broken on purpose here, everything is counted:
//! when each finished against the fluid lower bound, how well the upload links were used, who gave
//! how much for what it got, how rare the rarest piece was, what came twice. A run is a function of
//! its settings and seed: its figures are exact and can be compared to the last digit.
//!
//! `swarm` runs the members, `member` is one engine and its host, `links` the network between them,
//! `report` the figures, `plot` the drawing. Storms of faults are elsewhere: `sim::world`.

mod links;
mod member;
mod plot;
mod report;
mod settings;
mod swarm;

pub use plot::plot;
pub use report::{Peer, Report, Role, Sample};
pub use settings::Settings;
pub use swarm::run;
