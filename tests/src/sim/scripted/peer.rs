//! A peer that speaks the protocol of BEP 3, 6, 10 and 52 by itself: a plain seeder or leecher, or one
//! that corrupts, stalls, flaps its choke or vanishes, as its [`Behaviour`] says.
//!
//! It is simple on purpose: it unchokes everybody or nobody, serves requests at once in the order
//! in which they come, and fetches the lowest block that nobody was asked for.

mod behaviour;
mod hashes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use bitswarm_core::bitfield::Bitfield;
use bitswarm_core::piece::{BLOCK_LEN, InfoHash, PieceIndex};
use bitswarm_core::time::Duration;

use super::mse::Endpoint;
use super::{Happening, Io, Script};
use crate::sim::bencode::Value;
use crate::sim::content::{Content, Kind};
use crate::sim::dice::Dice;
use crate::sim::mse;
use crate::sim::network::EndId;
use crate::sim::peer_wire::{HashRun, Hello, Item, Msg, Reader, Run};
pub use behaviour::{Behaviour, Corrupt, Dialect, Encryption, Metadata, Unchoke};
pub use hashes::Hashes;
pub(super) use hashes::requests;

/// Its number for `ut_metadata`.
const METADATA_ID: u8 = 9;
const REDIAL_TOKEN: u64 = 1;
/// How long it waits for blocks that it asked for before it gives the stream up.
const PATIENCE: Duration = Duration::from_secs(120);
const PATIENCE_TOKEN: u64 = 2;

/// How much a peer has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Streams on which handshakes were exchanged.
    pub greeted: u64,
    /// Blocks sent as they should be.
    pub good_blocks: u64,
    /// Blocks sent with wrong bytes.
    pub bad_blocks: u64,
    /// Blocks received.
    pub received_blocks: u64,
    /// Requests received.
    pub requests: u64,
    /// Cancels received.
    pub cancels: u64,
    /// Rejects received.
    pub rejects: u64,
    /// Requests for metadata received.
    pub metadata_requests: u64,
    /// Streams on which they were exchanged that are encrypted.
    pub encrypted: u64,
    /// Streams of v2 on which handshakes were exchanged.
    pub greeted_v2: u64,
    /// Requests for hashes received.
    pub hash_requests: u64,
    /// Answers to them that were not true.
    pub false_hashes: u64,
    /// Hashes that it asked for and got.
    pub proven: u64,
    /// Requests for hashes that were rejected.
    pub hash_rejects: u64,
}

/// A peer.
#[derive(Debug)]
pub struct Peer {
    content: Arc<Content>,
    behaviour: Behaviour,
    dice: Dice,
    peer_id: [u8; 20],
    links: BTreeMap<EndId, Link>,
    /// Whom it dialled, and whom it will dial again because the stream ended.
    dialled: BTreeMap<EndId, SocketAddr>,
    lost: VecDeque<SocketAddr>,
    /// Streams that it opened.
    dials: u64,
    has: Bitfield,
    /// Blocks received of pieces that are not complete.
    blocks: BTreeSet<Run>,
    /// Blocks asked for anywhere.
    asked: BTreeSet<Run>,
    /// Requests for hashes that were answered, on any connection.
    hashes_answered: BTreeSet<HashRun>,
    flapped_open: bool,
    gone: bool,
    counts: Counts,
}

#[derive(Debug)]
struct Link {
    reader: Reader,
    greeted: bool,
    fast: bool,
    remote_has: Bitfield,
    remote_choking: bool,
    remote_interested: bool,
    /// The remote's number for `ut_metadata`.
    remote_metadata: Option<u8>,
    choking: bool,
    interested: bool,
    asked: BTreeSet<Run>,
    /// A block came since patience was looked at.
    served: bool,
    /// Whether it is of v2 (BEP 52).
    v2: bool,
    /// Requests for hashes that were not answered yet.
    hashes_asked: BTreeSet<HashRun>,
}

