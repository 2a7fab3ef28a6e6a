//! A tracker over HTTP that answers as it is told: BEP 3, "trackers", with compact peers (BEP 23).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Happening, Io, Script};
use crate::sim::bencode::Value;
use crate::sim::network::EndId;

/// Port on which scripted trackers listen.
pub const TRACKER_PORT: u16 = 6969;

/// What a tracker answers.
#[derive(Debug, Clone)]
pub enum Answer {
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
    requests: BTreeMap<EndId, Vec<u8>>,
}

impl Tracker {
    /// One that always answers this.
    pub fn new(answer: Answer) -> Self {
        Tracker { answer, requests: BTreeMap::new() }
    }

    fn respond(&self, io: &mut Io<'_, '_>, end: EndId, request: &[u8]) {
        if !request.starts_with(b"GET /announce?") {
            let line = String::from_utf8_lossy(&request[..request.len().min(80)]).into_owned();
            io.complain(format!("got an announce that is none: {line:?}"));
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
            Happening::Bytes { end, data } => {
                let request = self.requests.entry(end).or_default();
                request.extend_from_slice(&data);
                if request.windows(4).any(|window| window == b"\r\n\r\n") {
                    let request = self.requests.remove(&end).unwrap_or_default();
                    self.respond(io, end, &request);
                }
            }
            Happening::Over { end } => drop(self.requests.remove(&end)),
            Happening::Start | Happening::Open { .. } | Happening::Woken { .. } => {}
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
