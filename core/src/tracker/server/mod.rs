//! The tracker itself, without I/O: announces and scrapes over HTTP and UDP, one set of swarms
//! behind both (BEP 3, 7, 15, 23, 24, 48).
//!
//! - `swarms`: who is in which swarm, and whom to name to whom. Everything is bounded and expires.
//! - `http`: connections: bytes in, bytes out. `udp`: datagrams in, datagrams out.
//! - `query`: what stands in the query of an announce or scrape. `heard`: what is reported of announces.
//!
//! A peer is known by the address it announces from and the port it names; nobody can put another
//! host into a swarm, except from the tracker's own network (BEP 7 on IP parameters). Nothing is
//! kept on disk: after a restart the swarms fill up again within an interval.

mod config;
mod heard;
mod hosts;
mod http;
mod query;
mod reply;
mod swarms;
mod udp;

use std::net::SocketAddr;

use bytes::BytesMut;

pub use config::ServerConfig;
pub use heard::HeardAnnounce;
pub use http::{HttpConn, Next};
pub use reply::{AnnounceReply, ListedPeer, Refusal};
pub use swarms::Stats;

use super::announce::AnnounceRequest;
use crate::map::HashKeys;
use crate::random::SecretRng;
use crate::time::Instant;
use swarms::Swarms;
use udp::ConnectionIds;

/// A tracker.
#[derive(Debug)]
pub struct TrackerServer {
    swarms: Swarms,
    connection_ids: ConnectionIds,
}

impl TrackerServer {
    /// A tracker that knows no swarms.
    pub fn new(config: ServerConfig, mut rng: SecretRng, keys: HashKeys) -> Self {
        let connection_ids = ConnectionIds::new(&mut rng);
        TrackerServer { swarms: Swarms::new(config, rng.fork_policy(), keys), connection_ids }
    }

    /// A peer at `from` announces.
    pub fn announce(
        &mut self,
        now: Instant,
        from: SocketAddr,
        request: &AnnounceRequest,
    ) -> Result<AnnounceReply, Refusal> {
        self.swarms.announce(now, from, request)
    }

    /// Bytes came in on an HTTP connection; the answers are appended to `out`.
    pub fn handle_received(
        &mut self,
        now: Instant,
        conn: &mut HttpConn,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Next {
        conn.handle(now, &mut self.swarms, data, out)
    }

    /// A datagram came in; the answer, if there is one, goes back to `from`. It is never longer
    /// than the datagram unless `from` has proved that it is there.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        data: &[u8],
    ) -> Option<BytesMut> {
        udp::answer(&mut self.swarms, &self.connection_ids, now, from, data)
    }

    /// The time of [`TrackerServer::poll_timeout`] has come: silent peers are forgotten.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.swarms.expire(now);
    }

    /// When to call [`TrackerServer::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.swarms.poll_timeout()
    }

    /// Whether announces are noted for [`TrackerServer::take_log`].
    pub fn set_log(&mut self, on: bool) {
        self.swarms.set_log(on);
    }

    /// The announces since this was asked, to be asked after each input.
    pub fn take_log(&mut self) -> Vec<HeardAnnounce> {
        self.swarms.take_log()
    }

    /// How much it holds.
    pub fn stats(&self) -> Stats {
        self.swarms.stats()
    }
}

#[cfg(test)]
mod tests;
