//! What every bitswarm runtime shares: the blocking parts, and the handle that applications see.
//!
//! Applications: [`ClientConfig`] and a runtime's `start` give a [`Client`] and its [`Notices`].
//!
//! Runtimes: [`launch`] gives the loop a [`Host`], which holds the engine and everything that is not
//! the network: clock, disk, resolver, inputs from other threads. A loop that waits until sockets
//! are ready leaves them to a [`sockets::Driver`] and brings a [`sockets::Poller`]; any other has
//! sockets with their options and errors in [`net`], and buffers to read them into in [`buffers`].
//!
//! Tools: [`interfaces`] lists this machine's addresses; [`hashing`] hashes files with all processors;
//! [`multi_buffer`] hashes several pieces at once; [`signals`] tells which signals are ignored.

pub mod buffers;
mod client;
mod clock;
mod config;
pub mod disk;
pub mod hashing;
mod host;
mod inbox;
pub mod interfaces;
pub mod ip_filter;
pub mod multi_buffer;
pub mod multicast;
pub mod net;
mod notices;
mod recorded;
pub mod resolve;
mod shared;
pub mod signals;
pub mod sockets;
mod sys;
mod table;
pub mod tls;

pub use client::{Client, ClientError, STOP_TIMEOUT, StoppedEarly, launch};
pub use config::{ClientConfig, StartError};
pub use host::Host;
pub use inbox::Wake;
pub use notices::Notices;
