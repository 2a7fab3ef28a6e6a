//! The tracker's HTTP side (BEP 3, BEP 7, BEP 23), which can answer in any of the manners that
//! trackers in the world have.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Announce, INTERVAL_S, Shared, compact, compact6, lock, others};
use crate::interop::Outcome;
use crate::interop::bencode::write_bytes;

/// Longest a client may take over its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How an answer comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Compact peers, with a length.
    Plain,
    /// After a redirection to the plain one.
    Moved,
    /// In chunks of a few bytes.
    Chunked,
    /// Packed with gzip, whether that was asked for or not.
    Gzip,
    /// With peers as a list of dictionaries, as in BEP 3.
    Dictionaries,
    /// In HTTP/1.0, which ends with the connection.
    Old,
}

impl Manner {
    /// Every manner.
    pub const ALL: [Manner; 6] = [
        Manner::Plain,
        Manner::Moved,
        Manner::Chunked,
        Manner::Gzip,
        Manner::Dictionaries,
        Manner::Old,
    ];

    /// The path at which the tracker answers so.
    pub(super) fn path(self) -> &'static str {
        match self {
            Manner::Plain => "/announce",
            Manner::Moved => "/moved/announce",
            Manner::Chunked => "/chunked/announce",
            Manner::Gzip => "/gzip/announce",
            Manner::Dictionaries => "/dictionaries/announce",
            Manner::Old => "/old/announce",
        }
    }
}

/// Answers requests until the tracker stops.
pub(super) fn serve(listener: &TcpListener, shared: &Shared) {
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
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let Some(manner) = Manner::ALL.into_iter().find(|manner| manner.path() == path) else {
        return Ok(stream.write_all(&response(Manner::Plain, &failure("no announce URL")))?);
    };
    if manner == Manner::Moved {
        let target = Manner::Plain.path();
        let head = format!(
            "HTTP/1.1 302 Found\r\nLocation: {target}?{query}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        );
        return Ok(stream.write_all(head.as_bytes())?);
    }
    let body = announce_reply(shared, from, query, manner);
    Ok(stream.write_all(&response(manner, &body))?)
}

/// A whole HTTP response.
fn response(manner: Manner, body: &[u8]) -> Vec<u8> {
    let mut out = match manner {
        Manner::Old => b"HTTP/1.0 200 OK\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n".to_vec(),
    };
    match manner {
        Manner::Old => out.extend_from_slice(body),
        Manner::Chunked => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(7) {
                out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                out.extend_from_slice(chunk);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\n\r\n");
        }
        Manner::Gzip => {
            let mut packer = GzEncoder::new(Vec::new(), Compression::default());
            let packed = packer.write_all(body).and_then(|()| packer.finish());
            let packed = packed.expect("writing into memory does not fail");
            let length = format!("Content-Length: {}\r\n\r\n", packed.len());
            out.extend_from_slice(b"Content-Encoding: gzip\r\n");
            out.extend_from_slice(length.as_bytes());
            out.extend_from_slice(&packed);
        }
        Manner::Plain | Manner::Moved | Manner::Dictionaries => {
            out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            out.extend_from_slice(body);
        }
    }
    out
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

fn announce_reply(shared: &Shared, from: IpAddr, query: &str, manner: Manner) -> Vec<u8> {
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
    success(&others, manner)
}

fn success(peers: &[SocketAddr], manner: Manner) -> Vec<u8> {
    let head = format!("d8:intervali{INTERVAL_S}e12:min intervali{INTERVAL_S}e5:peers");
    let mut out = head.into_bytes();
    if manner == Manner::Dictionaries {
        out.push(b'l');
        for peer in peers {
            out.extend_from_slice(b"d2:ip");
            write_bytes(&mut out, peer.ip().to_string().as_bytes());
            // No "peer id": we do not keep it, and a wrong one would be a reason to hang up.
            out.extend_from_slice(format!("4:porti{}ee", peer.port()).as_bytes());
        }
        out.push(b'e');
    } else {
        write_bytes(&mut out, &compact(peers));
        out.extend_from_slice(b"6:peers6");
        write_bytes(&mut out, &compact6(peers));
    }
    out.push(b'e');
    out
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
            let body = announce_reply(
                &shared,
                Ipv4Addr::new(10, 0, 0, host).into(),
                &query,
                Manner::Plain,
            );
            Value::parse(&body).unwrap().get("peers").unwrap().bytes().unwrap().to_vec()
        };
        assert_eq!(ask(1, "started"), b"");
        assert_eq!(ask(2, "started"), [10, 0, 0, 1, 0, 71]);
        assert_eq!(ask(1, "stopped"), [10, 0, 0, 2, 0, 72]);
        assert_eq!(ask(2, ""), b"");
        assert_eq!(lock(&shared.announces)[0].infohash, [0, b'a', 0xff]);
    }
}
