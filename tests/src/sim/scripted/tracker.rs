//! A tracker over HTTP that answers as it is told: BEP 3, "trackers", with compact peers (BEP 23).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::{Happening, Io, Script};
use crate::sim::bencode::Value;
use crate::sim::dice::Dice;
use crate::sim::network::EndId;
use crate::sim::world::PEER_PORT;

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
    /// Something else that is wrong each time, as `Mood` draws it.
    Moody(Dice),
}

/// What a tracker in a bad mood does to one announce.
#[derive(Debug, Clone, Copy)]
enum Mood {
    /// Says nothing.
    Hang,
    /// Begins an answer and says no more.
    Stall,
    /// Sends the client to itself again.
    Loop,
    /// Sends the client to its own machine.
    Inwards,
    /// Sends the client to what is no tracker.
    Elsewhere,
    /// A head that does not end.
    EndlessHead,
    /// A body of four megabytes.
    Huge,
    /// Fifty thousand peers.
    ManyPeers,
    /// Peers that are nobody, oneself, or behind port 0, in a list of an odd length.
    Lies,
    /// An interval that is none.
    Interval(i64),
    /// A dictionary in a dictionary, and so on.
    Deep,
    /// Chunks of other lengths than they say.
    Chunks,
    /// Random bytes.
    Noise,
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

    /// Whether a peer is in the swarm: it has announced itself, and has not said that it stops.
    pub fn lists(&self, ip: IpAddr) -> bool {
        self.swarm.iter().any(|peer| peer.ip() == ip)
    }

    /// How many announces came.
    pub fn announces(&self) -> u64 {
        self.announces
    }

    fn respond(&mut self, io: &mut Io<'_, '_>, end: EndId, request: &Request) {
        self.announces += 1;
        if let Answer::Moody(dice) = &mut self.answer {
            let from = SocketAddr::new(request.from, PEER_PORT);
            return be_moody(io, end, dice, from);
        }
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
            Answer::Hang | Answer::Moody(_) => return,
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
        // In turn: says that it closes, keeps the connection, closes it without having said so.
        let turn = self.announces % 3;
        let connection = if turn == 0 { "Connection: close\r\n" } else { "" };
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} Word\r\nContent-Length: {length}\r\n{connection}\r\n");
        io.write(end, [head.into_bytes(), body].concat());
        match turn {
            1 => drop(self.requests.insert(end, Request { from: request.from, bytes: Vec::new() })),
            _ => io.close(end),
        }
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
            Happening::Start | Happening::Woken { .. } | Happening::Datagram { .. } => {}
        }
    }
}

fn be_moody(io: &mut Io<'_, '_>, end: EndId, dice: &mut Dice, from: SocketAddr) {
    let moods = [
        Mood::Hang,
        Mood::Stall,
        Mood::Loop,
        Mood::Inwards,
        Mood::Elsewhere,
        Mood::EndlessHead,
        Mood::Huge,
        Mood::ManyPeers,
        Mood::Lies,
        Mood::Interval([0, -1, 1, i64::MAX][dice.index(4)]),
        Mood::Deep,
        Mood::Chunks,
        Mood::Noise,
    ];
    let redirect = |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n").into_bytes();
    let body = |body: Vec<u8>| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.into_bytes(), body].concat()
    };
    let bytes = match moods[dice.index(moods.len())] {
        Mood::Hang => return,
        Mood::Stall => {
            return io.write(end, &b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nd8:"[..]);
        }
        Mood::Loop => redirect("/announce?again=1"),
        Mood::Inwards => redirect("http://127.0.0.1:22/announce"),
        Mood::Elsewhere => redirect("file:///etc/passwd"),
        Mood::EndlessHead => b"HTTP/1.1 200 OK\r\n".repeat(20_000),
        Mood::Huge => body(vec![b'1'; 4 << 20]),
        Mood::ManyPeers => {
            let nobody =
                |number: u32| SocketAddr::from((0x3d00_0000_u32.to_be_bytes(), number as u16));
            body(answer(&(1..50_000).map(nobody).collect::<Vec<_>>(), 1800))
        }
        Mood::Lies => {
            let zero = SocketAddr::from(([50, 9, 9, 9], 0));
            let nowhere = SocketAddr::from(([0, 0, 0, 0], 6881));
            let inside = SocketAddr::from(([127, 0, 0, 1], 22));
            body(answer(&[zero, from, nowhere, inside], 1800).into_iter().chain([0]).collect())
        }
        Mood::Interval(interval) => body(answer(&[], interval)),
        Mood::Deep => body(b"d1:a".repeat(100_000)),
        Mood::Chunks => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            ffffffffffffffff\r\nde\r\n-1\r\n"
            .to_vec(),
        Mood::Noise => {
            let length = dice.index(5000);
            dice.bytes(length)
        }
    };
    io.write(end, bytes);
    io.close(end);
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
