//! Feeding a log to a fresh engine.

use std::fmt;

use bytes::BytesMut;

use super::fingerprint::{Fingerprint, Fingerprinter};
use super::input::Input;
use super::log::{self, Frame, Header};
use crate::action::Action;
use crate::command::Command;
use crate::engine::Engine;
use crate::id::ConnId;
use crate::metainfo::PathRules;
use crate::segments::Segments;
use crate::time::Instant;

/// Plays a log to its end.
///
/// A log that was cut off is played as far as it is whole; [`Replayed::cut_off`] tells.
pub fn replay(log: &[u8]) -> Result<Replayed, ReplayError> {
    let mut replayer = Replayer::new(log)?;
    while replayer.step()?.is_some() {}
    Ok(Replayed {
        fingerprint: replayer.fingerprint(),
        ended_at: replayer.now,
        cut_off: !replayer.rest.is_empty(),
    })
}

/// A log that was played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replayed {
    /// What the run came to.
    pub fingerprint: Fingerprint,
    /// The time of the last input.
    pub ended_at: Instant,
    /// Whether the log ends in the middle of something: its host died while it wrote.
    pub cut_off: bool,
}

/// Why a log cannot be played, or not to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReplayError {
    /// It is something else.
    NotALog,
    /// It was recorded by a version of bitswarm with another form.
    UnknownVersion(u16),
    /// Something in it makes no sense.
    Damaged {
        /// How many inputs were played before.
        inputs: u64,
    },
    /// The engine did something else than when it was recorded.
    Diverged {
        /// The last checkpoint that was equal, by the number of inputs before it.
        equal_until: u64,
        /// The checkpoint that is not, by the number of inputs before it.
        different_at: u64,
        /// What is different.
        what: Difference,
    },
}

/// In what two runs differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Difference {
    /// What an input returned.
    Answers,
    /// What was to be done.
    Actions,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplayError::NotALog => f.write_str("not a recording"),
            ReplayError::UnknownVersion(version) => {
                write!(f, "recording of unknown version {version}; replay it with what made it")
            }
            ReplayError::Damaged { inputs } => {
                let noun = if *inputs == 1 { "input" } else { "inputs" };
                write!(f, "recording is damaged after {inputs} {noun}")
            }
            ReplayError::Diverged { equal_until, different_at, what } => {
                let what = match what {
                    Difference::Answers => "answers",
                    Difference::Actions => "actions",
                };
                write!(f, "{what} differ between inputs {equal_until} and {different_at}")?;
                f.write_str("; the engine is not the one that was recorded, or not deterministic")
            }
        }
    }
}

impl std::error::Error for ReplayError {}

/// What a replay comes across; see [`Replayer::step_watched`].
#[derive(Debug)]
pub enum Seen<'a> {
    /// An input that is about to be played.
    Input(&'a Input),
    /// What `accept` returned.
    Accepted(Option<ConnId>),
    /// How many bytes `gather` returned.
    Gathered(usize),
    /// Something that was to be done.
    Action(&'a Action),
}

/// Plays a log input by input.
#[derive(Debug)]
pub struct Replayer<'a> {
    engine: Engine,
    rules: PathRules,
    rest: &'a [u8],
    now: Instant,
    fingerprinter: Fingerprinter,
    equal_until: u64,
}

impl<'a> Replayer<'a> {
    /// A fresh engine, born as the log says.
    pub fn new(log: &'a [u8]) -> Result<Self, ReplayError> {
        let (magic, rest) = log.split_first_chunk().ok_or(ReplayError::NotALog)?;
        if *magic != log::MAGIC {
            return Err(ReplayError::NotALog);
        }
        let damaged = ReplayError::Damaged { inputs: 0 };
        let (version, mut rest) = rest.split_first_chunk().ok_or(damaged.clone())?;
        let version = u16::from_le_bytes(*version);
        if version != log::VERSION {
            return Err(ReplayError::UnknownVersion(version));
        }
        let header: Header = log::next(&mut rest).and_then(log::read).ok_or(damaged)?;
        Ok(Replayer {
            engine: Engine::new(header.config, header.seed, header.now, header.wall),
            rules: if header.windows_paths { PathRules::Windows } else { PathRules::Unix },
            rest,
            now: header.now,
            fingerprinter: Fingerprinter::default(),
            equal_until: 0,
        })
    }

