//! uTP: streams over UDP that give way to others (BEP 29).
//!
//! - `endpoint`: the connections over one socket: who is admitted, whose turn it is.
//! - `connection`: one connection: its state, its deadlines, what it sends next.
//! - `send`, `receive`: its two halves: what is under way, what came out of order.
//! - `control`, `ledbat`, `delay`, `rtt`: how much may be under way, by how long packets wait.
//! - `mtu`: how long a packet may be.
//! - `cookie`, `answers`: what strangers get: little, and no memory.
//! - `packet`, `payload`, `seq`: packets on the wire, their bytes and their numbers.
//!
//! Nothing here knows engines or sessions, nor peers' protocol: time, randomness and packets come in,
//! packets and bytes go out. It takes nothing of the crate but time and random, which
//! `.ci/check-house` sees to, and `core/tests/utp` compiles the folder alone.

mod answers;
mod connection;
mod control;
mod cookie;
mod delay;
mod endpoint;
mod ledbat;
mod mtu;
mod packet;
mod payload;
mod receive;
mod rtt;
mod send;
mod seq;

pub use connection::{Counters, End, Event};
pub use endpoint::{Ending, Endpoint, Health, Held, Poll, Transmit, UtpId, Way};
pub use packet::Kind;
