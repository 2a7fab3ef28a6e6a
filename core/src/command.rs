//! What a user asks of an engine, as a value.
//!
//! A command that is added needs its variant here, its arm in `Engine::command`, and a method of the
//! runtimes' `Client`. Recording and replaying it come with the variant.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::RateLimits;
use crate::dht::{DhtRequest, DhtRequestId};
use crate::engine::{AddTorrentError, DhtError, NoSuchTorrent, Stopping};
use crate::http::Url;
use crate::id::TorrentId;
use crate::ip_filter::IpFilter;
use crate::piece::InfoHash;
use crate::priority::PieceOrder;
use crate::time::Instant;
use crate::torrent::AddTorrent;
use crate::tracker::ScrapeId;

/// Something that a user asks for. See [`Engine::command`](crate::Engine::command).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Take a torrent out of the session, with its resume data. `TorrentNotice::Removed` follows.
    /// Answered by [`Reply::Torrent`].
    RemoveTorrent {
        /// Which one.
        id: TorrentId,
        /// Delete its files too.
        delete_files: bool,
    },
    /// Stop transfers of a torrent and close its connections. Answered by [`Reply::Torrent`].
    Pause(TorrentId),
    /// Undo `Pause`. Answered by [`Reply::Torrent`].
    Resume(TorrentId),
    /// Make peers known to a torrent. Answered by [`Reply::Torrent`].
    AddPeers {
        /// To which torrent.
        id: TorrentId,
        /// Their addresses.
        peers: Vec<SocketAddr>,
    },
    /// Change the order in which a torrent's pieces are fetched. Answered by [`Reply::Torrent`].
    SetOrder {
        /// Of which torrent.
        id: TorrentId,
        /// The order.
        order: PieceOrder,
    },
    /// Change the session's rate limits. Answered by [`Reply::Done`].
    SetLimits(RateLimits),
    /// Change whom we have no dealings with. Connections to addresses that it refuses are closed.
    /// Answered by [`Reply::Done`].
    SetIpFilter(Option<Arc<IpFilter>>),
    /// Change one torrent's rate limits. Answered by [`Reply::Torrent`].
    SetTorrentLimits {
        /// Of which torrent.
        id: TorrentId,
        /// The limits.
        limits: RateLimits,
    },
    /// Look for something in the DHT, or have it stored there; `Notice::DhtDone` follows. It waits
    /// until the DHT has looked around (`Notice::DhtReady`). Answered by [`Reply::Dht`].
    Dht(Box<DhtRequest>),
    /// Ask a tracker for the numbers of swarms, of the first
    /// [`MAX_SCRAPE`](crate::tracker::MAX_SCRAPE) of these at most; `Notice::Scraped` follows.
    /// Answered by [`Reply::Scrape`].
    Scrape {
        /// The tracker's announce URL.
        tracker: Url,
        /// Which swarms.
        infohashes: Vec<InfoHash>,
    },
    /// End the session in order: trackers are told, data is flushed, resume data is saved.
    /// `Notice::Stopped` follows within 0.8 seconds of engine time, when that is done or cannot be.
    /// Answered by [`Reply::Done`].
    Stop,
    /// Add a torrent. Its check begins at once. Answered by [`Reply::Added`].
    ///
    /// A recording has it in a form of its own: names in it are made safe by the rules of the system
    /// it was recorded on. It stays the last here, since what is skipped does not count when a
    /// recording is read.
    #[serde(skip)]
    AddTorrent(Box<AddTorrent>),
}

/// What a [`Command`] is answered with: each says which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// It is done.
    Done,
    /// The id of a torrent that was added.
    Added(Result<TorrentId, AddTorrentError>),
    /// It is done, if there is such a torrent.
    Torrent(Result<(), NoSuchTorrent>),
    /// Under which id the answer will come.
    Dht(Result<DhtRequestId, DhtError>),
    /// Under which id the answer will come.
    Scrape(Result<ScrapeId, Stopping>),
}

