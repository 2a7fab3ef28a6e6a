//! The handshake of the extension protocol: which extensions there are, and what a client says
//! about itself (BEP 10; `upload_only` from BEP 21, `metadata_size` from BEP 9, and `e`).
//!
//! Reading is tolerant and bounded: unknown keys and values of the wrong type count as absent, and
//! only what is no dictionary at all is a violation. Text is cut and made fit to be shown (defence
//! 24). A handshake may come again and then changes what it names ([`ExtensionIds::update`]).
//!
//! Messages of the extensions themselves are not here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;

use super::violation::Violation;
use crate::bencode::{Document, Limits, Value, encode_dict};
use crate::metainfo::text::printable;

/// Structure accepted in a handshake (chosen: real ones have some forty values).
const LIMITS: Limits = Limits { depth: 16, items: 2000 };

/// Longest client name kept, in characters (chosen).
const CLIENT_NAME_CHARS: usize = 64;

/// An extension that this crate knows.
///
/// A new one is a variant here and a line in [`Extension::ALL`] and [`Extension::name`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Extension {
    /// The info dictionary from peers (BEP 9).
    Metadata = 1,
    /// Peer exchange (BEP 11).
    PeerExchange = 2,
    /// Pieces that a peer no longer has (BEP 54).
    DontHave = 3,
}

impl Extension {
    /// All of them, by their numbers.
    pub const ALL: [Extension; 3] =
        [Extension::Metadata, Extension::PeerExchange, Extension::DontHave];

    /// Its name in the dictionary `m`.
    pub const fn name(self) -> &'static str {
        match self {
            Extension::Metadata => "ut_metadata",
            Extension::PeerExchange => "ut_pex",
            Extension::DontHave => "lt_donthave",
        }
    }

    /// The number that we give it: peers put it into messages to us. Not 0, which is the handshake.
    pub const fn our_id(self) -> u8 {
        self as u8
    }

    /// The extension that we gave this number.
    pub fn from_our_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.our_id() == id)
    }

    fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.name().as_bytes() == name)
    }
}

/// Which number each extension has at one client: its dictionary `m`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExtensionIds([Option<u8>; Extension::ALL.len()]);

impl ExtensionIds {
    /// No extensions.
    pub fn none() -> Self {
        Self::default()
    }

    /// These extensions, under the numbers that we give them.
    pub fn ours(extensions: &[Extension]) -> Self {
        let mut ids = Self::none();
        extensions.iter().for_each(|extension| ids.set(*extension, extension.our_id()));
        ids
    }

    /// The number to send a message of this extension under; `None` if it is not supported.
    pub fn get(&self, extension: Extension) -> Option<u8> {
        self.said(extension).filter(|id| *id != 0)
    }

    /// Takes over what another handshake says; what it does not name stays ("the `m` dictionary is
    /// additive"; 0 turns an extension off).
    pub fn update(&mut self, said_now: &ExtensionIds) {
        for (id, now) in self.0.iter_mut().zip(said_now.0) {
            *id = now.or(*id);
        }
    }

    /// This extension is not supported, or not any more.
    pub fn turn_off(&mut self, extension: Extension) {
        self.set(extension, 0);
    }

    fn said(&self, extension: Extension) -> Option<u8> {
        self.0.get(usize::from(extension.our_id()) - 1).copied().flatten()
    }

    fn set(&mut self, extension: Extension, id: u8) {
        if let Some(slot) = self.0.get_mut(usize::from(extension.our_id()) - 1) {
            *slot = Some(id);
        }
    }
}

/// What a client says about itself. All of it is optional.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ExtensionHandshake {
    /// `m`: the extensions that are named, with the sender's numbers.
    pub ids: ExtensionIds,
    /// `v`: client name and version, fit to be shown, in one line.
    pub client: Option<String>,
    /// `p`: TCP port that the sender listens on, not 0.
    pub port: Option<u16>,
    /// `yourip`: the receiver's address as the sender sees it.
    pub your_ip: Option<IpAddr>,
    /// `ipv4`: the sender's own address.
    pub ipv4: Option<Ipv4Addr>,
    /// `ipv6`: the sender's own address.
    pub ipv6: Option<Ipv6Addr>,
    /// `reqq`: requests that the sender queues without dropping any, not 0.
    pub max_requests: Option<u32>,
    /// `upload_only`: whether the sender downloads nothing more, complete or not (BEP 21).
    pub upload_only: Option<bool>,
    /// `e`: whether the sender prefers encrypted connections (in no BEP; as Transmission has it).
    pub prefers_encryption: Option<bool>,
    /// `metadata_size`: length of the info dictionary in bytes, as the sender claims (BEP 9).
    pub metadata_size: Option<u32>,
}

impl ExtensionHandshake {
    /// The number of the message that carries a handshake, at every client.
    pub const ID: u8 = 0;

