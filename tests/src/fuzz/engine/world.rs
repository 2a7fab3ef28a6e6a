//! The world of an engine under a fuzzer: the engine, and what its host knows.
//!
//! Disk, content and the rules of the peer wire are the simulator's. Here is what there is and what a
//! program may ask about it; what happens to it is in `events`, `time` and `user`, what the engine
//! does in `actions`, and how it ends in `end`.

use std::collections::BTreeMap;
use std::path::Path;

use bitswarm_core::action::{SocketKind, SocketSpec};
use bitswarm_core::bitfield::Bitfield;
use bitswarm_core::id::{ConnId, OpId, SocketId, TorrentId};
use bitswarm_core::record::Recorder;
use bitswarm_core::{Engine, Instant, UnixTime};

use super::actions::LOGS;
use super::conn::Conn;
use super::setup::{CONTENT, ROOT, Setup, TORRENTS, config};
use crate::fuzz::input::Input;
use crate::sim::check::{Checker, Settings};
use crate::sim::content::Content;
use crate::sim::disk::{Disk, Ticket};
use crate::sim::peer_wire::Run;

/// The host.
pub(super) struct World {
    pub(super) engine: Recorder,
    pub(super) now: Instant,
    pub(super) torrents: [Option<TorrentId>; TORRENTS],
    pub(super) conns: BTreeMap<ConnId, Conn>,
    pub(super) dead: Vec<ConnId>,
    pub(super) sockets: BTreeMap<SocketId, SocketSpec>,
    pub(super) unbound: Vec<SocketId>,
    pub(super) lookups: Vec<OpId>,
    pub(super) disk: Disk,
    /// Requests under way, and whether each opens a store.
    pub(super) tickets: Vec<(Ticket, bool)>,
    pub(super) checker: Checker,
    pub(super) transaction: [u8; 4],
    pub(super) lazy: bool,
    pub(super) stopped: bool,
    /// Whether the rules for what engines claim can be applied.
    pub(super) judges: bool,
}

impl World {
    pub(super) fn new(setup: &Setup) -> Self {
        let config = config();
        let checker = Checker::new(Settings {
            // What a peer has owed for long is forgotten here, and still counted there.
            own_requests: 2 * config.bounds.own_requests,
            snub: config.timeouts.snub,
            ..Settings::default()
        });
        let wall = UnixTime(1_780_000_000);
        let engine = if setup.recorded {
            Recorder::recording(config, [9; 32], Instant::ZERO, wall)
        } else {
            Recorder::passing(Engine::new(config, [9; 32], Instant::ZERO, wall))
        };
        let mut world = World {
            engine,
            now: Instant::ZERO,
            torrents: [None; TORRENTS],
            conns: BTreeMap::new(),
            dead: Vec::new(),
            sockets: BTreeMap::new(),
            unbound: Vec::new(),
            lookups: Vec::new(),
            disk: Disk::new(1, "fuzz", 1_780_000_000_000_000_000),
            tickets: Vec::new(),
            checker,
            transaction: [0; 4],
            lazy: setup.lazy,
            stopped: false,
            judges: true,
        };
        if *LOGS {
            world.checker.log();
        }
        for content in CONTENT.iter() {
            world.checker.watch(content.clone(), ROOT.into());
            if setup.complete {
                content.plant(&mut world.disk, Path::new(ROOT));
            }
        }
        world.drain();
        for which in 0..setup.torrents {
            world.add(which, 0);
        }
        if setup.settled {
            world.settle();
        }
        world
    }

    /// Which connection an event concerns, if there is one.
    pub(super) fn pick_conn(&self, input: &mut Input<'_>) -> Option<ConnId> {
        let which = input.below(self.conns.len());
        self.conns.keys().nth(which).copied()
    }

    pub(super) fn infohash(&self, which: usize) -> [u8; 20] {
        CONTENT[which].infohash().0
    }

    pub(super) fn pieces_of(&self, conn: Option<ConnId>) -> u32 {
        self.content_of(conn).pieces()
    }

    pub(super) fn full_bitfield(&self, conn: Option<ConnId>) -> Vec<u8> {
        Bitfield::full(self.pieces_of(conn)).to_bytes()
    }

    /// How long the block is that begins there.
    pub(super) fn block_len(&self, conn: Option<ConnId>, piece: u32, begin: u32) -> u32 {
        let piece = self.content_of(conn).piece(piece);
        (piece.len() as u32).saturating_sub(begin).min(16 << 10)
    }

    /// One of the blocks that the engine wants of this peer.
    pub(super) fn wanted(&self, conn: Option<ConnId>, which: u8) -> Option<Run> {
        let wants = &self.conns.get(&conn?)?.wants;
        wants.get(usize::from(which) % wants.len().max(1)).copied()
    }

    /// The true content of a block.
    pub(super) fn block(&self, conn: Option<ConnId>, run: Run) -> Vec<u8> {
        let block = self.content_of(conn).run(run.piece, run.begin, run.length);
        block.expect("the engine asks for what there is").to_vec()
    }

    pub(super) fn last_transaction(&self) -> [u8; 4] {
        self.transaction
    }

    pub(super) fn open_sockets(&self, kind: SocketKind) -> impl Iterator<Item = SocketId> {
        let sockets = self.sockets.iter().filter(move |(_, spec)| spec.kind == kind);
        sockets.map(|(socket, _)| *socket).filter(|socket| !self.unbound.contains(socket))
    }

    fn content_of(&self, conn: Option<ConnId>) -> &Content {
        let torrent = conn.and_then(|conn| self.conns.get(&conn)).map_or(0, |conn| conn.torrent);
        &CONTENT[torrent]
    }
}
