//! The engine's methods, with a log.

use std::fmt;
use std::net::SocketAddr;

use super::fingerprint::{Fingerprint, Fingerprinter};
use super::input::Input;
use super::log::{self, Frame, Header};
use crate::action::Action;
use crate::config::{Config, RateLimits};
use crate::dht::{Wish, WishId};
use crate::engine::{AddTorrentError, DhtError, Engine, NoSuchTorrent, Stopping};
use crate::event::{Datagram, Event};
use crate::http::Url;
use crate::id::{ConnId, SocketId, TorrentId};
use crate::metainfo::PathRules;
use crate::piece::InfoHash;
use crate::priority::PieceOrder;
use crate::segments::Segments;
use crate::time::{Instant, UnixTime};
use crate::torrent::AddTorrent;
use crate::tracker::ScrapeId;

/// Inputs between two checkpoints (chosen: a difference is located within these).
const CHECKPOINT_EVERY: u64 = 16;

/// An [`Engine`] whose inputs are recorded, or not: then it costs nothing.
///
/// Methods are those of the engine. Queries go to [`Recorder::engine`].
#[derive(Debug)]
pub struct Recorder {
    engine: Engine,
    tape: Option<Tape>,
}

/// The log as far as the host has not drained it, and what it comes to.
#[derive(Debug)]
struct Tape {
    log: Vec<u8>,
    fingerprinter: Fingerprinter,
    checkpoint_at: u64,
}

impl Recorder {
    /// A new engine that is recorded from its birth.
    pub fn recording(config: Config, seed: [u8; 32], now: Instant, wall: UnixTime) -> Self {
        let windows_paths = matches!(PathRules::HOST, PathRules::Windows);
        let header = Header { config, seed, now, wall, windows_paths };
        let log = log::begin(&header).expect("a configuration has nothing that cannot be encoded");
        let engine = Engine::new(header.config, seed, now, wall);
        let fingerprinter = Fingerprinter::default();
        Recorder { engine, tape: Some(Tape { log, fingerprinter, checkpoint_at: 0 }) }
    }

    /// An engine that is not recorded.
    pub fn passing(engine: Engine) -> Self {
        Recorder { engine, tape: None }
    }

    /// The engine, for queries.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether inputs are being recorded. Recording ends when an input cannot be written, which
    /// is one that names a path that is not Unicode; what was recorded before replays.
    pub fn is_recording(&self) -> bool {
        self.tape.is_some()
    }

    /// Takes what was written since this was last called; to be stored in order. Together it is
    /// what [`replay`](super::replay) takes.
    pub fn take_log(&mut self) -> Vec<u8> {
        self.tape.as_mut().map(|tape| std::mem::take(&mut tape.log)).unwrap_or_default()
    }

    /// Bytes that [`take_log`](Self::take_log) would return: they stay in memory until then.
    pub fn log_len(&self) -> usize {
        self.tape.as_ref().map_or(0, |tape| tape.log.len())
    }

