//! Node ids: the 160-bit space in which nodes and infohashes lie, and the ids that an address may
//! have.
//!
//! Distance is XOR, read as a number (BEP 5, "overview"). An id is *bound* to an address if 21 of
//! its bits and its last byte come out of a checksum of the address (BEP 42), so that an attacker
//! needs many addresses for many ids near a target. Addresses of local networks are exempt.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::piece::InfoHash;
use crate::random::SecretRng;

/// Length of an id in bytes.
pub const ID_LEN: usize = 20;

/// Length of an id in bits.
pub const ID_BITS: usize = ID_LEN * 8;

/// Which bits of an IPv4 address count (BEP 42, "node ID restriction").
const V4_MASK: [u8; 4] = [0x03, 0x0f, 0x3f, 0xff];
/// Which bits of the upper half of an IPv6 address count (BEP 42, "node ID restriction").
const V6_MASK: [u8; 8] = [0x01, 0x03, 0x07, 0x0f, 0x1f, 0x3f, 0x7f, 0xff];

/// A place in the 160-bit space: of a node, an infohash or an item.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub [u8; ID_LEN]);

/// How far two places are from each other; smaller is closer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Distance([u8; ID_LEN]);

impl NodeId {
    /// An id from a string of 20 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(NodeId)
    }

    /// An id that nothing is known about.
    pub fn random(rng: &mut SecretRng) -> Self {
        NodeId(rng.bytes())
    }

    /// An id that a node at this address may have (BEP 42).
    pub fn bound_to(ip: IpAddr, rng: &mut SecretRng) -> Self {
        let mut id: [u8; ID_LEN] = rng.bytes();
        let [.., last] = id;
        let [a, b, c, _] = prefix(ip, last).to_be_bytes();
        let [first, second, third, ..] = &mut id;
        (*first, *second) = (a, b);
        *third = (c & 0xf8) | (*third & 0x07);
        NodeId(id)
    }

    /// Whether a node at this address may have this id (BEP 42). At a local address it may have
    /// any.
    pub fn is_bound_to(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        if is_exempt(ip) {
            return true;
        }
        let [a, b, c, .., last] = self.0;
        let [x, y, z, _] = prefix(ip, last).to_be_bytes();
        (a, b, c & 0xf8) == (x, y, z & 0xf8)
    }

    /// How far it is from here to there.
    pub fn distance(&self, to: &NodeId) -> Distance {
        Distance(std::array::from_fn(|at| self.0[at] ^ to.0[at]))
    }

    /// How many leading bits two ids share: 160 if they are the same.
    pub fn common_bits(&self, with: &NodeId) -> usize {
        self.distance(with).leading_zeros()
    }

    /// A random id that shares exactly the first `bits` bits with this one: a place in the bucket
    /// of that number.
    pub fn random_beside(&self, bits: usize, rng: &mut SecretRng) -> Self {
        let mut id: [u8; ID_LEN] = rng.bytes();
        for (at, (byte, own)) in id.iter_mut().zip(self.0).enumerate() {
            let shared = bits.saturating_sub(at * 8).min(8);
            let keep = u8::try_from(0xff00_u16 >> shared & 0xff).unwrap_or(0xff);
            *byte = (own & keep) | (*byte & !keep);
            if (at * 8..at * 8 + 8).contains(&bits) {
                // The first bit that is not shared differs.
                let flip = 0x80 >> (bits - at * 8);
                *byte = (*byte & !flip) | (!own & flip);
            }
        }
        NodeId(id)
    }
}

impl Distance {
    /// How many leading bits are zero.
    pub fn leading_zeros(&self) -> usize {
        let whole = self.0.iter().take_while(|byte| **byte == 0).count();
        let rest = self.0.get(whole).map_or(0, |byte| byte.leading_zeros() as usize);
        whole * 8 + rest
    }
}

impl From<InfoHash> for NodeId {
    fn from(infohash: InfoHash) -> Self {
        NodeId(infohash.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether the address is in a local network, where ids are not bound (BEP 42, "enforcement").
pub fn is_exempt(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unique_local(),
    }
}

/// The checksum whose first 21 bits an id at this address must have, if it ends in `last`.
fn prefix(ip: IpAddr, last: u8) -> u32 {
    let r = (last & 0x07) << 5;
    match ip {
        IpAddr::V4(ip) => crc32c(&masked(v4_octets(ip), V4_MASK, r)),
        IpAddr::V6(ip) => crc32c(&masked(v6_octets(ip), V6_MASK, r)),
    }
}

fn v4_octets(ip: Ipv4Addr) -> [u8; 4] {
    ip.octets()
}

/// The upper half: the network that an address belongs to.
fn v6_octets(ip: Ipv6Addr) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = ip.octets();
    [a, b, c, d, e, f, g, h]
}

fn masked<const N: usize>(mut octets: [u8; N], mask: [u8; N], r: u8) -> [u8; N] {
    for (octet, mask) in octets.iter_mut().zip(mask) {
        *octet &= mask;
    }
    if let Some(first) = octets.first_mut() {
        *first |= r;
    }
    octets
}

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4), bit by bit: the input is eight bytes at most.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let crc = bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 }
        })
    });
    !crc
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    fn id(hex: &str) -> NodeId {
        NodeId(std::array::from_fn(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap()))
    }

    #[test]
    fn crc32c_has_its_known_check_value() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn ids_of_bep_42_are_bound_to_their_addresses_and_to_no_others() {
        let vectors = [
            ("124.31.75.21", "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401"),
            ("21.75.31.124", "5a3ce9c14e7a08645677bbd1cfe7d8f956d53256"),
            ("65.23.51.170", "a5d43220bc8f112a3d426c84764f8c2a1150e616"),
            ("84.124.73.14", "1b0321dd1bb1fe518101ceef99462b947a01ff41"),
            ("43.213.53.83", "e56f6cbf5b7c4be0237986d5243b87aa6d51305a"),
        ];
        for (ip, hex) in vectors {
            assert!(id(hex).is_bound_to(ip.parse().unwrap()), "{ip}");
            assert!(!id(hex).is_bound_to("8.8.8.8".parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn an_id_made_for_an_address_is_bound_to_it() {
        let mut rng = SecretRng::from_seed([1; 32]);
        for ip in ["8.8.4.4", "2001:4860::8888", "203.0.113.77"] {
            let ip = ip.parse().unwrap();
            for _ in 0..20 {
                assert!(NodeId::bound_to(ip, &mut rng).is_bound_to(ip));
            }
        }
    }

    #[test]
    fn local_addresses_are_exempt() {
        for ip in ["127.0.0.1", "10.1.2.3", "192.168.0.9", "169.254.1.1", "172.31.0.1", "::1"] {
            assert!(NodeId([7; 20]).is_bound_to(ip.parse().unwrap()), "{ip}");
        }
        assert!(!NodeId([7; 20]).is_bound_to("172.32.0.1".parse().unwrap()));
    }

    quickcheck! {
        fn distance_is_zero_to_itself_and_the_same_both_ways(seed: u8) -> bool {
            let mut rng = SecretRng::from_seed([seed; 32]);
            let (a, b) = (NodeId::random(&mut rng), NodeId::random(&mut rng));
            a.distance(&b) == b.distance(&a) && a.common_bits(&a) == 160
        }

        fn an_id_beside_shares_exactly_that_many_bits(seed: u8, bits: u8) -> bool {
            let mut rng = SecretRng::from_seed([seed; 32]);
            let own = NodeId::random(&mut rng);
            let bits = usize::from(bits) % 160;
            own.random_beside(bits, &mut rng).common_bits(&own) == bits
        }
    }
}
