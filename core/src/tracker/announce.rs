//! What is said to a tracker and what it answers, and both in their HTTP form: a query string and
//! a bencoded dictionary (BEP 3 "trackers", BEP 7, 23, 24, 31).
//!
//! Whatever a tracker answers, an [`AnnounceResponse`] is sane: intervals lie within bounds, peers
//! are bounded in number and have a port and a unicast address. The IP parameters that BEP 7
//! discourages are not sent unless the caller asks for one.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

use super::error::{RetryIn, TrackerError, shown_text};
use crate::bencode::{Document, Limits, Value};
use crate::encryption::EncryptionPolicy;
use crate::http::{Url, percent};
use crate::metainfo::magnet::PeerAddress;
use crate::piece::{InfoHash, PeerId};

/// Peers kept from one answer; the rest is ignored (chosen: trackers give at most a few hundred).
pub const MAX_PEERS: usize = 2000;

/// Shortest interval obeyed, so that 0 does not make us flood a tracker (chosen).
pub const MIN_INTERVAL: Duration = Duration::from_secs(5);

/// Longest interval obeyed, so that a broken one does not silence us (chosen).
pub const MAX_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);

/// The interval if the tracker gives none (chosen: what most trackers give).
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// Longest tracker id kept, in bytes; a longer one is ignored (chosen).
const MAX_TRACKER_ID_LEN: usize = 512;

/// What a peer tells a tracker about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnnounceRequest {
    /// The swarm.
    pub infohash: InfoHash,
    /// The peer's id.
    pub peer_id: PeerId,
    /// The port it accepts connections on; 0 if on none.
    pub port: u16,
    /// Bytes uploaded since it started.
    pub uploaded: u64,
    /// Bytes downloaded since it started.
    pub downloaded: u64,
    /// Bytes it still has to download; 0 makes it a seed.
    pub left: u64,
    /// Why it announces; `None` for an announce at the regular interval.
    pub event: Option<AnnounceEvent>,
    /// How many peers it wants to hear of; `None` leaves it to the tracker.
    pub numwant: Option<u32>,
    /// A secret that stays the same when the address changes (BEP 7, BEP 15).
    pub key: u32,
    /// What the tracker gave as its tracker id.
    pub tracker_id: Option<Bytes>,
    /// An address to be known by instead of the one the announce comes from. Most trackers ignore
    /// it, BEP 7 discourages it; it serves a peer on the tracker's own machine.
    pub ip: Option<IpAddr>,
    /// Whether the compact form of the answer is preferred (BEP 23).
    pub compact: bool,
    /// What it has of encryption (in no BEP; `supportcrypto` and `requirecrypto` over HTTP). With
    /// [`EncryptionPolicy::Off`] nothing is said of it.
    pub encryption: EncryptionPolicy,
}

/// Why a peer announces.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AnnounceEvent {
    /// It joins the swarm.
    Started,
    /// It leaves the swarm.
    Stopped,
    /// It has become a seed in this session.
    Completed,
    /// It is a partial seed: it lacks something and fetches nothing (BEP 21). Over HTTP only.
    Paused,
}

/// What a tracker answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnnounceResponse {
    /// Time until the next regular announce, within [`MIN_INTERVAL`] and [`MAX_INTERVAL`].
    pub interval: Duration,
    /// Time before which no announce but one with an event is welcome; not above `interval`.
    pub min_interval: Option<Duration>,
    /// To be sent along from now on.
    pub tracker_id: Option<Bytes>,
    /// Seeds in the swarm.
    pub complete: Option<u64>,
    /// Leeches in the swarm.
    pub incomplete: Option<u64>,
    /// Peers, possibly ourselves among them.
    pub peers: Vec<SocketAddr>,
    /// Peers that are given by a name, to be looked up, and a port (BEP 3, "trackers").
    pub named_peers: Vec<(String, u16)>,
    /// A warning, fit to be shown.
    pub warning: Option<String>,
    /// Our address as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// Where the tracker answered, if that is known: peers that are nearer are not believed.
    pub answered_by: Option<IpAddr>,
}

impl AnnounceRequest {
    /// The URL to get: that of the tracker with this request in its query.
    pub fn to_url(&self, tracker: &Url) -> Url {
        tracker.with_query(&self.to_query())
    }

