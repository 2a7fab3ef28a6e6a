//! The engine as a runtime drives it.
//!
//! Every call that changes the engine's state goes through here, so that this is the one place
//! where a session can be recorded.

use std::net::SocketAddr;

use bitswarm_core::config::RateLimits;
use bitswarm_core::engine::{AddTorrentError, NoSuchTorrent};
use bitswarm_core::event::Datagram;
use bitswarm_core::torrent::{AddTorrent, TorrentStatus};
use bitswarm_core::{
    Action, ConnId, Engine, Event, Instant, Segments, SocketId, TorrentId, UnixTime,
};

use crate::config::{ClientConfig, StartError};

/// An engine.
#[derive(Debug)]
pub(crate) struct Session {
    engine: Engine,
}

impl Session {
    pub(crate) fn new(
        config: &ClientConfig,
        seed: [u8; 32],
        now: Instant,
        wall: UnixTime,
    ) -> Result<Self, StartError> {
        Ok(Session { engine: Engine::new(config.core.clone(), seed, now, wall) })
    }

    /// See [`Engine::handle`].
    pub(crate) fn handle(&mut self, now: Instant, event: Event) {
        self.engine.handle(now, event);
    }

    /// See [`Engine::accept`].
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
    ) -> Option<ConnId> {
        self.engine.accept(now, socket, from)
    }

    /// See [`Engine::poll_action`].
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.engine.poll_action()
    }

    /// See [`Engine::poll_timeout`].
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.engine.poll_timeout()
    }

    /// See [`Engine::gather`].
    pub(crate) fn gather(&mut self, now: Instant, conn: ConnId, limit: usize, out: &mut Segments) {
        self.engine.gather(now, conn, limit, out);
    }

    /// See [`Engine::gather_datagram`].
    pub(crate) fn gather_datagram(&mut self, now: Instant, socket: SocketId) -> Option<Datagram> {
        self.engine.gather_datagram(now, socket)
    }

    pub(crate) fn add_torrent(
        &mut self,
        now: Instant,
        add: AddTorrent,
    ) -> Result<TorrentId, AddTorrentError> {
        self.engine.add_torrent(now, add)
    }

    pub(crate) fn remove_torrent(
        &mut self,
        now: Instant,
        id: TorrentId,
        delete_files: bool,
    ) -> Result<(), NoSuchTorrent> {
        self.engine.remove_torrent(now, id, delete_files)
    }

    pub(crate) fn pause(&mut self, now: Instant, id: TorrentId) -> Result<(), NoSuchTorrent> {
        self.engine.pause(now, id)
    }

    pub(crate) fn resume(&mut self, now: Instant, id: TorrentId) -> Result<(), NoSuchTorrent> {
        self.engine.resume(now, id)
    }

    pub(crate) fn add_peers(
        &mut self,
        now: Instant,
        id: TorrentId,
        peers: &[SocketAddr],
    ) -> Result<(), NoSuchTorrent> {
        self.engine.add_peers(now, id, peers)
    }

    pub(crate) fn set_limits(&mut self, now: Instant, limits: RateLimits) {
        self.engine.set_limits(now, limits);
    }

    pub(crate) fn set_torrent_limits(
        &mut self,
        now: Instant,
        id: TorrentId,
        limits: RateLimits,
    ) -> Result<(), NoSuchTorrent> {
        self.engine.set_torrent_limits(now, id, limits)
    }

    pub(crate) fn stop(&mut self, now: Instant) {
        self.engine.stop(now);
    }

    pub(crate) fn status(&self, now: Instant, id: TorrentId) -> Option<TorrentStatus> {
        self.engine.status(now, id)
    }

    pub(crate) fn statuses(&self, now: Instant) -> Vec<TorrentStatus> {
        self.engine.torrents().filter_map(|id| self.engine.status(now, id)).collect()
    }
}
