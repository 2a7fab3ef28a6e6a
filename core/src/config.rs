//! Every setting and every bound of a session, each with its unit and its reason.
//!
//! A queue that a remote can fill has its bound here; what happens when it is full is said beside
//! it. Values are chosen unless a BEP is cited.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::encryption::EncryptionPolicy;
use crate::ip_filter::IpFilter;
use crate::socket::Names;

/// Settings of one engine, fixed at its birth except where a method changes them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Client name and version for the extension handshake (BEP 10, `v`) and HTTP requests.
    pub client_name: String,
    /// First eight bytes of the peer id, in the style of BEP 20.
    pub peer_id_prefix: [u8; 8],
    /// Addresses to listen on for peers; TCP and UDP share the port. Port 0: the system chooses.
    pub listen: Vec<SocketAddr>,
    /// The addresses that outgoing connections come from, of which the first of a family counts. With
    /// some, hosts of a family that none is of are not reached at all.
    pub bind: Vec<IpAddr>,
    /// The network device that everything comes and goes through, by name. `None`: the system's choice.
    pub device: Option<Arc<str>>,
    /// The class that packets of listeners, datagram sockets and connections to peers ask routers for
    /// (RFC 2474), below 64. HTTP connections have none.
    pub dscp: Option<u8>,
    /// How the names of trackers and other hosts are looked up.
    pub names: Names,
    /// If the port is taken, let the system choose another.
    pub listen_fallback: bool,
    /// Run a tracker on these addresses (HTTP, and UDP on the same port); it is one tracker, which
    /// tells peers of each address family of those of both. None: no tracker.
    pub tracker_listen: Vec<SocketAddr>,
    /// Tell of each announce to it.
    pub tracker_notices: bool,
    /// Time between announces that the embedded tracker asks its clients to keep.
    pub tracker_interval: Duration,
    /// Exchange peers with peers (BEP 11), for torrents that are not private.
    pub peer_exchange: bool,
    /// Whether connections to peers are encrypted (MSE).
    pub encryption: EncryptionPolicy,
    /// Addresses that we neither dial, accept, ask nor answer.
    pub ip_filter: Option<Arc<IpFilter>>,
    /// Session-wide rate limits.
    pub limits: RateLimits,
    /// What connections with peers are carried by.
    pub transports: Transports,
    /// Bounds on connections.
    pub connections: ConnectionLimits,
    /// Bounds on memory and queues.
    pub bounds: Bounds,
    /// Times to wait for peers.
    pub timeouts: Timeouts,
    /// Upload slots and their rhythm.
    pub choking: Choking,
    /// How often resume data is written while pieces come in.
    pub resume_interval: Duration,
    /// Find peers in the same network (BEP 14), for torrents that are not private.
    pub local_discovery: bool,
    /// Take part in the DHT, on the port that peers are listened for; `None`: not at all.
    pub dht: Option<DhtConfig>,
}

/// What connections with peers are carried by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Transports {
    /// TCP. Without it, there are no listeners for peers.
    pub tcp: bool,
    /// uTP (BEP 29), over the UDP sockets that share their ports with the listeners. Together with TCP, a
    /// peer is dialled by TCP first and by uTP if that takes long or fails.
    pub utp: bool,
}

impl Default for Transports {
    fn default() -> Self {
        Transports { tcp: true, utp: false }
    }
}

/// Settings of the DHT node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DhtConfig {
    /// Hosts to ask first when no node is known, as name or IP address, and port.
    pub bootstrap: Vec<(String, u16)>,
    /// Ask, but answer nobody (BEP 43).
    pub read_only: bool,
    /// Two letters of the client and two characters of its version, in every message (BEP 5).
    pub version: [u8; 4],
}

impl Default for DhtConfig {
    /// A full node that begins with the hosts that are well known for it.
    fn default() -> Self {
        let hosts = ["router.bittorrent.com", "dht.transmissionbt.com", "router.utorrent.com"];
        let mut bootstrap: Vec<_> = hosts.map(|host| (host.to_owned(), 6881)).into();
        bootstrap.push(("dht.libtorrent.org".to_owned(), 25401));
        DhtConfig { bootstrap, read_only: false, version: *b"bs01" }
    }
}

/// Upper bounds on transfer rates in bytes per second; `None` is unlimited, `Some(0)` is nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RateLimits {
    /// Bytes per second received from peers.
    pub down_bytes_per_s: Option<u64>,
    /// Bytes per second sent to peers.
    pub up_bytes_per_s: Option<u64>,
}

/// Bounds on connections. Past them, new ones are refused and none is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConnectionLimits {
    /// Peer connections in the session.
    pub session: usize,
    /// Peer connections of one torrent.
    pub torrent: usize,
    /// Outgoing connections not yet established.
    pub half_open: usize,
    /// Connections from one IP address (defence 21); loopback is exempt.
    pub per_address: usize,
    /// Incoming connections that have not finished their handshake (defence 21).
    pub handshaking: usize,
}

