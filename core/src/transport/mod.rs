//! Byte streams and datagrams, beneath everything that speaks a protocol over them.
//!
//! - [`streams`]: the table of all streams with its limits; with [`establish`], and [`over_utp`] which ends
//!   the slower of two attempts, alone emits `Connect`, `Secure`, `Send`, `Read` and `Close`.
//! - [`stream`]: one stream: what carries it, how far it is set up, how it flows, what it is for.
//! - [`establish`]: how a stream is set up: TLS, MSE.
//! - [`dial`]: where connections are dialled from.
//! - [`sockets`]: the sockets that are listened on, and the datagrams that wait for them.
//! - [`mse`]: message stream encryption; [`encrypting`] has what all encrypted streams share.
//! - [`demux`]: which protocol a datagram belongs to.
//! - [`utp`]: streams over UDP.
//! - [`utp_streams`], [`over_utp`]: which of their connections carries which stream, and how it comes to.
//!
//! Nothing here knows torrents or the session: streams carry ids of their owners, sockets what they are for, and
//! what the table needs of the session (timers, outbox, time) is lent to it for each call.

pub(crate) mod demux;
pub(crate) mod dial;
mod encrypting;
mod establish;
pub mod mse;
mod over_utp;
pub(crate) mod sockets;
pub(crate) mod stream;
pub(crate) mod streams;
pub mod utp;
mod utp_streams;

pub(crate) use dial::Dial;
pub(crate) use over_utp::{Happened, wants_to_open};
pub(crate) use stream::{Carrier, ReadPause, Role, Setup};
pub(crate) use streams::{AFTER_TIMEOUT, Delivery, Fill, StreamEvent, Streams, Transport};
pub(crate) use utp_streams::{Next, UtpStreams};
