//! Where a request may lead: the rules against server-side request forgery.
//!
//! A torrent names URLs, and its author may be hostile: it must not make this machine talk to
//! services that only this machine or its network can reach. The rules look at resolved addresses
//! and not at names, since a name can resolve to anything. They are asked for every address and
//! again after each redirect (defence 29).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Scheme, Url};
use crate::reach::{Reach, may_redirect, meant, reach};

/// Whether the address is one of the public internet.
///
/// Loopback, private, link-local, shared, documentation, benchmarking, multicast and reserved
/// ranges are not (RFC 6890 and the IANA special-purpose registries).
pub fn is_global(ip: IpAddr) -> bool {
    reach(ip) == Some(Reach::Global)
        && match meant(ip) {
            IpAddr::V4(ip) => is_allocated_v4(ip),
            IpAddr::V6(ip) => is_allocated_v6(ip),
        }
}

/// Whether a redirect received from `from` may be followed to `to`: never from the public internet
/// into a private network, nor from there to this host.
pub fn redirect_allowed(from: IpAddr, to: IpAddr) -> bool {
    may_redirect(from, to) && (is_global(to) || !is_global(from))
}

/// Whether a tracker at `url`, which a torrent names, may be asked at `ip`.
///
/// On this host and in private networks the last part of the path must begin with `announce` or
/// `scrape` (BEP 48 asks for the first), so that a torrent cannot press buttons of other services.
pub fn tracker_allowed(url: &Url, ip: IpAddr) -> bool {
    let last = url.path().rsplit('/').next().unwrap_or_default();
    let is_tracker = url.scheme() == Scheme::Udp // A packet of BEP 15 means nothing to other services.
        || last.starts_with("announce")
        || last.starts_with("scrape");
    match reach(ip) {
        None => false,
        Some(Reach::Global) => true,
        Some(Reach::Host | Reach::Network) => is_tracker,
    }
}

fn is_allocated_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_documentation()
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19));
    !special
}

fn is_allocated_v6(ip: Ipv6Addr) -> bool {
    let [first, second, third, ..] = ip.segments();
    // 2000::/3 is all that is allocated as global unicast, minus documentation and benchmarking.
    first & 0xe000 == 0x2000
        && !(first == 0x2001 && (second == 0x0db8 || (second == 2 && third == 0)))
        && !(first == 0x3fff && second < 0x1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn special_ranges_are_not_global() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.8",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001:2::1",
            "3fff::1",
        ] {
            assert!(!is_global(ip(text)), "{text}");
        }
        for text in ["1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1", "64:ff9b::101:101"] {
            assert!(is_global(ip(text)), "{text}");
        }
    }

    #[test]
    fn redirect_from_public_to_private_is_refused_and_others_are_not() {
        assert!(!redirect_allowed(ip("1.1.1.1"), ip("192.168.0.1")));
        assert!(!redirect_allowed(ip("1.1.1.1"), ip("::1")));
        assert!(redirect_allowed(ip("1.1.1.1"), ip("2.2.2.2")));
        assert!(redirect_allowed(ip("192.168.0.1"), ip("192.168.0.2")));
        assert!(redirect_allowed(ip("127.0.0.1"), ip("1.1.1.1")));
        assert!(!redirect_allowed(ip("192.168.0.1"), ip("127.0.0.1")));
        assert!(!redirect_allowed(ip("127.0.0.1"), ip("0.0.0.0")));
    }

    #[test]
    fn tracker_that_a_torrent_names_here_or_in_our_network_needs_an_announce_path() {
        let allowed = |url: &str, at: &str| tracker_allowed(&Url::parse(url).unwrap(), ip(at));
        let here = [
            "0.0.0.0",
            "::",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "192.168.1.1",
            "169.254.169.254",
            "fe80::1",
        ];
        for at in here {
            assert!(!allowed("http://x:631/any/path?x=1", at), "{at}");
        }
        assert!(!allowed("http://x/announce", "0.0.0.0") && !allowed("udp://x:1", "::"));
        assert!(allowed("http://x/announce", "192.168.1.1") && allowed("udp://x:1", "10.0.0.1"));
        assert!(allowed("http://x/any", "64:ff9b::101:101"));
    }

    #[test]
    fn loopback_tracker_needs_an_announce_path() {
        let allowed = |url: &str, at: &str| tracker_allowed(&Url::parse(url).unwrap(), ip(at));
        assert!(allowed("http://localhost:6969/announce?a=b", "127.0.0.1"));
        assert!(allowed("http://localhost:6969/scrape", "::1"));
        assert!(allowed("http://localhost/0123abcd/announce.php?a=b", "127.0.0.1"));
        assert!(!allowed("http://localhost:631/jobs/delete", "127.0.0.1"));
        assert!(!allowed("http://localhost:631/jobs/delete?x=/announce", "127.0.0.1"));
        assert!(!allowed("http://localhost:631/announce/delete", "127.0.0.1"));
        assert!(allowed("http://tracker.example/x", "1.1.1.1"));
    }
}
