//! From a message to a datagram.

use bytes::BytesMut;

use super::compact::{write_addr, write_contacts};
use super::message::{Body, Message, Method, Query, RawItem, Response};
use crate::bencode::{DictWriter, encode_dict};

/// Bytes that lengthen a question whose answer is long. Nodes that do not know us send no more than
/// a few times what we sent (`dht/server.rs`), and what is read only is never got to know; with these
/// the longest answer, 1,400 bytes, is three times the question.
const PADDING: [u8; 384] = [0; 384];

impl Message<'_> {
    /// The datagram that says it.
    pub fn encode(&self) -> BytesMut {
        let bytes = encode_dict(|dict| {
            match &self.body {
                Body::Query(query) => {
                    dict.dict("a", |args| arguments(args, query));
                    dict.bytes("q", query.method.name());
                }
                Body::Response(response) => dict.dict("r", |values| results(values, response)),
                Body::Error(code) => dict.list("e", |list| {
                    list.int(code.number());
                    list.bytes(code.to_string());
                }),
            }
            if let Some(addr) = self.your_addr {
                let mut compact = Vec::new();
                write_addr(&mut compact, addr);
                dict.bytes("ip", compact);
            }
            if self.read_only {
                dict.int("ro", 1);
            }
            dict.bytes("t", self.transaction);
            if let Some(version) = self.version {
                dict.bytes("v", version);
            }
            dict.bytes("y", self.body.letter());
        });
        BytesMut::from(&bytes[..])
    }
}

impl Body<'_> {
    fn letter(&self) -> &'static str {
        match self {
            Body::Query(_) => "q",
            Body::Response(_) => "r",
            Body::Error(_) => "e",
        }
    }
}

fn arguments(dict: &mut DictWriter<'_>, query: &Query<'_>) {
    dict.bytes("id", query.id.0);
    if let Some(want) = query.want {
        dict.list("want", |list| {
            if want.v4 {
                list.bytes("n4");
            }
            if want.v6 {
                list.bytes("n6");
            }
        });
    }
    match query.method {
        Method::Ping | Method::Unknown { target: None } => {}
        Method::FindNode { target }
        | Method::SampleInfohashes { target }
        | Method::Unknown { target: Some(target) } => dict.bytes("target", target.0),
        Method::GetPeers { infohash, no_seeds, scrape } => {
            dict.bytes("info_hash", infohash.0);
            flag(dict, "noseed", no_seeds);
            if scrape {
                dict.bytes("pad", PADDING);
            }
            flag(dict, "scrape", scrape);
        }
        Method::AnnouncePeer { infohash, port, seed, token } => {
            dict.bytes("info_hash", infohash.0);
            dict.int("implied_port", i64::from(port.is_none()));
            dict.int("port", i64::from(port.unwrap_or(0)));
            flag(dict, "seed", seed);
            dict.bytes("token", token);
        }
        Method::Get { target, seq } => {
            dict.bytes("pad", PADDING);
            dict.bytes("target", target.0);
            if let Some(seq) = seq {
                dict.int("seq", seq);
            }
        }
        Method::Put { item, cas, token } => {
            write_item(dict, &item);
            if let Some(cas) = cas {
                dict.int("cas", cas);
            }
            dict.bytes("token", token);
        }
    }
}

fn flag(dict: &mut DictWriter<'_>, key: &str, set: bool) {
    if set {
        dict.int(key, 1);
    }
}

fn write_item(dict: &mut DictWriter<'_>, item: &RawItem<'_>) {
    dict.raw("v", item.value);
    if let Some(signed) = item.signed {
        dict.bytes("k", signed.key);
        dict.int("seq", signed.seq);
        dict.bytes("sig", signed.signature);
        if !signed.salt.is_empty() {
            dict.bytes("salt", signed.salt);
        }
    }
}

fn results(dict: &mut DictWriter<'_>, response: &Response<'_>) {
    dict.bytes("id", response.id.0);
    if !response.nodes.is_empty() {
        dict.bytes("nodes", write_contacts(&response.nodes));
    }
    if !response.nodes6.is_empty() {
        dict.bytes("nodes6", write_contacts(&response.nodes6));
    }
    if let Some(token) = response.token {
        dict.bytes("token", token);
    }
    if !response.values.is_empty() {
        dict.list("values", |list| {
            for value in &response.values {
                let mut compact = Vec::new();
                write_addr(&mut compact, *value);
                list.bytes(compact);
            }
        });
    }
    if let Some(blooms) = &response.blooms {
        dict.bytes("BFsd", blooms.0.as_bytes());
        dict.bytes("BFpe", blooms.1.as_bytes());
    }
    match (&response.item, response.seq) {
        (Some(item), _) => write_item(dict, item),
        (None, Some(seq)) => dict.int("seq", seq),
        (None, None) => {}
    }
    if let Some(samples) = &response.samples {
        dict.bytes("samples", samples.iter().flat_map(|id| id.0).collect::<Vec<u8>>());
    }
    for (key, number) in [("num", response.num), ("interval", response.interval)] {
        if let Some(number) = number {
            dict.int(key, i64::try_from(number).unwrap_or(i64::MAX));
        }
    }
}
