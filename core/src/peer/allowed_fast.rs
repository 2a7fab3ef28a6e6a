//! Which pieces a peer may have while it is choked (BEP 6, "allowed fast set generation").
//!
//! The set follows from the infohash and the receiver's IPv4 address without its last octet, so
//! all peers of a swarm allow it the same pieces. The BEP has no provisions for IPv6.

use std::net::IpAddr;

use sha1::{Digest, Sha1};

use crate::piece::{InfoHash, PieceIndex, Sha1Hash};

/// How many pieces to allow. BEP 6: "We currently set k to 10".
pub const ALLOWED_FAST_LEN: usize = 10;

/// The first `len` pieces of the set for the peer at `ip`, in the order of the BEP; empty for IPv6.
///
/// All pieces if there are no more than that. `len` is meant to be small: this is quadratic in it.
pub fn allowed_fast_set(
    ip: IpAddr,
    infohash: InfoHash,
    piece_count: u32,
    len: usize,
) -> Vec<PieceIndex> {
    let IpAddr::V4(ip) = ip.to_canonical() else { return Vec::new() };
    if piece_count as usize <= len {
        return (0..piece_count).map(PieceIndex).collect();
    }
    let [a, b, c, _] = ip.octets();
    let mut hash: Sha1Hash =
        Sha1::new().chain_update([a, b, c, 0]).chain_update(infohash.0).finalize().into();
    let mut set = Vec::with_capacity(len);
    while set.len() < len {
        for number in hash.as_chunks().0 {
            let piece = PieceIndex(u32::from_be_bytes(*number) % piece_count);
            if set.len() < len && !set.contains(&piece) {
                set.push(piece);
            }
        }
        hash = Sha1::digest(hash).into();
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ip: &str, piece_count: u32, len: usize) -> Vec<u32> {
        let set = allowed_fast_set(ip.parse().unwrap(), InfoHash([0xAA; 20]), piece_count, len);
        set.into_iter().map(|piece| piece.0).collect()
    }

    #[test]
    fn sets_of_the_beps_examples() {
        assert_eq!(set("80.4.4.200", 1313, 7), [1059, 431, 808, 1217, 287, 376, 1188]);
        let nine = [1059, 431, 808, 1217, 287, 376, 1188, 353, 508];
        assert_eq!(set("80.4.4.200", 1313, 9), nine);
        assert_eq!(set("::ffff:80.4.4.1", 1313, 9), nine, "the last octet does not count");
    }

    #[test]
    fn a_small_torrent_is_allowed_whole() {
        assert_eq!(set("80.4.4.200", 3, 10), [0, 1, 2]);
        assert_eq!(set("80.4.4.200", 0, 10), []);
        assert_eq!(set("80.4.4.200", 11, 10).len(), 10);
    }

    #[test]
    fn a_peer_over_ipv6_has_no_set() {
        assert_eq!(set("2001:db8::1", 1313, 9), []);
    }
}
