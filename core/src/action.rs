//! What to do: the engine's outputs.
//!
//! One FIFO, filled when the cause happens, drained fully by the host after each input. A host
//! performs every action in order; what an action starts ends in an [`Event`](crate::Event), which
//! may come at any later time and in any order.

use std::net::SocketAddr;

use serde::Serialize;

use crate::disk::DiskRequest;
use crate::id::{ConnId, OpId, SocketId};
use crate::notice::Notice;
use crate::socket::{Local, Names};

pub use crate::socket::{SocketKind, SocketSpec};

/// Something the host is to do. See `Engine::poll_action`.
#[derive(Debug, Serialize)]
pub enum Action {
    /// Open a listener or datagram socket; answered by `Event::Bound`.
    Bind {
        /// Its name from now on.
        socket: SocketId,
        /// What and where.
        spec: SocketSpec,
    },
    /// Close a listener or datagram socket. The id is dead after this.
    Unbind {
        /// Which one.
        socket: SocketId,
    },
    /// Open a TCP connection; answered by `Connected` or `Closed`.
    Connect {
        /// Its name from now on.
        conn: ConnId,
        /// Where to.
        to: SocketAddr,
        /// Where from. `None`: the system chooses all of that.
        from: Option<Box<Local>>,
    },
    /// Speak TLS from now on over a connection that is open; answered by `Secured` when both sides
    /// agree, or by `Closed`. What is gathered and received after that is plain text.
    ///
    /// Nothing that was gathered is unsent when this comes, and no `Send` comes before `Secured`.
    /// Bytes that the host has read and not handed in belong to TLS.
    Secure {
        /// Which connection.
        conn: ConnId,
        /// The name or address of the host, which its certificate must be for.
        host: Box<str>,
    },
    /// Bytes wait: call `Engine::gather`, write what it returns, report it with `Sent`.
    ///
    /// At most one is outstanding per connection: the next comes after `Sent` has accounted for
    /// all that was gathered.
    Send {
        /// For which connection.
        conn: ConnId,
    },
    /// Stop or resume reading. Reading is on when a connection begins. Bytes already read may
    /// still be handed in after `on: false`.
    Read {
        /// From which connection.
        conn: ConnId,
        /// Whether to read.
        on: bool,
    },
    /// Close the connection. The id is dead after this: no event is due for it.
    Close {
        /// Which one.
        conn: ConnId,
        /// What happens to bytes gathered and not yet sent.
        how: Close,
    },
    /// Datagrams wait: call `Engine::gather_datagrams` until it returns `None`, or until the socket
    /// would block; then keep what it did not take, send that when it is writable, and hand in
    /// `DatagramReady`.
    SendDatagrams {
        /// Through which socket.
        socket: SocketId,
    },
    /// Work for the disk; answered by `Event::Disk`.
    Disk {
        /// Its name in the answer.
        op: OpId,
        /// What to do.
        request: DiskRequest,
    },
    /// Look up a host name; answered by `Event::Resolved`.
    Resolve {
        /// Its name in the answer.
        op: OpId,
        /// The name; never an IP address.
        host: Box<str>,
        /// How.
        via: Names,
    },
    /// Something the application may want to know.
    Notify(Box<Notice>),
}

/// What happens to bytes gathered and not yet sent when a connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Close {
    /// They are sent first, within a few seconds, then the stream is ended in order.
    Flush,
    /// They are dropped.
    Abort,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    #[test]
    fn actions_and_events_stay_small() {
        assert!(size_of::<Action>() <= 64, "Action is {} bytes", size_of::<Action>());
        assert!(size_of::<Event>() <= 64, "Event is {} bytes", size_of::<Event>());
    }
}
