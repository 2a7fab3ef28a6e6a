//! Two engines back to back: one has a torrent, the other fetches it, nothing is in between.
//!
//! Bytes gathered from one engine are copied into a read buffer and handed to the other, as a
//! socket would; the disk answers at once from memory. Time is virtual and moves a little with
//! every exchange, so that rates and round trips can be measured by the engines. What the engines
//! allocate is counted apart from what this harness does.

use std::net::SocketAddr;
use std::sync::Arc;

use bitswarm_core::config::Config;
use bitswarm_core::disk::{DiskDone, DiskRequest, FileStat};
use bitswarm_core::metainfo::Metainfo;
use bitswarm_core::metainfo::create::Creator;
use bitswarm_core::notice::TorrentNotice;
use bitswarm_core::testing::{DiskResult, Environment, Loopback, Node};
use bitswarm_core::torrent::AddTorrent;
use bitswarm_core::{Commands, Duration, Engine, Instant, TorrentId, UnixTime};
use bytes::Bytes;

use crate::counting_alloc::Allocations;

/// Virtual time between two rounds (chosen: a fast local network).
const EXCHANGE_TIME: Duration = Duration::from_micros(20);

/// Whether pieces are hashed as they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashing {
    /// As a runtime does.
    On,
    /// Every piece is taken for right: what is left is the core's own work.
    Off,
}

/// A torrent in memory.
#[derive(Debug, Clone)]
pub struct Torrent {
    content: Bytes,
    metainfo: Arc<Metainfo>,
}

impl Torrent {
    /// One file of this length in pieces of that.
    pub fn new(length: usize, piece_length: u32) -> Self {
        let content: Vec<u8> = (0..length).map(|at| ((at * 2_654_435_761) >> 13) as u8).collect();
        let mut creator = Creator::single_file("pair", length as u64);
        creator.piece_length = piece_length;
        let metainfo = creator.finish_with_content(&content).expect("a plain torrent");
        Torrent { content: content.into(), metainfo: Arc::new(metainfo) }
    }

    /// The same with zeros for content and hashes, quickly made: for [`Hashing::Off`] only.
    pub fn unhashed(length: usize, piece_length: u32) -> Self {
        let mut creator = Creator::single_file("pair", length as u64);
        creator.piece_length = piece_length;
        let pieces = length.div_ceil(piece_length as usize);
        let metainfo = creator.finish(&vec![0; pieces * 20]).expect("a plain torrent");
        Torrent { content: vec![0; length].into(), metainfo: Arc::new(metainfo) }
    }

    /// How many bytes it has.
    pub fn length(&self) -> usize {
        self.content.len()
    }

    /// How many blocks it has.
    pub fn blocks(&self) -> u64 {
        let geometry = self.metainfo.geometry();
        geometry.iter().map(|piece| u64::from(geometry.blocks_of(piece))).sum()
    }
}

/// Two engines, connected, with nothing transferred yet.
#[derive(Debug)]
pub struct Pair {
    net: Loopback<Side>,
    id: TorrentId,
    exchanges: u64,
}

/// The machine of one of them.
#[derive(Debug)]
struct Side {
    torrent: Torrent,
    hashing: Hashing,
    has_content: bool,
    before: Allocations,
    allocations: Allocations,
}

const SEEDER: usize = 0;
const LEECHER: usize = 1;

impl Pair {
    /// Engines that have looked at their disks and are about to meet.
    pub fn new(torrent: &Torrent, hashing: Hashing) -> Self {
        let mut nodes = [SEEDER, LEECHER].map(|side| node(side, torrent, hashing));
        let [_, id] = nodes.each_mut().map(|node| {
            let add = AddTorrent::new(torrent.metainfo.clone(), "/pair");
            node.engine.add_torrent(Instant::ZERO, add).expect("the first torrent")
        });
        let mut pair = Pair { net: Loopback::new(nodes), id, exchanges: 0 };
        while pair.exchange() {}
        for node in &mut pair.net.nodes {
            node.notices.clear();
            node.env.allocations = Allocations::default();
        }
        pair
    }

