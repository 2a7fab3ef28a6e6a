//! A running engine, started the way the user asked for.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use bitswarm_core::TorrentId;
use bitswarm_core::action::SocketKind;
use bitswarm_core::config::{Config, RateLimits};
use bitswarm_core::dht::{DhtRequest, DhtRequestId, Stats};
use bitswarm_core::event::NetError;
use bitswarm_core::http::Url;
use bitswarm_core::ip_filter::IpFilter;
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::notice::Notice;
use bitswarm_core::piece::InfoHash;
use bitswarm_core::torrent::{AddTorrent, TorrentStatus};
use bitswarm_core::tracker::ScrapeId;
use bitswarm_runtime_common::disk::StateDirError;
use bitswarm_runtime_common::{Client, ClientConfig, Notices, STOP_TIMEOUT, StartError};

use crate::args::{PeerName, Runtime, Transfer};
use crate::exit::{Code, Failure};
use crate::left_out::LeftOut;
use crate::output;
use crate::replace::{self, Existing};
use crate::signals::Interrupt;
use crate::state::{MOST_SESSIONS, State};

/// Longest wait for a notice, and so the time until Ctrl-C is noticed (chosen).
pub(crate) const PATIENCE: Duration = Duration::from_millis(250);

/// Statuses asked for at once (chosen: few enough to be nothing beside the torrents themselves).
const STATUSES: usize = 64;

/// An engine at work, and the ear at it.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    notices: Notices,
    must_listen: MustListen,
    /// The addresses that the user named and that cannot be listened on. It goes on while there are
    /// others.
    failed: RefCell<BTreeSet<IpAddr>>,
    named: usize,
    record: Option<PathBuf>,
}

/// Why a session of download or seed did not start.
#[derive(Debug)]
pub(crate) enum TransferFailure {
    /// Its state directory cannot be used.
    State(Failure),
    /// Something else.
    Other(Failure),
}

impl From<TransferFailure> for Failure {
    fn from(failure: TransferFailure) -> Self {
        match failure {
            TransferFailure::State(failure) | TransferFailure::Other(failure) => failure,
        }
    }
}

/// What becomes of a session that cannot listen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MustListen {
    /// It goes on with the connections that it opens itself.
    No,
    /// It is of no use: the user named the address or the port.
    Yes,
}

impl MustListen {
    /// It must if the user named where.
    pub(crate) fn if_named(named: bool) -> Self {
        if named { MustListen::Yes } else { MustListen::No }
    }
}

impl Session {
    /// Starts a session on this runtime.
    pub(crate) fn start(
        runtime: Runtime,
        config: &ClientConfig,
        must_listen: MustListen,
    ) -> Result<Self, Failure> {
        let started = runtime.start(config).map_err(|error| start_failure(&error))?;
        Ok(Session::begun(config, started, must_listen))
    }

    /// Starts a session with the options of download and seed, in a state directory of its own, or
    /// without one. The state directory that could not be used comes back as a failure of its own.
    pub(crate) fn for_transfer(
        transfer: &Transfer,
        core: Config,
        state: Option<&State>,
    ) -> Result<(Self, Option<PathBuf>), TransferFailure> {
        let must_listen = MustListen::if_named(transfer.network.names_listener());
        if let Some(record) = &transfer.record {
            let existing = Existing::by_force(transfer.force);
            replace::refuse_existing(record, existing).map_err(TransferFailure::Other)?;
        }
        let config = ClientConfig {
            core,
            insecure_trackers: transfer.insecure_trackers.clone(),
            record: transfer.record.clone(),
            ..ClientConfig::default()
        };
        let runtime = transfer.driven.runtime;
        match state {
            Some(state) => Session::in_state(runtime, config, must_listen, state)
                .map(|(session, dir)| (session, Some(dir))),
            None => Session::start(runtime, &config, must_listen)
                .map(|session| (session, None))
                .map_err(TransferFailure::Other),
        }
    }

    /// Starts a session in the first state directory that no other session has, and says which.
    pub(crate) fn in_state(
        runtime: Runtime,
        config: ClientConfig,
        must_listen: MustListen,
        state: &State,
    ) -> Result<(Self, PathBuf), TransferFailure> {
        for dir in state.session_dirs() {
            let config = ClientConfig { state_dir: Some(dir.clone()), ..config.clone() };
            match runtime.start(&config) {
                Ok(started) => return Ok((Session::begun(&config, started, must_listen), dir)),
                Err(StartError::State(StateDirError::InUse(_))) => {}
                Err(error @ StartError::State(_)) => {
                    return Err(TransferFailure::State(start_failure(&error)));
                }
                Err(error) => return Err(TransferFailure::Other(start_failure(&error))),
            }
        }
        let message = format!(
            "{MOST_SESSIONS} sessions work on this directory, which is as many as can; stop one of them"
        );
        Err(TransferFailure::Other(Failure::new(Code::File, message)))
    }

