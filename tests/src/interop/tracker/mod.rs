//! A small tracker over HTTP (BEP 3, BEP 23) and UDP (BEP 15), written without the core: it
//! remembers every announce and gives everyone the others.
//!
//! It answers at once and asks to be asked again every few seconds, so that nobody's order of
//! arrival matters. It never forgets a peer but one that said `stopped`.

mod udp;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::bencode::write_bytes;
use super::{Lab, Outcome};

/// Seconds between two announces that the tracker asks for.
const INTERVAL_S: u32 = 5;
/// How often the UDP side looks whether it is to stop.
const STOP_WITHIN: Duration = Duration::from_millis(200);
/// Longest a client may take over its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

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
        let addr = lab.seat().addr();
        let listener = TcpListener::bind(addr)?;
        let socket = UdpSocket::bind(addr)?;
        socket.set_read_timeout(Some(STOP_WITHIN))?;
        let shared = Arc::new(Shared::default());
        let (for_http, for_udp) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            thread::spawn(move || serve(&listener, &for_http)),
            thread::spawn(move || udp::serve(&socket, &for_udp)),
        ];
        Ok(Tracker { addr, shared, threads })
    }

    /// Its announce URL.
    pub fn url(&self) -> String {
        format!("http://{}/announce", self.addr)
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

fn serve(listener: &TcpListener, shared: &Shared) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        // One at a time: requests are small and clients of a test few. One that is cut off or
        // sends nonsense loses its own answer only.
        if let Ok(stream) = stream {
            let _ = answer(stream, shared);
        }
    }
}

fn answer(mut stream: TcpStream, shared: &Shared) -> Outcome {
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    let from = stream.peer_addr()?.ip();
    let target = read_request(&stream)?;
    let body = match target.split_once('?') {
        Some(("/announce", query)) => announce_reply(shared, from, query),
        _ => failure("this tracker answers /announce only"),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    Ok(stream.write_all(&body)?)
}

/// Reads the request up to the empty line; returns its target.
fn read_request(stream: &TcpStream) -> Outcome<String> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().ok_or("no request")??;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    Ok(first.split(' ').nth(1).ok_or("no target")?.to_owned())
}

fn announce_reply(shared: &Shared, from: IpAddr, query: &str) -> Vec<u8> {
    let fields: HashMap<&str, Vec<u8>> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key, percent_decode(value)))
        .collect();
    let text = |key| fields.get(key).and_then(|value| std::str::from_utf8(value).ok());
    let number = |key| text(key).and_then(|value| value.parse::<u64>().ok());
    let port = text("port").and_then(|port| port.parse::<u16>().ok());
    let (Some(infohash), Some(port)) = (fields.get("info_hash"), port) else {
        return failure("info_hash or port is missing");
    };
    let announce = Announce {
        infohash: infohash.clone(),
        peer: SocketAddr::new(from, port),
        event: text("event").unwrap_or_default().to_owned(),
        left: number("left"),
        downloaded: number("downloaded"),
        uploaded: number("uploaded"),
        compact: text("compact") == Some("1"),
    };
    let others = others(shared, &announce);
    lock(&shared.announces).push(announce);
    success(&others)
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

fn success(peers: &[SocketAddr]) -> Vec<u8> {
    let head = format!("d8:intervali{INTERVAL_S}e12:min intervali{INTERVAL_S}e5:peers");
    let mut out = head.into_bytes();
    write_bytes(&mut out, &compact(peers));
    out.push(b'e');
    out
}

/// Peers as BEP 23 and BEP 15 have them: 4 bytes of address, 2 of port.
fn compact(peers: &[SocketAddr]) -> Vec<u8> {
    let mut compact = Vec::new();
    for peer in peers {
        let IpAddr::V4(ip) = peer.ip() else { continue };
        compact.extend_from_slice(&ip.octets());
        compact.extend_from_slice(&peer.port().to_be_bytes());
    }
    compact
}

fn failure(reason: &str) -> Vec<u8> {
    let mut out = b"d14:failure reason".to_vec();
    write_bytes(&mut out, reason.as_bytes());
    out.push(b'e');
    out
}

fn percent_decode(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        let escaped = (byte == b'%').then(|| {
            let digits = [bytes.next()?, bytes.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()
        });
        out.push(escaped.flatten().unwrap_or(byte));
    }
    out
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::interop::bencode::Value;

    #[test]
    fn announce_is_answered_with_the_others_until_they_stop() {
        let shared = Shared::default();
        let ask = |host: u8, event: &str| {
            let query = format!("info_hash=%00a%ff&port=7{host}&left=5&event={event}&compact=1");
            let body = announce_reply(&shared, Ipv4Addr::new(10, 0, 0, host).into(), &query);
            Value::parse(&body).unwrap().get("peers").unwrap().bytes().unwrap().to_vec()
        };
        assert_eq!(ask(1, "started"), b"");
        assert_eq!(ask(2, "started"), [10, 0, 0, 1, 0, 71]);
        assert_eq!(ask(1, "stopped"), [10, 0, 0, 2, 0, 72]);
        assert_eq!(ask(2, ""), b"");
        assert_eq!(lock(&shared.announces)[0].infohash, [0, b'a', 0xff]);
    }
}
