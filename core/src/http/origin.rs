//! Where a request may lead: the rules against server-side request forgery.
//!
//! A torrent names URLs, and whoever made it may be hostile: it must not make this machine talk to
//! services that only this machine or its network can reach. The rules look at resolved addresses
//! and not at names, since a name can resolve to anything. They are asked for every address and
//! again after each redirect (defence 29).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Url;

/// Whether the address is one of the public internet.
///
/// Loopback, private, link-local, shared, documentation, benchmarking, multicast and reserved
/// ranges are not (RFC 6890 and the IANA special-purpose registries).
pub fn is_global(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_global_v4(ip),
        IpAddr::V6(ip) => is_global_v6(ip),
    }
}

/// Whether a redirect received from `from` may be followed to `to`: never from the public internet
/// into a private network.
pub fn redirect_allowed(from: IpAddr, to: IpAddr) -> bool {
    is_global(to) || !is_global(from)
}

/// Whether a tracker at `url` may be asked at `ip`.
///
/// On the loopback interface the last part of the path must begin with `announce` or `scrape`
/// (BEP 48 asks for the first), so that a torrent cannot press buttons of other local services.
pub fn tracker_allowed(url: &Url, ip: IpAddr) -> bool {
    let last = url.path().rsplit('/').next().unwrap_or_default();
    !ip.to_canonical().is_loopback() || last.starts_with("announce") || last.starts_with("scrape")
}

fn is_global_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19));
    !special
}

fn is_global_v6(ip: Ipv6Addr) -> bool {
    // The IPv4 address inside a NAT64 or 6to4 address is the one that is reached.
    let [first, second, third, mid @ .., high, low] = ip.segments();
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    if first == 0x64 && second == 0xff9b && third == 0 && mid == [0; 3] {
        return is_global_v4(Ipv4Addr::new(a, b, c, d));
    }
    if first == 0x2002 {
        let [a, b] = second.to_be_bytes();
        let [c, d] = third.to_be_bytes();
        return is_global_v4(Ipv4Addr::new(a, b, c, d));
    }
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
