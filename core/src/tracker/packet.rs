//! The packets of the UDP tracker protocol (BEP 15), and of the URLData option (BEP 41).
//!
//! Both sides are here, since one's requests are the other's. Packets may be longer than is read:
//! BEP 15 leaves room for extensions at the end. All numbers are big-endian.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::BufMut;

use super::announce::{AnnounceEvent, AnnounceRequest};
use super::scrape::{MAX_SCRAPE, ScrapeEntry};
use crate::encryption::EncryptionPolicy;
use crate::piece::{InfoHash, PeerId};

/// What every connect request begins with (BEP 15, "connect").
const PROTOCOL_ID: u64 = 0x0417_2710_1980;

const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;

/// What a client sends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RequestPacket {
    /// Asks for a connection id.
    Connect {
        /// Chosen by the client, repeated in the answer.
        transaction: u32,
    },
    /// Announces a peer.
    Announce {
        /// From a connect response.
        connection: u64,
        /// Chosen by the client, repeated in the answer.
        transaction: u32,
        /// What is announced. It has no tracker id.
        request: Box<AnnounceRequest>,
    },
    /// Asks for the numbers of swarms.
    Scrape {
        /// From a connect response.
        connection: u64,
        /// Chosen by the client, repeated in the answer.
        transaction: u32,
        /// Which; at most [`MAX_SCRAPE`].
        infohashes: Vec<InfoHash>,
    },
}

/// What a tracker sends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResponsePacket<'a> {
    /// Gives a connection id.
    Connect {
        /// Of the request.
        transaction: u32,
        /// To be sent with other requests within a minute.
        connection: u64,
    },
    /// Answers an announce.
    Announce {
        /// Of the request.
        transaction: u32,
        /// Seconds until the next announce.
        interval: u32,
        /// Leeches in the swarm.
        leechers: u32,
        /// Seeds in the swarm.
        seeders: u32,
        /// Peers, packed; 6 or 18 bytes each, by the family of the address it came from.
        peers: &'a [u8],
    },
    /// Answers a scrape.
    Scrape {
        /// Of the request.
        transaction: u32,
        /// Seeders, completed and leechers for each torrent asked for, in 4 bytes each.
        numbers: &'a [u8],
    },
    /// Refuses.
    Error {
        /// Of the request.
        transaction: u32,
        /// Why, in no particular encoding.
        message: &'a [u8],
    },
}

impl RequestPacket {
    /// Reads a datagram; `None` if it is no request.
    pub fn parse(mut data: &[u8]) -> Option<Self> {
        let data = &mut data;
        let connection = take_u64(data)?;
        let action = take_u32(data)?;
        let transaction = take_u32(data)?;
        match action {
            CONNECT if connection == PROTOCOL_ID => Some(RequestPacket::Connect { transaction }),
            ANNOUNCE => {
                let request = Box::new(parse_announce(data)?);
                Some(RequestPacket::Announce { connection, transaction, request })
            }
            SCRAPE => {
                let hashes = data.as_chunks::<20>().0;
                let infohashes = hashes.iter().take(MAX_SCRAPE).map(|hash| InfoHash(*hash));
                let infohashes = infohashes.collect();
                Some(RequestPacket::Scrape { connection, transaction, infohashes })
            }
            _ => None,
        }
    }

    /// Appends the packet.
    pub fn encode(&self, out: &mut impl BufMut) {
        match self {
            RequestPacket::Connect { transaction } => {
                push_header(out, PROTOCOL_ID, CONNECT, *transaction);
            }
            RequestPacket::Announce { connection, transaction, request } => {
                push_header(out, *connection, ANNOUNCE, *transaction);
                push_announce(out, request);
            }
            RequestPacket::Scrape { connection, transaction, infohashes } => {
                push_header(out, *connection, SCRAPE, *transaction);
                infohashes.iter().take(MAX_SCRAPE).for_each(|hash| out.put_slice(&hash.0));
            }
        }
    }
}

