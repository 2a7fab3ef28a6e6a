//! How a command reaches peers: what is shared by all that do.

use std::net::{IpAddr, SocketAddr};

use bitswarm_core::config::Config;
use bitswarm_runtime_common::{Client, ClientConfig, Events, StartError};
use clap::{Args, ValueEnum};

use crate::session::{dht_config, listen_at};

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
    #[arg(long = "peer", value_name = "HOST:PORT", value_parser = PeerName::parse)]
    pub(crate) peers: Vec<PeerName>,
    /// A tracker to ask besides those of the torrent or link (may be repeated)
    #[arg(long = "tracker", value_name = "URL", value_parser = parse_tracker)]
    pub(crate) trackers: Vec<String>,
    /// Do not use the distributed hash table
    #[arg(long)]
    pub(crate) no_dht: bool,
    /// A DHT node to begin with instead of the well-known ones (may be repeated)
    #[arg(long = "dht-bootstrap", value_name = "HOST:PORT", value_parser = PeerName::parse)]
    pub(crate) dht_bootstrap: Vec<PeerName>,
}

impl Network {
    /// Whether the user named the address or the port to listen on.
    pub(crate) fn names_listener(&self) -> bool {
        self.port.is_some() || !self.bind.is_empty()
    }

    /// An engine that listens there and uses the DHT as is wanted: to ask only if `read_only`.
    pub(crate) fn core_config(&self, read_only: bool) -> Config {
        Config {
            listen: listen_at(&self.bind, self.port.unwrap_or(6881)),
            listen_fallback: self.port.is_none(),
            dht: (!self.no_dht).then(|| dht_config(&self.dht_bootstrap, read_only)),
            ..Config::default()
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
    pub(crate) fn start(self, config: &ClientConfig) -> Result<(Client, Events), StartError> {
        match self {
            Runtime::Mio => bitswarm_runtime_mio::start(config),
            Runtime::AsyncStd => bitswarm_runtime_async_std::start(config),
        }
    }
}

/// A peer as the user names it: a host name or address, and a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PeerName {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl PeerName {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return match addr.port() {
                0 => Err("no peer listens on port 0".to_owned()),
                port => Ok(PeerName { host: addr.ip().to_string(), port }),
            };
        }
        let (host, port) = text.rsplit_once(':').unwrap_or_default();
        match port.parse() {
            Ok(port) if port > 0 && !host.is_empty() && !host.contains([':', '[', '/']) => {
                Ok(PeerName { host: host.to_owned(), port })
            }
            _ => Err("write HOST:PORT, and an IPv6 address as [::1]:6881".to_owned()),
        }
    }
}

pub(crate) fn parse_tracker(text: &str) -> Result<String, String> {
    let known = ["http://", "https://", "udp://"].iter().any(|scheme| {
        text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && text.len() > scheme.len()
    });
    let plain = text.bytes().all(|b| b.is_ascii_graphic());
    match known && plain {
        true => Ok(text.to_owned()),
        false => Err("write a tracker URL such as http://HOST:PORT/announce or udp://HOST:PORT \
                      (percent-encode what is not ASCII)"
            .to_owned()),
    }
}

/// The name or address of a host, and nothing else: one that can never be met would be an exception
/// without effect.
pub(crate) fn parse_host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let is_name = |text: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        !text.is_empty() && text.bytes().all(fits)
    };
    match bare.parse::<IpAddr>().is_ok() || is_name(text) {
        true => Ok(bare.to_owned()),
        false => {
            Err("write the host alone, as tracker.example or 192.0.2.1, without https:// and \
                      port"
                .to_owned())
        }
    }
}
