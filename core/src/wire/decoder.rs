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

use super::message::{Message, PIECE_HEADER_LEN, id};
use super::unread::Unread;
use super::violation::Violation;
use crate::piece::{BLOCK_LEN, Block, MAX_PIECES, PieceIndex};

/// Longest extension message accepted, in bytes with its two ids (chosen: peers send dictionaries
/// of some kilobytes and 16 KiB of metadata at once).
pub const MAX_EXTENDED_LEN: u32 = 1024 * 1024 + 2;

/// Longest piece message accepted, in bytes after the length prefix: we never ask for more.
pub const MAX_PIECE_MESSAGE_LEN: u32 = BLOCK_LEN + 9;

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
        let known = !matches!(id, 10..=12 | 18..=19 | 21..);
        if known && self.unread.len() < 4 + length {
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
                let (piece, begin) = (self.piece(), self.number());
                Message::Piece { piece, begin, data: self.unread.take(content - 8) }
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
            id => {
                self.unwanted = content;
                self.drop_unwanted();
                Message::Unknown { id }
            }
        })
    }

    fn number(&mut self) -> u32 {
        u32::from_be_bytes(self.unread.array())
    }

    fn piece(&mut self) -> PieceIndex {
        PieceIndex(self.number())
    }

    fn block(&mut self) -> Block {
        Block { piece: self.piece(), begin: self.number(), length: self.number() }
    }

    fn drop_unwanted(&mut self) {
        if self.unwanted > 0 {
            self.unwanted -= self.unread.skip(self.unwanted);
        }
    }
}