    /// The query string (BEP 3, "trackers"), without a question mark.
    pub fn to_query(&self) -> String {
        let mut query = String::with_capacity(300);
        push_binary(&mut query, "info_hash", &self.infohash.0);
        push_binary(&mut query, "peer_id", &self.peer_id.0);
        push(&mut query, "port", self.port);
        push(&mut query, "uploaded", self.uploaded);
        push(&mut query, "downloaded", self.downloaded);
        push(&mut query, "left", self.left);
        push(&mut query, "key", format_args!("{:08X}", self.key));
        if let Some(event) = self.event {
            push(&mut query, "event", event.name());
        }
        if let Some(numwant) = self.numwant {
            push(&mut query, "numwant", numwant);
        }
        push(&mut query, "compact", u8::from(self.compact));
        match self.encryption {
            EncryptionPolicy::Off => {}
            EncryptionPolicy::Allow | EncryptionPolicy::Prefer => {
                push(&mut query, "supportcrypto", 1);
            }
            EncryptionPolicy::Require => push(&mut query, "requirecrypto", 1),
        }
        if let Some(ip) = self.ip {
            push_binary(&mut query, "ip", ip.to_string().as_bytes());
        }
        if let Some(id) = &self.tracker_id {
            push_binary(&mut query, "trackerid", id);
        }
        query
    }
}

impl AnnounceEvent {
    /// Its name in a query string.
    pub fn name(self) -> &'static str {
        match self {
            AnnounceEvent::Started => "started",
            AnnounceEvent::Stopped => "stopped",
            AnnounceEvent::Completed => "completed",
            AnnounceEvent::Paused => "paused",
        }
    }
}

impl AnnounceResponse {
    /// An answer that names no peers and asks for announces at `interval`.
    pub fn new(interval: Duration) -> Self {
        AnnounceResponse {
            interval: interval.clamp(MIN_INTERVAL, MAX_INTERVAL),
            min_interval: None,
            tracker_id: None,
            complete: None,
            incomplete: None,
            peers: Vec::new(),
            named_peers: Vec::new(),
            warning: None,
            external_ip: None,
            answered_by: None,
        }
    }

    /// Reads the body of an HTTP tracker's answer.
    pub fn parse(body: &[u8]) -> Result<Self, TrackerError> {
        let document = parse_answer(body)?;
        let root = document.root();
        let seconds = |key| root.get(key).and_then(Value::as_uint).map(Duration::from_secs);
        let text = |key| root.get(key).and_then(Value::as_bytes);
        let mut response = Self::new(seconds("interval").unwrap_or(DEFAULT_INTERVAL));
        response.min_interval =
            seconds("min interval").map(|min| min.clamp(MIN_INTERVAL, response.interval));
        response.tracker_id = text("tracker id")
            .filter(|id| id.len() <= MAX_TRACKER_ID_LEN)
            .map(Bytes::copy_from_slice);
        response.complete = root.get("complete").and_then(Value::as_uint);
        response.incomplete = root.get("incomplete").and_then(Value::as_uint);
        response.warning =
            text("warning message").map(shown_text).filter(|warning| !warning.is_empty());
        response.external_ip = text("external ip").and_then(packed_ip);
        if let Some(peers) = root.get("peers") {
            response.push_peers(peers)?;
        }
        if let Some(peers) = root.get("peers6").and_then(Value::as_bytes) {
            response.push_compact_v6(peers);
        }
        Ok(response)
    }

    /// Adds peers of 6 bytes each; a rest that is no whole peer is ignored.
    pub(super) fn push_compact_v4(&mut self, packed: &[u8]) {
        for peer in packed.as_chunks::<6>().0 {
            let [a, b, c, d, high, low] = *peer;
            let ip = Ipv4Addr::new(a, b, c, d);
            self.push_peer(SocketAddr::from((ip, u16::from_be_bytes([high, low]))));
        }
    }

    /// Adds peers of 18 bytes each; a rest that is no whole peer is ignored.
    pub(super) fn push_compact_v6(&mut self, packed: &[u8]) {
        for peer in packed.as_chunks::<18>().0 {
            let [ip @ .., high, low] = *peer;
            let ip = Ipv6Addr::from(ip);
            self.push_peer(SocketAddr::from((ip, u16::from_be_bytes([high, low]))));
        }
    }

