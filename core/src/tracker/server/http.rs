//! The tracker's HTTP: one connection's requests and their answers.
//!
//! `/announce` and `/scrape` as in BEP 3 and 48, with compact (BEP 23, 7) and long answers and the
//! asker's address (BEP 24); `/stats` for the operator. What is wrong with an announce
//! is said in a `failure reason`, which clients show. Requests per connection and the time for each
//! are bounded, so that nobody holds a connection, or makes answers pile up, for nothing.

use std::net::SocketAddr;

use super::reply::{AnnounceReply, ListedPeer};
use super::swarms::Swarms;
use super::{query, udp};
use crate::bencode;
use crate::http::server::{IncomingRequest, RequestParser, Status, write_response};
use crate::time::{Duration, Instant};
use crate::tracker::announce::AnnounceRequest;
use crate::tracker::packet;

/// Requests served on one connection (chosen: also bounds the answers that wait to be sent).
const MAX_REQUESTS: u32 = 32;

/// Time for a request to be complete, from the connection's start or the last request (chosen).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// One client's connection.
#[derive(Debug)]
pub struct HttpConn {
    from: SocketAddr,
    parser: RequestParser,
    requests: u32,
    deadline: Instant,
    /// Whether the next response is the last.
    is_last: bool,
    closing: bool,
}

/// What becomes of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// It stays open.
    Keep,
    /// It is closed, after everything was sent.
    Close,
}

impl HttpConn {
    /// A connection accepted from `from`.
    pub fn new(now: Instant, from: SocketAddr) -> Self {
        let parser = RequestParser::default();
        let deadline = now + REQUEST_TIMEOUT;
        HttpConn { from, parser, requests: 0, deadline, is_last: false, closing: false }
    }

    /// Closes the connection after the next response, whatever the client wants.
    pub fn close_after_next(&mut self) {
        self.is_last = true;
    }

    /// When to close the connection, unless bytes come in before.
    pub fn poll_timeout(&self) -> Instant {
        self.deadline
    }

    pub(super) fn handle(
        &mut self,
        now: Instant,
        swarms: &mut Swarms,
        mut data: &[u8],
        out: &mut Vec<u8>,
    ) -> Next {
        while !self.closing {
            match self.parser.next(&mut data) {
                Ok(None) => return Next::Keep,
                Ok(Some(request)) => {
                    self.requests += 1;
                    self.deadline = now + REQUEST_TIMEOUT;
                    let is_last = self.is_last || self.requests >= MAX_REQUESTS;
                    self.closing = is_last || !request.keep_alive;
                    let (status, body) = answer(now, swarms, self.from, &request);
                    write_response(out, status, &body, !self.closing);
                }
                Err(error) => {
                    self.closing = true;
                    let status = error.status();
                    write_response(out, status, status.line().as_bytes(), false);
                }
            }
        }
        Next::Close
    }
}

fn answer(
    now: Instant,
    swarms: &mut Swarms,
    from: SocketAddr,
    request: &IncomingRequest,
) -> (Status, Vec<u8>) {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    match path {
        "/announce" => (Status::Ok, announce(now, swarms, from, query)),
        "/scrape" => (Status::Ok, scrape(swarms, query)),
        "/stats" => (Status::Ok, stats(swarms)),
        _ => (Status::NotFound, b"This is a BitTorrent tracker; announce at /announce.\n".to_vec()),
    }
}

fn announce(now: Instant, swarms: &mut Swarms, from: SocketAddr, query: &str) -> Vec<u8> {
    let request = match query::announce(query) {
        Ok(request) => request,
        Err(complaint) => return failure(complaint),
    };
    match swarms.announce(now, from, &request) {
        Ok(reply) => encode(&reply, &request, from),
        Err(refusal) => failure(&refusal.to_string()),
    }
}

fn encode(reply: &AnnounceReply, request: &AnnounceRequest, from: SocketAddr) -> Vec<u8> {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    bencode::encode_dict(|dict| {
        dict.int("complete", reply.complete.into());
        dict.int("downloaded", i64::try_from(reply.downloaded).unwrap_or(i64::MAX));
        dict.bytes("external ip", udp::packed_ip(from.ip()));
        dict.int("incomplete", reply.incomplete.into());
        dict.int("interval", seconds(reply.interval));
        dict.int("min interval", seconds(reply.min_interval));
        if request.compact {
            let packed = |v4: bool| {
                let mut packed = Vec::new();
                let family = reply.peers.iter().filter(|peer| peer.addr.is_ipv4() == v4);
                family.for_each(|peer| packet::push_compact(&mut packed, peer.addr));
                packed
            };
            dict.bytes("peers", packed(true));
            let v6 = packed(false);
            if !v6.is_empty() {
                dict.bytes("peers6", v6);
            }
        } else {
            dict.list("peers", |list| reply.peers.iter().for_each(|peer| push_long(list, peer)));
        }
    })
}

/// A peer in the form of BEP 3.
fn push_long(list: &mut bencode::ListWriter<'_>, peer: &ListedPeer) {
    list.dict(|dict| {
        dict.bytes("ip", peer.addr.ip().to_string());
        dict.bytes("peer id", peer.peer_id.0);
        dict.int("port", peer.addr.port().into());
    });
}

fn scrape(swarms: &Swarms, query: &str) -> Vec<u8> {
    let infohashes = match query::scrape(query) {
        Ok(infohashes) => infohashes,
        Err(complaint) => return failure(complaint),
    };
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    bencode::encode_dict(|dict| {
        dict.dict("files", |files| {
            for entry in infohashes.iter().filter_map(|infohash| swarms.scrape(*infohash)) {
                files.dict(entry.infohash.0, |file| {
                    file.int("complete", number(entry.complete));
                    file.int("downloaded", number(entry.downloaded));
                    file.int("incomplete", number(entry.incomplete));
                });
            }
        });
    })
}

fn stats(swarms: &Swarms) -> Vec<u8> {
    let stats = swarms.stats();
    format!("swarms {}\npeers {}\nannounces {}\n", stats.swarms, stats.peers, stats.announces)
        .into()
}

fn failure(reason: &str) -> Vec<u8> {
    bencode::encode_dict(|dict| dict.bytes("failure reason", reason))
}
