//! Local discovery: peers in the same network tell each other what they take part in (BEP 14).
//!
//! [`Lsd`] decides when to announce which torrents, and what of what is heard is believed. Each
//! torrent is announced once it is added, then every five minutes; those that are due go together
//! in one datagram. There are few datagrams: a handful at once, on average one a minute, so that
//! with hundreds of torrents each waits longer for its turn. A client that hears of a peer connects to it,
//! so announces are not answered.
//!
//! What is heard is bounded: so many datagrams a second in all and of each host, and of those our own do not
//! count, which a cookie tells. Anybody in the network can claim anything; that a peer is there shows when
//! it is dialled. Which torrents take part, private ones never, is not decided here, and which
//! interfaces there are is for the host to know.

pub mod message;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use self::message::{Announce, MOST_TOLD};
use crate::piece::InfoHash;
use crate::rate::PerSecond;
use crate::time::{Duration, Instant};

/// The multicast groups (BEP 14, "Protocol").
pub const GROUPS: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(239, 192, 152, 143)), PORT),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0xefc0, 0x988f)), PORT),
];

/// The port of both groups (BEP 14, "Protocol").
const PORT: u16 = 6771;
/// Between two announces of a torrent (BEP 14, "Usage").
const INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Between two datagrams, on average (BEP 14: "no more than 1 announce per minute").
const SPACING: Duration = Duration::from_secs(60);
/// Datagrams that may be sent at once after a pause (chosen: as many as fall due in five minutes).
const BURST: u32 = 5;
/// How long those that are added together are gathered (chosen).
const GATHER: Duration = Duration::from_millis(200);
/// Datagrams that are read a second (chosen: a hundred machines that start at once).
const HEARD_PER_S: u32 = 100;
/// Of these, those of one host, so that it does not shut out the others (chosen; loopback is no host).
const HEARD_OF_HOST: u32 = 20;

/// What to announce when, and what was heard.
#[derive(Debug)]
pub struct Lsd {
    cookie: String,
    /// When each torrent is announced next.
    torrents: BTreeMap<InfoHash, Instant>,
    /// The same, the soonest first.
    due: BTreeSet<(Instant, InfoHash)>,
    /// Datagrams that may be sent now, and since when one more is due.
    allowance: u32,
    allowance_since: Instant,
    /// Datagrams read in this second, and of whom.
    heard: PerSecond,
    heard_of: BTreeMap<IpAddr, u32>,
}

impl Lsd {
    /// Nothing takes part yet. The cookie should be one that nobody else has.
    pub fn new(cookie: u64, now: Instant) -> Self {
        Lsd {
            cookie: format!("{cookie:016x}"),
            torrents: BTreeMap::new(),
            due: BTreeSet::new(),
            allowance: BURST,
            allowance_since: now,
            heard: PerSecond::default(),
            heard_of: BTreeMap::new(),
        }
    }

    /// A torrent takes part from now on. One that does already goes on as before.
    pub fn add(&mut self, now: Instant, infohash: InfoHash) {
        if !self.torrents.contains_key(&infohash) {
            self.schedule(infohash, now + GATHER);
        }
    }

    /// A torrent does not take part any more.
    pub fn remove(&mut self, infohash: InfoHash) {
        if let Some(at) = self.torrents.remove(&infohash) {
            self.due.remove(&(at, infohash));
        }
    }

