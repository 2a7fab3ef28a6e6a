//! Magnet links: a torrent's infohash and where to ask for the rest (BEP 9, "magnet URI format";
//! BEP 53).
//!
//! [`Magnet::from_str`] reads `magnet:?xt=urn:btih:...` with hashes in hexadecimal and base32, `dn`,
//! any number of `tr`, `x.pe` and `ws`, and `so`; numbered keys (`tr.1`) are read as their plain
//! form. Everything is bounded (defence 33). What is not understood is left out
//! ([`Magnet::left_out`]); only what decides which torrent and which files are meant is an error.
//! `Display` writes a link that reads back the same.
//!
//! A link may have the hash of v1 (`urn:btih`), of v2 (`urn:btmh`) or both. The name is fit to be
//! shown and is not a path.

mod reader;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::{FileRanges, FileRangesError, MAX_TRACKERS, Metainfo};
use crate::http::percent;
use crate::piece::{InfoHash, InfoHashV2};

/// Longest link accepted, in bytes (chosen: more than the trackers of any torrent in use take).
/// [`Magnet::of`] makes none that is longer.
pub const MAX_MAGNET_LEN: usize = 1 << 20;

/// Most trackers, most peers and most web seeds kept, of each (chosen: as many as of a torrent file).
pub(crate) const MAX_ENTRIES: usize = MAX_TRACKERS;
/// What the hashes, the name and some peers may take of a link.
const ROOM_FOR_THE_REST: usize = 16 * 1024;
/// Longest name kept, in characters (chosen).
const MAX_NAME_CHARS: usize = 255;
/// Longest host name (RFC 1035).
const MAX_HOST_LEN: usize = 253;
/// The multihash prefix of SHA2-256: its code, and the length of the digest.
const SHA2_256: [u8; 2] = [0x12, 0x20];

/// What a magnet link says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Magnet {
    /// Which torrent (`xt=urn:btih`); of a link without it, the infohash of v2, truncated.
    pub infohash: InfoHash,
    /// The hash of the same torrent in its v2 form (`xt=urn:btmh`, SHA2-256).
    pub v2: Option<InfoHashV2>,
    /// What to call it until its own name is known (`dn`); fit to be shown, no path.
    pub name: Option<String>,
    /// Trackers (`tr`), each URL once; perhaps of a kind that is not asked, such as `wss`.
    pub trackers: Vec<String>,
    /// Peers to ask directly (`x.pe`).
    pub peers: Vec<PeerAddress>,
    /// HTTP seeds (`ws`), each URL once.
    pub web_seeds: Vec<String>,
    /// The files to download, by their index in the torrent; all if it is `None` (`so`, BEP 53).
    pub select: Option<FileRanges>,
}

/// Where a peer listens, by address or by name: `hostname:port`, `ipv4:port`, `[ipv6]:port`.
#[derive(
    Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize,
)]
pub enum PeerAddress {
    /// An address; the port is not 0.
    Ip(SocketAddr),
    /// A name, to be looked up, and a port that is not 0.
    Name(String, u16),
}

/// Why a text is not a magnet link that can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MagnetError {
    /// It does not begin with `magnet:?`.
    NotMagnet,
    /// It is longer than [`MAX_MAGNET_LEN`].
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// It names no torrent (no `xt=urn:btih:`, no `xt=urn:btmh:`).
    NoHash,
    /// Its `btih` is neither 40 hexadecimal nor 32 base32 digits.
    BadHash,
    /// Its `btmh` is no multihash of SHA2-256.
    BadV2Hash,
    /// It names two different torrents.
    TwoTorrents,
    /// Its `so` is no list of files.
    BadSelection(FileRangesError),
}

impl Magnet {
    /// A link with nothing but the infohash.
    pub fn new(infohash: InfoHash) -> Self {
        Magnet {
            infohash,
            v2: None,
            name: None,
            trackers: Vec::new(),
            peers: Vec::new(),
            web_seeds: Vec::new(),
            select: None,
        }
    }

