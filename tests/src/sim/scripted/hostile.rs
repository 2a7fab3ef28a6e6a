//! A peer that does not keep to the protocol, in another way on each connection.
//!
//! Every connection draws one `Act` and plays it: once at the handshake, then at every tick until
//! the stream is over. It dials those whom it is told to, again and again. What it sends is bounded
//! by its ticks, so that a run ends. Nothing it does may hurt anybody but itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use bitswarm_core::piece::BLOCK_LEN;
use bitswarm_core::time::Duration;

use super::mse::{Endpoint, Lie};
use super::timers::Timers;
use super::{Happening, Io, Script};
use crate::sim::bencode::Value;
use crate::sim::content::{Content, Kind};
use crate::sim::dice::Dice;
use crate::sim::mse;
use crate::sim::network::EndId;
use crate::sim::peer_wire::{HashRun, Hello, Item, Msg, Reader, Run};

/// What it does on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// Nothing, not even a handshake.
    Mute,
    /// The handshake byte by byte, and then some of a message.
    SlowLoris,
    /// Random bytes instead of a handshake.
    Noise,
    /// A handshake for another torrent.
    OtherTorrent,
    /// What it hears, back.
    Mirror,
    /// The handshake, and the end of its own direction.
    HalfClose,
    /// A length of 4 GiB, or 64 MiB, or one byte too many.
    ExtremeLength,
    /// Messages of unknown kinds and of wrong lengths.
    Malformed,
    /// Pieces that do not exist: have, request, cancel, suggest, allowed fast, reject, block.
    OutOfRange,
    /// Claims everything and serves nothing.
    LyingBitfield,
    /// Claims everything and rejects every request.
    Rejects,
    /// A bitfield at the wrong moment, twice, or of the wrong length.
    OddBitfield,
    /// Blocks that nobody asked for.
    Unsolicited,
    /// Requests without end, whatever is answered, and reads nothing.
    RequestFlood,
    /// Have for the same pieces again and again.
    HaveSpam,
    /// Interest on and off.
    InterestFlaps,
    /// Choke on and off.
    ChokeFlaps,
    /// Keep-alives without end.
    KeepAlives,
    /// Extension handshakes, some malformed, some huge.
    Extended,
    /// The stream is reset right after the handshake, and opened again.
    Reconnects,
    /// Hash requests without end: some that can be answered, some of odd numbers, some of no file.
    HashFlood,
    /// The same, and reads no answer.
    DeafHashFlood,
    /// Hashes that nobody asked for, and rejects of requests that were not made.
    UnsolicitedHashes,
    /// Messages about hashes of wrong lengths.
    MalformedHashes,
    /// MSE that is wrong in one point.
    Mse(Lie),
    /// The same that is right, a handshake, and nothing more.
    MseNoise,
}

const ACTS: [Act; 20] = [
    Act::Mute,
    Act::SlowLoris,
    Act::Noise,
    Act::OtherTorrent,
    Act::Mirror,
    Act::HalfClose,
    Act::ExtremeLength,
    Act::Malformed,
    Act::OutOfRange,
    Act::LyingBitfield,
    Act::Rejects,
    Act::OddBitfield,
    Act::Unsolicited,
    Act::RequestFlood,
    Act::HaveSpam,
    Act::InterestFlaps,
    Act::ChokeFlaps,
    Act::KeepAlives,
    Act::Extended,
    Act::Reconnects,
];

/// Those against torrents of v2, besides.
const ACTS_V2: [Act; 4] =
    [Act::HashFlood, Act::DeafHashFlood, Act::UnsolicitedHashes, Act::MalformedHashes];

/// Streams that it opens at once (chosen).
const DIALS: u32 = 2;

/// Ticks that a connection is played at most (chosen).
const MOST_TICKS: u32 = 40;

/// A hostile peer.
#[derive(Debug)]
pub struct Hostile {
    content: Arc<Content>,
    dice: Dice,
    targets: Vec<SocketAddr>,
    plays: BTreeMap<EndId, Play>,
    /// The connections that wait for their tick.
    timers: Timers<EndId>,
    /// Those that it dialled.
    dialled: BTreeSet<EndId>,
    /// Connections so far.
    connections: u64,
    /// Plays these only.
    acts: Vec<Act>,
    /// Hash requests that it made, and answers that it heard.
    hash_requests: u64,
    hash_answers: u64,
}

#[derive(Debug)]
struct Play {
    act: Act,
    ticks: u32,
    every: Duration,
    /// What it hears, if it plays with hashes.
    reader: Reader,
}

