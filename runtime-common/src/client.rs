//! The handle that applications hold.
//!
//! A session runs on a thread of its own; a [`Client`] talks to it from any thread. Calls are
//! carried out in the order in which they were made, by the thread that owns the engine, and answer
//! when that is done: soon, since the engine never blocks.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bitswarm_core::TorrentId;
use bitswarm_core::command::{Command, Reply};
use bitswarm_core::config::RateLimits;
use bitswarm_core::dht::{DhtRequest, DhtRequestId, Stats};
use bitswarm_core::engine::{AddTorrentError, DhtError, NoSuchTorrent, Stopping};
use bitswarm_core::http::Url;
use bitswarm_core::ip_filter::IpFilter;
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::piece::InfoHash;
use bitswarm_core::torrent::{AddTorrent, PieceOrder, TorrentStatus};
use bitswarm_core::tracker::ScrapeId;

use crate::config::{ClientConfig, StartError};
use crate::host::Host;
use crate::inbox::{Input, Wake};
use crate::notices::Notices;
use crate::recorded::Recorded;
use crate::shared::{End, Shared};

/// How long [`Client::stop`] usually waits (chosen: trackers get that long to hear of it).
pub const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// What a session that is to end at once still takes at most: its writes under way.
const HALT_PATIENCE: Duration = Duration::from_secs(1);

/// A session. Clones are handles of the same one. (The documentation of each runtime begins with an
/// example.)
///
/// When the last handle is dropped, the session stops in order by itself, in the background;
/// [`Client::stop`] waits for that.
#[derive(Clone, Debug)]
pub struct Client(Arc<Handle>);

/// Ends the session when the last client is gone.
#[derive(Debug)]
struct Handle(Arc<Shared>);

/// Why a call failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientError {
    /// The torrent cannot be added.
    Add(AddTorrentError),
    /// The torrent is not in the session.
    NoSuchTorrent(TorrentId),
    /// The DHT is not to be used.
    Dht(DhtError),
    /// The session is over.
    Stopped,
}

/// The session did not end in order in the time given. It was ended all the same; what was not
/// saved is checked again at the next start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoppedEarly;

impl Client {
    /// Adds a torrent. Its check begins at once.
    pub fn add_torrent(&self, add: AddTorrent) -> Result<TorrentId, ClientError> {
        self.command(Command::AddTorrent(Box::new(add)))?.added().map_err(ClientError::Add)
    }

    /// Takes a torrent out of the session. With `delete_files`, its files and resume data are
    /// deleted. `TorrentNotice::Removed` follows.
    pub fn remove_torrent(&self, id: TorrentId, delete_files: bool) -> Result<(), ClientError> {
        self.command_torrent(Command::RemoveTorrent { id, delete_files })
    }

    /// Stops transfers of a torrent and closes its connections.
    pub fn pause(&self, id: TorrentId) -> Result<(), ClientError> {
        self.command_torrent(Command::Pause(id))
    }

    /// Undoes [`Client::pause`].
    pub fn resume(&self, id: TorrentId) -> Result<(), ClientError> {
        self.command_torrent(Command::Resume(id))
    }

    /// Makes peers known to a torrent.
    pub fn add_peers(&self, id: TorrentId, peers: Vec<SocketAddr>) -> Result<(), ClientError> {
        self.command_torrent(Command::AddPeers { id, peers })
    }

    /// Changes the order in which a torrent's pieces are fetched.
    pub fn set_order(&self, id: TorrentId, order: PieceOrder) -> Result<(), ClientError> {
        self.command_torrent(Command::SetOrder { id, order })
    }

    /// Changes the session's rate limits.
    pub fn set_limits(&self, limits: RateLimits) -> Result<(), ClientError> {
        self.command(Command::SetLimits(limits)).map(drop)
    }

    /// Changes whom there are no dealings with, and closes connections to addresses that are refused.
    pub fn set_ip_filter(&self, filter: Option<Arc<IpFilter>>) -> Result<(), ClientError> {
        self.command(Command::SetIpFilter(filter)).map(drop)
    }

    /// Changes one torrent's rate limits.
    pub fn set_torrent_limits(&self, id: TorrentId, limits: RateLimits) -> Result<(), ClientError> {
        self.command_torrent(Command::SetTorrentLimits { id, limits })
    }

    /// Looks for something in the DHT, or has it stored there. `Notice::DhtDone` follows with the
    /// id returned here.
    pub fn dht_request(&self, request: DhtRequest) -> Result<DhtRequestId, ClientError> {
        self.command(Command::Dht(Box::new(request)))?.dht().map_err(ClientError::Dht)
    }

    /// Asks the tracker with this announce URL for the numbers of swarms; see `Command::Scrape`.
    /// `Notice::Scraped` follows with the id returned here.
    pub fn scrape(&self, tracker: Url, infohashes: Vec<InfoHash>) -> Result<ScrapeId, ClientError> {
        let reply = self.command(Command::Scrape { tracker, infohashes })?;
        reply.scrape().map_err(|Stopping| ClientError::Stopped)
    }