impl Peer {
    /// A peer of this torrent. `label` names its stream of randomness and its peer id.
    pub fn new(seed: u64, label: &str, content: &Arc<Content>, behaviour: Behaviour) -> Self {
        let mut dice = Dice::new(seed, label);
        let mut peer_id = *b"-SC0001-............";
        peer_id[8..].copy_from_slice(&dice.bytes(12));
        let pieces = content.pieces();
        let has = if behaviour.seed { Bitfield::full(pieces) } else { Bitfield::new(pieces) };
        Peer {
            content: content.clone(),
            behaviour,
            dice,
            peer_id,
            links: BTreeMap::new(),
            dialled: BTreeMap::new(),
            lost: VecDeque::new(),
            dials: 0,
            has,
            blocks: BTreeSet::new(),
            asked: BTreeSet::new(),
            hashes_answered: BTreeSet::new(),
            flapped_open: true,
            gone: false,
            counts: Counts::default(),
        }
    }

    /// How much it has done.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether it has everything.
    pub fn is_complete(&self) -> bool {
        self.has.is_all()
    }

    fn lets_download(&self) -> bool {
        match self.behaviour.unchoke {
            Unchoke::Always => true,
            Unchoke::Never => false,
            Unchoke::Flap(_) => self.flapped_open,
        }
    }

    fn open(&mut self, io: &mut Io<'_, '_>, end: EndId, dialled: bool) {
        if self.gone {
            return io.reset(end);
        }
        let link = Link {
            reader: Reader::new(),
            greeted: false,
            fast: false,
            remote_has: Bitfield::new(self.content.pieces()),
            remote_choking: true,
            remote_interested: false,
            remote_metadata: None,
            choking: true,
            interested: false,
            asked: BTreeSet::new(),
            served: false,
            v2: false,
            hashes_asked: BTreeSet::new(),
        };
        self.links.insert(end, link);
        if let Some(mse) = self.endpoint(dialled) {
            io.encrypt(end, mse);
        }
        if dialled {
            io.write(end, self.hello(None).to_bytes());
        }
    }

    /// What a stream passes through, if it is encrypted.
    fn endpoint(&mut self, dialled: bool) -> Option<Endpoint> {
        let dials = self.dials;
        self.dials += u64::from(dialled);
        let (encrypts, takes_plain) = match self.behaviour.encryption {
            Encryption::Off | Encryption::Refuses => return None,
            Encryption::Takes => (!dialled, true),
            Encryption::Prefers => (!dialled || dials.is_multiple_of(2), true),
            Encryption::Requires => (true, false),
        };
        if !encrypts {
            return None;
        }
        let dice = Dice::new(self.dice.between(0..=u64::MAX), "mse");
        let methods = if takes_plain { mse::PLAIN | mse::RC4 } else { mse::RC4 };
        if dialled {
            return Some(Endpoint::dial(dice, self.hello(None).infohash, methods));
        }
        // Whoever names the one of a hybrid that it does not know is hung up on by the handshake.
        Some(Endpoint::accept(dice, self.content.short_names(), methods, takes_plain))
    }

    /// What it says first, or in answer to this.
    fn hello(&self, theirs: Option<&Hello>) -> Hello {
        let Behaviour { fast, extended, dialect, .. } = self.behaviour;
        let (v1, v2) = (self.content.infohash(), self.content.short_v2());
        let holds = self.behaviour.encryption == Encryption::Requires;
        let upgrades =
            theirs.is_some_and(|theirs| theirs.v2() && dialect == Dialect::Both && !holds);
        let infohash = match theirs {
            Some(theirs) if !upgrades => InfoHash(theirs.infohash),
            None if dialect != Dialect::V2 => v1,
            _ => v2.unwrap_or(v1),
        };
        let hello = Hello::new(infohash.0, self.peer_id, fast, extended);
        let is_hybrid = self.content.kind() == Kind::Hybrid;
        if is_hybrid && dialect != Dialect::V1 { hello.with_v2() } else { hello }
    }

