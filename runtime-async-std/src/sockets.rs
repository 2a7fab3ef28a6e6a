//! Sockets in the reactor: the poller that the driver is given.
//!
//! The reactor is one-shot: it wakes a waker once, for each time it is asked.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bitswarm_runtime_common::sockets::{Direction, Interest, Poller, Source};
use socket2::Socket;

use crate::ready::Ready;
use crate::rt::Async;

/// Hands the driver's sockets to the reactor.
#[derive(Debug)]
pub(crate) struct Sockets(pub(crate) Arc<Ready>);

/// A socket, and the wakers that name whom it belongs to.
#[derive(Debug)]
pub(crate) struct Watched {
    socket: Async<Socket>,
    on_readable: Waker,
    on_writable: Waker,
}

impl Poller for Sockets {
    type Socket = Watched;

    fn watch(&mut self, socket: Socket, source: Source, _: Interest) -> io::Result<Watched> {
        Ok(Watched {
            // All of the driver's sockets are non-blocking already.
            socket: Async::new_nonblocking(socket)?,
            on_readable: self.0.waker(source, Direction::Read),
            on_writable: self.0.waker(source, Direction::Write),
        })
    }

    fn rewatch(&mut self, watched: &mut Watched, source: Source, _: Interest) -> io::Result<()> {
        watched.on_readable = self.0.waker(source, Direction::Read);
        watched.on_writable = self.0.waker(source, Direction::Write);
        Ok(())
    }

    fn arm(&mut self, watched: &mut Watched, direction: Direction) -> io::Result<()> {
        // It may say that the socket is ready: that is left over from before it was found not to
        // be. Asked again, it looks anew.
        if watched.poll_ready(direction)? && watched.poll_ready(direction)? {
            watched.waker(direction).wake_by_ref();
        }
        Ok(())
    }
}

impl Watched {
    fn waker(&self, direction: Direction) -> &Waker {
        match direction {
            Direction::Read => &self.on_readable,
            Direction::Write => &self.on_writable,
        }
    }

    fn poll_ready(&self, direction: Direction) -> io::Result<bool> {
        let mut context = Context::from_waker(self.waker(direction));
        let polled = match direction {
            Direction::Read => self.socket.poll_readable(&mut context),
            Direction::Write => self.socket.poll_writable(&mut context),
        };
        match polled {
            Poll::Ready(result) => result.map(|()| true),
            Poll::Pending => Ok(false),
        }
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