    /// A link with nothing but the infohash of v2.
    pub fn new_v2(infohash: InfoHashV2) -> Self {
        Magnet { v2: Some(infohash), ..Magnet::new(infohash.truncated()) }
    }

    /// Whether it has no infohash of v1: the torrent can be found by v2 alone (BEP 52).
    pub fn is_v2_only(&self) -> bool {
        self.v2.is_some_and(|v2| v2.truncated() == self.infohash)
    }

    /// The link to a torrent, with its name, trackers and web seeds: as many of them as fit into a
    /// link that can be read again, the first trackers of all tiers before the others
    /// ([`Magnet::lacks`] says how many do not).
    pub fn of(metainfo: &Metainfo) -> Self {
        let tiers = metainfo.trackers();
        let firsts = tiers.iter().filter_map(|tier| tier.first());
        let others = tiers.iter().flat_map(|tier| tier.iter().skip(1));
        let mut room = MAX_MAGNET_LEN - ROOM_FOR_THE_REST;
        let mut fits = |url: &&String| {
            let taken = percent::encoded_len(url.as_bytes()) + "&tr=".len();
            let fits = taken <= room;
            room -= if fits { taken } else { 0 };
            fits
        };
        let kept: BTreeSet<&String> =
            firsts.chain(others).filter(&mut fits).take(MAX_ENTRIES).collect();
        let seeds = metainfo.web_seeds().iter().filter(&mut fits).take(MAX_ENTRIES);
        let web_seeds = seeds.cloned().collect();
        let trackers = tiers.iter().flatten().filter(|url| kept.contains(url));
        Magnet {
            v2: metainfo.infohash_v2(),
            name: Some(metainfo.name().to_owned()),
            trackers: trackers.cloned().collect(),
            web_seeds,
            ..Magnet::new(metainfo.infohash())
        }
    }

    /// What a torrent names and its link does not, because it would be too long to be read again:
    /// each a phrase that says how many are in it.
    pub fn lacks(&self, metainfo: &Metainfo) -> Vec<String> {
        let counts = [
            ("trackers", self.trackers.len(), metainfo.trackers().iter().flatten().count()),
            ("web seeds", self.web_seeds.len(), metainfo.web_seeds().len()),
        ];
        let lacking = counts.into_iter().filter(|(_, kept, all)| kept < all);
        lacking.map(|(what, kept, all)| format!("{kept} of {all} {what}")).collect()
    }

    /// Whether a text means to be a magnet link, good or bad.
    pub fn is_magnet(text: &str) -> bool {
        query(text).is_some()
    }

    /// The name to show: its own, or the infohash in hexadecimal.
    pub fn shown_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.infohash.to_string())
    }
}

/// What follows `magnet:?`.
fn query(text: &str) -> Option<&str> {
    const START: &str = "magnet:?";
    let start = text.get(..START.len())?;
    start.eq_ignore_ascii_case(START).then(|| text.get(START.len()..)).flatten()
}

/// `N` bytes from exactly `2 N` hexadecimal digits.
pub(crate) fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        for &digit in pair {
            *byte = *byte << 4 | u8::try_from(char::from(digit).to_digit(16)?).ok()?;
        }
    }
    Some(bytes)
}

