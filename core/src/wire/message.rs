//! The messages of the peer protocol and how they are written.
//!
//! BEP 3 ("peer messages"), BEP 5 (`port`), BEP 6 (suggest, have all, have none, reject, allowed
//! fast), the frame of BEP 10 (extended) and BEP 52 (hash request, hashes, hash reject). Numbers are
//! big-endian; each message is preceded by its length. Writing copies what is small and passes
//! payload by reference; reading is the decoder's, which lives in its own file.

use bytes::Bytes;

use super::block_data::BlockData;
use super::hash_request::{HASH_REQUEST_LEN, HashRequest};
use crate::bitfield::Bitfield;
use crate::piece::{Block, PieceIndex};
use crate::segments::Segments;

/// The byte that tells a message's kind.
pub mod id {
    /// BEP 3.
    pub const CHOKE: u8 = 0;
    /// BEP 3.
    pub const UNCHOKE: u8 = 1;
    /// BEP 3.
    pub const INTERESTED: u8 = 2;
    /// BEP 3.
    pub const NOT_INTERESTED: u8 = 3;
    /// BEP 3.
    pub const HAVE: u8 = 4;
    /// BEP 3.
    pub const BITFIELD: u8 = 5;
    /// BEP 3.
    pub const REQUEST: u8 = 6;
    /// BEP 3.
    pub const PIECE: u8 = 7;
    /// BEP 3.
    pub const CANCEL: u8 = 8;
    /// BEP 5.
    pub const PORT: u8 = 9;
    /// BEP 6.
    pub const SUGGEST: u8 = 13;
    /// BEP 6.
    pub const HAVE_ALL: u8 = 14;
    /// BEP 6.
    pub const HAVE_NONE: u8 = 15;
    /// BEP 6.
    pub const REJECT: u8 = 16;
    /// BEP 6.
    pub const ALLOWED_FAST: u8 = 17;
    /// BEP 10.
    pub const EXTENDED: u8 = 20;
    /// BEP 52.
    pub const HASH_REQUEST: u8 = 21;
    /// BEP 52.
    pub const HASHES: u8 = 22;
    /// BEP 52.
    pub const HASH_REJECT: u8 = 23;
}

/// Length in bytes of what precedes the payload of a piece message: length, id, index, begin.
pub const PIECE_HEADER_LEN: usize = 13;

/// One message of the peer protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Nothing to say, still here (BEP 3).
    KeepAlive,
    /// No requests are served from now on (BEP 3).
    Choke,
    /// Requests are served from now on (BEP 3).
    Unchoke,
    /// The receiver has something that the sender wants (BEP 3).
    Interested,
    /// The receiver has nothing that the sender wants (BEP 3).
    NotInterested,
    /// The sender has this piece now (BEP 3).
    Have(PieceIndex),
    /// What the sender has (BEP 3); [`Bitfield::from_bytes`] reads it.
    Bitfield(Bytes),
    /// A block is wanted (BEP 3).
    Request(Block),
    /// A block's content (BEP 3).
    Piece {
        /// The piece it is part of.
        piece: PieceIndex,
        /// Offset in the piece, in bytes.
        begin: u32,
        /// The content.
        data: BlockData,
    },
    /// A block is no longer wanted (BEP 3).
    Cancel(Block),
    /// UDP port of the sender's DHT node (BEP 5).
    Port(u16),
    /// The receiver might like to download this piece (BEP 6).
    Suggest(PieceIndex),
    /// The sender has every piece (BEP 6).
    HaveAll,
    /// The sender has no piece (BEP 6).
    HaveNone,
    /// A request will not be served (BEP 6).
    Reject(Block),
    /// The receiver may request this piece though it is choked (BEP 6).
    AllowedFast(PieceIndex),
    /// A message of an extension (BEP 10).
    Extended {
        /// 0 for the handshake, else the receiver's own number for the extension.
        id: u8,
        /// What follows.
        payload: Bytes,
    },
    /// Hashes of a file's merkle tree are wanted (BEP 52).
    HashRequest(HashRequest),
    /// Hashes of a file's merkle tree (BEP 52).
    Hashes {
        /// Which they are.
        request: HashRequest,
        /// The run and then its uncles, 32 bytes each.
        hashes: Bytes,
    },
    /// A hash request will not be served (BEP 52).
    HashReject(HashRequest),
    /// A kind that we do not know; its content was dropped unread.
    Unknown {
        /// The message's id.
        id: u8,
    },
}

