//! A peer that makes others work: what it claims of a torrent's pieces is short, changes all the time, and
//! concerns as many of them as can be (defence 40).
//!
//! Every connection draws one `Act` and plays it at each tick. What it sends is bounded by ticks and by
//! connections, so that a run ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use bitswarm_core::time::Duration;

use super::timers::Timers;
use super::{Happening, Io, Script};
use crate::sim::bencode::Value;
use crate::sim::content::Content;
use crate::sim::dice::Dice;
use crate::sim::network::EndId;
use crate::sim::peer_wire::{Hello, Item, Msg, Reader};

/// What it does on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// It has everything, and loses and finds again one piece after another (BEP 54).
    LosesAndFinds,
    /// It has everything, then nothing, then everything.
    AllOrNothing,
    /// Bitfields, one full, the next empty.
    Bitfields,
    /// One piece more, again and again.
    Haves,
    /// It has everything, and is gone at once.
    Comes,
    /// It has one piece more each time, unchokes, and rejects what it is asked for.
    OneMoreAndRejects,
    /// It has everything, and chokes and unchokes.
    Flaps,
    /// It suggests pieces and allows them fast.
    Suggests,
}

const ACTS: [Act; 8] = [
    Act::LosesAndFinds,
    Act::AllOrNothing,
    Act::Bitfields,
    Act::Haves,
    Act::Comes,
    Act::OneMoreAndRejects,
    Act::Flaps,
    Act::Suggests,
];

/// Ticks that a connection is played at most, and connections (chosen: some seconds of a run's time).
const MOST_TICKS: u32 = 12;
const MOST_CONNECTIONS: u32 = 40;
/// Messages at each tick (chosen: some kibibytes).
const AT_A_TICK: usize = 400;

/// A peer that makes others work.
#[derive(Debug)]
pub struct Claimer {
    content: Arc<Content>,
    dice: Dice,
    targets: Vec<SocketAddr>,
    plays: BTreeMap<EndId, Play>,
    /// The connections that wait for their tick.
    timers: Timers<EndId>,
    dialled: BTreeSet<EndId>,
    connections: u32,
}

#[derive(Debug)]
struct Play {
    act: Act,
    ticks: u32,
    reader: Reader,
    /// Its number for `lt_donthave` at the other side.
    dont_have: Option<u8>,
    next_piece: u32,
}

impl Claimer {
    /// One that is after these targets. `label` names its stream of randomness.
    pub fn new(seed: u64, label: &str, content: &Arc<Content>, targets: Vec<SocketAddr>) -> Self {
        Claimer {
            content: content.clone(),
            dice: Dice::new(seed, label),
            targets,
            plays: BTreeMap::new(),
            timers: Timers::default(),
            dialled: BTreeSet::new(),
            connections: 0,
        }
    }

    fn dial(&mut self, io: &mut Io<'_, '_>) {
        if !self.targets.is_empty() && self.connections < MOST_CONNECTIONS {
            let at = self.dice.index(self.targets.len());
            self.dialled.insert(io.dial(self.targets[at]));
        }
    }

    fn open(&mut self, io: &mut Io<'_, '_>, end: EndId) {
        if self.connections >= MOST_CONNECTIONS {
            return io.reset(end);
        }
        self.connections += 1;
        let act = ACTS[self.dice.index(ACTS.len())];
        let mut peer_id = *b"-XX0000-............";
        peer_id[8..].copy_from_slice(&self.dice.bytes(12));
        let mut out = Hello::new(self.content.infohash().0, peer_id, true, true).to_bytes();
        let first = match act {
            Act::Haves | Act::OneMoreAndRejects | Act::Suggests => Msg::HaveNone.to_bytes(),
            Act::Bitfields => self.bitfield(true),
            _ => Msg::HaveAll.to_bytes(),
        };
        out.extend(first);
        let handshake = Value::dict([("m", Value::dict([]))]).to_bytes();
        out.extend(Msg::Extended { id: 0, payload: &handshake }.to_bytes());
        if act == Act::OneMoreAndRejects {
            out.extend(Msg::Unchoke.to_bytes());
        }
        io.write(end, out);
        let next_piece = self.dice.index(self.content.pieces() as usize) as u32;
        let (reader, dont_have) = (Reader::new(), None);
        self.plays.insert(end, Play { act, ticks: 0, reader, dont_have, next_piece });
        self.set_timer(io, end);
    }

