//! Addresses and contacts as strings of bytes (BEP 5, "contact encoding"; BEP 32, "nodes6").

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::dht::node_id::{ID_LEN, NodeId};
use crate::reach::{Namer, may_name};

/// A node: its id, and where it is reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
pub struct Contact {
    /// Its id.
    pub id: NodeId,
    /// Its address.
    pub addr: SocketAddr,
}

/// Length of an IPv4 or IPv6 address with its port, in bytes.
pub(super) const fn addr_len(v6: bool) -> usize {
    if v6 { 18 } else { 6 }
}

/// Length of a contact, in bytes.
pub const fn contact_len(v6: bool) -> usize {
    ID_LEN + addr_len(v6)
}

/// An address from 6 or 18 bytes; `None` for any other length.
pub fn read_addr(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let port = u16::from_be_bytes(*port);
    let ip = match ip.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Appends an address: 6 or 18 bytes.
pub fn write_addr(out: &mut Vec<u8>, addr: SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&addr.port().to_be_bytes());
}

/// The contacts of a `nodes` or `nodes6` string, at most `most`. What is cut off at its end is
/// ignored.
pub fn read_contacts(bytes: &[u8], v6: bool, most: usize) -> Vec<Contact> {
    bytes
        .chunks_exact(contact_len(v6))
        .take(most)
        .filter_map(|chunk| {
            let (id, addr) = chunk.split_first_chunk::<ID_LEN>()?;
            Some(Contact { id: NodeId(*id), addr: read_addr(addr)? })
        })
        .collect()
}

/// A `nodes` or `nodes6` string.
pub fn write_contacts(contacts: &[Contact]) -> Vec<u8> {
    let mut out = Vec::new();
    for contact in contacts {
        out.extend_from_slice(&contact.id.0);
        write_addr(&mut out, contact.addr);
    }
    out
}

/// An IPv4 address in IPv6 form is an IPv4 address.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Whether a node or peer can be at this address, if the node that named it is at `teller`: a port that
/// is not 0 and an address that reaches as far as the teller's own.
pub fn is_plausible(addr: SocketAddr, teller: SocketAddr) -> bool {
    addr.port() != 0 && may_name(addr.ip(), Namer::Dht(teller.ip()))
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    quickcheck! {
        fn contacts_are_read_as_they_were_written(seeds: Vec<(u8, u32, u16)>, v6: bool) -> bool {
            let contacts: Vec<Contact> = seeds
                .into_iter()
                .map(|(id, ip, port)| {
                    let ip = if v6 {
                        IpAddr::from(Ipv6Addr::from(u128::from(ip) << 77))
                    } else {
                        IpAddr::from(Ipv4Addr::from(ip))
                    };
                    Contact { id: NodeId([id; 20]), addr: SocketAddr::new(ip, port) }
                })
                .collect();
            let mut bytes = write_contacts(&contacts);
            bytes.extend([1; 5]);
            read_contacts(&bytes, v6, usize::MAX) == contacts
        }
    }

    #[test]
    fn only_so_many_contacts_are_read() {
        assert_eq!(read_contacts(&[9; 26 * 100], false, 16).len(), 16);
    }

    #[test]
    fn implausible_addresses_are_refused() {
        let from: SocketAddr = "8.8.8.8:53".parse().unwrap();
        for bad in ["0.1.2.3:5", "224.0.0.1:5", "255.255.255.255:5", "1.2.3.4:0", "127.0.0.1:80"] {
            assert!(!is_plausible(bad.parse().unwrap(), from), "{bad}");
        }
        for bad in ["192.168.1.1:80", "[::1]:80", "[fe80::1]:5", "[ff02::1]:5", "[::]:5"] {
            assert!(!is_plausible(bad.parse().unwrap(), from), "{bad}");
        }
        assert!(is_plausible("9.9.9.9:1".parse().unwrap(), from));
        let local: SocketAddr = "127.0.0.1:9".parse().unwrap();
        assert!(is_plausible("127.0.0.1:80".parse().unwrap(), local));
    }

    #[test]
    fn addresses_of_odd_lengths_are_none() {
        for len in [0, 1, 5, 7, 17, 19] {
            assert_eq!(read_addr(&vec![1; len]), None);
        }
    }
}
