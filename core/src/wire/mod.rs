//! The peer wire protocol: handshake and messages, to and from bytes.
//!
//! Here lie BEP 3 ("peer protocol"), the fast extension (BEP 6), the extension protocol (BEP 10),
//! partial seeds (BEP 21) and the hash messages of v2 (BEP 52) as syntax: what a message looks like,
//! how long it may be, how it is cut out of a stream that arrives in any chunks. Block payload
//! passes through by reference.
//!
//! What a message *means* at some moment (is this piece in range, were we asked for it) is not
//! decided here but in `peer`; [`Violation`] names what both can find wrong.
//!
//! ```
//! use bitswarm_core::Segments;
//! use bitswarm_core::piece::PieceIndex;
//! use bitswarm_core::wire::{Decoder, Message};
//!
//! let mut out = Segments::new();
//! Message::Interested.encode(&mut out);
//! Message::Have(PieceIndex(7)).encode(&mut out);
//!
//! let mut decoder = Decoder::new();
//! decoder.push(out.take_all());
//! assert_eq!(decoder.next_message(), Ok(Some(Message::Interested)));
//! assert_eq!(decoder.next_message(), Ok(Some(Message::Have(PieceIndex(7)))));
//! assert_eq!(decoder.next_message(), Ok(None));
//! ```

pub mod allowed_fast;
pub mod block_data;
pub mod decoder;
pub mod extension;
pub mod handshake;
pub mod hash_request;
pub mod message;
mod unread;
pub mod violation;

pub use allowed_fast::{ALLOWED_FAST_PIECES, allowed_fast_set};
pub use block_data::BlockData;
pub use decoder::Decoder;
pub use extension::{Extension, ExtensionHandshake, ExtensionIds};
pub use handshake::{HANDSHAKE_LEN, Handshake, HandshakeDecoder, Reserved};
pub use hash_request::HashRequest;
pub use message::Message;
pub use violation::Violation;