impl FromStr for PeerAddress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return if addr.port() == 0 { Err(()) } else { Ok(PeerAddress::Ip(addr)) };
        }
        let (host, port) = text.rsplit_once(':').ok_or(())?;
        let port = port.parse().ok().filter(|&port: &u16| port != 0).ok_or(())?;
        // What looks like an address and is none is not looked up.
        let is_name = (1..=MAX_HOST_LEN).contains(&host.len())
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
            && !host.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            && host.parse::<IpAddr>().is_err();
        if is_name { Ok(PeerAddress::Name(host.to_ascii_lowercase(), port)) } else { Err(()) }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddress::Ip(addr) => write!(f, "{addr}"),
            PeerAddress::Name(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

impl fmt::Display for Magnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("magnet:?")?;
        if !self.is_v2_only() {
            write!(f, "xt=urn:btih:{}", self.infohash)?;
        }
        if let Some(v2) = &self.v2 {
            let [code, len] = SHA2_256;
            let and = if self.is_v2_only() { "" } else { "&" };
            write!(f, "{and}xt=urn:btmh:{code:02x}{len:02x}{v2}")?;
        }
        let encoded = |f: &mut fmt::Formatter<'_>, key: &str, value: &str| {
            let mut text = String::new();
            percent::encode_into(&mut text, value.as_bytes());
            write!(f, "&{key}={text}")
        };
        if let Some(name) = &self.name {
            encoded(f, "dn", name)?;
        }
        for url in &self.trackers {
            encoded(f, "tr", url)?;
        }
        for url in &self.web_seeds {
            encoded(f, "ws", url)?;
        }
        for peer in &self.peers {
            write!(f, "&x.pe={peer}")?;
        }
        match &self.select {
            Some(select) => write!(f, "&so={select}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for MagnetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MagnetError::NotMagnet => f.write_str("not a magnet link: it begins with magnet:?"),
            MagnetError::TooLong { len } => {
                write!(f, "magnet link of {len} bytes, at most {MAX_MAGNET_LEN} are read")
            }
            MagnetError::NoHash => f.write_str(
                "the magnet link names no torrent; it needs xt=urn:btih: or xt=urn:btmh: and the infohash \
                 (was it cut at a & by the shell? put it in quotes)",
            ),
            MagnetError::BadHash => f.write_str(
                "the infohash of the magnet link is not 40 hexadecimal or 32 base32 digits; \
                 was it copied whole?",
            ),
            MagnetError::BadV2Hash => f.write_str(
                "the btmh of the magnet link is not 1220 and 64 hexadecimal digits; \
                 was it copied whole?",
            ),
            MagnetError::TwoTorrents => f.write_str("the magnet link names two torrents"),
            MagnetError::BadSelection(why) => write!(f, "so= in the magnet link is {why}"),
        }
    }
}

impl std::error::Error for MagnetError {}

#[cfg(test)]
mod tests {
    use quickcheck::{Arbitrary, Gen, TestResult, quickcheck};

    use super::reader::{Entries, name};
    use super::*;
    use crate::metainfo::Creator;
    use crate::piece::Sha256Hash;

    const HEX: &str = "c12fe1c06bba254a9dc9f519b335aa7c1367a88a";

    fn parsed(text: &str) -> Result<Magnet, MagnetError> {
        text.parse()
    }

    #[test]
    fn hex_and_base32_name_the_same_torrent() {
        let hex = parsed(&format!("magnet:?xt=urn:btih:{HEX}")).unwrap();
        assert_eq!(hex.infohash.to_string(), HEX);
        assert_eq!(hex, Magnet::new(hex.infohash));
        let base32 = parsed("MAGNET:?xt=URN:BTIH:yex6dqdlxisuvhoj6um3gnnkpqjwpkek");
        assert_eq!(base32, Ok(hex.clone()));
        assert_eq!(parsed("magnet:?xt=urn:btih:YEX6DQDLXISUVHOJ6UM3GNNKPQJWPKEK"), Ok(hex.clone()));
        let numbered = parsed(&format!("magnet:?xt.1=urn%3Abtih%3A{HEX}&xt.2=urn:sha1:ABC"));
        assert_eq!(numbered, Ok(hex));
    }

