//! A small tracker over HTTP (BEP 3, BEP 23) and UDP (BEP 15), written without the core: it
//! remembers every announce and gives everyone the others.
//!
//! It answers at once and asks to be asked again every few seconds, so that nobody's order of
//! arrival matters. It never forgets a peer but one that said `stopped`.

mod http;
mod tls;
mod udp;

pub use http::Manner;
pub use tls::TlsDoor;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::{Lab, Outcome};

/// Seconds between two announces that the tracker asks for.
const INTERVAL_S: u32 = 5;
/// How often the UDP side looks whether it is to stop.
const STOP_WITHIN: Duration = Duration::from_millis(200);

/// A running tracker. Dropping it stops it.
#[derive(Debug)]
pub struct Tracker {
    addr: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// One announce as it came.
#[derive(Clone, Debug)]
pub struct Announce {
    /// Which torrent.
    pub infohash: Vec<u8>,
    /// Where it came from, with the port it named.
    pub peer: SocketAddr,
    /// `started`, `completed`, `stopped`, or nothing.
    pub event: String,
    /// Bytes it says it still lacks.
    pub left: Option<u64>,
    /// Bytes it says it has downloaded.
    pub downloaded: Option<u64>,
    /// Bytes it says it has uploaded.
    pub uploaded: Option<u64>,
    /// Whether it asked for the compact form.
    pub compact: bool,
}

#[derive(Debug, Default)]
struct Shared {
    announces: Mutex<Vec<Announce>>,
    extra: Mutex<HashMap<Vec<u8>, Vec<SocketAddr>>>,
    stop: AtomicBool,
}

impl Tracker {
    /// Starts a tracker at a seat of its own.
    pub fn start(lab: &Lab) -> Outcome<Tracker> {
        Tracker::start_at(lab.seat().addr())
    }

    /// Starts a tracker at an address.
    pub fn start_at(addr: SocketAddr) -> Outcome<Tracker> {
        let listener = TcpListener::bind(addr)?;
        let socket = UdpSocket::bind(addr)?;
        socket.set_read_timeout(Some(STOP_WITHIN))?;
        let shared = Arc::new(Shared::default());
        let (for_http, for_udp) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            thread::spawn(move || http::serve(&listener, &for_http)),
            thread::spawn(move || udp::serve(&socket, &for_udp)),
        ];
        Ok(Tracker { addr, shared, threads })
    }

    /// Its announce URL.
    pub fn url(&self) -> String {
        self.url_with(Manner::Plain)
    }

    /// An announce URL whose answers come in another manner.
    pub fn url_with(&self, manner: Manner) -> String {
        format!("http://{}{}", self.addr, manner.path())
    }

    /// The same over UDP.
    pub fn udp_url(&self) -> String {
        format!("udp://{}/announce", self.addr)
    }

    /// Names a peer to everyone though it never announces itself.
    pub fn add_peer(&self, infohash: [u8; 20], peer: SocketAddr) {
        lock(&self.shared.extra).entry(infohash.to_vec()).or_default().push(peer);
    }

    /// Every announce so far, in order.
    pub fn announces(&self) -> Vec<Announce> {
        lock(&self.shared.announces).clone()
    }

    /// The events of one client (known by the port it names), in order, with its last `left`.
    pub fn history(&self, port: u16) -> Vec<Announce> {
        self.announces().into_iter().filter(|announce| announce.peer.port() == port).collect()
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the thread from its accept.
        let _ = TcpStream::connect(self.addr);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Everyone in the swarm but the one who asks.
fn others(shared: &Shared, asking: &Announce) -> Vec<SocketAddr> {
    let mut peers = lock(&shared.extra).get(&asking.infohash).cloned().unwrap_or_default();
    for announce in lock(&shared.announces).iter() {
        if announce.infohash == asking.infohash {
            peers.retain(|peer| *peer != announce.peer);
            if announce.event != "stopped" {
                peers.push(announce.peer);
            }
        }
    }
    peers.retain(|peer| *peer != asking.peer);
    peers
}

/// The IPv4 peers as BEP 23 and BEP 15 have them: 4 bytes of address, 2 of port.
fn compact(peers: &[SocketAddr]) -> Vec<u8> {
    let mut compact = Vec::new();
    for peer in peers {
        let IpAddr::V4(ip) = peer.ip() else { continue };
        compact.extend_from_slice(&ip.octets());
        compact.extend_from_slice(&peer.port().to_be_bytes());
    }
    compact
}

/// The IPv6 peers as BEP 7 has them: 16 bytes of address, 2 of port.
fn compact6(peers: &[SocketAddr]) -> Vec<u8> {
    let mut compact = Vec::new();
    for peer in peers {
        let IpAddr::V6(ip) = peer.ip() else { continue };
        compact.extend_from_slice(&ip.octets());
        compact.extend_from_slice(&peer.port().to_be_bytes());
    }
    compact
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
