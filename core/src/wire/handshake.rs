//! The 68 bytes that open a connection (BEP 3, "peer protocol").
//!
//! The decoder takes what has come so far and answers in steps: the protocol's name is checked byte
//! by byte, so another protocol is turned away at its first wrong byte; reserved bits and infohash are
//! known as soon as 48 bytes are in, because the side that accepts a connection may have to answer before
//! the other side sends its peer id ("the receiving side may wait").

use bytes::Buf;
use smallvec::SmallVec;

use super::violation::Violation;
use crate::piece::{InfoHash, PeerId};

/// Length of a handshake in bytes: 1 + 19 + 8 + 20 + 20.
pub const HANDSHAKE_LEN: usize = 68;

/// Length byte and name with which the stream begins.
const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// The opening of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handshake {
    /// What the sender can do.
    pub reserved: Reserved,
    /// The torrent that the connection is for.
    pub infohash: InfoHash,
    /// Who the sender is.
    pub peer_id: PeerId,
}

impl Handshake {
    /// As it goes over the wire.
    pub fn encode(&self) -> [u8; HANDSHAKE_LEN] {
        let mut bytes = [0; HANDSHAKE_LEN];
        bytes[..20].copy_from_slice(PROTOCOL);
        bytes[20..28].copy_from_slice(&self.reserved.0);
        bytes[28..48].copy_from_slice(&self.infohash.0);
        bytes[48..].copy_from_slice(&self.peer_id.0);
        bytes
    }
}

/// The eight reserved bytes: one bit an extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reserved(pub [u8; 8]);

impl Reserved {
    /// No extensions.
    pub const NONE: Reserved = Reserved([0; 8]);

    /// With the fast extension (BEP 6: `reserved[7] |= 0x04`).
    pub const fn with_fast(mut self) -> Self {
        self.0[7] |= 0x04;
        self
    }

    /// With the extension protocol (BEP 10: `reserved[5] & 0x10`).
    pub const fn with_extension(mut self) -> Self {
        self.0[5] |= 0x10;
        self
    }

    /// With a DHT node, which is told by a `port` message (BEP 5: last bit).
    pub const fn with_dht(mut self) -> Self {
        self.0[7] |= 0x01;
        self
    }

    /// With the wish to go over to the v2 protocol (BEP 52: fourth most significant bit of the
    /// last byte).
    pub const fn with_v2(mut self) -> Self {
        self.0[7] |= 0x10;
        self
    }

    /// Whether the fast extension is offered (BEP 6).
    pub const fn fast(self) -> bool {
        self.0[7] & 0x04 != 0
    }

    /// Whether the extension protocol is offered (BEP 10).
    pub const fn extension(self) -> bool {
        self.0[5] & 0x10 != 0
    }

    /// Whether the sender runs a DHT node (BEP 5).
    pub const fn dht(self) -> bool {
        self.0[7] & 0x01 != 0
    }

    /// Whether the sender can go over to the v2 protocol (BEP 52).
    pub const fn v2(self) -> bool {
        self.0[7] & 0x10 != 0
    }

    /// What both sides offer.
    pub fn both(self, other: Reserved) -> Reserved {
        Reserved(std::array::from_fn(|at| self.0[at] & other.0[at]))
    }
}

/// Takes a handshake from the front of a stream, in any chunks.
#[derive(Clone, Debug, Default)]
pub struct HandshakeDecoder {
    seen: SmallVec<[u8; HANDSHAKE_LEN]>,
}

impl HandshakeDecoder {
    /// At the stream's start.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what belongs to the handshake off the front of `data`; the rest, if any, are messages.
    ///
    /// Errs as soon as one byte cannot be the protocol's name.
    pub fn push(&mut self, data: &mut impl Buf) -> Result<(), Violation> {
        while data.has_remaining() && self.seen.len() < HANDSHAKE_LEN {
            let missing = HANDSHAKE_LEN - self.seen.len();
            let chunk = data.chunk();
            let part = chunk.get(..missing).unwrap_or(chunk);
            self.seen.extend_from_slice(part);
            let taken = part.len();
            data.advance(taken);
        }
        let wrong = self.seen.iter().zip(PROTOCOL).any(|(seen, expected)| seen != expected);
        if wrong { Err(Violation::BadProtocolName) } else { Ok(()) }
    }

    /// Reserved bits and infohash, known before the peer id.
    pub fn head(&self) -> Option<(Reserved, InfoHash)> {
        Some((Reserved(self.field(20)?), InfoHash(self.field(28)?)))
    }

    /// The whole handshake, once it is in.
    pub fn handshake(&self) -> Option<Handshake> {
        let (reserved, infohash) = self.head()?;
        Some(Handshake { reserved, infohash, peer_id: PeerId(self.field(48)?) })
    }

    fn field<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.seen.get(at..)?.first_chunk().copied()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quickcheck::quickcheck;

    use super::*;

    fn sample() -> Handshake {
        Handshake {
            reserved: Reserved::NONE.with_fast().with_extension(),
            infohash: InfoHash([7; 20]),
            peer_id: PeerId(*b"-bs0100-abcdefghijkl"),
        }
    }

    #[test]
    fn reserved_bits_are_where_the_beps_put_them() {
        let all = Reserved::NONE.with_fast().with_extension().with_dht().with_v2();
        assert_eq!(all.0, [0, 0, 0, 0, 0, 0x10, 0, 0x15]);
        assert!(all.fast() && all.extension() && all.dht() && all.v2());
        assert!(!all.both(Reserved::NONE.with_dht()).fast());
        assert!(all.both(Reserved::NONE.with_dht()).dht());
        let none = Reserved::NONE;
        assert!(!none.fast() && !none.extension() && !none.dht() && !none.v2());
    }

    #[test]
    fn infohash_is_known_before_the_peer_id_has_come() {
        let bytes = sample().encode();
        let mut decoder = HandshakeDecoder::new();
        decoder.push(&mut &bytes[..47]).unwrap();
        assert_eq!(decoder.head(), None);
        decoder.push(&mut &bytes[47..48]).unwrap();
        assert_eq!(decoder.head(), Some((sample().reserved, sample().infohash)));
        assert_eq!(decoder.handshake(), None);
    }

    #[test]
    fn a_stranger_is_refused_at_its_first_wrong_byte() {
        let mut decoder = HandshakeDecoder::new();
        assert_eq!(decoder.push(&mut &b"\x13BitT"[..]), Ok(()));
        assert_eq!(decoder.push(&mut &b"X"[..]), Err(Violation::BadProtocolName));
        assert_eq!(
            HandshakeDecoder::new().push(&mut &b"GET / HTTP/1.1"[..]),
            Err(Violation::BadProtocolName)
        );
    }

    quickcheck! {
        fn any_cut_gives_the_same_handshake_and_leaves_what_follows(cuts: Vec<u8>) -> bool {
            let mut stream = sample().encode().to_vec();
            stream.extend_from_slice(b"after");
            let mut stream = Bytes::from(stream);
            let mut left = Vec::new();
            let mut decoder = HandshakeDecoder::new();
            for cut in cuts.into_iter().map(usize::from).chain([usize::MAX]) {
                let mut chunk = stream.split_to(cut.min(stream.len()));
                decoder.push(&mut chunk).unwrap();
                left.extend_from_slice(&chunk);
            }
            decoder.handshake() == Some(sample()) && left == b"after"
        }
    }
}