    #[test]
    fn everything_a_link_can_say_is_read() {
        let magnet = parsed(&format!(
            "magnet:?dn=A+b%20%C3%BC%1b%5B31m&xt=urn:btih:{HEX}&tr=udp%3A%2F%2Fa%3A1&tr.2=http://b/x\
             &tr=udp%3A%2F%2Fa%3A1&ws=http%3A%2F%2Fw%2Ff&x.pe=10.0.0.1:5&x.pe=%5B::1%5D:6\
             &x.pe=Peer.example:7&so=0,2,4-6&as=x&&=&%zz"
        ))
        .unwrap();
        assert_eq!(magnet.name.as_deref(), Some("A b ü\u{fffd}[31m"));
        assert_eq!(magnet.trackers, ["udp://a:1", "http://b/x"]);
        assert_eq!(magnet.web_seeds, ["http://w/f"]);
        let peers: Vec<String> = magnet.peers.iter().map(ToString::to_string).collect();
        assert_eq!(peers, ["10.0.0.1:5", "[::1]:6", "peer.example:7"]);
        assert_eq!(magnet.select.unwrap().to_string(), "0,2,4-6");
    }

    #[test]
    fn peers_that_cannot_be_are_left_out() {
        for peer in
            ["", "host", ":1", "host:0", "1.2.3.4:0", "999.1.1.1:5", "a b:1", "::1:6:x", "h:1:2"]
        {
            assert!(peer.parse::<PeerAddress>().is_err(), "{peer:?}");
        }
    }

    #[test]
    fn what_does_not_matter_is_left_out_with_a_word_and_the_rest_is_used() {
        let good = "tr=http://t/announce&ws=http://w/f&x.pe=h:1";
        let clean = parsed(&format!("magnet:?xt=urn:btih:{HEX}&{good}")).unwrap();
        for (bad, word) in [
            ("tr=tracker.example:6969/announce", "tr="),
            ("tr=", "tr="),
            ("tr=http://", "tr="),
            ("tr=http://x:99999/announce", "tr="),
            ("tr=%zz", "tr="),
            ("tr=ht%20tp://x/", "tr="),
            ("ws=not a url", "ws="),
            ("ws=file", "ws="),
            ("x.pe=nowhere", "x.pe="),
            ("x.pe=h:0", "x.pe="),
            ("so=", "so="),
            ("so=,%20,", "so="),
            ("xl=many", ""),
            ("xs=no url", ""),
            ("as=", ""),
            ("kt=%zz", ""),
            ("", ""),
        ] {
            let link = format!("magnet:?xt=urn:btih:{HEX}&{bad}&{good}");
            assert_eq!(parsed(&link), Ok(clean.clone()), "{bad}");
            let left_out = Magnet::left_out(&link);
            assert_eq!(left_out.len(), usize::from(!word.is_empty()), "{bad}: {left_out:?}");
            assert!(left_out.iter().all(|said| said.starts_with(word)), "{bad}: {left_out:?}");
        }
        assert_eq!(Magnet::left_out(&clean.to_string()), [] as [String; 0]);
        // Of another kind, but a URL: in the link, and perhaps of use to others.
        let other = parsed(&format!("magnet:?xt=urn:btih:{HEX}&tr=wss://t.example")).unwrap();
        assert_eq!(other.trackers, ["wss://t.example"]);
        let escaped = parsed(&format!("magnet:?xt=urn:btih:{HEX}&amp;tr=http://t/&amp;dn=n"));
        let escaped = escaped.unwrap();
        assert_eq!((&*escaped.trackers[0], escaped.name.as_deref()), ("http://t/", Some("n")));
    }

