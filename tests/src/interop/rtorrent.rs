//! rtorrent: a daemon, driven over XML-RPC in SCGI.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::client::{Encryption, Peer, Role, Task};
use super::lab::until;
use super::process::Signal;
use super::{Lab, Outcome, Process, Seat};

/// A running `rtorrent` with one torrent.
#[derive(Debug)]
pub struct Rtorrent {
    seat: Seat,
    rpc: SocketAddr,
    process: Process,
}

impl Rtorrent {
    /// Starts it and gives it the task. A seed is waited for until it has checked its files.
    pub fn start(lab: &Lab, task: &Task<'_>) -> Outcome<Rtorrent> {
        let seat = lab.seat();
        let home = lab.make_dir("rtorrent-home")?;
        fs::create_dir(home.join("session"))?;
        let rpc = SocketAddr::new(seat.ip, seat.port + 1000);
        let encryption = match task.encryption {
            Some(Encryption::Rc4) => "allow_incoming,try_outgoing,require,require_RC4",
            Some(Encryption::Off) | None => "none",
            Some(Encryption::Handshake) => return Err("rtorrent has no such setting".into()),
        };
        let settings = [
            "system.daemon.set = true".to_owned(),
            format!("directory.default.set = {}", task.root.display()),
            format!("session.path.set = {}", home.join("session").display()),
            format!("network.port_range.set = {0}-{0}", seat.port),
            "network.port_random.set = no".to_owned(),
            format!("network.bind_address.set = {}", seat.ip),
            "dht.mode.set = disable".to_owned(),
            "protocol.pex.set = no".to_owned(),
            "trackers.use_udp.set = no".to_owned(),
            format!("protocol.encryption.set = {encryption}"),
            format!("network.scgi.open_port = {rpc}\n"),
        ];
        let path = home.join("rtorrent.rc");
        fs::write(&path, settings.join("\n"))?;
        let mut command = Command::new("rtorrent");
        command.args(["-n", "-o"]).arg(format!("import={}", path.display()));
        command.env("HOME", &home).env("TERM", "xterm");
        let process = Process::spawn(lab, &format!("rtorrent-{:?}", task.role), &command)?;
        let mut peer = Rtorrent { seat, rpc, process };
        until("rtorrent's RPC", Duration::from_secs(20), || {
            peer.process.ensure_running()?;
            Ok(peer.call("system.client_version", &[]).ok())
        })?;
        peer.call("load.start", &["", &task.source().to_string_lossy()])?;
        if task.role == Role::Seed {
            until("rtorrent to seed", Duration::from_secs(30), || {
                Ok(peer.is_complete()?.then_some(()))
            })?;
        }
        Ok(peer)
    }

    /// One call with words; the answer as it comes.
    fn call(&self, method: &str, words: &[&str]) -> Outcome<String> {
        let word = |word: &&str| format!("<param><value><string>{word}</string></value></param>");
        let words: String = words.iter().map(word).collect();
        let body = format!(
            "<?xml version=\"1.0\"?><methodCall><methodName>{method}</methodName>\
             <params>{words}</params></methodCall>"
        );
        let head = format!("CONTENT_LENGTH\0{}\0SCGI\x001\0", body.len());
        let mut stream = TcpStream::connect_timeout(&self.rpc, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(format!("{}:{head},{body}", head.len()).as_bytes())?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        match reply.contains("<fault>") || !reply.contains("<methodResponse>") {
            true => Err(format!("rtorrent: {method}: {reply}").into()),
            false => Ok(reply),
        }
    }
}

impl Peer for Rtorrent {
    fn seat(&self) -> Seat {
        self.seat
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn is_complete(&mut self) -> Outcome<bool> {
        self.process.ensure_running()?;
        let asked = ["", "main", "d.complete=", "d.hashing=", "d.is_active="];
        let answer = self.call("d.multicall2", &asked)?;
        // Three whole numbers of the one torrent.
        let numbers = answer.split("<i8>").skip(1).map(|rest| rest.split('<').next());
        Ok(numbers.eq([Some("1"), Some("0"), Some("1")]))
    }

    fn farewell(&self) -> Signal {
        Signal::INT
    }
}
