//! `ut_pex`: peers tell each other whom they are connected to (BEP 11).
//!
//! [`PexMessage`] is what is said; [`PexOut`] keeps what one peer was told and when it may be told
//! more; [`PexIn`] bounds what one peer's word is taken for (defences 21, 22): a message a minute,
//! few addresses a message, one port an address, nothing that the sender could not itself reach,
//! and few addresses in all. Whether peers are exchanged at all is not decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use crate::bencode::{Document, Limits, Value, encode_dict};
use crate::time::{Duration, Instant};
use crate::wire::Violation;
use crate::wire::extension::Extension;
use crate::wire::message::id;

/// Structure accepted in a message (chosen: real ones have some thirteen items).
const LIMITS: Limits = Limits { depth: 4, items: 64 };
/// Addresses added, and dropped, in one message (BEP 11: "should not exceed 50 entries").
const MOST_TOLD: usize = 50;
/// Between two messages to one peer (BEP 11: "no more than 1 PEX message per minute"; the second
/// more is for clocks that differ).
const INTERVAL: Duration = Duration::from_secs(61);
/// Between two messages of one peer that are read (chosen: less than a minute, since messages may
/// be delayed differently).
const INTERVAL_TAKEN: Duration = Duration::from_secs(45);
/// Messages that are read at once, after silence (chosen).
const BURST: u32 = 2;
/// Messages too many after which a peer counts as flooding (chosen).
const FLOOD: u32 = 20;
/// With fewer connections than this in an address family, peers that were left not long ago are told
/// too, and so many of them are remembered (BEP 11, "filling underpopulated lists").
const UNDERPOPULATED: usize = 25;
/// How long ago is not long ago (chosen).
const RECENT: Duration = Duration::from_secs(600);
/// Addresses taken of one message (chosen: BEP 11 lets the first be longer).
const MOST_TAKEN: usize = 100;
/// Addresses taken of one peer in all that were not known before (chosen).
const MOST_OF_ONE: usize = 200;

use crate::reach::{Namer, may_dial, may_name};
/// What is said of a peer (BEP 11, "flags").
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PexFlags(pub u8);

impl PexFlags {
    /// It prefers encrypted connections.
    pub const ENCRYPTION: u8 = 0x01;
    /// It uploads only.
    pub const SEED: u8 = 0x02;
    /// The sender has dialled it: it can be reached.
    pub const REACHABLE: u8 = 0x10;

    /// Whether it prefers encrypted connections.
    pub fn prefers_encryption(self) -> bool {
        self.0 & Self::ENCRYPTION != 0
    }

    /// Whether it uploads only.
    pub fn is_seed(self) -> bool {
        self.0 & Self::SEED != 0
    }
}

/// Peers that came and went.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PexMessage {
    /// Connected since the last message.
    pub added: Vec<(SocketAddr, PexFlags)>,
    /// Not connected any more.
    pub dropped: Vec<SocketAddr>,
}

impl PexMessage {
    /// Reads the payload of an extension message: at most a hundred addresses of each family, the
    /// first ones.
    pub fn decode(payload: &[u8]) -> Result<Self, Violation> {
        let bad = Violation::BadExtensionMessage { id: Extension::PeerExchange.our_id() };
        let document = Document::parse_prefix(payload, LIMITS).map_err(|_| bad)?;
        let root = document.root();
        if root.as_dict().is_none() {
            return Err(bad);
        }
        let bytes = |key: &str| root.get(key).and_then(Value::as_bytes).unwrap_or(&[]);
        let mut message = PexMessage::default();
        let with_flags = |addrs: Vec<SocketAddr>, flags: &[u8]| -> Vec<(SocketAddr, PexFlags)> {
            let flags = flags.iter().copied().chain(std::iter::repeat(0));
            addrs.into_iter().zip(flags.map(PexFlags)).collect()
        };
        message.added = with_flags(v4(bytes("added")), bytes("added.f"));
        message.added.extend(with_flags(v6(bytes("added6")), bytes("added6.f")));
        message.dropped = v4(bytes("dropped"));
        message.dropped.extend(v6(bytes("dropped6")));
        Ok(message)
    }