impl Message {
    /// The bitfield message for a set of pieces.
    pub fn bitfield(have: &Bitfield) -> Self {
        Message::Bitfield(have.to_bytes().into())
    }

    /// The byte that tells the kind; a keep-alive has none.
    pub const fn id(&self) -> Option<u8> {
        Some(match self {
            Message::KeepAlive => return None,
            Message::Choke => id::CHOKE,
            Message::Unchoke => id::UNCHOKE,
            Message::Interested => id::INTERESTED,
            Message::NotInterested => id::NOT_INTERESTED,
            Message::Have(_) => id::HAVE,
            Message::Bitfield(_) => id::BITFIELD,
            Message::Request(_) => id::REQUEST,
            Message::Piece { .. } => id::PIECE,
            Message::Cancel(_) => id::CANCEL,
            Message::Port(_) => id::PORT,
            Message::Suggest(_) => id::SUGGEST,
            Message::HaveAll => id::HAVE_ALL,
            Message::HaveNone => id::HAVE_NONE,
            Message::Reject(_) => id::REJECT,
            Message::AllowedFast(_) => id::ALLOWED_FAST,
            Message::Extended { .. } => id::EXTENDED,
            Message::HashRequest(_) => id::HASH_REQUEST,
            Message::Hashes { .. } => id::HASHES,
            Message::HashReject(_) => id::HASH_REJECT,
            Message::Unknown { id } => *id,
        })
    }

    /// Length on the wire in bytes, length prefix included.
    pub fn encoded_len(&self) -> usize {
        let after_id = match self {
            Message::KeepAlive => return 4,
            Message::Choke
            | Message::Unchoke
            | Message::Interested
            | Message::NotInterested
            | Message::HaveAll
            | Message::HaveNone
            | Message::Unknown { .. } => 0,
            Message::Port(_) => 2,
            Message::Have(_) | Message::Suggest(_) | Message::AllowedFast(_) => 4,
            Message::Request(_) | Message::Cancel(_) | Message::Reject(_) => 12,
            Message::Bitfield(bits) => bits.len(),
            Message::Piece { data, .. } => 8 + data.len(),
            Message::Extended { payload, .. } => 1 + payload.len(),
            Message::HashRequest(_) | Message::HashReject(_) => HASH_REQUEST_LEN,
            Message::Hashes { hashes, .. } => HASH_REQUEST_LEN + hashes.len(),
        };
        5 + after_id
    }

    /// Appends the message as it goes over the wire; payload by reference.
    ///
    /// [`Message::Unknown`] is written without content: it exists for reading.
    pub fn encode(self, out: &mut Segments) {
        let Some(id) = self.id() else {
            out.put(&[0; 4]);
            return;
        };
        let length = prefix(self.encoded_len() - 4);
        match self {
            Message::Have(piece) | Message::Suggest(piece) | Message::AllowedFast(piece) => {
                out.put(&header::<9>(length, id, &[piece.0]));
            }
            Message::Request(block) | Message::Cancel(block) | Message::Reject(block) => {
                out.put(&header::<17>(length, id, &[block.piece.0, block.begin, block.length]));
            }
            Message::Piece { piece, begin, data } => {
                out.put(&header::<PIECE_HEADER_LEN>(length, id, &[piece.0, begin]));
                data.into_iter().for_each(|chunk| out.push(chunk));
            }
            Message::Bitfield(bits) => {
                out.put(&header::<5>(length, id, &[]));
                out.push(bits);
            }
            Message::Port(port) => {
                let mut bytes = header::<7>(length, id, &[]);
                bytes[5..].copy_from_slice(&port.to_be_bytes());
                out.put(&bytes);
            }
            Message::Extended { id: extension, payload } => {
                let mut bytes = header::<6>(length, id, &[]);
                bytes[5] = extension;
                out.put(&bytes);
                out.push(payload);
            }
            Message::HashRequest(request) | Message::HashReject(request) => {
                out.put(&hash_header(length, id, &request));
            }
            Message::Hashes { request, hashes } => {
                out.put(&hash_header(length, id, &request));
                out.push(hashes);
            }
            _ => out.put(&header::<5>(length, id, &[])),
        }
    }
}