    /// Adds the peers of the key `peers`: packed (BEP 23) or as a list of dictionaries (BEP 3).
    fn push_peers(&mut self, peers: Value<'_>) -> Result<(), TrackerError> {
        if let Some(packed) = peers.as_bytes() {
            self.push_compact_v4(packed);
            return Ok(());
        }
        let list = peers.as_list().ok_or(TrackerError::Malformed("its peers are no list"))?;
        for peer in list {
            match listed_peer(peer) {
                Some(PeerAddress::Ip(addr)) => self.push_peer(addr),
                Some(PeerAddress::Name(host, port)) if self.named_peers.len() < MAX_PEERS => {
                    self.named_peers.push((host, port));
                }
                Some(PeerAddress::Name(..)) | None => {}
            }
        }
        Ok(())
    }

    /// Adds a peer if it can be one and there is room.
    fn push_peer(&mut self, addr: SocketAddr) {
        let ip = addr.ip().to_canonical();
        let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
        let impossible = addr.port() == 0 || ip.is_unspecified() || ip.is_multicast() || broadcast;
        if !impossible && self.peers.len() < MAX_PEERS {
            self.peers.push(SocketAddr::new(ip, addr.port()));
        }
    }
}

/// A tracker's answer as a dictionary, unless it is a refusal.
pub(super) fn parse_answer(body: &[u8]) -> Result<Document<'_>, TrackerError> {
    // What follows the dictionary, such as a page's footer, does not matter.
    let document = Document::parse_prefix(body.trim_ascii_start(), Limits::MESSAGE)
        .map_err(|_| TrackerError::Malformed("it is not bencoded"))?;
    let root = document.root();
    if root.as_dict().is_none() {
        return Err(TrackerError::Malformed("it is no dictionary"));
    }
    let Some(reason) = root.get("failure reason") else { return Ok(document) };
    Err(TrackerError::Refused {
        reason: shown_text(reason.as_bytes().unwrap_or_default()),
        retry: root.get("retry in").and_then(retry_in),
    })
}

/// BEP 31: minutes, in a string or (as some trackers do) an integer, or the word `never`.
fn retry_in(value: Value<'_>) -> Option<RetryIn> {
    if value.as_bytes().is_some_and(|text| text.eq_ignore_ascii_case(b"never")) {
        return Some(RetryIn::Never);
    }
    let minutes = value.as_uint().or_else(|| value.as_str()?.trim().parse().ok())?;
    Some(RetryIn::After(Duration::from_secs(minutes.saturating_mul(60))))
}

/// BEP 3: an address, or the name of a host. Some put an IPv6 address into brackets.
fn listed_peer(peer: Value<'_>) -> Option<PeerAddress> {
    let host = peer.get("ip")?.as_str()?.trim();
    let port = u16::try_from(peer.get("port")?.as_uint()?).ok().filter(|port| *port != 0)?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(ip) => Some(PeerAddress::Ip(SocketAddr::new(ip, port))),
        Err(_) => format!("{host}:{port}").parse().ok(),
    }
}

/// BEP 24: 4 or 16 bytes.
fn packed_ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical())
}

fn push(query: &mut String, name: &str, value: impl std::fmt::Display) {
    let joint = if query.is_empty() { "" } else { "&" };
    write!(query, "{joint}{name}={value}").expect("writing to a string does not fail");
}

fn push_binary(query: &mut String, name: &str, value: &[u8]) {
    push(query, name, "");
    percent::encode_into(query, value);
}