    /// Whether it has a torrent of that name.
    fn knows(&self, infohash: InfoHash) -> bool {
        if self.content.kind() != Kind::Hybrid {
            return infohash == self.content.infohash();
        }
        let is_v2 = self.content.short_v2() == Some(infohash);
        match self.behaviour.dialect {
            Dialect::Both => self.content.is_named(infohash),
            Dialect::V1 => infohash == self.content.infohash(),
            Dialect::V2 => is_v2,
        }
    }

    fn bytes(&mut self, io: &mut Io<'_, '_>, end: EndId, data: &[u8]) {
        let Some(link) = self.links.get_mut(&end) else { return };
        let mut reader = std::mem::take(&mut link.reader);
        reader.feed(data);
        loop {
            match reader.try_next() {
                Ok(Some(Item::Hello(hello))) => self.greet(io, end, hello),
                Ok(Some(Item::Msg(message))) => self.message(io, end, message),
                Ok(None) => break,
                Err(_) if self.hangs_up_on_mse(end) => {
                    io.reset(end);
                    return self.over(io, end);
                }
                Err(why) => {
                    io.complain(format!("got what is no peer protocol: {why}"));
                    return io.reset(end);
                }
            }
        }
        if let Some(link) = self.links.get_mut(&end) {
            link.reader = reader;
        }
    }

    /// Whether what comes may be MSE, of which it does not know.
    fn hangs_up_on_mse(&self, end: EndId) -> bool {
        let is_new = self.links.get(&end).is_some_and(|link| !link.greeted);
        is_new && !end.has_dialled() && self.behaviour.encryption == Encryption::Refuses
    }

    fn greet(&mut self, io: &mut Io<'_, '_>, end: EndId, hello: Hello) {
        let theirs = InfoHash(hello.infohash);
        if !self.knows(theirs) {
            // Of a hybrid one may be called by the name that one does not know.
            if self.content.is_named(theirs) && !end.has_dialled() {
                return io.reset(end);
            }
            return io.complain("got a handshake for another torrent".to_owned());
        }
        let own = self.hello((!end.has_dialled()).then_some(&hello));
        let v2 = self.content.short_v2();
        let of_v2 = [theirs.0, own.infohash].into_iter().any(|hash| v2 == Some(InfoHash(hash)));
        let Some(link) = self.links.get_mut(&end) else { return };
        self.counts.greeted += 1;
        self.counts.encrypted += u64::from(io.is_encrypted(end));
        self.counts.greeted_v2 += u64::from(of_v2);
        link.greeted = true;
        link.v2 = of_v2;
        link.fast = own.fast() && hello.fast();
        let mut out = Vec::new();
        // The accepting side (odd ends) has not greeted yet.
        if !end.has_dialled() {
            out.extend(own.to_bytes());
        }
        let mut lazily = self.has.clone();
        let say = match (link.fast, self.has.is_all(), self.has.is_none()) {
            _ if self.behaviour.lazy => {
                lazily.clear(PieceIndex(0));
                let have = Msg::Have(0).to_bytes();
                [Msg::Bitfield(&lazily.to_bytes()).to_bytes(), have.clone(), have].concat()
            }
            (true, true, _) => Msg::HaveAll.to_bytes(),
            (true, _, true) => Msg::HaveNone.to_bytes(),
            (false, _, true) => Vec::new(),
            _ => Msg::Bitfield(&self.has.to_bytes()).to_bytes(),
        };
        out.extend(say);
        if own.extended() && hello.extended() {
            let size = match self.behaviour.metadata {
                Metadata::No => None,
                Metadata::Claims(size) => Some(size),
                _ => Some(self.content.info_bytes().len() as i64),
            };
            let ids = size.map(|_| ("ut_metadata", Value::Int(METADATA_ID.into())));
            let handshake = [("m", Value::dict(ids))]
                .into_iter()
                .chain(size.map(|size| ("metadata_size", Value::Int(size))))
                .chain([("reqq", Value::Int(250)), ("v", Value::bytes("script 1"))]);
            let handshake = Value::dict(handshake);
            out.extend(Msg::Extended { id: 0, payload: &handshake.to_bytes() }.to_bytes());
        }
        io.write(end, out);
        self.begin_hashes(io, end);
    }

