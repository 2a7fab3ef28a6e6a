//! Which addresses we connect to or ask, by who named them: the one function that each dial passes
//! (defence 46).
//!
//! An address means something only as far as it reaches: one of this host or of a private network is
//! another machine's if it is named from elsewhere. So a source may name addresses that reach as
//! far as itself or farther, never nearer: a peer on the Internet cannot have us talk to our router, a
//! tracker on our own network can. Addresses that hold an IPv4 address (mapped, NAT64, 6to4, Teredo) are
//! judged by that one, and what is no unicast address is nobody's: 0.0.0.0 would be this host.
//!
//! | named by | this host | link, private | global | no unicast | ports below 1024 |
//! |---|---|---|---|---|---|
//! | user | yes | yes | yes | trackers only | yes |
//! | torrent or link | trackers: `announce` or `scrape` only | the same | yes | no | of peers: global ones |
//! | tracker, its redirects | from there | from there or this host | yes | no | yes |
//! | peer exchange, DHT | from there | from there or this host | yes | no | no |
//! | local discovery, the peer itself | its own address | its own | its own | no | no |
//!
//! Whether our rules let a connection out at all (a filter, a proxy) is asked after this.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The first port that an unprivileged service may have (RFC 6335, "system ports").
const FIRST_USER_PORT: u16 = 1024;

/// How far an address is known; the nearest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reach {
    /// On this host: loopback.
    Host,
    /// On a link or in a private network.
    Network,
    /// Everywhere.
    Global,
}

/// Who named an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Namer {
    /// The user, by hand.
    User,
    /// A torrent file or a magnet link.
    Torrent,
    /// A tracker, in its answer.
    Tracker(IpAddr),
    /// A peer, of other peers (BEP 11).
    PeerExchange(IpAddr),
    /// A DHT node, of nodes or of peers.
    Dht(IpAddr),
    /// Its owner: in local discovery, or as the port that it listens on.
    Itself,
}

impl Namer {
    /// The address that named it, if it was not here.
    fn teller(self) -> Option<IpAddr> {
        match self {
            Namer::User | Namer::Torrent | Namer::Itself => None,
            Namer::Tracker(ip) | Namer::PeerExchange(ip) | Namer::Dht(ip) => Some(ip),
        }
    }

    /// Whether services of the system may be named at this address: by a link, none of our own network.
    fn may_name_system_ports(self, at: IpAddr) -> bool {
        match self {
            Namer::User | Namer::Tracker(_) => true,
            Namer::Torrent => reach(at) == Some(Reach::Global),
            Namer::PeerExchange(_) | Namer::Dht(_) | Namer::Itself => false,
        }
    }
}

/// Whether a peer at this address may be dialled, given who named it.
pub fn may_dial(addr: SocketAddr, by: Namer) -> bool {
    may_name(addr.ip(), by) && is_dialable(addr, by.may_name_system_ports(addr.ip()))
}

/// Whether a peer can be at this address, and at this port if those of the system are out of the
/// question.
pub fn is_dialable(addr: SocketAddr, may_be_system_port: bool) -> bool {
    let first = if may_be_system_port { 1 } else { FIRST_USER_PORT };
    addr.port() >= first && reach(addr.ip()).is_some()
}

/// The same whatever the port is: of a DHT node, of a host's name that was looked up.
pub fn may_name(ip: IpAddr, by: Namer) -> bool {
    let Some(reach) = reach(ip) else { return false };
    by.teller().is_none_or(|teller| self::reach(teller).is_none_or(|from| reach >= from))
}

/// Whether a redirect received from `from` may be followed to `to`: never nearer.
pub fn may_redirect(from: IpAddr, to: IpAddr) -> bool {
    may_name(to, Namer::Tracker(from))
}

/// How far an address is known; `None` if nobody can have it.
pub fn reach(ip: IpAddr) -> Option<Reach> {
    match meant(ip) {
        IpAddr::V4(ip) => reach_v4(ip),
        IpAddr::V6(ip) => reach_v6(ip),
    }
}

fn reach_v4(ip: Ipv4Addr) -> Option<Reach> {
    let [a, b, ..] = ip.octets();
    // "This network", multicast, reserved with the broadcast address.
    if a == 0 || a >= 224 {
        return None;
    }
    let is_shared = a == 100 && (64..128).contains(&b);
    Some(match ip {
        _ if ip.is_loopback() => Reach::Host,
        _ if ip.is_private() || ip.is_link_local() || is_shared => Reach::Network,
        _ => Reach::Global,
    })
}

