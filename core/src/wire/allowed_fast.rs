//! Which pieces a peer may request though it is choked (BEP 6, "allowed fast set generation").
//!
//! The set depends on the receiver's address alone, so a peer gets the same pieces from everybody
//! and gains nothing by asking many. Only IPv4 is defined; others get no set.

use std::net::{IpAddr, Ipv4Addr};

use sha1::{Digest, Sha1};

use crate::piece::{InfoHash, PieceIndex, Sha1Hash};

/// Pieces in the set. BEP 6: "We currently set k to 10".
pub const ALLOWED_FAST_PIECES: u32 = 10;

/// The first `count` pieces that the peer at `ip` may request though it is choked, of a torrent of
/// `pieces` pieces; fewer if the torrent is small, none for IPv6.
pub fn allowed_fast_set(
    ip: IpAddr,
    infohash: InfoHash,
    pieces: u32,
    count: u32,
) -> Vec<PieceIndex> {
    let IpAddr::V4(ip) = ip.to_canonical() else { return Vec::new() };
    let network = Ipv4Addr::from_bits(ip.to_bits() & 0xffff_ff00);
    let mut hash: Sha1Hash =
        Sha1::new().chain_update(network.octets()).chain_update(infohash.0).finalize().into();
    let count = count.min(pieces) as usize;
    let mut set = Vec::with_capacity(count);
    while set.len() < count {
        for number in hash.as_chunks::<4>().0 {
            let piece = PieceIndex(u32::from_be_bytes(*number) % pieces);
            if set.len() < count && !set.contains(&piece) {
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

    #[test]
    fn the_sets_of_bep_6_come_out() {
        let ip = "80.4.4.200".parse().unwrap();
        let set = |count| {
            let set = allowed_fast_set(ip, InfoHash([0xaa; 20]), 1313, count);
            set.into_iter().map(|piece| piece.0).collect::<Vec<_>>()
        };
        assert_eq!(set(7), [1059, 431, 808, 1217, 287, 376, 1188]);
        assert_eq!(set(9), [1059, 431, 808, 1217, 287, 376, 1188, 353, 508]);
    }

    #[test]
    fn a_small_torrent_gives_every_piece_and_ipv6_none() {
        let infohash = InfoHash([1; 20]);
        let mut set = allowed_fast_set("192.0.2.1".parse().unwrap(), infohash, 3, 10);
        set.sort();
        assert_eq!(set, [PieceIndex(0), PieceIndex(1), PieceIndex(2)]);
        assert_eq!(allowed_fast_set("192.0.2.1".parse().unwrap(), infohash, 0, 10), []);
        assert_eq!(allowed_fast_set("2001:db8::1".parse().unwrap(), infohash, 3, 10), []);
    }
}
