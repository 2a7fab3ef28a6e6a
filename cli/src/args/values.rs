//! What users write as values, and the types that they become: a command never sees a value that it has
//! to doubt.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bitswarm_core::metainfo::create::Protocol;
use clap::ValueEnum;

use crate::exit::{Code, Failure};
use crate::units::{parse_size, refuse_negative};

/// One of several values that an option may have: what it stands for, or why it cannot be used. A bad one
/// ends no run that has others; it is left out with its line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Given<T> {
    Usable(T),
    Unusable(Failure),
}

impl<T> Given<T> {
    /// `name` is what the user calls the place where it stands: an option, or a setting.
    fn of(name: &str, text: &str, parsed: Result<T, String>) -> Self {
        parsed.map_or_else(
            |why| {
                let message = format!("{name} {text:?}: {why}; going on without it");
                Given::Unusable(Failure::new(Code::Usage, message))
            },
            Given::Usable,
        )
    }
}

impl Given<PeerName> {
    pub(crate) fn peer(name: &str, text: &str) -> Self {
        Given::of(name, text, PeerName::parse(text))
    }
}

impl Given<String> {
    pub(crate) fn tracker(name: &str, text: &str) -> Self {
        Given::of(name, text, parse_tracker(text))
    }
}

impl<T: Clone> Given<T> {
    /// Those that can be used.
    pub(crate) fn usable(all: &[Self]) -> Vec<T> {
        let usable = |given: &Self| match given {
            Given::Usable(value) => Some(value.clone()),
            Given::Unusable(_) => None,
        };
        all.iter().filter_map(usable).collect()
    }

    /// Why the others cannot.
    pub(crate) fn failures(all: &[Self]) -> impl Iterator<Item = Failure> {
        all.iter().filter_map(|given| match given {
            Given::Usable(_) => None,
            Given::Unusable(failure) => Some(failure.clone()),
        })
    }
}

/// A tracker, of several.
pub(crate) fn tracker(text: &str) -> Result<Given<String>, String> {
    Ok(Given::tracker("--tracker", text))
}

/// A peer, of several.
pub(crate) fn peer(text: &str) -> Result<Given<PeerName>, String> {
    Ok(Given::peer("--peer", text))
}

/// A DHT node to begin with, of several.
pub(crate) fn bootstrap(text: &str) -> Result<Given<PeerName>, String> {
    Ok(Given::peer("--dht-bootstrap", text))
}

/// A peer as the user names it: a host name or address, and a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PeerName {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl PeerName {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return match addr.port() {
                0 => Err("no peer listens on port 0".to_owned()),
                port => Ok(PeerName { host: addr.ip().to_string(), port }),
            };
        }
        let (host, port) = text.rsplit_once(':').unwrap_or_default();
        match port.parse() {
            Ok(port) if port > 0 && !host.is_empty() && !host.contains([':', '[', '/']) => {
                Ok(PeerName { host: host.to_owned(), port })
            }
            _ => Err("write HOST:PORT, and an IPv6 address as [::1]:6881".to_owned()),
        }
    }
}

/// Addresses that one argument names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ListenAt(pub(crate) Vec<SocketAddr>);

/// `ADDR:PORT`, or `:PORT`, which is every address of both families.
pub(crate) fn parse_listen(text: &str) -> Result<ListenAt, String> {
    let everywhere = text.strip_prefix(':').or_else(|| text.strip_prefix("*:")).unwrap_or(text);
    if let Ok(port) = everywhere.parse::<u16>() {
        let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        return Ok(ListenAt(any.map(|ip| SocketAddr::new(ip, port)).to_vec()));
    }
    match text.parse() {
        Ok(addr) => Ok(ListenAt(vec![addr])),
        Err(_) => Err("write ADDR:PORT with an address of this machine such as 192.0.2.1:6969 or \
                       [2001:db8::1]:6969, or :6969 for all of them"
            .to_owned()),
    }
}