impl<'a> ResponsePacket<'a> {
    /// Reads a datagram; `None` if it is no response.
    pub fn parse(mut data: &'a [u8]) -> Option<Self> {
        let data = &mut data;
        let action = take_u32(data)?;
        let transaction = take_u32(data)?;
        match action {
            CONNECT => Some(ResponsePacket::Connect { transaction, connection: take_u64(data)? }),
            ANNOUNCE => Some(ResponsePacket::Announce {
                transaction,
                interval: take_u32(data)?,
                leechers: take_u32(data)?,
                seeders: take_u32(data)?,
                peers: data,
            }),
            SCRAPE => Some(ResponsePacket::Scrape { transaction, numbers: data }),
            ERROR => Some(ResponsePacket::Error { transaction, message: data }),
            _ => None,
        }
    }

    /// Appends the packet.
    pub fn encode(&self, out: &mut impl BufMut) {
        match *self {
            ResponsePacket::Connect { transaction, connection } => {
                push_u32s(out, [CONNECT, transaction]);
                out.put_u64(connection);
            }
            ResponsePacket::Announce { transaction, interval, leechers, seeders, peers } => {
                push_u32s(out, [ANNOUNCE, transaction, interval, leechers, seeders]);
                out.put_slice(peers);
            }
            ResponsePacket::Scrape { transaction, numbers } => {
                push_u32s(out, [SCRAPE, transaction]);
                out.put_slice(numbers);
            }
            ResponsePacket::Error { transaction, message } => {
                push_u32s(out, [ERROR, transaction]);
                out.put_slice(message);
            }
        }
    }

    /// The transaction it answers.
    pub fn transaction(&self) -> u32 {
        match *self {
            ResponsePacket::Connect { transaction, .. }
            | ResponsePacket::Announce { transaction, .. }
            | ResponsePacket::Scrape { transaction, .. }
            | ResponsePacket::Error { transaction, .. } => transaction,
        }
    }
}

/// Appends the URLData option (BEP 41), which tells the tracker path and query of its URL.
pub(super) fn push_url_data(out: &mut impl BufMut, target: &str) {
    const URL_DATA: u8 = 2;
    for part in target.as_bytes().chunks(usize::from(u8::MAX)) {
        out.put_u8(URL_DATA);
        out.put_u8(u8::try_from(part.len()).unwrap_or(u8::MAX));
        out.put_slice(part);
    }
}

/// Pairs the numbers of a scrape response with the torrents that were asked for.
pub(super) fn scrape_entries(infohashes: &[InfoHash], numbers: &[u8]) -> Vec<ScrapeEntry> {
    let entry = |(infohash, numbers): (&InfoHash, &[u8; 12])| {
        let [s0, s1, s2, s3, d0, d1, d2, d3, l0, l1, l2, l3] = *numbers;
        ScrapeEntry {
            infohash: *infohash,
            complete: u32::from_be_bytes([s0, s1, s2, s3]).into(),
            downloaded: u32::from_be_bytes([d0, d1, d2, d3]).into(),
            incomplete: u32::from_be_bytes([l0, l1, l2, l3]).into(),
        }
    };
    infohashes.iter().zip(numbers.as_chunks::<12>().0).map(entry).collect()
}

/// Appends a scrape response's numbers for one torrent.
pub(super) fn push_scrape_entry(out: &mut impl BufMut, entry: &ScrapeEntry) {
    let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    push_u32s(out, [entry.complete, entry.downloaded, entry.incomplete].map(number));
}

/// Appends a peer as 6 or 18 bytes (BEP 23, BEP 7).
pub(super) fn push_compact(out: &mut impl BufMut, peer: SocketAddr) {
    match peer.ip() {
        IpAddr::V4(ip) => out.put_slice(&ip.octets()),
        IpAddr::V6(ip) => out.put_slice(&ip.octets()),
    }
    out.put_u16(peer.port());
}

