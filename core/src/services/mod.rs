//! What a session does beside its torrents: here bytes, times and answers find the machine that
//! decides, and what it decides is done.
//!
//! - [`trackers`][]: announces and scrapes at trackers, of which [`tracker_queue`] says whose turn it is.
//! - [`fetches`][]: HTTP.
//! - [`tracker_server`][]: the embedded tracker.
//! - [`dht`][]: our nodes of the DHT.
//! - [`lsd`][]: local discovery.
//!
//! Services are handed `&mut Session` and know no torrent: what is for one is returned to the
//! engine with its id.

pub(crate) mod dht;
pub(crate) mod fetches;
pub(crate) mod lsd;
mod tracker_queue;
pub(crate) mod tracker_server;
pub(crate) mod trackers;