    fn message(&mut self, io: &mut Io<'_, '_>, end: EndId, message: Msg<'_>) {
        let pieces = self.content.pieces();
        let lets_download = self.lets_download();
        let Some(link) = self.links.get_mut(&end) else { return };
        match message {
            Msg::Choke => {
                link.remote_choking = true;
                if !link.fast {
                    let asked = std::mem::take(&mut link.asked);
                    self.asked.retain(|run| !asked.contains(run));
                }
            }
            Msg::Unchoke => link.remote_choking = false,
            Msg::Interested | Msg::NotInterested => {
                link.remote_interested = message == Msg::Interested;
                if link.remote_interested && link.choking && lets_download {
                    link.choking = false;
                    io.write(end, Msg::Unchoke.to_bytes());
                }
            }
            Msg::Have(piece) => drop(link.remote_has.set(PieceIndex(piece))),
            Msg::Bitfield(bits) => {
                link.remote_has = Bitfield::from_bytes(bits, pieces).unwrap_or_default();
            }
            Msg::HaveAll => link.remote_has = Bitfield::full(pieces),
            Msg::Request(run) => self.serve(io, end, run),
            Msg::Cancel(_) => self.counts.cancels += 1,
            Msg::Reject(run) => {
                self.counts.rejects += 1;
                link.asked.remove(&run);
                self.asked.remove(&run);
            }
            Msg::Extended { id: 0, payload } => {
                let said = Value::parse(payload).ok();
                let m = said.as_ref().and_then(|said| said.get("m"));
                let id = m.and_then(|m| m.get("ut_metadata")).and_then(Value::as_int);
                link.remote_metadata = id.map(|id| id as u8);
                let dont_have = m.and_then(|m| m.get("lt_donthave")).and_then(Value::as_int);
                for piece in 0..self.behaviour.loses {
                    self.has.clear(PieceIndex(piece));
                    let payload = piece.to_be_bytes();
                    let id = dont_have.unwrap_or(0) as u8;
                    io.write(end, Msg::Extended { id, payload: &payload }.to_bytes());
                }
                if let Metadata::Floods(times) = self.behaviour.metadata {
                    (0..times).for_each(|_| self.give_metadata(io, end, 0));
                }
            }
            Msg::Extended { id: METADATA_ID, payload } => {
                let said = Value::parse_prefix(payload);
                let number = |key| said.as_ref().and_then(|(said, _)| said.get(key)?.as_int());
                if let (Some(0), Some(piece)) = (number("msg_type"), number("piece")) {
                    self.counts.metadata_requests += 1;
                    self.give_metadata(io, end, piece as usize);
                }
            }
            Msg::Piece { piece, begin, data } => self.take(io, end, piece, begin, data),
            Msg::HashRequest(_) | Msg::Hashes { .. } | Msg::HashReject(_) => {
                self.talk_of_hashes(io, end, &message);
            }
            _ => {}
        }
        self.fetch(io, end);
    }