    /// The payload of an extension message.
    pub fn encode(&self) -> Bytes {
        let of = |v4: bool| {
            let added = self.added.iter().filter(move |(addr, _)| addr.is_ipv4() == v4);
            let flags: Vec<u8> = added.clone().map(|(_, flags)| flags.0).collect();
            let dropped = self.dropped.iter().filter(move |addr| addr.is_ipv4() == v4);
            (compact(added.map(|(addr, _)| addr)), flags, compact(dropped))
        };
        let bytes = encode_dict(|dict| {
            for (v4, suffix) in [(true, ""), (false, "6")] {
                let (added, flags, dropped) = of(v4);
                dict.bytes(format!("added{suffix}"), added);
                dict.bytes(format!("added{suffix}.f"), flags);
                dict.bytes(format!("dropped{suffix}"), dropped);
            }
        });
        bytes.into()
    }

    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.dropped.is_empty()
    }
}

/// Whom we are connected to, as others may be told, and whom we have left of our own accord because
/// neither side needed the other: seeds know each other only like this.
#[derive(Debug, Default)]
pub struct PexSwarm {
    /// Connected now.
    pub connected: BTreeMap<SocketAddr, PexFlags>,
    left: BTreeMap<SocketAddr, (Instant, PexFlags)>,
}

impl PexSwarm {
    /// We left a peer that worked, for want of anything to do.
    pub fn left(&mut self, now: Instant, addr: SocketAddr, flags: PexFlags) {
        self.left.insert(addr, (now, flags));
        let of_family = |(_, (at, _)): &(&SocketAddr, &(Instant, PexFlags))| *at;
        let family = self.left.iter().filter(|(other, _)| other.is_ipv4() == addr.is_ipv4());
        if family.clone().count() > UNDERPOPULATED
            && let Some(oldest) = family.min_by_key(of_family).map(|(&oldest, _)| oldest)
        {
            self.left.remove(&oldest);
        }
    }

    /// Those that were left not long ago and may be told, since few are connected.
    fn recent(&self, now: Instant) -> impl Iterator<Item = (SocketAddr, PexFlags)> + '_ {
        let connected =
            |v4: bool| self.connected.keys().filter(|addr| addr.is_ipv4() == v4).count();
        let few = [connected(false) < UNDERPOPULATED, connected(true) < UNDERPOPULATED];
        let is_told = move |addr: &SocketAddr| few[usize::from(addr.is_ipv4())];
        let recent = self.left.iter().filter(move |(_, (at, _))| now - *at < RECENT);
        recent
            .filter(move |(addr, _)| is_told(addr) && !self.connected.contains_key(addr))
            .map(|(addr, (_, flags))| (*addr, *flags))
    }
}

/// What one peer was told.
#[derive(Debug, Default)]
pub struct PexOut {
    told: BTreeSet<SocketAddr>,
    /// Of those that were not connected any more: each is told once.
    told_recent: BTreeSet<SocketAddr>,
    next_at: Option<Instant>,
}

impl PexOut {
    /// When the peer may be told more.
    pub fn ready_at(&self) -> Instant {
        self.next_at.unwrap_or(Instant::ZERO)
    }

    /// Whether there is news for the peer.
    pub fn is_behind(&self, now: Instant, swarm: &PexSwarm, to: SocketAddr) -> bool {
        !self.news(now, swarm, to).is_empty()
    }

    /// What to tell the peer at `to` now.
    pub fn message(
        &mut self,
        now: Instant,
        swarm: &PexSwarm,
        to: SocketAddr,
    ) -> Option<PexMessage> {
        if now < self.ready_at() {
            return None;
        }
        let news = self.news(now, swarm, to);
        if news.is_empty() {
            return None;
        }
        self.next_at = Some(now + INTERVAL);
        let added = news.added.iter().map(|(addr, _)| *addr);
        self.told.extend(added.clone());
        self.told_recent.retain(|addr| swarm.left.contains_key(addr));
        self.told_recent.extend(added.filter(|addr| !swarm.connected.contains_key(addr)));
        news.dropped.iter().for_each(|addr| _ = self.told.remove(addr));
        Some(news)
    }

