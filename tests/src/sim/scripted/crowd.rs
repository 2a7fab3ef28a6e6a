//! One address of a crowd that takes places and gives nothing for them: it keeps some connections, all of
//! one [`Kind`], and opens another for each that ends.
//!
//! It keeps to the protocol as far as that costs it nothing, so that nothing but the lack of use tells it from
//! an honest peer: what it lacks is said to be lacking, and a keep-alive comes in time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bitswarm_core::time::Duration;

use super::timers::Timers;
use super::{Happening, Io, Script};
use crate::sim::content::Content;
use crate::sim::dice::Dice;
use crate::sim::network::EndId;
use crate::sim::peer_wire::{Hello, Item, Msg, Reader, Run};

/// What those of a crowd do with their connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They are interested, and ask for nothing when they may.
    Idles,
    /// They say nothing at all.
    Mute,
    /// They have everything and choke.
    Chokes,
    /// They have everything, unchoke, and reject each request.
    Rejects,
    /// They have everything, unchoke, and answer each request with a block byte by byte.
    Drips,
    /// They are interested, ask for everything when they may, and read nothing any more.
    Deaf,
    /// They greet, hang up after some seconds, and come again.
    Returns,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 7] = [
        Kind::Idles,
        Kind::Mute,
        Kind::Chokes,
        Kind::Rejects,
        Kind::Drips,
        Kind::Deaf,
        Kind::Returns,
    ];

    fn has_everything(self) -> bool {
        matches!(self, Kind::Chokes | Kind::Rejects | Kind::Drips)
    }
}

/// A keep-alive is sent so often (BEP 3: two minutes).
const KEEP_ALIVE: Duration = Duration::from_secs(100);
/// Pause before another connection is opened (chosen).
const PAUSE: Duration = Duration::from_secs(2);
/// How long a connection is kept by those who come again and again (chosen).
const STAY: Duration = Duration::from_secs(5);
/// Between two bytes of a block (chosen: a block takes hours).
const DRIP: Duration = Duration::from_secs(5);

/// What a timer is for.
#[derive(Debug, Clone, Copy)]
enum Wake {
    Dial,
    KeepAlive(EndId),
    Leave(EndId),
    Drip(EndId),
}

#[derive(Debug)]
struct Link {
    reader: Reader,
    /// A block that drips out.
    dripping: Option<Vec<u8>>,
}

/// One address of a crowd.
#[derive(Debug)]
pub struct Crowd {
    content: Arc<Content>,
    kind: Kind,
    /// Whom it dials, one connection for each in turn.
    targets: Vec<SocketAddr>,
    connections: usize,
    dice: Dice,
    links: BTreeMap<EndId, Link>,
    wakes: Timers<Wake>,
    dialled: usize,
    greeted: u64,
}

impl Crowd {
    /// One that keeps so many connections with these targets. `label` names its stream of randomness.
    pub fn new(
        seed: u64,
        label: &str,
        content: &Arc<Content>,
        kind: Kind,
        targets: Vec<SocketAddr>,
        connections: usize,
    ) -> Self {
        Crowd {
            content: content.clone(),
            kind,
            targets,
            connections,
            dice: Dice::new(seed, label),
            links: BTreeMap::new(),
            wakes: Timers::default(),
            dialled: 0,
            greeted: 0,
        }
    }

    /// How often the other side has greeted.
    pub fn greeted(&self) -> u64 {
        self.greeted
    }

    fn dial(&mut self, io: &mut Io<'_, '_>) {
        if self.targets.is_empty() || self.links.len() >= self.connections {
            return;
        }
        let to = self.targets[self.dialled % self.targets.len()];
        self.dialled += 1;
        let link = Link { reader: Reader::new(), dripping: None };
        self.links.insert(io.dial(to), link);
    }

    fn greet(&mut self, io: &mut Io<'_, '_>, end: EndId) {
        if self.kind == Kind::Mute {
            return;
        }
        let mut peer_id = *b"-CR0001-............";
        peer_id[8..].copy_from_slice(&self.dice.bytes(12));
        let hello = Hello::new(self.content.infohash().0, peer_id, true, false);
        let mut out = hello.to_bytes();
        if self.kind.has_everything() {
            out.extend(Msg::HaveAll.to_bytes());
        } else {
            out.extend(Msg::HaveNone.to_bytes());
            out.extend(Msg::Interested.to_bytes());
        }
        if matches!(self.kind, Kind::Rejects | Kind::Drips) {
            out.extend(Msg::Unchoke.to_bytes());
        }
        io.write(end, out);
        self.wakes.set(io, KEEP_ALIVE, Wake::KeepAlive(end));
        if self.kind == Kind::Returns {
            let stay = self.dice.up_to(STAY);
            self.wakes.set(io, stay, Wake::Leave(end));
        }
    }

