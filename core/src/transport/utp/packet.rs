//! Packets on the wire (BEP 29, "header format").
//!
//! A header of 20 bytes, a chain of extensions, the payload. We send one extension only, selective
//! acknowledgement, and behind it those that fill a packet up to a length that is tried; never a
//! first extension above 2, which libutp takes for another protocol.

use bytes::{BufMut, BytesMut};

use super::seq::Seq;

/// Bytes of the header.
pub(crate) const HEADER_LEN: usize = 20;
/// Most extensions of a packet that are read (chosen).
const MAX_EXTENSIONS: usize = 16;
/// The extension with selective acknowledgements.
const SELECTIVE_ACK: u8 = 1;
/// An extension that nobody knows, and thus everybody skips.
const PADDING: u8 = 0x5a;
/// Longest selective acknowledgement that we send, in bytes: a multiple of four that fits.
pub(crate) const MAX_SACK: usize = 252;
/// Least bytes that a packet with padding has beyond its payload: header, an empty selective
/// acknowledgement and the head of the padding.
pub(crate) const MIN_PADDED: usize = HEADER_LEN + 6 + 2;

/// What a packet is for (BEP 29, "type").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Bytes of the stream.
    Data = 0,
    /// The end of the stream.
    Fin = 1,
    /// An acknowledgement alone.
    State = 2,
    /// There is no such connection.
    Reset = 3,
    /// A connection is wanted.
    Syn = 4,
}

impl Kind {
    /// What a datagram is if it is a packet of this protocol, by its first byte: the type in the high half,
    /// the version, 1, in the low half.
    pub fn of(data: &[u8]) -> Option<Kind> {
        match data.first()? {
            0x01 => Some(Kind::Data),
            0x11 => Some(Kind::Fin),
            0x21 => Some(Kind::State),
            0x31 => Some(Kind::Reset),
            0x41 => Some(Kind::Syn),
            _ => None,
        }
    }
}

/// The header of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) connection_id: u16,
    /// When it was sent, by the clock of the sender, in microseconds.
    pub(crate) timestamp: u32,
    /// How long the last packet from the other side was under way, in microseconds, by both clocks.
    pub(crate) timestamp_difference: u32,
    /// Bytes that the sender has room for.
    pub(crate) window: u32,
    pub(crate) seq: Seq,
    pub(crate) ack: Seq,
}

/// A packet as it was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) header: Header,
    /// Bits of the selective acknowledgement; the first is for `ack + 2`. Empty if there is none.
    pub(crate) sack: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// Reads a packet. `None`: it is none of this protocol.
pub(crate) fn decode(data: &[u8]) -> Option<Packet<'_>> {
    let (head, mut rest) = data.split_at_checked(HEADER_LEN)?;
    let kind = Kind::of(head)?;
    let u16_at = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let u32_at =
        |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let header = Header {
        kind,
        connection_id: u16_at(2),
        timestamp: u32_at(4),
        timestamp_difference: u32_at(8),
        window: u32_at(12),
        seq: Seq(u16_at(16)),
        ack: Seq(u16_at(18)),
    };
    let mut sack: &[u8] = &[];
    let mut extension = head[1];
    let mut count = 0;
    while extension != 0 {
        let (&[next, len], tail) = rest.split_first_chunk::<2>()?;
        let (body, tail) = tail.split_at_checked(usize::from(len))?;
        count += 1;
        if count > MAX_EXTENSIONS {
            return None;
        }
        if extension == SELECTIVE_ACK {
            sack = body;
        }
        extension = next;
        rest = tail;
    }
    Some(Packet { header, sack, payload: rest })
}

/// How many bytes a packet with this selective acknowledgement has before its payload.
pub(crate) fn overhead(sack: &[u8]) -> usize {
    HEADER_LEN + if sack.is_empty() { 0 } else { 2 + sack.len() }
}

/// Writes the header of a packet with a selective acknowledgement, of a multiple of four bytes and at most
/// [`MAX_SACK`], or none if it is empty. The payload follows.
pub(crate) fn encode(out: &mut BytesMut, header: &Header, sack: &[u8]) {
    put_header(out, header, if sack.is_empty() { 0 } else { SELECTIVE_ACK });
    if !sack.is_empty() {
        out.put_u8(0);
        out.put_u8(sack.len() as u8);
        out.put_slice(sack);
    }
}

