//! Lists as lines of text: eMule `.dat`, PeerGuardian `.p2p`, networks, ranges and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Range;
use super::list::BadLineReason;

/// Longest line, in bytes (chosen: labels have some hundred).
const MAX_LINE: usize = 4096;

/// The highest access level that is blocked (eMule).
const LAST_BLOCKED_LEVEL: u32 = 127;

/// A range of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) range: Range,
    /// Whether its access level says so, if it has one.
    pub(super) is_blocked: bool,
}

/// What a line says; nothing if it is empty or a comment. Labels may be in any encoding.
pub(super) fn line(bytes: &[u8]) -> Result<Option<Entry>, BadLineReason> {
    let bytes = bytes.trim_ascii();
    if bytes.is_empty() || bytes.starts_with(b"#") || bytes.starts_with(b"//") || bytes[0] == b';' {
        return Ok(None);
    }
    if bytes.len() > MAX_LINE {
        return Err(BadLineReason::TooLong);
    }
    let text = String::from_utf8_lossy(bytes);
    if let Some((head, rest)) = text.split_once(',')
        && let Some(range) = range(head)
    {
        let is_blocked = is_blocked(rest)?;
        return Ok(Some(Entry { range: range?, is_blocked }));
    }
    // What a comment follows has no label.
    let bare = text.split(['#', ';']).next().unwrap_or_default();
    let single = || address(bare).and_then(|ip| Range::between(ip, ip)).map(Ok);
    let found = labelled(&text).or_else(|| range(bare)).or_else(|| network(bare)).or_else(single);
    let range = found.unwrap_or(Err(BadLineReason::NoRange))?;
    Ok(Some(Entry { range, is_blocked: true }))
}

/// Whether what follows the range of a `.dat` line blocks it: a level up to 127, or none.
fn is_blocked(rest: &str) -> Result<bool, BadLineReason> {
    let level = rest.split(',').next().unwrap_or_default().trim();
    if level.is_empty() {
        return Ok(true);
    }
    level.parse().map(|level: u32| level <= LAST_BLOCKED_LEVEL).map_err(|_| BadLineReason::Level)
}

/// `label:first-last`, or without a label. Labels may have colons, as IPv6 addresses do: of all that it
/// may mean, the narrowest range is meant.
fn labelled(text: &str) -> Option<Result<Range, BadLineReason>> {
    let (start, last) = text.rsplit_once('-')?;
    let last = address(last)?;
    let after_labels = start.match_indices(':').map(|(at, _)| &start[at + 1..]);
    let starts = after_labels.chain([start]).filter_map(address);
    let mut has_any = false;
    let ranges = starts.inspect(|_| has_any = true).filter_map(|first| Range::between(first, last));
    let narrowest = ranges.min_by_key(|range| range.span());
    narrowest.map(Ok).or(has_any.then_some(Err(BadLineReason::MixedFamilies)))
}

/// `first-last`, with blanks or without.
fn range(text: &str) -> Option<Result<Range, BadLineReason>> {
    let (first, last) = text.split_once('-')?;
    Some(Range::between(address(first)?, address(last)?).ok_or(BadLineReason::MixedFamilies))
}

/// `address/prefix`.
fn network(text: &str) -> Option<Result<Range, BadLineReason>> {
    let (ip, len) = text.split_once('/')?;
    let ip = address(ip)?;
    let network = len.trim().parse().ok().and_then(|len| Range::network(ip, len));
    Some(network.ok_or(BadLineReason::Prefix))
}

fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    // The longest IPv6 address has 45 characters.
    if text.len() > 45 {
        return None;
    }
    match text.contains(':') {
        true => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        false => address_v4(text).map(IpAddr::V4),
    }
}

/// Lists pad numbers with zeros, which are no octal numbers there.
fn address_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        let is_number = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        *octet = part.parse().ok().filter(|_| is_number)?;
    }
    parts.next().is_none().then(|| octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(a: &str, b: &str) -> Result<Option<Entry>, BadLineReason> {
        let range = Range::between(a.parse().unwrap(), b.parse().unwrap()).unwrap();
        Ok(Some(Entry { range, is_blocked: true }))
    }

    #[test]
    fn labels_may_have_colons_dashes_commas_and_any_bytes() {
        let v4 = between("1.2.3.4", "1.2.3.9");
        for text in [
            &b"a:1.2.3.4-1.2.3.9"[..],
            b"a: b - c, d:1.2.3.4-1.2.3.9",
            b":1.2.3.4 - 1.2.3.9\r",
            b"\xe4\xff:1.2.3.9-1.2.3.4",
            b"dead:beef:1.2.3.4-1.2.3.9",
        ] {
            assert_eq!(line(text), v4, "{text:?}");
        }
        let v6 = between("2001:db8::1", "2001:db8::9");
        for text in ["a:2001:db8::1-2001:db8::9", "x:face:2001:db8::1-2001:db8::9"] {
            assert_eq!(line(text.as_bytes()), v6, "{text}");
        }
        assert_eq!(line(b"a:1.2.3.4-::1"), Err(BadLineReason::MixedFamilies));
    }

    #[test]
    fn levels_above_127_are_not_blocked() {
        let is_blocked = |level: &str| {
            let text = format!("1.2.3.4 - 1.2.3.9 , {level} , label, and more");
            line(text.as_bytes()).map(|entry| entry.unwrap().is_blocked)
        };
        assert_eq!((is_blocked("0"), is_blocked("127")), (Ok(true), Ok(true)));
        assert_eq!((is_blocked("128"), is_blocked("000")), (Ok(false), Ok(true)));
        assert_eq!(is_blocked("-1"), Err(BadLineReason::Level));
        assert_eq!(line(b"1.2.3.4-1.2.3.9,"), between("1.2.3.4", "1.2.3.9"));
    }

    #[test]
    fn numbers_are_decimal_and_of_three_digits_at_most() {
        assert_eq!(line(b"010.000.000.009"), between("10.0.0.9", "10.0.0.9"));
        for text in ["1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.0004", "1.2.3.+4", "1.2..4"] {
            assert_eq!(line(text.as_bytes()), Err(BadLineReason::NoRange), "{text}");
        }
    }

    #[test]
    fn comments_and_blanks_say_nothing() {
        for text in ["", "  \r", "# 1.1.1.1", "// 1.1.1.1", "; 1.1.1.1"] {
            assert_eq!(line(text.as_bytes()), Ok(None), "{text:?}");
        }
        assert_eq!(line(b"1.1.1.0/31 ; SBL1"), between("1.1.1.0", "1.1.1.1"));
        assert_eq!(line(&[b'1'; 5000]), Err(BadLineReason::TooLong));
    }
}