    fn hear(&mut self, io: &mut Io<'_, '_>, end: EndId, data: &[u8]) {
        let Some(link) = self.links.get_mut(&end) else { return };
        let mut reader = std::mem::take(&mut link.reader);
        reader.feed(data);
        let mut asked = Vec::new();
        let mut unchoked = false;
        while let Ok(Some(item)) = reader.try_next() {
            match item {
                Item::Hello(_) => self.greeted += 1,
                Item::Msg(Msg::Request(run)) => asked.push(run),
                Item::Msg(Msg::Unchoke) => unchoked = true,
                Item::Msg(_) => {}
            }
        }
        if let Some(link) = self.links.get_mut(&end) {
            link.reader = reader;
        }
        for run in asked {
            match self.kind {
                Kind::Rejects => io.write(end, Msg::Reject(run).to_bytes()),
                Kind::Drips => self.drip(io, end, run),
                _ => {}
            }
        }
        if unchoked && self.kind == Kind::Deaf {
            let pieces = 0..self.content.pieces().min(64);
            let ask = |piece| {
                let length = self.content.piece(piece).len().min(16 << 10) as u32;
                Msg::Request(Run { piece, begin: 0, length }).to_bytes()
            };
            io.write(end, pieces.flat_map(ask).collect::<Vec<u8>>());
            io.read(end, false);
        }
    }

    /// Begins to answer a request, if it answers none yet on this connection.
    fn drip(&mut self, io: &mut Io<'_, '_>, end: EndId, run: Run) {
        let Some(link) = self.links.get_mut(&end).filter(|link| link.dripping.is_none()) else {
            return;
        };
        let Some(data) = self.content.run(run.piece, run.begin, run.length) else { return };
        let message = Msg::Piece { piece: run.piece, begin: run.begin, data: &data };
        let mut bytes = message.to_bytes();
        bytes.reverse();
        link.dripping = Some(bytes);
        self.wakes.set(io, DRIP, Wake::Drip(end));
    }

    fn woken(&mut self, io: &mut Io<'_, '_>, wake: Wake) {
        match wake {
            Wake::Dial => self.dial(io),
            Wake::KeepAlive(end) => {
                let Some(link) = self.links.get(&end) else { return };
                if link.dripping.is_none() {
                    io.write(end, Msg::KeepAlive.to_bytes());
                }
                self.wakes.set(io, KEEP_ALIVE, Wake::KeepAlive(end));
            }
            Wake::Leave(end) => {
                if self.links.contains_key(&end) {
                    io.reset(end);
                    self.over(io, end);
                }
            }
            Wake::Drip(end) => {
                let drips = self.links.get_mut(&end).and_then(|link| link.dripping.as_mut());
                let Some(byte) = drips.and_then(Vec::pop) else { return };
                io.write(end, vec![byte]);
                self.wakes.set(io, DRIP, Wake::Drip(end));
            }
        }
    }

    fn over(&mut self, io: &mut Io<'_, '_>, end: EndId) {
        if self.links.remove(&end).is_some() {
            let pause = PAUSE + self.dice.up_to(PAUSE);
            self.wakes.set(io, pause, Wake::Dial);
        }
    }
}

impl Script for Crowd {
    fn handle(&mut self, io: &mut Io<'_, '_>, happening: Happening) {
        match happening {
            Happening::Start => (0..self.connections).for_each(|_| self.dial(io)),
            Happening::Open { end, port: None, .. } => self.greet(io, end),
            // Nobody can dial it.
            Happening::Open { end, .. } => io.reset(end),
            Happening::Bytes { end, data } => self.hear(io, end, &data),
            Happening::Over { end } => self.over(io, end),
            Happening::Woken { token } => {
                if let Some(wake) = self.wakes.take(token) {
                    self.woken(io, wake);
                }
            }
            Happening::Datagram { .. } => {}
        }
    }
}
