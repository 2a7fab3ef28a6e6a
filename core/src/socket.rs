//! The sockets that the engine asks its host for, and how it asks for names.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A listener or datagram socket to open.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SocketSpec {
    /// TCP or UDP.
    pub kind: SocketKind,
    /// Local address, or the multicast group; port 0 lets the system choose.
    pub addr: SocketAddr,
    /// What else it is bound to. `None`: nothing.
    pub bind: Option<Box<Binding>>,
}

/// What a socket is bound to beside its address.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Binding {
    /// The network device that everything comes and goes through, by name.
    pub device: Option<Arc<str>>,
    /// The class that its packets ask routers for (RFC 2474), below 64. A connection that a listener
    /// accepts has that of the listener. A host that cannot set it goes on without.
    pub dscp: Option<u8>,
}

/// Which kind of socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum SocketKind {
    /// A TCP listener: connections are offered to `Engine::accept`.
    TcpListener,
    /// A UDP socket.
    Udp,
    /// A UDP socket that shares the port with others and belongs to the multicast group `addr`, on
    /// each interface. What is sent to the group leaves through each of them.
    Multicast,
}

/// Where a connection comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Local {
    /// The local address; of the other family than where it leads, that is unreachable. `None`: the
    /// system's choice.
    pub address: Option<IpAddr>,
    /// The network device that it goes through, by name. `None`: the system's choice.
    pub device: Option<Arc<str>>,
    /// The class that its packets ask routers for (RFC 2474), below 64. A host that cannot set it goes on
    /// without.
    pub dscp: Option<u8>,
}

/// How the names of hosts are looked up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Names {
    /// As the system does it.
    #[default]
    System,
    /// Not at all: the resolver's operator is not to learn them. The answer is
    /// `ResolveError::Refused`.
    Refuse,
}
