//! A tracker over UDP (BEP 15): one that does everything right, or something else each time.
//!
//! It minds what BEP 15 asks of clients: whole packets, connection ids that it gave to that address
//! and no more than two minutes ago.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use bitswarm_core::time::{Duration, Instant};

use super::tracker::TRACKER_PORT;
use super::{Happening, Io, Script};
use crate::sim::dice::Dice;
use crate::sim::world::PEER_PORT;

/// BEP 15, "connect request".
const PROTOCOL_ID: u64 = 0x0417_2710_1980;
const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;
/// BEP 15: "Trackers should accept the connection ID until two minutes after it has been send."
const ID_LIFETIME: Duration = Duration::from_secs(120);
/// Seconds between announces.
const INTERVAL: u32 = 300;
/// Most peers in an answer (chosen: they fit one packet on Ethernet).
const MOST_PEERS: usize = 200;

/// A tracker.
#[derive(Debug)]
pub struct UdpTracker {
    dice: Dice,
    /// Whether it answers something else each time.
    moody: bool,
    /// Connection ids: to whom, and when.
    given: BTreeMap<u64, (IpAddr, Instant)>,
    swarm: BTreeSet<SocketAddr>,
    announces: u64,
}

/// What a tracker in a bad mood does to one packet.
#[derive(Debug, Clone, Copy)]
enum Mood {
    /// Says nothing.
    Mute,
    /// Answers somebody else's question.
    OtherTransaction,
    /// Answers another question.
    OtherAction,
    /// Cuts its answer off.
    Short,
    /// Answers twice.
    Twice,
    /// Refuses (BEP 15, "errors").
    Error,
    /// Names an interval that is none.
    Interval(u32),
    /// Names peers that are nobody, oneself, or behind port 0, and half of one.
    Lies,
    /// Sends random bytes.
    Noise,
    /// Answers as it should.
    Good,
}

impl UdpTracker {
    /// One that does everything right, or the opposite; `label` names its stream of randomness.
    pub fn new(seed: u64, label: &str, moody: bool) -> Self {
        UdpTracker {
            dice: Dice::new(seed, label),
            moody,
            given: BTreeMap::new(),
            swarm: BTreeSet::new(),
            announces: 0,
        }
    }

    /// Whether a peer is in the swarm: it has announced itself, and has not said that it stops.
    pub fn lists(&self, ip: IpAddr) -> bool {
        self.swarm.iter().any(|peer| peer.ip() == ip)
    }

    /// How many announces came.
    pub fn announces(&self) -> u64 {
        self.announces
    }

    /// The answer to a packet; what is wrong with the packet.
    fn answer(&mut self, now: Instant, from: SocketAddr, data: &[u8]) -> Result<Vec<u8>, String> {
        let broken = |what: &str| Err(format!("sends a tracker {what}: {data:?}"));
        let (Some(id), Some(action), Some(transaction)) =
            (number(data, 0, 8), number(data, 8, 4), number(data, 12, 4))
        else {
            return broken("a packet that is too short");
        };
        let (action, transaction) = (action as u32, transaction as u32);
        let head = |action: u32| [action.to_be_bytes(), transaction.to_be_bytes()].concat();
        if action == CONNECT {
            if id != PROTOCOL_ID {
                return broken("another magic number");
            }
            let given = self.dice.between(0..=u64::MAX - 1);
            self.given.insert(given, (from.ip(), now));
            return Ok([head(CONNECT), given.to_be_bytes().to_vec()].concat());
        }
        match self.given.get(&id) {
            Some((ip, _)) if *ip != from.ip() => return broken("another's connection id"),
            Some((_, at)) if now - *at > ID_LIFETIME => return broken("an old connection id"),
            Some(_) => {}
            None => return broken("a connection id that it was not given"),
        }
        match action {
            ANNOUNCE => {
                let (Some(event), Some(port)) = (number(data, 80, 4), number(data, 96, 2)) else {
                    return broken("an announce that is too short");
                };
                self.announces += 1;
                let peer = SocketAddr::new(from.ip(), port as u16);
                if event == 3 {
                    self.swarm.remove(&peer);
                } else {
                    self.swarm.insert(peer);
                }
                let others = self.swarm.iter().filter(|other| **other != peer);
                let peers = compact(others.take(MOST_PEERS));
                Ok([head(ANNOUNCE), counts(INTERVAL, peers.len() / 6), peers].concat())
            }
            SCRAPE => {
                let torrents = data.len().saturating_sub(16) / 20;
                Ok([head(SCRAPE), vec![0; 12 * torrents]].concat())
            }
            _ => broken("an unknown question"),
        }
    }

