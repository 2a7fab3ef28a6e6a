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

    fn arm(&mut self, _: &mut Socket, _: Direction) -> io::Result<()> {
        Ok(())
    }
}

fn interests(interest: Interest) -> mio::Interest {
    match interest {
        Interest::Read => mio::Interest::READABLE,
        Interest::ReadAndWrite => mio::Interest::READABLE | mio::Interest::WRITABLE,
    }
}

fn token(source: Source) -> Token {
    Token(source.to_number() + 1)
}

/// Whose token this is. `None`: the waker's.
pub(crate) fn source(token: Token) -> Option<Source> {
    token.0.checked_sub(1).map(Source::from_number)
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