    fn news(&self, now: Instant, swarm: &PexSwarm, to: SocketAddr) -> PexMessage {
        let fresh = |addr: &SocketAddr| {
            *addr != to
                && !self.told.contains(addr)
                && may_name(addr.ip(), Namer::PeerExchange(to.ip()))
        };
        let connected = swarm.connected.iter().map(|(addr, flags)| (*addr, *flags));
        let recent = swarm.recent(now).filter(|(addr, _)| !self.told_recent.contains(addr));
        let added = connected.chain(recent).filter(|(addr, _)| fresh(addr));
        let gone = self.told.iter().filter(|addr| !swarm.connected.contains_key(addr));
        PexMessage {
            added: added.take(MOST_TOLD).collect(),
            dropped: gone.copied().take(MOST_TOLD).collect(),
        }
    }
}

/// What one peer told.
#[derive(Debug)]
pub struct PexIn {
    tokens: u32,
    counted_at: Instant,
    ignored: u32,
    taken: usize,
}

impl Default for PexIn {
    fn default() -> Self {
        PexIn { tokens: BURST, counted_at: Instant::ZERO, ignored: 0, taken: 0 }
    }
}

impl PexIn {
    /// A message has come; whether it is to be read.
    pub fn admit(&mut self, now: Instant) -> Result<bool, Violation> {
        let earned = (now - self.counted_at).as_secs() / INTERVAL_TAKEN.as_secs();
        if earned > 0 {
            self.tokens = BURST.min(self.tokens.saturating_add(earned.min(9) as u32));
            self.counted_at = now;
        }
        if self.tokens > 0 {
            self.tokens -= 1;
            // Somewhat too many for hours are no flood.
            self.ignored = 0;
            return Ok(true);
        }
        self.ignored += 1;
        let flood = Violation::Flood { id: id::EXTENDED };
        if self.ignored >= FLOOD { Err(flood) } else { Ok(false) }
    }

    /// The addresses of a message from the peer at `from` that are believed, given how to make one
    /// known: it says whether the address is new.
    pub fn take(
        &mut self,
        from: IpAddr,
        message: &PexMessage,
        mut add: impl FnMut(SocketAddr, PexFlags) -> bool,
    ) {
        let mut seen = BTreeSet::new();
        for &(addr, flags) in message.added.iter().take(MOST_TAKEN) {
            // BEP 11: "duplicate IP addresses (e.g. with different ports) should be ignored"; on
            // loopback everybody has the same.
            if self.taken >= MOST_OF_ONE {
                return;
            }
            let is_first =
                |seen: &mut BTreeSet<_>| addr.ip().is_loopback() || seen.insert(addr.ip());
            let may = may_dial(addr, Namer::PeerExchange(from));
            if may && is_first(&mut seen) && add(addr, flags) {
                self.taken += 1;
            }
        }
    }
}

fn v4(bytes: &[u8]) -> Vec<SocketAddr> {
    let addr = |[a, b, c, d, high, low]: &[u8; 6]| {
        SocketAddr::from((Ipv4Addr::new(*a, *b, *c, *d), u16::from_be_bytes([*high, *low])))
    };
    bytes.as_chunks().0.iter().take(MOST_TAKEN).map(addr).collect()
}

fn v6(bytes: &[u8]) -> Vec<SocketAddr> {
    let addr = |chunk: &[u8; 18]| {
        let (ip, port) = chunk.split_first_chunk::<16>()?;
        let port = u16::from_be_bytes(port.try_into().ok()?);
        Some(SocketAddr::new(Ipv6Addr::from(*ip).into(), port))
    };
    bytes.as_chunks().0.iter().take(MOST_TAKEN).filter_map(addr).collect()
}