    /// Reads the payload of a message with id 0.
    pub fn decode(payload: &[u8]) -> Result<Self, Violation> {
        let document = Document::parse_prefix(payload, LIMITS)
            .map_err(|_| Violation::BadExtensionHandshake)?;
        let entries = document.root().as_dict().ok_or(Violation::BadExtensionHandshake)?;
        let mut handshake = Self::default();
        for (key, value) in entries {
            handshake.read(key, value);
        }
        Ok(handshake)
    }

    /// The payload of a message with id 0.
    pub fn encode(&self) -> Bytes {
        let bytes = encode_dict(|dict| {
            dict.dict("m", |m| {
                for extension in Extension::ALL {
                    if let Some(id) = self.ids.said(extension) {
                        m.int(extension.name(), id.into());
                    }
                }
            });
            let numbers = [
                ("p", self.port.map(i64::from)),
                ("reqq", self.max_requests.map(i64::from)),
                ("upload_only", self.upload_only.map(i64::from)),
                ("e", self.prefers_encryption.map(i64::from)),
                ("metadata_size", self.metadata_size.map(i64::from)),
            ];
            for (key, number) in numbers {
                if let Some(number) = number {
                    dict.int(key, number);
                }
            }
            if let Some(client) = &self.client {
                dict.bytes("v", client);
            }
            match self.your_ip {
                Some(IpAddr::V4(ip)) => dict.bytes("yourip", ip.octets()),
                Some(IpAddr::V6(ip)) => dict.bytes("yourip", ip.octets()),
                None => {}
            }
            if let Some(ip) = self.ipv4 {
                dict.bytes("ipv4", ip.octets());
            }
            if let Some(ip) = self.ipv6 {
                dict.bytes("ipv6", ip.octets());
            }
        });
        bytes.into()
    }

    fn read(&mut self, key: &[u8], value: Value<'_>) {
        let positive = || value.as_uint().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
        match key {
            b"m" => self.ids = read_ids(value),
            b"v" => self.client = value.as_bytes().and_then(client_name),
            b"p" => self.port = positive().and_then(|n| u16::try_from(n).ok()),
            b"yourip" => self.your_ip = value.as_bytes().and_then(address),
            b"ipv4" => self.ipv4 = fixed(value).map(|octets: [u8; 4]| octets.into()),
            b"ipv6" => self.ipv6 = fixed(value).map(|octets: [u8; 16]| octets.into()),
            b"reqq" => self.max_requests = positive(),
            b"upload_only" => self.upload_only = value.as_int().map(|n| n != 0),
            b"e" => self.prefers_encryption = value.as_int().map(|n| n != 0),
            b"metadata_size" => self.metadata_size = positive(),
            _ => {}
        }
    }
}

/// The extensions that we know out of a dictionary `m`.
fn read_ids(m: Value<'_>) -> ExtensionIds {
    let mut ids = ExtensionIds::none();
    for (name, id) in m.as_dict().into_iter().flatten() {
        let id = id.as_uint().and_then(|id| u8::try_from(id).ok());
        if let (Some(extension), Some(id)) = (Extension::from_name(name), id) {
            ids.set(extension, id);
        }
    }
    ids
}

