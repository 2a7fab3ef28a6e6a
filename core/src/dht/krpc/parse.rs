//! From a datagram to a message: which key becomes what, and what is refused.
//!
//! Fields that are not needed and are malformed are left out; a message without what it needs is
//! [`Unreadable`]. Lists are cut at a bound, so that no datagram costs more than its length.

use super::compact::{canonical, read_addr, read_contacts};
use super::error::ErrorCode;
use super::message::{Body, Message, Method, Query, RawItem, RawSigned, Response, Want};
use crate::bencode::{Document, Limits, Value};
use crate::dht::node_id::{ID_LEN, NodeId};
use crate::dht::store::bloom::Bloom;

/// Longest datagram read, in bytes (chosen: an item of 1,000 bytes with everything around it is
/// far below; what is longer would be cut to pieces on its way).
pub const MAX_MESSAGE_LEN: usize = 4096;

/// How much structure a message may have: an item of 1,000 bytes may have 500 values (BEP 44).
const LIMITS: Limits = Limits { depth: 32, items: 1_500 };

/// Contacts read of one answer and family (BEP 5: K, 8; some send twice as many).
const MAX_CONTACTS: usize = 16;

/// Peers read of one answer (chosen: no more fit one datagram on most paths).
const MAX_VALUES: usize = 200;

/// Infohashes read of one answer (chosen: likewise).
const MAX_SAMPLES: usize = 100;

/// Longest transaction id that is answered, in bytes (chosen; 2 to 8 are usual). It is sent back,
/// so it must not be made to carry something.
const MAX_TRANSACTION_LEN: usize = 32;

/// Longest token kept, in bytes (chosen; 4 to 20 are usual).
pub(super) const MAX_TOKEN_LEN: usize = 64;

/// A datagram that is no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable<'a> {
    /// If it is a query all the same, what to answer: its transaction and the error.
    pub answer: Option<(&'a [u8], ErrorCode)>,
}

const NOT_KRPC: Unreadable<'static> = Unreadable { answer: None };

/// Reads a datagram and hands the message in it to `use_it`.
pub fn parse<R>(data: &[u8], use_it: impl FnOnce(Result<Message<'_>, Unreadable<'_>>) -> R) -> R {
    if data.len() > MAX_MESSAGE_LEN {
        return use_it(Err(NOT_KRPC));
    }
    match Document::parse_prefix(data, LIMITS) {
        Ok(document) => use_it(message(document.root())),
        Err(_) => use_it(Err(NOT_KRPC)),
    }
}

fn message(root: Value<'_>) -> Result<Message<'_>, Unreadable<'_>> {
    let transaction = bytes(root, "t").filter(|t| t.len() <= MAX_TRANSACTION_LEN);
    let transaction = transaction.ok_or(NOT_KRPC)?;
    let body = match bytes(root, "y") {
        Some(b"q") => Body::Query(
            query(root).map_err(|code| Unreadable { answer: Some((transaction, code)) })?,
        ),
        Some(b"r") => Body::Response(Box::new(response(root).ok_or(NOT_KRPC)?)),
        Some(b"e") => Body::Error(error(root)),
        _ => return Err(NOT_KRPC),
    };
    Ok(Message {
        transaction,
        version: bytes(root, "v"),
        read_only: root.get("ro").and_then(Value::as_int) == Some(1),
        your_addr: bytes(root, "ip").and_then(read_addr).map(canonical),
        body,
    })
}

fn query(root: Value<'_>) -> Result<Query<'_>, ErrorCode> {
    let name = bytes(root, "q").ok_or(ErrorCode::Protocol)?;
    let args = root.get("a").ok_or(ErrorCode::Protocol)?;
    let id = id(args, "id").ok_or(ErrorCode::Protocol)?;
    Ok(Query { id, want: want(args), method: method(name, args)? })
}

fn method<'a>(name: &[u8], args: Value<'a>) -> Result<Method<'a>, ErrorCode> {
    let place = |key| id(args, key).ok_or(ErrorCode::Protocol);
    let token =
        || bytes(args, "token").filter(|t| t.len() <= MAX_TOKEN_LEN).ok_or(ErrorCode::Protocol);
    Ok(match name {
        b"ping" => Method::Ping,
        b"find_node" => Method::FindNode { target: place("target")? },
        b"get_peers" => Method::GetPeers {
            infohash: place("info_hash")?,
            no_seeds: is_set(args, "noseed"),
            scrape: is_set(args, "scrape"),
        },
        b"announce_peer" => Method::AnnouncePeer {
            infohash: place("info_hash")?,
            port: port(args)?,
            seed: int(args, "seed") == Some(1),
            token: token()?,
        },
        b"get" => Method::Get { target: place("target")?, seq: int(args, "seq") },
        b"put" => Method::Put { item: put_item(args)?, cas: int(args, "cas"), token: token()? },
        b"sample_infohashes" => Method::SampleInfohashes { target: place("target")? },
        _ => Method::Unknown { target: id(args, "target").or_else(|| id(args, "info_hash")) },
    })
}