    /// When to call [`Lsd::announce`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let (first, _) = self.due.first()?;
        match self.allowance {
            0 => Some((*first).max(self.allowance_since + SPACING)),
            _ => Some(*first),
        }
    }

    /// What to tell every group now, if something is due: that these torrents have a peer at `port`.
    pub fn announce(&mut self, now: Instant, port: u16) -> Option<Announce> {
        self.refill(now);
        if self.allowance == 0 || self.due.first().is_none_or(|(at, _)| *at > now) {
            return None;
        }
        if self.allowance == BURST {
            self.allowance_since = now;
        }
        self.allowance -= 1;
        // What is due within the next minute goes along: it would need a datagram of its own.
        let soon = self.due.iter().take_while(|(at, _)| *at <= now + SPACING);
        let infohashes: Vec<InfoHash> = soon.take(MOST_TOLD).map(|(_, hash)| *hash).collect();
        for infohash in &infohashes {
            self.remove(*infohash);
            self.schedule(*infohash, now + INTERVAL);
        }
        Some(Announce { port, infohashes, cookie: Some(self.cookie.clone()) })
    }

    /// Reads a datagram: the torrents of ours that a peer takes part in, and where it listens.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        data: &[u8],
    ) -> Option<(SocketAddr, Vec<InfoHash>)> {
        if !self.may_hear(now, from.ip()) {
            return None;
        }
        let mut announce = Announce::decode(data)?;
        if announce.cookie.as_deref() == Some(self.cookie.as_str()) {
            return None;
        }
        announce.infohashes.retain(|infohash| self.torrents.contains_key(infohash));
        let mut peer = from;
        peer.set_port(announce.port);
        (!announce.infohashes.is_empty()).then_some((peer, announce.infohashes))
    }

    /// Whether another datagram of this host is read now.
    fn may_hear(&mut self, now: Instant, from: IpAddr) -> bool {
        if now >= self.heard.next_at() {
            self.heard_of.clear();
        }
        if !self.heard.has_room(now, HEARD_PER_S) {
            return false;
        }
        let of_host = self.heard_of.entry(from).or_default();
        if *of_host >= HEARD_OF_HOST && !from.is_loopback() {
            return false;
        }
        *of_host += 1;
        self.heard.admit(now, HEARD_PER_S)
    }

    fn schedule(&mut self, infohash: InfoHash, at: Instant) {
        self.torrents.insert(infohash, at);
        self.due.insert((at, infohash));
    }

    fn refill(&mut self, now: Instant) {
        while self.allowance < BURST && now >= self.allowance_since + SPACING {
            self.allowance += 1;
            self.allowance_since += SPACING;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Instant {
        Instant::from_secs(secs)
    }

    fn hash(n: u32) -> InfoHash {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&n.to_be_bytes());
        InfoHash(hash)
    }

    /// Lets time pass; what was announced when, in whole seconds.
    fn run(lsd: &mut Lsd, from: u64, until: u64) -> Vec<(u64, Vec<InfoHash>)> {
        let mut now = secs(from);
        let mut said = Vec::new();
        while let Some(at) = lsd.poll_timeout().filter(|at| *at < secs(until)) {
            now = now.max(at);
            while let Some(announce) = lsd.announce(now, 1) {
                said.push((now.as_nanos() / 1_000_000_000, announce.infohashes));
            }
            assert!(lsd.poll_timeout().is_none_or(|next| next > now), "it spins");
        }
        said
    }

    #[test]
    fn a_torrent_is_announced_at_once_then_every_five_minutes() {
        let mut lsd = Lsd::new(1, secs(0));
        assert_eq!(lsd.poll_timeout(), None);
        lsd.add(secs(10), hash(1));
        let times: Vec<u64> = run(&mut lsd, 10, 1000).iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [10, 310, 610, 910]);
        lsd.remove(hash(1));
        assert_eq!(lsd.poll_timeout(), None);
    }

    #[test]
    fn torrents_that_are_added_together_share_a_datagram() {
        let mut lsd = Lsd::new(1, secs(0));
        (0..20).for_each(|n| lsd.add(secs(5), hash(n)));
        let said = run(&mut lsd, 5, 600);
        assert_eq!(said.len(), 2);
        assert!(said.iter().all(|(_, infohashes)| infohashes.len() == 20));
    }

    #[test]
    fn thousands_of_torrents_take_turns_and_never_send_more_than_a_datagram_a_minute() {
        let mut lsd = Lsd::new(1, secs(0));
        (0..2000).for_each(|n| lsd.add(secs(0), hash(n)));
        let said = run(&mut lsd, 0, 3 * 3600);
        for window in said.windows(BURST as usize + 1) {
            assert!(window[window.len() - 1].0 - window[0].0 >= 60);
        }
        assert!(said.len() <= 3 * 60 + BURST as usize, "{} datagrams", said.len());
        let all: BTreeSet<InfoHash> = said.iter().flat_map(|(_, hashes)| hashes).copied().collect();
        assert_eq!(all.len(), 2000, "everybody has had a turn");
    }

    #[test]
    fn a_torrent_that_comes_later_does_not_wait() {
        let mut lsd = Lsd::new(1, secs(0));
        for n in 0..BURST {
            let now = secs(u64::from(n) * 5);
            lsd.add(now, hash(n));
            assert_eq!(
                run(&mut lsd, now.as_nanos() / 1_000_000_000, 5 * u64::from(n) + 1).len(),
                1
            );
        }
        lsd.add(secs(30), hash(99));
        assert_eq!(run(&mut lsd, 30, 100)[0].0, 60, "that was too many at once");
    }

    #[test]
    fn a_peer_is_heard_of_but_for_oneself_and_for_strange_torrents() {
        let from: SocketAddr = "10.0.0.9:6771".parse().unwrap();
        let mut us = Lsd::new(1, secs(0));
        let mut them = Lsd::new(2, secs(0));
        us.add(secs(0), hash(1));
        them.add(secs(0), hash(1));
        them.add(secs(0), hash(2));
        let said = them.announce(secs(1), 7000).unwrap().encode(GROUPS[0]);
        let peer = "10.0.0.9:7000".parse().unwrap();
        assert_eq!(us.handle_datagram(secs(1), from, &said), Some((peer, vec![hash(1)])));
        assert_eq!(them.handle_datagram(secs(1), from, &said), None, "its own");
        us.remove(hash(1));
        assert_eq!(us.handle_datagram(secs(1), from, &said), None);
    }

    #[test]
    fn a_flood_is_read_no_further() {
        let mut lsd = Lsd::new(1, secs(0));
        lsd.add(secs(0), hash(1));
        let announce = Announce { port: 5, infohashes: vec![hash(1)], cookie: None };
        let data = announce.encode(GROUPS[0]);
        let mut heard = |now, hosts: std::ops::Range<u8>| {
            let from = (0..1000).flat_map(|_| hosts.clone());
            let from = from.map(|host| SocketAddr::from(([10, 0, 0, host], 6771)));
            from.filter(|from| lsd.handle_datagram(now, *from, &data).is_some()).count()
        };
        assert_eq!(heard(secs(1), 1..2), HEARD_OF_HOST as usize);
        assert_eq!(heard(secs(1), 1..4), 2 * HEARD_OF_HOST as usize, "others are heard");
        assert_eq!(heard(secs(1), 1..20), (HEARD_PER_S - 3 * HEARD_OF_HOST) as usize);
        assert_eq!(heard(secs(1), 20..21), 0);
        assert_eq!(heard(secs(2), 1..20), HEARD_PER_S as usize);
        let local = SocketAddr::from(([127, 0, 0, 1], 6771));
        let heard = (0..1000).filter(|_| lsd.handle_datagram(secs(3), local, &data).is_some());
        assert_eq!(heard.count(), HEARD_PER_S as usize);
    }
}
