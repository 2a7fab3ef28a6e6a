//! The engine's methods, with a log.

use std::fmt;
use std::net::SocketAddr;

use bytes::BytesMut;

use super::fingerprint::{Fingerprint, Fingerprinter};
use super::input::Input;
use super::log::{self, Frame, Header};
use crate::action::Action;
use crate::command::{Command, Commands, Reply};
use crate::config::Config;
use crate::engine::Engine;
use crate::event::Event;
use crate::id::{ConnId, SocketId};
use crate::metainfo::PathRules;
use crate::packet::Transmit;
use crate::segments::Segments;
use crate::time::{Instant, UnixTime};

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

    /// See [`Engine::gather_datagrams`].
    pub fn gather_datagrams(
        &mut self,
        now: Instant,
        socket: SocketId,
        segments: usize,
        out: &mut BytesMut,
    ) -> Option<Transmit> {
        self.input(now, Input::GatherDatagrams { socket, segments });
        let transmit = self.engine.gather_datagrams(now, socket, segments, out);
        self.answer((transmit, out)).0
    }

    /// See [`Engine::command`].
    pub fn command(&mut self, now: Instant, command: Command) -> Reply {
        if self.tape.is_some() {
            self.input(
                now,
                match &command {
                    Command::AddTorrent(add) => Input::AddTorrent(Box::new((&**add).into())),
                    command => Input::Command(command),
                },
            );
        }
        let reply = self.engine.command(now, command);
        self.answer(reply)
    }

    fn input(&mut self, now: Instant, input: Input<&Event, &Command>) {
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

impl Commands for Recorder {
    fn command(&mut self, now: Instant, command: Command) -> Reply {
        Recorder::command(self, now, command)
    }
}

impl Tape {
    /// Whether it could be written.
    fn input(&mut self, now: Instant, input: &Input<&Event, &Command>) -> bool {
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