    fn begun(
        config: &ClientConfig,
        (client, notices): (Client, Notices),
        must_listen: MustListen,
    ) -> Self {
        output::outlives_its_reader();
        let listens: BTreeSet<IpAddr> = config.core.listen.iter().map(SocketAddr::ip).collect();
        let named = if config.core.bind.is_empty() { 0 } else { listens.len() };
        let failed = RefCell::default();
        let record = config.record.clone();
        Session { client, notices, must_listen, failed, named, record }
    }

    /// Waits for the next notice; `None` if none came in time, or none worth telling. A socket that had to be opened and
    /// could not be is a failure.
    pub(crate) fn next_notice(&self, timeout: Duration) -> Result<Option<Notice>, Failure> {
        match self.notices.next_timeout(timeout) {
            Ok(Notice::ListenFailed { addr, why, .. }) if is_missing_ipv6(addr, why) => Ok(None),
            Ok(Notice::ListenFailed { kind, addr, why, .. })
                if self.must_listen == MustListen::Yes && self.is_last(addr.ip()) =>
            {
                Err(listen_failure(kind, addr, why))
            }
            Ok(notice) => Ok(Some(notice)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }

    /// Whether no address is left to listen on without this one.
    fn is_last(&self, addr: IpAddr) -> bool {
        let failed = self.failed.borrow();
        failed.len() + usize::from(!failed.contains(&addr)) >= self.named
    }

    /// Of a [`Notice::ListenFailed`] that does not end the session: what is left out by it, if the
    /// user named the address and it is news.
    pub(crate) fn listen_failure(
        &self,
        kind: SocketKind,
        addr: SocketAddr,
        why: NetError,
    ) -> Option<Failure> {
        let is_named = self.must_listen == MustListen::Yes;
        let is_news = is_named && self.failed.borrow_mut().insert(addr.ip());
        is_news.then(|| listen_failure(kind, addr, why))
    }

    /// Adds a torrent.
    pub(crate) fn add(&self, add: AddTorrent) -> Result<TorrentId, Failure> {
        let name = add.source.shown_name();
        let failed = |error| Failure::new(Code::Unknown, format!("cannot add {name}: {error}"));
        self.client.add_torrent(add).map_err(failed)
    }

    /// Requests something in the DHT.
    pub(crate) fn dht_request(&self, request: DhtRequest) -> Result<DhtRequestId, Failure> {
        let failed = |error| Failure::new(Code::Unknown, format!("cannot ask the DHT: {error}"));
        self.client.dht_request(request).map_err(failed)
    }

    /// Asks a tracker for the numbers of a swarm.
    pub(crate) fn scrape(&self, tracker: Url, infohash: InfoHash) -> Result<ScrapeId, Failure> {
        let failed =
            |error| Failure::new(Code::Unknown, format!("cannot ask the tracker: {error}"));
        self.client.scrape(tracker, vec![infohash]).map_err(failed)
    }

    /// Changes whom there are no dealings with.
    pub(crate) fn set_ip_filter(&self, filter: Option<Arc<IpFilter>>) {
        // A session that is over has none.
        let _ = self.client.set_ip_filter(filter);
    }

    /// How much the DHT node holds.
    pub(crate) fn dht_stats(&self) -> Option<Stats> {
        self.client.dht_stats()
    }

    /// How a torrent stands; `None` if it is not there any more.
    pub(crate) fn status(&self, id: TorrentId) -> Option<TorrentStatus> {
        self.client.status(id)
    }

    /// What a torrent is, if that is known.
    pub(crate) fn metainfo(&self, id: TorrentId) -> Option<Arc<Metainfo>> {
        self.client.metainfo(id)
    }

    /// Looks how each torrent stands.
    pub(crate) fn each_status(
        &self,
        mut see: impl FnMut(&TorrentStatus) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut last = None;
        loop {
            let some = self.client.statuses_after(last, STATUSES);
            some.iter().try_for_each(&mut see)?;
            match some.last() {
                Some(status) => last = Some(status.id),
                None if self.client.is_stopped() => return Err(gone()),
                None => return Ok(()),
            }
        }
    }

    /// Stops a torrent's transfers; what is known of it stays.
    pub(crate) fn pause(&self, id: TorrentId) {
        // One that is gone already is as good.
        let _ = self.client.pause(id);
    }

    /// Takes a torrent out of the session; its files stay.
    pub(crate) fn remove(&self, id: TorrentId) {
        // One that is gone already is as good.
        let _ = self.client.remove_torrent(id, false);
    }

    /// Ends the session in order, and says what became of the recording if that is not whole.
    pub(crate) fn end(&self) -> Result<(), Failure> {
        let _ = self.client.stop(STOP_TIMEOUT);
        match (self.client.recording_failure(), &self.record) {
            (Some(error), Some(path)) => Err(Failure::file("cannot record to", path, error)),
            _ => Ok(()),
        }
    }

    /// Ends the session in order: tells the trackers, flushes, saves resume data.
    pub(crate) fn stop(self) {
        drop(self);
    }
}

/// However a command ends, its session ends in order.
impl Drop for Session {
    fn drop(&mut self) {
        // What was not saved in time is checked again at the next start.
        let _ = self.client.stop(STOP_TIMEOUT);
    }
}

pub(crate) fn core_config(transfer: &Transfer, down_bytes_per_s: Option<u64>) -> Config {
    let mut config = transfer.network.core_config(false);
    config.peer_exchange = !transfer.no_pex;
    config.local_discovery = !transfer.no_lsd;
    config.limits = RateLimits { down_bytes_per_s, up_bytes_per_s: transfer.up };
    if let Some(most) = transfer.max_peers {
        config.connections.session = most as usize;
        config.connections.torrent = most as usize;
    }
    config
}

/// Whether this only says that the host has no IPv6: then IPv4 will do.
fn is_missing_ipv6(addr: SocketAddr, why: NetError) -> bool {
    addr.ip() == IpAddr::from([0_u16; 8]) && !matches!(why, NetError::AddrInUse | NetError::Denied)
}

fn listen_failure(kind: SocketKind, addr: SocketAddr, why: NetError) -> Failure {
    let kind = match kind {
        SocketKind::TcpListener => "TCP",
        SocketKind::Udp | SocketKind::Multicast => "UDP",
    };
    let advice = match why {
        NetError::AddrInUse => "stop who uses it, or choose another port",
        NetError::Denied => "choose a port from 1024 on",
        _ => "choose an address of this machine",
    };
    Failure::new(Code::Listen, format!("cannot listen on {addr} ({kind}): {why}; {advice}"))
}

fn start_failure(error: &StartError) -> Failure {
    match error {
        StartError::State(StateDirError::Io(path, error)) => {
            Failure::file("cannot keep state in", path, error)
        }
        StartError::State(_) => Failure::new(Code::File, error.to_string()),
        StartError::Record(path, error) => Failure::file("cannot record to", path, error),
        StartError::Random(_) | StartError::System(_) => {
            Failure::new(Code::Unknown, error.to_string())
        }
    }
}

fn gone() -> Failure {
    Failure::new(Code::Unknown, "the session ended by itself; run with -v and report this")
}

/// The addresses of the peers that the user named. One that is not found is left out; that ends the
/// run if none is found and nothing else would give peers (`are_all`).
pub(crate) fn resolve_peers(
    names: &[PeerName],
    are_all: bool,
    left_out: &mut LeftOut,
    interrupt: &Interrupt,
) -> Result<Vec<SocketAddr>, Failure> {
    let mut addrs = Vec::new();
    for name in names {
        addrs.extend(left_out.keep(resolve(name, interrupt)?).into_iter().flatten());
    }
    if addrs.is_empty() && are_all && !names.is_empty() {
        left_out.verdict()?;
    }
    Ok(addrs)
}

/// Looks a peer up on a thread of its own: the system may take long, and an interrupt must not wait
/// for that. The outer error is the interrupt's.
fn resolve(
    PeerName { host, port }: &PeerName,
    interrupt: &Interrupt,
) -> Result<Result<Vec<SocketAddr>, Failure>, Failure> {
    let (sender, answer) = mpsc::channel();
    let (name, port) = (host.clone(), *port);
    thread::spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Vec::from_iter);
        // Nobody waits any more after an interrupt.
        let _ = sender.send(found);
    });
    let failed = |error: std::io::Error| {
        let advice = "check its spelling and the network";
        Failure::new(Code::NoPeers, format!("cannot find the peer {host}: {error}; {advice}"))
    };
    loop {
        match answer.recv_timeout(PATIENCE) {
            Ok(found) => return Ok(found.map_err(failed)),
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(Err(failed(std::io::ErrorKind::NotFound.into())));
            }
            Err(RecvTimeoutError::Timeout) if interrupt.is_set() => {
                return Err(Failure::interrupted(format!("the peer {host} was still looked for")));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Makes a directory with its parents, if it is missing.
pub(crate) fn make_dir(dir: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir).map_err(|error| Failure::file("cannot make", dir, &error))
}