fn compact<'a>(addrs: impl Iterator<Item = &'a SocketAddr>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for addr in addrs {
        match addr.ip() {
            IpAddr::V4(ip) => bytes.extend(ip.octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
        bytes.extend(addr.port().to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn many(count: u32) -> PexSwarm {
        let addr = |n: u32| SocketAddr::from((Ipv4Addr::from(0x0100_0000 + n), 6881));
        let connected = (0..count).map(|n| (addr(n), PexFlags(PexFlags::SEED))).collect();
        PexSwarm { connected, ..PexSwarm::default() }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_secs(seconds)
    }

    #[test]
    fn both_families_are_written_and_read() {
        let message = PexMessage {
            added: vec![
                (addr("1.2.3.4:5"), PexFlags(0x12)),
                (addr("[2001:db8::1]:6"), PexFlags(PexFlags::SEED)),
            ],
            dropped: vec![addr("9.8.7.6:5"), addr("[2001:db8::2]:7")],
        };
        let bytes = message.encode();
        assert!(bytes.starts_with(b"d5:added6:\x01\x02\x03\x04\x00\x057:added.f1:\x12"));
        assert_eq!(PexMessage::decode(&bytes), Ok(message));
    }

    #[test]
    fn odd_messages_do_no_harm() {
        let bad = Err(Violation::BadExtensionMessage { id: 2 });
        assert_eq!(PexMessage::decode(b""), bad);
        assert_eq!(PexMessage::decode(b"le"), bad);
        assert_eq!(PexMessage::decode(b"de"), Ok(PexMessage::default()));
        let odd =
            PexMessage::decode(b"d5:added7:\x01\x02\x03\x04\x00\x05\x067:added.fi1e7:droppedlee");
        assert_eq!(odd.unwrap().added, [(addr("1.2.3.4:5"), PexFlags(0))]);
        let flood = encode_dict(|dict| dict.bytes("added", vec![1; 6 * 100_000]));
        assert_eq!(PexMessage::decode(&flood).unwrap().added.len(), MOST_TAKEN);
    }

    #[test]
    fn a_peer_is_told_who_came_and_who_went_at_most_once_a_minute() {
        let mut out = PexOut::default();
        let to = addr("1.0.0.0:6881");
        let mut swarm = many(3);
        let first = out.message(at(100), &swarm, to).unwrap();
        assert_eq!(first.added.len(), 2, "all but itself");
        swarm.connected.remove(&addr("1.0.0.1:6881"));
        swarm.connected.insert(addr("5.5.5.5:5"), PexFlags(0));
        assert!(out.is_behind(at(160), &swarm, to));
        assert_eq!(out.message(at(160), &swarm, to), None);
        let second = out.message(at(161), &swarm, to).unwrap();
        assert_eq!(second.added, [(addr("5.5.5.5:5"), PexFlags(0))]);
        assert_eq!(second.dropped, [addr("1.0.0.1:6881")]);
        assert_eq!(out.message(at(300), &swarm, to), None, "no news");
    }

    #[test]
    fn who_was_left_not_long_ago_is_told_once_while_few_are_connected() {
        let to = addr("9.9.9.9:9");
        let gone = addr("5.5.5.5:5");
        let mut swarm = many(2);
        swarm.left(at(100), gone, PexFlags(PexFlags::SEED));
        let mut out = PexOut::default();
        let first = out.message(at(100), &swarm, to).unwrap();
        assert!(first.added.contains(&(gone, PexFlags(PexFlags::SEED))));
        let second = out.message(at(200), &swarm, to).unwrap();
        assert_eq!((second.added, second.dropped), (Vec::new(), vec![gone]));
        assert_eq!(out.message(at(300), &swarm, to), None);
        assert_eq!(PexOut::default().message(at(701), &swarm, to).unwrap().added.len(), 2);
        let mut many = many(30);
        many.left(at(100), gone, PexFlags(0));
        assert_eq!(PexOut::default().message(at(100), &many, to).unwrap().added.len(), 30);
        for n in 0..100 {
            many.left(
                at(n),
                SocketAddr::from((Ipv4Addr::from(0x0300_0000 + n as u32), 1)),
                PexFlags(0),
            );
        }
        assert_eq!(many.left.len(), UNDERPOPULATED);
    }

    #[test]
    fn fifty_addresses_are_told_at_once_and_the_rest_later() {
        let mut out = PexOut::default();
        let to = addr("9.9.9.9:9");
        let swarm = many(120);
        let mut told = 0;
        for round in 1..=3 {
            told += out.message(at(100 * round), &swarm, to).unwrap().added.len();
        }
        assert_eq!(told, 120);
        let dropped = out.message(at(400), &PexSwarm::default(), to).unwrap().dropped;
        assert_eq!(dropped.len(), MOST_TOLD);
    }

    #[test]
    fn addresses_of_a_local_network_are_neither_told_nor_believed_outside_of_it() {
        let local = addr("192.168.1.7:1");
        let connected: BTreeMap<_, _> =
            [local, addr("127.0.0.1:2000"), addr("8.8.8.8:3000")].map(|a| (a, PexFlags(0))).into();
        let swarm = PexSwarm { connected: connected.clone(), ..PexSwarm::default() };
        let told =
            |to: &str| PexOut::default().message(at(1), &swarm, addr(to)).unwrap().added.len();
        assert_eq!((told("5.5.5.5:5"), told("10.0.0.1:5"), told("127.0.0.1:5")), (1, 2, 3));
        let message = PexMessage { added: connected.into_iter().collect(), dropped: Vec::new() };
        let mut taken = Vec::new();
        let from = addr("5.5.5.5:5").ip();
        PexIn::default().take(from, &message, |addr, _| {
            taken.push(addr);
            true
        });
        assert_eq!(taken, [addr("8.8.8.8:3000")]);
        let system = [addr("8.8.8.8:22"), addr("8.8.8.8:1023"), addr("8.8.8.8:1024")];
        let added = system.map(|addr| (addr, PexFlags(0))).into();
        taken.clear();
        PexIn::default().take(from, &PexMessage { added, dropped: Vec::new() }, |addr, _| {
            taken.push(addr);
            true
        });
        assert_eq!(taken, [addr("8.8.8.8:1024")]);
    }

    #[test]
    fn what_one_peer_says_is_bounded_in_rate_and_number() {
        let mut pex = PexIn::default();
        assert_eq!(
            (pex.admit(at(1)), pex.admit(at(1)), pex.admit(at(1))),
            (Ok(true), Ok(true), Ok(false))
        );
        assert_eq!(pex.admit(at(61)), Ok(true));
        for _ in 1..FLOOD {
            assert_eq!(pex.admit(at(62)), Ok(false));
        }
        assert!(pex.admit(at(62)).is_err());
        let mut added = 0;
        for round in 0..100_u32 {
            let flood = |n: u32| {
                (
                    SocketAddr::from((Ipv4Addr::from(0x0200_0000 + round * 100 + n), 6881)),
                    PexFlags(0),
                )
            };
            let message = PexMessage { added: (0..100).map(flood).collect(), dropped: Vec::new() };
            pex.take(addr("5.5.5.5:5").ip(), &message, |_, _| {
                added += 1;
                true
            });
        }
        assert_eq!(added, MOST_OF_ONE);
        let ports = |n| (SocketAddr::from((Ipv4Addr::new(7, 7, 7, 7), n)), PexFlags(0));
        let message = PexMessage { added: (2001..2100).map(ports).collect(), dropped: Vec::new() };
        let mut ports = 0;
        PexIn::default().take(addr("5.5.5.5:5").ip(), &message, |_, _| {
            ports += 1;
            true
        });
        assert_eq!(ports, 1, "one port of an address");
    }

    quickcheck! {
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>, added: Vec<u8>, flags: Vec<u8>) -> bool {
            let _ = PexMessage::decode(&bytes);
            let payload = encode_dict(|dict| {
                dict.bytes("added", &added);
                dict.bytes("added.f", &flags);
                dict.bytes("added6", &added);
            });
            let read = PexMessage::decode(&payload).unwrap();
            read.added.len() <= added.len() / 6 + added.len() / 18
                && PexMessage::decode(&read.encode()) == Ok(read)
        }
    }
}