fn reach_v6(ip: Ipv6Addr) -> Option<Reach> {
    if ip.is_unspecified() || ip.is_multicast() {
        return None;
    }
    // fec0::/10 was "site-local" (RFC 3879).
    let is_site_local = ip.segments()[0] & 0xffc0 == 0xfec0;
    Some(match ip {
        _ if ip.is_loopback() => Reach::Host,
        _ if ip.is_unique_local() || ip.is_unicast_link_local() || is_site_local => Reach::Network,
        _ => Reach::Global,
    })
}

/// The address that is reached: the IPv4 address that an IPv6 address holds, if it holds one.
pub fn meant(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => embedded_v4(v6).map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 => v4,
    }
}

/// The IPv4 address that an IPv6 address leads to: IPv4-compatible (RFC 4291), translated (RFC 2765),
/// NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056), Teredo (RFC 4380). Mapped ones are canonical already.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => Some(of(high, low)),
        [0x64, 0xff9b, 0 | 1, .., high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        [0x2001, 0, .., high, low] => Some(of(!high, !low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_that_nobody_has_are_named_by_nobody() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::ffff:0.0.0.0",
            "ff02::1",
            "64:ff9b::",
            "64:ff9b:1::224.0.0.1",
            "2002:0:1::1",
            "2001:0:1:2:3:4:ffff:ffff",
        ] {
            assert_eq!(reach(ip(text)), None, "{text}");
            assert!(!may_name(ip(text), Namer::User), "{text}");
        }
    }

    #[test]
    fn every_form_of_an_address_reaches_as_far_as_the_address() {
        for text in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b:1::127.0.0.1",
            "2002:7f00:1::5",
            "2001:0:1:2:3:4:80ff:fffe",
        ] {
            assert_eq!(reach(ip(text)), Some(Reach::Host), "{text}");
        }
        for text in [
            "10.0.0.1",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "fe80::1",
            "fec0::1",
            "fd00::1",
            "64:ff9b::192.168.1.1",
            "2002:c0a8:101::1",
        ] {
            assert_eq!(reach(ip(text)), Some(Reach::Network), "{text}");
        }
        for text in ["1.2.3.4", "2a00::1", "64:ff9b::1.2.3.4", "2002:102:304::1"] {
            assert_eq!(reach(ip(text)), Some(Reach::Global), "{text}");
        }
    }

    #[test]
    fn system_ports_are_named_by_the_user_torrents_and_trackers_alone() {
        let far = ip("1.2.3.4");
        for (by, may) in [
            (Namer::User, true),
            (Namer::Torrent, true),
            (Namer::Tracker(far), true),
            (Namer::PeerExchange(far), false),
            (Namer::Dht(far), false),
            (Namer::Itself, false),
        ] {
            assert_eq!(may_dial("1.2.3.5:22".parse().unwrap(), by), may, "{by:?}");
            assert_eq!(may_dial("1.2.3.5:1023".parse().unwrap(), by), may, "{by:?}");
            assert!(may_dial("1.2.3.5:1024".parse().unwrap(), by), "{by:?}");
            assert!(!may_dial("1.2.3.5:0".parse().unwrap(), by), "{by:?}");
        }
        let near: SocketAddr = "192.168.1.1:22".parse().unwrap();
        assert!(may_dial(near, Namer::User) && !may_dial(near, Namer::Torrent));
        assert!(may_dial("192.168.1.1:6881".parse().unwrap(), Namer::Torrent));
    }

    quickcheck! {
        fn nobody_names_an_address_that_is_nearer_than_they_are(teller: IpAddr, named: IpAddr) -> bool {
            let may = |by: fn(IpAddr) -> Namer| may_name(named, by(teller));
            let nearer = match (reach(teller), reach(named)) {
                (Some(teller), Some(named)) => named < teller,
                (_, named) => named.is_none(),
            };
            [Namer::Tracker, Namer::PeerExchange, Namer::Dht].iter().all(|by| may(*by) != nearer)
                && may_redirect(teller, named) != nearer
        }
    }
}