    fn serve(&mut self, io: &mut Io<'_, '_>, end: EndId, run: Run) {
        self.counts.requests += 1;
        let served = self.counts.good_blocks + self.counts.bad_blocks;
        if self.behaviour.stall_after.is_some_and(|most| served >= most) {
            return;
        }
        let Some(link) = self.links.get(&end) else { return };
        let data = self.content.run(run.piece, run.begin, run.length);
        let Some(data) = data.filter(|_| self.has.has(PieceIndex(run.piece)) && !link.choking)
        else {
            if link.fast {
                io.write(end, Msg::Reject(run).to_bytes());
            }
            return;
        };
        let wrong = match self.behaviour.corrupt {
            Corrupt::Never => false,
            Corrupt::Always => true,
            Corrupt::FirstOfPiece => run.begin == 0,
            Corrupt::EverySecondPiece(first) => run.piece % 2 == first % 2,
            Corrupt::PerMille(per_mille) => self.dice.chance(per_mille),
        };
        let mut data = data.to_vec();
        if wrong {
            let at = self.dice.index(data.len());
            data[at] ^= 0xff;
            self.counts.bad_blocks += 1;
        } else {
            self.counts.good_blocks += 1;
        }
        let Run { piece, begin, .. } = run;
        for _ in 0..self.behaviour.copies {
            io.write(end, Msg::Piece { piece, begin, data: &data }.to_bytes());
        }
        if self.behaviour.vanish_after.is_some_and(|most| served + 1 >= most) {
            self.vanish(io);
        }
    }

    /// Answers a request for metadata, in its manner.
    fn give_metadata(&mut self, io: &mut Io<'_, '_>, end: EndId, piece: usize) {
        let Some(id) = self.links.get(&end).and_then(|link| link.remote_metadata) else { return };
        let info = self.content.info_bytes();
        let from = info.len().min(piece * 16_384);
        let mut data = info[from..info.len().min(from + 16_384)].to_vec();
        let mut kind = 1;
        match self.behaviour.metadata {
            Metadata::No | Metadata::Stalls => return,
            Metadata::Garbage => data.iter_mut().for_each(|byte| *byte ^= 0x55),
            Metadata::Rejects => (kind, data) = (2, Vec::new()),
            Metadata::Gives | Metadata::Claims(_) | Metadata::Floods(_) => {}
        }
        let header = Value::dict([
            ("msg_type", Value::Int(kind)),
            ("piece", Value::Int(piece as i64)),
            ("total_size", Value::Int(info.len() as i64)),
        ]);
        let payload = [header.to_bytes(), data].concat();
        io.write(end, Msg::Extended { id, payload: &payload }.to_bytes());
    }

    fn vanish(&mut self, io: &mut Io<'_, '_>) {
        self.gone = true;
        for end in std::mem::take(&mut self.links).into_keys() {
            io.reset(end);
        }
    }

    fn take(&mut self, io: &mut Io<'_, '_>, end: EndId, piece: u32, begin: u32, data: &[u8]) {
        let run = Run { piece, begin, length: data.len() as u32 };
        // That an engine sends right bytes is judged at the engine, whose disk may rot.
        let right = self.content.run(piece, begin, run.length).as_deref() == Some(data);
        let Some(link) = self.links.get_mut(&end) else { return };
        if !link.asked.remove(&run) {
            // BEP 3: possible "if choke and unchoke messages are sent in quick succession"; not
            // with BEP 6, where a choke takes no request back.
            if link.fast {
                io.complain(format!("got {run}, which it did not ask for"));
            }
            return;
        }
        link.served = true;
        self.asked.remove(&run);
        if !right {
            return;
        }
        self.counts.received_blocks += 1;
        self.blocks.insert(run);
        let there = self.blocks.iter().filter(|block| block.piece == piece).count();
        let wanted = self.behaviour.dialect.wants(&self.content, piece);
        if there == wanted.div_ceil(BLOCK_LEN) as usize {
            self.blocks.retain(|block| block.piece != piece);
            self.has.set(PieceIndex(piece));
            for (end, link) in &self.links {
                if link.greeted {
                    io.write(*end, Msg::Have(piece).to_bytes());
                }
            }
        }
    }

