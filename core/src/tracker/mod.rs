//! Trackers: asking them for peers, and being one.
//!
//! - [`announce`]: what is asked and answered, and its form in HTTP (BEP 3, 7, 23, 24, 31).
//! - [`scrape`]: a swarm's numbers without taking part in it (BEP 48).
//! - [`error`]: why a tracker gave no answer.
//!
//! The machines decide and speak; connecting, resolving and sending are for their owner.

pub mod announce;
pub mod error;
pub mod scrape;

pub use announce::{AnnounceEvent, AnnounceRequest, AnnounceResponse};
pub use error::{RetryIn, TrackerError};
pub use scrape::{ScrapeEntry, ScrapeResponse};
