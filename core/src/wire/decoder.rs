//! Cuts a stream of bytes, arriving in any chunks, into messages.
//!
//! Invariants: any cut of the stream gives the same messages and, if it breaks the protocol, the
//! same violation after the same messages. A message's length is judged by its id before anything
//! of it is kept (defence 14), so at most one message's worth of bytes waits here; content of an
//! unknown kind is dropped as it comes. Payload is sliced out of the reads, never copied, except
//! runs below 512 bytes at their ends (see `unread`).
//!
//! Not decided here: whether the numbers in a message fit the torrent, and whether it may come now.

use bytes::Bytes;

use super::hash_request::{HASH_REQUEST_LEN, HashRequest};
use super::message::{Message, PIECE_HEADER_LEN, id};
use super::unread::Unread;
use super::violation::Violation;
use crate::merkle::MAX_ANSWER_LEN;
use crate::piece::{BLOCK_LEN, Block, MAX_PIECES, PieceIndex};

/// Longest extension message accepted, in bytes with its two ids (chosen: peers send dictionaries
/// of some kilobytes and 16 KiB of metadata at once).
pub const MAX_EXTENDED_LEN: u32 = 1024 * 1024 + 2;

/// Longest piece message accepted, in bytes after the length prefix: we never ask for more.
pub const MAX_PIECE_MESSAGE_LEN: u32 = BLOCK_LEN + 9;

/// Length in bytes after the length prefix of a hash request or a hash reject.
const HASH_REQUEST_MESSAGE_LEN: u32 = 1 + HASH_REQUEST_LEN as u32;

/// Longest hashes message accepted, in bytes after the length prefix.
pub const MAX_HASHES_MESSAGE_LEN: u32 = HASH_REQUEST_MESSAGE_LEN + 32 * MAX_ANSWER_LEN;

/// Takes messages off a stream that follows a handshake.
#[derive(Debug, Default)]
pub struct Decoder {
    unread: Unread,
    /// Content of an unknown message that is still to come and to be dropped, in bytes.
    unwanted: usize,
    piece_count: Option<u32>,
}

/// The start of a message: its length after the prefix, and its id unless it is a keep-alive.
#[derive(Clone, Copy)]
struct Frame {
    length: u32,
    id: Option<u8>,
}

impl Decoder {
    /// At the start of a stream; the number of pieces is not known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many pieces the torrent has: a bitfield must fit exactly. While it is `None` (the
    /// metainfo is still to be fetched), any bitfield up to [`MAX_PIECES`] is let through.
    pub fn set_piece_count(&mut self, count: Option<u32>) {
        self.piece_count = count;
    }

    /// Takes a read. Afterwards call [`Decoder::next_message`] until it gives no more.
    pub fn push(&mut self, data: impl Into<Bytes>) {
        self.unread.push(data.into());
        self.drop_unwanted();
    }

    /// The next message, `None` if the rest of it has not come. After a violation the stream is of
    /// no use: each further call gives the same one.
    pub fn next_message(&mut self) -> Result<Option<Message>, Violation> {
        let message = match self.frame()? {
            Some(frame) => self.message(frame),
            None => None,
        };
        if message.is_none() {
            self.unread.detach();
        }
        Ok(message)
    }

    /// The block that is coming in right now: its header is here, its content is not all here.
    pub fn partial_block(&self) -> Option<Block> {
        let mut header = [0; PIECE_HEADER_LEN];
        if self.unread.peek(&mut header) < PIECE_HEADER_LEN {
            return None;
        }
        let [l0, l1, l2, l3, id::PIECE, p0, p1, p2, p3, b0, b1, b2, b3] = header else {
            return None;
        };
        Some(Block {
            piece: PieceIndex(u32::from_be_bytes([p0, p1, p2, p3])),
            begin: u32::from_be_bytes([b0, b1, b2, b3]),
            length: u32::from_be_bytes([l0, l1, l2, l3]).checked_sub(9)?,
        })
    }

    /// Bytes that wait for the rest of their message.
    pub fn buffered(&self) -> usize {
        self.unread.len()
    }

    /// The next message's start, once it is here and judged.
    fn frame(&self) -> Result<Option<Frame>, Violation> {
        let mut start = [0; 5];
        let seen = self.unread.peek(&mut start);
        let [l0, l1, l2, l3, id] = start;
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        match seen {
            0..4 => Ok(None),
            _ if length == 0 => Ok(Some(Frame { length, id: None })),
            _ if length > MAX_EXTENDED_LEN => {
                Err(Violation::MessageTooLong { length, limit: MAX_EXTENDED_LEN })
            }
            4 => Ok(None),
            _ => {
                self.judge(id, length)?;
                Ok(Some(Frame { length, id: Some(id) }))
            }
        }
    }

