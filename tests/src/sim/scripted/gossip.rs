//! A peer that exchanges peers (BEP 11): it tells what it is to tell, as often as it is to, and
//! counts what it is told.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bitswarm_core::time::{Duration, Instant};
use bitswarm_core::wire::extension::Extension;

use super::{Happening, Io, Script};
use crate::sim::bencode::Value;
use crate::sim::content::Content;
use crate::sim::network::EndId;
use crate::sim::peer_wire::{Hello, Item, Msg, Reader};

/// Its number for `ut_pex`.
const PEX_ID: u8 = 5;

/// A peer that exchanges peers.
#[derive(Debug)]
pub struct Gossip {
    content: Arc<Content>,
    whom: SocketAddr,
    /// Told in each message, the first ones first.
    addrs: Vec<SocketAddr>,
    per_message: usize,
    every: Duration,
    link: Option<(EndId, u8)>,
    reader: Reader,
    told: BTreeSet<SocketAddr>,
    told_at: Vec<Instant>,
    over: bool,
}

impl Gossip {
    /// Dials somebody and tells of these addresses, so many in each message.
    pub fn new(
        content: &Arc<Content>,
        whom: SocketAddr,
        addrs: Vec<SocketAddr>,
        per_message: usize,
        every: Duration,
    ) -> Self {
        Gossip {
            content: content.clone(),
            whom,
            addrs,
            per_message,
            every,
            link: None,
            reader: Reader::new(),
            told: BTreeSet::new(),
            told_at: Vec::new(),
            over: false,
        }
    }

    /// Addresses it was told of.
    pub fn told(&self) -> &BTreeSet<SocketAddr> {
        &self.told
    }

    /// When messages came.
    pub fn told_at(&self) -> &[Instant] {
        &self.told_at
    }

    /// Whether the other side ended the connection.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether the other side offered to exchange peers.
    pub fn was_invited(&self) -> bool {
        self.link.is_some_and(|(_, id)| id != 0)
    }

    fn tell(&mut self, io: &mut Io<'_, '_>) {
        let Some((end, id)) = self.link.filter(|_| !self.addrs.is_empty()) else { return };
        // It sends peers although we have not said that we take them.
        let id = if id == 0 { Extension::PeerExchange.our_id() } else { id };
        let count = self.per_message.min(self.addrs.len());
        let mut added = Vec::new();
        for addr in self.addrs.drain(..count) {
            let IpAddr::V4(ip) = addr.ip() else { continue };
            added.extend(ip.octets());
            added.extend(addr.port().to_be_bytes());
        }
        let payload = Value::dict([("added", Value::Bytes(added))]).to_bytes();
        io.write(end, Msg::Extended { id, payload: &payload }.to_bytes());
        io.wake_after(self.every, 0);
    }

    fn hear(&mut self, io: &mut Io<'_, '_>, end: EndId, id: u8, payload: &[u8]) {
        let Ok(said) = Value::parse(payload) else {
            return;
        };
        if id == 0 {
            let theirs = said.get("m").and_then(|m| m.get("ut_pex")?.as_int());
            if self.link.is_none() {
                self.link = Some((end, theirs.unwrap_or(0) as u8));
                self.tell(io);
            }
        } else if id == PEX_ID {
            self.told_at.push(io.now());
            let Some(Value::Bytes(added)) = said.get("added") else { return };
            for chunk in added.chunks_exact(6) {
                let [a, b, c, d, high, low] = chunk.try_into().expect("six");
                self.told.insert(([a, b, c, d], u16::from_be_bytes([high, low])).into());
            }
        }
    }
}

impl Script for Gossip {
    fn handle(&mut self, io: &mut Io<'_, '_>, happening: Happening) {
        match happening {
            Happening::Datagram { .. } => {}
            Happening::Start => {
                io.dial(self.whom);
            }
            Happening::Open { end, port: None, .. } => {
                let id = *b"-SC0001-gossips-much";
                let hello = Hello::new(self.content.infohash().0, id, true, true);
                let m = Value::dict([("ut_pex", Value::Int(PEX_ID.into()))]);
                let handshake = Value::dict([("m", m)]).to_bytes();
                io.write(end, hello.to_bytes());
                io.write(end, Msg::HaveNone.to_bytes());
                io.write(end, Msg::Extended { id: 0, payload: &handshake }.to_bytes());
            }
            Happening::Open { end, .. } => io.reset(end),
            Happening::Bytes { end, data } => {
                let mut reader = std::mem::take(&mut self.reader);
                reader.feed(&data);
                while let Ok(Some(item)) = reader.try_next() {
                    if let Item::Msg(Msg::Extended { id, payload }) = item {
                        self.hear(io, end, id, payload);
                    }
                }
                self.reader = reader;
            }
            Happening::Over { .. } => self.over = true,
            Happening::Woken { .. } => self.tell(io),
        }
    }
}
