//! What can be asked of the DHT, and the result of a finished request.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize, Serializer};

use super::krpc::{Contact, ErrorCode, RawItem, RawSigned};
use super::node_id::NodeId;
use super::store::item::Item;
use crate::id::id_type;

id_type!(
    /// A request to the DHT, until it is done.
    pub DhtRequestId
);
/// What the DHT is to find, or to store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DhtRequest {
    /// The nodes closest to a place.
    Nodes {
        /// The place.
        target: NodeId,
    },
    /// Peers of a torrent; and to be known as one, if `announce` is there.
    Peers {
        /// The torrent.
        infohash: NodeId,
        /// Seeds are of no use.
        no_seeds: bool,
        /// As whom to announce us.
        announce: Option<Announce>,
        /// Stop when this many peers are known. What is announced is announced all the same.
        enough: Option<usize>,
    },
    /// How many peers a torrent has (BEP 33).
    Scrape {
        /// The torrent.
        infohash: NodeId,
    },
    /// An item (BEP 44).
    Get {
        /// Its place.
        target: NodeId,
        /// The salt of a mutable item; empty if there is none.
        salt: Vec<u8>,
    },
    /// That an item be kept (BEP 44).
    Put {
        /// The item, bencoded as it is sent, with its salt.
        item: PutItem,
        /// The number of the item that it is to replace.
        cas: Option<i64>,
    },
    /// Some of the infohashes that nodes near a place know (BEP 51).
    Sample {
        /// The place.
        target: NodeId,
    },
}

/// As whom a torrent's peer is announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Announce {
    /// The port that peers connect to; `None`: that of our datagrams, as others see it.
    pub port: Option<u16>,
    /// Whether we have everything (BEP 33).
    pub seed: bool,
}

/// An item to store, in a form that can be recorded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PutItem {
    value: Vec<u8>,
    signed: Option<PutSigned>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct PutSigned {
    key: [u8; 32],
    salt: Vec<u8>,
    seq: i64,
    signature: Vec<u8>,
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        PutItem::from(self).serialize(serializer)
    }
}

impl From<&Item> for PutItem {
    fn from(item: &Item) -> Self {
        let signed = item.signed().map(|signed| PutSigned {
            key: signed.key,
            salt: signed.salt.to_vec(),
            seq: signed.seq,
            signature: signed.signature.to_vec(),
        });
        PutItem { value: item.value().to_vec(), signed }
    }
}

impl PutItem {
    /// The item, if it is one.
    pub(super) fn verified(&self) -> Option<Item> {
        let signed = match &self.signed {
            Some(signed) => Some(RawSigned {
                key: signed.key,
                salt: &signed.salt,
                seq: signed.seq,
                signature: signed.signature.as_slice().try_into().ok()?,
            }),
            None => None,
        };
        let salt = signed.map_or(&[][..], |signed| signed.salt);
        Item::verify(&RawItem { value: &self.value, signed }, salt).ok()
    }
}

/// What came of a request.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct DhtResult {
    /// Nodes that were asked.
    pub asked: usize,
    /// Nodes that answered.
    pub answered: usize,
    /// In which round the first that had what was looked for answered; 1 is the first.
    pub found_in_round: Option<u32>,
    /// Peers, in the order in which they were found.
    pub peers: Vec<SocketAddr>,
    /// Seeds and other peers of a scrape, about.
    pub swarm: Option<(u64, u64)>,
    /// The item; of a mutable one the newest.
    pub item: Option<Item>,
    /// Infohashes, in order.
    pub samples: Vec<NodeId>,
    /// Nodes that stored what was to be stored.
    pub stored: usize,
    /// Why others refused.
    pub refused: Option<ErrorCode>,
    /// The closest nodes that answered, of both families.
    pub closest: Vec<Contact>,
}

impl DhtResult {
    /// Adds what another node of ours found for the same request to announce peers.
    pub(crate) fn add(&mut self, other: DhtResult) {
        self.asked += other.asked;
        self.answered += other.answered;
        self.found_in_round = self.found_in_round.or(other.found_in_round);
        self.peers.extend(other.peers);
        self.swarm = self.swarm.or(other.swarm);
        self.item = self.item.take().or(other.item);
        self.samples.extend(other.samples);
        self.stored += other.stored;
        self.refused = self.refused.or(other.refused);
        self.closest.extend(other.closest);
    }
}