/// Bounds on memory and queues.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bounds {
    /// Bytes of blocks held for incomplete pieces. Past it, pieces are written through early.
    pub assembly_bytes: usize,
    /// Bytes handed to the disk and not yet written. Past it, reading from peers stops.
    pub write_backlog_bytes: usize,
    /// Bytes read for peers and not yet sent, or hashed for them. Past it, further reads wait,
    /// those for hashes (BEP 52) a few seconds at most.
    pub read_ahead_bytes: usize,
    /// Requests a peer may have queued with us (BEP 10, `reqq`). Past it, they are rejected or
    /// dropped.
    pub peer_requests: usize,
    /// Requests we have outstanding at one peer, whatever its `reqq` says.
    pub own_requests: usize,
    /// Addresses remembered per torrent. Past it, the least promising are forgotten.
    pub known_peers: usize,
    /// Longest metadata accepted from peers (BEP 9), in bytes. Peers that claim more are not asked.
    ///
    /// Also bounds the work of verifying it, which is done as its pieces come.
    pub metadata_bytes: u32,
    /// Announces under way at once in the session. Past it, further ones wait their turn.
    pub announces: usize,
    /// Piece checks under way at once.
    pub checking: usize,
    /// Banned addresses remembered. Past it, the oldest ban is lifted.
    pub bans: usize,
    /// Swarms the embedded tracker holds. Past it, whose addresses hold most yield, or announces for new
    /// ones are refused.
    pub tracker_swarms: usize,
    /// Peers the embedded tracker holds per swarm. Past it, one of whose addresses hold most is forgotten,
    /// or the oldest.
    pub tracker_peers: usize,
}

/// Times to wait for peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Timeouts {
    /// For an outgoing connection to be established.
    pub connect: Duration,
    /// For the handshake to be complete (defence 21).
    pub handshake: Duration,
    /// For anything from a peer. BEP 3 has keep-alives every two minutes.
    pub silence: Duration,
    /// Before we send a keep-alive.
    pub keep_alive: Duration,
    /// For a peer that owes us blocks to send one, before it counts as snubbing us. BEP 3 says
    /// "over a minute"; the request is put back for others much earlier when it is late for the
    /// peer's own rate.
    pub snub: Duration,
    /// For a connection that neither side is interested in, when the session is full.
    pub useless: Duration,
}

/// Upload slots and their rhythm (BEP 3, "choking and optimistic unchoking").
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Choking {
    /// Peers unchoked at once per torrent, the optimistic ones among them.
    pub slots: usize,
    /// Between two decisions.
    pub interval: Duration,
    /// Between two rotations of the optimistic unchoke.
    pub optimistic_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            client_name: concat!("bitswarm ", env!("CARGO_PKG_VERSION")).to_owned(),
            peer_id_prefix: *b"-bs0100-",
            listen: vec![
                SocketAddr::from(([0, 0, 0, 0], 6881)),
                SocketAddr::from(([0_u16; 8], 6881)),
            ],
            bind: Vec::new(),
            device: None,
            dscp: None,
            names: Names::System,
            listen_fallback: true,
            tracker_listen: Vec::new(),
            tracker_notices: false,
            tracker_interval: Duration::from_secs(30 * 60),
            peer_exchange: true,
            encryption: EncryptionPolicy::Allow,
            ip_filter: None,
            limits: RateLimits::default(),
            transports: Transports::default(),
            connections: ConnectionLimits {
                session: 500,
                torrent: 120,
                half_open: 64,
                per_address: 8,
                handshaking: 64,
            },
            bounds: Bounds {
                assembly_bytes: 24 << 20,
                write_backlog_bytes: 8 << 20,
                read_ahead_bytes: 8 << 20,
                peer_requests: 512,
                own_requests: 1024,
                known_peers: 4000,
                metadata_bytes: 8 << 20,
                announces: 64,
                checking: 32,
                bans: 4096,
                tracker_swarms: 100_000,
                tracker_peers: 10_000,
            },
            timeouts: Timeouts {
                connect: Duration::from_secs(15),
                handshake: Duration::from_secs(10),
                silence: Duration::from_secs(150),
                keep_alive: Duration::from_secs(110),
                snub: Duration::from_secs(60),
                useless: Duration::from_secs(60),
            },
            choking: Choking {
                slots: 8,
                interval: Duration::from_secs(10),
                optimistic_interval: Duration::from_secs(30),
            },
            resume_interval: Duration::from_secs(2),
            local_discovery: false,
            dht: None,
        }
    }
}
