//! Interop with clients that nobody here wrote: real processes, real sockets, real files.
//!
//! A test case gets a [`Lab`]: a directory, addresses of its own on loopback, and the logs of every
//! process it starts. In it a [`Client`] (ours, Transmission, aria2, libtorrent or rtorrent) seeds or
//! leeches a [`Torrent`] made of some [`Content`]; the result is compared byte by byte.
//!
//! Nothing in here uses the core: bencode, tracker, wire protocol and piece check are written a
//! second time from the BEPs, so that a misreading in one place does not confirm itself.
//!
//! What a machine lacks is a [`Need`] that is not met: the case is then skipped, aloud. Traffic
//! stays in a network namespace where the system lets us make one ([`namespace`]), else on 127/8.

pub mod aria2;
pub mod bencode;
pub mod bitswarm;
pub mod client;
pub mod content;
pub mod dht;
pub mod hostile;
pub mod lab;
pub mod libtorrent;
pub mod mount;
pub mod namespace;
pub mod need;
pub mod netns;
pub mod opentracker;
pub mod process;
pub mod rtorrent;
pub mod runner;
pub mod torrent;
pub mod tracker;
pub mod transfer;
pub mod transmission;
pub mod wire;

pub use bitswarm::Bitswarm;
pub use client::{Client, Peer};
pub use content::Content;
pub use lab::{Lab, Seat};
pub use need::Need;
pub use netns::Netns;
pub use opentracker::Opentracker;
pub use process::Process;
pub use runner::Case;
pub use torrent::{Creator, Torrent};
pub use tracker::Tracker;
pub use transfer::Transfer;

/// What a step of a case comes to: its value, or what went wrong in words.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