    /// Lets them transfer everything; says what the seeder and the leecher allocated on the way.
    ///
    /// # Panics
    /// If they stop before everything is transferred.
    pub fn run(&mut self) -> [Allocations; 2] {
        let leecher = &mut self.net.nodes[LEECHER];
        let peers = [address(SEEDER)];
        leecher.env.before_call();
        leecher.engine.add_peers(self.net.now, self.id, &peers).expect("it has the torrent");
        leecher.env.after_call();
        while !self.net.nodes[LEECHER].has_noticed(&TorrentNotice::Finished) {
            if !self.exchange() && !self.net.wait(Instant::from_secs(3600)) {
                panic!("they stopped after {} exchanges", self.exchanges);
            }
        }
        [SEEDER, LEECHER].map(|side| self.net.nodes[side].env.allocations)
    }

    /// Lets happen what is under way; whether that was anything.
    fn exchange(&mut self) -> bool {
        let any = self.net.round();
        self.exchanges += 1;
        self.net.now += EXCHANGE_TIME;
        any
    }
}

fn node(side: usize, torrent: &Torrent, hashing: Hashing) -> Node<Side> {
    let config = Config { listen: vec![([0, 0, 0, 0], 6881).into()], ..Config::default() };
    let has_content = side == SEEDER;
    let seed = [u8::from(has_content); 32];
    let engine = Engine::new(config, seed, Instant::ZERO, UnixTime(1_780_000_000));
    let env = Side {
        torrent: torrent.clone(),
        hashing,
        has_content,
        before: Allocations::default(),
        allocations: Allocations::default(),
    };
    Node::new(engine, address(side), env)
}

impl Environment for Side {
    fn disk(&mut self, request: DiskRequest) -> Option<DiskResult> {
        Some(Ok(match request {
            DiskRequest::Open { .. }
            | DiskRequest::Reuse { .. }
            | DiskRequest::Sync { .. }
            | DiskRequest::Look { .. } => {
                let length = self.torrent.content.len() as u64;
                let stat = FileStat::new(length, 0);
                DiskDone::Files(vec![self.has_content.then_some(stat)])
            }
            DiskRequest::Read { spans, .. } => {
                let start = spans.first().map_or(0, |span| span.offset as usize);
                let length: usize = spans.iter().map(|span| span.length as usize).sum();
                DiskDone::Read(self.torrent.content.slice(start..start + length))
            }
            DiskRequest::Write(write) => {
                let wrong = self.hashing == Hashing::On
                    && !write
                        .expect
                        .is_none_or(|expect| expect.is_of(write.data.iter().map(AsRef::as_ref)));
                if wrong { DiskDone::HashMismatch } else { DiskDone::Done }
            }
            // Only the seeder's first look at its disk asks for this; it is not measured.
            DiskRequest::Verify(_) => DiskDone::Done,
            DiskRequest::Load { .. } => DiskDone::Loaded(None),
            DiskRequest::Prepare { .. }
            | DiskRequest::Move { .. }
            | DiskRequest::Close { .. }
            | DiskRequest::Save { .. }
            | DiskRequest::Forget { .. } => DiskDone::Done,
        }))
    }

    fn before_call(&mut self) {
        self.before = Allocations::so_far();
    }

    fn after_call(&mut self) {
        self.allocations.add(Allocations::so_far().since(self.before));
    }
}

fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([50, 0, side as u8, 10], 6881))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_transfers_everything_with_and_without_hashing() {
        let torrent = Torrent::new(3_000_000, 256 << 10);
        assert_eq!(torrent.blocks(), 3_000_000_u64.div_ceil(16 << 10));
        for hashing in [Hashing::On, Hashing::Off] {
            let mut pair = Pair::new(&torrent, hashing);
            pair.run();
            let leecher = pair.net.nodes[LEECHER].engine.engine();
            let status = leecher.status(pair.net.now, pair.id);
            let status = status.expect("it has the torrent");
            assert_eq!((status.pieces_have, status.redundant_bytes), (status.pieces, 0));
        }
    }
}