fn parse_announce(data: &mut &[u8]) -> Option<AnnounceRequest> {
    let infohash = InfoHash(take(data)?);
    let peer_id = PeerId(take(data)?);
    let downloaded = take_u64(data)?;
    let left = take_u64(data)?;
    let uploaded = take_u64(data)?;
    let event = match take_u32(data)? {
        1 => Some(AnnounceEvent::Completed),
        2 => Some(AnnounceEvent::Started),
        3 => Some(AnnounceEvent::Stopped),
        _ => None,
    };
    let ip = Ipv4Addr::from(take::<4>(data)?);
    let key = take_u32(data)?;
    let numwant = i32::from_be_bytes(take(data)?);
    let port = u16::from_be_bytes(take(data)?);
    Some(AnnounceRequest {
        infohash,
        peer_id,
        port,
        uploaded,
        downloaded,
        left,
        event,
        // Negative: as many as the tracker likes.
        numwant: u32::try_from(numwant).ok(),
        key,
        tracker_id: None,
        ip: (!ip.is_unspecified()).then_some(ip.into()),
        compact: true,
        encryption: EncryptionPolicy::Off,
    })
}

fn push_announce(out: &mut impl BufMut, request: &AnnounceRequest) {
    out.put_slice(&request.infohash.0);
    out.put_slice(&request.peer_id.0);
    out.put_u64(request.downloaded);
    out.put_u64(request.left);
    out.put_u64(request.uploaded);
    let event = match request.event {
        // BEP 15 has no number for partial seeds.
        None | Some(AnnounceEvent::Paused) => 0,
        Some(AnnounceEvent::Completed) => 1,
        Some(AnnounceEvent::Started) => 2,
        Some(AnnounceEvent::Stopped) => 3,
    };
    let ip = match request.ip {
        Some(IpAddr::V4(ip)) => u32::from(ip),
        _ => 0,
    };
    // -1 leaves the number to the tracker.
    let numwant = request.numwant.map_or(u32::MAX, |numwant| numwant.min(i32::MAX as u32));
    push_u32s(out, [event, ip, request.key, numwant]);
    out.put_u16(request.port);
}

fn push_header(out: &mut impl BufMut, connection: u64, action: u32, transaction: u32) {
    out.put_u64(connection);
    push_u32s(out, [action, transaction]);
}

fn push_u32s<const N: usize>(out: &mut impl BufMut, numbers: [u32; N]) {
    numbers.iter().for_each(|number| out.put_u32(*number));
}

fn take<const N: usize>(data: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = data.split_first_chunk::<N>()?;
    *data = rest;
    Some(*head)
}

fn take_u32(data: &mut &[u8]) -> Option<u32> {
    take(data).map(u32::from_be_bytes)
}

