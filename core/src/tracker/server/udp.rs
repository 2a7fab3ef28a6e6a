//! The tracker's UDP (BEP 15): datagrams in, datagrams out, no state per client.
//!
//! A connection id is a keyed hash of the client's address and the time, so that it proves that the
//! client receives what is sent to its address, and the tracker need not remember it. Without a
//! valid one nothing is answered but a connect request, with a datagram of the same length: the
//! tracker cannot be used to flood others (defence 25).

use std::hash::Hasher as _;
use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use siphasher::sip::SipHasher24;

use super::swarms::Swarms;
use crate::piece::InfoHash;
use crate::random::SecretRng;
use crate::time::Instant;
use crate::tracker::announce::AnnounceRequest;
use crate::tracker::packet::{self, RequestPacket, ResponsePacket};
use crate::tracker::scrape::ScrapeEntry;

/// Length of the time windows of connection ids in seconds. An id is accepted in its own window
/// and in the next, thus for two minutes at least (BEP 15) and for four at most.
const WINDOW_S: u64 = 120;

/// Most bytes of peers in an answer (chosen: with all headers below 1,400 bytes, so that it fits
/// any path).
const MAX_PEER_BYTES: usize = 1332;

/// Makes and checks connection ids.
#[derive(Debug)]
pub(super) struct ConnectionIds {
    key: [u8; 16],
}

impl ConnectionIds {
    pub(super) fn new(rng: &mut SecretRng) -> Self {
        ConnectionIds { key: rng.bytes() }
    }

    fn issue(&self, now: Instant, to: SocketAddr) -> u64 {
        self.id_of(window(now), to)
    }

    fn check(&self, now: Instant, from: SocketAddr, id: u64) -> bool {
        let window = window(now);
        let previous = window.checked_sub(1);
        id == self.id_of(window, from) || previous.is_some_and(|w| id == self.id_of(w, from))
    }

    fn id_of(&self, window: u64, addr: SocketAddr) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&packed_ip(addr.ip()));
        hasher.write(&addr.port().to_be_bytes());
        hasher.write(&window.to_be_bytes());
        hasher.finish()
    }
}

/// The answer to a datagram.
pub(super) fn answer(
    swarms: &mut Swarms,
    ids: &ConnectionIds,
    now: Instant,
    from: SocketAddr,
    data: &[u8],
) -> Option<BytesMut> {
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    let mut out = BytesMut::new();
    match RequestPacket::parse(data)? {
        RequestPacket::Connect { transaction } => {
            let connection = ids.issue(now, from);
            ResponsePacket::Connect { transaction, connection }.encode(&mut out);
        }
        RequestPacket::Announce { connection, transaction, request } => {
            ids.check(now, from, connection).then_some(())?;
            announce(swarms, now, from, transaction, *request, &mut out);
        }
        RequestPacket::Scrape { connection, transaction, infohashes } => {
            ids.check(now, from, connection).then_some(())?;
            let numbers = scrape(swarms, &infohashes);
            ResponsePacket::Scrape { transaction, numbers: &numbers }.encode(&mut out);
        }
    }
    Some(out)
}

/// 4 or 16 bytes (BEP 24).
pub(super) fn packed_ip(ip: IpAddr) -> Vec<u8> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn announce(
    swarms: &mut Swarms,
    now: Instant,
    from: SocketAddr,
    transaction: u32,
    mut request: AnnounceRequest,
    out: &mut BytesMut,
) {
    // The field has no meaning over IPv6 (BEP 15, "IPv6").
    request.ip = request.ip.filter(|_| from.is_ipv4());
    let reply = match swarms.announce(now, from, &request) {
        Ok(reply) => reply,
        Err(refusal) => {
            let message = refusal.to_string();
            return ResponsePacket::Error { transaction, message: message.as_bytes() }.encode(out);
        }
    };
    let mut peers = Vec::new();
    let stride = if from.is_ipv4() { 6 } else { 18 };
    let family = reply.peers.iter().filter(|peer| peer.addr.is_ipv4() == from.is_ipv4());
    for peer in family.take(MAX_PEER_BYTES / stride) {
        packet::push_compact(&mut peers, peer.addr);
    }
    ResponsePacket::Announce {
        transaction,
        interval: u32::try_from(reply.interval.as_secs()).unwrap_or(u32::MAX),
        leechers: reply.incomplete,
        seeders: reply.complete,
        peers: &peers,
    }
    .encode(out);
}

/// The numbers of each torrent; zeros for one that is not known.
fn scrape(swarms: &Swarms, infohashes: &[InfoHash]) -> Vec<u8> {
    let mut numbers = Vec::with_capacity(12 * infohashes.len());
    for &infohash in infohashes {
        let unknown = ScrapeEntry { infohash, complete: 0, incomplete: 0, downloaded: 0 };
        packet::push_scrape_entry(&mut numbers, &swarms.scrape(infohash).unwrap_or(unknown));
    }
    numbers
}

fn window(now: Instant) -> u64 {
    now.as_nanos() / 1_000_000_000 / WINDOW_S
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn connection_id_is_good_for_two_minutes_and_for_nobody_else() {
        let ids = ConnectionIds::new(&mut SecretRng::from_seed([1; 32]));
        let me = addr("1.1.1.1:1");
        for issued in [0, 60, 119, 120, 1000] {
            let id = ids.issue(Instant::from_secs(issued), me);
            let good = |after, from| ids.check(Instant::from_secs(issued + after), from, id);
            assert!(good(0, me) && good(60, me) && good(120, me));
            assert!(!good(240, me));
            assert!(!good(0, addr("1.1.1.1:2")) && !good(0, addr("1.1.1.2:1")));
        }
        let other = ConnectionIds::new(&mut SecretRng::from_seed([2; 32]));
        assert!(!other.check(Instant::ZERO, me, ids.issue(Instant::ZERO, me)));
    }
}
