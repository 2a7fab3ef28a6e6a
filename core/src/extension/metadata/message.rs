//! The messages of `ut_metadata` (BEP 9, "extension message").

use bytes::Bytes;

use crate::bencode::{Document, Limits, Value, encode_dict};
use crate::wire::Violation;
use crate::wire::extension::Extension;

/// Structure accepted in a message (chosen: real ones have seven items).
const LIMITS: Limits = Limits { depth: 4, items: 64 };

/// What a peer says about metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MetadataMessage {
    /// It asks for a piece.
    Request {
        /// Which one.
        piece: u32,
    },
    /// A piece.
    Data {
        /// Which one.
        piece: u32,
        /// Length of all metadata in bytes, as it claims; `None` if it says nothing sensible.
        total_size: Option<u32>,
        /// The piece's content.
        data: Bytes,
    },
    /// It does not have a piece, or does not give it.
    Reject {
        /// Which one.
        piece: u32,
    },
    /// Something from the future, which "MUST be ignored".
    Unknown,
}

impl MetadataMessage {
    /// Reads the payload of an extension message. The data is a slice of it.
    pub fn decode(payload: &Bytes) -> Result<Self, Violation> {
        let bad = Violation::BadExtensionMessage { id: Extension::Metadata.our_id() };
        let document = Document::parse_prefix(payload, LIMITS).map_err(|_| bad)?;
        let root = document.root();
        let number = |key: &str| root.get(key).and_then(Value::as_uint);
        let kind = root.get("msg_type").and_then(Value::as_int).ok_or(bad)?;
        let piece = || number("piece").and_then(|piece| u32::try_from(piece).ok()).ok_or(bad);
        Ok(match kind {
            0 => MetadataMessage::Request { piece: piece()? },
            1 => MetadataMessage::Data {
                piece: piece()?,
                total_size: number("total_size").and_then(|size| u32::try_from(size).ok()),
                data: payload.slice(document.consumed()..),
            },
            2 => MetadataMessage::Reject { piece: piece()? },
            _ => MetadataMessage::Unknown,
        })
    }

    /// The dictionary of the message; the data of [`MetadataMessage::Data`] is to follow it.
    pub fn header(&self) -> Bytes {
        let (kind, piece, size) = match self {
            MetadataMessage::Request { piece } => (0, *piece, None),
            MetadataMessage::Data { piece, total_size, .. } => (1, *piece, *total_size),
            MetadataMessage::Reject { piece } => (2, *piece, None),
            MetadataMessage::Unknown => (3, 0, None),
        };
        let bytes = encode_dict(|dict| {
            dict.int("msg_type", kind);
            dict.int("piece", piece.into());
            if let Some(size) = size {
                dict.int("total_size", size.into());
            }
        });
        bytes.into()
    }

    /// The payload of an extension message. Copies the data.
    pub fn encode(&self) -> Bytes {
        match self {
            MetadataMessage::Data { data, .. } => [&self.header()[..], data].concat().into(),
            _ => self.header(),
        }
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    const BAD: Violation = Violation::BadExtensionMessage { id: 1 };

    #[test]
    fn the_examples_of_bep_9_are_read_and_written() {
        let request = Bytes::from_static(b"d8:msg_typei0e5:piecei0ee");
        assert_eq!(MetadataMessage::Request { piece: 0 }.encode(), request);
        assert_eq!(MetadataMessage::decode(&request), Ok(MetadataMessage::Request { piece: 0 }));
        let data = Bytes::from_static(b"d8:msg_typei1e5:piecei0e10:total_sizei34256eexxxxxxxx");
        let read = MetadataMessage::Data {
            piece: 0,
            total_size: Some(34256),
            data: Bytes::from_static(b"xxxxxxxx"),
        };
        assert_eq!(read.encode(), data);
        assert_eq!(MetadataMessage::decode(&data), Ok(read));
        let reject = Bytes::from_static(b"d8:msg_typei2e5:piecei0ee");
        assert_eq!(MetadataMessage::decode(&reject), Ok(MetadataMessage::Reject { piece: 0 }));
    }

    #[test]
    fn odd_messages_are_refused_or_ignored() {
        let decode = |payload: &'static [u8]| MetadataMessage::decode(&Bytes::from_static(payload));
        assert_eq!(decode(b"d8:msg_typei9ee"), Ok(MetadataMessage::Unknown));
        let sizeless = decode(b"d8:msg_typei1e5:piecei7e10:total_sizei-1eeab");
        let data = Bytes::from_static(b"ab");
        assert_eq!(sizeless, Ok(MetadataMessage::Data { piece: 7, total_size: None, data }));
        for bad in [&b""[..], b"le", b"de", b"d8:msg_typei0ee", b"d8:msg_typei0e5:piecei-1ee"] {
            assert_eq!(decode(bad), Err(BAD), "{bad:?}");
        }
        assert_eq!(decode(b"d8:msg_typei0e5:piecei4294967296ee"), Err(BAD));
    }

    quickcheck! {
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>, kind: u8, piece: i64) -> bool {
            let dict = format!("d8:msg_typei{}e5:piecei{piece}ee", kind % 4);
            let payload = Bytes::from([dict.as_bytes(), &bytes].concat());
            let _ = MetadataMessage::decode(&Bytes::from(bytes));
            match MetadataMessage::decode(&payload) {
                Ok(MetadataMessage::Unknown) => kind % 4 == 3,
                Ok(message) => MetadataMessage::decode(&message.encode()) == Ok(message),
                Err(error) => error == BAD,
            }
        }
    }
}
