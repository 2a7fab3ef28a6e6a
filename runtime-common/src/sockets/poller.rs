//! What a runtime brings to its sockets: the way in which it learns that they are ready.

use std::fmt::Debug;
use std::io;
use std::os::fd::AsFd;

use socket2::Socket;

/// Watches sockets and tells, through [`Driver::note`](super::Driver::note), which are ready.
///
/// Either of two ways will do. One that is *edge-triggered* tells when a socket becomes ready, once,
/// and also if it is when the watch begins; [`Poller::arm`] does nothing. It must tell of half-closes
/// too ([`Readiness::hung_up`]): the end of a stream that comes with its last bytes is no edge of its
/// own. One that is *one-shot* tells once for each call of `arm`, also if the socket is ready already.
/// Telling too much does no harm.
pub trait Poller {
    /// A socket that is watched. To drop it closes the socket and ends the watch.
    type Socket: AsFd + Debug;

    /// Begins to watch a socket, which does not block, in the name of `source`.
    fn watch(
        &mut self,
        socket: Socket,
        source: Source,
        interest: Interest,
    ) -> io::Result<Self::Socket>;

    /// Watches a socket in the name of another source, or for more or less than before, as if the
    /// watch began anew.
    fn rewatch(
        &mut self,
        socket: &mut Self::Socket,
        source: Source,
        interest: Interest,
    ) -> io::Result<()>;

    /// The socket was found not to be ready in this direction: readiness is to be reported for its source when it is.
    /// One that cannot be armed is given up.
    ///
    /// The driver arms a socket after each `watch` and `rewatch`, in the directions that it waits for.
    /// Both may be armed at a time: where one registration serves both, and one event disarms both, the
    /// poller remembers the other.
    fn arm(&mut self, socket: &mut Self::Socket, direction: Direction) -> io::Result<()>;
}

/// What a reactor reports readiness of.
///
/// A name is a kind and a slot in the table of that kind. News of a socket that is gone may so reach
/// the next one in its slot, and is then spurious: a call finds that there is nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// A connection of the engine.
    Connection(usize),
    /// A connection that the engine has closed and that still sends.
    Lingering(usize),
    /// A listener.
    Listener(usize),
    /// A datagram socket.
    Datagrams(usize),
}

impl Source {
    /// A number of its own, for reactors whose sockets have numbers.
    pub fn to_number(self) -> usize {
        let (kind, slot) = match self {
            Source::Connection(slot) => (0, slot),
            Source::Lingering(slot) => (1, slot),
            Source::Listener(slot) => (2, slot),
            Source::Datagrams(slot) => (3, slot),
        };
        slot * 4 + kind
    }

    /// Whose number that is.
    pub fn from_number(number: usize) -> Self {
        let slot = number / 4;
        match number % 4 {
            0 => Source::Connection(slot),
            1 => Source::Lingering(slot),
            2 => Source::Listener(slot),
            _ => Source::Datagrams(slot),
        }
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// In: there is something to read, or a connection to accept.
    Read,
    /// Out: the socket takes bytes, or a connection is open.
    Write,
}

/// What a socket is watched for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// Reading only.
    Read,
    /// Both directions.
    ReadAndWrite,
}

/// What a source can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Readiness {
    /// It may be read.
    pub readable: bool,
    /// It may be written.
    pub writable: bool,
    /// The peer sends no more, or the socket has failed. A poller that is edge-triggered tells this
    /// once; it is remembered. One that is one-shot need not tell it: the next read shows it.
    pub hung_up: bool,
}

impl From<Direction> for Readiness {
    fn from(direction: Direction) -> Self {
        Readiness {
            readable: direction == Direction::Read,
            writable: direction == Direction::Write,
            hung_up: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_names_its_source() {
        let mut numbers = std::collections::HashSet::new();
        for slot in [0, 1, 77, u32::MAX as usize] {
            for source in [
                Source::Connection(slot),
                Source::Lingering(slot),
                Source::Listener(slot),
                Source::Datagrams(slot),
            ] {
                assert_eq!(Source::from_number(source.to_number()), source);
                assert!(numbers.insert(source.to_number()));
            }
        }
    }
}
