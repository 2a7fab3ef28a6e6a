//! What a KRPC message says, borrowed from the datagram it came in.

use std::net::SocketAddr;

use super::compact::Contact;
use super::error::ErrorCode;
use crate::dht::node_id::NodeId;
use crate::dht::store::bloom::Bloom;

/// One message (BEP 5, "KRPC protocol").
#[derive(Clone, PartialEq, Debug)]
pub struct Message<'a> {
    /// `t`: names a query in its answer.
    pub transaction: &'a [u8],
    /// `v`: the sender's client and version.
    pub version: Option<&'a [u8]>,
    /// `ro`: the sender answers no queries (BEP 43).
    pub read_only: bool,
    /// `ip`: our own address as the sender sees it (BEP 42).
    pub your_addr: Option<SocketAddr>,
    /// What kind.
    pub body: Body<'a>,
}

/// The three kinds.
#[derive(Clone, PartialEq, Debug)]
pub enum Body<'a> {
    /// `y` = `q`.
    Query(Query<'a>),
    /// `y` = `r`.
    Response(Box<Response<'a>>),
    /// `y` = `e`.
    Error(ErrorCode),
}

/// A question.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Query<'a> {
    /// The sender's id.
    pub id: NodeId,
    /// Which contacts it wants; by default those of the family it asks through (BEP 32).
    pub want: Option<Want>,
    /// What it asks.
    pub method: Method<'a>,
}

/// Which contacts are wanted (BEP 32, "want").
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Want {
    /// `n4`.
    pub v4: bool,
    /// `n6`.
    pub v6: bool,
}

/// What can be asked.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Method<'a> {
    /// Whether the node is there (BEP 5).
    Ping,
    /// The contacts closest to an id (BEP 5).
    FindNode {
        /// The id.
        target: NodeId,
    },
    /// The peers of a torrent (BEP 5).
    GetPeers {
        /// The torrent.
        infohash: NodeId,
        /// Seeds are not wanted (BEP 33).
        no_seeds: bool,
        /// Filters to count by are wanted (BEP 33).
        scrape: bool,
    },
    /// That the sender is a peer of a torrent (BEP 5).
    AnnouncePeer {
        /// The torrent.
        infohash: NodeId,
        /// Where it listens; `None`: at the port that the datagram came from.
        port: Option<u16>,
        /// Whether it has everything (BEP 33).
        seed: bool,
        /// What the node gave it before.
        token: &'a [u8],
    },
    /// An item (BEP 44).
    Get {
        /// Its place.
        target: NodeId,
        /// Only if its number is greater.
        seq: Option<i64>,
    },
    /// That an item be stored (BEP 44).
    Put {
        /// The item.
        item: RawItem<'a>,
        /// The number of the item that it replaces.
        cas: Option<i64>,
        /// What the node gave it before.
        token: &'a [u8],
    },
    /// Some of the infohashes that the node knows (BEP 51).
    SampleInfohashes {
        /// The place near which contacts are wanted.
        target: NodeId,
    },
    /// Something that is not known here. A place that it names is answered with contacts.
    Unknown {
        /// `target` or `info_hash`.
        target: Option<NodeId>,
    },
}

/// An item as it goes over the wire, not verified (BEP 44).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawItem<'a> {
    /// `v`, encoded.
    pub value: &'a [u8],
    /// What a mutable item has besides.
    pub signed: Option<RawSigned<'a>>,
}

/// What a mutable item has besides its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawSigned<'a> {
    /// `k`: the public key.
    pub key: [u8; 32],
    /// `salt`: empty if there is none, and in answers.
    pub salt: &'a [u8],
    /// `seq`: its number.
    pub seq: i64,
    /// `sig`: the signature.
    pub signature: [u8; 64],
}

/// An answer. Which fields are there depends on the question.
#[derive(Clone, PartialEq, Debug)]
pub struct Response<'a> {
    /// The sender's id.
    pub id: NodeId,
    /// `nodes`: contacts with IPv4 addresses.
    pub nodes: Vec<Contact>,
    /// `nodes6`: contacts with IPv6 addresses.
    pub nodes6: Vec<Contact>,
    /// `token`: allows the receiver to store something.
    pub token: Option<&'a [u8]>,
    /// `values`: peers.
    pub values: Vec<SocketAddr>,
    /// `BFsd` and `BFpe`: the seeds and the other peers (BEP 33).
    pub blooms: Option<Box<(Bloom, Bloom)>>,
    /// `v` and what belongs to it.
    pub item: Option<RawItem<'a>>,
    /// `seq`, also without an item.
    pub seq: Option<i64>,
    /// `samples`: infohashes (BEP 51).
    pub samples: Option<Vec<NodeId>>,
    /// `num`: how many infohashes there are (BEP 51).
    pub num: Option<u64>,
    /// `interval`: seconds until there are other samples (BEP 51).
    pub interval: Option<u64>,
}

impl Response<'_> {
    /// An answer that says nothing but who it is from.
    pub fn new(id: NodeId) -> Self {
        Response {
            id,
            nodes: Vec::new(),
            nodes6: Vec::new(),
            token: None,
            values: Vec::new(),
            blooms: None,
            item: None,
            seq: None,
            samples: None,
            num: None,
            interval: None,
        }
    }
}

impl Method<'_> {
    /// Its name in `q`; empty for what is not known.
    pub fn name(&self) -> &'static str {
        match self {
            Method::Ping => "ping",
            Method::FindNode { .. } => "find_node",
            Method::GetPeers { .. } => "get_peers",
            Method::AnnouncePeer { .. } => "announce_peer",
            Method::Get { .. } => "get",
            Method::Put { .. } => "put",
            Method::SampleInfohashes { .. } => "sample_infohashes",
            Method::Unknown { .. } => "",
        }
    }
}
