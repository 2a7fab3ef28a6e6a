//! The tracker's UDP side (BEP 15).

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;

use super::{Announce, INTERVAL_S, Shared, compact, others};
use crate::interop::Outcome;

/// The constant that opens a connect request (BEP 15, "connect request").
const PROTOCOL: u64 = 0x0417_2710_1980;
const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const EVENTS: [&str; 4] = ["", "completed", "started", "stopped"];

/// Answers datagrams until the tracker stops.
pub(super) fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut datagram = [0; 2048];
    while !shared.stop.load(Ordering::SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut datagram) else { continue };
        // One that makes no sense gets no answer.
        if let Ok(reply) = reply(&datagram[..length], from, shared) {
            let _ = socket.send_to(&reply, from);
        }
    }
}

fn reply(datagram: &[u8], from: SocketAddr, shared: &Shared) -> Outcome<Vec<u8>> {
    let mut request = Fields(datagram);
    let (id, action, transaction) = (request.u64()?, request.u32()?, request.u32()?);
    let mut reply = [action.to_be_bytes(), transaction.to_be_bytes()].concat();
    match action {
        CONNECT if id == PROTOCOL => {
            reply.extend_from_slice(&connection_id(from).to_be_bytes());
            Ok(reply)
        }
        ANNOUNCE if id == connection_id(from) => {
            let announce = announce(&mut request, from)?;
            let peers = others(shared, &announce);
            super::lock(&shared.announces).push(announce);
            // Interval, leeches, seeds, peers.
            for number in [INTERVAL_S, 0, 0] {
                reply.extend_from_slice(&number.to_be_bytes());
            }
            reply.extend_from_slice(&compact(&peers));
            Ok(reply)
        }
        _ => Err("neither connect nor announce".into()),
    }
}

fn announce(request: &mut Fields<'_>, from: SocketAddr) -> Outcome<Announce> {
    let infohash = request.take(20)?.to_vec();
    let _peer_id = request.take(20)?;
    let (downloaded, left, uploaded) = (request.u64()?, request.u64()?, request.u64()?);
    let event = *EVENTS.get(request.u32()? as usize).ok_or("an unknown event")?;
    let (_ip, _key, _wanted) = (request.u32()?, request.u32()?, request.u32()?);
    let port = u16::from_be_bytes(request.take(2)?.try_into()?);
    Ok(Announce {
        infohash,
        peer: SocketAddr::new(from.ip(), port),
        event: event.to_owned(),
        left: Some(left),
        downloaded: Some(downloaded),
        uploaded: Some(uploaded),
        compact: true,
    })
}

/// Different for every address and port, as a client that mixes them up should be caught.
fn connection_id(from: SocketAddr) -> u64 {
    let ip = match from.ip() {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(_) => 0,
    };
    (ip << 16 | u64::from(from.port())) ^ 0x5bd1_e995_9d1b_54a5
}

/// What is left of a datagram.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Outcome<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(length).ok_or("a datagram too short")?;
        self.0 = rest;
        Ok(field)
    }

    fn u32(&mut self) -> Outcome<u32> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn u64(&mut self) -> Outcome<u64> {
        Ok(u64::from_be_bytes(self.take(8)?.try_into()?))
    }
}
