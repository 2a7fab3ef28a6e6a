//! Magnet links (BEP 9, BEP 53): any text is refused with a reason, or a link within bounds that is
//! written and read again as the same, and whose texts can be shown.

use std::collections::BTreeSet;

use bitswarm_core::metainfo::magnet::{MAX_MAGNET_LEN, PeerAddress};
use bitswarm_core::metainfo::{FileRanges, Magnet};

/// Trackers, peers and web seeds that are kept, of each.
const MOST_ENTRIES: usize = 64;
/// Longest name that is kept, in characters.
const MOST_NAME_CHARS: usize = 255;

/// See the module. What does not begin as a link does is tried with that beginning too.
pub(super) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    check(&text);
    if !Magnet::is_magnet(&text) {
        check(&format!(
            "magnet:?xt=urn:btih:{}&{text}",
            "0123456789abcdef0123456789abcdef01234567"
        ));
    }
    check_ranges(&text);
}

fn check(text: &str) {
    let magnet = match text.parse::<Magnet>() {
        Ok(magnet) => magnet,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert!(Magnet::is_magnet(text.trim()) && text.trim().len() <= MAX_MAGNET_LEN);
    check_bounds(&magnet);
    let written = magnet.to_string();
    assert!(written.is_ascii() && !written.contains(|c: char| c.is_control() || c == ' '));
    if written.len() <= MAX_MAGNET_LEN {
        let again: Magnet = written.parse().expect("what was written can be read");
        assert_eq!(again, magnet, "{written}");
        assert_eq!(again.to_string(), written);
    }
    assert!(!magnet.shown_name().is_empty());
}

fn check_bounds(magnet: &Magnet) {
    assert!(magnet.trackers.len() <= MOST_ENTRIES && magnet.web_seeds.len() <= MOST_ENTRIES);
    assert!(magnet.peers.len() <= MOST_ENTRIES);
    for urls in [&magnet.trackers, &magnet.web_seeds] {
        assert_eq!(urls.iter().collect::<BTreeSet<_>>().len(), urls.len(), "one is there twice");
        let can_be_url = |url: &String| !url.is_empty() && !url.contains(char::is_control);
        assert!(urls.iter().all(can_be_url), "{urls:?}");
    }
    if let Some(name) = &magnet.name {
        assert!(!name.trim().is_empty() && name.chars().count() <= MOST_NAME_CHARS, "{name:?}");
        assert!(!name.contains(char::is_control), "{name:?}");
        assert!(!name.contains(['\u{202e}', '\u{2066}', '\u{200b}', '\u{2028}']), "{name:?}");
    }
    for peer in &magnet.peers {
        let port = match peer {
            PeerAddress::Ip(addr) => addr.port(),
            PeerAddress::Name(host, port) => {
                assert!(!host.is_empty() && host.len() <= 253 && host.is_ascii(), "{host:?}");
                *port
            }
        };
        assert_ne!(port, 0);
        assert_eq!(peer.to_string().parse().as_ref(), Ok(peer));
    }
    match magnet.v2 {
        Some(v2) => assert_eq!(magnet.is_v2_only(), magnet.infohash == v2.truncated()),
        None => assert!(!magnet.is_v2_only()),
    }
}

/// A choice of files by itself.
fn check_ranges(text: &str) {
    let Ok(ranges) = text.parse::<FileRanges>() else { return };
    let written = ranges.to_string();
    assert_eq!(written.parse().as_ref(), Ok(&ranges), "{written}");
    let largest = ranges.largest();
    assert!(ranges.contains(largest as usize) && !ranges.contains(largest as usize + 1));
}