    /// What everything so far comes to, if it is recorded.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.tape.as_ref().map(|tape| tape.fingerprinter.fingerprint())
    }

    /// Writes a checkpoint, as it is done every few inputs. Worth doing at the end of a recording,
    /// when all actions are drained.
    pub fn checkpoint(&mut self) {
        if let Some(tape) = &mut self.tape {
            tape.checkpoint();
        }
    }

    /// See [`Engine::handle`].
    pub fn handle(&mut self, now: Instant, event: Event) {
        self.input(now, Input::Event(&event));
        self.engine.handle(now, event);
    }

    /// See [`Engine::accept`].
    pub fn accept(&mut self, now: Instant, socket: SocketId, from: SocketAddr) -> Option<ConnId> {
        self.input(now, Input::Accept { socket, from });
        let conn = self.engine.accept(now, socket, from);
        self.answer(conn)
    }

    /// See [`Engine::poll_action`].
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.engine.poll_action();
        if let Some(tape) = &mut self.tape {
            tape.polled(action.as_ref());
        }
        action
    }

    /// See [`Engine::poll_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.engine.poll_timeout()
    }

    /// See [`Engine::gather`]. `out` is to be empty: what was gathered before was sent.
    pub fn gather(&mut self, now: Instant, conn: ConnId, limit: usize, out: &mut Segments) {
        debug_assert!(self.tape.is_none() || out.is_empty(), "replay cannot know what is in it");
        self.input(now, Input::Gather { conn, limit });
        self.engine.gather(now, conn, limit, out);
        if let Some(tape) = &mut self.tape {
            tape.fingerprinter.bytes(out);
        }
    }

    /// See [`Engine::gather_datagram`].
    pub fn gather_datagram(&mut self, now: Instant, socket: SocketId) -> Option<Datagram> {
        self.input(now, Input::GatherDatagram { socket });
        let datagram = self.engine.gather_datagram(now, socket);
        self.answer(datagram)
    }

    /// See [`Engine::add_torrent`].
    pub fn add_torrent(
        &mut self,
        now: Instant,
        add: AddTorrent,
    ) -> Result<TorrentId, AddTorrentError> {
        if self.tape.is_some() {
            self.input(now, Input::AddTorrent(Box::new((&add).into())));
        }
        let result = self.engine.add_torrent(now, add);
        self.answer(result)
    }

    /// See [`Engine::remove_torrent`].
    pub fn remove_torrent(
        &mut self,
        now: Instant,
        id: TorrentId,
        delete_files: bool,
    ) -> Result<(), NoSuchTorrent> {
        self.input(now, Input::RemoveTorrent { id, delete_files });
        let result = self.engine.remove_torrent(now, id, delete_files);
        self.answer(result)
    }

    /// See [`Engine::pause`].
    pub fn pause(&mut self, now: Instant, id: TorrentId) -> Result<(), NoSuchTorrent> {
        self.input(now, Input::Pause(id));
        let result = self.engine.pause(now, id);
        self.answer(result)
    }

    /// See [`Engine::resume`].
    pub fn resume(&mut self, now: Instant, id: TorrentId) -> Result<(), NoSuchTorrent> {
        self.input(now, Input::Resume(id));
        let result = self.engine.resume(now, id);
        self.answer(result)
    }

    /// See [`Engine::add_peers`].
    pub fn add_peers(
        &mut self,
        now: Instant,
        id: TorrentId,
        peers: &[SocketAddr],
    ) -> Result<(), NoSuchTorrent> {
        self.input(now, Input::AddPeers { id, peers: peers.to_vec() });
        let result = self.engine.add_peers(now, id, peers);
        self.answer(result)
    }

    /// See [`Engine::set_order`].
    pub fn set_order(
        &mut self,
        now: Instant,
        id: TorrentId,
        order: PieceOrder,
    ) -> Result<(), NoSuchTorrent> {
        self.input(now, Input::SetOrder { id, order });
        let result = self.engine.set_order(now, id, order);
        self.answer(result)
    }

    /// See [`Engine::set_limits`].
    pub fn set_limits(&mut self, now: Instant, limits: RateLimits) {
        self.input(now, Input::SetLimits(limits));
        self.engine.set_limits(now, limits);
    }

    /// See [`Engine::set_torrent_limits`].
    pub fn set_torrent_limits(
        &mut self,
        now: Instant,
        id: TorrentId,
        limits: RateLimits,
    ) -> Result<(), NoSuchTorrent> {
        self.input(now, Input::SetTorrentLimits { id, limits });
        let result = self.engine.set_torrent_limits(now, id, limits);
        self.answer(result)
    }

    /// See [`Engine::dht_wish`].
    pub fn dht_wish(&mut self, now: Instant, wish: Wish) -> Result<WishId, DhtError> {
        if self.tape.is_some() {
            self.input(now, Input::DhtWish(Box::new(wish.clone())));
        }
        let result = self.engine.dht_wish(now, wish);
        self.answer(result)
    }

    /// See [`Engine::scrape`].
    pub fn scrape(
        &mut self,
        now: Instant,
        tracker: Url,
        infohashes: Vec<InfoHash>,
    ) -> Result<ScrapeId, Stopping> {
        if self.tape.is_some() {
            let infohashes = infohashes.clone();
            self.input(now, Input::Scrape { tracker: tracker.to_string(), infohashes });
        }
        let result = self.engine.scrape(now, tracker, infohashes);
        self.answer(result)
    }

    /// See [`Engine::stop`].
    pub fn stop(&mut self, now: Instant) {
        self.input(now, Input::Stop);
        self.engine.stop(now);
    }

    fn input(&mut self, now: Instant, input: Input<&Event>) {
        if let Some(tape) = &mut self.tape
            && !tape.input(now, &input)
        {
            self.tape = None;
        }
    }

    fn answer<T: fmt::Debug>(&mut self, answer: T) -> T {
        if let Some(tape) = &mut self.tape {
            tape.fingerprinter.answer(&answer);
        }
        answer
    }
}

impl Tape {
    /// Whether it could be written.
    fn input(&mut self, now: Instant, input: &Input<&Event>) -> bool {
        let encoded = log::write(&mut self.log, &Frame::Input { now, input });
        encoded.map(|encoded| self.fingerprinter.input(encoded)).is_ok()
    }

    fn polled(&mut self, action: Option<&Action>) {
        match action {
            Some(action) => self.fingerprinter.action(action),
            None if self.fingerprinter.inputs() >= self.checkpoint_at => {
                self.checkpoint();
            }
            None => {}
        }
    }

    fn checkpoint(&mut self) {
        let fingerprint = self.fingerprinter.fingerprint();
        self.checkpoint_at = fingerprint.inputs + CHECKPOINT_EVERY;
        let frame: Frame<Input> = Frame::Checkpoint(fingerprint);
        log::write(&mut self.log, &frame).expect("numbers can be encoded");
    }
}
