//! Trackers: asking them for peers, and being one.
//!
//! - [`announce`]: what is asked and answered, and its form in HTTP (BEP 3, 7, 23, 24, 31).
//! - `announce_job`: an announce on its way from its torrent to a tracker and back.
//! - [`scrape`]: a swarm's numbers without taking part in it (BEP 48).
//! - [`error`]: why a tracker gave no answer.
//! - [`list`]: the trackers of a torrent: when to announce, to whom, with which event (BEP 12).
//! - [`status`]: how one of them stands, to be shown.
//! - [`exchange`]: one question to one tracker, from the URL to the answer.
//! - [`packet`]: the packets of UDP trackers; [`udp`]: their client (BEP 15, 41).
//! - [`server`]: a tracker of our own.
//!
//! The machines decide and speak; connecting, resolving and sending are for their owner.

pub mod announce;
pub(crate) mod announce_job;
pub mod error;
pub mod exchange;
pub mod list;
pub mod packet;
pub mod question;
pub mod scrape;
pub mod server;
pub mod status;
pub mod udp;

pub use announce::{AnnounceEvent, AnnounceRequest, AnnounceResponse};
pub use error::{RetryIn, TrackerError};
pub use exchange::{Exchange, Step};
pub use list::{Announce, Heard, TrackerKey, TrackerList};
pub use question::{Answer, NamedBy, Question};
pub use scrape::{MAX_SCRAPE, ScrapeEntry, ScrapeId, ScrapeResponse};
pub use server::{ServerConfig, TrackerServer};
pub use status::TrackerStatus;
pub use udp::UdpTracker;