#[cfg(test)]
impl AnnounceRequest {
    /// An announce of a peer that lacks one byte, for tests to change.
    pub(crate) fn sample() -> AnnounceRequest {
        AnnounceRequest {
            infohash: InfoHash([1; 20]),
            peer_id: PeerId([2; 20]),
            port: 6881,
            uploaded: 0,
            downloaded: 0,
            left: 1,
            event: None,
            numwant: None,
            key: 0,
            tracker_id: None,
            ip: None,
            compact: true,
            encryption: EncryptionPolicy::Off,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn request() -> AnnounceRequest {
        AnnounceRequest {
            infohash: InfoHash(
                *b"\x12\x34\x56\x78\x9a\xbc\xde\xf1\x23Eg\x89\xab\xcd\xef\x124Vx\x9a",
            ),
            peer_id: PeerId(*b"-bs0100-abcdefghijkl"),
            port: 6881,
            uploaded: 1,
            downloaded: 2,
            left: 3,
            event: Some(AnnounceEvent::Started),
            numwant: Some(50),
            key: 0xab,
            ..AnnounceRequest::sample()
        }
    }

    fn addrs(response: &AnnounceResponse) -> Vec<String> {
        response.peers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn request_becomes_the_query_of_bep_3() {
        let url = request().to_url(&Url::parse("http://t:1/announce?k=v").unwrap());
        assert_eq!(
            url.target(),
            "/announce?k=v&info_hash=%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A\
             &peer_id=-bs0100-abcdefghijkl&port=6881&uploaded=1&downloaded=2&left=3\
             &key=000000AB&event=started&numwant=50&compact=1"
        );
    }

    #[test]
    fn optional_values_are_escaped_or_left_out() {
        let request = AnnounceRequest {
            event: None,
            numwant: None,
            tracker_id: Some(Bytes::from_static(b"a&b")),
            ip: Some("::1".parse().unwrap()),
            ..request()
        };
        assert!(request.to_query().ends_with("&key=000000AB&compact=1&ip=%3A%3A1&trackerid=a%26b"));
    }

    #[test]
    fn trackers_hear_what_we_have_of_encryption() {
        let query = |encryption| AnnounceRequest { encryption, ..request() }.to_query();
        assert!(!query(EncryptionPolicy::Off).contains("crypto"));
        assert!(query(EncryptionPolicy::Allow).ends_with("&compact=1&supportcrypto=1"));
        assert!(query(EncryptionPolicy::Prefer).ends_with("&compact=1&supportcrypto=1"));
        assert!(query(EncryptionPolicy::Require).ends_with("&compact=1&requirecrypto=1"));
    }

    #[test]
    fn compact_answer_of_both_families_is_read() {
        let body = b"d8:completei3e11:external ip4:\x01\x02\x03\x0410:incompletei4e\
            8:intervali1800e12:min intervali60e5:peers12:\x0a\0\0\x01\x1a\xe1\x0a\0\0\x02\0\0\
            6:peers618:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1\
            10:tracker id3:a\0b15:warning message4:slowe";
        let response = AnnounceResponse::parse(body).unwrap();
        assert_eq!(response.interval, Duration::from_secs(1800));
        assert_eq!(response.min_interval, Some(Duration::from_secs(60)));
        assert_eq!((response.complete, response.incomplete), (Some(3), Some(4)));
        assert_eq!(addrs(&response), ["10.0.0.1:6881", "[2001:db8::1]:6881"]);
        assert_eq!(response.tracker_id.as_deref(), Some(&b"a\0b"[..]));
        assert_eq!(response.warning.as_deref(), Some("slow"));
        assert_eq!(response.external_ip, Some([1, 2, 3, 4].into()));
    }

    #[test]
    fn listed_answer_is_read_with_addresses_and_names() {
        let body = b"d8:intervali900e5:peersld2:ip7:1.2.3.44:porti80eed2:ip3:::14:porti81ee\
            d2:ip4:Host4:porti82eed2:ip5:[::2]4:porti83eed2:ip7:1.2.3.44:porti65536eed2:ip1:x4:porti0ee\
            d2:ip3:a b4:porti1eed2:ip9:300.1.1.14:porti1eed2:ip7:1.2.3.4ei7eee";
        let response = AnnounceResponse::parse(body).unwrap();
        assert_eq!(addrs(&response), ["1.2.3.4:80", "[::1]:81", "[::2]:83"]);
        assert_eq!(response.named_peers, [("host".to_owned(), 82)]);
    }

    #[test]
    fn what_surrounds_an_answer_does_not_matter() {
        let answer = "d8:intervali900e5:peers6:\u{1}\u{1}\u{1}\u{1}\0\u{7}e";
        for (before, after) in
            [("", "\r\n"), ("", "<!-- 0.01 s -->"), ("\n", ""), ("", "\0\0"), ("", "d1:x")]
        {
            let body = format!("{before}{answer}{after}");
            let response = AnnounceResponse::parse(body.as_bytes()).unwrap();
            assert_eq!(addrs(&response), ["1.1.1.1:7"], "{body:?}");
            let refusal = format!("{before}d14:failure reason2:noe{after}");
            let error = AnnounceResponse::parse(refusal.as_bytes()).unwrap_err();
            assert!(matches!(error, TrackerError::Refused { .. }), "{error:?}");
        }
        let cut = &answer.as_bytes()[..answer.len() - 1];
        assert!(matches!(AnnounceResponse::parse(cut), Err(TrackerError::Malformed(_))));
        assert!(matches!(AnnounceResponse::parse(b"<html>"), Err(TrackerError::Malformed(_))));
    }

    #[test]
    fn impossible_peers_are_dropped_and_mapped_ones_become_v4() {
        let mut response = AnnounceResponse::new(DEFAULT_INTERVAL);
        response.push_compact_v4(b"\0\0\0\0\0\x01\xff\xff\xff\xff\0\x01\xe0\0\0\x01\0\x01\x01\x01");
        response.push_compact_v6(b"\0\0\0\0\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04\0\x05");
        assert_eq!(addrs(&response), ["1.2.3.4:5"]);
    }

    #[test]
    fn intervals_are_brought_within_bounds() {
        let interval = |body: &str| AnnounceResponse::parse(body.as_bytes()).unwrap().interval;
        assert_eq!(interval("d8:intervali0e5:peers0:e"), MIN_INTERVAL);
        assert_eq!(interval("d8:intervali9223372036854775807e5:peers0:e"), MAX_INTERVAL);
        assert_eq!(interval("d8:intervali-5e5:peers0:e"), DEFAULT_INTERVAL);
        assert_eq!(interval("d5:peers0:e"), DEFAULT_INTERVAL);
        let body = b"d8:intervali60e12:min intervali900ee";
        let min = AnnounceResponse::parse(body).unwrap().min_interval;
        assert_eq!(min, Some(Duration::from_secs(60)));
    }

    #[test]
    fn peers_past_the_bound_are_ignored() {
        let mut body = format!("d5:peers{}:", 6 * 50_000).into_bytes();
        body.extend([1; 6 * 50_000]);
        body.push(b'e');
        assert_eq!(AnnounceResponse::parse(&body).unwrap().peers.len(), MAX_PEERS);
    }

    #[test]
    fn refusal_is_an_error_with_its_retry_time() {
        let error = |body: &str| AnnounceResponse::parse(body.as_bytes()).unwrap_err();
        let refused = |retry| TrackerError::Refused { reason: "no".to_owned(), retry };
        assert_eq!(error("d14:failure reason2:noe"), refused(None));
        assert_eq!(
            error("d14:failure reason2:no8:retry in1:5e"),
            refused(Some(RetryIn::After(Duration::from_secs(300))))
        );
        assert_eq!(
            error("d14:failure reason2:no8:retry ini5ee"),
            refused(Some(RetryIn::After(Duration::from_secs(300))))
        );
        let never = error("d14:failure reason2:no8:retry in5:nevere");
        assert_eq!(never, refused(Some(RetryIn::Never)));
        assert!(never.is_permanent());
    }

    #[test]
    fn garbage_is_not_an_answer() {
        for body in ["", "<html>", "le", "i1e", "d8:interval", "d5:peersi1ee"] {
            let error = AnnounceResponse::parse(body.as_bytes()).unwrap_err();
            assert!(matches!(error, TrackerError::Malformed(_)), "{body}: {error}");
        }
    }

    quickcheck! {
        fn any_bytes_are_an_answer_or_refused(bytes: Vec<u8>, key: u8) -> bool {
            let keys = ["peers", "peers6", "interval", "external ip", "retry in"];
            let key = keys[usize::from(key) % keys.len()];
            let mut body = format!("d{}:{key}{}:", key.len(), bytes.len()).into_bytes();
            body.extend(&bytes);
            body.push(b'e');
            let _ = AnnounceResponse::parse(&bytes);
            AnnounceResponse::parse(&body).is_ok()
        }
    }
}
