//! A node of the DHT that lies about where and when (BEP 5; defence 26): answers come from another port than
//! was asked, or long after; tokens are shown from another address than they were given to, or long after.
//!
//! It asks nodes, so that they know it, and answers pings as it should, so that they keep it.

use std::net::{IpAddr, SocketAddr};

use bitswarm_core::time::Duration;

use super::timers::Timers;
use super::{Happening, Io, Script};
use crate::sim::bencode::Value;
use crate::sim::check::lied_of;
use crate::sim::dice::Dice;
use crate::sim::world::PEER_PORT;

/// The port that false answers come from, and that at which another like it is told of tokens.
const OTHER_PORT: u16 = 6882;
const LEAGUE_PORT: u16 = 6883;
/// It asks somebody so often.
const EVERY: Duration = Duration::from_secs(20);
/// An answer that comes so late is none any more (chosen: no engine waits as long).
const LATE: Duration = Duration::from_secs(90);
/// A token that is older is not good any more (BEP 5: ten minutes).
const OLD: Duration = Duration::from_secs(620);

/// What it does long after.
#[derive(Debug)]
enum Later {
    /// It answers somebody.
    Answer(SocketAddr, Vec<u8>),
    /// It shows somebody the token that it was given there.
    Show(SocketAddr, Vec<u8>),
}

/// A node that lies.
#[derive(Debug)]
pub struct DhtLiar {
    dice: Dice,
    id: [u8; 20],
    targets: Vec<SocketAddr>,
    /// Another like it, who shows the tokens that it is given.
    other: Option<SocketAddr>,
    infohash: [u8; 20],
    /// What is done when a timer is due.
    later: Timers<Later>,
    lies: u16,
}

impl DhtLiar {
    /// One that asks these for peers of that torrent. `label` names its stream of randomness.
    pub fn new(seed: u64, label: &str, infohash: [u8; 20], targets: Vec<SocketAddr>) -> Self {
        let mut dice = Dice::new(seed, label);
        let mut id = [0; 20];
        // Near to what is looked for, so that it is asked.
        id.copy_from_slice(&dice.bytes(20));
        id[..4].copy_from_slice(&infohash[..4]);
        DhtLiar { dice, id, targets, other: None, infohash, later: Timers::default(), lies: 0 }
    }

    /// The same, in league with another.
    pub fn in_league_with(mut self, other: SocketAddr) -> Self {
        self.other = Some(SocketAddr::new(other.ip(), LEAGUE_PORT));
        self
    }

    fn ask(&mut self, io: &mut Io<'_, '_>) {
        if !self.targets.is_empty() {
            let to = self.targets[self.dice.index(self.targets.len())];
            let arguments = [("id", self.own_id()), ("info_hash", Value::bytes(self.infohash))];
            self.query(io, to, "get_peers", Value::dict(arguments), "gp");
        }
        io.wake_after(EVERY, 0);
    }

    fn own_id(&self) -> Value {
        Value::bytes(self.id)
    }

    fn query(&self, io: &mut Io<'_, '_>, to: SocketAddr, what: &str, with: Value, id: &str) {
        let query = [("a", with), ("q", Value::bytes(what)), ("t", Value::bytes(id))];
        let query = Value::dict(query.into_iter().chain([("y", Value::bytes("q"))])).to_bytes();
        io.send_datagram(PEER_PORT, to, &query);
    }

    fn store(&self, io: &mut Io<'_, '_>, to: SocketAddr, token: &[u8], id: &str) {
        let arguments = [
            ("id", self.own_id()),
            ("info_hash", Value::bytes(self.infohash)),
            ("port", Value::Int(PEER_PORT.into())),
            ("token", Value::bytes(token)),
        ];
        self.query(io, to, "announce_peer", Value::dict(arguments), id);
    }

    fn hear(&mut self, io: &mut Io<'_, '_>, from: SocketAddr, data: &[u8]) {
        let Ok(message) = Value::parse(data) else { return };
        let bytes = |key: &str| message.get(key).and_then(Value::as_bytes).unwrap_or_default();
        match bytes("y") {
            b"q" => self.answer(io, from, bytes("q"), bytes("t")),
            b"r" => {
                let token = message.get("r").and_then(|r| r.get("token")).and_then(Value::as_bytes);
                let Some(token) = token else { return };
                if let Some(other) = self.other {
                    let named =
                        Value::List(vec![Value::bytes(from.ip().to_string()), Value::bytes(token)]);
                    io.send_datagram(LEAGUE_PORT, other, &named.to_bytes());
                }
                self.later.set(io, OLD, Later::Show(from, token.to_vec()));
            }
            _ => {}
        }
    }

    fn answer(&mut self, io: &mut Io<'_, '_>, from: SocketAddr, method: &[u8], id: &[u8]) {
        let honest = Value::dict([
            ("r", Value::dict([("id", self.own_id())])),
            ("t", Value::bytes(id)),
            ("y", Value::bytes("r")),
        ]);
        if method != b"get_peers" {
            return io.send_datagram(PEER_PORT, from, &honest.to_bytes());
        }
        let lie = lied_of(self.lies);
        self.lies = self.lies.wrapping_add(1);
        let mut packed = [0; 6];
        if let IpAddr::V4(ip) = lie.ip() {
            packed[..4].copy_from_slice(&ip.octets());
            packed[4..].copy_from_slice(&lie.port().to_be_bytes());
        }
        let token = Value::bytes(self.lies.to_be_bytes());
        let values = Value::List(vec![Value::bytes(packed)]);
        let body = [("id", self.own_id()), ("token", token), ("values", values)];
        let lie = Value::dict([
            ("r", Value::dict(body)),
            ("t", Value::bytes(id)),
            ("y", Value::bytes("r")),
        ]);
        if self.dice.chance(500) {
            return io.send_datagram(OTHER_PORT, from, &lie.to_bytes());
        }
        self.later.set(io, LATE, Later::Answer(from, lie.to_bytes()));
    }
}

impl Script for DhtLiar {
    fn datagram_ports(&self) -> Vec<u16> {
        vec![PEER_PORT, OTHER_PORT, LEAGUE_PORT]
    }

    fn handle(&mut self, io: &mut Io<'_, '_>, happening: Happening) {
        match happening {
            Happening::Start => self.ask(io),
            Happening::Woken { token: 0 } => self.ask(io),
            Happening::Woken { token } => match self.later.take(token) {
                Some(Later::Answer(to, lie)) => io.send_datagram(PEER_PORT, to, &lie),
                Some(Later::Show(to, token)) => self.store(io, to, &token, "ol"),
                None => {}
            },
            Happening::Datagram { port: PEER_PORT, from, data } => self.hear(io, from, &data),
            Happening::Datagram { port: LEAGUE_PORT, data, .. } => {
                let Ok(Value::List(named)) = Value::parse(&data) else { return };
                let [node, token] = &named[..] else { return };
                let node = node.as_bytes().and_then(|ip| str::from_utf8(ip).ok()?.parse().ok());
                if let (Some(node), Some(token)) = (node, token.as_bytes()) {
                    self.store(io, SocketAddr::new(node, PEER_PORT), token, "an");
                }
            }
            _ => {}
        }
    }
}
