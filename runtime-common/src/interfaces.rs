//! The addresses of this machine.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

/// Every address of this machine that others may use, the loopback ones at the end. Those of IPv6 that
/// mean something on one link only are left out: without the link's name nobody can use them.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let mut all: Vec<IpAddr> =
        if_addrs::get_if_addrs()?.into_iter().map(|interface| interface.ip()).collect();
    all.retain(|ip| !matches!(ip, IpAddr::V6(ip) if is_link_local(*ip)));
    all.sort_by_key(|ip| (ip.is_loopback(), *ip));
    all.dedup();
    Ok(all)
}

/// `fe80::/10` (RFC 4291).
fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_itself_at_the_end() {
        let all = addresses().unwrap();
        assert!(all.last().unwrap().is_loopback(), "{all:?}");
        assert!(all.iter().all(|ip| !ip.is_unspecified()));
    }

    #[test]
    fn what_means_something_on_one_link_only_is_told_apart() {
        assert!(is_link_local("fe80::1".parse().unwrap()));
        assert!(!is_link_local("fec0::1".parse().unwrap()));
        assert!(!is_link_local("2001:db8::1".parse().unwrap()));
    }
}
