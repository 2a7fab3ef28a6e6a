//! opentracker, a tracker that public swarms run on (package `opentracker`).

use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use super::lab::until;
use super::{Lab, Need, Outcome, Process, Seat};

/// A running opentracker. Dropping it stops it.
#[derive(Debug)]
pub struct Opentracker {
    _process: Process,
}

impl Opentracker {
    /// What it needs of the machine.
    pub const NEEDS: &[Need] = &[Need::Program("opentracker"), Need::Root];

    /// Starts it at this seat, over HTTP and UDP, for one torrent: as Debian builds it, it serves
    /// those on its list alone.
    pub fn start(lab: &Lab, seat: Seat, infohash_hex: &str) -> Outcome<Opentracker> {
        // It makes this directory its root, and reads the list there as nobody.
        let root = lab.make_dir("opentracker")?;
        fs::write(root.join("list"), format!("{infohash_hex}\n"))?;
        let port = seat.port.to_string();
        let mut command = Command::new("opentracker");
        command.args(["-i", &seat.ip.to_string(), "-p", &port, "-P", &port, "-u", "nobody"]);
        command.arg("-d").arg(&root).args(["-w", "list"]);
        let mut process = Process::spawn(lab, "opentracker", &command)?;
        until("opentracker to listen", Duration::from_secs(10), || {
            process.ensure_running()?;
            Ok(TcpStream::connect(seat.addr()).ok())
        })?;
        Ok(Opentracker { _process: process })
    }
}