pub(crate) fn parse_tracker(text: &str) -> Result<String, String> {
    let known = ["http://", "https://", "udp://"].iter().any(|scheme| {
        text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && text.len() > scheme.len()
    });
    let plain = text.bytes().all(|b| b.is_ascii_graphic());
    match known && plain {
        true => Ok(text.to_owned()),
        false => Err("write a tracker URL such as http://HOST:PORT/announce or udp://HOST:PORT \
                      (percent-encode what is not ASCII)"
            .to_owned()),
    }
}

/// The name or address of a host, and nothing else: one that can never be met would be an exception
/// without effect.
pub(crate) fn parse_host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let is_name = |text: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        !text.is_empty() && text.bytes().all(fits)
    };
    match bare.parse::<IpAddr>().is_ok() || is_name(text) {
        true => Ok(bare.to_owned()),
        false => {
            Err("write the host alone, as tracker.example or 192.0.2.1, without https:// and \
                      port"
                .to_owned())
        }
    }
}

/// Trackers that are asked before those of the next tier.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tier(pub(crate) Vec<String>);

/// `URL` or `URL,URL`. A comma in a URL is written as %2C.
pub(crate) fn parse_tier(text: &str) -> Result<Tier, String> {
    text.split(',').map(parse_tracker).collect::<Result<_, _>>().map(Tier)
}

pub(crate) fn parse_web_seed(text: &str) -> Result<String, String> {
    let known = ["http://", "https://"].iter().any(|scheme| {
        text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && text.len() > scheme.len()
    });
    match known && text.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => {
            Err("write a URL such as https://HOST/PATH (percent-encode what is not ASCII)"
                .to_owned())
        }
    }
}

/// Versions of BitTorrent.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Version {
    // No doc comments: they would turn the whole help into its long form.
    V1,
    V2,
    Hybrid,
}

impl From<Version> for Protocol {
    fn from(version: Version) -> Self {
        match version {
            Version::V1 => Protocol::V1,
            Version::V2 => Protocol::V2,
            Version::Hybrid => Protocol::Hybrid,
        }
    }
}

/// Which date a torrent bears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CreationDate {
    /// None at all.
    Absent,
    /// Seconds since 1970.
    At(u64),
}

pub(crate) fn parse_date(text: &str) -> Result<CreationDate, String> {
    refuse_negative(text)?;
    match (text, text.parse()) {
        ("none", _) => Ok(CreationDate::Absent),
        (_, Ok(seconds)) => Ok(CreationDate::At(seconds)),
        _ => Err("write seconds since 1970, or none".to_owned()),
    }
}

pub(crate) fn parse_piece_length(text: &str) -> Result<u32, String> {
    let advice = "write a power of two from 16KiB to 256MiB";
    match u32::try_from(parse_size(text)?) {
        Ok(length) if length.is_power_of_two() && (1 << 14..=1 << 28).contains(&length) => {
            Ok(length)
        }
        _ => Err(advice.to_owned()),
    }
}

pub(crate) fn parse_choice(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "1" => Ok(true),
        "no" | "false" | "0" => Ok(false),
        _ => Err("write yes or no".to_owned()),
    }
}

pub(crate) fn parse_ratio(text: &str) -> Result<f64, String> {
    refuse_negative(text)?;
    match text.parse::<f64>() {
        Ok(ratio) if ratio.is_finite() && ratio >= 0.0 => Ok(ratio),
        _ => Err("write a ratio such as 1, 1.5 or 0".to_owned()),
    }
}

pub(crate) fn parse_demo_size(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        size @ 1..=0x100_0000_0000 => Ok(size),
        _ => Err("write a size from 1 byte to 1TiB".to_owned()),
    }
}

/// Bytes from twice as many hexadecimal digits.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let advice = || format!("write {} hexadecimal digits", 2 * N);
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(advice());
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| advice())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| advice())?;
    }
    Ok(bytes)
}