impl Reply {
    /// The answer to `AddTorrent`.
    ///
    /// # Panics
    /// If it answers another command, as all of these do.
    pub fn added(self) -> Result<TorrentId, AddTorrentError> {
        let Reply::Added(result) = self else { unreachable!("{self:?} to an added torrent") };
        result
    }

    /// The answer to a command that concerns one torrent.
    pub fn torrent(self) -> Result<(), NoSuchTorrent> {
        let Reply::Torrent(result) = self else { unreachable!("{self:?} for a torrent") };
        result
    }

    /// The answer to `Dht`.
    pub fn dht(self) -> Result<DhtRequestId, DhtError> {
        let Reply::Dht(result) = self else { unreachable!("{self:?} from the DHT") };
        result
    }

    /// The answer to `Scrape`.
    pub fn scrape(self) -> Result<ScrapeId, Stopping> {
        let Reply::Scrape(result) = self else { unreachable!("{self:?} to a scrape") };
        result
    }
}

/// Who carries out commands: an engine, or its recorder. The other methods are commands with the types
/// of their answers; see [`Command`] for what they do.
pub trait Commands {
    /// Carries out a command.
    fn command(&mut self, now: Instant, command: Command) -> Reply;

    /// [`Command::AddTorrent`]
    fn add_torrent(&mut self, now: Instant, add: AddTorrent) -> Result<TorrentId, AddTorrentError> {
        self.command(now, Command::AddTorrent(Box::new(add))).added()
    }

    /// [`Command::RemoveTorrent`]
    fn remove_torrent(
        &mut self,
        now: Instant,
        id: TorrentId,
        delete_files: bool,
    ) -> Result<(), NoSuchTorrent> {
        self.command(now, Command::RemoveTorrent { id, delete_files }).torrent()
    }

    /// [`Command::Pause`]
    fn pause(&mut self, now: Instant, id: TorrentId) -> Result<(), NoSuchTorrent> {
        self.command(now, Command::Pause(id)).torrent()
    }

    /// [`Command::Resume`]
    fn resume(&mut self, now: Instant, id: TorrentId) -> Result<(), NoSuchTorrent> {
        self.command(now, Command::Resume(id)).torrent()
    }

    /// [`Command::AddPeers`]
    fn add_peers(
        &mut self,
        now: Instant,
        id: TorrentId,
        peers: &[SocketAddr],
    ) -> Result<(), NoSuchTorrent> {
        self.command(now, Command::AddPeers { id, peers: peers.to_vec() }).torrent()
    }

    /// [`Command::SetOrder`]
    fn set_order(
        &mut self,
        now: Instant,
        id: TorrentId,
        order: PieceOrder,
    ) -> Result<(), NoSuchTorrent> {
        self.command(now, Command::SetOrder { id, order }).torrent()
    }

    /// [`Command::SetLimits`]
    fn set_limits(&mut self, now: Instant, limits: RateLimits) {
        self.command(now, Command::SetLimits(limits));
    }

    /// [`Command::SetIpFilter`]
    fn set_ip_filter(&mut self, now: Instant, filter: Option<Arc<IpFilter>>) {
        self.command(now, Command::SetIpFilter(filter));
    }

    /// [`Command::SetTorrentLimits`]
    fn set_torrent_limits(
        &mut self,
        now: Instant,
        id: TorrentId,
        limits: RateLimits,
    ) -> Result<(), NoSuchTorrent> {
        self.command(now, Command::SetTorrentLimits { id, limits }).torrent()
    }

    /// [`Command::Dht`]
    fn dht_request(&mut self, now: Instant, request: DhtRequest) -> Result<DhtRequestId, DhtError> {
        self.command(now, Command::Dht(Box::new(request))).dht()
    }

    /// [`Command::Scrape`]
    fn scrape(
        &mut self,
        now: Instant,
        tracker: Url,
        infohashes: Vec<InfoHash>,
    ) -> Result<ScrapeId, Stopping> {
        self.command(now, Command::Scrape { tracker, infohashes }).scrape()
    }

    /// [`Command::Stop`]
    fn stop(&mut self, now: Instant) {
        self.command(now, Command::Stop);
    }
}