    /// Whether a message of this kind may have this length.
    fn judge(&self, id: u8, length: u32) -> Result<(), Violation> {
        let fits = match id {
            id::CHOKE
            | id::UNCHOKE
            | id::INTERESTED
            | id::NOT_INTERESTED
            | id::HAVE_ALL
            | id::HAVE_NONE => length == 1,
            id::HAVE | id::SUGGEST | id::ALLOWED_FAST => length == 5,
            id::REQUEST | id::CANCEL | id::REJECT => length == 13,
            id::PORT => length == 3,
            id::PIECE => (9..=MAX_PIECE_MESSAGE_LEN).contains(&length),
            id::BITFIELD => match self.piece_count {
                Some(count) => length == 1 + count.div_ceil(8),
                None => length <= 1 + MAX_PIECES.div_ceil(8),
            },
            id::EXTENDED => length >= 2,
            id::HASH_REQUEST | id::HASH_REJECT => length == HASH_REQUEST_MESSAGE_LEN,
            id::HASHES => {
                (HASH_REQUEST_MESSAGE_LEN..=MAX_HASHES_MESSAGE_LEN).contains(&length)
                    && (length - HASH_REQUEST_MESSAGE_LEN).is_multiple_of(32)
            }
            _ => true,
        };
        if fits { Ok(()) } else { Err(Violation::BadLength { id, length }) }
    }

    /// Takes the message, if all of it is here.
    fn message(&mut self, frame: Frame) -> Option<Message> {
        let length = frame.length as usize;
        let Some(id) = frame.id else {
            self.unread.skip(4);
            return Some(Message::KeepAlive);
        };
        if is_known(id) && self.unread.len() < 4 + length {
            return None;
        }
        self.unread.skip(5);
        let content = length - 1;
        Some(match id {
            id::CHOKE => Message::Choke,
            id::UNCHOKE => Message::Unchoke,
            id::INTERESTED => Message::Interested,
            id::NOT_INTERESTED => Message::NotInterested,
            id::HAVE => Message::Have(self.piece()),
            id::BITFIELD => Message::Bitfield(self.unread.take(content).contiguous()),
            id::REQUEST => Message::Request(self.block()),
            id::PIECE => {
                let [p0, p1, p2, p3, b0, b1, b2, b3] = self.unread.array();
                Message::Piece {
                    piece: PieceIndex(u32::from_be_bytes([p0, p1, p2, p3])),
                    begin: u32::from_be_bytes([b0, b1, b2, b3]),
                    data: self.unread.take(content - 8),
                }
            }
            id::CANCEL => Message::Cancel(self.block()),
            id::PORT => Message::Port(u16::from_be_bytes(self.unread.array())),
            id::SUGGEST => Message::Suggest(self.piece()),
            id::HAVE_ALL => Message::HaveAll,
            id::HAVE_NONE => Message::HaveNone,
            id::REJECT => Message::Reject(self.block()),
            id::ALLOWED_FAST => Message::AllowedFast(self.piece()),
            id::EXTENDED => {
                let [extension] = self.unread.array();
                let payload = self.unread.take(content - 1).contiguous();
                Message::Extended { id: extension, payload }
            }
            id::HASH_REQUEST => Message::HashRequest(self.hash_request()),
            id::HASHES => Message::Hashes {
                request: self.hash_request(),
                hashes: self.unread.take(content - HASH_REQUEST_LEN).contiguous(),
            },
            id::HASH_REJECT => Message::HashReject(self.hash_request()),
            id => {
                self.unwanted = content;
                self.drop_unwanted();
                Message::Unknown { id }
            }
        })
    }

    fn piece(&mut self) -> PieceIndex {
        PieceIndex(u32::from_be_bytes(self.unread.array()))
    }

    fn block(&mut self) -> Block {
        let [p0, p1, p2, p3, b0, b1, b2, b3, l0, l1, l2, l3] = self.unread.array();
        Block {
            piece: PieceIndex(u32::from_be_bytes([p0, p1, p2, p3])),
            begin: u32::from_be_bytes([b0, b1, b2, b3]),
            length: u32::from_be_bytes([l0, l1, l2, l3]),
        }
    }

    fn hash_request(&mut self) -> HashRequest {
        HashRequest::from_bytes(&self.unread.array())
    }

    fn drop_unwanted(&mut self) {
        if self.unwanted > 0 {
            self.unwanted -= self.unread.skip(self.unwanted);
        }
    }
}

