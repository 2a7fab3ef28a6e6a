//! One announce of local discovery: an HTTP-like request in a datagram (BEP 14, "Protocol").

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::metainfo::magnet::hex;
use crate::piece::InfoHash;

/// Infohashes in one announce: what fits in 1,400 bytes with the rest (BEP 14: "should not exceed
/// 1400 bytes").
pub const MOST_TOLD: usize = 24;
/// Longest announce that is read, in bytes (chosen: nobody sends longer packets over Ethernet).
const LONGEST: usize = 1500;
/// Headers in one announce (chosen: 1,500 bytes have room for some 28 infohashes).
const MOST_HEADERS: usize = 48;
/// Longest cookie that is compared, in bytes (chosen).
const LONGEST_COOKIE: usize = 64;

/// What an announce says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announce {
    /// Where the sender listens for peers.
    pub port: u16,
    /// The torrents that it takes part in.
    pub infohashes: Vec<InfoHash>,
    /// By which a sender knows its own announces.
    pub cookie: Option<String>,
}

impl Announce {
    /// The datagram for a group.
    pub fn encode(&self, group: SocketAddr) -> Vec<u8> {
        let mut text = format!("BT-SEARCH * HTTP/1.1\r\nHost: {group}\r\nPort: {}\r\n", self.port);
        for infohash in &self.infohashes {
            let _ = write!(text, "Infohash: {infohash}\r\n");
        }
        if let Some(cookie) = &self.cookie {
            let _ = write!(text, "cookie: {cookie}\r\n");
        }
        text.push_str("\r\n\r\n");
        text.into_bytes()
    }

    /// Reads a datagram. `None`: it is no announce, or says of no torrent.
    ///
    /// Headers that are not known here are passed over, as are infohashes that are none.
    pub fn decode(data: &[u8]) -> Option<Announce> {
        if data.len() > LONGEST {
            return None;
        }
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        if !request.parse(data).ok()?.is_complete() || request.method != Some("BT-SEARCH") {
            return None;
        }
        let (mut port, mut infohashes, mut cookie) = (None, Vec::new(), None);
        for header in request.headers.iter() {
            let Ok(value) = std::str::from_utf8(header.value) else { continue };
            let value = value.trim();
            if header.name.eq_ignore_ascii_case("port") {
                port = value.parse().ok().filter(|port| *port != 0);
            } else if header.name.eq_ignore_ascii_case("infohash") {
                infohashes.extend(hex(value).map(InfoHash));
            } else if header.name.eq_ignore_ascii_case("cookie") {
                cookie = Some(value.to_owned()).filter(|cookie| cookie.len() <= LONGEST_COOKIE);
            }
        }
        infohashes.sort_unstable();
        infohashes.dedup();
        let port = port.filter(|_| !infohashes.is_empty())?;
        Some(Announce { port, infohashes, cookie })
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;
    use crate::lsd::GROUPS;

    fn hash(n: u8) -> InfoHash {
        InfoHash([n; 20])
    }

    #[test]
    fn an_announce_is_written_as_bep_14_has_it() {
        let announce =
            Announce { port: 6881, infohashes: vec![hash(0xab)], cookie: Some("name".to_owned()) };
        let expected = "BT-SEARCH * HTTP/1.1\r\n\
            Host: 239.192.152.143:6771\r\n\
            Port: 6881\r\n\
            Infohash: abababababababababababababababababababab\r\n\
            cookie: name\r\n\
            \r\n\
            \r\n";
        assert_eq!(String::from_utf8(announce.encode(GROUPS[0])).unwrap(), expected);
        let v6 = String::from_utf8(announce.encode(GROUPS[1])).unwrap();
        assert!(v6.contains("\r\nHost: [ff15::efc0:988f]:6771\r\n"), "{v6}");
    }

    #[test]
    fn what_others_write_is_read() {
        let one = b"BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 51413\r\nInfohash: ABABABABABABABABABABABABABABABABABABABAB\r\n\r\n\r\n";
        let read = Announce::decode(one).unwrap();
        assert_eq!(read, Announce { port: 51413, infohashes: vec![hash(0xab)], cookie: None });
        let odd = b"BT-SEARCH * HTTP/1.1\r\nX-New: 1\r\nPORT:7\r\nInfohash: nonsense\r\ninfohash:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\r\n\r\n";
        assert_eq!(Announce::decode(odd).unwrap().infohashes, [hash(0xcd)]);
    }

    #[test]
    fn what_says_nothing_is_not_read() {
        let infohash = "Infohash: abababababababababababababababababababab\r\n";
        let whole = |method: &str, rest: &str| format!("{method} * HTTP/1.1\r\n{rest}\r\n");
        for text in [
            String::new(),
            whole("GET", &format!("Port: 7\r\n{infohash}")),
            whole("BT-SEARCH", infohash),
            whole("BT-SEARCH", "Port: 7\r\n"),
            whole("BT-SEARCH", &format!("Port: 0\r\n{infohash}")),
            whole("BT-SEARCH", &format!("Port: 65536\r\n{infohash}")),
            whole("BT-SEARCH", &format!("Port: 7\r\n{}", infohash.repeat(60))),
            format!("BT-SEARCH * HTTP/1.1\r\nPort: 7\r\n{infohash}"),
        ] {
            assert_eq!(Announce::decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_longest_announce_fits_in_a_packet() {
        let infohashes: Vec<_> = (0..MOST_TOLD as u8).map(hash).collect();
        let announce = Announce { port: 65535, infohashes, cookie: Some("x".repeat(16)) };
        for group in GROUPS {
            let data = announce.encode(group);
            assert!(data.len() <= 1400, "{} bytes", data.len());
            assert_eq!(Announce::decode(&data), Some(announce.clone()));
        }
    }

    quickcheck! {
        fn arbitrary_bytes_do_no_harm(data: Vec<u8>, cut: usize) -> bool {
            let announce = Announce { port: 1, infohashes: vec![hash(1)], cookie: None };
            let mut whole = announce.encode(GROUPS[0]);
            whole.truncate(cut % (whole.len() + 1));
            whole.extend(&data);
            Announce::decode(&whole).is_none_or(|read| read.infohashes.len() <= MOST_HEADERS)
                && Announce::decode(&data).is_none_or(|read| !read.infohashes.is_empty())
        }
    }
}
