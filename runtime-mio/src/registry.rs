//! Sockets in mio's registry: the poller that the driver is given, and the tokens that tell which
//! source is ready.
//!
//! mio is edge-triggered: it tells when a socket becomes ready, so there is nothing to arm.

use std::io;
use std::os::fd::AsRawFd;

use bitswarm_runtime_common::sockets::{Direction, Interest, Poller, Readiness, Source};
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Registry, Token};
use socket2::Socket;

/// The token of the waker: another thread has put something in.
pub(crate) const WAKER: Token = Token(0);

/// Kinds of sources that a token tells apart, the waker among them.
const KINDS: usize = 5;

/// Registers the driver's sockets.
#[derive(Debug)]
pub(crate) struct Sockets(pub(crate) Registry);

impl Poller for Sockets {
    type Socket = Socket;

    fn watch(&mut self, socket: Socket, source: Source, interest: Interest) -> io::Result<Socket> {
        let fd = socket.as_raw_fd();
        self.0.register(&mut SourceFd(&fd), token(source), interests(interest))?;
        Ok(socket)
    }

    fn rewatch(
        &mut self,
        socket: &mut Socket,
        source: Source,
        interest: Interest,
    ) -> io::Result<()> {
        let fd = socket.as_raw_fd();
        self.0.reregister(&mut SourceFd(&fd), token(source), interests(interest))
    }

    fn arm(&mut self, _: &mut Socket, _: Direction) {}
}

fn interests(interest: Interest) -> mio::Interest {
    match interest {
        Interest::Read => mio::Interest::READABLE,
        Interest::ReadAndWrite => mio::Interest::READABLE | mio::Interest::WRITABLE,
    }
}

fn token(source: Source) -> Token {
    let (kind, slot) = match source {
        Source::Connection(slot) => (1, slot),
        Source::Lingering(slot) => (2, slot),
        Source::Listener(slot) => (3, slot),
        Source::Datagrams(slot) => (4, slot),
    };
    Token(slot * KINDS + kind)
}

/// Whose token this is. `None`: the waker's.
pub(crate) fn source(token: Token) -> Option<Source> {
    let slot = token.0 / KINDS;
    match token.0 % KINDS {
        1 => Some(Source::Connection(slot)),
        2 => Some(Source::Lingering(slot)),
        3 => Some(Source::Listener(slot)),
        4 => Some(Source::Datagrams(slot)),
        _ => None,
    }
}

/// What an event tells.
pub(crate) fn readiness(event: &Event) -> Readiness {
    Readiness {
        readable: event.is_readable(),
        writable: event.is_writable(),
        hung_up: event.is_read_closed() || event.is_error(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_names_its_source() {
        for slot in [0, 1, 77, u32::MAX as usize] {
            let sources = [
                Source::Connection(slot),
                Source::Lingering(slot),
                Source::Listener(slot),
                Source::Datagrams(slot),
            ];
            for named in sources {
                assert_eq!(source(token(named)), Some(named));
            }
        }
        assert_eq!(source(WAKER), None);
    }
}