    fn spoil(&mut self, good: Vec<u8>, from: SocketAddr) -> Vec<Vec<u8>> {
        let moods = [
            Mood::Mute,
            Mood::OtherTransaction,
            Mood::OtherAction,
            Mood::Short,
            Mood::Twice,
            Mood::Error,
            Mood::Interval([0, 1, u32::MAX][self.dice.index(3)]),
            Mood::Lies,
            Mood::Noise,
            Mood::Good,
            Mood::Good,
        ];
        let head = |action: u32| [&action.to_be_bytes(), &good[4..8]].concat();
        let is_announce = good.get(..4) == Some(&ANNOUNCE.to_be_bytes()[..]);
        vec![match moods[self.dice.index(moods.len())] {
            Mood::Mute => return Vec::new(),
            Mood::Twice => return vec![good.clone(), good],
            Mood::OtherTransaction => {
                let mut bad = good;
                bad[7] ^= 1;
                bad
            }
            Mood::OtherAction => [head([2, 7, u32::MAX][self.dice.index(3)]), vec![0; 40]].concat(),
            Mood::Short => good[..self.dice.index(good.len())].to_vec(),
            Mood::Error => [head(ERROR), b"not today".to_vec()].concat(),
            Mood::Interval(interval) if is_announce => {
                [head(ANNOUNCE), counts(interval, 0)].concat()
            }
            Mood::Lies if is_announce => {
                let zero = SocketAddr::from(([50, 9, 9, 9], 0));
                let oneself = SocketAddr::new(from.ip(), PEER_PORT);
                let inside = SocketAddr::from(([127, 0, 0, 1], 22));
                let peers = compact([zero, oneself, inside].iter());
                [head(ANNOUNCE), counts(1800, 3), peers, vec![50, 9, 9]].concat()
            }
            Mood::Noise => {
                let length = self.dice.index(1400);
                self.dice.bytes(length)
            }
            Mood::Good | Mood::Interval(_) | Mood::Lies => good,
        }]
    }
}

impl Script for UdpTracker {
    fn ports(&self) -> Vec<u16> {
        Vec::new()
    }

    fn datagram_ports(&self) -> Vec<u16> {
        vec![TRACKER_PORT]
    }

    fn handle(&mut self, io: &mut Io<'_, '_>, happening: Happening) {
        let Happening::Datagram { port, from, data } = happening else { return };
        // Of what it sends at random some reads as a packet of a uTP connection that is unknown.
        if self.moody && is_reset(&data) {
            return;
        }
        match self.answer(io.now(), from, &data) {
            Err(broken) => io.complain(format!("hears that {from} {broken}")),
            Ok(answer) => {
                let answers = if self.moody { self.spoil(answer, from) } else { vec![answer] };
                answers.iter().for_each(|answer| io.send_datagram(port, from, answer));
            }
        }
    }
}

/// Whether this is a reset of uTP without extensions (BEP 29): all that is said to what no connection sent.
fn is_reset(data: &[u8]) -> bool {
    data.len() == 20 && data.starts_with(&[0x31, 0])
}

/// Interval, leechers and seeders of an announce's answer.
fn counts(interval: u32, leechers: usize) -> Vec<u8> {
    [interval.to_be_bytes(), (leechers as u32).to_be_bytes(), [0; 4]].concat()
}

fn compact<'a>(peers: impl Iterator<Item = &'a SocketAddr>) -> Vec<u8> {
    let mut compact = Vec::new();
    for peer in peers {
        if let SocketAddr::V4(peer) = peer {
            compact.extend_from_slice(&peer.ip().octets());
            compact.extend_from_slice(&peer.port().to_be_bytes());
        }
    }
    compact
}

/// A number of so many bytes there.
fn number(data: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = data.get(at..at + length)?;
    Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