impl Hostile {
    /// One that is after these targets.
    pub fn new(seed: u64, label: &str, content: &Arc<Content>, targets: Vec<SocketAddr>) -> Self {
        Hostile {
            content: content.clone(),
            dice: Dice::new(seed, label),
            targets,
            plays: BTreeMap::new(),
            timers: Timers::default(),
            dialled: BTreeSet::new(),
            connections: 0,
            acts: if content.kind() == Kind::V1 {
                ACTS.to_vec()
            } else {
                // As often as all others together.
                let with_hashes = ACTS_V2.iter().cycle().take(ACTS.len());
                ACTS.iter().chain(with_hashes).copied().collect()
            },
            hash_requests: 0,
            hash_answers: 0,
        }
    }

    /// One that does nothing but ask for hashes without end, and reads the answers or not.
    pub fn hash_flood(mut self, reads: bool) -> Self {
        self.acts = vec![if reads { Act::HashFlood } else { Act::DeafHashFlood }];
        self
    }

    /// One that does nothing but send hashes that nobody asked for.
    pub fn unsolicited_hashes(mut self) -> Self {
        self.acts = vec![Act::UnsolicitedHashes];
        self
    }

    /// One that encrypts, too, as often as not, and mostly wrongly.
    pub fn encrypting(mut self) -> Self {
        let lies = Lie::ALL.map(Act::Mse);
        let acts: Vec<Act> = lies.into_iter().chain([Act::MseNoise]).collect();
        let count = self.acts.len();
        self.acts.extend(acts.into_iter().cycle().take(count));
        self
    }

    /// One that does nothing but encrypt wrongly.
    pub fn lying_about_encryption(mut self) -> Self {
        self.acts = Lie::ALL.map(Act::Mse).to_vec();
        self
    }

    /// How many hash requests it made, and how many answers of either kind it heard.
    pub fn hash_counts(&self) -> (u64, u64) {
        (self.hash_requests, self.hash_answers)
    }