fn client_name(raw: &[u8]) -> Option<String> {
    // No character takes more than four bytes, so this never cuts one that is kept.
    let start = raw.get(..CLIENT_NAME_CHARS * 4).unwrap_or(raw);
    let name: String = printable(start)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(CLIENT_NAME_CHARS)
        .collect();
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// A compact address of either family; IPv4 in IPv6 clothes is IPv4.
fn address(raw: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(raw) {
        return Some(octets.into());
    }
    let octets = <[u8; 16]>::try_from(raw).ok()?;
    Some(IpAddr::from(octets).to_canonical())
}

fn fixed<const N: usize>(value: Value<'_>) -> Option<[u8; N]> {
    value.as_bytes()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    #[test]
    fn the_example_of_bep_10_is_read() {
        let example =
            b"d1:md11:LT_metadatai1e6:\xc2\xb5T_PEXi2ee1:pi6881e1:v13:\xc2\xb5Torrent 1.2e";
        let expected = ExtensionHandshake {
            client: Some("µTorrent 1.2".into()),
            port: Some(6881),
            ..ExtensionHandshake::default()
        };
        // The BEP's own example counts one byte too few in "µT_PEX": 2 + 5 = 7.
        assert_eq!(ExtensionHandshake::decode(example), Err(Violation::BadExtensionHandshake));
        let counted =
            b"d1:md11:LT_metadatai1e7:\xc2\xb5T_PEXi2ee1:pi6881e1:v13:\xc2\xb5Torrent 1.2e";
        assert_eq!(ExtensionHandshake::decode(counted), Ok(expected));
    }

    #[test]
    fn every_field_is_written_and_read() {
        let handshake = ExtensionHandshake {
            ids: ExtensionIds::ours(&[Extension::Metadata, Extension::DontHave]),
            client: Some("bitswarm 0.1.0".into()),
            port: Some(6881),
            your_ip: Some("192.0.2.7".parse().unwrap()),
            ipv4: Some("192.0.2.8".parse().unwrap()),
            ipv6: Some("2001:db8::1".parse().unwrap()),
            max_requests: Some(512),
            upload_only: Some(true),
            prefers_encryption: Some(true),
            metadata_size: Some(31_235),
        };
        let bytes = handshake.encode();
        assert!(bytes.starts_with(b"d1:ei1e4:ipv44:\xc0\x00\x02\x08"));
        assert_eq!(ExtensionHandshake::decode(&bytes), Ok(handshake));
        let nothing = ExtensionHandshake::default();
        assert_eq!(nothing.encode(), &b"d1:mdee"[..]);
        assert_eq!(ExtensionHandshake::decode(b"de"), Ok(nothing));
    }

    #[test]
    fn values_of_the_wrong_type_or_size_count_as_absent() {
        let odd = b"d4:ipv43:abc4:ipv6i1e1:m1:x13:metadata_sizei-1e1:pi65536e4:reqqi0e\
            11:upload_only1:y1:vi7e6:yourip5:abcdee";
        assert_eq!(ExtensionHandshake::decode(odd), Ok(ExtensionHandshake::default()));
        let ids = b"d1:md11:ut_metadatai256e6:ut_pex1:2ee";
        assert_eq!(ExtensionHandshake::decode(ids), Ok(ExtensionHandshake::default()));
    }

    #[test]
    fn what_is_no_dictionary_is_a_violation() {
        for bad in [&b""[..], b"i1e", b"le", b"d", b"d1:m", b"\xff"] {
            let decoded = ExtensionHandshake::decode(bad);
            assert_eq!(decoded, Err(Violation::BadExtensionHandshake), "{bad:?}");
        }
        let deep = [b"d1:x".to_vec(), vec![b'l'; 100_000]].concat();
        assert_eq!(ExtensionHandshake::decode(&deep), Err(Violation::BadExtensionHandshake));
    }

    #[test]
    fn a_second_handshake_changes_what_it_names_and_nothing_else() {
        let said = |m: &[u8]| {
            let payload = [b"d1:m", m, b"e"].concat();
            ExtensionHandshake::decode(&payload).unwrap().ids
        };
        let mut ids = said(b"d11:ut_metadatai3e6:ut_pexi1ee");
        ids.update(&said(b"d6:ut_pexi0ee"));
        assert_eq!(ids.get(Extension::Metadata), Some(3));
        assert_eq!(ids.get(Extension::PeerExchange), None);
        assert_eq!(ids.get(Extension::DontHave), None);
    }

    #[test]
    fn a_client_name_is_one_short_line() {
        let name = |v: &[u8]| {
            let payload = encode_dict(|dict| dict.bytes("v", v));
            ExtensionHandshake::decode(&payload).unwrap().client
        };
        assert_eq!(name(b"  A\nB\tC\x1b[31m "), Some("A B C\u{fffd}[31m".into()));
        assert_eq!(name(b" \n"), None);
        assert_eq!(name("ü".repeat(100_000).as_bytes()), Some("ü".repeat(64)));
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_ipv4() {
        let mapped: Ipv6Addr = "::ffff:192.0.2.1".parse().unwrap();
        let payload = encode_dict(|dict| dict.bytes("yourip", mapped.octets()));
        let your_ip = ExtensionHandshake::decode(&payload).unwrap().your_ip;
        assert_eq!(your_ip, Some("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn our_numbers_lead_back_to_their_extensions() {
        for extension in Extension::ALL {
            assert_eq!(Extension::from_our_id(extension.our_id()), Some(extension));
        }
        assert_eq!(Extension::from_our_id(ExtensionHandshake::ID), None);
    }

    fn reads_what_it_writes_of(payload: &[u8]) -> bool {
        match ExtensionHandshake::decode(payload) {
            Ok(read) => ExtensionHandshake::decode(&read.encode()) == Ok(read),
            Err(violation) => violation == Violation::BadExtensionHandshake,
        }
    }

    quickcheck! {
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>) -> bool {
            let dict = [b"d", &bytes[..], b"e"].concat();
            reads_what_it_writes_of(&bytes) && reads_what_it_writes_of(&dict)
        }

        fn arbitrary_values_do_no_harm(values: Vec<(u8, Option<i64>, Vec<u8>)>) -> bool {
            let keys = ["p", "v", "yourip", "ipv4", "ipv6", "reqq", "upload_only", "metadata_size", "e"];
            let payload = encode_dict(|dict| {
                for (key, number, bytes) in values {
                    let key = keys[usize::from(key) % keys.len()];
                    match number {
                        Some(number) => dict.int(key, number),
                        None => dict.bytes(key, bytes),
                    }
                }
            });
            ExtensionHandshake::decode(&payload).is_ok() && reads_what_it_writes_of(&payload)
        }
    }
}