/// Whether a message is kept until all of it is here; others are dropped as they come.
const fn is_known(id: u8) -> bool {
    matches!(
        id,
        id::CHOKE..=id::PORT | id::SUGGEST..=id::ALLOWED_FAST | id::EXTENDED..=id::HASH_REJECT
    )
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use quickcheck::quickcheck;

    use super::super::block_data::BlockData;
    use super::super::message::tests::{AnyMessage, stream_of};
    use super::*;

    /// Everything a stream gives, cut at these lengths and then not at all.
    fn decode(
        stream: &Bytes,
        cuts: &[u16],
        count: Option<u32>,
    ) -> (Vec<Message>, Option<Violation>) {
        let mut left = stream.clone();
        let mut decoder = Decoder::new();
        decoder.set_piece_count(count);
        let mut messages = Vec::new();
        for cut in cuts.iter().map(|cut| usize::from(*cut)).chain([usize::MAX]) {
            decoder.push(left.split_to(cut.min(left.len())));
            loop {
                match decoder.next_message() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(violation) => return (messages, Some(violation)),
                }
            }
        }
        (messages, None)
    }

    fn judged(start: &[u8]) -> Result<Option<Message>, Violation> {
        let mut decoder = Decoder::new();
        decoder.set_piece_count(Some(100));
        decoder.push(Bytes::copy_from_slice(start));
        decoder.next_message()
    }

    quickcheck! {
        fn any_cut_gives_the_messages_that_were_written(
            messages: Vec<AnyMessage>,
            cuts: Vec<u16>
        ) -> bool {
            let messages: Vec<_> = messages.into_iter().map(|any| any.0).collect();
            let small: Vec<_> = cuts.iter().map(|cut| cut % 23).collect();
            let stream = stream_of(&messages);
            decode(&stream, &cuts, None) == (messages.clone(), None)
                && decode(&stream, &small, None) == (messages, None)
        }

        fn any_bytes_give_the_same_messages_and_violation_in_any_cut(
            messages: Vec<AnyMessage>,
            noise: Vec<u8>,
            flips: Vec<(u16, u8)>,
            cuts: Vec<u16>,
            count: Option<u16>
        ) -> bool {
            let messages: Vec<_> = messages.into_iter().map(|any| any.0).collect();
            let mut stream = [&stream_of(&messages)[..], &noise].concat();
            let len = stream.len().max(1);
            for (at, flip) in flips {
                if let Some(byte) = stream.get_mut(usize::from(at) % len) {
                    *byte ^= flip;
                }
            }
            let stream = Bytes::from(stream);
            let count = count.map(u32::from);
            let whole = decode(&stream, &[], count);
            let small: Vec<_> = cuts.iter().map(|cut| cut % 7).collect();
            decode(&stream, &cuts, count) == whole && decode(&stream, &small, count) == whole
        }
    }

    #[test]
    fn a_stream_in_single_bytes_gives_the_same_messages() {
        let data = BlockData::from(Bytes::from(vec![7; 16_384]));
        let messages = vec![
            Message::HaveNone,
            Message::Piece { piece: PieceIndex(1), begin: 16_384, data },
            Message::KeepAlive,
            Message::Have(PieceIndex(2)),
        ];
        let stream = stream_of(&messages);
        let cuts = vec![1; stream.len()];
        assert_eq!(decode(&stream, &cuts, None), (messages, None));
    }

    #[test]
    fn blocks_of_a_large_read_are_slices_of_it() {
        let data = || BlockData::from(Bytes::from(vec![7; 16_384]));
        let messages: Vec<_> = (0..16)
            .map(|n| Message::Piece { piece: PieceIndex(n), begin: 0, data: data() })
            .collect();
        let read = stream_of(&messages);
        let range = read.as_ptr_range();
        let mut decoder = Decoder::new();
        decoder.push(read.clone());
        for _ in 0..16 {
            let Ok(Some(Message::Piece { data, .. })) = decoder.next_message() else {
                panic!("a piece message");
            };
            let [chunk] = data.chunks() else { panic!("in one run") };
            assert!(range.contains(&chunk.as_ptr()), "not a copy");
        }
        assert_eq!(decoder.next_message(), Ok(None));
        assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn a_block_across_two_reads_is_two_slices() {
        let data = BlockData::from(Bytes::from(vec![7; 16_384]));
        let message = Message::Piece { piece: PieceIndex(5), begin: 32_768, data };
        let stream = stream_of(std::slice::from_ref(&message));
        let mut decoder = Decoder::new();
        decoder.push(stream.slice(..12));
        assert_eq!((decoder.next_message(), decoder.partial_block()), (Ok(None), None));
        decoder.push(stream.slice(12..9000));
        let coming = Block { piece: PieceIndex(5), begin: 32_768, length: 16_384 };
        assert_eq!((decoder.next_message(), decoder.partial_block()), (Ok(None), Some(coming)));
        decoder.push(BytesMut::from(&stream[9000..]));
        let Ok(Some(Message::Piece { data, .. })) = decoder.next_message() else {
            panic!("a piece message");
        };
        assert_eq!(data.chunks().len(), 2);
        assert_eq!(data.len(), 16_384);
        assert_eq!(decoder.partial_block(), None);
    }

    #[test]
    fn a_length_is_judged_before_anything_is_kept() {
        let too_long = |length| Violation::MessageTooLong { length, limit: MAX_EXTENDED_LEN };
        assert_eq!(judged(&[0xff; 4]), Err(too_long(u32::MAX)));
        assert_eq!(judged(&[0, 0x10, 0, 3]), Err(too_long(MAX_EXTENDED_LEN + 1)));
        assert_eq!(judged(&[0, 0x10, 0, 2, 20]), Ok(None));
        assert_eq!(judged(&[0, 0, 0x40, 9, 7]), Ok(None));
        let bad = |id, length| Err(Violation::BadLength { id, length });
        assert_eq!(judged(&[0, 0, 0x40, 10, 7]), bad(7, 0x400a));
        assert_eq!(judged(&[0, 0, 0, 8, 7]), bad(7, 8));
        assert_eq!(judged(&[0, 0, 0, 1, 20]), bad(20, 1));
        assert_eq!(judged(&[0, 0, 0, 13, 5]), bad(5, 13));
        assert_eq!(judged(&[0, 0, 0, 14, 5]), Ok(None));
        assert_eq!(judged(&[0, 0, 0, 15, 5]), bad(5, 15));
        for id in [0, 1, 2, 3, 14, 15] {
            assert_eq!(judged(&[0, 0, 0, 2, id]), bad(id, 2));
        }
        // 512 hashes and 64 above them: 0x4831 bytes.
        for length in [49, 49 + 64, 49 + 576 * 32] {
            let [.., high, low] = u32::to_be_bytes(length);
            assert_eq!(judged(&[0, 0, high, low, 22]), Ok(None));
            assert_eq!(judged(&[0, 0, high, low - 1, 22]), bad(22, length - 1));
            assert_eq!(judged(&[0, 0, high, low + 1, 22]), bad(22, length + 1));
        }
        assert_eq!(judged(&[0, 0, 0x48, 0x51, 22]), bad(22, 49 + 577 * 32));
        let fixed =
            [(4, 5), (6, 13), (8, 13), (9, 3), (13, 5), (16, 13), (17, 5), (21, 49), (23, 49)];
        for (id, length) in fixed {
            assert_eq!(judged(&[0, 0, 0, length, id]), Ok(None));
            assert_eq!(judged(&[0, 0, 0, length - 1, id]), bad(id, u32::from(length) - 1));
            assert_eq!(judged(&[0, 0, 0, length + 1, id]), bad(id, u32::from(length) + 1));
        }
    }

    #[test]
    fn a_bitfield_before_the_piece_count_is_known_is_bounded_by_the_largest_torrent() {
        let mut decoder = Decoder::new();
        decoder.push(Bytes::from_static(&[0, 4, 0, 1, 5]));
        assert_eq!(decoder.next_message(), Ok(None));
        let mut decoder = Decoder::new();
        decoder.push(Bytes::from_static(&[0, 4, 0, 2, 5]));
        assert_eq!(decoder.next_message(), Err(Violation::BadLength { id: 5, length: 0x40002 }));
    }

    #[test]
    fn content_of_an_unknown_message_is_dropped_as_it_comes() {
        let mut decoder = Decoder::new();
        decoder.push(Bytes::from_static(&[0, 0x10, 0, 0, 99, 1, 2, 3]));
        assert_eq!(decoder.next_message(), Ok(Some(Message::Unknown { id: 99 })));
        let mut left = (1 << 20) - 4;
        while left > 0 {
            let part = left.min(1000);
            decoder.push(Bytes::from(vec![0xff; part]));
            assert_eq!((decoder.next_message(), decoder.buffered()), (Ok(None), 0));
            left -= part;
        }
        decoder.push(Bytes::from_static(&[0, 0, 0, 1, 1]));
        assert_eq!(decoder.next_message(), Ok(Some(Message::Unchoke)));
    }

    #[test]
    fn after_a_violation_each_call_gives_the_same_one() {
        let mut decoder = Decoder::new();
        decoder.push(Bytes::from_static(&[0, 0, 0, 2, 0, 0]));
        let violation = Err(Violation::BadLength { id: 0, length: 2 });
        assert_eq!(decoder.next_message(), violation);
        decoder.push(Bytes::from_static(&[0, 0, 0, 1, 1]));
        assert_eq!(decoder.next_message(), violation);
    }
}