    /// Shows interest and asks for blocks.
    fn fetch(&mut self, io: &mut Io<'_, '_>, end: EndId) {
        let Some(link) = self.links.get_mut(&end).filter(|_| self.behaviour.pipeline > 0) else {
            return;
        };
        let wants = |piece: &PieceIndex| !self.has.has(*piece);
        let interesting = link.remote_has.iter().any(|piece| wants(&piece));
        if interesting != link.interested {
            link.interested = interesting;
            let say = if interesting { Msg::Interested } else { Msg::NotInterested };
            io.write(end, say.to_bytes());
        }
        if link.remote_choking || !interesting {
            return;
        }
        let candidates = link.remote_has.iter().filter(wants).flat_map(|piece| {
            let length = self.behaviour.dialect.wants(&self.content, piece.0);
            (0..length.div_ceil(BLOCK_LEN)).map(move |block| {
                let begin = block * BLOCK_LEN;
                Run { piece: piece.0, begin, length: BLOCK_LEN.min(length - begin) }
            })
        });
        let room = self.behaviour.pipeline.saturating_sub(link.asked.len());
        let next: Vec<Run> = candidates
            .filter(|run| !self.asked.contains(run) && !self.blocks.contains(run))
            .take(room)
            .collect();
        for run in next {
            let Some(link) = self.links.get_mut(&end) else { return };
            link.asked.insert(run);
            self.asked.insert(run);
            io.write(end, Msg::Request(run).to_bytes());
            self.ask_leaves(io, end, run);
        }
    }

    /// Takes the choke off everybody who is interested, or puts it on everybody.
    fn flap(&mut self, io: &mut Io<'_, '_>) {
        let Unchoke::Flap(turn) = self.behaviour.unchoke else { return };
        self.flapped_open = !self.flapped_open;
        for (end, link) in &mut self.links {
            if self.flapped_open && link.remote_interested && link.choking {
                link.choking = false;
                io.write(*end, Msg::Unchoke.to_bytes());
            } else if !self.flapped_open && !link.choking {
                link.choking = true;
                io.write(*end, Msg::Choke.to_bytes());
            }
        }
        io.wake_after(turn, 0);
    }
}

impl Script for Peer {
    fn handle(&mut self, io: &mut Io<'_, '_>, happening: Happening) {
        match happening {
            Happening::Datagram { .. } => {}
            Happening::Start => {
                for to in self.behaviour.dial.clone() {
                    self.dialled.insert(io.dial(to), to);
                }
                if let Unchoke::Flap(turn) = self.behaviour.unchoke {
                    io.wake_after(turn, 0);
                }
                if self.behaviour.pipeline > 0 {
                    io.wake_after(PATIENCE, PATIENCE_TOKEN);
                }
            }
            Happening::Open { end, port, .. } => self.open(io, end, port.is_none()),
            Happening::Bytes { end, data } => self.bytes(io, end, &data),
            Happening::Over { end } => self.over(io, end),
            Happening::Woken { token: PATIENCE_TOKEN } => self.lose_patience(io),
            Happening::Woken { token: REDIAL_TOKEN } => {
                if let Some(to) = self.lost.pop_front() {
                    self.dialled.insert(io.dial(to), to);
                }
            }
            Happening::Woken { .. } => self.flap(io),
        }
    }
}

impl Peer {
    fn over(&mut self, io: &mut Io<'_, '_>, end: EndId) {
        if let Some(link) = self.links.remove(&end) {
            self.asked.retain(|run| !link.asked.contains(run));
        }
        if let Some(to) = self.dialled.remove(&end).filter(|_| !self.gone) {
            self.lost.push_back(to);
            io.wake_after(self.behaviour.redial, REDIAL_TOKEN);
        }
        let others: Vec<EndId> = self.links.keys().copied().collect();
        others.into_iter().for_each(|end| self.fetch(io, end));
    }

    /// Gives up streams on which nothing came of what was asked for.
    fn lose_patience(&mut self, io: &mut Io<'_, '_>) {
        let hopeless =
            |link: &mut Link| !link.asked.is_empty() && !std::mem::take(&mut link.served);
        let ends: Vec<EndId> = self
            .links
            .iter_mut()
            .filter_map(|(end, link)| hopeless(link).then_some(*end))
            .collect();
        for end in ends {
            io.reset(end);
            self.over(io, end);
        }
        io.wake_after(PATIENCE, PATIENCE_TOKEN);
    }
}