/// The port announced; `None`: the one that the datagram came from.
fn port(args: Value<'_>) -> Result<Option<u16>, ErrorCode> {
    if int(args, "implied_port").is_some_and(|implied| implied != 0) {
        return Ok(None);
    }
    let port = int(args, "port").and_then(|port| u16::try_from(port).ok());
    port.filter(|port| *port > 0).map(Some).ok_or(ErrorCode::Protocol)
}

fn put_item(args: Value<'_>) -> Result<RawItem<'_>, ErrorCode> {
    let value = args.get("v").ok_or(ErrorCode::Protocol)?.raw();
    if args.get("k").is_none() {
        return Ok(RawItem { value, signed: None });
    }
    Ok(RawItem { value, signed: Some(signed(args).ok_or(ErrorCode::Protocol)?) })
}

fn signed(dict: Value<'_>) -> Option<RawSigned<'_>> {
    Some(RawSigned {
        key: bytes(dict, "k")?.try_into().ok()?,
        salt: bytes(dict, "salt").unwrap_or_default(),
        seq: int(dict, "seq").filter(|seq| *seq >= 0)?,
        signature: bytes(dict, "sig")?.try_into().ok()?,
    })
}

fn want(args: Value<'_>) -> Option<Want> {
    let mut want = Want::default();
    for entry in args.get("want")?.as_list()?.take(8) {
        match entry.as_bytes() {
            Some(b"n4") => want.v4 = true,
            Some(b"n6") => want.v6 = true,
            _ => {}
        }
    }
    (want != Want::default()).then_some(want)
}

fn response(root: Value<'_>) -> Option<Response<'_>> {
    let dict = root.get("r")?;
    let contacts = |key, v6| read_contacts(bytes(dict, key).unwrap_or_default(), v6, MAX_CONTACTS);
    let uint = |key| dict.get(key).and_then(Value::as_uint);
    let value = dict.get("v").map(Value::raw);
    Some(Response {
        id: id(dict, "id")?,
        nodes: contacts("nodes", false),
        nodes6: contacts("nodes6", true),
        token: bytes(dict, "token").filter(|token| token.len() <= MAX_TOKEN_LEN),
        values: values(dict),
        blooms: blooms(dict),
        item: value.map(|value| RawItem { value, signed: signed(dict) }),
        seq: int(dict, "seq"),
        samples: bytes(dict, "samples").map(samples),
        num: uint("num"),
        interval: uint("interval"),
    })
}

fn values(dict: Value<'_>) -> Vec<std::net::SocketAddr> {
    let list = dict.get("values").and_then(Value::as_list).into_iter().flatten();
    list.take(MAX_VALUES).filter_map(|value| read_addr(value.as_bytes()?)).map(canonical).collect()
}

fn blooms(dict: Value<'_>) -> Option<Box<(Bloom, Bloom)>> {
    let seeds = Bloom::from_slice(bytes(dict, "BFsd")?)?;
    let peers = Bloom::from_slice(bytes(dict, "BFpe")?)?;
    Some(Box::new((seeds, peers)))
}

fn samples(bytes: &[u8]) -> Vec<NodeId> {
    bytes.chunks_exact(ID_LEN).take(MAX_SAMPLES).filter_map(NodeId::from_slice).collect()
}

fn error(root: Value<'_>) -> ErrorCode {
    let code = root.get("e").and_then(|e| e.as_list()?.next()?.as_int());
    ErrorCode::from_number(code.unwrap_or(201))
}

fn bytes<'a>(dict: Value<'a>, key: &str) -> Option<&'a [u8]> {
    dict.get(key).and_then(Value::as_bytes)
}

fn int(dict: Value<'_>, key: &str) -> Option<i64> {
    dict.get(key).and_then(Value::as_int)
}

fn is_set(dict: Value<'_>, key: &str) -> bool {
    int(dict, key).is_some_and(|flag| flag != 0)
}

fn id(dict: Value<'_>, key: &str) -> Option<NodeId> {
    NodeId::from_slice(bytes(dict, key)?)
}
