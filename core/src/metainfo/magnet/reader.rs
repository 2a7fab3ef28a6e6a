//! Reading a magnet link, and what of it is left out.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::{
    MAX_ENTRIES, MAX_MAGNET_LEN, MAX_NAME_CHARS, Magnet, MagnetError, PeerAddress, SHA2_256, hex,
    query,
};
use crate::http::{Url, UrlError, percent};
use crate::metainfo::text::printable;
use crate::metainfo::{FileRanges, FileRangesError};
use crate::piece::{InfoHash, InfoHashV2};

impl Magnet {
    /// What a link that can be used says besides, and is left out: each a phrase that names it and
    /// says why.
    pub fn left_out(text: &str) -> Vec<String> {
        read(text).map(|(_, left_out)| left_out).unwrap_or_default()
    }
}

impl FromStr for Magnet {
    type Err = MagnetError;

    fn from_str(text: &str) -> Result<Self, MagnetError> {
        read(text).map(|(magnet, _)| magnet)
    }
}

/// Reads a link; and what it says that is left out.
fn read(text: &str) -> Result<(Magnet, Vec<String>), MagnetError> {
    let text = text.trim();
    let query = query(text).ok_or(MagnetError::NotMagnet)?;
    if text.len() > MAX_MAGNET_LEN {
        return Err(MagnetError::TooLong { len: text.len() });
    }
    let mut reader = Reader::default();
    for parameter in query.split('&') {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        // Copied out of the source of a page, `&` is `&amp;`.
        let key = key.strip_prefix("amp;").unwrap_or(key);
        reader.read(unnumbered(key), value)?;
    }
    reader.finish()
}

/// `tr.3` is `tr`; `x.pe` stays.
fn unnumbered(key: &str) -> &str {
    match key.rsplit_once('.') {
        Some((name, number)) if number.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => key,
    }
}

#[derive(Default)]
struct Reader {
    infohash: Option<InfoHash>,
    v2: Option<InfoHashV2>,
    name: Option<String>,
    trackers: Entries<String>,
    peers: Entries<PeerAddress>,
    web_seeds: Entries<String>,
    select: Option<FileRanges>,
    left_out: Vec<String>,
}

impl Reader {
    fn read(&mut self, key: &str, value: &str) -> Result<(), MagnetError> {
        match key {
            "xt" => return self.topic(value),
            "so" => self.selection(value)?,
            "dn" => self.name = self.name.take().or_else(|| name(value)),
            "tr" => match url(value) {
                Some(url) => self.trackers.add(url),
                None => self.leave_out(key, value, "is no URL"),
            },
            "ws" => match url(value) {
                Some(url) => self.web_seeds.add(url),
                None => self.leave_out(key, value, "is no URL"),
            },
            "x.pe" => match decoded(value).and_then(|peer| peer.trim().parse().ok()) {
                Some(peer) => self.peers.add(peer),
                None => self.leave_out(key, value, "is no HOST:PORT"),
            },
            _ => {}
        }
        Ok(())
    }

    /// `so`: files by their numbers. Without any, all are meant, as without the key.
    fn selection(&mut self, value: &str) -> Result<(), MagnetError> {
        let bad = MagnetError::BadSelection(FileRangesError::NotAList);
        let ranges = decoded(value).ok_or(bad)?;
        if ranges.split(',').all(|part| part.trim().is_empty()) {
            self.leave_out("so", value, "selects nothing");
            return Ok(());
        }
        self.select = Some(ranges.parse().map_err(MagnetError::BadSelection)?);
        Ok(())
    }

    fn leave_out(&mut self, key: &str, value: &str, why: &str) {
        let shown = printable(value.as_bytes());
        self.left_out.push(format!("{key}={shown} {why}"));
    }

