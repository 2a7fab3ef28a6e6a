//! A tracker over HTTP that answers as it is told: BEP 3, "trackers", with compact peers (BEP 23).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::{Happening, Io, Script};
use crate::sim::bencode::Value;
use crate::sim::network::EndId;

/// Port on which scripted trackers listen.
pub const TRACKER_PORT: u16 = 6969;

/// What a tracker answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// All who have announced themselves and not left, to be asked for again after so many
    /// seconds.
    Swarm(i64),
    /// These peers, to be asked for again after so many seconds.
    Peers(Vec<SocketAddr>, i64),
    /// Nothing, ever.
    Hang,
    /// The end of the stream, at once.
    HangUp,
    /// A status other than 200.
    Status(u16),
    /// A body that is no bencode.
    Garbage,
    /// A failure reason (BEP 3).
    Failure(String),
}

/// A tracker.
#[derive(Debug)]
pub struct Tracker {
    answer: Answer,
    requests: BTreeMap<EndId, Request>,
    swarm: BTreeSet<SocketAddr>,
    announces: u64,
}

#[derive(Debug)]
struct Request {
    from: IpAddr,
    bytes: Vec<u8>,
}

impl Tracker {
    /// One that always answers this.
    pub fn new(answer: Answer) -> Self {
        Tracker { answer, requests: BTreeMap::new(), swarm: BTreeSet::new(), announces: 0 }
    }

    /// How many announces came.
    pub fn announces(&self) -> u64 {
        self.announces
    }

    fn respond(&mut self, io: &mut Io<'_, '_>, end: EndId, request: &Request) {
        self.announces += 1;
        let text = String::from_utf8_lossy(&request.bytes).into_owned();
        let line = text.lines().next().unwrap_or_default();
        let query = line.strip_prefix("GET /announce?").and_then(|rest| rest.split(' ').next());
        let Some(query) = query else {
            return io.complain(format!("got an announce that is none: {line:?}"));
        };
        let value = |key: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(name, _)| *name == key).map(|(_, value)| value).next()
        };
        let Some(port) = value("port").and_then(|port| port.parse().ok()) else {
            return io.complain(format!("got an announce without a port: {line:?}"));
        };
        let from = SocketAddr::new(request.from, port);
        if value("event") == Some("stopped") {
            self.swarm.remove(&from);
        } else {
            self.swarm.insert(from);
        }
        let (status, body) = match &self.answer {
            Answer::Hang => return,
            Answer::HangUp => return io.close(end),
            Answer::Status(status) => (*status, Vec::new()),
            Answer::Garbage => (200, b"<html>it works!</html>".to_vec()),
            Answer::Failure(why) => {
                (200, Value::dict([("failure reason", Value::bytes(why))]).to_bytes())
            }
            Answer::Peers(peers, interval) => (200, answer(peers, *interval)),
            Answer::Swarm(interval) => {
                let others: Vec<SocketAddr> =
                    self.swarm.iter().filter(|peer| **peer != from).copied().collect();
                (200, answer(&others, *interval))
            }
        };
        let head = format!(
            "HTTP/1.1 {status} Word\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        io.write(end, [head.into_bytes(), body].concat());
        io.close(end);
    }
}

impl Script for Tracker {
    fn ports(&self) -> Vec<u16> {
        vec![TRACKER_PORT]
    }

    fn handle(&mut self, io: &mut Io<'_, '_>, happening: Happening) {
        match happening {
            Happening::Open { end, remote, .. } => {
                self.requests.insert(end, Request { from: remote.ip(), bytes: Vec::new() });
            }
            Happening::Bytes { end, data } => {
                let Some(request) = self.requests.get_mut(&end) else { return };
                request.bytes.extend_from_slice(&data);
                if request.bytes.windows(4).any(|window| window == b"\r\n\r\n")
                    && let Some(request) = self.requests.remove(&end)
                {
                    self.respond(io, end, &request);
                }
            }
            Happening::Over { end } => drop(self.requests.remove(&end)),
            Happening::Start | Happening::Woken { .. } => {}
        }
    }
}

fn answer(peers: &[SocketAddr], interval: i64) -> Vec<u8> {
    let mut compact = Vec::new();
    for peer in peers {
        if let SocketAddr::V4(peer) = peer {
            compact.extend_from_slice(&peer.ip().octets());
            compact.extend_from_slice(&peer.port().to_be_bytes());
        }
    }
    Value::dict([("interval", Value::Int(interval)), ("peers", Value::bytes(compact))]).to_bytes()
}
