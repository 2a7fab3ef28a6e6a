//! The engine as a runtime drives it.
//!
//! Every call that changes the engine's state goes through here, so that this is the one place
//! where a session can be recorded.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bitswarm_core::config::RateLimits;
use bitswarm_core::dht::{Stats, Wish, WishId};
use bitswarm_core::engine::{AddTorrentError, DhtError, NoSuchTorrent, Stopping};
use bitswarm_core::event::Datagram;
use bitswarm_core::http::Url;
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::piece::InfoHash;
use bitswarm_core::record::Recorder;
use bitswarm_core::torrent::{AddTorrent, PieceOrder, TorrentStatus};
use bitswarm_core::tracker::ScrapeId;
use bitswarm_core::{
    Action, ConnId, Engine, Event, Instant, Segments, SocketId, TorrentId, UnixTime,
};

use crate::config::{ClientConfig, StartError};

/// An engine, recorded or not.
#[derive(Debug)]
pub(crate) struct Session {
    engine: Recorder,
    /// Where the recording goes.
    log: Option<Log>,
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
}

impl Session {
    pub(crate) fn new(
        config: &ClientConfig,
        seed: [u8; 32],
        now: Instant,
        wall: UnixTime,
    ) -> Result<Self, StartError> {
        let core = config.core.clone();
        let Some(path) = config.record.clone() else {
            let engine = Recorder::passing(Engine::new(core, seed, now, wall));
            return Ok(Session { engine, log: None });
        };
        match File::create(&path) {
            Ok(file) => {
                let engine = Recorder::recording(core, seed, now, wall);
                Ok(Session { engine, log: Some(Log { path, file }) })
            }
            Err(error) => Err(StartError::Record(path, error)),
        }
    }

    /// Stores what was recorded so far. A recording that cannot be stored ends where it is.
    pub(crate) fn store_log(&mut self) {
        if self.engine.log_len() == 0 {
            return;
        }
        let written = self.engine.take_log();
        let Some(log) = &mut self.log else { return };
        if let Err(error) = log.file.write_all(&written) {
            tracing::warn!(path = %log.path.display(), %error, "the recording ends here");
            self.log = None;
        }
    }

    /// Ends the recording.
    pub(crate) fn finish_log(&mut self) {
        self.engine.checkpoint();
        self.store_log();
        self.log = None;
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

    pub(crate) fn set_order(
        &mut self,
        now: Instant,
        id: TorrentId,
        order: PieceOrder,
    ) -> Result<(), NoSuchTorrent> {
        self.engine.set_order(now, id, order)
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

    pub(crate) fn dht_wish(&mut self, now: Instant, wish: Wish) -> Result<WishId, DhtError> {
        self.engine.dht_wish(now, wish)
    }

    pub(crate) fn scrape(
        &mut self,
        now: Instant,
        tracker: Url,
        infohashes: Vec<InfoHash>,
    ) -> Result<ScrapeId, Stopping> {
        self.engine.scrape(now, tracker, infohashes)
    }

    pub(crate) fn dht_stats(&self) -> Option<Stats> {
        self.engine.engine().dht_stats()
    }

    pub(crate) fn stop(&mut self, now: Instant) {
        self.engine.stop(now);
    }

    pub(crate) fn metainfo(&self, id: TorrentId) -> Option<Arc<Metainfo>> {
        self.engine.engine().metainfo(id)
    }

    pub(crate) fn status(&self, now: Instant, id: TorrentId) -> Option<TorrentStatus> {
        self.engine.engine().status(now, id)
    }

    pub(crate) fn statuses(
        &self,
        now: Instant,
        after: Option<TorrentId>,
        most: usize,
    ) -> Vec<TorrentStatus> {
        let engine = self.engine.engine();
        // Their order is that of their ids.
        let ids = engine.torrents().filter(|id| after.is_none_or(|after| *id > after));
        ids.filter_map(|id| engine.status(now, id)).take(most).collect()
    }
}
