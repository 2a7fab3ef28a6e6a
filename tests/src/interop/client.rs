//! The clients that take part, behind one face: start one with a task, ask whether it is done,
//! stop it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::process::Signal;
use super::{Lab, Need, Outcome, Process, Seat, Torrent};
use super::{
    aria2::Aria2, bitswarm::Bitswarm, libtorrent::Libtorrent, rtorrent::Rtorrent,
    transmission::Transmission,
};

/// Longest a client may take to leave after it was asked to. Transmission waits for its tracker.
const STOP_WITHIN: Duration = Duration::from_secs(25);

/// A BitTorrent client that can take part in a test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Client {
    /// Ours, on one of its runtimes.
    Bitswarm(Runtime),
    /// `transmission-daemon`.
    Transmission,
    /// `aria2c`.
    Aria2,
    /// libtorrent, through its Python bindings.
    Libtorrent,
    /// `rtorrent`.
    Rtorrent,
}

/// A runtime of our client, as `--runtime` names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Runtime {
    /// `mio`
    Mio,
    /// `async-std`
    AsyncStd,
}

impl Runtime {
    /// Every one.
    pub const ALL: [Runtime; 2] = [Runtime::Mio, Runtime::AsyncStd];

    /// Its name on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Runtime::Mio => "mio",
            Runtime::AsyncStd => "async-std",
        }
    }
}

/// What a client is to do with a torrent.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// The torrent.
    pub torrent: &'a Torrent,
    /// The directory that contains (or is to contain) the torrent's name.
    pub root: PathBuf,
    /// Give or get.
    pub role: Role,
    /// Bytes per second it may send; `None`: as fast as it can.
    pub up_bytes_per_s: Option<u64>,
    /// The magnet link that it gets instead of the .torrent file.
    pub magnet: Option<String>,
    /// Whether it exchanges peers with peers (libtorrent and ours).
    pub pex: bool,
    /// Whether it looks for peers by local discovery (libtorrent and ours).
    pub lsd: bool,
    /// A node by which it takes part in the DHT (libtorrent and ours).
    pub dht: Option<SocketAddr>,
    /// Whether it tells of the hashes that it gets (libtorrent).
    pub tells_hashes: bool,
    /// Whether it speaks uTP with peers: Transmission beside TCP, libtorrent and ours alone.
    pub utp: bool,
    /// How its connections are to be encrypted; `None`: as it is by itself.
    pub encryption: Option<Encryption>,
}

/// How the connections of a client are encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encryption {
    /// Not at all (libtorrent, rtorrent).
    Off,
    /// By MSE, with plain text behind its handshake (libtorrent).
    Handshake,
    /// By RC4 alone.
    Rc4,
}

/// Whether a client has the content or wants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It has everything.
    Seed,
    /// It has nothing (or some of it) and wants all.
    Leech,
}

impl<'a> Task<'a> {
    /// Seed from the torrent's original content.
    pub fn seed(torrent: &'a Torrent) -> Self {
        Task::new(torrent, torrent.content.root().to_owned(), Role::Seed)
    }

    /// Download into `root`.
    pub fn leech(torrent: &'a Torrent, root: impl Into<PathBuf>) -> Self {
        Task::new(torrent, root.into(), Role::Leech)
    }

    fn new(torrent: &'a Torrent, root: PathBuf, role: Role) -> Self {
        Task {
            torrent,
            root,
            role,
            up_bytes_per_s: None,
            magnet: None,
            pex: false,
            lsd: false,
            dht: None,
            tells_hashes: false,
            utp: false,
            encryption: None,
        }
    }

    /// The same over uTP.
    pub fn over_utp(self) -> Self {
        Task { utp: true, ..self }
    }

    /// The same with a magnet link: the infohash and these further parameters, such as
    /// `&tr=http%3A%2F%2F...`.
    pub fn by_magnet(self, parameters: &str) -> Self {
        let hash: String = self.torrent.infohash.iter().map(|b| format!("{b:02x}")).collect();
        Task { magnet: Some(format!("magnet:?xt=urn:btih:{hash}{parameters}")), ..self }
    }

