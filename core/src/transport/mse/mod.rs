//! Message stream encryption (MSE, also called protocol encryption): a key agreement and a stream
//! cipher around the bytes of a peer, so that a network does not recognise them at a glance.
//!
//! It is in no BEP: the text that everyone implements is that of the Azureus wiki. It hides from who
//! only looks; it does not authenticate the peer and withstands nobody who takes part (see
//! `docs/SECURITY.md`).
//!
//! - [`handshake`][]: the machine, for the side that dials and the side that is dialled.
//! - [`key_exchange`][]: Diffie-Hellman over the prime that all clients share.
//! - [`cipher`][]: RC4.
//! - [`skeys`][]: which torrent a peer means that names it by a hash of its infohash.
//!
//! Time is no concern of the machine: who owns the connection ends a handshake that takes too long.
//! Randomness is lent to it.

pub mod cipher;
pub mod handshake;
pub mod key_exchange;
pub mod skeys;

pub use cipher::{Ciphers, Rc4};
pub use handshake::{Established, Handshake, Methods, Refusal, Step};
pub use skeys::Skeys;