/// Appends a piece message whose content is in one run: as [`Message::Piece`] is encoded.
pub(crate) fn encode_block(block: Block, data: Bytes, out: &mut Segments) {
    let numbers = [block.piece.0, block.begin];
    let length = prefix(PIECE_HEADER_LEN - 4 + data.len());
    out.put(&header::<PIECE_HEADER_LEN>(length, id::PIECE, &numbers));
    out.push(data);
}

/// Appends a request: as [`Message::Request`] is encoded.
pub(crate) fn encode_request(block: Block, out: &mut Segments) {
    let numbers = [block.piece.0, block.begin, block.length];
    out.put(&header::<17>(prefix(13), id::REQUEST, &numbers));
}

/// Length prefix, id and numbers, in that order; what remains of `N` is zero.
fn header<const N: usize>(length: [u8; 4], id: u8, numbers: &[u32]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes[..4].copy_from_slice(&length);
    bytes[4] = id;
    for (to, number) in bytes[5..].chunks_exact_mut(4).zip(numbers) {
        to.copy_from_slice(&number.to_be_bytes());
    }
    bytes
}

/// Length prefix, id and the fields of a hash message.
fn hash_header(length: [u8; 4], id: u8, request: &HashRequest) -> [u8; 5 + HASH_REQUEST_LEN] {
    let mut bytes = header(length, id, &[]);
    bytes[5..].copy_from_slice(&request.to_bytes());
    bytes
}

fn prefix(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("our own messages are far shorter than 4 GiB").to_be_bytes()
}

#[cfg(test)]
pub(super) mod tests {
    use quickcheck::{Arbitrary, Gen};

    use super::*;
    use crate::merkle::HashRange;

    /// Any message that may be sent, for properties.
    #[derive(Clone, Debug)]
    pub(in crate::wire) struct AnyMessage(pub(in crate::wire) Message);

    impl Arbitrary for AnyMessage {
        fn arbitrary(g: &mut Gen) -> Self {
            let piece = PieceIndex(u32::arbitrary(g));
            let block = Block { piece, begin: u32::arbitrary(g), length: u32::arbitrary(g) };
            let id: u8 = Arbitrary::arbitrary(g);
            let request = hash_request(g);
            AnyMessage(match u8::arbitrary(g) % 20 {
                0 => Message::KeepAlive,
                1 => Message::Choke,
                2 => Message::Unchoke,
                3 => Message::Interested,
                4 => Message::NotInterested,
                5 => Message::Have(piece),
                6 => Message::Bitfield(Vec::arbitrary(g).into()),
                7 => Message::Request(block),
                8 => Message::Cancel(block),
                9 => Message::Port(u16::arbitrary(g)),
                10 => Message::Suggest(piece),
                11 => Message::HaveAll,
                12 => Message::HaveNone,
                13 => Message::Reject(block),
                14 => Message::AllowedFast(piece),
                15 => Message::Extended { id, payload: Vec::arbitrary(g).into() },
                16 => Message::HashRequest(request),
                17 => Message::HashReject(request),
                18 => {
                    let count = *g.choose(&[0, 1, 2, 15, 16, 512, 576]).expect("there are some");
                    Message::Hashes { request, hashes: vec![id; count * 32].into() }
                }
                _ => {
                    let lengths = [0, 1, 100, 511, 512, 513, 5000, 16_384];
                    let length = *g.choose(&lengths).expect("there are some");
                    let content: Vec<u8> = (0..length).map(|at| at as u8 ^ id).collect();
                    Message::Piece { piece, begin: block.begin, data: Bytes::from(content).into() }
                }
            })
        }
    }

    fn hash_request(g: &mut Gen) -> HashRequest {
        let range = HashRange {
            base_layer: u32::arbitrary(g),
            index: u32::arbitrary(g),
            length: u32::arbitrary(g),
            proof_layers: u32::arbitrary(g),
        };
        HashRequest { root: [u8::arbitrary(g); 32], range }
    }

    /// The messages one after the other, as one run of bytes.
    pub(in crate::wire) fn stream_of(messages: &[Message]) -> Bytes {
        let mut out = Segments::new();
        messages.iter().cloned().for_each(|message| message.encode(&mut out));
        out.take_all().freeze()
    }