    /// The same with a magnet link that knows the infohash of version 2 alone: a multihash, which
    /// begins with the number of SHA2-256 and its length.
    pub fn by_magnet_of_v2(self, parameters: &str) -> Self {
        let hash = self.torrent.infohash_v2.expect("a torrent of version 2");
        let hash: String = hash.iter().map(|b| format!("{b:02x}")).collect();
        Task { magnet: Some(format!("magnet:?xt=urn:btmh:1220{hash}{parameters}")), ..self }
    }

    /// The same with encryption.
    pub fn encrypted(self, encryption: Encryption) -> Self {
        Task { encryption: Some(encryption), ..self }
    }

    /// The same, telling of hashes.
    pub fn telling_hashes(self) -> Self {
        Task { tells_hashes: true, ..self }
    }

    /// The same with peer exchange.
    pub fn with_pex(self) -> Self {
        Task { pex: true, ..self }
    }

    /// The same with local discovery.
    pub fn with_lsd(self) -> Self {
        Task { lsd: true, ..self }
    }

    /// The same in the DHT of this node.
    pub fn with_dht(self, router: SocketAddr) -> Self {
        Task { dht: Some(router), ..self }
    }

    /// What it is told to download or seed: a file or a link.
    pub fn source(&self) -> OsString {
        let file = self.torrent.path.clone().into_os_string();
        self.magnet.clone().map_or(file, OsString::from)
    }

    /// The same with a limit on what it sends.
    pub fn up(self, bytes_per_s: u64) -> Self {
        Task { up_bytes_per_s: Some(bytes_per_s), ..self }
    }
}

/// A running client.
pub trait Peer {
    /// Where it sits.
    fn seat(&self) -> Seat;

    /// Its process.
    fn process(&mut self) -> &mut Process;

    /// Whether it says itself that it has everything.
    fn is_complete(&mut self) -> Outcome<bool>;

    /// The signal at which it leaves in order.
    fn farewell(&self) -> Signal {
        Signal::TERM
    }

    /// Asks it to leave, and waits until it has.
    fn stop(&mut self) -> Outcome {
        if self.process().ended()?.is_none() {
            let farewell = self.farewell();
            self.process().signal(farewell)?;
            self.process().wait(STOP_WITHIN)?;
        }
        Ok(())
    }
}

impl Client {
    /// A seed for cases that are about our download and not about who gives: libtorrent if it is
    /// there, else our own.
    pub fn any_seed() -> Client {
        match Need::Libtorrent.missing() {
            None => Client::Libtorrent,
            Some(_) => Client::Bitswarm(Runtime::Mio),
        }
    }

    /// What it takes to run it.
    pub fn needs(self) -> &'static [Need] {
        match self {
            Client::Bitswarm(_) => &[],
            Client::Transmission => &[Need::Transmission],
            Client::Aria2 => &[Need::Aria2],
            Client::Libtorrent => &[Need::Libtorrent],
            Client::Rtorrent => &[Need::Program("rtorrent")],
        }
    }

    /// Whether it makes a torrent's files of length 0.
    pub fn makes_empty_files(self) -> bool {
        matches!(self, Client::Bitswarm(_) | Client::Libtorrent)
    }

    /// Starts it on a task, at a new seat.
    pub fn start(self, lab: &Lab, task: &Task<'_>) -> Outcome<Box<dyn Peer>> {
        Ok(match self {
            Client::Bitswarm(runtime) => {
                let arguments = ["--runtime", runtime.word()];
                Box::new(Bitswarm::start_with(lab, lab.seat(), task, &arguments)?)
            }
            Client::Transmission => Box::new(Transmission::start(lab, task)?),
            Client::Aria2 => Box::new(Aria2::start(lab, task)?),
            Client::Libtorrent => Box::new(Libtorrent::start(lab, task)?),
            Client::Rtorrent => Box::new(Rtorrent::start(lab, task)?),
        })
    }
}