    /// How much the DHT node holds. `None`: there is none, or the session is over.
    pub fn dht_stats(&self) -> Option<Stats> {
        self.call(|recorded, _| recorded.engine.engine().dht_stats()).ok().flatten()
    }

    /// How a torrent stands. `None`: it is not in the session, or the session is over.
    pub fn status(&self, id: TorrentId) -> Option<TorrentStatus> {
        self.call(move |recorded, now| recorded.engine.engine().status(now, id)).ok().flatten()
    }

    /// What a torrent is. `None`: only a magnet link is known of it, or it is not in the session.
    pub fn metainfo(&self, id: TorrentId) -> Option<Arc<Metainfo>> {
        self.call(move |recorded, _| recorded.engine.engine().metainfo(id)).ok().flatten()
    }

    /// How every torrent stands, in a fixed order. Empty when the session is over.
    pub fn statuses(&self) -> Vec<TorrentStatus> {
        self.call(|recorded, now| recorded.statuses(now, None, usize::MAX)).unwrap_or_default()
    }

    /// The same of at most `most` torrents that come after one, or of the first: a session may have
    /// thousands, and a status takes more memory than an idle torrent should.
    pub fn statuses_after(&self, after: Option<TorrentId>, most: usize) -> Vec<TorrentStatus> {
        self.call(move |recorded, now| recorded.statuses(now, after, most)).unwrap_or_default()
    }

    /// Another stream of notices, of what happens from now on. The stream that the session was
    /// started with misses nothing.
    pub fn notices(&self) -> Notices {
        self.shared().listeners.listen()
    }

    /// Turns of the event loop so far. A session with nothing to do takes none.
    pub fn turns(&self) -> u64 {
        self.shared().turns.load(Ordering::Relaxed)
    }

    /// Why the recording ended before the session, if it did: what was written until then stays.
    pub fn recording_failure(&self) -> Option<&io::Error> {
        self.shared().log_failure.get()
    }

    /// Whether the session is over.
    pub fn is_stopped(&self) -> bool {
        self.shared().has_ended()
    }

    /// Ends the session in order: trackers are told, data is flushed, resume data is saved. After
    /// `timeout` (usually [`STOP_TIMEOUT`]) it is ended out of order. When this returns, the
    /// session's thread and its workers are gone, except one that a device or the system's resolver
    /// holds up.
    pub fn stop(&self, timeout: Duration) -> Result<(), StoppedEarly> {
        let shared = self.shared();
        shared.inbox.push(Input::Stop);
        let in_order = shared.wait_for_end(timeout);
        if !in_order {
            shared.inbox.halt();
            shared.wait_for_end(HALT_PATIENCE);
        }
        shared.join();
        if in_order { Ok(()) } else { Err(StoppedEarly) }
    }

    fn call<R: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Recorded, bitswarm_core::Instant) -> R + Send + 'static,
    ) -> Result<R, ClientError> {
        let (sender, answer) = mpsc::sync_channel(1);
        let call = Box::new(move |recorded: &mut Recorded, now| {
            // Nobody waits if the caller's thread is gone.
            let _ = sender.send(run(recorded, now));
        });
        self.shared().inbox.push(Input::Call(call));
        // A call that will not be run is dropped, and its sender with it.
        answer.recv().map_err(|mpsc::RecvError| ClientError::Stopped)
    }

    fn command(&self, command: Command) -> Result<Reply, ClientError> {
        self.call(move |recorded, now| recorded.engine.command(now, command))
    }

    fn command_torrent(&self, command: Command) -> Result<(), ClientError> {
        let done = self.command(command)?.torrent();
        done.map_err(|NoSuchTorrent(id)| ClientError::NoSuchTorrent(id))
    }

    fn shared(&self) -> &Shared {
        &self.0.0
    }
}

/// Starts a session whose loop is `run`, on a thread of its own. For runtimes: applications call the
/// runtime's own `start`.
///
/// `wake` makes the loop take its inputs. `run` returns when [`Host::is_finished`], after
/// [`Host::finish`].
pub fn launch(
    config: &ClientConfig,
    wake: Arc<dyn Wake>,
    run: impl FnOnce(Host) + Send + 'static,
) -> Result<(Client, Notices), StartError> {
    let shared = Arc::new(Shared::new(wake));
    let host = Host::new(config, Arc::clone(&shared))?;
    let notices = shared.listeners.listen();
    let end = End(Arc::clone(&shared));
    let body = move || {
        let _end = end;
        run(host);
    };
    let thread = thread::Builder::new().name("bitswarm".to_owned());
    let thread = thread.spawn(body).map_err(StartError::System)?;
    shared.runs_on(thread);
    Ok((Client(Arc::new(Handle(shared))), notices))
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.inbox.push(Input::Stop);
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Add(error) => write!(f, "{error}"),
            ClientError::Dht(error) => write!(f, "{error}"),
            ClientError::NoSuchTorrent(_) => f.write_str("the torrent is not in the session"),
            ClientError::Stopped => f.write_str("the session is over"),
        }
    }
}

impl std::error::Error for ClientError {}

impl fmt::Display for StoppedEarly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the session did not end in time and was cut off; \
             what was not saved is checked again at the next start",
        )
    }
}

impl std::error::Error for StoppedEarly {}
