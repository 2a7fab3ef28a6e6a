//! What must come within its time: a word on every connection (BEP 3), and a turn to download for a
//! peer that waits at a seed.

use bitswarm_core::time::{Duration, Instant};

use super::Conn;
use crate::sim::check::{Settings, Watched};

/// BEP 3: "Messages of length zero are keepalives [...] generally sent once every two minutes".
const SILENCE: Duration = Duration::from_secs(120);
/// How long each holder of a slot keeps it at most while others wait, as far as a waiter may tell.
const TURN: Duration = Duration::from_secs(180);
/// Decisions and their way to the wire, on top of all turns.
const SLACK: Duration = Duration::from_secs(30);

/// When things last happened on a connection.
#[derive(Debug, Default)]
pub(in crate::sim::check) struct Pace {
    /// When the engine last had something on its way, once both have greeted.
    said_at: Option<Instant>,
    /// Since when the remote waits for a turn.
    waits_since: Option<Instant>,
}

impl Conn {
    /// The engine has said something.
    pub(in crate::sim::check) fn spoke(&mut self, now: Instant) -> Result<(), String> {
        let silence = self.judge_silence(now);
        if self.us.hello.is_some() && self.them.hello.is_some() {
            self.pace.said_at = Some(now);
        }
        silence
    }

    /// What it said has left only now.
    pub(in crate::sim::check) fn excuse_silence(&mut self, now: Instant) {
        self.pace.said_at = self.pace.said_at.map(|_| now);
    }

    /// It could not speak until now.
    pub(in crate::sim::check) fn excuse(&mut self, now: Instant) {
        self.pace.said_at = self.pace.said_at.map(|_| now);
        self.pace.waits_since = self.pace.waits_since.map(|_| now);
    }

    /// Whether the engine let the connection be silent for too long.
    pub(in crate::sim::check) fn judge_silence(&self, now: Instant) -> Result<(), String> {
        match self.pace.said_at.map(|at| now - at) {
            Some(silence) if silence > SILENCE => Err(format!("says nothing for {silence:?}")),
            _ => Ok(()),
        }
    }

    /// Whether the remote wants to download from one that has everything, and may not.
    fn waits(&self) -> bool {
        self.us.choking && self.them.interested && self.us.has.is_all() && !self.us.has.is_none()
    }

    /// Something was said: the remote may have begun to wait, or waits no more. Whether it waited too long.
    pub(super) fn mark_wait(
        &mut self,
        now: Instant,
        watched: &Watched,
        settings: Settings,
    ) -> Result<(), String> {
        let verdict = self.judge_wait(now, watched, settings);
        match (self.waits(), self.pace.waits_since) {
            (true, None) => self.pace.waits_since = Some(now),
            (false, Some(_)) => self.pace.waits_since = None,
            _ => {}
        }
        verdict
    }

    /// Whether the remote waits for too long, when so many others want something too.
    pub(in crate::sim::check) fn judge_wait(
        &self,
        now: Instant,
        watched: &Watched,
        settings: Settings,
    ) -> Result<(), String> {
        let Some(since) = self.pace.waits_since.filter(|_| settings.judges_turns) else {
            return Ok(());
        };
        let turns = watched.most_interested.div_ceil(settings.slots.max(1)).max(1);
        let most = TURN * u32::try_from(turns).unwrap_or(u32::MAX) + SLACK;
        match now - since {
            waited if waited > most => Err(format!(
                "lets one wait for {waited:?}, of {} with {} slots",
                watched.most_interested, settings.slots
            )),
            _ => Ok(()),
        }
    }
}
