//! Transmission: a daemon, driven over its RPC (JSON in HTTP).

use std::cell::RefCell;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Encryption, Peer, Role, Task};
use super::lab::until;
use super::{Lab, Outcome, Process, Seat};

/// Torrent status of the RPC: 6 is seeding.
const SEEDING: u64 = 6;

/// A running `transmission-daemon` with one torrent.
#[derive(Debug)]
pub struct Transmission {
    seat: Seat,
    rpc: SocketAddr,
    session_id: RefCell<String>,
    process: Process,
}

impl Transmission {
    /// Starts the daemon and gives it the task. A seed is waited for until it has checked its
    /// files.
    pub fn start(lab: &Lab, task: &Task<'_>) -> Outcome<Transmission> {
        let seat = lab.seat();
        let home = lab.make_dir("transmission-home")?;
        let rpc = SocketAddr::new(seat.ip, seat.port + 1000);
        fs::write(home.join("settings.json"), settings(seat, rpc, task).to_string())?;
        let mut command = Command::new("transmission-daemon");
        command.args(["--foreground", "--config-dir"]).arg(&home).env("HOME", &home);
        let name = format!("transmission-{:?}", task.role);
        let process = Process::spawn(lab, &name, &command)?;
        let mut peer = Transmission { seat, rpc, session_id: RefCell::default(), process };
        until("transmission's RPC", Duration::from_secs(30), || {
            peer.process.ensure_running()?;
            Ok(peer.call("session-get", &json!({})).ok())
        })?;
        let added =
            peer.call("torrent-add", &json!({ "filename": task.source().to_string_lossy() }))?;
        if added.get("torrent-added").is_none() {
            return Err(format!("transmission did not take the torrent: {added}").into());
        }
        if task.role == Role::Seed {
            until("transmission to seed", Duration::from_secs(60), || {
                Ok((peer.torrent()?["status"] == SEEDING).then_some(()))
            })?;
        }
        Ok(peer)
    }

    /// How its torrent stands.
    pub fn torrent(&self) -> Outcome<Value> {
        let fields = ["status", "leftUntilDone", "sizeWhenDone", "errorString", "error"];
        let answer = self.call("torrent-get", &json!({ "fields": fields }))?;
        Ok(answer["torrents"][0].clone())
    }

    /// What the torrent's first tracker told it: `lastScrapeSucceeded`, `seederCount`, ...
    pub fn tracker(&self) -> Outcome<Value> {
        let answer = self.call("torrent-get", &json!({ "fields": ["trackerStats"] }))?;
        Ok(answer["torrents"][0]["trackerStats"][0].clone())
    }

    /// One call of its RPC. The first is refused with the session id to use.
    fn call(&self, method: &str, arguments: &Value) -> Outcome<Value> {
        let body = json!({ "method": method, "arguments": arguments }).to_string();
        let mut reply = self.post(&body)?;
        if let Some(id) = session_id(&reply) {
            self.session_id.replace(id);
            reply = self.post(&body)?;
        }
        let (_, body) = reply.split_once("\r\n\r\n").ok_or("reply without a body")?;
        let answer: Value = serde_json::from_str(body).map_err(|_| reply.clone())?;
        match answer["result"] == "success" {
            true => Ok(answer["arguments"].clone()),
            false => Err(format!("transmission: {method}: {answer}").into()),
        }
    }

    fn post(&self, body: &str) -> Outcome<String> {
        let mut stream = TcpStream::connect_timeout(&self.rpc, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        // HTTP/1.0: the answer is not chunked and ends with the connection.
        let head = format!(
            "POST /transmission/rpc HTTP/1.0\r\nX-Transmission-Session-Id: {}\r\n\
             Content-Length: {}\r\n\r\n",
            self.session_id.borrow(),
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Ok(reply)
    }
}

impl Peer for Transmission {
    fn seat(&self) -> Seat {
        self.seat
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn is_complete(&mut self) -> Outcome<bool> {
        self.process.ensure_running()?;
        let torrent = self.torrent()?;
        // Errors 1 and 2 are a tracker's; 3 is its own, such as a full disk.
        if torrent["error"] == 3 {
            return Err(format!("transmission: {torrent}").into());
        }
        Ok(torrent["sizeWhenDone"] != 0 && torrent["leftUntilDone"] == 0)
    }
}

/// The session id of a refusal for the want of it.
fn session_id(reply: &str) -> Option<String> {
    let mut lines = reply.lines();
    let refused = lines.next()?.split(' ').nth(1) == Some("409");
    let id = lines.find_map(|line| line.strip_prefix("X-Transmission-Session-Id: "))?;
    refused.then(|| id.trim().to_owned())
}

fn settings(seat: Seat, rpc: SocketAddr, task: &Task<'_>) -> Value {
    json!({
        "bind-address-ipv4": seat.ip,
        "bind-address-ipv6": "::1",
        "peer-port": seat.port,
        "port-forwarding-enabled": false,
        "dht-enabled": false,
        "lpd-enabled": false,
        "pex-enabled": false,
        "utp-enabled": task.utp,
        // 0 tolerated, 1 preferred, 2 required.
        "encryption": if task.encryption == Some(Encryption::Rc4) { 2 } else { 0 },
        "download-dir": task.root,
        "incomplete-dir-enabled": false,
        "preallocation": 0,
        "download-queue-enabled": false,
        "seed-queue-enabled": false,
        "queue-stalled-enabled": false,
        "speed-limit-up-enabled": task.up_bytes_per_s.is_some(),
        "speed-limit-up": task.up_bytes_per_s.unwrap_or(0) / 1000,
        "rpc-bind-address": rpc.ip(),
        "rpc-port": rpc.port(),
        "rpc-whitelist-enabled": false,
        "rpc-host-whitelist-enabled": false,
        "rpc-authentication-required": false,
        "message-level": 2,
    })
}
