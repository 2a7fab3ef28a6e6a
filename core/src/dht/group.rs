//! Who counts as one, by address.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::choke::AddressGroup;

/// What counts as one address: an IP address, on loopback a port.
pub(super) fn host(addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_loopback() { addr } else { SocketAddr::new(addr.ip(), 0) }
}

/// Who counts as one where strangers are counted: an IPv4 address or an IPv6 /64; on loopback each port is
/// somebody else.
pub(super) fn group_of(addr: SocketAddr) -> AddressGroup {
    let of_loopback = |high: u16, low: u16| {
        AddressGroup::of(Ipv6Addr::new(0, high, low, addr.port(), 0, 0, 0, 1).into())
    };
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_loopback() => {
            let bits = ip.to_bits();
            of_loopback((bits >> 16) as u16, bits as u16)
        }
        IpAddr::V6(ip) if ip.is_loopback() => of_loopback(0, 0),
        ip => AddressGroup::of(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_and_on_loopback_each_port_is() {
        let same = |a: &str, b: &str| {
            let [a, b] = [a, b].map(|text| text.parse().expect("an address"));
            group_of(a) == group_of(b)
        };
        assert!(same("1.2.3.4:5", "1.2.3.4:6") && same("1.2.3.4:5", "[::ffff:1.2.3.4]:6"));
        assert!(!same("1.2.3.4:5", "1.2.3.5:5"));
        assert!(same("[2a00::1]:5", "[2a00::2]:6") && !same("[2a00::1]:5", "[2a00:0:0:1::1]:5"));
        assert!(!same("127.0.0.1:5", "127.0.0.1:6") && !same("127.0.0.1:5", "127.0.0.2:5"));
        assert!(!same("[::1]:5", "[::1]:6") && same("127.0.0.1:5", "127.0.0.1:5"));
    }
}
