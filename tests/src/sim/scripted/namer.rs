//! A peer that names others, again and again over new connections, so that they are dialled (BEP 11; defences
//! 22 and 39): hosts that there are none of, each time at another port or at the same. It takes metadata, too.

use std::net::SocketAddr;
use std::sync::Arc;

use bitswarm_core::time::Duration;
use bitswarm_core::wire::extension::Extension;

use super::{Happening, Io, Script};
use crate::sim::bencode::Value;
use crate::sim::check::named_by;
use crate::sim::content::Content;
use crate::sim::dice::Dice;
use crate::sim::network::EndId;
use crate::sim::peer_wire::{Hello, Msg};

/// Connections at most, so that a run ends (chosen).
const MOST_CONNECTIONS: u32 = 400;
/// Requests for metadata on each connection (chosen).
const MOST_METADATA: usize = 30;
/// Most milliseconds for which it stays (chosen).
const STAY_MS: u64 = 800;

/// A peer that names others.
#[derive(Debug)]
pub struct Namer {
    content: Arc<Content>,
    whom: SocketAddr,
    number: u8,
    /// Hosts in each message.
    hosts: u8,
    /// Whether they are at another port each time.
    varies: bool,
    dice: Dice,
    end: Option<EndId>,
    connections: u32,
}

impl Namer {
    /// The peer of that number, which is after one host.
    pub fn new(seed: u64, number: u8, content: &Arc<Content>, whom: SocketAddr) -> Self {
        let mut dice = Dice::new(seed, &format!("namer {number}"));
        let varies = dice.chance(700);
        let hosts = if dice.chance(500) { 2 } else { 90 };
        let content = content.clone();
        Namer { content, whom, number, hosts, varies, dice, end: None, connections: 0 }
    }

    fn dial(&mut self, io: &mut Io<'_, '_>) {
        if self.connections < MOST_CONNECTIONS {
            self.connections += 1;
            self.end = Some(io.dial(self.whom));
        }
    }

    fn tell(&mut self, io: &mut Io<'_, '_>, end: EndId) {
        let mut id = *b"-XX0000-............";
        id[8..].copy_from_slice(&self.dice.bytes(12));
        let mut out = Hello::new(self.content.infohash().0, id, true, true).to_bytes();
        out.extend(Msg::HaveNone.to_bytes());
        let m = Value::dict([("ut_metadata", Value::Int(2)), ("ut_pex", Value::Int(1))]);
        let handshake = Value::dict([("m", m)]).to_bytes();
        out.extend(Msg::Extended { id: 0, payload: &handshake }.to_bytes());
        let port = 5000 + if self.varies { self.connections as u16 } else { 0 };
        let packed = (0..self.hosts).flat_map(|host| match named_by(self.number, host, port) {
            SocketAddr::V4(addr) => [&addr.ip().octets()[..], &addr.port().to_be_bytes()].concat(),
            SocketAddr::V6(_) => Vec::new(),
        });
        let added = Value::dict([("added", Value::Bytes(packed.collect()))]).to_bytes();
        let id = Extension::PeerExchange.our_id();
        out.extend(Msg::Extended { id, payload: &added }.to_bytes());
        // All of the metadata, several times.
        let pieces = self.content.info_bytes().len().div_ceil(16 << 10) as i64;
        for piece in (0..pieces).cycle().take(MOST_METADATA) {
            let ask = Value::dict([("msg_type", Value::Int(0)), ("piece", Value::Int(piece))]);
            let (id, payload) = (Extension::Metadata.our_id(), ask.to_bytes());
            out.extend(Msg::Extended { id, payload: &payload }.to_bytes());
        }
        io.write(end, out);
        io.wake_after(Duration::from_millis(100 + self.dice.between(0..=STAY_MS)), 0);
    }
}

impl Script for Namer {
    fn handle(&mut self, io: &mut Io<'_, '_>, happening: Happening) {
        match happening {
            Happening::Start => self.dial(io),
            Happening::Open { end, port: None, .. } => self.tell(io, end),
            Happening::Open { end, .. } => io.reset(end),
            Happening::Over { end } if self.end == Some(end) => {
                self.end = None;
                io.wake_after(Duration::from_millis(500), 1);
            }
            Happening::Woken { token: 0 } => {
                if let Some(end) = self.end.take() {
                    io.reset(end);
                    self.dial(io);
                }
            }
            Happening::Woken { .. } if self.end.is_none() => self.dial(io),
            _ => {}
        }
    }
}