    /// Plays the next input and drains what comes of it, comparing at checkpoints on the way.
    /// Returns the time of the input; `None` at the end of the log.
    pub fn step(&mut self) -> Result<Option<Instant>, ReplayError> {
        self.step_watched(&mut |_| {})
    }

    /// The same, with someone who watches: what went in and came out, in order. (Actions are seen
    /// right after the input that caused them; a host may have made further calls before it took
    /// them.)
    pub fn step_watched(
        &mut self,
        watch: &mut dyn FnMut(Seen<'_>),
    ) -> Result<Option<Instant>, ReplayError> {
        while let Some(content) = log::next(&mut self.rest) {
            match log::read::<Frame<Input>>(content) {
                Some(Frame::Input { now, input }) => {
                    self.now = now;
                    self.fingerprinter.input(content);
                    watch(Seen::Input(&input));
                    self.apply(now, input, watch)?;
                    self.drain(watch);
                    return Ok(Some(now));
                }
                Some(Frame::Checkpoint(expected)) => self.compare(expected, watch)?,
                None => return Err(self.damaged()),
            }
        }
        Ok(None)
    }

    /// The engine as it stands.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// How many bytes of the log are left: at its end, those of a frame that was cut off.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// What everything so far comes to.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprinter.fingerprint()
    }

    fn apply(
        &mut self,
        now: Instant,
        input: Input,
        watch: &mut dyn FnMut(Seen<'_>),
    ) -> Result<(), ReplayError> {
        let engine = &mut self.engine;
        let print = &mut self.fingerprinter;
        match input {
            Input::Event(event) => engine.handle(now, event),
            Input::Accept { socket, from } => {
                let conn = engine.accept(now, socket, from);
                print.answer(&conn);
                watch(Seen::Accepted(conn));
            }
            Input::Gather { conn, limit } => {
                let mut out = Segments::new();
                engine.gather(now, conn, limit, &mut out);
                watch(Seen::Gathered(out.len()));
                print.bytes(&mut out);
            }
            Input::GatherDatagrams { socket, segments } => {
                let mut out = BytesMut::new();
                let transmit = engine.gather_datagrams(now, socket, segments, &mut out);
                print.answer(&(transmit, out));
            }
            Input::AddTorrent(add) => {
                let Ok(add) = add.into_add(self.rules) else { return Err(self.damaged()) };
                print.answer(&engine.command(now, Command::AddTorrent(Box::new(add))));
            }
            Input::Command(command) => print.answer(&engine.command(now, command)),
        }
        Ok(())
    }

    fn drain(&mut self, watch: &mut dyn FnMut(Seen<'_>)) {
        while let Some(action) = self.engine.poll_action() {
            watch(Seen::Action(&action));
            self.fingerprinter.action(&action);
        }
    }

    fn compare(
        &mut self,
        expected: Fingerprint,
        watch: &mut dyn FnMut(Seen<'_>),
    ) -> Result<(), ReplayError> {
        // The first checkpoint comes before the first input: a new engine has actions too.
        self.drain(watch);
        let found = self.fingerprint();
        if found == expected {
            self.equal_until = found.inputs;
            return Ok(());
        }
        let answers_differ = found.inputs_hash != expected.inputs_hash;
        Err(ReplayError::Diverged {
            equal_until: self.equal_until,
            different_at: found.inputs,
            what: if answers_differ { Difference::Answers } else { Difference::Actions },
        })
    }

    fn damaged(&self) -> ReplayError {
        ReplayError::Damaged { inputs: self.fingerprinter.inputs() }
    }
}
