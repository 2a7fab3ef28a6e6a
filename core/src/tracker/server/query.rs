//! What stands in the query of an announce or scrape (BEP 3 "trackers", BEP 48).

use std::net::IpAddr;

use bytes::Bytes;

use crate::encryption::EncryptionPolicy;
use crate::http::percent;
use crate::piece::{InfoHash, PeerId};
use crate::tracker::announce::{AnnounceEvent, AnnounceRequest};

/// Why a query is not one; a text for the asker.
type Complaint = &'static str;

/// An announce. Numbers that are missing or none are taken as those of a leech that has nothing.
pub(super) fn announce(query: &str) -> Result<AnnounceRequest, Complaint> {
    let mut infohash = Err("info_hash is missing");
    let mut peer_id = Err("peer_id is missing");
    let mut port = Err("port is missing");
    let mut request = AnnounceRequest {
        infohash: InfoHash([0; 20]),
        peer_id: PeerId([0; 20]),
        port: 0,
        uploaded: 0,
        downloaded: 0,
        left: u64::MAX,
        event: None,
        numwant: None,
        key: 0,
        tracker_id: None,
        ip: None,
        compact: true,
        encryption: EncryptionPolicy::Off,
    };
    for (name, value) in pairs(query) {
        match name {
            "info_hash" => infohash = twenty_bytes(value).ok_or("info_hash is not 20 bytes"),
            "peer_id" => peer_id = twenty_bytes(value).ok_or("peer_id is not 20 bytes"),
            "port" => port = value.parse().map_err(|_| "port is not a port number"),
            "uploaded" => request.uploaded = value.parse().unwrap_or(0),
            "downloaded" => request.downloaded = value.parse().unwrap_or(0),
            "left" => request.left = value.parse().unwrap_or(u64::MAX),
            "event" => request.event = event(value),
            "numwant" => request.numwant = value.parse().ok(),
            "key" => request.key = u32::from_str_radix(value, 16).unwrap_or(0),
            "trackerid" => request.tracker_id = percent::decode(value.as_bytes()).map(Bytes::from),
            "ip" => request.ip = ip(value),
            "compact" => request.compact = value != "0",
            _ => {}
        }
    }
    request.infohash = InfoHash(infohash?);
    request.peer_id = PeerId(peer_id?);
    request.port = port?;
    Ok(request)
}

/// A scrape: the torrents asked for; how many there can be is bounded by the request's length.
pub(super) fn scrape(query: &str) -> Result<Vec<InfoHash>, Complaint> {
    let hashes = pairs(query).filter(|(name, _)| *name == "info_hash");
    let hashes: Option<Vec<_>> =
        hashes.map(|(_, value)| twenty_bytes(value).map(InfoHash)).collect();
    let hashes = hashes.ok_or("info_hash is not 20 bytes")?;
    if hashes.is_empty() { Err("name the torrents with info_hash") } else { Ok(hashes) }
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter_map(|pair| pair.split_once('='))
}

fn twenty_bytes(value: &str) -> Option<[u8; 20]> {
    percent::decode(value.as_bytes())?.try_into().ok()
}

fn event(value: &str) -> Option<AnnounceEvent> {
    let known = [
        AnnounceEvent::Started,
        AnnounceEvent::Stopped,
        AnnounceEvent::Completed,
        AnnounceEvent::Paused,
    ];
    known.into_iter().find(|event| event.name() == value)
}

fn ip(value: &str) -> Option<IpAddr> {
    String::from_utf8(percent::decode(value.as_bytes())?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::packet::RequestPacket;
    use quickcheck::quickcheck;

    #[test]
    fn announce_needs_infohash_peer_id_and_port() {
        let hash = "info_hash=aaaaaaaaaaaaaaaaaaaa";
        let peer = "peer_id=bbbbbbbbbbbbbbbbbbbb";
        assert!(announce(&format!("{hash}&{peer}&port=1&x&y=z")).is_ok());
        assert_eq!(announce(&format!("{peer}&port=1")), Err("info_hash is missing"));
        assert_eq!(
            announce(&format!("info_hash=a&{peer}&port=1")),
            Err("info_hash is not 20 bytes")
        );
        assert_eq!(announce(&format!("{hash}&port=1")), Err("peer_id is missing"));
        assert_eq!(announce(&format!("{hash}&{peer}")), Err("port is missing"));
        assert_eq!(
            announce(&format!("{hash}&{peer}&port=65536")),
            Err("port is not a port number")
        );
    }

    #[test]
    fn scrape_needs_a_torrent_and_takes_several() {
        let hash = "info_hash=aaaaaaaaaaaaaaaaaaaa";
        assert_eq!(scrape(&format!("{hash}&{hash}")).map(|hashes| hashes.len()), Ok(2));
        assert!(scrape("").is_err());
        assert!(scrape("info_hash=abc").is_err());
        assert_eq!(scrape(&[hash; 200].join("&")).map(|hashes| hashes.len()), Ok(200));
    }

    quickcheck! {
        /// The client's query and the server's reading of it fit together.
        fn what_a_client_asks_is_read_back(packet: RequestPacket, compact: bool) -> bool {
            let RequestPacket::Announce { request, .. } = packet else { return true };
            let request = AnnounceRequest { compact, ..*request };
            announce(&request.to_query()) == Ok(request)
        }

        fn arbitrary_queries_do_not_panic(query: String) -> bool {
            let _ = (announce(&query), scrape(&query));
            true
        }
    }
}
