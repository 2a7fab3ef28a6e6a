//! The filters by which a swarm is counted over many nodes (BEP 33, "bloom filters").

use std::net::IpAddr;

use sha1::{Digest, Sha1};

/// Length of a filter in bytes (BEP 33).
pub const BLOOM_LEN: usize = 256;

/// Bits of a filter: `m` (BEP 33).
const BITS: usize = BLOOM_LEN * 8;

/// A set of IP addresses that can be counted and united, but not listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bloom([u8; BLOOM_LEN]);

impl Default for Bloom {
    fn default() -> Self {
        Bloom([0; BLOOM_LEN])
    }
}

impl Bloom {
    /// A filter as it was received, if it has the right length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Bloom)
    }

    /// As it is sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Puts an address into the set.
    pub fn insert(&mut self, ip: IpAddr) {
        let hash: [u8; 20] = match ip {
            IpAddr::V4(ip) => Sha1::digest(ip.octets()).into(),
            IpAddr::V6(ip) => Sha1::digest(ip.octets()).into(),
        };
        let [a, b, c, d, ..] = hash;
        for index in [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])] {
            let bit = usize::from(index) % BITS;
            if let Some(byte) = self.0.get_mut(bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
    }

    /// Adds everything that is in the other set.
    pub fn unite(&mut self, other: &Bloom) {
        for (byte, more) in self.0.iter_mut().zip(other.0) {
            *byte |= more;
        }
    }

    /// How many addresses are in it, about.
    pub fn estimate(&self) -> f64 {
        let m = BITS as f64;
        let zeros = self.0.iter().map(|byte| byte.count_zeros()).sum::<u32>();
        let c = f64::from(zeros).clamp(1.0, m - 1.0);
        if zeros as usize == BITS {
            return 0.0;
        }
        (c / m).ln() / (2.0 * (1.0 - 1.0 / m).ln())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn the_filter_of_bep_33_is_ours() {
        let mut bloom = Bloom::default();
        for last in 0..=255_u8 {
            bloom.insert(Ipv4Addr::new(192, 0, 2, last).into());
        }
        for last in 0..=0x3e7_u16 {
            bloom.insert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into());
        }
        let hex: String = bloom.0.iter().map(|byte| format!("{byte:02X}")).collect();
        let expected = "F6C3F5EAA07FFD91BDE89F777F26FB2BFF37BDB8FB2BBAA2FD3DDDE7BACFFF75EE7CCBAE\
            FE5EEDB1FBFAFF67F6ABFF5E43DDBCA3FD9B9FFDF4FFD3E9DFF12D1BDF59DB53DBE9FA5B\
            7FF3B8FDFCDE1AFB8BEDD7BE2F3EE71EBBBFE93BCDEEFE148246C2BC5DBFF7E7EFDCF24F\
            D8DC7ADFFD8FFFDFDDFFF7A4BBEEDF5CB95CE81FC7FCFF1FF4FFFFDFE5F7FDCBB7FD79B3\
            FA1FC77BFE07FFF905B7B7FFC7FEFEFFE0B8370BB0CD3F5B7F2BD93FEB4386CFDD6F7FD5\
            BFAF2E9EBFFFFEECD67ADBF7C67F17EFD5D75EBA6FFEBA7FFF47A91EB1BFBB53E8ABFB57\
            62ABE8FF237279BFEFBFEEF5FFC5FEBFDFE5ADFFADFEE1FB737FFFFBFD9F6AEFFEEE76B6\
            FD8F72EF";
        assert_eq!(hex, expected);
        assert!((bloom.estimate() - 1224.9308).abs() < 0.0001, "{}", bloom.estimate());
    }

    #[test]
    fn a_union_counts_what_is_in_both_once() {
        let (mut a, mut b) = (Bloom::default(), Bloom::default());
        for last in 0..100 {
            a.insert(Ipv4Addr::new(10, 0, 0, last).into());
            b.insert(Ipv4Addr::new(10, 0, 0, last + 50).into());
        }
        a.unite(&b);
        assert!((a.estimate() - 150.0).abs() < 10.0, "{}", a.estimate());
        assert_eq!(Bloom::default().estimate(), 0.0);
        assert!(Bloom([0xff; BLOOM_LEN]).estimate().is_finite());
    }
}