    #[test]
    fn a_selection_is_read_as_it_can_be_meant() {
        for (text, select) in [
            ("3-", Some("3-")),
            ("0,2-", Some("0,2-")),
            ("1,,2", Some("1-2")),
            ("1,2,", Some("1-2")),
            ("%201%20,%202%20-%203", Some("1-3")),
            ("", None),
        ] {
            let magnet = parsed(&format!("magnet:?xt=urn:btih:{HEX}&so={text}")).unwrap();
            assert_eq!(magnet.select.map(|select| select.to_string()).as_deref(), select, "{text}");
        }
        for text in ["x", "1;2", "5-3", "-3", "1-2-3", "-", "%zz"] {
            let refused = parsed(&format!("magnet:?xt=urn:btih:{HEX}&so={text}"));
            assert!(matches!(refused, Err(MagnetError::BadSelection(_))), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let refused = |text: &str| parsed(text).unwrap_err();
        assert_eq!(refused("http://x"), MagnetError::NotMagnet);
        assert_eq!(refused("magnet"), MagnetError::NotMagnet);
        assert_eq!(refused("magnet:?dn=x"), MagnetError::NoHash);
        assert_eq!(refused("magnet:?xt=urn:sha1:x"), MagnetError::NoHash);
        assert_eq!(refused("magnet:?xt=urn:btih:abc"), MagnetError::BadHash);
        assert_eq!(
            refused(&format!("magnet:?xt=urn:btih:{}", "g".repeat(40))),
            MagnetError::BadHash
        );
        assert_eq!(
            refused(&format!("magnet:?xt=urn:btih:{}", "1".repeat(32))),
            MagnetError::BadHash
        );
        let bad = MagnetError::BadSelection(FileRangesError::NotAList);
        assert_eq!(refused(&format!("magnet:?xt=urn:btih:{HEX}&so=x")), bad);
        let two = format!("magnet:?xt=urn:btih:{HEX}&xt=urn:btih:{}", "0".repeat(40));
        assert_eq!(refused(&two), MagnetError::TwoTorrents);
        let v2 = format!("xt=urn:btmh:1220{}", "ab".repeat(32));
        let alone = parsed(&format!("magnet:?{v2}")).unwrap();
        assert_eq!(alone, Magnet::new_v2(InfoHashV2([0xab; 32])));
        assert_eq!(alone.infohash, InfoHash([0xab; 20]));
        assert!(alone.is_v2_only());
        assert_eq!(alone.to_string(), format!("magnet:?{v2}"));
        assert_eq!(refused("magnet:?xt=urn:btmh:1220ab"), MagnetError::BadV2Hash);
        let hybrid = parsed(&format!("magnet:?xt=urn:btih:{HEX}&{v2}")).unwrap();
        assert_eq!(hybrid.v2, Some(InfoHashV2([0xab; 32])));
        assert!(!hybrid.is_v2_only());
        let long = format!("magnet:?xt=urn:btih:{HEX}&dn={}", "x".repeat(MAX_MAGNET_LEN));
        assert!(matches!(refused(&long), MagnetError::TooLong { .. }));
    }

    #[test]
    fn thousands_of_trackers_and_peers_are_bounded() {
        let mut text = format!("magnet:?xt=urn:btih:{HEX}");
        for number in 1..6000 {
            text += &format!("&tr=udp://t:{number}&x.pe=1.1.1.1:{number}&ws=http://w/{number}");
        }
        let magnet = parsed(&text).unwrap();
        let counts = [magnet.trackers.len(), magnet.peers.len(), magnet.web_seeds.len()];
        assert_eq!(counts, [MAX_ENTRIES; 3]);
        let left_out = Magnet::left_out(&text);
        assert_eq!(left_out.len(), 3);
        assert!(
            left_out.iter().all(|word| word.contains(&MAX_ENTRIES.to_string())),
            "{left_out:?}"
        );
    }

    #[test]
    fn the_link_of_a_torrent_with_thousands_of_trackers_reads_back_with_one_of_each_tier() {
        let path = "x".repeat(300);
        let tier = |tier: usize| -> Vec<String> {
            (0..4).map(|n| format!("http://t{tier}-{n}.example/{path}/announce")).collect()
        };
        let mut creator = Creator::single_file("f", 5);
        creator.trackers = (0..1000).map(tier).collect();
        let torrent = creator.finish_with_content(b"12345").unwrap();
        assert_eq!(torrent.trackers().len(), 1000);
        let magnet = Magnet::of(&torrent);
        let text = magnet.to_string();
        assert!(text.len() <= MAX_MAGNET_LEN && text.len() > MAX_MAGNET_LEN / 2);
        assert_eq!(parsed(&text), Ok(magnet.clone()));
        let firsts = torrent.trackers().iter().map(|tier| &tier[0]);
        assert!(firsts.into_iter().all(|url| magnet.trackers.contains(url)));
        let kept = magnet.trackers.len();
        assert_eq!(magnet.lacks(&torrent), [format!("{kept} of 4000 trackers")]);
        // Those of an ordinary torrent are all there.
        creator.trackers = (0..300).map(|n| vec![format!("udp://t{n}:1")]).collect();
        let torrent = creator.finish_with_content(b"12345").unwrap();
        let magnet: Magnet = Magnet::of(&torrent).to_string().parse().unwrap();
        assert_eq!(magnet.trackers, torrent.trackers().concat());
        assert!(magnet.lacks(&torrent).is_empty());
        creator.web_seeds = (0..5000).map(|n| format!("http://w{n}/")).collect();
        let torrent = creator.finish_with_content(b"12345").unwrap();
        assert_eq!(Magnet::of(&torrent).lacks(&torrent), ["4096 of 5000 web seeds"]);
    }

    impl Arbitrary for Magnet {
        fn arbitrary(g: &mut Gen) -> Self {
            let text = |g: &mut Gen| String::arbitrary(g);
            let few = |g: &mut Gen| usize::arbitrary(g) % 5;
            let mut magnet = Magnet::new(InfoHash(std::array::from_fn(|_| u8::arbitrary(g))));
            let v2: Sha256Hash = std::array::from_fn(|_| u8::arbitrary(g));
            magnet.v2 = bool::arbitrary(g).then_some(InfoHashV2(v2));
            if let (Some(v2), true) = (magnet.v2, bool::arbitrary(g)) {
                magnet.infohash = v2.truncated();
            }
            magnet.name = name(&percent_encoded(&text(g)));
            let urls = |g: &mut Gen| {
                let mut list = Entries::default();
                let schemes = ["http", "https", "wss", "x-1.y"];
                for _ in 0..few(g) {
                    let scheme = *g.choose(&schemes).expect("some");
                    list.add(format!("{scheme}://h{}/{}", u8::arbitrary(g), u32::arbitrary(g)));
                }
                list.list
            };
            magnet.trackers = urls(g);
            magnet.web_seeds = urls(g);
            let mut peers = Entries::default();
            for _ in 0..few(g) {
                let addr = SocketAddr::new(IpAddr::arbitrary(g), u16::arbitrary(g).max(1));
                peers.add(PeerAddress::Ip(addr));
                let port = u16::arbitrary(g).max(1);
                peers.add(PeerAddress::Name(format!("h{}", u8::arbitrary(g)), port));
            }
            magnet.peers = peers.list;
            let ranges: Vec<u32> = Vec::arbitrary(g);
            magnet.select = FileRanges::new(ranges.into_iter().map(|at| at..=at)).ok();
            magnet
        }
    }

    fn percent_encoded(text: &str) -> String {
        let mut out = String::new();
        percent::encode_into(&mut out, text.as_bytes());
        out
    }

    quickcheck! {
        fn a_link_reads_back_as_it_was_written(magnet: Magnet) -> bool {
            parsed(&magnet.to_string()) == Ok(magnet)
        }

        fn arbitrary_text_does_no_harm(text: String, bytes: Vec<u8>) -> TestResult {
            let query = format!("magnet:?{text}&xt=urn:btih:{HEX}&{}", String::from_utf8_lossy(&bytes));
            match parsed(&query) {
                Ok(magnet) => TestResult::from_bool(parsed(&magnet.to_string()) == Ok(magnet)),
                Err(_) => TestResult::discard(),
            }
        }
    }
}
