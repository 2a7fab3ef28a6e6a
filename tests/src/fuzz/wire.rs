//! The peer wire: handshake, then messages. However the stream is cut, the same comes out, and the
//! same violation after it; little is held back; what was read is written and read again, by the
//! core and by the simulator's own reader.
//!
//! The first byte says how many pieces the torrent has and where to cut; the rest is the stream.

use bitswarm_core::Segments;
use bitswarm_core::bitfield::Bitfield;
use bitswarm_core::wire::decoder::MAX_EXTENDED_LEN;
use bitswarm_core::wire::{
    Decoder, HANDSHAKE_LEN, Handshake, HandshakeDecoder, Message, Violation,
};
use bytes::Bytes;

use super::input::{Input, cut};
use crate::sim::peer_wire::{Hello, Item, Reader};

/// What came out of a stream.
#[derive(PartialEq, Debug, Default)]
struct Heard {
    handshake: Option<Handshake>,
    messages: Vec<Message>,
    violation: Option<Violation>,
}

/// See the module.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let seed = input.byte();
    let pieces = [None, Some(0), Some(1), Some(13), Some(16), Some(1000)][usize::from(seed) % 6];
    // Half of the inputs need not find out how a handshake begins.
    let greeting = Handshake {
        reserved: Default::default(),
        infohash: bitswarm_core::piece::InfoHash([7; 20]),
        peer_id: bitswarm_core::piece::PeerId([9; 20]),
    };
    let greeting = if seed & 0x80 == 0 { &greeting.encode()[..] } else { &[] };
    let stream = [greeting, input.rest()].concat();

    let whole = listen(&[&stream], pieces);
    assert_eq!(whole, listen(&cut(&stream, seed), pieces), "cut in portions");
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(whole, listen(&bytes, pieces), "cut in bytes");
    check_written(&whole, pieces);
}

/// Takes a stream in portions, as a connection does.
fn listen(portions: &[&[u8]], pieces: Option<u32>) -> Heard {
    let mut heard = Heard::default();
    let mut handshake = HandshakeDecoder::new();
    let mut decoder = Decoder::new();
    decoder.set_piece_count(pieces);
    for portion in portions {
        let mut portion = Bytes::copy_from_slice(portion);
        if heard.handshake.is_none() {
            if let Err(violation) = handshake.push(&mut portion) {
                heard.violation = Some(violation);
                return heard;
            }
            heard.handshake = handshake.handshake();
            if heard.handshake.is_none() {
                continue;
            }
        }
        decoder.push(portion);
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => heard.messages.push(message),
                Ok(None) => break,
                Err(violation) => {
                    assert_eq!(decoder.next_message(), Err(violation), "violations are final");
                    let _ = violation.to_string();
                    heard.violation = Some(violation);
                    return heard;
                }
            }
        }
        let block = decoder.partial_block().map_or(0, |block| block.length as usize);
        assert!(decoder.buffered() <= MAX_EXTENDED_LEN as usize + 4, "one message at most waits");
        assert!(block <= MAX_EXTENDED_LEN as usize);
    }
    heard
}

/// What was read is written as bytes that mean the same to both readers.
fn check_written(heard: &Heard, pieces: Option<u32>) {
    let Some(handshake) = heard.handshake else { return };
    let hello = Hello {
        reserved: handshake.reserved.0,
        infohash: handshake.infohash.0,
        peer_id: handshake.peer_id.0,
    };
    let _ = (handshake.peer_id.to_string(), handshake.infohash.to_string());
    assert_eq!(handshake.encode()[..], hello.to_bytes()[..]);
    let known: Vec<Message> =
        heard.messages.iter().filter(|m| !matches!(m, Message::Unknown { .. })).cloned().collect();
    let mut out = Segments::new();
    out.put(&handshake.encode());
    for message in known.iter().cloned() {
        let (before, len) = (out.len(), message.encoded_len());
        message.encode(&mut out);
        assert_eq!(out.len() - before, len, "a message is as long as it says");
    }
    let bytes = out.take_all().freeze();
    let again = listen(&[&bytes], pieces);
    assert_eq!((again.handshake, again.violation), (Some(handshake), None));
    assert_eq!(again.messages, known);

    let mut reader = Reader::new();
    reader.feed(&bytes);
    let mut count = 0;
    let mut used = 0;
    // The reader has no use for blocks of no bytes, which the decoder leaves for others to judge.
    while let Ok(Some(item)) = reader.try_next() {
        let written = match item {
            Item::Hello(hello) => hello.to_bytes(),
            Item::Msg(message) => {
                count += 1;
                message.to_bytes()
            }
        };
        assert_eq!(bytes.get(used..used + written.len()), Some(&written[..]));
        used += written.len();
    }
    let stopped_at = known.get(count);
    let is_empty_block = |m: &Message| matches!(m, Message::Piece { data, .. } if data.is_empty());
    assert!(stopped_at.is_none_or(is_empty_block), "the oracle refuses {stopped_at:?}");
    assert!(used >= HANDSHAKE_LEN);

    for message in &known {
        if let (Message::Bitfield(bits), Some(pieces)) = (message, pieces)
            && let Ok(field) = Bitfield::from_bytes(bits, pieces)
        {
            assert_eq!(field.to_bytes(), bits[..]);
            assert_eq!(field.iter().count(), field.count() as usize);
        }
    }
}