    /// `xt`: a hash of the torrent, or a topic of another network.
    fn topic(&mut self, value: &str) -> Result<(), MagnetError> {
        let Some(urn) = decoded(value) else { return Ok(()) };
        let after = |start: &str| {
            let found = urn.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(start));
            found.then(|| urn.get(start.len()..)).flatten()
        };
        if let Some(hash) = after("urn:btih:") {
            let hash = infohash(hash).ok_or(MagnetError::BadHash)?;
            match self.infohash.replace(hash) {
                Some(other) if other != hash => return Err(MagnetError::TwoTorrents),
                _ => {}
            }
        } else if let Some(hash) = after("urn:btmh:") {
            let hash = v2_hash(hash).ok_or(MagnetError::BadV2Hash)?;
            match self.v2.replace(hash) {
                Some(other) if other != hash => return Err(MagnetError::TwoTorrents),
                _ => {}
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(Magnet, Vec<String>), MagnetError> {
        let infohash = self.infohash.or(self.v2.map(|v2| v2.truncated()));
        for (key, more) in
            [("tr", self.trackers.more), ("x.pe", self.peers.more), ("ws", self.web_seeds.more)]
        {
            if more > 0 {
                self.left_out.push(format!("{more} of {key}=, of which {MAX_ENTRIES} are used"));
            }
        }
        let magnet = Magnet {
            infohash: infohash.ok_or(MagnetError::NoHash)?,
            v2: self.v2,
            name: self.name,
            trackers: self.trackers.list,
            peers: self.peers.list,
            web_seeds: self.web_seeds.list,
            select: self.select,
        };
        Ok((magnet, self.left_out))
    }
}

/// A bounded list without duplicates, in order.
pub(super) struct Entries<T> {
    pub(super) list: Vec<T>,
    seen: BTreeSet<T>,
    /// How many did not fit.
    more: usize,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Entries { list: Vec::new(), seen: BTreeSet::new(), more: 0 }
    }
}

impl<T: Ord + Clone> Entries<T> {
    pub(super) fn add(&mut self, entry: T) {
        if self.list.len() >= MAX_ENTRIES {
            self.more += usize::from(!self.seen.contains(&entry));
        } else if self.seen.insert(entry.clone()) {
            self.list.push(entry);
        }
    }
}

fn decoded(value: &str) -> Option<String> {
    String::from_utf8(percent::decode(value.as_bytes())?).ok()
}

/// A URL of any kind. Those that we could ask must be right.
fn url(value: &str) -> Option<String> {
    let text = decoded(value)?;
    let text = text.trim();
    match Url::parse(text) {
        Ok(_) => {}
        Err(UrlError::UnknownScheme) if has_scheme(text) => {}
        Err(_) => return None,
    }
    is_plain(text).then(|| text.to_owned())
}

/// Whether it begins as URLs of other kinds do (RFC 3986, section 3.1).
fn has_scheme(text: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    text.split_once("://").is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty())
}

/// Whether a text can be a URL: no white space, nothing that steers a terminal.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b > b' ' && b != 0x7f) && printable(text.as_bytes()) == text
}

/// A name in one line; those who write links encode a space as `%20` or `+`.
pub(super) fn name(value: &str) -> Option<String> {
    let raw = percent::decode(value.replace('+', " ").as_bytes())?;
    let name: String = printable(&raw)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_NAME_CHARS)
        .collect();
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

fn infohash(text: &str) -> Option<InfoHash> {
    match text.len() {
        40 => hex(text).map(InfoHash),
        32 => base32(text).map(InfoHash),
        _ => None,
    }
}

fn v2_hash(text: &str) -> Option<InfoHashV2> {
    let multihash: [u8; 34] = hex(text)?;
    let (code, digest) = multihash.split_first_chunk()?;
    if *code == SHA2_256 { digest.try_into().ok().map(InfoHashV2) } else { None }
}

/// 20 bytes from 32 digits of base32 (RFC 4648, section 6), which end on a whole byte.
fn base32(text: &str) -> Option<[u8; 20]> {
    let mut bytes = [0; 20];
    for (five, eight) in bytes.chunks_exact_mut(5).zip(text.as_bytes().chunks_exact(8)) {
        let mut bits = 0_u64;
        for &digit in eight {
            let value = match digit.to_ascii_lowercase() {
                letter @ b'a'..=b'z' => letter - b'a',
                digit @ b'2'..=b'7' => digit - b'2' + 26,
                _ => return None,
            };
            bits = bits << 5 | u64::from(value);
        }
        five.copy_from_slice(bits.to_be_bytes().get(3..)?);
    }
    Some(bytes)
}
