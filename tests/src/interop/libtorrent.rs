//! libtorrent, driven through `lt_peer.py` beside this file.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::client::{Encryption, Peer, Role, Task};
use super::lab::until;
use super::{Lab, Outcome, Process, Seat, need};

/// A running libtorrent session with one torrent.
#[derive(Debug)]
pub struct Libtorrent {
    seat: Seat,
    process: Process,
}

impl Libtorrent {
    /// Starts it on a task, and waits until it listens.
    pub fn start(lab: &Lab, task: &Task<'_>) -> Outcome<Libtorrent> {
        let seat = lab.seat();
        let mut command = script();
        command.arg(match task.role {
            Role::Seed => "seed",
            Role::Leech => "leech",
        });
        command.arg(task.source()).arg(&task.root).arg(seat.addr().to_string());
        command.arg(task.up_bytes_per_s.unwrap_or(0).to_string());
        command.args(task.pex.then_some("pex")).args(task.lsd.then_some("lsd"));
        command.args(task.dht.map(|router| format!("dht={router}")));
        command.args(task.tells_hashes.then_some("hashes"));
        command.args(task.utp.then_some("utp"));
        command.args(task.encryption.map(|encryption| match encryption {
            Encryption::Off => "encryption=off",
            Encryption::Handshake => "encryption=handshake",
            Encryption::Rc4 => "encryption=rc4",
        }));
        let process = Process::spawn(lab, &format!("libtorrent-{:?}", task.role), &command)?;
        let mut peer = Libtorrent { seat, process };
        until("libtorrent to listen", Duration::from_secs(20), || {
            peer.process.ensure_running()?;
            Ok(peer.last("listening").map(drop))
        })?;
        Ok(peer)
    }

    /// How many lines it printed of this kind.
    pub fn count(&self, event: &str) -> usize {
        let text = self.process.stdout();
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.filter(|line: &serde_json::Value| line["event"] == event).count()
    }

    /// The last line that it printed of this kind.
    pub fn last(&self, event: &str) -> Option<serde_json::Value> {
        let text = self.process.stdout();
        let lines = text.lines().rev().filter_map(|line| serde_json::from_str(line).ok());
        lines.into_iter().find(|line: &serde_json::Value| line["event"] == event)
    }
}

impl Peer for Libtorrent {
    fn seat(&self) -> Seat {
        self.seat
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn is_complete(&mut self) -> Outcome<bool> {
        self.process.ensure_running()?;
        if let Some(error) = self.last("error") {
            return Err(format!("libtorrent: {error}").into());
        }
        Ok(self.last("finished").is_some())
    }
}

/// The command that runs `lt_peer.py`, without arguments.
pub fn script() -> Command {
    let mut command = Command::new(need::python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/interop/lt_peer.py"));
    command
}