/// Writes the header of a packet that acknowledges nothing selectively and is filled up, so that
/// it is `size` bytes long with a payload of `payload` bytes, which follows. `size` is at least
/// [`MIN_PADDED`] more than the payload.
pub(crate) fn encode_padded(out: &mut BytesMut, header: &Header, size: usize, payload: usize) {
    put_header(out, header, SELECTIVE_ACK);
    out.put_slice(&[PADDING, 4, 0, 0, 0, 0]);
    let mut left = size.saturating_sub(HEADER_LEN + 6 + payload);
    loop {
        // A head of two bytes must be left for each that follows.
        let body = match left {
            0..=257 => left.saturating_sub(2),
            258..=259 => left - 2 - 2 - 1,
            _ => 255,
        };
        left = left.saturating_sub(body + 2);
        out.put_u8(if left == 0 { 0 } else { PADDING });
        out.put_u8(body as u8);
        out.put_bytes(0, body);
        if left == 0 {
            return;
        }
    }
}

fn put_header(out: &mut BytesMut, header: &Header, extension: u8) {
    out.put_u8((header.kind as u8) << 4 | 1);
    out.put_u8(extension);
    out.put_u16(header.connection_id);
    out.put_u32(header.timestamp);
    out.put_u32(header.timestamp_difference);
    out.put_u32(header.window);
    out.put_u16(header.seq.0);
    out.put_u16(header.ack.0);
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    fn header() -> Header {
        Header {
            kind: Kind::Data,
            connection_id: 0x1234,
            timestamp: 0xdead_beef,
            timestamp_difference: 77,
            window: 1 << 20,
            seq: Seq(65535),
            ack: Seq(7),
        }
    }

    #[test]
    fn header_is_laid_out_as_the_bep_says() {
        let mut out = BytesMut::new();
        encode(&mut out, &header(), &[1, 0, 0, 0x80]);
        let expected = [
            0x01, 1, 0x12, 0x34, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 77, 0, 0x10, 0, 0, 0xff, 0xff, 0,
            7, 0, 4, 1, 0, 0, 0x80,
        ];
        assert_eq!(out[..], expected);
    }

    #[test]
    fn unknown_extensions_are_skipped_and_a_chain_that_is_cut_is_refused() {
        let mut out = BytesMut::new();
        encode(&mut out, &header(), &[]);
        out[1] = 2;
        out.put_slice(&[3, 1, 9, 1, 0, 0, 5, 1, 2, 3, 4, 5, b'x']);
        let packet = decode(&out).expect("a packet");
        assert_eq!((packet.sack, packet.payload), (&[1, 2, 3, 4, 5][..], &b"x"[..]));
        for len in 0..out.len() - 1 {
            assert_eq!(decode(&out[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn chain_of_too_many_extensions_is_refused() {
        let mut out = BytesMut::new();
        encode(&mut out, &header(), &[]);
        out[1] = 9;
        for _ in 0..MAX_EXTENSIONS {
            out.put_slice(&[9, 0]);
        }
        out.put_slice(&[0, 0]);
        assert_eq!(decode(&out), None);
    }

    #[test]
    fn padding_gives_exactly_the_length() {
        for size in MIN_PADDED + 100..1500 {
            let mut out = BytesMut::new();
            encode_padded(&mut out, &header(), size, 100);
            out.put_bytes(b'p', 100);
            assert_eq!(out.len(), size);
            let packet = decode(&out).expect("a packet");
            assert_eq!(packet.payload, [b'p'; 100]);
            assert_eq!(packet.sack, [0; 4]);
            assert_eq!(out[1], SELECTIVE_ACK, "the first extension");
        }
    }

    quickcheck! {
        fn any_bytes_are_read_without_a_panic(data: Vec<u8>) -> bool {
            decode(&data).is_none_or(|packet| packet.payload.len() + HEADER_LEN <= data.len())
        }

        fn what_is_written_is_read(words: Vec<u32>, payload: Vec<u8>) -> bool {
            let sack: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            let sack = &sack[..sack.len().min(MAX_SACK)];
            let mut out = BytesMut::new();
            encode(&mut out, &header(), sack);
            assert_eq!(out.len(), overhead(sack));
            out.put_slice(&payload);
            decode(&out) == Some(Packet { header: header(), sack, payload: &payload })
        }
    }
}
