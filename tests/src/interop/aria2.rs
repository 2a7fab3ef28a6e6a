//! aria2: a command that ends when its download is complete, or seeds until it is stopped.

use std::process::Command;

use super::client::{Encryption, Peer, Role, Task};
use super::{Lab, Outcome, Process, Seat};

/// A running `aria2c`.
#[derive(Debug)]
pub struct Aria2 {
    seat: Seat,
    process: Process,
}

impl Aria2 {
    /// Starts it on a task. Nothing but the tracker tells it of peers.
    pub fn start(lab: &Lab, task: &Task<'_>) -> Outcome<Aria2> {
        let seat = lab.seat();
        let home = lab.make_dir("aria2-home")?;
        let mut command = Command::new("aria2c");
        command.env("HOME", &home).current_dir(&home).args([
            "--no-conf",
            "--log=-",
            "--log-level=info",
            "--show-console-readout=false",
            "--enable-dht=false",
            "--enable-dht6=false",
            "--bt-enable-lpd=false",
            "--enable-peer-exchange=false",
            "--disable-ipv6=true",
            "--file-allocation=none",
            "--bt-request-peer-speed-limit=100M",
        ]);
        command.arg(format!("--interface={}", seat.ip));
        command.arg(format!("--listen-port={}", seat.port));
        command.arg(format!("--dir={}", task.root.display()));
        if let Some(rate) = task.up_bytes_per_s {
            command.arg(format!("--max-overall-upload-limit={rate}"));
        }
        if task.encryption == Some(Encryption::Rc4) {
            command.args(["--bt-require-crypto=true", "--bt-min-crypto-level=arc4"]);
        }
        match task.role {
            Role::Seed => command.args(["--seed-ratio=0.0", "--check-integrity=true"]),
            Role::Leech => command.arg("--seed-time=0"),
        };
        command.arg(task.source());
        let process = Process::spawn(lab, &format!("aria2-{:?}", task.role), &command)?;
        Ok(Aria2 { seat, process })
    }
}

impl Peer for Aria2 {
    fn seat(&self) -> Seat {
        self.seat
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn is_complete(&mut self) -> Outcome<bool> {
        match self.process.ended()? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => Err(format!("aria2: {status}").into()),
        }
    }
}
