//! Local discovery (BEP 14): a datagram is no announce, or one that is written and read again as the
//! same. A machine that hears and says things in any order believes nothing of torrents that are
//! not its own, reads no flood, and never says more than BEP 14 allows.
//!
//! The whole input is a datagram; then it is a program of records: a byte that says what, and what
//! belongs to it.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bitswarm_core::Instant;
use bitswarm_core::lsd::message::{Announce, MOST_TOLD};
use bitswarm_core::lsd::{GROUPS, Lsd};
use bitswarm_core::piece::InfoHash;

use super::input::Input;

/// Datagrams that may be sent in any minute: one, and those of a burst.
const MOST_A_MINUTE: usize = 6;
/// Datagrams that are believed in a second.
const MOST_HEARD_A_SECOND: u32 = 100;
/// Longest announce, in bytes.
const LONGEST: usize = 1400;

/// See the module.
pub(super) fn run(data: &[u8]) {
    if let Some(announce) = Announce::decode(data) {
        check_announce(&announce, data.len());
    }
    Machine::new().play(Input::new(data));
}

fn check_announce(announce: &Announce, len: usize) {
    assert!(announce.port != 0 && !announce.infohashes.is_empty());
    assert!(announce.infohashes.len() * 40 <= len, "hashes out of nothing");
    assert!(announce.infohashes.is_sorted(), "each is there once");
    assert!(announce.cookie.as_ref().is_none_or(|cookie| cookie.len() <= 64));
    for group in GROUPS {
        let written = announce.encode(group);
        // One that was as long as may be read, and had no host, can be longer now.
        if written.len() <= LONGEST {
            assert_eq!(Announce::decode(&written).as_ref(), Some(announce));
        }
    }
}

struct Machine {
    lsd: Lsd,
    now: Instant,
    torrents: BTreeSet<InfoHash>,
    /// When what was said of late was said.
    said: VecDeque<Instant>,
    /// What was heard in the second that began then, at the most.
    heard: VecDeque<Instant>,
    last: Vec<u8>,
}

impl Machine {
    fn new() -> Self {
        Machine {
            lsd: Lsd::new(7, Instant::ZERO),
            now: Instant::ZERO,
            torrents: BTreeSet::new(),
            said: VecDeque::new(),
            heard: VecDeque::new(),
            last: Vec::new(),
        }
    }

    fn play(&mut self, mut input: Input<'_>) {
        let mut steps = 0;
        while !input.is_empty() && steps < 300 {
            steps += 1;
            let what = input.byte();
            match what % 8 {
                0 | 1 => self.add(input.byte(), what >> 3),
                2 => {
                    let infohash = InfoHash([input.byte(); 20]);
                    self.lsd.remove(infohash);
                    self.torrents.remove(&infohash);
                }
                3 => self.pass(Duration::from_millis(u64::from(input.u16()))),
                4 => self.pass(Duration::from_secs(u64::from(what) * 4)),
                5 => self.hear_about(input.byte(), what >> 3),
                6 => {
                    let own = self.last.clone();
                    let heard = self.lsd.handle_datagram(self.now, from(what), &own);
                    assert_eq!(heard, None, "what we say ourselves is no news");
                }
                _ => {
                    let data = input.run();
                    self.hear(from(what), data);
                }
            }
        }
        self.pass(Duration::from_secs(600));
    }

    fn add(&mut self, first: u8, more: u8) {
        for n in 0..=more {
            let infohash = InfoHash([first.wrapping_add(n); 20]);
            self.lsd.add(self.now, infohash);
            self.torrents.insert(infohash);
        }
    }

    /// An announce in the right form, many times if `times` is great.
    fn hear_about(&mut self, hash: u8, times: u8) {
        let infohashes = vec![InfoHash([hash; 20]), InfoHash([hash.wrapping_add(1); 20])];
        let announce = Announce { port: 6881, infohashes, cookie: None };
        let data = announce.encode(GROUPS[0]);
        for _ in 0..u32::from(times) * 8 + 1 {
            self.hear(from(hash), &data);
        }
    }

    fn hear(&mut self, from: SocketAddr, data: &[u8]) {
        let Some((peer, infohashes)) = self.lsd.handle_datagram(self.now, from, data) else {
            return;
        };
        assert!(peer.ip() == from.ip() && peer.port() != 0, "nobody speaks for others");
        assert!(!infohashes.is_empty());
        assert!(infohashes.iter().all(|infohash| self.torrents.contains(infohash)));
        let second = Duration::from_secs(1);
        while self.heard.front().is_some_and(|at| *at + second <= self.now) {
            self.heard.pop_front();
        }
        self.heard.push_back(self.now);
        // A second that is over and one that has begun may both lie in any second.
        assert!(self.heard.len() <= 2 * MOST_HEARD_A_SECOND as usize, "a flood is read");
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.lsd.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.speak();
            assert!(self.lsd.poll_timeout().is_none_or(|next| next > self.now), "it spins");
        }
        self.now = until;
        self.speak();
    }

    fn speak(&mut self) {
        while let Some(announce) = self.lsd.announce(self.now, 6881) {
            assert!((1..=MOST_TOLD).contains(&announce.infohashes.len()));
            assert!(announce.infohashes.iter().all(|hash| self.torrents.contains(hash)));
            self.last = announce.encode(GROUPS[1]);
            assert!(self.last.len() <= LONGEST);
            let minute = Duration::from_secs(60);
            while self.said.front().is_some_and(|at| *at + minute <= self.now) {
                self.said.pop_front();
            }
            self.said.push_back(self.now);
            assert!(self.said.len() <= MOST_A_MINUTE, "{} in a minute", self.said.len());
        }
    }
}

fn from(what: u8) -> SocketAddr {
    match what & 0x80 {
        0 => SocketAddr::from(([10, 0, 0, what & 7], 6771)),
        _ => SocketAddr::from(([0xfe80, 0, 0, 0, 0, 0, 0, u16::from(what)], 6771)),
    }
}