    fn bitfield(&self, full: bool) -> Vec<u8> {
        let pieces = self.content.pieces() as usize;
        let mut bits = vec![if full { 0xff } else { 0 }; pieces.div_ceil(8)];
        if let Some(last) = bits.last_mut().filter(|_| full && !pieces.is_multiple_of(8)) {
            *last = 0xff << (8 - pieces % 8);
        }
        Msg::Bitfield(&bits).to_bytes()
    }

    fn tick(&mut self, io: &mut Io<'_, '_>, end: EndId) {
        let pieces = self.content.pieces();
        let Some(play) = self.plays.get_mut(&end) else { return };
        play.ticks += 1;
        if play.ticks > MOST_TICKS || play.act == Act::Comes {
            io.reset(end);
            return self.over(io, end);
        }
        let (act, ticks, dont_have) = (play.act, play.ticks, play.dont_have);
        let mut out = Vec::new();
        for _ in 0..AT_A_TICK {
            let piece = play.next_piece;
            // Far apart, so that no two are neighbours.
            play.next_piece = (piece + pieces / 3 + 1) % pieces;
            match act {
                Act::LosesAndFinds => {
                    if let Some(id) = dont_have {
                        let payload = piece.to_be_bytes();
                        out.extend(Msg::Extended { id, payload: &payload }.to_bytes());
                    }
                    out.extend(Msg::Have(piece).to_bytes());
                }
                Act::AllOrNothing => {
                    out.extend(Msg::HaveNone.to_bytes());
                    out.extend(Msg::HaveAll.to_bytes());
                }
                Act::Haves => out.extend(Msg::Have(piece).to_bytes()),
                Act::Flaps => {
                    out.extend(Msg::Unchoke.to_bytes());
                    out.extend(Msg::Choke.to_bytes());
                }
                Act::Suggests => {
                    out.extend(Msg::Suggest(piece).to_bytes());
                    out.extend(Msg::AllowedFast(piece).to_bytes());
                }
                Act::OneMoreAndRejects => {
                    out.extend(Msg::Have(piece).to_bytes());
                    break;
                }
                Act::Bitfields | Act::Comes => break,
            }
        }
        if act == Act::Bitfields {
            out = self.bitfield(ticks.is_multiple_of(2));
        }
        io.write(end, out);
        self.set_timer(io, end);
    }

    fn hear(&mut self, io: &mut Io<'_, '_>, end: EndId, data: &[u8]) {
        let Some(play) = self.plays.get_mut(&end) else { return };
        play.reader.feed(data);
        let mut rejects = Vec::new();
        while let Ok(Some(item)) = play.reader.try_next() {
            match item {
                Item::Msg(Msg::Request(run)) => rejects.extend(Msg::Reject(run).to_bytes()),
                Item::Msg(Msg::Extended { id: 0, payload }) => {
                    let said = Value::parse(payload).ok();
                    let id = said.as_ref().and_then(|said| said.get("m")?.get("lt_donthave"));
                    play.dont_have = id.and_then(Value::as_int).and_then(|id| id.try_into().ok());
                }
                _ => {}
            }
        }
        if !rejects.is_empty() {
            io.write(end, rejects);
        }
    }

    fn set_timer(&mut self, io: &mut Io<'_, '_>, end: EndId) {
        let every = Duration::from_millis(1 << self.dice.between(6..=11));
        self.timers.set(io, every, end);
    }

    fn over(&mut self, io: &mut Io<'_, '_>, end: EndId) {
        self.plays.remove(&end);
        if self.dialled.remove(&end) {
            let after = Duration::from_millis(self.dice.between(100..=10_000));
            io.wake_after(after, 0);
        }
    }
}

impl Script for Claimer {
    fn handle(&mut self, io: &mut Io<'_, '_>, happening: Happening) {
        match happening {
            Happening::Datagram { .. } => {}
            Happening::Start => (0..self.targets.len()).for_each(|_| self.dial(io)),
            Happening::Open { end, .. } => self.open(io, end),
            Happening::Bytes { end, data } => self.hear(io, end, &data),
            Happening::Over { end } => self.over(io, end),
            Happening::Woken { token } => match self.timers.take(token) {
                Some(end) => self.tick(io, end),
                None => self.dial(io),
            },
        }
    }
}