    fn written(message: Message) -> Vec<u8> {
        let mut out = Segments::new();
        let expected = message.encoded_len();
        message.encode(&mut out);
        assert_eq!(out.len(), expected);
        out.take_all().to_vec()
    }

    #[test]
    fn blocks_and_requests_are_written_as_their_messages_are() {
        let block = Block { piece: PieceIndex(7), begin: 32_768, length: 5 };
        let data = Bytes::from_static(b"block");
        let (mut direct, mut by_message) = (Segments::new(), Segments::new());
        encode_block(block, data.clone(), &mut direct);
        encode_request(block, &mut direct);
        Message::Piece { piece: block.piece, begin: block.begin, data: data.into() }
            .encode(&mut by_message);
        Message::Request(block).encode(&mut by_message);
        assert_eq!(direct.take_all(), by_message.take_all());
    }

    #[test]
    fn messages_are_written_as_the_beps_show_them() {
        let piece = PieceIndex(0x01020304);
        let block = Block { piece, begin: 0x4000, length: 0x4000 };
        let range = [1, 2, 3, 4, 0, 0, 0x40, 0, 0, 0, 0x40, 0];
        assert_eq!(written(Message::KeepAlive), [0, 0, 0, 0]);
        assert_eq!(written(Message::Choke), [0, 0, 0, 1, 0]);
        assert_eq!(written(Message::Unchoke), [0, 0, 0, 1, 1]);
        assert_eq!(written(Message::Interested), [0, 0, 0, 1, 2]);
        assert_eq!(written(Message::NotInterested), [0, 0, 0, 1, 3]);
        assert_eq!(written(Message::Have(piece)), [0, 0, 0, 5, 4, 1, 2, 3, 4]);
        assert_eq!(written(Message::Bitfield(Bytes::from_static(&[0x80]))), [0, 0, 0, 2, 5, 0x80]);
        assert_eq!(written(Message::Request(block)), [&[0, 0, 0, 13, 6][..], &range].concat());
        assert_eq!(
            written(Message::Piece {
                piece,
                begin: 0x4000,
                data: Bytes::from_static(b"data").into()
            }),
            [&[0, 0, 0, 13, 7][..], &range[..8], b"data"].concat()
        );
        assert_eq!(written(Message::Cancel(block)), [&[0, 0, 0, 13, 8][..], &range].concat());
        assert_eq!(written(Message::Port(6881)), [0, 0, 0, 3, 9, 0x1a, 0xe1]);
        assert_eq!(written(Message::Suggest(piece)), [0, 0, 0, 5, 0x0d, 1, 2, 3, 4]);
        assert_eq!(written(Message::HaveAll), [0, 0, 0, 1, 0x0e]);
        assert_eq!(written(Message::HaveNone), [0, 0, 0, 1, 0x0f]);
        assert_eq!(written(Message::Reject(block)), [&[0, 0, 0, 13, 0x10][..], &range].concat());
        assert_eq!(written(Message::AllowedFast(piece)), [0, 0, 0, 5, 0x11, 1, 2, 3, 4]);
        assert_eq!(
            written(Message::Extended { id: 3, payload: Bytes::from_static(b"de") }),
            [0, 0, 0, 4, 20, 3, b'd', b'e']
        );
        let range = HashRange { base_layer: 3, index: 4, length: 2, proof_layers: 5 };
        let request = HashRequest { root: [9; 32], range };
        let fields = [&[9; 32][..], &[0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 5]].concat();
        let message = |start: &[u8], rest: &[u8]| [start, &fields, rest].concat();
        assert_eq!(written(Message::HashRequest(request)), message(&[0, 0, 0, 49, 21], &[]));
        assert_eq!(
            written(Message::Hashes { request, hashes: vec![8; 64].into() }),
            message(&[0, 0, 0, 113, 22], &[8; 64])
        );
        assert_eq!(written(Message::HashReject(request)), message(&[0, 0, 0, 49, 23], &[]));
    }

    #[test]
    fn payload_is_passed_by_reference() {
        let payload = Bytes::from(vec![1; 16_384]);
        let mut out = Segments::new();
        let data = payload.clone().into();
        Message::Piece { piece: PieceIndex(0), begin: 0, data }.encode(&mut out);
        assert!(out.iter().any(|part| part.as_ptr() == payload.as_ptr()));
    }
}
