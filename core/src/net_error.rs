//! What can go wrong with a connection, a socket or a name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a connection or socket failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum NetError {
    /// Nobody listens there.
    Refused,
    /// The other side dropped the connection.
    Reset,
    /// No answer in time.
    TimedOut,
    /// No route to the host or network.
    Unreachable,
    /// The local address is in use.
    AddrInUse,
    /// The local address does not exist here.
    AddrNotAvailable,
    /// Not permitted.
    Denied,
    /// Out of file descriptors or socket buffers.
    TooManyOpen,
    /// The connection ended in the middle of something.
    UnexpectedEnd,
    /// The other side's TLS certificate is not one to trust for that host.
    Certificate,
    /// TLS went wrong in any other way.
    Tls,
    /// Anything else.
    Other,
    /// The IP filter refuses the address.
    Filtered,
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NetError::Refused => "connection refused",
            NetError::Reset => "connection reset",
            NetError::TimedOut => "timed out",
            NetError::Unreachable => "host or network unreachable",
            NetError::AddrInUse => "address already in use",
            NetError::AddrNotAvailable => "no such local address",
            NetError::Denied => "not permitted",
            NetError::TooManyOpen => "too many open files",
            NetError::UnexpectedEnd => "connection ended early",
            NetError::Certificate => "certificate not trusted",
            NetError::Tls => "TLS failed",
            NetError::Other => "network error",
            NetError::Filtered => "refused by the IP filter",
        })
    }
}

/// Why a host name has no address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ResolveError {
    /// The name does not exist.
    NotFound,
    /// The resolver did not answer; it may later.
    Unavailable,
    /// No name is looked up.
    Refused,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResolveError::NotFound => "no such host",
            ResolveError::Unavailable => "name lookup failed",
            ResolveError::Refused => "names are not looked up here",
        })
    }
}
