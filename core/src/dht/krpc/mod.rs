//! KRPC: the messages between nodes (BEP 5, with what BEP 32, 33, 42, 43, 44 and 51 add).
//!
//! One datagram is one message, a dictionary. Reading is bounded by the datagram's length and a
//! few counts; a query that cannot be understood can be answered with an error. Whether a message
//! is to be believed is not decided here.

mod compact;
mod error;
mod message;
mod parse;
#[cfg(test)]
mod tests;
mod write;

pub use compact::{
    Contact, canonical, contact_len, is_plausible, read_addr, read_contacts, write_addr,
    write_contacts,
};
pub use error::ErrorCode;
pub use message::{Body, Message, Method, Query, RawItem, RawSigned, Response, Want};
pub use parse::{MAX_MESSAGE_LEN, Unreadable, parse};