    /// How many connections it has had.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    fn dial(&mut self, io: &mut Io<'_, '_>) {
        if !self.targets.is_empty() {
            let at = self.dice.index(self.targets.len());
            self.dialled.insert(io.dial(self.targets[at]));
        }
    }

    fn open(&mut self, io: &mut Io<'_, '_>, end: EndId) {
        self.connections += 1;
        let act = self.acts[self.dice.index(self.acts.len())];
        let fast = self.dice.chance(500);
        let every = Duration::from_millis(1 << self.dice.between(4..=12));
        self.plays.insert(end, Play { act, ticks: 0, every, reader: Reader::new() });
        let hello = self.hello(act, fast);
        if let Some(mse) = self.endpoint(act, end) {
            io.encrypt(end, mse);
        }
        match act {
            Act::Mute | Act::SlowLoris => {}
            Act::Noise => {
                let length = 1 + self.dice.index(500);
                io.write(end, self.dice.bytes(length));
            }
            Act::HalfClose => {
                io.write(end, hello);
                io.half_close(end);
            }
            _ => {
                let opening = self.opening(act, fast);
                io.write(end, [hello, opening].concat());
            }
        }
        if matches!(act, Act::RequestFlood | Act::DeafHashFlood) {
            io.read(end, false);
        }
        self.timers.set(io, every, end);
    }

    /// What the stream passes through, if it is encrypted.
    fn endpoint(&mut self, act: Act, end: EndId) -> Option<Endpoint> {
        let lie = match act {
            Act::Mse(lie) => Some(lie),
            Act::MseNoise => None,
            _ => return None,
        };
        let (dice, skey) = (self.dice.between(0..=u64::MAX), self.content.infohash().0);
        let (dice, both) = (Dice::new(dice, "mse"), mse::PLAIN | mse::RC4);
        let endpoint = match end.has_dialled() {
            true => Endpoint::dial(dice, skey, both),
            false => Endpoint::accept(dice, self.content.short_names(), both, true),
        };
        Some(match lie {
            Some(lie) => endpoint.lying(lie),
            None => endpoint,
        })
    }

    fn hello(&mut self, act: Act, fast: bool) -> Vec<u8> {
        let mut infohash = self.content.infohash().0;
        if act == Act::OtherTorrent {
            infohash[0] ^= 1;
        }
        let mut peer_id = *b"-XX0000-............";
        peer_id[8..].copy_from_slice(&self.dice.bytes(12));
        match (self.content.kind(), self.content.short_v2()) {
            (Kind::Hybrid, Some(v2)) if act != Act::OtherTorrent => match self.dice.index(4) {
                0 => Hello::new(infohash, peer_id, fast, true),
                1 => Hello::new(v2.0, peer_id, fast, true),
                2 => Hello::new(v2.0, peer_id, fast, true).with_v2(),
                _ => Hello::new(infohash, peer_id, fast, true).with_v2(),
            },
            _ => Hello::new(infohash, peer_id, fast, true),
        }
        .to_bytes()
    }

    /// What is said about pieces at the beginning.
    fn opening(&mut self, act: Act, fast: bool) -> Vec<u8> {
        let pieces = self.content.pieces() as usize;
        let claims = matches!(act, Act::LyingBitfield | Act::Rejects | Act::ChokeFlaps);
        let full = {
            let mut bits = vec![0xff; pieces.div_ceil(8)];
            if let Some(last) = bits.last_mut().filter(|_| !pieces.is_multiple_of(8)) {
                *last = 0xff << (8 - pieces % 8);
            }
            bits
        };
        match (act, fast) {
            (Act::OddBitfield, _) => {
                let length = self.dice.index(2 * full.len() + 2);
                let odd = Msg::Bitfield(&self.dice.bytes(length)).to_bytes();
                [Msg::HaveAll.to_bytes(), odd].concat()
            }
            (_, true) if claims => [Msg::HaveAll.to_bytes(), Msg::Unchoke.to_bytes()].concat(),
            (_, false) if claims => {
                [Msg::Bitfield(&full).to_bytes(), Msg::Unchoke.to_bytes()].concat()
            }
            (_, true) => Msg::HaveNone.to_bytes(),
            (_, false) => Vec::new(),
        }
    }

    fn tick(&mut self, io: &mut Io<'_, '_>, end: EndId) {
        let Some(play) = self.plays.get_mut(&end) else { return };
        play.ticks += 1;
        let (act, ticks, every) = (play.act, play.ticks, play.every);
        if ticks > MOST_TICKS && act != Act::Mute {
            io.reset(end);
            return self.over(io, end);
        }
        let bytes = self.line(act, ticks);
        if !bytes.is_empty() {
            io.write(end, bytes);
        }
        if act == Act::Reconnects {
            io.reset(end);
            return self.over(io, end);
        }
        self.timers.set(io, every, end);
    }

    /// What is said at a tick.
    fn line(&mut self, act: Act, ticks: u32) -> Vec<u8> {
        let run = self.run();
        match act {
            Act::SlowLoris => vec![if ticks == 1 { 0x13 } else { b'B' }],
            Act::ExtremeLength => {
                let length = [u32::MAX, 64 << 20, BLOCK_LEN + 10, 1 << 20][self.dice.index(4)];
                let mut bytes = length.to_be_bytes().to_vec();
                bytes.push(self.dice.between(0..=21) as u8);
                bytes.extend(self.dice.bytes(100));
                bytes
            }
            Act::Malformed => {
                let length = self.dice.between(1..=20) as u32;
                let mut bytes = length.to_be_bytes().to_vec();
                bytes.push(self.dice.between(0..=255) as u8);
                bytes.extend(self.dice.bytes(length as usize - 1));
                bytes
            }
            Act::OutOfRange => self.out_of_range(),
            Act::OddBitfield => Msg::Bitfield(&[0xff, 0xff]).to_bytes(),
            Act::Unsolicited => {
                let data = self.dice.bytes(run.length as usize);
                Msg::Piece { piece: run.piece, begin: run.begin, data: &data }.to_bytes()
            }
            Act::RequestFlood => {
                let mut bytes = Msg::Interested.to_bytes();
                for _ in 0..100 {
                    bytes.extend(Msg::Request(self.run()).to_bytes());
                }
                bytes
            }
            Act::HaveSpam => Msg::Have(run.piece).to_bytes().repeat(100),
            Act::InterestFlaps => {
                [Msg::Interested.to_bytes(), Msg::NotInterested.to_bytes()].concat().repeat(20)
            }
            Act::ChokeFlaps => [Msg::Choke.to_bytes(), Msg::Unchoke.to_bytes()].concat().repeat(5),
            Act::KeepAlives => vec![0; 400],
            Act::Extended => self.extended(),
            Act::Rejects => Msg::Reject(run).to_bytes(),
            Act::HashFlood | Act::DeafHashFlood => {
                self.hash_requests += 100;
                (0..100).flat_map(|_| Msg::HashRequest(self.hash_run()).to_bytes()).collect()
            }
            Act::UnsolicitedHashes => {
                let run = self.hash_run();
                let count = self.dice.index(577);
                let hashes = self.dice.bytes(count * 32);
                let hashes = Msg::Hashes { run, hashes: &hashes }.to_bytes();
                [hashes, Msg::HashReject(self.hash_run()).to_bytes()].concat()
            }
            Act::MalformedHashes => {
                let length = self.dice.between(1..=200) as u32;
                let id = self.dice.between(21..=23) as u8;
                let body = self.dice.bytes(length as usize - 1);
                [&length.to_be_bytes()[..], &[id], &body].concat()
            }
            _ => Vec::new(),
        }
    }

    /// Hashes of a file, or some of whose numbers are odd.
    fn hash_run(&mut self) -> HashRun {
        let runs = super::peer::requests(&self.content);
        let mut run = match runs.is_empty() {
            false => runs[self.dice.index(runs.len())],
            true => HashRun {
                pieces_root: [0; 32],
                base_layer: 0,
                index: 0,
                length: 2,
                proof_layers: 0,
            },
        };
        let number = [0, 1, 3, 1 << 9, 1 << 10, 1 << 31, u32::MAX][self.dice.index(7)];
        match self.dice.index(10) {
            0 => run.pieces_root[self.dice.index(32)] ^= 1,
            1 => run.base_layer = number,
            2 => run.index = number,
            3 => run.length = number,
            4 => run.proof_layers = number,
            _ => {}
        }
        run
    }

    /// Counts the answers to its hash requests.
    fn hear_hashes(&mut self, end: EndId, data: &[u8]) {
        let Some(play) = self.plays.get_mut(&end) else { return };
        play.reader.feed(data);
        while let Ok(Some(item)) = play.reader.try_next() {
            let is_answer = matches!(item, Item::Msg(Msg::Hashes { .. } | Msg::HashReject(_)));
            self.hash_answers += u64::from(is_answer);
        }
    }

    fn run(&mut self) -> Run {
        let piece = self.dice.index(self.content.pieces() as usize) as u32;
        let block = self.dice.index(self.content.blocks_of(piece) as usize) as u32;
        let begin = block * BLOCK_LEN;
        let length = BLOCK_LEN.min(self.content.piece(piece).len() as u32 - begin);
        Run { piece, begin, length }
    }

    fn out_of_range(&mut self) -> Vec<u8> {
        let pieces = self.content.pieces();
        let piece = [pieces, u32::MAX, pieces + 7, 0][self.dice.index(4)];
        let begin = [0, u32::MAX, 1 << 31, 17][self.dice.index(4)];
        let length = [u32::MAX, 0, 1 << 31, (128 << 10) + 1][self.dice.index(4)];
        let run = Run { piece, begin, length };
        match self.dice.index(7) {
            0 => Msg::Have(pieces),
            1 => Msg::Request(run),
            2 => Msg::Cancel(run),
            3 => Msg::Suggest(piece),
            4 => Msg::AllowedFast(piece),
            5 => Msg::Reject(run),
            _ => Msg::Piece { piece, begin, data: b"nothing" },
        }
        .to_bytes()
    }

    fn extended(&mut self) -> Vec<u8> {
        let payload = match self.dice.index(5) {
            0 => b"d".repeat(10_000),
            1 => b"d1:mi-5ee".to_vec(),
            2 => Value::dict([("reqq", Value::Int(-1)), ("v", Value::bytes([0x1b; 4000]))])
                .to_bytes(),
            3 => Value::dict([("reqq", Value::Int(0)), ("m", Value::dict([]))]).to_bytes(),
            _ => vec![b'i'; 30_000],
        };
        Msg::Extended { id: self.dice.between(0..=3) as u8, payload: &payload }.to_bytes()
    }

    /// A connection is over; whom it dialled, or another, it dials again.
    fn over(&mut self, io: &mut Io<'_, '_>, end: EndId) {
        self.plays.remove(&end);
        if !self.dialled.remove(&end) {
            return;
        }
        let after = Duration::from_millis(self.dice.between(2_000..=60_000));
        io.wake_after(after, 0);
    }
}

impl Script for Hostile {
    fn handle(&mut self, io: &mut Io<'_, '_>, happening: Happening) {
        match happening {
            Happening::Datagram { .. } => {}
            Happening::Start => (0..DIALS).for_each(|_| self.dial(io)),
            Happening::Open { end, .. } => self.open(io, end),
            Happening::Bytes { end, data } => match self.plays.get(&end).map(|play| play.act) {
                Some(Act::Mirror) => io.write(end, data),
                Some(Act::HashFlood) => self.hear_hashes(end, &data),
                Some(Act::Rejects) => {
                    // Whatever was asked for: all of the first piece.
                    let bytes: Vec<u8> =
                        (0..4).flat_map(|_| Msg::Reject(self.run()).to_bytes()).collect();
                    io.write(end, bytes);
                }
                _ => {}
            },
            Happening::Over { end } => self.over(io, end),
            Happening::Woken { token } => match self.timers.take(token) {
                Some(end) => self.tick(io, end),
                None => self.dial(io),
            },
        }
    }
}
