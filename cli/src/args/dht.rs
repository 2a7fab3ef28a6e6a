//! The commands below `dht`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bitswarm_core::dht::NodeId;
use clap::{Args, Subcommand};

use super::network::Driven;
use super::reporting::Reporting;
use super::values::{Given, PeerName, bootstrap, parse_hex};
use crate::units::parse_duration;

/// `bitswarm dht`
#[derive(Args, Debug)]
pub(crate) struct Dht {
    #[command(subcommand)]
    pub(crate) command: DhtCommand,
}

/// What to do with the DHT.
#[derive(Subcommand, Debug)]
pub(crate) enum DhtCommand {
    /// Find the peers of a torrent
    Lookup {
        /// The torrent: its infohash, a magnet link, a file, an http(s) address, or - for stdin
        torrent: PathBuf,
        #[command(flatten)]
        asking: DhtAsking,
    },
    /// Get an item
    Get {
        /// Where it lies, in hexadecimal, as put said
        #[arg(value_parser = parse_node_id)]
        target: Option<NodeId>,
        /// The public key of a mutable item, in hexadecimal, instead of its target
        #[arg(long, value_name = "HEX", value_parser = parse_key, conflicts_with = "target")]
        key: Option<Key>,
        /// The salt of a mutable item
        #[arg(long, value_name = "TEXT")]
        salt: Option<String>,
        #[command(flatten)]
        asking: DhtAsking,
    },
    /// Store an item; prints where it lies
    Put(DhtPut),
    /// Count a torrent's peers
    Scrape {
        /// The torrent: its infohash, a magnet link, a file, an http(s) address, or - for stdin
        torrent: PathBuf,
        #[command(flatten)]
        asking: DhtAsking,
    },
    /// Run a node until stopped
    Node {
        /// Where to keep its id and its table [default: bitswarm in the XDG state directory]
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
        #[command(flatten)]
        options: DhtOptions,
    },
}

impl DhtCommand {
    pub(crate) fn options(&self) -> &DhtOptions {
        match self {
            DhtCommand::Lookup { asking, .. }
            | DhtCommand::Get { asking, .. }
            | DhtCommand::Scrape { asking, .. } => &asking.options,
            DhtCommand::Put(args) => &args.asking.options,
            DhtCommand::Node { options, .. } => options,
        }
    }
}

/// `bitswarm dht put`
#[derive(Args, Debug)]
pub(crate) struct DhtPut {
    /// The value, a text
    pub(crate) value: String,
    /// The value is bencoded already
    #[arg(long)]
    pub(crate) bencoded: bool,
    /// Sign it with the secret key in this file (64 hexadecimal digits), so that it can be replaced
    #[arg(long, value_name = "FILE")]
    pub(crate) secret: Option<PathBuf>,
    /// Tells items of one key apart
    #[arg(long, value_name = "TEXT", requires = "secret")]
    pub(crate) salt: Option<String>,
    /// Its number, which must be greater than that of the item it replaces [default: the next]
    #[arg(long, value_name = "N", requires = "secret",
          value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) seq: Option<i64>,
    #[command(flatten)]
    pub(crate) asking: DhtAsking,
}

/// Options of what asks and ends.
#[derive(Args, Debug)]
pub(crate) struct DhtAsking {
    /// Longest time to look
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) options: DhtOptions,
}

/// Options of everything below dht.
#[derive(Args, Debug)]
pub(crate) struct DhtOptions {
    /// A node to begin with instead of the well-known ones (may be repeated)
    #[arg(long = "dht-bootstrap", value_name = "HOST:PORT", value_parser = bootstrap)]
    pub(crate) bootstrap: Vec<Given<PeerName>>,
    /// UDP port to use [default: any; for node 6881, or another when that is taken]
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Local address to use (may be repeated: each is a node of its own) [default: all]
    #[arg(long, value_name = "ADDR")]
    pub(crate) bind: Vec<IpAddr>,
    #[command(flatten)]
    pub(crate) driven: Driven,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// An ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key(pub(crate) [u8; 32]);

fn parse_node_id(text: &str) -> Result<NodeId, String> {
    parse_hex(text).map(NodeId)
}

fn parse_key(text: &str) -> Result<Key, String> {
    parse_hex(text).map(Key)
}