fn take_u64(data: &mut &[u8]) -> Option<u64> {
    take(data).map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::{Arbitrary, Gen, quickcheck};

    impl Arbitrary for RequestPacket {
        fn arbitrary(g: &mut Gen) -> Self {
            let (connection, transaction) = (u64::arbitrary(g), u32::arbitrary(g));
            let hash = |g: &mut Gen| std::array::from_fn(|_| u8::arbitrary(g));
            match u8::arbitrary(g) % 3 {
                0 => RequestPacket::Connect { transaction },
                1 => RequestPacket::Scrape {
                    connection,
                    transaction,
                    infohashes: (0..u8::arbitrary(g) % 75).map(|_| InfoHash(hash(g))).collect(),
                },
                _ => {
                    let events = [AnnounceEvent::Started, AnnounceEvent::Stopped];
                    let request = AnnounceRequest {
                        infohash: InfoHash(hash(g)),
                        peer_id: PeerId(hash(g)),
                        port: u16::arbitrary(g),
                        uploaded: u64::arbitrary(g),
                        downloaded: u64::arbitrary(g),
                        left: u64::arbitrary(g),
                        event: g
                            .choose(&[None, Some(AnnounceEvent::Completed)])
                            .copied()
                            .flatten()
                            .or(g.choose(&events).copied()),
                        numwant: Option::<u16>::arbitrary(g).map(u32::from),
                        key: u32::arbitrary(g),
                        tracker_id: None,
                        ip: Some(Ipv4Addr::from(u32::arbitrary(g) | 1).into()),
                        compact: true,
                        encryption: EncryptionPolicy::Off,
                    };
                    RequestPacket::Announce { connection, transaction, request: request.into() }
                }
            }
        }
    }

    #[test]
    fn announce_has_its_fields_at_the_offsets_of_bep_15() {
        let request = AnnounceRequest {
            infohash: InfoHash([1; 20]),
            peer_id: PeerId([2; 20]),
            port: 0x1ae1,
            uploaded: 5,
            downloaded: 3,
            left: 4,
            event: Some(AnnounceEvent::Started),
            key: 0x0708_090a,
            ..AnnounceRequest::sample()
        };
        let mut out = Vec::new();
        RequestPacket::Announce { connection: 0xaa, transaction: 0xbb, request: request.into() }
            .encode(&mut out);
        assert_eq!(out.len(), 98);
        assert_eq!(out[..16], [0, 0, 0, 0, 0, 0, 0, 0xaa, 0, 0, 0, 1, 0, 0, 0, 0xbb]);
        assert_eq!((out[16], out[36], out[63], out[71], out[79]), (1, 2, 3, 4, 5));
        assert_eq!(out[80..88], [0, 0, 0, 2, 0, 0, 0, 0]);
        assert_eq!(out[88..], [7, 8, 9, 10, 0xff, 0xff, 0xff, 0xff, 0x1a, 0xe1]);
    }

    #[test]
    fn connect_request_has_the_magic_constant() {
        let mut out = Vec::new();
        RequestPacket::Connect { transaction: 7 }.encode(&mut out);
        assert_eq!(out, [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 0, 0, 0, 7]);
        out[3] = 0;
        assert_eq!(RequestPacket::parse(&out), None);
    }

    #[test]
    fn response_may_be_longer_than_is_read_but_not_shorter() {
        let connect = [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0xff];
        let parsed = ResponsePacket::Connect { transaction: 7, connection: 9 };
        assert_eq!(ResponsePacket::parse(&connect), Some(parsed));
        assert_eq!(ResponsePacket::parse(&connect[..15]), None);
        assert_eq!(ResponsePacket::parse(&[0, 0, 0, 9, 0, 0, 0, 0]), None);
    }

    #[test]
    fn url_data_longer_than_an_option_goes_into_several() {
        let mut out = Vec::new();
        push_url_data(&mut out, "/dir?a=b&c=d");
        assert_eq!(out, b"\x02\x0c/dir?a=b&c=d");
        out.clear();
        push_url_data(&mut out, &"x".repeat(300));
        assert_eq!(
            (out.len(), &out[..3], &out[257..260]),
            (304, &b"\x02\xffx"[..], &b"\x02\x2dx"[..])
        );
    }

    quickcheck! {
        fn requests_survive_the_round_trip_and_no_cut_is_another(packet: RequestPacket) -> bool {
            let mut out = Vec::new();
            packet.encode(&mut out);
            let shorter = match &packet {
                RequestPacket::Scrape { .. } => None,
                _ => RequestPacket::parse(&out[..out.len() - 1]),
            };
            RequestPacket::parse(&out) == Some(packet) && shorter.is_none()
        }

        fn arbitrary_responses_survive_the_round_trip(action: u8, bytes: Vec<u8>) -> bool {
            let data = [&[0, 0, 0, action % 5][..], &bytes].concat();
            let Some(packet) = ResponsePacket::parse(&data) else { return true };
            let mut out = Vec::new();
            packet.encode(&mut out);
            data.starts_with(&out)
        }
    }
}
