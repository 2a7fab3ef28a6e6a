//! Canonical peer priority (BEP 40).
//!
//! Both ends of a possible connection compute the same number from their two addresses, so all
//! peers of a swarm agree on which connections are worth more, and a host that floods a swarm gets only
//! its share of each peer's slots. The hash is CRC-32C (Castagnoli), not the CRC-32 of zip files.

use std::net::{IpAddr, SocketAddr};

/// Priority of a connection between two endpoints; higher is better. `None` if one is IPv4 and the
/// other IPv6: the BEP says nothing of those.
///
/// `client` is our own address as others see it, and its port the one we listen on.
pub(in crate::torrent) fn peer_priority(client: SocketAddr, peer: SocketAddr) -> Option<u32> {
    match (client.ip().to_canonical(), peer.ip().to_canonical()) {
        (a, b) if a == b => {
            Some(hash_sorted(client.port().to_be_bytes(), peer.port().to_be_bytes()))
        }
        (IpAddr::V4(a), IpAddr::V4(b)) => Some(hash_masked(a.octets(), b.octets(), 2)),
        (IpAddr::V6(a), IpAddr::V6(b)) => Some(hash_masked(a.octets(), b.octets(), 6)),
        _ => None,
    }
}

/// The first `whole` octets count as they are, and further ones as far as the addresses agree and
/// one beyond; of the rest every other bit counts.
fn hash_masked<const N: usize>(mut a: [u8; N], mut b: [u8; N], whole: usize) -> u32 {
    let agree = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let whole = if agree >= whole { agree + 1 } else { whole };
    for octet in a.iter_mut().skip(whole).chain(b.iter_mut().skip(whole)) {
        *octet &= 0x55;
    }
    hash_sorted(a, b)
}

fn hash_sorted<const N: usize>(a: [u8; N], b: [u8; N]) -> u32 {
    crc32c(a.min(b).into_iter().chain(a.max(b)))
}

fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(!0, |crc, byte| CRC32C[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}

/// The effect of each byte on the checksum.
const CRC32C: [u32; 256] = {
    /// The Castagnoli polynomial, lowest power in the highest bit (RFC 3720, section 12.1).
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn priority(client: &str, peer: &str) -> Option<u32> {
        peer_priority(client.parse().unwrap(), peer.parse().unwrap())
    }

    #[test]
    fn checksum_of_the_rfcs_vectors() {
        // RFC 3720, section B.4.
        assert_eq!(crc32c([0; 32].into_iter()), 0x8A91_36AA);
        assert_eq!(crc32c(0..32), 0x46DD_794E);
    }

    #[test]
    fn priorities_of_the_beps_examples() {
        assert_eq!(priority("123.213.32.10:1", "98.76.54.32:2"), Some(0xEC2D_7224));
        assert_eq!(priority("123.213.32.10:1", "123.213.32.234:2"), Some(0x9956_8189));
    }

    #[test]
    fn both_ends_compute_the_same() {
        for (a, b) in [
            ("1.2.3.4:10", "1.2.200.4:20"),
            ("1.2.3.4:10", "1.2.3.4:20"),
            ("[2001:db8::1]:10", "[2001:db8::2]:20"),
            ("[2001:db8::1]:10", "[2a00::2]:20"),
        ] {
            assert_eq!(priority(a, b), priority(b, a));
            assert!(priority(a, b).is_some());
        }
        assert_eq!(priority("1.2.3.4:1", "[2001:db8::2]:2"), None);
    }

    #[test]
    fn octets_count_in_full_one_beyond_where_the_addresses_part() {
        // In one /16 the third octet counts in full, so these differ; apart they are one network.
        assert_ne!(priority("1.2.0.1:1", "1.2.5.1:1"), priority("1.2.0.1:1", "1.2.7.1:1"));
        assert_eq!(priority("9.9.0.1:1", "1.2.5.1:1"), priority("9.9.0.1:1", "1.2.7.1:1"));
        let sixth = |peer| priority("[2001:db8:0:1::1]:1", peer);
        assert_ne!(sixth("[2001:db8:0:200::1]:1"), sixth("[2001:db8:0:800::1]:1"));
        assert_eq!(sixth("[2001:db8:9:200::1]:1"), sixth("[2001:db8:9:800::1]:1"));
    }
}
