//! A running engine, started the way the user asked for.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use bitswarm_core::TorrentId;
use bitswarm_core::action::SocketKind;
use bitswarm_core::config::{Config, DhtConfig, RateLimits};
use bitswarm_core::dht::{Stats, Wish, WishId};
use bitswarm_core::event::NetError;
use bitswarm_core::http::Url;
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::notice::Notice;
use bitswarm_core::piece::InfoHash;
use bitswarm_core::torrent::{AddTorrent, TorrentStatus};
use bitswarm_core::tracker::ScrapeId;
use bitswarm_runtime_common::disk::StateDirError;
use bitswarm_runtime_common::{Client, ClientConfig, Events, STOP_TIMEOUT, StartError};

use crate::args::{PeerName, Runtime, Transfer};
use crate::exit::{Code, Failure};
use crate::state::{MOST_SESSIONS, State};

/// Longest wait for a notice, and so the time until Ctrl-C is noticed (chosen).
pub(crate) const PATIENCE: Duration = Duration::from_millis(250);

/// Statuses asked for at once (chosen: few enough to be nothing beside the torrents themselves).
const STATUSES: usize = 64;

/// An engine at work, and the ear at it.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    events: Events,
    must_listen: MustListen,
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
        let (client, events) = runtime.start(config).map_err(|error| start_failure(&error))?;
        Ok(Session { client, events, must_listen })
    }

    /// Starts a session with the options of download and seed, in a state directory of its own.
    pub(crate) fn for_transfer(
        transfer: &Transfer,
        state: &State,
    ) -> Result<(Self, PathBuf), Failure> {
        let must_listen = MustListen::if_named(transfer.network.names_listener());
        for dir in state.session_dirs() {
            let config = ClientConfig {
                core: core_config(transfer),
                state_dir: Some(dir.clone()),
                bind: transfer.network.bind.clone(),
                insecure_trackers: transfer.insecure_trackers.clone(),
                record: transfer.record.clone(),
                ..ClientConfig::default()
            };
            match transfer.driven.runtime.start(&config) {
                Ok((client, events)) => return Ok((Session { client, events, must_listen }, dir)),
                Err(StartError::State(StateDirError::InUse(_))) => {}
                Err(error) => return Err(start_failure(&error)),
            }
        }
        let message = format!(
            "{MOST_SESSIONS} sessions work on this directory, which is as many as can; stop one of them"
        );
        Err(Failure::new(Code::File, message))
    }

    /// Waits for the next notice; `None` if none came in time, or none worth telling. A socket that had to be opened and
    /// could not be is a failure.
    pub(crate) fn next_notice(&self, timeout: Duration) -> Result<Option<Notice>, Failure> {
        match self.events.next_timeout(timeout) {
            Ok(Notice::ListenFailed { addr, why, .. }) if is_missing_ipv6(addr, why) => Ok(None),
            Ok(Notice::ListenFailed { kind, addr, why, .. })
                if self.must_listen == MustListen::Yes =>
            {
                Err(listen_failure(kind, addr, why))
            }
            Ok(notice) => Ok(Some(notice)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }

    /// Adds a torrent.
    pub(crate) fn add(&self, add: AddTorrent) -> Result<TorrentId, Failure> {
        let name = add.source.shown_name();
        let failed = |error| Failure::new(Code::Unknown, format!("cannot add {name}: {error}"));
        self.client.add_torrent(add).map_err(failed)
    }

    /// Wishes for something in the DHT.
    pub(crate) fn dht_wish(&self, wish: Wish) -> Result<WishId, Failure> {
        let failed = |error| Failure::new(Code::Unknown, format!("cannot ask the DHT: {error}"));
        self.client.dht_wish(wish).map_err(failed)
    }

    /// Asks a tracker for the numbers of a swarm.
    pub(crate) fn scrape(&self, tracker: Url, infohash: InfoHash) -> Result<ScrapeId, Failure> {
        let failed =
            |error| Failure::new(Code::Unknown, format!("cannot ask the tracker: {error}"));
        self.client.scrape(tracker, vec![infohash]).map_err(failed)
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

    /// Takes a torrent out of the session; its files stay.
    pub(crate) fn remove(&self, id: TorrentId) {
        // One that is gone already is as good.
        let _ = self.client.remove_torrent(id, false);
    }

    /// Ends the session in order: tells the trackers, flushes, saves resume data.
    pub(crate) fn stop(self) {
        // What was not saved in time is checked again at the next start.
        let _ = self.client.stop(STOP_TIMEOUT);
    }
}

fn core_config(transfer: &Transfer) -> Config {
    let mut config = transfer.network.core_config(false);
    config.peer_exchange = !transfer.no_pex;
    config.local_discovery = !transfer.no_lsd;
    config.limits = RateLimits { down_bytes_per_s: transfer.down, up_bytes_per_s: transfer.up };
    if let Some(most) = transfer.max_peers {
        config.connections.session = most as usize;
        config.connections.torrent = most as usize;
    }
    config
}

/// Where to listen: at these addresses, or at all there are.
pub(crate) fn listen_at(bind: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    if bind.is_empty() {
        return vec![([0, 0, 0, 0], port).into(), ([0_u16; 8], port).into()];
    }
    let mut addrs: Vec<SocketAddr> = Vec::new();
    for addr in bind.iter().map(|ip| SocketAddr::new(*ip, port)) {
        if !addrs.contains(&addr) {
            addrs.push(addr);
        }
    }
    addrs
}

/// The DHT as the options want it.
pub(crate) fn dht_config(bootstrap: &[PeerName], read_only: bool) -> DhtConfig {
    let mut config = DhtConfig { read_only, ..DhtConfig::default() };
    if !bootstrap.is_empty() {
        let pair = |name: &PeerName| (name.host.clone(), name.port);
        config.bootstrap = bootstrap.iter().map(pair).collect();
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

/// The addresses of the peers that the user named.
pub(crate) fn resolve_peers(names: &[PeerName]) -> Result<Vec<SocketAddr>, Failure> {
    let mut addrs = Vec::new();
    for PeerName { host, port } in names {
        let found = (host.as_str(), *port).to_socket_addrs().map_err(|error| {
            let advice = "check its spelling and the network";
            Failure::new(Code::NoPeers, format!("cannot find the peer {host}: {error}; {advice}"))
        })?;
        addrs.extend(found);
    }
    Ok(addrs)
}

/// Makes a directory with its parents, if it is missing.
pub(crate) fn make_dir(dir: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir).map_err(|error| Failure::file("cannot make", dir, &error))
}
