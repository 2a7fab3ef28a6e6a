//! How a command reaches peers: what is shared by all that do.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use bitswarm_core::config::{Config, DhtConfig, Transports};
use bitswarm_core::encryption::EncryptionPolicy;
use bitswarm_runtime_common::{Client, ClientConfig, Notices, StartError};
use clap::{Args, ValueEnum};

use super::values::{self, Given, PeerName};
use crate::exit::Failure;

/// Where to listen and whom to ask for peers.
#[derive(Args, Debug)]
pub(crate) struct Network {
    /// Port to listen on for peers [default: 6881, or another when that is taken]
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Local address to listen on and to connect from (may be repeated) [default: all]
    #[arg(long, value_name = "ADDR")]
    pub(crate) bind: Vec<IpAddr>,
    /// A peer to connect to (may be repeated)
    #[arg(long = "peer", value_name = "HOST:PORT", value_parser = values::peer)]
    peers: Vec<Given<PeerName>>,
    /// A tracker to ask besides those of the torrent or link (may be repeated)
    #[arg(long = "tracker", value_name = "URL", value_parser = values::tracker)]
    trackers: Vec<Given<String>>,
    /// Do not speak uTP with peers, only TCP
    #[arg(long, conflicts_with = "no_tcp")]
    no_utp: bool,
    /// Do not speak TCP with peers, only uTP
    #[arg(long)]
    no_tcp: bool,
    /// Whether connections to peers are encrypted: never, if the peer wants it, rather than not, always
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Encryption::Prefer)]
    pub(crate) encryption: Encryption,
    /// A list of addresses to have no dealings with: .dat, .p2p, .p2b or networks, also .gz (may be repeated)
    #[arg(long, value_name = "FILE")]
    pub(crate) ip_filter: Vec<PathBuf>,
    /// Class of packets to and from peers for routers (DSCP, 0 to 63): 1 is lower effort, 0 ordinary
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(..64))]
    dscp: u8,
    /// Do not use the distributed hash table
    #[arg(long)]
    pub(crate) no_dht: bool,
    /// A DHT node to begin with instead of the well-known ones (may be repeated)
    #[arg(long = "dht-bootstrap", value_name = "HOST:PORT", value_parser = values::bootstrap)]
    dht_bootstrap: Vec<Given<PeerName>>,
}

impl Network {
    /// Whether the user named the address or the port to listen on.
    pub(crate) fn names_listener(&self) -> bool {
        self.port.is_some() || !self.bind.is_empty()
    }

    /// The peers to connect to.
    pub(crate) fn peers(&self) -> Vec<PeerName> {
        Given::usable(&self.peers)
    }

    /// The trackers to ask besides those of the torrent.
    pub(crate) fn trackers(&self) -> Vec<String> {
        Given::usable(&self.trackers)
    }

    /// What was named and is no peer, tracker or node.
    pub(crate) fn failures(&self) -> impl Iterator<Item = Failure> {
        let (peers, trackers) = (Given::failures(&self.peers), Given::failures(&self.trackers));
        peers.chain(trackers).chain(Given::failures(&self.dht_bootstrap))
    }

    /// An engine that listens there and uses the DHT as is wanted: to ask only if `read_only`.
    pub(crate) fn core_config(&self, read_only: bool) -> Config {
        Config {
            listen: listen_at(&self.bind, self.port.unwrap_or(6881)),
            bind: to_connect_from(&self.bind),
            listen_fallback: self.port.is_none(),
            transports: Transports { tcp: !self.no_tcp, utp: !self.no_utp },
            encryption: self.encryption.into(),
            dscp: Some(self.dscp).filter(|class| *class > 0),
            dht: (!self.no_dht).then(|| dht_config(&self.dht_bootstrap, read_only)),
            ..Config::default()
        }
    }
}

/// Whether connections to peers are encrypted.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encryption {
    // No doc comments: they would turn the whole help into its long form.
    Off,
    Allow,
    Prefer,
    Require,
}

impl From<Encryption> for EncryptionPolicy {
    fn from(encryption: Encryption) -> Self {
        match encryption {
            Encryption::Off => EncryptionPolicy::Off,
            Encryption::Allow => EncryptionPolicy::Allow,
            Encryption::Prefer => EncryptionPolicy::Prefer,
            Encryption::Require => EncryptionPolicy::Require,
        }
    }
}

/// Of every command that runs an engine.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Driven {
    /// What drives the engine
    #[arg(long, value_enum, default_value_t = Runtime::Mio)]
    pub(crate) runtime: Runtime,
}

/// What drives the engine.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Runtime {
    // No doc comment: it would turn the whole help into its long form.
    Mio,
    AsyncStd,
}

impl Runtime {
    /// Starts a session on this runtime.
    pub(crate) fn start(self, config: &ClientConfig) -> Result<(Client, Notices), StartError> {
        match self {
            Runtime::Mio => bitswarm_runtime_mio::start(config),
            Runtime::AsyncStd => bitswarm_runtime_async_std::start(config),
        }
    }
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

/// Those of the addresses to listen on that connections can come from: one that this machine does not
/// have would leave all connections without a way. All of them if that is none.
pub(crate) fn to_connect_from(bind: &[IpAddr]) -> Vec<IpAddr> {
    let is_here = |ip: &&IpAddr| UdpSocket::bind((**ip, 0)).is_ok();
    let here: Vec<IpAddr> = bind.iter().filter(is_here).copied().collect();
    if here.is_empty() { bind.to_vec() } else { here }
}

/// The DHT as the options want it.
pub(crate) fn dht_config(bootstrap: &[Given<PeerName>], read_only: bool) -> DhtConfig {
    let mut config = DhtConfig { read_only, ..DhtConfig::default() };
    let usable = Given::usable(bootstrap);
    if !usable.is_empty() {
        config.bootstrap = usable.into_iter().map(|name| (name.host, name.port)).collect();
    }
    config
}
