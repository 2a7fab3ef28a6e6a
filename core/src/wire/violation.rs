//! What a peer did wrong: facts, to be told to the user and to decide whether it is banned.
//!
//! Syntax errors come from the decoders here, the others from `peer`, which knows the torrent and
//! the course of the connection. What can be left out is forgiven some times (`peer/offences.rs`), else a
//! violation ends the connection; none of them ever ends more.

use std::fmt;

use serde::Serialize;

use crate::piece::{Block, PieceIndex};

/// How a peer broke the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
pub enum Violation {
    /// The stream does not begin with the protocol's name (BEP 3).
    BadProtocolName,
    /// The handshake names another torrent than the connection is for.
    WrongInfoHash,
    /// A message is longer than any that may come (defence 14).
    MessageTooLong {
        /// Bytes after the length prefix, as the prefix says.
        length: u32,
        /// Most bytes accepted.
        limit: u32,
    },
    /// A message of this kind cannot have this length.
    BadLength {
        /// The message's id.
        id: u8,
        /// Bytes after the length prefix, id included.
        length: u32,
    },
    /// A have, suggest or allowed fast names a piece that the torrent lacks (defence 15).
    PieceOutOfRange {
        /// The message's id.
        id: u8,
        /// The piece named.
        piece: PieceIndex,
    },
    /// A bitfield has a spare bit set.
    BadBitfield,
    /// A request, cancel or reject reaches past its piece, or is empty (defence 15).
    BlockOutOfRange {
        /// The message's id.
        id: u8,
        /// The range named.
        block: Block,
    },
    /// A request for more bytes at once than is served.
    RequestTooLong(Block),
    /// A request for a piece that we never said we have.
    RequestForMissing(Block),
    /// More requests than our `reqq` allows, again and again (defence 16).
    TooManyRequests,
    /// An extension message, and the extension protocol was not negotiated (BEP 10).
    ExtensionNotNegotiated,
    /// A message of v2 on a connection that is not of v2 (BEP 52, "upgrade path").
    V2NotNegotiated {
        /// The message's id.
        id: u8,
    },
    /// More bytes of blocks that were never requested than are borne (BEP 6: "MUST close").
    UnrequestedBlock(Block),
    /// A reject for what was never requested (BEP 6: "SHOULD close").
    UnrequestedReject(Block),
    /// The extension handshake is not a dictionary (BEP 10).
    BadExtensionHandshake,
    /// A message of an extension does not parse.
    BadExtensionMessage {
        /// Our id of the extension.
        id: u8,
    },
    /// More messages of one kind than make sense.
    Flood {
        /// The message's id.
        id: u8,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::BadProtocolName => f.write_str("does not speak the BitTorrent protocol"),
            Violation::WrongInfoHash => f.write_str("answered for another torrent"),
            Violation::MessageTooLong { length, limit } => {
                write!(f, "message of {length} bytes, at most {limit} are accepted")
            }
            Violation::BadLength { id, length } => {
                write!(f, "message {id} of impossible length {length}")
            }
            Violation::PieceOutOfRange { id, piece } => {
                write!(f, "message {id} names piece {}, which the torrent lacks", piece.0)
            }
            Violation::BadBitfield => f.write_str("bitfield with spare bits set"),
            Violation::BlockOutOfRange { id, block } => {
                write!(f, "message {id} names ")?;
                write_range(f, block)?;
                f.write_str(", which its piece lacks")
            }
            Violation::RequestTooLong(block) => {
                f.write_str("requested too much at once: ")?;
                write_range(f, block)
            }
            Violation::RequestForMissing(block) => {
                f.write_str("requested what it was never offered: ")?;
                write_range(f, block)
            }
            Violation::TooManyRequests => f.write_str("too many requests queued"),
            Violation::ExtensionNotNegotiated => {
                f.write_str("extension message, and the extension protocol is not on")
            }
            Violation::V2NotNegotiated { id } => {
                write!(f, "message {id} of v2, and the connection is not of v2")
            }
            Violation::UnrequestedBlock(block) => {
                f.write_str("sent what was not requested: ")?;
                write_range(f, block)
            }
            Violation::UnrequestedReject(block) => {
                f.write_str("rejected what was not requested: ")?;
                write_range(f, block)
            }
            Violation::BadExtensionHandshake => {
                f.write_str("extension handshake is not a dictionary")
            }
            Violation::BadExtensionMessage { id } => write!(f, "malformed extension message {id}"),
            Violation::Flood { id } => write!(f, "flood of messages {id}"),
        }
    }
}

impl std::error::Error for Violation {}

fn write_range(f: &mut fmt::Formatter<'_>, block: &Block) -> fmt::Result {
    write!(f, "{} bytes at {} of piece {}", block.length, block.begin, block.piece.0)
}
