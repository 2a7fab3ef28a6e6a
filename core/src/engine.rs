//! The engine: one session of many torrents, driven by events, speaking in actions.

use std::net::SocketAddr;

use crate::action::Action;
use crate::config::{Config, RateLimits};
use crate::event::{Datagram, Event};
use crate::id::{ConnId, SocketId, TorrentId};
use crate::segments::Segments;
use crate::time::{Instant, UnixTime};
use crate::torrent::{AddTorrent, TorrentStatus};

/// One session: many torrents, one identity, one thread, nothing shared.
#[derive(Debug)]
pub struct Engine {}

/// Why a torrent was not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddTorrentError {
    /// The session has it already, under this id.
    Duplicate(TorrentId),
    /// The list of file priorities has not one entry a file.
    WrongFileCount {
        /// Entries given.
        given: usize,
        /// Files in the torrent.
        files: usize,
    },
    /// `Engine::stop` was called.
    Stopping,
}

/// The torrent named is not in the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoSuchTorrent(pub TorrentId);

impl Engine {
    /// A session with no torrents. The first actions open its sockets.
    pub fn new(_config: Config, _seed: [u8; 32], _now: Instant, _wall: UnixTime) -> Self {
        Engine {}
    }

    /// What happened. Never fails, never panics, bounded work, whatever a remote sent.
    pub fn handle(&mut self, _now: Instant, _event: Event) {}

    /// A listener has accepted a connection. `None`: it is not wanted, close it.
    pub fn accept(
        &mut self,
        _now: Instant,
        _socket: SocketId,
        _from: SocketAddr,
    ) -> Option<ConnId> {
        None
    }

    /// What to do: one FIFO, O(1), to be drained after each input.
    pub fn poll_action(&mut self) -> Option<Action> {
        None
    }

    /// When to hand in `Event::Timeout`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Fills `out` with up to about `limit` bytes for the connection (the last message is not
    /// cut); what is returned is committed. To be called once for each `Action::Send`.
    pub fn gather(&mut self, _now: Instant, _conn: ConnId, _limit: usize, _out: &mut Segments) {}

    /// The next datagram to send through a socket.
    pub fn gather_datagram(&mut self, _now: Instant, _socket: SocketId) -> Option<Datagram> {
        None
    }

    /// Adds a torrent. Its check begins at once.
    pub fn add_torrent(
        &mut self,
        _now: Instant,
        _add: AddTorrent,
    ) -> Result<TorrentId, AddTorrentError> {
        Err(AddTorrentError::Stopping)
    }

    /// Takes a torrent out of the session; with `delete_files`, deletes its files and resume data.
    /// `TorrentNotice::Removed` follows.
    pub fn remove_torrent(
        &mut self,
        _now: Instant,
        id: TorrentId,
        _delete_files: bool,
    ) -> Result<(), NoSuchTorrent> {
        Err(NoSuchTorrent(id))
    }

    /// Stops transfers of a torrent and closes its connections.
    pub fn pause(&mut self, _now: Instant, id: TorrentId) -> Result<(), NoSuchTorrent> {
        Err(NoSuchTorrent(id))
    }

    /// Undoes `pause`.
    pub fn resume(&mut self, _now: Instant, id: TorrentId) -> Result<(), NoSuchTorrent> {
        Err(NoSuchTorrent(id))
    }

    /// Makes peers known to a torrent.
    pub fn add_peers(
        &mut self,
        _now: Instant,
        id: TorrentId,
        _peers: &[SocketAddr],
    ) -> Result<(), NoSuchTorrent> {
        Err(NoSuchTorrent(id))
    }

    /// Changes the session's rate limits.
    pub fn set_limits(&mut self, _now: Instant, _limits: RateLimits) {}

    /// Changes one torrent's rate limits.
    pub fn set_torrent_limits(
        &mut self,
        _now: Instant,
        id: TorrentId,
        _limits: RateLimits,
    ) -> Result<(), NoSuchTorrent> {
        Err(NoSuchTorrent(id))
    }

    /// Ends the session in order: trackers are told, data is flushed, resume data is saved.
    /// `Notice::Stopped` follows when that is done or cannot be; the host need not wait for it.
    pub fn stop(&mut self, _now: Instant) {}

    /// How a torrent stands.
    pub fn status(&self, _now: Instant, _id: TorrentId) -> Option<TorrentStatus> {
        None
    }

    /// Every torrent, in a fixed order.
    pub fn torrents(&self) -> impl Iterator<Item = TorrentId> + '_ {
        std::iter::empty()
    }
}
